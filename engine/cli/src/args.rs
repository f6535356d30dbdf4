//! The command line.

mod device;
mod job;
mod sim;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use muster_proto::v1;

pub(crate) use crate::client::audit::Audit;
pub(crate) use crate::client::freeze::Freeze;
pub(crate) use crate::client::rollout::Rollout;
use crate::{config, duration};
pub(crate) use device::{Device, Rescue, RescueDeed};
pub(crate) use job::{Job, Limits};
pub(crate) use sim::Sim;

/// Runs commands, changes and audits on fleets of RouterOS routers
#[derive(Debug, Parser)]
#[command(name = "muster", version, max_term_width = 110, after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The engine to talk to
    #[arg(
        long,
        global = true,
        env = "MUSTER_ENGINE",
        default_value = "http://127.0.0.1:7600",
        value_name = "URL"
    )]
    pub engine: String,
    /// PEM file with the CA of an engine that is called as https:// [default: those that the system trusts]
    #[arg(
        long,
        global = true,
        env = "MUSTER_CA",
        value_name = "FILE",
        help_heading = "Engines elsewhere"
    )]
    pub ca: Option<PathBuf>,
    /// PEM file with our certificate, for an engine with --tls-client-ca
    #[arg(
        long,
        global = true,
        env = "MUSTER_CERT",
        value_name = "FILE",
        help_heading = "Engines elsewhere"
    )]
    pub cert: Option<PathBuf>,
    /// PEM file with its key
    #[arg(
        long,
        global = true,
        env = "MUSTER_CERT_KEY",
        value_name = "FILE",
        help_heading = "Engines elsewhere"
    )]
    pub key: Option<PathBuf>,
    /// File with the engine's client token, which it wants of clients over https
    #[arg(
        long,
        global = true,
        env = "MUSTER_CLIENT_TOKEN_FILE",
        value_name = "FILE",
        help_heading = "Engines elsewhere"
    )]
    pub client_token_file: Option<PathBuf>,
    /// Print JSON, one object a line
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
Exit codes:
  0  done, all is well          5  some devices not reached, nothing else wrong
  1  usage or no connection     6  refused: right, but not now
  2  changes pending (preview)  7  detached, or the job still runs
  3  some devices failed        8  not signed in, or not allowed
  4  halted by a rule";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show in half a minute what muster does, on a simulated fleet
    Demo(Demo),
    /// Run the engine, with a worker in the same process
    Serve(Serve),
    /// Run a worker for an engine elsewhere
    Worker(Worker),
    /// Run a simulated fleet of routers on loopback addresses
    Sim(Sim),
    /// Run one command on many devices
    Run(Run),
    /// Check the file of a rollout or an audit without an engine; every mistake is told with its line
    Check {
        /// The file, TOML; - for standard input
        file: PathBuf,
    },
    /// Take a file's steps over a fleet in waves, and stop when they do harm
    #[command(subcommand)]
    Rollout(Rollout),
    /// Check a fleet against a file of checks: what holds, what does not, and since when
    #[command(subcommand)]
    Audit(Audit),
    /// Begin jobs and audits by the clock
    #[command(subcommand)]
    Schedule(crate::client::schedule::Schedule),
    /// Let no job with effects start anything anywhere, or let them go on
    #[command(subcommand)]
    Freeze(Freeze),
    /// Look at jobs, watch them, end them
    #[command(subcommand)]
    Job(Job),
    /// The inventory
    #[command(subcommand)]
    Device(Device),
    /// User names and passwords for devices
    #[command(subcommand)]
    Credential(Credential),
    /// What operators did, in order
    History {
        /// Only what was done to this, for example a job's id
        #[arg(default_value = "")]
        subject: String,
    },
    /// The engine itself
    #[command(subcommand)]
    Admin(Admin),
    /// Look into the bytes of the RouterOS API
    #[command(subcommand)]
    Wire(crate::wire::Args),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// Simulated routers
    #[arg(long, default_value_t = 1000, value_parser = at_least_one)]
    pub devices: usize,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// Where everything is kept: database, key, worker token [default: ./muster-data]
    #[arg(long, env = "MUSTER_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where to serve gRPC [default: 127.0.0.1:7600]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// PEM file with the engine's certificate: serve TLS too, on the same port, to callers from everywhere
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file with its key
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// PEM file with the CA that must have signed the certificates of all who call over TLS
    #[arg(long, value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,
    /// Have the worker in this process keep connections open without work: to every device of its zones, or to those that the
    /// selector means
    #[arg(long, value_name = "SELECTOR", num_args = 0..=1, default_missing_value = "")]
    pub hold: Option<String>,
    /// Run no worker in this process
    #[arg(long)]
    pub no_worker: bool,
    /// A worker that is silent for this long has lost its work [default: 15s]
    #[arg(long, value_name = "TIME", value_parser = config::parse_lease)]
    pub lease: Option<Duration>,
    /// Delete jobs and audits, with their results, so long after their end, and findings so long after they were closed: 2160h, at least 24h, or forever [default: 2160h, 90 days]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse_keep)]
    pub keep: Option<duration::Keep>,
    /// A configuration file, TOML; flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Worker {
    /// A zone to serve; may be given more than once [default: every zone without a worker of its own]
    #[arg(long = "zone", value_name = "ZONE")]
    pub zones: Vec<String>,
    /// The file with the engine's worker token
    #[arg(
        long,
        value_name = "FILE",
        default_value = "muster-data/worker.token",
        env = "MUSTER_WORKER_TOKEN_FILE"
    )]
    pub token_file: PathBuf,
    /// A name for people [default: the host's]
    #[arg(long)]
    pub name: Option<String>,
    /// PEM file with the roots for devices whose tls is "roots"
    #[arg(long, value_name = "FILE")]
    pub device_roots: Option<PathBuf>,
    /// Executions held at once; those that wait for a router to be back, or for time to pass, need no slot
    #[arg(long, default_value_t = muster_worker::DEFAULT_SLOTS)]
    pub slots: u32,
    /// Keep connections open without work: to every device of its zones, or to those that the selector means
    #[arg(long, value_name = "SELECTOR", num_args = 0..=1, default_missing_value = "")]
    pub hold: Option<String>,
    /// On SIGTERM: how long what is in flight may take to end. What is not sent yet goes back to the engine at once
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration::parse_positive)]
    pub drain: Duration,
}

/// Which devices.
#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Selection {
    /// Devices by label or field: site=ams,role!=core,name=edge-*
    #[arg(long, value_name = "SELECTOR")]
    pub select: Option<String>,
    /// Every device of the inventory
    #[arg(long)]
    pub all: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub selection: Selection,
    /// Of a print, only items for which this holds: 'type=ether and not (disabled=yes or mtu<1500)'
    #[arg(long = "where", value_name = "EXPR")]
    pub filter: Option<String>,
    /// Run the steps of this file instead of a command: tables named step
    #[arg(long, value_name = "FILE", conflicts_with_all = ["words", "filter", "verify", "declare_read"])]
    pub plan: Option<PathBuf>,
    /// Only look: tell what would change, for all devices that need the same together; exit code 2 if anything would
    #[arg(long, conflicts_with_all = ["previewed", "detach"])]
    pub preview: bool,
    /// Do it only where devices are as this preview found them; others end as rejected
    #[arg(long, value_name = "JOB")]
    pub previewed: Option<String>,
    /// With --previewed, do it also on devices that the preview did not find
    #[arg(long, requires = "previewed")]
    pub unseen: bool,
    /// A print that tells, when the command's answer is lost, whether it was done: '/ip/dns/print'
    #[arg(long, value_name = "COMMAND", requires = "expected")]
    pub verify: Option<String>,
    /// It was done if this holds for a row of --verify: 'servers=1.1.1.1'
    #[arg(long, value_name = "EXPR", group = "expected", requires = "verify")]
    pub expect: Option<String>,
    /// It was done if this holds for no row of --verify
    #[arg(long, value_name = "EXPR", group = "expected", requires = "verify")]
    pub expect_none: Option<String>,
    /// Take a command that muster does not know for a read; noted in the history
    #[arg(long)]
    pub declare_read: bool,
    /// Who goes first: emergency, interactive, rollout or audit
    #[arg(long, default_value = "interactive", value_parser = priority)]
    pub priority: v1::JobPriority,
    /// Executions with workers at once [default: as many as workers take]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub concurrency: Option<u32>,
    /// Devices that may be harmed at most, and so be changed at once: a number, a share as in 2%, or all [default: 2%,
    /// at least 10]
    #[arg(long, value_name = "N|P%|all", default_value = "", hide_default_value = true)]
    pub budget: String,
    /// The least way back that each change needs: L1 (safe mode), L2 (a schedule that restores a backup), L3 (another
    /// partition for an upgrade), L4 (the inverse of what was done) or L0 (none) [default: L0, and L2 for what may cut the
    /// way in]
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    pub min_revert_level: Option<String>,
    /// Change also what may cut the way in where there is no guard
    #[arg(long)]
    pub accept_no_way_back: bool,
    /// After how long a schedule on the router restores its backup, unless it is disarmed [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse_positive)]
    pub revert_after: Option<Duration>,
    /// Take back what was done when a check does not hold after it
    #[arg(long)]
    pub revert_failed_check: bool,
    /// Deadline of the command, and how long devices that cannot be reached are waited for
    #[arg(long, default_value = "30s", value_parser = duration::parse_positive)]
    pub timeout: Duration,
    /// Follow a command that would tell rows for ever (listen, monitors, print with follow or interval) for so long
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse_positive)]
    pub lasts: Option<Duration>,
    /// Follow it until it has told so many rows, for an hour at most unless --for says otherwise
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub rows: Option<u64>,
    /// Do not ask before a command that changes something
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Print the job's id and return at once, with exit code 7
    #[arg(long)]
    pub detach: bool,
    /// The command: /path/verb and its words, as the protocol writes them or as name=value
    #[arg(last = true, required_unless_present = "plan", value_name = "COMMAND [WORD…]")]
    pub words: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Credential {
    /// Make a credential or overwrite it
    Set {
        /// Its name; devices without one use "default"
        name: String,
        /// User name on the devices
        #[arg(long)]
        username: String,
        /// Read the password from standard input, up to the first line break
        #[arg(long)]
        password_stdin: bool,
    },
    /// List credentials, without passwords
    List,
    /// Remove a credential that no device uses
    Remove {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Admin {
    /// Workers, live jobs, what no worker can take, what the engine does by itself, and the database
    Status,
    /// Make a CA, and certificates for an engine, its workers and its clients, for who has no PKI
    Certs(Certs),
    /// How gently routers are treated: show the limits, or change them while everything runs
    Limits {
        /// Limits to set, NAME=VALUE, or for a zone or a label value NAME:SCOPE=VALUE: label.executions:site=*=20
        #[arg(value_name = "NAME[:SCOPE]=VALUE")]
        set: Vec<String>,
        /// Put a limit back to what holds without it
        #[arg(long, value_name = "NAME[:SCOPE]")]
        reset: Vec<String>,
        /// Why, for the record
        #[arg(long, default_value = "")]
        reason: String,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Certs {
    /// Where to; an existing CA in it is used, and no file is ever overwritten
    #[arg(long, value_name = "DIR", default_value = "muster-certs")]
    pub dir: PathBuf,
    /// A name or IP address by which the engine is called; may be given more than once
    #[arg(long = "name", value_name = "NAME", required = true)]
    pub names: Vec<String>,
    /// How long the certificates are good for, in days; the CA is for ten years
    #[arg(long, value_name = "DAYS", default_value_t = 825, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
}

fn level(name: &str) -> Result<String, String> {
    name.parse::<muster_model::Level>().map(|level| level.to_string())
}

pub(crate) fn priority(name: &str) -> Result<v1::JobPriority, String> {
    let known = v1::JobPriority::from_str_name(&format!("JOB_PRIORITY_{}", name.to_ascii_uppercase()));
    let known = known.filter(|priority| *priority != v1::JobPriority::Unspecified);
    known.ok_or_else(|| "there are emergency, interactive, rollout and audit".into())
}

pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1 is needed".into()),
        Ok(count) => Ok(count),
        Err(error) => Err(format!("{error}")),
    }
}

/// The address by which a process on this machine reaches a listener.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if !ip.is_unspecified() => address,
        IpAddr::V4(_) => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        IpAddr::V6(_) => SocketAddr::new(std::net::Ipv6Addr::LOCALHOST.into(), address.port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn run_takes_words_after_the_dashes() {
        let args = Args::try_parse_from([
            "muster",
            "run",
            "--all",
            "--",
            "/ip/dns/set",
            "servers=1.1.1.1",
            "--x",
        ]);
        let Command::Run(run) = args.expect("valid").command else {
            panic!("run")
        };
        assert_eq!(run.words, ["/ip/dns/set", "servers=1.1.1.1", "--x"]);
        assert!(
            Args::try_parse_from(["muster", "run", "--", "/a/print"]).is_err(),
            "no selection"
        );
        assert!(Args::try_parse_from(["muster", "run", "--all", "--select", "a", "--", "/a/print"]).is_err());
    }
}
