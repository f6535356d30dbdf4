//! F1: the main job, end to end.
//!
//! ```text
//! client ─ gRPC ─▶ engine ─ SQLite ─▶ dispatch ─ gRPC ─▶ worker ─ 1,000 × TCP ─▶ simulated fleet (own process)
//!    ▲                                                                                │
//!    └── watch ◀── result on disk ◀── report ◀─────────────────────────────────────────
//! ```
//!
//! The clock runs from the client's request for the job to the last result in the client's hands. The baseline is a
//! loop that asks the same devices over connections of its own, all at once, and keeps nothing.

use anyhow::ensure;
use tokio::runtime::Runtime;

use super::{Row, Run};
use crate::bare;
use crate::board::{Better, Outcome, Spec};
use crate::cpu::median;
use crate::sim::Sim;
use crate::system::System;
use crate::tally::Tally;

const DEVICES: usize = 1_000;
const COMMAND: &[&str] = &["/system/resource/print", "=.proplist=version,uptime"];

/// See the module.
#[derive(Debug)]
pub(super) struct F1;

impl Row for F1 {
    fn spec(&self) -> Spec {
        Spec {
            id: "F1",
            what: "one print on 1,000 simulated devices, connections cold, end to end with the engine, durable: \
                   devices per second with the default settings, 2,000 new connections a second among them",
            unit: "devices/s",
            better: Better::Higher,
            floor: 1_500.0,
            goal: 4_000.0,
            baseline: "the same devices asked by a bare loop, all at once: connect, log in, print, nothing kept",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        let runtime = Runtime::new()?;
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        let runs = run.pick(1, 3);
        for number in 1..=runs {
            let (rate, told) = runtime.block_on(through_muster(run))?;
            let (bare_rate, bare_told) = runtime.block_on(through_loop(run))?;
            ensure!(
                told == bare_told && told.devices == DEVICES as u64 && told.rows == DEVICES as u64,
                "the two were told different things: {told:?} through muster, {bare_told:?} through the loop"
            );
            run.progress(&format!(
                "F1 run {number} of {runs}: {rate:.0} devices/s, bare loop {bare_rate:.0}"
            ));
            ours.push(rate);
            bare.push(bare_rate);
        }
        Ok(Outcome::Measured {
            measured: median(&mut ours),
            baseline: median(&mut bare),
        })
    }
}

async fn through_muster(run: &Run) -> anyhow::Result<(f64, Tally)> {
    // One more device than is measured, to warm up on.
    let sim = Sim::start(&run.program, DEVICES + 1)?;
    let system = System::start(&sim.devices()).await?;
    let (time, tally) = system.run(COMMAND).await?;
    system.stop().await;
    Ok((DEVICES as f64 / time.as_secs_f64(), tally))
}

async fn through_loop(run: &Run) -> anyhow::Result<(f64, Tally)> {
    let sim = Sim::start(&run.program, DEVICES + 1)?;
    let (time, tally) = bare::ask(sim.devices().split_off(1), COMMAND).await?;
    Ok((DEVICES as f64 / time.as_secs_f64(), tally))
}
