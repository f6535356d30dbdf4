//! The rows of the scoreboard, a file each. A new row is a file here and a line in [`all`].

use std::io::{self, Write as _};
use std::path::PathBuf;

use crate::board::{Outcome, Spec};

mod audits;
mod bulk;
mod create;
mod decode;
mod export;
mod f1;
mod feed;
mod fleet;
mod loops;
mod nightly;
mod peers;
mod plans;
mod rivals;
mod rollouts;
mod sessions;
mod store;
mod tls;

/// A number that is watched.
pub trait Row {
    /// What it is and what is asked of it.
    fn spec(&self) -> Spec;

    /// Measures it and its baseline. An error is a run that does not count: a device that did not answer, bytes that
    /// were not the same. A row whose peer is not built is skipped, which is no error.
    fn measure(&self, run: &Run) -> anyhow::Result<Outcome>;
}

/// All rows in the order they are shown.
pub fn all() -> Vec<Box<dyn Row>> {
    vec![
        Box::new(f1::F1),
        Box::new(decode::W1),
        Box::new(feed::W2),
        Box::new(decode::W3a),
        Box::new(decode::W3b),
        Box::new(decode::W3c),
        Box::new(peers::W4),
        Box::new(bulk::W5),
        Box::new(feed::W6),
        Box::new(sessions::S1A),
        Box::new(sessions::S1B),
        Box::new(sessions::S2),
        Box::new(rivals::S3),
        Box::new(sessions::S4),
        Box::new(tls::S5),
        Box::new(fleet::S6),
        Box::new(fleet::S7),
        Box::new(rivals::S8A),
        Box::new(rivals::S8B),
        Box::new(rivals::S8C),
        Box::new(store::Q1),
        Box::new(loops::Q2),
        Box::new(loops::Q3),
        Box::new(create::Q4),
        Box::new(create::Q5),
        Box::new(store::Q6),
        Box::new(create::Q7),
        Box::new(rollouts::P1),
        Box::new(rollouts::P2),
        Box::new(rollouts::P3),
        Box::new(plans::E1),
        Box::new(plans::E2),
        Box::new(audits::R1),
        Box::new(audits::R3a),
        Box::new(audits::R3b),
        Box::new(export::R2),
        Box::new(nightly::R4),
        Box::new(export::R5),
    ]
}

/// How to measure.
#[derive(Clone, Debug)]
pub struct Run {
    /// A number to look at, and not one to record.
    pub quick: bool,
    /// Peers may be fetched and built.
    pub peers: bool,
    /// The scoreboard, for those who start it as a [simulated fleet](crate::sim) or a [server](crate::server).
    pub program: PathBuf,
}

impl Run {
    /// `quick` or `full`.
    pub fn pick(&self, quick: usize, full: usize) -> usize {
        if self.quick { quick } else { full }
    }

    /// Tells whoever waits how far it is.
    pub fn progress(&self, text: &str) {
        // Nobody may be there to be told.
        let _ = writeln!(io::stderr(), "{text}");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::board::Better;

    #[test]
    fn ids_are_unique_and_goals_lie_beyond_floors() {
        let specs = all().iter().map(|row| row.spec()).collect::<Vec<_>>();
        let ids = specs.iter().map(|spec| spec.id).collect::<BTreeSet<_>>();
        assert_eq!(ids.len(), specs.len());
        for Spec {
            id,
            better,
            floor,
            goal,
            ..
        } in specs
        {
            assert!(
                if better == Better::Higher {
                    goal >= floor
                } else {
                    goal <= floor
                },
                "{id}"
            );
        }
    }
}
