//! Findings: what fails, since when, and who answers for it.

use serde_json::{Value, json};
use sqlx::{FromRow, Row as _, SqliteConnection, sqlite::SqliteRow};

use crate::sql::audit as sql;
use crate::{Deed, Store, StoreError, Write, history, json_ids};

/// A finding as it is stored. Times are Unix milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindingRecord {
    /// The check's name.
    pub check: String,
    /// The device's number.
    pub device: u64,
    /// Its name.
    pub name: String,
    /// As the file says.
    pub severity: String,
    /// 1 pending, 2 open, 4 closed.
    pub state: i32,
    /// When it first failed.
    pub first_seen: i64,
    /// When it last failed.
    pub last_seen: i64,
    /// When it was closed, if it is.
    pub closed_at: Option<i64>,
    /// How often it failed again after it had not.
    pub flaps: u32,
    /// A bit for each of the last runs that judged it, the newest lowest; 1 for a failure.
    pub runs: u32,
    /// Why.
    pub reason: String,
    /// A list, JSON.
    pub evidence: String,
    /// The number of the last run that counted.
    pub run: i64,
}

impl FromRow<'_, SqliteRow> for FindingRecord {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            check: row.try_get(0)?,
            device: row.try_get::<i64, _>(1)?.unsigned_abs(),
            name: row.try_get(2)?,
            severity: row.try_get(3)?,
            state: row.try_get(4)?,
            first_seen: row.try_get(5)?,
            last_seen: row.try_get(6)?,
            closed_at: row.try_get(7)?,
            flaps: row.try_get(8)?,
            runs: row.try_get(9)?,
            reason: row.try_get(10)?,
            evidence: row.try_get(11)?,
            run: row.try_get(12)?,
        })
    }
}

pub(super) async fn store_findings(
    tx: &mut SqliteConnection,
    audit: &str,
    findings: &[FindingRecord],
) -> Result<(), StoreError> {
    if findings.is_empty() {
        return Ok(());
    }
    let row = |finding: &FindingRecord| {
        let FindingRecord {
            check,
            device,
            name,
            severity,
            state,
            first_seen,
            last_seen,
            closed_at,
            flaps,
            runs,
            reason,
            evidence,
            run,
        } = finding;
        let evidence = serde_json::from_str::<Value>(evidence).unwrap_or_default();
        json!([
            check, device, name, severity, state, first_seen, last_seen, closed_at, flaps, runs, reason,
            evidence, run
        ])
    };
    let rows = findings.iter().map(row).collect::<Value>().to_string();
    sqlx::query(sql::FINDINGS_STORE)
        .bind(audit)
        .bind(rows)
        .execute(tx)
        .await?;
    Ok(())
}

/// Who answers for findings, and until when. Times are Unix milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaiverRecord {
    /// Empty for every device.
    pub device: String,
    /// Who.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// When it ends.
    pub expires_at: i64,
    /// When it was given.
    pub created_at: i64,
}

/// A finding with its audit and its waiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedFinding {
    /// The audit's name.
    pub audit: String,
    /// The finding; its state may be 3, waived.
    pub finding: FindingRecord,
    /// Who answers for it.
    pub waiver: Option<WaiverRecord>,
}

/// Findings after one.
#[derive(Clone, Debug, Default)]
pub struct FindingPage {
    /// Of audits of this name; empty for all.
    pub audit: String,
    /// Of this device; empty for all.
    pub device: String,
    /// Of this check; empty for all.
    pub check: String,
    /// In these states.
    pub states: Vec<i32>,
    /// Audit, check and device's number of the last of the page before.
    pub after: (String, String, u64),
    /// At most so many.
    pub limit: u32,
    /// Unix milliseconds.
    pub now: i64,
}

impl FromRow<'_, SqliteRow> for ListedFinding {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let waiver = match row.try_get::<Option<String>, _>(13)? {
            None => None,
            Some(owner) => Some(WaiverRecord {
                device: row.try_get(12)?,
                owner,
                reason: row.try_get(14)?,
                expires_at: row.try_get(15)?,
                created_at: row.try_get(16)?,
            }),
        };
        Ok(Self {
            audit: row.try_get(0)?,
            finding: FindingRecord {
                check: row.try_get(1)?,
                device: row.try_get::<i64, _>(2)?.unsigned_abs(),
                name: row.try_get(3)?,
                severity: row.try_get(4)?,
                state: row.try_get(5)?,
                first_seen: row.try_get(6)?,
                last_seen: row.try_get(7)?,
                closed_at: row.try_get(8)?,
                flaps: row.try_get(9)?,
                runs: 0,
                reason: row.try_get(10)?,
                evidence: row.try_get(11)?,
                run: 0,
            },
            waiver,
        })
    }
}

impl Store {
    /// Findings of an audit on these devices.
    pub async fn findings_of(&self, audit: &str, devices: &[u64]) -> Result<Vec<FindingRecord>, StoreError> {
        let query = sqlx::query_as(sql::FINDINGS_OF).bind(audit);
        let query = query.bind(json_ids(devices.iter().copied()));
        Ok(query.fetch_all(self.readers()).await?)
    }

    /// A page of findings.
    pub async fn findings(&self, page: &FindingPage) -> Result<Vec<ListedFinding>, StoreError> {
        let (audit, check, device) = &page.after;
        let query = sqlx::query_as(sql::FINDINGS)
            .bind(&page.audit)
            .bind(&page.device)
            .bind(&page.check)
            .bind(json!(page.states).to_string())
            .bind(audit)
            .bind(check)
            .bind(*device as i64)
            .bind(i64::from(page.limit))
            .bind(page.now);
        Ok(query.fetch_all(self.readers()).await?)
    }
}

/// Notes who answers for findings until some time, or takes that back.
#[derive(Clone, Debug)]
pub struct WaiveFindings {
    /// The audit's name.
    pub audit: String,
    /// The check's name.
    pub check: String,
    /// Who, until when; `None` to take it back.
    pub waiver: Option<WaiverRecord>,
    /// The device's name; empty for every device.
    pub device: String,
    /// For the history.
    pub deed: Deed,
    /// Unix milliseconds.
    pub now: i64,
}

impl Write for WaiveFindings {
    /// Open findings that it is about; none when there was nothing to take back.
    type Out = Option<u64>;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<Option<u64>, StoreError> {
        match &self.waiver {
            Some(waiver) => {
                sqlx::query(sql::WAIVER_SET)
                    .bind(&self.audit)
                    .bind(&self.check)
                    .bind(&self.device)
                    .bind(&waiver.owner)
                    .bind(&waiver.reason)
                    .bind(self.now)
                    .bind(waiver.expires_at)
                    .execute(&mut *tx)
                    .await?;
            }
            None => {
                let query = sqlx::query(sql::WAIVER_REVOKE)
                    .bind(&self.audit)
                    .bind(&self.check);
                let gone = query.bind(&self.device).execute(&mut *tx).await?;
                if gone.rows_affected() == 0 {
                    return Ok(None);
                }
            }
        }
        history::add(tx, &self.deed, self.now).await?;
        let query = sqlx::query_scalar(sql::WAIVER_ABOUT)
            .bind(&self.audit)
            .bind(&self.check);
        let about: i64 = query.bind(&self.device).fetch_one(tx).await?;
        Ok(Some(about.unsigned_abs()))
    }
}
