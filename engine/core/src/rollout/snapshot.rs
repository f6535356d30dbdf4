//! Whether devices measure after their change what they did before (E1).

use std::collections::BTreeMap;

use muster_model::policy::Tolerance;

use super::advance::GateVerdict;

/// Facts that are numbers, by name.
pub type Numbers = BTreeMap<String, i64>;

/// What one device measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Its name.
    pub device: String,
    /// Before it was changed.
    pub before: Numbers,
    /// After that.
    pub after: Numbers,
}

/// Devices named in a sentence.
const NAMED: usize = 5;

/// Compares each device with itself. More than `max` out of tolerance fail; else a number that is missing is no answer.
pub fn judge(tolerances: &[Tolerance], max: u64, samples: &[Sample]) -> (GateVerdict, String) {
    let total = samples.len();
    let (mut out, mut missing) = (Vec::new(), Vec::new());
    for sample in samples {
        let Sample {
            device,
            before,
            after,
        } = sample;
        let mut differs = Vec::new();
        let mut lacks = Vec::new();
        for Tolerance { name, range } in tolerances {
            match before.get(name).zip(after.get(name)) {
                None => lacks.push(name.as_str()),
                Some((before, after)) if !range.holds(*before, *after) => {
                    differs.push(format!("{name} {before} → {after}, right is {range}"));
                }
                Some(_) => {}
            }
        }
        if !differs.is_empty() {
            out.push(format!("{device} ({})", differs.join("; ")));
        }
        if !lacks.is_empty() {
            missing.push(format!("{device} ({})", lacks.join(", ")));
        }
    }
    let (verdict, what, named) = match (out.len() as u64 > max, missing.is_empty()) {
        (true, _) => (
            GateVerdict::Fail,
            format!("{} of {total} devices differ", out.len()),
            &out,
        ),
        (false, false) => (
            GateVerdict::Inconclusive,
            format!("{} of {total} devices were not measured", missing.len()),
            &missing,
        ),
        (false, true) if total == 0 => return (GateVerdict::Inconclusive, "no device was measured".into()),
        (false, true) => (
            GateVerdict::Pass,
            format!("{} of {total} devices differ", out.len()),
            &out,
        ),
    };
    let more = if named.len() > NAMED { ", …" } else { "" };
    let names = named.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    let text = match names.is_empty() {
        true => what,
        false => format!("{what}: {names}{more}"),
    };
    (verdict, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(device: &str, before: &[(&str, i64)], after: &[(&str, i64)]) -> Sample {
        let numbers = |of: &[(&str, i64)]| {
            of.iter()
                .map(|(name, number)| ((*name).to_owned(), *number))
                .collect()
        };
        Sample {
            device: device.into(),
            before: numbers(before),
            after: numbers(after),
        }
    }

    #[test]
    fn a_device_is_compared_with_itself() {
        let tolerances = Tolerance::defaults();
        let good = sample(
            "a",
            &[("interfaces_up", 5), ("routes", 100)],
            &[("interfaces_up", 5), ("routes", 91)],
        );
        let bad = sample(
            "b",
            &[("interfaces_up", 5), ("routes", 100)],
            &[("interfaces_up", 4), ("routes", 100)],
        );
        let lacking = sample(
            "c",
            &[("interfaces_up", 5), ("routes", 100)],
            &[("interfaces_up", 5)],
        );
        let of = |max, samples: &[&Sample]| {
            judge(
                &tolerances,
                max,
                &samples.iter().map(|s| (*s).clone()).collect::<Vec<_>>(),
            )
        };
        assert_eq!(of(0, &[&good]).0, GateVerdict::Pass);
        let (verdict, why) = of(0, &[&good, &bad, &lacking]);
        assert_eq!(verdict, GateVerdict::Fail);
        assert_eq!(why, "1 of 3 devices differ: b (interfaces_up 5 → 4, right is -0)");
        assert_eq!(of(1, &[&good, &bad]).0, GateVerdict::Pass);
        let (verdict, why) = of(1, &[&good, &bad, &lacking]);
        assert_eq!(
            (verdict, why.as_str()),
            (
                GateVerdict::Inconclusive,
                "1 of 3 devices were not measured: c (routes)"
            )
        );
        assert_eq!(of(0, &[]).0, GateVerdict::Inconclusive, "nobody told anything");
    }
}
