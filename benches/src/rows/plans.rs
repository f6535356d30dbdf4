//! E1 and E2: what should be true of a large table, and firmware over a fleet.

use std::time::Duration;

use anyhow::ensure;
use muster_model::{Ensure, Items, Plan, Step, Upgrade, Values, file};
use muster_sim::Counters;
use tokio::runtime::Runtime;

use super::{Row, Run};
use crate::bare;
use crate::board::{Better, Outcome, Spec};
use crate::cpu::{median, process_time};
use crate::sim::{Firmware, Sim};
use crate::system::{Role, System, limits};

const MENU: &str = "/ip/firewall/address-list";
const PRINT: &[&str] = &["/ip/firewall/address-list/print"];
/// Rows of the table, and items that are wanted in it, of which half are missing.
const ROWS: usize = 5_000;
const WANTED: usize = 50;
/// Devices, few because each has a large table.
const TABLES: usize = 20;

/// Routers that are upgraded.
const ROUTERS: usize = 5_000;

/// What should be true.
#[derive(Debug)]
pub(super) struct E1;

/// Firmware.
#[derive(Debug)]
pub(super) struct E2;

/// Addresses from one on.
fn wish(from: usize, count: usize) -> anyhow::Result<Plan> {
    let item = |at: usize| {
        Values::new([
            ("list", "bench".to_owned()),
            ("address", format!("10.{}.{}.0/24", at / 250, at % 250)),
            ("comment", format!("item {at}")),
        ])
    };
    let items = Items {
        key: vec!["list".into(), "address".into()],
        items: (from..from + count).map(item).collect::<Result<_, _>>()?,
        ..Items::default()
    };
    Ok(Plan::new(vec![Step::Ensure(Ensure::items(MENU, items)?)]))
}

/// What was asked of all devices between two looks: reads of the menu, and writes.
fn asked(before: &Counters, after: &Counters) -> (u64, u64) {
    let prints = |counters: &Counters| counters.commands.get(PRINT[0]).copied().unwrap_or_default();
    (
        prints(after) - prints(before),
        after.mutating_commands - before.mutating_commands,
    )
}

impl Row for E1 {
    fn spec(&self) -> Spec {
        Spec {
            id: "E1",
            what: "an ensure of 50 items, half of them missing, on a table of 5,000 rows, 20 devices with open sessions, \
                   end to end with an engine in another process: processor time of the worker for a device",
            unit: "ms",
            better: Better::Lower,
            floor: 20.0,
            goal: 10.0,
            baseline: "two prints of the same table by a bare loop that keeps nothing",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        let runtime = Runtime::new()?;
        let devices = TABLES as f64;
        let (mut ours, mut idle, mut bare) = (Vec::new(), Vec::new(), Vec::new());
        runtime.block_on(async {
            let sim = Sim::start(&run.program, TABLES + 1)?;
            let system = System::start_apart(&run.program, &sim.devices(), limits(100_000)).await?;
            system.plan(Role::Fleet, &wish(0, ROWS)?, None).await?;
            for turn in 0..run.pick(2, 7) {
                let plan = wish(ROWS - WANTED / 2 + turn * WANTED / 2, WANTED)?;
                let mut times = [0.0; 2];
                for (again, time) in times.iter_mut().enumerate() {
                    let (before, used) = (sim.counters()?, process_time());
                    system.plan(Role::Fleet, &plan, None).await?;
                    *time = (process_time() - used).as_secs_f64() * 1e3 / devices;
                    let told = asked(&before, &sim.counters()?);
                    // The second time everything is as wanted.
                    let expected = match again {
                        0 => (2, WANTED / 2),
                        _ => (1, 0),
                    };
                    let all = (expected.0 * TABLES as u64, (expected.1 * TABLES) as u64);
                    ensure!(told == all, "{told:?} reads and writes instead of {all:?}");
                }
                let used = process_time();
                for _ in 0..2 {
                    bare::ask(sim.devices().split_off(1), PRINT).await?;
                }
                bare.push((process_time() - used).as_secs_f64() * 1e3 / devices);
                run.progress(&format!(
                    "E1 turn {turn}: {:.2} ms, {:.2} ms where nothing is to be done, bare loop {:.2} ms",
                    times[0], times[1], bare[turn]
                ));
                ours.push(times[0]);
                idle.push(times[1]);
            }
            system.stop().await;
            anyhow::Ok(())
        })?;
        Ok(Outcome::Noted {
            measured: median(&mut ours),
            baseline: median(&mut bare),
            notes: vec![
                "a device is read twice and written to 25 times, by the fleet's own counters".to_owned(),
                format!(
                    "a second time it is read once, and nothing is written: {:.2} ms (median)",
                    median(&mut idle)
                ),
            ],
        })
    }
}

/// A rollout of one wave in which every device may be changed at once.
const ROLLOUT: &str = "name = \"firmware\"\nall = true\n[[step]]\nwait = \"1s\"\n[[wave]]\nsize = \"100%\"\n[limits]\nbudget = \"all\"\n";

impl Row for E2 {
    fn spec(&self) -> Spec {
        Spec {
            id: "E2",
            what: "a firmware rollout over 5,000 simulated devices that may all be changed at once (B = 5,000), from its \
                   creation to the last result, by the time of the simulated download and restart alone",
            unit: "times",
            better: Better::Lower,
            floor: 3.0,
            goal: 1.5,
            baseline: "the same rollout over one device, by the same time",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        let runtime = Runtime::new()?;
        let routers = run.pick(500, ROUTERS);
        let firmware = Firmware {
            download: Duration::from_secs(5),
            restart: Duration::from_secs(30),
        };
        let alone = (firmware.download + firmware.restart + firmware.restart / 10).as_secs_f64();
        let upgrade = Upgrade {
            version: Some(Firmware::TO.to_owned()),
            wait: Some(Duration::from_secs(300)),
            reserve: Some(0),
            ..Upgrade::default()
        };
        let steps = upgrade.steps().map_err(|bad| anyhow::anyhow!("{bad:?}"))?;
        let plan = Plan::new(steps);
        let policy = file::rollout(ROLLOUT)
            .map_err(|errors| anyhow::anyhow!("{errors:?}"))?
            .policy;
        let (one, all, cpu) = runtime.block_on(async {
            let sim = Sim::start_with(&run.program, routers + 1, Some(firmware))?;
            let system = System::start_apart(&run.program, &sim.devices(), limits(1_000)).await?;
            let one = system.plan(Role::WarmUp, &plan, Some((&policy).into())).await?;
            let used = process_time();
            let all = system.plan(Role::Fleet, &plan, Some((&policy).into())).await?;
            let cpu = process_time() - used;
            // The first reboots are of the one beside the fleet.
            let reboots = sim.counters()?.commands.get("/system/reboot").copied();
            ensure!(
                reboots == Some(routers as u64 + 1),
                "{reboots:?} restarts of {routers} routers and one"
            );
            system.stop().await;
            anyhow::Ok((one, all, cpu))
        })?;
        run.progress(&format!(
            "E2: {:.1} s, one device {:.1} s",
            all.as_secs_f64(),
            one.as_secs_f64()
        ));
        Ok(Outcome::Noted {
            measured: all.as_secs_f64() / alone,
            baseline: one.as_secs_f64() / alone,
            notes: vec![
                format!(
                    "{routers} devices in {:.1} s, one in {:.1} s; download, restart and the time without logins after it \
                     are {alone:.1} s; every device restarted once",
                    all.as_secs_f64(),
                    one.as_secs_f64()
                ),
                format!(
                    "{:.2} ms of the worker's processor time for a device",
                    cpu.as_secs_f64() * 1e3 / routers as f64
                ),
            ],
        })
    }
}
