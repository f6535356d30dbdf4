//! Q4, Q5 and Q7: jobs as they begin.

use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::runtime::Runtime;

use super::loops::disk_note;
use super::store::utf8;
use super::{Row, Run};
use crate::board::{Better, Outcome, Spec};
use crate::client::Client;
use crate::cpu::{median, percentile};
use crate::instant::Session;
use crate::process::{EngineProcess, Used};
use crate::queue::Answers;
use crate::sync::Place;
use crate::{alone, fill};

const MILLION: u64 = 1_000_000;
const COMMAND: &[&str] = &["/system/resource/print"];

/// A large job.
#[derive(Debug)]
pub(super) struct Q4;

/// A small job.
#[derive(Debug)]
pub(super) struct Q5;

/// What a large job takes in memory.
#[derive(Debug)]
pub(super) struct Q7;

impl Row for Q4 {
    fn spec(&self) -> Spec {
        Spec {
            id: "Q4",
            what: "CreateJob over 1,000,000 devices, from the call to its answer, when all of it can be handed out, \
                   durable at 0.2 ms: seconds",
            unit: "s",
            better: Better::Lower,
            floor: 5.0,
            goal: 1.5,
            baseline: "rusqlite, the same rows by INSERT … SELECT in one transaction",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        let runtime = Runtime::new()?;
        let devices = run.pick(100_000, MILLION as usize) as u64;
        let runs = run.pick(1, 3);
        let (mut ours, mut bare, mut waits) = (Vec::new(), Vec::new(), Vec::new());
        for number in 1..=runs {
            let made = runtime.block_on(create(run, &Place::delayed()?, devices))?;
            let limit = runtime.block_on(bare_create(run, devices))?;
            run.progress(&format!(
                "Q4 run {number} of {runs}: {:.2} s, rusqlite {limit:.2}; others waited up to {:.0} ms meanwhile",
                made.took.as_secs_f64(),
                made.waited.as_secs_f64() * 1e3
            ));
            ours.push(made.took.as_secs_f64());
            waits.push(made.waited.as_secs_f64() * 1e3);
            bare.push(limit);
        }
        let disk = runtime.block_on(create(run, &Place::disk()?, devices))?;
        let mut notes = vec![
            format!(
                "another call that writes waited {:.1} ms at most meanwhile (median of the runs)",
                median(&mut waits)
            ),
            disk_note(&format!("{:.2} s", disk.took.as_secs_f64()), disk.sync),
        ];
        if run.quick {
            notes.push(format!("quick: {devices} devices only"));
        }
        Ok(Outcome::Noted {
            measured: median(&mut ours),
            baseline: median(&mut bare),
            notes,
        })
    }
}

/// A job that was made.
struct Made {
    took: Duration,
    /// What another client's call took at most meanwhile.
    waited: Duration,
    sync: Duration,
    /// Before the job, and when it was made.
    used: [Used; 2],
}

async fn create(run: &Run, place: &Place, devices: u64) -> anyhow::Result<Made> {
    let data = place.directory("data")?;
    fill::devices(&data, devices).await?;
    let engine = EngineProcess::start(&run.program, place, &data)?;
    let client = Client::new(&engine).await?;
    let other = Client::new(&engine).await?;
    let before = engine.used()?;
    let calling = tokio::spawn(async move {
        let mut longest = Duration::ZERO;
        loop {
            let began = Instant::now();
            if other.set_credential("another").await.is_err() {
                // The engine has ended.
                return longest;
            }
            longest = longest.max(began.elapsed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let began = Instant::now();
    let job = client.create(COMMAND, "").await?;
    let took = began.elapsed();
    ensure!(job.total == devices, "a job of {} executions", job.total);
    let used = [before, engine.used()?];
    let sync = engine.sync;
    drop(client);
    engine.stop()?;
    fill::recount_waiting(&data, devices)?;
    Ok(Made {
        took,
        waited: calling.await?,
        sync,
        used,
    })
}

async fn bare_create(run: &Run, devices: u64) -> anyhow::Result<f64> {
    let place = Place::delayed()?;
    let data = place.directory("bare")?;
    fill::devices(&data, devices).await?;
    let nanos: u64 = alone::run(&mut place.command(&run.program), &["bare-create", utf8(&data)?])?;
    fill::recount_waiting(&data, devices)?;
    Ok(nanos as f64 / 1e9)
}

impl Row for Q5 {
    fn spec(&self) -> Spec {
        Spec {
            id: "Q5",
            what: "CreateJob on one device with an idle engine, from the call to the assignment in the worker's hands, \
                   durable at 0.2 ms: 99th percentile, milliseconds",
            unit: "ms",
            better: Better::Lower,
            floor: 20.0,
            goal: 5.0,
            baseline: "two commits of one row by rusqlite, 99th percentile",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        let runtime = Runtime::new()?;
        let jobs = run.pick(100, 1_000);
        let (mut times, _) = runtime.block_on(first_assignments(run, &Place::delayed()?, jobs))?;
        let mut bare = runtime.block_on(bare_commits(run, jobs))?;
        let (mut disk, sync) = runtime.block_on(first_assignments(run, &Place::disk()?, jobs))?;
        let told = |times: &mut [f64]| {
            format!(
                "median {:.2} ms, 99 % {:.2} ms, longest {:.2} ms",
                percentile(times, 0.5),
                percentile(times, 0.99),
                percentile(times, 1.0)
            )
        };
        let notes = vec![
            format!("{jobs} jobs: {}", told(&mut times)),
            disk_note(&told(&mut disk), sync),
        ];
        Ok(Outcome::Noted {
            measured: percentile(&mut times, 0.99),
            baseline: percentile(&mut bare, 0.99),
            notes,
        })
    }
}

/// Milliseconds from each call to its assignment, and what a durable write took.
async fn first_assignments(run: &Run, place: &Place, jobs: usize) -> anyhow::Result<(Vec<f64>, Duration)> {
    const DEVICES: u64 = 1_000;
    let data = place.directory("data")?;
    fill::devices(&data, DEVICES).await?;
    let engine = EngineProcess::start(&run.program, place, &data)?;
    let client = Client::new(&engine).await?;
    let mut session = Session::open(&engine, "instant", 100).await?;
    session.demand(100).await?;
    let mut times = Vec::with_capacity(jobs);
    for number in 1..=jobs {
        let device = format!("name=sim-{:07}", number as u64 % DEVICES + 1);
        let began = Instant::now();
        let (created, assigned) = tokio::join!(client.create(COMMAND, &device), session.assigned());
        let (job, (at, assignments)) = (created?, assigned?);
        times.push((at - began).as_secs_f64() * 1e3);
        ensure!(
            job.total == 1 && assignments.assignments.len() == 1,
            "one execution for each job"
        );
        session.done(&assignments, Answers::Own).await?;
        session.demand(1).await?;
        client.ensure_done(&job.id, 1).await?;
    }
    let sync = engine.sync;
    drop((session, client));
    engine.stop()?;
    fill::recount(&data, 1)?;
    Ok((times, sync))
}

async fn bare_commits(run: &Run, count: usize) -> anyhow::Result<Vec<f64>> {
    let place = Place::delayed()?;
    let data = place.directory("bare")?;
    fill::devices(&data, 1).await?;
    let words = ["bare-commits", utf8(&data)?, &(2 * count).to_string()];
    let nanos: Vec<u64> = alone::run(&mut place.command(&run.program), &words)?;
    let pairs = nanos.chunks_exact(2);
    Ok(pairs.map(|pair| pair.iter().sum::<u64>() as f64 / 1e6).collect())
}

impl Row for Q7 {
    fn spec(&self) -> Spec {
        Spec {
            id: "Q7",
            what: "memory of the engine's process with a job of 1,000,000 executions that wait, at its peak from the \
                   start on, creating the job included: MiB resident",
            unit: "MiB",
            better: Better::Lower,
            floor: 300.0,
            goal: 100.0,
            baseline: "the same engine before the job",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        let devices = run.pick(100_000, MILLION as usize) as u64;
        let made = Runtime::new()?.block_on(create(run, &Place::delayed()?, devices))?;
        let [before, after] = made.used;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let mut notes = vec![format!("{:.0} MiB when the job was made", mib(after.memory))];
        if run.quick {
            notes.push(format!("quick: {devices} devices only"));
        }
        Ok(Outcome::Noted {
            measured: mib(after.peak),
            baseline: mib(before.memory),
            notes,
        })
    }
}
