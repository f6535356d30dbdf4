//! Why a job, or its execution on one device, does not move (K3).

use std::collections::BTreeMap;

use muster_engine_core::budget::Scope;
use muster_engine_core::explain::{Blocker, Kind, at_cap, for_want_of_workers, over_budget};
use muster_model::{ExecutionState, JobState};
use muster_proto::{time, v1};
use muster_store::{FullValue, JobRecord, OneExecution, Wait, Waiting};
use tonic::Status;

use super::ask;
use super::explain_rollout;
use crate::{Shared, error};

/// Executions in the hands of workers that are asked after: an answer for people, who wait for it.
const ASKED: u32 = 500;
/// Holders named in one blocker.
const HOLDERS: usize = 20;

pub(crate) async fn answer(
    shared: &Shared,
    job: JobRecord,
    device: &str,
) -> Result<v1::ExplainJobResponse, Status> {
    let one = match device {
        "" => None,
        name => {
            let found = shared
                .store
                .execution_on(job.id, name)
                .await
                .map_err(error::store)?;
            let missing =
                || error::invalid_field("device", format!("job {} has no execution on {name:?}", job.uuid));
            Some(found.ok_or_else(missing)?)
        }
    };
    let mut blockers = Vec::new();
    let over = one
        .as_ref()
        .map_or(job.state.is_terminal(), |one| one.state.is_terminal());
    if !over {
        blockers = gather(shared, &job, one.as_ref()).await?;
    }
    let text = match (&one, blockers.first()) {
        (_, Some(first)) => first.text.clone(),
        (Some(one), None) => about(one),
        (None, None) if over => format!("it is over: {}", job.state),
        (None, None) => "nothing keeps it: what is left is about to be handed out".to_owned(),
    };
    Ok(v1::ExplainJobResponse {
        blockers: blockers.into_iter().map(message).collect(),
        text,
    })
}

fn about(one: &OneExecution) -> String {
    match (&one.error, one.state) {
        (Some(error), state) if state.is_terminal() => format!("it is over: {state} ({error})"),
        (None, state) if state.is_terminal() => format!("it is over: {state}"),
        (_, ExecutionState::Pending) => "nothing keeps it: it is about to be handed out".to_owned(),
        (_, state) => format!("it is {state}"),
    }
}

async fn gather(
    shared: &Shared,
    job: &JobRecord,
    one: Option<&OneExecution>,
) -> Result<Vec<Blocker>, Status> {
    let device = one.map(|one| one.device);
    let now = shared.clock.now();
    let waiting = shared
        .store
        .waiting(job, device, now)
        .await
        .map_err(error::store)?;
    let mut blockers = Vec::new();
    let pending: u64 = waiting.iter().map(|waiting| waiting.executions).sum();
    blockers.extend(of_the_job(job, pending));
    blockers.extend(explain_rollout::blockers(shared, job, device, pending).await?);
    let ready = waiting.iter().filter(|waiting| waiting.wait == Wait::Ready);
    if job.state == JobState::Running {
        blockers.extend(for_budget(shared, job, device, &waiting).await?);
        let in_flight = |&(state, _): &(ExecutionState, u64)| {
            matches!(state, ExecutionState::Leased | ExecutionState::Running)
        };
        let in_flight = job
            .counts
            .iter()
            .copied()
            .filter(in_flight)
            .map(|(_, count)| count)
            .sum();
        let ready = ready.clone().map(|waiting| waiting.executions).sum();
        blockers.extend(at_cap(job.concurrency, in_flight, ready).filter(|_| ready > 0));
    }
    if job.state == JobState::Running {
        let full = shared.store.full_values(job.id, device).await;
        blockers.extend(full.map_err(error::store)?.into_iter().map(full_value));
    }
    let named = shared.store.zones().await.map_err(error::store)?;
    // A question is asked whatever its job's state; the rest waits for the job first.
    let for_workers = waiting.iter().filter(|waiting| match waiting.wait {
        Wait::Resolving => waiting.ready_at <= now,
        Wait::Ready => job.state == JobState::Running,
        Wait::Soaking => waiting.ready_at <= now,
        Wait::Lock | Wait::Offline | Wait::Backoff | Wait::Wave | Wait::Dependency | Wait::Away => false,
    });
    for Waiting { zone, executions, .. } in for_workers {
        let workers = shared.sessions.serving(zone, &named);
        blockers.extend(for_want_of_workers(zone, &workers, *executions));
    }
    blockers.extend(waiting.iter().filter_map(|waiting| of_itself(job, one, waiting)));
    blockers.extend(with_workers(shared, job, device).await?);
    blockers.sort_by_key(|blocker| blocker.kind.rank());
    Ok(joined(blockers))
}

fn of_the_job(job: &JobRecord, executions: u64) -> Option<Blocker> {
    let uuid = &job.uuid;
    let (kind, text) = match (job.state, &job.halted) {
        (JobState::Draft, _) => (
            Kind::Draft,
            format!("the job is being laid out: {} devices so far", job.total),
        ),
        (JobState::Paused, _) => (
            Kind::Paused,
            format!("the job is paused; it goes on with: job resume {uuid}"),
        ),
        (JobState::Halted, halted) => {
            let (rule, detail) = halted
                .as_ref()
                .map_or(("", ""), |halted| (&*halted.rule, &*halted.detail));
            let next = match job.ledger().exhausted() {
                Some(_) => format!("raise it first: job limits {uuid} --budget N --approver NAME"),
                None => format!("it goes on with: job resume {uuid}"),
            };
            (
                Kind::Halted,
                format!("rule {rule} halted the job: {detail}; {next}"),
            )
        }
        _ => return None,
    };
    Some(Blocker {
        kind,
        text,
        holders: Vec::new(),
        until: None,
        next_check: None,
        executions,
    })
}

/// The budgets that let no further device be touched, and who holds their units (C3).
async fn for_budget(
    shared: &Shared,
    job: &JobRecord,
    device: Option<i64>,
    waiting: &[Waiting],
) -> Result<Vec<Blocker>, Status> {
    let ledger = job.ledger();
    let waits = |waiting: &&Waiting| !waiting.touched && matches!(waiting.wait, Wait::Ready | Wait::Away);
    let mut waves = BTreeMap::<u32, u64>::new();
    for waiting in waiting.iter().filter(waits) {
        *waves.entry(waiting.wave).or_default() += waiting.executions;
    }
    for (wave, asking) in shared.store.asking(job.id, device).await.map_err(error::store)? {
        *waves.entry(wave).or_default() += asking;
    }
    let mut blockers = Vec::new();
    for (wave, executions) in waves {
        let Some(full) = ledger.full(wave) else { continue };
        let scope = match full.scope {
            Scope::Job => None,
            Scope::Wave(number) => Some(number),
        };
        let holders = shared.store.touched(job.id, scope, HOLDERS as u32).await;
        blockers.push(over_budget(&full, holders.map_err(error::store)?, executions));
    }
    Ok(blockers)
}

/// What about the executions themselves keeps them.
fn of_itself(job: &JobRecord, one: Option<&OneExecution>, waiting: &Waiting) -> Option<Blocker> {
    let why = one
        .and_then(|one| one.error.as_ref())
        .map(|error| format!(": {error}"));
    let why = why.unwrap_or_default();
    let tries = one
        .map(|one| format!(" after {} tries", one.attempts))
        .unwrap_or_default();
    let (kind, text, until, holders) = match waiting.wait {
        Wait::Ready => return None,
        Wait::Away if job.ledger().full(waiting.wave).is_some() => return None,
        Wait::Away => {
            let text =
                "it was handed back while no unit of the budget was left, and is handed out again soon";
            (Kind::Backoff, text.to_owned(), Some(waiting.ready_at), Vec::new())
        }
        Wait::Wave => {
            let (wave, open) = (u64::from(waiting.wave) + 1, u64::from(job.open_wave) + 1);
            let text = match open {
                1 => format!("it belongs to wave {wave}; only wave 1 is open"),
                open => format!("it belongs to wave {wave}; waves 1 to {open} are open"),
            };
            (Kind::Wave, text, None, Vec::new())
        }
        Wait::Dependency => {
            let text = "other devices of the job go first: those that depend on it".to_owned();
            (Kind::Dependency, text, None, Vec::new())
        }
        Wait::Resolving => {
            let text =
                format!("the answer to a change was lost, and what became of it is being found out{why}");
            (Kind::Resolving, text, None, Vec::new())
        }
        Wait::Lock => {
            let holder = waiting.holder.clone().unwrap_or_default();
            let text = format!("job {holder} holds the device until its execution there is over");
            (Kind::DeviceLock, text, None, vec![holder])
        }
        Wait::Offline => {
            let text = format!(
                "the device could not be reached{tries}{why}; it is tried again, or sooner when it answers anybody"
            );
            (Kind::Offline, text, Some(job.expires_at), Vec::new())
        }
        Wait::Soaking => {
            let text = "it was changed, and soaks: then it is looked at once more, and gives its unit of the budget back";
            (Kind::Soak, text.to_owned(), Some(waiting.ready_at), Vec::new())
        }
        Wait::Backoff => {
            let text = format!("the last try was cut off{tries}{why}; it waits before the next");
            (Kind::Backoff, text, Some(waiting.ready_at), Vec::new())
        }
    };
    Some(Blocker {
        kind,
        text,
        holders,
        until,
        next_check: (!matches!(waiting.wait, Wait::Lock | Wait::Wave | Wait::Dependency))
            .then_some(waiting.ready_at),
        executions: waiting.executions,
    })
}

/// A label value that has as many executions with workers as it may.
fn full_value(full: FullValue) -> Blocker {
    let FullValue {
        key,
        value,
        most,
        has,
        waiting,
        own,
    } = full;
    let limit = match own {
        true => format!("the job's own limit for each {key} is {most}"),
        false => format!("its limit label.executions is {most}"),
    };
    Blocker {
        kind: Kind::LabelCap,
        text: format!(
            "{has} executions {of}are with workers on devices of {key}={value}, and {limit}",
            of = if own { "of the job " } else { "" },
        ),
        holders: Vec::new(),
        until: None,
        next_check: None,
        executions: waiting,
    }
}

async fn with_workers(shared: &Shared, job: &JobRecord, device: Option<i64>) -> Result<Vec<Blocker>, Status> {
    let held = shared
        .store
        .with_workers(job.id, device)
        .await
        .map_err(error::store)?;
    let some = shared.store.some_with_workers(job.id, device, ASKED).await;
    let doing = ask::doing(shared, some.map_err(error::store)?).await;
    let one = device.and_then(|_| doing.values().flatten().next().cloned());
    let blocker = |held: muster_store::WithWorker| {
        let connected = shared.sessions.with(held.session, |_| ()).is_some();
        let resolving = held.resolving > 0 && held.resolving == held.executions;
        let does = match resolving {
            true => "looks after a change whose answer was lost",
            false => "has it, and ends by the deadlines of its commands",
        };
        let text = match (connected, &one) {
            (true, Some(one)) if !one.limited => format!("worker {} has it: {}", held.worker, one.text),
            (true, _) => format!("worker {} {does}", held.worker),
            (false, _) => format!(
                "worker {} has it and is not connected; it is taken back within {:?} unless the worker returns",
                held.worker, shared.lease
            ),
        };
        Blocker {
            kind: if resolving {
                Kind::Resolving
            } else {
                Kind::WithWorker
            },
            text,
            holders: vec![held.worker],
            until: None,
            next_check: None,
            executions: held.executions,
        }
    };
    let mut blockers = held.iter().cloned().map(blocker).collect::<Vec<_>>();
    for (session, doing) in &doing {
        let worker = held.iter().find(|held| held.session == *session);
        let worker = worker.map(|held| held.worker.clone()).unwrap_or_default();
        blockers.extend(doing.iter().filter(|doing| doing.limited).map(|doing| Blocker {
            kind: Kind::Limited,
            text: format!("worker {worker} has it, and {}", doing.text),
            holders: vec![worker.clone()],
            until: None,
            next_check: None,
            executions: 1,
        }));
    }
    Ok(blockers)
}

/// Blockers that say the same, as one.
fn joined(blockers: Vec<Blocker>) -> Vec<Blocker> {
    let mut all = Vec::<Blocker>::new();
    for blocker in blockers {
        let same = |other: &&mut Blocker| (other.kind, &other.text) == (blocker.kind, &blocker.text);
        match all.iter_mut().find(same) {
            Some(other) => {
                other.executions += blocker.executions;
                other.next_check = other.next_check.into_iter().chain(blocker.next_check).min();
                other.holders.extend(blocker.holders);
                other.holders.dedup();
            }
            None => all.push(blocker),
        }
    }
    all
}

fn message(blocker: Blocker) -> v1::Blocker {
    let mut holders = blocker.holders;
    holders.truncate(HOLDERS);
    v1::Blocker {
        kind: blocker.kind as i32,
        text: blocker.text,
        holders,
        until: blocker.until.map(time),
        next_check: blocker.next_check.map(time),
        executions: blocker.executions,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_the_core_is_in_the_api() {
        for &kind in Kind::ORDER {
            let name = v1::BlockerKind::try_from(kind as i32)
                .expect("known")
                .as_str_name()
                .replace('_', "");
            let expected = format!("BLOCKERKIND{}", format!("{kind:?}").to_uppercase());
            assert_eq!(name, expected);
        }
        // All but the one that is unspecified.
        let known = (1..100).filter(|number| v1::BlockerKind::try_from(*number).is_ok());
        assert_eq!(known.count(), Kind::ORDER.len());
    }
}
