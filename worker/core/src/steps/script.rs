//! A script: sent, and what it says of its end.

use bytes::Bytes;
use muster_model::script::Run as Source;
use muster_model::{DeviceError, ErrorClass, Script};

use super::router::bytes;
use super::{Around, Next, Run, write_failed};
use crate::action::{Exchange, Outcome, StepEnd};

/// A script that is to be run.
#[derive(Debug)]
pub(super) struct Apply(Script);

impl Apply {
    pub(super) fn new(script: Script) -> Self {
        Self(script)
    }
}

/// How a script said that it stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopped {
    /// It could not be read, and so nothing of it was run.
    Unread,
    /// In the middle.
    Halfway,
}

/// What the output of a script says of an error: devices print it as text, with the place at its end (facts §2).
fn stopped(output: &str) -> Option<Stopped> {
    let line = output.trim_end().lines().last()?.trim_end();
    let inner = line.strip_suffix(')')?.rsplit_once('(')?.1;
    let numbered = |text: &str, word: &str| {
        let number = text.trim().strip_prefix(word)?.trim();
        number.bytes().all(|byte| byte.is_ascii_digit()).then_some(())
    };
    if let Some((_, place)) = inner.rsplit_once(';') {
        return numbered(place, "line").map(|()| Stopped::Halfway);
    }
    let (place, column) = inner.split_once("column")?;
    numbered(place, "line")?;
    numbered(column, "").map(|()| Stopped::Unread)
}

impl Run for Apply {
    fn begin(&mut self, _: &Around<'_>) -> Next {
        Next::Ask
    }

    fn granted(&mut self, _: &Around<'_>) -> Next {
        let words = match &self.0.run {
            Source::Source(source) => vec![
                b"/execute".to_vec(),
                format!("=script={source}").into_bytes(),
                b"=as-string=".to_vec(),
            ],
            Source::Named(name) => vec![
                b"/system/script/run".to_vec(),
                format!("=number={name}").into_bytes(),
            ],
        };
        Next::Exchange(Exchange::write(words))
    }

    fn ended(&mut self, end: StepEnd, answer: Bytes, around: &Around<'_>) -> Next {
        let told = if answer.len() <= around.room {
            answer.clone()
        } else {
            Bytes::new()
        };
        match end {
            StepEnd::Completed => {
                let output = String::from_utf8_lossy(&bytes(&answer, "ret")).into_owned();
                match stopped(&output) {
                    None => Next::done(told),
                    Some(how) => {
                        let (outcome, what) = match how {
                            Stopped::Unread => (
                                Outcome::Failed,
                                "the script cannot be read, and nothing of it was run",
                            ),
                            Stopped::Halfway => (Outcome::Broken, "the script stopped at an error"),
                        };
                        let text = format!("{what}: {}", output.trim());
                        Next::stop(outcome, DeviceError::new(ErrorClass::Trap, text)).telling(told)
                    }
                }
            }
            // What is not there was not run.
            StepEnd::Trapped(error) if proves_nothing_done(&error.message) => {
                Next::stop(Outcome::Failed, error).telling(told)
            }
            end @ StepEnd::NotSent(_) => write_failed(end),
            end => write_failed(end).telling(told),
        }
    }
}

fn proves_nothing_done(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    [
        "no such command",
        "no such item",
        "unknown parameter",
        "not enough permissions",
        "not allowed by device-mode",
        "bad command name",
        "syntax error",
    ]
    .iter()
    .any(|known| message.contains(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_by_its_place() {
        for (output, expected) in [
            ("", None),
            ("done (as planned)", None),
            ("x (:error; line 3)", Some(Stopped::Halfway)),
            (
                "failure: already have such address (/ip/address/add; line 12)\n",
                Some(Stopped::Halfway),
            ),
            ("bad command name foo (line 1 column 1)", Some(Stopped::Unread)),
            (
                "expected end of command (line 2 column 14)",
                Some(Stopped::Unread),
            ),
            ("see (line one column two)", None),
        ] {
            assert_eq!(stopped(output), expected, "{output}");
        }
    }
}
