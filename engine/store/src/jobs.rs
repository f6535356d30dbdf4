//! What any store of jobs does: one method for each operation. The operations are the same for all of them, and so is
//! what they mean; [`crate::conformance`] is the suite that a store has to pass.

use crate::{Store, StoreError, Write};

/// Hands every operation to a macro: those that write, and what they are given; those that read, and what they tell.
macro_rules! operations {
    ($to:ident) => {
        $to! {
            writes {
                /// Makes a credential, which devices need.
                set_credential(crate::SetCredential);
                /// Adds devices, all or none.
                import_devices(crate::ImportDevices);
                /// Makes a job, once for each request id.
                create_job(crate::CreateJob);
                /// Lays out the next part of a draft.
                lay_out(crate::LayOut);
                /// Puts executions of a job that has not begun into waves.
                assign_waves(crate::AssignWaves);
                /// Lets a job that is laid out and waits begin.
                start_job(crate::StartJob);
                /// Lets a further wave be handed out.
                open_wave(crate::OpenWave);
                /// Changes budgets and caps.
                change_limits(crate::ChangeLimits);
                /// Opens a session.
                open_session(crate::OpenSession);
                /// Opens a session that takes over what its worker holds.
                begin_session(crate::BeginSession);
                /// Takes every lease from sessions that are over.
                lose_leases(crate::LoseLeases);
                /// Hands out what is ready.
                claim(crate::Claim);
                /// Grants intents.
                grant_intents(crate::GrantIntents);
                /// Applies reports.
                apply_reports(crate::ApplyReports);
                /// Gives up on devices of jobs whose time is up.
                expire_jobs(crate::ExpireJobs);
                /// Ends a job early.
                abort_job(crate::AbortJob);
                /// Pauses a job, or lets one that is stopped go on.
                pause_job(crate::PauseJob);
                /// Lifts quarantines.
                release_devices(crate::ReleaseDevices);
                /// Deletes a job that is over.
                delete_job(crate::DeleteJob);
                /// Deletes a batch of rows of jobs that are gone.
                sweep(crate::Sweep);
            }
            reads {
                /// One job by its id.
                job(uuid: &str) -> Option<crate::JobRecord>;
                /// Every execution of a job, by its row, in the order they were laid out.
                executions(job: i64) -> Vec<crate::ExecutionRecord>;
                /// A page of a job's executions with their answers.
                results(page: &crate::ResultPage) -> Vec<crate::ResultRecord>;
                /// Up to `limit` events of a job, by its row, after `seq`.
                events(job: i64, seq: u64, limit: u32) -> Vec<crate::EventRecord>;
                /// Up to `limit` rows of the history after the row `after`, of one subject or, when it is empty, of all.
                history(subject: &str, after: i64, limit: u32) -> Vec<crate::HistoryRecord>;
                /// Names of devices that are quarantined.
                quarantined(now: i64) -> Vec<String>;
                /// Ids of jobs that are not laid out yet.
                drafts() -> Vec<String>;
                /// Sessions that hold leases, each with the boot id of the engine it lived in, if it lived in one.
                sessions_holding() -> Vec<(u64, String)>;
            }
        }
    };
}
pub(crate) use operations;

macro_rules! declare {
    (
        writes { $($(#[$doc:meta])* $name:ident($operation:ty);)* }
        reads { $($(#[$reads:meta])* $read:ident($($given:ident: $what:ty),*) -> $told:ty;)* }
    ) => {
        /// A store of jobs. When an operation has returned, what it did is there after any crash, as a whole; what it
        /// did not return from is there as a whole or not at all.
        pub trait JobStore: Send + Sync {
            $($(#[$doc])*
            fn $name(
                &self,
                operation: $operation,
            ) -> impl Future<Output = Result<<$operation as Write>::Out, StoreError>> + Send;)*

            $($(#[$reads])*
            fn $read(&self, $($given: $what),*) -> impl Future<Output = Result<$told, StoreError>> + Send;)*
        }

        impl JobStore for Store {
            $(async fn $name(&self, operation: $operation) -> Result<<$operation as Write>::Out, StoreError> {
                self.write(operation).await
            })*

            $(async fn $read(&self, $($given: $what),*) -> Result<$told, StoreError> {
                Store::$read(self, $($given),*).await
            })*
        }
    };
}
operations!(declare);
