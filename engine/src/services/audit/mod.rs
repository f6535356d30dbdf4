//! Runs of audits, and their findings.

use std::collections::BTreeMap;
use std::pin::Pin;

use muster_audit::judge::Tally;
use muster_audit::{Judgement, Verdict, diff};
use muster_proto::v1::audit_service_server::AuditService;
use muster_proto::{Violation, time, v1};
use muster_store::{
    AcceptAudit, AuditRecord, AuditResultRecord, Deed, FindingPage, ListedFinding, StoreError, WaiveFindings,
    WaiverRecord,
};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::Service;
use super::job::{claimed, reason};
use crate::answer::hex;
use crate::export::{Format, audit as export};
use crate::{Shared, audit, error, page};

mod watch;

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Devices read at once.
const PAGE: u32 = 500;
/// A waiver is no way to forget: ten years.
const WAIVED_MS: i64 = 10 * 366 * 86_400_000;

#[tonic::async_trait]
impl AuditService for Service {
    async fn create_audit(
        &self,
        request: Request<v1::CreateAuditRequest>,
    ) -> Result<Response<v1::CreateAuditResponse>, Status> {
        let record = audit::create(&self.0, &request.into_inner(), None).await?;
        let audit = answer(&self.0, &record).await.map_err(error::store)?;
        Ok(Response::new(v1::CreateAuditResponse {
            job: record.uuid,
            audit: Some(audit),
        }))
    }

    async fn get_audit(
        &self,
        request: Request<v1::GetAuditRequest>,
    ) -> Result<Response<v1::GetAuditResponse>, Status> {
        let record = run(&self.0, &request.into_inner().id).await?;
        Ok(Response::new(v1::GetAuditResponse {
            audit: Some(answer(&self.0, &record).await.map_err(error::store)?),
            definition: audit::body(&self.0, &record.file).await.map_err(error::store)?,
        }))
    }

    async fn list_audits(
        &self,
        request: Request<v1::ListAuditsRequest>,
    ) -> Result<Response<v1::ListAuditsResponse>, Status> {
        let request = request.into_inner();
        let size = page::size(request.page_size, 50, 500)?;
        let query = format!("audits/{}", request.name);
        let before = page::cursor(&query, &request.page_token)?.and_then(|cursor| cursor.parse().ok());
        let records = self
            .0
            .store
            .audits(before.unwrap_or(i64::MAX), size + 1, &request.name);
        let mut records = records.await.map_err(error::store)?;
        let more = records.len() > size as usize;
        records.truncate(size as usize);
        let next = records
            .last()
            .filter(|_| more)
            .map(|last| page::token(&query, &last.id.to_string()));
        let mut audits = Vec::with_capacity(records.len());
        for record in &records {
            audits.push(answer(&self.0, record).await.map_err(error::store)?);
        }
        Ok(Response::new(v1::ListAuditsResponse {
            audits,
            next_page_token: next.unwrap_or_default(),
        }))
    }

    type WatchAuditStream = Streamed<v1::WatchAuditResponse>;

    async fn watch_audit(
        &self,
        request: Request<v1::WatchAuditRequest>,
    ) -> Result<Response<Self::WatchAuditStream>, Status> {
        let v1::WatchAuditRequest { id, results } = request.into_inner();
        let record = run(&self.0, &id).await?;
        let (sender, receiver) = mpsc::channel(4);
        let (shared, stop) = (self.0.clone(), self.0.stop.clone());
        tokio::spawn(async move {
            let watching = async {
                if let Err(status) = watch::watch(&shared, &record.uuid, results, &sender).await {
                    let _ = sender.send(Err(status)).await;
                }
            };
            stop.run_until_cancelled(watching).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn list_audit_results(
        &self,
        request: Request<v1::ListAuditResultsRequest>,
    ) -> Result<Response<v1::ListAuditResultsResponse>, Status> {
        let request = request.into_inner();
        let record = run(&self.0, &request.id).await?;
        let size = page::size(request.page_size, 500, 5000)?;
        let wanted = wanted(&request.verdicts)?;
        let query = format!(
            "audit-results/{}/{:?}/{}",
            record.uuid, request.verdicts, request.check
        );
        let after = page::cursor(&query, &request.page_token)?.and_then(|cursor| cursor.parse().ok());
        let results = self
            .0
            .store
            .audit_results(record.id, after.unwrap_or(0), size + 1);
        let mut results = results.await.map_err(error::store)?;
        let more = results.len() > size as usize;
        results.truncate(size as usize);
        let checks = audit::tallies(&self.0, &record).await.map_err(error::store)?;
        if !request.check.is_empty() {
            has_check(&checks, &request.check)?;
        }
        let mut all = Vec::new();
        for result in &results {
            let said = audit::judgements(&result.body).map_err(error::store)?;
            for (check, said) in checks.iter().zip(&said) {
                let meant = request.check.is_empty() || request.check == check.check;
                if meant && (wanted.is_empty() || wanted.contains(&said.verdict)) {
                    all.push(result_of(result, &check.check, &check.severity, said));
                }
            }
        }
        let next = results
            .last()
            .filter(|_| more)
            .map(|last| page::token(&query, &last.device.to_string()));
        Ok(Response::new(v1::ListAuditResultsResponse {
            results: all,
            next_page_token: next.unwrap_or_default(),
        }))
    }

    type ExportAuditStream = Streamed<v1::ExportAuditResponse>;

    async fn export_audit(
        &self,
        request: Request<v1::ExportAuditRequest>,
    ) -> Result<Response<Self::ExportAuditStream>, Status> {
        let request = request.into_inner();
        let format = Format::parse(request.format)?;
        let what = match request.what {
            Some(v1::export_audit_request::What::Verdicts(request)) => {
                let record = run(&self.0, &request.id).await?;
                let verdicts = wanted(&request.verdicts)?;
                if !request.check.is_empty() {
                    let checks = audit::tallies(&self.0, &record).await.map_err(error::store)?;
                    has_check(&checks, &request.check)?;
                }
                export::What::Verdicts(Box::new(record), verdicts, request.check)
            }
            Some(v1::export_audit_request::What::Findings(request)) => {
                let states = states(&request.states)?;
                export::What::Findings(FindingPage {
                    audit: request.name,
                    device: request.device,
                    check: request.check,
                    states,
                    after: Default::default(),
                    limit: PAGE,
                    now: self.0.clock.now(),
                })
            }
            None => {
                return Err(error::invalid_field(
                    "what",
                    "give verdicts of a run, or findings",
                ));
            }
        };
        let stream = export::stream(self.0.clone(), what, format);
        Ok(Response::new(Box::pin(stream)))
    }

    async fn diff_audits(
        &self,
        request: Request<v1::DiffAuditsRequest>,
    ) -> Result<Response<v1::DiffAuditsResponse>, Status> {
        let request = request.into_inner();
        let before = run(&self.0, &request.before).await?;
        let after = run(&self.0, &request.after).await?;
        for record in [&before, &after] {
            if record.finished_at.is_none() {
                let text = format!("audit {} is under way; compare it when it is over", record.uuid);
                return Err(error::precondition("AUDIT_NOT_OVER", &record.uuid, text));
            }
        }
        let differences = differences(&self.0, &before, &after)
            .await
            .map_err(error::store)?;
        Ok(Response::new(v1::DiffAuditsResponse { differences }))
    }

    async fn accept_audit(
        &self,
        request: Request<v1::AcceptAuditRequest>,
    ) -> Result<Response<v1::AcceptAuditResponse>, Status> {
        let request = request.into_inner();
        let record = run(&self.0, &request.id).await?;
        let accept = AcceptAudit {
            deed: Deed {
                claimed_by: claimed(&request.claimed_by),
                action: "audit.accept",
                subject: record.uuid.clone(),
                reason: reason(&request.reason)?,
                detail: format!("the baseline of {}", record.name),
            },
            uuid: record.uuid.clone(),
            now: self.0.clock.now(),
        };
        if !self.0.store.write(accept).await.map_err(error::store)? {
            let text = format!("audit {} is under way; accept it when it is over", record.uuid);
            return Err(error::precondition("AUDIT_NOT_OVER", &record.uuid, text));
        }
        Ok(Response::new(v1::AcceptAuditResponse {}))
    }

    async fn list_findings(
        &self,
        request: Request<v1::ListFindingsRequest>,
    ) -> Result<Response<v1::ListFindingsResponse>, Status> {
        let request = request.into_inner();
        let size = page::size(request.page_size, 500, 5000)?;
        let states = states(&request.states)?;
        let query = format!(
            "findings/{}/{}/{}/{states:?}",
            request.name, request.device, request.check
        );
        let after = page::cursor(&query, &request.page_token)?
            .and_then(|cursor| serde_json::from_str(&cursor).ok())
            .unwrap_or_default();
        let page = FindingPage {
            audit: request.name,
            device: request.device,
            check: request.check,
            states,
            after,
            limit: size + 1,
            now: self.0.clock.now(),
        };
        let mut found = self.0.store.findings(&page).await.map_err(error::store)?;
        let more = found.len() > size as usize;
        found.truncate(size as usize);
        let next = found.last().filter(|_| more).map(|last| {
            let cursor = serde_json::json!([last.audit, last.finding.check, last.finding.device]);
            page::token(&query, &cursor.to_string())
        });
        Ok(Response::new(v1::ListFindingsResponse {
            findings: found.into_iter().map(finding).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn waive_findings(
        &self,
        request: Request<v1::WaiveFindingsRequest>,
    ) -> Result<Response<v1::WaiveFindingsResponse>, Status> {
        let request = request.into_inner();
        let now = self.0.clock.now();
        let mut violations = Vec::new();
        for (field, text) in [("audit", &request.audit), ("check", &request.check)] {
            if text.trim().is_empty() {
                violations.push(Violation::new(field, "it is empty"));
            }
        }
        let expires_at = request.expires_at.map(|at| at.seconds.saturating_mul(1000));
        if !request.revoke {
            if request.owner.trim().is_empty() {
                violations.push(Violation::new(
                    "owner",
                    "there is no owner; say who answers for it",
                ));
            }
            let told = |at: i64| {
                jiff::Timestamp::from_millisecond(at).map_or_else(|_| at.to_string(), |at| at.to_string())
            };
            match expires_at {
                None => violations.push(Violation::new(
                    "expires_at",
                    "there is no end; a waiver ends some day, within ten years",
                )),
                Some(at) if at <= now => {
                    let text = format!("its end, {}, is over already; give one that is to come", told(at));
                    violations.push(Violation::new("expires_at", text));
                }
                Some(at) if at - now > WAIVED_MS => {
                    let text = format!("its end, {}, is over ten years away", told(at));
                    violations.push(Violation::new("expires_at", text));
                }
                Some(_) => {}
            }
        }
        if !violations.is_empty() {
            return Err(error::invalid(violations));
        }
        if !request.revoke {
            is_there(&self.0, &request).await?;
        }
        let why = reason(&request.reason)?;
        let waiver = expires_at
            .filter(|_| !request.revoke)
            .map(|expires_at| WaiverRecord {
                device: request.device.clone(),
                owner: request.owner.clone(),
                reason: why.clone(),
                expires_at,
                created_at: now,
            });
        let device = match request.device.as_str() {
            "" => "every device",
            device => device,
        };
        let write = WaiveFindings {
            deed: Deed {
                claimed_by: claimed(&request.claimed_by),
                action: if request.revoke {
                    "audit.unwaive"
                } else {
                    "audit.waive"
                },
                subject: format!("{}/{}", request.audit, request.check),
                reason: why,
                detail: format!("{device}, answered for by {}", request.owner),
            },
            audit: request.audit.clone(),
            check: request.check.clone(),
            device: request.device.clone(),
            waiver,
            now,
        };
        match self.0.store.write(write).await.map_err(error::store)? {
            Some(findings) => Ok(Response::new(v1::WaiveFindingsResponse { findings })),
            None => Err(error::not_found(
                "waiver",
                &format!("{}/{}", request.audit, request.check),
            )),
        }
    }
}

/// A run by its id.
async fn run(shared: &Shared, id: &str) -> Result<AuditRecord, Status> {
    let record = shared.store.audit(id).await.map_err(error::store)?;
    record.ok_or_else(|| error::not_found("audit", id))
}

pub(crate) async fn answer(shared: &Shared, record: &AuditRecord) -> Result<v1::Audit, StoreError> {
    let checks = audit::tallies(shared, record).await?;
    let (judged, answered) = shared.store.audit_judged(record.id).await?;
    let mut all = Tally::default();
    for check in &checks {
        all.merge(&check.tally);
    }
    Ok(v1::Audit {
        id: record.uuid.clone(),
        name: record.name.clone(),
        selector: record.selector.clone(),
        created_at: Some(time(record.created_at)),
        finished_at: record.finished_at.map(time),
        claimed_by: record.claimed_by.clone(),
        total: record.total,
        judged,
        reused: record.reused,
        checks: checks
            .into_iter()
            .map(|check| v1::CheckTally {
                check: check.check,
                severity: check.severity,
                reason: check.reason,
                tally: Some(tally(&check.tally)),
                has_remedy: check.has_remedy,
            })
            .collect(),
        tally: Some(tally(&all)),
        min_coverage: record.min_coverage,
        answered,
        has_job: record.job.is_some(),
        digest: hex(&record.file),
    })
}

fn tally(tally: &Tally) -> v1::Tally {
    v1::Tally {
        pass: tally.pass,
        fail: tally.fail,
        error: tally.error,
        unreached: tally.unreached,
        not_applicable: tally.not_applicable,
        compliance: tally.compliance(),
        coverage: tally.coverage(),
    }
}

/// Whether there is what a waiver is about: an audit that was run, a check of its newest run, a device. What was misspelt
/// would waive nothing, and nobody would know.
async fn is_there(shared: &Shared, request: &v1::WaiveFindingsRequest) -> Result<(), Status> {
    let newest = shared.store.audits(i64::MAX, 1, &request.audit).await;
    let newest = newest.map_err(error::store)?;
    let Some(record) = newest.first() else {
        return Err(error::not_found("audit", &request.audit));
    };
    let checks = audit::tallies(shared, record).await.map_err(error::store)?;
    has_check(&checks, &request.check)?;
    if request.device.is_empty() {
        return Ok(());
    }
    let page = FindingPage {
        audit: request.audit.clone(),
        device: request.device.clone(),
        check: request.check.clone(),
        states: (1..=4).collect(),
        limit: 1,
        now: shared.clock.now(),
        ..Default::default()
    };
    let is_found = !shared
        .store
        .findings(&page)
        .await
        .map_err(error::store)?
        .is_empty();
    let is_known = || shared.store.device(&request.device);
    match is_found || is_known().await.map_err(error::store)?.is_some() {
        true => Ok(()),
        false => Err(error::not_found("device", &request.device)),
    }
}

/// Whether a run has this check.
fn has_check(checks: &[audit::CheckTally], check: &str) -> Result<(), Status> {
    match checks.iter().any(|known| known.check == check) {
        true => Ok(()),
        false => Err(error::not_found("check", check)),
    }
}

/// The states of findings that are meant: open ones, unless it is said.
fn states(given: &[i32]) -> Result<Vec<i32>, Status> {
    match given.iter().find(|state| !(1..=4).contains(*state)) {
        Some(bad) => {
            let told = format!("{bad} is no state of a finding; there are 1 to 4");
            Err(error::invalid_field("states", told))
        }
        None if given.is_empty() => Ok(vec![v1::FindingState::Open.into()]),
        None => Ok(given.to_vec()),
    }
}

fn verdict(verdict: Verdict) -> v1::Verdict {
    match verdict {
        Verdict::Pass => v1::Verdict::Pass,
        Verdict::Fail => v1::Verdict::Fail,
        Verdict::Error => v1::Verdict::Error,
        Verdict::Unreached => v1::Verdict::Unreached,
        Verdict::NotApplicable => v1::Verdict::NotApplicable,
    }
}

fn wanted(given: &[i32]) -> Result<Vec<Verdict>, Status> {
    let one = |number: &i32| {
        let known = Verdict::ALL
            .into_iter()
            .find(|known| verdict(*known) as i32 == *number);
        known.ok_or_else(|| error::invalid_field("verdicts", format!("{number} is no verdict")))
    };
    given.iter().map(one).collect()
}

fn result_of(result: &AuditResultRecord, check: &str, severity: &str, said: &Judgement) -> v1::AuditResult {
    v1::AuditResult {
        device: result.name.clone(),
        check: check.to_owned(),
        verdict: verdict(said.verdict).into(),
        observed_at: Some(time(result.observed_at)),
        reason: said.reason.clone(),
        evidence: said.evidence.iter().map(ToString::to_string).collect(),
        severity: severity.to_owned(),
    }
}

fn finding(found: ListedFinding) -> v1::Finding {
    let ListedFinding {
        audit,
        finding,
        waiver,
    } = found;
    let evidence: Vec<serde_json::Value> = serde_json::from_str(&finding.evidence).unwrap_or_default();
    v1::Finding {
        device: finding.name,
        waiver: waiver.map(|waiver| v1::Waiver {
            audit: audit.clone(),
            check: finding.check.clone(),
            device: waiver.device,
            owner: waiver.owner,
            reason: waiver.reason,
            expires_at: Some(time(waiver.expires_at)),
            created_at: Some(time(waiver.created_at)),
        }),
        check: finding.check,
        audit,
        severity: finding.severity,
        state: finding.state,
        first_seen: Some(time(finding.first_seen)),
        last_seen: Some(time(finding.last_seen)),
        closed_at: finding.closed_at.map(time),
        flaps: finding.flaps,
        reason: finding.reason,
        evidence: evidence.iter().map(ToString::to_string).collect(),
    }
}

/// Results of a run, device after device, in the order of their numbers.
struct Results<'a> {
    shared: &'a Shared,
    run: i64,
    checks: Vec<String>,
    page: std::vec::IntoIter<AuditResultRecord>,
    last: u64,
}

impl<'a> Results<'a> {
    async fn of(shared: &'a Shared, record: &AuditRecord) -> Result<Self, StoreError> {
        let checks = audit::tallies(shared, record).await?;
        Ok(Self {
            shared,
            run: record.id,
            checks: checks.into_iter().map(|check| check.check).collect(),
            page: Vec::new().into_iter(),
            last: 0,
        })
    }

    async fn next(&mut self) -> Result<Option<(AuditResultRecord, Vec<Judgement>)>, StoreError> {
        if self.page.len() == 0 {
            self.page = self
                .shared
                .store
                .audit_results(self.run, self.last, PAGE)
                .await?
                .into_iter();
        }
        let Some(result) = self.page.next() else {
            return Ok(None);
        };
        self.last = result.device;
        let said = audit::judgements(&result.body)?;
        Ok(Some((result, said)))
    }
}

async fn differences(
    shared: &Shared,
    before: &AuditRecord,
    after: &AuditRecord,
) -> Result<Vec<v1::AuditDifference>, StoreError> {
    let (mut old, mut new) = (
        Results::of(shared, before).await?,
        Results::of(shared, after).await?,
    );
    let mut all = Vec::new();
    let (mut a, mut b) = (old.next().await?, new.next().await?);
    let whole = |kind: v1::AuditDifferenceKind, device: &str| v1::AuditDifference {
        kind: kind.into(),
        device: device.to_owned(),
        ..Default::default()
    };
    loop {
        match (&a, &b) {
            (None, None) => return Ok(all),
            (Some((was, _)), Some((is, _))) if was.device == is.device && was.name != is.name => {
                // Another device has its number now.
                all.push(whole(v1::AuditDifferenceKind::Vanished, &was.name));
                all.push(whole(v1::AuditDifferenceKind::Appeared, &is.name));
                (a, b) = (old.next().await?, new.next().await?);
            }
            (Some((was, _)), Some((is, _))) if was.device < is.device => {
                all.push(whole(v1::AuditDifferenceKind::Vanished, &was.name));
                a = old.next().await?;
            }
            (Some((was, said)), Some((is, says))) if was.device == is.device => {
                all.extend(of_device(&is.name, (&old.checks, said), (&new.checks, says)));
                (a, b) = (old.next().await?, new.next().await?);
            }
            (Some((was, _)), None) => {
                all.push(whole(v1::AuditDifferenceKind::Vanished, &was.name));
                a = old.next().await?;
            }
            (_, Some((is, _))) => {
                all.push(whole(v1::AuditDifferenceKind::Appeared, &is.name));
                b = new.next().await?;
            }
        }
    }
}

fn of_device(
    device: &str,
    (old, said): (&[String], &[Judgement]),
    (new, says): (&[String], &[Judgement]),
) -> Vec<v1::AuditDifference> {
    let before = old
        .iter()
        .map(String::as_str)
        .zip(said)
        .collect::<BTreeMap<_, _>>();
    let after = new
        .iter()
        .map(String::as_str)
        .zip(says)
        .collect::<BTreeMap<_, _>>();
    let difference = |(kind, check, was, is): (diff::Kind, &str, Verdict, &Judgement)| v1::AuditDifference {
        kind: match kind {
            diff::Kind::NewlyFailing => v1::AuditDifferenceKind::NewlyFailing,
            diff::Kind::Fixed => v1::AuditDifferenceKind::Fixed,
            diff::Kind::Changed => v1::AuditDifferenceKind::Changed,
        }
        .into(),
        device: device.to_owned(),
        check: check.to_owned(),
        before: verdict(was).into(),
        after: verdict(is.verdict).into(),
        reason: is.reason.clone(),
    };
    diff::diff(&before, &after).into_iter().map(difference).collect()
}
