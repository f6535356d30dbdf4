//! Loops that keep jobs moving whatever happens. They take no input and may run at any time, any number of times:
//! what is due is read from the store. Each tells how it fares in `admin status`.

mod audits;
mod expiry;
mod leases;
mod retention;
pub(crate) mod rollouts;
mod schedules;
mod status;

use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_store::StoreError;

use crate::Shared;

pub(crate) use leases::{Ended, end_session, recover};
pub(crate) use status::{Reconciler, Reconcilers};

/// After a failure of the store.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// What one run did, in words, empty for nothing; and how long it is to the next one unless something wakes it.
struct Pass {
    did: String,
    next: Duration,
}

trait Reconcile: Send + Sync + 'static {
    /// Where it tells of itself.
    fn told(shared: &Shared) -> &Reconciler;

    /// Does what is due.
    fn pass(shared: &Arc<Shared>) -> impl Future<Output = Result<Pass, StoreError>> + Send;
}

/// Runs all of them until the engine stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    tokio::join!(
        keep::<leases::Leases>(&shared),
        keep::<expiry::Expiry>(&shared),
        keep::<retention::Retention>(&shared),
        keep::<rollouts::Rollouts>(&shared),
        keep::<schedules::Schedules>(&shared),
        keep::<audits::Audits>(&shared),
    );
}

async fn keep<R: Reconcile>(shared: &Arc<Shared>) {
    let reconciler = R::told(shared);
    let stop = shared.stop.clone();
    loop {
        let (at, began) = (shared.clock.now(), Instant::now());
        let Some(pass) = stop.run_until_cancelled(R::pass(shared)).await else {
            return;
        };
        let (did, next) = match pass {
            Ok(pass) => (Ok(pass.did), pass.next),
            Err(error) => {
                tracing::error!(%error, reconciler = reconciler.name(), "a reconciler failed");
                (Err(error.to_string()), AFTER_FAILURE)
            }
        };
        reconciler.ran(at, began, did, next);
        tokio::select! {
            () = tokio::time::sleep(next) => {}
            () = reconciler.woken() => {}
            () = stop.cancelled() => return,
        }
    }
}
