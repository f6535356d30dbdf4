//! Deleting what is over: what stays, what goes, and that the file shrinks.

use proptest::prelude::*;
use sqlx::sqlite::SqliteAutoVacuum;

use super::*;

impl Bench {
    /// A read job on every device, with the steps that each of them answered; over at 10.
    async fn finished(&self, request_id: &str, answer: impl Fn(usize) -> Vec<Bytes>) -> String {
        let job = self
            .create(READ, "", Some(request_id), 0)
            .await
            .expect("not refused");
        self.answer_all(&job, answer).await;
        job
    }

    pub(super) async fn answer_all(&self, job: &str, answer: impl Fn(usize) -> Vec<Bytes>) {
        let session = self.session("i", &[]).await;
        let leases = self.claim(session, Zones::Rest, 10_000).await;
        let report = |(index, lease): (usize, &Lease)| Report {
            execution: lease.execution,
            epoch: lease.epoch,
            outcome: Outcome::Succeeded,
            error: None,
            steps_done: 1,
            first_step: 0,
            replies: answer(index),
            started_at: 5,
            fingerprint: None,
        };
        let reports = leases.iter().enumerate().map(report).collect();
        let apply = ApplyReports { reports, now: 10 };
        self.store.write(apply).await.expect("write");
        assert_eq!(self.record(job).await.state, JobState::Completed);
    }

    pub(super) async fn delete(&self, job: &str, now: i64) -> Deleted {
        let delete = DeleteJob {
            uuid: job.to_owned(),
            claimed_by: "tester".into(),
            now,
        };
        self.store.write(delete).await.expect("write")
    }

    /// Sweeps until nothing is left; returns what was deleted, and in how many batches.
    pub(super) async fn sweep(&self) -> (Swept, usize) {
        let (mut all, mut batches) = (Swept::default(), 0);
        loop {
            let swept = self.store.write(Sweep).await.expect("write");
            if swept.is_nothing() {
                return (all, batches);
            }
            all += swept;
            batches += 1;
        }
    }

    pub(super) async fn count(&self, text: &'static str) -> i64 {
        let mut tx = self.store.readers().begin().await.expect("begin");
        sqlx::query_scalar(text).fetch_one(&mut *tx).await.expect("count")
    }

    /// Every step has its answer, every answer a step, and the counts of shared ones are right.
    pub(super) async fn check_answers(&self) {
        for (what, text) in [
            (
                "steps without their answer",
                "SELECT count(*) FROM step_result
                 WHERE CASE WHEN digest = x'' THEN bytes IS NULL OR encoding IS NULL
                            ELSE bytes IS NOT NULL OR digest NOT IN (SELECT digest FROM blob) END",
            ),
            (
                "answers without a step",
                "SELECT count(*) FROM blob WHERE digest NOT IN (
                     SELECT digest FROM step_result UNION SELECT digest FROM set_step)",
            ),
            (
                "answers that are not counted right",
                "SELECT count(*) FROM (SELECT digest, count(*) - 1 AS more FROM (
                         SELECT digest FROM step_result WHERE digest <> x''
                         UNION ALL SELECT digest FROM set_step) GROUP BY digest) s
                 LEFT JOIN blob_share b ON b.digest = s.digest WHERE coalesce(b.more, 0) <> s.more",
            ),
            (
                "counts of no answer",
                "SELECT count(*) FROM blob_share WHERE more < 1 OR digest NOT IN (
                     SELECT digest FROM step_result UNION SELECT digest FROM set_step)",
            ),
            (
                "steps of sets without their answer",
                "SELECT count(*) FROM set_step WHERE digest NOT IN (SELECT digest FROM blob)",
            ),
            (
                "sets that are not counted right",
                "SELECT count(*) FROM answer_set a
                 WHERE a.uses <> (SELECT count(*) FROM execution e WHERE e.answers = a.id) OR a.uses < 1",
            ),
            (
                "executions that name no set",
                "SELECT count(*) FROM execution WHERE answers IS NOT NULL AND answers NOT IN (SELECT id FROM answer_set)",
            ),
            (
                "executions that name a set and have answers of their own",
                "SELECT count(*) FROM execution e JOIN step_result s ON s.execution_id = e.id
                 WHERE e.answers IS NOT NULL",
            ),
        ] {
            assert_eq!(self.count(text).await, 0, "{what}");
        }
    }
}

/// Bytes that do not compress, and differ by their seed.
pub(super) fn noise(seed: u64, length: usize) -> Bytes {
    let mut state = seed;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[tokio::test]
async fn a_deleted_job_is_gone_at_once_and_leaves_nothing() {
    let bench = Bench::with_devices(3).await;
    let shared = Bytes::from_static(b"\x05!done\x00");
    let first = bench
        .finished("one", |index| vec![shared.clone(), noise(index as u64, 2000)])
        .await;
    let second = bench.finished("two", |_| vec![shared.clone()]).await;
    assert_eq!(bench.count("SELECT count(*) FROM blob").await, 4);
    assert_eq!(bench.delete(&first, 20).await, Deleted::Gone);
    assert!(bench.store.job(&first).await.expect("read").is_none());
    assert_eq!(bench.store.jobs(i64::MAX, 10).await.expect("read").len(), 1);
    assert_eq!(
        bench.delete(&first, 20).await,
        Deleted::NotFound,
        "once is enough"
    );

    let (swept, _) = bench.sweep().await;
    assert_eq!((swept.executions, swept.answers, swept.jobs), (3, 3, 1));
    bench.check_answers().await;
    assert_eq!(bench.count("SELECT count(*) FROM execution").await, 3);
    assert_eq!(bench.count("SELECT count(*) FROM job").await, 1);
    for table in [
        "SELECT count(DISTINCT job_id) FROM event",
        "SELECT count(DISTINCT job_id) FROM job_count",
    ] {
        assert_eq!(bench.count(table).await, 1);
    }
    let page = ResultPage {
        job: bench.record(&second).await.id,
        after: 0,
        limit: 10,
        states: vec![],
    };
    for record in bench.store.results(&page).await.expect("read") {
        assert_eq!(
            record.replies,
            std::slice::from_ref(&shared),
            "what another job shares stays"
        );
    }
}

#[tokio::test]
async fn a_job_that_is_not_over_is_not_deleted() {
    let bench = Bench::with_devices(1).await;
    let job = bench.job(READ, "").await;
    assert_eq!(bench.delete(&job, 5).await, Deleted::Live);
    assert_eq!(bench.delete("nobody", 5).await, Deleted::NotFound);
    let delete = DeleteOld { before: i64::MAX };
    assert_eq!(bench.store.write(delete).await.expect("write"), 0);
    bench.record(&job).await;
}

#[tokio::test]
async fn jobs_go_by_the_age_of_their_end() {
    let bench = Bench::with_devices(1).await;
    let job = bench.finished("old", |_| vec![]).await;
    let old = |before| bench.store.write(DeleteOld { before });
    assert_eq!(old(10).await.expect("write"), 0, "it ended at 10");
    assert_eq!(old(11).await.expect("write"), 1);
    assert_eq!(old(11).await.expect("write"), 0, "once is enough");
    assert!(bench.store.job(&job).await.expect("read").is_none());
}

#[tokio::test]
async fn a_request_id_outlives_its_job_for_a_day() {
    let bench = Bench::with_devices(1).await;
    let job = bench.finished("again", |_| vec![]).await;
    bench.delete(&job, 20).await;
    let again = |hash| bench.create(READ, "", Some("again"), hash);
    assert_eq!(
        again(0).await,
        Ok(job.clone()),
        "while its rows are being deleted"
    );
    bench.sweep().await;
    assert_eq!(again(0).await, Ok(job.clone()), "and afterwards");
    assert_eq!(
        again(1).await,
        Err(CreateRefused::RequestIdReused(job.clone())),
        "another body is another call"
    );
    let forget = |now| bench.store.write(ForgetRequests { now });
    assert_eq!(forget(REQUEST_KEPT_MS).await.expect("write"), 0);
    assert_eq!(forget(REQUEST_KEPT_MS + 1).await.expect("write"), 1);
    assert_eq!(bench.count("SELECT count(*) FROM job").await, 0);
    again(0).await.expect("a new job");
    assert_eq!(bench.count("SELECT count(*) FROM job").await, 1);
}

#[tokio::test]
async fn numbers_of_executions_are_not_given_out_twice() {
    let bench = Bench::with_devices(2).await;
    let mut last = 0;
    for round in ["a", "b", "c"] {
        let job = bench.finished(round, |_| vec![]).await;
        let page = ResultPage {
            job: bench.record(&job).await.id,
            after: 0,
            limit: 10,
            states: vec![],
        };
        let numbers = bench
            .store
            .results(&page)
            .await
            .expect("read")
            .into_iter()
            .map(|record| record.execution)
            .collect::<Vec<_>>();
        assert_eq!(numbers, [last + 1, last + 2]);
        last = numbers[1];
        bench.delete(&job, 20).await;
        bench.sweep().await;
        assert_eq!(
            bench.count("SELECT count(*) FROM execution").await,
            1,
            "the youngest number"
        );
    }
}

#[tokio::test]
async fn plans_that_no_job_uses_go() {
    let bench = Bench::with_devices(1).await;
    let kept = bench.finished("kept", |_| vec![]).await;
    assert_eq!(
        bench.create(CHANGE, "site=nowhere", None, 0).await,
        Err(CreateRefused::EmptySelection)
    );
    let digests = bench.store.unused_plans().await.expect("read");
    assert_eq!(digests.len(), 1, "the refused job's");
    let kept = bench.record(&kept).await.plan_digest;
    let all = [digests[0], kept.try_into().expect("32 bytes")].to_vec();
    let forgotten = bench
        .store
        .write(ForgetPlans { digests: all })
        .await
        .expect("write");
    assert_eq!(forgotten, 1, "one that is used again stays");
}

#[tokio::test]
async fn batches_are_bounded_by_rows_and_by_bytes() {
    let bench = Bench::with_devices(1200).await;
    let rows = bench
        .finished("rows", |_| vec![Bytes::from_static(b"x"); 3])
        .await;
    bench.delete(&rows, 20).await;
    let first = bench.store.write(Sweep).await.expect("write");
    assert_eq!(first.executions, 250, "four rows each");
    bench.sweep().await;
    bench.check_answers().await;

    let bench = Bench::with_devices(4).await;
    let large = |index| vec![noise(index as u64, 3 << 20)];
    let bytes = bench.finished("bytes", large).await;
    bench.delete(&bytes, 20).await;
    let first = bench.store.write(Sweep).await.expect("write");
    assert_eq!(first.executions, 2, "the third grows over 8 MiB");
    bench.sweep().await;
    bench.check_answers().await;
}

/// Wherever an answer is stored, it makes a group of its own, and one with those who gave the same.
#[tokio::test]
async fn answers_that_differ_are_in_different_groups() {
    let bench = Bench::with_devices(40).await;
    let told = |index: usize| vec![Bytes::from(vec![(index % 7) as u8; 20])];
    let same = bench.finished("same", told).await;
    let own = bench
        .finished("own", |index| vec![Bytes::from(format!("answer {index}"))])
        .await;
    let mixed = |index: usize| match index {
        0 => vec![Bytes::from_static(b"answer 7")],
        1..=3 => vec![Bytes::from_static(b"news")],
        _ => told(index),
    };
    let mixed = bench.finished("mixed", mixed).await;
    for (job, groups) in [(same, 7), (own, 40), (mixed, 9)] {
        let id = bench.store.job(&job).await.expect("read").expect("a job").id;
        let found = bench.store.groups(id, 1000).await.expect("read");
        assert_eq!(
            (found.groups.len(), found.left_out),
            (groups, (0, 0)),
            "{:?}",
            found.groups
        );
        assert_eq!(found.groups.iter().map(|group| group.count).sum::<u64>(), 40);
    }
}

#[tokio::test]
async fn the_file_shrinks() {
    let bench = Bench::with_devices(40).await;
    let job = bench
        .finished("big", |index| vec![noise(index as u64, 200_000)])
        .await;
    bench.store.checkpoint().await.expect("checkpoint");
    let full = std::fs::metadata(bench.path()).expect("a file").len();
    assert!(full > 8_000_000, "{full}");
    bench.delete(&job, 20).await;
    bench.sweep().await;
    while bench.store.space().await.expect("read").free > 0 {
        bench.store.write(ReturnSpace).await.expect("write");
    }
    bench.store.checkpoint().await.expect("checkpoint");
    let left = std::fs::metadata(bench.path()).expect("a file").len();
    let space = bench.store.space().await.expect("read");
    assert_eq!((space.database, space.free, space.wal), (left, 0, 0));
    // Each table and each index has a page of its own, however empty.
    assert!(left < 1_000_000, "{left} of {full} are left");
}

#[tokio::test]
async fn a_database_from_before_is_taught_to_shrink() {
    let directory = TempDir::new().expect("temporary directory");
    let path = directory.path().join("muster.db");
    let before = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .auto_vacuum(SqliteAutoVacuum::None);
    let mut connection = SqliteConnection::connect_with(&before).await.expect("connect");
    let first = sqlx::raw_sql(include_str!("../../../../migrations/sqlite/0001_first_light.sql"));
    first.execute(&mut connection).await.expect("the schema before");
    sqlx::raw_sql(
        "INSERT INTO blob VALUES (x'01', 0, x'0a'), (x'02', 0, x'0b'), (x'03', 0, x'0c');
         INSERT INTO step_result VALUES (1, 0, x'01'), (2, 0, x'01'), (3, 0, x'02');",
    )
    .execute(&mut connection)
    .await
    .expect("rows");
    assert!(space::convert(&mut connection, &path).await.expect("converted"));
    connection.close().await.expect("close");
    let mut connection = SqliteConnection::connect_with(&before).await.expect("connect");
    assert!(
        !space::convert(&mut connection, &path)
            .await
            .expect("once is enough")
    );
    let mode: i64 = sqlx::query_scalar(sql::AUTO_VACUUM)
        .fetch_one(&mut connection)
        .await
        .expect("mode");
    assert_eq!(mode, 2);
    let third = sqlx::raw_sql(include_str!("../../../../migrations/sqlite/0003_retention.sql"));
    third.execute(&mut connection).await.expect("migrated");
    let shared: Vec<(Vec<u8>, i64)> = sqlx::query_as("SELECT digest, more FROM blob_share")
        .fetch_all(&mut connection)
        .await
        .expect("shared");
    assert_eq!(shared, [(vec![1], 1)]);
    let blobs: i64 = sqlx::query_scalar("SELECT count(*) FROM blob")
        .fetch_one(&mut connection)
        .await
        .expect("blobs");
    assert_eq!(blobs, 2, "the one that nothing names is gone");
}

#[tokio::test]
async fn a_page_of_results_is_bounded_by_bytes() {
    let bench = Bench::with_devices(6).await;
    let job = bench
        .finished("pages", |index| {
            // The third compresses to nothing; it is what it unpacks to that counts.
            let length = if index == 2 { 0 } else { 400_000 };
            vec![
                noise(index as u64, length),
                Bytes::from(vec![7; 900_000 - length]),
            ]
        })
        .await;
    let record = bench.record(&job).await;
    let mut page = ResultPage {
        job: record.id,
        after: 0,
        limit: 100,
        states: vec![],
    };
    let mut pages = Vec::new();
    loop {
        let results = bench.store.results(&page).await.expect("read");
        let Some(last) = results.last() else { break };
        page.after = last.execution;
        let of = results.iter().map(|record| record.execution).collect::<Vec<_>>();
        assert_eq!(
            of,
            bench
                .store
                .results_of(&of)
                .await
                .expect("read")
                .iter()
                .map(|record| record.execution)
                .collect::<Vec<_>>()
        );
        pages.push(results.len());
    }
    assert_eq!(pages, [2, 2, 2]);
}

#[derive(Clone, Debug)]
enum Act {
    /// A job on every device.
    Create,
    /// A worker takes everything and tells, for each, which answers came and whether it is to be tried again.
    Report(Vec<(Vec<u8>, bool)>),
    /// The job of this place in the list is deleted, if it is over.
    Delete(usize),
    Sweep,
}

fn act() -> impl Strategy<Value = Act> {
    let steps = (prop::collection::vec(0..5_u8, 0..4), any::<bool>());
    prop_oneof![
        2 => Just(Act::Create),
        4 => prop::collection::vec(steps, 1..8).prop_map(Act::Report),
        2 => (0..4_usize).prop_map(Act::Delete),
        2 => Just(Act::Sweep),
    ]
}

async fn play(acts: Vec<Act>) {
    let bench = Bench::with_devices(3).await;
    let session = bench.session("i", &[]).await;
    for (number, act) in acts.into_iter().enumerate() {
        match act {
            Act::Create => {
                let id = number.to_string();
                bench.create(READ, "", Some(&id), 0).await.expect("not refused");
            }
            Act::Report(told) => {
                let now = 10_000 * number as i64;
                let leases = bench.claim_at(session, Zones::Rest, 100, now).await.leases;
                let report = |(lease, (steps, again)): (Lease, &(Vec<u8>, bool))| Report {
                    execution: lease.execution,
                    epoch: lease.epoch,
                    outcome: if *again {
                        Outcome::Interrupted
                    } else {
                        Outcome::Succeeded
                    },
                    error: again.then(|| DeviceError::new(ErrorClass::Reset, "cut")),
                    steps_done: u32::from(!*again),
                    first_step: 0,
                    replies: steps.iter().map(|step| noise(u64::from(*step), 600)).collect(),
                    started_at: 0,
                    fingerprint: None,
                };
                let reports = leases.into_iter().zip(told.iter().cycle()).map(report);
                let reports = reports.collect();
                bench
                    .store
                    .write(ApplyReports { reports, now })
                    .await
                    .expect("write");
            }
            Act::Delete(place) => {
                let jobs = bench.store.jobs(i64::MAX, 10).await.expect("read");
                if let Some(job) = jobs.get(place) {
                    bench.delete(&job.uuid, 0).await;
                }
            }
            Act::Sweep => drop(bench.sweep().await),
        }
        bench.check_answers().await;
    }
    bench.sweep().await;
    bench.check_answers().await;
    for job in bench.store.jobs(i64::MAX, 100).await.expect("read") {
        bench.check_counts(&job.uuid).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn after_every_commit_each_step_has_its_answer_and_each_answer_a_step(
        acts in prop::collection::vec(act(), 1..20),
    ) {
        tokio::runtime::Runtime::new().expect("a runtime").block_on(play(acts));
    }
}

/// An answer that is given one at a time is found to be common soon, and what nobody else gave stays where it is.
#[tokio::test]
async fn common_answers_are_stored_once_however_they_come() {
    const DEVICES: usize = 200;
    let bench = Bench::with_devices(DEVICES).await;
    let shared: &[u8] = b"\x03!re\x0d=version=7.16\x00\x05!done\x00";
    let job = bench.create(READ, "", Some("one"), 0).await.expect("not refused");
    let session = bench.session("i", &[]).await;
    for lease in bench.claim(session, Zones::Rest, DEVICES).await {
        bench.report(&lease, Outcome::Succeeded, &[shared]).await;
    }
    bench.check_answers().await;
    assert_eq!(bench.count("SELECT count(*) FROM blob").await, 1);
    let inline = bench
        .count("SELECT count(*) FROM step_result WHERE digest = x''")
        .await;
    assert!((1..64).contains(&inline), "{inline} copies");
    let own = bench
        .finished("two", |index| {
            vec![noise(index as u64, 1000), noise(index as u64, 10)]
        })
        .await;
    bench.check_answers().await;
    let blobs = bench.count("SELECT count(*) FROM blob").await;
    assert!(
        (1..=2 * DEVICES as i64 / 10).contains(&blobs),
        "{blobs} of {}",
        2 * DEVICES
    );
    let page = |job: &str| ResultPage {
        job: job.parse().expect("a row"),
        after: 0,
        limit: 1000,
        states: Vec::new(),
    };
    for (number, uuid) in [(1, &job), (2, &own)] {
        assert_eq!(bench.record(uuid).await.id, number);
        let results = bench
            .store
            .results(&page(&number.to_string()))
            .await
            .expect("results");
        assert_eq!(results.len(), DEVICES);
        for (index, result) in results.iter().enumerate() {
            match number {
                1 => assert_eq!(result.replies, [Bytes::from_static(shared)]),
                _ => assert_eq!(
                    result.replies,
                    [noise(index as u64, 1000), noise(index as u64, 10)]
                ),
            }
        }
        assert_eq!(bench.delete(uuid, 20).await, Deleted::Gone);
        bench.sweep().await;
        bench.check_answers().await;
    }
    assert_eq!(bench.count("SELECT count(*) FROM blob").await, 0);
    assert_eq!(bench.count("SELECT count(*) FROM step_result").await, 0);
}
