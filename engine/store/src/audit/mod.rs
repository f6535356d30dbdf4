//! Audits: runs, what they say of devices, and findings.
//!
//! A run has the id of the job that asks its devices. It has a result for each device: when the device answered, and an
//! *outcome*, which is what all checks say of it, stored once however many devices and runs have it.

mod create;
mod finding;
mod judge;
mod keep;
mod read;

pub use create::{CreateAudit, CreatedAudit};
pub use finding::{FindingPage, FindingRecord, ListedFinding, WaiveFindings, WaiverRecord};
pub use judge::{AcceptAudit, FinishAudit, NewOutcome, StoreOutcomes};
pub use keep::{DeleteOldAudits, ForgetFindings, ForgetOutcomes, SweepAudits, UnusedOutcomes};
pub use read::{AskedRecord, AuditRecord, AuditResultRecord};
