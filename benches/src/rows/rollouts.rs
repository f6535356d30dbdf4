//! P1 to P3: what rollouts cost. Waves cost the store nothing, who watches sees it at once, and a preview of a fleet is a
//! matter of seconds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::fleet::DEVICES;
use super::{Row, Run};
use crate::board::{Better, Outcome, Spec};
use crate::client::Client;
use crate::cpu::{self, median, percentile};
use crate::instant::Session;
use crate::process::EngineProcess;
use crate::queue::{Answers, Queue};
use crate::sim::Sim;
use crate::sync::Place;
use crate::system::{System, limits};
use crate::{fill, scratch};

/// Waves.
#[derive(Debug)]
pub(super) struct P1;

/// A watch.
#[derive(Debug)]
pub(super) struct P2;

/// A preview.
#[derive(Debug)]
pub(super) struct P3;

const WAVES: u32 = 20;

impl Row for P1 {
    fn spec(&self) -> Spec {
        Spec {
            id: "P1",
            what: "a change on 100,000 devices in 20 waves that open one after the other, claimed, granted under a budget \
                   and completed in batches of 500: processor time of an execution relative to the same in one wave",
            unit: "x time",
            better: Better::Lower,
            floor: 1.15,
            goal: 1.0,
            baseline: "the same executions in one wave",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        let runtime = Runtime::new()?;
        let executions = run.pick(20_000, 100_000) as u64;
        let (mut ratios, mut costs) = (Vec::new(), [Vec::new(), Vec::new()]);
        let runs = run.pick(1, 5);
        for number in 1..=runs {
            // In turns, so that whatever disturbs the machine disturbs both.
            let order = if number % 2 == 0 { [1, WAVES] } else { [WAVES, 1] };
            let mut cost = HashMap::new();
            for waves in order {
                cost.insert(waves, runtime.block_on(admit(executions, waves))?);
            }
            let (many, one) = (cost[&WAVES], cost[&1]);
            run.progress(&format!(
                "P1 run {number} of {runs}: {many:.1} us in {WAVES} waves, {one:.1} us in one: {:.2} x",
                many / one
            ));
            ratios.push(many / one);
            costs[0].push(many);
            costs[1].push(one);
        }
        let [many, one] = &mut costs;
        Ok(Outcome::Noted {
            measured: median(&mut ratios),
            baseline: 1.0,
            notes: vec![format!(
                "{:.1} us of processor time for an execution, {:.1} in one wave (medians)",
                median(many),
                median(one)
            )],
        })
    }
}

/// Processor time of an execution, microseconds.
async fn admit(executions: u64, waves: u32) -> anyhow::Result<f64> {
    let directory = match scratch::in_memory() {
        Some(directory) => directory,
        None => scratch::on_disk()?,
    };
    let queue = Queue::open(directory.path(), executions).await?;
    let job = queue.create_in_waves(executions, waves).await?;
    let began = cpu::process_time();
    let mut done = 0;
    for wave in 0..waves {
        queue.open_wave(&job, wave).await?;
        loop {
            let leases = queue.claim().await?;
            if leases.is_empty() {
                break;
            }
            queue.grant(&leases).await?;
            queue
                .complete(crate::queue::reports(&leases, Answers::Done)?)
                .await?;
            done += leases.len() as u64;
        }
    }
    let used = cpu::process_time() - began;
    ensure!(done == executions, "{done} of {executions} executions were done");
    queue.close().await;
    Ok(used.as_secs_f64() * 1e6 / executions as f64)
}

/// Executions that end in a second.
const RATE: u32 = 5_000;
/// Between two handfuls of them.
const TICK: Duration = Duration::from_millis(20);

impl Row for P2 {
    fn spec(&self) -> Spec {
        Spec {
            id: "P2",
            what: "a watch with results while 5,000 executions a second end, four workers: from a report's sending to its \
                   result in the watcher's hands, 99 of 100, durable at 0.2 ms",
            unit: "ms",
            better: Better::Lower,
            floor: 250.0,
            goal: 100.0,
            baseline: "from a report's sending to its acknowledgement",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        let runtime = Runtime::new()?;
        let seconds = run.pick(2, 20) as u32;
        let [mut lags, mut acks] = runtime.block_on(watched(run, u64::from(RATE * seconds)))?;
        run.progress(&format!(
            "P2: {} results, half of them within {:.1} ms",
            lags.len(),
            percentile(&mut lags, 0.5)
        ));
        Ok(Outcome::Noted {
            measured: percentile(&mut lags, 0.99),
            baseline: percentile(&mut acks, 0.99),
            notes: vec![format!(
                "half of them within {:.1} ms, all within {:.1} ms",
                percentile(&mut lags, 0.5),
                percentile(&mut lags, 1.0)
            )],
        })
    }
}

const WORKERS: u32 = 4;

/// How late results and acknowledgements were, milliseconds.
async fn watched(run: &Run, executions: u64) -> anyhow::Result<[Vec<f64>; 2]> {
    let place = Place::delayed()?;
    let data = place.directory("data")?;
    fill::devices(&data, executions).await?;
    let engine = EngineProcess::start(&run.program, &place, &data)?;
    let client = Client::new(&engine).await?;
    let job = client.create(&["/system/resource/print"], "").await?;
    let mut sessions = Vec::new();
    for number in 0..WORKERS {
        sessions.push(Session::open(&engine, &format!("paced-{number}"), RATE).await?);
    }
    let sent = Arc::new(Mutex::new(HashMap::new()));
    let mut news = client.watch(&job.id).await?;
    let watching = tokio::spawn({
        let sent = sent.clone();
        async move {
            let mut lags = Vec::new();
            while let Some(message) = news.message().await? {
                let now = Instant::now();
                let sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
                for result in message.results {
                    let execution: u64 = result.execution.parse()?;
                    let at: &Instant = sent.get(&execution).context("a result that nobody told")?;
                    lags.push((now - *at).as_secs_f64() * 1e3);
                }
            }
            anyhow::Ok(lags)
        }
    });
    let mut working = JoinSet::new();
    for mut session in sessions {
        let sent = sent.clone();
        let each = executions / u64::from(WORKERS);
        working.spawn(async move {
            let handful = RATE * TICK.as_millis() as u32 / 1000 / WORKERS;
            let acks = session.paced(each, handful, TICK, &sent).await?;
            anyhow::Ok((session, acks))
        });
    }
    let (mut acks, mut kept) = (Vec::new(), Vec::new());
    while let Some(worked) = working.join_next().await {
        let (session, mut late) = worked??;
        acks.append(&mut late);
        kept.push(session);
    }
    let lags = watching.await??;
    ensure!(
        lags.len() as u64 == executions,
        "{} results of {executions}",
        lags.len()
    );
    client.ensure_done(&job.id, executions).await?;
    drop((kept, client));
    engine.stop()?;
    Ok([lags, acks])
}

impl Row for P3 {
    fn spec(&self) -> Spec {
        Spec {
            id: "P3",
            what: "a preview of a rollout of 10,000 simulated devices whose facts are fresh, sessions open: every device is \
                   read, those alike grouped, waves laid and the digest made, 1,000 commands a second and device: seconds",
            unit: "s",
            better: Better::Lower,
            floor: 10.0,
            goal: 5.0,
            baseline: "one print on the same devices",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        let runtime = Runtime::new()?;
        let (mut ours, mut plans, mut print) = (Vec::new(), Vec::new(), Vec::new());
        runtime.block_on(async {
            let sim = Sim::start(&run.program, DEVICES + 1)?;
            let system = System::start_with(&sim.devices(), limits(1_000)).await?;
            // Opens the sessions, and learns the facts.
            system.run(&["/system/identity/print"]).await?;
            for turn in 1..=run.pick(1, 3) {
                let (time, _) = system
                    .run(&["/system/resource/print", "=.proplist=version"])
                    .await?;
                print.push(time.as_secs_f64());
                let (plan, all) = system.preview().await?;
                run.progress(&format!(
                    "P3 turn {turn}: {:.2} s, of it {:.2} s for the waves alone",
                    all.as_secs_f64(),
                    plan.as_secs_f64()
                ));
                ours.push(all.as_secs_f64());
                plans.push(plan.as_secs_f64());
            }
            system.stop().await;
            anyhow::Ok(())
        })?;
        Ok(Outcome::Noted {
            measured: median(&mut ours),
            baseline: median(&mut print),
            notes: vec![format!("waves and digest alone: {:.2} s", median(&mut plans))],
        })
    }
}
