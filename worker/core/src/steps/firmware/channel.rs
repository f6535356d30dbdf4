//! The updater's channel.

use bytes::Bytes;
use muster_model::Firmware;
use muster_model::firmware::Target;

use super::updater::{QUESTION, Updater};
use super::{failed, nothing, router};
use crate::action::StepEnd;
use crate::steps::router::{RESOURCE, ask, prove, write};
use crate::steps::{Around, Next, Run, found, look_failed, question_failed, told, write_failed};

/// A channel that is to be set.
#[derive(Debug)]
pub(super) struct Apply {
    firmware: Firmware,
    phase: Phase,
    from: String,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Router,
    Channel,
    Setting,
    Proving,
}

fn wanted(firmware: &Firmware) -> &str {
    match &firmware.to {
        Target::Channel(channel) => channel,
        Target::Version(_) => "",
    }
}

impl Apply {
    pub(super) fn new(firmware: Firmware) -> Self {
        Self {
            firmware,
            phase: Phase::Router,
            from: String::new(),
        }
    }
}

impl Run for Apply {
    fn begin(&mut self, _: &Around<'_>) -> Next {
        ask(RESOURCE)
    }

    fn granted(&mut self, _: &Around<'_>) -> Next {
        self.phase = Phase::Setting;
        write(&[
            "/system/package/update/set",
            &format!("=channel={}", wanted(&self.firmware)),
        ])
    }

    fn ended(&mut self, end: StepEnd, answer: Bytes, _: &Around<'_>) -> Next {
        match (self.phase, end) {
            (Phase::Router, end) => match router(end, &answer) {
                Ok(router) if self.firmware.is_past(&router.version) => nothing(),
                Ok(_) => {
                    self.phase = Phase::Channel;
                    ask(QUESTION)
                }
                Err(next) => next,
            },
            (Phase::Channel, StepEnd::Completed) => {
                self.from = Updater::read(&answer).channel;
                match self.from == wanted(&self.firmware) {
                    true => nothing(),
                    false => Next::Ask,
                }
            }
            (Phase::Channel, end) => question_failed(end).telling(answer),
            // One menu, one value: a refusal says that it was not set.
            (Phase::Setting, StepEnd::Trapped(error)) => {
                Next::stop(crate::action::Outcome::Failed, error).telling(answer)
            }
            (Phase::Setting, StepEnd::Completed) => {
                self.phase = Phase::Proving;
                prove(QUESTION)
            }
            (Phase::Setting | Phase::Proving, end) if end != StepEnd::Completed => write_failed(end),
            (Phase::Setting | Phase::Proving, _) => {
                let channel = Updater::read(&answer).channel;
                let wanted = wanted(&self.firmware);
                match channel == wanted {
                    true => Next::done(told::row(
                        "channel",
                        [("from", self.from.as_str()), ("to", wanted)],
                    )),
                    false => failed(format!(
                        "the router took the channel {wanted} and says that it is {channel:?}"
                    )),
                }
            }
        }
    }

    fn is_in_the_middle(&self) -> bool {
        matches!(self.phase, Phase::Proving)
    }
}

/// A channel whose setting was lost.
#[derive(Debug)]
pub(super) struct Look(Firmware);

impl Look {
    pub(super) fn new(firmware: Firmware) -> Self {
        Self(firmware)
    }
}

impl Run for Look {
    fn begin(&mut self, _: &Around<'_>) -> Next {
        ask(QUESTION)
    }

    fn ended(&mut self, end: StepEnd, answer: Bytes, _: &Around<'_>) -> Next {
        match end {
            StepEnd::Completed => found(Updater::read(&answer).channel == wanted(&self.0)),
            end => look_failed(end),
        }
    }
}
