//! Peers that mean harm, by name: each costs bounded memory, and the connection ends with the right cause.

// Megabytes a test, and memory measured by an allocator.
#![cfg(not(miri))]
#![allow(clippy::expect_used, reason = "a test says what it knows")]

mod device;

use std::time::Duration;

use allocation_counter::measure;
use device::{Device, Told};
use routeros_conn::{CloseCause, Outcome, UnknownCause};
use routeros_wire::{Limits, length};

const LIMITS: Limits = Limits {
    word_bytes: 16 << 10,
    sentence_words: 64,
    sentence_bytes: 64 << 10,
};

/// What a connection may hold at any time for a device that keeps to these limits and one that does not: a sentence, a
/// read behind it, their tape, and what growing buffers leave unused.
const BOUND: u64 = 4 * LIMITS.sentence_bytes as u64;

/// What a peer says at most in a test: far more than the bound.
const PATIENCE: usize = 4 << 20;

/// A read.
const READ: usize = 4 << 10;

fn device() -> Device {
    Device::with(|config| config.limits = LIMITS).log_in()
}

/// Lets `device` say `begin` and then `more` for as long as it is listened to. Returns what ended it.
fn flood(device: &mut Device, begin: &[u8], more: &[u8]) -> CloseCause {
    let mut end = None;
    let more = more.repeat(READ.div_ceil(more.len()));
    let used = measure(|| {
        device.says(begin);
        for _ in 0..PATIENCE / more.len() {
            device.says(&more);
            while let Some(event) = device.conn.poll_event() {
                if let routeros_conn::Event::Closed(cause) = event {
                    end = Some(cause);
                }
            }
            if end.is_some() {
                break;
            }
        }
    });
    assert!(used.bytes_max < BOUND, "{} bytes were held", used.bytes_max);
    let after = measure(|| device.says(&more));
    assert_eq!(after.bytes_total, 0, "a closed connection takes nothing");
    end.expect("the connection ends")
}

fn class(cause: &CloseCause) -> &'static str {
    match cause {
        CloseCause::Decode(error) => error.kind.class(),
        _ => "another",
    }
}

fn prefix(length: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    length::write(length, &mut bytes);
    bytes
}

#[test]
fn endless_word() {
    // Announced beyond the limit it is refused before a byte of it is taken.
    for announced in [LIMITS.word_bytes + 1, u32::MAX] {
        let mut device = device();
        device.says(&prefix(announced));
        let told = device.told();
        assert!(matches!(&told[..], [Told::Closed(cause)] if class(cause) == "word-too-long"));
    }
    // Within the limit it ends, and the next one is one too many.
    let mut device = device();
    let word = [prefix(LIMITS.word_bytes), vec![b'!'; LIMITS.word_bytes as usize]].concat();
    let end = flood(&mut device, &[], &word);
    assert_eq!(class(&end), "sentence-too-long");
}

#[test]
fn endless_sentence() {
    let end = flood(&mut device(), b"\x03!re", b"\x01x");
    assert_eq!(class(&end), "sentence-too-long");
    let end = flood(
        &mut device(),
        b"\x03!re",
        &[prefix(2_000), vec![b'='; 2_000]].concat(),
    );
    assert_eq!(class(&end), "sentence-too-long");
}

#[test]
fn endless_rows_for_a_tag_nobody_asked() {
    let end = flood(&mut device(), &[], b"\x03!re\x07.tag=99\x08=a=12345\x00");
    assert_eq!(end, CloseCause::StrayReplies(64));
    let end = flood(&mut device(), &[], b"\x03!re\x08=a=12345\x00");
    assert_eq!(end, CloseCause::StrayReplies(64), "or no tag at all");
}

#[test]
fn a_tag_that_is_not_ours() {
    for tag in ["0", "01", "+1", "x", "", "18446744073709551616", "1 ", "\u{ff}"] {
        let mut device = device();
        device.asked(&["/a"]);
        for _ in 0..64 {
            device.says_words(&["!done", &format!(".tag={tag}")]);
        }
        assert_eq!((device.told(), device.conn.in_flight()), (vec![], 1), "{tag:?}");
        device.says_words(&["!done", &format!(".tag={tag}")]);
        assert_eq!(device.told()[1], Told::Closed(CloseCause::StrayReplies(64)));
    }
}

#[test]
fn tags_in_the_login() {
    // A tagged !done says nothing about the login, and nothing that waits for it may end by one.
    let mut device = Device::new();
    device.conn.open(["/a"], None).expect("can be opened");
    device.says(b"\x05!done\x06.tag=1\x00\x05!trap\x06.tag=1\x00");
    assert_eq!((device.told(), device.conn.in_flight()), (vec![], 1));
    device.says(b"\x05!done\x00");
    assert_eq!(device.told(), [Told::LoggedIn]);
    let end = flood(&mut Device::new(), &[], b"\x03!re\x06.tag=1\x00");
    assert_eq!(end, CloseCause::StrayReplies(64));
}

#[test]
fn endless_rows_in_the_login() {
    let mut device = Device::with(|config| config.limits = LIMITS);
    let row = b"\x03!re\x08=a=12345\x00".repeat(300);
    let used = measure(|| {
        for _ in 0..1_000 {
            device.says(&row);
            assert!(device.conn.poll_event().is_none());
        }
    });
    assert!(used.bytes_max < BOUND, "{} bytes were held", used.bytes_max);
    device.after(Duration::from_secs(10));
    let timeout = CloseCause::LoginTimeout(Duration::from_secs(10));
    assert_eq!(device.told(), [Told::Closed(timeout)]);
}

#[test]
fn replies_after_cancel() {
    let row = b"\x03!re\x06.tag=1\x08=a=12345\x00".repeat(300);
    let ignored = CloseCause::CancelIgnored(Duration::from_secs(5));
    let unknown = Outcome::Unknown(UnknownCause::ConnectionLost);

    // Cancelled by us: the rows are still told, the machine keeps none, and patience ends.
    let mut device = device();
    let listen = device.asked(&["/interface/listen"]);
    device.conn.cancel(listen, device.now);
    device.hears();
    let mut rows = 0;
    let used = measure(|| {
        for _ in 0..200 {
            device.says(&row);
            while device.conn.poll_event().is_some() {
                rows += 1;
            }
        }
    });
    assert!(used.bytes_max < BOUND, "{} bytes were held", used.bytes_max);
    assert_eq!(rows, 60_000);
    device.after(Duration::from_secs(5));
    let ended = [Told::Finished(listen, unknown), Told::Closed(ignored.clone())];
    assert_eq!(device.told(), ended);

    // Past its deadline: the rows are nobody's, and no stray ones either.
    let mut device = self::device();
    let late = device.asked(&["/interface/listen"]);
    device.after(Duration::from_secs(30));
    assert_eq!(
        device.told(),
        [Told::Finished(late, Outcome::Unknown(UnknownCause::Deadline))]
    );
    let used = measure(|| {
        for _ in 0..200 {
            device.says(&row);
            assert!(device.conn.poll_event().is_none());
        }
    });
    assert!(used.bytes_max < BOUND, "{} bytes were held", used.bytes_max);
    device.after(Duration::from_secs(5));
    assert_eq!(device.told(), [Told::Closed(ignored)]);
}

#[test]
fn replies_after_done() {
    let mut device = device();
    let print = device.asked(&["/a"]);
    device.says(b"\x05!done\x06.tag=1\x00");
    assert_eq!(device.told()[1], Told::Finished(print, Outcome::Completed));
    let end = flood(&mut device, &[], b"\x05!done\x06.tag=1\x00");
    assert_eq!(end, CloseCause::StrayReplies(64));
}

#[test]
fn endless_empty_sentences_cost_nothing() {
    let mut device = device();
    let used = measure(|| {
        for _ in 0..100 {
            device.says(&[0; READ]);
            assert!(device.conn.poll_event().is_none());
        }
    });
    assert!(used.bytes_max < BOUND, "{} bytes were held", used.bytes_max);
}

#[test]
fn what_is_kept_of_a_cut_row_is_that_row() {
    let mut device = device();
    device.asked(&["/a"]);
    let mut read = b"\x03!re\x06.tag=1\x00".repeat(READ);
    read.extend_from_slice(b"\x03!re\x06.tag");
    let held = measure(|| {
        device.says(&read);
        while device.conn.poll_event().is_some() {}
    });
    assert!(
        held.bytes_current < 1_024,
        "{} bytes are held",
        held.bytes_current
    );
}

#[test]
fn another_protocol() {
    for stranger in ["SSH-2.0-OpenSSH_9.6\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n"] {
        let mut device = Device::new();
        device.says(stranger.as_bytes());
        assert!(matches!(
            device.told()[..],
            [Told::Closed(CloseCause::NotAReply(_))]
        ));
    }
}
