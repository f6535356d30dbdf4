//! `muster job`.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Job {
    /// List jobs, the newest first
    List {
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Show one job
    Show {
        /// Its id
        id: String,
    },
    /// Follow a job to its end
    Watch {
        /// Its id
        id: String,
    },
    /// Print the results of a job
    Results {
        /// Its id
        id: String,
        /// Only devices that are not well
        #[arg(long, conflicts_with = "state")]
        failed: bool,
        /// Only executions in these states
        #[arg(long, value_delimiter = ',', value_name = "STATE[,…]")]
        state: Vec<String>,
        /// Print CSV: a line for each row of each device, a column for each attribute that any of them has
        #[arg(long, conflicts_with = "json")]
        csv: bool,
        /// Print executions that ended alike together: how many, and what they answered
        #[arg(long, conflicts_with_all = ["failed", "state", "csv"])]
        grouped: bool,
    },
    /// Count the rows of a job's results, by what they say and whom they are of
    Aggregate(crate::client::aggregate::Aggregate),
    /// Write the rows of a job's results to a file: JSON lines, CSV or Parquet
    Export(crate::client::export::Export),
    /// Say what keeps a job, or its execution on one device, from moving
    Explain {
        /// Its id
        id: String,
        /// Only this device
        #[arg(long, value_name = "NAME")]
        device: Option<String>,
    },
    /// Let a job admit nothing new; what is in flight goes on to a safe step
    Pause {
        /// Its id
        id: String,
        /// Why, for the record
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Let a paused or halted job go on
    Resume {
        /// Its id
        id: String,
        /// Why, for the record
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Change how many devices a job may harm, or have with workers at once
    Limits(Limits),
    /// Try again, as a new job, what failed in one that is over
    Retry {
        /// Its id
        id: String,
        /// Executions in these states [default: those that left their device as it was]
        #[arg(long, value_delimiter = ',', value_name = "STATE[,…]")]
        state: Vec<String>,
        /// Do not ask before a plan that changes something
        #[arg(long, short = 'y')]
        yes: bool,
        /// Print the new job's id and return at once, with exit code 7
        #[arg(long)]
        detach: bool,
    },
    /// Delete a job that is over, with its results
    Delete {
        /// Its id
        id: String,
    },
    /// End a job early
    Abort {
        /// Its id
        id: String,
        /// Why, for the record
        #[arg(long, default_value = "")]
        reason: String,
        /// What was changed stays [default: as the rollout's file says, else this]
        #[arg(long, group = "changed")]
        keep: bool,
        /// What was changed is taken back
        #[arg(long, group = "changed")]
        revert: bool,
        /// What is in flight goes through all steps [default for rollouts]
        #[arg(long, group = "in_flight")]
        finish: bool,
        /// What is in flight stops before its next step [default elsewhere]
        #[arg(long, group = "in_flight")]
        stop_at_step: bool,
    },
    /// Approve of what a rollout waits for: its beginning, or what keeps its next wave shut
    Approve {
        /// Its id
        id: String,
        /// Only if this is its digest
        #[arg(long, default_value = "")]
        digest: String,
        /// Why, for the record
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// What became of a job: as a page, for build servers, or for programs
    Report {
        /// Its id
        id: String,
        #[command(flatten)]
        format: crate::client::report::Format,
    },
    /// Take back, as a new job, what one that is over has changed
    Revert {
        /// Its id
        id: String,
        /// Why, for the record
        #[arg(long, default_value = "")]
        reason: String,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Limits {
    /// The job's id
    pub id: String,
    /// Devices that may be harmed at most: a number, a share as in 2%, or all
    #[arg(long, value_name = "N|P%|all", required_unless_present_any = ["wave_budgets", "concurrency"])]
    pub budget: Option<String>,
    /// The same for one wave, counted from 1; may be given more than once
    #[arg(long = "wave-budget", value_name = "WAVE=N|P%|all", value_parser = wave_budget)]
    pub wave_budgets: Vec<(u32, String)>,
    /// Executions with workers at once; 0 for as many as workers take
    #[arg(long, value_name = "N")]
    pub concurrency: Option<u32>,
    /// Who approves, when a limit becomes looser
    #[arg(long, value_name = "NAME", default_value = "")]
    pub approver: String,
    /// Why, for the record
    #[arg(long, default_value = "")]
    pub reason: String,
}

fn wave_budget(text: &str) -> Result<(u32, String), String> {
    let wrong = || "write for example 2=10: wave 2 may harm 10 devices".to_owned();
    let (wave, budget) = text.split_once('=').ok_or_else(wrong)?;
    Ok((wave.parse().map_err(|_| wrong())?, budget.to_owned()))
}
