//! The control API, the journal and the counters.
#![expect(clippy::expect_used, reason = "helpers of tests state what they know")]

mod client;

use std::net::SocketAddr;

use client::{Client, fleet, until};
use muster_sim::{CommandResult, Fault, Fleet, FleetConfig, JournalEntry, unescape};
use routeros_wire::encode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn controlled(devices: usize) -> Fleet {
    fleet(|c| {
        c.devices = devices;
        c.control = Some("127.0.0.1:0".parse().expect("an address"));
    })
    .await
}

/// One request over HTTP/1.1: the status and the body, null when there is none.
async fn http(fleet: &Fleet, method: &str, path: &str, body: &str) -> (u16, Value) {
    let address: SocketAddr = fleet.control().expect("a control address");
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: sim\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = serde_json::from_str(body).unwrap_or(Value::Null);
    (status.expect("a status"), body)
}

#[tokio::test]
async fn the_journal_tells_what_was_executed() {
    let fleet = controlled(3).await;
    let mut first = Client::login(&fleet, 0).await;
    let mut third = Client::login(&fleet, 2).await;
    first
        .ask(&["/system/identity/set", "=name=renamed", ".tag=5"])
        .await;
    first.ask(&["/system/identity/print"]).await;
    let mut bytes = Vec::new();
    encode::sentence(
        &mut bytes,
        [&b"/interface/set"[..], b"=.id=ether1", b"=comment=\xE9\\x"],
    )
    .expect("valid");
    third.send_bytes(&bytes).await;
    assert_eq!(third.line().await, "!done");
    third.ask(&["/ip/address/remove", "=.id=*99"]).await;

    let journal = fleet.journal();
    assert_eq!(
        journal.iter().map(|entry| entry.seq).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    let expected = JournalEntry {
        seq: 1,
        at_ms: journal[0].at_ms,
        device: 0,
        address: fleet.address(0),
        identity: "sim-00001".to_owned(),
        words: vec!["/system/identity/set".to_owned(), "=name=renamed".to_owned()],
        result: CommandResult::Done,
        message: None,
    };
    assert_eq!(journal[0], expected);
    assert_eq!(unescape(&journal[1].words[2]), b"=comment=\xE9\\x");
    assert_eq!(journal[2].result, CommandResult::Trap);
    assert_eq!(journal[2].message.as_deref(), Some("no such item (4)"));

    let (status, all) = http(&fleet, "GET", "/journal", "").await;
    assert_eq!(status, 200);
    assert_eq!(
        serde_json::from_value::<Vec<JournalEntry>>(all).expect("entries"),
        journal
    );
    let seqs = |value: Value| -> Vec<u64> {
        let entries = value.as_array().expect("a list").clone();
        entries
            .iter()
            .map(|entry| entry["seq"].as_u64().expect("a number"))
            .collect()
    };
    assert_eq!(seqs(http(&fleet, "GET", "/journal?device=2", "").await.1), [2, 3]);
    assert_eq!(seqs(http(&fleet, "GET", "/journal?since=1", "").await.1), [2, 3]);
    assert_eq!(
        seqs(http(&fleet, "GET", "/journal?device=2&since=2", "").await.1),
        [3]
    );
    assert_eq!(http(&fleet, "GET", "/journal?device=two", "").await.0, 400);

    assert_eq!(http(&fleet, "DELETE", "/journal", "").await.0, 204);
    assert_eq!(fleet.journal(), []);
    first.ask(&["/system/identity/set", "=name=again"]).await;
    assert_eq!(
        (fleet.journal()[0].seq, fleet.journal()[0].identity.as_str()),
        (4, "renamed")
    );
    fleet.stop().await;
}

#[tokio::test]
async fn counters_count() {
    let fleet = controlled(2).await;
    let mut first = Client::login(&fleet, 0).await;
    let second = Client::login(&fleet, 1).await;
    first.ask(&["/system/identity/set", "=name=a"]).await;
    first.ask(&["/interface/print"]).await;
    first.ask(&["/interface/getall"]).await;
    first.ask(&["/what/is/this"]).await;
    drop(second);
    until(|| fleet.counters().open == 1).await;
    let counters = fleet.counters();
    assert_eq!((counters.connections_accepted, counters.peak_open), (2, 2));
    assert_eq!(
        (counters.logins, counters.sentences, counters.mutating_commands),
        (2, 6, 1)
    );
    let commands = [
        ("/interface/getall", 1),
        ("/interface/print", 1),
        ("/login", 2),
        ("/system/identity/set", 1),
        ("unknown", 1),
    ];
    assert_eq!(
        counters.commands,
        commands.map(|(path, count)| (path.to_owned(), count)).into()
    );
    let login = "\x06/login\x0b=name=admin\x10=password=secret\0".len() as u64;
    assert!(
        counters.bytes_in > 2 * login && counters.bytes_out > 500,
        "{counters:?}"
    );
    let (status, json) = http(&fleet, "GET", "/counters", "").await;
    assert_eq!(status, 200);
    assert_eq!(
        serde_json::from_value::<muster_sim::Counters>(json).expect("counters"),
        counters
    );
    fleet.stop().await;
}

#[tokio::test]
async fn faults_are_shown_and_set() {
    let fleet = fleet(|c| {
        c.devices = 4;
        c.control = Some("127.0.0.1:0".parse().expect("an address"));
        c.faults = vec![(Fault::Hang, 2), (Fault::LostAnswer, 1)];
    })
    .await;
    let (_, devices) = http(&fleet, "GET", "/devices", "").await;
    let devices = devices.as_array().expect("a list").clone();
    let faults: Vec<_> = devices
        .iter()
        .filter_map(|device| device["fault"].as_str())
        .collect();
    assert_eq!(faults.iter().filter(|&&fault| fault == "hang").count(), 2);
    assert_eq!(faults.len(), 3);
    for (index, device) in devices.iter().enumerate() {
        let fault = fleet.fault(index).map(|fault| fault.to_string());
        let address = fleet.address(index).to_string();
        let identity = fleet.identity(index);
        let expected = json!({"index": index, "address": address, "identity": identity, "version": "7.18.2", "fault": fault});
        assert_eq!(*device, expected);
    }

    let (status, device) = http(&fleet, "POST", "/devices/1/fault", r#"{"fault": "late"}"#).await;
    assert_eq!((status, &device["fault"]), (200, &json!("late")));
    assert_eq!(fleet.fault(1), Some(Fault::Late));
    let (status, _) = http(&fleet, "POST", "/devices/1/fault", r#"{"fault": null}"#).await;
    assert_eq!((status, fleet.fault(1)), (200, None));
    let (status, error) = http(&fleet, "POST", "/devices/1/fault", r#"{"fault": "explode"}"#).await;
    assert_eq!(status, 400);
    assert!(
        error["error"]
            .as_str()
            .is_some_and(|text| text.contains("wrong-password")),
        "{error}"
    );
    assert_eq!(
        http(&fleet, "POST", "/devices/4/fault", r#"{"fault": "late"}"#)
            .await
            .0,
        404
    );
    assert_eq!(http(&fleet, "POST", "/devices/1/fault", "late").await.0, 400);
    assert_eq!(http(&fleet, "POST", "/devices/1/fault", "{}").await.0, 422);
    assert_eq!(fleet.fault(1), None);
    fleet.stop().await;
}

#[tokio::test]
async fn the_control_api_is_for_this_machine() {
    let config = FleetConfig {
        port: 0,
        control: Some("0.0.0.0:0".parse().expect("an address")),
        ..FleetConfig::default()
    };
    let error = Fleet::start(config).await.expect_err("refused");
    assert!(error.to_string().contains("not a loopback address"), "{error}");
}
