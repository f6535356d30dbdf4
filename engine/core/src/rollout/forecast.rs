//! When a rollout will be done, from how long executions took before (F4). A model and not a promise: waves one after
//! the other, each as many executions at once as limits allow, bakes and timers in between.

use std::time::Duration;

use muster_model::policy::{GateKind, Policy};

use super::window::percentile;

/// What is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// Half of such rollouts take no longer.
    pub p50: Duration,
    /// 95 of 100 take no longer.
    pub p95: Duration,
    /// Executions it was computed from.
    pub samples: usize,
}

/// Resampled so often.
const RUNS: usize = 200;
/// Executions at once where nothing says otherwise: what one worker takes.
const AT_ONCE: u64 = 4000;

/// Computes it by drawing waves from past durations. Nothing without any. Time outside windows is not counted, nor is
/// waiting for people.
pub fn forecast(
    policy: &Policy,
    waves: &[u64],
    budget: Option<u64>,
    samples: &[Duration],
    seed: u64,
) -> Option<Forecast> {
    if samples.is_empty() {
        return None;
    }
    let mut random = seed;
    let mut totals = (0..RUNS)
        .map(|_| one(policy, waves, budget, samples, &mut random))
        .collect::<Vec<_>>();
    Some(Forecast {
        p50: percentile(&mut totals, 50),
        p95: percentile(&mut totals, 95),
        samples: samples.len(),
    })
}

fn one(
    policy: &Policy,
    waves: &[u64],
    budget: Option<u64>,
    samples: &[Duration],
    random: &mut u64,
) -> Duration {
    let mut total = Duration::ZERO;
    for (wave, devices) in policy
        .waves
        .iter()
        .zip(waves)
        .filter(|(_, devices)| **devices > 0)
    {
        let caps = [
            policy.limits.concurrency.map(u64::from),
            budget,
            wave.budget.of(*devices),
            Some(AT_ONCE),
        ];
        let at_once = caps
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(AT_ONCE)
            .clamp(1, *devices);
        // Each lane takes its share one after the other; the wave is as slow as its slowest lane.
        let each = devices.div_ceil(at_once);
        let lanes = (0..at_once.min(50)).map(|_| {
            let mut lane = Duration::ZERO;
            let drawn = each.min(200);
            for _ in 0..drawn {
                lane += draw(samples, random) + wave.soak;
            }
            // A long lane is drawn in part: its mean is well known by then.
            Duration::from_secs_f64(lane.as_secs_f64() * each as f64 / drawn as f64)
        });
        total += lanes.max().unwrap_or_default() + wave.bake;
        for gate in wave.gates.iter().filter(|gate| !gate.shadow) {
            if let GateKind::Timer(after) = gate.kind {
                total += after;
            }
        }
    }
    total
}

fn draw(samples: &[Duration], random: &mut u64) -> Duration {
    *random = super::assign::hash(*random, 1);
    samples[(*random % samples.len() as u64) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_model::policy::{Amount, Size, Wave};

    fn policy(bake: u64, concurrency: u32) -> Policy {
        let mut policy = Policy {
            waves: vec![Wave::new(Size::Count(10)), Wave::new(Size::Rest)],
            ..Policy::default()
        };
        policy.waves[0].bake = Duration::from_secs(bake);
        policy.limits.concurrency = Some(concurrency);
        policy.limits.budget = Amount::All;
        policy
    }

    #[test]
    fn equal_durations_give_an_exact_answer() {
        let samples = [Duration::from_secs(2); 30];
        let forecast = forecast(&policy(60, 10), &[10, 95], None, &samples, 1).expect("samples");
        // One round of 2 s, a minute, ten rounds of 2 s.
        assert_eq!(forecast.p50, Duration::from_secs(82));
        assert_eq!(forecast.p50, forecast.p95);
        assert_eq!(super::forecast(&policy(0, 1), &[1], None, &[], 1), None);
    }

    #[test]
    fn a_budget_below_the_concurrency_is_what_paces() {
        let samples = [Duration::from_secs(1); 30];
        let forecast = forecast(&policy(0, 100), &[10, 90], Some(10), &samples, 1).expect("samples");
        assert_eq!(forecast.p50, Duration::from_secs(10));
    }

    #[test]
    fn slow_devices_move_the_tail() {
        let mut samples = vec![Duration::from_secs(1); 95];
        samples.extend([Duration::from_secs(60); 5]);
        let forecast = forecast(&policy(0, 10), &[10, 0], None, &samples, 1).expect("samples");
        assert!(forecast.p50 < forecast.p95, "{forecast:?}");
    }
}
