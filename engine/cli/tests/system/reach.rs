//! Reaching devices: TLS in every mode, REST, `auto`, and routers that are not the ones they were.

use std::fmt::Write as _;

use crate::harness::{Engine, Fleet, Ran, muster, until};
use serde_json::Value;

/// Ports of a fleet, all of its services.
struct Ports {
    api: u16,
    tls: u16,
    rest: u16,
    https: u16,
}

/// A fleet with TLS and REST, and an engine that has the credential.
fn start(network: u8, devices: usize, more: &[&str]) -> (Fleet, Ports, Engine) {
    let any = [
        "--tls-port",
        "0",
        "--rest-port",
        "0",
        "--https-port",
        "0",
        "--version",
        "7.16.2",
    ];
    let fleet = Fleet::start(network, devices, &[&any[..], more].concat());
    let port = |name: &str| fleet.hello[name].as_u64().expect("a port") as u16;
    let ports = Ports {
        api: fleet.port,
        tls: port("tls_port"),
        rest: port("rest_port"),
        https: port("https_port"),
    };
    let engine = Engine::start(&[]);
    engine.set_credential("\n");
    (fleet, ports, engine)
}

/// Imports lines of `name,index,port,transport,tls,pin,ports`.
fn import(
    engine: &Engine,
    fleet: &Fleet,
    more: &[&str],
    lines: &[(&str, usize, u16, &str, &str, &str, &str)],
) {
    let mut csv = "name,address,port,credential,transport,tls,pin,ports\n".to_owned();
    for (name, index, port, transport, tls, pin, ports) in lines {
        let port = if *port == 0 {
            String::new()
        } else {
            port.to_string()
        };
        writeln!(
            csv,
            "{name},{},{port},ops,{transport},{tls},{pin},{ports}",
            fleet.address(*index)
        )
        .unwrap();
    }
    engine
        .run_with_input(&[&["device", "import", "-"], more].concat(), &csv)
        .ok();
}

fn fingerprint(fleet: &Fleet, index: usize, what: &str) -> String {
    let both = fleet.get(&format!("/devices/{index}/certificate"));
    both[what].as_str().expect("a digest").to_owned()
}

fn identities(engine: &Engine, select: &str) -> Ran {
    engine.run(&[
        "run",
        "--select",
        select,
        "--timeout",
        "10s",
        "--json",
        "--",
        "/system/identity/print",
    ])
}

fn show(engine: &Engine, name: &str) -> Value {
    engine
        .run(&["device", "show", name, "--json"])
        .ok()
        .json()
        .remove(0)
}

#[test]
fn a_certificate_is_taken_as_the_device_demands_and_no_other_way() {
    let (fleet, ports, engine) = start(104, 8, &[]);
    let other = fingerprint(&fleet, 7, "certificate");
    fleet.set_fault(4, Some("tls-expired"));
    fleet.set_fault(5, Some("tls-anonymous"));
    let expired = fingerprint(&fleet, 4, "key");
    import(
        &engine,
        &fleet,
        &[],
        &[
            (
                "by-cert",
                0,
                ports.tls,
                "api-ssl",
                "",
                &fingerprint(&fleet, 0, "certificate"),
                "",
            ),
            (
                "by-key",
                1,
                ports.https,
                "https",
                "pin",
                &fingerprint(&fleet, 1, "key"),
                "",
            ),
            ("wrong", 2, ports.tls, "api-ssl", "pin", &other, ""),
            ("system", 3, ports.tls, "api-ssl", "", "", ""),
            ("roots", 3, ports.tls, "api-ssl", "roots", "", ""),
            ("insecure", 3, ports.https, "https", "insecure", "", ""),
            ("expired", 4, ports.tls, "api-ssl", "", &expired, ""),
            ("no-certificate", 5, ports.tls, "api-ssl", "insecure", "", ""),
            ("not-tls", 6, ports.api, "api-ssl", "insecure", "", ""),
            ("no-rest", 6, ports.api, "http", "", "", ""),
        ],
    );
    let ran = identities(&engine, "name=*").exits(3);
    for good in ["by-cert", "by-key", "insecure", "expired"] {
        assert_eq!(ran.of(good)["state"], "succeeded", "{}", ran.of(good));
    }
    for (bad, class, told) in [
        ("wrong", "tls", other.as_str()),
        ("wrong", "tls", fingerprint(&fleet, 2, "certificate").as_str()),
        ("system", "tls", "can only be pinned"),
        ("roots", "worker", "--device-roots"),
        ("no-certificate", "tls", "/ip/service set api-ssl certificate="),
    ] {
        let result = ran.of(bad);
        assert_eq!(
            (&result["state"], &result["error"]["class"]),
            (&"failed".into(), &class.into()),
            "{result}"
        );
        assert!(
            result["error"]["message"].as_str().unwrap().contains(told),
            "{told}\nin {result}"
        );
    }
    // What does not speak TLS, or HTTP, at all.
    for bad in ["not-tls", "no-rest"] {
        assert_ne!(ran.of(bad)["state"], "succeeded", "{}", ran.of(bad));
    }
    assert_eq!(
        show(&engine, "wrong")["reach"]["offered_certificate"],
        fingerprint(&fleet, 2, "certificate")
    );
}

#[test]
fn trusting_a_certificate_is_said_by_somebody_and_kept_in_the_history() {
    let (fleet, ports, engine) = start(105, 3, &[]);
    import(
        &engine,
        &fleet,
        &[],
        &[
            ("first", 0, ports.tls, "api-ssl", "first-use", "", ""),
            ("later", 1, ports.https, "https", "", "", ""),
        ],
    );
    let ran = identities(&engine, "name=*").exits(3);
    assert_eq!(ran.of("first")["state"], "succeeded");
    assert_eq!(ran.of("later")["error"]["class"], "tls");
    let own = fingerprint(&fleet, 0, "certificate");
    until("the first certificate is pinned", || {
        show(&engine, "first")["pin"] == own.as_str()
    });

    // Another certificate than the first is not taken, though nobody had it pinned by hand.
    fleet.set_fault(0, Some("tls-other"));
    let other = fingerprint(&fleet, 0, "certificate");
    until("sessions from before are gone", || {
        let result = identities(&engine, "name=first");
        // An open connection stays what it was; a router that restarts has to show its certificate again.
        engine.run(&[
            "run",
            "--select",
            "name=first",
            "--yes",
            "--timeout",
            "3s",
            "--",
            "/system/reboot",
        ]);
        result.of("first")["error"]["class"] == "tls"
    });
    until("it waits to be accepted", || {
        show(&engine, "first")["reach"]["offered_certificate"] == other.as_str()
    });

    engine
        .run(&["device", "trust", "first", "--reason", "replaced"])
        .ok();
    until("what was never seen waits too", || {
        show(&engine, "later")["reach"]["offered_certificate"]
            == fingerprint(&fleet, 1, "certificate").as_str()
    });
    engine
        .run(&[
            "device",
            "trust",
            "later",
            "--pin",
            &fingerprint(&fleet, 1, "key"),
        ])
        .ok();
    let ran = identities(&engine, "name=*").ok();
    assert_eq!(ran.json().len(), 2);
    let refused = engine.run(&["device", "trust", "first"]).exits(6);
    assert!(
        refused.stderr().contains("nothing that waits"),
        "{}",
        refused.stderr()
    );
    let history = engine.run(&["history", "first"]).ok().stdout();
    assert!(
        history.contains(&own) && history.contains(&other) && history.contains("replaced"),
        "{history}"
    );
}

#[test]
fn rest_does_and_tells_the_same_as_the_api() {
    let (fleet, ports, engine) = start(106, 1, &["--rest-cut", "2s"]);
    let pin = fingerprint(&fleet, 0, "certificate");
    import(
        &engine,
        &fleet,
        &[],
        &[
            ("api", 0, ports.api, "api", "", "", ""),
            ("http", 0, ports.rest, "http", "", "", ""),
            ("https", 0, ports.https, "https", "", &pin, ""),
        ],
    );
    let run = |words: &[&str]| {
        engine.run(
            &[
                &[
                    "run",
                    "--all",
                    "--json",
                    "--declare-read",
                    "--timeout",
                    "8s",
                    "--",
                ],
                words,
            ]
            .concat(),
        )
    };
    let same = |words: &[&str]| {
        let ran = run(words);
        let told = |name: &str| {
            let result = ran.of(name);
            ["state", "rows", "done"].map(|field| result[field].clone())
        };
        assert_eq!(told("http"), told("api"), "{words:?}");
        assert_eq!(told("https"), told("api"), "{words:?}");
        ran
    };
    let reads = |words: &[&str]| {
        let ran = engine.run(&[&["run", "--all", "--json", "--timeout", "8s", "--"], words].concat());
        let told = |name: &str| {
            let result = ran.of(name);
            ["state", "rows", "done"].map(|field| result[field].clone())
        };
        assert_eq!(told("http"), told("api"), "{words:?}");
        assert_eq!(told("https"), told("api"), "{words:?}");
        ran
    };
    for words in [
        &["/system/identity/print"][..],
        &["/interface/print"],
        &["/interface/print", ".proplist=.id,name,mtu"],
        &["/interface/print", "=.id=*1"],
        &["/interface/print", "=.id=ether1", ".proplist=name"],
        &["/interface/print", "?type=ether", "?name=ether1"],
        &["/interface/print", "?foo=bar"],
        &[
            "/interface/print",
            "?>mtu=1000",
            "?name=ether1",
            "?#!&",
            ".proplist=name",
        ],
        &["/interface/print", "=count-only="],
        &["/interface/print", "?type=nothing"],
        &["/ip/firewall/filter/print"],
        &["/system/nothing/print"],
    ] {
        reads(words);
    }
    let ran = same(&["/ping", "=address=10.0.0.1", "=count=1"]);
    assert_eq!(ran.of("http")["rows"][0]["host"], "10.0.0.1");
    let ran = run(&["/ping", "=address=10.0.0.1", "=count=100"]);
    assert_eq!(ran.of("http")["error"]["class"], "timeout");
    assert!(
        ran.of("http")["error"]["message"]
            .as_str()
            .unwrap()
            .contains("60 s")
    );
    let ran = run(&["/ping", "=address=10.0.0.1"]);
    assert!(
        ran.of("http")["error"]["message"]
            .as_str()
            .unwrap()
            .contains("use transport api"),
        "{}",
        ran.of("http")
    );

    let change = |name: &str, words: &[&str]| {
        let select = format!("name={name}");
        engine.run(&[&["run", "--select", &select, "--yes", "--json", "--"], words].concat())
    };
    for (name, address) in [
        ("http", "10.77.0.1/24"),
        ("https", "10.78.0.1/24"),
        ("api", "10.79.0.1/24"),
    ] {
        let given = format!("=address={address}");
        let made = change(
            name,
            &[
                "/ip/address/add",
                &given,
                "=interface=ether1",
                "=comment=caf\u{e9} \"x\"\n",
            ],
        )
        .ok();
        let id = made.of(name)["done"]["ret"].as_str().expect("an id").to_owned();
        let id = format!("=.id={id}");
        change(name, &["/ip/address/set", &id, "=disabled=yes"]).ok();
        change(name, &["/ip/address/disable", &id]).ok();
        let query = format!("?address={address}");
        let found = reads(&["/ip/address/print", &query]).of("api")["rows"][0].clone();
        assert_eq!(
            (&found["disabled"], &found["comment"]),
            (&"true".into(), &"caf\u{e9} \"x\"\n".into())
        );
        change(name, &["/ip/address/unset", &id, "=value-name=comment"]).ok();
        assert!(
            reads(&["/ip/address/print", &query]).of("http")["rows"][0]
                .get("comment")
                .is_none()
        );
        change(name, &["/ip/address/remove", &id]).ok();
        let again = change(name, &["/ip/address/remove", &id]).exits(3);
        assert_eq!(again.of(name)["state"], "failed");
        assert_eq!(
            (
                &again.of(name)["error"]["class"],
                &again.of(name)["error"]["category"]
            ),
            (&"trap".into(), &0.into())
        );
    }
    for name in ["api", "http"] {
        change(name, &["/system/identity/set", &format!("=name=by-{name}")]).ok();
        let bad = change(
            name,
            &["/ip/address/add", "=address=nonsense", "=interface=ether1"],
        )
        .exits(3);
        assert_eq!(
            bad.of(name)["error"]["message"],
            "invalid value for argument address"
        );
        assert_eq!(bad.of(name)["state"], "failed");
    }
    assert_eq!(
        reads(&["/system/identity/print"]).of("api")["rows"][0]["name"],
        "by-http"
    );
    let executed = fleet.journal();
    let adds = executed
        .iter()
        .filter(|entry| entry.words[0] == "/ip/address/add" && entry.result == "done")
        .count();
    assert_eq!(adds, 3, "each exactly once");
}

#[test]
fn over_rest_a_lost_answer_is_a_question_and_broken_routers_have_their_own_errors() {
    let names = [
        "lost-write-answer",
        "lost-write",
        "reset",
        "garbage",
        "wrong-password",
        "hang",
        "drop",
        "byte-by-byte",
        "two-traps",
    ];
    let (fleet, ports, engine) = start(107, names.len(), &[]);
    let lines = names
        .iter()
        .enumerate()
        .map(|(index, name)| (*name, index, ports.rest, "http", "", "", ""));
    import(&engine, &fleet, &[], &lines.collect::<Vec<_>>());
    // The sessions begin while all is well, so that the command is what goes wrong.
    identities(&engine, "name=*").ok();
    until("facts are known", || {
        names.iter().all(|name| !show(&engine, name)["facts"].is_null())
    });
    for (index, name) in names.iter().enumerate() {
        fleet.set_fault(index, Some(name));
    }
    let change = |timeout: &str, select: &str| {
        let run = [
            "run",
            "--select",
            select,
            "--yes",
            "--json",
            "--timeout",
            timeout,
            "--",
        ];
        engine.run(&[&run[..], &["/ip/dns/set", "servers=1.1.1.1"]].concat())
    };
    let ran = change("20s", "name in (lost-write,lost-write-answer,byte-by-byte)").exits(3);
    for (name, state, class) in [
        ("lost-write-answer", "unknown", Some("reset")),
        ("lost-write", "unknown", Some("reset")),
        ("byte-by-byte", "succeeded", None),
    ] {
        let result = ran.of(name);
        assert_eq!(
            (result["state"].as_str(), result["error"]["class"].as_str()),
            (Some(state), class),
            "{result}"
        );
    }
    let mut executed = fleet
        .journal()
        .iter()
        .map(|entry| names[entry.device])
        .collect::<Vec<_>>();
    executed.sort_unstable();
    assert_eq!(
        executed,
        ["byte-by-byte", "lost-write-answer"],
        "nothing is sent twice"
    );

    let ran = identities(
        &engine,
        "name in (reset,garbage,wrong-password,hang,two-traps,drop)",
    );
    for (name, class) in [
        ("reset", "reset"),
        ("garbage", "protocol"),
        ("wrong-password", "auth"),
        ("hang", "timeout"),
        ("two-traps", "trap"),
        ("drop", "reset"),
    ] {
        assert_eq!(ran.of(name)["error"]["class"], class, "{}", ran.of(name));
    }
    let told = ran.of("garbage")["error"]["message"].as_str().unwrap().to_owned();
    assert!(told.contains("text/html"), "{told}");
}

#[test]
fn auto_takes_the_best_there_is_remembers_it_and_never_speaks_in_the_clear_against_a_demand() {
    let (fleet, ports, engine) = start(108, 4, &[]);
    let all = format!("api-ssl={};api={};https={}", ports.tls, ports.api, ports.https);
    let no_ssl = format!("api-ssl=1;api={};https={}", ports.api, ports.https);
    let only_rest = format!("api-ssl=1;api=1;https={}", ports.https);
    let pin = fingerprint(&fleet, 3, "certificate");
    import(
        &engine,
        &fleet,
        &[],
        &[
            ("all", 0, 0, "auto", "", "", &all),
            ("no-ssl", 1, 0, "auto", "", "", &no_ssl),
            ("only-rest", 2, 0, "auto", "", "", &only_rest),
            ("demands", 3, 0, "auto", "", &pin, &no_ssl),
            ("demands-other", 2, 0, "auto", "", &pin, &all),
        ],
    );
    let ran = identities(&engine, "name=*").exits(3);
    assert_eq!(
        ran.of("demands-other")["error"]["class"],
        "tls",
        "{}",
        ran.of("demands-other")
    );
    for (name, worked) in [
        ("all", "api-ssl"),
        ("no-ssl", "api"),
        ("only-rest", "https"),
        ("demands", "https"),
    ] {
        assert_eq!(ran.of(name)["state"], "succeeded", "{}", ran.of(name));
        until("what worked is kept", || {
            show(&engine, name)["reach"]["worked"] == worked
        });
        assert!(show(&engine, name)["reach"]["worked_at"].is_string());
    }
    assert_eq!(show(&engine, "demands-other")["reach"]["worked"], "");
    let bad = "name,address,port,credential,transport,tls,pin,ports\na,10.0.0.1,8729,ops,auto,,,\nb,10.0.0.2,,ops,api,system,,\n\
               c,10.0.0.3,,ops,https,pin,,\nd,10.0.0.4,,ops,api-ssl,,12,\ne,10.0.0.5,,ops,api,,,api=1\n";
    let refused = engine.run_with_input(&["device", "import", "-"], bad).exits(1);
    for told in [
        "line 2, column 3 (port): transport auto has a port for each transport",
        "line 3, column 6 (tls): \"system\" is demanded, but transport api has no certificate",
        "line 4, column 7 (pin): tls is \"pin\", and there is no pin",
        "line 5, column 7 (pin): \"12\" is no SHA-256",
        "line 6, column 8 (ports): ports are for transport auto",
    ] {
        assert!(
            refused.stderr().contains(told),
            "{told}\nin\n{}",
            refused.stderr()
        );
    }
}

#[test]
fn a_router_with_another_serial_number_is_flagged_and_not_changed_until_somebody_accepts_it() {
    // Two boards, and both addresses in the hands of one device after the other.
    let (fleet, ports, engine) = start(109, 6, &[]);
    let serials = engine_serials(&engine, &fleet, &ports);
    let (from, to) = serials;
    import(
        &engine,
        &fleet,
        &["--update"],
        &[("swapped", from, ports.api, "api", "", "", "")],
    );
    identities(&engine, "name=swapped").ok();
    until("the serial number is known", || {
        show(&engine, "swapped")["facts"]["serial"]
            .as_str()
            .is_some_and(|serial| !serial.is_empty())
    });
    let known = show(&engine, "swapped")["facts"]["serial"].clone();
    // The same inventory row now leads to another router.
    import(
        &engine,
        &fleet,
        &["--update"],
        &[("swapped", to, ports.api, "api", "", "", "")],
    );
    // Reads go on, and one is enough to see it.
    identities(&engine, "name=swapped").ok();
    until("a read has seen it", || {
        show(&engine, "swapped")["reach"]["offered_serial"]
            .as_str()
            .is_some_and(|serial| !serial.is_empty())
    });
    let change = || {
        engine.run(&[
            "run",
            "--select",
            "name=swapped",
            "--yes",
            "--json",
            "--",
            "/ip/dns/set",
            "servers=9.9.9.9",
        ])
    };
    let refused = change().exits(3);
    assert_eq!(
        refused.of("swapped")["error"]["class"],
        "identity",
        "{}",
        refused.of("swapped")
    );
    assert_eq!(fleet.executed(), 0, "nothing was changed");
    until("everybody sees it", || {
        show(&engine, "swapped")["reach"]["offered_serial"]
            .as_str()
            .is_some_and(|serial| !serial.is_empty())
    });
    assert_eq!(show(&engine, "swapped")["facts"]["serial"], known);
    assert!(
        engine
            .run(&["device", "list"])
            .ok()
            .stdout()
            .contains("SERIAL CHANGED")
    );
    identities(&engine, "name=swapped").ok();
    assert_eq!(change().exits(3).of("swapped")["error"]["class"], "identity");
    engine.run(&["device", "trust", "swapped"]).ok();
    change().ok();
    assert_eq!(fleet.executed(), 1);
}

/// Two devices of the fleet that have serial numbers.
fn engine_serials(engine: &Engine, fleet: &Fleet, ports: &Ports) -> (usize, usize) {
    let names = ["s0", "s1", "s2", "s3", "s4", "s5"];
    let lines = names
        .iter()
        .enumerate()
        .map(|(index, name)| (*name, index, ports.api, "api", "", "", ""));
    import(engine, fleet, &[], &lines.collect::<Vec<_>>());
    let ran = engine.run(&[
        "run",
        "--all",
        "--json",
        "--",
        "/system/routerboard/print",
        ".proplist=serial-number",
    ]);
    let boards = (0..names.len())
        .filter(|index| ran.of(names[*index])["state"] == "succeeded")
        .collect::<Vec<_>>();
    assert!(boards.len() >= 2, "boards among the devices");
    (boards[0], boards[1])
}

#[test]
fn a_roots_file_that_is_no_use_is_refused_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("roots.pem");
    std::fs::write(&path, "nothing").unwrap();
    std::fs::write(directory.path().join("token"), "x").unwrap();
    let ran = muster()
        .args(["worker", "--token-file"])
        .arg(directory.path().join("token"))
        .arg("--device-roots")
        .arg(&path)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(1), "{told}");
    assert!(
        told.contains("--device-roots: roots in") && told.contains("no certificate"),
        "{told}"
    );
}
