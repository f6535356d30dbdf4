//! The baseline on a fleet that has drifted in known places, and verdicts as they come.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::harness::{Engine, Fleet, muster};

const DEVICES: usize = 40;

/// What each deviation makes fail.
const FOUND: &[(&str, &str)] = &[
    ("telnet", "telnet is off"),
    ("ftp", "ftp is off"),
    ("http", "http is off or limited"),
    ("default-user", "the default user is gone"),
    ("open-resolver", "dns answers nobody else"),
    ("unverified-doh", "dns over https is verified"),
    ("no-ntp", "the clock is set by ntp"),
    ("no-ntp-server", "ntp has a server"),
    ("old-version", "routeros is not old"),
    ("flagged", "device-mode is not flagged"),
    ("open-input", "the input chain drops the rest"),
    ("accept-all", "no input rule accepts everything"),
    ("open-ipv6-input", "the ipv6 input chain drops the rest"),
    ("source-route", "source routes are refused"),
    ("redirects", "icmp redirects are refused"),
    ("mac-telnet", "mac telnet is not on every interface"),
    ("mac-winbox", "mac winbox is not on every interface"),
    ("mac-ping", "mac ping is off"),
    ("discovery", "neighbours are not told everywhere"),
    ("romon", "romon is off"),
    ("bandwidth-server", "the bandwidth server is off"),
    ("web-proxy", "the web proxy is off"),
    ("socks", "socks is off"),
    ("upnp", "upnp is off"),
    ("dynamic-dns", "dynamic dns is off"),
    ("smb", "smb is off"),
    ("pptp", "pptp is off"),
    ("bare-l2tp", "l2tp needs ipsec"),
    ("sniffer", "no sniffer is running"),
    ("open-graphs", "graphs are not shown to everybody"),
    ("snmp-public", "snmp has no community named public"),
    ("snmp-write", "snmp cannot write"),
    ("weak-ssh", "ssh uses strong cryptography only"),
    ("bare-ssh", "ssh never goes without encryption"),
    ("ssh-forwarding", "ssh does not forward"),
    ("expired-certificate", "no certificate has expired"),
];

fn import(engine: &Engine, fleet: &Fleet) {
    let words = [
        "credential",
        "set",
        "ops",
        "--username",
        "noc",
        "--password-stdin",
    ];
    engine.run_with_input(&words, "\n").ok();
    let mut csv = String::from("name,address,port,credential\n");
    for index in 0..DEVICES {
        let (address, port) = (fleet.address(index), fleet.port);
        csv.push_str(&format!("r{index},{address},{port},ops\n"));
    }
    engine.run_with_input(&["device", "import", "-"], &csv).ok();
}

#[test]
fn the_baseline_finds_every_planted_deviation_and_no_other() {
    let more = ["--drift", "10%", "--user", "noc"];
    let fleet = Fleet::start(201, DEVICES, &more);
    let engine = Engine::start(&[]);
    import(&engine, &fleet);
    let named = FOUND.iter().copied().collect::<BTreeMap<_, _>>();
    let mut planted = BTreeSet::new();
    for device in fleet.get("/devices").as_array().unwrap() {
        for one in device["drift"].as_array().into_iter().flatten() {
            if let Some(check) = named.get(one["deviation"].as_str().unwrap()) {
                planted.insert((format!("r{}", device["index"]), (*check).to_owned()));
            }
        }
    }
    // What it says beforehand is what it then is.
    let list = [&["sim", "--list", "--devices", "40", "--json"], &more[..]].concat();
    let listed = muster().args(list).output().unwrap().stdout;
    let listed = String::from_utf8(listed).unwrap();
    let listed = listed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let known = listed.filter(|line| named.contains_key(line["deviation"].as_str().unwrap()));
    assert_eq!(known.count(), planted.len());

    let ran = engine
        .run(&["audit", "run", "baseline", "--all", "--json"])
        .exits(3);
    let lines = ran.json();
    let of = |verdict: &str| {
        let meant = lines.iter().filter(|line| line["verdict"] == verdict);
        let pair = |line: &Value| {
            let text = |key: &str| line[key].as_str().unwrap().to_owned();
            (text("device"), text("check"))
        };
        meant.map(pair).collect::<BTreeSet<_>>()
    };
    assert_eq!(lines.len(), DEVICES * FOUND.len());
    assert_eq!(of("fail"), planted);
    assert_eq!(of("error").len() + of("unreached").len(), 0);
    let checks =
        |set: BTreeSet<(String, String)>| set.into_iter().map(|(_, check)| check).collect::<BTreeSet<_>>();
    let all = FOUND
        .iter()
        .map(|(_, check)| (*check).to_owned())
        .collect::<BTreeSet<_>>();
    assert_eq!(checks(of("fail")), all);
    assert_eq!(checks(of("pass")), all);
    // Files have the same.
    let run = engine.run(&["audit", "list", "--json"]).ok().json().remove(0);
    let id = run["id"].as_str().unwrap();
    let file = |words: &[&str], name: &str| {
        engine.run(&[words, &["-o", name]].concat()).ok();
        std::fs::read(engine.directory.path().join(name)).unwrap()
    };
    let results = ["audit", "results", id, "--verdict", "fail"];
    let written = String::from_utf8(file(&results, "v.jsonl")).unwrap();
    let pair = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["verdict"], "fail");
        let text = |key: &str| line[key].as_str().unwrap().to_owned();
        (text("device"), text("check"))
    };
    assert_eq!(written.lines().map(pair).collect::<BTreeSet<_>>(), planted);
    let findings = String::from_utf8(file(&["audit", "findings"], "f.csv")).unwrap();
    assert!(findings.starts_with("audit,check,device,severity,state,first_seen,"));
    assert_eq!(findings.lines().count(), planted.len() + 1);
    assert!(file(&["audit", "findings"], "f.parquet").ends_with(b"PAR1"));
    let wrong = engine.run(&["audit", "results", id, "-o", "v.txt"]).exits(1);
    assert!(
        wrong.stderr().contains("jsonl, csv or parquet"),
        "{}",
        wrong.stderr()
    );
    // What is misspelt is waived by nobody.
    for (words, told) in [
        (["nope", "telnet is off", "r1"], "there is no audit \"nope\""),
        (
            ["baseline", "telnet is of", "r1"],
            "there is no check \"telnet is of\"",
        ),
        (
            ["baseline", "telnet is off", "r999"],
            "there is no device \"r999\"",
        ),
    ] {
        let [audit, check, device] = words;
        let words = ["audit", "waive", audit, "--check", check, "--device", device];
        let words = [&words[..], &["--owner", "noc", "--until", "30d"]].concat();
        let said = engine.run(&words).exits(1).stderr();
        assert!(said.contains(told), "{said}");
    }
    // What a version lacks is n/a, and says so.
    for line in lines.iter().filter(|line| line["verdict"] == "n/a") {
        let reason = line["reason"].as_str().unwrap();
        assert!(
            reason.contains("the device has no /")
                || reason
                    == "not rows.exists(r, has(r.servers) || has(r.primary_ntp) || has(r.server_dns_names))",
            "{line}"
        );
    }
}

const ONE: &str = r#"
name = "t"
all = true
[[check]]
name = "telnet is off"
read = "/ip/service"
where = "name=telnet"
expect = "rows.all(r, r.disabled == 'true')"
[[check]]
name = "no address twice"
read = "/ip/address"
across = "row.address"
expect = "rows.size() == 1"
"#;

#[test]
fn verdicts_are_told_as_they_come_each_once() {
    // One device does not answer for as long as it takes to look.
    let fleet = Fleet::start(
        202,
        DEVICES,
        &["--drift", "0%", "--user", "noc", "--fault", "silent=1"],
    );
    let engine = Engine::start(&[]);
    import(&engine, &fleet);
    let (silent, _) = fleet.faults().remove(0);
    let file = engine.directory.path().join("audit.toml");
    std::fs::write(&file, ONE).unwrap();
    let file = file.to_str().unwrap();
    let words = ["audit", "run", file, "--timeout", "8s", "--json"];
    let mut child = engine.command(&words).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told = Vec::<Value>::new();
    for _ in 1..DEVICES {
        told.push(serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap());
    }
    // All but one have been told of, and it is under way.
    let run = engine.run(&["audit", "list", "--json"]).ok().json().remove(0);
    assert!(run["finished_at"].is_null(), "{run}");
    assert!(told.iter().all(|line| line["check"] == "telnet is off"));
    told.extend(lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap()));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let pair = |line: &Value| (line["device"].to_string(), line["check"].to_string());
    let pairs = told.iter().map(pair).collect::<BTreeSet<_>>();
    assert_eq!((told.len(), pairs.len()), (DEVICES * 2, DEVICES * 2));
    // What was told is what is kept.
    let id = run["id"].as_str().unwrap();
    let kept = engine.run(&["audit", "results", id, "--json"]).ok().json();
    let sorted = |lines: &[Value]| {
        let mut lines = lines.iter().map(ToString::to_string).collect::<Vec<_>>();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&told), sorted(&kept));
    let name = format!("r{silent}");
    let unreached = told.iter().filter(|line| line["verdict"] == "unreached");
    assert!(unreached.clone().all(|line| line["device"] == name.as_str()));
    assert_eq!(unreached.count(), 2);
}

#[test]
fn an_engine_that_goes_away_and_comes_back_tells_the_rest() {
    let fleet = Fleet::start(
        203,
        DEVICES,
        &[
            "--drift", "0%", "--user", "noc", "--fault", "late=10", "--late", "2s",
        ],
    );
    let mut engine = Engine::start(&[]);
    import(&engine, &fleet);
    let file = engine.directory.path().join("audit.toml");
    std::fs::write(&file, ONE).unwrap();
    let words = [
        "audit",
        "run",
        file.to_str().unwrap(),
        "--timeout",
        "60s",
        "--json",
    ];
    let mut child = engine.command(&words).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    let mut first = String::new();
    let mut reader = BufReader::new(&mut output);
    reader.read_line(&mut first).unwrap();
    engine.kill();
    engine.start_again();
    let rest = reader.lines().map(|line| line.unwrap()).collect::<Vec<_>>();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let told = std::iter::once(first.trim().to_owned())
        .chain(rest)
        .collect::<Vec<_>>();
    assert_eq!(told.len(), DEVICES * 2);
    assert_eq!(told.iter().collect::<BTreeSet<_>>().len(), DEVICES * 2);
}

#[test]
fn a_router_that_is_busy_is_asked_when_it_has_time() {
    let more = ["--drift", "0%", "--user", "noc", "--fault", "busy=1"];
    let fleet = Fleet::start(204, DEVICES, &more);
    let engine = Engine::start(&[]);
    import(&engine, &fleet);
    let (busy, _) = fleet.faults().remove(0);
    let file = engine.directory.path().join("audit.toml");
    std::fs::write(&file, ONE).unwrap();
    let words = ["audit", "run", file.to_str().unwrap(), "--json"];
    let mut child = engine.command(&words).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let name = format!("r{busy}");
    for _ in 1..DEVICES {
        let line = lines.next().unwrap().unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_ne!(line["device"], name.as_str());
    }
    let prints = fleet.get("/counters")["commands"]["/ip/service/print"].as_u64();
    assert_eq!(prints, Some(DEVICES as u64 - 1), "it is not asked");
    fleet.set_fault(busy, None);
    let rest = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let verdict = rest
        .filter(|line| line["device"] == name.as_str() && line["check"] == "telnet is off")
        .map(|line| line["verdict"].to_string())
        .collect::<Vec<_>>();
    assert_eq!(verdict, ["\"pass\""]);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
