//! Sessions under limits: what is told live, rates and caps as the simulated routers count them, and a worker that runs
//! out of descriptors.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Instant;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::Value;

use crate::harness::worker::Worker;
use crate::harness::{Engine, Fleet, until};

/// A `listen` tells rows as they come, does not keep a change waiting, and ends well when it told enough.
#[test]
fn rows_are_told_as_they_come_until_there_are_enough() {
    let fleet = Fleet::start(105, 1, &[]);
    let engine = Engine::start(&[]);
    engine.import(&fleet, 1, "\n");
    let words = [
        "run",
        "--json",
        "--select",
        "name=r0",
        "--rows",
        "2",
        "--for",
        "60s",
        "--",
        "/interface/listen",
    ];
    let mut listening = engine
        .command(&words)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the client runs");
    let mut lines = BufReader::new(listening.stdout.take().expect("piped")).lines();
    let listens = || fleet.get("/counters")["commands"]["/interface/listen"].as_u64();
    until("the router listens", || listens() == Some(1));
    let mut row = |comment: &str| -> Value {
        let word = format!("comment={comment}");
        let set = ["run", "-y", "--all", "--", "/interface/set", ".id=*1", &word];
        engine.run(&set).ok();
        let line = lines.next().expect("a row").expect("UTF-8");
        serde_json::from_str(&line).expect("JSON")
    };
    let first = row("one");
    assert_eq!(
        (&first["device"], &first["row"]["comment"]),
        (&"r0".into(), &"one".into())
    );
    assert_eq!(row("two")["row"]["comment"], "two");
    let last = lines.next().expect("a result").expect("UTF-8");
    let result: Value = serde_json::from_str(&last).expect("JSON");
    assert_eq!(result["state"], "succeeded");
    assert_eq!(result["rows"].as_array().map(Vec::len), Some(2));
    assert!(listening.wait().expect("ended").success());
    let cancels = || fleet.get("/counters")["commands"]["/cancel"].as_u64();
    assert_eq!(cancels(), Some(1), "ended by /cancel");
}

/// Ctrl-C ends what is followed, on the router too, and is not told as a job that goes on.
#[test]
fn ctrl_c_ends_what_is_followed() {
    let fleet = Fleet::start(115, 1, &[]);
    let engine = Engine::start(&[]);
    engine.import(&fleet, 1, "\n");
    let words = [
        "run",
        "--json",
        "--all",
        "--for",
        "600s",
        "--",
        "/ping",
        "address=10.0.0.1",
    ];
    let mut following = engine
        .command(&words)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the client runs");
    let mut lines = BufReader::new(following.stdout.take().expect("piped")).lines();
    lines.next().expect("a row").expect("UTF-8");
    kill_process(Pid::from_child(&following), Signal::INT).expect("it runs");
    let output = following.wait_with_output().expect("ended");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("ended; see muster job results"), "{said}");
    assert!(!said.contains("goes on"), "{said}");
    assert_eq!(output.status.code(), Some(7), "{said}");
    let cancels = || fleet.get("/counters")["commands"]["/cancel"].as_u64();
    until("the router is told", || cancels() == Some(1));
}

/// More commands than a router should get wait for its rate, as the router itself counts them; `job explain` names the
/// limit, and raising it lets them go.
#[test]
fn a_router_gets_no_more_commands_than_its_rate() {
    const JOBS: usize = 12;
    const BURST: u64 = 3;
    let fleet = Fleet::start(106, 1, &[]);
    let engine = Engine::start(&[]);
    engine.import(&fleet, 1, "\n");
    // The facts of the first contact are commands too.
    engine.run(&["run", "--all", "--", "/system/identity/print"]).ok();
    let asked = || {
        let counters = fleet.get("/counters");
        let commands = counters["commands"].as_object().expect("by path").iter();
        let ours = commands.filter(|(path, _)| *path != "/login");
        ours.map(|(_, count)| count.as_u64().expect("a number"))
            .sum::<u64>()
    };
    until("facts are asked", || asked() >= 3);
    let limits = [
        "admin",
        "limits",
        "device.commands=1",
        "device.burst=3",
        "--reason",
        "a test",
    ];
    engine.run(&limits).ok();
    let (began, before) = (Instant::now(), asked());
    let jobs = (0..JOBS).map(|_| engine.begin_read("120s")).collect::<Vec<_>>();
    let last = jobs.last().expect("several");
    let explained = || {
        engine
            .run(&["job", "explain", last, "--device", "r0"])
            .ok()
            .stdout()
    };
    until("the limit is named", || {
        let allowed = BURST + began.elapsed().as_secs() + 1;
        let asked = asked() - before;
        assert!(asked <= allowed, "{asked} commands, and {allowed} are allowed");
        explained().contains("device.commands")
    });
    engine.run(&["admin", "limits", "device.commands=1000"]).ok();
    let done =
        |job: &String| engine.run(&["job", "show", job, "--json"]).ok().json()[0]["state"] == "completed";
    until("all are done", || jobs.iter().all(done));
    let history = engine.run(&["history", "limits", "--json"]).ok().json();
    assert_eq!(history.len(), 2);
    assert_eq!(history[0]["reason"], "a test");
}

/// Who had no turn to connect is told by which limit, and not that the router does not answer.
#[test]
fn a_device_that_had_no_turn_to_connect_is_told_the_limit() {
    const DEVICES: usize = 60;
    let fleet = Fleet::start(114, DEVICES, &[]);
    let engine = Engine::start(&[]);
    engine.import(&fleet, DEVICES, "\n");
    let refused = engine
        .run(&["admin", "limits", "zone.connects:=1"])
        .exits(1)
        .stderr();
    assert!(refused.contains("behind the colon"), "{refused}");
    engine.run(&["admin", "limits", "zone.connects=1"]).ok();
    let run = [
        "run",
        "--all",
        "--json",
        "--timeout",
        "6s",
        "--",
        "/system/identity/print",
    ];
    let results = engine.run(&run).exits(5).json();
    let waited = results.iter().filter(|result| result["state"] == "expired");
    let waited = waited.map(|result| result["error"]["message"].as_str().expect("a text"));
    let told = waited
        .clone()
        .filter(|text| text.contains("the limit zone.connects"));
    assert!(told.count() > DEVICES / 2, "{:?}", waited.collect::<Vec<_>>());
}

/// With room for a few connections, many devices are asked one after the other, and never more at once.
#[test]
fn a_worker_keeps_no_more_sessions_than_it_has_room_for() {
    const DEVICES: usize = 40;
    const ROOM: usize = 6;
    let fleet = Fleet::start(107, DEVICES, &[]);
    // 256 descriptors are for everything else.
    let limit = format!("ulimit -Sn {0}; ulimit -Hn {0}; exec \"$@\"", 256 + ROOM);
    let mut engine = Engine::prepare(&[]).through(["sh", "-c", &limit, "sh"].map(str::to_owned).to_vec());
    engine.start_again();
    engine.import(&fleet, DEVICES, "\n");
    for _ in 0..2 {
        let words = [
            "run",
            "--all",
            "--timeout",
            "60s",
            "--json",
            "--",
            "/system/identity/print",
        ];
        let mut running = engine
            .command(&words)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("runs");
        let lines = BufReader::new(running.stdout.take().expect("piped")).lines();
        let told = std::thread::spawn(move || lines.count());
        // A table that changes while it is read may have one that went beside the one that came for it. What is in
        // two tables was there all the time between them.
        let mut before = connections_to(fleet.port);
        while running.try_wait().expect("a child").is_none() {
            let now = connections_to(fleet.port);
            let at_once = now.intersection(&before).count();
            assert!(at_once <= ROOM, "{at_once} connections at once");
            before = now;
        }
        assert_eq!(told.join().expect("no panic"), DEVICES);
    }
}

/// Connections of this machine to a port of it that are open or being opened, by their sockets' inodes, as the kernel has
/// them: a router hears of an end only after it was one.
fn connections_to(port: u16) -> HashSet<String> {
    const OPEN: [&str; 2] = ["01", "02"];
    let table = std::fs::read_to_string("/proc/net/tcp").expect("a table");
    let leads_there = |fields: &Vec<&str>| {
        fields[2].ends_with(&format!(":{port:04X}")) && OPEN.contains(&fields[3]) && fields[9] != "0"
    };
    table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(leads_there)
        .map(|fields| fields[9].to_owned())
        .collect()
}

/// A worker whose descriptors run out makes do with fewer sessions, says so, and fails nobody.
#[test]
fn a_worker_without_descriptors_goes_on_with_fewer_sessions() {
    const DEVICES: usize = 60;
    let fleet = Fleet::start(108, DEVICES, &[]);
    let engine = Engine::start(&["--no-worker"]);
    engine.import(&fleet, DEVICES, "\n");
    let worker = Worker::start(&engine, "poor", &[]);
    engine
        .run(&[
            "run",
            "--select",
            "name=r0",
            "--timeout",
            "60s",
            "--",
            "/system/identity/print",
        ])
        .ok();
    let open = std::fs::read_dir(format!("/proc/{}/fd", worker.id()))
        .expect("it runs")
        .count() as u64;
    let few = Rlimit {
        current: Some(open + 12),
        maximum: Some(open + 12),
    };
    let pid = Pid::from_raw(worker.id() as i32);
    prlimit(pid, Resource::Nofile, few).expect("its own child");
    let ran = engine
        .run(&[
            "run",
            "--all",
            "--timeout",
            "120s",
            "--json",
            "--",
            "/system/identity/print",
        ])
        .ok();
    let good = |result: &Value| result["state"] == "succeeded";
    assert_eq!(ran.json().iter().filter(|result| good(result)).count(), DEVICES);
    let said = || {
        engine
            .log
            .text()
            .contains("the worker keeps fewer sessions from now on")
    };
    until("it says so", said);
}

/// A question whose connection is closed because the device goes on with something else that was given up is asked again:
/// what it suffered for was not its own.
#[test]
fn a_question_that_suffers_for_another_is_asked_again() {
    let fleet = Fleet::start(108, 1, &["--late", "5s"]);
    let engine = Engine::start(&[]);
    engine.import(&fleet, 1, "\n");
    let ask = |timeout| {
        let words = [
            "run",
            "--all",
            "--timeout",
            timeout,
            "--json",
            "--",
            "/system/identity/print",
        ];
        engine.run(&words)
    };
    ask("10s").ok();
    fleet.set_fault(0, Some("hang"));
    let given_up = ask("1s").exits(3).of("r0");
    assert_eq!(given_up["error"]["class"], "timeout", "{given_up}");
    // Still within the time that the device has to end it: this one is in flight when that is over.
    fleet.set_fault(0, Some("late"));
    let asked = ask("30s").ok().of("r0");
    assert!(asked["attempts"].as_u64() > Some(1), "{asked}");
}

/// Sessions that a router keeps of clients that are gone count as sessions. When it takes no more, that is what is said,
/// and nothing hammers on it; when they are gone, it goes on.
#[test]
fn a_router_that_is_full_of_sessions_left_behind_is_told_and_comes_back() {
    let fleet = Fleet::start(109, 1, &["--version", "7.16.2"]);
    let mut engine = Engine::start(&[]);
    engine.import(&fleet, 1, "\n");
    let most = [
        "run",
        "--all",
        "--yes",
        "--accept-no-way-back",
        "--",
        "/ip/service/set",
        "numbers=api",
        "max-sessions=3",
    ];
    engine.run(&most).ok();
    fleet.set_fault(0, Some("half-open"));
    let read = |engine: &Engine, timeout| {
        let words = [
            "run",
            "--all",
            "--timeout",
            timeout,
            "--json",
            "--",
            "/system/identity/print",
        ];
        engine.run(&words)
    };
    for _ in 0..2 {
        engine.kill();
        engine.start_again();
        read(&engine, "10s").ok();
    }
    engine.kill();
    engine.start_again();
    let accepted = || {
        fleet.get("/counters")["connections_accepted"]
            .as_u64()
            .expect("a count")
    };
    let before = accepted();
    let full = read(&engine, "5s").exits(5).of("r0");
    assert_eq!(full["state"], "expired", "{full}");
    let told = full["error"]["message"].as_str().expect("a reason");
    assert!(told.contains("max-sessions"), "{told}");
    let tries = accepted() - before;
    assert!(tries <= 6, "{tries} connections in 5 s");
    fleet.set_fault(0, None);
    until("it comes back", || read(&engine, "10s").code() == 0);
}

/// A router that answers a burst at once and then slowly gets its answers out all the same, and over one connection.
#[test]
fn a_router_that_slows_down_is_not_given_up() {
    const JOBS: usize = 30;
    let fleet = Fleet::start(110, 1, &["--clamp", "5/100ms"]);
    let engine = Engine::start(&[]);
    engine.import(&fleet, 1, "\n");
    let jobs = (0..JOBS).map(|_| engine.begin_read("60s")).collect::<Vec<_>>();
    let ended = |job: &String| {
        let state = engine.run(&["job", "show", job, "--json"]).ok().json()[0]["state"].clone();
        assert_ne!(state, "completed_with_failures");
        state == "completed"
    };
    until("all are done", || jobs.iter().all(ended));
    assert_eq!(fleet.get("/counters")["logins"], 1);
}
