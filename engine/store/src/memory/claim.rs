//! Sessions, and handing executions to them.

use muster_engine_core::Event;
use muster_model::{Effect, ExecutionState, JobState, Marks};

use super::model::{Job, Model, Moved, Row, Session};
use crate::{
    Adopted, BeginSession, Claim, Claimed, Expected, GrantIntents, Lease, LoseLeases, OpenSession, PREPARING,
    Verdict, Zones,
};

impl Model {
    pub(super) fn open_session(&mut self, open: &OpenSession) -> u64 {
        self.zones.extend(open.zones.iter().cloned());
        let id = self.sessions.len() as u64 + 1;
        self.sessions.push(Session {
            id,
            instance: open.instance.clone(),
            engine_boot: open.engine_boot.clone(),
        });
        id
    }

    pub(super) fn begin_session(&mut self, begin: &BeginSession) -> (u64, Adopted) {
        let session = self.open_session(&begin.open);
        let before = self.sessions.iter().filter(|before| before.id < session);
        let before = before.filter(|before| before.instance == begin.open.instance);
        let before = before.map(|before| before.id).collect::<Vec<_>>();
        let mut kept = Vec::new();
        for &(id, epoch) in &begin.held {
            if let Some(row) = self.executions.get_mut(&id)
                && row.is_held()
                && row.execution.epoch == epoch
                && row.session.is_some_and(|holder| before.contains(&holder))
            {
                row.session = Some(session);
                kept.push((id, epoch));
            }
        }
        let now = begin.open.now;
        self.lose_leases(&LoseLeases {
            sessions: before,
            now,
        });
        let revoked = begin.held.iter().filter(|lease| !kept.contains(lease));
        let adopted = Adopted {
            revoked: revoked.copied().collect(),
        };
        (session, adopted)
    }

    pub(super) fn lose_leases(&mut self, lose: &LoseLeases) -> u64 {
        let held = |row: &&Row| row.is_held() && row.session.is_some_and(|id| lose.sessions.contains(&id));
        let held = self.executions.values().filter(held);
        let held = held.map(|row| (row.execution.id, row.execution.epoch));
        let held = held.collect::<Vec<_>>();
        let mut moved = Moved::default();
        for &(id, epoch) in &held {
            // Legal for each of them.
            let _ = self.decide(id, &Event::LeaseLost { epoch }, lose.now, None, false, &mut moved);
        }
        self.finish(moved, lose.now);
        held.len() as u64
    }

    pub(super) fn claim(&mut self, claim: &Claim) -> Claimed {
        let mut taken = self.ready(claim, |row| {
            row.is_pending() && row.execution.open_intent.is_some()
        });
        taken.truncate(claim.limit);
        self.hand_out(claim, &taken);
        let live = |job: &&Job| job.state == JobState::Running && job.expires_at > claim.now;
        let mut jobs = self.jobs.iter().filter(|(_, job)| live(job));
        let mut of_class = std::collections::BTreeMap::<_, Vec<i64>>::new();
        for (id, job) in jobs.by_ref() {
            let ready = |row: &Row| {
                row.job == *id && row.waits() && row.wave <= job.open_wave && row.ready_at <= claim.now
            };
            if self.executions.values().any(ready) {
                of_class.entry(job.priority).or_default().push(*id);
            }
        }
        // A class gets what those before it leave; inside it each job an equal share, and then whatever is left.
        for jobs in of_class.into_values() {
            for round in 0..jobs.len().min(2) {
                for (at, job) in jobs.iter().enumerate() {
                    let left = claim.limit.saturating_sub(taken.len());
                    let share = match round {
                        0 => left.div_ceil(jobs.len() - at),
                        _ => left,
                    };
                    taken.extend(self.take(claim, *job, share));
                }
            }
        }
        Claimed {
            next_ready: (taken.len() < claim.limit)
                .then(|| self.next_ready(claim.now))
                .flatten(),
            capped: false,
            leases: taken.iter().filter_map(|id| self.lease(*id)).collect(),
        }
    }

    /// Takes what is ready of a job: first what holds units of its budget, then wave by wave.
    fn take(&mut self, claim: &Claim, id: i64, share: usize) -> Vec<u64> {
        let Some(job) = self.jobs.get(&id) else {
            return Vec::new();
        };
        let counts = job.counted();
        let held = counts.sum(|state| matches!(state, ExecutionState::Leased | ExecutionState::Running));
        let room = |cap: u32| u64::from(cap).saturating_sub(held) as usize;
        let limit = share.min(job.concurrency.map_or(usize::MAX, room));
        let mut leased = counts.sum(|state| state == ExecutionState::Leased);
        let begins_with_change = Marks::new(&job.steps).effect(0) >= Effect::Change;
        let ledger = job.ledger();
        let waves = job.open_wave;
        let mut taken = Vec::new();
        if begins_with_change && ledger.tally().in_flight > 0 {
            taken = self.ready(claim, |row| row.job == id && row.waits() && row.execution.touched);
            taken.truncate(limit);
            self.hand_out(claim, &taken);
            leased += taken.len() as u64;
        }
        for wave in 0..=waves {
            let units = ledger.left(wave).filter(|_| begins_with_change);
            let room = units.map_or(u64::MAX, |left| match left {
                0 => 0,
                left => (left + PREPARING).saturating_sub(leased),
            });
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            let mut next = self.ready(claim, |row| row.job == id && row.waits() && row.wave == wave);
            next.retain(|id| !self.is_locked_out(*id) && !self.is_anothers(claim, *id));
            next.truncate(room.min(limit - taken.len()));
            self.hand_out(claim, &next);
            leased += next.len() as u64;
            taken.extend(next);
        }
        taken
    }

    /// Executions that a claim may take, in their order.
    fn ready(&self, claim: &Claim, wanted: impl Fn(&Row) -> bool) -> Vec<u64> {
        let served = |zone: &String| match &claim.zones {
            Zones::Named(names) => names.contains(zone),
            Zones::Rest => !self.zones.contains(zone),
        };
        let ready = |row: &&Row| {
            let there = self.devices.contains_key(&row.device);
            row.ready_at <= claim.now && served(&row.zone) && there && wanted(row)
        };
        let mut rows = self.executions.values().filter(ready).collect::<Vec<_>>();
        rows.sort_by_key(|row| (row.ready_at, row.execution.id));
        rows.into_iter().map(|row| row.execution.id).collect()
    }

    /// Whether another worker, which takes something too, has its device's connection.
    fn is_anothers(&self, claim: &Claim, id: u64) -> bool {
        let (Some(holder), Some(row)) = (&claim.holder, self.executions.get(&id)) else {
            return false;
        };
        let worker = self.holders.get(&row.device);
        let is_its = |(beside, zone): &(i64, Option<String>)| {
            worker == Some(beside) && zone.as_ref().is_none_or(|zone| *zone == row.zone)
        };
        holder.beside.iter().any(is_its)
    }

    /// Whether an execution with effects has to wait for another one on its device (A10).
    fn is_locked_out(&self, id: u64) -> bool {
        #[cfg(test)]
        if self.is_sabotaged(super::Sabotage::NoDeviceLock) {
            return false;
        }
        let Some(row) = self.executions.get(&id) else {
            return true;
        };
        let reads = self.jobs.get(&row.job).is_none_or(|job| job.effect.is_read());
        let mut others = self.executions.values();
        !reads && others.any(|other| other.locked && other.device == row.device && other.execution.id != id)
    }

    fn hand_out(&mut self, claim: &Claim, ids: &[u64]) {
        for id in ids {
            let Some(row) = self.executions.get_mut(id) else {
                continue;
            };
            let Some(job) = self.jobs.get_mut(&row.job) else {
                continue;
            };
            row.execution.state = ExecutionState::Leased;
            row.execution.epoch += 1;
            row.execution.attempts += 1;
            row.session = Some(claim.session);
            if let Some(holder) = &claim.holder {
                self.holders.insert(row.device, holder.worker);
            }
            row.locked |= !job.effect.is_read();
            *job.counts.entry(ExecutionState::Pending).or_default() -= 1;
            *job.counts.entry(ExecutionState::Leased).or_default() += 1;
        }
    }

    fn next_ready(&self, now: i64) -> Option<i64> {
        let waits = |row: &&Row| {
            let resolving = row.is_pending() && row.execution.open_intent.is_some();
            let job = self.jobs.get(&row.job);
            let open = job.is_some_and(|job| job.state == JobState::Running && row.wave <= job.open_wave);
            row.ready_at > now && (resolving || row.waits() && open)
        };
        self.executions
            .values()
            .filter(waits)
            .map(|row| row.ready_at)
            .min()
    }

    fn lease(&self, id: u64) -> Option<Lease> {
        let row = self.executions.get(&id)?;
        let job = self.jobs.get(&row.job)?;
        let device = self.devices.get(&row.device)?;
        Some(Lease {
            execution: id,
            epoch: row.execution.epoch,
            device: row.device,
            device_name: device.name.clone(),
            address: device.address.clone(),
            port: device.port,
            transport: device.transport.to_string(),
            tls: device.tls.map(|trust| trust.to_string()),
            pin: device.pin.map(|pin| pin.to_string()),
            ports: device.ports.to_string(),
            worked: None,
            serial: None,
            offered_serial: None,
            effect: job.effect,
            credential: device.credential.clone(),
            facts_at: None,
            plan_digest: job.plan.digest().0.to_vec(),
            timeout_ms: job.timeout_ms,
            expires_at: job.expires_at,
            first_step: row.execution.next_step,
            resolve: row.execution.open_intent.map(|intent| intent.step),
            mode: job.mode.clone(),
            measures: Vec::new(),
            expected: Expected::Anything,
            job: row.job.unsigned_abs(),
            zone: row.zone.clone(),
            in_flight: device.in_flight,
            labels: serde_json::to_string(&device.labels).unwrap_or_default(),
            intent_at: row.execution.open_intent.map(|intent| intent.at),
            memo: row.memo.clone(),
        })
    }

    pub(super) fn grant_intents(&mut self, grant: &GrantIntents) -> Vec<Verdict> {
        let mut moved = Moved::default();
        let mut verdicts = Vec::new();
        for intent in &grant.intents {
            let event = Event::IntentAsked {
                epoch: intent.epoch,
                step: intent.step,
            };
            let known = self.executions.contains_key(&intent.execution);
            let decided = self.decide(intent.execution, &event, grant.now, None, true, &mut moved);
            if decided.is_ok()
                && let Some(row) = self
                    .executions
                    .get_mut(&intent.execution)
                    .filter(|_| !intent.memo.is_empty())
            {
                row.memo.clone_from(&intent.memo);
            }
            verdicts.push(match decided {
                Ok(()) if known => Verdict::Granted,
                Err(muster_engine_core::Illegal::Held(held)) => Verdict::Held(held),
                _ => Verdict::Revoked,
            });
        }
        self.finish(moved, grant.now);
        verdicts
    }
}
