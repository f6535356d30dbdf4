//! The digest that an approval signs (F3): plan, selection with waves, fingerprints, limits. Each part has its own
//! digest, so that it can be told what changed.

use std::collections::BTreeMap;

use muster_model::policy::Policy;
use muster_model::{Plan, PlanDigest};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A device as far as an approval is about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its wave, from 0.
    pub wave: u32,
    /// Digest of what the plan touches on it, hex; none when it was not read.
    pub fingerprint: Option<String>,
}

/// What is approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approved {
    /// Of the plan, hex.
    pub plan: String,
    /// Limits, waves, rules, windows and the rest of the policy: canonical JSON.
    pub policy: String,
    /// The selection, sorted by name.
    pub members: Vec<Member>,
    /// The job that read the fingerprints; none when nobody did. Not part of the digest: what was found counts, and not by whom.
    #[serde(default)]
    pub previewed: Option<String>,
}

/// Differences named of each kind.
const NAMED: usize = 5;

impl Approved {
    /// From the parts. `seed` decides who goes first, and is part of what is approved through the waves.
    pub fn new(plan: &Plan, policy: &Policy, mut members: Vec<Member>) -> Self {
        members.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            plan: plan.digest().to_string(),
            // Plain values: nothing in a policy can fail to be JSON.
            policy: serde_json::to_string(policy).unwrap_or_default(),
            members,
            previewed: None,
        }
    }

    /// Devices that were not read.
    pub fn unseen(&self) -> u64 {
        let unseen = self.members.iter().filter(|member| member.fingerprint.is_none());
        unseen.count() as u64
    }

    /// The digest, hex.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        let mut field = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        field(b"muster plan 1");
        field(self.plan.as_bytes());
        field(self.policy.as_bytes());
        for member in &self.members {
            field(member.name.as_bytes());
            field(&member.wave.to_be_bytes());
            field(member.fingerprint.as_deref().unwrap_or_default().as_bytes());
        }
        PlanDigest(hash.finalize().into()).to_string()
    }

    /// What is different now, in words; empty when nothing is.
    pub fn changes(&self, now: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        if self.plan != now.plan {
            changes.push("the steps are different".to_owned());
        }
        changes.extend(policy_changes(&self.policy, &now.policy));
        let before = by_name(&self.members);
        let after = by_name(&now.members);
        let only = |a: &BTreeMap<&str, &Member>, b: &BTreeMap<&str, &Member>| {
            a.keys()
                .filter(|name| !b.contains_key(*name))
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        let both = before
            .iter()
            .filter_map(|(name, member)| Some((*name, *member, *after.get(name)?)));
        let both = both.collect::<Vec<_>>();
        let differ = |differ: fn(&Member, &Member) -> bool| {
            let differing = both.iter().filter(|(_, before, after)| differ(before, after));
            differing.map(|(name, ..)| (*name).to_owned()).collect::<Vec<_>>()
        };
        for (what, names) in [
            ("joined the selection", only(&after, &before)),
            ("left the selection", only(&before, &after)),
            ("changed wave", differ(|before, after| before.wave != after.wave)),
            (
                "were changed by somebody since",
                differ(|before, after| before.fingerprint != after.fingerprint),
            ),
        ] {
            changes.extend(named(what, &names));
        }
        changes
    }
}

fn by_name(members: &[Member]) -> BTreeMap<&str, &Member> {
    members
        .iter()
        .map(|member| (member.name.as_str(), member))
        .collect()
}

fn named(what: &str, names: &[String]) -> Option<String> {
    let some = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => None,
        1 => Some(format!(
            "1 device {what}: {some}",
            what = what.replacen("were", "was", 1)
        )),
        all if all <= NAMED => Some(format!("{all} devices {what}: {some}")),
        all => Some(format!("{all} devices {what}: {some}, …")),
    }
}

/// Which parts of two policies differ, by the names of the parts.
fn policy_changes(before: &str, after: &str) -> Vec<String> {
    type Parts = BTreeMap<String, serde_json::Value>;
    if before == after {
        return Vec::new();
    }
    let parse = |text: &str| serde_json::from_str::<Parts>(text).unwrap_or_default();
    let (before, after) = (parse(before), parse(after));
    let keys = before
        .keys()
        .chain(after.keys())
        .collect::<std::collections::BTreeSet<_>>();
    let differ = |key: &&&String| before.get(**key) != after.get(**key);
    let parts = keys
        .iter()
        .filter(differ)
        .map(|key| format!("the policy's {key} are different"));
    match parts.collect::<Vec<_>>() {
        none if none.is_empty() => vec!["the policy is different".to_owned()],
        parts => parts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_model::policy::Amount;
    use muster_model::{Command, Step};

    fn plan(server: &str) -> Plan {
        let command = Command::parse(["/ip/dns/set", &format!("servers={server}")]).expect("valid");
        Plan::new(vec![Step::Command(command)])
    }

    fn member(name: &str, wave: u32, fingerprint: &str) -> Member {
        Member {
            name: name.into(),
            wave,
            fingerprint: Some(fingerprint.into()),
        }
    }

    #[test]
    fn what_changed_is_told() {
        let members = || vec![member("b", 1, "x"), member("a", 0, "x"), member("c", 1, "x")];
        let before = Approved::new(&plan("1.1.1.1"), &Policy::default(), members());
        let same = Approved::new(&plan("1.1.1.1"), &Policy::default(), members());
        assert_eq!(
            (before.changes(&same), before.digest()),
            (Vec::new(), same.digest())
        );
        let mut policy = Policy::default();
        policy.limits.budget = Amount::Count(50);
        let now = vec![member("a", 1, "x"), member("b", 1, "y"), member("d", 1, "x")];
        let after = Approved::new(&plan("9.9.9.9"), &policy, now);
        assert_ne!(before.digest(), after.digest());
        assert_eq!(
            before.changes(&after),
            [
                "the steps are different",
                "the policy's limits are different",
                "1 device joined the selection: d",
                "1 device left the selection: c",
                "1 device changed wave: a",
                "1 device was changed by somebody since: b",
            ]
        );
    }

    #[test]
    fn every_part_is_in_the_digest() {
        let of = |name, wave, fingerprint| {
            Approved::new(
                &plan("1.1.1.1"),
                &Policy::default(),
                vec![member(name, wave, fingerprint)],
            )
            .digest()
        };
        let all = [of("a", 0, "x"), of("b", 0, "x"), of("a", 1, "x"), of("a", 0, "y")];
        let distinct = all.iter().collect::<std::collections::BTreeSet<_>>();
        assert_eq!(distinct.len(), all.len());
    }
}
