use super::*;
use muster_model::check::Facts;
use muster_model::{Command, Ensure, Items, Level, Values};
use routeros_wire::encode;

use crate::steps::apply;

/// A device that has one list of rules, and the ways back of its version. A lost connection is a `None`.
struct Device {
    version: &'static str,
    synchronised: bool,
    rules: Vec<String>,
    /// The rules at the time the safe mode was taken, and how many actions there were since.
    held: Option<(Vec<String>, usize)>,
    backup: Option<Vec<String>>,
    schedules: Vec<String>,
    /// Whether new connections come in.
    reachable: bool,
    /// Rules that cut it off.
    cuts: Vec<&'static str>,
}

fn device(version: &'static str) -> Device {
    Device {
        version,
        synchronised: true,
        rules: vec!["old".to_owned()],
        held: None,
        backup: None,
        schedules: Vec::new(),
        reachable: true,
        cuts: Vec::new(),
    }
}

fn answer(sentences: &[Vec<String>]) -> Bytes {
    let mut out = Vec::new();
    for sentence in sentences {
        encode::sentence(&mut out, sentence.iter()).expect("no empty words");
    }
    out.into()
}

fn row(words: &[&str]) -> Vec<String> {
    std::iter::once("!re")
        .chain(words.iter().copied())
        .map(str::to_owned)
        .collect()
}

fn trap(text: &str) -> (StepEnd, Bytes) {
    (
        StepEnd::Trapped(DeviceError::new(ErrorClass::Trap, text)),
        Bytes::new(),
    )
}

impl Device {
    fn says(&mut self, words: &str, fresh: bool) -> (StepEnd, Bytes) {
        let lost = (
            StepEnd::NoAnswer(DeviceError::new(ErrorClass::Timeout, "no answer")),
            Bytes::new(),
        );
        if fresh && !self.reachable {
            return lost;
        }
        let mut rows = Vec::new();
        let value = |name: &str| {
            let part = words
                .split(' ')
                .find_map(|word| word.strip_prefix(&format!("={name}=")));
            part.unwrap_or_default().to_owned()
        };
        let path = words.split(' ').next().unwrap_or_default();
        match path {
            "/system/resource/print" => rows.push(row(&[&format!("=version={} (stable)", self.version)])),
            "/system/ntp/client/print" if self.synchronised => rows.push(row(&["=status=synchronized"])),
            "/system/clock/print" => rows.push(row(&["=date=2026-12-31", "=time=23:58:00"])),
            "/safe-mode/take" if self.held.is_some() => return trap("failure: safe mode is already taken"),
            "/safe-mode/take" => self.held = Some((self.rules.clone(), 0)),
            "/safe-mode/release" => self.held = None,
            "/safe-mode/unroll" => self.go(),
            "/system/history/print" => {
                let floating = self.held.as_ref().map_or(0, |(_, actions)| *actions);
                rows.extend((0..floating).map(|_| row(&["=.id=*1", "=floating-undo=true"])));
                rows.push(row(&["=.id=*0", "=floating-undo=false"]));
            }
            "/system/backup/save" => self.backup = Some(self.rules.clone()),
            "/file/print" if self.backup.is_some() => {
                rows.push(row(&["=name=muster-guard.backup", "=size=40000"]));
            }
            "/file/remove" => self.backup = None,
            "/system/scheduler/add" => self.schedules.push(words.to_owned()),
            "/system/scheduler/remove" => {
                let name = format!("=name={} ", value("numbers"));
                self.schedules.retain(|schedule| !schedule.contains(&name));
            }
            "/system/scheduler/print" => rows.extend(self.schedules.iter().map(|_| row(&["=.id=*1"]))),
            "/list/print" => {
                let item = |(at, rule): (usize, &String)| {
                    row(&[&format!("=.id=*{at}"), &format!("=comment={rule}")])
                };
                rows.extend(self.rules.iter().enumerate().map(item));
            }
            "/list/add" => {
                let name = value("comment");
                if name == "refused" {
                    return trap("failure: invalid value");
                }
                self.rules.push(name);
                if let Some((_, actions)) = &mut self.held {
                    *actions += 1;
                    assert!(*actions <= CHUNK, "more than fit into the history");
                }
                self.reachable = !self.rules.iter().any(|rule| self.cuts.contains(&rule.as_str()));
            }
            _ => {}
        }
        rows.push(vec!["!done".to_owned()]);
        (StepEnd::Completed, answer(&rows))
    }

    /// The connection that holds the safe mode goes.
    fn go(&mut self) {
        if let Some((rules, _)) = self.held.take() {
            self.rules = rules;
            self.reachable = true;
        }
    }

    /// The time of a schedule comes, or the device starts.
    fn restore(&mut self) {
        if !self.schedules.is_empty()
            && let Some(rules) = self.backup.clone()
        {
            self.rules = rules;
            self.schedules.clear();
            self.reachable = true;
        }
    }
}

fn wish(rules: &[&str]) -> Step {
    let item = |rule: &&str| Values::new([("comment", *rule)]).expect("valid");
    let items = Items {
        key: vec!["comment".into()],
        items: rules.iter().map(item).collect(),
        ..Items::default()
    };
    Step::Ensure(Ensure::items("/list", items).expect("valid"))
}

fn demanding(min: Level) -> WayBack {
    WayBack {
        min,
        ..WayBack::default()
    }
}

fn guarded(step: &Step, way: &WayBack) -> Guarded {
    Guarded::new(apply(step, None), step.clone(), way.clone(), true, None)
}

fn around(facts: &Facts) -> Around<'_> {
    Around {
        pre: facts,
        room: 1 << 20,
        now: Duration::ZERO,
        over_api: true,
        changes: false,
        changed: false,
        restarted: false,
        backup_age: None,
        open: Duration::ZERO,
        notes: &NO_NOTES,
    }
}

static NO_NOTES: crate::steps::Notes = crate::steps::Notes::new();

/// Runs a step on a device, whose connection is lost at the `lost`-th command: before it is carried out, or after it.
fn drive(run: &mut dyn Run, device: &mut Device, lost: Option<(usize, bool)>) -> (Vec<String>, Next) {
    let facts = Facts::new();
    let around = around(&facts);
    let (mut sent, mut next) = (Vec::new(), run.begin(&around));
    loop {
        next = match next {
            Next::Ask => {
                sent.push("ask".to_owned());
                run.granted(&around)
            }
            Next::Wait(_) => run.waited(&around),
            Next::Exchange(exchange) => {
                let words = exchange.words.iter().map(|word| String::from_utf8_lossy(word));
                let words = words.collect::<Vec<_>>().join(" ");
                let at = sent.iter().filter(|words| *words != "ask").count();
                sent.push(words.clone());
                match lost {
                    Some((lost, done)) if lost == at => {
                        if done {
                            device.says(&words, exchange.fresh);
                        }
                        if !exchange.fresh {
                            device.go();
                        }
                        let end = StepEnd::NoAnswer(DeviceError::new(ErrorClass::Reset, "lost"));
                        run.ended(end, Bytes::new(), &around)
                    }
                    _ => {
                        let (end, answer) = device.says(&words, exchange.fresh);
                        run.ended(end, answer, &around)
                    }
                }
            }
            end => return (sent, end),
        };
    }
}

fn outcome(next: &Next) -> Outcome {
    match next {
        Next::Done { .. } => Outcome::Succeeded,
        Next::Stop { outcome, .. } => *outcome,
        other => panic!("{other:?}"),
    }
}

fn why(next: &Next) -> &str {
    match next {
        Next::Stop {
            error: Some(error), ..
        } => &error.message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_safe_mode_is_held_from_before_the_first_write_to_after_the_proof() {
    let (step, way) = (wish(&["old", "new"]), demanding(Level::L2));
    let mut device = device("7.18.2");
    let mut run = guarded(&step, &way);
    let (sent, end) = drive(&mut run, &mut device, None);
    assert_eq!(outcome(&end), Outcome::Succeeded, "{end:?}");
    let paths = sent
        .iter()
        .map(|words| words.split(' ').next().unwrap_or_default());
    assert_eq!(
        paths.collect::<Vec<_>>(),
        [
            "/list/print",
            "/system/resource/print",
            "/system/ntp/client/print",
            "ask",
            "/safe-mode/take",
            "/system/history/print",
            "/list/add",
            "/list/print",
            "/list/print",
            "/safe-mode/release",
            "/system/history/print",
        ]
    );
    assert!(device.held.is_none() && device.rules == ["old", "new"]);
    let (sent, end) = drive(&mut guarded(&step, &way), &mut device, None);
    assert_eq!(
        (sent.len(), outcome(&end)),
        (1, Outcome::Succeeded),
        "as wanted: nothing is armed"
    );
}

#[test]
fn a_long_step_is_held_in_parts() {
    let rules = (0..200).map(|at| format!("rule{at}")).collect::<Vec<_>>();
    let rules = rules.iter().map(String::as_str).collect::<Vec<_>>();
    let mut device = device("7.18.2");
    let (sent, end) = drive(
        &mut guarded(&wish(&rules), &demanding(Level::L1)),
        &mut device,
        None,
    );
    assert_eq!(outcome(&end), Outcome::Succeeded, "{end:?}");
    assert_eq!(sent.iter().filter(|words| *words == "/safe-mode/take").count(), 3);
    assert_eq!(device.rules.len(), 201);
}

#[test]
fn a_schedule_is_armed_by_the_devices_clock_and_disarmed_after_the_proof() {
    let mut device = device("7.16.2");
    let (sent, end) = drive(
        &mut guarded(&wish(&["new"]), &demanding(Level::L2)),
        &mut device,
        None,
    );
    assert_eq!(outcome(&end), Outcome::Succeeded, "{end:?}");
    let added = sent
        .iter()
        .filter(|words| words.starts_with("/system/scheduler/add"))
        .collect::<Vec<_>>();
    assert!(
        added[0].contains("=start-date=2027-01-01 =start-time=00:03:00"),
        "over midnight: {added:?}"
    );
    assert!(added[1].contains("=start-time=startup"), "{added:?}");
    let armed = sent
        .iter()
        .position(|words| words.starts_with("/system/scheduler/print"));
    let written = sent.iter().position(|words| words.starts_with("/list/add"));
    assert!(
        armed < written,
        "it is seen to be armed before anything is written: {sent:?}"
    );
    assert!(device.schedules.is_empty() && device.backup.is_none());
    assert_eq!(
        later(b"dec/31/2026", b"23:59:59", Duration::from_secs(1)).expect("a date")[0],
        "=start-date=jan/01/2027"
    );
    assert_eq!(
        later(b"Feb/28/2028", b"23:59:59", Duration::from_secs(1)).expect("a date")[0],
        "=start-date=Feb/29/2028"
    );
}

#[test]
fn what_cuts_us_off_is_taken_back() {
    for version in ["7.18.2", "7.16.2"] {
        let mut device = device(version);
        device.cuts = vec!["lockout"];
        let mut run = guarded(&wish(&["lockout"]), &demanding(Level::L2));
        let (_, end) = drive(&mut run, &mut device, None);
        if version == "7.18.2" {
            // The connection that holds it is still there.
            assert_eq!(outcome(&end), Outcome::Reverted, "{end:?}");
            assert!(
                why(&end).contains("no new connection after the change"),
                "{end:?}"
            );
        } else {
            assert_eq!(outcome(&end), Outcome::Unknown, "{end:?}");
            device.restore();
        }
        assert!(device.reachable && device.rules == ["old"], "{version}");
    }
}

#[test]
fn without_a_way_back_it_is_refused_with_a_reason() {
    let mut device = device("7.16.2");
    device.synchronised = false;
    let (sent, end) = drive(
        &mut guarded(&wish(&["new"]), &demanding(Level::L2)),
        &mut device,
        None,
    );
    assert_eq!(outcome(&end), Outcome::Rejected);
    assert!(why(&end).contains("clock is not synchronised") && why(&end).contains("the plan demands it"));
    assert!(!sent.iter().any(|words| words == "ask"), "nothing is asked for");
    let step = Step::Command(Command::parse(["/ip/address/remove", ".id=*1"]).expect("valid"));
    let (_, end) = drive(&mut guarded(&step, &WayBack::default()), &mut device, None);
    assert!(
        why(&end).contains("may cut the way by which the device is reached"),
        "{end:?}"
    );
    let taken = WayBack {
        accept_none: true,
        ..WayBack::default()
    };
    let (sent, end) = drive(&mut guarded(&step, &taken), &mut device, None);
    assert_eq!(outcome(&end), Outcome::Succeeded, "{end:?}");
    assert_eq!(
        sent.last().map(String::as_str),
        Some("/ip/address/remove =.id=*1")
    );
    device.version = "7.18.2";
    let over_rest = &mut Guarded::new(apply(&step, None), step.clone(), WayBack::default(), false, None);
    let (_, end) = drive(over_rest, &mut device, None);
    assert!(why(&end).contains("over REST"), "{end:?}");
}

#[test]
fn what_is_refused_or_fails_in_part_leaves_what_was_before() {
    for (rules, ends) in [
        (["refused", "b"], Outcome::Failed),
        (["a", "refused"], Outcome::Reverted),
    ] {
        let mut device = device("7.18.2");
        let (_, end) = drive(
            &mut guarded(&wish(&rules), &demanding(Level::L1)),
            &mut device,
            None,
        );
        assert_eq!(outcome(&end), ends, "{end:?}");
        assert!(
            device.held.is_none() && device.rules == ["old"],
            "{:?}",
            device.rules
        );
    }
    let mut held = device("7.18.2");
    held.held = Some((Vec::new(), 0));
    let (_, end) = drive(
        &mut guarded(&wish(&["new"]), &demanding(Level::L1)),
        &mut held,
        None,
    );
    assert_eq!(outcome(&end), Outcome::Failed, "somebody else has it: {end:?}");
    assert!(held.held.is_some(), "and keeps it");
}

/// The connection is lost at each command in turn, before it is carried out and after: then it is found out what became of
/// it, and the device has what was before or what was wanted, with nothing armed.
#[test]
fn a_connection_lost_at_each_command_leaves_one_state_or_the_other() {
    for version in ["7.18.2", "7.16.2"] {
        let (step, way) = (wish(&["old", "a", "b"]), demanding(Level::L2));
        let all = drive(&mut guarded(&step, &way), &mut device(version), None).0;
        let commands = all.iter().filter(|words| *words != "ask").count();
        for lost in (0..commands).flat_map(|at| [(at, false), (at, true)]) {
            let mut device = device(version);
            let mut run = guarded(&step, &way);
            let (_, end) = drive(&mut run, &mut device, Some(lost));
            let what = format!("{version} {lost:?} {end:?} {:?}", device.rules);
            let armed = run.guard().map(|(guard, _)| guard);
            device.go();
            if outcome(&end) == Outcome::Unknown {
                let recorded = crate::action::Recorded {
                    step: 0,
                    pre: run.pre(),
                    facts: String::new(),
                    guard: armed,
                };
                let mut look = || {
                    let mut look = crate::steps::look(&step, Some(&recorded));
                    drive(&mut *look, &mut device, None).1
                };
                let mut found = look();
                if outcome(&found) == Outcome::Interrupted {
                    device.restore();
                    let mut look = crate::steps::look(&step, Some(&recorded));
                    found = drive(&mut *look, &mut device, None).1;
                }
                let ends = match outcome(&found) {
                    Outcome::Succeeded => vec!["old", "a", "b"],
                    Outcome::Reverted => vec!["old"],
                    other => panic!("{what}: {other:?}"),
                };
                assert_eq!(device.rules, ends, "{what}");
            } else {
                let is_one = device.rules == ["old"] || device.rules == ["old", "a", "b"];
                assert!(is_one && outcome(&end) != Outcome::Broken, "{what}");
            }
            assert!(
                device.held.is_none() && device.schedules.is_empty(),
                "{what}: {:?}",
                device.schedules
            );
        }
    }
}
