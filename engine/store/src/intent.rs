//! Intents: on disk before the first byte of anything that is not a read leaves a worker (A4).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use muster_engine_core::{Event, Held, Illegal};
use serde_json::{Value, json};
use sqlx::SqliteConnection;

use crate::availability::Gatekeeper;
use crate::rollout::local;
use crate::transition::Moves;
use crate::{StoreError, Write, loaded, sql};

/// A worker's question: may this step be sent?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntentRequest {
    /// The execution.
    pub execution: u64,
    /// The epoch the worker holds.
    pub epoch: u64,
    /// The step.
    pub step: u32,
    /// What is kept with it, for whoever goes on after it; empty to keep what there is.
    pub memo: Vec<u8>,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// On disk; the bytes may leave.
    Granted,
    /// Not now; it may be asked again.
    Held(Held),
    /// The lease or the job is over.
    Revoked,
}

/// Grants a batch of intents. The first that touches its device reserves a unit of the budget in the same commit (C3).
#[derive(Debug)]
pub struct GrantIntents {
    /// The questions.
    pub intents: Vec<IntentRequest>,
    /// Unix milliseconds.
    pub now: i64,
}

impl Write for GrantIntents {
    /// One answer for each question, in order.
    type Out = Vec<Verdict>;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<Self::Out, StoreError> {
        let loaded = loaded::load(tx, self.intents.iter().map(|intent| intent.execution)).await?;
        let mut loaded = loaded
            .into_iter()
            .map(|row| (row.execution.id, row))
            .collect::<BTreeMap<_, _>>();
        local::tell(tx, loaded.values_mut(), self.now).await?;
        let mut moves = Moves::under_budget(tx, loaded.values()).await?;
        let disrupts = |intent: &&IntentRequest| {
            let row = loaded.get(&intent.execution)?;
            row.disrupts(intent.step).then_some((row.job, row.device))
        };
        let disrupting = self.intents.iter().filter_map(|intent| disrupts(&intent));
        let mut keeper = Gatekeeper::new(tx, &disrupting.collect::<Vec<_>>(), self.now).await?;
        let (mut answers, mut memos) = (Vec::new(), Vec::new());
        for intent in &self.intents {
            let Some(row) = loaded.get_mut(&intent.execution) else {
                answers.push(Verdict::Revoked);
                continue;
            };
            let event = Event::IntentAsked {
                epoch: intent.epoch,
                step: intent.step,
            };
            let disrupts = row.disrupts(intent.step);
            row.unavailable = disrupts && keeper.is_shut(row.job, row.device, self.now);
            match moves.decide(row, &event, self.now, None) {
                Ok(()) => {
                    if disrupts {
                        keeper.disrupt(row.device);
                    }
                    if !intent.memo.is_empty() {
                        memos.push(json!([intent.execution, hex(&intent.memo)]));
                    }
                    answers.push(Verdict::Granted);
                }
                Err(Illegal::Held(held)) => answers.push(Verdict::Held(held)),
                Err(Illegal::Stale { .. } | Illegal::State { .. }) => answers.push(Verdict::Revoked),
            }
        }
        moves.write(tx, self.now).await?;
        if !memos.is_empty() {
            let memos = Value::Array(memos).to_string();
            sqlx::query(sql::MEMOS).bind(memos).execute(tx).await?;
        }
        Ok(answers)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02X}");
        text
    })
}
