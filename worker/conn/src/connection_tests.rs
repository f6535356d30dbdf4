use super::*;
use proptest::prelude::*;

/// The machine on one side, hand-written bytes on the other, virtual time.
struct Bench {
    conn: Connection,
    now: Instant,
}

#[derive(Debug, PartialEq)]
enum Told {
    LoggedIn,
    Reply(u64, Vec<String>),
    Finished(u64, Outcome),
    Closed(CloseCause),
}

impl From<Event<'_>> for Told {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::LoggedIn => Self::LoggedIn,
            Event::Reply { exchange, sentence } => Self::Reply(exchange.0, text(sentence)),
            Event::Finished { exchange, outcome } => Self::Finished(exchange.0, outcome),
            Event::Closed(cause) => Self::Closed(cause),
        }
    }
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            conn: Connection::new(Config::new(Credentials::new("admin", "secret")), now),
            now,
        }
    }

    fn logged_in() -> Self {
        let mut bench = Self::new();
        bench.written();
        bench.hears(&[&["!done"]]);
        assert_eq!(bench.told(), [Told::LoggedIn]);
        bench
    }

    fn open(&mut self, words: &[&str]) -> ExchangeId {
        let deadline = self.now + Duration::from_secs(30);
        self.conn.open(words, Some(deadline)).expect("open")
    }

    /// Everything written so far, as sentences of words.
    fn written(&mut self) -> Vec<Vec<String>> {
        let mut out = Vec::new();
        let bytes = self.conn.transmit().to_vec();
        self.conn.transmitted(bytes.len());
        routeros_wire::decode_all(&bytes, Limits::default(), |s| out.push(text(s)))
            .expect("we write valid words");
        out
    }

    fn hears(&mut self, sentences: &[&[&str]]) {
        let mut bytes = Vec::new();
        for sentence in sentences {
            encode::sentence(&mut bytes, *sentence).expect("no empty words");
        }
        self.conn.handle_input(&bytes);
    }

    fn told(&mut self) -> Vec<Told> {
        let mut told = Vec::new();
        while let Some(event) = self.conn.poll_event() {
            told.push(event.into());
        }
        told
    }

    /// What is told of bytes that are not kept, and of what is left of them.
    fn reads(&mut self, bytes: &[u8], decoder: &mut Decoder) -> Vec<Told> {
        let mut told = Vec::new();
        self.conn.read(bytes, decoder, |event| told.push(event.into()));
        told.extend(self.told());
        told
    }

    fn after(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.conn.handle_timeout(self.now);
    }
}

fn text(sentence: Sentence<'_>) -> Vec<String> {
    sentence
        .words()
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

fn reply(exchange: u64, words: &[&str]) -> Told {
    Told::Reply(exchange, words.iter().map(ToString::to_string).collect())
}

#[test]
fn a_new_device_logs_in_with_name_and_password() {
    let mut bench = Bench::new();
    assert_eq!(bench.written(), [["/login", "=name=admin", "=password=secret"]]);
    bench.hears(&[&["!done"]]);
    assert_eq!(bench.told(), [Told::LoggedIn]);
}

#[test]
fn an_old_device_is_answered_its_challenge() {
    let mut bench = Bench::new();
    bench.written();
    bench.hears(&[&["!done", "=ret=856780b7411eefd3abadee2058c149a3"]]);
    assert_eq!(bench.told(), []);
    let written = bench.written();
    assert_eq!(written[0][..2], ["/login", "=name=admin"]);
    assert!(written[0][2].starts_with("=response=00"));
    bench.hears(&[&["!done"]]);
    assert_eq!(bench.told(), [Told::LoggedIn]);
}

#[test]
fn a_refused_login_closes_with_its_message() {
    let mut bench = Bench::new();
    bench.open(&["/system/identity/print"]);
    bench.hears(&[
        &["!trap", "=message=invalid user name or password (6)"],
        &["!done"],
    ]);
    let refused = LoginRefused {
        message: b"invalid user name or password (6)".to_vec(),
    };
    let expected = [
        Told::Finished(1, Outcome::NotSent),
        Told::Closed(CloseCause::LoginRefused(refused)),
    ];
    assert_eq!(bench.told(), expected);
}

#[test]
fn a_silent_device_times_out_in_login() {
    let mut bench = Bench::new();
    bench.open(&["/system/identity/print"]);
    bench.after(9);
    assert_eq!(bench.told(), []);
    bench.after(1);
    let timeout = CloseCause::LoginTimeout(Duration::from_secs(10));
    assert_eq!(
        bench.told(),
        [Told::Finished(1, Outcome::NotSent), Told::Closed(timeout)]
    );
}

#[test]
fn requests_wait_for_the_login_and_leave_together() {
    let mut bench = Bench::new();
    bench.written();
    bench.open(&["/a"]);
    bench.open(&["/b", "=x=1"]);
    assert!(bench.written().is_empty());
    bench.hears(&[&["!done"]]);
    bench.told();
    assert_eq!(
        bench.written(),
        [vec!["/a", ".tag=1"], vec!["/b", "=x=1", ".tag=2"]]
    );
}

#[test]
fn replies_interleave_and_each_finds_its_exchange() {
    let mut bench = Bench::logged_in();
    bench.open(&["/a"]);
    bench.open(&["/b"]);
    bench.written();
    bench.hears(&[
        &["!re", "=n=1", ".tag=2"],
        &["!re", ".tag=1"],
        &["!done", ".tag=2", "=ret=*1"],
        &["!done", ".tag=1"],
    ]);
    let expected = [
        reply(2, &["!re", "=n=1", ".tag=2"]),
        reply(1, &["!re", ".tag=1"]),
        reply(2, &["!done", ".tag=2", "=ret=*1"]),
        Told::Finished(2, Outcome::Completed),
        reply(1, &["!done", ".tag=1"]),
        Told::Finished(1, Outcome::Completed),
    ];
    assert_eq!(bench.told(), expected);
    assert_eq!(bench.conn.in_flight(), 0);
}

#[test]
fn empty_and_unknown_words_do_not_end_an_exchange() {
    let mut bench = Bench::logged_in();
    bench.open(&["/a"]);
    bench.written();
    bench.hears(&[
        &["!empty", ".tag=1"],
        &["!news", ".tag=1"],
        &[],
        &["!done", ".tag=1"],
    ]);
    let told = bench.told();
    assert_eq!(told.len(), 4);
    assert_eq!(told[3], Told::Finished(1, Outcome::Completed));
}

#[test]
fn two_traps_and_a_done_are_one_trapped_exchange() {
    let mut bench = Bench::logged_in();
    bench.open(&["/a"]);
    bench.written();
    bench.hears(&[
        &[
            "!trap",
            "=category=0",
            "=message=no such command or directory (a)",
            ".tag=1",
        ],
        &["!trap", "=message=no such command prefix", ".tag=1"],
        &["!done", ".tag=1"],
    ]);
    let told = bench.told();
    assert_eq!(told.len(), 4);
    assert_eq!(told[3], Told::Finished(1, Outcome::Trapped));
}

#[test]
fn fatal_leaves_what_had_left_unknown_and_what_had_not_unsent() {
    for words in [
        &["!fatal", "session terminated on request"][..],
        &["!fatal", "=message=session terminated on request"],
    ] {
        let mut bench = Bench::logged_in();
        bench.open(&["/a"]);
        bench.written();
        bench.open(&["/b"]);
        bench.hears(&[words]);
        let reason = b"session terminated on request".to_vec();
        let expected = [
            Told::Finished(1, Outcome::Unknown(UnknownCause::ConnectionLost)),
            Told::Finished(2, Outcome::NotSent),
            Told::Closed(CloseCause::Fatal { reason }),
        ];
        assert_eq!(bench.told(), expected);
    }
}

#[test]
fn one_byte_of_a_request_makes_it_unknown() {
    let mut bench = Bench::logged_in();
    bench.open(&["/a"]);
    bench.open(&["/b"]);
    let first = bench.conn.transmit().len() / 2;
    bench.conn.transmitted(first + 1);
    bench.conn.handle_close();
    let lost = Outcome::Unknown(UnknownCause::ConnectionLost);
    let expected = [
        Told::Finished(1, lost),
        Told::Finished(2, lost),
        Told::Closed(CloseCause::Lost),
    ];
    assert_eq!(bench.told(), expected);

    let mut bench = Bench::logged_in();
    bench.open(&["/a"]);
    bench.open(&["/b"]);
    bench.conn.transmitted(first);
    bench.conn.handle_close();
    assert_eq!(bench.told()[1], Told::Finished(2, Outcome::NotSent));
}

#[test]
fn what_was_said_before_the_end_still_counts() {
    let mut bench = Bench::logged_in();
    bench.open(&["/system/reboot"]);
    bench.written();
    bench.hears(&[&["!done", ".tag=1"]]);
    bench.conn.handle_close();
    let told = bench.told();
    assert_eq!(
        told[1..],
        [
            Told::Finished(1, Outcome::Completed),
            Told::Closed(CloseCause::Lost)
        ]
    );
}

#[test]
fn cancel_ends_the_exchange_whichever_done_comes_first() {
    for own_first in [true, false] {
        let mut bench = Bench::logged_in();
        let listen = bench.open(&["/interface/listen"]);
        bench.written();
        bench.conn.cancel(listen, bench.now);
        assert_eq!(bench.written(), [["/cancel", "=tag=1", ".tag=2"]]);
        bench.hears(&[
            &["!re", "=late=1", ".tag=1"],
            &["!trap", ".tag=1", "=category=2", "=message=interrupted"],
            &["!done", if own_first { ".tag=1" } else { ".tag=2" }],
            &["!done", if own_first { ".tag=2" } else { ".tag=1" }],
        ]);
        let told = bench.told();
        assert_eq!(told.last(), Some(&Told::Finished(1, Outcome::Cancelled)));
        assert_eq!(bench.conn.in_flight(), 0);
    }
}

#[test]
fn a_cancel_that_comes_too_late_changes_nothing() {
    let mut bench = Bench::logged_in();
    let print = bench.open(&["/interface/print"]);
    bench.written();
    bench.conn.cancel(print, bench.now);
    bench.hears(&[
        &["!done", ".tag=1"],
        &["!trap", "=message=no such tag", ".tag=2"],
        &["!done", ".tag=2"],
    ]);
    assert_eq!(bench.told().last(), Some(&Told::Finished(1, Outcome::Completed)));
}

#[test]
fn a_deadline_is_told_at_once_and_the_tag_set_aside() {
    let mut bench = Bench::logged_in();
    bench.open(&["/a"]);
    bench.written();
    assert_eq!(
        bench.conn.poll_timeout(),
        Some(bench.now + Duration::from_secs(30))
    );
    bench.after(30);
    assert_eq!(
        bench.told(),
        [Told::Finished(1, Outcome::Unknown(UnknownCause::Deadline))]
    );
    assert_eq!(bench.written(), [["/cancel", "=tag=1", ".tag=2"]]);
    bench.hears(&[&["!re", ".tag=1"], &["!done", ".tag=1"], &["!done", ".tag=2"]]);
    assert_eq!(bench.told(), [], "late replies are nobody's");
    assert_eq!(bench.conn.in_flight(), 0);
    let next = bench.open(&["/b"]);
    assert_eq!(next.0, 3, "a tag is never used again");
}

#[test]
fn a_device_that_ignores_cancel_loses_the_connection() {
    let mut bench = Bench::logged_in();
    bench.open(&["/a"]);
    bench.written();
    bench.after(30);
    bench.told();
    bench.written();
    bench.after(5);
    let ignored = CloseCause::CancelIgnored(Duration::from_secs(5));
    assert_eq!(bench.told(), [Told::Closed(ignored)]);
}

#[test]
fn a_request_that_cannot_leave_by_its_deadline_is_taken_back_with_the_connection() {
    let mut bench = Bench::logged_in();
    bench.open(&["/a"]);
    bench.after(30);
    let told = bench.told();
    assert_eq!(told[0], Told::Finished(1, Outcome::NotSent));
    assert!(matches!(told[1], Told::Closed(_)));
    assert!(bench.conn.transmit().is_empty());
}

#[test]
fn a_flood_of_replies_nobody_asked_for_ends_the_connection() {
    let mut bench = Bench::logged_in();
    for _ in 0..64 {
        bench.hears(&[&["!re", "=x=1", ".tag=77"]]);
    }
    assert_eq!(bench.told(), []);
    bench.hears(&[&["!done"]]);
    assert_eq!(bench.told(), [Told::Closed(CloseCause::StrayReplies(64))]);
}

#[test]
fn an_announced_4_gib_word_ends_the_connection_after_what_came_before() {
    let mut bench = Bench::logged_in();
    bench.open(&["/a"]);
    bench.written();
    bench.hears(&[&["!re", "=x=1", ".tag=1"]]);
    bench.conn.handle_input(&[0xF0, 0xFF, 0xFF, 0xFF, 0xFF]);
    let told = bench.told();
    assert_eq!(told[0], reply(1, &["!re", "=x=1", ".tag=1"]));
    assert_eq!(
        told[1],
        Told::Finished(1, Outcome::Unknown(UnknownCause::ConnectionLost))
    );
    assert!(matches!(&told[2], Told::Closed(CloseCause::Decode(e)) if e.kind.class() == "word-too-long"));
}

#[test]
fn another_protocol_is_recognised_by_its_first_bytes() {
    let banner = b"SSH-2.0-OpenSSH_9.6";
    let mut bench = Bench::new();
    bench.written();
    bench.open(&["/a"]);
    bench.conn.handle_input(banner);
    let stranger = CloseCause::NotAReply(banner.to_vec());
    assert_eq!(
        bench.told(),
        [Told::Finished(1, Outcome::NotSent), Told::Closed(stranger)]
    );

    let mut bench = Bench::logged_in();
    bench.open(&["/a"]);
    bench.written();
    bench.hears(&[&["re", ".tag=1"]]);
    let told = bench.told();
    assert_eq!(told[1], Told::Closed(CloseCause::NotAReply(b"re".to_vec())));
}

#[test]
fn half_a_reply_is_waited_for() {
    let mut bench = Bench::logged_in();
    for byte in b"\x00\x03!re\x00\x03!r" {
        bench.conn.handle_input(&[*byte]);
        assert_eq!(bench.told(), []);
    }
}

#[test]
fn an_idle_connection_owns_no_buffer() {
    let mut bench = Bench::logged_in();
    bench.open(&["/a"]);
    bench.written();
    bench.hears(&[&["!done", ".tag=1"]]);
    bench.told();
    assert!(bench.conn.held.is_none());
    assert_eq!(bench.conn.output.capacity(), 0);
}

#[test]
fn words_that_cannot_be_sent_open_nothing() {
    let mut bench = Bench::logged_in();
    let error = bench.conn.open(["/a", ""], None);
    assert_eq!(error, Err(OpenError::Encode(EncodeError::EmptyWord)));
    assert_eq!(bench.conn.in_flight(), 0);
    bench.conn.close();
    bench.told();
    assert_eq!(bench.conn.open(["/a"], None), Err(OpenError::Closed));
}

proptest! {
    /// Whatever a hostile peer says, nothing panics and every exchange finishes exactly once.
    #[test]
    fn every_exchange_finishes_exactly_once(
        script in proptest::collection::vec((0u8..8, 0u64..6, proptest::collection::vec(any::<u8>(), 0..20)), 0..60),
    ) {
        let mut bench = Bench::new();
        let (mut opened, mut finished) = (Vec::new(), Vec::new());
        for (what, tag, noise) in script {
            let tag = format!(".tag={tag}");
            match what {
                0 => opened.extend(bench.conn.open(["/x"], Some(bench.now + Duration::from_secs(3))).map(|id| id.0)),
                1 => bench.hears(&[&["!re", &tag]]),
                2 => bench.hears(&[&["!done", &tag]]),
                3 => bench.hears(&[&["!trap", "=category=2", &tag]]),
                4 => bench.after(1),
                5 => bench.conn.cancel(ExchangeId(u64::from(noise.len() as u8 % 6)), bench.now),
                6 => bench.conn.transmitted(noise.len()),
                _ if noise.len() > 17 => bench.conn.handle_input(&noise),
                _ => bench.hears(&[&["!done"]]),
            }
            finished.extend(bench.told().into_iter().filter_map(|told| match told {
                Told::Finished(id, _) => Some(id),
                _ => None,
            }));
        }
        bench.conn.handle_close();
        finished.extend(bench.told().into_iter().filter_map(|told| match told {
            Told::Finished(id, _) => Some(id),
            _ => None,
        }));
        finished.sort_unstable();
        prop_assert_eq!(finished, opened);
    }

    /// However the bytes are cut, and whatever they are, they say the same when they are told from where they lie.
    #[test]
    fn what_is_read_is_what_is_held(
        script in proptest::collection::vec((0u8..9, 1u64..5, any::<u8>()), 0..40),
        cuts in proptest::collection::vec(1usize..60, 1..20),
    ) {
        let mut stream = Vec::new();
        for (what, tag, noise) in script {
            let tag = format!(".tag={tag}");
            let sentence: &[&str] = match what {
                0..=3 => &["!re", "=name=ether1", &tag],
                4..=5 => &["!done", &tag],
                6 => &["!trap", "=message=no such item", &tag],
                7 => &["!re", &tag, "=comment=a word that is longer than a hundred and twenty-eight bytes, so that its \
                       length takes two of them, which may be cut in the middle as well"],
                _ => &["!fatal", "enough"],
            };
            match (what, noise) {
                (8, 0..200) => {}
                (8, 200..230) => stream.push(noise),
                _ => encode::sentence(&mut stream, sentence).expect("no empty words"),
            }
        }
        let mut benches = [(); 2].map(|()| {
            let mut bench = Bench::logged_in();
            for _ in 1..=4 {
                bench.open(&["/a"]);
            }
            bench.written();
            bench
        });
        let (mut decoder, mut rest, mut cuts) = (Decoder::default(), &stream[..], cuts.into_iter().cycle());
        let mut told = [Vec::new(), Vec::new()];
        while !rest.is_empty() {
            let (bytes, after) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
            rest = after;
            benches[0].conn.handle_input(bytes);
            told[0].extend(benches[0].told());
            told[1].extend(benches[1].reads(bytes, &mut decoder));
            prop_assert_eq!(benches[0].conn.buffered(), benches[1].conn.buffered());
        }
        benches[1].conn.handle_close();
        benches[0].conn.handle_close();
        let [held, read] = &mut told;
        held.extend(benches[0].told());
        read.extend(benches[1].told());
        prop_assert_eq!(held, read);
    }
}
