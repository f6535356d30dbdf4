//! Schedules: what begins by the clock, and what became of it.
//!
//! Which occurrence begins is on disk before it begins, and no two rows may begin the same one. What it begins is made under a
//! request id of its own, so that a crash in between makes it once.

use muster_engine_core::schedule::Skip;
use sqlx::SqliteConnection;

use crate::history::{self, Deed};
use crate::{Store, StoreError, Write, sql};

/// What became of occurrences is kept for so many.
const KEPT: i64 = 200;

/// A schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleRecord {
    /// Its row.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// What it does and when, as whoever added it wrote it.
    pub body: Vec<u8>,
    /// Occurrences up to this one are decided on, Unix milliseconds.
    pub after: i64,
    /// Occurrences that wait for the run before to end.
    pub waiting: Vec<i64>,
    /// Since when nothing begins.
    pub paused_at: Option<i64>,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Who added it, as stated.
    pub claimed_by: String,
    /// The job of the run before, if that is not over; empty while it is being started.
    pub running: Option<String>,
}

/// What became of occurrences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleRunRecord {
    /// Its row.
    pub id: i64,
    /// The occurrence, Unix milliseconds; the first, where several were skipped together.
    pub occurrence: i64,
    /// The last of them.
    pub last: i64,
    /// How many.
    pub count: u64,
    /// When that was decided.
    pub at: i64,
    /// What.
    pub outcome: ScheduleOutcome,
    /// The job that it made.
    pub job: Option<String>,
    /// Why it did not begin, or what is to be known of it.
    pub reason: String,
}

/// What becomes of an occurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleOutcome {
    /// It is to begin.
    Starting,
    /// It began.
    Started,
    /// It did not.
    Skipped,
}

impl ScheduleOutcome {
    fn number(self) -> i64 {
        match self {
            Self::Starting => 1,
            Self::Started => 2,
            Self::Skipped => 3,
        }
    }
}

/// An occurrence that is to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartingRecord {
    /// Its row.
    pub run: i64,
    /// Unix milliseconds.
    pub occurrence: i64,
    /// The schedule's row.
    pub schedule: i64,
    /// Its name.
    pub name: String,
    /// As in [`ScheduleRecord`].
    pub body: Vec<u8>,
    /// As in [`ScheduleRecord`].
    pub claimed_by: String,
    /// When it was decided.
    pub at: i64,
}

/// Adds a schedule.
#[derive(Clone, Debug)]
pub struct AddSchedule {
    /// Its name.
    pub name: String,
    /// What it does and when.
    pub body: Vec<u8>,
    /// Occurrences after this time begin.
    pub now: i64,
    /// For the history.
    pub deed: Deed,
}

impl Write for AddSchedule {
    /// Whether there was none of that name.
    type Out = bool;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<bool, StoreError> {
        let query = sqlx::query(sql::SCHEDULE_ADD).bind(&self.name).bind(&self.body);
        let added = query.bind(self.now).bind(self.now).bind(&self.deed.claimed_by);
        let added = added.execute(&mut *tx).await?.rows_affected() > 0;
        if added {
            history::add(tx, &self.deed, self.now).await?;
        }
        Ok(added)
    }
}

/// Removes a schedule. What it began goes on.
#[derive(Clone, Debug)]
pub struct RemoveSchedule {
    /// Its name.
    pub name: String,
    /// Unix milliseconds.
    pub now: i64,
    /// For the history.
    pub deed: Deed,
}

impl Write for RemoveSchedule {
    /// Whether there was one.
    type Out = bool;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<bool, StoreError> {
        let query = sqlx::query_scalar(sql::SCHEDULE_REMOVE).bind(&self.name);
        let Some(id) = query.fetch_optional(&mut *tx).await? else {
            return Ok(false);
        };
        let id: i64 = id;
        sqlx::query(sql::SCHEDULE_FORGET)
            .bind(id)
            .execute(&mut *tx)
            .await?;
        history::add(tx, &self.deed, self.now).await?;
        Ok(true)
    }
}

/// Lets a schedule begin nothing, or begin again.
#[derive(Clone, Debug)]
pub struct PauseSchedule {
    /// Its name.
    pub name: String,
    /// Which of the two.
    pub pause: bool,
    /// Unix milliseconds.
    pub now: i64,
    /// For the history.
    pub deed: Deed,
}

impl Write for PauseSchedule {
    /// Whether there is one.
    type Out = bool;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<bool, StoreError> {
        let at = self.pause.then_some(self.now);
        let query = sqlx::query(sql::SCHEDULE_PAUSE).bind(&self.name).bind(at);
        if query.execute(&mut *tx).await?.rows_affected() == 0 {
            return Ok(false);
        }
        history::add(tx, &self.deed, self.now).await?;
        Ok(true)
    }
}

/// Notes what is decided of a schedule's occurrences.
#[derive(Clone, Debug)]
pub struct MoveSchedule {
    /// Its row.
    pub schedule: i64,
    /// What it was decided from: without effect if it was decided since.
    pub from: i64,
    /// Occurrences up to this one are decided on.
    pub after: i64,
    /// Those that wait.
    pub waiting: Vec<i64>,
    /// Those that do not begin.
    pub skips: Vec<Skip>,
    /// The one that begins, and what is to be known of it.
    pub start: Option<(i64, String)>,
    /// Unix milliseconds.
    pub now: i64,
}

impl Write for MoveSchedule {
    /// Whether it was so.
    type Out = bool;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<bool, StoreError> {
        let waiting = serde_json::json!(self.waiting).to_string();
        let query = sqlx::query(sql::SCHEDULE_MOVE)
            .bind(self.schedule)
            .bind(self.from);
        let moved = query.bind(self.after).bind(waiting).execute(&mut *tx).await?;
        if moved.rows_affected() == 0 {
            return Ok(false);
        }
        for skip in &self.skips {
            let count = i64::try_from(skip.count).unwrap_or(i64::MAX);
            let of = (skip.first, skip.last, count);
            self.add(tx, of, ScheduleOutcome::Skipped, skip.why.as_str())
                .await?;
        }
        if let Some((at, reason)) = &self.start {
            self.add(tx, (*at, *at, 1), ScheduleOutcome::Starting, reason)
                .await?;
        }
        let query = sqlx::query(sql::SCHEDULE_RUNS_KEEP)
            .bind(self.schedule)
            .bind(KEPT);
        query.execute(tx).await?;
        Ok(true)
    }
}

impl MoveSchedule {
    async fn add(
        &self,
        tx: &mut SqliteConnection,
        (first, last, count): (i64, i64, i64),
        outcome: ScheduleOutcome,
        reason: &str,
    ) -> Result<(), StoreError> {
        let query = sqlx::query(sql::SCHEDULE_RUN_ADD)
            .bind(self.schedule)
            .bind(first)
            .bind(last)
            .bind(count)
            .bind(self.now);
        query.bind(outcome.number()).bind(reason).execute(tx).await?;
        Ok(())
    }
}

/// Notes what became of an occurrence that was to begin.
#[derive(Clone, Debug)]
pub struct NoteScheduleRun {
    /// Its row.
    pub run: i64,
    /// The job that it made, or why there is none.
    pub made: Result<String, String>,
    /// What is to be known of it.
    pub reason: String,
}

impl Write for NoteScheduleRun {
    type Out = ();

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<(), StoreError> {
        let (outcome, job, reason) = match &self.made {
            Ok(job) => (ScheduleOutcome::Started, Some(job), &self.reason),
            Err(why) => (ScheduleOutcome::Skipped, None, why),
        };
        let query = sqlx::query(sql::SCHEDULE_RUN_NOTE)
            .bind(self.run)
            .bind(outcome.number());
        query.bind(job).bind(reason).execute(tx).await?;
        Ok(())
    }
}

/// Notes a run that somebody began beside the times of its schedule.
#[derive(Clone, Debug)]
pub struct NoteRunByHand {
    /// The schedule's row.
    pub schedule: i64,
    /// What it made.
    pub job: String,
    /// Who.
    pub reason: String,
    /// Unix milliseconds.
    pub now: i64,
}

impl Write for NoteRunByHand {
    type Out = ();

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<(), StoreError> {
        let query = sqlx::query(sql::SCHEDULE_RUN_BY_HAND)
            .bind(self.schedule)
            .bind(self.now);
        query.bind(&self.job).bind(&self.reason).execute(tx).await?;
        Ok(())
    }
}

type Row = (
    i64,
    String,
    Vec<u8>,
    i64,
    String,
    Option<i64>,
    i64,
    String,
    Option<String>,
);

fn record(row: Row) -> Result<ScheduleRecord, StoreError> {
    let (id, name, body, after, waiting, paused_at, created_at, claimed_by, running) = row;
    let waiting = serde_json::from_str(&waiting).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    Ok(ScheduleRecord {
        id,
        name,
        body,
        after,
        waiting,
        paused_at,
        created_at,
        claimed_by,
        running,
    })
}

impl Store {
    /// Schedules after a name, in the order of their names.
    pub async fn schedules(&self, after: &str, limit: u32) -> Result<Vec<ScheduleRecord>, StoreError> {
        let query = sqlx::query_as(sql::SCHEDULES).bind(after).bind(limit);
        let rows: Vec<Row> = query.fetch_all(self.readers()).await?;
        rows.into_iter().map(record).collect()
    }

    /// A schedule by its name.
    pub async fn schedule(&self, name: &str) -> Result<Option<ScheduleRecord>, StoreError> {
        let query = sqlx::query_as(sql::SCHEDULE_BY_NAME).bind(name);
        let row: Option<Row> = query.fetch_optional(self.readers()).await?;
        row.map(record).transpose()
    }

    /// What became of a schedule's last occurrences, the newest first.
    pub async fn schedule_runs(
        &self,
        schedule: i64,
        limit: u32,
    ) -> Result<Vec<ScheduleRunRecord>, StoreError> {
        type Row = (i64, i64, i64, i64, i64, i64, Option<String>, String);
        let query = sqlx::query_as(sql::SCHEDULE_RUNS).bind(schedule).bind(limit);
        let rows: Vec<Row> = query.fetch_all(self.readers()).await?;
        let run = |(id, occurrence, last, count, at, outcome, job, reason): Row| ScheduleRunRecord {
            id,
            occurrence,
            last,
            count: count.unsigned_abs(),
            at,
            outcome: match outcome {
                1 => ScheduleOutcome::Starting,
                2 => ScheduleOutcome::Started,
                _ => ScheduleOutcome::Skipped,
            },
            job,
            reason,
        };
        Ok(rows.into_iter().map(run).collect())
    }

    /// Occurrences that are to begin and of which it is not known whether they did.
    pub async fn starting(&self) -> Result<Vec<StartingRecord>, StoreError> {
        type Row = (i64, i64, i64, String, Vec<u8>, String, i64);
        let rows: Vec<Row> = sqlx::query_as(sql::SCHEDULE_STARTING)
            .fetch_all(self.readers())
            .await?;
        let starting = |(run, occurrence, schedule, name, body, claimed_by, at): Row| StartingRecord {
            run,
            occurrence,
            schedule,
            name,
            body,
            claimed_by,
            at,
        };
        Ok(rows.into_iter().map(starting).collect())
    }

    /// The job that a request made.
    pub async fn made_by(&self, request_id: &str) -> Result<Option<String>, StoreError> {
        let query = sqlx::query_as(sql::JOB_BY_REQUEST).bind(request_id);
        let found: Option<(String, Vec<u8>)> = query.fetch_optional(self.readers()).await?;
        Ok(found.map(|(uuid, _)| uuid))
    }
}
