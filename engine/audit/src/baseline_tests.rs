//! Each check of the baseline, with what passes and what fails.

use super::tests::{answer, judged};
use super::*;

/// A check, and per menu the items of a device that passes and of one that fails: properties with blanks between, items
/// with bars.
type Case = (
    &'static str,
    &'static [(&'static str, &'static str, &'static str)],
);

const CASES: &[Case] = &[
    (
        "telnet is off",
        &[(
            "/ip/service",
            "name=telnet port=23 disabled=true",
            "name=telnet port=23 disabled=false",
        )],
    ),
    (
        "ftp is off",
        &[("/ip/service", "name=ftp disabled=yes", "name=ftp disabled=no")],
    ),
    (
        "http is off or limited",
        &[(
            "/ip/service",
            "name=www disabled=false address=10.0.0.0/8",
            "name=www disabled=false address=",
        )],
    ),
    (
        "the default user is gone",
        &[(
            "/user",
            "name=ops group=full disabled=false|name=admin disabled=true",
            "name=ops|name=admin group=full",
        )],
    ),
    (
        "dns answers nobody else",
        &[(
            "/ip/dns",
            "allow-remote-requests=false",
            "allow-remote-requests=true",
        )],
    ),
    (
        "dns over https is verified",
        &[(
            "/ip/dns",
            "use-doh-server=",
            "use-doh-server=https://d/q verify-doh-cert=false",
        )],
    ),
    (
        "the clock is set by ntp",
        &[("/system/ntp/client", "enabled=true", "enabled=false")],
    ),
    (
        "ntp has a server",
        &[(
            "/system/ntp/client",
            "enabled=yes primary-ntp=192.0.2.1",
            "enabled=true servers=",
        )],
    ),
    (
        "routeros is not old",
        &[(
            "/system/resource",
            "version=6.49.10~(long-term)",
            "version=7.6~(stable)",
        )],
    ),
    (
        "device-mode is not flagged",
        &[(
            "/system/device-mode",
            "mode=advanced flagged=false",
            "mode=home flagged=true",
        )],
    ),
    (
        "the input chain drops the rest",
        &[(
            "/ip/firewall/filter",
            "chain=input action=accept connection-state=established|chain=input action=drop in-interface-list=!LAN",
            "chain=input action=drop connection-state=invalid|chain=input action=drop disabled=true",
        )],
    ),
    (
        "no input rule accepts everything",
        &[(
            "/ip/firewall/filter",
            "chain=input action=accept protocol=icmp|chain=input action=accept in-interface-list=LAN",
            "chain=input action=accept log=false",
        )],
    ),
    (
        "the ipv6 input chain drops the rest",
        &[(
            "/ipv6/firewall/filter",
            "chain=input action=drop",
            "chain=input action=accept protocol=icmpv6",
        )],
    ),
    (
        "source routes are refused",
        &[(
            "/ip/settings",
            "accept-source-route=false",
            "accept-source-route=true",
        )],
    ),
    (
        "icmp redirects are refused",
        &[("/ip/settings", "accept-redirects=no", "accept-redirects=yes")],
    ),
    (
        "mac telnet is not on every interface",
        &[(
            "/tool/mac-server",
            "allowed-interface-list=none",
            "allowed-interface-list=all",
        )],
    ),
    (
        "mac winbox is not on every interface",
        &[(
            "/tool/mac-server/mac-winbox",
            "allowed-interface-list=mgmt",
            "allowed-interface-list=all",
        )],
    ),
    (
        "mac ping is off",
        &[("/tool/mac-server/ping", "enabled=false", "enabled=true")],
    ),
    (
        "neighbours are not told everywhere",
        &[(
            "/ip/neighbor/discovery-settings",
            "discover-interface-list=none",
            "discover-interface-list=!dynamic",
        )],
    ),
    (
        "romon is off",
        &[("/tool/romon", "enabled=false", "enabled=true")],
    ),
    (
        "the bandwidth server is off",
        &[("/tool/bandwidth-server", "enabled=no", "enabled=yes")],
    ),
    (
        "the web proxy is off",
        &[("/ip/proxy", "enabled=false", "enabled=true")],
    ),
    ("socks is off", &[("/ip/socks", "enabled=false", "enabled=true")]),
    ("upnp is off", &[("/ip/upnp", "enabled=false", "enabled=true")]),
    (
        "dynamic dns is off",
        &[("/ip/cloud", "ddns-enabled=auto", "ddns-enabled=true")],
    ),
    ("smb is off", &[("/ip/smb", "enabled=auto", "enabled=yes")]),
    (
        "pptp is off",
        &[("/interface/pptp-server/server", "enabled=false", "enabled=true")],
    ),
    (
        "l2tp needs ipsec",
        &[(
            "/interface/l2tp-server/server",
            "enabled=true use-ipsec=required",
            "enabled=true use-ipsec=no",
        )],
    ),
    (
        "no sniffer is running",
        &[("/tool/sniffer", "running=false", "running=true")],
    ),
    (
        "graphs are not shown to everybody",
        &[(
            "/tool/graphing/interface",
            "allow-address=10.0.0.0/8",
            "allow-address=0.0.0.0/0",
        )],
    ),
    (
        "snmp has no community named public",
        &[
            (
                "/snmp/community",
                "name=public read-access=true",
                "name=public read-access=true",
            ),
            ("/snmp", "enabled=false", "enabled=true"),
        ],
    ),
    (
        "snmp cannot write",
        &[
            (
                "/snmp/community",
                "name=ro write-access=false",
                "name=rw write-access=true",
            ),
            ("/snmp", "enabled=true", "enabled=true"),
        ],
    ),
    (
        "ssh uses strong cryptography only",
        &[("/ip/ssh", "strong-crypto=true", "strong-crypto=false")],
    ),
    (
        "ssh never goes without encryption",
        &[("/ip/ssh", "allow-none-crypto=false", "allow-none-crypto=true")],
    ),
    (
        "ssh does not forward",
        &[("/ip/ssh", "forwarding-enabled=no", "forwarding-enabled=local")],
    ),
    (
        "no certificate has expired",
        &[("/certificate", "name=a", "name=a expired=true")],
    ),
];

fn items(text: &str) -> Vec<u8> {
    let mut sentences = Vec::new();
    for item in text.split('|') {
        let words = item.split(' ').map(|word| format!("={}", word.replace('~', " ")));
        sentences.push(std::iter::once("!re".to_owned()).chain(words).collect::<Vec<_>>());
    }
    sentences.push(vec!["!done".to_owned()]);
    let sentences = sentences
        .iter()
        .map(|words| words.iter().map(String::as_str).collect::<Vec<_>>());
    let sentences = sentences.collect::<Vec<_>>();
    answer(&sentences.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn verdict(check: &str, case: &[(&'static str, &'static str, &'static str)], fails: bool) -> Judgement {
    let audit = file::audit(BASELINE).expect("valid");
    let at = audit
        .checks
        .iter()
        .position(|known| known.name == check)
        .expect(check);
    let answers = case
        .iter()
        .map(|(menu, good, bad)| (*menu, items(if fails { bad } else { good })))
        .collect::<Vec<_>>();
    judged(BASELINE, &answers).remove(at)
}

#[test]
fn every_check_has_a_device_that_passes_and_one_that_fails() {
    let audit = file::audit(BASELINE).expect("valid");
    assert!(audit.checks.len() >= 25, "{}", audit.checks.len());
    for check in &audit.checks {
        assert!(!check.reason.is_empty(), "{} says why", check.name);
        let (_, case) = CASES
            .iter()
            .find(|(name, _)| *name == check.name)
            .expect(&check.name);
        let good = verdict(&check.name, case, false);
        assert_eq!(good.verdict, Verdict::Pass, "{}: {good:?}", check.name);
        let bad = verdict(&check.name, case, true);
        assert_eq!(bad.verdict, Verdict::Fail, "{}: {bad:?}", check.name);
    }
    assert_eq!(CASES.len(), audit.checks.len());
}

#[test]
fn a_device_that_has_nothing_fails_nothing_but_its_firewall() {
    let trap = answer(&[
        &["!trap", "=message=no such command or directory (x)"],
        &["!done"],
    ]);
    let audit = file::audit(BASELINE).expect("valid");
    let steps = Reads::of(&audit).plan.steps;
    let menus = steps.iter().map(muster_model::Step::title).collect::<Vec<_>>();
    let menus = menus
        .iter()
        .map(|title| title.split("/print").next().unwrap_or_default());
    let answers = menus.map(|menu| (menu, trap.clone())).collect::<Vec<_>>();
    for said in judged(BASELINE, &answers) {
        assert_eq!(said.verdict, Verdict::NotApplicable, "{said:?}");
    }
    // Empty answers everywhere: only what has to be there is missed.
    let failed = judged(BASELINE, &[]);
    let failed = failed
        .iter()
        .zip(&audit.checks)
        .filter(|(said, _)| said.verdict == Verdict::Fail);
    let failed = failed.map(|(_, check)| check.name.as_str()).collect::<Vec<_>>();
    assert_eq!(failed, ["the input chain drops the rest"]);
}

#[test]
fn versions_that_are_kept_up_pass() {
    let case = |version: &'static str| {
        let rows: &'static str = Box::leak(format!("version={version}~(stable)").into_boxed_str());
        let case: &'static [_] = Box::leak(Box::new([("/system/resource", rows, rows)]));
        verdict("routeros is not old", case, false).verdict
    };
    for (version, expected) in [
        ("6.48.6", Verdict::Fail),
        ("6.49.6", Verdict::Fail),
        ("6.49.7", Verdict::Pass),
        ("7.1.5", Verdict::Fail),
        ("7.12", Verdict::Fail),
        ("7.12.1", Verdict::Pass),
        ("7.24", Verdict::Pass),
    ] {
        assert_eq!(case(version), expected, "{version}");
    }
}
