//! `muster check`: files are judged without an engine.

use std::process::Output;

use serde_json::Value;

use crate::harness::muster;

fn check(text: &str, more: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("x.toml"), text).unwrap();
    let mut command = muster();
    command
        .current_dir(folder.path())
        .args(["check", "x.toml"])
        .args(more);
    command.output().unwrap()
}

const GOOD: &str = "name = \"resolvers\"\nselect = \"role=cpe\"\n\
                    [[step]]\ncommand = [\"/ip/dns/set\", \"servers=1.1.1.1\"]\n\
                    [[wave]]\nsize = 10\nbudget = 1\n[[wave]]\nsize = \"100%\"\n";

#[test]
fn a_good_file_is_told_in_a_line() {
    let output = check(GOOD, &[]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "x.toml: valid: 1 step on role=cpe, waves 10 → 100%; at most 1% harmed, \
         halt on more than 5% harmed + rescued + refused once 20 are over\n"
    );
    let json: Value = serde_json::from_slice(&check(GOOD, &["--json"]).stdout).unwrap();
    assert_eq!(
        (&json["ok"], &json["rollout"]["waves"][0]["budget"]),
        (&true.into(), &"1".into())
    );
}

/// A plan with a step of each kind that a file about firmware has, with the names that are promised.
const UPGRADE: &str = r#"
[[step]]
check = "facts.free_disk > 20000000 && facts.version >= version('7.12.1')"
[[step]]
backup = { max-age = "1h" }
[[step]]
ensure = "/ip/firewall/address-list"
key = ["list", "address"]
items = [{ list = "mgmt", address = "{{ labels.mgmt_net }}" }]
purge = "list=mgmt"                     # remove items of this query that are not named
[[step]]
command = "/ip/dns/cache/flush"
[[step]]
upgrade = { version = "7.16.2", source = "vendor", routerboot = true, wait = "15m" }
[[step]]
check = "post.interfaces_up >= pre.interfaces_up"
"#;

#[test]
fn a_plan_for_firmware_is_good_alone_and_in_a_rollout() {
    for head in ["", "name = \"firmware\"\nall = true\n"] {
        let output = check(&format!("{head}{UPGRADE}"), &[]);
        let told = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{told}");
        assert_eq!(head.is_empty(), told.contains("a plan of"), "{told}");
    }
    let output = check(&UPGRADE.replace("free_disk", "free_disc"), &[]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(
        told.starts_with("x.toml:3:") && told.contains("free_disc"),
        "{told}"
    );
}

#[test]
fn every_mistake_has_its_line() {
    let bad = GOOD
        .replace("size = 10", "sice = 10")
        .replace("budget = 1", "budget = \"lots\"");
    let output = check(&bad, &[]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stdout).unwrap();
    for line in [
        "x.toml:5:1: wave[1].size: is missing; write a count as 10, a share of the selection as \"25%\", or \"rest\"",
        "x.toml:6:1: wave[1].sice: is no key here; did you mean size?",
        "x.toml:7:10: wave[1].budget = \"lots\": \"lots\" is no amount; write a count, a percentage as \"1%\", or \"all\"",
    ] {
        assert!(told.lines().any(|found| found == line), "{line}\n{told}");
    }
    let json: Value = serde_json::from_slice(&check(&bad, &["--json"]).stdout).unwrap();
    assert_eq!(json["errors"][1]["line"], 6);
    assert_eq!(json["errors"][1]["field"], "wave[1].sice");
}

#[test]
fn files_that_a_file_names_are_looked_at_too() {
    let gate = |more: &str| {
        GOOD.replace(
            "budget = 1\n",
            &format!("budget = 1\n[[wave.gate]]\nkind = {more}\n"),
        )
    };
    let good = check(
        &gate("\"audit\"\nfile = \"baseline\"\nmin-coverage = \"95%\""),
        &[],
    );
    assert_eq!(
        good.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&good.stdout)
    );
    let mistakes = [
        (
            "\"audit\"\nfile = \"none.toml\"",
            "x.toml:10:8: wave[1].gate[1].file = \"none.toml\": cannot be read: none.toml: ",
        ),
        (
            "\"audit\"\nfile = \"x.toml\"",
            "x.toml:10:8: wave[1].gate[1].file = \"x.toml\": is no right audit: x.toml:",
        ),
        (
            "\"audit\"",
            "x.toml:8:1: wave[1].gate[1].file: is missing; write the audit's file",
        ),
        (
            "\"webhook\"\nurl = \"ftp://x\"",
            "x.toml:10:7: wave[1].gate[1].url = \"ftp://x\": is no address that can be asked",
        ),
        (
            "\"webhook\"\nurl = \"https://x\"\nca = \"x.toml\"",
            "x.toml:11:6: wave[1].gate[1].ca = \"x.toml\": has no certificate",
        ),
        (
            "\"webhook\"\nurl = \"http://x\"\nca = \"x.toml\"",
            "x.toml:11:6: wave[1].gate[1].ca = \"x.toml\": says whom to trust",
        ),
    ];
    for (more, line) in mistakes {
        let told = String::from_utf8(check(&gate(more), &[]).stdout).unwrap();
        assert!(
            told.lines().any(|found| found.starts_with(line)),
            "{line}\n{told}"
        );
    }
}
