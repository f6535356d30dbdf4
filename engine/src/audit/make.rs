//! Making runs: from the API, from a schedule, from a gate.

use std::sync::Arc;
use std::time::Duration;

use muster_audit::{Audit, Reads, file};
use muster_engine_core::budget::Asked;
use muster_model::{JobState, Priority, Selector, SelectorError};
use muster_proto::{Violation, duration, v1};
use muster_store::{AuditRecord, CreateAudit, CreateJob, CreateRefused, CreatedAudit, Mode, Retry};
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tonic::Status;

use crate::services::job::{check_request_id, claimed, lay_out};
use crate::{Shared, error, schedule};

const TIMEOUTS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(24 * 3600);
/// Devices that cannot be reached are waited for no longer.
const WAITS: Duration = Duration::from_secs(30 * 24 * 3600);

/// What a request asks for.
struct Checked {
    audit: Audit,
    selector: Selector,
    timeout: Duration,
    wait: Duration,
    max_age: Option<Duration>,
    min_coverage: Option<f64>,
}

/// Starts a run. Everything that is wrong is told at once. `over` is whose devices are meant, beside what the request says.
pub(crate) async fn create(
    shared: &Arc<Shared>,
    request: &v1::CreateAuditRequest,
    over: Option<Retry>,
) -> Result<AuditRecord, Status> {
    let checked = check(request).map_err(error::invalid)?;
    let hashed = v1::CreateAuditRequest {
        request_id: String::new(),
        claimed_by: String::new(),
        ..request.clone()
    };
    let Checked {
        audit,
        selector,
        timeout,
        wait,
        max_age,
        min_coverage,
    } = checked;
    let spread = schedule::spread(request.spread.as_ref(), "spread", &audit.name)
        .map_err(|bad| error::invalid(vec![bad]))?;
    let frozen = shared.inventory.clone().read_owned().await;
    let now = shared.clock.now();
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let create = CreateAudit {
        file: audit.digest,
        body: request.definition.clone(),
        min_coverage,
        fresh_since: max_age.map(|age| now.saturating_sub_unsigned(millis(age))),
        job: CreateJob {
            deeds: Vec::new(),
            uuid: uuid::Uuid::now_v7().to_string(),
            request_id: Some(request.request_id.clone()).filter(|id| !id.is_empty()),
            request_hash: Sha256::digest(hashed.encode_to_vec()).into(),
            name: format!("audit {}", audit.name),
            plan: Reads::of(&audit).plan,
            selector,
            retry: over,
            mode: Mode::Apply,
            timeout_ms: millis(timeout),
            priority: Priority::Audit,
            concurrency: None,
            budget: Asked::RUN,
            waves: Vec::new(),
            start: JobState::Running,
            rollout: None,
            stretch_ms: None,
            spread,
            now,
            expires_at: now
                .saturating_add_unsigned(millis(wait.max(timeout)))
                .saturating_add(spread.map_or(0, |spread| spread.ms.into())),
            claimed_by: claimed(&request.claimed_by),
        },
        name: audit.name,
    };
    let all = create.job.selector.requirements().is_empty();
    let meant = create.job.selector.to_string();
    let task = shared.clone();
    // Whoever asked may go away meanwhile: the job is laid out to its end.
    let created = tokio::spawn(async move {
        let _frozen = frozen;
        let created = task.store.write(create).await?;
        if let Ok(CreatedAudit { uuid, draft: true }) = &created {
            lay_out(&task, uuid).await?;
        }
        task.committed();
        task.work_appeared();
        task.reconcilers.audits.wake();
        Ok(created)
    });
    let uuid = match created.await.map_err(error::internal)?.map_err(error::store)? {
        Ok(CreatedAudit { uuid, .. }) => uuid,
        Err(CreateRefused::EmptySelection) => {
            let reason = match all {
                true => "the inventory is empty; import devices first".to_owned(),
                false => format!("{meant:?} means no device"),
            };
            return Err(error::invalid_field("selector", reason));
        }
        Err(CreateRefused::RequestIdReused(job)) => {
            return Err(error::request_id_reused(&request.request_id, &job));
        }
    };
    let record = shared.store.audit(&uuid).await.map_err(error::store)?;
    record.ok_or_else(|| error::not_found("audit", &uuid))
}

/// What is wrong with a request, if anything.
pub(crate) fn check_request(request: &v1::CreateAuditRequest) -> Result<(), Vec<Violation>> {
    let audit = check(request)?.audit;
    schedule::spread(request.spread.as_ref(), "spread", &audit.name).map_err(|bad| vec![bad])?;
    Ok(())
}

fn check(request: &v1::CreateAuditRequest) -> Result<Checked, Vec<Violation>> {
    let mut violations = Vec::from_iter(check_request_id(&request.request_id));
    let audit = file::audit(&request.definition)
        .map_err(|errors| {
            let told = errors
                .0
                .iter()
                .map(|error| Violation::new("definition", error.to_string()));
            violations.extend(told);
        })
        .ok();
    let text = request.selector.trim();
    let selector = match (text.is_empty(), request.all) {
        (false, true) => {
            violations.push(Violation::new("all", "a selector and all exclude each other"));
            None
        }
        (true, true) => Some(Selector::default()),
        (false, false) => text
            .parse()
            .map_err(|error: SelectorError| violations.push(Violation::new("selector", error.to_string())))
            .ok(),
        (true, false) => {
            let said = audit.as_ref().and_then(|audit| audit.selector.clone());
            if said.is_none() && audit.is_some() {
                let text =
                    "it is empty, and the file says no devices; give a selector, or set all for every device";
                violations.push(Violation::new("selector", text));
            }
            said
        }
    };
    let mut given =
        |field: &str, message: &Option<prost_types::Duration>, range: std::ops::RangeInclusive<Duration>| {
            let message = message.as_ref()?;
            let given = duration(message).filter(|given| range.contains(given));
            if given.is_none() {
                let text = format!("{} to {} are possible", told(*range.start()), told(*range.end()));
                violations.push(Violation::new(field, text));
            }
            given
        };
    let timeout = given("timeout", &request.timeout, TIMEOUTS);
    let max_age = given("max_age", &request.max_age, Duration::ZERO..=WAITS);
    let wait = given("wait", &request.wait, Duration::ZERO..=WAITS);
    if request
        .min_coverage
        .is_some_and(|share| !(0.0..=1.0).contains(&share))
    {
        violations.push(Violation::new("min_coverage", "0 to 1 are possible"));
    }
    match (audit, selector) {
        (Some(audit), Some(selector)) if violations.is_empty() => Ok(Checked {
            selector,
            timeout: timeout.unwrap_or(audit.timeout),
            wait: wait.unwrap_or(Duration::ZERO),
            max_age: max_age.or(audit.max_age).filter(|age| !age.is_zero()),
            min_coverage: request.min_coverage.or(audit.min_coverage),
            audit,
        }),
        _ => Err(violations),
    }
}

fn told(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        seconds => format!("{seconds} s"),
    }
}
