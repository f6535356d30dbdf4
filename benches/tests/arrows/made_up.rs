//! The rules on graphs that are made up: each forbidden edge is found.

use std::collections::BTreeSet;

use crate::rules::{FOREIGN_TLS, Graph, PEERS, RULES, TOPS, banned, mentions, violations};

/// The crates as the design draws them, with some of others.
fn good() -> (Graph, BTreeSet<String>) {
    let edges: [(&str, &[&str]); 14] = [
        ("routeros-wire", &["thiserror"]),
        ("routeros-conn", &["routeros-wire", "md-5"]),
        ("muster-model", &["serde"]),
        ("muster-proto", &["muster-model", "tonic", "prost"]),
        ("muster-worker-core", &["muster-model", "routeros-wire"]),
        ("muster-engine-core", &["muster-model"]),
        ("muster-audit", &["muster-model", "routeros-wire"]),
        ("muster-sim", &["routeros-wire", "tokio", "axum"]),
        (
            "muster-store",
            &["muster-engine-core", "muster-model", "sqlx", "tokio"],
        ),
        (
            "muster-engine",
            &[
                "muster-audit",
                "muster-engine-core",
                "muster-proto",
                "muster-store",
                "routeros-wire",
            ],
        ),
        (
            "muster-worker",
            &["muster-worker-core", "muster-proto", "routeros-conn", "tokio"],
        ),
        (
            "muster",
            &["muster-engine", "muster-worker", "muster-sim", "muster-proto"],
        ),
        (
            "muster-benches",
            &["muster-engine", "muster-worker", "muster-sim"],
        ),
        ("tonic", &["prost", "tokio"]),
    ];
    let set = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    let graph = edges.iter().map(|(of, on)| (of.to_string(), set(on))).collect();
    let ours = edges
        .iter()
        .map(|(of, _)| of.to_string())
        .filter(|of| of != "tonic")
        .collect();
    (graph, ours)
}

fn with(edges: &[(&str, &str)]) -> Vec<String> {
    let (mut graph, ours) = good();
    for (of, on) in edges {
        graph.entry(of.to_string()).or_default().insert(on.to_string());
    }
    violations(&graph, &ours, RULES)
}

#[test]
fn the_drawn_graph_is_allowed() {
    assert_eq!(with(&[]), Vec::<String>::new());
}

#[test]
fn each_forbidden_edge_is_found_directly_and_behind_another_crate() {
    let (_, ours) = good();
    for rule in RULES {
        let others = ours.iter().map(String::as_str);
        let foreign =
            others.filter(|name| *name != rule.of && rule.ours.is_some_and(|only| !only.contains(name)));
        for on in foreign.chain(rule.never.iter().copied()) {
            let told = format!(
                "{} ({}) must not depend on {on}: {} -> ",
                rule.of, rule.why, rule.of
            );
            for edges in [vec![(rule.of, on)], vec![(rule.of, "between"), ("between", on)]] {
                let found = with(&edges);
                assert!(
                    found.iter().any(|sentence| sentence.starts_with(&told)),
                    "{told}{on}: {found:#?}"
                );
            }
        }
    }
}

#[test]
fn what_puts_the_others_together_is_used_by_nobody() {
    for top in TOPS {
        let found = with(&[("muster-proto", top)]);
        let told = format!("muster-proto -> {top}");
        assert!(
            found.iter().any(|sentence| sentence.ends_with(&told)),
            "{found:#?}"
        );
    }
}

#[test]
fn a_rule_about_nobody_is_told() {
    let (graph, mut ours) = good();
    ours.remove("muster-sim");
    let found = violations(&graph, &ours, RULES);
    assert!(
        found
            .iter()
            .any(|sentence| sentence.contains("there is no such crate")),
        "{found:#?}"
    );
}

#[test]
fn banned_packages_are_found() {
    let with = |names: &[&str]| banned(&names.iter().map(ToString::to_string).collect()).len();
    assert_eq!(with(&["ring", "tokio"]), 0);
    assert_eq!(with(&["ring", "aws-lc-rs"]), 1);
    for name in PEERS.iter().chain(FOREIGN_TLS) {
        assert_eq!(with(&[name]), 1, "{name}");
    }
}

#[test]
fn a_mention_is_found_with_its_line() {
    assert_eq!(
        mentions("use muster_proto::v1;\nuse muster_store::Store;\n"),
        [(2, "muster_store")]
    );
}
