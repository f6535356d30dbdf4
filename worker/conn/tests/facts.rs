//! What real devices do and what breaks clients, a test by the name of each fact: the grammar of replies, logins, tags
//! and cancelling. Where bytes were recorded they are written out here.

#![allow(clippy::expect_used, reason = "a test says what it knows")]

mod device;

use std::time::Duration;

use device::{Device, Told};
use routeros_conn::{CloseCause, ExchangeId, LoginRefused, Outcome, UnknownCause};

/// A reply as it is told.
fn reply(exchange: ExchangeId, words: &[&str]) -> Told {
    Told::Reply(
        exchange,
        words.iter().map(|word| word.as_bytes().to_vec()).collect(),
    )
}

// Replies

#[test]
fn every_command_is_answered_up_to_its_done() {
    let mut device = Device::new().log_in();
    let print = device.asked(&["/system/identity/print"]);
    device.says(b"\x03!re\x0e=name=MikroTik\x06.tag=1\x00");
    assert_eq!(
        device.told(),
        [reply(print, &["!re", "=name=MikroTik", ".tag=1"])]
    );
    device.says(b"\x05!done\x06.tag=1\x00");
    let ended = [
        reply(print, &["!done", ".tag=1"]),
        Told::Finished(print, Outcome::Completed),
    ];
    assert_eq!(device.told(), ended);
}

#[test]
fn an_end_without_done_leaves_the_outcome_unknown() {
    let mut device = Device::new().log_in();
    let reboot = device.asked(&["/system/reboot"]);
    device.conn.handle_close();
    let ended = [
        Told::Finished(reboot, Outcome::Unknown(UnknownCause::ConnectionLost)),
        Told::Closed(CloseCause::Lost),
    ];
    assert_eq!(device.told(), ended);
}

#[test]
fn several_traps_then_done() {
    let mut device = Device::new().log_in();
    let wrong = device.asked(&["/wrong/print"]);
    device.says(
        b"\x05!trap\x0b=category=0\x2d=message=no such command or directory (wrong)\x06.tag=1\x00\
          \x05!trap\x1f=message=no such command prefix\x06.tag=1\x00\x05!done\x06.tag=1\x00",
    );
    let told = device.told();
    assert_eq!(told.len(), 4);
    assert!(matches!(&told[1], Told::Reply(_, words) if words[1] == b"=message=no such command prefix"));
    assert_eq!(told[3], Told::Finished(wrong, Outcome::Trapped));
}

#[test]
fn trap_without_category_and_message() {
    let mut device = Device::new().log_in();
    let bare = device.asked(&["/a"]);
    device.says(b"\x05!trap\x06.tag=1\x00");
    assert_eq!(
        device.told(),
        [reply(bare, &["!trap", ".tag=1"])],
        "it is not the end"
    );
    device.says(b"\x05!done\x06.tag=1\x00");
    assert_eq!(device.told()[1], Told::Finished(bare, Outcome::Trapped));
}

#[test]
fn empty_before_done_is_not_terminal() {
    let mut device = Device::new().log_in();
    let print = device.asked(&["/ip/address/print", "?interface=none"]);
    device.says(b"\x06!empty\x06.tag=1\x00");
    assert_eq!(device.told(), [reply(print, &["!empty", ".tag=1"])]);
    device.says(b"\x05!done\x06.tag=1\x00");
    assert_eq!(device.told()[1], Told::Finished(print, Outcome::Completed));
}

#[test]
#[cfg_attr(miri, ignore = "20,000 commands")]
fn interval_stream_empty_without_done() {
    // As 7.19.3 sent it; the tag is what makes so many commands necessary.
    const RECORDED: &[u8] = b"\x06\x21\x65\x6D\x70\x74\x79\x0A\x2E\x74\x61\x67\x3D\x31\x39\x39\x33\x36\x00";
    let mut device = Device::new().log_in();
    for _ in 1..19936 {
        device.conn.open(["/x"], None).expect("can be opened");
    }
    let stream = device.asked(&["/ip/dhcp-server/lease/print", "=interval=30"]);
    for _ in 0..3 {
        device.says(RECORDED);
        assert_eq!(device.told(), [reply(stream, &["!empty", ".tag=19936"])]);
    }
    device.says(b"\x03!re\x0a.tag=19936\x00");
    assert_eq!(device.told(), [reply(stream, &["!re", ".tag=19936"])]);
}

#[test]
fn unknown_words_are_not_terminal() {
    let mut device = Device::new().log_in();
    let print = device.asked(&["/a"]);
    device.says(b"\x06!later\x06.tag=1\x00\x05!done\x06.tag=1\x00");
    let told = device.told();
    assert_eq!(told[0], reply(print, &["!later", ".tag=1"]));
    assert_eq!(told[2], Told::Finished(print, Outcome::Completed));
}

#[test]
fn fatal_is_a_bare_word() {
    let mut device = Device::new().log_in();
    let quit = device.asked(&["/quit"]);
    device.says(b"\x06!fatal\x1dsession terminated on request\x00");
    let reason = b"session terminated on request".to_vec();
    let ended = [
        Told::Finished(quit, Outcome::Unknown(UnknownCause::ConnectionLost)),
        Told::Closed(CloseCause::Fatal { reason }),
    ];
    assert_eq!(device.told(), ended);
}

#[test]
fn fatal_with_message_attribute() {
    let mut device = Device::new().log_in();
    device.says(b"\x06!fatal\x10=message=bye bye\x00");
    let reason = b"bye bye".to_vec();
    assert_eq!(device.told(), [Told::Closed(CloseCause::Fatal { reason })]);
}

#[test]
fn fatal_without_a_tag_ends_every_exchange() {
    let mut device = Device::new().log_in();
    let (one, other) = (device.asked(&["/a"]), device.asked(&["/b"]));
    device.says(b"\x06!fatal\x00");
    let unknown = Outcome::Unknown(UnknownCause::ConnectionLost);
    assert_eq!(
        device.told()[..2],
        [Told::Finished(one, unknown), Told::Finished(other, unknown)]
    );
}

#[test]
fn tag_after_attributes() {
    let mut device = Device::new().log_in();
    let (one, other) = (device.asked(&["/a"]), device.asked(&["/b"]));
    device.says(b"\x03!re\x06.tag=2\x04=a=1\x00\x03!re\x04=a=1\x06.tag=1\x00");
    let told = [
        reply(other, &["!re", ".tag=2", "=a=1"]),
        reply(one, &["!re", "=a=1", ".tag=1"]),
    ];
    assert_eq!(device.told(), told);
}

#[test]
fn re_without_attributes() {
    let mut device = Device::new().log_in();
    let print = device.asked(&["/interface/print", "=.proplist=nothing"]);
    device.says(&b"\x03!re\x06.tag=1\x00".repeat(7));
    assert_eq!(device.told(), vec![reply(print, &["!re", ".tag=1"]); 7]);
}

#[test]
fn done_with_ret() {
    let mut device = Device::new().log_in();
    let add = device.asked(&["/ip/address/add", "=address=10.0.0.1/24"]);
    device.says(b"\x05!done\x07=ret=*A\x06.tag=1\x00");
    assert_eq!(device.told()[0], reply(add, &["!done", "=ret=*A", ".tag=1"]));
}

#[test]
fn count_only_is_a_single_done_with_ret() {
    let mut device = Device::new().log_in();
    let count = device.asked(&["/ip/route/print", "=count-only="]);
    device.says(b"\x05!done\x0a=ret=22040\x06.tag=1\x00");
    let told = [
        reply(count, &["!done", "=ret=22040", ".tag=1"]),
        Told::Finished(count, Outcome::Completed),
    ];
    assert_eq!(device.told(), told);
}

#[test]
fn values_arrive_byte_for_byte() {
    let mut device = Device::new().log_in();
    let print = device.asked(&["/a"]);
    device.says(b"\x03!re\x0f=comment=a=\n\0\xCA\xFF\x06.tag=1\x00");
    let words = [&b"!re"[..], b"=comment=a=\n\0\xCA\xFF", b".tag=1"].map(<[u8]>::to_vec);
    assert_eq!(device.told(), [Told::Reply(print, words.to_vec())]);
}

#[test]
fn arguments_without_a_value_are_sent_as_they_are() {
    let mut device = Device::new().log_in();
    let words = ["/interface/monitor-traffic", "=interface=ether1", "=once="];
    let deadline = device.now + Duration::from_secs(1);
    device.conn.open(words, Some(deadline)).expect("can be opened");
    assert_eq!(
        device.hears(),
        [[words[0], words[1], words[2], ".tag=1"].map(String::from)]
    );
}

#[test]
fn empty_sentences_mean_nothing() {
    let mut device = Device::new().log_in();
    let print = device.asked(&["/a"]);
    device.says(b"\x00\x00\x05!done\x06.tag=1\x00\x00");
    assert_eq!(device.told()[1], Told::Finished(print, Outcome::Completed));
}

// Logins

#[test]
fn login_is_name_and_password_in_one_sentence() {
    let mut device = Device::new();
    let expected = b"\x06/login\x0b=name=admin\x10=password=secret\x00";
    assert_eq!(device.conn.transmit(), expected);
    device.says(b"\x05!done\x00");
    assert_eq!(
        device.told(),
        [Told::LoggedIn],
        "success is a bare !done (7.23.1)"
    );
}

#[test]
fn challenge_login_up_to_6_42() {
    let mut device = Device::new();
    device.hears();
    device.says(b"\x05!done\x25=ret=856780b7411eefd3abadee2058c149a3\x00");
    assert_eq!(device.told(), []);
    // 00, and the MD5 of a zero byte, the password, and the challenge; computed with Python's hashlib.
    let response = "=response=009622e621f0892961a28bcf7a0cea13e4";
    assert_eq!(device.hears(), [["/login", "=name=admin", response]]);
    device.says(b"\x05!done\x00");
    assert_eq!(device.told(), [Told::LoggedIn]);
}

#[test]
fn challenge_is_in_done_and_never_in_re() {
    let mut device = Device::new();
    device.hears();
    device.says(b"\x03!re\x25=ret=856780b7411eefd3abadee2058c149a3\x00");
    assert_eq!((device.told(), device.hears()), (vec![], vec![]));
    device.says(b"\x05!done\x00");
    assert_eq!(device.told(), [Told::LoggedIn]);
}

#[test]
fn a_second_challenge_is_a_refusal() {
    let mut device = Device::new();
    for _ in 0..2 {
        device.says(b"\x05!done\x25=ret=856780b7411eefd3abadee2058c149a3\x00");
    }
    assert!(matches!(
        device.told()[..],
        [Told::Closed(CloseCause::LoginRefused(_))]
    ));
}

#[test]
fn bad_login_leaves_socket_open() {
    for message in ["invalid user name or password (6)", "cannot log in"] {
        let mut device = Device::new();
        device.hears();
        device.says_words(&["!trap", &format!("=message={message}")]);
        device.says(b"\x05!done\x00");
        let refused = LoginRefused {
            message: message.into(),
        };
        assert!(!refused.is_transient());
        // The device would take four more, and log each: the machine does not try again on what is open.
        assert_eq!(device.told(), [Told::Closed(CloseCause::LoginRefused(refused))]);
        assert!(device.hears().is_empty());
    }
}

#[test]
fn fifth_failed_login_is_fatal() {
    let mut device = Device::new();
    device.says(b"\x06!fatal\x1etoo many commands before login\x00");
    let reason = b"too many commands before login".to_vec();
    assert_eq!(device.told(), [Told::Closed(CloseCause::Fatal { reason })]);
}

#[test]
fn radius_timeout_is_not_a_wrong_password() {
    let mut device = Device::new();
    device.says_words(&["!trap", "=message=could not authenticate - radius timeout"]);
    let told = device.told();
    assert!(matches!(&told[..], [Told::Closed(CloseCause::LoginRefused(refused))] if refused.is_transient()));
}

#[test]
fn commands_wait_for_the_login() {
    let mut device = Device::new();
    device.conn.open(["/a"], None).expect("can be opened");
    assert_eq!(device.hears().len(), 1, "the login alone");
    device.says(b"\x05!done\x00");
    device.told();
    assert_eq!(device.hears(), [["/a", ".tag=1"]]);
}

#[test]
fn missing_rights_are_a_trap_of_the_command() {
    let mut device = Device::new().log_in();
    let export = device.asked(&["/user/print"]);
    device.says_words(&["!trap", "=message=not enough permissions (9)", ".tag=1"]);
    device.says(b"\x05!done\x06.tag=1\x00");
    assert_eq!(
        device.told()[1..],
        [
            reply(export, &["!done", ".tag=1"]),
            Told::Finished(export, Outcome::Trapped),
        ]
    );
}

// Tags, cancel, listen, streams

#[test]
fn every_command_has_a_tag_of_its_own() {
    let mut device = Device::new().log_in();
    for words in [["/a"], ["/b"], ["/c"]] {
        device.conn.open(words, None).expect("can be opened");
    }
    let tags = device
        .hears()
        .into_iter()
        .filter_map(|words| words.last().cloned());
    assert_eq!(tags.collect::<Vec<_>>(), [".tag=1", ".tag=2", ".tag=3"]);
}

#[test]
fn replies_interleave() {
    let mut device = Device::new().log_in();
    let (one, other) = (device.asked(&["/a"]), device.asked(&["/b"]));
    for (tag, exchange) in [(2, other), (1, one), (1, one), (2, other)] {
        device.says_words(&["!re", &format!(".tag={tag}")]);
        assert!(matches!(device.told()[..], [Told::Reply(id, _)] if id == exchange));
    }
}

#[test]
fn cancel_done_in_either_order() {
    let cancelled = b"\x05!trap\x06.tag=1\x0b=category=2\x14=message=interrupted\x00";
    let (own, target) = (&b"\x05!done\x06.tag=2\x00"[..], &b"\x05!done\x06.tag=1\x00"[..]);
    for order in [[own, target], [target, own]] {
        let mut device = Device::new().log_in();
        let listen = device.asked(&["/interface/listen"]);
        device.conn.cancel(listen, device.now);
        assert_eq!(device.hears(), [["/cancel", "=tag=1", ".tag=2"]]);
        device.says(cancelled);
        device.says(&order.concat());
        assert_eq!(
            device.told().last(),
            Some(&Told::Finished(listen, Outcome::Cancelled))
        );
        assert_eq!(device.conn.in_flight(), 0, "both tags are done with");
    }
}

#[test]
fn rows_after_cancel() {
    let mut device = Device::new().log_in();
    let listen = device.asked(&["/interface/listen"]);
    device.conn.cancel(listen, device.now);
    device.says(b"\x03!re\x06.tag=1\x04=a=1\x00");
    assert_eq!(device.told(), [reply(listen, &["!re", ".tag=1", "=a=1"])]);
}

#[test]
fn cancel_of_unknown_tag_done_or_trap() {
    for answer in [
        &b"\x05!done\x06.tag=2\x00"[..],
        b"\x05!trap\x06.tag=2\x00\x05!done\x06.tag=2\x00",
    ] {
        let mut device = Device::new().log_in();
        let print = device.asked(&["/a"]);
        device.conn.cancel(print, device.now);
        device.says(b"\x05!done\x06.tag=1\x00");
        device.says(answer);
        let told = device.told();
        assert_eq!(told[1..], [Told::Finished(print, Outcome::Completed)]);
        assert_eq!(device.conn.in_flight(), 0);
    }
}

#[test]
fn an_untagged_done_ends_nothing() {
    let mut device = Device::new().log_in();
    device.asked(&["/a"]);
    device.says(b"\x05!done\x00");
    assert_eq!((device.told(), device.conn.in_flight()), (vec![], 1));
}

#[test]
fn listen_dead_rows() {
    let mut device = Device::new().log_in();
    let listen = device.asked(&["/interface/listen"]);
    device.says(b"\x03!re\x07=.id=*A\x0b=.dead=true\x06.tag=1\x00");
    assert_eq!(
        device.told(),
        [reply(listen, &["!re", "=.id=*A", "=.dead=true", ".tag=1"])]
    );
    assert_eq!(device.conn.in_flight(), 1, "listen goes on");
}

#[test]
fn section_rows() {
    let mut device = Device::new().log_in();
    let ping = device.asked(&["/tool/torch", "=duration=2"]);
    let row = b"\x03!re\x0b=.section=0\x06.tag=1\x00";
    device.says(&row.repeat(2));
    device.says(b"\x03!re\x0b=.section=1\x06.tag=1\x00\x05!done\x06.tag=1\x00");
    let told = device.told();
    assert_eq!(told.len(), 5);
    assert_eq!(told[4], Told::Finished(ping, Outcome::Completed));
}

#[test]
fn a_command_that_never_ends_is_cancelled_at_its_deadline() {
    let mut device = Device::new().log_in();
    let monitor = device.asked(&["/interface/lte/info", "=numbers=0"]);
    device.says(b"\x03!re\x06.tag=1\x00");
    device.told();
    device.after(Duration::from_secs(30));
    let deadline = Outcome::Unknown(UnknownCause::Deadline);
    assert_eq!(device.told(), [Told::Finished(monitor, deadline)]);
    assert_eq!(device.hears(), [["/cancel", "=tag=1", ".tag=2"]]);
}

#[test]
fn a_stale_reply_is_not_the_next_answer() {
    let mut device = Device::new().log_in();
    device.asked(&["/a"]);
    device.after(Duration::from_secs(30));
    device.told();
    let next = device.asked(&["/b"]);
    device.says(b"\x03!re\x06.tag=1\x05=of=a\x00\x05!done\x06.tag=1\x00");
    assert_eq!(device.told(), [], "what was given up is nobody's");
    device.says(b"\x03!re\x06.tag=3\x05=of=b\x00");
    assert_eq!(device.told(), [reply(next, &["!re", ".tag=3", "=of=b"])]);
}

#[test]
fn a_tag_is_never_used_again() {
    let mut device = Device::new().log_in();
    for tag in 1..=100 {
        device.conn.open(["/a"], None).expect("can be opened");
        assert_eq!(device.hears()[0][1], format!(".tag={tag}"));
        device.says_words(&["!done", &format!(".tag={tag}")]);
        assert_eq!(device.told().len(), 2);
    }
}

#[test]
fn replies_arrive_in_clumps_and_in_pieces() {
    let bytes = b"\x03!re\x04=a=1\x06.tag=1\x00\x05!done\x06.tag=2\x00\x05!done\x06.tag=1\x00";
    let whole = {
        let mut device = Device::new().log_in();
        device.asked(&["/a"]);
        device.asked(&["/b"]);
        device.says(bytes);
        device.told()
    };
    assert_eq!(whole.len(), 5);
    for size in 1..bytes.len() {
        let mut device = Device::new().log_in();
        device.asked(&["/a"]);
        device.asked(&["/b"]);
        let mut told = Vec::new();
        for piece in bytes.chunks(size) {
            device.says(piece);
            told.extend(device.told());
        }
        assert_eq!(told, whole, "in pieces of {size}");
    }
}
