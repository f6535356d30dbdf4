//! Names of what can be asked of the rows of results: attributes, how it went, and what is known of the device.

use std::cell::Cell;
use std::fmt;

use muster_store::{Scanned, ScannedDevice};
use routeros_wire::Sentence;

/// A name that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Attribute(Vec<u8>),
    State,
    Error,
    Attempts,
    Wave,
    Step,
    Label(String),
    Device(Field),
    /// An attribute, and for rows without it what the inventory says.
    Either(Vec<u8>, Field),
}

/// What the inventory says of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Name,
    Address,
    Zone,
    Version,
    Board,
    Architecture,
    Identity,
    Serial,
}

const FACTS: [(&str, Field); 5] = [
    ("version", Field::Version),
    ("board", Field::Board),
    ("architecture", Field::Architecture),
    ("identity", Field::Identity),
    ("serial", Field::Serial),
];
/// What of it is meant by its bare name where rows have no attribute of that name. Not the version: rows that have one are what
/// is counted most, and counting attributes alone is faster.
const BARE: [Field; 4] = [Field::Board, Field::Architecture, Field::Identity, Field::Serial];
const DEVICE: [(&str, Field); 3] = [
    ("name", Field::Name),
    ("address", Field::Address),
    ("zone", Field::Zone),
];
const EXECUTION: [(&str, Name); 5] = [
    ("state", Name::State),
    ("error", Name::Error),
    ("attempts", Name::Attempts),
    ("wave", Name::Wave),
    ("step", Name::Step),
];

impl Name {
    /// Reads a name; an error says what would be right.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let one_of = |root: &str, known: &mut dyn Iterator<Item = &'static str>| {
            let known = known.map(|name| format!("{root}.{name}")).collect::<Vec<_>>();
            format!("{text:?} is not known; there are {}", known.join(", "))
        };
        let find = |root: &str, name: &str, known: &'static [(&'static str, Field)]| {
            let found = known.iter().find(|(known, _)| *known == name);
            found
                .map(|(_, field)| Self::Device(*field))
                .ok_or_else(|| one_of(root, &mut known.iter().map(|(name, _)| *name)))
        };
        match text.split_once('.') {
            _ if text.is_empty() => {
                Err("it is empty; write for example version, labels.site or outcome".into())
            }
            _ if text.contains('=') => Err(format!("{text:?} has a = in it, which no name has")),
            Some(("row", name)) if !name.is_empty() => Ok(Self::Attribute(name.into())),
            Some(("labels", key)) if !key.is_empty() => Ok(Self::Label(key.into())),
            Some(("facts", name)) => find("facts", name, &FACTS),
            Some(("device", name)) => find("device", name, &DEVICE),
            Some(("execution", name)) => {
                let found = EXECUTION.iter().find(|(known, _)| *known == name);
                found
                    .map(|(_, name)| name.clone())
                    .ok_or_else(|| one_of("execution", &mut EXECUTION.iter().map(|(name, _)| *name)))
            }
            Some((root @ ("row" | "labels"), _)) => Err(format!("{root}. is to be followed by a name")),
            None if text == "outcome" => Ok(Self::State),
            Some((root, _)) if !root.is_empty() => Err(format!(
                "{text:?} is not known: names with a dot begin with labels, facts, device or execution; an attribute that is \
                 called so is row.{text}"
            )),
            // An item's id is called `.id`.
            _ => Ok(match FACTS.iter().find(|(fact, _)| *fact == text) {
                Some((_, field)) if BARE.contains(field) => Self::Either(text.into(), *field),
                _ => Self::Attribute(text.into()),
            }),
        }
    }

    /// Whether it is the same for all devices that gave the same answer.
    pub(crate) fn is_of_the_answer(&self) -> bool {
        matches!(self, Self::Attribute(_))
    }

    /// Whether it takes the details of the execution.
    pub(crate) fn needs_details(&self) -> bool {
        matches!(
            self,
            Self::Error | Self::Attempts | Self::Wave | Self::Device(Field::Name)
        )
    }

    /// Whether it takes the inventory.
    pub(crate) fn needs_device(&self) -> bool {
        matches!(self, Self::Label(_) | Self::Device(_) | Self::Either(..))
    }

    /// What it may take beside the answer, as [`get`](Self::get) gives it for a row of the same execution.
    pub(crate) fn beside<'a>(&self, row: &View<'a>) -> Option<&'a [u8]> {
        match self {
            Self::Either(_, field) => known(row.of, *field),
            name => name.get(row, &Cell::new(0)),
        }
    }

    /// What a row has for it. `hint` is where its attribute stood in the row before.
    pub(crate) fn get<'a>(&self, row: &View<'a>, hint: &Cell<u32>) -> Option<&'a [u8]> {
        let of = row.of;
        match self {
            Self::Attribute(name) => attribute(row.sentence.as_ref()?, name, hint),
            // Who gave no row has neither.
            Self::Either(name, field) => {
                attribute(row.sentence.as_ref()?, name, hint).or_else(|| known(of, *field))
            }
            Self::State => Some(of.state.as_bytes()),
            Self::Error => of.error.map(str::as_bytes),
            Self::Attempts => Some(of.attempts.as_bytes()),
            Self::Wave => Some(of.wave.as_bytes()),
            Self::Step => row.step.map(str::as_bytes),
            Self::Label(key) => of.device?.labels.get(key).map(String::as_bytes),
            // Results outlive the device.
            Self::Device(Field::Name) => of
                .device
                .map(|device| device.name.as_str())
                .or(of.name)
                .map(str::as_bytes),
            Self::Device(field) => known(of, *field),
        }
    }
}

fn attribute<'a>(sentence: &Sentence<'a>, name: &[u8], hint: &Cell<u32>) -> Option<&'a [u8]> {
    let mut near = hint.get();
    let found = sentence.get_near(name, &mut near);
    hint.set(near);
    found
}

/// What the inventory says.
fn known<'a>(of: &'a Of<'a>, field: Field) -> Option<&'a [u8]> {
    let device = of.device?;
    let text = match field {
        Field::Name => Some(&device.name),
        Field::Address => Some(&device.address),
        Field::Zone => Some(&device.zone),
        Field::Version => device.version.as_ref(),
        Field::Board => device.board.as_ref(),
        Field::Architecture => device.architecture.as_ref(),
        Field::Identity => device.identity.as_ref(),
        Field::Serial => device.serial.as_ref(),
    };
    text.map(String::as_bytes)
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = |known: &[(&str, Field)], field: &Field| {
            let found = known.iter().find(|(_, known)| known == field);
            found.map(|(name, _)| (*name).to_owned())
        };
        match self {
            Self::Attribute(name) | Self::Either(name, _) => f.write_str(&String::from_utf8_lossy(name)),
            Self::Label(key) => write!(f, "labels.{key}"),
            Self::Device(of) => match (field(&FACTS, of), field(&DEVICE, of)) {
                (Some(fact), _) => write!(f, "facts.{fact}"),
                (None, device) => write!(f, "device.{}", device.unwrap_or_default()),
            },
            other => {
                let found = EXECUTION.iter().find(|(_, name)| name == other);
                write!(f, "execution.{}", found.map_or("", |(name, _)| *name))
            }
        }
    }
}

/// What is known of an execution, as text.
#[derive(Debug)]
pub(crate) struct Of<'a> {
    state: &'a str,
    error: Option<&'a str>,
    attempts: String,
    wave: String,
    name: Option<&'a str>,
    device: Option<&'a ScannedDevice>,
}

impl<'a> Of<'a> {
    pub(crate) fn new(execution: &'a Scanned, device: Option<&'a ScannedDevice>) -> Self {
        let details = execution.details.as_ref();
        let number = |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
        Self {
            state: execution.state.as_str(),
            error: details.and_then(|details| Some(details.error.as_ref()?.0.as_str())),
            attempts: number(details.map(|details| details.attempts)),
            wave: number(details.map(|details| details.wave.saturating_add(1))),
            name: details.map(|details| details.device.as_str()),
            device,
        }
    }
}

/// One row with whom it is of. No sentence for an execution that gave none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) of: &'a Of<'a>,
    /// From 1.
    pub(crate) step: Option<&'a str>,
    pub(crate) sentence: Option<Sentence<'a>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_as_they_are_read() {
        for text in [
            "version",
            "board",
            ".id",
            "labels.site",
            "facts.board",
            "device.zone",
            "execution.step",
            "execution.state",
        ] {
            assert_eq!(Name::parse(text).expect(text).to_string(), text);
        }
        assert_eq!(Name::parse("outcome"), Ok(Name::State));
        assert_eq!(
            Name::parse("row.outcome"),
            Ok(Name::Attribute(b"outcome".to_vec()))
        );
    }

    #[test]
    fn a_bad_name_is_told_with_what_would_be_right() {
        for (text, told) in [
            ("", "for example version"),
            ("facts.versoin", "facts.version, facts.board"),
            ("device.ip", "device.name, device.address, device.zone"),
            ("execution.x", "execution.state"),
            ("labels.", "followed by a name"),
            ("a=b", "has a = in it"),
        ] {
            let error = Name::parse(text).expect_err(text);
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
