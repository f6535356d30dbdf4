//! What audits were answered: stored once, and read as if it were not.

use std::ops::Range;

use super::retention::noise;
use super::*;

const DEVICES: u64 = 30;

impl Bench {
    /// A run of an audit on all devices, whose job is over. What it was answered is `answer`, by the device's number.
    pub(super) async fn audit(
        &self,
        request: &str,
        name: &str,
        answer: impl Fn(usize) -> Vec<Bytes>,
    ) -> String {
        let job = create(READ, "", Some(request), 0);
        let uuid = job.uuid.clone();
        let create = CreateAudit {
            job,
            name: name.into(),
            file: [1; 32],
            body: "name = \"a\"".into(),
            min_coverage: None,
            fresh_since: None,
        };
        self.store
            .write(create)
            .await
            .expect("write")
            .expect("not refused");
        self.answer_all(&uuid, answer).await;
        uuid
    }

    /// Everything a job was answered: by pages, by a scan, and its groups.
    async fn read(&self, job: &str) -> (Vec<Vec<Bytes>>, Vec<Vec<Vec<u8>>>, Vec<(u64, [u8; 32])>) {
        let results = self.results(job).await;
        let id = self.record(job).await.id;
        let mut scan = self.store.scan(id, Details::All);
        let mut scanned = Vec::new();
        while let Some(batch) = scan.next(|_| false).await.expect("read") {
            for execution in &batch.executions {
                let unpack = |answer: &ScannedAnswer| {
                    let mut bytes = Vec::new();
                    batch.unpack(answer, &mut bytes).expect("stored");
                    bytes
                };
                scanned.push(
                    batch.answers[execution.answers.clone()]
                        .iter()
                        .map(unpack)
                        .collect(),
                );
            }
        }
        let groups = self.store.groups(id, 1_000).await.expect("read").groups;
        (
            results.into_iter().map(|result| result.replies).collect(),
            scanned,
            groups
                .into_iter()
                .map(|group| (group.count, group.digest))
                .collect(),
        )
    }

    /// That a job has been answered what is said of it, however it is looked at.
    async fn check(&self, job: &str, answer: impl Fn(usize) -> Vec<Bytes>, like: &str) {
        let all = (0..DEVICES as usize).map(&answer).collect::<Vec<_>>();
        let (results, scanned, groups) = self.read(job).await;
        assert_eq!(results, all);
        assert_eq!(scanned, all);
        assert_eq!(groups, self.read(like).await.2, "the same in steps of their own");
    }
}

/// Small ones, one that all give, one that is packed and one that is not.
fn said(day: u64, changed: Range<usize>) -> impl Fn(usize) -> Vec<Bytes> + Clone {
    move |device| {
        let day = if changed.contains(&device) { day } else { 0 };
        vec![
            Bytes::from_static(b"\x05!done\x00"),
            noise(device as u64, 40),
            noise(1_000 * day + device as u64, 3_000),
            vec![b'x'; 2_000 + device].into(),
        ]
    }
}

#[tokio::test]
async fn what_devices_say_again_is_stored_once_and_read_as_it_was_said() {
    let bench = Bench::with_devices(DEVICES as usize).await;
    let mut days = Vec::new();
    for day in 0..5_u64 {
        // Three devices change for a day.
        let answer = said(day, 3 * day as usize..3 * day as usize + 3);
        let audit = bench.audit(&format!("day {day}"), "a", answer.clone()).await;
        // The same answers to a job that is no audit: in steps of their own.
        let plain = bench.job(READ, &format!("!no{day}")).await;
        bench.answer_all(&plain, answer.clone()).await;
        days.push((audit, answer, plain));
    }
    bench.check_answers().await;
    for (audit, answer, plain) in &days {
        bench.check(audit, answer, plain).await;
    }
    let sets = bench.count("SELECT count(*) FROM answer_set").await;
    assert_eq!(
        sets,
        DEVICES as i64 + 4 * 3,
        "all of the first day, and what changed"
    );

    // Whatever goes first, the others keep what they name.
    for (number, gone) in [2, 0, 4, 1, 3].into_iter().enumerate() {
        assert_eq!(bench.delete(&days[gone].0, 20).await, Deleted::Gone);
        bench.sweep().await;
        bench.check_answers().await;
        let left = [2, 0, 4, 1, 3][number + 1..].iter();
        for (audit, answer, plain) in left.map(|at| &days[*at]) {
            bench.check(audit, answer, plain).await;
        }
    }
    assert_eq!(bench.count("SELECT count(*) FROM answer_set").await, 0);
    assert_eq!(bench.count("SELECT count(*) FROM set_step").await, 0);
}

/// An attempt that goes on where another was cut off has its answers from two reports: they stay with their steps.
#[tokio::test]
async fn answers_of_several_attempts_are_no_set() {
    let bench = Bench::with_devices(1).await;
    let job = create(READ, "", Some("one"), 0);
    let uuid = job.uuid.clone();
    let create = CreateAudit {
        job,
        name: "a".into(),
        file: [1; 32],
        body: String::new(),
        min_coverage: None,
        fresh_since: None,
    };
    bench
        .store
        .write(create)
        .await
        .expect("write")
        .expect("not refused");
    let session = bench.session("i", &[]).await;
    for (outcome, answer) in [
        (Outcome::Interrupted, &b"first"[..]),
        (Outcome::Succeeded, b"second"),
    ] {
        let lease = bench
            .claim_at(session, Zones::Rest, 1, 20_000)
            .await
            .leases
            .remove(0);
        bench.report(&lease, outcome, &[answer]).await;
        bench.check_answers().await;
    }
    let results = bench.results(&uuid).await;
    assert_eq!(results[0].replies, [Bytes::from_static(b"second")]);
    assert_eq!(bench.count("SELECT count(*) FROM answer_set").await, 0);
}
