//! W0a: what limits, resumption and the tape cost the decoder.
//!
//! The baseline hops over the same bytes from length to length and counts. It keeps nothing, knows no limits and
//! reads lengths of one or two bytes only. Both are bound by the same chain: the next length is known when this one
//! has been read.

use anyhow::ensure;
use routeros_wire::Decoder;

use super::{Row, Run};
use crate::board::{Better, Outcome, Spec};
use crate::codec;
use crate::corpus::Corpus;
use crate::cpu::medians;

/// See the module.
#[derive(Debug)]
pub(super) struct W0a;

impl Row for W0a {
    fn spec(&self) -> Spec {
        Spec {
            id: "W0a",
            what: "decode: scan of corpus b (5,000 firewall rows, one buffer), speed relative to the baseline, \
                   processor time",
            unit: "ratio",
            better: Better::Higher,
            floor: 0.5,
            goal: 1.0,
            baseline: "a naive loop over the same bytes that counts words and sentences and keeps nothing",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        let corpus = Corpus::firewall();
        codec::check(&corpus)?;
        let mut decoder = Decoder::default();
        let [scan, naive] = medians(
            [
                Box::new(|| codec::scan(&mut decoder, std::hint::black_box(&corpus.bytes))),
                Box::new(|| {
                    let counts = codec::naive(std::hint::black_box(&corpus.bytes));
                    counts.map_or(0, |(sentences, words)| sentences + words)
                }),
            ],
            run.pick(7, 21),
        );
        ensure!(scan > 0.0, "the clock does not move");
        let per_word = |time: f64| time / corpus.facts.words as f64;
        run.progress(&format!(
            "W0a: {:.2} ns a word, naive loop {:.2}",
            per_word(scan),
            per_word(naive)
        ));
        Ok(Outcome::Measured {
            measured: naive / scan,
            // A ratio to the baseline: the baseline's own is one.
            baseline: 1.0,
        })
    }
}
