mod soak;

use super::*;
use crate::Tally;
use crate::budget::Scope;
use ExecutionState::{
    Broken, Cancelled, Expired, Failed, Leased, Lost, Pending, Rejected, Running, Skipped, Succeeded,
    Unchanged, Unknown,
};
use proptest::prelude::*;

const CONTEXT: Context<'static> = Context {
    now: 0,
    expires_at: 30_000,
    aborting: false,
    held: None,
    shut: false,
    stops: false,
    full: None,
    unavailable: false,
    backoff: Backoff::INTERACTIVE,
    command: Duration::from_secs(1),
    soak: Duration::ZERO,
    guard: Duration::ZERO,
    linger: Duration::ZERO,
    steps: Marks::empty(),
};
/// 2 s to send, 15 s until the connection is given up, 1 s of command.
const QUIET: i64 = 18_000;

/// An execution of a plan with these steps, and the clock it lives by.
struct Life {
    execution: Execution,
    context: Context<'static>,
    ready_at: Option<i64>,
}

impl Life {
    fn of(steps: &'static str) -> Self {
        Self {
            execution: Execution::new(7),
            context: Context {
                steps: Marks::new(steps),
                ..CONTEXT
            },
            ready_at: None,
        }
    }

    fn leased(steps: &'static str) -> Self {
        Self::of(steps).claim()
    }

    /// With the intent for a step granted.
    fn granted(steps: &'static str, step: u32) -> Self {
        Self::leased(steps).ask(step)
    }

    fn try_on(&mut self, event: &Event) -> Result<(), Illegal> {
        let Transition { to, ready_at } = self.execution.next(event, &self.context)?;
        (self.execution, self.ready_at) = (to, ready_at);
        Ok(())
    }

    fn on(mut self, event: &Event) -> Self {
        self.try_on(event)
            .unwrap_or_else(|illegal| panic!("{event:?}: {illegal}"));
        self
    }

    fn claim(self) -> Self {
        self.on(&Event::Claimed)
    }

    fn ask(self, step: u32) -> Self {
        let epoch = self.execution.epoch;
        self.on(&Event::IntentAsked { epoch, step })
    }

    fn refuses_intent(&mut self, step: u32) -> Illegal {
        let epoch = self.execution.epoch;
        self.try_on(&Event::IntentAsked { epoch, step })
            .expect_err("refused")
    }

    fn told(self, outcome: Outcome, steps_done: u32, class: ErrorClass) -> Self {
        let epoch = self.execution.epoch;
        self.on(&told(epoch, outcome, steps_done, class))
    }

    fn lose(self) -> Self {
        let epoch = self.execution.epoch;
        self.on(&Event::LeaseLost { epoch })
    }

    fn at(mut self, now: i64) -> Self {
        self.context.now = now;
        self
    }

    fn aborting(mut self) -> Self {
        self.context.aborting = true;
        self
    }

    fn is(&self, state: ExecutionState) -> &Self {
        assert_eq!(self.execution.state, state, "{:?}", self.execution);
        self
    }

    fn error(&self) -> Option<ErrorClass> {
        self.execution.error.as_ref().map(|error| error.class)
    }
}

fn told(epoch: u64, outcome: Outcome, steps_done: u32, class: ErrorClass) -> Event {
    Event::Reported {
        epoch,
        outcome,
        steps_done,
        error: Some(DeviceError::new(class, "x")),
    }
}

#[test]
fn an_unreachable_device_waits_and_then_expires_with_its_last_error() {
    let mut life = Life::leased("r");
    loop {
        life = life.told(Outcome::Unreached, 0, ErrorClass::Refused);
        let Some(ready_at) = life.ready_at else { break };
        assert!(ready_at > life.context.now && ready_at <= 29_000, "{ready_at}");
        life = life.at(ready_at).claim();
    }
    life.is(Expired);
    assert_eq!(life.error(), Some(ErrorClass::Refused));
    assert!(
        (5..=7).contains(&life.execution.attempts),
        "{}",
        life.execution.attempts
    );
    assert_eq!(life.context.now, 29_000, "the last try is as late as it can be");
}

#[test]
fn a_connection_for_whatever_reason_wakes_what_waits_for_the_device() {
    let life = Life::leased("c").told(Outcome::Unreached, 0, ErrorClass::Refused);
    let woken = life.at(100).on(&Event::Reachable);
    assert_eq!(
        (woken.is(Pending).ready_at, woken.execution.attempts),
        (Some(100), 1)
    );
    assert!(
        Life::of("c").try_on(&Event::Reachable).is_err(),
        "it waits for a worker, not for its device"
    );
}

#[test]
fn a_read_that_is_cut_off_is_tried_three_times() {
    let mut life = Life::leased("r");
    for _ in 1..READ_ATTEMPTS {
        life = life.told(Outcome::Interrupted, 0, ErrorClass::Reset).claim();
    }
    let life = life.told(Outcome::Interrupted, 0, ErrorClass::Reset);
    assert_eq!(life.is(Failed).error(), Some(ErrorClass::Reset));
    let late = Life::leased("r").at(29_900);
    late.told(Outcome::Interrupted, 0, ErrorClass::Reset).is(Failed);
}

#[test]
fn a_lost_worker_costs_nothing_before_an_intent_and_leaves_a_question_after_one() {
    let life = Life::leased("c").lose();
    assert_eq!(life.is(Pending).ready_at, Some(0));
    Life::granted("c", 0).lose().is(Unknown);
    Life::granted("s", 0).lose().is(Failed);
}

#[test]
fn a_grant_that_was_not_used_may_be_used_later() {
    let life = Life::granted("c", 0).told(Outcome::Unreached, 0, ErrorClass::Reset);
    assert!(life.is(Pending).execution.touched && life.execution.open_intent.is_none());
    life.on(&Event::JobExpired).is(Lost);
}

#[test]
fn a_plan_goes_on_where_it_was() {
    let life = Life::granted("crc", 0).told(Outcome::Interrupted, 1, ErrorClass::Reset);
    assert_eq!(life.is(Pending).execution.next_step, 1);
    let ready_at = life.ready_at.expect("waits");
    let mut life = life.at(ready_at).claim();
    assert!(
        matches!(life.refuses_intent(0), Illegal::State { .. }),
        "it is done"
    );
    life.ask(2)
        .told(Outcome::Succeeded, 3, ErrorClass::Reset)
        .is(Succeeded);
}

#[test]
fn a_change_refused_after_another_was_done_leaves_the_device_in_neither_state() {
    Life::granted("cc", 0)
        .told(Outcome::Failed, 0, ErrorClass::Trap)
        .is(Failed);
    Life::granted("cc", 0)
        .ask(1)
        .told(Outcome::Failed, 1, ErrorClass::Trap)
        .is(Broken);
    // A read that fails is no harm.
    Life::granted("cr", 0)
        .told(Outcome::Failed, 1, ErrorClass::Trap)
        .is(Failed);
}

#[test]
fn an_abort_cancels_what_waits_and_grants_nothing_new() {
    Life::of("c").aborting().on(&Event::JobAborted).is(Cancelled);
    let mut life = Life::leased("c").aborting();
    assert!(matches!(life.refuses_intent(0), Illegal::State { .. }));
    assert!(Life::of("r").aborting().try_on(&Event::Claimed).is_err());
    Life::leased("r")
        .aborting()
        .told(Outcome::Cancelled, 0, ErrorClass::Cancelled)
        .is(Cancelled);
    // Granted and never sent: touched, and nothing was done.
    Life::granted("c", 0)
        .aborting()
        .told(Outcome::Cancelled, 0, ErrorClass::Cancelled)
        .is(Failed);
    // Stopped between two changes.
    Life::granted("cc", 0)
        .aborting()
        .told(Outcome::Cancelled, 1, ErrorClass::Cancelled)
        .is(Broken);
    // What is touched may finish.
    Life::granted("cc", 0).aborting().ask(1).is(Running);
}

#[test]
fn nothing_is_granted_after_the_job_s_time_or_while_it_is_paused() {
    let mut life = Life::leased("c").at(30_000);
    assert!(matches!(life.refuses_intent(0), Illegal::State { .. }));
    life.told(Outcome::Cancelled, 0, ErrorClass::Cancelled)
        .is(Expired);
    let mut life = Life::leased("cc");
    life.context.held = Some(JobState::Paused);
    assert_eq!(life.refuses_intent(0), Illegal::Held(Held::Job(JobState::Paused)));
    let mut life = Life::granted("cc", 0);
    life.context.held = Some(JobState::Halted);
    life.ask(1).is(Running);
}

#[test]
fn only_the_first_change_of_an_execution_needs_a_unit_of_the_budget() {
    let full = Full {
        scope: Scope::Wave(0),
        budget: 1,
        tally: Tally::default(),
    };
    let mut life = Life::leased("sc");
    life.context.full = Some(full);
    let mut life = life.ask(0);
    assert!(!life.execution.touched, "staging touches nothing");
    assert_eq!(life.refuses_intent(1), Illegal::Held(Held::Budget(full)));
    let life = life.told(Outcome::HandedBack, 1, ErrorClass::Reset);
    assert_eq!(life.is(Pending).ready_at, Some(30_000), "others use its slot");
    let mut life = Life::granted("cd", 0);
    life.context.full = Some(full);
    life.ask(1).is(Running);
}

#[test]
fn a_quarantined_device_is_left_out_unless_it_was_touched() {
    assert_eq!(
        Life::of("c").on(&Event::Quarantined).is(Skipped).error(),
        Some(ErrorClass::Quarantined)
    );
    let mut life = Life::granted("c", 0).told(Outcome::Unreached, 0, ErrorClass::Reset);
    assert!(life.try_on(&Event::Quarantined).is_err());
}

#[test]
fn a_lost_answer_is_looked_after_when_there_is_a_way() {
    let life = Life::granted("C", 0).told(Outcome::Unknown, 0, ErrorClass::Reset);
    assert!(life.is(Pending).execution.is_resolving());
    let mut life = life.claim();
    assert!(life.execution.is_resolving());
    assert!(
        matches!(life.refuses_intent(0), Illegal::State { .. }),
        "it is not simply done again"
    );
    life.told(Outcome::FoundDone, 0, ErrorClass::Reset).is(Succeeded);
    Life::granted("C", 0)
        .lose()
        .claim()
        .told(Outcome::FoundDone, 0, ErrorClass::Worker)
        .is(Succeeded);
}

#[test]
fn not_done_is_concluded_only_when_nothing_can_arrive_any_more() {
    let life = Life::granted("C", 0)
        .told(Outcome::Unknown, 0, ErrorClass::Reset)
        .claim();
    let life = life
        .at(QUIET - 1)
        .told(Outcome::FoundNotDone, 0, ErrorClass::Reset);
    assert_eq!(life.is(Pending).ready_at, Some(QUIET));
    let life = life
        .at(QUIET)
        .claim()
        .told(Outcome::FoundNotDone, 0, ErrorClass::Reset);
    assert_eq!(life.is(Failed).error(), Some(ErrorClass::NotDone));
    let life = Life::granted("cC", 0).ask(1).lose().at(QUIET).claim();
    life.told(Outcome::FoundNotDone, 0, ErrorClass::Reset).is(Broken);
}

#[test]
fn an_answered_question_lets_the_plan_go_on() {
    let life = Life::granted("Cc", 0)
        .lose()
        .claim()
        .told(Outcome::FoundDone, 0, ErrorClass::Reset);
    assert_eq!(
        (life.is(Pending).execution.next_step, life.ready_at),
        (1, Some(0))
    );
    life.claim().ask(1).is(Running);
    let life = Life::granted("Cc", 0).lose().claim().aborting();
    life.told(Outcome::FoundDone, 0, ErrorClass::Reset).is(Broken);
}

#[test]
fn a_question_has_a_deadline_of_its_own() {
    let mut life = Life::granted("C", 0).lose().aborting();
    assert!(life.try_on(&Event::JobAborted).is_err());
    assert!(life.at(40_000).try_on(&Event::JobExpired).is_err());
    let mut life = Life::granted("C", 0).lose();
    loop {
        life = life.claim().told(Outcome::Unreached, 0, ErrorClass::Refused);
        let Some(ready_at) = life.ready_at else { break };
        life = life.at(ready_at);
    }
    life.is(Lost);
    assert!(
        (QUIET..QUIET + 60_000).contains(&life.context.now),
        "{}",
        life.context.now
    );
    Life::granted("C", 0)
        .lose()
        .at(QUIET + 60_000)
        .on(&Event::JobExpired)
        .is(Unknown);
    let told = Life::granted("C", 0)
        .lose()
        .claim()
        .told(Outcome::Failed, 0, ErrorClass::Trap);
    told.is(Unknown);
}

#[test]
fn late_evidence_decides_an_open_question() {
    for (outcome, state) in [(Outcome::Succeeded, Succeeded), (Outcome::Failed, Failed)] {
        let life = Life::granted("C", 0).lose();
        life.on(&told(1, outcome, 0, ErrorClass::Trap)).is(state);
        let mut life = Life::granted("C", 0).lose().claim();
        life.try_on(&told(1, outcome, 0, ErrorClass::Trap))
            .expect("while somebody looks");
        life.is(state);
    }
    let mut life = Life::granted("C", 0).lose().claim();
    let undecided = told(1, Outcome::Unknown, 0, ErrorClass::Reset);
    assert_eq!(
        life.try_on(&undecided),
        Err(Illegal::Stale { held: 1, current: 2 })
    );
}

#[test]
fn late_evidence_after_the_end_is_kept_beside_the_state() {
    let life = Life::granted("c", 0).lose();
    life.is(Unknown);
    let mut life = life.at(9).on(&told(1, Outcome::Succeeded, 1, ErrorClass::Reset));
    let resolution = Resolution {
        done: true,
        epoch: 1,
        at: 9,
    };
    assert_eq!(life.is(Unknown).execution.resolution, Some(resolution));
    assert!(
        life.try_on(&told(1, Outcome::Failed, 0, ErrorClass::Trap))
            .is_err(),
        "the first word counts"
    );
    let mut other = Life::granted("c", 0).lose();
    assert!(
        other
            .try_on(&told(0, Outcome::Succeeded, 1, ErrorClass::Reset))
            .is_err()
    );
}

fn events() -> impl Strategy<Value = Vec<(Event, i64, bool, bool)>> {
    let epoch = 0_u64..6;
    let outcome = proptest::sample::select(vec![
        Outcome::Succeeded,
        Outcome::Failed,
        Outcome::Unreached,
        Outcome::Interrupted,
        Outcome::Unknown,
        Outcome::Cancelled,
        Outcome::HandedBack,
        Outcome::FoundDone,
        Outcome::FoundNotDone,
    ]);
    let event = prop_oneof![
        4 => Just(Event::Claimed),
        3 => (epoch.clone(), 0_u32..4).prop_map(|(epoch, step)| Event::IntentAsked { epoch, step }),
        4 => (epoch.clone(), outcome, 0_u32..4)
            .prop_map(|(epoch, outcome, done)| told(epoch, outcome, done, ErrorClass::Reset)),
        2 => epoch.prop_map(|epoch| Event::LeaseLost { epoch }),
        1 => Just(Event::Reachable),
        1 => Just(Event::Quarantined),
        1 => Just(Event::JobExpired),
        1 => Just(Event::JobAborted),
    ];
    proptest::collection::vec((event, 0_i64..5_000, any::<bool>(), any::<bool>()), 0..60)
}

#[test]
fn what_a_crash_of_the_worker_cut_off_goes_on_at_once() {
    let rollout = |steps| {
        let mut life = Life::of(steps);
        life.context.backoff = Backoff::ROLLOUT;
        life.context.expires_at = 86_400_000;
        life.at(1000).claim()
    };
    assert_eq!(rollout("rc").lose().is(Pending).ready_at, Some(1000));
    // A download looks first what is there.
    let life = rollout("X").ask(0).lose();
    assert_eq!(life.is(Pending).ready_at, Some(1000));
    // It is the device that cut this one off.
    let life = rollout("X").ask(0).told(Outcome::Unknown, 0, ErrorClass::Reset);
    assert!(life.is(Pending).ready_at >= Some(45_000));
}

proptest! {
    #[test]
    fn whatever_happens(events in events(), steps in "[rscdSCD]{1,3}") {
        let mut execution = Execution::new(7);
        let mut now = 0;
        for (event, later, aborting, paused) in events {
            now += later;
            let context = Context { now, aborting, held: paused.then_some(JobState::Paused), steps: Marks::new(&steps), ..CONTEXT };
            let Ok(Transition { to, ready_at }) = execution.next(&event, &context) else { continue };
            let before = &execution;
            if before.state.is_terminal() {
                prop_assert_eq!(before.state, to.state, "no terminal state is left");
                prop_assert!(before.resolution.is_none() && to.resolution.is_some(), "{:?}", event);
                execution = to;
                continue;
            }
            prop_assert!(to.touched || !before.touched, "touched never becomes untouched");
            prop_assert!(to.epoch >= before.epoch && to.next_step >= before.next_step);
            prop_assert_eq!(to.epoch > before.epoch, event == Event::Claimed, "a claim has an epoch of its own");
            match event {
                Event::LeaseLost { epoch } | Event::IntentAsked { epoch, .. } => {
                    prop_assert_eq!(epoch, before.epoch, "a stale epoch changes nothing");
                }
                Event::Reported { epoch, .. } if epoch != before.epoch => {
                    let asked = before.open_intent.map(|intent| intent.epoch);
                    prop_assert!(before.is_resolving() && asked == Some(epoch), "but for the question it answers");
                }
                _ => {}
            }
            prop_assert_eq!(ready_at.is_some(), to.state == Pending);
            if let (Some(intent), true) = (to.open_intent, to.state == Pending) {
                prop_assert!(context.steps.is_verifiable(intent.step), "an open question is looked after, or final");
            }
            if let (Some(was), Some(is)) = (before.open_intent, to.open_intent) {
                let asked_again = before.epoch == was.epoch && is.epoch == was.epoch;
                prop_assert!(was == is || asked_again, "no intent is granted over an open one of another lease");
            }
            if matches!(to.state, Expired | Cancelled | Skipped) {
                prop_assert!(!to.touched, "only an untouched one ends so");
            }
            if matches!(to.state, Lost | Unknown | Broken) {
                prop_assert!(to.touched, "only a touched one ends so");
            }
            if to.state == Leased {
                prop_assert!(before.state == Pending);
            }
            execution = to;
        }
    }
}

#[test]
fn only_what_was_never_touched_is_unchanged() {
    let unchanged = |life: Life, done| life.told(Outcome::Unchanged, done, ErrorClass::Reset);
    unchanged(Life::leased("C"), 1).is(Unchanged);
    let cut = Life::granted("CC", 0).told(Outcome::Interrupted, 1, ErrorClass::Reset);
    let again = cut.at(5_000).claim();
    assert!(again.execution.touched && !again.execution.is_resolving());
    unchanged(again, 2).is(Succeeded);
}

#[test]
fn a_plan_that_does_not_fit_is_rejected_as_long_as_nothing_was_done() {
    let rejected = |life: Life, done| life.told(Outcome::Rejected, done, ErrorClass::Plan);
    rejected(Life::leased("C"), 0).is(Rejected);
    let unsent = Life::granted("C", 0).told(Outcome::Unreached, 0, ErrorClass::Reset);
    rejected(unsent.at(5_000).claim(), 0).is(Failed);
    rejected(Life::granted("CC", 0), 1).is(Broken);
}

#[test]
fn a_step_done_in_part_is_broken_and_nothing_of_it_stays_open() {
    let life = Life::granted("C", 0).told(Outcome::Broken, 0, ErrorClass::NotAsWanted);
    life.is(Broken);
    assert_eq!(
        (life.execution.open_intent, life.error()),
        (None, Some(ErrorClass::NotAsWanted))
    );
    Life::leased("C")
        .told(Outcome::Broken, 0, ErrorClass::NotAsWanted)
        .is(Failed);
}

#[test]
fn the_grant_of_a_step_that_goes_on_may_be_renewed() {
    let life = Life::granted("C", 0).at(1_500).ask(0);
    assert_eq!(life.execution.open_intent.map(|intent| intent.at), Some(1_500));
    let mut resolving = life.told(Outcome::Unknown, 0, ErrorClass::Reset).claim();
    resolving.refuses_intent(0);
}

/// Outside its window it stages, and asks for nothing else; when the window opens it begins anew.
#[test]
fn what_was_staged_before_its_window_begins_anew_when_that_opens() {
    let mut life = Life::of("rXz").claim();
    life.context.held = Some(JobState::WaitingWindow);
    life.context.shut = true;
    let mut life = life.ask(1);
    assert_eq!(
        life.refuses_intent(2),
        Illegal::Held(Held::Job(JobState::WaitingWindow))
    );
    let life = life.told(Outcome::HandedBack, 2, ErrorClass::Cancelled);
    let execution = &life.is(Pending).execution;
    assert_eq!(
        (execution.next_step, execution.touched, execution.attempts),
        (0, false, 0)
    );
    assert_eq!((life.error(), life.ready_at), (None, None), "it keeps its place");
    let mut life = life.claim();
    (life.context.held, life.context.shut) = (None, false);
    let life = life
        .ask(1)
        .ask(2)
        .told(Outcome::Succeeded, 3, ErrorClass::Cancelled);
    life.is(Succeeded);
}

/// One that is touched already is handed back as it is.
#[test]
fn what_was_changed_goes_on_where_it_was_whatever_the_window() {
    let mut life = Life::of("rZXz").claim().ask(1);
    life.context.shut = true;
    let life = life.told(Outcome::HandedBack, 2, ErrorClass::Cancelled);
    assert_eq!(
        (life.is(Pending).execution.next_step, life.ready_at.is_some()),
        (2, true)
    );
}
