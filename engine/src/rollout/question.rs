//! Jobs of one read that a rollout needs itself: whether devices are there (D3), and what they measure (E2).

use std::sync::Arc;
use std::time::Duration;

use muster_engine_core::budget::Asked;
use muster_model::{JobState, Plan, Priority, Selector, Step, selector};
use muster_store::{CreateJob, Mode, StoreError};
use tokio::sync::OwnedRwLockReadGuard;

use crate::Shared;
use crate::services::job::lay_out;

/// What is asked of whom.
pub(super) struct Question {
    /// The id of the job to be.
    pub(super) uuid: String,
    /// For people.
    pub(super) name: String,
    pub(super) selector: Selector,
    pub(super) step: Step,
    /// How long a device may take; devices that cannot be reached are tried for twice as long.
    pub(super) timeout: Duration,
}

/// Makes the job. Returns whether there is one: the selector may mean nobody any more.
pub(super) async fn make(
    shared: &Arc<Shared>,
    question: Question,
    frozen: OwnedRwLockReadGuard<()>,
) -> Result<bool, StoreError> {
    let Question {
        uuid,
        name,
        selector,
        step,
        timeout,
    } = question;
    let now = shared.clock.now();
    let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    let create = CreateJob {
        uuid: uuid.clone(),
        request_id: None,
        request_hash: [0; 32],
        name,
        plan: Plan::new(vec![step]),
        selector,
        retry: None,
        mode: Mode::Apply,
        timeout_ms,
        priority: Priority::Interactive,
        concurrency: None,
        budget: Asked::RUN,
        waves: Vec::new(),
        start: JobState::Running,
        rollout: None,
        stretch_ms: None,
        spread: None,
        now,
        expires_at: now.saturating_add_unsigned(timeout_ms.saturating_mul(2)),
        claimed_by: "muster".to_owned(),
        deeds: Vec::new(),
    };
    let created = shared.store.write(create).await?;
    if created.as_ref().is_ok_and(|created| created.draft) {
        lay_out(shared, &uuid).await?;
    }
    drop(frozen);
    shared.committed();
    shared.work_appeared();
    Ok(created.is_ok())
}

/// A selector of as many of these devices as it holds.
pub(super) fn select(names: &[String]) -> Option<Selector> {
    let mut text = String::new();
    for name in names {
        let before = if text.is_empty() { "name in (" } else { "," };
        if text.len() + before.len() + name.len() + 1 > selector::MAX_BYTES {
            break;
        }
        text.push_str(before);
        text.push_str(name);
    }
    if text.is_empty() {
        return None;
    }
    text.push(')');
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_make_a_selector() {
        assert!(select(&[]).is_none());
        let names = ["r1".to_owned(), "r-2.x".to_owned()];
        let told = select(&names).expect("a selector").to_string();
        assert_eq!(told, "name in (r1,r-2.x)");
    }
}
