//! A firmware rollout on the simulated fleet that stops by itself, and what is left to be done after it.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use muster_model::file;
use muster_proto::v1;

use crate::client::connect::Engine;
use crate::client::follow::{Followed, Follower, follow};
use crate::client::rescue;
use crate::client::result::{counts_text, is_over, to_text};
use crate::client::rollout::{live::headline, of};
use crate::client::run::create;
use crate::exit::{Exit, Failure};
use crate::progress;
use crate::terminal::{BAD, BOLD, DIM, GOOD, RESET, number, out, safe};

/// What the routers' updaters offer, and how long a download and a restart take them.
const OFFERS: &str = "7.20.4";
const DOWNLOAD: &str = "500ms";
const RESTART: &str = "2s";

/// One router of so many does not come up with it.
const BRICKS: usize = 25;

/// Fewer routers are too few for waves.
const FEWEST: usize = 100;

/// Lost routers that are told of in full.
const TOLD: usize = 1;

/// Arguments of a fleet that can be upgraded: some of it will not like it.
pub(super) fn fleet(devices: usize) -> Vec<String> {
    let words = [
        "--offers",
        OFFERS,
        "--download",
        DOWNLOAD,
        "--restart",
        RESTART,
        "--fault",
    ];
    let fault = format!("bricks={}", devices / BRICKS);
    words.map(str::to_owned).into_iter().chain([fault]).collect()
}

/// The rollout, as a file.
fn file() -> String {
    format!(
        r#"name = "firmware"
select = "version=7.*"
[[step]]
check = "facts.free_disk > 1000"
[[step]]
export = true                  # kept by the engine
[[step]]
upgrade = {{ version = "{OFFERS}", wait = "6s" }}
[[wave]]
size = 20                      # canaries
bake = "1s"
[[wave]]
size = "100%"
[limits]
budget = 40                    # never more than 40 harmed or being changed
[[rule]]
count = 2                      # more than two lost: stop
action = "halt"
"#
    )
}

/// Upgrades the fleet until it is stopped.
pub(super) async fn show(engine: &Engine, devices: usize) -> Result<(), Failure> {
    if devices < FEWEST {
        return Ok(());
    }
    let text = file();
    out(format_args!("\n{DIM}${RESET} muster rollout start firmware.toml"));
    text.lines()
        .for_each(|line| out(format_args!("    {DIM}{line}{RESET}")));
    let rollout = file::rollout(&text).map_err(|errors| Failure::usage(format!("{errors:?}")))?;
    let began = Instant::now();
    let job = create(engine, of(rollout)).await?;
    let mut waves = Waves {
        bar: progress::bar(job.total),
        began,
        ended: 0,
        rejected: false,
    };
    let followed = follow(engine, &job.id, &mut waves).await;
    waves.bar.finish_and_clear();
    let Followed::Over(job) = followed? else {
        return Err(Failure::new(Exit::StillRuns, "DETACHED", "interrupted"));
    };
    out(format_args!("  {BOLD}{}{RESET}", safe(&headline(&job))));
    out(format_args!(
        "  {} in {:.1} s: {}",
        number(job.total),
        began.elapsed().as_secs_f64(),
        counts_text(&job)
    ));
    // Those that have not ended, but for what is being changed still.
    let open = job.counts.iter().filter(|count| !is_over(count.state()));
    let open = open.map(|count| count.count).sum::<u64>();
    let untouched = open.saturating_sub(job.budget_use.unwrap_or_default().in_flight);
    out(format_args!(
        "  {GOOD}✓{RESET} it stopped by itself, and {BOLD}{}{RESET} of {} routers were never touched",
        number(untouched),
        number(job.total)
    ));
    let lost = rescue::of_job(engine, &job.id).await?;
    out(format_args!(
        "\n{DIM}${RESET} muster device rescue    {DIM}# {} lost{RESET}",
        number(lost.len() as u64)
    ));
    lost.iter().take(TOLD).for_each(rescue::show);
    if lost.len() > TOLD {
        out(format_args!(
            "{DIM}and {} more{RESET}",
            number((lost.len() - TOLD) as u64)
        ));
    }
    Ok(())
}

/// A line for each wave and each router that is lost.
struct Waves {
    bar: ProgressBar,
    began: Instant,
    /// Waves that are told to have ended.
    ended: usize,
    /// Whether one was told that is not fit for it.
    rejected: bool,
}

impl Waves {
    fn tell(&self, text: &str) {
        let at = seconds(self.began.elapsed());
        self.bar
            .suspend(|| out(format_args!("  {text}  {DIM}{at}{RESET}")));
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

impl Follower for Waves {
    fn result(&mut self, result: v1::ExecutionResult) {
        self.bar.inc(1);
        if result.state() == v1::ExecutionState::Lost {
            self.tell(&format!(
                "{BAD}{} does not come back{RESET}",
                safe(&result.device)
            ));
        }
        if result.state() == v1::ExecutionState::Rejected && !std::mem::replace(&mut self.rejected, true) {
            self.tell(&to_text(&result));
        }
    }

    fn job(&mut self, job: &v1::Job) {
        let over = job.waves.iter().filter(|wave| wave.ended_at.is_some()).count();
        for wave in job.waves.iter().take(over).skip(self.ended) {
            self.tell(&format!(
                "{GOOD}✓{RESET} wave {}: {} of {} run {OFFERS}",
                wave.number,
                number(wave.good),
                number(wave.total)
            ));
        }
        self.ended = over;
    }

    fn note(&mut self, note: &str) {
        self.bar.suspend(|| anstream::eprintln!("{note}"));
    }

    fn resync(&mut self) {
        self.bar.set_position(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_that_is_shown_is_one_that_can_be_started() {
        let rollout = file::rollout(&file()).expect("valid");
        assert_eq!((rollout.policy.waves.len(), rollout.policy.rules.len()), (2, 1));
        assert_eq!(fleet(1000).last().map(String::as_str), Some("bricks=40"));
    }
}
