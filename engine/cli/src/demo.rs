//! `muster demo`: the main job on a simulated fleet, from an empty folder to an answer, with nothing left behind.

mod firmware;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use indicatif::ProgressBar;
use muster_engine::EngineConfig;
use muster_proto::v1;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::args::{self, Selection};
use crate::client::connect::Engine;
use crate::client::follow::{Followed, Follower, follow};
use crate::client::result::{counts_text, exit_of, is_good, to_text, value_text};
use crate::client::run::{create, plan, spec};
use crate::exit::{Done, Exit, Failure};
use crate::terminal::{BOLD, DIM, GOOD, RESET, number};
use crate::{config, limits, logging, progress, serve};

/// Longer than any simulated router takes.
const TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) async fn run(args: args::Demo) -> Done {
    let fits = limits::raise();
    if args.devices > fits {
        let message = format!(
            "--devices {}: at most {fits} fit into the open files this system allows",
            args.devices
        );
        return Err(Failure::usage(message).hint(format!("muster demo --devices {fits}")));
    }
    if std::env::var_os("MUSTER_LOG").is_some() {
        logging::start();
    }
    let count = args.devices as u64;
    crate::terminal::out(format_args!(
        "{BOLD}muster demo{RESET}: {} simulated routers on loopback, one engine, one worker\n",
        number(count)
    ));
    let directory = tempfile::Builder::new().prefix("muster-demo-").tempdir()?;
    let began = Instant::now();
    let (mut fleet, hello) = start_fleet(args.devices).await?;
    let last = Ipv4Addr::from(u32::from(hello.base) + args.devices as u32 - 1);
    done(
        began,
        &format!(
            "{} routers on {} to {last}, port {}",
            number(count),
            hello.base,
            hello.port
        ),
    );

    let began = Instant::now();
    let mut config = EngineConfig::new(directory.path());
    config.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let engine = serve::start(config).await?;
    let worker = serve::worker_beside(&engine, &config::Worker::default(), fits)?;
    done(
        began,
        &format!(
            "engine and worker on {}, SQLite in a temporary folder",
            engine.address()
        ),
    );

    let shown = show(&serve::url(engine.address()), args.devices, &hello).await;

    // In this order, so that nobody loses somebody they talk to, and whatever happened before.
    worker.stop().await;
    engine.stop().await;
    drop(fleet.stdin.take());
    let _ = fleet.wait().await;
    directory.close()?;
    let exit = shown?;
    crate::terminal::out(format_args!(
        "\nEverything is gone again. {BOLD}Next, on your own routers{RESET}:"
    ));
    crate::terminal::out(format_args!("  muster serve &"));
    crate::terminal::out(format_args!(
        "  muster credential set default --username admin --password-stdin"
    ));
    crate::terminal::out(format_args!(
        "  muster device import routers.csv      {DIM}# name,address{RESET}"
    ));
    crate::terminal::out(format_args!(
        "  muster run --all -- /system/resource/print .proplist=version,uptime"
    ));
    Ok(exit)
}

/// What the simulator prints at its start.
#[derive(Debug, Deserialize)]
struct Hello {
    base: Ipv4Addr,
    port: u16,
}

/// The simulator as a child, so that it does not share our descriptors. It ends when its standard input does: when
/// we close it, and when we are gone.
async fn start_fleet(devices: usize) -> anyhow::Result<(Child, Hello)> {
    let program = std::env::current_exe().context("where this program is")?;
    let mut child = Command::new(program)
        .args(["sim", "--json", "--until-stdin-closes", "--port", "0", "--devices", &devices.to_string()])
        .args(firmware::fleet(devices))
        .env("MUSTER_LOG", "error")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        // Ctrl-C is for us: the child ends with us anyway.
        .process_group(0)
        .spawn()
        .context("starting the simulated fleet")?;
    let stdout = child.stdout.take().context("the simulated fleet has no output")?;
    let line = BufReader::new(stdout).lines().next_line().await?;
    let line = line.context("the simulated fleet did not start")?;
    Ok((
        child,
        serde_json::from_str(&line).context("the simulated fleet said something else")?,
    ))
}

async fn show(url: &str, devices: usize, hello: &Hello) -> Result<Exit, Failure> {
    let engine = Engine::connect(url).await?;
    let began = Instant::now();
    import(&engine, devices, hello).await?;
    done(began, "inventory imported");

    let versions = ask(
        &engine,
        &["/system/resource/print", ".proplist=version,uptime"],
        None,
    )
    .await?;
    versions.table("version", "version", "routers run it");
    let telnet = [
        "/ip/service/print",
        "?name=telnet",
        "?disabled=false",
        ".proplist=name,port",
    ];
    let telnet = ask(&engine, &telnet, None).await?;
    let open = telnet.rows.len();
    crate::terminal::out(format_args!(
        "  {BOLD}{}{RESET} of {} routers still have telnet open",
        number(open as u64),
        number(telnet.total)
    ));
    firmware::show(&engine, devices).await?;
    Ok(versions.exit)
}

async fn import(engine: &Engine, devices: usize, hello: &Hello) -> Result<(), Failure> {
    let credential = v1::SetCredentialRequest {
        name: "default".into(),
        username: "admin".into(),
        password: String::new(),
    };
    engine.credentials().set_credential(credential).await?;
    let sites = ["ams", "fra", "rix", "waw"];
    let device = |index: usize| v1::Device {
        name: format!("r{:05}", index + 1),
        address: Ipv4Addr::from(u32::from(hello.base) + index as u32).to_string(),
        port: hello.port.into(),
        labels: [("site".to_owned(), sites[index % sites.len()].to_owned())].into(),
        ..Default::default()
    };
    let all = (0..devices).map(device).collect::<Vec<_>>();
    let message = |devices: &[v1::Device]| v1::ImportDevicesRequest {
        devices: devices.to_vec(),
        ..Default::default()
    };
    let messages = all.chunks(1000).map(message).collect::<Vec<_>>();
    engine
        .devices()
        .import_devices(tokio_stream::iter(messages))
        .await?;
    Ok(())
}

/// Runs one command on the whole fleet, as `muster run` does.
async fn ask(engine: &Engine, words: &[&str], select: Option<&str>) -> Result<Answers, Failure> {
    let selection = Selection {
        select: select.map(str::to_owned),
        all: select.is_none(),
    };
    let shown = words.iter().map(|word| {
        if word.contains(['?', ' ']) {
            format!("'{word}'")
        } else {
            (*word).to_owned()
        }
    });
    crate::terminal::out(format_args!(
        "\n{DIM}${RESET} muster run --all -- {}",
        shown.collect::<Vec<_>>().join(" ")
    ));
    let words = words.iter().map(ToString::to_string).collect();
    let began = Instant::now();
    let job = create(engine, spec(plan([words]), selection, TIMEOUT)).await?;
    let mut answers = Answers {
        total: job.total,
        exit: Exit::Ok,
        rows: Vec::new(),
        failed: Vec::new(),
        bar: progress::bar(job.total),
    };
    let followed = follow(engine, &job.id, &mut answers).await;
    answers.bar.finish_and_clear();
    let Followed::Over(job) = followed? else {
        return Err(Failure::new(Exit::StillRuns, "DETACHED", "interrupted"));
    };
    answers.exit = exit_of(&job);
    let took = began.elapsed().as_secs_f64();
    let rate = number((job.total as f64 / took) as u64);
    crate::terminal::out(format_args!(
        "  {GOOD}✓{RESET} {} in {took:.2} s, {rate} routers a second",
        counts_text(&job)
    ));
    for failed in answers.failed.iter().take(5) {
        crate::terminal::out(format_args!("  {failed}"));
    }
    Ok(answers)
}

struct Answers {
    total: u64,
    exit: Exit,
    rows: Vec<v1::Row>,
    failed: Vec<String>,
    bar: ProgressBar,
}

impl Follower for Answers {
    fn result(&mut self, result: v1::ExecutionResult) {
        self.bar.inc(1);
        if !is_good(result.state()) {
            self.failed.push(to_text(&result));
        }
        self.rows
            .extend(result.steps.into_iter().flat_map(|step| step.rows));
    }

    fn job(&mut self, _: &v1::Job) {}

    fn note(&mut self, note: &str) {
        self.bar.suspend(|| anstream::eprintln!("{note}"));
    }

    fn resync(&mut self) {
        self.bar.set_position(0);
        self.rows.clear();
        self.failed.clear();
    }
}

impl Answers {
    /// How many rows have each value of an attribute, as a histogram.
    fn table(&self, attribute: &str, title: &str, what: &str) {
        let mut counts = BTreeMap::<String, u64>::new();
        for row in &self.rows {
            let found = row.attributes.iter().find(|found| found.name == attribute);
            *counts
                .entry(found.map_or_else(|| "(none)".into(), value_text))
                .or_default() += 1;
        }
        let mut counts = counts.into_iter().collect::<Vec<_>>();
        counts.sort_by_key(|(value, count)| (std::cmp::Reverse(*count), value.clone()));
        let most = counts.first().map_or(1, |(_, count)| *count);
        crate::terminal::out(format_args!("  {BOLD}{title:<22} {what}{RESET}"));
        for (value, count) in counts {
            let bar = "█".repeat((count * 30).div_ceil(most) as usize);
            crate::terminal::out(format_args!(
                "  {value:<22} {:>6}  {GOOD}{bar}{RESET}",
                number(count)
            ));
        }
    }
}

fn done(began: Instant, what: &str) {
    crate::terminal::out(format_args!(
        "  {GOOD}✓{RESET} {what}  {DIM}{:.2} s{RESET}",
        began.elapsed().as_secs_f64()
    ));
}
