//! The scoreboard as its users call it, and the two clients of row F1 on a small fleet.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use muster_benches::bare;
use muster_benches::client::Client;
use muster_benches::drive::Driver;
use muster_benches::echo::Echo;
use muster_benches::fill;
use muster_benches::instant::{Goal, Session, Work};
use muster_benches::process::EngineProcess;
use muster_benches::queue::Answers;
use muster_benches::sim::Sim;
use muster_benches::sync::{DELAY, Place};
use muster_benches::system::System;

const SCOREBOARD: &str = env!("CARGO_BIN_EXE_scoreboard");

#[expect(clippy::expect_used, reason = "a test states what it knows")]
fn scoreboard(words: &[&str]) -> Output {
    Command::new(SCOREBOARD).args(words).output().expect("runs")
}

#[test]
fn an_unknown_row_is_refused_with_the_known_ones() {
    let output = scoreboard(&["--json", "F1", "X9"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("\"X9\"") && told.contains("rows: F1, W1"), "{told}");
}

#[test]
fn json_is_one_object_a_row_and_nothing_else() {
    let output = scoreboard(&["--quick", "--json", "--peers", "W6"]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    let rows = text.lines().map(serde_json::from_str::<serde_json::Value>);
    let rows = rows.collect::<Result<Vec<_>, _>>().expect("JSON");
    assert_eq!(rows.len(), 1, "{text}");
    assert_eq!(rows[0]["id"], "W6");
    assert!(
        rows[0]["measured"].as_f64().is_some_and(|ratio| ratio > 0.0),
        "{text}"
    );
}

#[test]
fn without_json_it_is_a_table() {
    let output = scoreboard(&["--quick", "W6"]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.starts_with("row") && text.contains("\nW6"), "{text}");
    assert!(text.contains("\nmachine: "), "{text}");
}

#[test]
fn a_row_whose_peer_is_not_built_says_how_to_get_it() {
    let output = scoreboard(&["--quick", "--json", "W4"]);
    assert!(output.status.success(), "{output:?}");
    let row = serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("one row");
    assert!(row["measured"].is_null(), "{row}");
    let skipped = row["skipped"].as_str().expect("a reason");
    assert!(skipped.contains("--peers"), "{skipped}");
}

#[test]
fn a_large_answer_arrives_whole() {
    let output = scoreboard(&["--quick", "--json", "W5"]);
    assert!(output.status.success(), "{output:?}");
    let row = serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("one row");
    assert!(row["measured"].as_f64().is_some_and(|ratio| ratio > 0.0), "{row}");
}

/// What F1 compares has to be the same work: a difference here would make its number worthless.
#[tokio::test(flavor = "multi_thread")]
async fn muster_and_the_bare_loop_are_told_the_same() {
    const COMMAND: &[&str] = &["/system/resource/print", "=.proplist=version,uptime"];
    let sim = Sim::start(Path::new(SCOREBOARD), 21).expect("a fleet");
    let system = System::start(&sim.devices()).await.expect("a system");
    let (_, ours) = system.run(COMMAND).await.expect("answers");
    system.stop().await;
    let (_, bare) = bare::ask(sim.devices().split_off(1), COMMAND)
        .await
        .expect("answers");
    assert_eq!((ours.devices, ours.rows, ours.attributes), (20, 20, 40));
    assert_eq!(ours, bare);
}

/// What Q2 and Q3 measure, on a small fleet: every change is granted and acknowledged once, with durable writes that
/// take as long as they should.
#[tokio::test]
async fn instant_workers_end_a_job() {
    const DEVICES: u64 = 600;
    let place = Place::delayed().expect("a C compiler");
    let data = place.directory("data").expect("a directory");
    fill::devices(&data, DEVICES).await.expect("an inventory");
    let engine = EngineProcess::start(Path::new(SCOREBOARD), &place, &data).expect("starts");
    assert!(engine.sync >= DELAY, "{:?}", engine.sync);
    let client = Client::new(&engine).await.expect("connects");
    let change = ["/ip/dns/set", "=servers=192.0.2.1"];
    let job = client.create(&change, "").await.expect("a job");
    let mut session = Session::open(&engine, "instant", 100).await.expect("a session");
    session.demand(100).await.expect("credit");
    let work = Work {
        intents: true,
        answers: Answers::Done,
    };
    session
        .work(work, &Goal::new(DEVICES))
        .await
        .expect("all are acknowledged");
    client
        .ensure_done(&job.id, DEVICES)
        .await
        .expect("the job is over");
    let used = engine.used().expect("told by the kernel");
    assert!(used.peak >= used.memory && used.memory > 1 << 20, "{used:?}");
    drop((session, client));
    engine.stop().expect("stops");
    fill::recount(&data, DEVICES).expect("everything is counted");
    assert!(
        fill::recount(&data, DEVICES + 1).is_err(),
        "a recount that finds nothing wrong with anything"
    );
}

/// Both clients of the rows about sessions are answered, and go on after a pause.
#[test]
fn sessions_and_a_bare_client_are_answered_again_and_again() {
    let program = Path::new(SCOREBOARD);
    for client in ["worker", "bare"] {
        let server = Echo::start(program).expect("a server");
        let mut driver = Driver::start(program, client, server.port, 20, 3).expect(client);
        for _ in 0..2 {
            let ran = driver.run(Duration::from_millis(50)).expect(client);
            assert!(ran.rate > 0.0 && ran.cpu > 0.0, "{client}: {ran:?}");
        }
    }
}
