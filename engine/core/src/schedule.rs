//! When schedules begin, and what becomes of occurrences that cannot (G4).
//!
//! Times are Unix milliseconds by the wall clock. A time that daylight saving skips is the first valid instant after it, one
//! that comes twice is the first of the two.

use jiff::Timestamp;
use muster_model::policy::{Zone, cron};
use serde::{Deserialize, Serialize};

/// An occurrence that is older is missed: nobody was there to begin it.
pub const LATE_MS: i64 = 60_000;
/// Occurrences that are looked at together.
const TOGETHER: usize = 10_000;

/// What happens when the run before is not over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overlap {
    /// The occurrence is skipped.
    #[default]
    Skip,
    /// It waits for the end of the run before; one at a time.
    Queue,
    /// The run before is aborted, and it begins after that.
    Cancel,
}

/// What happens to occurrences that were missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Missed {
    /// They are skipped.
    Skip,
    /// The last one is made up for.
    Once,
    /// The last so many are made up for, one after the other.
    All(u32),
}

/// Why an occurrence did not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nobody was there.
    Missed,
    /// The run before was not over.
    Overlap,
    /// Another one waits already, or took its place.
    Waiting,
    /// The schedule was paused.
    Paused,
}

impl Why {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missed => "missed: the engine did not run at that time",
            Self::Overlap => "the run before was not over",
            Self::Waiting => "another occurrence waits for the run before to end",
            Self::Paused => "the schedule was paused",
        }
    }
}

/// A schedule as it stands.
#[derive(Clone, Debug)]
pub struct Standing<'a> {
    /// Five or six fields.
    pub cron: &'a str,
    /// Where that holds.
    pub zone: &'a Zone,
    /// Occurrences up to this one are decided on.
    pub after: i64,
    /// Occurrences that wait, in order.
    pub waiting: &'a [i64],
    /// Whether nothing begins for now.
    pub paused: bool,
    /// Whether the run before is not over.
    pub running: bool,
    /// What then.
    pub overlap: Overlap,
    /// What with occurrences that were missed.
    pub missed: Missed,
}

/// Occurrences that do not begin, for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip {
    /// The first.
    pub first: i64,
    /// The last.
    pub last: i64,
    /// How many.
    pub count: u64,
    /// Why.
    pub why: Why,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Occurrences up to this one are decided on.
    pub after: i64,
    /// Those that do not begin.
    pub skips: Vec<Skip>,
    /// The one that begins.
    pub start: Option<i64>,
    /// Those that wait.
    pub waiting: Vec<i64>,
    /// The run before is to be aborted.
    pub cancel: bool,
}

impl Decision {
    fn skip(&mut self, at: i64, why: Why) {
        match self.skips.last_mut() {
            Some(skip) if skip.why == why => {
                skip.last = at;
                skip.count += 1;
            }
            _ => self.skips.push(Skip {
                first: at,
                last: at,
                count: 1,
                why,
            }),
        }
    }
}

/// The occurrences after a time, in order; none for an expression that is none.
pub fn occurrences(expression: &str, zone: &Zone, after: i64) -> impl Iterator<Item = i64> {
    let from = Timestamp::from_millisecond(after)
        .ok()
        .map(|at| at.to_zoned(zone.rules()));
    let all = cron(expression)
        .ok()
        .zip(from)
        .map(|(cron, from)| cron.iter_after(from));
    let mut last = after;
    all.into_iter().flatten().filter_map(move |at| {
        let at = at.timestamp().as_millisecond();
        // An hour that comes twice goes back on the clock, and not in time.
        (at > last).then(|| {
            last = at;
            at
        })
    })
}

/// What is to be done at a time. Done again with what it says, it says that there is nothing left to do.
pub fn decide(standing: &Standing<'_>, now: i64) -> Decision {
    let due = occurrences(standing.cron, standing.zone, standing.after)
        .take_while(|at| *at <= now)
        .take(TOGETHER)
        .collect::<Vec<_>>();
    let mut decision = Decision {
        after: due.last().copied().unwrap_or(standing.after),
        waiting: standing.waiting.to_vec(),
        ..Decision::default()
    };
    if standing.paused {
        due.iter().for_each(|at| decision.skip(*at, Why::Paused));
        return decision;
    }
    let fresh = due.partition_point(|at| *at < now.saturating_sub(LATE_MS));
    let (late, fresh) = due.split_at(fresh);
    let made_up = match standing.missed {
        Missed::Skip => 0,
        Missed::Once => 1,
        Missed::All(most) => most as usize,
    };
    let (skipped, kept) = late.split_at(late.len().saturating_sub(made_up));
    skipped.iter().for_each(|at| decision.skip(*at, Why::Missed));
    decision.waiting.extend(kept);
    // Those that were missed before, and wait still, are among the last so many.
    while !kept.is_empty() && decision.waiting.len() > made_up {
        let older = decision.waiting.remove(0);
        decision.skip(older, Why::Missed);
    }
    for at in fresh {
        let busy = standing.running || !decision.waiting.is_empty();
        match standing.overlap {
            _ if !busy => decision.waiting.push(*at),
            Overlap::Skip => decision.skip(*at, Why::Overlap),
            Overlap::Queue if decision.waiting.is_empty() => decision.waiting.push(*at),
            Overlap::Queue => decision.skip(*at, Why::Waiting),
            Overlap::Cancel => {
                // What waits for the same makes room.
                for older in std::mem::take(&mut decision.waiting) {
                    decision.skip(older, Why::Waiting);
                }
                decision.cancel = standing.running;
                decision.waiting.push(*at);
            }
        }
    }
    if !standing.running && !decision.waiting.is_empty() {
        decision.start = Some(decision.waiting.remove(0));
    }
    decision
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().expect("valid").as_millisecond()
    }

    fn told(millis: i64) -> String {
        Timestamp::from_millisecond(millis).expect("in range").to_string()
    }

    fn riga() -> Zone {
        Zone::new("Europe/Riga").expect("known")
    }

    fn hourly(zone: &Zone) -> Standing<'_> {
        Standing {
            cron: "0 * * * *",
            zone,
            after: at("2026-01-10T00:00:00Z"),
            waiting: &[],
            paused: false,
            running: false,
            overlap: Overlap::Skip,
            missed: Missed::Skip,
        }
    }

    #[test]
    fn a_time_that_is_skipped_is_the_first_valid_one_and_a_doubled_one_comes_once() {
        let times = |cron: &str, after: &str, count| {
            occurrences(cron, &riga(), at(after))
                .take(count)
                .map(told)
                .collect::<Vec<_>>()
        };
        // 03:30 does not exist in Riga on 2026-03-29: it is 04:00 then, 01:00 in UTC.
        assert_eq!(
            times("30 3 * * *", "2026-03-28T12:00:00Z", 2),
            ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
        );
        // It comes twice on 2026-10-25.
        assert_eq!(
            times("30 3 * * *", "2026-10-24T12:00:00Z", 2),
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
        // Six fields: the first is seconds.
        assert_eq!(
            times("15 0 0 * * MON", "2026-01-10T00:00:00Z", 1),
            ["2026-01-11T22:00:15Z"]
        );
    }

    #[test]
    fn however_long_nobody_was_there_the_last_one_alone_is_made_up_for() {
        let zone = Zone::default();
        let every_second = Standing {
            cron: "* * * * * *",
            missed: Missed::Once,
            running: true,
            ..hourly(&zone)
        };
        // More than are looked at together.
        let now = at("2026-01-10T12:00:00Z");
        let mut standing = every_second;
        let (mut waiting, mut skipped, mut began) = (Vec::new(), 0, Vec::new());
        while standing.after < now {
            let decision = decide(
                &Standing {
                    waiting: &waiting,
                    ..standing.clone()
                },
                now,
            );
            skipped += decision.skips.iter().map(|skip| skip.count).sum::<u64>();
            began.extend(decision.start);
            standing.after = decision.after;
            waiting = decision.waiting;
        }
        assert_eq!((waiting.len(), began.len()), (1, 0));
        assert_eq!(skipped, 12 * 3600 - 1);
    }

    #[test]
    fn what_is_due_begins() {
        let zone = Zone::default();
        let now = at("2026-01-10T01:00:00Z");
        let decision = decide(&hourly(&zone), now);
        assert_eq!((decision.start, decision.after), (Some(now), now));
        assert_eq!(
            decide(&hourly(&zone), now - 1),
            Decision {
                after: hourly(&zone).after,
                ..Decision::default()
            }
        );
    }

    #[test]
    fn what_was_missed_goes_by_the_policy() {
        let zone = Zone::default();
        let now = at("2026-01-10T05:30:00Z");
        let hour = |hour: u32| at(&format!("2026-01-10T0{hour}:00:00Z"));
        let with = |missed| {
            decide(
                &Standing {
                    missed,
                    ..hourly(&zone)
                },
                now,
            )
        };
        let skip = |first, last, count| Skip {
            first: hour(first),
            last: hour(last),
            count,
            why: Why::Missed,
        };
        let none = with(Missed::Skip);
        assert_eq!(
            (none.start, none.skips, none.after),
            (None, vec![skip(1, 5, 5)], hour(5))
        );
        let once = with(Missed::Once);
        assert_eq!((once.start, once.skips), (Some(hour(5)), vec![skip(1, 4, 4)]));
        let all = with(Missed::All(3));
        assert_eq!(
            (all.start, all.skips, all.waiting),
            (Some(hour(3)), vec![skip(1, 2, 2)], vec![hour(4), hour(5)])
        );
    }

    #[test]
    fn a_run_that_is_not_over_goes_by_the_policy() {
        let zone = Zone::default();
        let now = at("2026-01-10T01:00:10Z");
        let due = at("2026-01-10T01:00:00Z");
        let with = |overlap, waiting: &[i64]| {
            decide(
                &Standing {
                    overlap,
                    waiting,
                    running: true,
                    ..hourly(&zone)
                },
                now,
            )
        };
        let skip = |at, why| {
            vec![Skip {
                first: at,
                last: at,
                count: 1,
                why,
            }]
        };
        assert_eq!(with(Overlap::Skip, &[]).skips, skip(due, Why::Overlap));
        assert_eq!(with(Overlap::Queue, &[]).waiting, [due]);
        let full = with(Overlap::Queue, &[7]);
        assert_eq!((full.waiting, full.skips), (vec![7], skip(due, Why::Waiting)));
        let cancel = with(Overlap::Cancel, &[7]);
        assert_eq!(
            (cancel.cancel, cancel.waiting, cancel.start),
            (true, vec![due], None)
        );
        assert_eq!(cancel.skips, skip(7, Why::Waiting));
        // It begins when the run before is over.
        let after = Standing {
            waiting: &[due],
            after: due,
            ..hourly(&zone)
        };
        assert_eq!(decide(&after, now).start, Some(due));
        let paused = decide(
            &Standing {
                paused: true,
                ..hourly(&zone)
            },
            now,
        );
        assert_eq!((paused.start, paused.skips), (None, skip(due, Why::Paused)));
    }

    proptest! {
        #[test]
        fn every_occurrence_is_decided_on_once(
            steps in proptest::collection::vec((1_i64..400, any::<bool>(), any::<bool>()), 1..40),
            overlap in prop_oneof![Just(Overlap::Skip), Just(Overlap::Queue), Just(Overlap::Cancel)],
            missed in prop_oneof![Just(Missed::Skip), Just(Missed::Once), (1_u32..5).prop_map(Missed::All)],
        ) {
            let zone = riga();
            let began = at("2026-10-24T20:00:00Z");
            let (mut now, mut after, mut waiting) = (began, began, Vec::new());
            let (mut started, mut skipped) = (Vec::new(), 0);
            for (minutes, running, paused) in steps {
                now += minutes * 60_000;
                let standing = Standing {
                    cron: "*/20 * * * *", zone: &zone, after, waiting: &waiting, paused, running, overlap, missed,
                };
                let decision = decide(&standing, now);
                prop_assert!(!(running && decision.start.is_some()), "two at once");
                skipped += decision.skips.iter().map(|skip| skip.count).sum::<u64>();
                started.extend(decision.start);
                after = decision.after;
                waiting = decision.waiting;
            }
            let all = occurrences("*/20 * * * *", &zone, began).take_while(|at| *at <= now).count() as u64;
            prop_assert_eq!(started.len() as u64 + skipped + waiting.len() as u64, all);
            let mut once = started.clone();
            once.dedup();
            prop_assert_eq!(once, started);
        }
    }
}
