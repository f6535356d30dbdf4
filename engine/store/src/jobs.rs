//! What any store of jobs does: one method for each operation. The operations are the same for all of them, and so is
//! what they mean; [`crate::conformance`] is the suite that a store has to pass.

use crate::{
    AbortJob, AssignWaves, BeginSession, ChangeLimits, Claim, CreateJob, DeleteJob, EventRecord,
    ExecutionRecord, ExpireJobs, GrantIntents, HistoryRecord, ImportDevices, JobRecord, LayOut, LoseLeases,
    OpenWave, PauseJob, ReleaseDevices, ResultRecord, SetCredential, StartJob, Store, StoreError, Sweep,
    Write,
};
use crate::{ApplyReports, OpenSession, ResultPage};

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident($operation:ty);)*) => {
        /// A store of jobs. When an operation has returned, what it did is there after any crash, as a whole; what it
        /// did not return from is there as a whole or not at all.
        pub trait JobStore: Send + Sync {
            $($(#[$doc])*
            fn $name(
                &self,
                operation: $operation,
            ) -> impl Future<Output = Result<<$operation as Write>::Out, StoreError>> + Send;)*

            /// One job by its id.
            fn job(&self, uuid: &str) -> impl Future<Output = Result<Option<JobRecord>, StoreError>> + Send;

            /// Every execution of a job, by its row, in the order they were laid out.
            fn executions(
                &self,
                job: i64,
            ) -> impl Future<Output = Result<Vec<ExecutionRecord>, StoreError>> + Send;

            /// A page of a job's executions with their answers.
            fn results(
                &self,
                page: &ResultPage,
            ) -> impl Future<Output = Result<Vec<ResultRecord>, StoreError>> + Send;

            /// Up to `limit` events of a job, by its row, after `seq`.
            fn events(
                &self,
                job: i64,
                after: u64,
                limit: u32,
            ) -> impl Future<Output = Result<Vec<EventRecord>, StoreError>> + Send;

            /// Up to `limit` rows of the history after the row `after`, of one subject or, when it is empty, of all.
            fn history(
                &self,
                subject: &str,
                after: i64,
                limit: u32,
            ) -> impl Future<Output = Result<Vec<HistoryRecord>, StoreError>> + Send;

            /// Names of devices that are quarantined.
            fn quarantined(&self, now: i64) -> impl Future<Output = Result<Vec<String>, StoreError>> + Send;

            /// Ids of jobs that are not laid out yet.
            fn drafts(&self) -> impl Future<Output = Result<Vec<String>, StoreError>> + Send;

            /// Sessions that hold leases, each with the boot id of the engine it lived in, if it lived in one.
            fn sessions_holding(
                &self,
            ) -> impl Future<Output = Result<Vec<(u64, String)>, StoreError>> + Send;
        }

        impl JobStore for Store {
            $(async fn $name(&self, operation: $operation) -> Result<<$operation as Write>::Out, StoreError> {
                self.write(operation).await
            })*

            async fn job(&self, uuid: &str) -> Result<Option<JobRecord>, StoreError> {
                Store::job(self, uuid).await
            }

            async fn executions(&self, job: i64) -> Result<Vec<ExecutionRecord>, StoreError> {
                Store::executions(self, job).await
            }

            async fn results(&self, page: &ResultPage) -> Result<Vec<ResultRecord>, StoreError> {
                Store::results(self, page).await
            }

            async fn events(&self, job: i64, after: u64, limit: u32) -> Result<Vec<EventRecord>, StoreError> {
                Store::events(self, job, after, limit).await
            }

            async fn history(
                &self,
                subject: &str,
                after: i64,
                limit: u32,
            ) -> Result<Vec<HistoryRecord>, StoreError> {
                Store::history(self, subject, after, limit).await
            }

            async fn quarantined(&self, now: i64) -> Result<Vec<String>, StoreError> {
                Store::quarantined(self, now).await
            }

            async fn drafts(&self) -> Result<Vec<String>, StoreError> {
                Store::drafts(self).await
            }

            async fn sessions_holding(&self) -> Result<Vec<(u64, String)>, StoreError> {
                Store::sessions_holding(self).await
            }
        }
    };
}

operations! {
    /// Makes a credential, which devices need.
    set_credential(SetCredential);
    /// Adds devices, all or none.
    import_devices(ImportDevices);
    /// Makes a job, once for each request id.
    create_job(CreateJob);
    /// Lays out the next part of a draft.
    lay_out(LayOut);
    /// Puts executions of a job that has not begun into waves.
    assign_waves(AssignWaves);
    /// Lets a job that is laid out and waits begin.
    start_job(StartJob);
    /// Lets a further wave be handed out.
    open_wave(OpenWave);
    /// Changes budgets and caps.
    change_limits(ChangeLimits);
    /// Opens a session.
    open_session(OpenSession);
    /// Opens a session that takes over what its worker holds.
    begin_session(BeginSession);
    /// Takes every lease from sessions that are over.
    lose_leases(LoseLeases);
    /// Hands out what is ready.
    claim(Claim);
    /// Grants intents.
    grant_intents(GrantIntents);
    /// Applies reports.
    apply_reports(ApplyReports);
    /// Gives up on devices of jobs whose time is up.
    expire_jobs(ExpireJobs);
    /// Ends a job early.
    abort_job(AbortJob);
    /// Pauses a job, or lets one that is stopped go on.
    pause_job(PauseJob);
    /// Lifts quarantines.
    release_devices(ReleaseDevices);
    /// Deletes a job that is over.
    delete_job(DeleteJob);
    /// Deletes a batch of rows of jobs that are gone.
    sweep(Sweep);
}
