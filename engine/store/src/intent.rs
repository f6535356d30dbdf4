//! Intents: on disk before the first byte of anything that is not a read leaves a worker (A4).

use std::collections::BTreeMap;

use muster_engine_core::{Event, Held, Illegal};
use sqlx::SqliteConnection;

use crate::transition::{self, Moves};
use crate::{StoreError, Write};

/// A worker's question: may this step be sent?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntentRequest {
    /// The execution.
    pub execution: u64,
    /// The epoch the worker holds.
    pub epoch: u64,
    /// The step.
    pub step: u32,
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
        let loaded = transition::load(tx, self.intents.iter().map(|intent| intent.execution)).await?;
        let mut loaded = loaded
            .into_iter()
            .map(|row| (row.execution.id, row))
            .collect::<BTreeMap<_, _>>();
        let mut moves = Moves::under_budget(tx, loaded.values()).await?;
        let mut answers = Vec::new();
        for intent in &self.intents {
            let Some(row) = loaded.get_mut(&intent.execution) else {
                answers.push(Verdict::Revoked);
                continue;
            };
            let event = Event::IntentAsked {
                epoch: intent.epoch,
                step: intent.step,
            };
            match moves.decide(row, &event, self.now, None) {
                Ok(()) => answers.push(Verdict::Granted),
                Err(Illegal::Held(held)) => answers.push(Verdict::Held(held)),
                Err(Illegal::Stale { .. } | Illegal::State { .. }) => answers.push(Verdict::Revoked),
            }
        }
        moves.write(tx, self.now).await?;
        Ok(answers)
    }
}
