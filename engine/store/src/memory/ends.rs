//! Reports, and deadlines.

use std::collections::BTreeSet;
use std::time::Duration;

use muster_engine_core::{Event, Outcome, execution};
use muster_model::{ErrorClass, JobState};

use super::model::{Model, Moved, Row, is_offline};
use crate::{Applied, ApplyReports, ExpireJobs, Report, ReportAnswer};

/// Executions of one job, or open questions, given up in one go.
const CHUNK: usize = 5000;

impl Model {
    pub(super) fn apply_reports(&mut self, apply: &ApplyReports) -> Applied {
        let (mut moved, mut answers) = (Moved::default(), Vec::new());
        let (mut reached, mut seen) = (BTreeSet::new(), BTreeSet::new());
        // A budget has a say where a report of the batch hands something of its job back.
        let handed_back = |report: &&Report| report.outcome == Outcome::HandedBack;
        let handed_back = apply.reports.iter().filter(handed_back);
        let budgeted = handed_back.filter_map(|report| self.executions.get(&report.execution));
        let budgeted = budgeted.map(|row| row.job).collect::<BTreeSet<_>>();
        for report in &apply.reports {
            let Some(row) = self.executions.get(&report.execution) else {
                answers.push(ReportAnswer::Ignored("no such execution".into()));
                continue;
            };
            let (held, job, device) = (row.locked, row.job, row.device);
            if reached_its_device(report) {
                reached.insert(device);
            }
            if report.saw_its_device() {
                seen.insert(device);
            }
            let event = Event::Reported {
                epoch: report.epoch,
                outcome: report.outcome,
                steps_done: report.steps_done,
                error: report.error.clone(),
            };
            let budgeted = budgeted.contains(&job);
            let began = Some(report.started_at);
            match self.decide(report.execution, &event, apply.now, began, budgeted, &mut moved) {
                Ok(()) => answers.push(self.told(report, held)),
                Err(illegal) => answers.push(ReportAnswer::Ignored(illegal.to_string())),
            }
        }
        self.finish(moved, apply.now);
        #[cfg(test)]
        self.miscount();
        self.seen(&seen, apply.now);
        let woken = self.wake(&reached, apply.now);
        Applied { answers, woken }
    }

    /// What was answered to the steps from the report's first on makes room for what is answered now.
    fn told(&mut self, report: &Report, held: bool) -> ReportAnswer {
        let Some(row) = self.executions.get_mut(&report.execution) else {
            return ReportAnswer::Ignored("no such execution".into());
        };
        row.replies.retain(|step, _| *step < report.first_step);
        row.replies
            .extend((report.first_step..).zip(report.replies.iter().cloned()));
        ReportAnswer::Moved {
            to: row.execution.state,
            released: held && !row.locked,
        }
    }

    #[cfg(test)]
    fn miscount(&mut self) {
        if self.is_sabotaged(super::Sabotage::RecountOffByOne) {
            for job in self.jobs.values_mut() {
                *job.counts
                    .entry(muster_model::ExecutionState::Succeeded)
                    .or_default() += 1;
            }
        }
    }

    /// Whoever waits for one of these devices waits no longer (A9).
    fn wake(&mut self, reached: &BTreeSet<u64>, now: i64) -> u64 {
        let mut woken = 0;
        for row in self.executions.values_mut() {
            let offline = row.execution.error.as_ref().is_some_and(is_offline);
            if row.is_pending() && offline && row.ready_at > now && reached.contains(&row.device) {
                row.ready_at = now;
                woken += 1;
            }
        }
        woken
    }

    pub(super) fn expire_jobs(&mut self, expire: &ExpireJobs) -> u64 {
        let now = expire.now;
        self.hold_time(now);
        let goes_on = |state| {
            use JobState::{Aborting, AwaitingApproval, Gated, Running, Scheduled, WaitingWindow};
            matches!(
                state,
                AwaitingApproval | Scheduled | Running | Gated | WaitingWindow | Aborting
            )
        };
        let due = self.jobs.iter();
        let due = due.filter(|(_, job)| goes_on(job.state) && job.expires_at <= now);
        let mut expired = 0;
        for job in due.map(|(id, _)| *id).collect::<Vec<_>>() {
            expired += self.give_up(now, |_, row| row.job == job && row.waits());
        }
        let granted_before = now - millis(execution::resolved_within());
        expired += self.give_up(now, |model, row| {
            let timeout = model.jobs.get(&row.job);
            let timeout = timeout.map_or(0, |job| job.timeout_ms.max(job.linger_ms));
            let overdue = |at: i64| at.saturating_add_unsigned(timeout) <= granted_before;
            row.is_pending() && row.execution.open_intent.is_some_and(|intent| overdue(intent.at))
        });
        expired
    }

    fn give_up(&mut self, now: i64, which: impl Fn(&Self, &Row) -> bool) -> u64 {
        let rows = self.executions.values().filter(|row| which(self, row));
        let ids = rows.map(|row| row.execution.id).take(CHUNK).collect::<Vec<_>>();
        let mut moved = Moved::default();
        for id in &ids {
            // Legal for each of them.
            let _ = self.decide(*id, &Event::JobExpired, now, None, false, &mut moved);
        }
        self.finish(moved, now);
        ids.len() as u64
    }
}

/// Whether a connection to the device was there.
fn reached_its_device(report: &Report) -> bool {
    let refused = report
        .error
        .as_ref()
        .is_some_and(|error| error.class == ErrorClass::Trap);
    let answered = [Outcome::Succeeded, Outcome::FoundDone, Outcome::FoundNotDone];
    refused || answered.contains(&report.outcome)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
