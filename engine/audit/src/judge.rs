//! What the answers of a device make of each check (L3).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use muster_model::check::{Fact, Facts, number};
use muster_model::{DeviceError, ExecutionState};
use routeros_wire::value::{duration, size};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::file::{Audit, Check, Empty};
use crate::fleet::Material;
use crate::reads::{CheckReads, Reads, SERVICES, named, property};
use crate::row::{Answer, Row};
use crate::rule::{About, Given};

/// What a check says of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// It is as it should be.
    #[serde(rename = "pass")]
    Pass,
    /// It is not.
    #[serde(rename = "fail")]
    Fail,
    /// It cannot be told, on this device.
    #[serde(rename = "error")]
    Error,
    /// The device did not answer.
    #[serde(rename = "unreached")]
    Unreached,
    /// There is nothing to judge.
    #[serde(rename = "n/a")]
    NotApplicable,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Pass,
        Self::Fail,
        Self::Error,
        Self::Unreached,
        Self::NotApplicable,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Error => "error",
            Self::Unreached => "unreached",
            Self::NotApplicable => "n/a",
        }
    }

    /// By its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.as_str() == name)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A verdict with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// The verdict.
    #[serde(rename = "v")]
    pub verdict: Verdict,
    /// Why, in a few words; empty for a pass.
    #[serde(rename = "r", default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Items that show it, at most [`EVIDENCE`]: name to value.
    #[serde(rename = "e", default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Value>,
    /// Of a check that looks at several devices: what this one brings.
    #[serde(rename = "m", default, skip_serializing_if = "Material::is_empty")]
    pub material: Material,
}

/// Items that are kept beside a verdict.
pub const EVIDENCE: usize = 10;
/// Verdicts that are remembered; beyond them all are forgotten and made again.
const REMEMBERED: usize = 1 << 20;

impl Judgement {
    /// A verdict with its reason alone.
    pub fn new(verdict: Verdict, reason: impl Into<String>) -> Self {
        Self {
            verdict,
            reason: reason.into(),
            evidence: Vec::new(),
            material: Material::default(),
        }
    }
}

/// How asking a device went.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The device.
    pub about: About<'a>,
    /// How its execution ended.
    pub state: ExecutionState,
    /// Why it is not well.
    pub error: Option<&'a DeviceError>,
    /// For each step that was sent, reply sentences in wire format.
    pub replies: &'a [&'a [u8]],
    /// SHA-256 of each.
    pub digests: &'a [[u8; 32]],
}

/// Judges devices by an audit, and remembers what it said of the same answers.
#[derive(Debug)]
pub struct Judge {
    audit: Audit,
    reads: Reads,
    remembered: HashMap<(usize, [u8; 32]), Arc<Judgement>, BuildHasherDefault<Digested>>,
    remembers: bool,
}

impl Judge {
    /// For an audit.
    pub fn new(audit: Audit) -> Self {
        Self {
            reads: Reads::of(&audit),
            audit,
            remembered: HashMap::default(),
            remembers: true,
        }
    }

    /// The same, judging everything anew.
    #[must_use]
    pub fn without_memory(mut self) -> Self {
        self.remembers = false;
        self
    }

    /// The audit.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// What it asks.
    pub fn reads(&self) -> &Reads {
        &self.reads
    }

    /// A judgement for each check, in the order of the file.
    ///
    /// Needs a stack of [`muster_model::check::STACK`] bytes.
    pub fn judge(&mut self, asked: &Asked<'_>) -> Vec<Arc<Judgement>> {
        if asked.replies.is_empty() {
            let why = match (asked.state, asked.error) {
                // The class says nothing: no check of anybody's has failed.
                (ExecutionState::Rejected, Some(error)) => error.message.clone(),
                (_, Some(error)) => error.to_string(),
                (state, None) => state.as_str().to_owned(),
            };
            let verdict = match asked.state {
                ExecutionState::Failed | ExecutionState::Succeeded => Verdict::Error,
                _ => Verdict::Unreached,
            };
            let said = Arc::new(Judgement::new(verdict, why));
            return vec![said; self.audit.checks.len()];
        }
        // Answers are taken apart when the first check wants them.
        let mut answers = Answers {
            asked,
            read: vec![None; asked.replies.len()],
            facts: None,
        };
        if self.remembered.len() > REMEMBERED {
            self.remembered.clear();
        }
        let mut all = Vec::with_capacity(self.audit.checks.len());
        for (at, (check, reads)) in self.audit.checks.iter().zip(&self.reads.checks).enumerate() {
            let key = (at, key(check, reads, asked));
            if let Some(known) = self.remembered.get(&key) {
                all.push(known.clone());
                continue;
            }
            let said = Arc::new(one(check, reads, &self.reads, &mut answers));
            if self.remembers {
                self.remembered.insert(key, said.clone());
            }
            all.push(said);
        }
        all
    }
}

/// A hash of what is a digest already: its first bytes, and which check it is.
#[derive(Debug, Default)]
struct Digested(u64);

impl Hasher for Digested {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut first = [0; 8];
        let length = bytes.len().min(first.len());
        first[..length].copy_from_slice(&bytes[..length]);
        // An odd factor, so that every bit of it counts in the upper half, too.
        self.0 = (self.0 ^ u64::from_le_bytes(first)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn write_usize(&mut self, number: usize) {
        self.write(&number.to_le_bytes());
    }
}

/// Names all that a verdict depends on.
fn key(check: &Check, reads: &CheckReads, asked: &Asked<'_>) -> [u8; 32] {
    let device = crate::reads::rules(check).any(|rule| rule.names().device);
    if let ([step], false) = (reads.steps.as_slice(), device) {
        return asked.digests.get(*step).copied().unwrap_or_default();
    }
    let mut hash = Sha256::new();
    for step in &reads.steps {
        hash.update(asked.digests.get(*step).copied().unwrap_or_default());
    }
    if device {
        let About {
            name,
            address,
            zone,
            labels,
        } = asked.about;
        for text in [name, address, zone] {
            hash.update(text);
            hash.update([0]);
        }
        for (key, value) in labels.iter() {
            hash.update(key);
            hash.update([0]);
            hash.update(value);
            hash.update([0]);
        }
    }
    hash.finalize().into()
}

struct Answers<'a> {
    asked: &'a Asked<'a>,
    read: Vec<Option<Arc<Answer<'a>>>>,
    facts: Option<Arc<Facts>>,
}

impl<'a> Answers<'a> {
    fn of(&mut self, step: usize) -> Option<Arc<Answer<'a>>> {
        let replies = self.asked.replies.get(step)?;
        let slot = self.read.get_mut(step)?;
        Some(
            slot.get_or_insert_with(|| Arc::new(Answer::read(replies)))
                .clone(),
        )
    }

    fn facts(&mut self, reads: &Reads) -> Arc<Facts> {
        let known = match self.facts.take() {
            Some(known) => known,
            None => Arc::new(facts(reads, self)),
        };
        self.facts.insert(known).clone()
    }
}

/// Why a list cannot be looked at.
fn missing(menu: &str, answer: Option<&Answer<'_>>, asked: &Asked<'_>) -> Option<Judgement> {
    let Some(answer) = answer else {
        let why = asked
            .error
            .map_or_else(|| "it was not asked".to_owned(), DeviceError::to_string);
        return Some(Judgement::new(Verdict::Error, format!("{menu}: {why}")));
    };
    if let Some(trap) = &answer.trap {
        return Some(match is_not_there(trap) {
            true => Judgement::new(
                Verdict::NotApplicable,
                format!("the device has no {menu}: {trap}"),
            ),
            false => Judgement::new(Verdict::Error, format!("{menu}: {trap}")),
        });
    }
    if !answer.complete {
        let why = asked
            .error
            .map_or_else(|| "the answer was cut off".to_owned(), DeviceError::to_string);
        return Some(Judgement::new(Verdict::Error, format!("{menu}: {why}")));
    }
    None
}

/// Whether a device said that it has no such menu (facts §3.6): wrong version, or a package that is not there.
fn is_not_there(trap: &str) -> bool {
    let trap = trap.to_ascii_lowercase();
    ["no such command", "no such directory", "bad command name"]
        .iter()
        .any(|words| trap.contains(words))
}

fn one(check: &Check, reads: &CheckReads, all: &Reads, answers: &mut Answers<'_>) -> Judgement {
    let asked = answers.asked;
    let facts = answers.facts(all);
    let main = answers.of(reads.rows);
    if let Some(said) = missing(&check.read.menu, main.as_deref(), asked) {
        return said;
    }
    let mut others = Vec::with_capacity(reads.also.len());
    for ((name, source), step) in check.also.iter().zip(&reads.also) {
        let answer = answers.of(*step);
        match missing(&source.menu, answer.as_deref(), asked) {
            None => others.push((name.as_str(), answer.unwrap_or_default())),
            // A menu that is not there has no items; it is not what the check is about.
            Some(said) if said.verdict == Verdict::NotApplicable => {
                others.push((name.as_str(), Arc::default()));
            }
            Some(said) => return said,
        }
    }
    let main = main.unwrap_or_default();
    let rows = main
        .rows
        .iter()
        .filter(|row| is_meant(check, reads, row))
        .collect::<Vec<_>>();
    let given = |rows: Vec<_>| Given {
        rows,
        also: others
            .iter()
            .map(|(name, answer)| (*name, answer.rows.iter().collect()))
            .collect(),
        facts: &facts,
        about: asked.about,
        row: None,
        fleet: None,
    };
    if let Some(applies) = &check.applies {
        match applies.holds(&given(rows.clone())) {
            Ok(true) => {}
            Ok(false) => {
                return Judgement::new(Verdict::NotApplicable, format!("not {}", applies.text()));
            }
            Err(error) => return Judgement::new(Verdict::Error, format!("{}: {error}", applies.text())),
        }
    }
    if let Some(fleet) = &check.fleet {
        return match Material::of(fleet, check, &rows, &given) {
            Ok(material) => Judgement {
                material,
                ..Judgement::new(
                    Verdict::NotApplicable,
                    "it is judged when all devices have answered",
                )
            },
            Err(error) => Judgement::new(Verdict::Error, error),
        };
    }
    if rows.is_empty() {
        match check.empty {
            Empty::NotApplicable => {
                return Judgement::new(Verdict::NotApplicable, "there are no such items");
            }
            Empty::Pass => return Judgement::new(Verdict::Pass, "there are no such items"),
            Empty::Fail => return Judgement::new(Verdict::Fail, "there are no such items"),
            Empty::Evaluate => {}
        }
    }
    match check.expect.holds(&given(rows.clone())) {
        Ok(true) => Judgement {
            verdict: Verdict::Pass,
            reason: String::new(),
            evidence: match check.evidence.is_empty() {
                true => Vec::new(),
                false => shown(check, &rows),
            },
            material: Material::default(),
        },
        Ok(false) => {
            let mut offending = Vec::new();
            for row in &rows {
                if check.expect.holds(&given(vec![*row])) == Ok(false) {
                    offending.push(*row);
                }
            }
            let reason = match (rows.len(), offending.len()) {
                (0, _) => "there are no such items".to_owned(),
                (1, _) => String::new(),
                (of, 0) => format!("of {of} items together"),
                (of, some) => format!("{some} of {of} items"),
            };
            let rows = if offending.is_empty() { rows } else { offending };
            Judgement {
                verdict: Verdict::Fail,
                reason,
                evidence: shown(check, &rows),
                material: Material::default(),
            }
        }
        Err(error) => Judgement::new(Verdict::Error, error),
    }
}

/// Whether a check looks at this item.
fn is_meant(check: &Check, reads: &CheckReads, row: &Row<'_>) -> bool {
    if check.read.menu == SERVICES && row.get("dynamic") == Some("true") {
        return false;
    }
    match &check.read.filter {
        Some(filter) if reads.filtered => {
            let get = |name: &[u8]| row.get(std::str::from_utf8(name).ok()?).map(str::as_bytes);
            filter.matches(&get)
        }
        _ => true,
    }
}

fn shown(check: &Check, rows: &[&Row<'_>]) -> Vec<Value> {
    let names = match check.evidence.is_empty() {
        false => check.evidence.iter().cloned().collect::<BTreeSet<_>>(),
        true => {
            let mut names = check
                .expect
                .names()
                .properties
                .get("")
                .cloned()
                .unwrap_or_default();
            names.extend(check.read.filter.iter().flat_map(named));
            names
        }
    };
    rows.iter()
        .take(EVIDENCE)
        .map(|row| row.to_json(&names))
        .collect()
}

/// What the device said of itself.
fn facts(reads: &Reads, answers: &mut Answers<'_>) -> Facts {
    let mut facts = Facts::new();
    if let Some(answer) = reads.resource.and_then(|step| answers.of(step))
        && let Some(row) = answer.rows.first()
    {
        for (name, kind, _) in muster_model::check::FACTS {
            let Some(value) = property(name).and_then(|property| row.get(property)) else {
                continue;
            };
            let number = match *name {
                "version" => number(value),
                "uptime" => {
                    duration::parse(value.as_bytes()).and_then(|time| i64::try_from(time.as_secs()).ok())
                }
                _ => size::parse(value.as_bytes()).and_then(|size| i64::try_from(size).ok()),
            };
            let fact = match kind {
                muster_model::check::Kind::Number => number.map(Fact::Number),
                muster_model::check::Kind::Text => Some(Fact::Text(value.to_owned())),
            };
            facts.extend(fact.map(|fact| (*name, fact)));
        }
    }
    if let Some(answer) = reads.identity.and_then(|step| answers.of(step))
        && let Some(name) = answer.rows.first().and_then(|row| row.get("name"))
    {
        facts.insert("identity", Fact::Text(name.to_owned()));
    }
    facts
}

/// Verdicts by how many devices have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Of each, by [`Verdict`].
    pub pass: u64,
    /// See `pass`.
    pub fail: u64,
    /// See `pass`.
    pub error: u64,
    /// See `pass`.
    pub unreached: u64,
    /// See `pass`.
    pub not_applicable: u64,
}

impl Tally {
    /// Counts one more.
    pub fn add(&mut self, verdict: Verdict) {
        self.add_many(verdict, 1);
    }

    /// Counts so many more.
    pub fn add_many(&mut self, verdict: Verdict, count: u64) {
        *match verdict {
            Verdict::Pass => &mut self.pass,
            Verdict::Fail => &mut self.fail,
            Verdict::Error => &mut self.error,
            Verdict::Unreached => &mut self.unreached,
            Verdict::NotApplicable => &mut self.not_applicable,
        } += count;
    }

    /// The two together.
    pub fn merge(&mut self, other: &Self) {
        self.pass += other.pass;
        self.fail += other.fail;
        self.error += other.error;
        self.unreached += other.unreached;
        self.not_applicable += other.not_applicable;
    }

    /// All of them.
    pub fn targets(&self) -> u64 {
        self.pass + self.fail + self.error + self.unreached + self.not_applicable
    }

    /// pass/(pass+fail), 0 to 1 (L3); none when nothing was judged.
    pub fn compliance(&self) -> Option<f64> {
        let judged = self.pass + self.fail;
        (judged > 0).then(|| self.pass as f64 / judged as f64)
    }

    /// (pass+fail+n/a)/targets, 0 to 1 (L3); none without targets.
    pub fn coverage(&self) -> Option<f64> {
        let targets = self.targets();
        (targets > 0).then(|| (self.pass + self.fail + self.not_applicable) as f64 / targets as f64)
    }
}

/// Tallies by check.
pub type Tallies = BTreeMap<String, Tally>;
