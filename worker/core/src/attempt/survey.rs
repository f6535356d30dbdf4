//! The look at every menu that a plan wants something of: all that a preview does, and what comes before a plan that may
//! only be applied to a device as a preview found it.

use bytes::Bytes;
use muster_model::firmware::Part;
use muster_model::{DeviceError, Effect, Ensure, ErrorClass, Step};

use super::{Attempt, KEPT};
use crate::action::{Action, Exchange, Mode, Outcome, StepEnd};
use crate::diff::{Diff, question};
use crate::fingerprint::Fingerprint;
use crate::steps::guard::{Caps, Probe, level_row, refusal};
use crate::steps::{self, Next, Run, question_failed, told};

/// Where it is.
#[derive(Debug)]
pub(super) struct Survey {
    /// The step that is looked at.
    at: usize,
    fingerprint: Fingerprint,
    /// That step, when it is told of by itself.
    run: Option<Box<dyn Run>>,
    /// Of a preview: what is asked of the device's ways back, when the menus are read.
    probe: Option<Probe>,
    /// Of a preview: steps that would change something, and what.
    changing: Vec<(usize, Bytes)>,
}

impl Survey {
    pub(super) fn new() -> Self {
        Self {
            at: 0,
            fingerprint: Fingerprint::new(),
            run: None,
            probe: None,
            changing: Vec::new(),
        }
    }
}

impl Attempt {
    /// Goes on with the look at the plan's menus, and with the plan when that is done.
    pub(super) fn survey_next(&mut self) -> Action {
        let Some(mut survey) = self.survey.take() else {
            return self.precheck();
        };
        let plan = self.plan.clone();
        while let Some(step) = plan.steps.get(survey.at) {
            if let Step::Ensure(ensure) = step {
                self.survey = Some(survey);
                return Action::Exchange(Exchange::question(question(ensure)));
            }
            let run = (self.mode == Mode::Preview).then(|| steps::preview(step));
            if let Some(mut run) = run.flatten() {
                match run.begin(&self.around()) {
                    Next::Done { reply, changes } => {
                        let changes = changes && step.effect() >= Effect::Change;
                        survey.changing.extend(changes.then(|| (survey.at, Bytes::new())));
                        self.previewed(reply, changes);
                    }
                    Next::Exchange(exchange) => {
                        survey.run = Some(run);
                        self.survey = Some(survey);
                        return Action::Exchange(exchange);
                    }
                    next => return self.close(next),
                }
            }
            survey.at += 1;
        }
        if self.mode == Mode::Preview && !survey.changing.is_empty() {
            match self.caps {
                None => return self.probe(survey, Probe::Version),
                Some(caps) => {
                    if let Some(refused) = self.tell_levels(&survey, caps) {
                        return self.close(refused);
                    }
                }
            }
        }
        let found = survey.fingerprint.finish();
        match self.mode {
            Mode::Preview => {
                self.fingerprint = Some(found);
                self.done()
            }
            Mode::Apply { expected, .. } if expected.is_some_and(|expected| expected != found) => {
                let text = "the device is not as the preview found it; nothing was written. Preview again";
                self.end(Outcome::Rejected, DeviceError::new(ErrorClass::Drift, text))
            }
            Mode::Apply { .. } | Mode::Resolve(_) => self.precheck(),
        }
    }

    fn probe(&mut self, mut survey: Survey, probe: Probe) -> Action {
        survey.probe = Some(probe);
        self.survey = Some(survey);
        Action::Exchange(probe.question())
    }

    /// Adds to what is told of each change which way back there is from it, or says why there is none.
    fn tell_levels(&mut self, survey: &Survey, caps: Caps) -> Option<Next> {
        let plan = self.plan.clone();
        for (at, pre) in &survey.changing {
            let (Some(step), Some(reply)) = (plan.steps.get(*at), self.replies.get_mut(*at)) else {
                continue;
            };
            // It is a way back itself.
            if matches!(step, Step::Firmware(firmware) if firmware.part == Part::Fallback) {
                continue;
            }
            if let Some(refused) = refusal(&plan.way_back, step, caps, self.over_api) {
                return Some(Next::stop(Outcome::Rejected, refused));
            }
            let done = told::done(Vec::new());
            let rows = reply.strip_suffix(&done[..]).unwrap_or(reply);
            let row = level_row(&plan.way_back, step, pre, caps, self.over_api);
            *reply = [rows, &row, &done].concat().into();
        }
        None
    }

    fn previewed(&mut self, reply: Bytes, changes: bool) {
        self.changed |= changes;
        self.replies.push(reply);
        self.step += 1;
    }

    /// What was asked for it is answered.
    pub(super) fn surveyed(&mut self, mut survey: Survey, end: StepEnd, sentences: Bytes) -> Action {
        if let Some(probe) = survey.probe.take() {
            return match end {
                StepEnd::Completed | StepEnd::Trapped(_) => match probe.answered(&sentences) {
                    Ok(caps) => {
                        self.caps = Some(caps);
                        self.survey = Some(survey);
                        self.survey_next()
                    }
                    Err(next) => self.probe(survey, next),
                },
                end => self.close(question_failed(end).telling(sentences)),
            };
        }
        let next = match (survey.run.take(), self.plan.clone().steps.get(survey.at)) {
            (Some(mut run), _) => match run.ended(end, sentences, &self.around()) {
                Next::Exchange(exchange) => {
                    survey.run = Some(run);
                    self.survey = Some(survey);
                    return Action::Exchange(exchange);
                }
                next => next,
            },
            (None, Some(Step::Ensure(ensure))) if end == StepEnd::Completed => {
                self.compare(&mut survey, ensure, sentences)
            }
            (None, _) => question_failed(end).telling(sentences),
        };
        match next {
            Next::Done { reply, changes } => {
                if self.mode == Mode::Preview {
                    let step = self.plan.steps.get(survey.at);
                    let is_one = changes && step.is_some_and(|step| step.effect() >= Effect::Change);
                    survey.changing.extend(is_one.then(|| (survey.at, reply.clone())));
                    self.previewed(reply, changes);
                }
                survey.at += 1;
                self.survey = Some(survey);
                self.survey_next()
            }
            next => self.close(next),
        }
    }

    /// What a menu answered to a wish's question.
    fn compare(&mut self, survey: &mut Survey, ensure: &Ensure, sentences: Bytes) -> Next {
        survey.fingerprint.add(ensure, &sentences);
        if self.mode == Mode::Preview {
            return match Diff::of(ensure, &sentences) {
                Ok(diff) => Next::Done {
                    reply: told::diff(&diff, ensure).into(),
                    changes: !diff.is_empty(),
                },
                Err(error) => Next::stop(Outcome::Rejected, error),
            };
        }
        if self.kept.values().map(Bytes::len).sum::<usize>() + sentences.len() <= KEPT {
            self.kept.insert(survey.at, sentences);
        }
        Next::done(Bytes::new())
    }
}
