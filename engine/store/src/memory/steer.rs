//! What people do to jobs and devices.

use std::collections::BTreeSet;

use muster_engine_core::{Event, job};
use muster_model::JobState;

use super::model::{Model, Moved, Row};
use crate::{
    AbortJob, Aborted, ChangeLimits, Deed, DeleteJob, Deleted, Limits, LimitsRefused, PauseJob, Paused,
    REQUEST_KEPT_MS, ReleaseDevices, Sweep, Swept,
};

impl Model {
    pub(super) fn abort_job(&mut self, abort: &AbortJob) -> Aborted {
        let Some(id) = self.row_of(&abort.uuid) else {
            return Aborted::NotFound;
        };
        let Some(to) = self.jobs.get(&id).and_then(|job| job::abort(job.state)) else {
            return Aborted::Over;
        };
        let mut deed = deed("job.abort", &abort.uuid, &abort.claimed_by, &abort.reason);
        deed.detail = match abort.finish {
            true => "what is in flight finishes".to_owned(),
            false => "what is in flight stops at its next step".to_owned(),
        };
        self.record(&deed, abort.now);
        self.set_state(id, to);
        self.note(id, "state", Vec::new());
        let waiting = self
            .executions
            .values()
            .filter(|row| row.job == id && row.waits());
        let waiting = waiting.map(|row| row.execution.id).collect::<Vec<_>>();
        let mut moved = Moved::default();
        for execution in waiting {
            // Legal for each of them.
            let _ = self.decide(execution, &Event::JobAborted, abort.now, None, false, &mut moved);
        }
        self.finish(moved, abort.now);
        self.settle(id, abort.now);
        let held = |row: &Row| {
            // What has touched its device may finish, if it is let.
            let held = row.job == id && row.is_held() && !(abort.finish && row.execution.touched);
            let session = row.session.filter(|_| held)?;
            Some((row.execution.id, row.execution.epoch, session))
        };
        Aborted::Aborting(self.executions.values().filter_map(held).collect())
    }

    fn set_state(&mut self, id: i64, state: JobState) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.state = state;
            job.finished_at = None;
            job.paused_at = None;
        }
    }

    pub(super) fn pause_job(&mut self, pause: &PauseJob) -> Paused {
        let Some(id) = self.row_of(&pause.uuid) else {
            return Paused::NotFound;
        };
        let Some(job) = self.jobs.get_mut(&id) else {
            return Paused::NotFound;
        };
        let (to, wanted, action) = match pause.pause {
            true => (job::pause(job.state), JobState::Paused, "job.pause"),
            false => (job::resume(job.state), JobState::Running, "job.resume"),
        };
        if job.state == wanted {
            return Paused::Done;
        }
        if to != Some(wanted) {
            return Paused::Refused(job.state);
        }
        if !pause.pause
            && let Some(full) = job.ledger().exhausted()
        {
            return Paused::Spent(full);
        }
        job.state = wanted;
        match pause.pause {
            true => job.paused_at = Some(pause.now),
            false => {
                let stood = job.paused_at.or(job.halted.as_ref().map(|halted| halted.at));
                job.expires_at += pause.now - stood.unwrap_or(pause.now);
                (job.paused_at, job.halted) = (None, None);
            }
        }
        self.note(id, "state", Vec::new());
        if !pause.pause {
            self.settle(id, pause.now);
        }
        self.record(
            &deed(action, &pause.uuid, &pause.claimed_by, &pause.reason),
            pause.now,
        );
        Paused::Done
    }

    pub(super) fn change_limits(&mut self, change: &ChangeLimits) -> Result<Limits, LimitsRefused> {
        let id = self.row_of(&change.uuid).ok_or(LimitsRefused::NotFound)?;
        let job = self.jobs.get_mut(&id).ok_or(LimitsRefused::NotFound)?;
        if job.state.is_terminal() || job.state == JobState::Aborting {
            return Err(LimitsRefused::Over(job.state));
        }
        let concurrency = job.concurrency.map(u64::from);
        let changed = change.checked(&job.ledger(), concurrency, job.waves.len())?;
        if let Some(budget) = change.budget {
            job.budget = budget;
        }
        for &(wave, budget) in &change.waves {
            job.waves[wave as usize].budget = budget;
        }
        if let Some(concurrency) = change.concurrency {
            job.concurrency = concurrency;
        }
        let ledger = job.ledger();
        if !changed.is_empty() {
            self.note(id, "limits", Vec::new());
            self.record(&change.deed(&changed, &ledger), change.now);
        }
        self.halt_spent(id, change.now);
        Ok(Limits {
            promised: ledger.promised(),
        })
    }

    pub(super) fn release_devices(&mut self, release: &ReleaseDevices) -> u64 {
        let before = self.harms.len();
        let named = |device: &u64| {
            let device = self.devices.get(device);
            device.is_some_and(|device| release.names.contains(&device.name))
        };
        let kept = self.harms.iter().filter(|(device, _, _)| !named(device));
        self.harms = kept.copied().collect();
        self.record(&release.deed, release.now);
        (before - self.harms.len()) as u64
    }

    pub(super) fn delete_job(&mut self, delete: &DeleteJob) -> Deleted {
        let there = self.row_of(&delete.uuid).and_then(|id| self.jobs.get_mut(&id));
        let Some(job) = there.filter(|job| !job.removed) else {
            return Deleted::NotFound;
        };
        if !job.state.is_terminal() {
            return Deleted::Live;
        }
        job.removed = true;
        if let Some((id, hash)) = &job.request
            && job.created_at >= delete.now - REQUEST_KEPT_MS
        {
            let kept = (*hash, job.uuid.clone(), job.created_at);
            self.kept_requests.entry(id.clone()).or_insert(kept);
        }
        self.record(
            &deed("job.delete", &delete.uuid, &delete.claimed_by, ""),
            delete.now,
        );
        Deleted::Gone
    }

    /// All of one job in one go.
    pub(super) fn sweep(&mut self, _: &Sweep) -> Swept {
        // Not while another job is being laid out from what became of it.
        let drafts = self.jobs.values().filter(|job| job.state == JobState::Draft);
        let looked_at = drafts.filter_map(|job| job.retry.as_ref()).map(|(row, _)| *row);
        let looked_at = looked_at.collect::<BTreeSet<_>>();
        let mut removed = self.jobs.iter().filter(|(_, job)| job.removed).map(|(id, _)| *id);
        let Some(id) = removed.find(|id| !looked_at.contains(id)) else {
            return Swept::default();
        };
        let before = self.executions.len();
        self.executions.retain(|_, row| row.job != id);
        self.events.retain(|(job, _)| *job != id);
        self.jobs.remove(&id);
        Swept {
            executions: (before - self.executions.len()) as u64,
            jobs: 1,
            ..Swept::default()
        }
    }
}

fn deed(action: &'static str, job: &str, claimed_by: &str, reason: &str) -> Deed {
    Deed {
        claimed_by: claimed_by.to_owned(),
        action,
        subject: job.to_owned(),
        reason: reason.to_owned(),
        detail: String::new(),
    }
}
