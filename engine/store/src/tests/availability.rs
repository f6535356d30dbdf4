//! Of devices with the same value of a label, so many are out of service at once (D3).

use std::collections::BTreeSet;

use super::*;
use crate::{FRESH_MS, Unavailable};
use muster_engine_core::Held;
use muster_model::Policy;
use muster_model::policy::{Amount, Availability, Size, Wave};

const ALL: Zones = Zones::Rest;
const RESTART: &[&str] = &["/system/reboot"];
const SHUT: Verdict = Verdict::Held(Held::Availability);

impl Bench {
    /// A job that restarts every device, of each site so many at once.
    async fn restarts(&self, most: Amount) -> String {
        let mut policy = Policy {
            waves: vec![Wave::new(Size::Rest)],
            ..Policy::default()
        };
        policy.limits.availability = vec![Availability {
            label: "site".into(),
            max_unavailable: most,
        }];
        let create = CreateJob {
            start: JobState::Scheduled,
            rollout: Some(NewRollout {
                policy,
                seed: 7,
                break_glass: None,
            }),
            expires_at: 10_000_000,
            ..create(RESTART, "", None, 0)
        };
        let uuid = self.store.write(create).await.expect("write").expect("made").uuid;
        let begin = BeginRollout {
            uuid: uuid.clone(),
            digest: "abc".into(),
            budget: None,
            waves: vec![(0, None)],
            pace: None,
            wait: false,
            shut: false,
            local: None,
            now: 0,
        };
        assert_eq!(self.store.write(begin).await.expect("write"), Begun::Running);
        uuid
    }

    /// Everybody was asked, and answered.
    async fn all_answer(&self, session: u64) {
        let read = self.job(&["/system/identity/print"], "").await;
        let leases = self.claim(session, ALL, 99).await;
        assert_eq!(leases.len() as u64, self.record(&read).await.total);
        for lease in &leases {
            self.report(lease, Outcome::Succeeded, &[]).await;
        }
    }

    async fn grant_all(&self, leases: &[Lease], now: i64) -> Vec<Verdict> {
        let intents = leases.iter().map(|lease| IntentRequest {
            execution: lease.execution,
            epoch: lease.epoch,
            step: 0,
            memo: Vec::new(),
        });
        let intents = intents.collect();
        self.store
            .write(GrantIntents { intents, now })
            .await
            .expect("write")
    }

    async fn shut(&self, job: &str, now: i64) -> Vec<Unavailable> {
        let job = self.record(job).await.id;
        let mut shut = self.store.unavailable(job, None, now).await.expect("read");
        shut.sort_by(|a, b| a.value.cmp(&b.value));
        shut
    }
}

#[tokio::test]
async fn one_of_a_site_after_the_other_is_restarted_and_only_when_all_are_known_to_be_there() {
    // Of site a: r3 and r6. All others are of site b.
    let bench = Bench::with_devices(6).await;
    let session = bench.session("i", &[]).await;
    let job = bench.restarts(Amount::Count(1)).await;
    let leases = bench.claim(session, ALL, 99).await;
    assert_eq!(leases.len(), 6);
    // Nobody knows yet whether the others are there.
    assert_eq!(bench.grant(&leases[0]).await, SHUT);
    let unasked = bench.store.unasked(bench.record(&job).await.id, 0, 99).await;
    assert_eq!(unasked.expect("read").len(), 5, "it has just asked itself");
    bench.all_answer(session).await;
    // All at once, in one commit: one of each site.
    let verdicts = bench.grant_all(&leases, 20).await;
    let granted = leases
        .iter()
        .zip(&verdicts)
        .filter(|(_, verdict)| **verdict == Verdict::Granted);
    let granted = granted.map(|(lease, _)| lease.clone()).collect::<Vec<_>>();
    assert_eq!(
        verdicts.iter().filter(|verdict| **verdict == SHUT).count(),
        4,
        "{verdicts:?}"
    );
    let sites = granted.iter().map(|lease| lease.labels()["site"].clone());
    assert_eq!(
        sites.collect::<BTreeSet<_>>(),
        ["a".to_owned(), "b".to_owned()].into()
    );
    let shut = bench.shut(&job, 20).await;
    assert_eq!(
        (shut[1].value.as_str(), shut[1].most, shut[1].disrupted.len()),
        ("b", 1, 1)
    );
    // One ends well, and another of its site may go.
    bench.report(&granted[1], Outcome::Succeeded, &[]).await;
    let site = &granted[1].labels()["site"];
    let rest = leases
        .iter()
        .filter(|lease| granted.iter().all(|other| other.execution != lease.execution));
    let rest = rest.cloned().collect::<Vec<_>>();
    for (lease, verdict) in rest.iter().zip(bench.grant_all(&rest, 30).await) {
        if verdict == Verdict::Granted {
            assert_eq!(&lease.labels()["site"], site);
        }
    }
    let shut = bench.shut(&job, 30).await;
    assert!(
        shut.iter()
            .all(|shut| shut.disrupted.len() == 1 && shut.down.is_empty()),
        "{shut:?}"
    );
}

#[tokio::test]
async fn one_that_is_down_for_whatever_reason_takes_the_place_until_it_answers() {
    let bench = Bench::with_devices(6).await;
    let session = bench.session("i", &[]).await;
    let job = bench.restarts(Amount::Count(1)).await;
    let leases = bench.claim(session, ALL, 99).await;
    bench.all_answer(session).await;
    // Somebody's question to r6 is not answered: another job, later.
    let read = bench.job(&["/ip/dns/print"], "name=r6").await;
    let asked = bench.claim(session, ALL, 1).await.remove(0);
    bench.report_at(&asked, Outcome::Unreached, &[], 50).await;
    let r3 = leases
        .iter()
        .find(|lease| lease.device_name == "r3")
        .expect("claimed");
    assert_eq!(bench.grant_all(std::slice::from_ref(r3), 60).await, [SHUT]);
    let shut = bench.shut(&job, 60).await;
    assert_eq!(shut[0].down, ["r6"], "{shut:?}");
    let r1 = leases
        .iter()
        .find(|lease| lease.device_name == "r1")
        .expect("claimed");
    assert_eq!(
        bench.grant_all(std::slice::from_ref(r1), 60).await,
        [Verdict::Granted],
        "another site"
    );
    // It is there again.
    let again = bench.claim_at(session, ALL, 9, 20_000).await.leases.remove(0);
    assert_eq!(again.device_name, "r6", "job {read}");
    bench.report_at(&again, Outcome::Succeeded, &[], 20_001).await;
    assert_eq!(
        bench.grant_all(std::slice::from_ref(r3), 20_002).await,
        [Verdict::Granted]
    );
    // What was known then says nothing after ten minutes.
    bench.report_at(r3, Outcome::Succeeded, &[], 20_003).await;
    let r6 = leases
        .iter()
        .find(|lease| lease.device_name == "r6")
        .expect("claimed");
    let later = 20_003 + FRESH_MS + 1;
    assert_eq!(bench.grant_all(std::slice::from_ref(r6), later).await, [SHUT]);
    assert_eq!(bench.shut(&job, later).await[0].unknown, ["r3"]);
}

#[tokio::test]
async fn one_that_is_lost_after_its_restart_stays_out_of_service() {
    let bench = Bench::with_devices(6).await;
    let session = bench.session("i", &[]).await;
    let job = bench
        .restarts(Amount::Share(muster_model::policy::Share::percent(50)))
        .await;
    let leases = bench.claim(session, ALL, 99).await;
    bench.all_answer(session).await;
    let b = leases
        .iter()
        .filter(|lease| lease.labels()["site"] == "b")
        .cloned()
        .collect::<Vec<_>>();
    // Half of four.
    let verdicts = bench.grant_all(&b, 20).await;
    assert_eq!(verdicts, [Verdict::Granted, Verdict::Granted, SHUT, SHUT]);
    bench.report_at(&b[0], Outcome::Lost, &[], 30).await;
    bench.report_at(&b[1], Outcome::Succeeded, &[], 30).await;
    let verdicts = bench.grant_all(&b[2..], 40).await;
    assert_eq!(verdicts, [Verdict::Granted, SHUT], "one is lost, one is let in");
    let shut = bench.shut(&job, 40).await;
    let of_b = shut.iter().find(|shut| shut.value == "b").expect("shut");
    assert_eq!(
        (of_b.down.as_slice(), of_b.disrupted.len()),
        (&[b[0].device_name.clone()][..], 1)
    );
}

#[tokio::test]
async fn nothing_is_noted_while_no_job_needs_to_know() {
    let bench = Bench::with_devices(2).await;
    let session = bench.session("i", &[]).await;
    bench.all_answer(session).await;
    let job = bench.restarts(Amount::Count(1)).await;
    bench.claim(session, ALL, 99).await;
    let unasked = bench
        .store
        .unasked(bench.record(&job).await.id, 0, 99)
        .await
        .expect("read");
    assert_eq!(unasked, ["r1", "r2"]);
}
