//! Results that are the same, together: 9,412 devices get this difference, 31 that one (F2).

use std::collections::HashMap;

use muster_model::{DeviceError, ErrorClass, ExecutionState};
use sha2::{Digest as _, Sha256};

use crate::blob::{self, hex};
use crate::claim::unhex;
use crate::transition::device_error;
use crate::{Store, StoreError, sql};

/// Devices named in a group.
const SAMPLE: usize = 10;

/// Executions that ended alike: in the same state, for the same reason and with the same answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// How they ended.
    pub state: ExecutionState,
    /// Why, when it is not well; of devices that could not be reached, what the first of them met.
    pub error: Option<DeviceError>,
    /// SHA-256 over the digests of their answers.
    pub digest: [u8; 32],
    /// How many there are.
    pub count: u64,
    /// The first few of their devices, as they were laid out.
    pub devices: Vec<String>,
    /// The first of them, whose answers stand for all.
    pub execution: u64,
}

/// Groups of a job, the largest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    /// As many as were asked for.
    pub groups: Vec<Group>,
    /// How many more there are, and the executions in them.
    pub left_out: (u64, u64),
}

/// What makes an error the same for two devices: not the address of one that could not be reached, nor what a device said
/// to a check that does not hold.
fn reason(error: &DeviceError) -> (ErrorClass, String) {
    use ErrorClass::{Address, Check, Refused, Reset, Timeout};
    let message = match error.class {
        Address | Refused | Reset | Timeout => "",
        Check => error.message.split(" does not hold: ").next().unwrap_or_default(),
        _ => &error.message,
    };
    (error.class, message.to_owned())
}

type Row = (i64, String, i32, Option<i32>, Option<String>, Option<u8>, String);

/// The digests of an execution's answers, one after the other, hex: also of those that stay with their step without one.
fn digests(answers: &str) -> Result<String, StoreError> {
    let corrupt = |what: String| StoreError::Corrupt(format!("an answer: {what}"));
    let answers: Vec<(String, Option<i64>, String)> =
        serde_json::from_str(answers).map_err(|error| corrupt(error.to_string()))?;
    let mut all = String::new();
    let mut plain = Vec::new();
    for (digest, encoding, bytes) in answers {
        match bytes.is_empty() {
            true => all.push_str(&digest),
            false => {
                plain.clear();
                blob::unpack_into(encoding.unwrap_or_default(), &unhex(&bytes), &mut plain)?;
                all.push_str(&hex(&Sha256::digest(&plain)).to_ascii_uppercase());
            }
        }
    }
    Ok(all)
}

impl Store {
    /// The executions of a job that are over, grouped by how they ended. At most `limit` groups.
    pub async fn groups(&self, job: i64, limit: usize) -> Result<Groups, StoreError> {
        let query = sqlx::query_as(sql::GROUPED).bind(job);
        let rows: Vec<Row> = query.fetch_all(self.readers()).await?;
        let mut at = HashMap::new();
        let mut groups = Vec::<Group>::new();
        for (execution, device, state, class, message, category, answers) in rows {
            let unknown = || StoreError::Corrupt(format!("execution {execution} is in state {state}"));
            let digest: [u8; 32] = Sha256::digest(digests(&answers)?).into();
            let error = device_error(class, message, category);
            let key = (state, error.as_ref().map(reason), digest);
            let place = *at.entry(key).or_insert(groups.len());
            if place == groups.len() {
                groups.push(Group {
                    state: ExecutionState::from_number(state).ok_or_else(unknown)?,
                    error,
                    digest,
                    count: 0,
                    devices: Vec::new(),
                    execution: execution.unsigned_abs(),
                });
            }
            let group = &mut groups[place];
            group.count += 1;
            if group.devices.len() < SAMPLE {
                group.devices.push(device);
            }
        }
        groups.sort_by_key(|group| (std::cmp::Reverse(group.count), group.execution));
        let rest = groups.split_off(limit.min(groups.len()));
        let left_out = (rest.len() as u64, rest.iter().map(|group| group.count).sum());
        Ok(Groups { groups, left_out })
    }

    /// What a preview found, or a job after one expects: fingerprints by device, hex.
    pub async fn fingerprints(&self, job: i64) -> Result<HashMap<String, String>, StoreError> {
        let query = sqlx::query_as(sql::FINGERPRINTS_OF).bind(job);
        let rows: Vec<(String, Vec<u8>)> = query.fetch_all(self.readers()).await?;
        Ok(rows
            .into_iter()
            .map(|(device, fingerprint)| (device, hex(&fingerprint)))
            .collect())
    }
}
