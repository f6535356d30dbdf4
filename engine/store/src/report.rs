//! What workers tell.

use std::collections::BTreeMap;

use bytes::Bytes;
use muster_engine_core::{Event, Outcome};
use muster_model::{DeviceError, ExecutionState};
use sqlx::SqliteConnection;

use crate::transition::{self, Moves};
use crate::{StoreError, Write, blob};

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
    /// For each step sent, the reply sentences in wire format without tags.
    pub replies: Vec<Bytes>,
    /// When the attempt began, Unix milliseconds.
    pub started_at: i64,
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

impl ReportAnswer {
    /// Whether something may be ready to be handed out that was not before.
    pub fn makes_work(&self) -> bool {
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
    /// One answer for each report, in order.
    type Out = Vec<ReportAnswer>;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<Self::Out, StoreError> {
        let loaded = transition::load(tx, self.reports.iter().map(|report| report.execution)).await?;
        let mut loaded = loaded
            .into_iter()
            .map(|row| (row.execution.id, row))
            .collect::<BTreeMap<_, _>>();
        let (mut moves, mut answers, mut results) = (Moves::default(), Vec::new(), Vec::new());
        for report in &self.reports {
            let Some(row) = loaded.get_mut(&report.execution) else {
                answers.push(ReportAnswer::Ignored("no such execution".into()));
                continue;
            };
            let event = Event::Reported {
                epoch: report.epoch,
                outcome: report.outcome,
                error: report.error.clone(),
            };
            let held = row.locked;
            match moves.decide(row, &event, self.now, Some(report.started_at)) {
                Ok(()) => {
                    answers.push(ReportAnswer::Moved {
                        to: row.execution.state,
                        released: held && !row.locked,
                    });
                    results.push((report.execution, 0, report.replies.as_slice()));
                }
                Err(illegal) => answers.push(ReportAnswer::Ignored(illegal.to_string())),
            }
        }
        blob::store(tx, &results).await?;
        moves.write(tx, self.now).await?;
        Ok(answers)
    }
}
