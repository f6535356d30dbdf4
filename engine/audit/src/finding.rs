//! Findings over runs (L5): when one opens, closes and comes back.

use crate::judge::Verdict;

/// Where a finding is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It failed, but not as often as the audit wants.
    Pending,
    /// It is to be mended.
    Open,
    /// It does not fail any more.
    Closed,
}

/// A check on a device, as far as its past matters. Times are Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// Where it is.
    pub state: State,
    /// When it first failed.
    pub first_seen: i64,
    /// When it last failed.
    pub last_seen: i64,
    /// When it was closed, if it is.
    pub closed_at: Option<i64>,
    /// How often it failed again after it had not.
    pub flaps: u32,
    /// A bit for each of the last runs that judged it, the newest lowest; 1 for a failure.
    pub runs: u32,
}

/// What a run makes of it: `None` when nothing is to be noted. It opens after `k` failures among `n` runs.
///
/// ```
/// use muster_audit::{Verdict, finding::{State, next}};
/// let once = next(None, Verdict::Fail, 1, (2, 3)).unwrap();
/// assert_eq!(once.state, State::Pending);
/// let twice = next(Some(&once), Verdict::Fail, 2, (2, 3)).unwrap();
/// assert_eq!((twice.state, twice.first_seen), (State::Open, 1));
/// // A device that does not answer has not mended anything.
/// assert_eq!(next(Some(&twice), Verdict::Unreached, 3, (2, 3)), None);
/// assert_eq!(next(Some(&twice), Verdict::Pass, 3, (2, 3)).unwrap().state, State::Closed);
/// ```
pub fn next(past: Option<&Past>, verdict: Verdict, now: i64, (k, n): (u32, u32)) -> Option<Past> {
    let fails = match verdict {
        Verdict::Fail => true,
        Verdict::Pass | Verdict::NotApplicable => false,
        Verdict::Error | Verdict::Unreached => return None,
    };
    let runs = past.map_or(0, |past| past.runs) << 1 | u32::from(fails);
    match (past, fails) {
        (None, false) => None,
        (past, true) => {
            let among = u32::MAX >> (32 - n.clamp(1, 32));
            let enough = (runs & among).count_ones() >= k;
            let was = past.map(|past| past.state);
            Some(Past {
                state: match enough || was == Some(State::Open) {
                    true => State::Open,
                    false => State::Pending,
                },
                first_seen: past.map_or(now, |past| past.first_seen),
                last_seen: now,
                closed_at: None,
                flaps: past.map_or(0, |past| past.flaps) + u32::from(was == Some(State::Closed)),
                runs,
            })
        }
        // Closed, and nothing of the past can matter any more.
        (Some(past), false) if past.state == State::Closed && past.runs == 0 => None,
        (Some(past), false) => Some(Past {
            state: State::Closed,
            closed_at: past.closed_at.or(Some(now)),
            runs,
            ..*past
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(verdicts: &[Verdict], opens: (u32, u32)) -> Option<Past> {
        let mut past = None;
        for (at, verdict) in (1i64..).zip(verdicts) {
            past = next(past.as_ref(), *verdict, at, opens).or(past);
        }
        past
    }

    #[test]
    fn what_comes_and_goes_is_told_apart() {
        use Verdict::{Error, Fail, Pass};
        let past = after(&[Fail, Pass, Fail, Pass, Pass, Fail], (1, 1)).expect("failed");
        assert_eq!(
            (past.state, past.flaps, past.first_seen, past.last_seen),
            (State::Open, 2, 1, 6)
        );
        assert_eq!(after(&[Pass, Pass, Error], (1, 1)), None);
        // One failure in three is not enough; two are, with one that could not be told between.
        assert_eq!(
            after(&[Fail, Pass, Pass, Fail], (2, 3)).expect("failed").state,
            State::Pending
        );
        assert_eq!(
            after(&[Fail, Error, Pass, Fail], (2, 3)).expect("failed").state,
            State::Open
        );
        let closed = after(&[Fail, Pass], (1, 1)).expect("failed");
        assert_eq!((closed.state, closed.closed_at), (State::Closed, Some(2)));
    }
}
