//! W2 and W6: the decoder where memory and reads set the pace.

use std::hint::black_box;

use anyhow::ensure;
use routeros_wire::Decoder;

use super::{Row, Run};
use crate::board::{Better, Outcome, Spec};
use crate::codec;
use crate::corpus::Corpus;
use crate::cpu::medians;

/// Framing from DRAM against memcpy.
#[derive(Debug)]
pub(super) struct W2;

impl Row for W2 {
    fn spec(&self) -> Spec {
        Spec {
            id: "W2",
            what: "framing with sentence ends and name lengths of 256 MB of corpus b, out of the caches: speed \
                   relative to the baseline, processor time",
            unit: "x speed",
            better: Better::Higher,
            floor: 0.9,
            goal: 1.3,
            baseline: "memcpy of the same bytes into memory that is there already",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        const BYTES: usize = 256_000_000;
        let one = Corpus::firewall();
        codec::check(&one)?;
        let corpus = one.repeated(BYTES.div_ceil(one.bytes.len()));
        let mut decoder = Decoder::default();
        ensure!(
            codec::windows(&mut decoder, &corpus.bytes) == corpus.facts.sentences,
            "not all sentences were found"
        );
        let mut copy = corpus.bytes.clone();
        let [ours, memcpy] = medians(
            [
                Box::new(|| codec::windows(&mut decoder, black_box(&corpus.bytes))),
                Box::new(|| {
                    black_box(&mut copy).copy_from_slice(black_box(&corpus.bytes));
                    1
                }),
            ],
            run.pick(5, 21),
        );
        ensure!(ours > 0.0, "the clock does not move");
        Ok(Outcome::Measured {
            measured: memcpy / ours,
            baseline: 1.0,
        })
    }
}

/// Reads of one byte.
#[derive(Debug)]
pub(super) struct W6;

impl Row for W6 {
    fn spec(&self) -> Spec {
        Spec {
            id: "W6",
            what: "corpus a in reads of one byte, each appended, scanned, and sentences removed: time relative to \
                   the baseline, processor time",
            unit: "x time",
            better: Better::Lower,
            floor: 2.5,
            goal: 1.8,
            baseline: "the same pieces appended to a buffer and nothing else",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        let corpus = Corpus::interfaces();
        codec::check(&corpus)?;
        let (mut decoder, mut buf, mut copy) = (Decoder::default(), Vec::new(), Vec::new());
        ensure!(
            codec::pieces(&mut decoder, &mut buf, &corpus.bytes, 1) == corpus.facts.sentences,
            "not all sentences were found"
        );
        let [ours, append] = medians(
            [
                Box::new(|| codec::pieces(&mut decoder, &mut buf, black_box(&corpus.bytes), black_box(1))),
                Box::new(|| {
                    copy.clear();
                    for piece in black_box(&corpus.bytes).chunks(black_box(1)) {
                        copy.extend_from_slice(piece);
                        black_box(&copy);
                    }
                    copy.len() as u64
                }),
            ],
            run.pick(7, 21),
        );
        ensure!(append > 0.0, "the clock does not move");
        Ok(Outcome::Measured {
            measured: ours / append,
            baseline: 1.0,
        })
    }
}
