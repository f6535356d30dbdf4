use super::*;

fn facts() -> Facts {
    Facts::from([
        ("free_disk", Fact::Number(30_000_000)),
        ("interfaces_up", Fact::Number(4)),
        (
            "version",
            Fact::Number(number("7.16.2 (stable)").expect("a version")),
        ),
        ("board", Fact::Text("RB5009".into())),
    ])
}

fn holds(text: &str) -> Result<bool, String> {
    let mut pre = facts();
    pre.insert("interfaces_up", Fact::Number(5));
    let check = Check::parse(text).map_err(|error| error.to_string())?;
    check.holds(&pre, &facts())
}

#[test]
fn what_is_small_is_evaluated_where_it_is_asked_for() {
    let facts = made_up(5);
    let deepest = [
        format!("{}1{} > 0", "(1 + ".repeat(SMALL - 2), ")".repeat(SMALL - 2)),
        format!("true{}", " && true".repeat(SMALL - 1)),
        format!("{}true", "true ? true : ".repeat(SMALL - 1)),
        "facts.free_disk > 1 && facts.version < version('0.1') || facts.board in ['a', 'b']".to_owned(),
    ];
    for text in deepest {
        let check = Check::parse(&text).expect(&text);
        assert!(
            check.compiled().is_some_and(|compiled| compiled.is_small),
            "{text}"
        );
        // A quarter of what a thread of the runtime has.
        let little = std::thread::Builder::new().stack_size(512 << 10);
        let holds = std::thread::scope(|scope| {
            let asked = little.spawn_scoped(scope, || check.holds(&facts, &facts));
            asked.expect("a thread").join().expect("it has the stack")
        });
        assert_eq!(holds, Ok(true), "{text}");
    }
    let stored: Check = serde_json::from_str("\"facts.uptime > 1\"").expect("a text");
    assert_eq!(stored, Check::parse("facts.uptime > 1").expect("valid"));
    assert_eq!(stored.holds(&facts, &facts), Ok(true));
    assert_eq!(
        serde_json::to_string(&stored).expect("a text"),
        "\"facts.uptime > 1\""
    );
}

#[test]
fn a_fact_is_compared_with_what_it_may_be() {
    for (text, why) in [
        ("facts.version > 3", "version('7.16.2')"),
        ("'7.16.2' == facts.version", "version('7.16.2')"),
        ("facts.uptime > 60 && facts.board == 5", "board is a text"),
        ("pre.free_disk != '5'", "free_disk is a number"),
        (" ", "it is empty"),
    ] {
        let error = Check::parse(text).expect_err(text).to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
    for text in [
        "facts.board == 'CHR'",
        "post.uptime < pre.uptime",
        "facts.cpu_load < 90.5",
        "facts.board in ['a', 'b']",
    ] {
        assert!(Check::parse(text).is_ok(), "{text}");
    }
}

#[test]
fn what_holds_and_what_does_not() {
    for (text, expected) in [
        (
            "facts.free_disk > 20000000 && facts.version >= version('7.12.1')",
            true,
        ),
        ("facts.version == version('7.16.2')", true),
        ("facts.version < version('7.9')", false),
        ("post.interfaces_up >= pre.interfaces_up", false),
        ("post.interfaces_up >= pre.interfaces_up - 1", true),
        ("facts.board in ['RB5009', 'CCR2004']", true),
        ("facts.board.startsWith('CCR')", false),
        ("[1, 2].all(n, facts.interfaces_up > n)", true),
    ] {
        assert_eq!(holds(text), Ok(expected), "{text}");
    }
    assert!(
        holds("facts.uptime > 3")
            .expect_err("not told")
            .contains("facts.uptime is not known")
    );
}

#[test]
fn mistakes_are_found_without_a_device() {
    for (text, told) in [
        (
            "facts.fre_disk > 1",
            "\"facts.fre_disk\" is not known; there are architecture,",
        ),
        ("facts.free_disk >", "column "),
        ("facts.free_disk", "neither true nor false"),
        ("facts", "followed by a name"),
        ("facts['free_disk'] > 1", "followed by a name"),
        ("facts.board > 3", "board is a text"),
        ("free_disk > 1", "free_disk"),
        ("facts.version >= version('new')", "is no version"),
        ("facts.cpu_load > 5 || facts.uptime + 'x' == 'y'", "'add'"),
        ("[1].all(a, [2].all(b, a < b))", "inside one another"),
    ] {
        let error = Check::parse(text).expect_err(text).to_string();
        assert!(error.contains(told), "{text}: {error}");
    }
    let long = format!("facts.uptime > {}", "1".repeat(MAX_BYTES));
    assert!(matches!(Check::parse(&long), Err(CheckError::TooLong(_))));
    for deep in ["(", "[", "!", "-", "1-", "1 + (", "a.", "true ? true : "] {
        assert_eq!(
            Check::parse(&deep.repeat(4000 / deep.len())),
            Err(CheckError::TooMuch),
            "{deep}"
        );
    }
    // As much as is allowed does not exhaust a thread's stack.
    for (part, end) in [
        ("1 - ", "1 == 0"),
        ("!", "true"),
        ("true || ", "false"),
        ("true ? true : ", "false"),
    ] {
        let text = format!(
            "{}{end}",
            part.repeat(140 / part.matches(|c: char| c.is_ascii_punctuation()).count())
        );
        assert_ne!(Check::parse(&text), Err(CheckError::TooMuch), "{part}");
    }
    let brackets = format!("{}true{}", "(".repeat(DEPTH), ")".repeat(DEPTH));
    assert!(Check::parse(&brackets).is_ok());
}

#[test]
fn what_has_to_be_asked() {
    let check =
        Check::parse("post.interfaces_up >= pre.interfaces_up && facts.identity != ''").expect("valid");
    assert_eq!(check.needs(), [Source::Identity, Source::Interfaces].into());
    assert_eq!(check.needs_before(), [Source::Interfaces].into());
    assert!(check.is_about_a_change());
}

#[test]
fn versions_are_numbers_and_back() {
    for text in ["7.16.2", "7.9", "7.19rc1", "7.20beta12", "6.49.10"] {
        assert_eq!(version_text(number(text).expect(text)), text);
    }
    for bad in ["", "7", "7.x", "7.16.2.1", "7.1000", "7.16zeta"] {
        assert_eq!(number(bad), None, "{bad}");
    }
}
