//! R1 and R3: audits, from devices to verdicts, and the judging alone.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use muster_audit::{About, Asked, BASELINE, Judge, Verdict, file};
use muster_model::{ExecutionState, Labels, check};
use routeros_wire::encode;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;

use super::{Row, Run};
use crate::board::{Better, Outcome, Spec};
use crate::cpu::median;
use crate::sim::Sim;
use crate::system::{System, limits};

const DEVICES: usize = 10_000;

/// An audit of a fleet.
#[derive(Debug)]
pub(super) struct R1;

/// Judging.
#[derive(Debug)]
pub(super) struct R3a;

/// Judging what was judged.
#[derive(Debug)]
pub(super) struct R3b;

impl Row for R1 {
    fn spec(&self) -> Spec {
        Spec {
            id: "R1",
            what: "20 checks on 10,000 simulated devices whose sessions are open, from the call to durable verdicts, the \
                   simulator included, 1,000 commands a second and device: seconds",
            unit: "s",
            better: Better::Lower,
            floor: 60.0,
            goal: 10.0,
            baseline: "one print on the same devices, which judges nothing",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        let runtime = Runtime::new()?;
        let (mut ours, mut print) = (Vec::new(), Vec::new());
        runtime.block_on(async {
            let sim = Sim::start(&run.program, DEVICES + 1)?;
            // The same devices are asked again at once, so their own limits would be what is measured.
            let system = System::start_with(&sim.devices(), limits(1_000)).await?;
            // Opens the sessions.
            system.run(&["/system/identity/print"]).await?;
            for turn in 1..=run.pick(1, 3) {
                let (time, _) = system
                    .run(&["/system/resource/print", "=.proplist=version"])
                    .await?;
                print.push(time.as_secs_f64());
                let (time, judged) = system.audit(&twenty()).await?;
                ensure!(judged == DEVICES as u64, "{judged} devices answered");
                run.progress(&format!("R1 turn {turn}: {:.2} s", time.as_secs_f64()));
                ours.push(time.as_secs_f64());
            }
            system.stop().await;
            anyhow::Ok(())
        })?;
        Ok(Outcome::Measured {
            measured: median(&mut ours),
            baseline: median(&mut print),
        })
    }
}

/// Twenty checks over the menus that the simulator has.
fn twenty() -> String {
    const CHECKS: [(&str, &str, &str); 10] = [
        ("/ip/service", "name=telnet", "rows.all(r, r.disabled == 'true')"),
        ("/ip/service", "name=ftp", "rows.all(r, r.disabled == 'true')"),
        (
            "/ip/service",
            "name=www",
            "rows.all(r, r.disabled == 'true' || r.address != '')",
        ),
        ("/ip/dns", "", "rows.all(r, r.allow_remote_requests != 'true')"),
        (
            "/user",
            "",
            "!rows.exists(u, u.name == 'admin' && u.disabled != 'true')",
        ),
        (
            "/ip/firewall/filter",
            "chain=input",
            "rows.exists(r, r.action == 'drop' && r.disabled != 'true')",
        ),
        (
            "/interface",
            "",
            "rows.all(r, r.disabled == 'true' || int(r.mtu) >= 1280)",
        ),
        ("/ip/address", "", "rows.all(r, r.interface != '')"),
        ("/system/identity", "", "rows.all(r, r.name != 'MikroTik')"),
        ("/system/resource", "", "facts.version >= version('6.49')"),
    ];
    let mut text = "name = \"bench\"\n".to_owned();
    for (at, (read, filter, expect)) in CHECKS.iter().chain(&CHECKS).enumerate() {
        let filter = match *filter {
            "" => String::new(),
            filter => format!("where = \"{filter}\"\n"),
        };
        text.push_str(&format!(
            "[[check]]\nname = \"{at}\"\nread = \"{read}\"\n{filter}expect = \"{expect}\"\n"
        ));
    }
    text
}

impl Row for R3a {
    fn spec(&self) -> Spec {
        Spec {
            id: "R3a",
            what: "the hardening baseline on the answers of devices, each judged anew, one thread: checks per second",
            unit: "checks/s",
            better: Better::Higher,
            floor: 40_000.0,
            goal: 100_000.0,
            baseline: "SHA-256 of the same answers",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        judge(run, false)
    }
}

impl Row for R3b {
    fn spec(&self) -> Spec {
        Spec {
            id: "R3b",
            what: "the same on answers that were judged before, digests given: checks per second",
            unit: "checks/s",
            better: Better::Higher,
            floor: 300_000.0,
            goal: 1_000_000.0,
            baseline: "SHA-256 of the same answers",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        judge(run, true)
    }
}

/// A device's answers to the prints of the baseline, which pass most checks; each device has an address of its own.
fn answers(judge: &Judge, device: usize) -> anyhow::Result<Vec<Vec<u8>>> {
    let steps = judge.reads().plan.steps.iter();
    let answer = |step: &muster_model::Step| {
        let title = step.title();
        let menu = title.split("/print").next().unwrap_or_default();
        let services = [
            ("telnet", "true"),
            ("ftp", "true"),
            ("www", "true"),
            ("ssh", "false"),
            ("api", "false"),
        ];
        let mut items = Vec::<Vec<String>>::new();
        match menu {
            "/ip/service" => items.extend(services.map(|(name, disabled)| {
                vec![
                    format!("=name={name}"),
                    format!("=disabled={disabled}"),
                    format!("=address=10.{}.0.0/16", device % 250),
                ]
            })),
            "/ip/firewall/filter" => items.extend((0..12).map(|rule| {
                let action = if rule == 11 { "drop" } else { "accept" };
                let port = if rule == 11 {
                    String::new()
                } else {
                    format!("{}", 1000 + device % 60_000)
                };
                vec![
                    "=chain=input".into(),
                    format!("=action={action}"),
                    "=disabled=false".into(),
                    format!("=dst-port={port}"),
                ]
            })),
            "/user" => items.push(vec![
                format!("=name=ops{device}"),
                "=group=full".into(),
                "=disabled=false".into(),
            ]),
            "/system/resource" => items.push(vec!["=version=7.16.2 (stable)".into()]),
            _ => items.push(vec!["=enabled=false".into(), format!("=name=d{device}")]),
        }
        let mut bytes = Vec::new();
        for item in items {
            encode::sentence(&mut bytes, std::iter::once("!re".to_owned()).chain(item))?;
        }
        encode::sentence(&mut bytes, ["!done"])?;
        anyhow::Ok(bytes)
    };
    steps.map(answer).collect()
}

fn judge(run: &Run, remembers: bool) -> anyhow::Result<Outcome> {
    let audit = file::audit(BASELINE)?;
    let checks = audit.checks.len();
    let judge = Judge::new(audit);
    let devices = run.pick(200, 1_000);
    let asked = (0..devices)
        .map(|device| answers(&judge, device))
        .collect::<Result<Vec<_>, _>>()?;
    let bytes = asked.iter().flatten().map(Vec::len).sum::<usize>();
    let digests = asked
        .iter()
        .map(|replies| {
            replies
                .iter()
                .map(|reply| Sha256::digest(reply).into())
                .collect::<Vec<[u8; 32]>>()
        })
        .collect::<Vec<_>>();
    let began = Instant::now();
    for reply in asked.iter().flatten() {
        black_box(Sha256::digest(reply));
    }
    let hashing = (devices * checks) as f64 / began.elapsed().as_secs_f64();
    let mut judge = match remembers {
        true => judge,
        false => judge.without_memory(),
    };
    let labels = Labels::default();
    let mut round = || {
        let began = Instant::now();
        let mut passed = 0;
        for (replies, digests) in asked.iter().zip(&digests) {
            let replies = replies.iter().map(Vec::as_slice).collect::<Vec<_>>();
            let said = judge.judge(&Asked {
                about: About {
                    name: "r1",
                    address: "192.0.2.1",
                    zone: "",
                    labels: &labels,
                },
                state: ExecutionState::Succeeded,
                error: None,
                replies: &replies,
                digests,
            });
            passed += said.iter().filter(|said| said.verdict == Verdict::Pass).count();
        }
        (began.elapsed().as_secs_f64(), passed)
    };
    let (rates, passed) = check::deep(|| {
        let (_, passed) = round();
        let turns = (0..run.pick(3, 9)).map(|_| (devices * checks) as f64 / round().0);
        (turns.collect::<Vec<_>>(), passed)
    })
    .context("there is no thread to judge on")?;
    ensure!(
        passed > devices * checks / 2,
        "{passed} of {} passed",
        devices * checks
    );
    let mut rates = rates;
    Ok(Outcome::Noted {
        measured: median(&mut rates),
        baseline: hashing,
        notes: vec![format!(
            "{checks} checks, {} bytes of answers a device, {passed} of {} verdicts are a pass",
            bytes / devices,
            devices * checks
        )],
    })
}
