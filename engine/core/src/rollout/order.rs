//! Order by dependency (D4): a label of a device names its parent, and leaves go first.

use std::collections::BTreeMap;

use thiserror::Error;

/// Who depends on whom, by place among the candidates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parents {
    /// For each candidate its parent, if that is a candidate too.
    parent: Vec<Option<usize>>,
    /// Candidates, each before its parent.
    leaves_first: Vec<usize>,
}

/// Devices that depend on each other in a circle.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("these devices depend on each other in a circle: {}", .0.join(" → "))]
pub struct Cycle(pub Vec<String>);

impl Parents {
    /// Nobody depends on anybody.
    pub fn none() -> Self {
        Self::default()
    }

    /// From each candidate's name and the name of its parent. A parent that is no candidate does not matter.
    pub fn new(devices: &[(&str, Option<&str>)]) -> Result<Self, Cycle> {
        let places = devices.iter().enumerate();
        let places = places
            .map(|(at, (name, _))| (*name, at))
            .collect::<BTreeMap<_, _>>();
        let parent = devices.iter().map(|(_, parent)| places.get((*parent)?).copied());
        let parent = parent.collect::<Vec<_>>();
        // Leaves are taken off until nothing is left; what cannot be taken off is a circle.
        let mut children = vec![0_usize; parent.len()];
        parent.iter().flatten().for_each(|at| children[*at] += 1);
        let mut leaves_first = (0..parent.len())
            .filter(|at| children[*at] == 0)
            .collect::<Vec<_>>();
        let mut next = 0;
        while let Some(&at) = leaves_first.get(next) {
            next += 1;
            if let Some(above) = parent[at] {
                children[above] -= 1;
                if children[above] == 0 {
                    leaves_first.push(above);
                }
            }
        }
        match (0..parent.len()).find(|at| children[*at] > 0) {
            None => Ok(Self { parent, leaves_first }),
            Some(start) => Err(circle(start, &parent, devices)),
        }
    }

    /// Of each candidate that has one: its place and that of its parent.
    pub fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let pair = |(at, parent): (usize, &Option<usize>)| Some((at, (*parent)?));
        self.parent.iter().enumerate().filter_map(pair)
    }

    /// Moves parents to later waves, so that none goes before the last of its children.
    pub(super) fn put_after_their_children(&self, wave_of: &mut [u32]) {
        for at in &self.leaves_first {
            if let Some(above) = self.parent[*at] {
                wave_of[above] = wave_of[above].max(wave_of[*at]);
            }
        }
    }
}

/// The circle that one reaches from a device by going from parent to parent.
fn circle(start: usize, parent: &[Option<usize>], devices: &[(&str, Option<&str>)]) -> Cycle {
    let mut at = start;
    // After so many steps one is in the circle, wherever one came from.
    for _ in 0..parent.len() {
        at = parent[at].unwrap_or(at);
    }
    let first = at;
    let mut names = vec![devices[first].0.to_owned()];
    loop {
        at = parent[at].unwrap_or(first);
        names.push(devices[at].0.to_owned());
        if at == first {
            return Cycle(names);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_parent_goes_after_its_children() {
        let devices = [
            ("core", None),
            ("agg", Some("core")),
            ("cpe", Some("agg")),
            ("far", Some("elsewhere")),
        ];
        let parents = Parents::new(&devices).expect("no circle");
        assert_eq!(parents.pairs().collect::<Vec<_>>(), [(1, 0), (2, 1)]);
        let mut waves = [0, 1, 3, 2];
        parents.put_after_their_children(&mut waves);
        assert_eq!(waves, [3, 3, 3, 2]);
    }

    #[test]
    fn a_circle_is_named() {
        let devices = [
            ("x", Some("a")),
            ("a", Some("b")),
            ("b", Some("c")),
            ("c", Some("a")),
        ];
        let Cycle(names) = Parents::new(&devices).expect_err("a circle");
        assert_eq!((names.len(), names.first()), (4, names.last()));
        assert!(!names.contains(&"x".to_owned()), "{names:?}");
        assert!(Parents::new(&[("a", Some("a"))]).is_err());
    }

    proptest! {
        #[test]
        fn without_a_circle_no_parent_goes_before_a_child(
            above in proptest::collection::vec(0_usize..40, 1..40), waves in proptest::collection::vec(0_u32..5, 40),
        ) {
            // Each names one that comes before it, or none: there can be no circle.
            let names = (0..above.len()).map(|at| format!("r{at}")).collect::<Vec<_>>();
            let devices = names.iter().enumerate().map(|(at, name)| {
                (name.as_str(), (above[at] < at).then(|| names[above[at]].as_str()))
            });
            let parents = Parents::new(&devices.collect::<Vec<_>>()).expect("no circle");
            let mut waves = waves[..above.len()].to_vec();
            parents.put_after_their_children(&mut waves);
            for (child, parent) in parents.pairs() {
                prop_assert!(waves[parent] >= waves[child]);
            }
        }
    }
}
