//! What a device measures before the first step and after the last, for gates that compare the two (E1). What could not be
//! measured afterwards is not told, and changes nothing of how the attempt ends.

use std::collections::BTreeSet;

use bytes::Bytes;
use muster_model::check::{FACTS, Fact, Facts, Source};

use super::{Attempt, Measured};
use crate::action::{Action, Mode, StepEnd};
use crate::steps::Questions;

/// What is to be measured, and what was.
#[derive(Debug, Default)]
pub(super) struct Measuring {
    names: Vec<&'static str>,
    asking: Option<Questions>,
    pub(super) before: Option<Measured>,
    pub(super) after: Option<Measured>,
}

impl Measuring {
    /// What has to be asked for it.
    pub(super) fn sources(&self) -> BTreeSet<Source> {
        let facts = FACTS.iter().filter(|(name, ..)| self.names.contains(name));
        facts.map(|(.., source)| *source).collect()
    }

    fn numbers(&self, facts: &Facts) -> Measured {
        let number = |name: &&'static str| match facts.get(name)? {
            Fact::Number(number) => Some((*name, *number)),
            Fact::Text(_) => None,
        };
        self.names.iter().filter_map(number).collect()
    }

    pub(super) fn begin(&mut self, facts: &Facts) {
        if !self.names.is_empty() {
            self.before = Some(self.numbers(facts));
        }
    }
}

impl Attempt {
    /// With facts to be measured before the first step and after the last. Names that there are not are left out.
    #[must_use]
    pub fn measuring<'n>(mut self, names: impl IntoIterator<Item = &'n str>) -> Self {
        let known = |name: &str| {
            FACTS
                .iter()
                .map(|(known, ..)| *known)
                .find(|known| *known == name)
        };
        self.measuring.names = names.into_iter().filter_map(known).collect();
        self
    }

    /// Every step is done: measures, and ends.
    pub(super) fn done(&mut self) -> Action {
        let measures = matches!(self.mode, Mode::Apply { .. }) && !self.measuring.names.is_empty();
        match measures && self.measuring.after.is_none() {
            true => self.measure(Questions::new(self.measuring.sources())),
            false => self.end_well(),
        }
    }

    fn measure(&mut self, mut asking: Questions) -> Action {
        match asking.next() {
            Ok(exchange) => {
                self.measuring.asking = Some(asking);
                Action::Exchange(exchange)
            }
            Err(facts) => {
                self.measuring.after = Some(self.measuring.numbers(&facts));
                self.end_well()
            }
        }
    }

    /// The answer to a measurement after the last step, if one is being made.
    pub(super) fn measured(&mut self, end: &StepEnd, answer: &Bytes) -> Option<Action> {
        let mut asking = self.measuring.asking.take()?;
        Some(match asking.ended(end.clone(), answer) {
            Ok(()) => self.measure(asking),
            Err(_) => self.end_well(),
        })
    }
}
