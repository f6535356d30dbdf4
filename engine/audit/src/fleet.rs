//! Checks that look at several devices, judged when all have answered: items of many devices together (L7), and what is
//! different from the peers or from the baseline (L6).

use std::collections::{BTreeMap, BTreeSet};

use muster_model::Labels;
use muster_model::check::Facts;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::drift;
use crate::file::{Audit, Check, Fleet};
use crate::judge::{EVIDENCE, Judgement, Verdict};
use crate::row::Row;
use crate::rule::{About, Given};

/// Fewer devices of a kind have no majority to speak of.
const PEERS: usize = 3;

/// What a device brings to such a check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Material {
    /// Items: with what they are joined by, or as they are compared.
    #[serde(rename = "i", default, skip_serializing_if = "Vec::is_empty")]
    items: Vec<Value>,
    /// The device's kind.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    /// Whether it was read.
    #[serde(rename = "r", default, skip_serializing_if = "std::ops::Not::not")]
    read: bool,
}

impl Material {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        !self.read
    }

    pub(crate) fn of<'a>(
        fleet: &Fleet,
        check: &Check,
        rows: &[&'a Row<'a>],
        given: &impl Fn(Vec<&'a Row<'a>>) -> Given<'a>,
    ) -> Result<Self, String> {
        let mut material = Self {
            read: true,
            ..Self::default()
        };
        match fleet {
            Fleet::Across { key, add } => {
                for row in rows {
                    let given = Given {
                        row: Some(*row),
                        ..given(Vec::new())
                    };
                    let key = key.text_of(&given)?;
                    if key.is_empty() {
                        continue;
                    }
                    let mut item = row.to_json(&BTreeSet::new());
                    for (name, rule) in add {
                        item[name] = json!(rule.text_of(&given)?);
                    }
                    material.items.push(json!([key, item]));
                }
            }
            Fleet::Peers { kind } => {
                material.kind = Some(kind.text_of(&given(rows.to_vec()))?);
                material.items = drift::normal(&check.read.menu, rows);
            }
            Fleet::Baseline => material.items = drift::normal(&check.read.menu, rows),
        }
        Ok(material)
    }
}

/// A device with what was said of it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// By check, in the order of the file.
    pub said: Vec<Judgement>,
    /// The same in the run that was accepted as the baseline, by the names of checks; `None` when it is not there.
    pub baseline: Option<BTreeMap<String, Judgement>>,
}

/// Whether any check of a file looks at several devices.
pub fn is_needed(audit: &Audit) -> bool {
    audit.checks.iter().any(|check| check.fleet.is_some())
}

/// Whether any check of a file compares with the baseline.
pub fn needs_baseline(audit: &Audit) -> bool {
    audit
        .checks
        .iter()
        .any(|check| matches!(check.fleet, Some(Fleet::Baseline)))
}

/// Judges what looks at several devices. May be repeated: what devices brought stays. `accepted` says whether there is a
/// baseline at all.
///
/// Needs a stack of [`muster_model::check::STACK`] bytes.
pub fn settle(audit: &Audit, subjects: &mut [Subject], accepted: bool) {
    for (at, check) in audit.checks.iter().enumerate() {
        match &check.fleet {
            None => {}
            Some(Fleet::Across { .. }) => across(check, at, subjects),
            Some(Fleet::Peers { .. }) => peers(at, subjects),
            Some(Fleet::Baseline) => baseline(check, at, subjects, accepted),
        }
    }
}

/// The judgement of a check on a device, where the device brought something.
fn brought(subject: &Subject, at: usize) -> Option<&Judgement> {
    subject.said.get(at).filter(|said| !said.material.is_empty())
}

fn set(subject: &mut Subject, at: usize, verdict: Verdict, reason: String, evidence: Vec<Value>) {
    if let Some(said) = subject.said.get_mut(at) {
        said.verdict = verdict;
        said.reason = reason;
        said.evidence = evidence;
    }
}

fn across(check: &Check, at: usize, subjects: &mut [Subject]) {
    let fleet = subjects
        .iter()
        .map(|subject| subject.name.clone())
        .collect::<Vec<_>>();
    let mut groups = BTreeMap::<String, Vec<(usize, Value)>>::new();
    for (number, subject) in subjects.iter().enumerate() {
        for item in brought(subject, at)
            .into_iter()
            .flat_map(|said| &said.material.items)
        {
            let key = item[0].as_str().unwrap_or_default().to_owned();
            let mut row = item[1].clone();
            row["device"] = json!(subject.name);
            groups.entry(key).or_default().push((number, row));
        }
    }
    let (labels, facts) = (Labels::default(), Facts::new());
    let mut worst = BTreeMap::<usize, (Verdict, String, Vec<Value>)>::new();
    for (key, members) in &groups {
        let rows = members
            .iter()
            .map(|(_, row)| Row::from_json(row))
            .collect::<Vec<_>>();
        let holds = check.expect.holds(&Given {
            rows: rows.iter().collect(),
            also: Vec::new(),
            facts: &facts,
            about: About {
                name: "",
                address: "",
                zone: "",
                labels: &labels,
            },
            row: None,
            fleet: Some(&fleet),
        });
        let (verdict, reason) = match holds {
            Ok(true) => (Verdict::Pass, String::new()),
            Ok(false) => (Verdict::Fail, format!("{key}: {} items together", members.len())),
            Err(error) => (Verdict::Error, format!("{key}: {error}")),
        };
        let evidence = match verdict {
            Verdict::Fail => members
                .iter()
                .take(EVIDENCE)
                .map(|(_, row)| row.clone())
                .collect(),
            _ => Vec::new(),
        };
        // Of several groups, a failure counts more than what cannot be told, and that more than a pass.
        for (number, _) in members {
            let before = worst.get(number).map(|(verdict, ..)| *verdict);
            if before.is_none_or(|before| {
                before == Verdict::Pass || verdict == Verdict::Fail && before != Verdict::Fail
            }) {
                worst.insert(*number, (verdict, reason.clone(), evidence.clone()));
            }
        }
    }
    for (number, subject) in subjects.iter_mut().enumerate() {
        if brought(subject, at).is_none() {
            continue;
        }
        match worst.remove(&number) {
            Some((verdict, reason, evidence)) => set(subject, at, verdict, reason, evidence),
            None => set(
                subject,
                at,
                Verdict::NotApplicable,
                "there are no such items".into(),
                Vec::new(),
            ),
        }
    }
}

fn peers(at: usize, subjects: &mut [Subject]) {
    // By digest first: of each kind, how many have the same items.
    let mut kinds = BTreeMap::<String, BTreeMap<String, Vec<usize>>>::new();
    for (number, subject) in subjects.iter().enumerate() {
        if let Some(said) = brought(subject, at) {
            let kind = said.material.kind.clone().unwrap_or_default();
            let same = Value::from(said.material.items.clone()).to_string();
            kinds
                .entry(kind)
                .or_default()
                .entry(same)
                .or_default()
                .push(number);
        }
    }
    for (kind, variants) in kinds {
        let count = variants.values().map(Vec::len).sum::<usize>();
        let most = variants
            .values()
            .max_by_key(|members| members.len())
            .cloned()
            .unwrap_or_default();
        let usual = most
            .first()
            .and_then(|first| Some(brought(&subjects[*first], at)?.material.items.clone()));
        let usual = usual.unwrap_or_default();
        let decides = count >= PEERS && most.len() * 2 > count;
        for number in variants.into_values().flatten() {
            let subject = &mut subjects[number];
            if !decides {
                let why = format!(
                    "{count} of its kind ({kind}), of which at most {} are alike",
                    most.len()
                );
                set(subject, at, Verdict::NotApplicable, why, Vec::new());
                continue;
            }
            let items = brought(subject, at)
                .map(|said| said.material.items.clone())
                .unwrap_or_default();
            match items == usual {
                true => set(subject, at, Verdict::Pass, String::new(), Vec::new()),
                false => {
                    let why = format!("differs from the other {} of its kind ({kind})", most.len());
                    let mut evidence = drift::diff(&usual, &items);
                    evidence.truncate(EVIDENCE);
                    set(subject, at, Verdict::Fail, why, evidence);
                }
            }
        }
    }
}

fn baseline(check: &Check, at: usize, subjects: &mut [Subject], accepted: bool) {
    for subject in subjects {
        let Some(said) = brought(subject, at) else {
            continue;
        };
        let before = subject
            .baseline
            .as_ref()
            .and_then(|before| before.get(&check.name));
        let (verdict, reason, evidence) = match before.filter(|before| !before.material.is_empty()) {
            None if !accepted => (
                Verdict::NotApplicable,
                "no run of this audit was accepted as the baseline yet",
                Vec::new(),
            ),
            None => (
                Verdict::NotApplicable,
                "the baseline does not have this device",
                Vec::new(),
            ),
            Some(before) if before.material.items == said.material.items => (Verdict::Pass, "", Vec::new()),
            Some(before) => {
                let mut evidence = drift::diff(&before.material.items, &said.material.items);
                evidence.truncate(EVIDENCE);
                (Verdict::Fail, "differs from the baseline", evidence)
            }
        };
        set(subject, at, verdict, reason.to_owned(), evidence);
    }
}
