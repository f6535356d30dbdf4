//! Replies of RouterOS devices, made from a seed: the same bytes on every machine.
//!
//! Each stream is one answer with `.tag=2` as second word of every sentence. The letters are those of the tables
//! that these streams came with:
//!
//! * **a** `/interface/print`: 100 rows of about 27 attributes, short words, fits the second-level cache.
//! * **b** `/ip/firewall/filter/print`: 5,000 rows, some attributes present in some rows only, 1.3 MB.
//! * **c** contents of files of 1 to 64 KiB, 2.2 MB: few words, long ones.
//! * **d** 20,000 × `!done`: nothing but tiny sentences.
//! * **f** words of 40 to 260 bytes: whether a length takes one byte or two cannot be predicted.
//!
//! What a decoder has to find is counted while writing, so the counts owe nothing to any decoder.

mod writer;

use writer::Writer;

/// A stream and what is in it.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// The letter.
    pub name: &'static str,
    /// The stream.
    pub bytes: Vec<u8>,
    /// Three attribute names that a caller would ask each row for; not every row has them.
    pub names: [&'static str; 3],
    /// What is in the stream.
    pub facts: Facts,
}

/// What a decoder has to find in a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Sentences.
    pub sentences: u64,
    /// Words, the zero-length ones that end sentences included.
    pub words: u64,
    /// Attributes.
    pub attributes: u64,
    /// Bytes of all names and values of attributes.
    pub attribute_bytes: u64,
    /// Bytes of the values of [`Corpus::names`].
    pub named_bytes: u64,
}

impl Corpus {
    /// a: interfaces.
    pub fn interfaces() -> Self {
        let mut out = Writer::new("a", ["name", "running", "rx-byte"]);
        for row in 1..=100 {
            out.interface(row);
        }
        out.finish()
    }

    /// b: a firewall.
    pub fn firewall() -> Self {
        let mut out = Writer::new("b", ["chain", "dst-port", "comment"]);
        for row in 1..=5_000 {
            out.rule(row);
        }
        out.finish()
    }

    /// c: contents of files.
    pub fn files() -> Self {
        let mut out = Writer::new("c", ["name", "size", "contents"]);
        for row in 0..68 {
            let size = 1024 + out.random.below(63 * 1024 + 1);
            out.file(row, size);
        }
        out.finish()
    }

    /// The same bytes again and again.
    #[must_use]
    pub fn repeated(&self, times: usize) -> Self {
        let Facts {
            sentences,
            words,
            attributes,
            attribute_bytes,
            named_bytes,
        } = self.facts;
        let many = times as u64;
        Self {
            bytes: self.bytes.repeat(times),
            facts: Facts {
                sentences: sentences * many,
                words: words * many,
                attributes: attributes * many,
                attribute_bytes: attribute_bytes * many,
                named_bytes: named_bytes * many,
            },
            ..*self
        }
    }

    /// d: completions.
    pub fn flood() -> Self {
        let mut out = Writer::new("d", ["ret", "name", ".id"]);
        for _ in 0..20_000 {
            let tag = 3 + out.random.below(60_000);
            out.done(tag);
        }
        out.finish()
    }

    /// f: unpredictable lengths.
    pub fn lengths() -> Self {
        const NAMES: [&str; 8] = [
            "comment", "name", "value", "script", "source", "target", "note", "about",
        ];
        let fill = "y".repeat(260);
        let mut out = Writer::new("f", ["comment", "script", "number"]);
        for row in 0..2_000 {
            out.row();
            // A name that occurs twice would count once for who asks by name.
            for name in NAMES {
                let word = 40 + out.random.below(221) as usize;
                out.attribute(name, &fill[..word - name.len() - 2]);
            }
            out.attribute("number", row);
            out.end();
        }
        out.finish()
    }

    /// All of them.
    pub fn all() -> [Self; 5] {
        [
            Self::interfaces(),
            Self::firewall(),
            Self::files(),
            Self::flood(),
            Self::lengths(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_every_time() {
        for (one, other) in Corpus::all().into_iter().zip(Corpus::all()) {
            assert_eq!(one.bytes, other.bytes, "{}", one.name);
        }
    }

    /// The tables these streams came with name their sizes; another size would be another measurement.
    #[test]
    fn sizes_are_those_that_the_goals_were_set_on() {
        let close = |corpus: &Corpus, bytes: usize, sentences: u64| {
            let off = corpus.bytes.len().abs_diff(bytes) as f64 / bytes as f64;
            assert!(off < 0.1, "{} has {} bytes", corpus.name, corpus.bytes.len());
            assert_eq!(corpus.facts.sentences, sentences, "{}", corpus.name);
        };
        let [a, b, c, d, f] = Corpus::all();
        close(&a, 46_800, 101);
        close(&b, 1_260_000, 5_001);
        close(&c, 2_200_000, 69);
        close(&d, 356_000, 20_001);
        close(&f, 2_500_000, 2_001);
    }
}
