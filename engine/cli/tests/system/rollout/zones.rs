//! Windows in the zone of each device (G1).

use std::time::{SystemTime, UNIX_EPOCH};

use super::{detached, in_state, job};
use crate::harness::{Engine, Fleet, until};

/// A window that is open for two hours from the beginning of this hour, where the clock is UTC's.
fn file(more: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let hour = now / 3600 % 24;
    format!(
        "name = \"x\"\nall = true\ntimeout = \"5s\"\n[[step]]\ncommand = [\"/ip/dns/set\", \"servers=9.9.9.9\"]\n\
         [[wave]]\nsize = \"rest\"\n[limits]\nbudget = \"all\"\n\
         [window]\ncron = \"0 {hour} * * *\"\nduration = \"2h\"\n{more}\n"
    )
}

fn start(zones: &[&str]) -> (Fleet, Engine) {
    let fleet = Fleet::start(108, zones.len(), &[]);
    let engine = Engine::start(&[]);
    engine.set_credential("\n");
    let mut csv = String::from("name,address,port,credential,labels\n");
    for (index, zone) in zones.iter().enumerate() {
        let label = match *zone {
            "" => String::new(),
            zone => format!("tz={zone}"),
        };
        csv.push_str(&format!(
            "r{index},{},{},ops,{label}\n",
            fleet.address(index),
            fleet.port
        ));
    }
    engine.run_with_input(&["device", "import", "-"], &csv).ok();
    (fleet, engine)
}

#[test]
fn what_is_open_here_is_shut_on_the_other_side_of_the_world() {
    // Twelve hours ahead, and twelve behind.
    let zones = ["UTC", "Etc/GMT-12", "Etc/UTC", "Etc/GMT+12", "UTC"];
    let (fleet, mut engine) = start(&zones);
    std::fs::write(
        engine.directory.path().join("x.toml"),
        file("zone-label = \"tz\""),
    )
    .unwrap();
    let id = detached(&engine, "x.toml");
    until("those whose window is open are done", || {
        fleet.journal().len() == 3
    });
    let told = engine.run(&["job", "explain", &id]).ok().stdout();
    assert!(told.contains("the window is shut in Etc/GMT-12"), "{told}");
    let told = engine
        .run(&["job", "explain", &id, "--device", "r3"])
        .ok()
        .stdout();
    assert!(
        told.contains("the window is shut in Etc/GMT+12") && !told.contains("GMT-12"),
        "{told}"
    );
    // It is no other through a kill.
    engine.kill();
    engine.start_again();
    until("it goes on", || job(&engine, &id)["state"] == "running");
    let mut devices = fleet
        .journal()
        .iter()
        .map(|entry| entry.device)
        .collect::<Vec<_>>();
    devices.sort_unstable();
    assert_eq!(devices, [0, 2, 4]);
    engine.run(&["job", "abort", &id]).ok();
    let ended = in_state(&engine, &id, "aborted");
    assert_eq!(
        (&ended["counts"]["succeeded"], &ended["counts"]["cancelled"]),
        (&3.into(), &2.into())
    );
    assert_eq!(fleet.journal().len(), 3);
}

#[test]
fn where_every_zone_is_shut_it_waits_and_says_until_when() {
    let (fleet, engine) = start(&["Etc/GMT-12", "Etc/GMT+12"]);
    std::fs::write(
        engine.directory.path().join("x.toml"),
        file("zone-label = \"tz\""),
    )
    .unwrap();
    let id = detached(&engine, "x.toml");
    let waiting = in_state(&engine, &id, "waiting_window");
    assert!(!waiting["rollout"]["opens_at"].is_null(), "{waiting}");
    assert!(fleet.journal().is_empty());
    engine.run(&["job", "abort", &id]).ok();
}

#[test]
fn every_device_has_to_say_its_zone() {
    let (_fleet, engine) = start(&["UTC", "", "Mars/Olympus"]);
    std::fs::write(
        engine.directory.path().join("x.toml"),
        file("zone-label = \"tz\""),
    )
    .unwrap();
    let refused = engine
        .run(&["rollout", "start", "x.toml", "--yes"])
        .exits(1)
        .stderr();
    assert!(
        refused.contains("r1 has no label \"tz\", r2: \"Mars/Olympus\" is no time zone"),
        "{refused}"
    );
    std::fs::write(
        engine.directory.path().join("x.toml"),
        file("zone = \"UTC\"\nzone-label = \"tz\""),
    )
    .unwrap();
    let told = engine.run(&["check", "x.toml"]).exits(1).stdout();
    assert!(
        told.contains("x.toml:13:8: window.zone = \"UTC\": a zone and a label"),
        "{told}"
    );
}
