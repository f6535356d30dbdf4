//! Limits, and the caps by label value that claims keep.

use muster_model::limit::Limit;

use super::*;

async fn set(bench: &Bench, kind: &str, scope: &str, value: Option<u64>) {
    let limit = Limit::new(kind, scope).expect("a limit");
    let deed = Deed {
        claimed_by: "tester".into(),
        action: "limits.set",
        subject: "limits".into(),
        reason: "a test".into(),
        detail: limit.to_string(),
    };
    let change = SetLimits {
        changes: vec![(limit, value)],
        deed,
        now: 5,
    };
    bench.store.write(change).await.expect("write");
}

#[tokio::test]
async fn limits_are_kept_and_noted() {
    let bench = Bench::with_devices(0).await;
    set(&bench, "device.commands", "", Some(5)).await;
    set(&bench, "zone.connects", "z1", Some(7)).await;
    set(&bench, "device.commands", "", Some(6)).await;
    let limits = bench.store.limits().await.expect("read");
    assert_eq!(limits.general("device.commands"), Some(6));
    set(&bench, "device.commands", "", None).await;
    let limits = bench.store.limits().await.expect("read");
    assert_eq!(
        (limits.general("device.commands"), limits.iter().count()),
        (None, 1)
    );
    let history = bench.store.history("limits", 0, 10).await.expect("read");
    assert_eq!(history.len(), 4);
}

/// How many are at site a and at site b.
fn by_site(leases: &[Lease]) -> [usize; 2] {
    ["a", "b"].map(|site| {
        let of_site = |lease: &&Lease| lease.labels().get("site").is_some_and(|own| own == site);
        leases.iter().filter(of_site).count()
    })
}

#[tokio::test]
async fn a_label_value_has_no_more_executions_with_workers_than_its_cap() {
    let bench = Bench::with_devices(20).await;
    set(&bench, "label.executions", "site=*", Some(3)).await;
    set(&bench, "label.executions", "site=b", Some(2)).await;
    bench.job(READ, "").await;
    let (one, two) = (bench.session("one", &[]).await, bench.session("two", &[]).await);
    let first = bench.claim(one, Zones::Rest, 4).await;
    let second = bench.claim(two, Zones::Rest, 20).await;
    let all = [&first[..], &second[..]].concat();
    assert_eq!(by_site(&all), [3, 2], "over all workers");
    bench.job(CHANGE, "").await;
    assert!(
        bench.claim(two, Zones::Rest, 20).await.is_empty(),
        "over all jobs"
    );

    bench.report(&all[0], Outcome::Succeeded, &[]).await;
    let next = bench.claim(one, Zones::Rest, 20).await;
    assert_eq!(
        by_site(&next),
        by_site(&all[..1]),
        "what ends makes room for its own value"
    );
    assert!(
        next.iter().all(|lease| lease.epoch == 1),
        "nothing was taken and given back"
    );

    set(&bench, "label.executions", "site=*", None).await;
    set(&bench, "label.executions", "site=b", None).await;
    assert!(
        !bench.claim(one, Zones::Rest, 50).await.is_empty(),
        "without a cap"
    );
}

#[tokio::test]
async fn what_a_full_value_keeps_back_is_told() {
    let bench = Bench::with_devices(6).await;
    set(&bench, "label.executions", "site=a", Some(1)).await;
    let uuid = bench.job(READ, "").await;
    let session = bench.session("one", &[]).await;
    assert_eq!(
        bench.claim(session, Zones::Rest, 50).await.len(),
        5,
        "one of two, and four"
    );
    let job = bench.store.job(&uuid).await.expect("read").expect("there");
    let full = bench.store.full_values(job.id, None).await.expect("read");
    assert_eq!(full.len(), 1);
    assert_eq!((full[0].key.as_str(), full[0].value.as_str()), ("site", "a"));
    assert_eq!((full[0].most, full[0].has, full[0].waiting), (1, 1, 1));
}
