//! The work that codec benches and codec rows time, and the check that it is done.

use anyhow::{Context as _, ensure};
use routeros_wire::{Decoder, EncodeError, decode, encode, length};

use crate::corpus::Corpus;

/// Finds every word and sentence. Returns the number of sentences.
pub fn scan(decoder: &mut Decoder, bytes: &[u8]) -> u64 {
    // The streams were checked: an error would show as a wrong count.
    let sentences = decoder.scan(bytes).unwrap_or_default() as u64;
    decoder.consume();
    sentences
}

/// Finds every word and sentence, in windows as long streams are read. Returns the number of sentences.
pub fn windows(decoder: &mut Decoder, bytes: &[u8]) -> u64 {
    let mut sentences = 0;
    // As above.
    let _ = decode::windows(decoder, bytes, |decoder, _| sentences += decoder.ready() as u64);
    sentences
}

/// Feeds a stream in pieces, as reads bring them. Returns the number of sentences.
pub fn pieces(decoder: &mut Decoder, buf: &mut Vec<u8>, bytes: &[u8], size: usize) -> u64 {
    let mut sentences = 0;
    buf.clear();
    for piece in bytes.chunks(size) {
        buf.extend_from_slice(piece);
        let ready = decoder.scan(buf).unwrap_or_default();
        if ready > 0 {
            sentences += ready as u64;
            buf.drain(..decoder.consume());
        }
    }
    sentences
}

/// Finds everything and splits every attribute. Returns the bytes of their names and values.
pub fn attributes(decoder: &mut Decoder, bytes: &[u8]) -> u64 {
    let _ = decoder.scan(bytes);
    let sum = decoder
        .sentences(bytes)
        .flat_map(|sentence| sentence.attributes())
        .map(|(name, value)| (name.len() + value.len()) as u64)
        .sum();
    decoder.consume();
    sum
}

/// Finds everything and asks each sentence for three attributes. Returns the bytes of their values.
pub fn get(decoder: &mut Decoder, bytes: &[u8], names: [&str; 3]) -> u64 {
    let _ = decoder.scan(bytes);
    let sum = decoder
        .sentences(bytes)
        .flat_map(|sentence| names.map(|name| sentence.get(name.as_bytes())))
        .map(|value| value.map_or(0, <[u8]>::len) as u64)
        .sum();
    decoder.consume();
    sum
}

/// What a loop with no thought of limits, resumption or views does: hops from length to length and counts, keeping
/// nothing. Returns sentences and words; `None` when a word is cut.
pub fn naive(bytes: &[u8]) -> Option<(u64, u64)> {
    let (mut at, mut sentences, mut words) = (0, 0, 0);
    while at < bytes.len() {
        let (length, width) = match bytes[at] {
            short @ ..0x80 => (usize::from(short), 1),
            _ => {
                let (length, width) = length::read(&bytes[at..]).ok()??;
                (length as usize, width)
            }
        };
        sentences += u64::from(length == 0);
        words += 1;
        at += width + length;
    }
    (at == bytes.len()).then_some((sentences, words))
}

/// The bare chain of lengths of one byte: nothing is kept but the number of words.
pub fn chain(bytes: &[u8]) -> u64 {
    let (mut at, mut words) = (0, 0);
    while let Some(&length) = bytes.get(at) {
        at += 1 + usize::from(length);
        words += 1;
    }
    words
}

/// Checks that all of the above find in a stream what was written into it.
pub fn check(corpus: &Corpus) -> anyhow::Result<()> {
    let Corpus {
        name, bytes, facts, ..
    } = corpus;
    let mut decoder = Decoder::default();
    let found = [
        ("sentences", scan(&mut decoder, bytes), facts.sentences),
        (
            "bytes of attributes",
            attributes(&mut decoder, bytes),
            facts.attribute_bytes,
        ),
        (
            "bytes of named values",
            get(&mut decoder, bytes, corpus.names),
            facts.named_bytes,
        ),
    ];
    for (what, found, written) in found {
        ensure!(
            found == written,
            "corpus {name}: {found} {what} found, {written} written"
        );
    }
    let naive = naive(bytes).with_context(|| format!("corpus {name}: the naive loop cannot read it"))?;
    ensure!(
        naive == (facts.sentences, facts.words),
        "corpus {name}: the naive loop counts {naive:?}"
    );
    Ok(())
}

/// A request as a worker writes it: words that are ready, and a tag.
pub fn encode_print(out: &mut Vec<u8>, tag: &[u8]) -> Result<(), EncodeError> {
    encode::word(out, b"/system/resource/print")?;
    encode::word(out, b"=.proplist=version,uptime")?;
    encode::tag(out, tag)?;
    encode::end(out);
    Ok(())
}

/// A request made of names and values, and a tag.
pub fn encode_add(out: &mut Vec<u8>, attributes: &[(&str, &str)], tag: &[u8]) -> Result<(), EncodeError> {
    encode::word(out, b"/ip/firewall/filter/add")?;
    for (name, value) in attributes {
        encode::attribute(out, name.as_bytes(), value.as_bytes())?;
    }
    encode::tag(out, tag)?;
    encode::end(out);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_written_is_found() {
        for corpus in Corpus::all() {
            check(&corpus).expect("found");
        }
    }

    #[test]
    fn a_stream_that_is_not_what_was_written_does_not_pass() {
        let mut corpus = Corpus::interfaces();
        corpus.facts.attribute_bytes += 1;
        assert!(check(&corpus).is_err());
        assert_eq!(naive(b"\x04!re"), None);
        assert_eq!(naive(b"\x03!re\x00"), Some((1, 2)));
    }
}
