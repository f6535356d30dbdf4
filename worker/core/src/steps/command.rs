//! A raw command: sent, and what its end means.

use bytes::Bytes;
use muster_model::trap::{Refusal, refusal};
use muster_model::{Command, DeviceError, ErrorClass, Verify};
use routeros_wire::{Expression, Kind, Limits, decode_all};

use super::{Around, Next, Run, found, look_failed, question_failed, told, words, write_failed};
use crate::action::{Exchange, Outcome, StepEnd};
use crate::attempt::ANSWERS;

/// A command that is to be sent.
#[derive(Debug)]
pub(super) struct Apply(Command);

impl Apply {
    pub(super) fn new(command: Command) -> Self {
        Self(command)
    }
}

impl Run for Apply {
    fn begin(&mut self, _: &Around<'_>) -> Next {
        match self.0.effect().is_read() {
            true => Next::Exchange(Exchange {
                follow: self.0.follow(),
                ..Exchange::question(words(self.0.sent_words()))
            }),
            false => Next::Ask,
        }
    }

    fn granted(&mut self, _: &Around<'_>) -> Next {
        Next::Exchange(Exchange::write(words(self.0.sent_words())))
    }

    fn ended(&mut self, end: StepEnd, answer: Bytes, around: &Around<'_>) -> Next {
        let read = self.0.effect().is_read();
        if matches!(end, StepEnd::NotSent(_)) {
            return match read {
                true => question_failed(end),
                false => write_failed(end),
            };
        }
        let told = match (answer.len() <= around.room, read) {
            (true, _) => answer,
            // What it did counts, not what it said.
            (false, false) => Bytes::new(),
            (false, true) => {
                let text =
                    format!("the answers of the plan's steps are over the limit of {ANSWERS} bytes together");
                return Next::stop(Outcome::Failed, DeviceError::new(ErrorClass::Protocol, text));
            }
        };
        let next = match end {
            StepEnd::Completed => return Next::done(told),
            // That it has no such thing is what was asked.
            StepEnd::Trapped(error)
                if self.0.is_tolerant() && refusal(&error.message) == Refusal::Permanent =>
            {
                return Next::done(told);
            }
            end if read => question_failed(end),
            // Only for some commands a trap proves that nothing was done (A5).
            StepEnd::Trapped(error) if self.0.trap_proves_nothing_done(&error.message) => {
                Next::stop(Outcome::Failed, error)
            }
            end => write_failed(end),
        };
        next.telling(told)
    }
}

/// A command, or a script, whose answer was lost: what verifies it is asked, and nothing else.
#[derive(Debug)]
pub(super) struct Look(Option<Verify>);

impl Look {
    pub(super) fn new(verify: Option<Verify>) -> Self {
        Self(verify)
    }
}

impl Run for Look {
    fn begin(&mut self, _: &Around<'_>) -> Next {
        match &self.0 {
            Some(verify) => Next::Exchange(Exchange::question(words(verify.sent_words()))),
            None => Next::stop(
                Outcome::Failed,
                DeviceError::new(ErrorClass::Worker, "there is nothing to verify the step with"),
            ),
        }
    }

    fn ended(&mut self, end: StepEnd, answer: Bytes, _: &Around<'_>) -> Next {
        if end != StepEnd::Completed {
            return look_failed(end);
        }
        let verified = self
            .0
            .as_ref()
            .map_or(Ok(false), |verify| verified(verify, &answer));
        match verified {
            Ok(done) => found(done),
            Err(error) => Next::stop(Outcome::Failed, error),
        }
    }
}

pub(super) fn verified(verify: &Verify, answer: &[u8]) -> Result<bool, DeviceError> {
    let expect = match verify.expect.is_empty() {
        true => None,
        false => Some(verify.expect.parse::<Expression>().map_err(|error| {
            DeviceError::new(
                ErrorClass::Worker,
                format!("the verification's expectation: {error}"),
            )
        })?),
    };
    let mut any = false;
    // Written by the session, sentence by sentence, within the same limits: it decodes.
    let _ = decode_all(answer, Limits::default(), |sentence| {
        let expected = |expression: &Expression| expression.matches(&|name| sentence.get(name));
        any |= sentence.kind() == Kind::Re && expect.as_ref().is_none_or(expected);
    });
    Ok(any != verify.absent)
}

/// A command that is not sent.
#[derive(Debug)]
pub(super) struct Preview(Command);

impl Preview {
    pub(super) fn new(command: Command) -> Self {
        Self(command)
    }
}

impl Run for Preview {
    fn begin(&mut self, _: &Around<'_>) -> Next {
        Next::Done {
            reply: told::command(&self.0).into(),
            changes: !self.0.effect().is_read(),
        }
    }

    fn ended(&mut self, _: StepEnd, _: Bytes, around: &Around<'_>) -> Next {
        self.begin(around)
    }
}
