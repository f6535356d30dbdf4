//! Schedules: what they are made of, and beginning what they do.

use std::sync::Arc;
use std::time::Duration;

use muster_engine_core::schedule::{Missed, Overlap, Standing};
use muster_model::Effect;
use muster_model::policy::{Zone, cron};
use muster_proto::{Violation, v1};
use muster_store::{NoteScheduleRun, ScheduleRecord, StartingRecord, StoreError};
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tonic::{Code, Request, Status};

use crate::services::{Service, check_job};
use crate::{Shared, audit, error};
use muster_proto::v1::job_service_server::JobService as _;
use v1::schedule::Does;

/// The longest spread.
const SPREAD: Duration = Duration::from_secs(24 * 3600);
/// Occurrences that can be made up for.
const MADE_UP: u32 = 1000;

/// A schedule that was understood.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    pub(crate) message: v1::Schedule,
    pub(crate) zone: Zone,
    pub(crate) effect: Effect,
    pub(crate) overlap: Overlap,
    pub(crate) missed: Missed,
}

impl Schedule {
    /// Reads a schedule; all that is wrong with it is told.
    pub(crate) fn parse(message: v1::Schedule) -> Result<Self, Vec<Violation>> {
        let mut violations = Vec::new();
        let mut wrong =
            |field: &str, told: String| violations.push(Violation::new(format!("schedule.{field}"), told));
        let name = &message.name;
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > 100 || !name.chars().all(is_name) {
            let told = format!("{name:?} is no name; write 1 to 100 letters, digits, -, _ and .");
            wrong("name", told);
        }
        match cron(&message.cron) {
            Ok(_)
                if muster_engine_core::schedule::occurrences(&message.cron, &Zone::default(), 0)
                    .next()
                    .is_none() =>
            {
                wrong(
                    "cron",
                    format!("{:?} never comes about, such as February 30", message.cron),
                );
            }
            Ok(_) => {}
            Err(told) => wrong("cron", told.to_string()),
        }
        let zone = match message.time_zone.as_str() {
            "" => Zone::default(),
            name => Zone::new(name).unwrap_or_else(|told| {
                wrong("time_zone", told.to_string());
                Zone::default()
            }),
        };
        let overlap = match message.overlap() {
            v1::Overlap::Unspecified | v1::Overlap::Skip => Overlap::Skip,
            v1::Overlap::Queue => Overlap::Queue,
            v1::Overlap::Cancel => Overlap::Cancel,
        };
        let mut effect = Effect::Read;
        match &message.does {
            None => wrong("does", "give a job or an audit".into()),
            Some(Does::Job(spec)) => {
                if !spec.previewed.is_empty() {
                    wrong(
                        "job.previewed",
                        "a preview is good for a day only; leave it out".into(),
                    );
                }
                match check_job(spec) {
                    Ok(found) => effect = found,
                    Err(bad) => violations.extend(bad.into_iter().map(|bad| Violation {
                        field: bad.field.replacen("spec.", "schedule.job.", 1),
                        ..bad
                    })),
                }
            }
            Some(Does::Audit(request)) => {
                if let Err(bad) = audit::check_request(request) {
                    violations.extend(bad.into_iter().map(|bad| Violation {
                        field: format!("schedule.audit.{}", bad.field),
                        ..bad
                    }));
                }
            }
        }
        let mut wrong =
            |field: &str, told: String| violations.push(Violation::new(format!("schedule.{field}"), told));
        let changes = effect >= Effect::Change;
        let missed = match message.missed() {
            v1::Missed::Unspecified if changes => Missed::Skip,
            v1::Missed::Unspecified | v1::Missed::Once => Missed::Once,
            v1::Missed::Skip => Missed::Skip,
            v1::Missed::All => Missed::All(message.missed_most),
        };
        if changes && missed != Missed::Skip {
            let told = "a job with changes never makes up for what it missed; leave it out, or write skip";
            wrong("missed", told.into());
        }
        match missed {
            Missed::All(most) if !(1..=MADE_UP).contains(&most) => {
                wrong("missed_most", format!("{most} is not from 1 to {MADE_UP}"));
            }
            Missed::Skip | Missed::Once if message.missed_most > 0 => {
                wrong("missed_most", "it is of use with MISSED_ALL only".into());
            }
            _ => {}
        }
        match violations.is_empty() {
            true => Ok(Self {
                zone,
                effect,
                overlap,
                missed,
                message,
            }),
            false => Err(violations),
        }
    }

    /// As it is stored.
    pub(crate) fn body(&self) -> Vec<u8> {
        self.message.encode_to_vec()
    }

    /// From what was stored.
    pub(crate) fn stored(record: &ScheduleRecord) -> Result<Self, StoreError> {
        Self::read(&record.name, &record.body)
    }

    fn read(name: &str, body: &[u8]) -> Result<Self, StoreError> {
        let corrupt = |told: String| StoreError::Corrupt(format!("schedule {name}: {told}"));
        let message = v1::Schedule::decode(body).map_err(|error| corrupt(error.to_string()))?;
        Self::parse(message).map_err(|bad| {
            let told = bad
                .first()
                .map(|bad| format!("{}: {}", bad.field, bad.description));
            corrupt(told.unwrap_or_default())
        })
    }

    pub(crate) fn standing<'a>(&'a self, record: &'a ScheduleRecord) -> Standing<'a> {
        Standing {
            cron: &self.message.cron,
            zone: &self.zone,
            after: record.after,
            waiting: &record.waiting,
            paused: record.paused_at.is_some(),
            running: record.running.is_some(),
            overlap: self.overlap,
            missed: self.missed,
        }
    }
}

/// A job's spread (G4), from what was asked for and its name.
pub(crate) fn spread(
    asked: Option<&prost_types::Duration>,
    field: &str,
    name: &str,
) -> Result<Option<muster_store::Spread>, Violation> {
    let Some(asked) = asked else { return Ok(None) };
    match muster_proto::duration(asked) {
        Some(Duration::ZERO) => Ok(None),
        Some(over) if over <= SPREAD => {
            let digest = Sha256::digest(name);
            Ok(Some(muster_store::Spread {
                // At most 24 h.
                ms: u32::try_from(over.as_millis()).unwrap_or(u32::MAX),
                seed: u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]),
            }))
        }
        _ => Err(Violation::new(field, "it is not from 0 to 24 h")),
    }
}

/// The request id under which an occurrence makes what it makes: once, whoever asks how often.
fn request_id(schedule: i64, occurrence: i64) -> String {
    format!("schedule-{schedule}-{occurrence}")
}

/// Begins an occurrence that is to begin, or notes why it cannot.
///
/// One that was decided on before a crash is begun only while it is not late: what is missed goes by its policy. If it was begun
/// already it is told so.
pub(crate) async fn begin(
    shared: &Arc<Shared>,
    start: &StartingRecord,
    wall: i64,
) -> Result<String, StoreError> {
    let schedule = Schedule::read(&start.name, &start.body)?;
    let id = request_id(start.schedule, start.occurrence);
    let made = match shared.store.made_by(&id).await? {
        Some(job) => Ok(job),
        None if wall - start.at > muster_engine_core::schedule::LATE_MS
            && schedule.missed == Missed::Skip =>
        {
            Err("missed: the engine stopped when it was to begin".to_owned())
        }
        None => match make(shared, &schedule, &start.name, id, &start.claimed_by).await {
            Ok(job) => Ok(job),
            // Nothing was made, and the next try may.
            Err(status) if status.code() == Code::Unavailable || status.code() == Code::ResourceExhausted => {
                return Ok(String::new());
            }
            Err(status) => Err(status.message().to_owned()),
        },
    };
    let told = match &made {
        Ok(job) => format!("{} began as {job}", start.name),
        Err(why) => format!("{} did not begin: {why}", start.name),
    };
    tracing::info!("{told}");
    let note = NoteScheduleRun {
        run: start.run,
        made,
        reason: String::new(),
    };
    shared.store.write(note).await?;
    Ok(told)
}

/// Makes what a schedule does.
async fn make(
    shared: &Arc<Shared>,
    schedule: &Schedule,
    name: &str,
    request_id: String,
    claimed_by: &str,
) -> Result<String, Status> {
    let claimed_by = format!("schedule {name} of {claimed_by}");
    match &schedule.message.does {
        Some(Does::Job(spec)) => {
            let mut spec = spec.clone();
            if spec.name.is_empty() {
                spec.name = name.to_owned();
            }
            let request = v1::CreateJobRequest {
                spec: Some(spec),
                request_id,
                claimed_by,
                ..Default::default()
            };
            let answer = Service(shared.clone()).create_job(Request::new(request)).await?;
            let job = answer.into_inner().job;
            job.map(|job| job.id).ok_or_else(|| error::internal("no job"))
        }
        Some(Does::Audit(request)) => {
            let request = v1::CreateAuditRequest {
                request_id,
                claimed_by,
                ..request.clone()
            };
            Ok(audit::create(shared, &request, None).await?.uuid)
        }
        None => Err(error::internal("a schedule of nothing")),
    }
}

/// Aborts the run before, so that the next can begin.
pub(crate) async fn cancel(shared: &Arc<Shared>, record: &ScheduleRecord) -> Result<(), StoreError> {
    let Some(job) = record.running.as_ref().filter(|job| !job.is_empty()) else {
        return Ok(());
    };
    let request = v1::AbortJobRequest {
        id: job.clone(),
        reason: "the next occurrence is due".into(),
        claimed_by: format!("schedule {}", record.name),
        ..Default::default()
    };
    match Service(shared.clone()).abort_job(Request::new(request)).await {
        Ok(_) => {}
        // Over meanwhile, or on its way: it is waited for.
        Err(status) => tracing::info!(job, %status, "the run before cannot be aborted"),
    }
    Ok(())
}

/// Begins now what a schedule does.
pub(crate) async fn run_now(
    shared: &Arc<Shared>,
    record: &ScheduleRecord,
    request_id: String,
    claimed_by: &str,
) -> Result<String, Status> {
    let schedule = Schedule::stored(record).map_err(error::store)?;
    make(shared, &schedule, &record.name, request_id, claimed_by).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> v1::Schedule {
        let command = v1::Command {
            words: vec!["/system/resource/print".into()],
            ..Default::default()
        };
        let step = v1::Step {
            kind: Some(v1::step::Kind::Command(command)),
        };
        let spec = v1::JobSpec {
            plan: Some(v1::Plan {
                steps: vec![step],
                ..Default::default()
            }),
            all: true,
            ..Default::default()
        };
        v1::Schedule {
            name: "nightly".into(),
            cron: "30 3 * * *".into(),
            time_zone: "Europe/Riga".into(),
            does: Some(Does::Job(spec)),
            ..Default::default()
        }
    }

    fn fields(message: v1::Schedule) -> Vec<String> {
        let violations = Schedule::parse(message).err().unwrap_or_default();
        violations.into_iter().map(|bad| bad.field).collect()
    }

    #[test]
    fn what_changes_nothing_is_made_up_for_once() {
        let schedule = Schedule::parse(message()).expect("valid");
        assert_eq!((schedule.missed, schedule.overlap), (Missed::Once, Overlap::Skip));
        let stored = Schedule::read("nightly", &schedule.body()).expect("its own");
        assert_eq!(stored.message, schedule.message);
    }

    #[test]
    fn everything_that_is_wrong_is_told() {
        let bad = v1::Schedule {
            name: "a b".into(),
            cron: "0 25 * * *".into(),
            time_zone: "Europe/Rigga".into(),
            does: Some(Does::Job(v1::JobSpec {
                all: true,
                ..Default::default()
            })),
            missed: v1::Missed::All.into(),
            ..Default::default()
        };
        assert_eq!(
            fields(bad),
            [
                "schedule.name",
                "schedule.cron",
                "schedule.time_zone",
                "schedule.job.plan.steps",
                "schedule.missed_most"
            ]
        );
        let never = v1::Schedule {
            cron: "0 0 30 2 *".into(),
            ..message()
        };
        assert_eq!(fields(never), ["schedule.cron"]);
    }

    #[test]
    fn a_job_with_changes_never_makes_up_for_anything() {
        let mut changes = message();
        if let Some(Does::Job(v1::JobSpec { plan: Some(plan), .. })) = &mut changes.does {
            plan.steps[0].kind = Some(v1::step::Kind::Command(v1::Command {
                words: vec!["/ip/dns/set".into(), "servers=1.1.1.1".into()],
                ..Default::default()
            }));
        }
        assert_eq!(
            Schedule::parse(changes.clone()).expect("valid").missed,
            Missed::Skip
        );
        changes.missed = v1::Missed::Once.into();
        assert_eq!(fields(changes), ["schedule.missed"]);
    }
}
