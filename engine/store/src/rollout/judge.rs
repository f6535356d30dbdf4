//! Rules, in the transaction of the outcome that trips them.

use std::collections::BTreeMap;

use muster_engine_core::rollout::rule::{self, tripped};
use muster_engine_core::rollout::sequential::{Test, Verdict};
use muster_model::policy::{Action, Class};
use muster_model::{ExecutionState, JobState};
use serde_json::json;
use sqlx::SqliteConnection;

use super::read::load;
use crate::{StoreError, sql, steer, transition, wave};

/// How an execution of a wave ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    pub(crate) wave: u32,
    pub(crate) state: ExecutionState,
    pub(crate) touched: bool,
}

/// Lets the rules of jobs look at what ended in this transaction, in its order.
pub(crate) async fn judge(
    tx: &mut SqliteConnection,
    ended: &BTreeMap<i64, Vec<Ending>>,
    now: i64,
) -> Result<(), StoreError> {
    for (job, endings) in ended {
        let Some(mut rollout) = load(tx, *job).await? else {
            continue;
        };
        let rules = &rollout.policy.rules;
        let before = rollout.runs.clone();
        for ending in endings {
            let class = Class::of(ending.state, ending.touched);
            rollout
                .runs
                .note(rules, ending.wave, class, ending.state.is_good());
        }
        if rollout.runs != before {
            let runs = json!(rollout.runs).to_string();
            sqlx::query(sql::ROLLOUT_RUNS)
                .bind(job)
                .bind(runs)
                .execute(&mut *tx)
                .await?;
        }
        let waves = wave::waves_of(&mut *tx, [*job])
            .await?
            .remove(job)
            .unwrap_or_default();
        let counted = rollout.counted(&waves);
        let (stopping, warning): (Vec<_>, Vec<_>) = rules
            .iter()
            .cloned()
            .partition(|rule| rule.action != Action::Warn);
        if let Some((rule, finding)) = tripped(&warning, &counted, &rollout.runs) {
            warn(tx, *job, &rule.id, rollout.warned_at, now).await?;
            tracing::warn!(
                job = rollout.uuid,
                rule = rule.id,
                evidence = finding.evidence,
                "a rule warns"
            );
        }
        if let Some((rule, finding)) = tripped(&stopping, &counted, &rollout.runs) {
            stop(
                tx,
                *job,
                &rollout.uuid,
                rule.action,
                &rule.id,
                &finding.evidence,
                now,
            )
            .await?;
        } else if let Some(evidence) = &rollout.policy.evidence {
            let test = Test::of(evidence, &rule::sum(&counted));
            if test.verdict() == Verdict::Halt {
                stop(
                    tx,
                    *job,
                    &rollout.uuid,
                    Action::Halt,
                    "evidence",
                    &test.describe(),
                    now,
                )
                .await?;
            }
        }
    }
    Ok(())
}

/// What a rule does when it trips.
async fn stop(
    tx: &mut SqliteConnection,
    job: i64,
    uuid: &str,
    action: Action,
    rule: &str,
    evidence: &str,
    now: i64,
) -> Result<(), StoreError> {
    // A job that has nothing left ends instead. Else, whatever follows, the rule and its evidence are on record.
    if !wave::has_rest(&mut *tx, job).await? || !wave::halt(tx, job, rule, evidence, now).await? {
        return Ok(());
    }
    tracing::warn!(job = uuid, rule, evidence, "a rule halts a job");
    if matches!(action, Action::Abort | Action::AbortRevert) {
        let reason = format!("rule {rule}: {evidence}");
        if action == Action::AbortRevert {
            let query = sqlx::query(sql::REVERT_WANTED).bind(uuid);
            query.bind("muster").execute(&mut *tx).await?;
        }
        Box::pin(steer::abort_by_rule(tx, job, uuid, &reason, now)).await?;
    }
    Ok(())
}

/// Warns at most once in a second: it trips again with each outcome.
async fn warn(
    tx: &mut SqliteConnection,
    job: i64,
    rule: &str,
    warned_at: Option<i64>,
    now: i64,
) -> Result<(), StoreError> {
    if warned_at.is_some_and(|at| now - at < 1000) {
        return Ok(());
    }
    sqlx::query(sql::ROLLOUT_WARNED)
        .bind(job)
        .bind(now)
        .execute(&mut *tx)
        .await?;
    transition::note(tx, job, &format!("warned by {rule}"), now).await
}

/// A person has seen what failed so far: rules count from here on (A6).
pub(crate) async fn acknowledge(tx: &mut SqliteConnection, job: i64) -> Result<(), StoreError> {
    let waves = wave::waves_of(&mut *tx, [job])
        .await?
        .remove(&job)
        .unwrap_or_default();
    let tallies = waves
        .iter()
        .map(|wave| json!([wave.number, wave.tally.numbers()]))
        .collect::<Vec<_>>();
    sqlx::query(sql::ROLLOUT_ACKNOWLEDGE)
        .bind(job)
        .bind(json!(tallies).to_string())
        .execute(&mut *tx)
        .await?;
    // What a server said of the time before says nothing of the time after.
    sqlx::query(sql::VERDICTS_FORGET).bind(job).execute(tx).await?;
    Ok(())
}

/// Whether a job's state is one in which it goes on by itself.
pub(super) fn goes_on(state: JobState) -> bool {
    matches!(
        state,
        JobState::Running | JobState::Gated | JobState::WaitingWindow
    )
}
