//! Firmware: downloads, restarts and RouterBOOT of simulated routers, and what goes wrong with them.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{Engine, Fleet, UPGRADABLE, pause, until};

/// A fleet of one version, whose updater offers another.
fn fleet(network: u8, devices: usize, more: &[&str]) -> (Fleet, Engine) {
    let common = [&UPGRADABLE[..], &["--restart", "1500ms", "--download", "400ms"]].concat();
    let fleet = Fleet::start(network, devices, &[&common[..], more].concat());
    let engine = Engine::start(&["--lease", "5s"]);
    engine.import(&fleet, devices, "\n");
    (fleet, engine)
}

/// Writes a rollout of these steps over all devices.
fn write(engine: &Engine, steps: &str) {
    let text = format!(
        "name = \"firmware\"\nall = true\ntimeout = \"10s\"\n{steps}\n[[wave]]\nsize = \"100%\"\n[limits]\nbudget = \"all\"\n"
    );
    std::fs::write(engine.directory.path().join("firmware.toml"), text).expect("written");
}

/// Takes these steps over all devices to the end, and says how each device ended.
fn roll(engine: &Engine, steps: &str) -> Vec<Value> {
    ended(engine, &begin(engine, steps))
}

fn begin(engine: &Engine, steps: &str) -> String {
    write(engine, steps);
    let ran = engine.run(&["rollout", "start", "firmware.toml", "--yes", "--detach"]);
    ran.exits(7).stdout().trim().to_owned()
}

fn ended(engine: &Engine, id: &str) -> Vec<Value> {
    engine.wait_over(id);
    engine.run(&["job", "results", id, "--json"]).json()
}

fn states(results: &[Value]) -> Vec<&str> {
    results
        .iter()
        .filter_map(|result| result["state"].as_str())
        .collect()
}

fn message(result: &Value) -> &str {
    result["error"]["message"].as_str().unwrap_or_default()
}

fn versions(engine: &Engine) -> Vec<String> {
    let results = engine
        .run(&["run", "--all", "--json", "--", "/system/resource/print"])
        .json();
    let version = |result: &Value| {
        result["rows"][0]["version"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    results.iter().map(version).collect()
}

fn count(fleet: &Fleet, device: usize, command: &str) -> usize {
    let journal = fleet.journal();
    let done = journal
        .iter()
        .filter(|entry| entry.device == device && entry.words[0] == command);
    done.count()
}

const UPGRADE: &str = "[[step]]\nupgrade = { version = \"7.16.2\", source = \"vendor\", wait = \"20s\" }\n";

#[test]
fn a_plan_of_every_kind_upgrades_a_fleet_and_a_second_time_does_nothing() {
    let (fleet, engine) = fleet(40, 6, &[]);
    let steps = r#"
[[step]]
check = "facts.free_disk > 1000 && facts.version >= version('7.12.1')"
[[step]]
backup = { max-age = "1h" }
[[step]]
ensure = "/ip/firewall/address-list"
key = ["list", "address"]
items = [{ list = "mgmt", address = "10.0.{{ labels.n }}.0/24" }]
purge = "list=mgmt"
[[step]]
upgrade = { version = "7.16.2", source = "vendor", routerboot = true, wait = "30s" }
[[step]]
wait = { until = "facts.uptime >= 1", within = "20s", every = "1s" }
[[step]]
check = "post.interfaces_up >= pre.interfaces_up"
"#;
    let results = roll(&engine, steps);
    assert_eq!(states(&results), ["succeeded"; 6], "{results:?}");
    for device in 0..6 {
        assert_eq!(count(&fleet, device, "/system/package/update/download"), 1);
        let restarts = count(&fleet, device, "/system/reboot");
        let boots = count(&fleet, device, "/system/routerboard/upgrade");
        assert_eq!(restarts, 1 + boots, "one for each effect");
    }
    assert_eq!(versions(&engine), ["7.16.2 (stable)"; 6]);
    let before = fleet.executed();
    let again = roll(&engine, steps);
    assert_eq!(states(&again), ["unchanged"; 6], "{again:?}");
    assert_eq!(fleet.executed(), before, "nothing is written");
}

#[test]
fn what_goes_wrong_is_told_and_nothing_is_restarted_twice() {
    let faults = "old-version=1,bricks=1,disk-full=1,endless-download=1,cut-download=1,no-updates=1";
    let (fleet, engine) = fleet(41, 7, &["--fault", faults]);
    let results = roll(
        &engine,
        "[[step]]\nupgrade = { version = \"7.16.2\", wait = \"6s\" }\n",
    );
    let of = |fault: &str| {
        let dealt = fleet.faults();
        let device = dealt.iter().find(|(_, name)| name == fault).expect("dealt").0;
        let name = format!("r{device}");
        let result = results.iter().find(|result| result["device"] == name.as_str());
        (result.expect("a result").clone(), device)
    };
    for (fault, state, text) in [
        ("old-version", "failed", "came back with 7.13.5"),
        ("bricks", "lost", "not back within"),
        ("disk-full", "failed", "not enough disk space"),
        ("endless-download", "failed", "did not end within"),
        ("cut-download", "succeeded", ""),
        ("no-updates", "failed", "could not resolve dns name"),
    ] {
        let (result, device) = of(fault);
        assert_eq!(result["state"], state, "{fault}: {result}");
        assert!(message(&result).contains(text), "{fault}: {result}");
        assert!(count(&fleet, device, "/system/reboot") <= 1, "{fault}");
    }
    assert_eq!(
        states(&results)
            .iter()
            .filter(|state| **state == "succeeded")
            .count(),
        2
    );
}

#[test]
fn an_engine_that_is_killed_in_the_middle_finds_out_what_became_of_it() {
    let (fleet, mut engine) = fleet(42, 4, &["--restart-ends", "close,reset,hang,done"]);
    let id = begin(&engine, &format!("[[step]]\nbackup = true\n{UPGRADE}"));
    for command in ["/system/package/update/download", "/system/reboot"] {
        until(command, || {
            (0..4).any(|device| count(&fleet, device, command) > 0)
        });
        engine.kill();
        pause(Duration::from_millis(300));
        engine.start_again();
    }
    let results = ended(&engine, &id);
    assert_eq!(states(&results), ["succeeded"; 4], "{results:?}");
    for device in 0..4 {
        assert_eq!(count(&fleet, device, "/system/reboot"), 1, "never a second one");
        let name = format!("r{device}");
        let kept = engine.run(&["device", "exports", &name, "--json"]).ok().json();
        assert!(
            kept.iter().any(|file| file["kind"] == "backup"),
            "no download begins before the engine has the backup: {kept:?}"
        );
    }
    assert_eq!(versions(&engine), ["7.16.2 (stable)"; 4]);
}

#[test]
fn a_mirror_is_trusted_by_its_hashes() {
    let (fleet, engine) = fleet(43, 2, &["--fault", "wrong-file=1"]);
    let wrong = fleet.faults()[0].0;
    let mut hashes = Vec::new();
    for architecture in ["arm", "arm64", "mipsbe", "mmips", "tile"] {
        hashes.push(("routeros", format!("-{architecture}")));
        for extra in ["container", "user-manager", "wireless", "zerotier"] {
            hashes.push((extra, format!("-{architecture}")));
        }
    }
    for name in ["routeros", "container", "user-manager", "wireless", "zerotier"] {
        hashes.push((name, String::new()));
    }
    let hashes = hashes.into_iter().map(|(name, architecture)| {
        let file = format!("{name}-7.16.2{architecture}.npk");
        format!(
            "\"{file}\" = \"{}\"",
            sha256(&muster_sim::package(&file, 64 << 10))
        )
    });
    let hashes = hashes.collect::<Vec<_>>().join(", ");
    let url = "http://mirror.test/{{ version }}/{{ file }}";
    let step = |stage: &str| {
        format!(
            "[[step]]\nupgrade = {{ version = \"7.16.2\", source = \"mirror\", url = \"{url}\", wait = \"15s\"{stage}, sha256 = {{ {hashes} }} }}\n"
        )
    };
    let staged = roll(&engine, &step(", stage-only = true"));
    let of = |results: &[Value], device: usize| {
        let name = format!("r{device}");
        let found = results.iter().find(|result| result["device"] == name.as_str());
        found.expect("a result").clone()
    };
    assert_eq!(of(&staged, wrong)["state"], "failed", "{staged:?}");
    assert!(
        message(&of(&staged, wrong)).contains("it was removed"),
        "{staged:?}"
    );
    assert_eq!(of(&staged, 1 - wrong)["state"], "succeeded", "{staged:?}");
    assert_eq!(
        versions(&engine),
        ["7.13.5 (stable)"; 2],
        "nothing is restarted for it"
    );
    let fetched = count(&fleet, 1 - wrong, "/tool/fetch");
    let installed = roll(&engine, &step(""));
    assert_eq!(of(&installed, 1 - wrong)["state"], "succeeded", "{installed:?}");
    assert_eq!(
        count(&fleet, 1 - wrong, "/tool/fetch"),
        fetched,
        "what is there is not fetched again"
    );
    assert_eq!(
        count(&fleet, wrong, "/system/reboot"),
        0,
        "a wrong file is never installed"
    );
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_router_of_version_6_goes_by_7_12_1() {
    let more = [
        "--version",
        "6.49.17",
        "--offers",
        "7.16.2",
        "--restart",
        "1s",
        "--download",
        "200ms",
    ];
    let fleet = Fleet::start(44, 1, &more);
    let engine = Engine::start(&[]);
    engine.import(&fleet, 1, "\n");
    let results = roll(&engine, UPGRADE);
    assert_eq!(states(&results), ["succeeded"], "{results:?}");
    assert_eq!(count(&fleet, 0, "/system/reboot"), 2, "a hop and the rest");
    assert_eq!(versions(&engine), ["7.16.2 (stable)"]);
}

/// Downloads wait for no window, and nothing else begins outside it (J1).
#[test]
fn before_its_window_a_rollout_downloads_and_restarts_nothing() {
    let (fleet, engine) = fleet(45, 3, &[]);
    let file = format!(
        "name = \"firmware\"\nall = true\ntimeout = \"5s\"\n{UPGRADE}[[wave]]\nsize = 2\nbake = \"1s\"\n[[wave]]\nsize = \
         \"100%\"\n[window]\ncron = \"0 3 29 2 *\"\nduration = \"4h\"\n"
    );
    std::fs::write(engine.directory.path().join("firmware.toml"), file).expect("written");
    let ran = engine.run(&["rollout", "start", "firmware.toml", "--yes", "--detach"]);
    let id = ran.exits(7).stdout().trim().to_owned();
    let downloads = |device| count(&fleet, device, "/system/package/update/download");
    until("the open wave has downloaded", || {
        (0..3).filter(|device| downloads(*device) == 1).count() == 2
    });
    let job = engine.run(&["job", "show", &id, "--json"]).ok().json().remove(0);
    assert_eq!(
        (&job["state"], &job["budget_use"]["in_flight"]),
        (&"waiting_window".into(), &0.into())
    );
    let told = engine.run(&["job", "explain", &id]).ok().stdout();
    assert!(told.contains("window"), "{told}");
    // Asked for and not granted.
    let held = engine
        .run(&["job", "explain", &id, "--device", "r0"])
        .ok()
        .stdout();
    assert!(held.contains("window"), "{held}");
    assert_eq!(
        (0..3)
            .map(|device| count(&fleet, device, "/system/reboot"))
            .sum::<usize>(),
        0
    );
    assert_eq!(versions(&engine), ["7.13.5 (stable)"; 3]);
    assert!((0..3).all(|device| downloads(device) <= 1));
}

/// The same ends of a restart over REST, where a router that comes up answers with nothing of use at first.
#[test]
fn a_restart_over_rest_is_found_to_have_happened_whatever_its_answer() {
    let fleet = Fleet::start(
        46,
        4,
        &[
            "--version",
            "7.16.2",
            "--restart",
            "2s",
            "--restart-ends",
            "done,close,reset,hang",
        ],
    );
    let engine = Engine::start(&[]);
    engine.set_credential("\n");
    let port = fleet.hello["rest_port"].as_u64().expect("a port");
    let mut csv = String::from("name,address,port,transport,credential\n");
    for device in 0..4 {
        csv.push_str(&format!("r{device},{},{port},http,ops\n", fleet.address(device)));
    }
    engine.run_with_input(&["device", "import", "-"], &csv).ok();
    let id = engine.begin_plan("[[step]]\nreboot = { wait = \"20s\" }\n", "5s");
    let results = ended(&engine, &id);
    assert_eq!(states(&results), ["succeeded"; 4], "{results:?}");
    for device in 0..4 {
        assert_eq!(count(&fleet, device, "/system/reboot"), 1, "never a second one");
    }
}

/// Who only waits for a router to be back leaves its place to others.
#[test]
fn a_worker_with_two_slots_restarts_six_routers_at_once() {
    let fleet = Fleet::start(50, 6, &["--version", "7.16.2", "--restart", "6s"]);
    let mut engine = Engine::prepare(&[]).configured("[worker]\nslots = 2\n");
    engine.start_again();
    engine.import(&fleet, 6, "\n");
    let id = engine.begin_plan("[[step]]\nreboot = { wait = \"30s\" }\n", "5s");
    until("all are away", || {
        (0..6).all(|device| count(&fleet, device, "/system/reboot") == 1)
    });
    let job = engine.run(&["job", "show", &id, "--json"]).ok().json().remove(0);
    assert_eq!(job["counts"]["running"], 6, "none is back: {job}");
    let results = ended(&engine, &id);
    assert_eq!(states(&results), ["succeeded"; 6], "{results:?}");
}

/// A router that offers nothing but REST tells no progress, and is upgraded all the same.
#[test]
fn routers_that_offer_only_rest_are_upgraded_too() {
    let more = ["--restart", "1500ms", "--download", "1500ms", "--rest-port", "0"];
    let fleet = Fleet::start(207, 2, &[&UPGRADABLE[..], &more].concat());
    let port = fleet.hello["rest_port"].as_u64().expect("a port");
    let engine = Engine::start(&["--lease", "5s"]);
    engine.set_credential("\n");
    let mut csv = String::from("name,address,port,transport,credential\n");
    for index in 0..2 {
        csv.push_str(&format!("r{index},{},{port},http,ops\n", fleet.address(index)));
    }
    engine.run_with_input(&["device", "import", "-"], &csv).ok();
    let upgrade = "[[step]]\nupgrade = { version = \"7.16.2\", routerboot = true, wait = \"1m\" }\n";
    let results = roll(&engine, upgrade);
    assert_eq!(states(&results), ["succeeded"; 2], "{results:?}");
    assert_eq!(versions(&engine), ["7.16.2 (stable)"; 2]);
    for device in 0..2 {
        assert_eq!(count(&fleet, device, "/system/package/update/download"), 1);
    }
    assert_eq!(states(&roll(&engine, upgrade)), ["unchanged"; 2]);
}

/// Whoever asks, and whenever: one that has just come up is neither another router nor without RouterBOOT.
#[test]
fn routers_that_tell_of_their_boards_late_are_waited_for_through_a_kill() {
    let (fleet, mut engine) = fleet(208, 6, &["--menus-after", "4s"]);
    // So that the serial numbers are known of those that have one.
    until("the engine knows the routers", || {
        engine.run(&["run", "--all", "--", "/system/identity/print"]).ok();
        let known = engine.run(&["device", "list", "--json"]).json();
        let told = |device: &Value| device["facts"]["version"].as_str() == Some("7.13.5 (stable)");
        known.iter().all(told)
    });
    let upgrade = "[[step]]\nupgrade = { version = \"7.16.2\", routerboot = true, wait = \"1m\" }\n";
    let id = begin(&engine, upgrade);
    until("a router restarts", || {
        (0..6).any(|device| count(&fleet, device, "/system/reboot") > 0)
    });
    engine.kill();
    engine.start_again();
    until("RouterBOOT is gone on with", || {
        (0..6).any(|device| count(&fleet, device, "/system/routerboard/upgrade") > 0)
    });
    let results = ended(&engine, &id);
    assert_eq!(states(&results), ["succeeded"; 6], "{results:?}");
    for device in 0..6 {
        let boots = count(&fleet, device, "/system/routerboard/upgrade");
        assert_eq!(
            count(&fleet, device, "/system/reboot"),
            1 + boots.min(1),
            "one for each effect, also where the kill came between the two of RouterBOOT"
        );
    }
}

/// Downloads and restarts last longer than devices are waited for, and a budget of one lets them through one by one.
#[test]
fn a_job_is_not_over_while_a_router_is_being_upgraded_and_others_wait_for_the_budget() {
    let more = ["--download", "8s", "--restart", "5s"];
    let fleet = Fleet::start(209, 3, &[&UPGRADABLE[..], &more].concat());
    let engine = Engine::start(&[]);
    engine.import(&fleet, 3, "\n");
    std::fs::write(
        engine.directory.path().join("upgrade.toml"),
        "[[step]]\nupgrade = { version = \"7.16.2\", wait = \"1m\" }\n",
    )
    .expect("written");
    let ran = engine.run(&[
        "run",
        "--all",
        "--yes",
        "--detach",
        "--plan",
        "upgrade.toml",
        "--budget",
        "1",
        "--timeout",
        "3s",
    ]);
    let results = ended(&engine, ran.exits(7).stdout().trim());
    assert_eq!(states(&results), ["succeeded"; 3], "{results:?}");
}
