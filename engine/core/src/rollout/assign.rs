//! Which device goes in which wave (B1, B2, D4).
//!
//! The order is by a hash of the job's seed and the device's number: repeatable, and different for each job, so that
//! not always the same devices go first.

use std::collections::BTreeMap;

use muster_model::Device;
use muster_model::policy::{Size, Strata, Stratum, Wave};
use muster_model::selector::Facts;

use super::order::Parents;

/// A device of the selection.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its number in the inventory.
    pub id: u64,
    /// As the operator gave it.
    pub device: &'a Device,
    /// Its RouterOS version, as it last said.
    pub version: Option<&'a str>,
    /// Its board, as it last said.
    pub board: Option<&'a str>,
    /// Its processor's architecture, as it last said.
    pub architecture: Option<&'a str>,
}

/// Which device goes where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// For each candidate, in their order: its wave, from 0.
    pub waves: Vec<u32>,
    /// Candidates in the order in which they go, by their place among the candidates.
    pub order: Vec<usize>,
    /// Kinds of device of which too few are in the wave that wants some of each.
    pub uncovered: Vec<Uncovered>,
}

/// A kind of device that a stratified wave does not cover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncovered {
    /// The wave, from 0.
    pub wave: u32,
    /// What makes the kind: `board=hAP ax2, version=7.16, site=ams`.
    pub stratum: String,
    /// How many of it are in the wave or before.
    pub has: u64,
    /// How many are wanted.
    pub wants: u64,
}

/// Puts each candidate in a wave. Waves are to be right: see [`muster_model::policy::waves_are_wrong`].
pub fn assign(waves: &[Wave], candidates: &[Candidate<'_>], seed: u64, parents: &Parents) -> Assignment {
    let mut order = (0..candidates.len()).collect::<Vec<_>>();
    order.sort_by_cached_key(|at| (hash(seed, candidates[*at].id), candidates[*at].id));
    let mut laying = Laying {
        candidates,
        free: order.clone(),
        wave_of: vec![0; candidates.len()],
        assigned: 0,
    };
    let mut uncovered = Vec::new();
    for (number, wave) in (0..).zip(waves) {
        laying.fill(number, wave);
        if let Some(strata) = &wave.strata {
            uncovered.extend(laying.uncovered(number, strata));
        }
    }
    parents.put_after_their_children(&mut laying.wave_of);
    Assignment {
        waves: laying.wave_of,
        order,
        uncovered,
    }
}

/// Where a device stands in the order of a job (splitmix64).
pub fn hash(seed: u64, id: u64) -> u64 {
    let mut x = seed ^ id.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

struct Laying<'a> {
    candidates: &'a [Candidate<'a>],
    /// Places of candidates that no wave has yet, in their order.
    free: Vec<usize>,
    wave_of: Vec<u32>,
    assigned: u64,
}

impl Laying<'_> {
    fn fill(&mut self, number: u32, wave: &Wave) {
        let total = self.candidates.len() as u64;
        let size = match &wave.size {
            Size::Count(count) => *count,
            Size::Upto(share) => share.of(total).saturating_sub(self.assigned),
            Size::Rest => u64::MAX,
            Size::Select(selector) => {
                let meant = |at: usize| {
                    let candidate = &self.candidates[at];
                    let facts = Facts {
                        version: candidate.version,
                        board: candidate.board,
                    };
                    selector.matches(candidate.device, facts)
                };
                let (chosen, free) = self.free.iter().copied().partition(|at| meant(*at));
                self.free = free;
                return self.take(number, &chosen);
            }
        };
        let mut chosen = match &wave.strata {
            Some(strata) => self.one_of_each_kind(strata, size),
            None => Vec::new(),
        };
        let more = usize::try_from(size)
            .unwrap_or(usize::MAX)
            .saturating_sub(chosen.len());
        let rest = self.free.split_off(more.min(self.free.len()));
        chosen.append(&mut self.free);
        self.free = rest;
        self.take(number, &chosen);
    }

    /// Takes from what is free so many of each kind, the first in the order, but not more than `size` in all.
    fn one_of_each_kind(&mut self, strata: &Strata, size: u64) -> Vec<usize> {
        let mut taken = BTreeMap::<Vec<String>, u32>::new();
        let (mut chosen, mut free) = (Vec::new(), Vec::new());
        for at in std::mem::take(&mut self.free) {
            let count = taken.entry(kind(&self.candidates[at], &strata.by)).or_default();
            if *count < strata.per && (chosen.len() as u64) < size {
                *count += 1;
                chosen.push(at);
            } else {
                free.push(at);
            }
        }
        self.free = free;
        chosen
    }

    fn take(&mut self, number: u32, chosen: &[usize]) {
        for at in chosen {
            self.wave_of[*at] = number;
        }
        self.assigned += chosen.len() as u64;
    }

    /// Kinds of which fewer than wanted are in waves up to this one.
    fn uncovered(&self, number: u32, strata: &Strata) -> Vec<Uncovered> {
        let mut kinds = BTreeMap::<Vec<String>, (u64, u64)>::new();
        let waiting = self.free.iter().map(|at| (*at, false));
        let mut is_free = vec![false; self.candidates.len()];
        waiting.for_each(|(at, _)| is_free[at] = true);
        for (candidate, free) in self.candidates.iter().zip(is_free) {
            let (has, all) = kinds.entry(kind(candidate, &strata.by)).or_default();
            *all += 1;
            *has += u64::from(!free);
        }
        let short = kinds
            .into_iter()
            .filter(|(_, (has, all))| *has < (*all).min(strata.per.into()));
        let tell = |(values, (has, all)): (Vec<String>, (u64, u64))| {
            let pairs = strata
                .by
                .iter()
                .zip(values)
                .map(|(by, value)| match value.is_empty() {
                    true => format!("{by} unknown"),
                    false => format!("{by}={value}"),
                });
            Uncovered {
                wave: number,
                stratum: pairs.collect::<Vec<_>>().join(", "),
                has,
                wants: all.min(strata.per.into()),
            }
        };
        short.map(tell).collect()
    }
}

fn kind(candidate: &Candidate<'_>, by: &[Stratum]) -> Vec<String> {
    let value = |stratum: &Stratum| match stratum {
        Stratum::Board => candidate.board.unwrap_or_default().to_owned(),
        Stratum::Architecture => candidate.architecture.unwrap_or_default().to_owned(),
        Stratum::Version => candidate.version.map(minor).unwrap_or_default().to_owned(),
        Stratum::Label(key) => candidate.device.labels.get(key).unwrap_or_default().to_owned(),
    };
    by.iter().map(value).collect()
}

/// `7.16` of `7.16.2 (stable)`.
fn minor(version: &str) -> &str {
    let version = version.split([' ', '-']).next().unwrap_or_default();
    let end = version
        .match_indices('.')
        .nth(1)
        .map_or(version.len(), |(at, _)| at);
    &version[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_model::policy::Share;

    use muster_model::{Labels, Ports, Transport};
    use proptest::prelude::*;

    fn device(at: usize) -> Device {
        Device {
            name: format!("r{at}"),
            address: "10.0.0.1".into(),
            port: 8728,
            transport: Transport::Api,
            ports: Ports::default(),
            in_flight: None,
            tls: None,
            pin: None,
            credential: "default".into(),
            zone: "default".into(),
            labels: Labels::parse(&format!("site=s{}", at % 7)).expect("valid"),
        }
    }

    fn candidates(devices: &[Device]) -> Vec<Candidate<'_>> {
        let candidate = |(id, device)| Candidate {
            id,
            device,
            version: Some(if id % 2 == 0 { "7.16.2 (stable)" } else { "7.15" }),
            board: None,
            architecture: Some("arm64"),
        };
        (1..).zip(devices).map(candidate).collect()
    }

    fn sizes(waves: &[Wave], devices: usize, seed: u64) -> Vec<usize> {
        let devices = (0..devices).map(device).collect::<Vec<_>>();
        let assignment = assign(waves, &candidates(&devices), seed, &Parents::none());
        (0..waves.len())
            .map(|wave| assignment.waves.iter().filter(|of| **of as usize == wave).count())
            .collect()
    }

    fn waves(sizes: Vec<Size>) -> Vec<Wave> {
        sizes.into_iter().map(Wave::new).collect()
    }

    #[test]
    fn percentages_count_the_waves_before_in() {
        let upto = |percent| Size::Upto(Share::percent(percent));
        let wanted = waves(vec![Size::Count(10), upto(25), upto(100)]);
        assert_eq!(sizes(&wanted, 1000, 7), [10, 240, 750]);
        assert_eq!(sizes(&wanted, 20, 7), [10, 0, 10], "a wave may be empty");
        assert_eq!(sizes(&wanted, 3, 7), [3, 0, 0]);
        assert_eq!(sizes(&waves(vec![upto(1), Size::Rest]), 101, 7), [2, 99]);
    }

    #[test]
    fn a_selector_takes_what_it_means_and_the_rest_is_left() {
        let site = "site=s0".parse().expect("valid");
        let wanted = waves(vec![Size::Select(site), Size::Rest]);
        assert_eq!(sizes(&wanted, 70, 1), [10, 60]);
    }

    #[test]
    fn a_stratified_canary_has_some_of_each_kind_and_tells_what_it_lacks() {
        let by = vec![Stratum::Version, Stratum::Label("site".into())];
        let canary = |count| Wave {
            strata: Some(Strata {
                per: 1,
                by: by.clone(),
            }),
            ..Wave::new(Size::Count(count))
        };
        let devices = (0..140).map(device).collect::<Vec<_>>();
        let candidates = candidates(&devices);
        let all = assign(
            &[canary(14), Wave::new(Size::Rest)],
            &candidates,
            3,
            &Parents::none(),
        );
        assert_eq!(all.uncovered, []);
        let few = assign(
            &[canary(10), Wave::new(Size::Rest)],
            &candidates,
            3,
            &Parents::none(),
        );
        assert_eq!(few.uncovered.len(), 4);
        assert!(
            few.uncovered[0].stratum.starts_with("version=7.1"),
            "{:?}",
            few.uncovered[0]
        );
        assert_eq!((few.uncovered[0].has, few.uncovered[0].wants), (0, 1));
    }

    #[test]
    fn versions_are_told_apart_by_their_minor() {
        assert_eq!(minor("7.16.2 (stable)"), "7.16");
        assert_eq!(minor("7.16"), "7.16");
        assert_eq!(minor("6.49.10"), "6.49");
        assert_eq!(minor("7.17beta3"), "7.17beta3");
    }

    proptest! {
        #[test]
        fn every_device_is_in_one_wave_and_percentages_hold(
            total in 0_usize..300, canary in 1_u64..30, percent in 1_u32..99, seed: u64,
        ) {
            let upto = Share::percent(percent);
            let wanted = waves(vec![Size::Count(canary), Size::Upto(upto), Size::Rest]);
            let got = sizes(&wanted, total, seed);
            prop_assert_eq!(got.iter().sum::<usize>(), total);
            let first = canary.min(total as u64);
            prop_assert_eq!(got[0] as u64, first);
            prop_assert_eq!((got[0] + got[1]) as u64, upto.of(total as u64).max(first));
        }

        #[test]
        fn the_order_is_repeatable_and_does_not_depend_on_who_else_is_there(seed: u64, total in 2_usize..60) {
            let devices = (0..total).map(device).collect::<Vec<_>>();
            let all = candidates(&devices);
            let order = |some: &[Candidate<'_>]| {
                let assignment = assign(&waves(vec![Size::Rest]), some, seed, &Parents::none());
                assignment.order.iter().map(|at| some[*at].id).collect::<Vec<_>>()
            };
            let mut without_last = order(&all);
            without_last.retain(|id| *id != total as u64);
            prop_assert_eq!(without_last, order(&all[..total - 1]));
        }
    }
}
