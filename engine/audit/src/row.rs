//! Items as expressions see them.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use cel::ExecutionError;
use cel::common::traits::{Container, Indexer};
use cel::common::types::{CelMap, CelString, Type};
use cel::common::value::{CowVal, Val};
use muster_model::Labels;
use routeros_wire::value::boolean;
use routeros_wire::{Kind, Limits, decode_all};
use serde_json::{Map, Value, json};

/// One item: names and values as texts. `yes` reads as `true`, `no` as `false`; what is not UTF-8 has a mark in place of
/// each bad byte.
#[derive(Clone, Debug, Default)]
pub struct Row<'a> {
    values: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Values that are not UTF-8, by their place.
    bytes: Vec<(usize, Vec<u8>)>,
}

/// What a device answered to a print.
#[derive(Clone, Debug, Default)]
pub struct Answer<'a> {
    /// Its items.
    pub rows: Vec<Row<'a>>,
    /// What it said instead.
    pub trap: Option<String>,
    /// Whether it came to its end.
    pub complete: bool,
}

impl<'a> Answer<'a> {
    /// Takes apart a stored answer: reply sentences in wire format.
    pub fn read(replies: &'a [u8]) -> Self {
        let mut answer = Self::default();
        // Stored answers were written by a worker, sentence by sentence, within tighter limits than these: they decode.
        let limits = Limits {
            word_bytes: u32::MAX,
            sentence_words: usize::MAX,
            sentence_bytes: usize::MAX,
        };
        let _ = decode_all(replies, limits, |sentence| match sentence.kind() {
            Kind::Re => {
                let text = |(name, value): (&[u8], &[u8])| (of(replies, name), unified(of(replies, value)));
                let is_bad = |(_, (_, value)): &(usize, (&[u8], &[u8]))| std::str::from_utf8(value).is_err();
                let bad = sentence.attributes().enumerate().filter(is_bad);
                answer.rows.push(Row {
                    bytes: bad.map(|(at, (_, value))| (at, value.to_vec())).collect(),
                    values: sentence.attributes().map(text).collect(),
                });
            }
            // The first says most: `no such command or directory (x)`, and then `no such command prefix`.
            Kind::Trap if answer.trap.is_none() => {
                let message = sentence.get(b"message").map(String::from_utf8_lossy);
                answer.trap = Some(message.map_or_else(|| "refused without a word".into(), Cow::into_owned));
            }
            Kind::Done => answer.complete = true,
            Kind::Empty | Kind::Trap | Kind::Fatal | Kind::Unknown | Kind::NotAReply => {}
        });
        answer
    }
}

/// A part of `whole` as a text that lives as long.
fn of<'a>(whole: &'a [u8], part: &[u8]) -> Cow<'a, str> {
    let from = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    let to = from.checked_add(part.len());
    match to.and_then(|to| whole.get(from..to)) {
        Some(bytes) => String::from_utf8_lossy(bytes),
        None => Cow::Owned(String::from_utf8_lossy(part).into_owned()),
    }
}

fn unified(text: Cow<'_, str>) -> Cow<'_, str> {
    match boolean(text.as_bytes()) {
        Some(true) => Cow::Borrowed("true"),
        Some(false) => Cow::Borrowed("false"),
        None => text,
    }
}

impl<'a> Row<'a> {
    /// An item with these values.
    pub fn new(values: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let values = values.into_iter();
        Self {
            values: values
                .map(|(name, value)| (name.into(), unified(value.into())))
                .collect(),
            bytes: Vec::new(),
        }
    }

    pub(crate) fn made_up<'n: 'a>(names: impl Iterator<Item = &'n str>, value: &'a str) -> Self {
        Self::new(names.map(|name| (name, value)))
    }

    /// With a value more.
    #[must_use]
    pub fn with(mut self, name: &'a str, value: impl Into<Cow<'a, str>>) -> Self {
        self.values.push((name.into(), value.into()));
        self
    }

    /// An item out of JSON.
    pub(crate) fn from_json(value: &'a Value) -> Self {
        let values = value.as_object().into_iter().flatten();
        let text = |value: &'a Value| match value.get("hex") {
            Some(hex) => Some(Cow::Owned(format!("hex:{}", hex.as_str()?))),
            None => value.as_str().map(Cow::Borrowed),
        };
        Self {
            values: values
                .filter_map(|(name, value)| Some((name.as_str().into(), text(value)?)))
                .collect(),
            bytes: Vec::new(),
        }
    }

    /// A value; none when the item does not have the property.
    pub fn get(&self, name: &str) -> Option<&str> {
        // Of a name that comes twice, the last counts.
        let found = self.values.iter().rev().find(|(known, _)| is_same(known, name));
        found.map(|(_, value)| &**value)
    }

    /// Names and values in the device's order.
    pub fn values(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The same, where bytes that are not UTF-8 are `hex:` and their digits: what is different stays so.
    pub(crate) fn exact(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        self.values.iter().enumerate().map(|(at, (name, value))| {
            let exact = match self.hex(at) {
                Some(hex) => Cow::Owned(format!("hex:{hex}")),
                None => Cow::Borrowed(&**value),
            };
            (&**name, exact)
        })
    }

    /// The digits of a value that is not UTF-8, by its place.
    fn hex(&self, at: usize) -> Option<String> {
        let (_, bytes) = self.bytes.iter().find(|(known, _)| *known == at)?;
        Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// As JSON: these properties, or all when there are none; those that the item does not have are left out. A value that is not UTF-8 is `{"hex": …}`.
    pub fn to_json(&self, names: &BTreeSet<String>) -> Value {
        let wanted = self
            .values()
            .enumerate()
            .filter(|(_, (name, _))| names.is_empty() || names.contains(*name));
        let value = |(at, (name, value)): (usize, (&str, &str))| {
            let value = match self.hex(at) {
                Some(hex) => json!({ "hex": hex }),
                None => Value::String(value.to_owned()),
            };
            (name.to_owned(), value)
        };
        Value::Object(wanted.map(value).collect::<Map<_, _>>())
    }
}

/// `src_address` in an expression is the property `src-address`.
fn is_same(property: &str, name: &str) -> bool {
    property == name
        || (property.len() == name.len()
            && property
                .bytes()
                .zip(name.bytes())
                .all(|(p, n)| p == n || (p == b'-' && n == b'_')))
}

/// A row, or a device's labels, as a value of an expression.
#[derive(Clone, Debug)]
pub(crate) struct RowRef<'a> {
    of: Of<'a>,
    /// Properties that are asked for with `has`: where they are not there, that is told.
    tested: Option<&'a BTreeSet<String>>,
}

#[derive(Clone, Debug)]
enum Of<'a> {
    Row(&'a Row<'a>),
    Labels(&'a Labels),
}

impl<'a> RowRef<'a> {
    pub(crate) fn new(row: &'a Row<'a>, tested: &'a BTreeSet<String>) -> Self {
        Self {
            of: Of::Row(row),
            tested: Some(tested),
        }
    }

    pub(crate) fn labels(labels: &'a Labels) -> Self {
        Self {
            of: Of::Labels(labels),
            tested: None,
        }
    }

    fn find(&self, name: &str) -> Option<&'a str> {
        match self.of {
            Of::Row(row) => row.get(name),
            Of::Labels(labels) => labels.get(name),
        }
    }

    fn value(&self, index: &dyn Val) -> Result<CelString<'a>, ExecutionError> {
        let Some(name) = index.downcast_ref::<CelString<'_>>() else {
            return Err(ExecutionError::UnexpectedType {
                got: index.get_type().name().to_owned(),
                want: "string".to_owned(),
            });
        };
        let missing = || {
            let tested = self
                .tested
                .is_some_and(|tested| tested.iter().any(|known| is_same(known, name.inner())));
            match tested {
                true => Err(ExecutionError::NoSuchKey(Arc::new(name.inner().to_owned()))),
                false => Ok(""),
            }
        };
        Ok(CelString::from(self.find(name.inner()).map_or_else(missing, Ok)?))
    }
}

impl Val for RowRef<'_> {
    fn get_type(&self) -> &Type {
        Self::cel_type()
    }

    fn cel_type() -> &'static Type {
        CelMap::cel_type()
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }
}

impl Container for RowRef<'_> {
    fn contains(&self, value: &dyn Val) -> Result<bool, ExecutionError> {
        let name = value.downcast_ref::<CelString<'_>>();
        Ok(name.is_some_and(|name| self.find(name.inner()).is_some()))
    }
}

impl Indexer for RowRef<'_> {
    fn get<'b, 'v>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.value(index).map(CowVal::owned)
    }

    fn steal<'v>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        Ok(Box::new(self.value(index)?))
    }
}
