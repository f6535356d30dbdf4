//! What every store of jobs has to do, as checks that are run on it. Each check starts with an empty store; after every
//! operation, counters must equal a recount and no device may be held twice.
//!
//! ```text
//! let failed = muster_store::conformance::run(&opener).await;
//! assert!(failed.is_empty(), "{failed:?}");
//! ```

mod intents;
mod jobs;
mod leases;
mod scene;
mod steering;

use std::fmt;

use crate::JobStore;

pub use scene::recount;

/// A store under test.
pub trait Subject: Send + Sync + Sized {
    /// Its type.
    type Store: JobStore;

    /// The store.
    fn store(&self) -> &Self::Store;

    /// A store of its own with what would be there if everything had stopped at this moment.
    fn after_crash(&self) -> impl Future<Output = Result<Self, String>> + Send;
}

/// Makes empty stores.
pub trait Opener: Send + Sync {
    /// What it makes.
    type Subject: Subject;

    /// A new one.
    fn open(&self) -> impl Future<Output = Result<Self::Subject, String>> + Send;
}

/// What a check says: nothing, or what is wrong.
pub type Checked = Result<(), String>;

/// A check that a store does not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Which.
    pub check: &'static str,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.what)
    }
}

macro_rules! checks {
    ($($module:ident::$check:ident,)*) => {
        /// The names of all checks.
        pub const CHECKS: &[&str] = &[$(stringify!($check),)*];

        /// Runs every check. Returns those that failed.
        pub async fn run<O: Opener>(opener: &O) -> Vec<Failed> {
            let mut failed = Vec::new();
            $(
                if let Err(what) = $module::$check(opener).await {
                    failed.push(Failed { check: stringify!($check), what });
                }
            )*
            failed
        }
    };
}

checks! {
    jobs::a_request_id_stands_for_one_job,
    jobs::a_selection_is_laid_out_in_parts_and_resumed,
    jobs::an_empty_selection_makes_no_job,
    jobs::a_retry_takes_outcomes_and_nothing_that_is_done,
    jobs::a_deleted_job_is_gone_and_its_request_id_stands,
    jobs::what_was_answered_survives_a_crash,
    leases::claims_keep_to_zones_and_demand,
    leases::claims_leave_devices_to_who_has_their_connections,
    leases::classes_go_in_order_and_jobs_share_equally,
    leases::a_job_keeps_to_its_cap,
    leases::a_device_has_one_job_with_effects_at_a_time,
    leases::waves_are_handed_out_when_they_are_open,
    leases::a_session_takes_over_what_its_worker_holds,
    leases::lost_leases_cost_nothing_before_an_intent,
    leases::time_gives_up_on_what_waits,
    intents::intents_are_granted_held_or_revoked,
    intents::the_budget_is_reserved_with_the_grant,
    intents::a_wave_keeps_to_its_own_budget,
    intents::a_spent_budget_halts_until_somebody_raises_it,
    intents::reports_count_once,
    intents::an_old_epoch_moves_nothing_and_is_evidence,
    intents::an_open_question_is_asked_first,
    intents::a_device_that_answers_wakes_what_waits_for_it,
    steering::a_paused_job_admits_nothing_and_loses_no_time,
    steering::an_aborted_job_ends,
    steering::a_device_that_keeps_ending_badly_is_left_out,
    steering::the_history_is_a_chain,
    steering::everything_told_is_durable,
}
