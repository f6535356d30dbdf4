//! Leases: who gets what, who loses it, and what becomes of it.

use super::*;

#[tokio::test]
async fn zones_decide_who_takes_what() {
    let bench = Bench::with_devices(6).await;
    bench.job(READ, "").await;
    let named = bench.session("named", &["z1"]).await;
    let rest = bench.session("rest", &[]).await;
    assert_eq!(
        bench.claim(rest, Zones::Rest, 10).await.len(),
        3,
        "z1 has a worker of its own"
    );
    let taken = bench.claim(named, Zones::Named(vec!["z1".into()]), 10).await;
    assert_eq!(taken.len(), 3);
    assert_eq!(
        bench
            .claim(named, Zones::Named(vec!["z9".into()]), 10)
            .await
            .len(),
        0
    );
}

#[tokio::test]
async fn jobs_share_what_a_worker_takes() {
    let bench = Bench::with_devices(10).await;
    let first = bench.job(READ, "").await;
    let second = bench.job(&["/interface/print"], "").await;
    let session = bench.session("i", &[]).await;
    assert_eq!(bench.claim(session, Zones::Rest, 6).await.len(), 6);
    let leased = |counts: Vec<(ExecutionState, u64)>| {
        counts
            .into_iter()
            .find(|(state, _)| *state == ExecutionState::Leased)
            .map_or(0, |(_, count)| count)
    };
    assert_eq!(leased(bench.record(&first).await.counts), 3);
    assert_eq!(leased(bench.record(&second).await.counts), 3);
    assert_eq!(bench.claim(session, Zones::Rest, 100).await.len(), 14);
}

#[tokio::test]
async fn one_execution_with_effects_holds_its_device() {
    let bench = Bench::with_devices(1).await;
    let first = bench.job(CHANGE, "").await;
    let second = bench.job(&["/ip/dns/set", "servers=9.9.9.9"], "site=b").await;
    let read = bench.job(READ, "").await;
    let session = bench.session("i", &[]).await;
    let leases = bench.claim(session, Zones::Rest, 10).await;
    assert_eq!(leases.len(), 2, "one change and one read");
    assert_eq!(bench.grant(&leases[0]).await, Verdict::Granted);
    bench.report(&leases[0], Outcome::Succeeded, &[]).await;
    assert_eq!(bench.states(&first).await, [ExecutionState::Succeeded]);
    assert_eq!(
        bench.claim(session, Zones::Rest, 10).await.len(),
        1,
        "now the second change"
    );
    for job in [first, second, read] {
        bench.check_counts(&job).await;
    }
}

#[tokio::test]
async fn a_lost_session_repeats_reads_and_never_writes() {
    let bench = Bench::with_devices(2).await;
    let read = bench.job(READ, "name=r1").await;
    let change = bench.job(CHANGE, "").await;
    let session = bench.session("i", &[]).await;
    let leases = bench.claim(session, Zones::Rest, 10).await;
    assert_eq!(leases.len(), 3);
    let granted = leases.last().expect("three");
    assert_eq!(bench.grant(granted).await, Verdict::Granted);
    let lost = bench
        .store
        .write(LoseLeases {
            sessions: vec![session],
            now: 7,
        })
        .await
        .expect("write");
    assert_eq!(lost, 3);
    assert_eq!(bench.states(&read).await, [ExecutionState::Pending]);
    assert_eq!(
        bench.states(&change).await,
        [ExecutionState::Pending, ExecutionState::Unknown]
    );
    let late = bench.report(granted, Outcome::Succeeded, &[]).await;
    assert!(matches!(late, ReportAnswer::Moved { .. }), "it is evidence");
    let results = bench.results(&change).await;
    assert_eq!(
        results[1].state,
        ExecutionState::Unknown,
        "an old epoch moves nothing"
    );
    assert!(results[1].resolution.is_some_and(|found| found.done));
    assert_eq!(bench.grant(granted).await, Verdict::Revoked);
    for job in [read, change] {
        bench.check_counts(&job).await;
    }
}

#[tokio::test]
async fn a_worker_that_reconnects_keeps_what_it_holds_and_loses_the_rest() {
    let bench = Bench::with_devices(2).await;
    let job = bench.job(READ, "").await;
    let before = bench.session("i", &[]).await;
    let leases = bench.claim(before, Zones::Rest, 10).await;
    let after = bench.session("i", &[]).await;
    let held = vec![(leases[0].execution, leases[0].epoch), (leases[1].execution, 99)];
    let adopt = AdoptLeases {
        session: after,
        instance: "i".into(),
        held,
        now: 5,
    };
    let adopted = bench.store.write(adopt).await.expect("write");
    assert_eq!(adopted.revoked, [(leases[1].execution, 99)]);
    assert_eq!(
        bench.states(&job).await,
        [ExecutionState::Leased, ExecutionState::Pending]
    );
    bench.report(&leases[0], Outcome::Succeeded, &[]).await;
    assert_eq!(bench.states(&job).await[0], ExecutionState::Succeeded);

    let stranger = bench.session("other", &[]).await;
    let taken = bench.claim_at(stranger, Zones::Rest, 10, 5).await.leases;
    let thief = bench.session("thief", &[]).await;
    let held = vec![(taken[0].execution, taken[0].epoch)];
    let steal = AdoptLeases {
        session: thief,
        instance: "thief".into(),
        held: held.clone(),
        now: 5,
    };
    assert_eq!(
        bench.store.write(steal).await.expect("write").revoked,
        held,
        "another's lease is not adopted"
    );
}

#[tokio::test]
async fn an_unreached_device_waits_without_a_worker_and_expires() {
    let bench = Bench::with_devices(1).await;
    let job = bench.job(READ, "").await;
    let session = bench.session("i", &[]).await;
    let lease = bench.claim(session, Zones::Rest, 1).await.remove(0);
    bench.report(&lease, Outcome::Unreached, &[]).await;
    assert_eq!(bench.states(&job).await, [ExecutionState::Pending]);
    let claimed = bench.claim_at(session, Zones::Rest, 1, 10).await;
    assert!(claimed.leases.is_empty());
    let next = claimed.next_ready.expect("it waits for its time");
    assert!((760..=1260).contains(&next), "{next}");
    assert_eq!(
        bench.claim_at(session, Zones::Rest, 1, next).await.leases.len(),
        1
    );
    bench
        .store
        .write(LoseLeases {
            sessions: vec![session],
            now: next,
        })
        .await
        .expect("write");
    assert_eq!(
        bench
            .store
            .write(ExpireJobs { now: 29_999 })
            .await
            .expect("write"),
        0
    );
    assert_eq!(
        bench
            .store
            .write(ExpireJobs { now: 30_000 })
            .await
            .expect("write"),
        1
    );
    assert_eq!(bench.states(&job).await, [ExecutionState::Expired]);
    assert_eq!(bench.record(&job).await.state, JobState::CompletedWithFailures);
    bench.check_counts(&job).await;
}

#[tokio::test]
async fn a_read_that_is_cut_off_is_tried_again_a_few_times() {
    let bench = Bench::with_devices(1).await;
    let job = bench.job(READ, "").await;
    let session = bench.session("i", &[]).await;
    for _ in 0..READ_ATTEMPTS {
        let lease = bench
            .claim_at(session, Zones::Rest, 1, 20_000)
            .await
            .leases
            .remove(0);
        bench.report(&lease, Outcome::Interrupted, &[]).await;
    }
    assert_eq!(bench.states(&job).await, [ExecutionState::Failed]);
}

#[tokio::test]
async fn an_open_question_is_asked_first_and_of_any_job() {
    let bench = Bench::with_devices(3).await;
    let job = bench.verified_job().await;
    let session = bench.session("i", &[]).await;
    let lease = bench.claim(session, Zones::Rest, 1).await.remove(0);
    assert_eq!(bench.grant(&lease).await, Verdict::Granted);
    bench.report(&lease, Outcome::Unknown, &[]).await;
    assert_eq!(bench.states(&job).await[0], ExecutionState::Pending);
    // The job is paused; the question is not.
    assert_eq!(bench.pause(&job, true, 11).await, Paused::Done);
    let claimed = bench.claim_at(session, Zones::Rest, 10, 12).await.leases;
    assert_eq!(claimed.len(), 1);
    assert_eq!(
        (claimed[0].resolve, claimed[0].execution),
        (Some(0), lease.execution)
    );
    assert_eq!(bench.grant(&claimed[0]).await, Verdict::Revoked, "it only looks");
    bench.report(&claimed[0], Outcome::FoundDone, &[]).await;
    assert_eq!(bench.states(&job).await[0], ExecutionState::Succeeded);
    bench.check_counts(&job).await;
}

#[tokio::test]
async fn a_question_that_nobody_could_answer_ends_unknown() {
    let bench = Bench::with_devices(1).await;
    let job = bench.verified_job().await;
    let session = bench.session("i", &[]).await;
    let lease = bench.claim(session, Zones::Rest, 1).await.remove(0);
    bench.grant(&lease).await;
    bench.report(&lease, Outcome::Unknown, &[]).await;
    let expire = |now| bench.store.write(ExpireJobs { now });
    let until = 30_000 + muster_engine_core::execution::resolved_within().as_millis() as i64;
    assert_eq!(expire(until - 1).await.expect("write"), 0);
    assert_eq!(expire(until).await.expect("write"), 1);
    assert_eq!(bench.states(&job).await, [ExecutionState::Unknown]);
    bench.check_counts(&job).await;
}

#[tokio::test]
async fn a_device_that_answers_wakes_what_waits_for_it() {
    let bench = Bench::with_devices(2).await;
    let change = bench.job(CHANGE, "name=r1").await;
    let session = bench.session("i", &[]).await;
    let lease = bench.claim(session, Zones::Rest, 1).await.remove(0);
    bench.report(&lease, Outcome::Unreached, &[]).await;
    assert!(
        bench
            .claim_at(session, Zones::Rest, 1, 20)
            .await
            .leases
            .is_empty()
    );
    bench.job(READ, "").await;
    let reads = bench.claim_at(session, Zones::Rest, 10, 20).await.leases;
    let applied = bench.report_at(&reads[1], Outcome::Succeeded, &[], 21).await;
    assert_eq!(applied.woken, 0, "that was the other device");
    let applied = bench.report_at(&reads[0], Outcome::Succeeded, &[], 22).await;
    assert!(applied.woken == 1 && applied.makes_work());
    let woken = bench.claim_at(session, Zones::Rest, 1, 22).await.leases;
    assert_eq!(woken[0].execution, lease.execution);
    bench.check_counts(&change).await;
}

#[tokio::test]
async fn classes_go_in_order_and_a_job_keeps_to_its_cap() {
    let bench = Bench::with_devices(10).await;
    let mut audit = create(READ, "", Some("a"), 1);
    audit.priority = Priority::Audit;
    let audit = bench.store.write(audit).await.expect("write").expect("made").uuid;
    let mut capped = create(READ, "", Some("b"), 1);
    capped.concurrency = Some(3);
    let capped = bench
        .store
        .write(capped)
        .await
        .expect("write")
        .expect("made")
        .uuid;
    let session = bench.session("i", &[]).await;
    let taken = bench.claim(session, Zones::Rest, 5).await;
    let leased = |record: JobRecord| {
        let leased = record
            .counts
            .into_iter()
            .find(|(state, _)| *state == ExecutionState::Leased);
        leased.map_or(0, |(_, count)| count)
    };
    assert_eq!(
        leased(bench.record(&capped).await),
        3,
        "it goes first, up to its cap"
    );
    assert_eq!(leased(bench.record(&audit).await), 2);
    bench.report(&taken[0], Outcome::Succeeded, &[]).await;
    bench.claim(session, Zones::Rest, 1).await;
    assert_eq!(leased(bench.record(&capped).await), 3);
}

#[tokio::test]
async fn two_rows_of_the_inventory_that_are_one_router_are_one_device() {
    let bench = Bench::with_devices(3).await;
    let devices = bench
        .store
        .devices(&Selector::default(), "", 10)
        .await
        .expect("read");
    let facts = FactsRecord {
        serial: "HF1".into(),
        ..FactsRecord::default()
    };
    let twins = devices[..2].iter().map(|device| (device.id, facts.clone()));
    let learn = StoreFacts {
        facts: twins.collect(),
        now: 1,
    };
    bench.store.write(learn).await.expect("write");
    let job = bench.job(CHANGE, "").await;
    let session = bench.session("i", &[]).await;
    let names = |leases: &[Lease]| {
        let names = leases.iter().map(|lease| lease.device_name.clone());
        names.collect::<Vec<_>>()
    };
    let taken = bench.claim(session, Zones::Rest, 10).await;
    assert_eq!(names(&taken), ["r1", "r3"], "r2 is r1");
    assert!(bench.claim(session, Zones::Rest, 10).await.is_empty());
    let record = bench.record(&job).await;
    let waiting = bench.store.waiting(&record, None, 5).await.expect("read");
    let why = waiting
        .iter()
        .map(|waiting| (waiting.wait, waiting.holder.clone()));
    assert_eq!(why.collect::<Vec<_>>(), [(Wait::Lock, Some(job.clone()))]);
    let read = bench.job(READ, "").await;
    assert_eq!(
        bench.claim(session, Zones::Rest, 10).await.len(),
        3,
        "reads share"
    );
    assert_eq!(bench.record(&read).await.total, 3);
    assert_eq!(bench.grant(&taken[0]).await, Verdict::Granted);
    bench.report(&taken[0], Outcome::Succeeded, &[]).await;
    assert_eq!(
        names(&bench.claim_at(session, Zones::Rest, 10, 20).await.leases),
        ["r2"]
    );
    bench.check_counts(&job).await;
}
