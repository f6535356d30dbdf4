//! Exit codes (fleet-semantics K4), and the failures that end a command before it has done anything.

use std::fmt;
use std::process::ExitCode;

use serde_json::{Value, json};

/// What a script can tell from the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, and all is well.
    Ok = 0,
    /// Usage, bad input, or no connection to the engine.
    Usage = 1,
    /// Of a preview: something would change.
    Pending = 2,
    /// Some devices failed.
    Failures = 3,
    /// Some devices were not reached, and that is all that is wrong.
    Coverage = 5,
    /// Refused: right, but not now.
    Refused = 6,
    /// The job still runs.
    StillRuns = 7,
    /// Not signed in, or not allowed.
    NotAllowed = 8,
    /// Halted by a rule.
    Halted = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command ended before it was done.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What the script sees.
    pub exit: Exit,
    /// What people and programs read.
    pub error: Value,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The outcome of a command.
pub(crate) type Done = Result<Exit, Failure>;

impl Failure {
    /// A usage error.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, "USAGE", message)
    }

    /// With a reason that programs can test.
    pub(crate) fn new(exit: Exit, reason: &str, message: impl fmt::Display) -> Self {
        let error = json!({ "code": exit as u8, "reason": reason, "message": message.to_string() });
        Self {
            exit,
            error,
            hint: None,
        }
    }

    /// Adds what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a field to what programs read.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.error[key] = value.into();
        self
    }

    /// The message.
    pub(crate) fn message(&self) -> &str {
        self.error["message"].as_str().unwrap_or_default()
    }

    /// Prints it to stderr and gives the exit code.
    pub(crate) fn print(&self, json: bool) -> Exit {
        if json {
            anstream::eprintln!("{}", self.error);
            return self.exit;
        }
        anstream::eprintln!(
            "{}error:{} {}",
            crate::terminal::ERROR,
            crate::terminal::RESET,
            self.message()
        );
        for detail in self.error["details"].as_array().into_iter().flatten() {
            anstream::eprintln!("  {}", detail_line(detail));
        }
        if let Some(hint) = &self.hint {
            anstream::eprintln!("{}hint:{} {hint}", crate::terminal::HINT, crate::terminal::RESET);
        }
        self.exit
    }
}

fn detail_line(detail: &Value) -> String {
    let text = |key: &str| detail[key].as_str().unwrap_or_default();
    match (detail["line"].as_u64(), detail["column"].as_u64()) {
        (Some(line), Some(column)) => format!(
            "line {line}, column {column} ({}): {}",
            text("field"),
            text("message")
        ),
        (Some(line), None) => format!("line {line}: {}", text("message")),
        _ => format!("{}: {}", text("field"), text("message")),
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Usage, "FAILED", format!("{error:#}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Usage, "IO", error)
    }
}
