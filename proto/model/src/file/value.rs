//! A value of a file with its place.

use std::time::Duration;

use toml::de::DeValue;

use super::{Beside, Errors, Table, number};
use crate::policy::{Amount, Share, Zone};
use crate::span;

/// A value. Each way to read it tells what would be right when it cannot be read so, and gives `None` then.
#[derive(Clone, Debug)]
pub struct Value<'f> {
    value: &'f DeValue<'f>,
    errors: &'f Errors<'f>,
    field: String,
    at: usize,
}

impl<'f> Value<'f> {
    pub(super) fn new(value: &'f DeValue<'f>, errors: &'f Errors<'f>, field: String, at: usize) -> Self {
        Self {
            value,
            errors,
            field,
            at,
        }
    }

    /// Where it is in the file: `wave[2].size`.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// Tells that it is wrong.
    pub fn tell(&self, message: impl Into<String>) {
        self.errors
            .tell(self.at, &self.field, self.written().as_deref(), message);
    }

    /// Tells that it is wrong, and gives nothing.
    pub fn wrong<T>(&self, message: impl Into<String>) -> Option<T> {
        self.tell(message);
        None
    }

    /// Makes something of a text; the error of `make` is told with the value.
    pub fn parse<T, E: std::fmt::Display>(&self, make: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        let text = self.text()?;
        make(text).map_err(|error| self.tell(error.to_string())).ok()
    }

    /// A text.
    pub fn text(&self) -> Option<&'f str> {
        match self.value {
            DeValue::String(text) => Some(text),
            _ => self.wrong("is to be a text in quotes"),
        }
    }

    /// The text of the file that it names.
    pub fn file(&self, what: Beside) -> Option<String> {
        let name = self.text()?;
        (self.errors.files)(what, name)
            .map_err(|error| self.tell(error))
            .ok()
    }

    /// A text, if it is one; tells nothing.
    pub fn as_text(&self) -> Option<&'f str> {
        self.value.as_str()
    }

    /// A table, if it is one; tells nothing.
    pub fn as_table(&self) -> Option<Table<'f>> {
        let table = self.value.as_table()?;
        Some(Table::new(table, self.errors, self.field.clone(), self.at))
    }

    /// A whole number, if it is one; tells nothing.
    pub fn as_integer(&self) -> Option<i64> {
        number::integer(self.value)
    }

    /// `true` or `false`, if it is one; tells nothing.
    pub fn as_bool(&self) -> Option<bool> {
        self.value.as_bool()
    }

    /// Its entries, if it is a list; tells nothing.
    pub fn as_list(&self) -> Option<Vec<Value<'f>>> {
        let list = self.value.as_array()?;
        let entry = |(at, entry): (usize, &'f toml::Spanned<DeValue<'f>>)| {
            let field = format!("{}[{}]", self.field, at + 1);
            Self::new(entry.get_ref(), self.errors, field, entry.span().start)
        };
        Some(list.iter().enumerate().map(entry).collect())
    }

    /// `true` or `false`.
    pub fn bool(&self) -> Option<bool> {
        self.as_bool()
            .or_else(|| self.wrong("is to be true or false, without quotes"))
    }

    /// A whole number in a range.
    pub fn integer(&self, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let found = self.as_integer().and_then(|number| u64::try_from(number).ok());
        found
            .filter(|number| range.contains(number))
            .or_else(|| match *range.end() {
                u64::MAX => self.wrong(format!("is to be a whole number, at least {}", range.start())),
                end => self.wrong(format!("is to be a whole number, {} to {end}", range.start())),
            })
    }

    /// A number in a range, whole or not.
    pub fn number(&self, range: std::ops::RangeInclusive<f64>) -> Option<f64> {
        number::float(self.value)
            .filter(|number| range.contains(number))
            .or_else(|| self.wrong(format!("is to be a number, {} to {}", range.start(), range.end())))
    }

    /// A duration: `"30s"`, `"1h30m"`.
    pub fn duration(&self) -> Option<Duration> {
        let hint = "is to be a duration in quotes, for example \"30s\", \"5m\" or \"1h30m\"";
        self.as_text().and_then(span::parse).or_else(|| self.wrong(hint))
    }

    /// A share: `"2.5%"`.
    pub fn share(&self) -> Option<Share> {
        match self.as_text() {
            Some(_) => self.parse(str::parse),
            None => self.wrong("is to be a percentage in quotes, for example \"25%\""),
        }
    }

    /// An amount: a count, `"1%"` or `"all"`.
    pub fn amount(&self) -> Option<Amount> {
        match self.as_integer().map(u64::try_from) {
            Some(Ok(count)) => Some(Amount::Count(count)),
            _ if self.as_text().is_some() => self.parse(str::parse),
            _ => self.wrong("is to be a count, a percentage in quotes as \"1%\", or \"all\""),
        }
    }

    /// A moment, Unix milliseconds: a date with or without a time, in this zone unless it has an offset of its own.
    pub fn moment(&self, zone: &Zone) -> Option<i64> {
        let hint =
            "is to be a moment, for example 2026-12-24, 2026-12-24T18:00:00 or 2026-12-24T18:00:00+02:00";
        let text = match self.value {
            DeValue::Datetime(moment) => moment.to_string(),
            DeValue::String(text) => text.to_string(),
            _ => return self.wrong(hint),
        };
        let civil = |civil: jiff::civil::DateTime| civil.to_zoned(zone.rules()).ok();
        let timestamp = text.parse::<jiff::Timestamp>().ok().or_else(|| {
            let local = text.parse().ok().and_then(civil)?;
            Some(local.timestamp())
        });
        timestamp
            .map(jiff::Timestamp::as_millisecond)
            .or_else(|| self.wrong(hint))
    }

    /// A list; `what` says what would be right.
    pub fn list(&self, what: &str) -> Option<Vec<Value<'f>>> {
        self.as_list().or_else(|| self.wrong(what))
    }

    /// A list of texts.
    pub fn texts(&self) -> Option<Vec<&'f str>> {
        let entries = self.list("is to be a list of texts, for example [\"a\", \"b\"]")?;
        let count = entries.len();
        let texts = entries.iter().filter_map(Value::text).collect::<Vec<_>>();
        (texts.len() == count).then_some(texts)
    }

    /// One of some words.
    pub fn one_of<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let found = words.iter().find(|(word, _)| self.as_text() == Some(word));
        found.map(|(_, meaning)| *meaning).or_else(|| {
            let words = words.iter().map(|(word, _)| format!("{word:?}"));
            self.wrong(format!(
                "is to be one of {}",
                words.collect::<Vec<_>>().join(", ")
            ))
        })
    }

    /// A table.
    pub fn table(&self) -> Option<Table<'f>> {
        self.as_table().or_else(|| self.wrong("is to be a table"))
    }

    /// As it is to be shown, where that is short.
    fn written(&self) -> Option<String> {
        const SHOWN: usize = 80;
        match self.value {
            DeValue::String(text) => Some(format!("{:?}", text.chars().take(SHOWN).collect::<String>())),
            DeValue::Integer(number) => Some(number.to_string()),
            DeValue::Float(number) => Some(number.to_string()),
            DeValue::Boolean(bool) => Some(bool.to_string()),
            DeValue::Datetime(time) => Some(time.to_string()),
            DeValue::Array(_) | DeValue::Table(_) => None,
        }
    }
}
