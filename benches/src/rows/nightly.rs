//! R4: what nightly audits of a fleet that hardly changes cost to keep.
//!
//! The engine runs the hardening baseline night after night; workers answer at once, with what each device says to the
//! prints of the baseline. The database is read at the end: what every device said in the first night, in the last and in
//! one between must still be there as it was said.

use std::path::Path;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use muster_audit::{BASELINE, Judge, file};
use muster_proto::v1;
use muster_store::{ResultPage, Store};
use routeros_wire::encode;
use rusqlite::{Connection, params};
use tokio::runtime::Runtime;

use super::{Row, Run};
use crate::board::{Better, Outcome, Spec};
use crate::client::Client;
use crate::fill;
use crate::instant::Session;
use crate::process::EngineProcess;
use crate::sync::Place;

const NIGHTS: usize = 30;
/// Executions that the worker holds at most.
const CREDIT: u32 = 2_000;
/// Of so many devices one is different from the night before.
const CHANGE: usize = 100;

/// Against copies.
#[derive(Debug)]
pub(super) struct R4;

impl Row for R4 {
    fn spec(&self) -> Spec {
        Spec {
            id: "R4",
            what: "30 nightly audits of 10,000 devices by the hardening baseline, 1 % of the devices changed since the night \
                   before: bytes in the database, relative to the baseline",
            unit: "x size",
            better: Better::Lower,
            floor: 0.1,
            goal: 0.04,
            baseline: "30 full copies: every answer and what all checks say of the device, in a row each",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        let devices = run.pick(1_000, 10_000);
        let fleet = Fleet::new(devices)?;
        let place = Place::delayed_on_disk()?;
        let data = place.directory("data")?;
        let runtime = Runtime::new()?;
        runtime.block_on(fill::devices(&data, devices as u64))?;
        let before = packed(&fill::path(&data))?;
        let jobs = runtime.block_on(nights(run, &place, &data, &fleet))?;
        for night in [0, NIGHTS / 2, NIGHTS - 1] {
            runtime.block_on(fleet.check(&data, &jobs[night], night))?;
        }
        let ours = packed(&fill::path(&data))? - before;
        let copy = fleet.copy(&data, &place.directory("copy")?, &jobs[NIGHTS - 1])?;
        let copies = copy.total * NIGHTS as u64;
        let mut notes = vec![format!(
            "{:.1} MiB for {NIGHTS} nights of {devices} devices, {:.1} MiB for as many copies, {:.1} MiB of the answers alone; \
             {:.0} bytes a device and night, {} a copy",
            mib(ours),
            mib(copies),
            mib(copy.answers * NIGHTS as u64),
            ours as f64 / (devices * NIGHTS) as f64,
            copy.total / devices as u64,
        )];
        notes.push(format!(
            "{:.3} of the copies of the answers alone",
            ours as f64 / (copy.answers * NIGHTS as u64) as f64
        ));
        if run.quick {
            notes.push(format!("quick: {devices} devices only"));
        }
        Ok(Outcome::Noted {
            measured: ours as f64 / copies as f64,
            baseline: 1.0,
            notes,
        })
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Bytes of a database without a log and without free space.
fn packed(path: &Path) -> anyhow::Result<u64> {
    let database = Connection::open(path)?;
    database.execute_batch("VACUUM")?;
    database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    database.close().map_err(|(_, error)| error)?;
    Ok(std::fs::metadata(path)?.len())
}

/// Runs the audits one after the other; the ids of their jobs.
async fn nights(run: &Run, place: &Place, data: &Path, fleet: &Fleet) -> anyhow::Result<Vec<String>> {
    let engine = EngineProcess::start(&run.program, place, data)?;
    let client = Client::new(&engine).await?;
    let mut jobs = Vec::with_capacity(NIGHTS);
    for night in 0..NIGHTS {
        let (audit, ()) = tokio::try_join!(client.audit(BASELINE), fleet.answer(&engine, night))?;
        ensure!(
            audit.answered == fleet.devices as u64,
            "{} devices answered",
            audit.answered
        );
        jobs.push(audit.id);
        run.progress(&format!("R4: night {} of {NIGHTS}", night + 1));
    }
    drop(client);
    engine.stop()?;
    Ok(jobs)
}

/// A print of the baseline.
struct Print {
    menu: String,
    names: Vec<String>,
}

/// What devices say.
struct Fleet {
    devices: usize,
    steps: Vec<Print>,
}

/// A copy of what a night is, in bytes.
struct Copy {
    total: u64,
    answers: u64,
}

impl Fleet {
    fn new(devices: usize) -> anyhow::Result<Self> {
        let judge = Judge::new(file::audit(BASELINE)?);
        let print = |step: &muster_model::Step| {
            let title = step.title();
            let menu = title.split("/print").next().unwrap_or_default().to_owned();
            let names = title.split("=.proplist=").nth(1).unwrap_or_default();
            let names = names.split(' ').next().unwrap_or_default().split(',');
            Print {
                menu,
                names: names.filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            }
        };
        let steps = judge.reads().plan.steps.iter().map(print).collect::<Vec<_>>();
        ensure!(!steps.is_empty(), "the baseline reads nothing");
        Ok(Self { devices, steps })
    }

    /// What a device, counted from 1, answers to each print in a night. Rules, services, users, certificates and
    /// communities are its own; of the other menus there are eight kinds. Each night one device in [`CHANGE`] comes to
    /// have another rule.
    fn said(&self, device: usize, night: usize) -> anyhow::Result<Vec<Bytes>> {
        let changed = |night: usize| (device + 7 * night).is_multiple_of(CHANGE);
        let changes = (1..=night).filter(|night| changed(*night)).count();
        let answer = |print: &Print| {
            let (rows, kind) = match print.menu.as_str() {
                "/ip/firewall/filter" => (12 + changes, device),
                "/ip/service" => (3, device),
                "/certificate" => (2, device),
                "/user" | "/snmp/community" => (1, device),
                menu => (1, (device + menu.len()) % 8),
            };
            let mut bytes = Vec::new();
            for row in 0..rows {
                let is_rule = print.menu.ends_with("/firewall/filter");
                let is_last = row + 1 == rows;
                let word = |name: &String| match name.as_str() {
                    // One in fifty has its services on.
                    "disabled" if print.menu == "/ip/service" => {
                        Some(format!("=disabled={}", !device.is_multiple_of(50)))
                    }
                    "enabled" if print.menu == "/system/ntp/client" => Some("=enabled=true".to_owned()),
                    "disabled" | "dynamic" | "invalid" | "expired" => Some(format!("={name}=false")),
                    "version" => Some("=version=7.16.2 (stable)".to_owned()),
                    "chain" => Some("=chain=input".to_owned()),
                    "action" if is_last => Some("=action=drop".to_owned()),
                    "action" => Some("=action=accept".to_owned()),
                    // It drops everything else.
                    _ if is_rule && is_last => None,
                    name => Some(format!("={name}={}-{kind}", row + 1)),
                };
                let words = std::iter::once("!re".to_owned()).chain(print.names.iter().filter_map(word));
                encode::sentence(&mut bytes, words)?;
            }
            encode::sentence(&mut bytes, ["!done"])?;
            anyhow::Ok(Bytes::from(bytes))
        };
        self.steps.iter().map(answer).collect()
    }

    /// Answers for all devices in a night, in a session that ends when they have.
    async fn answer(&self, engine: &EngineProcess, night: usize) -> anyhow::Result<()> {
        let mut session = Session::open(engine, &format!("night-{night}"), CREDIT).await?;
        session.demand(CREDIT).await?;
        let mut left = self.devices;
        while left > 0 {
            let (_, assignments) = session.assigned().await?;
            let reports = assignments.assignments.iter().map(|one| {
                Ok(v1::Report {
                    execution: one.execution,
                    epoch: one.epoch,
                    outcome: v1::ReportOutcome::Succeeded.into(),
                    replies: self.said(one.device as usize, night)?,
                    elapsed_ms: one.execution % 16,
                    steps_done: self.steps.len() as u32,
                    ..v1::Report::default()
                })
            });
            let reports = reports.collect::<anyhow::Result<Vec<_>>>()?;
            left -= reports.len();
            let freed = reports.len() as u32;
            session.tell(reports).await?;
            session.demand(freed).await?;
        }
        session.acknowledged().await
    }

    /// Fails unless the results of a night are what devices said then.
    async fn check(&self, data: &Path, job: &str, night: usize) -> anyhow::Result<()> {
        let store = Store::open(&fill::path(data)).await?;
        let record = store.job(job).await?.context("the job of an audit")?;
        let mut page = ResultPage {
            job: record.id,
            after: 0,
            limit: 500,
            states: Vec::new(),
        };
        let mut device = 0;
        loop {
            let results = store.results(&page).await?;
            let Some(last) = results.last() else { break };
            page.after = last.execution;
            for result in results {
                device += 1;
                ensure!(
                    result.replies == self.said(device, night)?,
                    "{} did not say that in night {night}",
                    result.device
                );
            }
        }
        ensure!(device == self.devices, "{device} devices in night {night}");
        store.close().await;
        Ok(())
    }

    /// One copy of a night: bytes of a database with it, and of one with the answers alone.
    fn copy(&self, data: &Path, place: &Path, job: &str) -> anyhow::Result<Copy> {
        let said = Connection::open(fill::path(data))?;
        let mut bodies = said.prepare(
            "SELECT r.device_id, o.body FROM audit_run a JOIN audit_result r ON r.run_id = a.id
             JOIN audit_outcome o ON o.id = r.outcome_id WHERE a.uuid = ?1 ORDER BY r.device_id",
        )?;
        let bodies = bodies.query_map([job], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let bodies = bodies.collect::<Result<Vec<(i64, String)>, _>>()?;
        ensure!(
            bodies.len() == self.devices,
            "{} devices are judged",
            bodies.len()
        );
        let path = place.join("copy.db");
        let mut copy = Connection::open(&path)?;
        copy.pragma_update(None, "synchronous", "off")?;
        copy.execute_batch(
            "PRAGMA page_size = 8192;
             CREATE TABLE answer (run INTEGER, device INTEGER, step INTEGER, at INTEGER, bytes BLOB,
                                  PRIMARY KEY (run, device, step)) WITHOUT ROWID;
             CREATE TABLE verdict (run INTEGER, device INTEGER, at INTEGER, body TEXT,
                                   PRIMARY KEY (run, device)) WITHOUT ROWID;",
        )?;
        let empty = packed(&path)?;
        let tx = copy.transaction()?;
        for device in 1..=self.devices {
            for (step, bytes) in self.said(device, NIGHTS - 1)?.iter().enumerate() {
                tx.prepare_cached("INSERT INTO answer VALUES (1, ?1, ?2, 1700000000000, ?3)")?
                    .execute(params![device as i64, step as i64, bytes.as_ref()])?;
            }
        }
        tx.commit()?;
        let answers = packed(&path)? - empty;
        let tx = copy.transaction()?;
        for (device, body) in bodies {
            tx.prepare_cached("INSERT INTO verdict VALUES (1, ?1, 1700000000000, ?2)")?
                .execute(params![device, body])?;
        }
        tx.commit()?;
        Ok(Copy {
            total: packed(&path)? - empty,
            answers,
        })
    }
}
