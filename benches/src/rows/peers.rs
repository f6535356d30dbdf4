//! W4: every attribute of a table, against another client for the same devices.
//!
//! The other client's licence would bind whoever is built with it, so the comparison is a program of its own, in a
//! workspace of its own (`benches/peers`). It gets the stream in a file, times both sides in turns, and its sums are
//! compared with what was written.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use super::{Row, Run};
use crate::board::{Better, Outcome, Spec};
use crate::corpus::Corpus;
use crate::scratch;

/// Splitting all attributes of a and b against mikrotik-rs.
#[derive(Debug)]
pub(super) struct W4;

impl Row for W4 {
    fn spec(&self) -> Spec {
        Spec {
            id: "W4",
            what: "all attributes split into name and value, no allocation: speed relative to the baseline on the same \
                   bytes, the lower of corpora a and b, processor time",
            unit: "x speed",
            better: Better::Higher,
            floor: 90.0,
            goal: 150.0,
            baseline: "mikrotik-rs 0.10's Connection, fed 8 KiB at a time as its socket does",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        if !run.peers {
            let how = "its peer is not built; add --peers, which fetches and builds benches/peers";
            return Ok(Outcome::Skipped(how.to_owned()));
        }
        let program = build(run)?;
        let directory = scratch::on_disk()?;
        let mut lowest = f64::INFINITY;
        for corpus in [Corpus::interfaces(), Corpus::firewall()] {
            let stream = directory.path().join(corpus.name);
            std::fs::write(&stream, &corpus.bytes)?;
            let [ours, peer] = times(&program, &stream, run.pick(5, 21), &corpus)?;
            let words = corpus.facts.words as f64;
            run.progress(&format!(
                "W4 {}: {:.3} ns a word, mikrotik-rs {:.1}: {:.1} x",
                corpus.name,
                ours / words,
                peer / words,
                peer / ours
            ));
            lowest = lowest.min(peer / ours);
        }
        Ok(Outcome::Measured {
            measured: lowest,
            // A ratio to the baseline: the baseline's own is one.
            baseline: 1.0,
        })
    }
}

/// Builds the peers beside this program.
pub(super) fn build(run: &Run) -> anyhow::Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/Cargo.toml");
    let target = run.program.with_file_name("peers");
    run.progress("building benches/peers");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--locked", "--quiet", "--manifest-path"])
        .arg(&manifest)
        .arg("--target-dir")
        .arg(&target)
        .status()
        .context("cargo cannot be started")?;
    ensure!(built.success(), "{} cannot be built", manifest.display());
    Ok(target.join("release/muster-peers"))
}

/// Nanoseconds a pass of our decoder and of the peer's.
fn times(program: &Path, stream: &Path, rounds: usize, corpus: &Corpus) -> anyhow::Result<[f64; 2]> {
    let output = Command::new(program)
        .arg(stream)
        .arg(rounds.to_string())
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "the peers' program failed: {}",
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    let [ours, peer, sentences, bytes] = told.split_whitespace().collect::<Vec<_>>()[..] else {
        bail!("the peers' program said {told:?}");
    };
    let facts = &corpus.facts;
    ensure!(
        (sentences.parse(), bytes.parse()) == (Ok(facts.sentences), Ok(facts.attribute_bytes)),
        "corpus {}: {told:?} does not have what was written",
        corpus.name
    );
    let (ours, peer) = (ours.parse::<f64>()?, peer.parse::<f64>()?);
    ensure!(ours > 0.0 && peer > 0.0, "the clock does not move");
    Ok([ours, peer])
}
