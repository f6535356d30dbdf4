//! What `muster sim` is told.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::at_least_one;
use crate::duration;

#[derive(Debug, clap::Args)]
pub(crate) struct Sim {
    /// Simulated routers
    #[arg(long, default_value_t = 10, value_parser = at_least_one)]
    pub devices: usize,
    /// The first router's address; the others follow
    #[arg(long, default_value_t = Ipv4Addr::new(127, 20, 0, 1))]
    pub base: Ipv4Addr,
    /// The API port of all of them; 0 for any that is free
    #[arg(long, default_value_t = 8728)]
    pub port: u16,
    /// The port of the API over TLS; 0 for any that is free [default: 8729, or any when it is taken]
    #[arg(long, value_name = "PORT")]
    pub tls_port: Option<u16>,
    /// The port of REST over HTTP; 0 for any that is free [default: 8080, or any when it is taken]
    #[arg(long, value_name = "PORT")]
    pub rest_port: Option<u16>,
    /// The port of REST over HTTPS; 0 for any that is free [default: 8443, or any when it is taken]
    #[arg(long, value_name = "PORT")]
    pub https_port: Option<u16>,
    /// How long a REST command may take before the router ends it
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration::parse_positive)]
    pub rest_cut: Duration,
    /// Answer at once for a burst, then one command every so long, as routers do: 160/20ms
    #[arg(long, value_name = "BURST/TIME", value_parser = clamp)]
    pub clamp: Option<muster_sim::Clamp>,
    /// Serve the journal of executed commands and the counters over HTTP here
    #[arg(long, value_name = "ADDR")]
    pub control: Option<SocketAddr>,
    /// What everything random comes from
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// RouterOS versions, dealt in turn
    #[arg(long, value_name = "V[,V…]", value_delimiter = ',')]
    pub version: Vec<String>,
    /// User that may log in
    #[arg(long, default_value = "admin")]
    pub user: String,
    /// That user's password
    #[arg(long, default_value = "")]
    pub password: String,
    /// Routers that misbehave, for example hang=3,reset=2; see the simulator's README
    #[arg(long, value_name = "KIND=COUNT[,…]", default_value = "")]
    pub fault: String,
    /// How long a router with the fault late takes to answer
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = duration::parse)]
    pub late: Duration,
    /// How long a router takes to notice that the connection which holds its safe mode was closed
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration::parse)]
    pub safe_mode_closed: Duration,
    /// The same of a connection whose packets are dropped
    #[arg(long, value_name = "TIME", default_value = "9m", value_parser = duration::parse)]
    pub safe_mode_dead: Duration,
    /// The version that the routers' updater offers [default: the one that each has]
    #[arg(long, value_name = "VERSION")]
    pub offers: Option<String>,
    /// How long a download takes, or a fetch
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration::parse)]
    pub download: Duration,
    /// How long a router is away when it restarts; then it refuses logins for a tenth of that
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration::parse)]
    pub restart: Duration,
    /// How the command that restarts a router ends, dealt in turn to routers and their restarts: done, close, reset, hang
    #[arg(
        long,
        value_name = "END[,…]",
        value_delimiter = ',',
        default_value = "done,close,reset"
    )]
    pub restart_ends: Vec<muster_sim::RestartEnd>,
    /// Clocks are reset by a start, and a server sets them after so long; 0s for clocks that go on
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration::parse)]
    pub clock_set_after: Duration,
    /// How long after a start a router tells nothing of its board, and only its first package
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration::parse)]
    pub menus_after: Duration,
    /// Partitions of routers whose storage is NAND, 1 to 8: they fall back from one that does not start
    #[arg(long, value_name = "N", default_value = "1", value_parser = partitions)]
    pub partitions: usize,
    /// Routers that were hardened once, with each of some forty deviations planted on this share of them: 10%
    #[arg(long, value_name = "P%", value_parser = drift)]
    pub drift: Option<f64>,
    /// Print which router has which deviation, and end
    #[arg(long, requires = "drift")]
    pub list: bool,
    /// Write answers in pieces of random size
    #[arg(long)]
    pub fragment: bool,
    /// End when standard input does; for whoever runs it as a child
    #[arg(long, hide = true)]
    pub until_stdin_closes: bool,
}

/// A share; also none.
fn drift(text: &str) -> Result<f64, String> {
    match text.trim() {
        "0%" => Ok(0.0),
        text => text.parse().map(muster_model::policy::Share::fraction),
    }
}

fn clamp(text: &str) -> Result<muster_sim::Clamp, String> {
    let wrong = || format!("{text:?} is not BURST/TIME, such as 160/20ms");
    let (burst, each) = text.split_once('/').ok_or_else(wrong)?;
    Ok(muster_sim::Clamp {
        burst: burst.trim().parse().map_err(|_| wrong())?,
        each: duration::parse_positive(each.trim())?,
        ..muster_sim::Clamp::MEASURED
    })
}

fn partitions(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=8).contains(count));
    count.ok_or_else(|| format!("{text:?} is not 1 to 8"))
}
