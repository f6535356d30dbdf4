use super::*;

use std::collections::BTreeSet;

/// What a scan finds: executions with their answers, in the order in which they come.
async fn all(mut scan: Scan, known: &BTreeSet<[u8; 32]>) -> Vec<(u64, Vec<(u32, Vec<u8>)>)> {
    let mut found = Vec::new();
    while let Some(batch) = scan.next(|digest| known.contains(digest)).await.expect("read") {
        for execution in &batch.executions {
            let answers = batch.answers[execution.answers.clone()]
                .iter()
                .filter(|answer| answer.digest().is_none_or(|digest| !known.contains(digest)));
            let answer = |answer: &ScannedAnswer| {
                let mut bytes = Vec::new();
                batch.unpack(answer, &mut bytes).expect("stored");
                (answer.step, bytes)
            };
            found.push((execution.execution, answers.map(answer).collect()));
        }
    }
    found
}

/// Bytes that are not like any others and cannot be packed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(byte).take(length).collect()
}

#[tokio::test]
async fn a_scan_finds_what_the_results_have() {
    let bench = Bench::with_devices(40).await;
    // Two jobs, so that executions of another one are not taken for the job's.
    let jobs = [bench.job(READ, "").await, bench.job(READ, "site=b").await];
    let session = bench.session("i", &[]).await;
    let leases = bench.claim(session, Zones::Rest, 100).await;
    let shared = Bytes::from(noise(0, 3000));
    let reports = leases.iter().map(|lease| {
        let replies = match lease.execution % 4 {
            // Small and its own; given by many; large, so that a batch is cut; none.
            0 => vec![Bytes::from(noise(lease.execution, 200))],
            1 => vec![shared.clone(), Bytes::from(noise(lease.execution, 100))],
            2 => vec![Bytes::from(noise(lease.execution, 700_000))],
            _ => vec![],
        };
        Report {
            execution: lease.execution,
            epoch: lease.epoch,
            outcome: Outcome::Succeeded,
            error: None,
            steps_done: 1,
            first_step: 0,
            replies,
            started_at: 5,
            fingerprint: None,
        }
    });
    let reports = reports.collect::<Vec<_>>();
    assert!(reports.len() > 60, "{} executions", reports.len());
    for reports in reports.chunks(7) {
        let reports = reports.to_vec();
        bench
            .store
            .write(ApplyReports { reports, now: 10 })
            .await
            .expect("write");
    }
    for job in &jobs {
        let id = bench.record(job).await.id;
        let mut expected = Vec::new();
        let mut after = 0;
        loop {
            let page = ResultPage {
                job: id,
                after,
                limit: 100,
                states: vec![],
            };
            let results = bench.store.results(&page).await.expect("read");
            let Some(last) = results.last() else { break };
            after = last.execution;
            expected.extend(results.iter().map(|result| {
                let replies = (0..).zip(&result.replies);
                let replies = replies.map(|(step, bytes)| (step, bytes.to_vec()));
                (result.execution, replies.collect::<Vec<_>>())
            }));
        }
        let none = BTreeSet::new();
        let found = all(bench.store.scan(id, Details::None), &none).await;
        assert!(found == expected, "not what the results have");
        assert!(all(bench.store.scan(id, Details::All), &none).await == expected);
        let some = expected
            .iter()
            .map(|(execution, _)| *execution)
            .step_by(2)
            .collect::<Vec<_>>();
        let wanted = expected.iter().step_by(2).cloned().collect::<Vec<_>>();
        assert!(all(bench.store.scan_some([some, vec![999_999]].concat()), &none).await == wanted);
        // What is known is not read again, and everything else is.
        let known =
            BTreeSet::from([
                sha2::Digest::finalize(<sha2::Sha256 as sha2::Digest>::new_with_prefix(&shared)).into(),
            ]);
        for (_, replies) in &mut expected {
            replies.retain(|(_, bytes)| *bytes != shared);
        }
        assert!(all(bench.store.scan(id, Details::None), &known).await == expected);
    }
}

#[tokio::test]
async fn what_is_not_over_is_not_found() {
    let bench = Bench::with_devices(4).await;
    let job = bench.job(READ, "").await;
    let id = bench.record(&job).await.id;
    let session = bench.session("i", &[]).await;
    let leases = bench.claim(session, Zones::Rest, 3).await;
    bench
        .report(&leases[1], Outcome::Succeeded, &[b"\x05!done\0"])
        .await;
    let mut scan = bench.store.scan(id, Details::All);
    let batch = scan.next(|_| false).await.expect("read").expect("one");
    assert_eq!(batch.executions.len(), 1);
    let one = &batch.executions[0];
    assert_eq!(
        (one.execution, one.state),
        (leases[1].execution, ExecutionState::Succeeded)
    );
    let details = one.details.as_ref().expect("asked for");
    assert_eq!((details.attempts, details.started_at), (1, Some(5)));
    let devices = bench.store.scanned_devices([one.device]).await.expect("read");
    assert_eq!(devices[&one.device].name, details.device);
    assert_eq!(devices[&one.device].labels["site"], "b");
    assert!(scan.next(|_| false).await.expect("read").is_none());
}
