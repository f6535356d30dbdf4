//! A step under a guard: something is armed on the device before the first write, and disarmed after a new connection has
//! found what was wanted (I3, I4, I5). Whatever goes wrong in between, the device takes the change back.
//!
//! ```text
//! read ──different──▶ which guard? ──▶ (intent) ──▶ arm ──▶ write … ──▶ prove over a new connection ──▶ disarm ──▶ done
//!                                                             └── no ──▶ take back ──▶ look ──▶ reverted
//! ```
//!
//! L1 holds the device's safe mode, 80 writes at a time. L2 saves a backup and schedules its return, by the device's own
//! clock, and at its next start. A connection that is lost meanwhile is a question like any other; [`Look`] answers it when
//! nothing of ours is armed any more.

mod caps;
mod look;

use std::time::Duration;

use bytes::Bytes;
use muster_model::way_back::{CHUNK, RESTORED_WITHIN, SAFE_MODE_WITHIN};
use muster_model::{DeviceError, ErrorClass, Guard, Step, WayBack};
use routeros_wire::value::{DateTime, boolean};

use super::command::verified;
use super::{Around, Next, Run, found, question_failed, told, unproven, words};
use crate::action::{ConnectFailure, Exchange, Given, Manner, Outcome, StepEnd};
use crate::diff::{Diff, question, read_rows};

pub use caps::Caps;
pub(crate) use caps::{Probe, level_row, refusal, wants_guard};
pub(crate) use look::Look;

/// What a schedule of ours, its twin and its backup are called.
const NAME: &str = "muster-guard";
const TWIN: &str = "muster-guard-boot";

/// How often, and how long after one another, a hold is tried for that somebody else has: one that died is noticed.
const TAKES: u32 = 10;
const BETWEEN: Duration = Duration::from_secs(1);

/// Where it is.
#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// The step itself is at it.
    Inner,
    Probing(Probe),
    /// The intent is asked for.
    Asked,
    Taking(u32),
    /// Whether anybody else's change is under our hold.
    Alone,
    Saving,
    Saved(u32),
    Clock,
    Scheduling,
    Twin,
    Scheduled,
    Proving,
    Disarming(Vec<&'static str>),
    Disarmed,
    Cleaning,
    Unrolling,
    LookingBack,
    /// It ends as it was to end, once our hold is given up.
    LettingGo,
}

/// A step that is to be done under a guard.
#[derive(Debug)]
pub(crate) struct Guarded {
    inner: Box<dyn Run>,
    step: Step,
    way: WayBack,
    over_api: bool,
    phase: Phase,
    guard: Option<Guard>,
    caps: Option<Caps>,
    /// Whether it is armed, as far as we know.
    armed: bool,
    /// Writes under the hold that there is.
    writes: usize,
    /// Writes in all.
    written: usize,
    /// A write that waits for the next hold.
    waiting: Option<Exchange>,
    /// How it ends, when what comes before is done.
    end: Option<Next>,
}

impl Guarded {
    pub(crate) fn new(
        inner: Box<dyn Run>,
        step: Step,
        way: WayBack,
        over_api: bool,
        caps: Option<Caps>,
    ) -> Self {
        Self {
            inner,
            step,
            way,
            over_api,
            phase: Phase::Inner,
            guard: None,
            caps,
            armed: false,
            writes: 0,
            written: 0,
            waiting: None,
            end: None,
        }
    }

    /// What the step wants next.
    fn after(&mut self, next: Next) -> Next {
        match next {
            Next::Ask if self.guard.is_none() => match self.caps {
                Some(caps) => self.choose(caps),
                None => self.probe(Probe::Version),
            },
            Next::Exchange(exchange) if exchange.manner == Manner::Write && self.armed => {
                if self.guard == Some(Guard::SafeMode) && self.writes == CHUNK {
                    self.waiting = Some(exchange);
                    return self.prove();
                }
                self.writes += 1;
                self.written += 1;
                Next::Exchange(exchange)
            }
            next @ Next::Done { .. } if self.armed => {
                self.end = Some(next);
                self.prove()
            }
            Next::Stop {
                outcome,
                error,
                reply,
            } if self.armed => self.stopped(outcome, error, reply),
            next => next,
        }
    }

    fn probe(&mut self, probe: Probe) -> Next {
        let next = Next::Exchange(probe.question());
        self.phase = Phase::Probing(probe);
        next
    }

    /// Which guard it gets, before anything is asked for.
    fn choose(&mut self, caps: Caps) -> Next {
        self.guard = caps.guard(self.way.needs(&self.step), self.over_api);
        self.phase = Phase::Asked;
        match refusal(&self.way, &self.step, caps, self.over_api) {
            Some(error) => Next::stop(Outcome::Rejected, error),
            None => Next::Ask,
        }
    }

    fn write(&mut self, phase: Phase, command: &[&str]) -> Next {
        self.phase = phase;
        Next::Exchange(Exchange::write(words(command.iter().copied())))
    }

    fn proof(&mut self, phase: Phase, command: &[&str]) -> Next {
        self.phase = phase;
        Next::Exchange(Exchange::proof(words(command.iter().copied())))
    }

    fn fresh(&mut self, phase: Phase, words: Vec<Vec<u8>>) -> Next {
        self.phase = phase;
        Next::Exchange(Exchange {
            fresh: true,
            ..Exchange::proof(words)
        })
    }

    fn arm(&mut self, around: &Around<'_>) -> Next {
        match self.guard {
            Some(Guard::SafeMode) => self.write(Phase::Taking(0), &["/safe-mode/take"]),
            Some(Guard::Scheduler) => {
                let name = format!("=name={NAME}");
                self.write(
                    Phase::Saving,
                    &["/system/backup/save", &name, "=dont-encrypt=yes"],
                )
            }
            None => self.begin_writing(around),
        }
    }

    /// It is armed, or nothing is to be: the step goes on.
    fn begin_writing(&mut self, around: &Around<'_>) -> Next {
        self.armed = self.guard.is_some();
        self.phase = Phase::Inner;
        self.writes = 0;
        if let Some(exchange) = self.waiting.take() {
            return self.after(Next::Exchange(exchange));
        }
        let next = self.inner.granted(around);
        self.after(next)
    }

    /// Looks over a new connection whether what was wanted is there (I4).
    fn prove(&mut self) -> Next {
        let identity = || words(["/system/identity/print", "=.proplist=name"].into_iter());
        let question = match (&self.step, &self.waiting) {
            (_, Some(_)) => identity(),
            (Step::Ensure(wish), None) => question(wish),
            (Step::Command(command), None) => match command.verify() {
                Some(verify) => words(verify.sent_words()),
                None => identity(),
            },
            _ => identity(),
        };
        self.fresh(Phase::Proving, question)
    }

    /// What the new connection found.
    fn proven(&mut self, end: StepEnd, answer: &[u8]) -> Next {
        let missing = match end {
            StepEnd::Completed => match (&self.step, &self.waiting) {
                (Step::Ensure(wish), None) => match Diff::of(wish, answer) {
                    Ok(diff) if diff.is_empty() => None,
                    Ok(diff) => Some(format!("a new connection finds: {}", diff.text())),
                    Err(error) => Some(error.message),
                },
                (Step::Command(command), None) => match command
                    .verify()
                    .map(|verify| verified(verify, answer))
                {
                    Some(Ok(false)) => Some("a new connection does not find what was expected".to_owned()),
                    Some(Err(error)) => Some(error.message),
                    Some(Ok(true)) | None => None,
                },
                _ => None,
            },
            end => Some(format!(
                "no new connection after the change: {}",
                unproven(end).message
            )),
        };
        match missing {
            None => self.disarm(),
            Some(why) => {
                let error = DeviceError::new(ErrorClass::NotAsWanted, why);
                let reply = match self.end.take() {
                    Some(Next::Done { reply, .. }) => Some(reply),
                    _ => None,
                };
                self.stopped(Outcome::Broken, Some(error), reply)
            }
        }
    }

    fn disarm(&mut self) -> Next {
        match self.guard {
            Some(Guard::SafeMode) => self.proof(Phase::Disarming(Vec::new()), &["/safe-mode/release"]),
            _ => self.disarm_next(vec![TWIN, NAME]),
        }
    }

    fn disarm_next(&mut self, mut left: Vec<&'static str>) -> Next {
        match left.pop() {
            Some(name) => {
                let named = format!("=numbers={name}");
                self.proof(Phase::Disarming(left), &["/system/scheduler/remove", &named])
            }
            None => self.is_disarmed(),
        }
    }

    /// The disarming is looked at too, over a new connection.
    fn is_disarmed(&mut self) -> Next {
        let question = armed_question(self.guard);
        self.fresh(Phase::Disarmed, question)
    }

    /// It does not go on: what was done is taken back.
    fn stopped(&mut self, outcome: Outcome, error: Option<DeviceError>, reply: Option<Bytes>) -> Next {
        // Nobody can say now; the resolver asks when nothing is armed any more.
        let undecided = matches!(outcome, Outcome::Unknown | Outcome::Cancelled);
        if undecided {
            return Next::Stop {
                outcome: Outcome::Unknown,
                error,
                reply,
            };
        }
        match self.guard {
            Some(Guard::SafeMode) if outcome != Outcome::Unreached => {
                self.end = Some(Next::Stop {
                    outcome,
                    error,
                    reply,
                });
                self.proof(Phase::Unrolling, &["/safe-mode/unroll"])
            }
            // The schedule does it.
            Some(Guard::Scheduler) if self.written > 1 || outcome == Outcome::Broken => Next::Stop {
                outcome: Outcome::Unknown,
                error,
                reply,
            },
            Some(Guard::Scheduler) => {
                self.end = Some(Next::Stop {
                    outcome,
                    error,
                    reply,
                });
                self.disarm()
            }
            _ => Next::Stop {
                outcome,
                error,
                reply,
            },
        }
    }

    /// How it ends, now that what was before is there again, or is not.
    fn taken_back(&mut self, is_back: bool) -> Next {
        let Some(Next::Stop {
            outcome,
            error,
            reply,
        }) = self.end.take()
        else {
            return Next::stop(Outcome::Unknown, lost("nobody said how the step was to end"));
        };
        let outcome = match (is_back, outcome) {
            (true, Outcome::Broken) => Outcome::Reverted,
            // The device refused the first write: there was nothing to take back.
            (true, outcome) if self.written <= 1 => outcome,
            (true, _) => Outcome::Reverted,
            (false, _) => Outcome::Broken,
        };
        Next::Stop {
            outcome,
            error,
            reply,
        }
    }

    fn fail(&self, why: impl Into<String>) -> Next {
        Next::stop(Outcome::Failed, DeviceError::new(ErrorClass::Trap, why))
    }

    fn scheduled_at(&self, answer: &[u8]) -> Option<[String; 2]> {
        let mut clock = None;
        read_rows(answer, |row| {
            clock = row
                .get(b"date")
                .map(<[u8]>::to_vec)
                .zip(row.get(b"time").map(<[u8]>::to_vec));
        });
        let (date, time) = clock?;
        later(&date, &time, self.way.after())
    }

    fn add(&mut self, phase: Phase, name: &str, when: &[String]) -> Next {
        let event = format!("=on-event=/system backup load name={NAME} password=\"\"");
        let name = format!("=name={name}");
        let mut words = vec!["/system/scheduler/add", &name, &event, "=interval=0s"];
        words.extend(when.iter().map(String::as_str));
        self.write(phase, &words)
    }
}

/// What tells whether a guard of ours is armed: rows, if it is.
fn armed_question(guard: Option<Guard>) -> Vec<Vec<u8>> {
    match guard {
        Some(Guard::Scheduler) => {
            let (ours, twin) = (format!("?name={NAME}"), format!("?name={TWIN}"));
            words(
                [
                    "/system/scheduler/print",
                    "=.proplist=.id,name",
                    &ours,
                    &twin,
                    "?#|",
                ]
                .into_iter(),
            )
        }
        _ => words(["/system/history/print", "=.proplist=.id,floating-undo"].into_iter()),
    }
}

/// How many rows of an answer say that something is armed.
fn armed_rows(guard: Option<Guard>, answer: &[u8]) -> usize {
    let mut count = 0;
    read_rows(answer, |row| {
        count += usize::from(match guard {
            Some(Guard::Scheduler) => true,
            _ => row.get(b"floating-undo").and_then(boolean) == Some(true),
        });
    });
    count
}

/// A device's date and time so much later, as words of a schedule, in the device's own spelling.
fn later(date: &[u8], time: &[u8], after: Duration) -> Option<[String; 2]> {
    let now = DateTime::parse(&[date, b" ", time].concat())?;
    let small = |number: u8| i8::try_from(number).ok();
    let at = jiff::civil::DateTime::new(
        i16::try_from(now.year).ok()?,
        small(now.month)?,
        small(now.day)?,
        small(now.hour)?,
        small(now.minute)?,
        small(now.second)?,
        0,
    )
    .ok()?;
    let at = at.checked_add(after).ok()?;
    let day = match (
        date.contains(&b'/'),
        date.first().is_some_and(u8::is_ascii_lowercase),
    ) {
        (false, _) => at.strftime("%Y-%m-%d").to_string(),
        (true, lower) => {
            let day = at.strftime("%b/%d/%Y").to_string();
            if lower { day.to_lowercase() } else { day }
        }
    };
    Some([
        format!("=start-date={day}"),
        format!("=start-time={}", at.strftime("%H:%M:%S")),
    ])
}

fn lost(text: &str) -> DeviceError {
    DeviceError::new(ErrorClass::Worker, text)
}

impl Run for Guarded {
    fn begin(&mut self, around: &Around<'_>) -> Next {
        let next = self.inner.begin(around);
        self.after(next)
    }

    fn granted(&mut self, around: &Around<'_>) -> Next {
        self.arm(around)
    }

    fn waited(&mut self, around: &Around<'_>) -> Next {
        match self.phase {
            Phase::Taking(tries) => self.write(Phase::Taking(tries), &["/safe-mode/take"]),
            Phase::Saved(tries) => self.list(tries),
            _ => {
                let next = self.inner.waited(around);
                self.after(next)
            }
        }
    }

    fn reconnected(&mut self, made: Result<(), ConnectFailure>, around: &Around<'_>) -> Next {
        let next = self.inner.reconnected(made, around);
        self.after(next)
    }

    fn ended(&mut self, end: StepEnd, answer: Bytes, around: &Around<'_>) -> Next {
        let phase = std::mem::replace(&mut self.phase, Phase::Inner);
        let done = end == StepEnd::Completed;
        match phase {
            Phase::Inner | Phase::Asked => {
                let next = self.inner.ended(end, answer, around);
                self.after(next)
            }
            Phase::Probing(probe) if done || matches!(end, StepEnd::Trapped(_)) => {
                match probe.answered(&answer) {
                    Ok(caps) => {
                        self.caps = Some(caps);
                        self.choose(caps)
                    }
                    Err(next) => self.probe(next),
                }
            }
            Phase::Probing(_) => question_failed(end).telling(answer),
            Phase::Taking(_) if done => {
                self.armed = true;
                let question = armed_question(self.guard);
                self.phase = Phase::Alone;
                Next::Exchange(Exchange::proof(question))
            }
            Phase::Taking(tries) => match end {
                // Somebody has it, or had it and the device has not noticed yet that they are gone.
                StepEnd::Trapped(_) if tries + 1 < TAKES && self.waiting.is_none() => {
                    self.phase = Phase::Taking(tries + 1);
                    Next::Wait(BETWEEN)
                }
                StepEnd::Trapped(error) if self.written == 0 => {
                    self.fail(format!("safe mode cannot be taken: {}", error.message))
                }
                StepEnd::NotSent(error) if self.written == 0 => Next::stop(Outcome::Unreached, error),
                StepEnd::Trapped(error) => Next::stop(Outcome::Broken, error),
                end => Next::stop(Outcome::Unknown, unproven(end)),
            },
            Phase::Alone if done && armed_rows(self.guard, &answer) == 0 => self.begin_writing(around),
            Phase::Alone if done => {
                let why = "somebody else changes the device at this moment: taking our change back would take theirs back \
                           too; nothing was written";
                self.end = Some(self.fail(why));
                self.proof(Phase::LettingGo, &["/safe-mode/release"])
            }
            Phase::Alone => Next::stop(Outcome::Unknown, unproven(end)),
            Phase::Saving if done => self.list(0),
            Phase::Saved(tries) if done => {
                let mut size = None;
                read_rows(&answer, |row| size = row.get(b"size").map(<[u8]>::to_vec));
                match size.as_deref() {
                    Some(b"0") => {
                        self.fail("the backup that was to be the way back is empty; nothing was written")
                    }
                    Some(_) => {
                        self.phase = Phase::Clock;
                        let clock = ["/system/clock/print", "=.proplist=date,time"];
                        Next::Exchange(Exchange::proof(words(clock.into_iter())))
                    }
                    None if tries < TAKES => {
                        self.phase = Phase::Saved(tries + 1);
                        Next::Wait(BETWEEN)
                    }
                    None => self.fail("the device made no backup to be the way back; nothing was written"),
                }
            }
            Phase::Clock if done => match self.scheduled_at(&answer) {
                Some(when) => self.add(Phase::Scheduling, NAME, &when),
                None => self.fail("the device does not say what time it is; nothing was written"),
            },
            Phase::Scheduling if done => {
                self.armed = true;
                self.add(Phase::Twin, TWIN, &["=start-time=startup".to_owned()])
            }
            Phase::Twin if done => {
                let question = armed_question(self.guard);
                self.phase = Phase::Scheduled;
                Next::Exchange(Exchange::proof(question))
            }
            Phase::Scheduled if done && armed_rows(self.guard, &answer) == 2 => self.begin_writing(around),
            Phase::Scheduled if done => {
                self.end =
                    Some(self.fail("the device took a schedule and does not have it; nothing was written"));
                self.disarm()
            }
            Phase::Saving
            | Phase::Saved(_)
            | Phase::Clock
            | Phase::Scheduling
            | Phase::Twin
            | Phase::Scheduled => {
                match end {
                    // Nothing of the step was written, and what is armed would only put back what is there.
                    StepEnd::Trapped(error) => {
                        let text = format!("the way back cannot be armed: {}", error.message);
                        self.end = Some(self.fail(text));
                        match self.armed {
                            true => self.disarm(),
                            false => self.end.take().unwrap_or_else(|| found(false)),
                        }
                    }
                    StepEnd::NotSent(error) if !self.armed => Next::stop(Outcome::Unreached, error),
                    end => Next::stop(Outcome::Unknown, unproven(end)),
                }
            }
            Phase::Proving => self.proven(end, &answer),
            // One that is gone is what is wanted; whether it is, is looked at.
            Phase::Disarming(left) if done || matches!(end, StepEnd::Trapped(_)) => match self.guard {
                Some(Guard::Scheduler) => self.disarm_next(left),
                _ => self.is_disarmed(),
            },
            Phase::Disarmed if done && armed_rows(self.guard, &answer) == 0 => self.disarmed(),
            Phase::Disarmed if done => Next::stop(
                Outcome::Unknown,
                lost("the guard is still armed after it was disarmed"),
            ),
            Phase::Cleaning => self.finish(),
            Phase::Unrolling if done => self.look_back(),
            Phase::LookingBack if done => {
                let is_back = match &self.step {
                    Step::Ensure(wish) => Diff::of(wish, &answer)
                        .is_ok_and(|diff| told::diff(&diff, wish)[..] == self.inner.pre()[..]),
                    _ => armed_rows(self.guard, &answer) == 0,
                };
                self.taken_back(is_back)
            }
            Phase::LettingGo => self.finish(),
            Phase::Disarming(_) | Phase::Disarmed | Phase::Unrolling | Phase::LookingBack => {
                Next::stop(Outcome::Unknown, unproven(end))
            }
        }
    }

    fn given(&mut self) -> Vec<Given> {
        self.inner.given()
    }

    fn pre(&self) -> Bytes {
        self.inner.pre()
    }

    fn guard(&self) -> Option<(Guard, Duration)> {
        self.guard.map(|guard| {
            let within = match guard {
                Guard::SafeMode => SAFE_MODE_WITHIN,
                Guard::Scheduler => self.way.after() + RESTORED_WITHIN,
            };
            (guard, within)
        })
    }

    fn caps(&self) -> Option<Caps> {
        self.caps
    }

    fn is_in_the_middle(&self) -> bool {
        self.inner.is_in_the_middle()
            || !matches!(self.phase, Phase::Inner | Phase::Probing(_) | Phase::Asked)
    }
}

impl Guarded {
    fn list(&mut self, tries: u32) -> Next {
        let named = format!("?name={NAME}.backup");
        self.proof(
            Phase::Saved(tries),
            &["/file/print", "=.proplist=name,size", &named],
        )
    }

    /// It is disarmed, and that was seen.
    fn disarmed(&mut self) -> Next {
        self.armed = false;
        if self.guard == Some(Guard::SafeMode) {
            return match self.waiting.is_some() {
                true => self.write(Phase::Taking(0), &["/safe-mode/take"]),
                false => self.finish(),
            };
        }
        let named = format!("=numbers={NAME}.backup");
        self.proof(Phase::Cleaning, &["/file/remove", &named])
    }

    fn finish(&mut self) -> Next {
        match self.end.take() {
            Some(end) => end,
            None => Next::stop(Outcome::Unknown, lost("nobody said how the step was to end")),
        }
    }

    /// The device has taken it back: whether what was before is there is read.
    fn look_back(&mut self) -> Next {
        self.armed = false;
        let question = match &self.step {
            Step::Ensure(wish) => question(wish),
            _ => armed_question(self.guard),
        };
        self.phase = Phase::LookingBack;
        Next::Exchange(Exchange::proof(question))
    }
}

#[cfg(test)]
mod tests;
