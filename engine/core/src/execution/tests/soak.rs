//! What was changed is left alone, keeps its unit, and is looked at once more (B4, C3).

use super::*;

const SOAK: i64 = 5_000;

fn soaking() -> Life {
    let mut life = Life::granted("cr", 0);
    life.context.soak = Duration::from_millis(SOAK.unsigned_abs());
    life.told(Outcome::Succeeded, 2, ErrorClass::Trap)
}

#[test]
fn a_changed_device_soaks_and_keeps_its_unit() {
    let life = soaking();
    life.is(Pending);
    assert!(life.execution.is_soaking(&life.context));
    assert_eq!(life.ready_at, Some(SOAK));
    assert_eq!(Tally::of(&life.execution).in_flight, 1);
    // Whatever its job waits for, it is looked at.
    let mut life = life;
    life.context.held = Some(JobState::Halted);
    let mut life = life.at(SOAK).claim();
    let refused = life.refuses_intent(0);
    assert!(
        matches!(refused, Illegal::State { .. }),
        "nothing is sent that is not a read"
    );
    life.told(Outcome::Succeeded, 2, ErrorClass::Trap).is(Succeeded);
}

#[test]
fn what_was_not_changed_does_not_soak() {
    let mut life = Life::leased("cr");
    life.context.soak = Duration::from_secs(5);
    life.told(Outcome::Unchanged, 2, ErrorClass::Trap).is(Unchanged);
}

#[test]
fn what_does_not_hold_at_the_end_is_broken() {
    for outcome in [Outcome::Broken, Outcome::Rejected, Outcome::Failed] {
        let life = soaking().at(SOAK).claim();
        let life = life.told(outcome, 2, ErrorClass::NotAsWanted);
        life.is(Broken);
        assert_eq!(life.error(), Some(ErrorClass::NotAsWanted));
    }
}

#[test]
fn a_device_that_went_away_while_it_soaked_is_lost_in_the_end() {
    let life = soaking().at(SOAK).claim();
    let life = life.told(Outcome::Unreached, 2, ErrorClass::Refused);
    life.is(Pending);
    life.at(30_000).on(&Event::JobExpired).is(Lost);
}

#[test]
fn ending_the_job_cuts_a_soak_short() {
    soaking().aborting().on(&Event::JobAborted).is(Succeeded);
    soaking().at(30_000).on(&Event::JobExpired).is(Succeeded);
    soaking().at(SOAK).claim().lose().is(Pending);
}

#[test]
fn what_was_found_to_be_done_soaks_too() {
    let mut life = Life::granted("C", 0);
    life.context.soak = Duration::from_secs(5);
    let life = life.told(Outcome::Unknown, 0, ErrorClass::Reset).claim();
    let life = life.told(Outcome::FoundDone, 0, ErrorClass::Reset);
    life.is(Pending);
    assert!(life.execution.is_soaking(&life.context));
}
