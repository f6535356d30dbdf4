//! What decisions need to know of a plan's steps, without the plan: one letter a step.

use crate::effect::Effect;
use crate::plan::{Plan, Step};

/// One letter a step: `r`ead, `s`tage, `c`hange or `d`isrupt; a capital when the step says how its effect is verified. A
/// step that may moreover be begun again once it is known not to have been done is `X` for stage, `Y` for change and `Z`
/// for disrupt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks<'a>(&'a str);

impl<'a> Marks<'a> {
    /// Of a plan without steps.
    pub const fn empty() -> Self {
        Self("")
    }

    /// As stored.
    pub fn new(letters: &'a str) -> Self {
        Self(letters)
    }

    /// How many steps there are.
    pub fn len(self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// What a step can do to a device. A step that is not there is a change: to know less is to be careful.
    pub fn effect(self, step: u32) -> Effect {
        match self.letter(step).map(|letter| letter.to_ascii_lowercase()) {
            Some(b'r') => Effect::Read,
            Some(b's' | b'x') => Effect::Stage,
            Some(b'd' | b'z') => Effect::Disrupt,
            _ => Effect::Change,
        }
    }

    /// Whether a step says how its effect is verified.
    pub fn is_verifiable(self, step: u32) -> bool {
        self.letter(step)
            .is_some_and(|letter| letter.is_ascii_uppercase())
    }

    /// Whether a step may be begun again once it is known not to have been done.
    pub fn is_repeatable(self, step: u32) -> bool {
        matches!(self.letter(step), Some(b'X' | b'Y' | b'Z'))
    }

    /// Whether a step before this one may have changed the device.
    pub fn any_change_before(self, step: u32) -> bool {
        (0..step.min(self.len())).any(|step| self.effect(step) >= Effect::Change)
    }

    fn letter(self, step: u32) -> Option<u8> {
        self.0.as_bytes().get(step as usize).copied()
    }
}

impl Plan {
    /// Its steps as [`Marks`] reads them.
    pub fn marks(&self) -> String {
        let letter = |step: &Step| {
            let letter = match (step.effect(), step.is_repeatable()) {
                (Effect::Read, _) => 'r',
                (Effect::Stage, false) => 's',
                (Effect::Change, false) => 'c',
                (Effect::Disrupt, false) => 'd',
                (Effect::Stage, true) => 'x',
                (Effect::Change, true) => 'y',
                (Effect::Disrupt, true) => 'z',
            };
            match step.is_verifiable() {
                true => letter.to_ascii_uppercase(),
                false => letter,
            }
        };
        self.steps.iter().map(letter).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Command, Verify};

    #[test]
    fn a_letter_a_step() {
        let command = |path: &str| Command::parse([path]).expect("valid");
        let verify = Verify::new(["/ip/dns/print"], "", false).expect("a read");
        let verified = command("/ip/dns/set").with_verify(verify).expect("a change");
        let steps = [command("/ip/dns/print"), verified, command("/system/reboot")];
        let plan = Plan::new(steps.map(Step::Command).into());
        let marks = plan.marks();
        assert_eq!(marks, "rCd");
        let marks = Marks::new(&marks);
        assert_eq!((marks.len(), marks.effect(2)), (3, Effect::Disrupt));
        assert!(marks.is_verifiable(1) && !marks.is_verifiable(2));
        assert!(marks.any_change_before(2) && !marks.any_change_before(1));
        assert_eq!(marks.effect(9), Effect::Change);
    }
}
