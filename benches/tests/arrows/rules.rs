//! The rules, and the functions that apply them. No cargo and no files here: `made_up` tries them on graphs that break
//! each rule.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A crate, and the crates it depends on for its normal build.
pub(crate) type Graph = BTreeMap<String, BTreeSet<String>>;

/// What one crate may reach, over any number of edges.
pub(crate) struct Rule {
    pub(crate) of: &'static str,
    pub(crate) why: &'static str,
    /// The only crates of ours it may reach; `None` for any.
    pub(crate) ours: Option<&'static [&'static str]>,
    /// Crates it may not reach, ours or not.
    pub(crate) never: &'static [&'static str],
}

const SHELL: &[&str] = &[
    "tokio", "sqlx", "tonic", "prost", "axum", "hyper", "mio", "socket2",
];

pub(crate) const RULES: &[Rule] = &[
    Rule {
        of: "routeros-wire",
        why: "bytes and nothing else, fit to publish by itself",
        ours: Some(&[]),
        never: SHELL,
    },
    Rule {
        of: "routeros-conn",
        why: "the connection machine has no sockets, no clock and no runtime",
        ours: Some(&["routeros-wire"]),
        never: SHELL,
    },
    Rule {
        of: "muster-model",
        why: "values and functions of values",
        ours: Some(&[]),
        never: SHELL,
    },
    Rule {
        of: "muster-proto",
        why: "the API knows the model and nobody who serves it",
        ours: Some(&["muster-model"]),
        never: &["sqlx"],
    },
    Rule {
        of: "muster-worker-core",
        why: "the core decides, the shell does",
        ours: Some(&["muster-model", "routeros-wire"]),
        never: SHELL,
    },
    Rule {
        of: "muster-engine-core",
        why: "the core decides, the shell does",
        ours: Some(&["muster-model"]),
        never: SHELL,
    },
    Rule {
        of: "muster-audit",
        why: "what an audit says is a function of what devices answered",
        ours: Some(&["muster-model", "routeros-wire"]),
        never: SHELL,
    },
    Rule {
        of: "muster-sim",
        why: "the simulator never sees the client's code, so that neither hides the other's mistakes",
        ours: Some(&["routeros-wire"]),
        never: &["sqlx", "tonic"],
    },
    Rule {
        of: "muster-store",
        why: "the store knows the domain and not gRPC",
        ours: Some(&["muster-model", "muster-engine-core", "routeros-wire"]),
        never: &["tonic", "prost", "muster-proto"],
    },
    Rule {
        of: "muster-engine",
        why: "engine and worker meet only at the API and the model",
        ours: None,
        never: &[
            "muster-worker",
            "muster-worker-core",
            "routeros-conn",
            "muster-sim",
        ],
    },
    Rule {
        of: "muster-worker",
        why: "engine and worker meet only at the API and the model",
        ours: None,
        never: &[
            "muster-engine",
            "muster-engine-core",
            "muster-store",
            "muster-sim",
            "sqlx",
        ],
    },
];

/// Nobody depends on these: they put the others together.
pub(crate) const TOPS: &[&str] = &["muster", "muster-benches"];

/// Licences that would bind the product; they are for a comparison in a workspace of its own.
pub(crate) const PEERS: &[&str] = &["mikrotik-rs", "mikrotik-proto", "mikrotik_api"];
/// They link C libraries that have to be built or found.
pub(crate) const FOREIGN_TLS: &[&str] = &["aws-lc-sys", "openssl-sys"];
/// Of these there is at most one.
const TLS: &[&str] = &[
    "ring",
    "aws-lc-rs",
    "openssl",
    "native-tls",
    "boring",
    "mbedtls",
    "rustls-graviola",
];

/// Every edge that `rules` forbid, told in a sentence each.
pub(crate) fn violations(graph: &Graph, ours: &BTreeSet<String>, rules: &[Rule]) -> Vec<String> {
    let mut found = Vec::new();
    for Rule {
        of,
        why,
        ours: only,
        never,
    } in rules
    {
        if !ours.contains(*of) {
            found.push(format!(
                "{of} ({why}): there is no such crate, so the rule holds for nobody"
            ));
        }
        for (reached, way) in reachable(graph, of) {
            let foreign = only.is_some_and(|only| ours.contains(reached) && !only.contains(&reached));
            if foreign || never.contains(&reached) {
                found.push(format!(
                    "{of} ({why}) must not depend on {reached}: {}",
                    way.join(" -> ")
                ));
            }
        }
    }
    let into_tops = graph
        .iter()
        .flat_map(|(of, on)| on.iter().map(move |on| (of, on)));
    for (of, on) in into_tops.filter(|(_, on)| TOPS.contains(&on.as_str())) {
        found.push(format!(
            "{on} (nobody depends on it: it puts the others together): {of} -> {on}"
        ));
    }
    found
}

/// What can be reached from a crate, with the shortest way there.
fn reachable<'a>(graph: &'a Graph, from: &'a str) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut ways = BTreeMap::new();
    let mut queue = VecDeque::from([vec![from]]);
    while let Some(way) = queue.pop_front() {
        let on = way.last().and_then(|last| graph.get(*last)).into_iter().flatten();
        for next in on {
            if next != from && !ways.contains_key(next.as_str()) {
                let way = [&way[..], &[next]].concat();
                ways.insert(next.as_str(), way.clone());
                queue.push_back(way);
            }
        }
    }
    ways
}

/// Crates that may not be in the graph at all, whoever asks for them and for whatever kind of build.
pub(crate) fn banned(packages: &BTreeSet<String>) -> Vec<String> {
    let present = |names: &[&'static str]| {
        let present = names.iter().copied().filter(|name| packages.contains(*name));
        present.collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    for name in present(PEERS) {
        found.push(format!(
            "{name} is in the graph: its licence does not allow that; compare with it elsewhere"
        ));
    }
    for name in present(FOREIGN_TLS) {
        found.push(format!(
            "{name} is in the graph: TLS is to be built without a C library of its own"
        ));
    }
    let providers = present(TLS);
    if providers.len() > 1 {
        found.push(format!(
            "more than one TLS provider is in the graph: {}",
            providers.join(", ")
        ));
    }
    found
}

/// What the client commands of the CLI do not know: they are users of the public API like everybody else.
const BEHIND_THE_API: &[&str] = &[
    "muster_engine",
    "muster_store",
    "muster_worker",
    "muster_sim",
    "sqlx",
];

pub(crate) fn mentions(text: &str) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let names = BEHIND_THE_API.iter().filter(|name| line.contains(**name));
        found.extend(names.map(|name| (number, *name)));
    }
    found
}
