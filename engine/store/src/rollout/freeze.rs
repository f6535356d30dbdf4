//! The freeze over everything (H2): while it lasts, no job with effects starts anything.

use sqlx::SqliteConnection;

use crate::history::{self, Deed};
use crate::{Store, StoreError, Write, sql};

/// Sets the freeze or lifts it.
#[derive(Clone, Debug)]
pub struct SetFreeze {
    /// To set it.
    pub on: bool,
    /// Who, as stated.
    pub claimed_by: String,
    /// Why, in their words.
    pub reason: String,
    /// Unix milliseconds.
    pub now: i64,
}

/// The freeze, while it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreezeRecord {
    /// Unix milliseconds.
    pub since: i64,
    /// Who, as stated.
    pub claimed_by: String,
    /// Why, in their words.
    pub reason: String,
}

impl Write for SetFreeze {
    /// Whether that changed anything.
    type Out = bool;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<bool, StoreError> {
        let changed = match self.on {
            true => {
                let query = sqlx::query(sql::FREEZE_ON).bind(self.now).bind(&self.claimed_by);
                query.bind(&self.reason).execute(&mut *tx).await?
            }
            false => sqlx::query(sql::FREEZE_OFF).execute(&mut *tx).await?,
        };
        if changed.rows_affected() == 0 {
            return Ok(false);
        }
        let deed = Deed {
            claimed_by: self.claimed_by.clone(),
            action: if self.on { "freeze.on" } else { "freeze.off" },
            subject: "freeze".into(),
            reason: self.reason.clone(),
            detail: String::new(),
        };
        history::add(tx, &deed, self.now).await?;
        Ok(true)
    }
}

impl Store {
    /// The freeze, while it lasts.
    pub async fn freeze(&self) -> Result<Option<FreezeRecord>, StoreError> {
        let row: Option<(i64, String, String)> =
            sqlx::query_as(sql::FREEZE).fetch_optional(self.readers()).await?;
        Ok(row.map(|(since, claimed_by, reason)| FreezeRecord {
            since,
            claimed_by,
            reason,
        }))
    }
}
