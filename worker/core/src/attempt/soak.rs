//! The look at the end of a soak: whether what was done still is, and whether checks still hold (B4). It writes nothing, and
//! what is answered is told only where it is not as it should be.

use muster_model::{DeviceError, ErrorClass, Step};

use super::Attempt;
use crate::action::{Action, Ended, Outcome};
use crate::steps::{self, Run};

impl Attempt {
    /// The next step that can be looked at. What compares with what was before the first step is not known any more.
    pub(super) fn take_look(&mut self) -> Option<Box<dyn Run>> {
        loop {
            let step = self.plan.steps.get(self.step)?;
            match step {
                Step::Ensure(_) => return Some(steps::look(step, None)),
                Step::Command(command) if command.verify().is_some() => return Some(steps::look(step, None)),
                Step::Firmware(firmware) if let Some(run) = steps::still(firmware) => return Some(run),
                Step::Check(check) if check.needs_before().is_empty() => {
                    return Some(steps::apply(step, None));
                }
                _ => self.step += 1,
            }
        }
    }

    /// A step is no longer as it was done, or cannot be looked at.
    pub(super) fn no_longer(&self, outcome: Outcome, error: Option<DeviceError>) -> Action {
        let step = self.step + 1;
        let told = |error: DeviceError| {
            let message = format!("at the end of the soak, step {step}: {}", error.message);
            DeviceError { message, ..error }
        };
        let undone = || DeviceError::new(ErrorClass::NotAsWanted, "what was done is not there any more");
        let (outcome, error) = match outcome {
            Outcome::FoundNotDone => (Outcome::Broken, Some(error.unwrap_or_else(undone))),
            outcome => (outcome, error),
        };
        Action::End(Ended {
            outcome,
            error: error.map(told),
            steps_done: self.plan.steps.len() as u32,
        })
    }
}
