//! Query words: a small stack machine that a device runs over each item of a `print`.
//!
//! | word | pushes |
//! |---|---|
//! | `?name` | whether the item has the property |
//! | `?-name` | whether it has not |
//! | `?name=x`, `?=name=x` | whether the property equals x; `?name=` is true where it is empty |
//! | `?<name=x`, `?>name=x` | whether it is less, greater |
//! | `?#ops` | what the operations leave: `!` not, `&` and, `\|` or, a number for an index, `.` for a copy |
//!
//! The stack begins with no end of `true`; an item passes if no `false` is left on it (vendor's page "API",
//! section "Queries").

use thiserror::Error;

use crate::sentence::Sentence;
use crate::value;

/// Query words in the order they are evaluated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pub(crate) operations: Vec<Operation>,
}

/// A word that is no query, or one whose operations say nothing known.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("bad query word {}: {reason}", word.escape_ascii())]
pub struct QueryError {
    /// The word as it came.
    pub word: Vec<u8>,
    /// What is wrong with it.
    pub reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Present(Vec<u8>),
    Absent(Vec<u8>),
    Equals(Vec<u8>, Vec<u8>),
    Less(Vec<u8>, Vec<u8>),
    Greater(Vec<u8>, Vec<u8>),
    Not,
    And,
    Or,
    /// Pushes a copy of the value at an index.
    Copy(usize),
    /// Replaces all values with the value at an index.
    Replace(usize),
}

impl Query {
    /// Reads the query words among `words`; other words are passed over.
    pub fn from_words<'a>(words: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, QueryError> {
        let mut operations = Vec::new();
        for word in words {
            if let Some(body) = word.strip_prefix(b"?") {
                parse(body, &mut operations).map_err(|reason| QueryError {
                    word: word.to_vec(),
                    reason,
                })?;
            }
        }
        Ok(Self { operations })
    }

    /// Reads the query words of a sentence.
    pub fn of(sentence: Sentence<'_>) -> Result<Self, QueryError> {
        Self::from_words(sentence.words())
    }

    /// The query as words, those of operations put together. Read back they give this query; they need not be the
    /// words it was read from.
    pub fn words(&self) -> Vec<Vec<u8>> {
        let mut words = Vec::<Vec<u8>>::new();
        // Whether the last word is one of operations that more can be added to.
        let mut open = false;
        for operation in &self.operations {
            let written = operation.write();
            match (open && operation.is_on_stack(), words.last_mut()) {
                // Both begin with `?#`.
                (true, Some(last)) => last.extend_from_slice(&written[2..]),
                _ => words.push(written),
            }
            // An index at the end of a word means something else than one before more operations.
            open = operation.is_on_stack() && !matches!(operation, Operation::Replace(_));
        }
        words
    }

    /// Whether there is nothing to evaluate, so that every item passes.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Whether the item passes whose properties `get` finds.
    pub fn matches<'v>(&self, get: impl Fn(&[u8]) -> Option<&'v [u8]>) -> bool {
        let mut stack = Stack {
            values: Vec::new(),
            below: true,
        };
        for operation in &self.operations {
            stack.apply(operation, &get);
        }
        stack.below && stack.values.iter().all(|&value| value)
    }
}

impl Operation {
    /// Whether it works on what is on the stack, and not on the item.
    fn is_on_stack(&self) -> bool {
        use Operation::{And, Copy, Not, Or, Replace};
        matches!(self, And | Copy(_) | Not | Or | Replace(_))
    }

    fn write(&self) -> Vec<u8> {
        match self {
            Self::Present(name) => [b"?", name.as_slice()].concat(),
            Self::Absent(name) => [b"?-", name.as_slice()].concat(),
            // The short form cannot name what looks like another operation.
            Self::Equals(name, x) if name.first().is_some_and(|first| b"-=<>#~".contains(first)) => {
                [b"?=", name.as_slice(), b"=", x].concat()
            }
            Self::Equals(name, x) => [b"?", name.as_slice(), b"=", x].concat(),
            Self::Less(name, x) => [b"?<", name.as_slice(), b"=", x].concat(),
            Self::Greater(name, x) => [b"?>", name.as_slice(), b"=", x].concat(),
            Self::Not => b"?#!".to_vec(),
            Self::And => b"?#&".to_vec(),
            Self::Or => b"?#|".to_vec(),
            // The dot ends the index, whatever comes after.
            Self::Copy(index) => format!("?#{index}.").into_bytes(),
            Self::Replace(index) => format!("?#{index}").into_bytes(),
        }
    }
}

/// A stack on top of no end of equal values.
struct Stack {
    values: Vec<bool>,
    below: bool,
}

impl Stack {
    fn pop(&mut self) -> bool {
        self.values.pop().unwrap_or(self.below)
    }

    fn at(&self, index: usize) -> bool {
        let found = self
            .values
            .len()
            .checked_sub(index.saturating_add(1))
            .and_then(|at| self.values.get(at));
        found.copied().unwrap_or(self.below)
    }

    fn apply<'v>(&mut self, operation: &Operation, get: &impl Fn(&[u8]) -> Option<&'v [u8]>) {
        let pushed = match operation {
            Operation::Present(name) => get(name).is_some(),
            Operation::Absent(name) => get(name).is_none(),
            // A property that is not set equals the empty value: `?name=` finds items without it.
            Operation::Equals(name, x) => value::equal(get(name).unwrap_or_default(), x),
            Operation::Less(name, x) => get(name).is_some_and(|v| value::compare(v, x).is_lt()),
            Operation::Greater(name, x) => get(name).is_some_and(|v| value::compare(v, x).is_gt()),
            Operation::Not => !self.pop(),
            Operation::And => self.pop() & self.pop(),
            Operation::Or => self.pop() | self.pop(),
            Operation::Copy(index) => self.at(*index),
            Operation::Replace(index) => {
                self.below = self.at(*index);
                return self.values.clear();
            }
        };
        self.values.push(pushed);
    }
}

fn parse(body: &[u8], into: &mut Vec<Operation>) -> Result<(), &'static str> {
    let named = |rest: &[u8], make: fn(Vec<u8>, Vec<u8>) -> Operation| match split(rest) {
        (b"", _) => Err("the property has no name"),
        (_, None) => Err("a comparison needs =value after the name"),
        (name, Some(x)) => Ok(make(name.to_vec(), x.to_vec())),
    };
    into.push(match body {
        [] => return Err("there is nothing after the question mark"),
        [b'#', operations @ ..] => return parse_operations(operations, into),
        [b'-', b'='] | [b'-'] => return Err("the property has no name"),
        [b'-', name @ ..] => Operation::Absent(name.to_vec()),
        [b'=', rest @ ..] => named(rest, Operation::Equals)?,
        [b'<', rest @ ..] => named(rest, Operation::Less)?,
        [b'>', rest @ ..] => named(rest, Operation::Greater)?,
        [b'~', ..] => return Err("regular expressions are not supported in the API"),
        rest => match split(rest) {
            (name, None) => Operation::Present(name.to_vec()),
            (name, Some(x)) => Operation::Equals(name.to_vec(), x.to_vec()),
        },
    });
    Ok(())
}

fn split(rest: &[u8]) -> (&[u8], Option<&[u8]>) {
    match rest.iter().position(|&byte| byte == b'=') {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    }
}

fn parse_operations(mut rest: &[u8], into: &mut Vec<Operation>) -> Result<(), &'static str> {
    while let [first, after @ ..] = rest {
        rest = after;
        into.push(match first {
            b'!' => Operation::Not,
            b'&' => Operation::And,
            b'|' => Operation::Or,
            b'.' => Operation::Copy(0),
            b'0'..=b'9' => {
                let mut index = usize::from(first - b'0');
                while let [digit @ b'0'..=b'9', after @ ..] = rest {
                    // However large: below what was pushed there is no end of values, all the same.
                    index = index.saturating_mul(10).saturating_add(usize::from(digit - b'0'));
                    rest = after;
                }
                match rest {
                    [] => Operation::Replace(index),
                    // A dot after an index does nothing but end it.
                    [b'.', after @ ..] => {
                        rest = after;
                        Operation::Copy(index)
                    }
                    _ => Operation::Copy(index),
                }
            }
            _ => return Err("operations are made of digits and the characters ! & | ."),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ITEM: [(&str, &str); 4] = [
        ("name", "ether1"),
        ("mtu", "1500"),
        ("disabled", "true"),
        ("comment", ""),
    ];

    fn matches(words: &[&str]) -> bool {
        let query = Query::from_words(words.iter().map(|w| w.as_bytes())).expect("valid");
        query.matches(|name| {
            ITEM.iter()
                .find(|(n, _)| n.as_bytes() == name)
                .map(|(_, v)| v.as_bytes())
        })
    }

    #[test]
    fn single_words() {
        for (word, expected) in [
            ("?name", true),
            ("?absent", false),
            ("?-absent", true),
            ("?-name", false),
            ("?name=ether1", true),
            ("?=name=ether1", true),
            ("?=name=ether2", false),
            ("?comment=", true),
            ("?absent=", true),
            ("?name=", false),
            ("?disabled=yes", true),
            ("?disabled=no", false),
            ("?<mtu=9000", true),
            ("?>mtu=1000", true),
            ("?>mtu=1500", false),
            ("?>absent=0", false),
        ] {
            assert_eq!(matches(&[word]), expected, "{word}");
        }
    }

    #[test]
    fn the_stack() {
        let (t, f) = ("?name", "?absent");
        for (words, expected) in [
            (vec![], true),
            (vec![t, t], true),
            (vec![t, f], false),
            (vec![f, "?#!"], true),
            (vec![t, "?#!"], false),
            (vec![t, f, "?#|"], true),
            (vec![f, f, "?#|"], false),
            (vec![t, f, "?#&"], false),
            (vec![f, t, t, "?#&|"], true),
            (vec![t, f, f, "?#|&"], false),
            // The end of the word after an index: everything becomes that value.
            (vec![f, t, "?#0"], true),
            (vec![f, t, "?#1"], false),
            // An index beyond the stack finds the endless true.
            (vec![f, "?#7"], true),
            (vec![f, "?#99999999999999999999999999"], true),
            (vec![f, "?#99999999999999999999999999!|"], false),
            (vec!["?#|"], true),
            (vec!["?#!"], false),
            // A copy: f t becomes f t f, or gives f t|f = f t.
            (vec![f, t, "?#1|"], false),
            (vec![f, "?#.|!"], true),
            (vec![f, "?#0.|!"], true),
            (vec![f, "?#!", t, "?#&"], true),
        ] {
            assert_eq!(matches(&words), expected, "{words:?}");
        }
    }

    #[test]
    fn bad_words_are_named() {
        for word in ["?", "?#x", "?=", "?<mtu", "?~name=e"] {
            let error = Query::from_words([word.as_bytes()]).expect_err(word);
            assert_eq!(error.word, word.as_bytes());
        }
    }

    #[test]
    fn operations_are_put_together() {
        let query =
            Query::from_words(["?a", "?-b", "?c=1", "?#|", "?#!&", "?#.", "?#2", "?#1."].map(str::as_bytes));
        let words = query.expect("valid").words();
        let text = words
            .iter()
            .map(|word| String::from_utf8_lossy(word).into_owned());
        assert_eq!(
            text.collect::<Vec<_>>(),
            ["?a", "?-b", "?c=1", "?#|!&0.2", "?#1."]
        );
    }

    proptest! {
        #[test]
        fn words_are_read_back(words in proptest::collection::vec("\\?([-=<>]?[a#=.-]{0,3}(=[a<]{0,2})?|#[!&|.0-2]{0,6})", 0..8)) {
            if let Ok(query) = Query::from_words(words.iter().map(String::as_bytes)) {
                let again = query.words();
                prop_assert_eq!(Query::from_words(again.iter().map(Vec::as_slice)), Ok(query));
            }
        }

        #[test]
        fn no_word_panics(words in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..12), 0..8)) {
            let words = words.iter().map(|w| [b"?", w.as_slice()].concat()).collect::<Vec<_>>();
            if let Ok(query) = Query::from_words(words.iter().map(Vec::as_slice)) {
                query.matches(|_| None);
            }
        }
    }
}
