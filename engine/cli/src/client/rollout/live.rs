//! How a rollout goes, on a terminal: a few lines that are drawn anew; elsewhere, a line for each thing that happens.

use std::collections::VecDeque;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use muster_proto::v1;

use super::super::follow::Follower;
use super::super::result::{counts_text, is_good, job_state_name, timestamp, to_text};
use crate::progress;
use crate::terminal::{BAD, BOLD, DIM, GOOD, RESET, number, out, safe, short};

/// Failures shown.
const FAILURES: usize = 5;
/// Characters shown of a name.
const NAME: usize = 40;
/// Waves shown beside the open one.
const WAVES: usize = 8;

/// Shows a rollout.
pub(crate) struct Live {
    /// Drawn anew; hidden when standard error is no terminal.
    screen: Screen,
    failures: VecDeque<String>,
    ended: u64,
    /// What was told last, where lines are told.
    told: String,
    terminal: bool,
}

struct Screen {
    all: MultiProgress,
    bar: ProgressBar,
    lines: Vec<ProgressBar>,
}

impl Screen {
    fn new(terminal: bool) -> Self {
        let all = MultiProgress::with_draw_target(match terminal {
            true => ProgressDrawTarget::stderr_with_hz(10),
            false => ProgressDrawTarget::hidden(),
        });
        let bar = all.add(progress::wide_bar());
        Self {
            all,
            bar,
            lines: Vec::new(),
        }
    }

    /// Shows these lines below the bar.
    fn show(&mut self, lines: &[String]) {
        while self.lines.len() < lines.len() {
            let style = ProgressStyle::with_template("  {wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            self.lines
                .push(self.all.add(ProgressBar::new_spinner().with_style(style)));
        }
        for (at, line) in self.lines.iter().enumerate() {
            line.set_message(lines.get(at).cloned().unwrap_or_default());
        }
    }
}

impl Live {
    pub(crate) fn new(terminal: bool) -> Self {
        Self {
            screen: Screen::new(terminal),
            failures: VecDeque::new(),
            ended: 0,
            told: String::new(),
            terminal,
        }
    }

    /// Takes the lines away.
    pub(crate) fn finish(&mut self) {
        self.screen.bar.finish_and_clear();
        self.screen.lines.iter().for_each(ProgressBar::finish_and_clear);
        let _ = self.screen.all.clear();
    }

    fn tell(&mut self, job: &v1::Job) {
        let told = headline(job);
        if told != self.told {
            anstream::eprintln!("{told}");
            self.told = told;
        }
    }
}

impl Follower for Live {
    fn result(&mut self, result: v1::ExecutionResult) {
        self.ended += 1;
        if is_good(result.state()) {
            return;
        }
        let line = to_text(&result);
        if !self.terminal {
            return out(line);
        }
        self.failures.push_front(line);
        self.failures.truncate(FAILURES);
    }

    fn job(&mut self, job: &v1::Job) {
        if !self.terminal {
            return self.tell(job);
        }
        self.screen.bar.set_length(job.total);
        self.screen.bar.set_position(self.ended);
        let mut lines = vec![format!("{BOLD}{}{RESET}", standing(job, NAME))];
        // Lines are cut at the edge of the terminal: what a person has to do is not behind it.
        lines.extend(keepers(job));
        lines.extend([waves(job), counts_text(job), budget(job)]);
        lines.extend(self.failures.iter().map(|line| format!("{DIM}{line}{RESET}")));
        self.screen.show(&lines);
    }

    fn note(&mut self, note: &str) {
        match self.terminal {
            true => self.screen.all.suspend(|| anstream::eprintln!("{note}")),
            false => anstream::eprintln!("{note}"),
        }
    }

    fn resync(&mut self) {
        self.ended = 0;
        self.failures.clear();
        self.note(
            "the engine has forgotten some of what was told here (restored from a backup?); all of it again:",
        );
    }
}

/// What it is doing and what keeps it, in a line.
pub(crate) fn headline(job: &v1::Job) -> String {
    let keepers = keepers(job).into_iter().map(|keeper| format!("; {keeper}"));
    standing(job, usize::MAX) + &keepers.collect::<String>()
}

/// What it is doing.
fn standing(job: &v1::Job, name_characters: usize) -> String {
    let name = job
        .spec
        .as_ref()
        .map(|spec| spec.name.clone())
        .unwrap_or_default();
    format!(
        "{}: {}, wave {} of {}",
        short(&safe(&name), name_characters),
        job_state_name(job.state()),
        job.open_wave,
        job.waves.len()
    )
}

/// What keeps it, and what is to be done about that.
fn keepers(job: &v1::Job) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(halted) = &job.halted {
        lines.push(format!("rule {}: {}", safe(&halted.rule), safe(&halted.detail)));
    }
    let Some(rollout) = &job.rollout else {
        return lines;
    };
    if let Some(hold) = &rollout.hold {
        let until = timestamp(hold.until.as_ref()).map(|until| format!(" (until {until})"));
        lines.push(format!(
            "{}: {}{}",
            safe(&hold.by),
            safe(&hold.evidence),
            until.unwrap_or_default()
        ));
        if hold.needs_person {
            lines.push(format!(
                "decide with: muster job approve {0}, or job abort {0}",
                job.id
            ));
        }
    }
    if job.state() == v1::JobState::AwaitingApproval {
        lines.push(format!("{} approvals are missing", rollout.approvals_missing));
    }
    if let (v1::JobState::WaitingWindow, Some(opens)) = (job.state(), timestamp(rollout.opens_at.as_ref())) {
        lines.push(format!("the window opens at {opens}"));
    }
    lines
}

/// `1 10/10 ✓  2 120/240  3 0/750`, those around the open one.
fn waves(job: &v1::Job) -> String {
    let from = (job.open_wave as usize).saturating_sub(WAVES / 2);
    let shown = job
        .waves
        .iter()
        .skip(from.min(job.waves.len().saturating_sub(WAVES)))
        .take(WAVES);
    let wave = |wave: &v1::Wave| {
        let (style, mark) = match (wave.ended_at.is_some(), wave.opened_at.is_some()) {
            (true, _) => (GOOD, " ✓"),
            (false, true) => (BOLD, ""),
            (false, false) => (DIM, ""),
        };
        format!(
            "{style}wave {} {}/{}{mark}{RESET}",
            wave.number,
            number(wave.ended),
            number(wave.total)
        )
    };
    shown.map(wave).collect::<Vec<_>>().join("  ")
}

fn budget(job: &v1::Job) -> String {
    let used = job.budget_use.unwrap_or_default();
    let spent = used.harmed + used.rescued;
    let style = if spent > 0 { BAD } else { GOOD };
    let limit = match job.budget {
        Some(budget) => format!("of {}", number(budget)),
        None => "without a limit".into(),
    };
    let left = used
        .left
        .map(|left| format!(", {} left", number(left)))
        .unwrap_or_default();
    format!(
        "budget: {style}{} harmed or rescued{RESET} {limit}, {} being changed{left}",
        number(spent),
        number(used.in_flight)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headline_says_what_keeps_it() {
        let mut job = v1::Job {
            id: "j".into(),
            spec: Some(v1::JobSpec {
                name: "dns\u{1b}[2J".into(),
                ..Default::default()
            }),
            state: v1::JobState::Gated.into(),
            open_wave: 1,
            waves: vec![v1::Wave::default(), v1::Wave::default()],
            ..Default::default()
        };
        assert_eq!(headline(&job), "dns\\u{1b}[2J: gated, wave 1 of 2");
        job.rollout = Some(v1::Rollout {
            hold: Some(v1::Hold {
                by: "min-good".into(),
                evidence: "2 of 10 went well".into(),
                needs_person: true,
                ..Default::default()
            }),
            ..Default::default()
        });
        assert!(
            headline(&job).ends_with(
                "; min-good: 2 of 10 went well; decide with: muster job approve j, or job abort j"
            )
        );
        assert_eq!(
            keepers(&job).last().map(String::as_str),
            Some("decide with: muster job approve j, or job abort j"),
            "on a line of its own"
        );
        assert_eq!(standing(&job, 2), "dn…: gated, wave 1 of 2");
    }
}
