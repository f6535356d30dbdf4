//! A step that takes back what a step of another job has done. The engine makes these; nobody else does.

use serde::{Deserialize, Serialize};

use crate::effect::Effect;
use crate::ensure::Ensure;
use crate::plan::{Plan, Step};

/// What is to be as it was before a wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revert {
    /// The wish.
    pub ensure: Ensure,
    /// The step that it was in its own plan, from 0.
    pub step: u32,
}

/// The plan that takes a plan back, by what is recorded of each device: the last step first. Why there is none, when there
/// is none.
pub fn plan(of: &Plan) -> Result<Plan, String> {
    let mut steps = Vec::new();
    for (at, step) in (0..).zip(&of.steps) {
        match step {
            Step::Ensure(ensure) => steps.push(Step::Revert(Box::new(Revert {
                ensure: ensure.clone(),
                step: at,
            }))),
            step if step.effect() >= Effect::Change => {
                return Err(format!("step {}, {}, has no inverse", at + 1, step.title()));
            }
            _ => {}
        }
    }
    if steps.is_empty() {
        return Err("its plan changes nothing".to_owned());
    }
    steps.reverse();
    Ok(Plan {
        steps,
        way_back: of.way_back.clone(),
    })
}
