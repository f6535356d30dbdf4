//! What is different between two runs (L5).

use std::collections::BTreeMap;

use crate::judge::{Judgement, Verdict};

/// How a check on a device is different.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Fails, and did not.
    NewlyFailing,
    /// Passes, and failed.
    Fixed,
    /// The verdict is another, or a failure shows otherwise.
    Changed,
}

/// Judgements of one device by the names of checks.
pub type Judged<'a> = BTreeMap<&'a str, &'a Judgement>;

/// The checks that are in both, and what is different.
pub fn diff<'a>(before: &Judged<'a>, after: &Judged<'a>) -> Vec<(Kind, &'a str, Verdict, &'a Judgement)> {
    let mut all = Vec::new();
    for (check, after) in after {
        let Some(before) = before.get(check) else {
            continue;
        };
        let kind = match (before.verdict, after.verdict) {
            (Verdict::Fail, Verdict::Fail) if before.evidence == after.evidence => continue,
            (Verdict::Fail, Verdict::Fail) => Kind::Changed,
            (was, is) if was == is => continue,
            (_, Verdict::Fail) => Kind::NewlyFailing,
            (Verdict::Fail, Verdict::Pass) => Kind::Fixed,
            _ => Kind::Changed,
        };
        all.push((kind, *check, before.verdict, *after));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_difference() {
        let said = |verdict| Judgement::new(verdict, "");
        let (pass, fail, gone) = (said(Verdict::Pass), said(Verdict::Fail), said(Verdict::Unreached));
        let other = Judgement {
            evidence: vec!["x".into()],
            ..said(Verdict::Fail)
        };
        let before = Judged::from([
            ("a", &pass),
            ("b", &fail),
            ("c", &fail),
            ("d", &fail),
            ("e", &pass),
            ("g", &pass),
        ]);
        let after = Judged::from([
            ("a", &fail),
            ("b", &pass),
            ("c", &other),
            ("d", &fail),
            ("e", &gone),
            ("f", &fail),
        ]);
        let kinds = diff(&before, &after);
        let kinds = kinds
            .iter()
            .map(|(kind, check, ..)| (*check, *kind))
            .collect::<Vec<_>>();
        assert_eq!(
            kinds,
            [
                ("a", Kind::NewlyFailing),
                ("b", Kind::Fixed),
                ("c", Kind::Changed),
                ("e", Kind::Changed)
            ]
        );
    }
}
