//! How devices are reached, and what of it waits for somebody.

use muster_model::{Pin, Trust};

use super::*;
use crate::{Contact, DeviceRecord, StoreContacts, TrustDevice, TrustRefused, Trusted};

const ONE: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const TWO: &str = "2222222222222222222222222222222222222222222222222222222222222222";

async fn with(transport: Transport, tls: Option<Trust>) -> Bench {
    let bench = Bench::with_devices(0).await;
    let given = Device {
        transport,
        tls,
        ..device(1)
    };
    bench.import(vec![given], false).await.expect("imported");
    bench
}

async fn record(bench: &Bench) -> DeviceRecord {
    bench.store.device("r1").await.expect("read").expect("there")
}

async fn contact(bench: &Bench, worked: &str, certificate: &str, reached: bool, now: i64) {
    let contact = Contact {
        device: record(bench).await.id,
        worked: worked.into(),
        certificate: certificate.into(),
        key: certificate.into(),
        reached,
    };
    let contacts = vec![contact];
    bench
        .store
        .write(StoreContacts { contacts, now })
        .await
        .expect("write");
}

async fn trust(bench: &Bench, pin: Option<&str>) -> Result<Trusted, TrustRefused> {
    let trust = TrustDevice {
        name: "r1".into(),
        pin: pin.map(str::to_owned),
        serial: None,
        deed: Deed {
            claimed_by: "alice".into(),
            action: "device.trust",
            subject: "r1".into(),
            ..Deed::default()
        },
        now: 50,
    };
    bench.store.write(trust).await.expect("write")
}

#[tokio::test]
async fn the_first_certificate_is_pinned_and_no_other_after_it() {
    let bench = with(Transport::ApiSsl, Some(Trust::FirstUse)).await;
    contact(&bench, "", ONE, true, 10).await;
    contact(&bench, "", TWO, true, 11).await;
    let now = record(&bench).await;
    assert_eq!(now.device.pin, ONE.parse::<Pin>().ok());
    assert_eq!(now.reach.pinned, Some(("tester".into(), 10)));
    let told = bench.store.history("r1", 0, 10).await.expect("read");
    assert_eq!(told.len(), 1);
    assert!(told[0].detail.contains(ONE), "{}", told[0].detail);
    // What was pinned stays so when the same device is imported again, and goes when something else is demanded.
    let again = |tls| Device {
        transport: Transport::ApiSsl,
        tls,
        ..device(1)
    };
    let done = bench
        .import(vec![again(Some(Trust::FirstUse))], true)
        .await
        .expect("imported");
    assert_eq!(done.unchanged, 1);
    assert_eq!(record(&bench).await.device.pin, ONE.parse::<Pin>().ok());
    bench
        .import(vec![again(Some(Trust::System))], true)
        .await
        .expect("imported");
    assert_eq!(record(&bench).await.device.pin, None);
}

#[tokio::test]
async fn what_was_presented_and_not_taken_waits_until_somebody_accepts_it() {
    let bench = with(Transport::Https, Some(Trust::System)).await;
    assert_eq!(trust(&bench, None).await, Err(TrustRefused::Nothing("r1".into())));
    contact(&bench, "", TWO, false, 20).await;
    assert_eq!(
        record(&bench).await.reach.offered,
        Some((TWO.into(), TWO.into(), 20))
    );
    let trusted = trust(&bench, None).await.expect("accepted");
    assert_eq!(trusted.pin.as_deref(), Some(TWO));
    let now = record(&bench).await;
    assert_eq!(
        (now.device.tls, now.device.pin),
        (Some(Trust::Pin), TWO.parse::<Pin>().ok())
    );
    assert_eq!(
        (now.reach.offered, now.reach.pinned),
        (None, Some(("alice".into(), 50)))
    );
    assert_eq!(
        trust(&bench, Some(ONE)).await.expect("accepted").pin.as_deref(),
        Some(ONE)
    );
    let clear = with(Transport::Api, None).await;
    assert!(matches!(
        trust(&clear, Some(ONE)).await,
        Err(TrustRefused::NoTls { .. })
    ));
}

#[tokio::test]
async fn what_auto_found_is_kept_until_nothing_works() {
    let bench = with(Transport::Auto, None).await;
    contact(&bench, "api-ssl", "", true, 10).await;
    contact(&bench, "", ONE, false, 11).await;
    assert_eq!(record(&bench).await.reach.worked, Some(("api-ssl".into(), 10)));
    contact(&bench, "https", "", true, 12).await;
    assert_eq!(record(&bench).await.reach.worked, Some(("https".into(), 12)));
    contact(&bench, "", "", false, 13).await;
    assert_eq!(record(&bench).await.reach.worked, None);
}

#[tokio::test]
async fn another_serial_number_is_kept_beside_the_one_that_is_known() {
    let bench = with(Transport::Api, None).await;
    let id = record(&bench).await.id;
    let say = async |serial: &str, now| {
        let facts = FactsRecord {
            serial: serial.into(),
            ..FactsRecord::default()
        };
        let facts = vec![(id, facts)];
        bench.store.write(StoreFacts { facts, now }).await.expect("write");
        let record = record(&bench).await;
        (record.facts.expect("facts").serial, record.reach.offered_serial)
    };
    assert_eq!(say("A", 1).await, ("A".into(), None));
    assert_eq!(say("", 2).await, ("A".into(), None));
    assert_eq!(say("B", 3).await, ("A".into(), Some(("B".into(), 3))));
    assert_eq!(say("A", 4).await, ("A".into(), None), "the old one is back");
    say("B", 5).await;
    assert_eq!(
        trust(&bench, None).await.expect("accepted").serial.as_deref(),
        Some("B")
    );
    assert_eq!(say("B", 6).await, ("B".into(), None));
}

#[tokio::test]
async fn over_rest_not_done_is_concluded_only_after_the_minute_that_a_router_may_be_at_work() {
    // The command's deadline is 30 s; over REST the router may go on for a minute.
    for (transport, quiet_ms) in [(Transport::Api, 47_000), (Transport::Https, 77_000)] {
        let bench = with(transport, None).await;
        let job = bench.verified_job().await;
        let session = bench.session("i", &[]).await;
        let lease = bench.claim(session, Zones::Rest, 1).await.remove(0);
        bench.grant(&lease).await;
        bench.report(&lease, Outcome::Unknown, &[]).await;
        let mut state = ExecutionState::Pending;
        for now in [quiet_ms - 1, quiet_ms] {
            assert_eq!(state, ExecutionState::Pending, "{transport} before {now}");
            let look = bench
                .claim_at(session, Zones::Rest, 1, quiet_ms * 2)
                .await
                .leases
                .remove(0);
            bench.report_at(&look, Outcome::FoundNotDone, &[], now).await;
            state = bench.states(&job).await[0];
        }
        assert_eq!(state, ExecutionState::Failed, "{transport}");
    }
}
