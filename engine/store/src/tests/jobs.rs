//! Jobs: made once, laid out in parts, tried again, ended early.

use super::*;

#[tokio::test]
async fn a_request_id_makes_creation_repeatable() {
    let bench = Bench::with_devices(2).await;
    let first = bench.create(READ, "", Some("id-1"), 1).await;
    assert_eq!(bench.create(READ, "", Some("id-1"), 1).await, first);
    let reused = CreateRefused::RequestIdReused(first.expect("made"));
    assert_eq!(bench.create(READ, "", Some("id-1"), 2).await, Err(reused));
}

#[tokio::test]
async fn an_empty_selection_makes_no_job() {
    let bench = Bench::with_devices(2).await;
    assert_eq!(
        bench.create(READ, "site=nowhere", None, 1).await,
        Err(CreateRefused::EmptySelection)
    );
    assert!(bench.store.jobs(i64::MAX, 10).await.expect("read").is_empty());
}

#[tokio::test]
async fn a_read_job_from_creation_to_completion() {
    let bench = Bench::with_devices(3).await;
    let job = bench.job(READ, "").await;
    let session = bench.session("i", &[]).await;
    let leases = bench.claim(session, Zones::Rest, 2).await;
    assert_eq!(leases.len(), 2);
    assert_eq!((leases[0].epoch, leases[0].address.as_str()), (1, "127.20.0.1"));
    bench.check_counts(&job).await;
    let answer: &[u8] = b"\x03!re\x0c=version=7.1\x00\x05!done\x00";
    assert_eq!(
        bench.report(&leases[0], Outcome::Succeeded, &[answer]).await,
        ReportAnswer::Moved {
            to: ExecutionState::Succeeded,
            released: false
        }
    );
    let again = bench.report(&leases[0], Outcome::Succeeded, &[answer]).await;
    assert!(
        matches!(again, ReportAnswer::Ignored(_)),
        "a report told twice changes nothing"
    );
    let rest = bench.claim(session, Zones::Rest, 10).await;
    for lease in leases[1..].iter().chain(&rest) {
        bench.report(lease, Outcome::Succeeded, &[answer]).await;
    }
    let record = bench.record(&job).await;
    assert_eq!(
        (record.state, record.finished_at),
        (JobState::Completed, Some(10))
    );
    bench.check_counts(&job).await;

    let page = ResultPage {
        job: record.id,
        after: 0,
        limit: 10,
        states: vec![ExecutionState::Succeeded],
    };
    let results = bench.store.results(&page).await.expect("read");
    assert_eq!(results.len(), 3);
    assert_eq!(results[0].replies, [Bytes::from_static(answer)]);
    assert_eq!(
        (results[0].started_at, results[0].finished_at),
        (Some(5), Some(10))
    );

    let events = bench.store.events(record.id, 0, 100).await.expect("read");
    let kinds = events.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>();
    assert_eq!(kinds, ["created", "state", "ended", "ended", "ended", "state"]);
    let ended = events.iter().flat_map(|event| event.ended.clone()).count();
    assert_eq!(ended, 3);
}

#[tokio::test]
async fn a_large_answer_comes_back_as_it_was() {
    let bench = Bench::with_devices(1).await;
    let job = bench.job(READ, "").await;
    let session = bench.session("i", &[]).await;
    let leases = bench.claim(session, Zones::Rest, 1).await;
    let answer: &'static [u8] = b"=comment=\xFF\xFE again and again".repeat(1000).leak();
    bench.report(&leases[0], Outcome::Succeeded, &[answer]).await;
    let page = ResultPage {
        job: bench.record(&job).await.id,
        after: 0,
        limit: 1,
        states: vec![],
    };
    assert_eq!(
        bench.store.results(&page).await.expect("read")[0].replies,
        [Bytes::from_static(answer)]
    );
}

#[tokio::test]
async fn an_abort_cancels_what_waits_and_names_what_is_out() {
    let bench = Bench::with_devices(3).await;
    let job = bench.job(READ, "").await;
    let session = bench.session("i", &[]).await;
    let lease = bench.claim(session, Zones::Rest, 1).await.remove(0);
    let out = vec![(lease.execution, lease.epoch, session)];
    assert_eq!(bench.abort(&job, 5).await, Aborted::Aborting(out));
    assert_eq!(bench.record(&job).await.state, JobState::Aborting);
    assert!(bench.claim(session, Zones::Rest, 10).await.is_empty());
    bench.report(&lease, Outcome::Cancelled, &[]).await;
    assert_eq!(bench.record(&job).await.state, JobState::Aborted);
    assert_eq!(bench.abort(&job, 6).await, Aborted::Over);
    bench.check_counts(&job).await;
}

#[tokio::test]
async fn a_paused_job_admits_nothing_and_loses_no_time() {
    let bench = Bench::with_devices(2).await;
    let job = bench.job(CHANGE, "").await;
    let session = bench.session("i", &[]).await;
    let leases = bench.claim(session, Zones::Rest, 1).await;
    assert_eq!(bench.pause(&job, true, 1_000).await, Paused::Done);
    assert_eq!(
        bench.pause(&job, true, 2_000).await,
        Paused::Done,
        "again changes nothing"
    );
    assert!(bench.claim(session, Zones::Rest, 10).await.is_empty());
    let held = Verdict::Held(Held::Job(JobState::Paused));
    assert_eq!(bench.grant(&leases[0]).await, held);
    assert_eq!(
        bench
            .store
            .write(ExpireJobs { now: 40_000 })
            .await
            .expect("write"),
        0
    );
    assert_eq!(bench.pause(&job, false, 41_000).await, Paused::Done);
    assert_eq!(bench.record(&job).await.expires_at, 70_000);
    assert_eq!(bench.grant(&leases[0]).await, Verdict::Granted);
    assert_eq!(bench.claim(session, Zones::Rest, 10).await.len(), 1);
    bench.abort(&job, 41_001).await;
    assert_eq!(
        bench.pause(&job, true, 41_002).await,
        Paused::Refused(JobState::Aborting)
    );
    assert_eq!(bench.pause("nothing", true, 0).await, Paused::NotFound);
}

#[tokio::test]
async fn the_history_is_a_chain() {
    let bench = Bench::with_devices(1).await;
    let job = bench.job(READ, "").await;
    bench.pause(&job, true, 1).await;
    bench.pause(&job, false, 2).await;
    bench.abort(&job, 3).await;
    let rows = bench.store.history(&job, 0, 10).await.expect("read");
    let actions = rows.iter().map(|row| row.action.as_str()).collect::<Vec<_>>();
    assert_eq!(actions, ["job.pause", "job.resume", "job.abort"]);
    let mut before = Vec::new();
    for row in rows {
        let fields = [
            &*row.claimed_by,
            &row.action,
            &row.subject,
            &row.reason,
            &row.detail,
        ];
        assert_eq!(row.hash, chained(&before, row.at, fields));
        before = row.hash;
    }
}

#[tokio::test]
async fn a_large_job_is_laid_out_in_parts_and_runs_when_it_is_whole() {
    let bench = Bench::with_devices(0).await;
    let many = "
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20001)
        INSERT INTO device (name, address, port, transport, credential, zone, labels, created_at)
        SELECT 'd' || i, '127.0.0.1', 1, 'api', 'ops', 'z1', '{}', 0 FROM n";
    let options = SqliteConnectOptions::new().filename(bench.path());
    let mut connection = SqliteConnection::connect_with(&options).await.expect("connect");
    sqlx::query(many).execute(&mut connection).await.expect("insert");
    let created = bench
        .store
        .write(create(READ, "", Some("x"), 1))
        .await
        .expect("write")
        .expect("made");
    assert!(created.draft);
    let again = bench
        .store
        .write(create(READ, "", Some("x"), 1))
        .await
        .expect("write")
        .expect("made");
    assert_eq!(again.uuid, created.uuid);
    let session = bench.session("i", &[]).await;
    assert!(
        bench.claim(session, Zones::Rest, 10).await.is_empty(),
        "it is not whole"
    );
    assert_eq!(bench.store.drafts().await.expect("read"), [created.uuid.as_str()]);
    let lay_out = || {
        bench.store.write(LayOut {
            uuid: created.uuid.clone(),
            now: 1,
        })
    };
    assert!(lay_out().await.expect("write"));
    assert!(!lay_out().await.expect("write"));
    assert!(!lay_out().await.expect("write"), "done is done");
    let record = bench.record(&created.uuid).await;
    assert_eq!((record.state, record.total), (JobState::Running, 20_001));
    assert_eq!(record.counts, [(ExecutionState::Pending, 20_001)]);
    assert_eq!(bench.claim(session, Zones::Rest, 10).await.len(), 10);
}

#[tokio::test]
async fn a_job_of_exactly_one_part_runs_too() {
    let bench = Bench::with_devices(0).await;
    let many = "
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
        INSERT INTO device (name, address, port, transport, credential, zone, labels, created_at)
        SELECT 'd' || i, '127.0.0.1', 1, 'api', 'ops', 'z1', '{}', 0 FROM n";
    let options = SqliteConnectOptions::new().filename(bench.path());
    let mut connection = SqliteConnection::connect_with(&options).await.expect("connect");
    sqlx::query(many).execute(&mut connection).await.expect("insert");
    let created = bench
        .store
        .write(create(READ, "", None, 1))
        .await
        .expect("write")
        .expect("made");
    assert!(created.draft);
    assert!(
        !bench
            .store
            .write(LayOut {
                uuid: created.uuid.clone(),
                now: 1
            })
            .await
            .expect("write")
    );
    let record = bench.record(&created.uuid).await;
    assert_eq!((record.state, record.total), (JobState::Running, 10_000));
}

#[tokio::test]
async fn a_retry_takes_the_outcomes_it_is_told_and_nothing_that_is_done() {
    let bench = Bench::with_devices(4).await;
    let job = bench.job(CHANGE, "").await;
    let session = bench.session("i", &[]).await;
    let leases = bench.claim(session, Zones::Rest, 10).await;
    for lease in &leases[..3] {
        bench.grant(lease).await;
    }
    bench.report(&leases[0], Outcome::Unknown, &[]).await;
    bench.report(&leases[1], Outcome::Unknown, &[]).await;
    bench.report(&leases[1], Outcome::Succeeded, &[]).await;
    bench.report(&leases[2], Outcome::Failed, &[]).await;
    bench.report(&leases[3], Outcome::Cancelled, &[]).await;
    let mut retry = create(CHANGE, "", Some("again"), 1);
    retry.retry = Some(Retry {
        job: job.clone(),
        states: vec![ExecutionState::Failed, ExecutionState::Unknown],
        wave: None,
    });
    let made = bench.store.write(retry).await.expect("write").expect("made").uuid;
    let names = bench
        .results(&made)
        .await
        .into_iter()
        .map(|result| result.device)
        .collect::<Vec<_>>();
    assert_eq!(names, ["r1", "r3"], "r2 turned out to be done");
    assert_eq!(bench.record(&made).await.retry_of, Some(job));
}
