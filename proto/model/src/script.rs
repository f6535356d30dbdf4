//! A script: commands that the router runs itself, or a script that it has by a name.

use serde::{Deserialize, Serialize};

use crate::command::Verify;
use crate::step::BadStep;

/// The longest script, in bytes.
pub const MAX_BYTES: usize = 60_000;

/// A checked script. It may do anything, so it is a change; without `verify` nobody can tell what became of it when its
/// answer is lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Script {
    /// What is run.
    pub run: Run,
    /// How to find out whether it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
}

/// What a script is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Run {
    /// These lines, by `/execute`, which answers with what they print.
    Source(String),
    /// The script of this name in `/system/script`.
    Named(String),
}

impl Script {
    /// A script, and how to find out whether it was done.
    pub fn new(run: Run, verify: Option<Verify>) -> Result<Self, Vec<BadStep>> {
        let (field, text) = match &run {
            Run::Source(source) => ("source", source),
            Run::Named(name) => ("name", name),
        };
        if text.trim().is_empty() {
            return Err(vec![BadStep::new(field, "it is empty")]);
        }
        if text.len() > MAX_BYTES {
            let message = format!("it has {} bytes; at most {MAX_BYTES} are allowed", text.len());
            return Err(vec![BadStep::new(field, message)]);
        }
        Ok(Self { run, verify })
    }

    /// In a few words: its name, or its first line.
    pub fn title(&self) -> String {
        const SHOWN: usize = 60;
        match &self.run {
            Run::Named(name) => format!("script {name}"),
            Run::Source(source) => {
                let line = source.lines().map(str::trim).find(|line| !line.is_empty());
                format!(
                    "script {}",
                    line.unwrap_or_default().chars().take(SHOWN).collect::<String>()
                )
            }
        }
    }
}
