//! What real devices and hostile peers send, each case by name. Bytes are written out, so that the encoder cannot hide a
//! mistake of the decoder.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says what it knows"
)]

use routeros_wire::{
    DecodeErrorKind, Decoder, Kind, Limits, Query, Sentence, TrapCategory, decode_all, encode, value,
};

type Sentences = Vec<Vec<Vec<u8>>>;

/// All sentences of a stream as owned words, and the class and place of the error that ended it.
fn read(bytes: &[u8]) -> (Sentences, Option<(&'static str, u64)>) {
    let mut all = Vec::new();
    let result = decode_all(bytes, Limits::default(), |sentence| all.push(sentence.to_vec()));
    (all, result.err().map(|error| (error.kind.class(), error.at)))
}

/// Runs a test on the first sentence.
fn with<T>(bytes: &[u8], test: impl FnOnce(Sentence<'_>) -> T) -> T {
    let mut decoder = Decoder::new(Limits::default());
    assert!(decoder.scan(bytes).unwrap() > 0);
    test(decoder.sentence(bytes, 0))
}

#[test]
fn a_length_with_a_zero_byte_in_it() {
    let bytes = [&b"\x81\x00"[..], &[b'x'; 256], b"\x00"].concat();
    assert_eq!(read(&bytes), (vec![vec![vec![b'x'; 256]]], None));
}

#[test]
fn lengths_longer_than_they_need_be_are_read_and_never_written() {
    for prefix in [
        &b"\x02"[..],
        b"\x80\x02",
        b"\xC0\x00\x02",
        b"\xE0\x00\x00\x02",
        b"\xF0\x00\x00\x00\x02",
    ] {
        let bytes = [prefix, b"ab\x00"].concat();
        assert_eq!(read(&bytes), (vec![vec![b"ab".to_vec()]], None), "{prefix:x?}");
    }
    // A terminator may be long as well.
    assert_eq!(read(b"\x01a\x80\x00"), (vec![vec![b"a".to_vec()]], None));
    let mut written = Vec::new();
    encode::sentence(&mut written, ["ab"]).unwrap();
    assert_eq!(written, b"\x02ab\x00");
}

#[test]
fn each_length_form_at_its_bounds() {
    for (length, prefix) in [
        (0x7F, &b"\x7F"[..]),
        (0x80, b"\x80\x80"),
        (0x3FFF, b"\xBF\xFF"),
        (0x4000, b"\xC0\x40\x00"),
        (0x1F_FFFF, b"\xDF\xFF\xFF"),
        (0x20_0000, b"\xE0\x20\x00\x00"),
    ] {
        let bytes = [prefix, &vec![b'x'; length], b"\x00"].concat();
        let mut written = Vec::new();
        encode::sentence(&mut written, [vec![b'x'; length]]).unwrap();
        assert!(written == bytes, "{length:#x} is written minimally");
        let (sentences, error) = read(&bytes);
        assert_eq!((sentences[0][0].len(), error), (length, None));
    }
}

#[test]
fn f1_to_f7_are_unsupported_and_f8_to_ff_are_control_bytes() {
    for byte in 0xF1..=0xFFu8 {
        let class = if byte < 0xF8 {
            "unsupported-length"
        } else {
            "control-byte"
        };
        let bytes = [&b"\x03!re\x00\x01a"[..], &[byte, 0, 0, 0, 1, b'x', 0]].concat();
        let (sentences, error) = read(&bytes);
        assert_eq!(sentences, [[b"!re"]], "what came before stays readable");
        assert_eq!(error, Some((class, 7)), "{byte:#x}");
    }
}

#[test]
fn an_announcement_of_4_gib_reserves_nothing() {
    let mut decoder = Decoder::new(Limits::default());
    let error = decoder.scan(b"\xF0\xFF\xFF\xFF\xFF").unwrap_err();
    assert!(matches!(
        error.kind,
        DecodeErrorKind::WordTooLong {
            announced: u32::MAX,
            ..
        }
    ));
    assert_eq!(
        decoder.scan(b"\xF0\xFF\xFF\xFF\xFF").unwrap_err(),
        error,
        "it stays failed"
    );
}

#[test]
fn an_endless_sentence_is_refused_at_the_word_that_is_too_much() {
    let bytes = b"\x01x".repeat(5000);
    assert_eq!(read(&bytes).1, Some(("sentence-too-long", 2 * 4096)));
    let limits = Limits {
        sentence_bytes: 100,
        ..Limits::default()
    };
    let error = Decoder::new(limits).scan(&bytes).unwrap_err();
    assert_eq!((error.kind.class(), error.at), ("sentence-too-long", 100));
}

#[test]
fn an_empty_sentence_is_legal_and_no_reply() {
    let (sentences, error) = read(b"\x00\x03!re\x00\x00");
    assert_eq!((sentences.len(), error), (3, None));
    with(b"\x00", |s| {
        assert!(s.is_empty() && s.kind() == Kind::NotAReply && s.tag().is_none());
    });
}

#[test]
fn a_word_of_one_space_is_a_word() {
    with(b"\x03!re\x01 \x04=a=b\x00", |s| {
        assert_eq!((s.len(), s.get(b"a")), (3, Some(&b"b"[..])));
    });
}

#[test]
fn empty_in_an_interval_stream_as_7_19_3_sent_it() {
    let bytes = b"\x06\x21\x65\x6D\x70\x74\x79\x0A\x2E\x74\x61\x67\x3D\x31\x39\x39\x33\x36\x00";
    with(bytes, |s| {
        assert_eq!((s.kind(), s.tag()), (Kind::Empty, Some(&b"19936"[..])));
    });
}

#[test]
fn two_traps_and_a_done_for_one_command() {
    let bytes = b"\x05!trap\x0b=category=0\x2d=message=no such command or directory (wrong)\x00\
                  \x05!trap\x1f=message=no such command prefix\x00\x05!done\x00";
    let mut kinds = Vec::new();
    let mut categories = Vec::new();
    decode_all(bytes, Limits::default(), |s| {
        kinds.push(s.kind());
        categories.push(s.get(b"category").and_then(TrapCategory::parse));
    })
    .unwrap();
    assert_eq!(kinds, [Kind::Trap, Kind::Trap, Kind::Done]);
    assert_eq!(categories, [Some(TrapCategory::MissingItemOrCommand), None, None]);
}

#[test]
fn fatal_with_a_bare_word_and_with_a_message() {
    for bytes in [
        &b"\x06!fatal\x1dsession terminated on request\x00"[..],
        b"\x06!fatal\x26=message=session terminated on request\x00",
    ] {
        with(bytes, |s| {
            assert_eq!((s.kind(), s.tag()), (Kind::Fatal, None));
            assert_eq!(s.fatal_reason(), b"session terminated on request");
        });
    }
}

#[test]
fn words_with_an_exclamation_mark_that_nobody_knows_are_replies() {
    with(b"\x06!later\x06.tag=1\x00", |s| {
        assert_eq!((s.kind(), s.tag()), (Kind::Unknown, Some(&b"1"[..])));
    });
}

#[test]
fn the_tag_stands_anywhere_and_is_any_bytes() {
    for bytes in [
        &b"\x03!re\x07.tag=\xFF=\x04=a=1\x00"[..],
        b"\x03!re\x04=a=1\x07.tag=\xFF=\x00",
    ] {
        with(bytes, |s| {
            assert_eq!(s.tag(), Some(&b"\xFF="[..]));
        });
    }
}

#[test]
fn rows_without_attributes_and_done_with_them() {
    with(b"\x03!re\x00", |s| {
        assert_eq!((s.kind(), s.attributes().count()), (Kind::Re, 0));
    });
    with(b"\x05!done\x07=ret=*1\x00", |s| {
        assert_eq!((s.kind(), s.get(b"ret")), (Kind::Done, Some(&b"*1"[..])));
    });
}

#[test]
fn values_hold_equals_signs_newlines_nothing_and_any_byte() {
    let bytes = b"\x03!re\x06=a=b=c\x09=note=\n\x00=\x09=comment=\x05=once\x05=\xCA=\xE0\xFF\x00";
    with(bytes, |s| {
        let pairs = s.attributes().collect::<Vec<_>>();
        let expected: [(&[u8], &[u8]); 5] = [
            (b"a", b"b=c"),
            (b"note", b"\n\0="),
            (b"comment", b""),
            (b"once", b""),
            (b"\xCA", b"\xE0\xFF"),
        ];
        assert_eq!(pairs, expected);
    });
}

#[test]
fn a_deleted_item_in_both_spellings() {
    with(b"\x03!re\x07=.id=*A\x0b=.dead=true\x00", |s| {
        assert!(s.is_dead());
    });
    with(b"\x03!re\x07=.id=*A\x0a=.dead=yes\x00", |s| {
        assert!(s.is_dead());
    });
}

#[test]
fn booleans_in_both_spellings() {
    for (spellings, expected) in [
        ([b"true".as_slice(), b"yes"], Some(true)),
        ([b"false", b"no"], Some(false)),
        ([b"", b"TRUE"], None),
    ] {
        assert_eq!(spellings.map(value::boolean), [expected; 2]);
    }
}

#[test]
fn ids_are_a_star_and_upper_case_digits() {
    for id in ["*A", "*30000001"] {
        let parsed = value::ItemId::parse(id.as_bytes()).unwrap();
        assert_eq!(parsed.to_string(), id);
    }
    assert!(value::ItemId::parse(b"ether1").is_none(), "a name is no id");
}

#[test]
fn unset_and_negated_arguments() {
    with(b"\x06/unset\x0a=!comment=\x0b=value-name\x00", |s| {
        let names = s.attributes().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names, [&b"!comment"[..], b"value-name"]);
    });
}

#[test]
fn duplicate_attributes_keep_their_order_and_the_last_counts() {
    with(b"\x03!re\x04=a=1\x04=b=2\x04=a=3\x00", |s| {
        let values = s.attributes().map(|(_, value)| value).collect::<Vec<_>>();
        assert_eq!(values, [b"1", b"2", b"3"]);
        assert_eq!(s.get(b"a"), Some(&b"3"[..]));
    });
}

#[test]
fn the_operator_of_a_comparison_stands_before_the_name() {
    let query = Query::from_words([&b"?>actual-mtu=1000"[..]]).unwrap();
    assert!(query.matches(|name| (name == b"actual-mtu").then_some(b"1500")));
}

#[test]
fn one_sentence_is_one_write() {
    // What makes clients slow is a write for each length and each word.
    let mut out = Vec::new();
    encode::sentence(&mut out, ["/interface/print", "=.proplist=name", ".tag=1"]).unwrap();
    encode::sentence(&mut out, ["/quit"]).unwrap();
    assert_eq!(
        out,
        b"\x10/interface/print\x0f=.proplist=name\x06.tag=1\x00\x05/quit\x00"
    );
}

#[test]
fn a_query_for_the_empty_value_and_one_with_a_regular_expression() {
    let query = Query::from_words([&b"?comment="[..]]).unwrap();
    assert!(query.matches(|_| None) && query.matches(|_| Some(b"")) && !query.matches(|_| Some(b"x")));
    assert!(
        Query::from_words([&b"?name~eth"[..]]).is_ok(),
        "a name like any other"
    );
    let error = Query::from_words([&b"?~name=eth"[..]]).unwrap_err();
    assert!(error.to_string().contains("regular expressions"));
}
