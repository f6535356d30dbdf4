//! What a device has in the menus that a plan wants something of, as one number: equal before and after, nobody touched
//! it (F3).
//!
//! It covers what the plan compares and nothing else: the properties it names, in one spelling, of items that are not
//! dynamic. Counters and dates are in it only if a plan names them.

use muster_model::{Ensure, Want};
use sha2::{Digest as _, Sha256};

use crate::diff::read_rows;
use crate::meaning::normal;

/// SHA-256 over the menus of a plan, in its order.
#[derive(Clone, Debug)]
pub(crate) struct Fingerprint(Sha256);

impl Fingerprint {
    pub(crate) fn new() -> Self {
        Self(Sha256::new())
    }

    /// Takes in what a menu answered to a wish's question.
    pub(crate) fn add(&mut self, ensure: &Ensure, answer: &[u8]) {
        self.part(ensure.menu().as_bytes());
        let Want::Set(set) = ensure.want();
        read_rows(answer, |row| {
            for (name, _) in set.iter() {
                if let Some(value) = row.get(name.as_bytes()) {
                    self.part(name.as_bytes());
                    self.part(&normal(name, value));
                }
            }
            self.0.update([0xFF; 8]);
        });
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }

    /// With its length in front, so that no two ways to cut the same bytes are the same.
    fn part(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_model::Values;
    use routeros_wire::encode;

    fn of(rows: &[&[&str]]) -> [u8; 32] {
        let set = Values::new([("servers", ""), ("cache-max-ttl", "")]).expect("valid");
        let ensure = Ensure::singleton("/ip/dns", set).expect("valid");
        let mut answer = Vec::new();
        for row in rows {
            encode::sentence(&mut answer, ["!re"].iter().chain(row.iter())).expect("no empty words");
        }
        let mut fingerprint = Fingerprint::new();
        fingerprint.add(&ensure, &answer);
        fingerprint.finish()
    }

    #[test]
    fn it_is_of_what_the_plan_names_as_it_is_meant() {
        let same = of(&[&["=servers=1.1.1.1", "=cache-max-ttl=1w"]]);
        assert_eq!(
            of(&[&["=cache-max-ttl=7d", "=cache-used=99", "=servers=1.1.1.1"]]),
            same
        );
        for other in [
            &[&["=servers=1.1.1.2", "=cache-max-ttl=1w"][..]][..],
            &[&["=servers=1.1.1.1"]],
            &[&["=servers=1.1.1.1"], &["=cache-max-ttl=1w"]],
            &[],
        ] {
            assert_ne!(of(other), same, "{other:?}");
        }
    }
}
