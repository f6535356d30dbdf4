//! `muster`: the one binary. What each command does is in its module; what they share is here.

mod args;
mod certs;
mod check;
mod client;
mod config;
mod demo;
mod duration;
mod exit;
mod limits;
mod logging;
mod progress;
mod serve;
mod sim;
mod terminal;
mod wire;
mod worker;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Args, Command};
use exit::{Exit, Failure};
use mimalloc::MiMalloc;
use muster_proto::dial::Files;

/// Commands and answers are many small pieces that one thread makes and another frees: the system's own takes a tenth of
/// a session's time for that, and a tenth more memory.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version are data; anything else is usage, which is 1 with us and 2 with clap.
            if error.use_stderr() && std::env::args().any(|arg| arg == "--json") {
                return Failure::usage(error.to_string().trim()).print(true).into();
            }
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage.into()
            } else {
                Exit::Ok.into()
            };
        }
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            anstream::eprintln!("error: cannot start: {error}");
            return Exit::Usage.into();
        }
    };
    let exit = terminal::settle(runtime.block_on(run(args)));
    // What still blocks a thread (a lookup of a host name) does not hold up the end.
    runtime.shutdown_background();
    exit.into()
}

async fn run(args: Args) -> Exit {
    let Args {
        engine,
        ca,
        cert,
        key,
        client_token_file,
        json,
        command,
    } = args;
    client::connect::set_access(client::connect::Access {
        files: Files {
            ca,
            certificate: cert,
            key,
        },
        token_file: client_token_file,
    });
    let done = match command {
        Command::Serve(args) => serve::run(args).await,
        Command::Worker(args) => worker::run(args, &engine).await,
        Command::Sim(args) => sim::run(args, json).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Admin(args::Admin::Certs(args)) => certs::run(&args, json),
        Command::Admin(args) => client::admin::run(args, &engine, json).await,
        Command::Check { file } => check::run(&file, json),
        Command::Credential(args) => client::credential::run(args, &engine, json).await,
        Command::Device(args) => client::device::run(args, &engine, json).await,
        Command::History { subject } => client::history::run(subject, &engine, json).await,
        Command::Job(args) => client::job::run(args, &engine, json).await,
        Command::Rollout(args) => client::rollout::run(args, &engine, json).await,
        Command::Audit(args) => client::audit::run(args, &engine, json).await,
        Command::Schedule(args) => client::schedule::run(args, &engine, json).await,
        Command::Freeze(args) => client::freeze::run(args, &engine, json).await,
        Command::Run(args) => client::run::run(args, &engine, json).await,
        Command::Wire(args) => wire::run(args, json),
    };
    done.unwrap_or_else(|failure| failure.print(json))
}
