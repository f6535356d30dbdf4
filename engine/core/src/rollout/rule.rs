//! Whether a rule trips (C2).

use std::fmt;

use muster_model::policy::{Class, Classes, Condition, Rule, Scope};
use serde::{Deserialize, Serialize};

use crate::Tally;

/// Why a rule trips, or how far it is from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule's name.
    pub rule: String,
    /// What it counted, in one sentence.
    pub evidence: String,
    /// Whether it trips.
    pub trips: bool,
    /// Whether there is enough to say anything.
    pub is_enough: bool,
}

/// Failures one after the other, for each rule that counts them so. Order matters here, so it is kept and not computed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Runs(Vec<(String, Option<u32>, u64)>);

impl Runs {
    /// Notes how an execution of a wave ended. What is neither good nor counted by a rule neither continues its run nor
    /// ends it.
    pub fn note(&mut self, rules: &[Rule], wave: u32, class: Option<Class>, is_good: bool) {
        for rule in rules
            .iter()
            .filter(|rule| matches!(rule.condition, Condition::Consecutive(_)))
        {
            let scope = (rule.scope == Scope::Wave).then_some(wave);
            if class.is_some_and(|class| rule.classes.iter().any(|counted| counted == class)) {
                *self.of(&rule.id, scope) += 1;
            } else if is_good {
                *self.of(&rule.id, scope) = 0;
            }
        }
    }

    /// Forgets all: a person has acknowledged what was.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    fn get(&self, rule: &str, scope: Option<u32>) -> u64 {
        let found = self.0.iter().find(|(id, wave, _)| id == rule && *wave == scope);
        found.map_or(0, |(_, _, run)| *run)
    }

    fn of(&mut self, rule: &str, scope: Option<u32>) -> &mut u64 {
        let place = self
            .0
            .iter()
            .position(|(id, wave, _)| id == rule && *wave == scope);
        let place = place.unwrap_or_else(|| {
            self.0.push((rule.to_owned(), scope, 0));
            self.0.len() - 1
        });
        &mut self.0[place].2
    }
}

/// How many executions some classes count.
pub fn failures(tally: &Tally, classes: &Classes) -> u64 {
    let of = |class| match class {
        Class::Harmed => tally.harmed,
        Class::Rescued => tally.rescued,
        Class::Refused => tally.refused,
        Class::Benign => tally.benign,
        Class::Unreached => tally.unreached,
    };
    classes.iter().map(|class| of(class).max(0).unsigned_abs()).sum()
}

/// Executions that are over and either touched or counted.
pub fn sample(tally: &Tally, classes: &Classes) -> u64 {
    let untouched = |class: &Class| matches!(class, Class::Benign | Class::Unreached);
    let counted = Classes::new(classes.iter().filter(untouched));
    tally.touched.max(0).unsigned_abs() + failures(tally, &counted)
}

/// What a condition says of executions that were counted since the last acknowledgement. `run` is the failures one
/// after the other until now.
pub fn judge(id: &str, condition: Condition, classes: &Classes, tally: &Tally, run: u64) -> Finding {
    let failures = failures(tally, classes);
    let of = sample(tally, classes);
    let (trips, is_enough, evidence) = match condition {
        Condition::Count(max) => (
            failures > max,
            true,
            format!("{failures} of {of} failed; {max} are allowed"),
        ),
        Condition::Rate { over, min_sample } => {
            let enough = of >= min_sample;
            let evidence = match enough {
                true => format!("{failures} of {of} failed; {over} are allowed"),
                false => format!("{failures} of {of} failed; {min_sample} are needed to tell"),
            };
            (enough && over.is_exceeded(failures, of), enough, evidence)
        }
        Condition::Consecutive(max) => (
            run >= max,
            true,
            format!("{run} in a row failed; {max} are too many"),
        ),
    };
    Finding {
        rule: id.to_owned(),
        evidence,
        trips,
        is_enough,
    }
}

/// The first rule that trips, in their order. `waves` are tallies since the last acknowledgement, by wave.
pub fn tripped<'r>(rules: &'r [Rule], waves: &[(u32, Tally)], runs: &Runs) -> Option<(&'r Rule, Finding)> {
    rules.iter().find_map(|rule| {
        let finding = findings(rule, waves, runs)
            .into_iter()
            .find(|finding| finding.trips)?;
        Some((rule, finding))
    })
}

/// What a rule says: of the job, or of each wave.
pub fn findings(rule: &Rule, waves: &[(u32, Tally)], runs: &Runs) -> Vec<Finding> {
    let judge = |tally: &Tally, run| judge(&rule.id, rule.condition, &rule.classes, tally, run);
    match rule.scope {
        Scope::Job => vec![judge(&sum(waves), runs.get(&rule.id, None))],
        Scope::Wave => {
            let of_wave = |(wave, tally): &(u32, Tally)| {
                let mut finding = judge(tally, runs.get(&rule.id, Some(*wave)));
                finding.evidence = format!("wave {}: {}", wave + 1, finding.evidence);
                finding
            };
            waves.iter().map(of_wave).collect()
        }
    }
}

/// All waves together.
pub fn sum(waves: &[(u32, Tally)]) -> Tally {
    let mut sum = Tally::default();
    waves.iter().for_each(|(_, tally)| sum += *tally);
    sum
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.evidence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_model::policy::{Action, Share};
    use proptest::prelude::*;

    fn rule(condition: Condition, scope: Scope) -> Rule {
        Rule {
            id: "r".into(),
            condition,
            classes: Classes::default(),
            scope,
            action: Action::Halt,
        }
    }

    fn tally(harmed: i64, rescued: i64, good: i64, benign: i64) -> Tally {
        Tally {
            harmed,
            rescued,
            good,
            benign,
            touched: harmed + rescued + good,
            ended: harmed + rescued + good + benign,
            ..Tally::default()
        }
    }

    fn trips(rule: &Rule, waves: &[(u32, Tally)]) -> bool {
        tripped(std::slice::from_ref(rule), waves, &Runs::default()).is_some()
    }

    #[test]
    fn a_rate_trips_as_the_arithmetic_says() {
        let rate = rule(
            Condition::Rate {
                over: Share::percent(2),
                min_sample: 50,
            },
            Scope::Job,
        );
        assert!(
            !trips(&rate, &[(0, tally(5, 0, 44, 0))]),
            "49 are too few to tell"
        );
        assert!(!trips(&rate, &[(0, tally(1, 0, 49, 0))]), "2 % is allowed");
        assert!(
            trips(&rate, &[(0, tally(1, 0, 48, 0)), (1, tally(0, 1, 0, 0))]),
            "2 of 50"
        );
        assert!(
            !trips(&rate, &[(0, tally(1, 0, 49, 500))]),
            "devices never touched do not count"
        );
    }

    #[test]
    fn a_change_that_we_roll_back_ourselves_trips_too() {
        assert!(trips(
            &rule(Condition::Count(2), Scope::Job),
            &[(0, tally(0, 3, 90, 0))]
        ));
        assert!(!trips(
            &rule(Condition::Count(3), Scope::Job),
            &[(0, tally(0, 3, 90, 0))]
        ));
    }

    #[test]
    fn a_wave_is_judged_by_itself() {
        let waves = [(0, tally(2, 0, 1, 0)), (1, tally(2, 0, 1, 0))];
        assert!(trips(&rule(Condition::Count(3), Scope::Job), &waves));
        assert!(!trips(&rule(Condition::Count(3), Scope::Wave), &waves));
        let (_, finding) = tripped(
            &[rule(Condition::Count(1), Scope::Wave)],
            &waves,
            &Runs::default(),
        )
        .expect("trips");
        assert_eq!(finding.to_string(), "r: wave 1: 2 of 3 failed; 1 are allowed");
    }

    #[test]
    fn failures_in_a_row_are_ended_by_what_goes_well() {
        let rules = [rule(Condition::Consecutive(3), Scope::Job)];
        let mut runs = Runs::default();
        let mut note = |class, good| {
            runs.note(&rules, 0, class, good);
            tripped(&rules, &[], &runs).is_some()
        };
        let harmed = Some(Class::Harmed);
        assert!(!note(harmed, false) && !note(harmed, false));
        assert!(!note(None, true), "the run ends");
        assert!(!note(harmed, false) && !note(Some(Class::Unreached), false));
        assert!(!note(harmed, false), "what is not counted does not continue it");
        assert!(note(harmed, false), "nor does it end it");
        runs.clear();
        assert!(tripped(&rules, &[], &runs).is_none());
    }

    proptest! {
        #[test]
        fn more_failures_never_make_a_rule_quiet(
            harmed in 0_i64..50, good in 0_i64..500, max in 0_u64..60, percent in 1_u32..60, min_sample in 1_u64..100,
        ) {
            for condition in [Condition::Count(max), Condition::Rate { over: Share::percent(percent), min_sample }] {
                let rule = rule(condition, Scope::Job);
                if trips(&rule, &[(0, tally(harmed, 0, good, 0))]) {
                    prop_assert!(trips(&rule, &[(0, tally(harmed + 1, 0, good, 0))]));
                }
            }
        }

        #[test]
        fn an_untouched_device_cannot_trip_a_default_rule(benign in 0_i64..1000, expired in 0_i64..1000) {
            let tally = Tally { benign, unreached: expired, ended: benign + expired, ..Tally::default() };
            prop_assert!(!trips(&Rule::default(), &[(0, tally)]));
            prop_assert!(!trips(&rule(Condition::Count(0), Scope::Job), &[(0, tally)]));
        }
    }
}
