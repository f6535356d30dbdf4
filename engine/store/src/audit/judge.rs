//! What a run says of its devices.

use serde_json::{Value, json};
use sqlx::SqliteConnection;

use super::finding::{FindingRecord, store_findings};
use crate::blob::hex;
use crate::sql::audit as sql;
use crate::{Deed, StoreError, Write, history};

/// What all checks say of a device.
#[derive(Clone, Debug)]
pub struct NewOutcome {
    /// The device's number.
    pub device: u64,
    /// Its name.
    pub name: String,
    /// SHA-256 of the body.
    pub digest: [u8; 32],
    /// A list of judgements, JSON.
    pub body: std::sync::Arc<str>,
    /// When it answered, or was given up, Unix milliseconds.
    pub observed_at: i64,
    /// Whether it answered.
    pub answered: bool,
}

/// Stores outcomes, and how far the events of the run's job are judged. May be repeated.
#[derive(Clone, Debug)]
pub struct StoreOutcomes {
    /// The run's number.
    pub run: i64,
    /// Events up to this one are judged.
    pub seen: u64,
    /// Outcomes of devices.
    pub outcomes: Vec<NewOutcome>,
}

impl Write for StoreOutcomes {
    type Out = ();

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<(), StoreError> {
        let mut digests = std::collections::BTreeMap::new();
        for outcome in &self.outcomes {
            digests.entry(outcome.digest).or_insert(&outcome.body);
        }
        let bodies = digests
            .iter()
            .map(|(digest, body)| json!([hex(digest), body.as_ref()]));
        if !self.outcomes.is_empty() {
            let query = sqlx::query(sql::AUDIT_OUTCOMES_STORE).bind(bodies.collect::<Value>().to_string());
            query.execute(&mut *tx).await?;
            let rows = self.outcomes.iter().map(|outcome| {
                let NewOutcome {
                    device,
                    name,
                    digest,
                    observed_at,
                    answered,
                    ..
                } = outcome;
                json!([device, name, hex(digest), observed_at, u8::from(*answered)])
            });
            let query = sqlx::query(sql::AUDIT_RESULTS_STORE).bind(self.run);
            query
                .bind(rows.collect::<Value>().to_string())
                .execute(&mut *tx)
                .await?;
        }
        let query = sqlx::query(sql::AUDIT_SEEN).bind(self.run).bind(self.seen as i64);
        query.execute(tx).await?;
        Ok(())
    }
}

/// Ends a run, with what it makes of findings.
#[derive(Clone, Debug)]
pub struct FinishAudit {
    /// The run's number.
    pub run: i64,
    /// The audit's name.
    pub name: String,
    /// Findings that are new or different.
    pub findings: Vec<FindingRecord>,
    /// Verdicts by check, JSON; `None` while more findings follow.
    pub tallies: Option<String>,
    /// Unix milliseconds.
    pub now: i64,
}

impl Write for FinishAudit {
    /// Whether it was under way.
    type Out = bool;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<bool, StoreError> {
        store_findings(tx, &self.name, &self.findings).await?;
        let Some(tallies) = &self.tallies else {
            return Ok(true);
        };
        let query = sqlx::query(sql::AUDIT_FINISH).bind(self.run).bind(self.now);
        Ok(query.bind(tallies).execute(tx).await?.rows_affected() > 0)
    }
}

/// Takes a run as the baseline that later ones are compared with.
#[derive(Clone, Debug)]
pub struct AcceptAudit {
    /// Its id.
    pub uuid: String,
    /// For the history.
    pub deed: Deed,
    /// Unix milliseconds.
    pub now: i64,
}

impl Write for AcceptAudit {
    /// Whether it is over.
    type Out = bool;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<bool, StoreError> {
        let query = sqlx::query(sql::AUDIT_ACCEPT).bind(&self.uuid).bind(self.now);
        let accepted = query
            .bind(&self.deed.claimed_by)
            .execute(&mut *tx)
            .await?
            .rows_affected()
            > 0;
        if accepted {
            history::add(tx, &self.deed, self.now).await?;
        }
        Ok(accepted)
    }
}
