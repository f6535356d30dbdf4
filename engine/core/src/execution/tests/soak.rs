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

#[test]
fn a_changed_device_that_stays_silent_is_lost_at_a_deadline_of_its_own() {
    let mut life = soaking();
    // Three days, as rollouts have them.
    life.context.expires_at = 3 * 86_400_000;
    let mut life = life.at(SOAK);
    let mut tries = 0;
    let since = SOAK;
    while life.execution.state == Pending {
        life = life.claim().told(Outcome::Unreached, 2, ErrorClass::Timeout);
        tries += 1;
        if let Some(ready_at) = life.ready_at {
            assert!(
                ready_at - life.context.now <= 37_500,
                "it holds a unit: it is asked often"
            );
            assert_eq!(life.execution.silent_since, Some(since));
            life = life.at(ready_at);
        }
    }
    life.is(Lost);
    let silent = life.context.now - since;
    let most = millis(SILENT);
    assert!(
        (most - 2000..=most).contains(&silent),
        "{silent} after {tries} tries"
    );
}

#[test]
fn one_that_answers_in_between_is_silent_from_anew() {
    let mut life = Life::granted("cc", 0);
    life.context.expires_at = 86_400_000;
    let life = life.told(Outcome::Unreached, 1, ErrorClass::Timeout);
    assert_eq!(life.execution.silent_since, Some(0));
    let life = life.at(500_000).claim().ask(1);
    assert_eq!(life.execution.silent_since, None);
    let life = life.told(Outcome::Unreached, 1, ErrorClass::Timeout);
    assert_eq!(life.execution.silent_since, Some(500_000));
    life.is(Pending);
}

#[test]
fn one_that_restarts_for_long_may_be_silent_for_longer() {
    let mut life = soaking();
    life.context.expires_at = 86_400_000;
    life.context.linger = Duration::from_secs(3600);
    let life = life
        .at(SOAK)
        .claim()
        .told(Outcome::Unreached, 2, ErrorClass::Timeout);
    let life = life.at(SOAK + 3_600_000).claim();
    life.told(Outcome::Unreached, 2, ErrorClass::Timeout).is(Pending);
}
