//! Results that are the same, together; and whether a job may go by a preview.

use std::collections::BTreeMap;

use muster_model::Plan;
use muster_proto::v1;
use muster_store::{Group, Groups, Mode};
use tonic::Status;

use crate::{Shared, answer, error};

/// Groups told, unless asked for others.
const GROUPS: u32 = 100;
const MOST: u32 = 1000;

/// A preview is good for so long after its end.
pub(super) const GOOD_FOR_MS: i64 = 24 * 3600 * 1000;

/// The executions of a job that are over, grouped.
pub(super) async fn groups(shared: &Shared, job: i64, most: u32) -> Result<v1::GroupResultsResponse, Status> {
    let limit = match most {
        0 => GROUPS,
        most => most.min(MOST),
    };
    let Groups { groups, left_out } = shared
        .store
        .groups(job, limit as usize)
        .await
        .map_err(error::store)?;
    let samples = groups.iter().map(|group| group.execution).collect::<Vec<_>>();
    let records = shared.store.results_of(&samples).await.map_err(error::store)?;
    let mut answers = records
        .into_iter()
        .map(|record| (record.execution, record.replies))
        .collect::<BTreeMap<_, _>>();
    let group = |group: Group| v1::ResultGroup {
        state: v1::ExecutionState::from(group.state).into(),
        error: group.error.as_ref().map(Into::into),
        count: group.count,
        devices: group.devices,
        steps: answers
            .remove(&group.execution)
            .unwrap_or_default()
            .iter()
            .map(|replies| answer::step(replies))
            .collect(),
        digest: answer::hex(&group.digest),
    };
    Ok(v1::GroupResultsResponse {
        groups: groups.into_iter().map(group).collect(),
        more_groups: left_out.0,
        more_executions: left_out.1,
    })
}

/// Whether a job with this plan may go by that preview; the preview's row number.
pub(super) async fn check_preview(
    shared: &Shared,
    preview: &str,
    plan: &Plan,
    now: i64,
) -> Result<i64, Status> {
    let wrong = |text: String| Err(error::invalid_field("spec.previewed", text));
    let Some(record) = shared.store.job(preview).await.map_err(error::store)? else {
        return wrong(format!("there is no job {preview:?}"));
    };
    if record.mode != Mode::Preview {
        return wrong(format!("job {preview} is no preview"));
    }
    if record.plan_digest != plan.digest().0 {
        return wrong(format!("job {preview} is a preview of another plan"));
    }
    match record.finished_at {
        None => {
            let text = format!(
                "the preview {preview} is still {}; wait for its end",
                record.state
            );
            Err(error::precondition("PREVIEW_NOT_OVER", preview, text))
        }
        Some(at) if now - at > GOOD_FOR_MS => {
            let text = format!("the preview {preview} is over for more than 24 h; preview again");
            Err(error::precondition("PREVIEW_EXPIRED", preview, text))
        }
        Some(_) => Ok(record.id),
    }
}
