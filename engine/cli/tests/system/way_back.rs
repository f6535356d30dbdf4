//! The way back: guards that are armed while a change is made, and what becomes of a change that cuts us off.

use serde_json::Value;

use crate::harness::{Engine, Executed, Fleet, Ran, until};

/// A rule that lets nobody in any more: before all others, so that those who are in are out too, or after them.
fn lockout(first: bool) -> String {
    let place = if first {
        "ordered = true\nplace-before = \"chain=input\"\n"
    } else {
        ""
    };
    format!(
        "[[step]]\nensure = \"/ip/firewall/filter\"\nkey = [\"comment\"]\n{place}items = [{{ comment = \"lockout\", chain = \
         \"input\", action = \"drop\", protocol = \"tcp\", dst-port = \"8728\" }}]\n"
    )
}

struct Case {
    fleet: Fleet,
    engine: Engine,
}

impl Case {
    fn new(network: u8, devices: usize, version: &str, more: &[&str]) -> Self {
        let usual = [
            "--version",
            version,
            "--safe-mode-closed",
            "1s",
            "--safe-mode-dead",
            "2s",
        ];
        let fleet = Fleet::start(network, devices, &[&usual, more].concat());
        let engine = Engine::start(&[]);
        engine.import(&fleet, devices, "\n");
        Self { fleet, engine }
    }

    fn run(&self, toml: &str, more: &[&str]) -> Ran {
        let file = self.engine.directory.path().join("plan.toml");
        std::fs::write(&file, toml).expect("written");
        let file = file.to_str().expect("UTF-8");
        let usual = [
            "run",
            "--all",
            "--yes",
            "--plan",
            file,
            "--json",
            "--timeout",
            "2s",
        ];
        self.engine.run(&[&usual, more].concat())
    }

    /// What a print on all devices shows, a device each.
    fn rows(&self, words: &[&str]) -> Vec<Vec<Value>> {
        let words = [&["run", "--all", "--json", "--timeout", "20s", "--"], words].concat();
        let mut results = self.engine.run(&words).ok().json();
        results.sort_by_key(|result| result["device"].as_str().map(str::to_owned));
        let rows = |result: &Value| result["rows"].as_array().expect("rows").clone();
        results.iter().map(rows).collect()
    }

    /// No rule of ours is left, and nothing is armed.
    fn is_as_before(&self) {
        let filter = self.rows(&[
            "/ip/firewall/filter/print",
            ".proplist=comment",
            "?comment=lockout",
        ]);
        assert!(filter.iter().all(Vec::is_empty), "{filter:?}");
        self.nothing_is_armed();
    }

    fn nothing_is_armed(&self) {
        let schedules = self.rows(&["/system/scheduler/print", ".proplist=name"]);
        assert!(schedules.iter().all(Vec::is_empty), "{schedules:?}");
        let files = self.rows(&["/file/print", ".proplist=name"]);
        assert!(files.iter().all(Vec::is_empty), "{files:?}");
        let floating = self.rows(&["/system/history/print", ".proplist=action", "?floating-undo=true"]);
        assert!(floating.iter().all(Vec::is_empty), "{floating:?}");
    }
}

fn states(ran: &Ran) -> Vec<String> {
    let results = ran.json();
    results
        .iter()
        .map(|result| result["state"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn a_rule_that_locks_us_out_is_taken_back_by_the_safe_mode() {
    let case = Case::new(116, 2, "7.18.2", &[]);
    // Those who are in stay in: the proof over a new connection finds it.
    let ran = case.run(&lockout(false), &[]).exits(3);
    assert_eq!(states(&ran), ["reverted"; 2], "{}", ran.stdout());
    assert!(
        ran.stdout().contains("no new connection after the change"),
        "{}",
        ran.stdout()
    );
    case.is_as_before();
    // The connection that made the change is dead too: the device notices, and the resolver finds what was before.
    let ran = case.run(&lockout(true), &[]).exits(3);
    assert_eq!(states(&ran), ["reverted"; 2], "{}", ran.stdout());
    case.is_as_before();
}

#[test]
fn a_rule_that_locks_us_out_is_taken_back_by_a_schedule() {
    let case = Case::new(117, 2, "7.16.2", &[]);
    let ran = case.run(&lockout(true), &["--revert-after", "8s"]).exits(3);
    assert_eq!(states(&ran), ["reverted"; 2], "{}", ran.stdout());
    case.is_as_before();
}

#[test]
fn a_change_that_is_harmless_is_made_under_a_guard_and_a_second_time_nothing_is_written() {
    let plan = "[[step]]\nensure = \"/ip/firewall/filter\"\nkey = [\"comment\"]\nitems = [{ comment = \"mgmt\", chain = \"input\", action = \
                \"accept\", protocol = \"tcp\", dst-port = \"8728\" }]\n";
    for (network, version, arms) in [
        (118, "7.18.2", "/safe-mode/take"),
        (119, "7.12.1", "/system/scheduler/add"),
    ] {
        let case = Case::new(network, 2, version, &[]);
        let preview = case.run(plan, &["--preview"]).exits(2);
        let level = if version == "7.18.2" { "L1+L4" } else { "L2+L4" };
        assert!(preview.stdout().contains(level), "{}", preview.stdout());
        case.run(plan, &[]).ok();
        let journal = case.fleet.journal();
        let at = |path: &str| {
            let found = |entry: &Executed| entry.device == 0 && entry.words[0] == path;
            journal
                .iter()
                .position(found)
                .unwrap_or_else(|| panic!("{path} is not in {journal:?}"))
        };
        assert!(at(arms) < at("/ip/firewall/filter/add"));
        let disarms = if version == "7.18.2" {
            "/safe-mode/release"
        } else {
            "/system/scheduler/remove"
        };
        assert!(at("/ip/firewall/filter/add") < at(disarms));
        case.nothing_is_armed();
        let before = case.fleet.executed();
        case.run(plan, &[]).ok();
        assert_eq!(case.fleet.executed(), before);
    }
}

#[test]
fn without_a_guard_what_may_cut_us_off_is_refused() {
    let case = Case::new(120, 1, "7.16.2", &[]);
    let ntp = [
        "run",
        "--all",
        "--yes",
        "--",
        "/system/ntp/client/set",
        "enabled=no",
    ];
    case.engine.run(&ntp).ok();
    let before = case.fleet.executed();
    let ran = case.run(&lockout(true), &[]).exits(3);
    assert_eq!(states(&ran), ["rejected"]);
    assert!(
        ran.stdout().contains("clock is not synchronised"),
        "{}",
        ran.stdout()
    );
    let preview = case.run(&lockout(true), &["--preview"]);
    assert!(
        preview.stdout().contains("clock is not synchronised"),
        "{}",
        preview.stdout()
    );
    let levels = case.run(
        "[[step]]\nensure = \"/ip/dns\"\nset = { servers = \"192.0.2.1\" }\n",
        &["--min-revert-level", "L2"],
    );
    assert_eq!(states(&levels.exits(3)), ["rejected"]);
    assert_eq!(case.fleet.executed(), before, "nothing was written");
    let accepted = lockout(true).replace("drop", "accept");
    case.run(&accepted, &["--accept-no-way-back"]).ok();
    case.run(
        "[[step]]\nensure = \"/ip/dns\"\nset = { servers = \"192.0.2.1\" }\n",
        &["--min-revert-level", "L4"],
    )
    .ok();
    let wrong = case.run("", &["--min-revert-level", "L9"]).exits(1);
    assert!(wrong.stderr().contains("L4 (inverse plan)"), "{}", wrong.stderr());
}

/// Nothing brings it back: it is lost, and it is known where it is.
#[test]
fn a_device_that_is_locked_out_without_a_guard_is_lost() {
    let case = Case::new(121, 1, "7.16.2", &[]);
    case.engine
        .run(&[
            "run",
            "--all",
            "--yes",
            "--",
            "/system/ntp/client/set",
            "enabled=no",
        ])
        .ok();
    let ran = case.run(&lockout(true), &["--accept-no-way-back"]).exits(3);
    assert_eq!(states(&ran), ["lost"], "{}", ran.stdout());
    let rescue = case.engine.run(&["device", "rescue", "--json"]).ok().json();
    assert_eq!(rescue.len(), 1, "{rescue:?}");
    assert_eq!(rescue[0]["title"], "ensure /ip/firewall/filter", "{rescue:?}");
    assert!(
        rescue[0]["on_site"].to_string().contains("MAC Telnet"),
        "{rescue:?}"
    );
}

#[test]
fn a_change_that_we_roll_back_ourselves_halts_too() {
    let case = Case::new(122, 30, "7.18.2", &[]);
    let rollout = format!(
        "name = \"lockout\"\nall = true\ntimeout = \"2s\"\n{}[[wave]]\nsize = \"100%\"\n[limits]\nbudget = 3\n",
        lockout(false)
    );
    let file = case.engine.directory.path().join("rollout.toml");
    std::fs::write(&file, rollout).expect("written");
    let started = case
        .engine
        .run(&["rollout", "start", "rollout.toml", "--yes"])
        .exits(4);
    assert!(
        started.stderr().contains("halted by rule budget"),
        "{}",
        started.stderr()
    );
    let counted = started.stderr().contains("3 reverted");
    assert!(counted, "{}", started.stderr());
    let journal = case.fleet.journal();
    let mut touched = journal
        .iter()
        .filter(|entry| entry.words[0] == "/ip/firewall/filter/add")
        .map(|entry| entry.device);
    let touched = touched.by_ref().collect::<std::collections::BTreeSet<_>>();
    assert!(touched.len() <= 3, "no more than the budget: {touched:?}");
    case.is_as_before();
}

/// The worker dies while the guard is armed: the device takes the change back, and whoever comes next finds that.
#[test]
fn a_worker_that_dies_while_a_guard_is_armed_leaves_what_was_before() {
    for (network, version) in [(123, "7.18.2"), (124, "7.16.2")] {
        let mut case = Case::new(network, 1, version, &["--late", "300ms", "--fault", "late=1"]);
        let file = case.engine.directory.path().join("plan.toml");
        std::fs::write(&file, lockout(true).replace("drop", "accept")).expect("written");
        let words = [
            "run",
            "--all",
            "--yes",
            "--detach",
            "--plan",
            "plan.toml",
            "--timeout",
            "2s",
            "--revert-after",
            "10s",
        ];
        let job = case.engine.run(&words).exits(7).stdout().trim().to_owned();
        until("the change is made", || {
            case.fleet
                .journal()
                .iter()
                .any(|entry| entry.words[0] == "/ip/firewall/filter/add")
        });
        case.engine.kill();
        case.engine.start_again();
        let done = case.engine.run(&["job", "watch", &job, "--json"]);
        let state = states(&case.engine.run(&["job", "results", &job, "--json"]))[0].clone();
        let rules = case.rows(&[
            "/ip/firewall/filter/print",
            ".proplist=comment",
            "?comment=lockout",
        ]);
        match state.as_str() {
            "reverted" => assert!(rules[0].is_empty(), "{version}: {rules:?}"),
            "succeeded" => assert_eq!(rules[0].len(), 1, "{version}"),
            other => panic!("{version}: {other}: {}", done.stdout()),
        }
        case.nothing_is_armed();
    }
}

#[test]
fn a_check_that_does_not_hold_takes_back_what_was_done() {
    let case = Case::new(125, 1, "7.16.2", &[]);
    let before = case.rows(&["/ip/dns/print", ".proplist=servers"]);
    let plan = "[[step]]\nensure = \"/ip/dns\"\nset = { servers = \"192.0.2.77\" }\n[[step]]\ncheck = \"facts.free_disk < 0\"\n";
    let ran = case.run(plan, &["--revert-failed-check"]).exits(3);
    assert_eq!(states(&ran), ["reverted"], "{}", ran.stdout());
    assert_eq!(case.rows(&["/ip/dns/print", ".proplist=servers"]), before);
    let ran = case.run(plan, &[]).exits(3);
    assert_eq!(states(&ran), ["broken"], "{}", ran.stdout());
}

const DNS: &str = "[[step]]\nensure = \"/ip/dns\"\nset = { servers = \"192.0.2.53\" }\n";
const LIST: &str = "[[step]]\nensure = \"/ip/firewall/address-list\"\nkey = [\"list\", \"address\"]\n\
                    items = [{ list = \"mgmt\", address = \"192.0.2.1\", comment = \"new\" }, { list = \"mgmt\", address = \"192.0.2.2\" }]\n\
                    purge = \"list=mgmt\"\n";

impl Case {
    /// What each device has in the menus that the plans here change.
    fn has(&self) -> Vec<Vec<Value>> {
        let list = [
            "/ip/firewall/address-list/print",
            ".proplist=list,address,comment",
        ];
        let mut rows = self.rows(&["/ip/dns/print", ".proplist=servers"]);
        rows.extend(self.rows(&list));
        rows
    }

    fn with_lists(network: u8, devices: usize) -> Self {
        let case = Self::new(network, devices, "7.16.2", &[]);
        for item in ["address=192.0.2.1 comment=old", "address=192.0.2.9 comment=gone"] {
            let add = format!("/ip/firewall/address-list/add list=mgmt {item}");
            let words = ["run", "--all", "--yes", "--"].into_iter().chain(add.split(' '));
            case.engine.run(&words.collect::<Vec<_>>()).ok();
        }
        case
    }

    fn job(&self) -> Value {
        self.engine.run(&["job", "list", "--json"]).ok().json()[0].clone()
    }

    fn id(&self) -> String {
        self.job()["id"]
            .as_str()
            .or(self.job()["job"].as_str())
            .expect("an id")
            .to_owned()
    }
}

#[test]
fn a_job_is_taken_back_by_what_was_recorded_before_it() {
    let case = Case::with_lists(126, 3);
    let before = case.has();
    case.run(&format!("{DNS}{LIST}"), &[]).ok();
    let job = case.engine.run(&["job", "list", "--json"]).ok().json();
    let job = job
        .iter()
        .find(|job| job["effect"] == "change")
        .expect("the change");
    let id = job["id"]
        .as_str()
        .or(job["job"].as_str())
        .expect("an id")
        .to_owned();
    assert_ne!(case.has(), before);
    case.engine
        .run(&["job", "revert", &id, "--reason", "it was wrong"])
        .ok();
    assert_eq!(case.has(), before);
    let shown = case.engine.run(&["job", "show", &id, "--json"]).ok().json();
    let child = shown[0]["reverts"][0].as_str().expect("linked").to_owned();
    let back = case.engine.run(&["job", "show", &child, "--json"]).ok().json();
    assert_eq!(back[0]["revert_of"], id.as_str());
    let wrote = case.fleet.executed();
    case.engine.run(&["job", "revert", &id, "--reason", "again"]).ok();
    assert_eq!(
        case.fleet.executed(),
        wrote,
        "what is as it was before is not written"
    );

    case.engine
        .run(&["run", "--all", "--yes", "--", "/ip/dns/cache/flush"])
        .ok();
    let flush = case.id();
    let refused = case
        .engine
        .run(&["job", "revert", &flush, "--reason", "x"])
        .exits(6);
    assert!(
        refused.stderr().contains("has no inverse"),
        "{}",
        refused.stderr()
    );
}

#[test]
fn an_abort_takes_back_what_was_changed() {
    let case = Case::with_lists(127, 6);
    let before = case.has();
    let rollout = format!(
        "name = \"dns\"\nall = true\ntimeout = \"5s\"\n{DNS}[[wave]]\nsize = 2\nbake = \"1h\"\n[[wave]]\nsize = \"100%\"\n[limits]\nbudget = 3\n"
    );
    let file = case.engine.directory.path().join("rollout.toml");
    std::fs::write(&file, rollout).expect("written");
    case.engine
        .run(&["rollout", "start", "rollout.toml", "--yes", "--detach"])
        .exits(7);
    let id = case.id();
    until("the first wave is done", || case.has() != before);
    until("it bakes", || {
        case.engine.run(&["job", "show", &id, "--json"]).json()[0]["state"] == "gated"
    });
    case.engine
        .run(&["job", "abort", &id, "--revert", "--reason", "it is wrong"]);
    until("it is taken back", || {
        case.engine.run(&["job", "show", &id, "--json"]).json()[0]["state"] == "reverted"
    });
    assert_eq!(case.has(), before);
    let shown = case.engine.run(&["job", "show", &id, "--json"]).json();
    assert_eq!(shown[0]["reverts"].as_array().map(Vec::len), Some(1));
}
