//! Making runs.

use muster_model::Selector;
use sqlx::{AssertSqlSafe, SqliteConnection};

use crate::sql::audit as sql;
use crate::{CreateJob, CreateRefused, Created, StoreError, Write, select};

/// Makes a run, and the job that asks its devices, in one commit.
#[derive(Clone, Debug)]
pub struct CreateAudit {
    /// The job: its id is the run's. Its plan is what the file's checks read.
    pub job: CreateJob,
    /// The audit's name.
    pub name: String,
    /// SHA-256 of the file.
    pub file: [u8; 32],
    /// The file, TOML.
    pub body: String,
    /// The share of devices that is to be judged, 0 to 1.
    pub min_coverage: Option<f64>,
    /// Devices that answered to the same file since then are not asked again, Unix milliseconds.
    pub fresh_since: Option<i64>,
}

/// A run that is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedAudit {
    /// Its id: a new one, or that of the same request before.
    pub uuid: String,
    /// Whether more of its job is to be laid out.
    pub draft: bool,
}

impl Write for CreateAudit {
    type Out = Result<CreatedAudit, CreateRefused>;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<Self::Out, StoreError> {
        if let Some(request_id) = &self.job.request_id {
            let query = sqlx::query_as(sql::AUDIT_BY_REQUEST).bind(request_id);
            let before: Option<(String, Vec<u8>)> = query.fetch_optional(&mut *tx).await?;
            match before {
                Some((uuid, hash)) if hash == self.job.request_hash => {
                    return Ok(Ok(CreatedAudit { uuid, draft: false }));
                }
                Some((uuid, _)) => return Ok(Err(CreateRefused::RequestIdReused(uuid))),
                None => {}
            }
        }
        sqlx::query(sql::AUDIT_FILE_STORE)
            .bind(self.file.to_vec())
            .bind(&self.body)
            .execute(&mut *tx)
            .await?;
        let run = sqlx::query(sql::AUDIT_CREATE)
            .bind(&self.job.uuid)
            .bind(&self.job.request_id)
            .bind(self.job.request_hash.to_vec())
            .bind(&self.name)
            .bind(self.file.to_vec())
            .bind(self.job.selector.to_string())
            .bind(&self.job.claimed_by)
            .bind(self.job.now)
            .bind(self.min_coverage)
            .execute(&mut *tx)
            .await?
            .last_insert_rowid();
        let reused = match self.fresh_since {
            Some(since) => reuse(tx, run, &self.file, since, &self.job.selector).await?,
            None => 0,
        };
        let query = sqlx::query(sql::AUDIT_REUSED).bind(run).bind(reused);
        query.execute(&mut *tx).await?;
        match self.job.apply(tx).await? {
            Ok(Created { uuid, draft }) => {
                sqlx::query(sql::AUDIT_HAS_JOB).bind(run).execute(tx).await?;
                Ok(Ok(CreatedAudit { uuid, draft }))
            }
            // Everybody's answers are young enough.
            Err(CreateRefused::EmptySelection) if reused > 0 => Ok(Ok(CreatedAudit {
                uuid: self.job.uuid.clone(),
                draft: false,
            })),
            Err(refused) => {
                sqlx::query(sql::AUDIT_UNDO).bind(run).execute(tx).await?;
                Ok(Err(refused))
            }
        }
    }
}

/// Takes over the newest answers of devices that are young enough; how many.
async fn reuse(
    tx: &mut SqliteConnection,
    run: i64,
    file: &[u8],
    since: i64,
    selector: &Selector,
) -> Result<i64, StoreError> {
    let filter = select::filter(selector);
    // Of the rows of a group, SQLite takes the columns from the one with the maximum.
    let text = format!(
        "INSERT INTO audit_result (run_id, device_id, device, outcome_id, observed_at, answered) \
         SELECT ?, r.device_id, r.device, r.outcome_id, max(r.observed_at), 1 \
         FROM audit_run a JOIN audit_result r ON r.run_id = a.id \
         JOIN device d ON d.id = r.device_id AND d.name = r.device \
         WHERE a.file = ? AND a.id <> ? AND r.answered = 1 AND r.observed_at >= ? AND {} GROUP BY r.device_id",
        filter.sql
    );
    let mut query = sqlx::query(AssertSqlSafe(text))
        .bind(run)
        .bind(file.to_vec())
        .bind(run)
        .bind(since);
    for value in filter.values {
        query = query.bind(value);
    }
    let reused = query.execute(tx).await?.rows_affected();
    i64::try_from(reused).map_err(|error| StoreError::Corrupt(error.to_string()))
}
