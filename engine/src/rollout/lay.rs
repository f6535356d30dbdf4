//! Which devices of a rollout go in which wave, what each wave may harm, and the digest of it all.

use std::collections::HashMap;

use muster_engine_core::rollout::assign::{Assignment, Candidate, assign};
use muster_engine_core::rollout::digest::{Approved, Member};
use muster_engine_core::rollout::order::{Cycle, Parents};
use muster_model::{Effect, Plan, Policy};
use muster_store::{DeviceRecord, Local};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// A rollout before anything of it happens.
#[derive(Debug)]
pub(crate) struct Laid {
    /// Its devices.
    pub(crate) records: Vec<DeviceRecord>,
    /// Where each goes.
    pub(crate) assignment: Assignment,
    /// Devices of each wave.
    pub(crate) sizes: Vec<u64>,
    /// B; none for no limit.
    pub(crate) budget: Option<u64>,
    /// B of each wave; none for the job's alone.
    pub(crate) wave_budgets: Vec<Option<u64>>,
    /// What approvals sign.
    pub(crate) approved: Approved,
    parents: Parents,
}

/// Waves that cannot be laid.
#[derive(Debug, Error)]
pub(crate) enum LayError {
    #[error(transparent)]
    Cycle(#[from] Cycle),
}

/// Decides who goes first: the same for the same plan under the same policy, so that a preview shows what will happen.
pub(crate) fn seed(plan: &Plan, policy: &Policy) -> u64 {
    let mut hash = Sha256::new();
    hash.update(plan.digest().0);
    hash.update(serde_json::to_string(policy).unwrap_or_default());
    let digest: [u8; 32] = hash.finalize().into();
    digest
        .iter()
        .take(8)
        .fold(0, |seed, byte| seed << 8 | u64::from(*byte))
}

/// Lays the waves over some devices. `found` has the fingerprints of those that a preview read, hex by name.
pub(crate) fn lay(
    records: Vec<DeviceRecord>,
    plan: &Plan,
    policy: &Policy,
    seed: u64,
    found: &HashMap<String, String>,
) -> Result<Laid, LayError> {
    let candidates = records.iter().map(candidate).collect::<Vec<_>>();
    let parents = match &policy.parent_label {
        None => Parents::none(),
        Some(label) => {
            let above = records.iter().map(|record| {
                let device = &record.device;
                (device.name.as_str(), device.labels.get(label))
            });
            Parents::new(&above.collect::<Vec<_>>())?
        }
    };
    let assignment = assign(&policy.waves, &candidates, seed, &parents);
    let mut sizes = vec![0_u64; policy.waves.len()];
    for wave in &assignment.waves {
        if let Some(size) = sizes.get_mut(*wave as usize) {
            *size += 1;
        }
    }
    let harms = plan.effect() >= Effect::Change;
    let budget = policy.limits.budget.of(records.len() as u64).filter(|_| harms);
    let wave_budgets = policy
        .waves
        .iter()
        .zip(&sizes)
        .map(|(wave, size)| wave.budget.of(*size).filter(|_| harms));
    let wave_budgets = wave_budgets.collect();
    let members = records
        .iter()
        .zip(&assignment.waves)
        .map(|(record, wave)| Member {
            name: record.device.name.clone(),
            wave: *wave,
            fingerprint: found.get(&record.device.name).cloned(),
        });
    let approved = Approved::new(plan, policy, members.collect());
    Ok(Laid {
        assignment,
        sizes,
        budget,
        wave_budgets,
        approved,
        parents,
        records,
    })
}

fn candidate(record: &DeviceRecord) -> Candidate<'_> {
    let facts = record.facts.as_ref();
    Candidate {
        id: record.id,
        device: &record.device,
        version: facts.map(|facts| facts.version.as_str()),
        board: facts.map(|facts| facts.board.as_str()),
        architecture: facts.map(|facts| facts.architecture.as_str()),
    }
}

impl Laid {
    /// Device, wave and place in the order, by device.
    pub(crate) fn places(&self) -> Vec<(u64, u32, u64)> {
        let mut places = vec![0_u64; self.records.len()];
        for (place, at) in self.assignment.order.iter().enumerate() {
            places[*at] = place as u64;
        }
        let rows = self.records.iter().zip(&self.assignment.waves).zip(places);
        let mut rows = rows
            .map(|((record, wave), place)| (record.id, *wave, place))
            .collect::<Vec<_>>();
        rows.sort_unstable();
        rows
    }

    /// Each device that waits for another, with that one.
    pub(crate) fn pairs(&self) -> Vec<(u64, u64)> {
        let id = |at: usize| self.records[at].id;
        self.parents
            .pairs()
            .map(|(child, parent)| (id(parent), id(child)))
            .collect()
    }

    /// The zones of its devices, every one shut, if its windows are in those.
    pub(crate) fn local(&self, policy: &Policy) -> Option<Local> {
        let label = policy
            .zone_label
            .as_ref()
            .filter(|_| !policy.windows.is_empty())?;
        let zones = self
            .records
            .iter()
            .filter_map(|record| record.device.labels.get(label));
        Some(Local::shut(label, zones.map(str::to_owned)))
    }

    /// The first devices of a wave, in their order.
    pub(crate) fn sample(&self, wave: u32, count: usize) -> Vec<String> {
        let of_wave = self
            .assignment
            .order
            .iter()
            .filter(|at| self.assignment.waves[**at] == wave);
        of_wave
            .take(count)
            .map(|at| self.records[*at].device.name.clone())
            .collect()
    }
}
