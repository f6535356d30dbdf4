//! Audits go on: answers are judged as they land, and a run ends when every device is judged.

use std::sync::Arc;
use std::time::Duration;

use muster_store::StoreError;

use super::{Pass, Reconcile, Reconciler};
use crate::{Shared, audit};

/// While there are runs under way: bounds how late a verdict is.
const PERIOD: Duration = Duration::from_millis(100);
/// While there are none: one that is made wakes it.
const IDLE: Duration = Duration::from_secs(5);

pub(super) struct Audits;

impl Reconcile for Audits {
    fn told(shared: &Shared) -> &Reconciler {
        &shared.reconcilers.audits
    }

    async fn pass(shared: &Arc<Shared>) -> Result<Pass, StoreError> {
        let runs = shared.store.audits_open().await?;
        let mut did = Vec::new();
        for run in &runs {
            did.extend(audit::advance(shared, run).await?);
        }
        let next = if runs.is_empty() { IDLE } else { PERIOD };
        Ok(Pass {
            did: did.join("; "),
            next,
        })
    }
}
