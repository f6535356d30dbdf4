//! Devices: imported, meant by selectors, labelled, removed, left out.

use super::*;

#[tokio::test]
async fn an_import_tells_everything_that_is_wrong_and_stores_nothing() {
    let bench = Bench::with_devices(1).await;
    let strange = Device {
        credential: "nobody".into(),
        ..device(9)
    };
    let refused = bench
        .import(vec![device(1), device(2), device(2), strange], false)
        .await
        .expect_err("refused");
    let told = refused
        .iter()
        .map(|refused| (refused.index, refused.field))
        .collect::<Vec<_>>();
    assert_eq!(told, [(0, "name"), (2, "name"), (3, "credential")]);
    assert!(refused[2].reason.contains("known: ops"), "{}", refused[2].reason);
    assert_eq!(
        bench
            .store
            .count_devices(&Selector::default())
            .await
            .expect("read"),
        1
    );
}

#[tokio::test]
async fn an_import_may_overwrite_when_told_to() {
    let bench = Bench::with_devices(2).await;
    let moved = Device {
        address: "10.0.0.1".into(),
        labels: Labels::parse("site=c").expect("valid"),
        ..device(2)
    };
    let done = bench
        .import(vec![device(1), moved.clone(), device(3)], true)
        .await
        .expect("imported");
    assert_eq!(
        done,
        Imported {
            created: 1,
            updated: 1,
            unchanged: 1
        }
    );
    let site_c = "site=c".parse().expect("valid");
    let found = bench.store.devices(&site_c, "", 10).await.expect("read");
    assert_eq!(
        found.into_iter().map(|record| record.device).collect::<Vec<_>>(),
        [moved]
    );
}

#[tokio::test]
async fn selectors_mean_the_same_in_sql_and_in_the_model() {
    let bench = Bench::with_devices(12).await;
    let facts = FactsRecord {
        version: "7.16.2 (stable)".into(),
        board: "hEX [S]".into(),
        ..FactsRecord::default()
    };
    let all = bench
        .store
        .devices(&Selector::default(), "", 100)
        .await
        .expect("read");
    let some = all
        .iter()
        .take(5)
        .map(|record| (record.id, facts.clone()))
        .collect();
    bench
        .store
        .write(StoreFacts { facts: some, now: 3 })
        .await
        .expect("write");
    let all = bench
        .store
        .devices(&Selector::default(), "", 100)
        .await
        .expect("read");
    for text in [
        "site=a",
        "site!=a",
        "role",
        "!role",
        "site in (a,b)",
        "role notin (core)",
        "name=r1*",
        "name!=r1*",
        "name=r?",
        "zone=z1,site=b",
        "version=7.16*",
        "version!=7.16*",
        "board",
        "!board",
        "board=hEX [S]",
        "board=\"hEX [S]\"",
        "address=127.20.0.1",
        "rack",
        "!rack",
        "rack=1",
        "rack!=1",
    ] {
        let Ok(selector) = text.parse::<Selector>() else {
            continue;
        };
        let expected = all.iter().filter(|record| {
            let facts = record.facts.as_ref();
            let facts = Facts {
                version: facts.map(|f| &*f.version),
                board: facts.map(|f| &*f.board),
            };
            selector.matches(&record.device, facts)
        });
        let found = bench.store.devices(&selector, "", 100).await.expect("read");
        let names = |records: Vec<&DeviceRecord>| {
            records
                .into_iter()
                .map(|record| record.device.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(found.iter().collect()), names(expected.collect()), "{text}");
    }
}

#[tokio::test]
async fn labels_are_set_and_removed_by_selector() {
    let bench = Bench::with_devices(6).await;
    let label = LabelDevices {
        selector: "site=a".parse().expect("valid"),
        set: Labels::parse("rack=7").expect("valid"),
        remove: vec!["role".into()],
    };
    let done = bench.store.write(label).await.expect("write");
    assert_eq!((done.selected, done.changed), (2, 2));
    let rack = "rack=7,!role".parse().expect("valid");
    assert_eq!(bench.store.count_devices(&rack).await.expect("read"), 2);
}

#[tokio::test]
async fn a_device_with_work_left_is_not_removed() {
    let bench = Bench::with_devices(2).await;
    let job = bench.job(READ, "name=r1").await;
    let remove = |names: &[&str]| {
        let names = names.iter().map(ToString::to_string).collect();
        bench.store.write(RemoveDevices { names })
    };
    let busy = RemoveDevicesRefused::Busy {
        device: "r1".into(),
        job: job.clone(),
    };
    assert_eq!(remove(&["r1", "r2"]).await.expect("write"), Err(busy));
    let missing = RemoveDevicesRefused::NotFound(vec!["r7".into()]);
    assert_eq!(remove(&["r2", "r7"]).await.expect("write"), Err(missing));
    assert_eq!(remove(&["r2"]).await.expect("write"), Ok(1));
    bench.abort(&job, 1).await;
    assert_eq!(remove(&["r1"]).await.expect("write"), Ok(1));
    assert_eq!(bench.states(&job).await.len(), 1, "its results stay");
}

#[tokio::test]
async fn a_device_that_keeps_ending_badly_is_left_out_until_it_is_released() {
    let bench = Bench::with_devices(2).await;
    let session = bench.session("i", &[]).await;
    let waiting = bench.job(&["/system/reboot"], "name=r1").await;
    let first = bench.claim(session, Zones::Rest, 1).await.remove(0);
    for round in 0..5 {
        let mut change = create(CHANGE, "name=r1", Some(&round.to_string()), 1);
        change.priority = Priority::Emergency;
        bench.store.write(change).await.expect("write").expect("made");
        let lease = match round {
            // The one that waits in the other job holds the device first.
            0 => {
                bench.report(&first, Outcome::HandedBack, &[]).await;
                bench.claim_at(session, Zones::Rest, 1, 11).await.leases.remove(0)
            }
            _ => bench.claim_at(session, Zones::Rest, 1, 11).await.leases.remove(0),
        };
        assert_eq!(bench.grant(&lease).await, Verdict::Granted);
        bench.report(&lease, Outcome::Unknown, &[]).await;
    }
    assert_eq!(bench.states(&waiting).await, [ExecutionState::Skipped]);
    assert_eq!(bench.store.quarantined(20).await.expect("read"), ["r1"]);
    let job = bench.job(CHANGE, "").await;
    assert_eq!(
        bench.states(&job).await,
        [ExecutionState::Skipped, ExecutionState::Pending]
    );
    let read = bench.job(READ, "").await;
    assert_eq!(
        bench.states(&read).await,
        [ExecutionState::Pending; 2],
        "looking harms nobody"
    );
    for job in [waiting, job] {
        bench.check_counts(&job).await;
    }
    let release = ReleaseDevices {
        names: vec!["r1".to_owned()],
        deed: Deed::default(),
        now: 20,
    };
    assert_eq!(bench.store.write(release).await.expect("write"), 5);
    assert!(bench.store.quarantined(20).await.expect("read").is_empty());
}

#[tokio::test]
async fn a_lost_device_is_to_be_rescued_until_it_is_seen_or_somebody_takes_it_off() {
    let bench = Bench::with_devices(3).await;
    let session = bench.session("i", &[]).await;
    let change = bench.job(CHANGE, "").await;
    for lease in bench.claim(session, Zones::Rest, 3).await {
        assert_eq!(bench.grant(&lease).await, Verdict::Granted);
        bench.report(&lease, Outcome::Lost, &[]).await;
    }
    let names = async |job: &str| {
        let listed = bench.store.rescue(job, "", 10).await.expect("read");
        listed.into_iter().map(|lost| lost.device).collect::<Vec<_>>()
    };
    assert_eq!(names("").await, ["r1", "r2", "r3"]);
    let listed = bench.store.rescue(&change, "r1", 1).await.expect("read");
    let [lost] = listed.as_slice() else {
        panic!("{listed:?}")
    };
    assert_eq!(
        (lost.device.as_str(), lost.job.as_str(), lost.step, lost.under_way),
        ("r2", change.as_str(), 0, true)
    );
    let body = lost.body.as_ref().expect("the step").title();
    assert!(body.starts_with(CHANGE[0]), "{body}");
    assert!(names("another").await.is_empty());

    // One is seen again, by whatever is asked of it.
    bench.job(READ, "name=r1").await;
    let lease = bench.claim(session, Zones::Rest, 1).await.remove(0);
    bench.report(&lease, Outcome::Unreached, &[]).await;
    assert_eq!(names("").await, ["r1", "r2", "r3"], "nobody answered");
    bench.job(CHANGE, "name=r1").await;
    let lease = bench.claim(session, Zones::Rest, 1).await.remove(0);
    bench.report(&lease, Outcome::Rejected, &[]).await;
    assert_eq!(names("").await, ["r1", "r2", "r3"], "nobody connected");
    bench.job(READ, "name in (r1)").await;
    let lease = bench.claim(session, Zones::Rest, 1).await.remove(0);
    bench.report(&lease, Outcome::Succeeded, &[b"x"]).await;
    assert_eq!(names("").await, ["r2", "r3"]);

    let clear = |names: &[&str]| ClearRescue {
        names: names.iter().map(ToString::to_string).collect(),
        deed: Deed {
            action: "device.rescue-clear",
            reason: "swapped".into(),
            ..Deed::default()
        },
        now: 30,
    };
    let refused = bench
        .store
        .write(clear(&["r2", "r1", "nobody"]))
        .await
        .expect("write");
    assert_eq!(refused, Err(vec!["r1".to_owned(), "nobody".to_owned()]));
    assert_eq!(names("").await, ["r2", "r3"], "all or none");
    assert_eq!(bench.store.write(clear(&["r2"])).await.expect("write"), Ok(()));
    assert_eq!(names("").await, ["r3"]);
    let remove = RemoveDevices {
        names: vec!["r3".into()],
    };
    assert_eq!(bench.store.write(remove).await.expect("write"), Ok(1));
    assert!(names("").await.is_empty(), "gone from the inventory");
    let history = bench.store.history("", 0, 10).await.expect("read");
    let actions = history
        .iter()
        .map(|deed| deed.action.as_str())
        .collect::<Vec<_>>();
    assert!(
        actions.contains(&"device.seen-again") && actions.contains(&"device.rescue-clear"),
        "{actions:?}"
    );
}

/// A number may be given to another device, whose connection nobody has.
#[tokio::test]
async fn who_has_the_connection_of_a_device_goes_with_it() {
    let bench = Bench::with_devices(2).await;
    let note = NoteHolders {
        worker: 7,
        devices: vec![1, 2],
    };
    bench.store.write(note).await.expect("write");
    let remove = RemoveDevices {
        names: vec!["r2".into()],
    };
    bench.store.write(remove).await.expect("write").expect("not busy");
    let holders = bench.store.holders(&[1, 2]).await.expect("read");
    assert_eq!(holders, BTreeMap::from([(1, 7)]));
}
