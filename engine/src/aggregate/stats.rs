//! Statistics of numbers that can be added up in any order and in parts.
//!
//! Up to [`EXACT`] different values are counted as they are, so that percentiles of loads, lengths and counts are exact. From
//! there on values share buckets whose bounds grow by a factor, as in DDSketch (Masson, Rim and Lee, 2019): what is told for
//! one is at most [`ERROR`] of it away from the value. Either form depends on what was added, and not on the order.

use std::collections::{BTreeMap, HashMap};

/// Different values that are kept as they are.
const EXACT: usize = 1024;
/// How far a percentile may be from the value, as a share of it.
const ERROR: f64 = 0.005;
/// Parts of a histogram.
pub(crate) const PARTS: usize = 20;

/// Numbers of one kind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Numbers {
    pub(crate) count: u64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) sum: f64,
    values: Values,
}

#[derive(Clone, Debug, PartialEq)]
enum Values {
    /// By their bits.
    Exact(HashMap<u64, u64>),
    Sketch(Buckets),
}

/// Numbers by the logarithm of how large they are.
#[derive(Clone, Debug, Default, PartialEq)]
struct Buckets {
    negative: BTreeMap<i32, u64>,
    zero: u64,
    positive: BTreeMap<i32, u64>,
}

/// Between the bounds of a bucket.
fn factor() -> f64 {
    (1.0 + ERROR) / (1.0 - ERROR)
}

impl Buckets {
    fn add(&mut self, number: f64, times: u64) {
        let bucket = |size: f64| (size.ln() / factor().ln()).ceil() as i32;
        // Sizes below have no logarithm of use.
        if number.abs() < 1e-12 {
            self.zero += times;
        } else if number > 0.0 {
            *self.positive.entry(bucket(number)).or_default() += times;
        } else {
            *self.negative.entry(bucket(-number)).or_default() += times;
        }
    }

    fn merge(&mut self, other: &Self) {
        self.zero += other.zero;
        for (into, from) in [
            (&mut self.negative, &other.negative),
            (&mut self.positive, &other.positive),
        ] {
            for (bucket, count) in from {
                *into.entry(*bucket).or_default() += count;
            }
        }
    }

    /// Values in rising order, each with how many there are.
    fn in_order(&self) -> impl Iterator<Item = (f64, u64)> {
        // The middle of a bucket, as far from its bounds by the same share.
        let value = |bucket: i32| 2.0 * factor().powi(bucket) / (factor() + 1.0);
        let negative = self.negative.iter().rev();
        negative
            .map(move |(bucket, count)| (-value(*bucket), *count))
            .chain((self.zero > 0).then_some((0.0, self.zero)))
            .chain(
                self.positive
                    .iter()
                    .map(move |(bucket, count)| (value(*bucket), *count)),
            )
    }
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            count: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            sum: 0.0,
            values: Values::Exact(HashMap::new()),
        }
    }
}

impl Numbers {
    pub(crate) fn add(&mut self, number: f64) {
        // Minus nothing is nothing.
        let number = number + 0.0;
        self.count += 1;
        self.sum += number;
        self.min = self.min.min(number);
        self.max = self.max.max(number);
        self.add_value(number, 1);
    }

    fn add_value(&mut self, number: f64, times: u64) {
        match &mut self.values {
            Values::Exact(values) => {
                *values.entry(number.to_bits()).or_default() += times;
                if values.len() > EXACT {
                    self.values = Values::Sketch(sketch(values));
                }
            }
            Values::Sketch(buckets) => buckets.add(number, times),
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        match (&mut self.values, &other.values) {
            (_, Values::Exact(values)) => {
                for (bits, times) in values {
                    self.add_value(f64::from_bits(*bits), *times);
                }
            }
            (Values::Exact(values), Values::Sketch(other)) => {
                let mut buckets = sketch(values);
                buckets.merge(other);
                self.values = Values::Sketch(buckets);
            }
            (Values::Sketch(buckets), Values::Sketch(other)) => buckets.merge(other),
        }
    }

    pub(crate) fn mean(&self) -> f64 {
        self.sum / self.count.max(1) as f64
    }

    /// The smallest value that so many of 100 do not exceed.
    pub(crate) fn percentiles<const N: usize>(&self, percents: [u64; N]) -> [f64; N] {
        let values = self.in_order();
        percents.map(|percent| {
            let rank = (self.count * percent).div_ceil(100).max(1);
            let mut below = 0;
            let found = values.iter().find(|(_, count)| {
                below += count;
                below >= rank
            });
            // The outermost are known as they are.
            found.map_or(self.max, |(value, _)| value.clamp(self.min, self.max))
        })
    }

    /// How many are in each of the equal parts from the smallest to the largest; nothing when all are the same.
    pub(crate) fn histogram(&self) -> Vec<u64> {
        let width = (self.max - self.min) / PARTS as f64;
        // Not a comparison with zero: without values it is no number.
        if !(width > 0.0 && width.is_finite()) {
            return Vec::new();
        }
        let mut parts = vec![0; PARTS];
        for (value, count) in self.in_order() {
            let part = (value.clamp(self.min, self.max) - self.min) / width;
            parts[(part as usize).min(PARTS - 1)] += count;
        }
        parts
    }

    fn in_order(&self) -> Vec<(f64, u64)> {
        match &self.values {
            Values::Exact(values) => {
                let mut values = values
                    .iter()
                    .map(|(bits, count)| (f64::from_bits(*bits), *count))
                    .collect::<Vec<_>>();
                values.sort_by(|(a, _), (b, _)| a.total_cmp(b));
                values
            }
            Values::Sketch(buckets) => buckets.in_order().collect(),
        }
    }
}

fn sketch(values: &HashMap<u64, u64>) -> Buckets {
    let mut buckets = Buckets::default();
    for (bits, times) in values {
        buckets.add(f64::from_bits(*bits), *times);
    }
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(values: impl IntoIterator<Item = f64>) -> Numbers {
        let mut numbers = Numbers::default();
        values.into_iter().for_each(|value| numbers.add(value));
        numbers
    }

    #[test]
    fn few_values_have_exact_percentiles() {
        let loads = numbers((0..100_000).map(|at| f64::from(at % 101)));
        assert_eq!((loads.min, loads.max, loads.count), (0.0, 100.0, 100_000));
        assert_eq!(loads.percentiles([50, 90, 99]), [50.0, 90.0, 99.0]);
        assert_eq!(loads.histogram().iter().sum::<u64>(), 100_000);
        let one = numbers([7.0, 7.0]);
        assert_eq!(one.percentiles([50]), [7.0]);
        assert!(one.histogram().is_empty());
        assert!(Numbers::default().histogram().is_empty());
    }

    #[test]
    fn many_values_are_near_and_added_up_in_any_order() {
        let value = |at: u32| f64::from(at) * 1.5 - 30_000.0;
        let all = numbers((0..100_000).map(value));
        let mut parts = numbers((0..100_000).filter(|at| at % 3 == 0).map(value));
        parts.merge(&numbers((0..100_000).filter(|at| at % 3 == 1).map(value)));
        parts.merge(&numbers((0..100_000).filter(|at| at % 3 == 2).map(value)));
        assert_eq!(parts.values, all.values);
        for (percent, found) in [1, 10, 50, 90, 99]
            .into_iter()
            .zip(all.percentiles([1, 10, 50, 90, 99]))
        {
            let exact = value(1000 * percent - 1);
            assert!(
                (found - exact).abs() <= exact.abs() * (ERROR + 1e-9),
                "{percent} %: {found}, not {exact}"
            );
        }
        assert_eq!(all.histogram().iter().sum::<u64>(), 100_000);
    }

    #[test]
    fn a_few_added_to_many_are_as_many() {
        let many = numbers((0..5000).map(f64::from));
        let mut few = numbers([1.0, 2.0]);
        few.merge(&many);
        let mut other = many.clone();
        other.merge(&numbers([1.0, 2.0]));
        assert_eq!((few.count, few.values), (5002, other.values));
    }
}
