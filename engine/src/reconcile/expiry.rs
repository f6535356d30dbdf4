//! Devices that could not be reached are given up when their job's time is up.

use std::sync::Arc;
use std::time::Duration;

use muster_store::{ExpireJobs, StoreError};

use super::{Pass, Reconcile, Reconciler};
use crate::Shared;

/// How often time is looked at. Bounds how late an expiry is.
const PERIOD: Duration = Duration::from_millis(200);

pub(super) struct Expiry;

impl Reconcile for Expiry {
    fn told(shared: &Shared) -> &Reconciler {
        &shared.reconcilers.expiry
    }

    async fn pass(shared: &Arc<Shared>) -> Result<Pass, StoreError> {
        let mut all = 0;
        loop {
            let now = shared.clock.now();
            let expired = shared.store.write(ExpireJobs { now }).await?;
            if expired == 0 {
                break;
            }
            tracing::info!(expired, "devices given up");
            all += expired;
            shared.committed();
            shared.work_appeared();
        }
        crate::services::revert::pass(shared).await?;
        let did = if all == 0 {
            String::new()
        } else {
            format!("{all} devices given up")
        };
        Ok(Pass { did, next: PERIOD })
    }
}
