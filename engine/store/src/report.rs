//! What workers tell.

use std::collections::BTreeMap;

use bytes::Bytes;
use muster_engine_core::{Event, Outcome};
use muster_model::{DeviceError, ErrorClass, ExecutionState};
use serde_json::{Value, json};
use sqlx::SqliteConnection;

use crate::loaded::Loaded;
use crate::transition::Moves;
use crate::{StoreError, Write, availability, blob, json_ids, loaded, rescue, sql};

/// How an attempt ended.
#[derive(Clone, Debug)]
pub struct Report {
    /// The execution.
    pub execution: u64,
    /// The epoch it was held under.
    pub epoch: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, when it is not well.
    pub error: Option<DeviceError>,
    /// The steps that are done, counted from the plan's first.
    pub steps_done: u32,
    /// The step of the first of `replies`.
    pub first_step: u32,
    /// For each step sent, the reply sentences in wire format without tags.
    pub replies: Vec<Bytes>,
    /// When the attempt began, Unix milliseconds.
    pub started_at: i64,
    /// Of a preview: what it found.
    pub fingerprint: Option<[u8; 32]>,
}

/// What became of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportAnswer {
    /// It moved the execution.
    Moved {
        /// To this state.
        to: ExecutionState,
        /// Whether its device is free for others now.
        released: bool,
    },
    /// It moved nothing: told before, or under an epoch that is over.
    Ignored(String),
}

/// What a batch of reports did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// One answer for each report, in order.
    pub answers: Vec<ReportAnswer>,
    /// Executions that waited for a device which turned out to be there, and wait no longer (A9).
    pub woken: u64,
}

impl Applied {
    /// Whether something may be ready to be handed out that was not before.
    pub fn makes_work(&self) -> bool {
        self.woken > 0 || self.answers.iter().any(ReportAnswer::makes_work)
    }
}

impl ReportAnswer {
    fn makes_work(&self) -> bool {
        matches!(
            self,
            Self::Moved {
                to: ExecutionState::Pending,
                ..
            } | Self::Moved { released: true, .. }
        )
    }
}

/// Applies a batch of reports. Telling a report again changes nothing.
#[derive(Debug)]
pub struct ApplyReports {
    /// The reports.
    pub reports: Vec<Report>,
    /// Unix milliseconds.
    pub now: i64,
}

impl Write for ApplyReports {
    type Out = Applied;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<Self::Out, StoreError> {
        let loaded = loaded::load(tx, self.reports.iter().map(|report| report.execution)).await?;
        let mut loaded = loaded
            .into_iter()
            .map(|row| (row.execution.id, row))
            .collect::<BTreeMap<_, _>>();
        // Only where it matters when one that is handed back is to come again.
        let handed_back = self
            .reports
            .iter()
            .filter(|report| report.outcome == Outcome::HandedBack);
        let handed_back = handed_back.filter_map(|report| loaded.get(&report.execution));
        let mut moves = Moves::under_budget(tx, handed_back.clone()).await?;
        let stands = |row: &&Loaded| row.disrupts(row.execution.next_step);
        let at_a_restart = handed_back.filter(stands).map(|row| row.job).collect::<Vec<_>>();
        let bounded = availability::bounded(tx, at_a_restart.into_iter()).await?;
        for row in loaded.values_mut() {
            row.unavailable = bounded.contains(&row.job) && row.disrupts(row.execution.next_step);
        }
        let told = self.reports.iter();
        let told = told.filter_map(|report| Some((loaded.get(&report.execution)?.device, report)));
        availability::note_reports(tx, told, self.now).await?;
        let (mut answers, mut results) = (Vec::new(), Vec::new());
        let (mut reached, mut seen, mut found) = (Vec::new(), Vec::new(), Vec::new());
        for report in &self.reports {
            let Some(row) = loaded.get_mut(&report.execution) else {
                answers.push(ReportAnswer::Ignored("no such execution".into()));
                continue;
            };
            let event = Event::Reported {
                epoch: report.epoch,
                outcome: report.outcome,
                steps_done: report.steps_done,
                error: report.error.clone(),
            };
            if report.reached_its_device() {
                reached.push(report.execution);
            }
            if report.saw_its_device() {
                seen.push(report.execution);
            }
            let held = row.locked;
            let first = row.is_in_its_first_lease();
            // Who only looks has nothing to tell in place of what the step itself told.
            let tells = !(row.execution.is_resolving() && report.replies.is_empty());
            match moves.decide(row, &event, self.now, Some(report.started_at)) {
                Ok(()) => {
                    answers.push(ReportAnswer::Moved {
                        to: row.execution.state,
                        released: held && !row.locked,
                    });
                    if let Some(fingerprint) = &report.fingerprint {
                        found.push(json!([report.execution, blob::hex(fingerprint)]));
                    }
                    if tells {
                        results.push(blob::Answers {
                            execution: report.execution,
                            first: report.first_step,
                            replies: &report.replies,
                            again: !first,
                            whole: first
                                && report.first_step == 0
                                && row.is_shared()
                                && !report.replies.is_empty()
                                && row.execution.state.is_terminal(),
                        });
                    }
                }
                Err(illegal) => answers.push(ReportAnswer::Ignored(illegal.to_string())),
            }
        }
        blob::store(tx, &results).await?;
        if !found.is_empty() {
            let found = Value::Array(found).to_string();
            sqlx::query(sql::FINGERPRINTS)
                .bind(found)
                .execute(&mut *tx)
                .await?;
        }
        moves.write(tx, self.now).await?;
        let (offline, lost) = sqlx::query_as(sql::ANY_OFFLINE).fetch_one(&mut *tx).await?;
        if lost && !seen.is_empty() {
            rescue::seen(tx, [], seen, self.now).await?;
        }
        let woken = match offline && !reached.is_empty() {
            true => self.wake(tx, reached).await?,
            false => 0,
        };
        Ok(Applied { answers, woken })
    }
}

impl Report {
    /// Whether the device answered in this attempt, if the attempt says so.
    pub(crate) fn answered(&self) -> Option<bool> {
        use ErrorClass::{Address, Refused, Reset, Timeout};
        let class = self.error.as_ref().map(|error| error.class);
        match self.outcome {
            Outcome::HandedBack | Outcome::Cancelled => None,
            Outcome::Lost => Some(false),
            Outcome::Unreached | Outcome::Interrupted | Outcome::Unknown => {
                Some(!matches!(class, None | Some(Address | Refused | Reset | Timeout)))
            }
            _ => Some(true),
        }
    }

    /// Whether a connection to the device was there (A9).
    fn reached_its_device(&self) -> bool {
        let refused = self
            .error
            .as_ref()
            .is_some_and(|error| error.class == ErrorClass::Trap);
        refused
            || matches!(
                self.outcome,
                Outcome::Broken
                    | Outcome::FoundDone
                    | Outcome::FoundNotDone
                    | Outcome::Rejected
                    | Outcome::Succeeded
                    | Outcome::Unchanged
            )
    }
}

impl Report {
    /// Whether the device itself has said something in this attempt: it is not lost.
    pub(crate) fn saw_its_device(&self) -> bool {
        match self.outcome {
            Outcome::Lost => false,
            // A plan may be rejected before anybody has connected.
            Outcome::Rejected => !self.replies.is_empty() || self.fingerprint.is_some(),
            Outcome::Reverted => true,
            _ => self.reached_its_device(),
        }
    }
}

impl ApplyReports {
    /// The first connection to a device, for whatever reason, wakes what waits for it: `Event::Reachable` as a
    /// statement, because it may concern any job.
    async fn wake(&self, tx: &mut SqliteConnection, reached: Vec<u64>) -> Result<u64, StoreError> {
        let query = sqlx::query(sql::WAKE).bind(json_ids(reached)).bind(self.now);
        Ok(query.execute(tx).await?.rows_affected())
    }
}
