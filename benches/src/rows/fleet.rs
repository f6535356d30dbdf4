//! S6 and S7: 10,000 devices end to end with the engine, durable, with cold connections and with connections that are
//! there.

use anyhow::ensure;
use muster_worker::DeviceLimits;
use tokio::runtime::Runtime;

use super::{Row, Run};
use crate::bare;
use crate::board::{Better, Outcome, Spec};
use crate::cpu::median;
use crate::sim::Sim;
use crate::system::System;

pub(super) const DEVICES: usize = 10_000;
const COMMAND: &[&str] = &["/system/resource/print", "=.proplist=version,uptime"];

/// Cold devices.
#[derive(Debug)]
pub(super) struct S6;

/// Held sessions.
#[derive(Debug)]
pub(super) struct S7;

/// Limits that are not what is measured: connects and handshakes without any.
fn limits() -> DeviceLimits {
    DeviceLimits {
        connects_per_second: 0,
        handshakes: 4_096,
        ..DeviceLimits::default()
    }
}

impl Row for S6 {
    fn spec(&self) -> Spec {
        Spec {
            id: "S6",
            what: "10,000 simulated devices, cold: connect, log in, one print, durable result in the client's hands; \
                   connects a second not limited, 4,096 handshakes at once: devices per second",
            unit: "devices/s",
            better: Better::Higher,
            floor: 4_000.0,
            goal: 10_000.0,
            baseline: "the same devices asked by a bare loop, all at once: connect, log in, print, nothing kept",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        let runtime = Runtime::new()?;
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        let runs = run.pick(1, 3);
        for number in 1..=runs {
            let rate = runtime.block_on(async {
                let sim = Sim::start(&run.program, DEVICES + 1)?;
                let system = System::start_with(&sim.devices(), limits()).await?;
                let (time, tally) = system.run(COMMAND).await?;
                system.stop().await;
                ensure!(tally.rows == DEVICES as u64, "{tally:?}");
                Ok(DEVICES as f64 / time.as_secs_f64())
            })?;
            let loop_rate = runtime.block_on(async {
                let sim = Sim::start(&run.program, DEVICES + 1)?;
                let (time, _) = bare::ask(sim.devices().split_off(1), COMMAND).await?;
                anyhow::Ok(DEVICES as f64 / time.as_secs_f64())
            })?;
            run.progress(&format!(
                "S6 run {number} of {runs}: {rate:.0} devices/s, bare loop {loop_rate:.0}"
            ));
            ours.push(rate);
            bare.push(loop_rate);
        }
        Ok(Outcome::Measured {
            measured: median(&mut ours),
            baseline: median(&mut bare),
        })
    }
}

impl Row for S7 {
    fn spec(&self) -> Spec {
        Spec {
            id: "S7",
            what: "one print on 10,000 simulated devices whose sessions are open, end to end with the engine, durable: \
                   devices per second",
            unit: "devices/s",
            better: Better::Higher,
            floor: 15_000.0,
            goal: 50_000.0,
            baseline: "the first print of the same system, which opens the sessions",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        let runtime = Runtime::new()?;
        let [cold, mut held] = runtime.block_on(held(run))?;
        Ok(Outcome::Measured {
            measured: median(&mut held),
            baseline: cold[0],
        })
    }
}

/// Devices a second: of the first print, and of those after it.
pub(super) async fn held(run: &Run) -> anyhow::Result<[Vec<f64>; 2]> {
    let sim = Sim::start(&run.program, DEVICES + 1)?;
    // The same devices are asked again at once, so their own limits would be what is measured.
    let limits = DeviceLimits {
        commands_per_second: 1_000,
        command_burst: 1_000,
        ..limits()
    };
    let system = System::start_with(&sim.devices(), limits).await?;
    let (mut cold, mut held) = (Vec::new(), Vec::new());
    for turn in 0..=run.pick(3, 9) {
        let (time, tally) = system.run(COMMAND).await?;
        ensure!(tally.rows == DEVICES as u64, "{tally:?}");
        let rate = DEVICES as f64 / time.as_secs_f64();
        if turn == 0 { &mut cold } else { &mut held }.push(rate);
        run.progress(&format!("S7 turn {turn}: {rate:.0} devices/s"));
    }
    system.stop().await;
    Ok([cold, held])
}
