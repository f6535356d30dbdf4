//! What should be true of a menu: written only where it is different, and looked after when an answer is lost.

use std::time::Duration;

use muster_proto::v1;
use serde_json::Value;

use crate::harness::api::Api;
use crate::harness::{Engine, Executed, Fleet, Ran};

const WITHIN: Duration = Duration::from_secs(60);

struct Case {
    fleet: Fleet,
    engine: Engine,
    api: Api,
}

impl Case {
    fn new(network: u8, devices: usize, more: &[&str]) -> Self {
        let fleet = Fleet::start(network, devices, more);
        let engine = Engine::start(&[]);
        engine.import(&fleet, devices, "\n");
        let api = Api::new(&engine.url);
        Self { fleet, engine, api }
    }

    /// Wants these values of a menu, on all devices, and waits until that is over.
    fn ensure(&self, menu: &str, values: &[(&str, &str)], timeout: Duration) -> Vec<Value> {
        let values = values
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        let set = v1::Values {
            values: values.collect(),
        };
        let step = v1::Step {
            kind: Some(v1::step::Kind::Ensure(v1::Ensure {
                menu: menu.to_owned(),
                want: Some(v1::ensure::Want::Set(set)),
            })),
        };
        let spec = v1::JobSpec {
            plan: Some(v1::Plan {
                steps: vec![step],
                ..v1::Plan::default()
            }),
            all: true,
            timeout: timeout.try_into().ok(),
            budget: "all".into(),
            ..v1::JobSpec::default()
        };
        let job = self.api.make(spec, "").expect("a job");
        self.api.finished(&job, WITHIN).expect("it ends");
        self.engine.run(&["job", "results", &job, "--json"]).json()
    }

    /// Runs the steps of this file on all devices, as the command line does it.
    fn run(&self, toml: &str, more: &[&str]) -> Ran {
        let file = self.engine.directory.path().join("plan.toml");
        std::fs::write(&file, toml).expect("written");
        let file = file.to_str().expect("UTF-8");
        let words = [&["run", "--all", "--plan", file, "--json"], more].concat();
        self.engine.run(&words)
    }

    fn words(&self) -> Vec<Vec<String>> {
        let journal = self.fleet.journal();
        journal.into_iter().map(|Executed { words, .. }| words).collect()
    }
}

const SHORT: Duration = Duration::from_secs(10);

#[test]
fn only_the_difference_is_written_and_a_second_run_writes_nothing() {
    let case = Case::new(170, 40, &[]);
    let wanted = [
        ("servers", "192.0.2.53"),
        ("cache-max-ttl", "7d"),
        ("verify-doh-cert", "no"),
    ];
    for result in case.ensure("/ip/dns", &wanted, SHORT) {
        assert_eq!(result["state"], "succeeded", "{result}");
        let row = &result["rows"][0];
        assert_eq!(
            (&row["op"], &row["menu"]),
            (&"set".into(), &"/ip/dns".into()),
            "{result}"
        );
        assert_eq!(
            (&row["name"], &row["to"]),
            (&"servers".into(), &"192.0.2.53".into())
        );
        assert_eq!(
            result["rows"].as_array().map(Vec::len),
            Some(1),
            "a week is seven days: {result}"
        );
    }
    let written = case.words();
    assert_eq!(written.len(), 40);
    assert!(
        written
            .iter()
            .all(|words| words[..] == ["/ip/dns/set", "=servers=192.0.2.53"]),
        "{written:?}"
    );
    for result in case.ensure("/ip/dns", &wanted, SHORT) {
        assert_eq!(
            (&result["state"], &result["rows"]),
            (&"unchanged".into(), &Value::Array(vec![]))
        );
    }
    assert_eq!(case.words().len(), 40, "the second time nothing is written");
}

#[test]
fn a_lost_answer_is_looked_after_and_never_written_twice() {
    let case = Case::new(171, 1, &["--fault", "lost-write-answer=1"]);
    let results = case.ensure("/ip/dns", &[("servers", "192.0.2.53")], SHORT);
    assert_eq!(results[0]["state"], "succeeded", "{results:?}");
    assert_eq!(
        results[0]["rows"][0]["to"], "192.0.2.53",
        "what it changed is told: {results:?}"
    );
    assert_eq!(case.words().len(), 1);
}

#[test]
fn what_is_lost_on_its_way_was_not_done() {
    let case = Case::new(172, 1, &["--fault", "lost-write=1"]);
    let results = case.ensure("/ip/dns", &[("servers", "192.0.2.53")], SHORT);
    assert_eq!(
        (&results[0]["state"], &results[0]["error"]["class"]),
        (&"failed".into(), &"not_done".into()),
        "{results:?}"
    );
    assert!(case.words().is_empty(), "and it is not sent again");
}

#[test]
fn a_refusal_and_a_menu_that_does_not_fit_leave_the_device_alone() {
    let case = Case::new(173, 1, &[]);
    let refused = case.ensure("/ip/dns", &[("cache-size", "1")], SHORT);
    assert_eq!(
        (&refused[0]["state"], &refused[0]["error"]["class"]),
        (&"failed".into(), &"trap".into()),
        "{refused:?}"
    );
    assert_eq!(
        refused[0]["rows"][0]["to"], "1",
        "what it wanted is told with the refusal"
    );
    let rejected = case.ensure("/ip/service", &[("disabled", "yes")], SHORT);
    assert_eq!(
        (&rejected[0]["state"], &rejected[0]["error"]["class"]),
        (&"rejected".into(), &"plan".into()),
        "{rejected:?}"
    );
    let done = case
        .fleet
        .journal()
        .into_iter()
        .filter(|executed| executed.result == "done");
    assert_eq!(done.count(), 0);
}

const DNS: &str = r#"
[[step]]
ensure = "/ip/dns"
set = { servers = "192.0.2.53", allow-remote-requests = false }
[[step]]
command = "/ip/dns/cache/flush"
"#;

#[test]
fn a_preview_writes_nothing_and_tells_what_is_the_same_together() {
    let case = Case::new(174, 60, &["--fault", "silent=2"]);
    let ran = case.run(DNS, &["--preview", "--timeout", "10s"]).exits(2);
    let groups = ran.json();
    let count = |group: &Value| group["count"].as_u64().expect("a count");
    assert_eq!(groups.iter().map(count).sum::<u64>(), 60);
    let (read, not): (Vec<_>, Vec<_>) = groups.iter().partition(|group| group["error"].is_null());
    assert_eq!(
        not.len(),
        1,
        "how they could not be reached is not told apart: {not:?}"
    );
    assert_eq!(count(not[0]), 2);
    assert!(read.len() > 1 && read.len() < 20, "{}: {read:?}", read.len());
    for group in read {
        assert_eq!(group["state"], "succeeded", "{group}");
        let rows = group["rows"].as_array().expect("rows");
        let (levels, rows): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row["op"] == "way-back");
        let of_commands = levels.iter().filter(|row| row["level"] == "L0").count();
        assert_eq!(
            of_commands, 1,
            "each change says which way back there is: {group}"
        );
        assert_eq!(
            rows.last().map(|row| &row["command"]),
            Some(&"/ip/dns/cache/flush".into())
        );
        assert!(rows.iter().any(|row| row["name"] == "servers"), "{group}");
        let named = group["devices"].as_array().expect("names").len() as u64;
        assert_eq!(named, count(group).min(10));
    }
    assert!(case.words().is_empty(), "nothing was written");
}

#[test]
fn a_job_after_a_preview_is_done_only_where_nobody_was_faster() {
    let case = Case::new(175, 6, &[]);
    let groups = case.run(DNS, &["--preview"]).exits(2).json();
    let preview = groups[0]["job"].as_str().expect("an id").to_owned();
    let one = [
        "run",
        "--select",
        "name=r4",
        "--yes",
        "--json",
        "--",
        "/ip/dns/set",
        "servers=203.0.113.7",
    ];
    case.engine.run(&one).ok();
    case.engine.run(&["device", "remove", "r5"]).ok();
    let file = case.engine.directory.path().join("new.csv");
    let new = format!(
        "name,address,port,credential\nr6,{},{},ops\n",
        case.fleet.address(5),
        case.fleet.port
    );
    std::fs::write(&file, new).expect("written");
    case.engine
        .run(&["device", "import", file.to_str().expect("UTF-8")])
        .ok();
    let ran = case.run(DNS, &["--previewed", &preview, "--yes"]).exits(3);
    for device in ["r0", "r1", "r2", "r3"] {
        assert_eq!(ran.of(device)["state"], "succeeded");
    }
    for device in ["r4", "r6"] {
        let result = ran.of(device);
        assert_eq!(
            (&result["state"], &result["error"]["class"]),
            (&"rejected".into(), &"drift".into()),
            "{result}"
        );
    }
    let touched = |index: usize| {
        case.fleet
            .journal()
            .iter()
            .filter(|line| line.device == index)
            .count()
    };
    assert_eq!(
        (touched(0), touched(4), touched(5)),
        (2, 1, 0),
        "nothing is written over what is new"
    );
    let allowed = case
        .run(DNS, &["--previewed", &preview, "--unseen", "--yes"])
        .exits(3);
    assert_eq!(allowed.of("r6")["state"], "succeeded");
    assert_eq!(
        allowed.of("r0")["error"]["class"],
        "drift",
        "it is as wanted, and not as it was found"
    );
    let other = DNS.replace("192.0.2.53", "192.0.2.54");
    let refused = case.run(&other, &["--previewed", &preview, "--yes"]).exits(1);
    assert!(
        refused.stderr().contains("a preview of another plan"),
        "{}",
        refused.stderr()
    );
}

/// A worker is told nothing of devices that are refused, and has room for others all the same.
#[test]
fn devices_that_are_refused_take_no_room() {
    let fleet = Fleet::start(53, 8, &[]);
    let mut engine = Engine::prepare(&[]).configured("[worker]\nslots = 2\n");
    engine.start_again();
    engine.import(&fleet, 1, "\n");
    let api = Api::new(&engine.url);
    let case = Case { fleet, engine, api };
    let groups = case.run(DNS, &["--preview"]).exits(2).json();
    let preview = groups[0]["job"].as_str().expect("an id").to_owned();
    let new = |index| {
        let (address, port) = (case.fleet.address(index), case.fleet.port);
        format!("r{index},{address},{port},ops\n")
    };
    let csv = std::iter::once("name,address,port,credential\n".to_owned()).chain((1..8).map(new));
    let csv = csv.collect::<String>();
    case.engine.run_with_input(&["device", "import", "-"], &csv).ok();
    let ran = case
        .run(DNS, &["--previewed", &preview, "--yes", "--timeout", "10s"])
        .exits(3);
    for device in 1..8 {
        assert_eq!(ran.of(&format!("r{device}"))["state"], "rejected");
    }
    let after = [
        "run",
        "--all",
        "--timeout",
        "10s",
        "--json",
        "--",
        "/system/identity/print",
    ];
    case.engine.run(&after).ok();
}

const LISTS: &str = r#"
[[step]]
ensure = "/ip/firewall/address-list"
key = ["list", "address"]
items = [
    { list = "mgmt", address = "10.{{ labels.n }}.0.0/16", comment = "of {{ device.name }}" },
    { list = "mgmt", address = "192.0.2.1" },
]
purge = "list=mgmt"
[[step]]
ensure = "/ip/firewall/filter"
key = "comment"
items = [
    { comment = "muster-a", chain = "forward", action = "accept", src-address-list = "mgmt" },
    { comment = "muster-b", chain = "forward", action = "drop" },
]
ordered = true
"#;

#[test]
fn items_come_change_go_and_move_and_a_second_run_writes_nothing() {
    let case = Case::new(176, 8, &[]);
    let on_all = |words: &[&str]| {
        let words = [&["run", "--all", "--yes", "--json", "--"], words].concat();
        case.engine.run(&words).ok();
    };
    on_all(&[
        "/ip/firewall/address-list/add",
        "list=mgmt",
        "address=198.51.100.1",
    ]);
    on_all(&[
        "/ip/firewall/address-list/add",
        "list=mgmt",
        "address=192.0.2.1/32",
        "comment=ours",
    ]);
    on_all(&[
        "/ip/firewall/address-list/add",
        "list=other",
        "address=198.51.100.1",
    ]);
    on_all(&[
        "/ip/firewall/filter/add",
        "chain=forward",
        "action=drop",
        "comment=muster-b",
    ]);
    on_all(&[
        "/ip/firewall/filter/add",
        "chain=output",
        "action=drop",
        "comment=muster-a",
    ]);
    let before = case.words().len();
    let ran = case.run(LISTS, &["--yes", "--budget", "all"]).ok();
    let told = |result: &Value, step: usize| {
        let rows = result["steps"][step]["rows"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let of = |row: &Value| {
            format!(
                "{} {}",
                row["op"].as_str().unwrap(),
                row["item"].as_str().unwrap()
            )
        };
        rows.iter().map(of).collect::<Vec<_>>()
    };
    let result = ran.of("r3");
    assert_eq!(
        told(&result, 0),
        [
            "add list=mgmt,address=10.3.0.0/16",
            "remove list=mgmt,address=198.51.100.1"
        ],
        "{result}"
    );
    assert_eq!(result["rows"][0]["to.comment"], "of r3");
    assert_eq!(
        result["rows"][1]["from.list"], "mgmt",
        "what is gone is told as it was"
    );
    let changed = told(&result, 1);
    assert_eq!(changed[0], "move comment=muster-a", "{result}");
    assert!(
        changed[1..].contains(&"set comment=muster-a".to_owned()),
        "{result}"
    );
    let words = &case.words()[before..];
    assert_eq!(words.len(), 8 * 4, "add, remove, move, set: {words:?}");
    let comments = [
        "run",
        "--all",
        "--json",
        "--",
        "/ip/firewall/filter/print",
        ".proplist=comment,chain",
    ];
    let rows = case.engine.run(&comments).ok().of("r3")["rows"].clone();
    let place = |comment: &str| {
        let rows = rows.as_array().expect("rows").iter();
        rows.clone().position(|row| row["comment"] == comment)
    };
    assert!(place("muster-a") < place("muster-b"), "{rows}");
    let again = case.run(LISTS, &["--yes", "--budget", "all"]).ok();
    assert_eq!(again.of("r3")["state"], "unchanged");
    assert_eq!(case.words().len(), before + 8 * 4, "a second run writes nothing");
}

#[test]
fn a_name_that_is_not_defined_is_told_of_every_device_before_anything_is_written() {
    let case = Case::new(177, 5, &[]);
    let plan = LISTS.replace("labels.n ", "labels.nowhere ");
    let groups = case.run(&plan, &["--preview"]).exits(3).json();
    assert_eq!(groups.len(), 1, "{groups:?}");
    assert_eq!(
        (&groups[0]["state"], &groups[0]["count"]),
        (&"rejected".into(), &5.into())
    );
    let message = groups[0]["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("step 1: address = ") && message.contains("not defined"),
        "{message}"
    );
    case.run(&plan, &["--yes"]).exits(3);
    assert!(case.words().is_empty());
    let bad = LISTS.replace("list=mgmt\"\n[[step]]", "list = = mgmt\"\n[[step]]");
    let told = case.run(&bad, &["--preview"]).exits(1);
    assert!(told.stderr().contains("ensure.items.purge"), "{}", told.stderr());
}

#[test]
fn items_of_which_some_were_written_are_broken_and_say_what_is_missing() {
    let case = Case::new(178, 1, &["--fault", "lost-write-answer=1"]);
    let results = case.run(LISTS, &["--yes", "--timeout", "3s"]).exits(3).json();
    assert_eq!(
        (&results[0]["state"], &results[0]["error"]["class"]),
        (&"broken".into(), &"not_as_wanted".into()),
        "{results:?}"
    );
    assert_eq!(
        case.words().len(),
        1,
        "the first write was done, and no other was tried"
    );
}

#[test]
fn a_check_that_does_not_hold_stops_before_or_breaks_after() {
    let case = Case::new(179, 4, &[]);
    let plan = |before: &str, after: &str| {
        format!("[[step]]\ncheck = \"{before}\"\n{DNS}\n[[step]]\ncheck = \"{after}\"\n")
    };
    let holds = "facts.free_disk > 1000 && facts.version >= version('6.40') && facts.identity != ''";
    let same = "post.interfaces_up >= pre.interfaces_up && post.uptime >= pre.uptime";
    let on = |device: &str, toml: &str, exit: i32| {
        let file = case.engine.directory.path().join("check.toml");
        std::fs::write(&file, toml).expect("written");
        let file = file.to_str().expect("UTF-8");
        let select = format!("name={device}");
        let words = ["run", "--select", &select, "--plan", file, "--json", "--yes"];
        case.engine.run(&words).exits(exit)
    };
    let done = on("r0", &plan(holds, same), 0).of("r0");
    assert_eq!(done["state"], "succeeded", "{done}");
    assert_eq!(done["rows"][0]["op"], "check", "what it went by is told: {done}");
    let written = case.words().len();
    let low = on("r1", &plan("facts.free_disk > 90000000000000", same), 3).of("r1");
    assert_eq!(
        (&low["state"], &low["error"]["class"]),
        (&"rejected".into(), &"check".into()),
        "{low}"
    );
    assert_eq!(case.words().len(), written, "nothing was written");
    let after = on("r2", &plan(holds, "post.interfaces_up > pre.interfaces_up"), 3).of("r2");
    assert_eq!(
        (&after["state"], &after["error"]["class"]),
        (&"broken".into(), &"check".into()),
        "{after}"
    );
    let unsaid = on("r3", &plan("facts.leases > 0", same), 3).of("r3");
    let message = unsaid["error"]["message"].as_str().expect("a message");
    assert!(message.contains("facts.leases is not known"), "{unsaid}");
    let told = on("r3", &plan("facts.fre_disk > 1", same), 1);
    let place = r#""line":2,"column":9,"field":"step[1].check""#;
    assert!(told.stderr().contains(place), "{}", told.stderr());
}
