//! Deleting audits: what goes, and what stays however old it is.

use super::*;

const DEVICES: usize = 40;

impl Bench {
    /// A run that is over at some time: each device has the outcome that is made of its number.
    async fn run_over(&self, name: &str, at: i64, outcome: impl Fn(u64) -> String) -> AuditRecord {
        let uuid = self
            .audit(&format!("{name}-{at}"), name, |_| vec![Bytes::from_static(b"x")])
            .await;
        let run = self
            .store
            .audit(&uuid)
            .await
            .expect("read")
            .expect("it was made")
            .id;
        let outcome = |device: u64| {
            let body = outcome(device);
            NewOutcome {
                device,
                name: format!("r{device}"),
                digest: <sha2::Sha256 as sha2::Digest>::digest(&body).into(),
                body: body.into(),
                observed_at: at,
                answered: true,
            }
        };
        let store = StoreOutcomes {
            run,
            seen: 1,
            outcomes: (1..=DEVICES as u64).map(outcome).collect(),
        };
        self.store.write(store).await.expect("write");
        let finish = FinishAudit {
            run,
            name: name.to_owned(),
            findings: Vec::new(),
            tallies: Some("[]".to_owned()),
            now: at,
        };
        assert!(self.store.write(finish).await.expect("write"));
        self.store.audit(&uuid).await.expect("read").expect("it was made")
    }

    async fn accept(&self, run: &AuditRecord, now: i64) {
        let accept = AcceptAudit {
            uuid: run.uuid.clone(),
            deed: Deed::default(),
            now,
        };
        assert!(self.store.write(accept).await.expect("write"));
    }

    /// Deletes what is older, as the engine does: how many runs, and how many outcomes.
    async fn delete_audits(&self, before: i64) -> (u64, u64) {
        let runs = self.store.write(DeleteOldAudits { before }).await.expect("write");
        while self.store.write(SweepAudits).await.expect("write") > 0 {}
        let mut outcomes = 0;
        while let Some(unused) = self.store.unused_outcomes().await.expect("read") {
            outcomes += self.store.write(ForgetOutcomes(unused)).await.expect("write");
        }
        (runs, outcomes)
    }
}

#[tokio::test]
async fn runs_that_are_old_go_with_what_only_they_say() {
    let bench = Bench::with_devices(DEVICES).await;
    let shared = |device: u64| format!("[{}]", device % 4);
    let own = |device: u64| format!("[{device},\"own\"]");
    let first = bench.run_over("a", 1_000, own).await;
    let second = bench.run_over("a", 2_000, shared).await;
    let third = bench.run_over("a", 3_000, shared).await;
    assert_eq!(
        bench.delete_audits(1_000).await,
        (0, 0),
        "nothing is older than its end"
    );
    assert_eq!(bench.delete_audits(2_001).await, (2, DEVICES as u64));
    for gone in [&first, &second] {
        assert!(bench.store.audit(&gone.uuid).await.expect("read").is_none());
        assert!(
            bench
                .store
                .audit_results(gone.id, 0, 100)
                .await
                .expect("read")
                .is_empty()
        );
    }
    let left = bench.store.audit_results(third.id, 0, 100).await.expect("read");
    let bodies = left.iter().map(|result| (result.device, result.body.clone()));
    assert!(bodies.eq((1..=DEVICES as u64).map(|device| (device, shared(device)))));
    assert_eq!(bench.count("SELECT count(*) FROM audit_gone").await, 0);
    assert_eq!(bench.count("SELECT count(*) FROM audit_outcome").await, 4);
}

/// Findings tell by a run's number whether they know it: a number that was given again would be one that they know.
#[tokio::test]
async fn the_youngest_run_stays_so_that_its_number_is_not_given_again() {
    let bench = Bench::with_devices(DEVICES).await;
    let first = bench.run_over("a", 1_000, |_| "[]".to_owned()).await;
    let second = bench.run_over("b", 2_000, |_| "[]".to_owned()).await;
    assert_eq!(bench.delete_audits(i64::MAX).await, (1, 0));
    let third = bench.run_over("a", 3_000, |_| "[]".to_owned()).await;
    assert!(first.id < second.id && second.id < third.id);
    assert_eq!(bench.delete_audits(i64::MAX).await, (1, 0));
    assert!(bench.store.audit(&second.uuid).await.expect("read").is_none());
}

#[tokio::test]
async fn the_baseline_of_a_name_stays_until_another_is_accepted() {
    let bench = Bench::with_devices(DEVICES).await;
    let mut runs = Vec::new();
    for at in 1..=4 {
        runs.push(bench.run_over("a", 1_000 * at, move |_| format!("[{at}]")).await);
    }
    bench.accept(&runs[0], 5_000).await;
    assert_eq!(bench.delete_audits(i64::MAX).await.0, 2);
    let accepted = bench.store.audit_accepted("a").await.expect("read");
    assert_eq!(accepted.map(|(run, _)| run), Some(runs[0].id));
    assert_eq!(
        bench
            .store
            .audit_results(runs[0].id, 0, 100)
            .await
            .expect("read")
            .len(),
        DEVICES
    );
    bench.accept(&runs[3], 6_000).await;
    assert_eq!(bench.delete_audits(i64::MAX).await.0, 1);
    let accepted = bench.store.audit_accepted("a").await.expect("read");
    assert_eq!(accepted.map(|(run, _)| run), Some(runs[3].id));
}

/// A run takes an outcome up between the look for those that nobody names and their deletion.
#[tokio::test]
async fn an_outcome_that_is_named_again_meanwhile_stays() {
    let bench = Bench::with_devices(DEVICES).await;
    let said = |_| "[\"said\"]".to_owned();
    bench.run_over("a", 1_000, said).await;
    bench.run_over("a", 2_000, |_| "[]".to_owned()).await;
    bench
        .store
        .write(DeleteOldAudits { before: 1_500 })
        .await
        .expect("write");
    while bench.store.write(SweepAudits).await.expect("write") > 0 {}
    let unused = bench.store.unused_outcomes().await.expect("read").expect("one");
    let run = bench.run_over("a", 3_000, said).await;
    assert_eq!(bench.store.write(ForgetOutcomes(unused)).await.expect("write"), 0);
    let results = bench.store.audit_results(run.id, 0, 100).await.expect("read");
    assert_eq!(results.len(), DEVICES);
}

#[tokio::test]
async fn findings_go_long_after_they_were_closed_and_never_while_they_are_open() {
    let bench = Bench::with_devices(DEVICES).await;
    let run = bench.run_over("a", 1_000, |_| "[]".to_owned()).await;
    let finding = |device: u64, state: i32, closed_at: Option<i64>| FindingRecord {
        check: "telnet".into(),
        device,
        name: format!("r{device}"),
        severity: "high".into(),
        state,
        first_seen: 1,
        last_seen: 2,
        closed_at,
        flaps: 0,
        runs: 1,
        reason: "on".into(),
        evidence: "[]".into(),
        run: run.id,
    };
    let finish = FinishAudit {
        run: run.id,
        name: "a".into(),
        findings: vec![
            finding(1, 1, None),
            finding(2, 2, None),
            finding(3, 4, Some(500)),
            finding(4, 4, Some(700)),
        ],
        tallies: None,
        now: 1_000,
    };
    bench.store.write(finish).await.expect("write");
    let left = async || {
        let found = bench.store.findings_of("a", &[1, 2, 3, 4]).await.expect("read");
        found
            .into_iter()
            .map(|finding| finding.device)
            .collect::<Vec<_>>()
    };
    let forget = async |before| bench.store.write(ForgetFindings { before }).await.expect("write");
    assert_eq!((forget(500).await, left().await), (0, vec![1, 2, 3, 4]));
    assert_eq!((forget(501).await, left().await), (1, vec![1, 2, 4]));
    assert_eq!((forget(i64::MAX).await, left().await), (1, vec![1, 2]));
}
