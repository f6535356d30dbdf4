//! When changes may start: windows, freezes, and whether what is left still fits (G1, G2).

use std::time::Duration;

use jiff::{Timestamp, Zoned};
use muster_model::policy::{Freeze, Window, Zone, cron};

/// Whether something may start now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// It may, until this time at the latest, Unix milliseconds; at any time when there is none.
    Open(Option<i64>),
    /// Not before this time, Unix milliseconds; never when there is none.
    Closed(Option<i64>),
}

/// A span of time, Unix milliseconds: `from` is in it, `to` is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its begin.
    pub from: i64,
    /// Its end.
    pub to: i64,
}

/// The spans that are looked through before it is said that there is none: freezes may cover many of them.
const LOOKED_THROUGH: usize = 1000;

/// The span of a window that is open at `now`, or the next one.
pub fn next_span(window: &Window, now: i64) -> Option<Span> {
    spans(window, now).next()
}

/// The spans of a window that end after `now`, in order.
fn spans(window: &Window, now: i64) -> impl Iterator<Item = Span> {
    let length = millis(window.duration);
    let after = now.saturating_sub(length);
    let zoned = Timestamp::from_millisecond(after)
        .ok()
        .map(|at| at.to_zoned(window.zone.rules()));
    let firings = cron(&window.cron)
        .ok()
        .zip(zoned)
        .map(|(cron, from)| cron.iter_after(from));
    let span = move |at: Zoned| {
        let from = at.timestamp().as_millisecond();
        Span {
            from,
            to: from.saturating_add(length),
        }
    };
    firings
        .into_iter()
        .flatten()
        .map(span)
        .filter(move |span| span.to > now)
}

/// Whether something that takes `needs` may start at `now` (G2), given windows and freezes. Without windows any time is
/// right that is not frozen.
pub fn opening(windows: &[Window], freezes: &[Freeze], needs: Duration, now: i64) -> Opening {
    let needs = millis(needs);
    if windows.is_empty() {
        return without_windows(freezes, needs, now);
    }
    // What takes longer than a window is open never fits, however many of them one looks through.
    let long_enough = windows.iter().filter(|window| millis(window.duration) > needs);
    let spans = long_enough.flat_map(|window| {
        let parts = spans(window, now)
            .take(LOOKED_THROUGH)
            .flat_map(|span| without(span, freezes));
        // The first that fits, and that has not ended: others of this window are later.
        parts
            .map(|span| Span {
                to: span.to.saturating_sub(needs),
                ..span
            })
            .find(|span| span.to > span.from.max(now))
    });
    match spans.min_by_key(|span| (span.from.max(now), -span.to)) {
        Some(span) if span.from <= now => Opening::Open(Some(span.to)),
        Some(span) => Opening::Closed(Some(span.from)),
        None => Opening::Closed(None),
    }
}

/// The same windows in another zone.
pub fn in_zone(windows: &[Window], zone: &Zone) -> Vec<Window> {
    let there = |window: &Window| Window {
        zone: zone.clone(),
        ..window.clone()
    };
    windows.iter().map(there).collect()
}

/// Of zones together: open as long as any is, and opening with the first of them.
pub fn together(openings: impl IntoIterator<Item = Opening>) -> Opening {
    let merge = |one: Opening, other: Opening| match (one, other) {
        (Opening::Open(None), _) | (_, Opening::Open(None)) => Opening::Open(None),
        (Opening::Open(Some(a)), Opening::Open(Some(b))) => Opening::Open(Some(a.max(b))),
        (Opening::Open(until), Opening::Closed(_)) | (Opening::Closed(_), Opening::Open(until)) => {
            Opening::Open(until)
        }
        (Opening::Closed(a), Opening::Closed(b)) => Opening::Closed(a.into_iter().chain(b).min()),
    };
    openings
        .into_iter()
        .reduce(merge)
        .unwrap_or(Opening::Closed(None))
}

fn without_windows(freezes: &[Freeze], needs: i64, now: i64) -> Opening {
    // What would run into a freeze waits for its end, which may run into the next.
    let mut at = now;
    loop {
        let in_the_way =
            |freeze: &&Freeze| freeze.to > at && freeze.from < at.saturating_add(needs).max(at + 1);
        match freezes.iter().filter(in_the_way).map(|freeze| freeze.to).max() {
            Some(end) => at = end,
            None if at > now => return Opening::Closed(Some(at)),
            None => break,
        }
    }
    let next = freezes
        .iter()
        .filter(|freeze| freeze.from > now)
        .map(|freeze| freeze.from)
        .min();
    Opening::Open(next.map(|from| from.saturating_sub(needs)))
}

/// What is left of a span outside freezes, in order.
fn without(span: Span, freezes: &[Freeze]) -> Vec<Span> {
    let mut left = vec![span];
    for freeze in freezes {
        let cut = |span: Span| {
            let before = Span {
                to: span.to.min(freeze.from),
                ..span
            };
            let after = Span {
                from: span.from.max(freeze.to),
                ..span
            };
            [before, after].into_iter().filter(|span| span.to > span.from)
        };
        left = left.into_iter().flat_map(cut).collect();
    }
    left.sort_by_key(|span| span.from);
    left
}

/// The longest that what is left of a plan may take: 95 of 100 take no longer; with fewer than 20 samples it is the sum
/// of the deadlines (G2).
pub fn needs(samples: &mut [Duration], deadlines: Duration) -> Duration {
    if samples.len() < 20 {
        return deadlines;
    }
    percentile(samples, 95).min(deadlines)
}

/// The value that so many of 100 do not exceed; nothing without values.
pub fn percentile(values: &mut [Duration], percent: usize) -> Duration {
    if values.is_empty() {
        return Duration::ZERO;
    }
    let at = (values.len() * percent).div_ceil(100).clamp(1, values.len()) - 1;
    *values.select_nth_unstable(at).1
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: i64 = 3_600_000;

    fn window(cron: &str, hours: u64, zone: &str) -> Window {
        Window {
            cron: cron.into(),
            duration: Duration::from_secs(hours * 3600),
            zone: Zone::new(zone).expect("known"),
        }
    }

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().expect("valid").as_millisecond()
    }

    #[test]
    fn zones_open_one_after_the_other() {
        let windows = [window("0 1 * * *", 2, "UTC")];
        let of = |zone: &str, now: &str| {
            let zone = Zone::new(zone).expect("known");
            opening(&in_zone(&windows, &zone), &[], Duration::ZERO, at(now))
        };
        // One in the morning in Tokyo is four in the afternoon in London.
        let now = "2026-01-10T16:30:00Z";
        assert_eq!(
            of("Asia/Tokyo", now),
            Opening::Open(Some(at("2026-01-10T18:00:00Z")))
        );
        let london = of("Europe/London", now);
        assert_eq!(london, Opening::Closed(Some(at("2026-01-11T01:00:00Z"))));
        assert_eq!(together([of("Asia/Tokyo", now), london]), of("Asia/Tokyo", now));
        let later = "2026-01-10T20:00:00Z";
        let both = together([of("Asia/Tokyo", later), of("Europe/London", later)]);
        assert_eq!(both, of("Europe/London", later));
        assert_eq!(together([]), Opening::Closed(None));
    }

    fn told(millis: i64) -> String {
        Timestamp::from_millisecond(millis).expect("in range").to_string()
    }

    #[test]
    fn a_window_is_open_from_its_firing_on_in_its_own_zone() {
        let night = [window("0 1 * * *", 4, "Europe/Riga")];
        let opening = |now: &str| opening(&night, &[], Duration::from_secs(600), at(now));
        // One o'clock in Riga is 23:00 in UTC in winter; ten minutes are needed.
        assert_eq!(
            opening("2026-01-10T22:59:59Z"),
            Opening::Closed(Some(at("2026-01-10T23:00:00Z")))
        );
        assert_eq!(
            opening("2026-01-10T23:00:00Z"),
            Opening::Open(Some(at("2026-01-11T02:50:00Z")))
        );
        assert_eq!(
            opening("2026-01-11T02:49:59Z"),
            Opening::Open(Some(at("2026-01-11T02:50:00Z")))
        );
        assert_eq!(
            opening("2026-01-11T02:50:00Z"),
            Opening::Closed(Some(at("2026-01-11T23:00:00Z")))
        );
        // And 22:00 in summer.
        assert_eq!(
            opening("2026-07-10T21:00:00Z"),
            Opening::Closed(Some(at("2026-07-10T22:00:00Z")))
        );
    }

    #[test]
    fn a_time_that_daylight_saving_skips_runs_at_the_first_valid_instant() {
        // 03:30 does not exist in Riga on 2026-03-29; 04:00 there is 01:00 in UTC.
        let span = next_span(
            &window("30 3 * * *", 1, "Europe/Riga"),
            at("2026-03-29T00:00:00Z"),
        );
        assert_eq!(
            span.map(|span| told(span.from)),
            Some("2026-03-29T01:00:00Z".into())
        );
        // 03:30 comes twice on 2026-10-25, and fires once.
        let first = next_span(
            &window("30 3 * * *", 1, "Europe/Riga"),
            at("2026-10-25T00:00:00Z"),
        )
        .expect("a span");
        let second = next_span(&window("30 3 * * *", 1, "Europe/Riga"), first.to).expect("a span");
        assert_eq!(told(second.from), "2026-10-26T01:30:00Z");
    }

    #[test]
    fn what_does_not_fit_never_starts() {
        let short = [window("0 1 * * *", 1, "UTC")];
        let opening = opening(
            &short,
            &[],
            Duration::from_secs(2 * 3600),
            at("2026-01-10T01:00:00Z"),
        );
        assert_eq!(opening, Opening::Closed(None));
    }

    #[test]
    fn a_freeze_lies_on_top_of_windows() {
        let freeze = |from: &str, to: &str| Freeze {
            from: at(from),
            to: at(to),
            reason: String::new(),
        };
        let night = [window("0 1 * * *", 4, "UTC")];
        let holidays = [freeze("2026-12-24T02:00:00Z", "2026-12-26T00:00:00Z")];
        let opening = |now: &str| opening(&night, &holidays, Duration::ZERO, at(now));
        assert_eq!(
            opening("2026-12-24T01:30:00Z"),
            Opening::Open(Some(at("2026-12-24T02:00:00Z")))
        );
        assert_eq!(
            opening("2026-12-24T02:00:00Z"),
            Opening::Closed(Some(at("2026-12-26T01:00:00Z")))
        );
    }

    #[test]
    fn without_windows_only_freezes_count() {
        let freeze = |from, to| Freeze {
            from,
            to,
            reason: String::new(),
        };
        let freezes = [freeze(10 * HOUR, 20 * HOUR), freeze(19 * HOUR, 30 * HOUR)];
        let opening = |now: i64, needs: u64| opening(&[], &freezes, Duration::from_secs(needs * 3600), now);
        assert_eq!(super::opening(&[], &[], Duration::ZERO, 0), Opening::Open(None));
        assert_eq!(opening(0, 0), Opening::Open(Some(10 * HOUR)));
        assert_eq!(opening(0, 2), Opening::Open(Some(8 * HOUR)));
        assert_eq!(opening(9 * HOUR, 2), Opening::Closed(Some(30 * HOUR)));
        assert_eq!(opening(10 * HOUR, 0), Opening::Closed(Some(30 * HOUR)));
        assert_eq!(opening(30 * HOUR, 2), Opening::Open(None));
    }

    #[test]
    fn few_samples_say_nothing() {
        let deadlines = Duration::from_secs(300);
        let seconds = |count: u64| (1..=count).map(Duration::from_secs).collect::<Vec<_>>();
        assert_eq!(needs(&mut seconds(19), deadlines), deadlines);
        assert_eq!(needs(&mut seconds(100), deadlines), Duration::from_secs(95));
        assert_eq!(needs(&mut seconds(1000), deadlines), deadlines);
        assert_eq!(percentile(&mut [], 50), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn what_is_told_is_true(now in 0_i64..4_000_000_000_000, hours in 1_u64..30, needed in 0_u64..40) {
            let windows = [window("0 1 * * *", hours, "Europe/Riga"), window("30 12 * * MON", 2, "UTC")];
            let needs = Duration::from_secs(needed * 3600);
            match opening(&windows, &[], needs, now) {
                Opening::Open(until) => prop_assert!(until.is_some_and(|until| until > now)),
                Opening::Closed(Some(next)) => {
                    prop_assert!(next > now);
                    prop_assert!(matches!(opening(&windows, &[], needs, next), Opening::Open(_)));
                    prop_assert!(matches!(opening(&windows, &[], needs, next - 1), Opening::Closed(_)));
                }
                Opening::Closed(None) => prop_assert!(needed >= hours.max(2)),
            }
        }
    }
}
