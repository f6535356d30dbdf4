//! Jobs with a policy: rollouts. What follows from what is stored is decided by `muster_engine_core::rollout`; here it
//! is read, and written back in the transaction that it belongs to.

mod advance;
mod approve;
mod begin;
mod freeze;
mod join;
mod judge;
pub(crate) mod local;
mod measure;
mod read;

pub use advance::{EndWave, NoteAsked, NoteVerdict, SettleRollout, Settled};
pub use approve::{Approval, Approve, ApproveRefused, Approved};
pub use begin::{AfterChildren, BeginRollout, Begun, NewRollout, SpreadWaves, StorePreview};
pub use freeze::{FreezeRecord, SetFreeze};
pub use join::JoinWave;
pub use local::Local;
pub use measure::{Measurement, StoreMeasurements};
pub use read::{HoldRecord, RolloutRecord, VerdictRecord};

pub(crate) use begin::insert;
pub(crate) use judge::{Ending, acknowledge, judge};
