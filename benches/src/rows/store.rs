//! Q1 and Q6: the store by itself.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::runtime::Runtime;

use super::loops::disk_note;
use super::{Row, Run};
use crate::board::{Better, Outcome, Spec};
use crate::cpu::median;
use crate::sync::Place;
use crate::{alone, fill};

/// Against SQLite.
#[derive(Debug)]
pub(super) struct Q1;

/// Against an empty database.
#[derive(Debug)]
pub(super) struct Q6;

impl Row for Q1 {
    fn spec(&self) -> Spec {
        Spec {
            id: "Q1",
            what: "the store: executions laid out, claimed and completed in batches of 500 by four loops, each with an \
                   answer of its own, counters and events, every batch durable at 0.2 ms: speed relative to the baseline",
            unit: "x speed",
            better: Better::Higher,
            floor: 0.45,
            goal: 0.6,
            baseline: "rusqlite, the same rows in the same tables in one transaction",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        let runtime = Runtime::new()?;
        let executions = run.pick(20_000, 100_000) as u64;
        let runs = run.pick(1, 7);
        let (mut ratios, mut rates, mut bare_rates) = (Vec::new(), Vec::new(), Vec::new());
        for number in 1..=runs {
            let [ours, bare] = runtime.block_on(both(run, &Place::delayed()?, executions))?;
            run.progress(&format!(
                "Q1 run {number} of {runs}: {ours:.0} executions/s, rusqlite {bare:.0}: {:.2} x",
                ours / bare
            ));
            ratios.push(ours / bare);
            rates.push(ours);
            bare_rates.push(bare);
        }
        let place = Place::disk()?;
        let [ours, bare] = runtime.block_on(both(run, &place, executions))?;
        let sync = sync(run, &place)?;
        Ok(Outcome::Noted {
            measured: median(&mut ratios),
            baseline: 1.0,
            notes: vec![
                format!(
                    "{:.0} executions/s, rusqlite {:.0} (medians)",
                    median(&mut rates),
                    median(&mut bare_rates)
                ),
                disk_note(&format!("{ours:.0} executions/s, {:.2} x", ours / bare), sync),
            ],
        })
    }
}

/// Executions per second through the store and without it, in turns.
async fn both(run: &Run, place: &Place, executions: u64) -> anyhow::Result<[f64; 2]> {
    place.check(sync(run, place)?)?;
    let mut rates = [0.0; 2];
    for (rate, what) in rates.iter_mut().zip(["job", "bare-job"]) {
        let data = place.directory(what)?;
        fill::devices(&data, executions).await?;
        let nanos: u64 = alone::run(&mut place.command(&run.program), &[what, utf8(&data)?])?;
        fill::recount(&data, executions).with_context(|| what.to_owned())?;
        std::fs::remove_dir_all(&data)?;
        *rate = executions as f64 * 1e9 / nanos as f64;
    }
    Ok(rates)
}

impl Row for Q6 {
    fn spec(&self) -> Spec {
        Spec {
            id: "Q6",
            what: "claiming and completing an execution in a database with 10 million finished ones, a million answers \
                   among them, durable at 0.2 ms: processor time relative to the baseline",
            unit: "x time",
            better: Better::Lower,
            floor: 1.3,
            goal: 1.05,
            baseline: "the same in a database without them, in turns",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        const DEVICES: u64 = 10_000;
        let finished = run.pick(500_000, 10_000_000) as u64;
        let rounds = run.pick(3, 15);
        let place = Place::delayed_on_disk()?;
        place.check(sync(run, &place)?)?;
        let (empty, full) = (place.directory("empty")?, place.directory("full")?);
        let runtime = Runtime::new()?;
        for data in [&empty, &full] {
            runtime.block_on(fill::devices(data, DEVICES))?;
        }
        let filled = fill::finished(&full, finished)?;
        let bytes = std::fs::metadata(fill::path(&full))?.len();
        run.progress(&format!("Q6: {filled} finished executions, {} MiB", bytes >> 20));
        let words = [
            "turns",
            utf8(&full)?,
            utf8(&empty)?,
            &DEVICES.to_string(),
            &rounds.to_string(),
        ];
        let times: Vec<[f64; 4]> = alone::run(&mut place.command(&run.program), &words)?;
        ensure!(times.len() == rounds, "{} rounds of {rounds}", times.len());
        let middle = |of: &dyn Fn(&[f64; 4]) -> f64| median(&mut times.iter().map(of).collect::<Vec<_>>());
        let mut notes = vec![format!(
            "{:.1} us of processor time an execution against {:.1}; {:.1} us of wall-clock time against {:.1}: {:.2} x",
            middle(&|t| t[0]) / 1e3,
            middle(&|t| t[1]) / 1e3,
            middle(&|t| t[2]) / 1e3,
            middle(&|t| t[3]) / 1e3,
            middle(&|t| t[2] / t[3]),
        )];
        if run.quick {
            notes.push(format!("quick: {filled} finished executions only"));
        }
        Ok(Outcome::Noted {
            measured: middle(&|t| t[0] / t[1]),
            baseline: 1.0,
            notes,
        })
    }
}

/// What a durable write takes in a child of this place.
pub(super) fn sync(run: &Run, place: &Place) -> anyhow::Result<Duration> {
    let data = place.directory("sync")?;
    let nanos: u64 = alone::run(&mut place.command(&run.program), &["sync", utf8(&data)?])?;
    Ok(Duration::from_nanos(nanos))
}

pub(super) fn utf8(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path that is no UTF-8")
}
