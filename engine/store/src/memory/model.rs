//! What is remembered, and how executions move.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use muster_engine_core::budget::{self, Asked};
use muster_engine_core::job::{self, Counts};
use muster_engine_core::retry::Backoff;
use muster_engine_core::{Context, Event, Execution, Illegal, Ledger, Quarantine, Tally, Transition};
use muster_model::{Device, DeviceError, Effect, ExecutionState, JobState, Marks, Plan, Priority, Selector};

use crate::job::Halted;
use crate::{
    Deed, EventRecord, ExecutionRecord, HistoryRecord, JobRecord, Mode, ResultPage, ResultRecord, WaveRecord,
    chained, rescue, wave,
};

/// A store's whole memory.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub(super) devices: BTreeMap<u64, Device>,
    /// Zones that a worker has served by name.
    pub(super) zones: BTreeSet<String>,
    /// Workers that have devices' connections, by device.
    pub(super) holders: BTreeMap<u64, i64>,
    pub(super) jobs: BTreeMap<i64, Job>,
    pub(super) executions: BTreeMap<u64, Row>,
    pub(super) youngest: u64,
    pub(super) sessions: Vec<Session>,
    /// Device, when, execution.
    pub(super) harms: BTreeSet<(u64, i64, u64)>,
    history: Vec<HistoryRecord>,
    /// Devices that are lost, with the job that lost each.
    lost: BTreeMap<u64, String>,
    /// Job, when noted first, and the event.
    pub(super) events: Vec<(i64, EventRecord)>,
    last_event: u64,
    /// Request ids of jobs that are deleted: hash, job, when made.
    pub(super) kept_requests: BTreeMap<String, ([u8; 32], String, i64)>,
    #[cfg(test)]
    pub(super) sabotage: Option<super::Sabotage>,
    #[cfg(test)]
    before: Option<Box<Model>>,
}

/// A job.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) uuid: String,
    pub(super) request: Option<(String, [u8; 32])>,
    pub(super) name: String,
    pub(super) plan: Plan,
    pub(super) selector: Selector,
    pub(super) steps: String,
    pub(super) timeout_ms: u64,
    pub(super) linger_ms: u64,
    pub(super) effect: Effect,
    pub(super) state: JobState,
    pub(super) start: JobState,
    pub(super) total: u64,
    pub(super) created_at: i64,
    pub(super) expires_at: i64,
    pub(super) finished_at: Option<i64>,
    pub(super) claimed_by: String,
    pub(super) priority: Priority,
    pub(super) concurrency: Option<u32>,
    pub(super) paused_at: Option<i64>,
    pub(super) mode: Mode,
    /// The job's row, its id, and which outcomes.
    pub(super) retry: Option<(i64, crate::Retry)>,
    pub(super) asked: Asked,
    pub(super) budget: Option<u64>,
    pub(super) stretch_ms: Option<u64>,
    pub(super) spread: Option<crate::Spread>,
    pub(super) open_wave: u32,
    pub(super) halted: Option<Halted>,
    /// Their tallies are kept by deltas, as every store keeps them.
    pub(super) waves: Vec<WaveRecord>,
    pub(super) counts: BTreeMap<ExecutionState, i64>,
    pub(super) removed: bool,
}

/// An execution.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) execution: Execution,
    pub(super) job: i64,
    pub(super) device: u64,
    pub(super) device_name: String,
    pub(super) zone: String,
    pub(super) wave: u32,
    pub(super) locked: bool,
    pub(super) session: Option<u64>,
    pub(super) ready_at: i64,
    pub(super) started_at: Option<i64>,
    pub(super) finished_at: Option<i64>,
    pub(super) replies: BTreeMap<u32, Bytes>,
    pub(super) memo: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) id: u64,
    pub(super) instance: String,
    pub(super) engine_boot: String,
}

/// What a commit has moved.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// Executions that became final, by job.
    ended: BTreeMap<i64, Vec<u64>>,
    /// Jobs with late evidence.
    resolved: BTreeSet<i64>,
    /// Devices and executions that ended badly.
    harmed: Vec<(u64, u64)>,
    /// By job and wave.
    tallies: BTreeMap<(i64, u32), Tally>,
}

impl Job {
    pub(super) fn ledger(&self) -> Ledger {
        wave::ledger(self.budget, &self.waves)
    }

    pub(super) fn counted(&self) -> Counts {
        let count = |(state, count): (&ExecutionState, &i64)| (*state, (*count).max(0).unsigned_abs());
        Counts::new(self.counts.iter().map(count))
    }

    fn may_harm(&self) -> bool {
        let steps = Marks::new(&self.steps);
        steps.any_change_before(steps.len())
    }
}

impl Row {
    pub(super) fn is_pending(&self) -> bool {
        self.execution.state == ExecutionState::Pending
    }

    pub(super) fn is_held(&self) -> bool {
        matches!(
            self.execution.state,
            ExecutionState::Leased | ExecutionState::Running
        )
    }

    /// Whether it waits and no open intent of it is looked after.
    pub(super) fn waits(&self) -> bool {
        self.is_pending() && self.execution.open_intent.is_none()
    }
}

impl Model {
    /// Before an operation.
    pub(super) fn begin(&mut self) {
        #[cfg(test)]
        if self.sabotage == Some(super::Sabotage::AckBeforeCommit) {
            self.before = None;
            self.before = Some(Box::new(self.clone()));
        }
    }

    /// What is there after a crash.
    pub(super) fn kept(&self) -> &Self {
        #[cfg(test)]
        if let Some(before) = &self.before {
            return before;
        }
        self
    }

    #[cfg(test)]
    pub(super) fn is_sabotaged(&self, sabotage: super::Sabotage) -> bool {
        self.sabotage == Some(sabotage)
    }

    /// The ledger that decides on intents and on what is handed back; a job that can harm nothing has none.
    fn deciding_ledger(&self, job: i64) -> Option<Ledger> {
        #[cfg(test)]
        if self.is_sabotaged(super::Sabotage::GrantWithoutReservation) {
            return None;
        }
        let job = self.jobs.get(&job).filter(|job| job.may_harm())?;
        Some(job.ledger())
    }

    /// Lets the core decide what an event makes of an execution. `budgeted` is whether its job's budget has a say.
    pub(super) fn decide(
        &mut self,
        id: u64,
        event: &Event,
        now: i64,
        started_at: Option<i64>,
        budgeted: bool,
        moved: &mut Moved,
    ) -> Result<(), Illegal> {
        let (Some(row), event) = (self.executions.get(&id), self.as_believed(id, event)) else {
            return Ok(());
        };
        let Some(job) = self.jobs.get(&row.job) else {
            return Ok(());
        };
        let ledger = if budgeted {
            self.deciding_ledger(row.job)
        } else {
            None
        };
        let context = Context {
            now,
            expires_at: job.expires_at,
            aborting: job.state == JobState::Aborting,
            held: job::held(job.state),
            shut: false,
            stops: false,
            full: ledger.and_then(|ledger| ledger.full(row.wave)),
            unavailable: false,
            backoff: match job.priority {
                Priority::Emergency | Priority::Interactive => Backoff::INTERACTIVE,
                Priority::Rollout | Priority::Audit => Backoff::ROLLOUT,
            },
            command: Duration::from_millis(job.timeout_ms),
            soak: Duration::ZERO,
            guard: Duration::ZERO,
            linger: Duration::from_millis(job.linger_ms),
            steps: Marks::new(&job.steps),
        };
        let Transition { to, ready_at } = row.execution.next(&event, &context)?;
        // The look at the end of a soak is part of the attempt that made the change.
        let began = row.started_at.filter(|_| row.execution.is_soaking(&context));
        self.put(id, &to, ready_at, now, began.or(started_at), moved);
        Ok(())
    }

    #[cfg(not(test))]
    fn as_believed(&self, _: u64, event: &Event) -> Event {
        event.clone()
    }

    #[cfg(test)]
    fn as_believed(&self, id: u64, event: &Event) -> Event {
        let mut event = event.clone();
        let newest = self.executions.get(&id).map_or(0, |row| row.execution.epoch);
        if self.is_sabotaged(super::Sabotage::NoEpoch)
            && let Event::IntentAsked { epoch, .. } | Event::Reported { epoch, .. } = &mut event
        {
            *epoch = newest;
        }
        event
    }

    fn put(
        &mut self,
        id: u64,
        to: &Execution,
        ready_at: Option<i64>,
        now: i64,
        started_at: Option<i64>,
        moved: &mut Moved,
    ) {
        let Some(row) = self.executions.get_mut(&id) else {
            return;
        };
        let from = std::mem::replace(&mut row.execution, to.clone());
        if from.state.is_terminal() {
            moved.resolved.insert(row.job);
            return;
        }
        let ended = to.state.is_terminal();
        row.locked = !ended && row.locked && (to.touched || to.state != ExecutionState::Pending);
        row.ready_at = ready_at.unwrap_or(row.ready_at);
        row.started_at = started_at.or(row.started_at);
        row.finished_at = ended.then_some(now);
        if ended {
            row.memo.clear();
        }
        if !row.is_held() {
            row.session = None;
        }
        let (job, wave, device) = (row.job, row.wave, row.device);
        let change = Tally::of(to) - Tally::of(&from);
        *moved.tallies.entry((job, wave)).or_default() += change;
        if ended {
            moved.ended.entry(job).or_default().push(id);
        }
        if to.state.is_harmed() {
            moved.harmed.push((device, id));
        }
        let Some(job) = self.jobs.get_mut(&job) else {
            return;
        };
        if to.state == ExecutionState::Lost {
            self.lost.insert(device, job.uuid.clone());
        }
        *job.counts.entry(from.state).or_default() -= 1;
        *job.counts.entry(to.state).or_default() += 1;
        if let Some(wave) = job.waves.get_mut(wave as usize) {
            wave.tally += change;
        }
    }

    /// What follows from what a commit has moved.
    pub(super) fn finish(&mut self, moved: Moved, now: i64) {
        for job in moved.resolved {
            self.note(job, "resolved", Vec::new());
        }
        for (job, ids) in &moved.ended {
            self.note(*job, "ended", ids.clone());
        }
        for ((job, _), tally) in &moved.tallies {
            if tally.spent() > 0 {
                self.halt_spent(*job, now);
            }
        }
        for ((job, _), change) in &moved.tallies {
            self.stretch(*job, change, now);
        }
        for job in moved.ended.keys() {
            self.settle(*job, now);
        }
        if !moved.harmed.is_empty() {
            self.harmed(&moved.harmed, now);
        }
    }

    pub(super) fn halt_spent(&mut self, id: i64, now: i64) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let rest = job.counted().sum(|state| !state.is_terminal());
        if let (Some(full), Some(to)) = (job.ledger().exhausted(), job::halt(job.state))
            && rest > 0
        {
            job.state = to;
            job.halted = Some(Halted {
                rule: budget::RULE.to_owned(),
                detail: full.to_string(),
                at: now,
            });
            self.note(id, "halted", Vec::new());
        }
    }

    /// A unit came free that others waited for.
    fn stretch(&mut self, id: i64, change: &Tally, now: i64) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let free = -(change.in_flight + change.harmed + change.rescued);
        let used = job.ledger().tally();
        let used = used.in_flight + used.harmed + used.rescued + free;
        if let (Some(stretch), Some(budget)) = (job.stretch_ms, job.budget)
            && change.touched > 0
            && used >= wave::number(budget)
        {
            job.expires_at = job.expires_at.max(now.saturating_add_unsigned(stretch));
        }
    }

    /// Jobs that are near their end and at work on a device are given time.
    pub(super) fn hold_time(&mut self, now: i64) {
        for (id, job) in &mut self.jobs {
            let Some(stretch) = job.stretch_ms else { continue };
            let works = |row: &Row| {
                let execution = &row.execution;
                row.job == *id
                    && execution.state == ExecutionState::Running
                    && execution.silent_since.is_none()
                    && !execution.is_resolving()
            };
            let (near, until) = ((stretch / 8).max(wave::NEAR_MS), stretch / 2);
            if job.state == JobState::Running
                && job.expires_at < now.saturating_add_unsigned(near.min(until))
                && self.executions.values().any(works)
            {
                job.expires_at = now.saturating_add_unsigned(until);
            }
        }
    }

    /// Brings a job to its end if its executions are.
    pub(super) fn settle(&mut self, id: i64, now: i64) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let settled = job::settle(job.state, &job.counted());
        if settled != job.state {
            job.state = settled;
            job.paused_at = None;
            job.finished_at = settled.is_terminal().then_some(now);
            for wave in job.waves.iter_mut().filter(|_| settled.is_terminal()) {
                wave.ended_at = wave.ended_at.or(wave.opened_at.map(|_| now));
            }
            self.note(id, "state", Vec::new());
        }
    }

    /// Notes harm, and leaves devices that had too much of it out of what waits for them.
    fn harmed(&mut self, harmed: &[(u64, u64)], now: i64) {
        for &(device, execution) in harmed {
            if self.devices.contains_key(&device) {
                self.harms.insert((device, now, execution));
            }
        }
        let devices = harmed.iter().map(|(device, _)| *device).collect::<BTreeSet<_>>();
        let quarantined = devices
            .into_iter()
            .filter(|device| self.is_quarantined(*device, now));
        let quarantined = quarantined.collect::<BTreeSet<_>>();
        self.skip(&quarantined, now);
    }

    pub(super) fn is_quarantined(&self, device: u64, now: i64) -> bool {
        let harms = self.harms.iter().filter(|(of, _, _)| *of == device);
        // An execution harms once, however often that is noted.
        let harms = harms
            .map(|(_, at, execution)| (*execution, *at))
            .collect::<BTreeMap<_, _>>();
        Quarantine::DEFAULT.holds(harms.into_values(), now)
    }

    /// Leaves devices out of every job with effects that has not touched them.
    pub(super) fn skip(&mut self, devices: &BTreeSet<u64>, now: i64) {
        let of = |row: &&Row| {
            let job = self.jobs.get(&row.job);
            let waits = row.is_pending() && !row.execution.touched && devices.contains(&row.device);
            waits && job.is_some_and(|job| !job.state.is_terminal() && job.effect >= Effect::Change)
        };
        let waiting = self.executions.values().filter(of).map(|row| row.execution.id);
        let mut moved = Moved::default();
        for id in waiting.collect::<Vec<_>>() {
            // Legal for each of them.
            let _ = self.decide(id, &Event::Quarantined, now, None, false, &mut moved);
        }
        self.finish(moved, now);
    }

    /// Writes an event.
    pub(super) fn note(&mut self, job: i64, kind: &str, ended: Vec<u64>) {
        self.last_event += 1;
        let event = EventRecord {
            seq: self.last_event,
            kind: kind.to_owned(),
            ended,
        };
        self.events.push((job, event));
    }

    /// Writes what an operator did.
    pub(super) fn record(&mut self, deed: &Deed, now: i64) {
        let before = self.history.last().map_or(&[][..], |last| &last.hash);
        let fields = [
            &deed.claimed_by,
            deed.action,
            &deed.subject,
            &deed.reason,
            &deed.detail,
        ];
        let hash = chained(before, now, fields);
        self.history.push(HistoryRecord {
            id: self.history.len() as i64 + 1,
            at: now,
            claimed_by: deed.claimed_by.clone(),
            action: deed.action.to_owned(),
            subject: deed.subject.clone(),
            reason: deed.reason.clone(),
            detail: deed.detail.clone(),
            hash,
        });
    }

    /// These devices have said something: they are lost no longer.
    pub(super) fn seen(&mut self, devices: &BTreeSet<u64>, now: i64) {
        for device in devices {
            let Some(job) = self.lost.remove(device) else {
                continue;
            };
            let name = self.devices.get(device).map(|device| device.name.clone());
            self.record(&rescue::seen_again(name.unwrap_or_default(), &job), now);
        }
    }

    /// The row of a job by its id, whether or not it is being deleted.
    pub(super) fn row_of(&self, uuid: &str) -> Option<i64> {
        let found = self.jobs.iter().find(|(_, job)| job.uuid == uuid);
        found.map(|(id, _)| *id)
    }

    pub(super) fn job(&self, uuid: &str) -> Option<JobRecord> {
        let id = self.row_of(uuid)?;
        let job = self.jobs.get(&id).filter(|job| !job.removed)?;
        Some(JobRecord {
            id,
            uuid: job.uuid.clone(),
            name: job.name.clone(),
            plan: job.plan.clone(),
            plan_digest: job.plan.digest().0.to_vec(),
            selector: job.selector.to_string(),
            timeout_ms: job.timeout_ms,
            effect: job.effect,
            state: job.state,
            total: job.total,
            created_at: job.created_at,
            expires_at: job.expires_at,
            finished_at: job.finished_at,
            claimed_by: job.claimed_by.clone(),
            priority: job.priority,
            concurrency: job.concurrency,
            paused_at: job.paused_at,
            retry_of: job
                .retry
                .as_ref()
                .and_then(|(row, retry)| self.jobs.contains_key(row).then(|| retry.job.clone())),
            rollout: None,
            mode: job.mode.clone(),
            counts: job.counted().iter().collect(),
            budget: job.budget,
            budget_asked: Some(job.asked),
            open_wave: job.open_wave,
            halted: job.halted.clone(),
            waves: job.waves.clone(),
        })
    }

    pub(super) fn executions(&self, job: i64) -> Vec<ExecutionRecord> {
        let of = self.executions.values().filter(|row| row.job == job);
        let record = |row: &Row| ExecutionRecord {
            execution: row.execution.clone(),
            device: row.device,
            wave: row.wave,
            locked: row.locked,
            session: row.session,
            ready_at: row.is_pending().then_some(row.ready_at),
        };
        of.map(record).collect()
    }

    pub(super) fn results(&self, page: &ResultPage) -> Vec<ResultRecord> {
        let wanted = |row: &&Row| {
            let state = row.execution.state;
            row.job == page.job
                && row.execution.id > page.after
                && (page.states.is_empty() || page.states.contains(&state))
        };
        let record = |row: &Row| ResultRecord {
            execution: row.execution.id,
            device: row.device_name.clone(),
            state: row.execution.state,
            attempts: row.execution.attempts,
            error: row.execution.error.clone(),
            resolution: row.execution.resolution,
            replies: row.replies.values().cloned().collect(),
            started_at: row.started_at,
            finished_at: row.finished_at,
        };
        let rows = self.executions.values().filter(wanted);
        rows.take(page.limit as usize).map(record).collect()
    }

    pub(super) fn events(&self, job: i64, after: u64, limit: u32) -> Vec<EventRecord> {
        let wanted = self
            .events
            .iter()
            .filter(|(of, event)| *of == job && event.seq > after);
        wanted
            .take(limit as usize)
            .map(|(_, event)| event.clone())
            .collect()
    }

    pub(super) fn history(&self, subject: &str, after: i64, limit: u32) -> Vec<HistoryRecord> {
        let wanted = |row: &&HistoryRecord| row.id > after && (subject.is_empty() || row.subject == subject);
        self.history
            .iter()
            .filter(wanted)
            .take(limit as usize)
            .cloned()
            .collect()
    }

    pub(super) fn quarantined(&self, now: i64) -> Vec<String> {
        let devices = self
            .devices
            .iter()
            .filter(|(id, _)| self.is_quarantined(**id, now));
        let mut names = devices.map(|(_, device)| device.name.clone()).collect::<Vec<_>>();
        names.sort();
        names
    }

    pub(super) fn drafts(&self) -> Vec<String> {
        let drafts = self.jobs.values().filter(|job| job.state == JobState::Draft);
        drafts.map(|job| job.uuid.clone()).collect()
    }

    pub(super) fn sessions_holding(&self) -> Vec<(u64, String)> {
        let holds = |session: &&Session| {
            let mut rows = self.executions.values();
            rows.any(|row| row.is_held() && row.session == Some(session.id))
        };
        let holding = self.sessions.iter().filter(holds);
        holding
            .map(|session| (session.id, session.engine_boot.clone()))
            .collect()
    }
}

/// Whether the device could not be spoken to.
pub(super) fn is_offline(error: &DeviceError) -> bool {
    use muster_model::ErrorClass::{Address, Refused, Reset, Timeout};
    matches!(error.class, Address | Refused | Reset | Timeout)
}
