//! Commands that tell rows until they are told to stop, and a password that is changed by its user.
#![expect(clippy::expect_used, reason = "helpers of tests state what they know")]

mod client;

use client::{Client, fleet};

#[tokio::test]
async fn a_monitor_ends_by_once_by_its_duration_or_by_cancel() {
    let fleet = fleet(|_| ()).await;
    let mut client = Client::login(&fleet, 0).await;
    let once = ["/interface/monitor-traffic", "=interface=ether1", "=once="];
    let told = client.ask(&once).await;
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].starts_with("!re =name=ether1 =rx-packets-per-second="),
        "{told:?}"
    );
    let bounded = [
        "/interface/monitor-traffic",
        "=interface=ether1",
        "=duration=30ms",
        "=interval=10ms",
        "=.proplist=name,.section",
    ];
    let rows = [0, 1, 2].map(|section| format!("!re =name=ether1 =.section={section}"));
    assert_eq!(
        client.ask(&bounded).await,
        [&rows[..], &["!done".to_owned()]].concat()
    );
    let nobody = ["/interface/monitor-traffic", "=interface=ether99"];
    assert_eq!(
        client.ask(&nobody).await[0],
        "!trap =category=1 =message=input does not match any value of interface"
    );

    client
        .send(&[
            "/interface/monitor-traffic",
            "=interface=ether1",
            "=interval=10ms",
            ".tag=m",
        ])
        .await;
    for _ in 0..3 {
        assert!(client.line().await.starts_with("!re .tag=m =name=ether1"));
    }
    assert_cancelled(&mut client, "m").await;

    let test = [
        "/tool/bandwidth-test",
        "=address=10.0.0.1",
        "=duration=20ms",
        "=interval=10ms",
        "=.proplist=status",
    ];
    let states = ["connecting", "running", "done testing"].map(|state| format!("!re =status={state}"));
    assert_eq!(
        client.ask(&test).await,
        [&states[..], &["!done".to_owned()]].concat()
    );
    fleet.stop().await;
}

/// Cancels a command whose rows may still come before that is heard.
async fn assert_cancelled(client: &mut Client, tag: &str) {
    client.send(&["/cancel", &format!("=tag={tag}"), ".tag=c"]).await;
    let mut line = client.line().await;
    while line.starts_with("!re") {
        line = client.line().await;
    }
    assert_eq!(line, format!("!trap .tag={tag} =category=2 =message=interrupted"));
    assert_eq!(client.line().await, "!done .tag=c");
    assert_eq!(client.line().await, format!("!done .tag={tag}"));
}

#[tokio::test]
async fn a_print_with_an_interval_tells_what_is_so_now() {
    let fleet = fleet(|_| ()).await;
    let (mut watching, mut other) = (Client::login(&fleet, 0).await, Client::login(&fleet, 0).await);
    let print = ["/system/identity/print", "=interval=10ms", ".tag=p"];
    watching.send(&print).await;
    assert_eq!(watching.line().await, "!re .tag=p =name=sim-00001");
    other.ask(&["/system/identity/set", "=name=core"]).await;
    while watching.line().await != "!re .tag=p =name=core" {}
    assert_cancelled(&mut watching, "p").await;
    let refused = ["/interface/print", "=interval=10ms", "=nonsense="];
    let refused = watching.ask(&refused).await;
    assert_eq!(refused, ["!trap =message=unknown parameter nonsense", "!done"]);
    fleet.stop().await;
}

#[tokio::test]
async fn a_user_changes_the_own_password() {
    let fleet = fleet(|_| ()).await;
    let mut client = Client::login(&fleet, 0).await;
    let change = |old: &'static str, confirmed: &'static str| {
        [
            "/password".to_owned(),
            format!("=old-password={old}"),
            "=new-password=N3w".to_owned(),
            format!("=confirm-new-password={confirmed}"),
        ]
    };
    for (old, confirmed, told) in [
        (
            "guess",
            "N3w",
            "!trap =category=4 =message=failure: incorrect old password",
        ),
        (
            "secret",
            "N3W",
            "!trap =category=4 =message=failure: passwords do not match",
        ),
        ("secret", "N3w", "!done"),
    ] {
        let words = change(old, confirmed);
        let words = words.each_ref().map(String::as_str);
        assert_eq!(client.ask(&words).await[0], told);
    }
    let mut again = Client::connect(&fleet, 0).await;
    let old = again.ask(&["/login", "=name=admin", "=password=secret"]).await;
    assert!(old[0].starts_with("!trap"), "{old:?}");
    assert_eq!(
        again.ask(&["/login", "=name=admin", "=password=N3w"]).await,
        ["!done"]
    );
    fleet.stop().await;
}

#[tokio::test]
async fn bounds_beyond_all_time_end_nothing_but_their_command() {
    let fleet = fleet(|_| ()).await;
    let mut client = Client::login(&fleet, 0).await;
    let ages = "=interval=30000000000000w";
    for command in [
        &["/ping", "=address=10.0.0.1", "=count=9", ages, ".tag=m"][..],
        &["/interface/print", ages, ".tag=m"],
        &["/interface/monitor-traffic", "=interface=ether1", ages, ".tag=m"],
        &[
            "/tool/bandwidth-test",
            "=address=10.0.0.1",
            "=interval=1ms",
            "=duration=2000000000000w",
            ".tag=m",
        ],
    ] {
        client.send(command).await;
        assert_cancelled(&mut client, "m").await;
    }
    assert!(client.ask(&["/system/identity/print"]).await[0].starts_with("!re"));
}
