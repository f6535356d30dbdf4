//! The decoder against the grammar read off the page.

use super::*;
use crate::{encode, length};
use proptest::prelude::*;

type Sentences = Vec<Vec<Vec<u8>>>;

/// The oracle: the grammar read off the page, on owned bytes, with no thought of speed.
fn naive(mut bytes: &[u8]) -> Sentences {
    let (mut all, mut open) = (Vec::new(), Vec::new());
    while let Ok(Some((length, width))) = length::read(bytes) {
        let Some(word) = bytes.get(width..width + length as usize) else {
            break;
        };
        bytes = &bytes[width + length as usize..];
        match word {
            [] => all.push(std::mem::take(&mut open)),
            word => open.push(word.to_vec()),
        }
    }
    all
}

fn collect(decoder: &Decoder, buf: &[u8], into: &mut Sentences) {
    into.extend(
        decoder
            .sentences(buf)
            .map(|s| s.words().map(<[u8]>::to_vec).collect::<Vec<_>>()),
    );
}

/// Feeds `bytes` in pieces of `sizes` (cycled), consuming after each.
fn chunked(bytes: &[u8], sizes: &[usize]) -> (Sentences, Option<DecodeError>) {
    let mut decoder = Decoder::new(Limits::default());
    let (mut buf, mut out, mut rest) = (Vec::new(), Vec::new(), bytes);
    for size in sizes.iter().cycle() {
        let (piece, after) = rest.split_at((*size).clamp(1, rest.len().max(1)).min(rest.len()));
        rest = after;
        buf.extend_from_slice(piece);
        let result = decoder.scan(&buf);
        collect(&decoder, &buf, &mut out);
        if let Err(error) = result {
            return (out, Some(error));
        }
        buf.drain(..decoder.consume());
        if rest.is_empty() {
            break;
        }
    }
    (out, None)
}

fn stream() -> impl Strategy<Value = (Vec<u8>, Sentences)> {
    let word = prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 1..40),
        1 => proptest::collection::vec(any::<u8>(), 100..400),
    ];
    proptest::collection::vec(proptest::collection::vec(word, 0..8), 0..12).prop_map(|sentences| {
        let mut bytes = Vec::new();
        for sentence in &sentences {
            encode::sentence(&mut bytes, sentence).expect("no empty words are generated");
        }
        (bytes, sentences)
    })
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_sentences(
        (bytes, sentences) in stream(),
        sizes in proptest::collection::vec(1usize..50, 1..8),
    ) {
        prop_assert_eq!(naive(&bytes), sentences.clone());
        let (out, error) = chunked(&bytes, &sizes);
        prop_assert_eq!(error, None);
        prop_assert_eq!(out, sentences);
    }

    #[test]
    fn noise_neither_panics_nor_differs_from_the_oracle(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        sizes in proptest::collection::vec(1usize..50, 1..8),
    ) {
        let (out, _) = chunked(&bytes, &sizes);
        prop_assert_eq!(out, naive(&bytes));
    }
}

#[test]
fn every_split_point_of_a_conversation() {
    let mut bytes = Vec::new();
    let long = [b"=contents=".as_slice(), &[b'x'; 300]].concat();
    let words: [&[&[u8]]; 4] = [
        &[b"!re", b"=name=a=b", long.as_slice(), b".tag=1"],
        &[],
        &[b"!re"],
        &[b"!done", b"=ret=*1"],
    ];
    for sentence in words {
        encode::sentence(&mut bytes, sentence).expect("no empty words");
    }
    let whole = naive(&bytes);
    for cut in 0..bytes.len() {
        let mut decoder = Decoder::new(Limits::default());
        let (mut buf, mut out) = (bytes[..cut].to_vec(), Vec::new());
        decoder.scan(&buf).expect("valid so far");
        collect(&decoder, &buf, &mut out);
        buf.drain(..decoder.consume());
        buf.extend_from_slice(&bytes[cut..]);
        decoder.scan(&buf).expect("valid");
        collect(&decoder, &buf, &mut out);
        assert_eq!(out, whole, "cut at {cut}");
        assert!(!decoder.is_partial(&buf));
    }
}

#[test]
fn a_zero_inside_a_length_does_not_end_a_sentence() {
    let mut bytes = Vec::new();
    encode::sentence(&mut bytes, [&[b'a'; 256][..], b"next"]).expect("no empty words");
    assert_eq!(&bytes[..2], &[0x81, 0x00]);
    assert_eq!(naive(&bytes)[0].len(), 2);
    assert_eq!(chunked(&bytes, &[1]).0[0].len(), 2);
}

#[test]
fn an_announcement_of_4_gib_is_refused_before_a_byte_is_reserved() {
    let mut decoder = Decoder::new(Limits::default());
    let buf = [0x03, b'!', b'r', b'e', 0x00, 0xF0, 0xFF, 0xFF, 0xFF, 0xFF];
    let error = decoder.scan(&buf).expect_err("4 GiB is over the limit");
    assert_eq!(error.at, 5);
    assert_eq!(error.kind.class(), "word-too-long");
    assert_eq!(decoder.ready(), 1, "the sentence before it is still there");
    assert_eq!(decoder.scan(&buf), Err(error), "the error stays");
}

#[test]
fn error_offsets_count_from_the_start_of_the_stream() {
    let bytes = [0x01, b'a', 0x00, 0x01, b'b', 0x00, 0xFF];
    let (sentences, error) = chunked(&bytes, &[2]);
    assert_eq!(sentences.len(), 2);
    assert_eq!(
        error,
        Some(DecodeError {
            kind: DecodeErrorKind::ControlByte(0xFF),
            at: 6
        })
    );
}

#[test]
fn long_sentences_are_refused_by_words_and_by_bytes() {
    let limits = Limits {
        word_bytes: 100,
        sentence_words: 3,
        sentence_bytes: 64,
    };
    let fails = |words: &[&[u8]]| {
        let mut bytes = Vec::new();
        encode::sentence(&mut bytes, words).expect("no empty words");
        Decoder::new(limits).scan(&bytes).map_err(|e| e.kind.class())
    };
    assert_eq!(fails(&[b"1", b"2", b"3"]), Ok(1));
    assert_eq!(fails(&[b"1", b"2", b"3", b"4"]), Err("sentence-too-long"));
    assert_eq!(fails(&[&[b'x'; 40], &[b'x'; 40]]), Err("sentence-too-long"));
    assert_eq!(fails(&[&[b'x'; 101]]), Err("word-too-long"));
}

#[test]
fn decode_all_reads_a_stored_result() {
    let mut bytes = Vec::new();
    encode::sentence(&mut bytes, ["!re", "=a=1"]).expect("no empty words");
    encode::sentence(&mut bytes, ["!done"]).expect("no empty words");
    let mut kinds = Vec::new();
    decode_all(&bytes, Limits::default(), |s| kinds.push(s.kind())).expect("valid");
    assert_eq!(kinds, [crate::Kind::Re, crate::Kind::Done]);
}
