//! Login, tags, listen, cancel and the end of a connection, over a socket.
#![expect(clippy::expect_used, reason = "helpers of tests state what they know")]

mod client;

use client::{Client, Read, fleet, response, until};
use routeros_wire::encode;

#[tokio::test]
async fn the_address_says_which_device() {
    let fleet = fleet(|c| {
        c.devices = 300;
        c.versions = vec!["7.16.2".to_owned(), "7.12.1".to_owned()];
    })
    .await;
    for (device, name, version) in [
        (0, "sim-00001", "7.16.2"),
        (255, "sim-00256", "7.12.1"),
        (298, "sim-00299", "7.16.2"),
    ] {
        let mut client = Client::login(&fleet, device).await;
        let identity = client.ask(&["/system/identity/print"]).await;
        assert_eq!(identity, [format!("!re =name={name}"), "!done".to_owned()]);
        assert_eq!(fleet.identity(device), name);
        let resource = client
            .ask(&["/system/resource/print", "=.proplist=version"])
            .await;
        assert_eq!(resource[0], format!("!re =version={version} (stable)"));
    }
    let mut nobody = Client::connect(&fleet, 300).await;
    assert_eq!(nobody.read().await, Read::Reset(0));
    assert_eq!(fleet.counters().connections_refused, 1);
    fleet.stop().await;
}

#[tokio::test]
async fn new_devices_take_name_and_password() {
    let fleet = fleet(|_| ()).await;
    let mut client = Client::connect(&fleet, 0).await;
    let refused = [
        "!trap .tag=1 =message=invalid user name or password (6)",
        "!done .tag=1",
    ];
    assert_eq!(
        client
            .ask(&["/login", "=name=admin", "=password=guess", ".tag=1"])
            .await,
        refused
    );
    assert_eq!(client.ask(&["/login", ".tag=1"]).await, refused);
    let print = client.ask(&["/interface/print"]).await;
    assert_eq!(print, ["!trap =message=not logged in", "!done"]);
    let login = ["/login", "=name=admin", "=password=secret", ".tag=2"];
    assert_eq!(client.ask(&login).await, ["!done .tag=2"]);
    assert_eq!(
        client.ask(&["/system/identity/print"]).await[0],
        "!re =name=sim-00001"
    );
    let counters = fleet.counters();
    assert_eq!((counters.logins, counters.failed_logins), (1, 2));
    fleet.stop().await;
}

#[tokio::test]
async fn old_devices_want_their_challenge_answered() {
    let fleet = fleet(|c| c.versions = vec!["6.40".to_owned()]).await;
    let mut client = Client::connect(&fleet, 0).await;
    // The password that comes along is passed over.
    let mut challenges = Vec::new();
    for _ in 0..2 {
        let done = client
            .ask(&["/login", "=name=admin", "=password=secret"])
            .await
            .concat();
        let challenge = done.strip_prefix("!done =ret=").expect("a challenge").to_owned();
        assert_eq!(challenge.len(), 32);
        challenges.push(challenge);
    }
    assert_ne!(challenges[0], challenges[1]);
    let refused = ["!trap =message=cannot log in", "!done"];
    let login = |response: String| async move { ["/login".to_owned(), "=name=admin".to_owned(), response] };
    let old = login(response("secret", &challenges[0])).await;
    assert_eq!(client.ask(&old.each_ref().map(String::as_str)).await, refused);

    let done = client.ask(&["/login"]).await.concat();
    let challenge = done.strip_prefix("!done =ret=").expect("a challenge");
    let right = login(response("secret", challenge)).await;
    assert_eq!(client.ask(&right.each_ref().map(String::as_str)).await, ["!done"]);
    let packages = client
        .ask(&["/system/package/print", "?name=system", "=.proplist=disabled"])
        .await;
    assert_eq!(packages[0], "!re =disabled=no");
    fleet.stop().await;
}

#[tokio::test]
async fn versions_6_43_and_44_do_either() {
    let fleet = fleet(|c| c.versions = vec!["6.43".to_owned()]).await;
    let mut client = Client::connect(&fleet, 0).await;
    let done = client.ask(&["/login"]).await.concat();
    let answer = response("secret", done.strip_prefix("!done =ret=").expect("a challenge"));
    assert_eq!(client.ask(&["/login", "=name=admin", &answer]).await, ["!done"]);
    Client::login(&fleet, 0).await;
    fleet.stop().await;
}

#[tokio::test]
async fn the_fifth_refusal_is_the_last() {
    let fleet = fleet(|_| ()).await;
    let mut client = Client::connect(&fleet, 0).await;
    for _ in 0..4 {
        let replies = client.ask(&["/login", "=name=admin", "=password="]).await;
        assert_eq!(replies.len(), 2);
    }
    let last = client
        .ask(&["/login", "=name=admin", "=password=secret1", ".tag=5"])
        .await;
    assert_eq!(last, ["!fatal too many commands before login"]);
    assert_eq!(client.read().await, Read::End(0));
    assert_eq!(fleet.counters().failed_logins, 5);
    fleet.stop().await;
}

#[tokio::test]
async fn quit_ends_the_connection() {
    let fleet = fleet(|_| ()).await;
    let mut client = Client::login(&fleet, 0).await;
    assert_eq!(
        client.ask(&["/quit", ".tag=1"]).await,
        ["!fatal session terminated on request"]
    );
    assert_eq!(client.read().await, Read::End(0));
    fleet.stop().await;
}

#[tokio::test]
async fn wrong_paths_and_verbs() {
    let fleet = fleet(|_| ()).await;
    let mut client = Client::login(&fleet, 0).await;
    let replies = client.ask(&["/ip/nonsense/print", ".tag=x"]).await;
    let expected = [
        "!trap .tag=x =category=0 =message=no such command or directory (nonsense)",
        "!trap .tag=x =message=no such command prefix",
        "!done .tag=x",
    ];
    assert_eq!(replies, expected);
    let replies = client.ask(&["/interface/frobnicate"]).await;
    assert_eq!(replies, ["!trap =category=0 =message=no such command", "!done"]);
    fleet.stop().await;
}

#[tokio::test]
async fn tags_are_bytes_and_batches_are_answered_in_order() {
    let fleet = fleet(|_| ()).await;
    let mut client = Client::login(&fleet, 0).await;
    let mut bytes = vec![0, 0];
    for tag in [&b".tag=\xFF\x00"[..], b".tag=a=b", b".tag="] {
        encode::sentence(
            &mut bytes,
            [tag, b"=.proplist="][..0]
                .iter()
                .chain(&[&b"/system/identity/print"[..], tag]),
        )
        .expect("no empty words");
        bytes.push(0);
    }
    // Cut where it hurts: inside a length and inside a word.
    for piece in bytes.chunks(7) {
        client.send_bytes(piece).await;
    }
    for tag in ["\\xff\\x00", "a=b", ""] {
        assert_eq!(client.line().await, format!("!re .tag={tag} =name=sim-00001"));
        assert_eq!(client.line().await, format!("!done .tag={tag}"));
    }
    assert_eq!(fleet.counters().sentences, 4, "empty sentences do not count");
    fleet.stop().await;
}

#[tokio::test]
async fn bytes_that_are_no_sentence_end_the_connection() {
    let fleet = fleet(|_| ()).await;
    for bytes in [
        &[0xFF][..],
        &[0xF0, 0xFF, 0xFF, 0xFF, 0xFF],
        &[0x03, b'a', b'b', b'c', 0xF1],
    ] {
        let mut client = Client::login(&fleet, 0).await;
        client.send_bytes(bytes).await;
        assert_eq!(client.read().await, Read::End(0));
    }
    fleet.stop().await;
}

/// The order of the vendor's page: the set is done, then the listener hears of it.
#[tokio::test]
async fn a_listen_goes_on_beside_other_commands_until_it_is_cancelled() {
    let fleet = fleet(|_| ()).await;
    let mut client = Client::login(&fleet, 0).await;
    let mut other = Client::login(&fleet, 0).await;
    client
        .send(&["/interface/listen", ".tag=2", "=.proplist=name,disabled"])
        .await;
    assert_eq!(
        client.ask(&["/interface/disable", "=.id=ether2", ".tag=3"]).await,
        ["!done .tag=3"]
    );
    assert_eq!(client.line().await, "!re .tag=2 =name=ether2 =disabled=true");

    assert_eq!(other.ask(&["/interface/enable", "=.id=ether2"]).await, ["!done"]);
    assert_eq!(client.line().await, "!re .tag=2 =name=ether2 =disabled=false");

    // What happened before the cancel is heard before its answer.
    assert_eq!(other.ask(&["/interface/disable", "=.id=ether2"]).await, ["!done"]);
    client.send(&["/cancel", "=tag=2", ".tag=7"]).await;
    let expected = [
        "!re .tag=2 =name=ether2 =disabled=true",
        "!trap .tag=2 =category=2 =message=interrupted",
        "!done .tag=7",
        "!done .tag=2",
    ];
    for line in expected {
        assert_eq!(client.line().await, line);
    }
    assert_eq!(other.ask(&["/interface/enable", "=.id=ether2"]).await, ["!done"]);
    assert_eq!(
        client.ask(&["/cancel", "=tag=2"]).await,
        ["!done"],
        "there is nothing left to cancel"
    );
    fleet.stop().await;
}

#[tokio::test]
async fn a_cancel_without_a_tag_ends_everything_on_its_connection() {
    let fleet = fleet(|_| ()).await;
    let mut client = Client::login(&fleet, 0).await;
    let mut other = Client::login(&fleet, 0).await;
    client.send(&["/interface/listen", ".tag=a"]).await;
    client.send(&["/ip/address/listen"]).await;
    other.send(&["/system/identity/listen", ".tag=o"]).await;
    until(|| fleet.counters().commands.get("/system/identity/listen") == Some(&1)).await;
    client.send(&["/cancel", ".tag=c"]).await;
    let expected = [
        "!trap .tag=a =category=2 =message=interrupted",
        "!trap =category=2 =message=interrupted",
        "!done .tag=c",
        "!done .tag=a",
        "!done",
    ];
    for line in expected {
        assert_eq!(client.line().await, line);
    }
    assert_eq!(
        client.ask(&["/system/identity/set", "=name=renamed"]).await,
        ["!done"]
    );
    assert_eq!(other.line().await, "!re .tag=o =name=renamed");
    assert_eq!(fleet.identity(0), "renamed");
    fleet.stop().await;
}

#[tokio::test]
async fn a_restart_ends_every_connection_of_the_device() {
    let fleet = fleet(|c| c.devices = 2).await;
    let mut client = Client::login(&fleet, 0).await;
    let mut other = Client::login(&fleet, 0).await;
    let mut neighbour = Client::login(&fleet, 1).await;
    assert_eq!(client.ask(&["/system/reboot"]).await, ["!done"]);
    assert_eq!(client.read().await, Read::End(0));
    assert_eq!(other.read().await, Read::End(0));
    assert_eq!(
        neighbour.ask(&["/system/identity/print"]).await[0],
        "!re =name=sim-00002"
    );
    let mut again = Client::login(&fleet, 0).await;
    let uptime = again.ask(&["/system/resource/print", "=.proplist=uptime"]).await;
    assert!(
        uptime[0].starts_with("!re =uptime=") && uptime[0].ends_with('s') && uptime[0].len() < 16,
        "{uptime:?}"
    );
    fleet.stop().await;
}

#[tokio::test]
async fn fragments_add_up() {
    let whole = fleet(|_| ()).await;
    let expected = Client::login(&whole, 0)
        .await
        .ask(&["/ip/firewall/filter/print"])
        .await;
    whole.stop().await;
    let fleet = fleet(|c| c.fragment = true).await;
    let mut client = Client::login(&fleet, 0).await;
    assert_eq!(client.ask(&["/ip/firewall/filter/print"]).await, expected);
    assert!(client.reads.iter().any(|&read| read <= 48), "{:?}", client.reads);
    fleet.stop().await;
}

#[tokio::test]
async fn stopping_frees_the_port_and_ends_connections() {
    let first = fleet(|_| ()).await;
    let port = first.port();
    let mut client = Client::login(&first, 0).await;
    first.stop().await;
    assert!(matches!(client.read().await, Read::End(0) | Read::Reset(0)));
    let second = fleet(|c| c.port = port).await;
    let error = muster_sim::Fleet::start(muster_sim::FleetConfig {
        port,
        ..Default::default()
    })
    .await
    .expect_err("the port is taken");
    assert!(
        error.to_string().contains(&format!("listen on 0.0.0.0:{port}")),
        "{error}"
    );
    second.stop().await;
}
