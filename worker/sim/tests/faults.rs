//! What each fault looks like from the other end of the wire.
#![expect(clippy::expect_used, reason = "helpers of tests state what they know")]

mod client;

use std::time::{Duration, Instant};

use client::{Client, Read, fleet, until};
use muster_sim::{Fault, Fleet};

async fn faulty(fault: Fault) -> Fleet {
    fleet(|c| {
        c.faults = vec![(fault, 1)];
        c.late = Duration::from_millis(60);
    })
    .await
}

const SET: [&str; 3] = ["/system/identity/set", "=name=changed", ".tag=9"];
const PRINT: [&str; 2] = ["/system/identity/print", ".tag=9"];

#[tokio::test]
async fn drop_resets_at_once() {
    let fleet = faulty(Fault::Drop).await;
    assert_eq!(Client::connect(&fleet, 0).await.read().await, Read::Reset(0));
    until(|| fleet.counters().open == 0).await;
    assert_eq!(fleet.counters().connections_accepted, 1);
    fleet.stop().await;
}

#[tokio::test]
async fn silent_never_answers() {
    let fleet = faulty(Fault::Silent).await;
    let mut client = Client::connect(&fleet, 0).await;
    client
        .send(&["/login", "=name=admin", "=password=secret", ".tag=lost"])
        .await;
    until(|| fleet.counters().sentences == 1).await;
    fleet.set_fault(0, None);
    let login = client
        .ask(&["/login", "=name=admin", "=password=secret", ".tag=heard"])
        .await;
    assert_eq!(login, ["!done .tag=heard"]);
    fleet.stop().await;
}

#[tokio::test]
async fn hang_logs_in_and_no_more() {
    let fleet = faulty(Fault::Hang).await;
    let mut client = Client::login(&fleet, 0).await;
    for words in [&SET[..], &PRINT, &["/cancel"], &["/quit"]] {
        client.send(words).await;
    }
    until(|| fleet.counters().sentences == 5).await;
    fleet.set_fault(0, None);
    assert_eq!(
        client.ask(&["/system/identity/print"]).await[0],
        "!re =name=sim-00001"
    );
    assert_eq!(fleet.journal(), []);
    fleet.stop().await;
}

#[tokio::test]
async fn reset_cuts_inside_a_sentence() {
    let fleet = faulty(Fault::Reset).await;
    for words in [
        &SET[..],
        &PRINT,
        &["/interface/print", "=.proplist=type"],
        &["/ip/address/print"],
    ] {
        let mut client = Client::login(&fleet, 0).await;
        client.send(words).await;
        let partial = loop {
            match client.read().await {
                Read::Line(line) => assert!(line.starts_with("!re"), "{line}"),
                Read::Reset(partial) => break partial,
                other => panic!("{other:?}"),
            }
        };
        assert!(partial > 0, "{words:?}");
    }
    assert_eq!(fleet.journal().len(), 1, "the command was executed");
    fleet.stop().await;
}

#[tokio::test]
async fn garbage_holds_a_control_byte() {
    let fleet = faulty(Fault::Garbage).await;
    let mut client = Client::login(&fleet, 0).await;
    client.send(&SET).await;
    match client.read().await {
        Read::Garbled(error) => assert_eq!(error.kind.class(), "control-byte"),
        other => panic!("{other:?}"),
    }
    assert_eq!(fleet.journal(), []);
    fleet.stop().await;
}

#[tokio::test]
async fn huge_word_announces_4_gib() {
    let fleet = faulty(Fault::HugeWord).await;
    let mut client = Client::login(&fleet, 0).await;
    client.send(&PRINT).await;
    match client.read().await {
        Read::Garbled(error) => {
            assert_eq!(
                error.to_string(),
                "word of 4294967295 bytes is over the limit of 16777216 at byte 0 of the stream"
            );
        }
        other => panic!("{other:?}"),
    }
    fleet.stop().await;
}

#[tokio::test]
async fn two_traps_answer_every_command() {
    let fleet = faulty(Fault::TwoTraps).await;
    let mut client = Client::login(&fleet, 0).await;
    for words in [&SET[..], &PRINT] {
        let expected = [
            "!trap .tag=9 =category=0 =message=no such command or directory (system)",
            "!trap .tag=9 =message=no such command prefix",
            "!done .tag=9",
        ];
        assert_eq!(client.ask(words).await, expected);
    }
    assert_eq!(fleet.journal(), []);
    fleet.stop().await;
}

#[tokio::test]
async fn fatal_is_a_bare_word_and_the_end() {
    let fleet = faulty(Fault::Fatal).await;
    let mut client = Client::login(&fleet, 0).await;
    assert_eq!(client.ask(&SET).await, ["!fatal session closed"]);
    assert_eq!(client.read().await, Read::End(0));
    assert_eq!(fleet.journal(), []);
    fleet.stop().await;
}

#[tokio::test]
async fn wrong_password_refuses_every_login() {
    for (version, message) in [
        ("7.16.2", "invalid user name or password (6)"),
        ("6.40", "cannot log in"),
    ] {
        let fleet = fleet(|c| {
            c.faults = vec![(Fault::WrongPassword, 1)];
            c.versions = vec![version.to_owned()];
        })
        .await;
        let mut client = Client::connect(&fleet, 0).await;
        let mut login = vec![
            "/login".to_owned(),
            "=name=admin".to_owned(),
            "=password=secret".to_owned(),
        ];
        if version == "6.40" {
            let done = client.ask(&["/login"]).await.concat();
            login.push(client::response(
                "secret",
                done.strip_prefix("!done =ret=").expect("a challenge"),
            ));
        }
        let login: Vec<&str> = login.iter().map(String::as_str).collect();
        assert_eq!(
            client.ask(&login).await,
            [format!("!trap =message={message}"), "!done".to_owned()]
        );
        fleet.stop().await;
    }
}

#[tokio::test]
async fn lost_answer_executes_and_lost_command_does_not() {
    for (fault, executed) in [(Fault::LostAnswer, 1), (Fault::LostCommand, 0)] {
        let fleet = faulty(fault).await;
        let mut client = Client::login(&fleet, 0).await;
        client.send(&SET).await;
        assert_eq!(client.read().await, Read::Reset(0), "{fault}");
        assert_eq!(fleet.journal().len(), executed, "{fault}");
        assert_eq!(fleet.identity(0) == "changed", executed == 1, "{fault}");
        fleet.stop().await;
    }
}

#[tokio::test]
async fn not_reading_takes_what_came_when_the_fault_is_taken_away() {
    let fleet = faulty(Fault::NotReading).await;
    let mut client = Client::login(&fleet, 0).await;
    client.send(&SET).await;
    let mut gone = Client::login(&fleet, 0).await;
    // More than a receive buffer holds: it does not come whole before its sender leaves.
    gone.send_in_part(&[
        "/system/identity/set",
        &format!("=name={}", "x".repeat(1_000_000)),
    ])
    .await;
    gone.reset();
    assert_eq!(fleet.counters().sentences, 2, "the logins");
    fleet.set_fault(0, None);
    assert_eq!(client.line().await, "!done .tag=9");
    assert_eq!(client.ask(&PRINT).await[0], "!re .tag=9 =name=changed");
    until(|| fleet.counters().open == 1).await;
    assert_eq!(fleet.journal().len(), 1, "half a command is none");
    fleet.stop().await;
}

#[tokio::test]
async fn late_answers_after_its_delay_and_may_be_cancelled() {
    let fleet = faulty(Fault::Late).await;
    let mut client = Client::login(&fleet, 0).await;
    let sent = Instant::now();
    client.send(&SET).await;
    until(|| fleet.journal().len() == 1).await;
    assert_eq!(client.line().await, "!done .tag=9");
    assert!(
        sent.elapsed() >= Duration::from_millis(60),
        "{:?}",
        sent.elapsed()
    );

    client.send(&PRINT).await;
    until(|| fleet.counters().commands.contains_key("/system/identity/print")).await;
    fleet.set_fault(0, None);
    client.send(&["/cancel", "=tag=9"]).await;
    for line in [
        "!trap .tag=9 =category=2 =message=interrupted",
        "!done",
        "!done .tag=9",
    ] {
        assert_eq!(client.line().await, line);
    }
    fleet.stop().await;
}

#[tokio::test]
async fn endless_prints_until_it_is_cancelled() {
    let fleet = faulty(Fault::Endless).await;
    let mut client = Client::login(&fleet, 0).await;
    client.send(&PRINT).await;
    for _ in 0..3_000 {
        assert_eq!(client.line().await, "!re .tag=9 =name=sim-00001");
    }
    client.send(&["/cancel", "=tag=9", ".tag=c"]).await;
    let after = loop {
        let line = client.line().await;
        if !line.starts_with("!re") {
            break line;
        }
    };
    assert_eq!(after, "!trap .tag=9 =category=2 =message=interrupted");
    assert_eq!(client.line().await, "!done .tag=c");
    assert_eq!(client.line().await, "!done .tag=9");
    assert_eq!(client.ask(&SET).await, ["!done .tag=9"], "other commands end");
    fleet.stop().await;
}

#[tokio::test]
async fn byte_by_byte_is_right_and_slow() {
    let fleet = faulty(Fault::ByteByByte).await;
    let mut client = Client::login(&fleet, 0).await;
    client.reads.clear();
    assert_eq!(
        client.ask(&PRINT).await,
        ["!re .tag=9 =name=sim-00001", "!done .tag=9"]
    );
    assert!(client.reads.len() > 1, "{:?}", client.reads);
    fleet.stop().await;
}

#[tokio::test]
async fn faults_can_be_set_on_live_connections() {
    let fleet = fleet(|c| c.devices = 2).await;
    let mut client = Client::login(&fleet, 1).await;
    assert_eq!(
        (fleet.fault(0), fleet.fault(1), fleet.fault(2)),
        (None, None, None)
    );
    for fault in Fault::ALL {
        fleet.set_fault(1, Some(fault));
        assert_eq!((fleet.fault(0), fleet.fault(1)), (None, Some(fault)));
    }
    fleet.set_fault(1, Some(Fault::Drop));
    client.send(&PRINT).await;
    assert_eq!(client.read().await, Read::Reset(0));
    fleet.stop().await;
}
