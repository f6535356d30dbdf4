//! Making jobs, and what they need.

use std::collections::{BTreeMap, BTreeSet};

use muster_engine_core::{Execution, job};
use muster_model::selector::Facts;
use muster_model::{Device, Effect, ExecutionState, JobState};

use super::model::{Job, Model, Row};
use crate::{
    AssignWaves, CreateJob, CreateRefused, Created, ImportDevices, ImportRefused, Imported, LayOut, OpenWave,
    PART, SetCredential, StartJob, WaveRecord,
};

impl Model {
    #[expect(
        clippy::unused_self,
        reason = "it remembers no secrets, and every store takes them"
    )]
    pub(super) fn set_credential(&mut self, _: &SetCredential) {}

    pub(super) fn import_devices(&mut self, import: &ImportDevices) -> Result<Imported, Vec<ImportRefused>> {
        let named = self.devices.iter().map(|(id, device)| (device.name.clone(), *id));
        let named = named.collect::<BTreeMap<_, _>>();
        let known = import.devices.iter().enumerate();
        let known = known.filter(|(_, device)| !import.update && named.contains_key(&device.name));
        let refused = known.map(|(index, _)| ImportRefused {
            index,
            field: "name",
            reason: "it is in the inventory already".to_owned(),
        });
        let refused = refused.collect::<Vec<_>>();
        if !refused.is_empty() {
            return Err(refused);
        }
        let mut done = Imported::default();
        for device in &import.devices {
            match named.get(&device.name) {
                Some(id) if self.devices.get(id) == Some(device) => done.unchanged += 1,
                Some(id) => {
                    done.updated += 1;
                    self.devices.insert(*id, device.clone());
                }
                None => {
                    done.created += 1;
                    let id = self.devices.keys().last().map_or(1, |last| last + 1);
                    self.devices.insert(id, device.clone());
                }
            }
        }
        Ok(done)
    }

    pub(super) fn create_job(&mut self, create: &CreateJob) -> Result<Created, CreateRefused> {
        if let Some((hash, uuid)) = create.request_id.as_ref().and_then(|id| self.request(id)) {
            return match hash == create.request_hash {
                true => Ok(Created { uuid, draft: false }),
                false => Err(CreateRefused::RequestIdReused(uuid)),
            };
        }
        let id = self.jobs.keys().last().map_or(1, |last| last + 1);
        let retry = create.retry.as_ref().map(|retry| {
            let row = self.row_of(&retry.job).unwrap_or_default();
            (row, retry.clone())
        });
        let one = [None];
        let budgets = if create.waves.is_empty() {
            &one[..]
        } else {
            &create.waves
        };
        let wave = |(number, budget): (usize, &Option<u64>)| WaveRecord {
            number: number as u32,
            budget: *budget,
            ..WaveRecord::default()
        };
        let job = Job {
            uuid: create.uuid.clone(),
            request: create.request_id.clone().map(|id| (id, create.request_hash)),
            name: create.name.clone(),
            plan: create.plan.clone(),
            selector: create.selector.clone(),
            steps: create.marks(),
            timeout_ms: create.timeout_ms,
            linger_ms: create.plan.longest_ms(),
            effect: create.effect(),
            state: JobState::Draft,
            start: create.start,
            total: 0,
            created_at: create.now,
            expires_at: create.expires_at,
            finished_at: None,
            claimed_by: create.claimed_by.clone(),
            priority: create.priority,
            concurrency: create.concurrency,
            paused_at: None,
            mode: create.mode.clone(),
            retry,
            asked: create.budget,
            budget: None,
            stretch_ms: create.stretch_ms,
            spread: create.spread,
            open_wave: 0,
            halted: None,
            waves: budgets.iter().enumerate().map(wave).collect(),
            counts: Default::default(),
            removed: false,
        };
        self.jobs.insert(id, job);
        self.note(id, "created", Vec::new());
        let laid = self.lay_out_part(id, create.now);
        if laid == 0 {
            self.jobs.remove(&id);
            self.events.retain(|(job, _)| *job != id);
            return Err(CreateRefused::EmptySelection);
        }
        for deed in &create.deeds {
            self.record(deed, create.now);
        }
        Ok(Created {
            uuid: create.uuid.clone(),
            draft: laid == PART as usize,
        })
    }

    /// The body and the job of a request that was made before.
    fn request(&self, id: &str) -> Option<([u8; 32], String)> {
        let of = |job: &Job| {
            let (request, hash) = job.request.as_ref()?;
            (request == id).then(|| (*hash, job.uuid.clone()))
        };
        let kept = self.kept_requests.get(id);
        let kept = kept.map(|(hash, uuid, _)| (*hash, uuid.clone()));
        self.jobs.values().find_map(of).or(kept)
    }

    pub(super) fn lay_out(&mut self, part: &LayOut) -> bool {
        let draft = self.row_of(&part.uuid).filter(|id| {
            let job = self.jobs.get(id);
            job.is_some_and(|job| job.state == JobState::Draft)
        });
        draft.is_some_and(|id| self.lay_out_part(id, part.now) == PART as usize)
    }

    /// One execution for each device meant, up to a part of them, after those that are there already.
    fn lay_out_part(&mut self, id: i64, now: i64) -> usize {
        let of_job = self.executions.values().filter(|row| row.job == id);
        let after = of_job.map(|row| row.device).max().unwrap_or(0);
        let Some(job) = self.jobs.get(&id) else { return 0 };
        let next = self
            .devices
            .range(after + 1..)
            .filter(|(number, device)| self.is_meant(job, **number, device));
        let next = next
            .take(PART as usize)
            .map(|(number, device)| (*number, device.clone()));
        let (created_at, spread) = (job.created_at, job.spread);
        let part = next.collect::<Vec<_>>();
        for (device, record) in &part {
            self.youngest += 1;
            let row = Row {
                execution: Execution::new(self.youngest),
                job: id,
                device: *device,
                device_name: record.name.clone(),
                zone: record.zone.clone(),
                wave: 0,
                locked: false,
                session: None,
                ready_at: created_at + spread.map_or(0, |spread| spread.delay(*device)),
                started_at: None,
                finished_at: None,
                replies: Default::default(),
                memo: Vec::new(),
            };
            self.executions.insert(self.youngest, row);
        }
        if let Some(job) = self.jobs.get_mut(&id) {
            job.total += part.len() as u64;
            job.waves[0].total += part.len() as u64;
            *job.counts.entry(ExecutionState::Pending).or_default() += part.len() as i64;
            let last = part.len() < PART as usize && job.total > 0;
            if last {
                self.laid_out(id, now);
            }
        }
        part.len()
    }

    fn is_meant(&self, job: &Job, number: u64, device: &Device) -> bool {
        let facts = Facts {
            version: None,
            board: None,
        };
        let again = |(row, retry): &(i64, crate::Retry)| {
            let mut before = self.executions.values().filter(|other| other.job == *row);
            before.any(|other| {
                let done = other
                    .execution
                    .resolution
                    .is_some_and(|resolution| resolution.done);
                let meant = retry.wave.is_none_or(|wave| wave == other.wave);
                other.device == number && meant && retry.states.contains(&other.execution.state) && !done
            })
        };
        job.selector.matches(device, facts) && job.retry.as_ref().is_none_or(again)
    }

    fn laid_out(&mut self, id: i64, now: i64) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if job.effect >= Effect::Change {
            job.budget = job.asked.of(job.total);
        }
        match job.start {
            JobState::Running => self.start(id, now),
            start => {
                job.state = start;
                self.note(id, "state", Vec::new());
            }
        }
    }

    fn start(&mut self, id: i64, now: i64) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.state = JobState::Running;
        job.waves[0].opened_at = job.waves[0].opened_at.or(Some(now));
        let changes = job.effect >= Effect::Change;
        self.note(id, "state", Vec::new());
        if changes {
            let devices = self.devices.keys().copied();
            let quarantined = devices.filter(|device| self.is_quarantined(*device, now));
            let quarantined = quarantined.collect::<BTreeSet<_>>();
            self.skip(&quarantined, now);
        }
    }

    pub(super) fn start_job(&mut self, start: &StartJob) -> bool {
        let waits = self.row_of(&start.uuid).filter(|id| {
            let state = self.jobs.get(id).map(|job| job.state);
            state.is_some_and(|state| state != JobState::Draft && job::has_not_begun(state))
        });
        if let Some(id) = waits {
            self.start(id, start.now);
        }
        waits.is_some()
    }

    pub(super) fn assign_waves(&mut self, assign: &AssignWaves) -> bool {
        let Some(id) = self.row_of(&assign.uuid) else {
            return false;
        };
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job::has_not_begun(job.state)) else {
            return false;
        };
        for &(device, wave) in &assign.waves {
            let mut rows = self.executions.values_mut();
            let row = rows.find(|row| row.job == id && row.device == device && row.is_pending());
            if let Some(row) = row {
                job.waves[row.wave as usize].total -= 1;
                job.waves[wave as usize].total += 1;
                row.wave = wave;
            }
        }
        true
    }

    pub(super) fn open_wave(&mut self, open: &OpenWave) -> bool {
        let Some(id) = self.row_of(&open.uuid) else {
            return false;
        };
        let Some(job) = self.jobs.get_mut(&id) else {
            return false;
        };
        if job.open_wave >= open.wave || open.wave as usize >= job.waves.len() {
            return false;
        }
        job.open_wave = open.wave;
        for wave in &mut job.waves[..=open.wave as usize] {
            wave.opened_at = wave.opened_at.or(Some(open.now));
        }
        self.note(id, "wave", Vec::new());
        true
    }
}
