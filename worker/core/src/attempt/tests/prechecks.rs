//! What is looked at before the first change.

use super::*;
use muster_model::Items;

fn filter() -> Step {
    let rule = [("comment", "x"), ("chain", "input"), ("action", "drop")];
    let items = Items {
        key: vec!["comment".to_owned()],
        items: vec![Values::new(rule).expect("valid")],
        ..Items::default()
    };
    Step::Ensure(Ensure::items("/ip/firewall/filter", items).expect("valid"))
}

/// A router that can guard nothing, up to the question for the menu that would need it.
fn without_a_guard(steps: Vec<Step>) -> Attempt {
    let mut attempt = of(steps).with_caps(None);
    assert!(sent(attempt.connected()).0.starts_with("/system/resource/print"));
    let clock = attempt.answered(StepEnd::Completed, answer(&[&["=version=7.16.2 (stable)"]]));
    assert!(sent(clock).0.starts_with("/system/ntp/client/print"));
    attempt
}

#[test]
fn a_later_change_that_needs_a_guard_is_refused_before_an_earlier_one_is_made() {
    let unsynchronised = || answer(&[&["=enabled=true", "=status=waiting"]]);
    let mut attempt = without_a_guard(vec![dns(), filter()]);
    let (menu, _) = sent(attempt.answered(StepEnd::Completed, unsynchronised()));
    assert!(menu.starts_with("/ip/firewall/filter/print"), "{menu}");
    let end = ended(attempt.answered(StepEnd::Completed, answer(&[])));
    assert_eq!((end.outcome, end.steps_done), (Outcome::Rejected, 0), "{end:?}");
    // Where it is as wanted nothing needs a guard.
    let mut attempt = without_a_guard(vec![dns(), filter()]);
    attempt.answered(StepEnd::Completed, unsynchronised());
    let there = answer(&[&["=.id=*1", "=comment=x", "=chain=input", "=action=drop"]]);
    let (first, _) = sent(attempt.answered(StepEnd::Completed, there));
    assert!(first.starts_with("/ip/dns/print"), "{first}");
    // A command is refused without a look.
    let cut = Step::Command(Command::parse(["/ip/address/remove", ".id=*1"]).expect("valid"));
    let mut attempt = without_a_guard(vec![dns(), cut]);
    let end = ended(attempt.answered(StepEnd::Completed, unsynchronised()));
    assert_eq!((end.outcome, end.steps_done), (Outcome::Rejected, 0));
    // One that has a guard goes on, and so does a plan whose first change needs it: that looks by itself.
    let mut attempt = without_a_guard(vec![dns(), filter()]);
    let synchronised = answer(&[&["=enabled=true", "=status=synchronized"]]);
    let (first, _) = sent(attempt.answered(StepEnd::Completed, synchronised));
    assert!(first.starts_with("/ip/dns/print"), "{first}");
    let (first, _) = sent(of(vec![filter(), dns()]).connected());
    assert!(first.starts_with("/ip/firewall/filter/print"), "{first}");
}
