//! The life of a job (fleet-semantics A2).

use muster_model::{ExecutionState, JobState};

/// How many executions are in each state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(Vec<(ExecutionState, u64)>);

impl Counts {
    /// From pairs; pairs of the same state add up.
    pub fn new(pairs: impl IntoIterator<Item = (ExecutionState, u64)>) -> Self {
        let mut counts = Self::default();
        for (state, count) in pairs {
            match counts.0.iter_mut().find(|(s, _)| *s == state) {
                Some((_, sum)) => *sum += count,
                None => counts.0.push((state, count)),
            }
        }
        counts.0.retain(|(_, count)| *count > 0);
        counts.0.sort();
        counts
    }

    /// The states that have any, in the order of a life.
    pub fn iter(&self) -> impl Iterator<Item = (ExecutionState, u64)> {
        self.0.iter().copied()
    }

    /// How many are in states that `wanted` names.
    pub fn sum(&self, wanted: impl Fn(ExecutionState) -> bool) -> u64 {
        self.iter()
            .filter(|(state, _)| wanted(*state))
            .map(|(_, count)| count)
            .sum()
    }
}

/// The state a job goes to, given its executions; the same state when nothing changes. What a rule has stopped ends by
/// a person's word only: somebody has to have seen it.
pub fn settle(state: JobState, counts: &Counts) -> JobState {
    let live = counts.sum(|state| !state.is_terminal());
    match state {
        JobState::Running | JobState::Paused | JobState::Gated | JobState::WaitingWindow if live == 0 => {
            match counts.sum(|state| !state.is_good()) {
                0 => JobState::Completed,
                _ => JobState::CompletedWithFailures,
            }
        }
        JobState::Aborting if live == 0 => JobState::Aborted,
        // It never began: nobody approved of it in time.
        JobState::AwaitingApproval | JobState::Scheduled if live == 0 => JobState::Expired,
        state => state,
    }
}

/// The state a job goes to when somebody ends it early; `None` when it is over already.
pub fn abort(state: JobState) -> Option<JobState> {
    (!state.is_terminal()).then_some(JobState::Aborting)
}

/// The state a job that goes on by itself goes to when somebody pauses it (A6); `None` for any other.
pub fn pause(state: JobState) -> Option<JobState> {
    matches!(
        state,
        JobState::Running | JobState::Gated | JobState::WaitingWindow
    )
    .then_some(JobState::Paused)
}

/// The state a job goes to when a rule stops it (C2, C3); `None` when it is stopped, ending or over already. A rule that
/// trips while a person has the job paused halts it all the same, or resuming it would pass the rule by.
pub fn halt(state: JobState) -> Option<JobState> {
    use JobState::{Gated, Halted, Paused, Running, WaitingWindow};
    matches!(state, Running | Paused | Gated | WaitingWindow).then_some(Halted)
}

/// The state a stopped job goes to when somebody resumes it; `None` when neither a person nor a rule has stopped it.
pub fn resume(state: JobState) -> Option<JobState> {
    matches!(state, JobState::Paused | JobState::Halted).then_some(JobState::Running)
}

/// Whether a job in this state has never handed anything out.
pub fn has_not_begun(state: JobState) -> bool {
    matches!(
        state,
        JobState::Draft | JobState::AwaitingApproval | JobState::Scheduled
    )
}

/// Whether a job in this state admits nothing new, though it is not over and not ending: the state, for telling why.
pub fn held(state: JobState) -> Option<JobState> {
    use JobState::{Aborting, Reverting, Running};
    (!state.is_terminal() && !matches!(state, Running | Aborting | Reverting)).then_some(state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ExecutionState::{Expired, Leased, Succeeded, Unchanged};

    #[test]
    fn a_job_ends_with_its_last_execution() {
        let counts = |pairs: &[(ExecutionState, u64)]| Counts::new(pairs.iter().copied());
        let running = JobState::Running;
        assert_eq!(settle(running, &counts(&[(Succeeded, 3), (Leased, 1)])), running);
        assert_eq!(
            settle(running, &counts(&[(Succeeded, 3), (Unchanged, 1)])),
            JobState::Completed
        );
        assert_eq!(
            settle(running, &counts(&[(Succeeded, 3), (Expired, 1)])),
            JobState::CompletedWithFailures
        );
        assert_eq!(
            settle(JobState::Aborting, &counts(&[(Expired, 1)])),
            JobState::Aborted
        );
        assert_eq!(settle(JobState::Completed, &counts(&[])), JobState::Completed);
        assert_eq!(
            settle(JobState::Draft, &counts(&[])),
            JobState::Draft,
            "it is being laid out"
        );
        assert_eq!(
            settle(JobState::Paused, &counts(&[(Succeeded, 1)])),
            JobState::Completed,
            "what was in flight was the rest"
        );
        let halted = JobState::Halted;
        assert_eq!(
            settle(halted, &counts(&[(Expired, 1)])),
            halted,
            "somebody has to see it"
        );
    }

    #[test]
    fn only_what_runs_is_paused_and_only_what_is_stopped_is_resumed() {
        for &state in JobState::ALL {
            let goes_on = matches!(
                state,
                JobState::Running | JobState::Gated | JobState::WaitingWindow
            );
            assert_eq!(pause(state).is_some(), goes_on);
            let stopped = matches!(state, JobState::Paused | JobState::Halted);
            assert_eq!(resume(state).is_some(), stopped);
            assert!(!stopped || held(state) == Some(state));
            assert!(halt(state).is_none() || !state.is_terminal());
        }
        assert_eq!(halt(JobState::Paused), Some(JobState::Halted));
        assert_eq!((halt(JobState::Halted), halt(JobState::Aborting)), (None, None));
        assert_eq!((held(JobState::Running), held(JobState::Aborting)), (None, None));
    }

    #[test]
    fn a_finished_job_cannot_be_aborted() {
        assert_eq!(abort(JobState::Completed), None);
        assert_eq!(abort(JobState::Aborting), Some(JobState::Aborting));
    }
}
