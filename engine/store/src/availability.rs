//! Availability (D3): of devices with the same value of a label, so many may be out of service at once. What is out of service
//! is known from the last contact with each device, whoever made it, and from what is being restarted.
//!
//! Contacts are noted only while a job has such limits; what is older than [`FRESH_MS`] counts for nothing, and is asked anew
//! before anything is let in.

use std::collections::BTreeMap;

use muster_model::policy::Amount;
use serde_json::json;
use sqlx::SqliteConnection;

use crate::report::Report;
use crate::{Store, StoreError, json_ids, sql};

/// A contact that is older says nothing, milliseconds.
pub const FRESH_MS: i64 = 600_000;

/// What a job allows, by label.
type Most = BTreeMap<String, Amount>;

/// A device with a value of a label.
#[derive(Clone, Debug)]
struct Member {
    device: i64,
    name: String,
    /// When it was last asked, Unix milliseconds.
    asked_at: Option<i64>,
    /// Whether it answered then.
    up: bool,
    /// Something is restarting it.
    disrupted: bool,
}

/// A value of a label whose devices may not be disrupted now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// The label.
    pub key: String,
    /// Its value.
    pub value: String,
    /// So many may be out of service at once.
    pub most: u64,
    /// Those that did not answer when they were last asked.
    pub down: Vec<String>,
    /// Those that are being disrupted.
    pub disrupted: Vec<String>,
    /// Those of which it is not known: they are asked first.
    pub unknown: Vec<String>,
    /// Executions of the job with workers on devices of it.
    pub waiting: u64,
}

impl Unavailable {
    fn of(key: &str, value: &str, amount: Amount, members: &[Member], but: i64, now: i64) -> Option<Self> {
        // A share is of all of them, and at least one.
        let most = amount.of(members.len() as u64)?;
        let mut found = Self {
            key: key.to_owned(),
            value: value.to_owned(),
            most,
            down: Vec::new(),
            disrupted: Vec::new(),
            unknown: Vec::new(),
            waiting: 0,
        };
        for member in members.iter().filter(|member| member.device != but) {
            let name = || member.name.clone();
            match member.asked_at {
                _ if member.disrupted => found.disrupted.push(name()),
                Some(at) if at >= now - FRESH_MS && member.up => {}
                Some(at) if at >= now - FRESH_MS => found.down.push(name()),
                _ => found.unknown.push(name()),
            }
        }
        let out = (found.down.len() + found.disrupted.len()) as u64;
        (out + 1 > most || !found.unknown.is_empty()).then_some(found)
    }
}

/// Whether any job needs to know of contacts.
async fn is_watched(tx: &mut SqliteConnection) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar(sql::AVAILABILITY_WATCHED)
        .fetch_one(tx)
        .await?)
}

/// Notes contacts with devices: those that answered, and those that did not.
async fn note(tx: &mut SqliteConnection, contacts: &[(i64, bool)], now: i64) -> Result<(), StoreError> {
    if contacts.is_empty() || !is_watched(&mut *tx).await? {
        return Ok(());
    }
    // The last word on a device stands.
    let last = contacts.iter().copied().collect::<BTreeMap<_, _>>();
    let rows = last.into_iter().collect::<Vec<_>>();
    let query = sqlx::query(sql::CONTACTS_NOTE).bind(json!(rows).to_string());
    query.bind(now).execute(tx).await?;
    Ok(())
}

/// Notes what reports say of whether devices answer.
pub(crate) async fn note_reports(
    tx: &mut SqliteConnection,
    reports: impl Iterator<Item = (i64, &Report)>,
    now: i64,
) -> Result<(), StoreError> {
    let contact = |(device, report): (i64, &Report)| Some((device, report.answered()?));
    let contacts = reports.filter_map(contact).collect::<Vec<_>>();
    note(tx, &contacts, now).await
}

/// Decides for devices, one after the other in one commit.
#[derive(Debug, Default)]
pub(crate) struct Gatekeeper {
    most: BTreeMap<i64, Most>,
    values: BTreeMap<i64, Vec<(String, String)>>,
    members: BTreeMap<(String, String), Vec<Member>>,
}

impl Gatekeeper {
    /// For these questions, each of a job and a device: those that would disrupt. The devices themselves have just answered.
    pub(crate) async fn new(
        tx: &mut SqliteConnection,
        asked: &[(i64, i64)],
        now: i64,
    ) -> Result<Self, StoreError> {
        let mut keeper = Self::default();
        if asked.is_empty() {
            return Ok(keeper);
        }
        let contacts = asked
            .iter()
            .map(|(_, device)| (*device, true))
            .collect::<Vec<_>>();
        note(tx, &contacts, now).await?;
        let jobs = json_ids(asked.iter().map(|(job, _)| job.unsigned_abs()));
        keeper.most = most(
            sqlx::query_as(sql::AVAILABILITY_OF)
                .bind(jobs)
                .fetch_all(&mut *tx)
                .await?,
        )?;
        if keeper.most.is_empty() {
            return Ok(keeper);
        }
        let keys = keeper.most.values().flat_map(BTreeMap::keys).collect::<Vec<_>>();
        let rows: Vec<(i64, String, String)> = sqlx::query_as(sql::VALUES_OF)
            .bind(json_ids(asked.iter().map(|(_, device)| device.unsigned_abs())))
            .bind(json!(keys).to_string())
            .fetch_all(&mut *tx)
            .await?;
        for (device, key, value) in rows {
            let place = (key, value);
            if !keeper.members.contains_key(&place) {
                let members = members(tx, &place.0, &place.1).await?;
                keeper.members.insert(place.clone(), members);
            }
            keeper.values.entry(device).or_default().push(place);
        }
        Ok(keeper)
    }

    /// Whether a job may not disrupt a device now.
    pub(crate) fn is_shut(&self, job: i64, device: i64, now: i64) -> bool {
        let Some(most) = self.most.get(&job) else {
            return false;
        };
        let values = self.values.get(&device).into_iter().flatten();
        let mut bounded = values.filter_map(|place| Some((place, most.get(&place.0)?)));
        bounded.any(|(place, most)| {
            let members = self.members.get(place).map(Vec::as_slice).unwrap_or_default();
            Unavailable::of(&place.0, &place.1, *most, members, device, now).is_some()
        })
    }

    /// A device is disrupted from now on.
    pub(crate) fn disrupt(&mut self, device: i64) {
        for place in self.values.get(&device).into_iter().flatten() {
            let members = self.members.get_mut(place).into_iter().flatten();
            members
                .filter(|member| member.device == device)
                .for_each(|member| member.disrupted = true);
        }
    }
}

fn most(rows: Vec<(i64, String)>) -> Result<BTreeMap<i64, Most>, StoreError> {
    let one = |(job, most): (i64, String)| {
        let most = serde_json::from_str(&most).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        Ok((job, most))
    };
    rows.into_iter().map(one).collect()
}

async fn members(tx: &mut SqliteConnection, key: &str, value: &str) -> Result<Vec<Member>, StoreError> {
    let rows: Vec<(i64, String, Option<i64>, bool, bool)> = sqlx::query_as(sql::AVAILABILITY_MEMBERS)
        .bind(key)
        .bind(value)
        .fetch_all(tx)
        .await?;
    let member = |(device, name, asked_at, up, disrupted)| Member {
        device,
        name,
        asked_at,
        up,
        disrupted,
    };
    Ok(rows.into_iter().map(member).collect())
}

/// Which of these executions, handed back by their workers, are of jobs with such limits.
pub(crate) async fn bounded(
    tx: &mut SqliteConnection,
    jobs: impl Iterator<Item = i64>,
) -> Result<Vec<i64>, StoreError> {
    let ids = json_ids(jobs.map(i64::unsigned_abs));
    if ids == "[]" {
        return Ok(Vec::new());
    }
    let rows: Vec<(i64, String)> = sqlx::query_as(sql::AVAILABILITY_OF)
        .bind(ids)
        .fetch_all(tx)
        .await?;
    Ok(rows.into_iter().map(|(job, _)| job).collect())
}

impl Store {
    /// Values of labels that keep executions of a job with workers from being disrupted: all of them, or the one on a device.
    pub async fn unavailable(
        &self,
        job: i64,
        device: Option<i64>,
        now: i64,
    ) -> Result<Vec<Unavailable>, StoreError> {
        let mut readers = self.readers().acquire().await?;
        let ids = json_ids([job.unsigned_abs()]);
        let of_job = sqlx::query_as(sql::AVAILABILITY_OF).bind(ids);
        let of_job = most(of_job.fetch_all(&mut *readers).await?)?;
        let Some(most) = of_job.get(&job) else {
            return Ok(Vec::new());
        };
        let keys = json!(most.keys().collect::<Vec<_>>()).to_string();
        let values: Vec<(String, String, i64, i64)> = sqlx::query_as(sql::AVAILABILITY_VALUES)
            .bind(job)
            .bind(device)
            .bind(keys)
            .fetch_all(&mut *readers)
            .await?;
        let mut found = Vec::new();
        for (key, value, waiting, some) in values {
            let Some(amount) = most.get(&key) else { continue };
            let members = members(&mut readers, &key, &value).await?;
            // One that waits is not in its own way.
            let shut = Unavailable::of(&key, &value, *amount, &members, some, now);
            found.extend(shut.map(|shut| Unavailable {
                waiting: waiting.unsigned_abs(),
                ..shut
            }));
        }
        Ok(found)
    }

    /// Devices that have to be asked whether they are there before a job may disrupt those it works on; at most so many.
    pub async fn unasked(&self, job: i64, now: i64, limit: u32) -> Result<Vec<String>, StoreError> {
        let query = sqlx::query_scalar(sql::AVAILABILITY_UNASKED).bind(job);
        let query = query.bind(now - FRESH_MS).bind(limit);
        Ok(query.fetch_all(self.readers()).await?)
    }
}
