//! Watching over the death of the engine: nothing is told twice, nothing is left out, and no count goes backwards.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use muster_proto::v1;
use muster_proto::v1::job_service_client::JobServiceClient;
use serde_json::Value;

use crate::harness::{Engine, Fleet, until};

const DEVICES: usize = 200;
const IDENTITY: &str = "/system/identity/print";

fn detached(engine: &Engine, more: &[&str]) -> String {
    let run = [&["run", "--all", "--detach", "--json"], more, &["--", IDENTITY]].concat();
    let line = engine.run(&run).exits(7).json().remove(0);
    line["job"].as_str().unwrap().to_owned()
}

/// Kills the engine when the follower has printed `first` lines, starts it again, and checks all that was printed.
fn over_a_kill(engine: &mut Engine, mut follower: Child, first: usize) {
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut told = lines.by_ref().take(first).map(Result::unwrap).collect::<Vec<_>>();
    engine.kill();
    engine.start_again();
    told.extend(lines.map(Result::unwrap));
    let mut said = String::new();
    follower.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(follower.wait().unwrap().code(), Some(0), "{said}");
    let executions = told
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["execution"].to_string())
        .collect::<BTreeSet<_>>();
    assert_eq!(
        (told.len(), executions.len()),
        (DEVICES, DEVICES),
        "each once: {said}"
    );
    for note in ["is gone; waiting for it", "the engine is back", "200 succeeded"] {
        assert_eq!(said.matches(note).count(), 1, "{note}: {said}");
    }
}

fn follower(engine: &Engine, args: &[&str]) -> Child {
    let mut command = engine.command(args);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    child.unwrap()
}

#[test]
fn a_watch_goes_on_where_it_was_after_the_engine_was_killed() {
    let fleet = Fleet::start(63, DEVICES, &["--fault", "late=20"]);
    let mut engine = Engine::start(&[]);
    engine.import(&fleet, DEVICES, "\n");
    let id = detached(&engine, &["--timeout", "30s"]);
    let watch = follower(&engine, &["job", "watch", &id, "--json"]);
    over_a_kill(&mut engine, watch, 30);
}

#[test]
fn a_run_goes_on_where_it_was_after_the_engine_was_killed() {
    let fleet = Fleet::start(64, DEVICES, &["--fault", "late=20"]);
    let mut engine = Engine::start(&[]);
    engine.import(&fleet, DEVICES, "\n");
    let run = follower(
        &engine,
        &["run", "--all", "--timeout", "30s", "--json", "--", IDENTITY],
    );
    over_a_kill(&mut engine, run, 30);
}

/// Executions that are over, by the counts of a job.
fn ended(job: &v1::Job) -> u64 {
    let over = |count: &&v1::StateCount| count.state >= v1::ExecutionState::Succeeded as i32;
    job.counts.iter().filter(over).map(|count| count.count).sum()
}

/// Watches to the end over as many connections as it takes; returns how many messages came after a reconnection.
async fn watch(url: String, id: String, told: &AtomicUsize) -> usize {
    let (mut seq, mut count, mut seen, mut connections, mut later) = (0, 0, BTreeSet::new(), 0, 0);
    loop {
        let request = v1::WatchJobRequest {
            id: id.clone(),
            from_seq: seq,
            results: true,
            ..Default::default()
        };
        let Ok(mut client) = JobServiceClient::connect(url.clone()).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let Ok(stream) = client.watch_job(request).await else {
            continue;
        };
        connections += 1;
        let mut stream = stream.into_inner();
        let mut last = None;
        while let Ok(Some(message)) = stream.message().await {
            later += usize::from(connections > 1);
            assert!(
                message.seq >= seq && !message.resync,
                "{} after {seq}",
                message.seq
            );
            seq = message.seq;
            let job = message.job.unwrap();
            assert!(ended(&job) >= count, "{} after {count}", ended(&job));
            count = ended(&job);
            seen.extend(message.results.into_iter().map(|result| result.device));
            told.store(seen.len(), Ordering::Relaxed);
            last = Some(job);
        }
        if last.is_some_and(|job| job.finished_at.is_some()) && seen.len() == DEVICES {
            return later;
        }
    }
}

#[test]
fn counts_never_go_backwards_and_no_result_is_left_out() {
    let fleet = Fleet::start(65, DEVICES, &["--fault", "late=20"]);
    let mut engine = Engine::start(&[]);
    engine.import(&fleet, DEVICES, "\n");
    let id = detached(&engine, &["--timeout", "40s"]);
    let told = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (url, told) = (engine.url.clone(), &told);
        let watching = scope.spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(watch(url, id, told))
        });
        for results in [20, 100] {
            until("results", || {
                std::thread::yield_now();
                told.load(Ordering::Relaxed) >= results
            });
            engine.kill();
            engine.start_again();
        }
        assert!(watching.join().unwrap() > 0, "it was killed in the middle");
    });
}

#[test]
fn a_watcher_that_knows_more_than_the_engine_is_told_everything_anew() {
    let fleet = Fleet::start(66, 3, &[]);
    let engine = Engine::start(&[]);
    engine.import(&fleet, 3, "\n");
    engine.run(&["run", "--all", "--", IDENTITY]).ok();
    let id = engine.run(&["job", "list", "--json"]).ok().json()[0]["job"]
        .as_str()
        .unwrap()
        .to_owned();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let messages = runtime.block_on(async {
        let mut client = JobServiceClient::connect(engine.url.clone()).await.unwrap();
        let request = v1::WatchJobRequest {
            id,
            from_seq: 1 << 40,
            results: true,
            ..Default::default()
        };
        let mut stream = client.watch_job(request).await.unwrap().into_inner();
        let mut messages = Vec::new();
        while let Some(message) = stream.message().await.unwrap() {
            messages.push(message);
        }
        messages
    });
    let marks = messages.iter().map(|message| message.resync).collect::<Vec<_>>();
    assert!(marks[0] && !marks[1..].contains(&true), "{marks:?}");
    let results = messages.iter().flat_map(|message| &message.results).count();
    assert_eq!(results, 3);
}

#[test]
fn a_run_says_early_that_no_worker_is_there() {
    let fleet = Fleet::start(67, 2, &[]);
    let engine = Engine::start(&["--no-worker"]);
    engine.import(&fleet, 2, "\n");
    let run = ["run", "--all", "--timeout", "4s", "--", IDENTITY];
    let mut run = follower(&engine, &run);
    let first = crate::harness::first_line(run.stderr.take().unwrap());
    assert_eq!(
        first,
        "no worker is connected to the engine; the job waits for one\n"
    );
    assert_eq!(run.try_wait().unwrap(), None, "the job still waits");
    run.wait().unwrap();
}
