//! A restart.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::firmware::WAIT;
use crate::step::{BadStep, deadline};

/// A checked restart: done when the router answers again and says that it was started anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reboot {
    /// How long the router may be away, milliseconds.
    pub wait_ms: u64,
}

impl Reboot {
    /// A restart that may take so long.
    pub fn new(wait: Option<Duration>) -> Result<Self, Vec<BadStep>> {
        let mut bad = Vec::new();
        let wait_ms = deadline("wait", wait.unwrap_or(WAIT), &mut bad);
        match bad.is_empty() {
            true => Ok(Self { wait_ms }),
            false => Err(bad),
        }
    }
}
