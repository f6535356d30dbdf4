//! W1, W3a and W3c: finding every word and sentence of a stream.
//!
//! Where a word begins is known when the length before it has been read. A loop that does nothing else but wait for
//! that is the *bare chain*, `p += 1 + b[p]`; it keeps nothing, and counts words. What beats it does not wait.

use std::hint::black_box;

use anyhow::ensure;
use routeros_wire::{Decoder, Kernel};

use super::{Row, Run};
use crate::board::{Better, Outcome, Spec};
use crate::codec;
use crate::corpus::Corpus;
use crate::cpu::{Pass, medians};

/// Framing of a and b against the bare chain.
#[derive(Debug)]
pub(super) struct W1;

impl Row for W1 {
    fn spec(&self) -> Spec {
        Spec {
            id: "W1",
            what: "framing with sentence ends and name lengths, one buffer: time relative to the bare chain over the \
                   same bytes, the slower of corpora a (twice, for 64 KiB) and b, processor time",
            unit: "x time",
            better: Better::Lower,
            floor: 0.65,
            goal: 0.38,
            baseline: "the bare length chain p += 1 + b[p]",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        let mut slowest: f64 = 0.0;
        for corpus in [Corpus::interfaces().repeated(2), Corpus::firewall()] {
            let [ours, chain] = times(run, "W1", &corpus)?;
            slowest = slowest.max(ours / chain);
        }
        Ok(ratio(slowest))
    }
}

/// Framing of d against the bare chain.
#[derive(Debug)]
pub(super) struct W3a;

impl Row for W3a {
    fn spec(&self) -> Spec {
        Spec {
            id: "W3a",
            what: "framing with sentence ends and name lengths of corpus d (20,000 x !done): speed relative to the \
                   bare chain, processor time",
            unit: "x speed",
            better: Better::Higher,
            floor: 2.0,
            goal: 4.0,
            baseline: "the bare length chain p += 1 + b[p]",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        let [ours, chain] = times(run, "W3a", &Corpus::flood())?;
        Ok(ratio(chain / ours))
    }
}

/// Framing where lanes have little to win, against the naive loop.
#[derive(Debug)]
pub(super) struct W3c;

impl Row for W3c {
    fn spec(&self) -> Spec {
        Spec {
            id: "W3c",
            what: "framing with sentence ends and name lengths where words are long: speed relative to the naive \
                   loop, the slower of corpora f and c, processor time",
            unit: "x speed",
            better: Better::Higher,
            floor: 0.9,
            goal: 1.5,
            baseline: "a naive safe loop that reads every length form, counts words and sentences, keeps nothing",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        let mut slowest = f64::INFINITY;
        for corpus in [Corpus::lengths(), Corpus::files()] {
            let [ours, naive] = times(run, "W3c", &corpus)?;
            slowest = slowest.min(naive / ours);
        }
        Ok(ratio(slowest))
    }
}

/// Nanoseconds for the decoder and its baseline: the naive loop for long words, the bare chain for others.
fn times(run: &Run, row: &str, corpus: &Corpus) -> anyhow::Result<[f64; 2]> {
    codec::check(corpus)?;
    let bytes = corpus.bytes.as_slice();
    let chain = |bytes: &[u8]| match row {
        "W3c" => codec::naive(bytes).map_or(0, |(sentences, words)| sentences + words),
        _ => codec::chain(bytes),
    };
    if row != "W3c" {
        ensure!(
            codec::chain(bytes) == corpus.facts.words,
            "the bare chain miscounts {}",
            corpus.name
        );
    }
    // Every kernel takes its turn, so that the choice among them can be seen to be right.
    let mut decoders =
        Kernel::ALL.map(|kernel| Decoder::with_kernel(routeros_wire::Limits::default(), kernel));
    let [auto, serial, checked, unchecked, avx2] = decoders
        .each_mut()
        .map(|decoder| -> Pass<'_> { Box::new(move || codec::scan(decoder, black_box(bytes))) });
    let times = medians(
        [
            auto,
            Box::new(|| chain(black_box(bytes))),
            serial,
            checked,
            unchecked,
            avx2,
        ],
        run.pick(7, 21),
    );
    let [ours, base, ..] = times;
    ensure!(ours > 0.0 && base > 0.0, "the clock does not move");
    let [auto, base, serial, checked, unchecked, avx2] = times.map(|time| time / corpus.facts.words as f64);
    run.progress(&format!(
        "{row} {}: {auto:.3} ns a word, baseline {base:.3}; serial {serial:.3}, lanes checked {checked:.3}, \
         unchecked {unchecked:.3}, avx2 {avx2:.3}",
        corpus.name
    ));
    Ok([ours, times[1]])
}

fn ratio(measured: f64) -> Outcome {
    Outcome::Measured {
        measured,
        // A ratio to the baseline: the baseline's own is one.
        baseline: 1.0,
    }
}
