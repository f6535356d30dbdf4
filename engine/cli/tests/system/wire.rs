//! `muster wire` as a process, and queries from text against simulated devices.

use std::io::Write as _;
use std::process::{Output, Stdio};

use crate::harness::{Engine, Fleet, muster};

fn wire(args: &[&str], input: &[u8]) -> Output {
    let mut child = muster()
        .arg("wire")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("muster starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // It may end before it has read everything, so the write may fail.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("ended");
    writer.join().expect("written");
    output
}

fn lines(output: &Output) -> Vec<&str> {
    std::str::from_utf8(&output.stdout)
        .expect("UTF-8")
        .lines()
        .collect()
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

/// Sentences as bytes and as they are printed.
fn vectors() -> Vec<(Vec<u8>, &'static str)> {
    let long = [&b"\x81\x00=contents="[..], &[b'x'; 246]].concat();
    let long_line: &'static str = Box::leak(format!(r#"["!re", "=contents={}"]"#, "x".repeat(246)).into());
    vec![
        (
            b"\x06/login\x0b=name=admin\x00".to_vec(),
            r#"["/login", "=name=admin"]"#,
        ),
        (b"\x00".to_vec(), "[]"),
        (
            b"\x03!re\x80\x05=a=\xFFb\x06.tag=1\x00".to_vec(),
            r#"["!re", {"hex": "3d613dff62"}, ".tag=1"]"#,
        ),
        ([b"\x03!re", long.as_slice(), b"\x00"].concat(), long_line),
        (
            b"\xF0\x00\x00\x00\x05!done\x07=\"\\\n\x1b\xc2\x9b\x00".to_vec(),
            r#"["!done", "=\"\\\n\u001b\u009b"]"#,
        ),
    ]
}

#[test]
fn a_stream_cut_at_every_byte() {
    let vectors = vectors();
    let stream = vectors
        .iter()
        .flat_map(|(bytes, _)| bytes.clone())
        .collect::<Vec<_>>();
    let skip = 60..stream.len() - 40;
    // The inside of the long word is one case, not two hundred.
    for cut in (0..=stream.len()).filter(|cut| !skip.contains(cut)) {
        let (mut end, mut expected) = (0, Vec::new());
        let mut clean = cut == 0;
        for (bytes, line) in &vectors {
            end += bytes.len();
            if end <= cut {
                expected.push(*line);
                clean = end == cut;
            }
        }
        expected.push(if clean {
            r#"{"end": "clean"}"#
        } else {
            r#"{"end": "partial"}"#
        });
        for args in [
            &["decode"][..],
            &["decode", "--chunk", "1"],
            &["decode", "--chunk", "7"],
        ] {
            let output = wire(args, &stream[..cut]);
            assert_eq!(lines(&output), expected, "{args:?} cut at {cut}");
            assert_eq!(code(&output), if clean { 0 } else { 3 });
        }
    }
}

#[test]
fn each_class_of_error_has_its_place() {
    let many = [&b"\x01x".repeat(4097)[..], b"\x00"].concat();
    let good = b"\x03!re\x00";
    for (bad, class, at) in [
        (&b"\xF8"[..], "control-byte", 5),
        (b"\x01a\xFF\x00", "control-byte", 7),
        (b"\xF1\x00\x00\x00\x01", "unsupported-length", 5),
        (b"\xF7", "unsupported-length", 5),
        (b"\xF0\xFF\xFF\xFF\xFF", "word-too-long", 5),
        (b"\x01a\xE1\x00\x00\x01", "word-too-long", 7),
        (&many, "sentence-too-long", 5 + 2 * 4096),
    ] {
        for args in [&["decode"][..], &["decode", "--chunk", "1"]] {
            let output = wire(args, &[good, bad].concat());
            let expected = [r#"["!re"]"#, &format!(r#"{{"error": "{class}", "at": {at}}}"#)];
            assert_eq!(
                lines(&output),
                expected,
                "{args:?} {:?}",
                bad.escape_ascii().to_string()
            );
            assert_eq!(code(&output), 3);
        }
    }
    let output = wire(&["decode", "--max-word", "2"], b"\x02ab\x00\x03abc\x00");
    assert_eq!(
        lines(&output),
        [r#"["ab"]"#, r#"{"error": "word-too-long", "at": 4}"#]
    );
    let output = wire(&["decode", "--max-word", "4294967295"], b"\xE1\x00\x00\x01a");
    assert_eq!(lines(&output), [r#"{"end": "partial"}"#]);
}

#[test]
fn hex_text_in_and_out() {
    let output = wire(&["decode", "--hex"], b"03 21 72\n65 00 0");
    assert_eq!(lines(&output), [r#"["!re"]"#]);
    assert_eq!(code(&output), 1);
    assert!(String::from_utf8_lossy(&output.stderr).contains("line 2, column 7"));
    let output = wire(&["decode", "--hex", "--chunk", "1"], b"03217265\n00");
    assert_eq!(lines(&output), [r#"["!re"]"#, r#"{"end": "clean"}"#]);
    let output = wire(&["encode", "--hex"], b"[\"!re\"]\n[]\n");
    assert_eq!(lines(&output), ["0321726500", "00"]);
}

#[test]
fn decode_and_encode_undo_each_other() {
    // The lengths here are minimal, as encode writes them.
    let mut stream = Vec::new();
    for size in [
        0, 1, 0x7E, 0x7F, 0x80, 0x100, 0x3FFF, 0x4000, 0x1F_FFFF, 0x20_0000,
    ] {
        let word = (0..=255u8).cycle().take(size).collect::<Vec<_>>();
        let words = [&b"!re"[..], &word];
        let words = words.into_iter().filter(|word| !word.is_empty());
        routeros_wire::encode::sentence(&mut stream, words).expect("no empty words");
    }
    stream.extend_from_slice(b"\x00\x05!done\x00");
    let decoded = wire(&["decode"], &stream);
    assert_eq!(code(&decoded), 0);
    let encoded = wire(&["encode"], &decoded.stdout);
    assert_eq!(code(&encoded), 0);
    assert!(
        encoded.stdout == stream,
        "{} and {} bytes",
        encoded.stdout.len(),
        stream.len()
    );
    let bad = wire(&["encode"], b"[\"a\"]\n[\"b\"\n");
    assert_eq!((code(&bad), &bad.stdout[..]), (1, &b"\x01a\x00"[..]));
    assert!(String::from_utf8_lossy(&bad.stderr).contains("input, line 2"));
}

#[test]
fn a_conversation_is_put_in_order_by_tag() {
    let folder = tempfile::TempDir::new().unwrap();
    let encode = |name: &str, sentences: &[&[&str]]| {
        let mut bytes = Vec::new();
        for words in sentences {
            routeros_wire::encode::sentence(&mut bytes, *words).unwrap();
        }
        let path = folder.path().join(name);
        std::fs::write(&path, &bytes).unwrap();
        (path.to_str().unwrap().to_owned(), bytes)
    };
    let (sent, _) = encode(
        "sent",
        &[
            &["/login", "=name=admin", "=password=hunter2"],
            &["/a/print", ".tag=1"],
            &["/b/print", ".tag=2"],
            &["/c/print", ".tag=1"],
        ],
    );
    let (received, bytes) = encode(
        "received",
        &[
            &["!done"],
            &["!done", ".tag=2"],
            &["!re", ".tag=1", "=x=1"],
            &["!done", ".tag=1"],
            &["!empty", ".tag=1"],
            &["!done", ".tag=1"],
        ],
    );
    let output = wire(&["replay", "--sent", &sent, "--received", &received], b"");
    let expected = [
        "no tag",
        "  > /login  =name=admin  =password=…",
        "  < !done",
        "",
        "tag 1",
        "  > /a/print",
        "  < !re  =x=1",
        "  < !done",
        "  > /c/print",
        "  < !empty",
        "  < !done",
        "",
        "tag 2",
        "  > /b/print",
        "  < !done",
    ];
    assert_eq!(lines(&output), expected);
    assert_eq!(code(&output), 0);

    let output = wire(&["replay", "--json"], &bytes[..bytes.len() - 1]);
    let one = r#"{"tag": "1", "exchanges": [{"sent": null, "received": [["!re", "=x=1"], ["!done"]]}, "#;
    assert_eq!(
        lines(&output)[2],
        format!(r#"{one}{{"sent": null, "received": [["!empty"]]}}]}}"#)
    );
    assert_eq!(lines(&output)[3], r#"{"source": "input", "end": "partial"}"#);
    assert_eq!(code(&output), 3);
    let output = wire(&["replay", "--sent", "/nowhere"], b"");
    assert_eq!(code(&output), 1);
}

#[test]
fn where_limits_a_print_and_nothing_else() {
    let fleet = Fleet::start(42, 2, &[]);
    let engine = Engine::start(&[]);
    engine.import(&fleet, 2, "\n");
    let names = |filter: &str| {
        let args = [
            "run",
            "--all",
            "--json",
            "--where",
            filter,
            "--",
            "/interface/print",
            ".proplist=name",
        ];
        let ran = engine.run(&args).ok();
        let rows = ran.of("r0")["rows"].as_array().expect("rows").clone();
        let name = |row: &serde_json::Value| row["name"].as_str().expect("a name").to_owned();
        rows.iter().map(name).collect::<Vec<_>>()
    };
    let all = names("name");
    assert!(
        all.len() > 2 && all.iter().any(|name| name == "ether1"),
        "{all:?}"
    );
    assert_eq!(names("name=ether1"), ["ether1"]);
    let others = all
        .iter()
        .filter(|name| *name != "ether1")
        .cloned()
        .collect::<Vec<_>>();
    assert_eq!(names("name!=ether1 and (mtu>=68 or not nothing)"), others);
    assert_eq!(names("nothing<=5"), Vec::<String>::new());
    for (filter, path, told) in [
        (
            "a=1 and",
            "/interface/print",
            "--where, column 8: expected a property name, found the end",
        ),
        ("name=ether1", "/interface/disable", "only print honours queries"),
    ] {
        let ran = engine
            .run(&["run", "--all", "--yes", "--where", filter, "--", path])
            .exits(1);
        assert!(ran.stderr().contains(told), "{}", ran.stderr());
    }
}
