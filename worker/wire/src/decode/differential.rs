//! Every way to walk against an oracle that shares no code with any of them but the reading of one length.

use std::iter;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::length;

type Sentences = Vec<Vec<Vec<u8>>>;

/// What a stream holds: its sentences, and where and why it ends.
type Found = (Sentences, Option<(&'static str, u64)>);

/// The grammar and the limits, one word at a time, on owned bytes.
fn oracle(bytes: &[u8], limits: &Limits) -> Found {
    let (mut all, mut open, mut open_at, mut at) = (Vec::new(), Vec::new(), 0, 0);
    let error = loop {
        let (length, width) = match length::read(&bytes[at..]) {
            Ok(Some(read)) => read,
            Ok(None) => break None,
            Err(bad) => break Some(DecodeErrorKind::from(bad).class()),
        };
        let end = at + width + length as usize;
        if length > limits.word_bytes {
            break Some("word-too-long");
        }
        if length > 0 && (open.len() == limits.sentence_words || end - open_at > limits.sentence_bytes) {
            break Some("sentence-too-long");
        }
        match bytes.get(at + width..end) {
            None => break None,
            Some([]) => {
                all.push(std::mem::take(&mut open));
                open_at = end;
            }
            Some(word) => open.push(word.to_vec()),
        }
        at = end;
    };
    (all, error.map(|class| (class, at as u64)))
}

fn note(decoder: &Decoder, buf: &[u8], found: &mut Found) {
    for sentence in decoder.sentences(buf) {
        let words = sentence.to_vec();
        check_views(&sentence, &words);
        found.0.push(words);
    }
    found.1 = decoder.error().map(|error| (error.kind.class(), error.at));
}

/// Views against the words they are made of.
fn check_views(sentence: &Sentence<'_>, words: &[Vec<u8>]) {
    let split = |word: &Vec<u8>| {
        let rest = word.strip_prefix(b"=")?;
        let mut parts = rest.splitn(2, |&byte| byte == b'=');
        let name = parts.next().unwrap_or_default().to_vec();
        Some((name, parts.next().unwrap_or_default().to_vec()))
    };
    let expected = words.iter().filter_map(split).collect::<Vec<_>>();
    let attributes = sentence.attributes().map(|(n, v)| (n.to_vec(), v.to_vec()));
    assert_eq!(attributes.collect::<Vec<_>>(), expected);
    for (name, _) in &expected {
        let last = expected.iter().rfind(|(other, _)| other == name);
        assert_eq!(sentence.get(name), last.map(|(_, value)| &value[..]));
    }
    assert_eq!(sentence.get(b"no such name"), None);
    let tag = words.iter().find_map(|word| word.strip_prefix(b".tag="));
    assert_eq!(sentence.tag(), tag);
}

/// Feeds a stream in pieces of `sizes`, over and over; consumes after each.
fn feed(bytes: &[u8], sizes: &[usize], limits: Limits, kernel: Kernel) -> Found {
    let mut decoder = Decoder::with_kernel(limits, kernel);
    let (mut buf, mut rest, mut found) = (Vec::new(), bytes, Found::default());
    for size in sizes.iter().cycle() {
        let (piece, after) = rest.split_at(rest.len().min(*size));
        buf.extend_from_slice(piece);
        rest = after;
        let result = decoder.scan(&buf);
        note(&decoder, &buf, &mut found);
        if result.is_err() || rest.is_empty() {
            break;
        }
        buf.drain(..decoder.consume());
    }
    found
}

/// Feeds several streams at once, each cut at its own places.
fn feed_many(streams: &[Vec<u8>], sizes: &[usize], limits: Limits, kernel: Kernel) -> Vec<Found> {
    let mut decoders = vec![Decoder::with_kernel(limits, kernel); streams.len()];
    let mut bufs = vec![Vec::new(); streams.len()];
    let mut rests = streams.iter().map(Vec::as_slice).collect::<Vec<_>>();
    let mut found = vec![Found::default(); streams.len()];
    let mut sizes = sizes.iter().cycle();
    while rests.iter().any(|rest| !rest.is_empty()) {
        for (buf, rest) in bufs.iter_mut().zip(&mut rests) {
            let size = sizes.next().copied().unwrap_or(1);
            let (piece, after) = rest.split_at(rest.len().min(size));
            buf.extend_from_slice(piece);
            *rest = after;
        }
        let mut pairs = iter::zip(&mut decoders, bufs.iter().map(Vec::as_slice)).collect::<Vec<_>>();
        Decoder::scan_many(&mut pairs);
        for ((decoder, buf), found) in decoders.iter_mut().zip(&mut bufs).zip(&mut found) {
            if found.1.is_none() {
                note(decoder, buf, found);
                buf.drain(..decoder.consume());
            }
        }
    }
    found
}

fn word() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        12 => "=[a-z.-]{0,20}=[a-z0-9=]{0,20}".prop_map(String::into_bytes),
        2 => "=[a-z]{25,40}=?[a-z=]{0,9}".prop_map(String::into_bytes),
        1 => "=[a-z]{1,12}".prop_map(String::into_bytes),
        2 => Just(b".tag=12".to_vec()),
        1 => vec(any::<u8>(), 1..60),
        // What the guesses look for, in a value.
        1 => Just(b"=x=\0\x03!re\x07.tag=12\x05=a=bc\0\x03!re\0\x05!done\0".to_vec()),
        1 => vec(prop_oneof![Just(b'='), any::<u8>()], 100..400),
    ]
}

/// A sentence's bytes; rarely with lengths in more bytes than they need.
fn sentence() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![6 => Just("!re"), 1 => Just("!done"), 1 => Just("=odd=one")];
    (first, vec(word(), 0..24), 0..40_u8).prop_map(|(first, words, odd)| {
        let mut out = Vec::new();
        for word in iter::once(first.as_bytes().to_vec()).chain(words) {
            if odd == 1 {
                out.extend([0xC0, (word.len() >> 8) as u8, word.len() as u8]);
            } else {
                length::write(word.len() as u32, &mut out);
            }
            out.extend(word);
        }
        match odd {
            2 => out.extend([0x80, 0x00]),
            _ => out.push(0),
        }
        out
    })
}

/// Long enough for lanes: a few sentences, repeated, sometimes with one byte made wrong or the end cut.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    (vec(sentence(), 1..16), 1..16_usize, any::<(u16, u8, u8)>()).prop_map(|(sentences, times, noise)| {
        let mut bytes = sentences.concat().repeat(times);
        let (place, byte, how) = noise;
        let place = usize::from(place) % bytes.len();
        match how {
            0..40 => bytes[place] = byte,
            40..80 => bytes.insert(place, byte),
            80..120 => bytes.truncate(place),
            _ => {}
        }
        bytes
    })
}

/// Many short ones, and now and then a long one.
fn strings() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let short = vec(sentence(), 0..6).prop_map(|sentences| sentences.concat());
    vec(prop_oneof![20 => short, 1 => stream()], 1..50)
}

fn limits() -> impl Strategy<Value = Limits> {
    prop_oneof![
        3 => Just(Limits::default()),
        1 => (1..500_u32, 1..40_usize, 1..2_000_usize).prop_map(|(word_bytes, sentence_words, sentence_bytes)| {
            Limits { word_bytes, sentence_words, sentence_bytes }
        }),
    ]
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        1 => vec(1..60_usize, 1..6),
        2 => vec(1_000..40_000_usize, 1..6),
        2 => Just(vec![usize::MAX]),
    ]
}

proptest! {
    // Each case is up to a hundred kilobytes, walked by each kernel.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_kernel_finds_what_the_oracle_finds(bytes in stream(), limits in limits(), sizes in sizes()) {
        let expected = oracle(&bytes, &limits);
        for kernel in Kernel::ALL {
            prop_assert_eq!(&feed(&bytes, &sizes, limits, kernel), &expected, "{:?}", kernel);
        }
    }

    #[test]
    fn many_strings_are_decoded_as_each_would(streams in strings(), limits in limits()) {
        let strings = streams.iter().map(Vec::as_slice).collect::<Vec<_>>();
        let mut found = vec![Found::default(); streams.len()];
        let errors = decode_each(&strings, limits, |of, sentence| found[of].0.push(sentence.to_vec()));
        for (of, error) in errors {
            found[of].1 = Some((error.kind.class(), error.at));
        }
        let expected = streams.iter().map(|bytes| oracle(bytes, &limits)).collect::<Vec<_>>();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn several_connections_at_once_find_what_each_would(
        streams in vec(stream(), 1..9), limits in limits(), sizes in sizes(),
    ) {
        let expected = streams.iter().map(|bytes| oracle(bytes, &limits)).collect::<Vec<_>>();
        for kernel in Kernel::ALL {
            prop_assert_eq!(&feed_many(&streams, &sizes, limits, kernel), &expected, "{:?}", kernel);
        }
    }
}

fn rows(count: usize) -> Vec<u8> {
    let row = |index: usize| {
        let mut row = b"\x03!re\x06.tag=2".to_vec();
        let name = format!("=name=ether{index}");
        row.push(name.len() as u8);
        row.extend(name.as_bytes());
        row.extend(b"\x0B=comment=ab\x0D=disabled=yes\0");
        row
    };
    (0..count).flat_map(row).collect()
}

#[test]
fn an_error_is_found_in_every_lane() {
    let bytes = rows(400);
    for at in (0..bytes.len()).step_by(211) {
        for bad in [0xF5, 0xFF, 0xF0, 0x7F, 0x00] {
            let mut bytes = bytes.clone();
            bytes[at] = bad;
            let expected = oracle(&bytes, &Limits::default());
            for kernel in Kernel::ALL {
                assert_eq!(
                    feed(&bytes, &[usize::MAX], Limits::default(), kernel),
                    expected,
                    "{kernel:?} {at}"
                );
            }
        }
    }
}

#[test]
fn guesses_inside_values_are_not_believed() {
    // A file that holds the answer to a print, again and again: nearly every guess is wrong.
    let mut bytes = Vec::new();
    for _ in 0..30 {
        let inner = rows(20);
        length::write(inner.len() as u32 + 10, &mut bytes);
        bytes.extend(b"=contents=");
        bytes.extend(inner);
        bytes.extend(rows(7));
        bytes.push(0);
    }
    let limits = Limits::default();
    for kernel in Kernel::ALL {
        assert_eq!(
            feed(&bytes, &[usize::MAX], limits, kernel),
            oracle(&bytes, &limits),
            "{kernel:?}"
        );
    }
}

#[test]
fn lanes_are_really_used() {
    let bytes = rows(400);
    for steps in [Steps::Checked, Steps::Unchecked, Steps::Avx2, Steps::Avx512] {
        let mut tape = Tape::default();
        let how = How {
            steps,
            least: 2 << 10,
            jumps: Jumps::Never,
        };
        let walked = speculate::walk(&mut tape, &bytes, &Limits::default(), how);
        assert_eq!(walked, Ok(()));
        assert_eq!(tape.ends.len(), 400);
        assert!(
            tape.lanes > 1_200,
            "{steps:?}: {} of 2400 words in lanes",
            tape.lanes
        );
    }
}
