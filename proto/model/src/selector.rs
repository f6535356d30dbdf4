//! Which devices are meant: `site=ams,role!=core,version=7.1*`.
//!
//! The grammar is that of Kubernetes' label selectors, over labels and over five fields of a device. All
//! requirements must hold.
//!
//! ```text
//! selector    = requirement ("," requirement)*
//! requirement = key | "!" key | key ("=" | "==" | "!=") value | key ("in" | "notin") "(" value ("," value)* ")"
//! key         = a label's key, or one of the fields name, address, zone, version, board
//! value       = bare text without spaces and , ( ) = ! " or a "quoted text" with \" and \\
//! ```
//!
//! Values of fields may hold `*` (any text) and `?` (any character). As in Kubernetes, `!=` and `notin` hold for
//! a device that has no such label.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::device::Device;
use crate::name;

/// The longest selector, in bytes.
pub const MAX_BYTES: usize = 256 << 10;

/// A conjunction of requirements. The default has none and selects every device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selector {
    requirements: Vec<Requirement>,
}

/// One thing that must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// What is looked at.
    pub subject: Subject,
    /// What must be true of it.
    pub condition: Condition,
}

/// What a requirement looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A field of the device.
    Field(Field),
    /// The label of this key.
    Label(String),
}

/// What must be true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It is there (and, for a field, not empty).
    Exists,
    /// It is not.
    Absent,
    /// Its value is one of these.
    In(Vec<String>),
    /// It is absent, or its value is none of these.
    NotIn(Vec<String>),
}

/// The fields of a device that can be selected by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// IP address or host name.
    Address,
    /// Board name, as the device last said.
    Board,
    /// Name in the inventory.
    Name,
    /// RouterOS version, as the device last said.
    Version,
    /// Zone.
    Zone,
}

impl Field {
    /// The field of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "address" => Self::Address,
            "board" => Self::Board,
            "name" => Self::Name,
            "version" => Self::Version,
            "zone" => Self::Zone,
            _ => return None,
        })
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Board => "board",
            Self::Name => "name",
            Self::Version => "version",
            Self::Zone => "zone",
        }
    }
}

/// A text that is no selector.
#[derive(Clone, Debug, Error, PartialEq, Eq, Serialize, Deserialize)]
#[error("selector, column {column}: {reason}")]
pub struct SelectorError {
    /// Where, counted in characters from 1.
    pub column: usize,
    /// What is wrong and what would be right.
    pub reason: String,
}

/// What a device last said about itself, as far as selectors need it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// RouterOS version.
    pub version: Option<&'a str>,
    /// Board name.
    pub board: Option<&'a str>,
}

impl Selector {
    /// What must hold.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether the device is meant.
    pub fn matches(&self, device: &Device, facts: Facts<'_>) -> bool {
        self.requirements
            .iter()
            .all(|requirement| match &requirement.subject {
                Subject::Label(key) => requirement
                    .condition
                    .holds(device.labels.get(key), |value, wanted| value == wanted),
                Subject::Field(field) => {
                    let value = match field {
                        Field::Address => Some(device.address.as_str()),
                        Field::Board => facts.board,
                        Field::Name => Some(device.name.as_str()),
                        Field::Version => facts.version,
                        Field::Zone => Some(device.zone.as_str()),
                    };
                    let value = value.filter(|value| !value.is_empty());
                    requirement
                        .condition
                        .holds(value, |value, glob| glob_matches(glob, value))
                }
            })
    }
}

impl Condition {
    fn holds(&self, value: Option<&str>, matches: impl Fn(&str, &str) -> bool) -> bool {
        let is_one_of =
            |wanted: &[String]| value.is_some_and(|value| wanted.iter().any(|w| matches(value, w)));
        match self {
            Self::Exists => value.is_some(),
            Self::Absent => value.is_none(),
            Self::In(wanted) => is_one_of(wanted),
            Self::NotIn(wanted) => !is_one_of(wanted),
        }
    }
}

/// Whether `text` fits `glob`, in which `*` stands for any text and `?` for any character.
pub fn glob_matches(glob: &str, text: &str) -> bool {
    let (glob, text) = (glob.chars().collect::<Vec<_>>(), text.chars().collect::<Vec<_>>());
    let (mut g, mut t) = (0, 0);
    // Where the last star stood, and how much of the text it has taken.
    let mut star = None;
    while t < text.len() {
        match glob.get(g) {
            Some('*') => {
                star = Some((g, t));
                g += 1;
            }
            Some(&c) if c == '?' || c == text[t] => (g, t) = (g + 1, t + 1),
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (g, t) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|&c| c == '*')
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        if text.len() > MAX_BYTES {
            return Err(SelectorError {
                column: 1,
                reason: format!("it has over {MAX_BYTES} bytes"),
            });
        }
        let mut parser = Parser {
            chars: text.chars().collect(),
            at: 0,
        };
        let mut requirements = Vec::new();
        parser.skip_spaces();
        loop {
            requirements.push(parser.requirement()?);
            parser.skip_spaces();
            match parser.next() {
                None => return Ok(Self { requirements }),
                Some(',') => parser.skip_spaces(),
                Some(other) => {
                    parser.at -= 1;
                    return Err(parser.error(format!("expected a comma or the end, found {other:?}")));
                }
            }
        }
    }
}

struct Parser {
    chars: Vec<char>,
    at: usize,
}

impl Parser {
    fn error(&self, reason: impl Into<String>) -> SelectorError {
        SelectorError {
            column: self.at + 1,
            reason: reason.into(),
        }
    }

    fn error_at<T>(&mut self, at: usize, reason: impl Into<String>) -> Result<T, SelectorError> {
        self.at = at;
        Err(self.error(reason))
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek();
        self.at += usize::from(next.is_some());
        next
    }

    fn eat(&mut self, wanted: &str) -> bool {
        let here = self.chars[self.at..].iter().copied();
        let found = wanted.chars().eq(here.take(wanted.chars().count()));
        self.at += if found { wanted.chars().count() } else { 0 };
        found
    }

    fn skip_spaces(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        if self.eat("!") {
            self.skip_spaces();
            let (subject, _) = self.key()?;
            return Ok(Requirement {
                subject,
                condition: Condition::Absent,
            });
        }
        let (subject, _) = self.key()?;
        let after_key = self.at;
        self.skip_spaces();
        let condition = if self.eat("!=") {
            Condition::NotIn(vec![self.value(&subject)?])
        } else if self.eat("==") || self.eat("=") {
            Condition::In(vec![self.value(&subject)?])
        } else {
            match self.word().as_str() {
                "in" => Condition::In(self.list(&subject)?),
                "notin" => Condition::NotIn(self.list(&subject)?),
                "" => Condition::Exists,
                _ => return self.error_at(after_key, "expected =, !=, in (…), notin (…) or a comma"),
            }
        };
        Ok(Requirement { subject, condition })
    }

    fn key(&mut self) -> Result<(Subject, usize), SelectorError> {
        let start = self.at;
        let key = self.word();
        if key.is_empty() {
            let found = self.peek().map_or("the end".to_owned(), |c| format!("{c:?}"));
            return Err(self.error(format!(
                "expected a label or one of name, address, zone, version, board, found {found}"
            )));
        }
        match (Field::parse(&key), name::check(&key)) {
            (Some(field), _) => Ok((Subject::Field(field), start)),
            (None, Ok(())) => Ok((Subject::Label(key), start)),
            (None, Err(error)) => self.error_at(start, format!("label {key:?} {error}")),
        }
    }

    /// Bare text up to a space or a character with a meaning.
    fn word(&mut self) -> String {
        let start = self.at;
        while self
            .peek()
            .is_some_and(|c| !c.is_whitespace() && !",()=!\"".contains(c))
        {
            self.at += 1;
        }
        self.chars[start..self.at].iter().collect()
    }

    fn value(&mut self, subject: &Subject) -> Result<String, SelectorError> {
        self.skip_spaces();
        let start = self.at;
        let value = match self.peek() {
            Some('"') => self.quoted()?,
            _ => self.word(),
        };
        if self.at == start {
            let found = self.peek().map_or("the end".to_owned(), |c| format!("{c:?}"));
            return Err(self.error(format!(
                "expected a value, found {found}; quote a value that has spaces or , ( ) = !"
            )));
        }
        match subject {
            Subject::Label(key) if value.contains('*') => self.error_at(
                start,
                format!(
                    "* works on the fields name, address, zone, version, board, not on the label {key:?}"
                ),
            ),
            _ => Ok(value),
        }
    }

    fn quoted(&mut self) -> Result<String, SelectorError> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.next() {
                None => return self.error_at(start, "this quote is not closed"),
                Some('"') => return Ok(text),
                Some('\\') => match self.next() {
                    Some(c @ ('"' | '\\')) => text.push(c),
                    _ => return self.error_at(self.at - 1, "only \\\" and \\\\ are known after a backslash"),
                },
                Some(c) => text.push(c),
            }
        }
    }

    fn list(&mut self, subject: &Subject) -> Result<Vec<String>, SelectorError> {
        self.skip_spaces();
        if !self.eat("(") {
            return Err(self.error("expected ( after in or notin"));
        }
        let mut values = Vec::new();
        loop {
            values.push(self.value(subject)?);
            self.skip_spaces();
            if self.eat(")") {
                return Ok(values);
            }
            if !self.eat(",") {
                return Err(self.error("expected a comma or ) in the list"));
            }
        }
    }
}

impl TryFrom<String> for Selector {
    type Error = SelectorError;

    /// As stored: empty means every device.
    fn try_from(text: String) -> Result<Self, SelectorError> {
        match text.is_empty() {
            true => Ok(Self::default()),
            false => text.parse(),
        }
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        selector.to_string()
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, requirement) in self.requirements.iter().enumerate() {
            write!(f, "{}{requirement}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = match &self.subject {
            Subject::Field(field) => field.as_str(),
            Subject::Label(key) => key,
        };
        let list = |values: &[String]| values.iter().map(|v| quote(v)).collect::<Vec<_>>().join(",");
        match &self.condition {
            Condition::Exists => write!(f, "{key}"),
            Condition::Absent => write!(f, "!{key}"),
            Condition::In(values) if values.len() == 1 => write!(f, "{key}={}", list(values)),
            Condition::NotIn(values) if values.len() == 1 => write!(f, "{key}!={}", list(values)),
            Condition::In(values) => write!(f, "{key} in ({})", list(values)),
            Condition::NotIn(values) => write!(f, "{key} notin ({})", list(values)),
        }
    }
}

fn quote(value: &str) -> String {
    let bare = !value.is_empty() && !value.chars().any(|c| c.is_whitespace() || ",()=!\"".contains(c));
    if bare {
        value.to_owned()
    } else {
        format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Labels, Ports, Transport};
    use proptest::prelude::*;

    fn device() -> Device {
        Device {
            name: "ams-core-1".into(),
            address: "10.1.0.7".into(),
            port: 8728,
            transport: Transport::Api,
            credential: "ops".into(),
            zone: "eu".into(),
            labels: Labels::parse("site=ams;role=core;note=a b").expect("valid"),
            tls: None,
            pin: None,
            ports: Ports::default(),
            in_flight: None,
        }
    }

    fn matches(selector: &str) -> bool {
        let facts = Facts {
            version: Some("7.16.2 (stable)"),
            board: None,
        };
        selector
            .parse::<Selector>()
            .expect(selector)
            .matches(&device(), facts)
    }

    #[test]
    fn what_is_selected() {
        for (selector, expected) in [
            ("site=ams", true),
            ("site==ams", true),
            ("site = ams , role!=edge", true),
            ("site=ams,role=edge", false),
            ("site in (fra, ams)", true),
            ("site notin (fra,ams)", false),
            ("rack notin (1,2)", true),
            ("rack!=1", true),
            ("rack=1", false),
            ("site", true),
            ("rack", false),
            ("!rack", true),
            ("!site", false),
            ("note=\"a b\"", true),
            ("name=ams-*", true),
            ("name=ams-core-?", true),
            ("name=fra-*", false),
            ("name!=fra-*", true),
            ("address=10.1.*", true),
            ("zone=eu", true),
            ("version=7.16*", true),
            ("version=7.1", false),
            ("board", false),
            ("!board", true),
            ("board!=hEX", true),
        ] {
            assert_eq!(matches(selector), expected, "{selector}");
        }
    }

    #[test]
    fn errors_point_at_the_column() {
        for (selector, column, part) in [
            ("", 1, "found the end"),
            ("site=", 6, "expected a value, found the end"),
            ("site=ams,,role=x", 10, "found ','"),
            ("site=ams role=x", 10, "expected a comma or the end, found 'r'"),
            ("site is ams", 5, "expected =, !=, in"),
            ("site in ams", 9, "expected ( after"),
            ("site in (ams", 13, "expected a comma or )"),
            ("site=\"ams", 6, "not closed"),
            ("site=am*", 6, "not on the label \"site\""),
            ("site=ams,", 10, "found the end"),
            ("-x=1", 1, "begins with '-'"),
        ] {
            let error = selector.parse::<Selector>().expect_err(selector);
            assert_eq!(error.column, column, "{selector}: {error}");
            assert!(error.reason.contains(part), "{selector}: {error}");
        }
    }

    #[test]
    fn globs() {
        for (glob, text, expected) in [
            ("*", "", true),
            ("a*c*e", "abcde", true),
            ("a*c", "abcd", false),
            ("?", "ж", true),
            ("**a", "bba", true),
        ] {
            assert_eq!(glob_matches(glob, text), expected, "{glob} {text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(
            keys in proptest::collection::vec("[a-z][a-z0-9.-]{0,8}", 1..4),
            values in proptest::collection::vec("[ -)+-~]{1,12}", 1..4),
            how in 0..6,
        ) {
            let requirements = keys.iter().map(|key| {
                let subject = Field::parse(key).map_or(Subject::Label(key.clone()), Subject::Field);
                let one = vec![values[0].clone()];
                let condition = match how {
                    0 => Condition::Exists,
                    1 => Condition::Absent,
                    2 => Condition::In(one),
                    3 => Condition::NotIn(one),
                    4 => Condition::In(values.clone()),
                    _ => Condition::NotIn(values.clone()),
                };
                Requirement { subject, condition }
            });
            let selector = Selector { requirements: requirements.collect() };
            prop_assert_eq!(selector.to_string().parse::<Selector>(), Ok(selector));
        }

        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = text.parse::<Selector>();
        }
    }
}
