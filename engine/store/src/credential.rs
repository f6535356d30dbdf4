//! Credentials, their passwords sealed by the engine.

use sqlx::SqliteConnection;
use thiserror::Error;

use crate::{Store, StoreError, Write, sql};

/// A credential as stored.
#[derive(Clone, Debug)]
pub struct CredentialRecord {
    /// Its name.
    pub name: String,
    /// User name on the devices.
    pub username: String,
    /// The sealed password.
    pub sealed: Vec<u8>,
    /// Counts its changes.
    pub version: i64,
    /// Last changed, Unix milliseconds.
    pub updated_at: i64,
    /// Devices that use it.
    pub devices: u64,
}

type Row = (String, String, Vec<u8>, i64, i64, i64);

fn record((name, username, sealed, version, updated_at, devices): Row) -> CredentialRecord {
    CredentialRecord {
        name,
        username,
        sealed,
        version,
        updated_at,
        devices: devices.unsigned_abs(),
    }
}

/// Makes a credential or overwrites it.
#[derive(Debug)]
pub struct SetCredential {
    /// Its name.
    pub name: String,
    /// User name on the devices.
    pub username: String,
    /// The sealed password.
    pub sealed: Vec<u8>,
    /// Unix milliseconds.
    pub now: i64,
}

impl Write for SetCredential {
    type Out = ();

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<(), StoreError> {
        let query = sqlx::query(sql::CREDENTIAL_SET)
            .bind(&self.name)
            .bind(&self.username)
            .bind(&self.sealed);
        query.bind(self.now).execute(tx).await?;
        Ok(())
    }
}

/// Removes a credential.
#[derive(Debug)]
pub struct RemoveCredential {
    /// Its name.
    pub name: String,
}

/// A credential that cannot be removed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RemoveCredentialRefused {
    /// There is none of that name.
    #[error("there is no such credential")]
    NotFound,
    /// Devices log in with it.
    #[error("{0} devices use it")]
    InUse(u64),
}

impl Write for RemoveCredential {
    type Out = Result<(), RemoveCredentialRefused>;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<Self::Out, StoreError> {
        let users: i64 = sqlx::query_scalar(sql::CREDENTIAL_USERS)
            .bind(&self.name)
            .fetch_one(&mut *tx)
            .await?;
        if users > 0 {
            return Ok(Err(RemoveCredentialRefused::InUse(users.unsigned_abs())));
        }
        match sqlx::query(sql::CREDENTIAL_REMOVE)
            .bind(&self.name)
            .execute(tx)
            .await?
            .rows_affected()
        {
            0 => Ok(Err(RemoveCredentialRefused::NotFound)),
            _ => Ok(Ok(())),
        }
    }
}

impl Store {
    /// All credentials by name.
    pub async fn credentials(&self) -> Result<Vec<CredentialRecord>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(sql::CREDENTIAL_LIST)
            .fetch_all(self.readers())
            .await?;
        Ok(rows.into_iter().map(record).collect())
    }

    /// One credential, without the count of its devices.
    pub async fn credential(&self, name: &str) -> Result<Option<CredentialRecord>, StoreError> {
        let row: Option<Row> = sqlx::query_as(sql::CREDENTIAL_GET)
            .bind(name)
            .fetch_optional(self.readers())
            .await?;
        Ok(row.map(record))
    }
}
