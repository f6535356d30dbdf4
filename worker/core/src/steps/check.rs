//! What has to hold for the plan to go on.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use muster_model::check::{Facts, Source};
use muster_model::trap::{Refusal, refusal};
use muster_model::{Check, DeviceError, ErrorClass};

use super::restart::SETTLING;
use super::router::{RESOURCE, Router, ask};
use super::{Around, Next, Run, question_failed, told};
use crate::action::{Exchange, Outcome, StepEnd};
use crate::facts;

/// How long after a restart a check that does not hold is asked again: links and neighbours come up after the router.
const SETTLES: Duration = Duration::from_secs(120);

/// Questions about a device, one after the other, and what it answered.
#[derive(Clone, Debug)]
pub(crate) struct Questions {
    /// The one that is asked, and those that follow.
    sources: Vec<Source>,
    facts: Facts,
}

impl Questions {
    pub(crate) fn new(needed: BTreeSet<Source>) -> Self {
        Self {
            sources: needed.into_iter().collect(),
            facts: Facts::new(),
        }
    }

    /// The question that is to be asked now; or none is left, and these are the answers.
    pub(crate) fn next(&mut self) -> Result<Exchange, Facts> {
        match self.sources.first() {
            Some(source) => Ok(Exchange::question(facts::question(*source))),
            None => Err(std::mem::take(&mut self.facts)),
        }
    }

    /// The question is answered, or the attempt ends here.
    pub(crate) fn ended(&mut self, end: StepEnd, answer: &Bytes) -> Result<(), Next> {
        if self.sources.is_empty() {
            return Ok(());
        }
        let source = self.sources.remove(0);
        match end {
            StepEnd::Completed => facts::read(source, answer, &mut self.facts),
            // Version 6 tells of its peers elsewhere.
            StepEnd::Trapped(error)
                if source == Source::Bgp && refusal(&error.message) == Refusal::Permanent =>
            {
                self.sources.insert(0, Source::BgpPeers);
            }
            // The device has no such thing to tell of; whether that matters is for the check to say.
            StepEnd::Trapped(error) if refusal(&error.message) == Refusal::Permanent => {}
            end => return Err(question_failed(end).telling(answer.clone())),
        }
        Ok(())
    }
}

/// A check that is to be evaluated.
#[derive(Debug)]
pub(super) struct Apply {
    check: Check,
    preview: bool,
    questions: Questions,
    /// What kept it from holding, while it is asked how long the device has been up.
    failed: Option<Next>,
}

impl Apply {
    pub(super) fn new(check: Check, preview: bool) -> Self {
        let questions = Questions::new(check.needs());
        Self {
            check,
            preview,
            questions,
            failed: None,
        }
    }

    fn next(&mut self, around: &Around<'_>) -> Next {
        match self.questions.next() {
            Ok(exchange) => Next::Exchange(exchange),
            Err(now) => match self.decide(around.pre, &now) {
                // What it came up without may come yet.
                failed @ Next::Stop { .. } if around.restarted && !self.preview => {
                    self.failed = Some(failed);
                    ask(RESOURCE)
                }
                next => next,
            },
        }
    }

    /// Everything that the check needs is known.
    fn decide(&self, pre: &Facts, now: &Facts) -> Next {
        let check = &self.check;
        let named = check.named(pre, now);
        // What is different on every device would keep apart those that need the same.
        let reply = told::check(if self.preview { &[] } else { &named });
        let why = match check.holds(pre, now) {
            Ok(true) => return Next::done(reply),
            Ok(false) => {
                let named = named.iter().map(|(name, value)| format!("{name}={value}"));
                format!(
                    "{} does not hold: {}",
                    check.text(),
                    named.collect::<Vec<_>>().join(", ")
                )
            }
            Err(error) => format!("{}: {error}", check.text()),
        };
        Next::stop(Outcome::Rejected, DeviceError::new(ErrorClass::Check, why)).telling(reply)
    }
}

impl Run for Apply {
    fn begin(&mut self, around: &Around<'_>) -> Next {
        // What a device will say when it is changed nobody can tell.
        match self.preview && (around.changes || self.check.is_about_a_change()) {
            true => Next::done(told::check(&[])),
            false => self.next(around),
        }
    }

    fn waited(&mut self, around: &Around<'_>) -> Next {
        self.questions = Questions::new(self.check.needs());
        self.next(around)
    }

    fn ended(&mut self, end: StepEnd, answer: Bytes, around: &Around<'_>) -> Next {
        if let Some(failed) = self.failed.take() {
            return match Router::read(&answer) {
                Some(router) if router.uptime < SETTLES => Next::Wait(SETTLING),
                _ => failed,
            };
        }
        match self.questions.ended(end, &answer) {
            Ok(()) => self.next(around),
            Err(next) => next,
        }
    }
}
