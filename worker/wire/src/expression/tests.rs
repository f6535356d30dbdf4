use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Expression {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn words(text: &str) -> Vec<String> {
    let words = parse(text).words();
    words
        .into_iter()
        .map(|word| String::from_utf8(word).expect("UTF-8"))
        .collect()
}

#[test]
fn text_compiles_to_words() {
    for (text, expected) in [
        ("a", &["?a"][..]),
        ("not a", &["?-a"]),
        ("a=1 and (b>2 or not c)", &["?a=1", "?>b=2", "?-c", "?#|&"]),
        ("a or b and c", &["?a", "?b", "?c", "?#&|"]),
        ("(a or b) and c", &["?a", "?b", "?#|", "?c", "?#&"]),
        ("not a and b", &["?-a", "?b", "?#&"]),
        ("not (a and b)", &["?a", "?b", "?#&!"]),
        ("a and b and c or d", &["?a", "?b", "?c", "?#&&", "?d", "?#|"]),
        ("a!=1", &["?a=1", "?#!"]),
        ("a<=1", &["?a", "?>a=1", "?#!&"]),
        ("a >= 1", &["?a", "?<a=1", "?#!&"]),
        ("NOT a AND b Or c", &["?-a", "?b", "?#&", "?c", "?#|"]),
        ("comment=\"\"", &["?comment="]),
        ("comment='two \"words\"'", &["?comment=two \"words\""]),
        (r#""and" = "a\n\"=b""#, &["?and=a\n\"=b"]),
        (
            ".id=*1 or address=10.0.0.1/24",
            &["?.id=*1", "?address=10.0.0.1/24", "?#|"],
        ),
        ("имя=ж", &["?имя=ж"]),
        ("notes=1 and order=-2", &["?notes=1", "?order=-2", "?#&"]),
    ] {
        assert_eq!(words(text), expected, "{text}");
    }
}

#[test]
fn errors_point_at_the_column() {
    let deep = "(".repeat(1000);
    for (text, column, told) in [
        ("", 1, "expected a property name, found the end"),
        ("a=", 3, "expected a value; the empty one is written \"\""),
        ("a= and b", 4, "expected a value, found and"),
        ("a=1 b", 5, "expected and, or, or the end, found b"),
        ("a=1 and", 8, "expected a property name, found the end"),
        ("a==1", 3, "write a single ="),
        ("a<>1", 3, "write >= or !="),
        ("a=>1", 3, "write >="),
        ("=1", 1, "expected a property name before ="),
        ("!a", 1, "write not instead of !"),
        ("a && b", 3, "write and instead of &"),
        ("a || b", 3, "write or instead of |"),
        ("a~b", 2, "the API has no regular expressions"),
        ("a!1", 2, "write not or != instead of !"),
        (
            "a=1 and (b or c",
            16,
            "the ) for the ( in column 9, found the end",
        ),
        ("a)", 2, "there is no ( that this ) closes"),
        ("()", 2, "expected a property name, found )"),
        ("a=b=c", 4, "in quotes"),
        ("жж=\"x", 4, "not closed"),
        (r#"a="\q""#, 4, "no such escape"),
        (r#"a="\x1""#, 4, "no such escape"),
        ("or", 1, "found or; quote it"),
        ("-a", 1, "does not begin with"),
        ("\"a=b\"=1", 1, "has no = in it"),
        ("\"\"", 1, "not empty"),
        ("?a=1", 1, "leave out the question mark"),
        (&deep, 65, "nested too deep"),
    ] {
        let error = text.parse::<Expression>().expect_err(text);
        assert_eq!(error.column, column, "{text}: {error}");
        assert!(error.to_string().contains(told), "{text}: {error}");
    }
}

#[test]
fn items_without_the_property() {
    for (text, expected) in [
        ("a", false),
        ("a=1", false),
        ("a=\"\"", true),
        ("a!=1", true),
        ("a!=\"\"", false),
        ("a<1", false),
        ("a<=1", false),
        ("a>=1", false),
        ("not a>=1", true),
    ] {
        let tree = parse(text);
        assert_eq!(tree.matches(&|_: &[u8]| None), expected, "{text}");
        assert_eq!(tree.query().matches(|_| None), expected, "{text}");
    }
}

#[test]
fn queries_without_a_tree() {
    for words in [
        &[][..],
        &["?#!"],
        &["?a", "?#&"],
        &["?a", "?#."],
        &["?a", "?#0"],
        &["?=-a=1"],
    ] {
        let query = Query::from_words(words.iter().map(|w| w.as_bytes())).expect("valid");
        assert_eq!(Expression::of(&query), None, "{words:?}");
    }
    let mut words = vec![b"?a".to_vec()];
    for _ in 0..100 {
        words.extend([b"?b".to_vec(), b"?#|".to_vec(), b"?c".to_vec(), b"?#&".to_vec()]);
    }
    let query = Query::from_words(words.iter().map(Vec::as_slice)).expect("valid");
    assert_eq!(Expression::of(&query), None, "200 levels");
}

#[test]
fn words_of_others_become_text() {
    for (words, text) in [
        (&["?a=1", "?b"][..], "a=1 and b"),
        (&["?a", "?b", "?#|", "?c", "?#!"], "(a or b) and not c"),
        (&["?mtu", "?>mtu=1500", "?#!", "?#&"], "mtu<=1500"),
        (&["?a", "?>b=1", "?#!&"], "a and not b>1"),
        (&["?comment=my \"text\""], r#"comment="my \"text\"""#),
        (&["?and"], "\"and\""),
    ] {
        let query = Query::from_words(words.iter().map(|w| w.as_bytes())).expect("valid");
        assert_eq!(
            Expression::of(&query).map(|tree| tree.to_string()).as_deref(),
            Some(text)
        );
    }
}

fn tree() -> impl Strategy<Value = Expression> {
    let name = prop_oneof![
        8 => "[a-c]".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 1..5),
        1 => "(and|OR|not|\\?a| a)".prop_map(String::into_bytes),
    ];
    let name = name.prop_filter_map("no name", |name| Name::new(name).ok());
    let value = prop_oneof![
        4 => "[0-2]".prop_map(String::into_bytes),
        1 => "(yes|true|no|false|5m|90s)?".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..5),
        1 => "[\\PC\"'\\\\\n\t=<>!]{0,5}".prop_map(String::into_bytes),
    ];
    let operator = prop_oneof![
        Just(Operator::Equal),
        Just(Operator::NotEqual),
        Just(Operator::Less),
        Just(Operator::AtMost),
        Just(Operator::Greater),
        Just(Operator::AtLeast),
    ];
    let leaf = prop_oneof![
        1 => name.clone().prop_map(Expression::present),
        3 => (name, operator, value).prop_map(|(name, operator, x)| Expression::compare(name, operator, x)),
    ];
    leaf.prop_recursive(5, 24, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| a.and(b)),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| a.or(b)),
            inner.prop_map(Expression::not),
        ]
    })
}

fn item() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
    let value = "([0-2]|yes|true|no|5m|90s)?".prop_map(String::into_bytes);
    proptest::collection::vec(("[a-c]".prop_map(String::into_bytes), value), 0..4)
}

proptest! {
    #[test]
    fn words_say_what_the_tree_says(tree in tree(), items in proptest::collection::vec(item(), 1..6)) {
        let words = tree.words();
        let query = Query::from_words(words.iter().map(Vec::as_slice)).expect("words of ours");
        prop_assert_eq!(&query, &tree.query());
        let back = Expression::of(&query).expect("a tree has a tree");
        for item in items {
            let get = |name: &[u8]| item.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_slice());
            prop_assert_eq!(query.matches(get), tree.matches(&get), "{}", tree);
            prop_assert_eq!(back.matches(&get), tree.matches(&get), "{}", tree);
        }
    }

    #[test]
    fn text_is_read_back(tree in tree()) {
        prop_assert_eq!(tree.to_string().parse::<Expression>(), Ok(tree));
    }

    #[test]
    fn no_text_panics(text in "(\\PC|and|or|not|[ ()=<>!\"'\\\\?x0-9a]){0,40}") {
        match text.parse::<Expression>() {
            Ok(tree) => prop_assert_eq!(tree.to_string().parse::<Expression>(), Ok(tree)),
            Err(error) => prop_assert!((1..=text.chars().count() + 1).contains(&error.column)),
        }
    }
}
