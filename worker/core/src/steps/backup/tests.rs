use super::*;
use muster_model::check::Facts;
use routeros_wire::encode;

fn around(facts: &Facts) -> Around<'_> {
    Around {
        pre: facts,
        room: 1 << 20,
        now: Duration::ZERO,
        over_api: true,
        changes: false,
        changed: false,
        restarted: false,
        backup_age: None,
        open: Duration::ZERO,
        notes: &NO_NOTES,
    }
}

static NO_NOTES: crate::steps::Notes = crate::steps::Notes::new();

fn answer(sentences: &[&[&[u8]]]) -> Bytes {
    let mut out = Vec::new();
    for sentence in sentences {
        encode::sentence(&mut out, sentence.iter()).expect("no empty words");
    }
    out.into()
}

/// What a device says to a command; `None` when the connection is lost over it.
type Device<'d> = &'d mut dyn FnMut(&str) -> Option<(StepEnd, Bytes)>;

/// Runs a step against a device. Returns its commands and how it ended.
fn run(step: &mut Apply, device: Device<'_>) -> (Vec<String>, Next) {
    let facts = Facts::new();
    let around = around(&facts);
    let (mut sent, mut next) = (Vec::new(), step.begin(&around));
    loop {
        next = match next {
            Next::Ask => {
                sent.push("ask".to_owned());
                step.granted(&around)
            }
            Next::Wait(_) => step.waited(&around),
            Next::Exchange(exchange) => {
                let words = exchange.words.iter().map(|word| String::from_utf8_lossy(word));
                let words = words.collect::<Vec<_>>().join(" ");
                let said = device(&words);
                sent.push(words);
                let lost = StepEnd::NoAnswer(DeviceError::new(ErrorClass::Reset, "lost"));
                let (end, answer) = said.unwrap_or((lost, Bytes::new()));
                step.ended(end, answer, &around)
            }
            end => return (sent, end),
        };
    }
}

/// A device of this version, whose backup has so many bytes.
fn device(version: &str, size: usize) -> impl FnMut(&str) -> Option<(StepEnd, Bytes)> {
    let version = format!("=version={version} (stable)");
    move |words: &str| {
        let backup = vec![7; size];
        let export = b"# 2026-01-01 00:00:00 by RouterOS 7\n/ip dns\n".to_vec();
        let file = if words.contains("muster-export") {
            &export
        } else {
            &backup
        };
        let sentences = if words.starts_with("/system/resource") {
            answer(&[&[b"!re", version.as_bytes()], &[b"!done"]])
        } else if words.starts_with("/file/print =.proplist=.id") {
            let size = format!("=size={}", file.len());
            answer(&[&[b"!re", b"=.id=*7", size.as_bytes()], &[b"!done"]])
        } else if words.starts_with("/file/read") {
            let offset = words.split("=offset=").nth(1).expect("an offset");
            let offset = offset
                .split(' ')
                .next()
                .expect("a number")
                .parse::<usize>()
                .expect("a number");
            let part = &file[offset..(offset + PART).min(file.len())];
            answer(&[&[b"!re", &[b"=data=", part].concat()], &[b"!done"]])
        } else if words.starts_with("/file/print =.proplist=contents") {
            answer(&[&[b"!re", &[b"=contents=", &file[..]].concat()], &[b"!done"]])
        } else if words.starts_with("/execute") {
            answer(&[&[b"!done", &[b"=ret=", &export[..]].concat()]])
        } else {
            answer(&[&[b"!done"]])
        };
        Some((StepEnd::Completed, sentences))
    }
}

#[test]
fn each_version_gives_its_files_in_its_own_way() {
    let mut step = Apply::backup(&Backup::default());
    let (sent, end) = run(&mut step, &mut device("7.16.2", 40_000));
    assert!(matches!(end, Next::Done { .. }), "{end:?}");
    let reads = sent
        .iter()
        .filter(|words| words.starts_with("/file/read"))
        .count();
    assert_eq!(
        (reads, sent.last().map(String::as_str)),
        (2, Some("/file/remove =.id=*7"))
    );
    let given = step.given();
    assert_eq!(
        (given[0].bytes.len(), given[0].version.as_str()),
        (40_000, "7.16.2")
    );
    assert_eq!(&given[1].bytes[..], b"# by RouterOS 7\n/ip dns\n");

    let mut step = Apply::backup(&Backup::default());
    let (sent, end) = run(&mut step, &mut device("6.49.17", 4000));
    assert!(matches!(end, Next::Done { .. }), "{end:?}");
    assert!(
        sent.contains(&"/export =file=muster-export =hide-sensitive=".to_owned()),
        "{sent:?}"
    );
    assert_eq!(
        sent.iter()
            .filter(|words| words.starts_with("/file/remove"))
            .count(),
        2
    );
    assert_eq!(step.given().len(), 2);

    let (sent, _) = run(&mut Apply::export(), &mut device("7.16.2", 1));
    assert_eq!(
        sent.len(),
        2,
        "an export alone is a read where it can be one: {sent:?}"
    );
}

#[test]
fn what_came_is_looked_at() {
    let why = |end: Next| match end {
        Next::Stop {
            outcome: Outcome::Failed,
            error: Some(error),
            ..
        } => error.message,
        other => panic!("{other:?}"),
    };
    let (sent, end) = run(&mut Apply::backup(&Backup::default()), &mut device("7.16.2", 0));
    assert!(why(end).contains("is empty"));
    assert_eq!(
        sent.last().map(String::as_str),
        Some("/file/remove =.id=*7"),
        "it is cleared away"
    );
    let mut whole = device("7.16.2", 40_000);
    let mut cut = |words: &str| match words.starts_with("/file/read") && words.contains("=offset=32768") {
        true => Some((StepEnd::Completed, answer(&[&[b"!done"]]))),
        false => whole(words),
    };
    let (_, end) = run(&mut Apply::backup(&Backup::default()), &mut cut);
    assert!(why(end).contains("40000 bytes and the device gave 32768"));
    let mut whole = device("7.16.2", 10);
    let mut none = |words: &str| match words.starts_with("/file/print") {
        true => Some((StepEnd::Completed, answer(&[&[b"!done"]]))),
        false => whole(words),
    };
    let (_, end) = run(&mut Apply::backup(&Backup::default()), &mut none);
    assert!(why(end).contains("there is no such file"));
}

/// At each of its commands in turn: it ends, and as something that harms nothing.
#[test]
fn a_connection_lost_at_each_command_harms_nothing_and_is_no_question() {
    for version in ["7.16.2", "7.12.1", "7.5", "6.49.17"] {
        let all = run(&mut Apply::backup(&Backup::default()), &mut device(version, 4000)).0;
        let commands = all.iter().filter(|words| *words != "ask").count();
        for lost in 0..commands {
            let (mut whole, mut at) = (device(version, 4000), 0);
            let mut cut = |words: &str| {
                at += 1;
                (at - 1 != lost).then(|| whole(words))?
            };
            let (_, end) = run(&mut Apply::backup(&Backup::default()), &mut cut);
            let harmless = matches!(
                end,
                Next::Stop {
                    outcome: Outcome::Failed | Outcome::Interrupted,
                    ..
                }
            );
            assert!(harmless, "{version} {lost}: {end:?}");
        }
    }
}

#[test]
fn a_backup_that_is_new_enough_is_not_made_again() {
    let facts = Facts::new();
    let of = |age: u64| {
        let mut step = Apply::backup(&Backup {
            max_age_ms: Some(60_000),
            ..Backup::default()
        });
        let age = Some(Duration::from_secs(age));
        let next = step.begin(&Around {
            backup_age: age,
            ..around(&facts)
        });
        matches!(next, Next::Done { .. })
    };
    assert!(of(60) && !of(61));
}

/// What an old router gives no backup of fails, or is kept as an export where that will do; a preview tells which it may be.
#[test]
fn a_backup_that_an_old_router_cannot_give_is_told_before_and_may_be_an_export() {
    let large = |version| {
        let mut whole = device(version, 90_000);
        move |words: &str| match words.starts_with("/file/print =.proplist=contents ?name=muster-backup") {
            true => Some((StepEnd::Completed, answer(&[&[b"!re"], &[b"!done"]]))),
            false => whole(words),
        }
    };
    let or_export = Backup {
        or_export: true,
        ..Backup::default()
    };
    for version in ["7.12.1", "7.5"] {
        let (_, end) = run(&mut Apply::backup(&Backup::default()), &mut large(version));
        assert!(
            matches!(
                end,
                Next::Stop {
                    outcome: Outcome::Failed,
                    ..
                }
            ),
            "{version}: {end:?}"
        );
        let mut step = Apply::backup(&or_export);
        let (sent, end) = run(&mut step, &mut large(version));
        assert!(matches!(end, Next::Done { .. }), "{version}: {end:?}");
        let kinds = step
            .given()
            .into_iter()
            .map(|given| given.kind)
            .collect::<Vec<_>>();
        assert_eq!(kinds, [Kept::Export], "{version}");
        let left = sent.iter().filter(|words| words.starts_with("/file/remove"));
        assert!(
            left.count() >= 1,
            "{version}: the backup is cleared away: {sent:?}"
        );
    }
    let told = |backup: Option<&Backup>, version: &str| {
        let mut preview = Preview::new(backup);
        let facts = Facts::new();
        let around = around(&facts);
        assert!(matches!(preview.begin(&around), Next::Exchange(_)));
        let row = format!("=version={version} (stable)");
        let answer = answer(&[&[b"!re", row.as_bytes()], &[b"!done"]]);
        match preview.ended(StepEnd::Completed, answer, &around) {
            Next::Done {
                reply,
                changes: false,
            } => String::from_utf8_lossy(&reply).into_owned(),
            other => panic!("{other:?}"),
        }
    };
    let plain = Backup::default();
    for (backup, version, note) in [
        (Some(&plain), "7.13", ""),
        (Some(&plain), "7.12.1", "a larger backup fails here"),
        (Some(&or_export), "7.12.1", "only the export is kept"),
        (Some(&plain), "6.49.17", "at most 4 KB"),
        (None, "7.12.1", ""),
        (None, "7.8", "a larger export fails here"),
    ] {
        let said = told(backup, version);
        assert_eq!(said.contains("=note="), !note.is_empty(), "{version}: {said}");
        assert!(said.contains(note), "{version}: {said}");
    }
}

/// Over REST a byte may come as the character of that number.
#[test]
fn bytes_that_came_as_characters_are_bytes_again() {
    let backup = |at: usize| (at % 256) as u8;
    let mut whole = device("7.16.2", 40_000);
    let mut escaped = |words: &str| match words.split("=offset=").nth(1) {
        Some(offset) => {
            let from = offset.split(' ').next()?.parse::<usize>().ok()?;
            let part = (from..(from + PART).min(40_000)).map(|at| char::from(backup(at)));
            let data = format!("=data={}", part.collect::<String>());
            Some((
                StepEnd::Completed,
                answer(&[&[b"!re", data.as_bytes()], &[b"!done"]]),
            ))
        }
        None => whole(words),
    };
    let mut step = Apply::backup(&Backup::default());
    let (_, end) = run(&mut step, &mut escaped);
    assert!(matches!(end, Next::Done { .. }), "{end:?}");
    let given = step.given();
    assert!(given[0].bytes.iter().copied().eq((0..40_000).map(backup)));
}

#[test]
fn of_a_device_that_lists_all_its_files_only_the_one_asked_for_is_taken() {
    let mut whole = device("7.16.2", 40_000);
    let mut lists = |words: &str| match words.starts_with("/file/print =.proplist=.id") {
        true => {
            let name = words.split("?name=").nth(1)?;
            let size = if name.ends_with(".rsc") { "44" } else { "40000" };
            let row = [format!("=name={name}"), format!("=size={size}")];
            let sentences: [&[&[u8]]; 4] = [
                &[b"!re", b"=.id=*1", b"=name=flash", b"=size=1"],
                &[b"!re", b"=.id=*7", row[0].as_bytes(), row[1].as_bytes()],
                &[b"!re", b"=.id=*9", b"=name=old.backup", b"=size=77"],
                &[b"!done"],
            ];
            Some((StepEnd::Completed, answer(&sentences)))
        }
        false => whole(words),
    };
    let mut step = Apply::backup(&Backup::default());
    let (sent, end) = run(&mut step, &mut lists);
    assert!(matches!(end, Next::Done { .. }), "{end:?}");
    assert_eq!(step.given()[0].bytes.len(), 40_000);
    assert_eq!(sent.last().map(String::as_str), Some("/file/remove =.id=*7"));
}
