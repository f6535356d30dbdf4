//! A store of jobs in memory: maps, and every rule spelled out over them. It is here to say what the operations mean, so
//! that a faster store can be compared with it; nothing in it is fast, and nothing outlives the process.
//!
//! Decisions are the core's, as in every store. It knows no limits by label value, no fingerprints of previews and no policies of rollouts: what it is compared by
//! does not need them.

mod claim;
mod create;
mod ends;
mod model;
mod steer;

use std::sync::{Arc, Mutex, PoisonError};

pub use model::Model;

use crate::jobs::operations;
use crate::{JobStore, StoreError, Write};

/// A store of jobs in memory; cheap to clone, and clones are the same store.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<Model>>);

/// One of the ways to be wrong that the conformance suite has to notice.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// Whoever speaks of an execution is taken to hold it.
    NoEpoch,
    /// Several jobs with effects may have a device.
    NoDeviceLock,
    /// Intents are granted and no unit of the budget is reserved.
    GrantWithoutReservation,
    /// What an operation did is kept when the next one is done.
    AckBeforeCommit,
    /// A counter is wrong by one after a batch of reports.
    RecountOffByOne,
}

impl MemoryStore {
    /// What there is now, as a store of its own.
    pub fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.with(|model| model.kept().clone()))))
    }

    #[cfg(test)]
    pub(crate) fn sabotaged(sabotage: Sabotage) -> Self {
        let store = Self::default();
        store.with(|model| model.sabotage = Some(sabotage));
        store
    }

    fn with<T>(&self, work: impl FnOnce(&mut Model) -> T) -> T {
        // A panic in the middle of an operation fails the test that it happened in.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, work: impl FnOnce(&mut Model) -> T) -> T {
        self.with(|model| {
            model.begin();
            work(model)
        })
    }
}

macro_rules! forward {
    (
        writes { $($(#[$doc:meta])* $name:ident($operation:ty);)* }
        reads { $($(#[$reads:meta])* $read:ident($($given:ident: $what:ty),*) -> $told:ty;)* }
    ) => {
        impl JobStore for MemoryStore {
            $(async fn $name(&self, operation: $operation) -> Result<<$operation as Write>::Out, StoreError> {
                Ok(self.write(|model| model.$name(&operation)))
            })*

            $(async fn $read(&self, $($given: $what),*) -> Result<$told, StoreError> {
                Ok(self.with(|model| model.$read($($given),*)))
            })*
        }
    };
}
operations!(forward);
