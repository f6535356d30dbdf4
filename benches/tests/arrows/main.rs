//! Arrows point inward: shells depend on the core, never the other way round.
//!
//! Reads the dependency graph as cargo resolves it and names every edge that a rule forbids, with the way it came.
//! Whoever needs a new edge changes the rule first, and says why.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use cargo_metadata::{DependencyKind, MetadataCommand};
use rules::{Graph, RULES, Rule, banned, mentions, violations};

mod made_up;
mod rules;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The graph, the crates of the workspace, and every package in it.
#[expect(clippy::expect_used, reason = "a test states what it knows")]
fn resolved() -> (Graph, BTreeSet<String>, BTreeSet<String>) {
    // What this platform needs has been downloaded to build this test, so no network is needed, and `CARGO_NET_OFFLINE`
    // may forbid it; for other platforms it would be.
    let options = ["--locked", "--filter-platform", "host-tuple"];
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(options.map(str::to_owned))
        .exec()
        .expect("cargo metadata");
    let resolve = metadata.resolve.as_ref().expect("a resolved graph");
    let name = |id: &cargo_metadata::PackageId| metadata[id].name.to_string();
    let mut graph = Graph::new();
    for node in &resolve.nodes {
        let normal = node.deps.iter().filter(|dep| {
            dep.dep_kinds
                .iter()
                .any(|kind| kind.kind == DependencyKind::Normal)
        });
        // Two versions of a crate are one here: the rules are about names.
        graph
            .entry(name(&node.id))
            .or_default()
            .extend(normal.map(|dep| name(&dep.pkg)));
    }
    let ours = metadata.workspace_members.iter().map(name).collect();
    let packages = resolve.nodes.iter().map(|node| name(&node.id)).collect();
    (graph, ours, packages)
}

#[test]
fn no_arrow_points_outward() {
    let (graph, ours, packages) = resolved();
    let mut found = violations(&graph, &ours, RULES);
    found.extend(banned(&packages));
    assert!(found.is_empty(), "forbidden edges:\n  {}", found.join("\n  "));
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => found.extend(files(&path)?),
            false => found.push(path),
        }
    }
    Ok(found)
}

/// A graph that was read wrongly would break no rule either.
#[test]
fn an_edge_that_exists_is_found() {
    let (graph, ours, _) = resolved();
    let rule = Rule {
        of: "muster-store",
        why: "made up",
        ours: None,
        never: &["sqlx-core"],
    };
    assert_eq!(
        violations(&graph, &ours, &[rule]),
        ["muster-store (made up) must not depend on sqlx-core: muster-store -> sqlx -> sqlx-core"]
    );
}

#[test]
fn client_commands_know_only_the_public_api() {
    let folder = root().join("engine/cli/src/client");
    let files = files(&folder).expect("the client commands are in engine/cli/src/client");
    assert!(!files.is_empty(), "engine/cli/src/client is empty");
    for path in files {
        let found = mentions(&fs::read_to_string(&path).expect("text"));
        assert!(found.is_empty(), "{} (line, name): {found:?}", path.display());
    }
}
