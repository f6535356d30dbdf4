//! What the engine remembers: one SQLite file behind one set of operations.
//!
//! * One writer owns the only connection that writes. It drains a bounded queue into group commits: whoever waits
//!   while a commit runs shares the next one, so no timer is needed and an idle store answers at once.
//! * A pool of read-only connections stands beside it (WAL), so a long report never holds up a claim.
//! * `synchronous=FULL`: when an operation has returned, it is on disk. A lease or an intent that was handed out is
//!   known after any crash.
//! * Every hot statement takes a batch, as JSON through `json_each`: one statement a batch, not one a row.
//!
//! Each writing operation is a struct that implements [`Write`]; [`Store::write`] runs it in a transaction.
//! See `engine/store/DESIGN.md` for what was rejected.

mod audit;
mod availability;
mod blob;
mod claim;
pub mod conformance;
mod create;
mod credential;
mod device;
mod event;
mod explain;
mod group;
mod history;
mod intent;
mod job;
mod jobs;
mod kept;
mod lease;
mod limit;
mod loaded;
pub mod memory;
mod pre;
mod quarantine;
mod reach;
mod report;
mod rescue;
mod result;
mod retention;
mod rollout;
mod scan;
mod schedule;
mod select;
mod set;
mod space;
mod sql;
mod status;
mod steer;
mod transition;
mod wave;
mod writer;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection, SqlSafeStr, SqliteConnection, SqlitePool};
use thiserror::Error;

pub use audit::{
    AcceptAudit, AskedRecord, AuditRecord, AuditResultRecord, CreateAudit, CreatedAudit, DeleteOldAudits,
    FindingPage, FindingRecord, FinishAudit, ForgetFindings, ForgetOutcomes, ListedFinding, NewOutcome,
    StoreOutcomes, SweepAudits, UnusedOutcomes, WaiveFindings, WaiverRecord,
};
pub use availability::{FRESH_MS, Unavailable};
pub(crate) use claim::PREPARING;
pub use claim::{Claim, Claimed, Expected, Holder, Lease, NoteHolders, ShareDevices, Zones};
pub use create::{CreateJob, CreateRefused, Created, LayOut, Mode, PART, Retry, Spread};
pub use credential::{CredentialRecord, RemoveCredential, RemoveCredentialRefused, SetCredential};
pub use device::{
    DeviceRecord, FactsRecord, ImportDevices, ImportRefused, Imported, LabelDevices, Labelled, ReachRecord,
    RemoveDevices, RemoveDevicesRefused, StoreFacts,
};
pub use event::EventRecord;
pub use explain::{LOOKED_AT, OneExecution, Wait, Waiting, WithWorker};
pub use group::{Group, Groups};
pub use history::{Deed, HistoryRecord, chained};
pub use intent::{GrantIntents, IntentRequest, Verdict};
pub use job::{Halted, JobRecord, Preview};
pub use jobs::JobStore;
pub use kept::{KeepFile, KeepFiles, KeptRecord, MOST_BACKUPS, MOST_EXPORTS};
pub use lease::{AdoptLeases, Adopted, BeginSession, ExpireJobs, LoseLeases, OpenSession};
pub use limit::{FullValue, SetLimits};
pub use pre::{EndReverts, PreState, StorePreStates, WantRevert};
pub use quarantine::ReleaseDevices;
pub use reach::{Contact, StoreContacts, TrustDevice, TrustRefused, Trusted};
pub use report::{Applied, ApplyReports, Report, ReportAnswer};
pub use rescue::{ClearRescue, RescueRecord};
pub use result::{ExecutionRecord, PAGE_BYTES, ResultPage, ResultRecord};
pub use retention::{
    DeleteJob, DeleteOld, Deleted, ForgetPlans, ForgetRequests, REQUEST_KEPT_MS, Sweep, Swept,
};
pub use rollout::{
    AfterChildren, Approval, Approve, ApproveRefused, Approved, BeginRollout, Begun, EndWave, FreezeRecord,
    HoldRecord, JoinWave, Local, Measurement, NewRollout, NoteAsked, NoteVerdict, RolloutRecord, SetFreeze,
    SettleRollout, Settled, SpreadWaves, StoreMeasurements, StorePreview, VerdictRecord,
};
pub use scan::{Batch, Details, Scan, Scanned, ScannedAnswer, ScannedDetails, ScannedDevice};
pub use schedule::{
    AddSchedule, MoveSchedule, NoteRunByHand, NoteScheduleRun, PauseSchedule, RemoveSchedule,
    ScheduleOutcome, ScheduleRecord, ScheduleRunRecord, StartingRecord,
};
pub use space::{ReturnSpace, Space};
pub use status::Status;
pub use steer::{AbortJob, Aborted, PauseJob, Paused};
pub use wave::{AssignWaves, ChangeLimits, Limits, LimitsRefused, OpenWave, StartJob, WaveRecord};
pub use writer::Write;

/// A handle on the store; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    path: Arc<PathBuf>,
    readers: SqlitePool,
    writer: writer::Handle,
}

/// A store that cannot do what it was asked. Refusals that are part of the domain are values, not errors.
#[derive(Debug, Error)]
pub enum StoreError {
    /// SQLite's word.
    #[error("database: {0}")]
    Sql(sqlx::Error),
    /// Somebody else, another process, has had the right to write for longer than we wait.
    #[error("another process holds the database")]
    Locked,
    /// No space is left for a commit. Nothing of it was written.
    #[error("the disk is full")]
    Full,
    /// The writer has stopped, after an error that it could not get over.
    #[error("the database writer has stopped")]
    WriterGone,
    /// What was read back is not what is ever written.
    #[error("database: {0}")]
    Corrupt(String),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        // The lowest byte of an extended code is the code: https://www.sqlite.org/rescode.html
        const BUSY: i32 = 5;
        const FULL: i32 = 13;
        let code = error
            .as_database_error()
            .and_then(|error| error.code()?.parse::<i32>().ok());
        match code.map(|code| code & 0xFF) {
            Some(BUSY) => Self::Locked,
            Some(FULL) => Self::Full,
            _ => Self::Sql(error),
        }
    }
}

/// A store that cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The file was written by a newer muster.
    #[error(
        "the database {path} was written by a newer muster (schema {found}, this one knows {known}); use that version, or restore a backup"
    )]
    Newer {
        /// The file.
        path: String,
        /// Schema version found.
        found: i64,
        /// Newest schema version known.
        known: i64,
    },
    /// SQLite's word.
    #[error("the database {path} cannot be opened: {source}")]
    Sql {
        /// The file.
        path: String,
        /// Why.
        source: sqlx::Error,
    },
    /// A migration failed.
    #[error("the database {path} cannot be brought up to date: {source}")]
    Migrate {
        /// The file.
        path: String,
        /// Why.
        source: sqlx::migrate::MigrateError,
    },
}

/// Pages kept by the writer, in the form of SQLite: negative, in KiB.
const WRITER_CACHE: &str = "-65536";
/// Pages kept by each reader. What is not here is in the system's cache.
const READER_CACHE: &str = "-8192";
/// Statements that stay prepared: all of them.
const STATEMENTS: usize = 512;
/// Rows that the database's thread may be ahead of who reads them, so that the two seldom wait for each other.
const ROWS: usize = 512;
/// Read-only connections beside the writer. Readers wait for pages, not for processors.
const READERS: u32 = 4;

impl Store {
    /// Opens the database file, making it and bringing it up to date as needed.
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        let name = path.display().to_string();
        let sql = |source| OpenError::Sql {
            path: name.clone(),
            source,
        };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .page_size(8192)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5))
            .pragma("cache_size", WRITER_CACHE)
            .pragma("temp_store", "memory")
            .pragma("journal_size_limit", "67108864")
            .statement_cache_capacity(STATEMENTS)
            .row_buffer_size(ROWS)
            .disable_statement_logging();
        let making = match space::is_new(path) {
            // Possible before the first table only, or by `space::convert`.
            true => options.clone().auto_vacuum(SqliteAutoVacuum::Incremental),
            false => options.clone(),
        };
        let mut writer = SqliteConnection::connect_with(&making).await.map_err(sql)?;
        check_version(&mut writer, &name).await?;
        if space::convert(&mut writer, path).await.map_err(sql)? {
            writer.close().await.map_err(sql)?;
            writer = SqliteConnection::connect_with(&making).await.map_err(sql)?;
        }
        let migrate = |source| OpenError::Migrate {
            path: name.clone(),
            source,
        };
        migrator()
            .run_direct(None, &mut writer, false)
            .await
            .map_err(migrate)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(
                options
                    .create_if_missing(false)
                    .read_only(true)
                    .pragma("cache_size", READER_CACHE),
            )
            .await
            .map_err(sql)?;
        Ok(Self {
            path: Arc::new(path.to_owned()),
            readers,
            writer: writer::spawn(writer),
        })
    }

    /// Runs an operation in a transaction shared with whatever else is waiting. When this returns, it is on disk.
    pub async fn write<W: Write>(&self, operation: W) -> Result<W::Out, StoreError> {
        self.writer.write(operation).await
    }

    pub(crate) fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    pub(crate) fn writer(&self) -> &writer::Handle {
        &self.writer
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the queue to be written and closes the file, so that nothing is left in the log.
    pub async fn close(self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

fn migrations() -> Vec<Migration> {
    const ALL: &[(i64, &str, &str)] = &[
        (
            1,
            "first light",
            include_str!("../../../migrations/sqlite/0001_first_light.sql"),
        ),
        (
            2,
            "resolve",
            include_str!("../../../migrations/sqlite/0002_resolve.sql"),
        ),
        (
            3,
            "retention",
            include_str!("../../../migrations/sqlite/0003_retention.sql"),
        ),
        (
            4,
            "waves",
            include_str!("../../../migrations/sqlite/0004_waves.sql"),
        ),
        (
            5,
            "reach",
            include_str!("../../../migrations/sqlite/0005_reach.sql"),
        ),
        (
            6,
            "rollouts",
            include_str!("../../../migrations/sqlite/0006_rollouts.sql"),
        ),
        (
            7,
            "sessions",
            include_str!("../../../migrations/sqlite/0007_sessions.sql"),
        ),
        (
            8,
            "steps",
            include_str!("../../../migrations/sqlite/0008_steps.sql"),
        ),
        (
            9,
            "inline answers",
            include_str!("../../../migrations/sqlite/0009_inline_answers.sql"),
        ),
        (
            12,
            "serial",
            include_str!("../../../migrations/sqlite/0012_serial.sql"),
        ),
        (
            13,
            "holders",
            include_str!("../../../migrations/sqlite/0013_holders.sql"),
        ),
        (
            15,
            "soak and caps",
            include_str!("../../../migrations/sqlite/0015_soak_and_caps.sql"),
        ),
        (
            16,
            "measurements",
            include_str!("../../../migrations/sqlite/0016_measurements.sql"),
        ),
        (
            18,
            "firmware",
            include_str!("../../../migrations/sqlite/0018_firmware.sql"),
        ),
        (
            20,
            "kept files",
            include_str!("../../../migrations/sqlite/0020_kept_files.sql"),
        ),
        (
            21,
            "pre state",
            include_str!("../../../migrations/sqlite/0021_pre_state.sql"),
        ),
        (
            22,
            "revert",
            include_str!("../../../migrations/sqlite/0022_revert.sql"),
        ),
        (
            23,
            "audits",
            include_str!("../../../migrations/sqlite/0023_audits.sql"),
        ),
        (
            24,
            "accepted audits",
            include_str!("../../../migrations/sqlite/0024_accepted_audits.sql"),
        ),
        (
            26,
            "schedules",
            include_str!("../../../migrations/sqlite/0026_schedules.sql"),
        ),
        (
            27,
            "lighter holders",
            include_str!("../../../migrations/sqlite/0027_lighter_holders.sql"),
        ),
        (
            28,
            "answer sets",
            include_str!("../../../migrations/sqlite/0028_answer_sets.sql"),
        ),
        (
            29,
            "keep and claim",
            include_str!("../../../migrations/sqlite/0029_keep_and_claim.sql"),
        ),
        (
            30,
            "rollout times",
            include_str!("../../../migrations/sqlite/0030_rollout_times.sql"),
        ),
        (
            31,
            "availability",
            include_str!("../../../migrations/sqlite/0031_availability.sql"),
        ),
        (
            32,
            "local windows",
            include_str!("../../../migrations/sqlite/0032_local_windows.sql"),
        ),
        (
            34,
            "rescue",
            include_str!("../../../migrations/sqlite/0034_rescue.sql"),
        ),
    ];
    let migration = |&(version, name, sql): &(i64, &'static str, &'static str)| {
        Migration::new(
            version,
            name.into(),
            MigrationType::Simple,
            sql.into_sql_str(),
            false,
        )
    };
    ALL.iter().map(migration).collect()
}

fn migrator() -> Migrator {
    Migrator::with_migrations(migrations())
}

async fn check_version(connection: &mut SqliteConnection, name: &str) -> Result<(), OpenError> {
    let sql = |source| OpenError::Sql {
        path: name.to_owned(),
        source,
    };
    let tables: i64 = sqlx::query_scalar(sql::HAS_MIGRATIONS)
        .fetch_one(&mut *connection)
        .await
        .map_err(sql)?;
    if tables == 0 {
        return Ok(());
    }
    let found: i64 = sqlx::query_scalar(sql::SCHEMA_VERSION)
        .fetch_one(connection)
        .await
        .map_err(sql)?;
    let known = migrations()
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or_default();
    if found > known {
        return Err(OpenError::Newer {
            path: name.to_owned(),
            found,
            known,
        });
    }
    Ok(())
}

/// Ids as a JSON array, the form `json_each` takes.
pub(crate) fn json_ids(ids: impl IntoIterator<Item = u64>) -> String {
    let mut json = String::from("[");
    for (at, id) in ids.into_iter().enumerate() {
        if at > 0 {
            json.push(',');
        }
        // Writing to a string does not fail.
        let _ = write!(json, "{id}");
    }
    json.push(']');
    json
}

#[cfg(test)]
mod tests;
