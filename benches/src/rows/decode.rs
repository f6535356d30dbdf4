//! W1, W3a, W3b and W3c: finding every word and sentence of a stream.
//!
//! Where a word begins is known when the length before it has been read. A loop that does nothing else but wait for
//! that is the *bare chain*, `p += 1 + b[p]`; it keeps nothing, and counts words. What beats it does not wait.

use std::hint::black_box;
use std::iter;

use anyhow::ensure;
use routeros_wire::{Decoder, Kernel};

use super::{Row, Run};
use crate::board::{Better, Outcome, Spec};
use crate::codec;
use crate::corpus::Corpus;
use crate::cpu::{Pass, all_medians};

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
            let times = times(run, "W1", &corpus)?;
            slowest = slowest.max(times.of(Kernel::Auto) / times.base);
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
        let times = times(run, "W3a", &Corpus::flood())?;
        Ok(ratio(times.base / times.of(Kernel::Auto)))
    }
}

/// The vector kernel on d against the bare chain.
#[derive(Debug)]
pub(super) struct W3b;

impl Row for W3b {
    fn spec(&self) -> Spec {
        Spec {
            id: "W3b",
            what: "the same as W3a with the vector kernel (pointer jumping, AVX-512 VBMI), whether or not the decoder \
                   chooses it: speed relative to the bare chain, processor time",
            unit: "x speed",
            better: Better::Higher,
            floor: 2.5,
            goal: 5.0,
            baseline: "the bare length chain p += 1 + b[p]",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        if !Kernel::Vbmi.is_native() {
            let why = "this processor has no AVX-512 VBMI, and there the kernel is another one";
            return Ok(Outcome::Skipped(why.to_owned()));
        }
        let times = times(run, "W3b", &Corpus::flood())?;
        Ok(ratio(times.base / times.of(Kernel::Vbmi)))
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
            let times = times(run, "W3c", &corpus)?;
            slowest = slowest.min(times.base / times.of(Kernel::Auto));
        }
        Ok(ratio(slowest))
    }
}

/// Nanoseconds for the decoder and its baseline: the naive loop for long words, the bare chain for others.
fn times(run: &Run, row: &str, corpus: &Corpus) -> anyhow::Result<Times> {
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
    let mut passes = vec![Box::new(|| chain(black_box(bytes))) as Pass<'_>];
    for decoder in &mut decoders {
        passes.push(Box::new(move || codec::scan(decoder, black_box(bytes))));
    }
    let times = all_medians(passes, run.pick(7, 21));
    ensure!(times.iter().all(|time| *time > 0.0), "the clock does not move");
    let names = Kernel::ALL.map(|kernel| format!("{kernel:?}").to_lowercase());
    let names = iter::once("baseline").chain(names.iter().map(String::as_str));
    let told = names.zip(&times).map(|(name, time)| {
        let time = time / corpus.facts.words as f64;
        format!("{name} {time:.3}")
    });
    let told = told.collect::<Vec<_>>().join(", ");
    run.progress(&format!("{row} {}, ns a word: {told}", corpus.name));
    Ok(Times {
        base: times[0],
        kernels: times[1..].to_vec(),
    })
}

/// Nanoseconds a pass.
struct Times {
    base: f64,
    /// As in [`Kernel::ALL`].
    kernels: Vec<f64>,
}

impl Times {
    fn of(&self, kernel: Kernel) -> f64 {
        let mut all = Kernel::ALL.iter().zip(&self.kernels);
        all.find(|(other, _)| **other == kernel)
            .map_or(f64::NAN, |(_, time)| *time)
    }
}

fn ratio(measured: f64) -> Outcome {
    Outcome::Measured {
        measured,
        // A ratio to the baseline: the baseline's own is one.
        baseline: 1.0,
    }
}
