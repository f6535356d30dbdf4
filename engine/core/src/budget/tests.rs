use muster_model::Marks;
use proptest::prelude::*;

use super::*;
use crate::retry::Backoff;
use crate::{Context, Event, Held, Illegal, Outcome};

#[test]
fn a_unit_is_held_until_its_execution_is_over() {
    let mut ledger = Ledger {
        budget: Some(2),
        ..Ledger::default()
    };
    let in_flight = Tally {
        in_flight: 1,
        ..Tally::default()
    };
    let harmed = Tally {
        harmed: 1,
        ..Tally::default()
    };
    ledger.add(0, in_flight);
    assert_eq!((ledger.full(0), ledger.left(0)), (None, Some(1)));
    ledger.add(1, in_flight);
    let full = ledger.full(1).expect("both are out");
    assert_eq!(
        full.to_string(),
        "the budget of the job is 2: 0 harmed or rescued, 2 being changed"
    );
    assert_eq!(ledger.exhausted(), None);
    ledger.add(0, harmed - in_flight);
    assert_eq!(ledger.left(0), Some(0));
    ledger.add(1, harmed - in_flight);
    assert_eq!(ledger.exhausted().map(|full| full.scope), Some(Scope::Job));
}

#[test]
fn job_and_wave_must_both_hold() {
    let mut ledger = Ledger {
        budget: Some(10),
        ..Ledger::default()
    };
    ledger.waves.entry(0).or_default().budget = Some(1);
    let rescued = Tally {
        rescued: 1,
        ..Tally::default()
    };
    ledger.add(0, rescued);
    assert_eq!(ledger.full(0).map(|full| full.scope), Some(Scope::Wave(0)));
    assert_eq!((ledger.full(1), ledger.left(1)), (None, Some(9)));
    let exhausted = ledger.exhausted().map(|full| full.scope.to_string());
    assert_eq!(exhausted.as_deref(), Some("wave 1"), "people count from 1");
}

#[test]
fn a_limit_that_is_lifted_is_looser() {
    assert_eq!(Change::between(Some(3), None), Change::Looser);
    assert_eq!(Change::between(None, Some(3)), Change::Tighter);
    assert_eq!(Change::between(Some(3), Some(2)), Change::Tighter);
    assert_eq!(Change::between(None, None), Change::Same);
}

/// What happens to a job of 12 executions in 3 waves.
#[derive(Clone, Debug)]
enum Step {
    Execution(usize, Event),
    /// Budgets of the job and of one wave.
    Limit(Option<u64>, u32, Option<u64>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let outcome = proptest::sample::select(vec![
        Outcome::Succeeded,
        Outcome::Failed,
        Outcome::Unreached,
        Outcome::Unknown,
        Outcome::HandedBack,
        Outcome::FoundDone,
    ]);
    let event = prop_oneof![
        3 => Just(Event::Claimed),
        4 => (1_u64..3, 0_u32..2).prop_map(|(epoch, step)| Event::IntentAsked { epoch, step }),
        2 => (1_u64..3, outcome, 0_u32..3).prop_map(|(epoch, outcome, steps_done)| Event::Reported {
            epoch, outcome, steps_done, error: None,
        }),
        1 => (1_u64..3).prop_map(|epoch| Event::LeaseLost { epoch }),
        1 => Just(Event::JobExpired),
    ];
    let budget = || proptest::option::weighted(0.9, 1_u64..6);
    let step = prop_oneof![
        20 => (0_usize..12, event).prop_map(|(at, event)| Step::Execution(at, event)),
        1 => (budget(), 0_u32..3, budget()).prop_map(|(job, wave, of_wave)| Step::Limit(job, wave, of_wave)),
    ];
    proptest::collection::vec(step, 0..400)
}

proptest! {
    /// Whatever happens, and however limits are changed meanwhile: what is harmed, rescued or being changed stays
    /// within what was promised, for the job and for every wave.
    #[test]
    fn harm_never_passes_what_was_promised(steps in steps(), plan in "[cds][cdCD]") {
        let mut executions = (0..12).map(Execution::new).collect::<Vec<_>>();
        let wave = |at: usize| (at / 4) as u32;
        let mut ledger = Ledger { budget: Some(3), ..Ledger::default() };
        // Of each scope, the most that may be harmed from the last change of a limit on.
        let mut promised = BTreeMap::from([(Scope::Job, Some(3))]);
        for step in steps {
            match step {
                Step::Limit(job, number, of_wave) => {
                    ledger.budget = job;
                    ledger.waves.entry(number).or_default().budget = of_wave;
                    promised.insert(Scope::Job, ledger.promised());
                    let committed = ledger.waves[&number].tally.committed();
                    promised.insert(Scope::Wave(number), of_wave.map(|budget| budget.max(committed)));
                }
                Step::Execution(at, event) => {
                    let context = Context {
                        now: 0,
                        expires_at: 1_000_000,
                        aborting: false,
                        held: None,
                        shut: false,
                        stops: false,
                        full: ledger.full(wave(at)),
                        unavailable: false,
                        backoff: Backoff::INTERACTIVE,
                        command: std::time::Duration::from_secs(1),
                        soak: std::time::Duration::from_secs(1),
                        guard: std::time::Duration::ZERO,
                        linger: std::time::Duration::ZERO,
                        steps: Marks::new(&plan),
                    };
                    let before = executions[at].clone();
                    match before.next(&event, &context) {
                        Ok(moved) => {
                            ledger.add(wave(at), Tally::of(&moved.to) - Tally::of(&before));
                            executions[at] = moved.to;
                        }
                        Err(Illegal::Held(Held::Budget(full))) => {
                            prop_assert!(!before.touched, "a later intent uses the unit of the first");
                            prop_assert!(full.tally.committed() >= full.budget);
                        }
                        Err(_) => {}
                    }
                }
            }
            for (scope, most) in &promised {
                let tally = match scope {
                    Scope::Job => ledger.tally(),
                    Scope::Wave(number) => ledger.waves.get(number).map_or(Tally::default(), |wave| wave.tally),
                };
                if let Some(most) = most {
                    prop_assert!(tally.committed() <= *most, "{scope}: {tally:?} of {most}");
                }
            }
            let mut recount = Tally::default();
            for execution in &executions {
                recount += Tally::of(execution);
            }
            prop_assert_eq!(ledger.tally(), recount, "counters equal a recount");
        }
    }
}
