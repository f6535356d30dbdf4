//! Devices that were changed beside those of their kind that were not yet, at the same time (E2).

use std::collections::BTreeMap;

use muster_model::policy::Tolerance;

use super::advance::GateVerdict;
use super::snapshot::Numbers;

/// So many of each kind, changed and not, say something.
pub const LEAST: usize = 3;
/// Kinds named in a sentence.
const NAMED: usize = 5;

/// A device that may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub device: String,
    /// What it has in common with others of its kind, for people.
    pub stratum: String,
    /// Whether it was changed.
    pub changed: bool,
}

/// What a device measured.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The device.
    pub of: Candidate,
    /// Numbers by name; those that are missing it did not say.
    pub numbers: Numbers,
}

/// Of kinds that have enough devices on both sides, about so many of each side, in their order and spread over the kinds.
pub fn pick(candidates: Vec<Candidate>, sample: u32) -> Vec<Candidate> {
    let mut kinds = BTreeMap::<String, [Vec<Candidate>; 2]>::new();
    for candidate in candidates {
        let sides = kinds.entry(candidate.stratum.clone()).or_default();
        sides[usize::from(candidate.changed)].push(candidate);
    }
    kinds.retain(|_, sides| sides.iter().all(|side| side.len() >= LEAST));
    let each = (sample as usize).div_ceil(kinds.len().max(1)).max(LEAST);
    let sides = kinds.into_values().flatten();
    sides.flat_map(|side| side.into_iter().take(each)).collect()
}

/// Compares, kind by kind, the middle of those that were changed with the middle of those that were not.
pub fn judge(tolerances: &[Tolerance], readings: &[Reading]) -> (GateVerdict, String) {
    let mut kinds = BTreeMap::<&str, Vec<&Reading>>::new();
    for reading in readings {
        kinds.entry(&reading.of.stratum).or_default().push(reading);
    }
    let (mut compared, mut differs, mut lacking) = (0, Vec::new(), Vec::new());
    for (kind, readings) in kinds {
        let mut told = Vec::new();
        let mut lacks = Vec::new();
        for Tolerance { name, range } in tolerances {
            let middle = |changed: bool| {
                let side = readings.iter().filter(|reading| reading.of.changed == changed);
                let mut numbers = side
                    .filter_map(|reading| reading.numbers.get(name).copied())
                    .collect::<Vec<_>>();
                numbers.sort_unstable();
                (numbers.len() >= LEAST).then(|| numbers[numbers.len() / 2])
            };
            match (middle(false), middle(true)) {
                (Some(control), Some(changed)) if !range.holds(control, changed) => {
                    told.push(format!(
                        "{name} {changed} where others have {control}, right is {range}"
                    ));
                }
                (Some(_), Some(_)) => {}
                _ => lacks.push(name.as_str()),
            }
        }
        if !told.is_empty() {
            differs.push(format!("{kind} ({})", told.join("; ")));
        }
        match lacks.is_empty() {
            true => compared += 1,
            false => lacking.push(format!("{kind} ({})", lacks.join(", "))),
        }
    }
    let named = |all: &[String]| {
        let more = if all.len() > NAMED { ", …" } else { "" };
        format!(
            "{}{more}",
            all.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ")
        )
    };
    match (differs.is_empty(), lacking.is_empty(), compared) {
        (false, ..) => (
            GateVerdict::Fail,
            format!("of {} kinds differ: {}", differs.len(), named(&differs)),
        ),
        (true, false, _) => (
            GateVerdict::Inconclusive,
            format!("fewer than {LEAST} on a side said it: {}", named(&lacking)),
        ),
        (true, true, 0) => (
            GateVerdict::Inconclusive,
            format!("no kind of device has {LEAST} that were changed and {LEAST} that were not"),
        ),
        (true, true, kinds) => (
            GateVerdict::Pass,
            format!("{kinds} kinds of device are as those of them that were not changed"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(number: usize, stratum: &str, changed: bool) -> Candidate {
        Candidate {
            device: format!("{stratum}-{changed}-{number}"),
            stratum: stratum.into(),
            changed,
        }
    }

    fn readings(stratum: &str, changed: bool, loads: &[i64]) -> Vec<Reading> {
        let reading = |(number, load): (usize, &i64)| Reading {
            of: candidate(number, stratum, changed),
            numbers: [("cpu_load".to_owned(), *load)].into(),
        };
        loads.iter().enumerate().map(reading).collect()
    }

    fn told(readings: &[Vec<Reading>]) -> (GateVerdict, String) {
        let tolerance = Tolerance::new("cpu_load", "+20").expect("valid");
        judge(&[tolerance], &readings.concat())
    }

    #[test]
    fn kinds_are_compared_with_their_own() {
        let control = readings("hAP", false, &[10, 12, 90]);
        // One that is busy is no reason, and what every one of its kind has is none.
        let (verdict, why) = told(&[control.clone(), readings("hAP", true, &[11, 30, 95])]);
        assert_eq!(verdict, GateVerdict::Pass, "{why}");
        let (verdict, why) = told(&[control.clone(), readings("hAP", true, &[40, 50, 60])]);
        assert_eq!(verdict, GateVerdict::Fail);
        assert_eq!(
            why,
            "of 1 kinds differ: hAP (cpu_load 50 where others have 12, right is +20)"
        );
        // Another kind is no measure.
        let other = readings("CCR", true, &[40, 50, 60]);
        let (verdict, why) = told(&[control.clone(), other]);
        assert_eq!(verdict, GateVerdict::Inconclusive, "{why}");
        let (verdict, _) = told(&[control, readings("hAP", true, &[10, 10])]);
        assert_eq!(verdict, GateVerdict::Inconclusive, "two say nothing");
        assert_eq!(told(&[]).0, GateVerdict::Inconclusive);
    }

    #[test]
    fn only_kinds_with_enough_on_both_sides_are_asked() {
        let mut all = Vec::new();
        for number in 0..10 {
            all.extend([candidate(number, "a", true), candidate(number, "a", false)]);
            all.extend([candidate(number, "b", true), candidate(number, "c", false)]);
        }
        let picked = pick(all.clone(), 4);
        assert_eq!(picked.len(), 8, "{picked:?}");
        assert!(picked.iter().all(|candidate| candidate.stratum == "a"));
        assert_eq!(picked.iter().filter(|candidate| candidate.changed).count(), 4);
        all.retain(|candidate| candidate.changed);
        assert!(pick(all, 4).is_empty());
    }
}
