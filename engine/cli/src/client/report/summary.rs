//! What is kept of the results of a job while they go by: counts, times, and those that are not well.

use std::collections::BTreeMap;

use muster_proto::v1;

use super::super::result::{is_good, state_name};

/// Results that are not well and are kept in full; beyond it they are only counted.
const KEPT: usize = 10_000;

/// A job's results, summed up.
pub(crate) struct Summary {
    /// The job's name.
    pub(crate) name: String,
    /// Executions by state.
    pub(crate) states: BTreeMap<String, u64>,
    /// Of each device: its name, its state, and how long it took.
    pub(crate) devices: Vec<(String, String, Option<f64>)>,
    /// Those that are not well.
    pub(crate) bad: Vec<v1::ExecutionResult>,
    /// When executions ended, Unix seconds, and whether well.
    pub(crate) ends: Vec<(f64, bool)>,
}

impl Summary {
    pub(crate) fn new(job: &v1::Job) -> Self {
        Self {
            name: job
                .spec
                .as_ref()
                .map(|spec| spec.name.clone())
                .unwrap_or_default(),
            states: BTreeMap::new(),
            devices: Vec::new(),
            bad: Vec::new(),
            ends: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, result: &v1::ExecutionResult) {
        let state = state_name(result.state());
        *self.states.entry(state.clone()).or_default() += 1;
        self.devices.push((result.device.clone(), state, seconds(result)));
        let good = is_good(result.state());
        if let Some(at) = result.finished_at.as_ref().map(unix) {
            self.ends.push((at, good));
        }
        if !good && self.bad.len() < KEPT {
            let mut kept = result.clone();
            kept.steps.clear();
            self.bad.push(kept);
        }
    }

    /// The time that so many of a hundred executions did not exceed, seconds.
    pub(crate) fn percentile(&self, percent: usize) -> Option<f64> {
        let mut times = self
            .devices
            .iter()
            .filter_map(|(.., seconds)| *seconds)
            .collect::<Vec<_>>();
        times.sort_by(f64::total_cmp);
        let at = (times.len() * percent).div_ceil(100).checked_sub(1)?;
        times.get(at).copied()
    }
}

/// How long the last attempt took.
pub(super) fn seconds(result: &v1::ExecutionResult) -> Option<f64> {
    let (from, to) = (result.started_at.as_ref()?, result.finished_at.as_ref()?);
    Some((unix(to) - unix(from)).max(0.0))
}

/// Seconds since the Unix epoch.
pub(super) fn unix(time: &prost_types::Timestamp) -> f64 {
    time.seconds as f64 + f64::from(time.nanos) / 1e9
}

#[cfg(test)]
mod tests {
    use super::super::result;
    use super::*;
    use v1::ExecutionState::{Failed, Succeeded};

    #[test]
    fn results_are_summed_up() {
        let mut summary = Summary::new(&v1::Job::default());
        for seconds in 1..=100 {
            summary.add(&result("r", Succeeded, 0, seconds * 1000));
        }
        summary.add(&result("bad", Failed, 0, 1000));
        assert_eq!(
            (summary.percentile(50), summary.percentile(95)),
            (Some(50.0), Some(95.0))
        );
        assert_eq!(
            (summary.states["succeeded"], summary.bad.len(), summary.ends.len()),
            (100, 1, 101)
        );
    }
}
