//! Query words and the text of expressions: what is read, written and read again means the same.
//!
//! The input's lines are query words, and all of it is the text of an expression as well.
#![no_main]

use libfuzzer_sys::fuzz_target;
use routeros_wire::{Expression, Query};

/// Items that tell operators apart: properties there and not, empty, numbers, booleans.
const ITEMS: [&[(&str, &str)]; 5] = [
    &[],
    &[("a", "")],
    &[("a", "1"), ("b", "true")],
    &[("a", "10"), ("b", "no"), ("c", "")],
    &[("a", "x"), ("b", "*1F"), ("c", "1m30s")],
];

fn get(item: &'static [(&'static str, &'static str)]) -> impl Fn(&[u8]) -> Option<&'static [u8]> {
    move |name| {
        item.iter()
            .find(|(known, _)| known.as_bytes() == name)
            .map(|(_, value)| value.as_bytes())
    }
}

/// A text that prints as itself, and words that mean what the tree means.
fn check_expression(expression: &Expression) {
    let text = expression.to_string();
    let again: Expression = text.parse().expect("printed text can be read");
    assert_eq!(&again, expression, "{text}");
    let query = expression.query();
    let words = expression.words();
    let read = Query::from_words(words.iter().map(Vec::as_slice)).expect("its own words");
    assert_eq!(read, query);
    // The tree may be another one: `a and not a>1` comes back as `a<=1`.
    let back = Expression::of(&query).expect("people can write it");
    assert_eq!(back.query(), query, "{text}");
    for item in ITEMS {
        assert_eq!(expression.matches(&get(item)), query.matches(get(item)), "{text}");
    }
}

fuzz_target!(|input: &[u8]| {
    if let Ok(query) = Query::from_words(input.split(|&byte| byte == b'\n')) {
        let words = query.words();
        let read = Query::from_words(words.iter().map(Vec::as_slice));
        assert_eq!(read.as_ref(), Ok(&query));
        let once = ITEMS.map(|item| query.matches(get(item)));
        if let Some(expression) = Expression::of(&query) {
            assert_eq!(ITEMS.map(|item| expression.matches(&get(item))), once);
            check_expression(&expression);
        }
    }
    if let Ok(text) = std::str::from_utf8(input) {
        match text.parse::<Expression>() {
            Ok(expression) => check_expression(&expression),
            Err(error) => {
                // The place is in the text, or one behind its end.
                assert!((1..=text.chars().count() + 1).contains(&error.column), "{error}");
                assert!(!error.message.is_empty());
            }
        }
    }
});
