//! Q2 and Q3: how fast executions go around.
//!
//! ```text
//! engine (own process)                                   four workers that answer at once
//!   claim ─ commit ─▶ assignments ──────────────────────▶
//!                     ◀─────────────────────── intents          Q3 only
//!           commit ─▶ answers ──────────────────────────▶
//!                     ◀─────────────────────── reports
//!   counters, events, answers ─ commit ─▶ acknowledgement ▶ credit
//! ```
//!
//! The clock runs from the first credit to the last acknowledgement; the job is laid out before.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::{Row, Run};
use crate::board::{Better, Outcome, Spec};
use crate::client::Client;
use crate::cpu::median;
use crate::instant::{Goal, Session, Work};
use crate::process::EngineProcess;
use crate::queue::{Answers, BATCH};
use crate::sync::Place;
use crate::{fill, limit};

const WORKERS: usize = 4;
/// Executions that each of them holds at most.
const CREDIT: u32 = 2_000;

/// Reads.
#[derive(Debug)]
pub(super) struct Q2;

/// Changes, with an intent for each.
#[derive(Debug)]
pub(super) struct Q3;

impl Row for Q2 {
    fn spec(&self) -> Spec {
        Spec {
            id: "Q2",
            what: "the loop claim, session, report, completion, acknowledgement with counters and events, four workers \
                   that answer at once, an answer of 200 bytes of its own for each execution, durable at 0.2 ms: \
                   executions per second",
            unit: "executions/s",
            better: Better::Higher,
            floor: 60_000.0,
            goal: 110_000.0,
            baseline: "SQLite alone, the same rows in one transaction",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        let read = Loop {
            id: "Q2",
            command: &["/system/resource/print"],
            work: Work {
                intents: false,
                answers: Answers::Own,
            },
        };
        read.measure(run)
    }
}

impl Row for Q3 {
    fn spec(&self) -> Spec {
        Spec {
            id: "Q3",
            what: "the loop as in Q2 with a change, thus a durable intent for each execution and its device held, all \
                   devices answering alike, durable at 0.2 ms: executions per second",
            unit: "executions/s",
            better: Better::Higher,
            floor: 30_000.0,
            goal: 60_000.0,
            baseline: "SQLite alone, the same rows in one transaction, without intents",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        let change = Loop {
            id: "Q3",
            command: &["/ip/dns/set", "=servers=192.0.2.1"],
            work: Work {
                intents: true,
                answers: Answers::Done,
            },
        };
        change.measure(run)
    }
}

#[derive(Clone, Copy)]
struct Loop {
    id: &'static str,
    command: &'static [&'static str],
    work: Work,
}

/// One run of a loop.
struct Ran {
    /// Executions per second.
    rate: f64,
    /// Processor time of the engine's process for an execution, microseconds.
    cpu: f64,
    sync: Duration,
}

impl Loop {
    fn measure(self, run: &Run) -> anyhow::Result<Outcome> {
        let runtime = Runtime::new()?;
        let executions = run.pick(20_000, 200_000) as u64;
        let runs = run.pick(1, 5);
        let (mut rates, mut costs, mut bare) = (Vec::new(), Vec::new(), Vec::new());
        for number in 1..=runs {
            let ran = runtime.block_on(self.run(run, &Place::delayed()?, executions))?;
            let limit = runtime.block_on(self.limit(executions))?;
            run.progress(&format!(
                "{} run {number} of {runs}: {:.0} executions/s, {:.1} us of the engine's processor time each; SQLite \
                 alone {limit:.0}",
                self.id, ran.rate, ran.cpu
            ));
            rates.push(ran.rate);
            costs.push(ran.cpu);
            bare.push(limit);
        }
        let disk = runtime.block_on(self.run(run, &Place::disk()?, executions))?;
        let mut notes = vec![
            format!(
                "{:.2} s of the engine's processor time per 100,000 executions (median)",
                median(&mut costs) / 10.0
            ),
            disk_note(&format!("{:.0} executions/s", disk.rate), disk.sync),
        ];
        if self.work.answers == Answers::Own {
            let alike = Self {
                work: Work {
                    answers: Answers::Same,
                    ..self.work
                },
                ..self
            };
            let ran = runtime.block_on(alike.run(run, &Place::delayed()?, executions))?;
            notes.push(format!(
                "all devices answering alike: {:.0} executions/s, {:.1} us of processor time each",
                ran.rate, ran.cpu
            ));
        }
        Ok(Outcome::Noted {
            measured: median(&mut rates),
            baseline: median(&mut bare),
            notes,
        })
    }

    async fn run(self, run: &Run, place: &Place, executions: u64) -> anyhow::Result<Ran> {
        let data = place.directory("data")?;
        fill::devices(&data, executions).await?;
        let engine = EngineProcess::start(&run.program, place, &data)?;
        let client = Client::new(&engine).await?;
        let job = client.create(self.command, "").await?;
        ensure!(job.total == executions, "a job of {} executions", job.total);
        let mut sessions = Vec::new();
        for number in 0..WORKERS {
            sessions.push(Session::open(&engine, &format!("instant-{number}"), CREDIT).await?);
        }
        let goal = Goal::new(executions);
        let (began, before) = (Instant::now(), engine.used()?);
        let mut working = JoinSet::new();
        for mut session in sessions {
            let (goal, work) = (goal.clone(), self.work);
            working.spawn(async move {
                session.demand(CREDIT).await?;
                session.work(work, &goal).await?;
                anyhow::Ok(session)
            });
        }
        let mut kept = Vec::new();
        while let Some(worked) = working.join_next().await {
            kept.push(worked??);
        }
        let (took, after) = (began.elapsed(), engine.used()?);
        client.ensure_done(&job.id, executions).await?;
        let sync = engine.sync;
        drop((kept, client));
        engine.stop()?;
        fill::recount(&data, executions)?;
        Ok(Ran {
            rate: executions as f64 / took.as_secs_f64(),
            cpu: (after.cpu - before.cpu).as_secs_f64() * 1e6 / executions as f64,
            sync,
        })
    }

    /// Executions per second without anything around SQLite. One transaction: what a durable write takes is no matter.
    async fn limit(self, executions: u64) -> anyhow::Result<f64> {
        let place = Place::delayed()?;
        let data = place.directory("bare")?;
        fill::devices(&data, executions).await?;
        let took = limit::job(&data, BATCH, self.work.answers)?;
        fill::recount(&data, executions).context("SQLite alone")?;
        Ok(executions as f64 / took.as_secs_f64())
    }
}

/// What came of the same on the disk.
pub(super) fn disk_note(measured: &str, sync: Duration) -> String {
    let rate = 1.0 / sync.as_secs_f64();
    format!("on this machine's disk, {rate:.0} durable writes/s: {measured}")
}
