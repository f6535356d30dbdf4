//! Processor time of this thread, and medians of it.
//!
//! On a machine that is shared, wall-clock time of the same code varies by its own size; processor time repeats
//! within a few percent, as long as neighbours leave the caches alone. It leaves out waiting, so it is for code that
//! does not wait.

use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Processor time that this thread has used.
pub fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // The clock starts at zero with the thread and only grows.
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// Processor time that all threads of this process have used.
pub fn process_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// Something to be timed. Returns a number that depends on all of its work.
pub type Pass<'a> = Box<dyn FnMut() -> u64 + 'a>;

/// The shortest stretch that is timed at once: far above the clock's own cost.
const STRETCH: Duration = Duration::from_millis(5);

/// Nanoseconds a pass takes, the median of `rounds`, for each of `passes`.
///
/// The passes take turns, so that whatever disturbs the machine disturbs them alike.
pub fn medians<const N: usize>(passes: [Pass<'_>; N], rounds: usize) -> [f64; N] {
    let times = all_medians(passes.into(), rounds);
    std::array::from_fn(|index| times[index])
}

/// The same for as many passes as there are.
pub fn all_medians(mut passes: Vec<Pass<'_>>, rounds: usize) -> Vec<f64> {
    let repeats = passes.iter_mut().map(|pass| {
        // The first pass warms caches and buffers; only the second is counted on.
        black_box(pass());
        let one = time(pass, 1).max(1.0);
        (STRETCH.as_nanos() as f64 / one).ceil().max(1.0) as u32
    });
    let repeats = repeats.collect::<Vec<_>>();
    let mut times = vec![Vec::with_capacity(rounds); passes.len()];
    for _ in 0..rounds.max(1) {
        for ((pass, repeats), times) in passes.iter_mut().zip(&repeats).zip(&mut times) {
            times.push(time(pass, *repeats));
        }
    }
    times.iter_mut().map(|times| median(times)).collect()
}

fn time(pass: &mut Pass<'_>, repeats: u32) -> f64 {
    let began = thread_time();
    for _ in 0..repeats {
        black_box(pass());
    }
    (thread_time() - began).as_nanos() as f64 / f64::from(repeats)
}

/// The one that this share of the values does not exceed; 0 of none.
pub fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 * share).ceil() as usize;
    values.get(at.saturating_sub(1)).copied().unwrap_or_default()
}

/// The middle one; 0 of none.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_work_takes_more_time() {
        let work = |steps: u64| -> Pass<'static> {
            Box::new(move || (0..steps).fold(1, |a, b| black_box(a ^ b).rotate_left(3)))
        };
        let [little, much] = medians([work(1_000), work(50_000)], 5);
        assert!(little > 0.0 && much > little, "{little} {much}");
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let mut values = (1..=200).map(f64::from).collect::<Vec<_>>();
        assert_eq!(percentile(&mut values, 0.99), 198.0);
        assert_eq!(percentile(&mut [7.0], 0.99), 7.0);
        assert_eq!(percentile(&mut [], 0.99), 0.0);
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut []), 0.0);
    }
}
