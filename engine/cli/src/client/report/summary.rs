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
    /// How long devices were away for restarts, seconds, by name.
    pub(crate) away: Vec<(String, u64)>,
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
            away: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, result: &v1::ExecutionResult) {
        let state = state_name(result.state());
        *self.states.entry(state.clone()).or_default() += 1;
        self.devices.push((result.device.clone(), state, seconds(result)));
        let good = is_good(result.state());
        self.away
            .extend(away(result).map(|seconds| (result.device.clone(), seconds)));
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

/// How long a device was away for restarts, seconds, as far as it was told; nothing for one that was not restarted.
pub(super) fn away(result: &v1::ExecutionResult) -> Option<u64> {
    let rows = result.steps.iter().flat_map(|step| &step.rows);
    let restarts = rows.filter(|row| {
        let told = |value: &&v1::Attribute| value.name == "op";
        let op = row.attributes.iter().find(told);
        op.is_some_and(|op| RESTARTS.iter().any(|known| op.value == *known))
    });
    let seconds = restarts.filter_map(|row| {
        let away = row.attributes.iter().find(|value| value.name == "away")?;
        away.value.strip_suffix('s')?.parse::<u64>().ok()
    });
    seconds.reduce(|all, one| all + one)
}

/// Rows of steps that restart a router.
const RESTARTS: [&str; 3] = ["reboot", "firmware", "routerboot"];

/// Minutes that devices of a site were away.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Away {
    /// The site; empty for devices without one.
    pub(super) site: String,
    /// How many.
    pub(super) devices: u64,
    /// All of them together, seconds.
    pub(super) seconds: u64,
    /// The longest, seconds.
    pub(super) longest: u64,
}

/// By site, those that were away longest first. `sites` has the sites of devices by name.
pub(super) fn by_site(away: &[(String, u64)], sites: &BTreeMap<String, String>) -> Vec<Away> {
    let mut all = BTreeMap::<&str, Away>::new();
    for (device, seconds) in away {
        let site = sites.get(device).map(String::as_str).unwrap_or_default();
        let away = all.entry(site).or_default();
        away.site = site.to_owned();
        away.devices += 1;
        away.seconds += seconds;
        away.longest = away.longest.max(*seconds);
    }
    let mut all = all.into_values().collect::<Vec<_>>();
    all.sort_by_key(|away| std::cmp::Reverse(away.seconds));
    all
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
    fn time_away_is_summed_up_by_site() {
        let restarted = |device: &str, away: &[&str]| {
            let mut result = result(device, Succeeded, 0, 1000);
            let attribute = |name: &str, value: &str| v1::Attribute {
                name: name.to_owned(),
                value: value.to_owned(),
                ..Default::default()
            };
            let row = |away: &&str| v1::Row {
                attributes: vec![attribute("op", "reboot"), attribute("away", away)],
                ..Default::default()
            };
            result.steps = vec![v1::StepResult {
                rows: away.iter().map(row).collect(),
                ..Default::default()
            }];
            result
        };
        let mut summary = Summary::new(&v1::Job::default());
        summary.add(&restarted("a", &["30s"]));
        summary.add(&restarted("b", &["60s", "20s"]));
        summary.add(&restarted("c", &["10s"]));
        summary.add(&restarted("d", &[]));
        let sites = [("a", "ams"), ("b", "ams")].map(|(device, site)| (device.to_owned(), site.to_owned()));
        let away = by_site(&summary.away, &sites.into());
        let told = away
            .iter()
            .map(|away| (away.site.as_str(), away.devices, away.seconds, away.longest));
        assert_eq!(told.collect::<Vec<_>>(), [("ams", 2, 110, 80), ("", 1, 10, 10)]);
    }

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
