//! What is to be installed is brought to the router: by the vendor's updater, or from a mirror.
//!
//! ```text
//! router ──as wanted──▶ done
//!    └─▶ packages ─▶ device-mode ─┬─mirror─▶ each file: see `steps::fetch` ─▶ done
//!                                 └─vendor─▶ updater ──downloaded──▶ done
//!                                              └─▶ (intent) ─▶ check ─▶ (intent) ─▶ download ─▶ done
//! ```
//!
//! A router that was brought to 7 just now may still have the channel `upgrade`, which has nothing but the way there: its
//! channel is set to `stable`, as it was before or would be anew.
//!
//! A check in the middle of a download ends it (facts §3.2), so a download that runs already is waited for.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use muster_model::check::number;
use muster_model::firmware::{HOP_CHANNEL, packages};
use muster_model::{DeviceError, ErrorClass, Fetch, Firmware, Follow};

use super::precheck::{self, DEVICE_MODE, PACKAGES};
use super::updater::{QUESTION, Status, Updater};
use super::{failed, nothing, rejected};
use crate::action::{ConnectFailure, Exchange, Outcome, StepEnd};
use crate::steps::fetch::{Fetching, Got};
use crate::steps::router::{RESOURCE, Router, ask, write};
use crate::steps::{Around, Next, Run, question_failed, told, words, write_failed};

/// Between two looks at the updater.
const BETWEEN: Duration = Duration::from_secs(1);

/// How long a check may take.
const CHECK: Duration = Duration::from_secs(60);

/// How often a check is sent that did not arrive.
const CHECKS: u32 = 3;

/// How often a download is begun that was cut off.
const DOWNLOADS: u32 = 3;

/// How long one try to connect may take.
const TRY: Duration = Duration::from_secs(15);

/// What is to be staged.
#[derive(Debug)]
pub(super) struct Apply {
    firmware: Firmware,
    phase: Phase,
    router: Option<Router>,
    /// The exact version, once it is known.
    to: String,
    /// Files of the mirror that are still to be looked after, the next one last.
    files: Vec<Fetch>,
    told: BTreeMap<String, u64>,
    /// Until when what runs is waited for.
    until: Duration,
    downloads: u32,
    /// Checks that were sent, and whether the connection was lost over the last of them.
    checks: u32,
    cut: bool,
    connected: bool,
    /// Whether it was told to leave the channel `upgrade`.
    left: bool,
    /// What the updater said last.
    said: String,
}

#[derive(Debug)]
enum Phase {
    Router,
    Packages,
    Mode,
    Fetching(Box<Fetching>),
    /// The updater is asked before anything is done.
    Before,
    Checking(Sent),
    /// The channel that has nothing but the hop is left again.
    Leaving,
    Downloading(Sent),
}

/// Whether a command of the updater is on its way, or done and looked after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    NotYet,
    OnItsWay,
    Done,
}

impl Apply {
    pub(super) fn new(firmware: Firmware) -> Self {
        let to = firmware.to.version().unwrap_or_default().to_owned();
        Self {
            firmware,
            phase: Phase::Router,
            router: None,
            to,
            files: Vec::new(),
            told: BTreeMap::new(),
            until: Duration::ZERO,
            downloads: 0,
            checks: 0,
            cut: false,
            connected: true,
            left: false,
            said: String::new(),
        }
    }

    fn wait(&self) -> Duration {
        Duration::from_millis(self.firmware.wait_ms)
    }

    fn looked_at(&mut self, router: Router) -> Next {
        let firmware = &self.firmware;
        if firmware.is_past(&router.version) {
            return nothing();
        }
        if let Some(version) = firmware.to.version() {
            if router.runs(version) {
                return nothing();
            }
            if let Err(next) = precheck::direction(firmware, &router, version) {
                return next;
            }
        }
        if let Err(next) = precheck::space(firmware, &router) {
            return next;
        }
        self.router = Some(router);
        self.phase = Phase::Packages;
        ask(PACKAGES)
    }

    /// The files that the router needs from the mirror.
    fn packages(&mut self, answer: &[u8]) -> Next {
        if let (Some(mirror), Some(router)) = (&self.firmware.mirror, &self.router) {
            let installed = precheck::installed(answer);
            let names = installed.iter().map(String::as_str);
            for name in packages::needed(names, &self.to, &self.firmware.packages) {
                let file = packages::file(name, &self.to, &router.architecture);
                let sha256 = mirror.sha256.get(&file).cloned();
                if sha256.is_none() && !mirror.sha256.is_empty() {
                    return rejected(format!(
                        "it needs {file}, and the plan has no SHA-256 for it; name it in sha256"
                    ));
                }
                self.files.push(Fetch {
                    url: mirror.url_of(name, &self.to, &router.architecture),
                    file,
                    sha256,
                    within_ms: self.firmware.wait_ms,
                });
            }
        }
        self.phase = Phase::Mode;
        ask(DEVICE_MODE)
    }

    fn mode(&mut self, end: StepEnd, answer: &Bytes) -> Next {
        if let Err(next) = precheck::device_mode(&self.firmware, end, answer) {
            return next;
        }
        match self.firmware.mirror {
            Some(_) => self.next_file(),
            None => {
                self.phase = Phase::Before;
                ask(QUESTION)
            }
        }
    }

    fn next_file(&mut self) -> Next {
        let version = self.router.as_ref().map_or("", |router| router.version.as_str());
        match self.files.pop() {
            Some(file) => {
                let mut fetching = Fetching::new(file, version);
                let next = fetching.begin();
                self.phase = Phase::Fetching(Box::new(fetching));
                next
            }
            None => self.done("mirror"),
        }
    }

    fn done(&self, from: &str) -> Next {
        let bytes = self.told.values().sum::<u64>().to_string();
        let mut named = vec![("version", self.to.as_str()), ("from", from)];
        if !self.told.is_empty() {
            named.push(("bytes", &bytes));
        }
        Next::done(told::row("stage", named))
    }

    /// What the updater says before anything is done.
    fn before(&mut self, updater: &Updater, around: &Around<'_>) -> Next {
        self.until = around.now + self.wait();
        match &updater.status {
            Status::Downloaded if self.is_wanted(updater) => {
                self.to.clone_from(&updater.latest);
                self.done("vendor")
            }
            // Somebody's download, perhaps ours from before: a check would end it.
            Status::Busy(said)
                if said.to_ascii_lowercase().contains("download") && self.is_wanted(updater) =>
            {
                self.to.clone_from(&updater.latest);
                self.phase = Phase::Downloading(Sent::Done);
                Next::Wait(BETWEEN)
            }
            _ => {
                self.phase = Phase::Checking(Sent::NotYet);
                Next::Ask
            }
        }
    }

    /// Whether what the updater offers is what is wanted.
    fn is_wanted(&self, updater: &Updater) -> bool {
        match self.firmware.to.version() {
            Some(version) => number(&updater.latest) == number(version),
            None => number(&updater.latest).is_some(),
        }
    }

    /// A check has been sent.
    fn checked(&mut self, updater: &Updater, around: &Around<'_>) -> Next {
        match &updater.status {
            // It did not arrive.
            Status::Busy(said) if said.is_empty() && self.cut && self.checks < CHECKS => {
                self.phase = Phase::Checking(Sent::NotYet);
                return Next::Ask;
            }
            Status::Busy(_) if around.now < self.until => return Next::Wait(BETWEEN),
            Status::Busy(said) => {
                return failed(format!(
                    "the updater did not find out what there is within {CHECK:?}: {said}"
                ));
            }
            Status::Error(said) => {
                return failed(format!("the updater could not find out what there is: {said}"));
            }
            Status::Downloaded if self.is_wanted(updater) => return self.done("vendor"),
            Status::Idle | Status::Downloaded | Status::Other(_) => {}
        }
        if updater.latest.is_empty() {
            return failed("the updater found out nothing: it names no version");
        }
        let runs = self
            .router
            .as_ref()
            .is_some_and(|router| router.runs(&updater.latest));
        if self.firmware.to.version().is_none() {
            if runs {
                return nothing();
            }
            self.to.clone_from(&updater.latest);
        } else if !self.is_wanted(updater) {
            let is_seven = self
                .router
                .as_ref()
                .is_some_and(|router| !router.is_older_than("7.0"));
            if updater.channel == HOP_CHANNEL && is_seven && around.changed && !self.left {
                self.phase = Phase::Leaving;
                return Next::Ask;
            }
            return rejected(format!(
                "the updater's channel {} offers {}, not {}; a mirror has exactly the version that is wanted",
                updater.channel, updater.latest, self.to
            ));
        }
        self.phase = Phase::Downloading(Sent::NotYet);
        Next::Ask
    }

    /// A download has been sent, or runs.
    fn downloaded(&mut self, updater: &Updater, around: &Around<'_>) -> Next {
        match &updater.status {
            Status::Downloaded => self.done("vendor"),
            Status::Error(said) => failed(format!("the router could not download {}: {said}", self.to)),
            Status::Busy(_) | Status::Other(_) | Status::Idle if around.now >= self.until => failed(format!(
                "the download of {} did not end within {:?}: {}",
                self.to,
                self.wait(),
                self.said
            )),
            Status::Busy(said) | Status::Other(said) => {
                self.said.clone_from(said);
                Next::Wait(BETWEEN)
            }
            // It was cut off, and nothing of it is there.
            Status::Idle if self.downloads < DOWNLOADS => {
                self.phase = Phase::Downloading(Sent::NotYet);
                Next::Ask
            }
            Status::Idle => failed(format!(
                "the download of {} was cut off {DOWNLOADS} times",
                self.to
            )),
        }
    }

    /// A connection was lost while something was waited for: the router goes on by itself.
    fn lost(&mut self, error: DeviceError, around: &Around<'_>) -> Next {
        (self.connected, self.cut) = (false, true);
        self.said = error.message;
        self.again(around)
    }

    fn again(&self, around: &Around<'_>) -> Next {
        match around.now < self.until {
            true => Next::Wait(BETWEEN),
            false => {
                let text = format!(
                    "the download of {} was not seen to its end: {}",
                    self.to, self.said
                );
                Next::stop(Outcome::Interrupted, DeviceError::new(ErrorClass::Reset, text))
            }
        }
    }
}

impl Run for Apply {
    fn begin(&mut self, _: &Around<'_>) -> Next {
        ask(RESOURCE)
    }

    fn granted(&mut self, around: &Around<'_>) -> Next {
        match &mut self.phase {
            Phase::Fetching(fetching) => fetching.granted(),
            Phase::Leaving => {
                self.left = true;
                write(&["/system/package/update/set", "=channel=stable"])
            }
            Phase::Downloading(sent) => {
                *sent = Sent::OnItsWay;
                self.downloads += 1;
                self.until = around.now + self.wait();
                let follow = Follow {
                    lasts_ms: self.firmware.wait_ms,
                    rows: None,
                };
                Next::Exchange(Exchange {
                    // Its rows are its progress.
                    follow: Some(follow),
                    ..Exchange::write(words(["/system/package/update/download"].into_iter()))
                })
            }
            _ => {
                self.phase = Phase::Checking(Sent::OnItsWay);
                (self.checks, self.cut) = (self.checks + 1, false);
                self.until = around.now + CHECK;
                write(&["/system/package/update/check-for-updates", "=once="])
            }
        }
    }

    fn ended(&mut self, end: StepEnd, answer: Bytes, around: &Around<'_>) -> Next {
        match (&mut self.phase, end) {
            (Phase::Router, end) => match precheck::with_packages(end, &answer) {
                Ok(router) => self.looked_at(router),
                Err(next) => next,
            },
            (Phase::Packages, StepEnd::Completed) => self.packages(&answer),
            (Phase::Mode, end) => self.mode(end, &answer),
            (Phase::Fetching(fetching), end) => match fetching.ended(end, &answer) {
                Got::Next(next) => next,
                Got::There { size, .. } => {
                    self.told.insert(self.files.len().to_string(), size);
                    self.next_file()
                }
            },
            (Phase::Before, StepEnd::Completed) => self.before(&Updater::read(&answer), around),
            (Phase::Checking(sent) | Phase::Downloading(sent), StepEnd::Completed)
                if *sent == Sent::OnItsWay =>
            {
                *sent = Sent::Done;
                ask(QUESTION)
            }
            // The next check tells whether it was.
            (Phase::Leaving, StepEnd::Completed) => {
                self.phase = Phase::Checking(Sent::NotYet);
                Next::Ask
            }
            (Phase::Leaving, StepEnd::NoAnswer(error) | StepEnd::NotSent(error)) => {
                self.phase = Phase::Before;
                (self.left, self.until) = (false, around.now + CHECK);
                self.lost(error, around)
            }
            // It went, or did not: the updater knows.
            (
                Phase::Checking(sent) | Phase::Downloading(sent),
                StepEnd::NoAnswer(error) | StepEnd::NotSent(error),
            ) => {
                *sent = Sent::Done;
                self.lost(error, around)
            }
            (Phase::Checking(Sent::Done), StepEnd::Completed) => {
                self.checked(&Updater::read(&answer), around)
            }
            (Phase::Downloading(Sent::Done), StepEnd::Completed) => {
                self.downloaded(&Updater::read(&answer), around)
            }
            (Phase::Checking(_) | Phase::Leaving | Phase::Downloading(_), StepEnd::Trapped(error)) => {
                Next::stop(Outcome::Failed, error).telling(answer)
            }
            (Phase::Checking(_) | Phase::Leaving | Phase::Downloading(_), end) => write_failed(end),
            (Phase::Packages | Phase::Before, end) => question_failed(end).telling(answer),
        }
    }

    fn waited(&mut self, _: &Around<'_>) -> Next {
        match self.connected {
            true => ask(QUESTION),
            false => Next::Reconnect(TRY),
        }
    }

    fn reconnected(&mut self, made: Result<(), ConnectFailure>, around: &Around<'_>) -> Next {
        match made {
            Ok(()) => {
                self.connected = true;
                ask(QUESTION)
            }
            Err(failure) if failure.may_pass => self.lost(failure.error, around),
            Err(failure) => Next::stop(Outcome::Failed, failure.error),
        }
    }

    fn doing(&self) -> &'static str {
        match self.phase {
            Phase::Downloading(_) => "it waits for the router to have downloaded its packages",
            _ => "it waits for the router's updater",
        }
    }
}

/// What was staged: every attempt looks at that first by itself.
#[derive(Debug)]
pub(super) struct Look;

impl Run for Look {
    fn begin(&mut self, _: &Around<'_>) -> Next {
        crate::steps::found(false)
    }

    fn ended(&mut self, _: StepEnd, _: Bytes, around: &Around<'_>) -> Next {
        self.begin(around)
    }
}
