//! S5: what a session over TLS costs in memory.

use super::{Row, Run};
use crate::board::{Better, Outcome, Spec};
use crate::drive::Driver;
use crate::sim::Sim;

/// Memory of an idle session over TLS.
#[derive(Debug)]
pub(super) struct S5;

impl Row for S5 {
    fn spec(&self) -> Spec {
        Spec {
            id: "S5",
            what: "memory of a worker for each of 9,000 idle sessions with everything they need, over TLS 1.3, without the \
                   kernel's part",
            unit: "bytes",
            better: Better::Lower,
            floor: 8192.0,
            goal: 5632.0,
            baseline: "tokio-rustls: a stream that is logged in, and nothing else",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        // Also when it is to be quick: what a process has once would count for much among few.
        const CONNECTIONS: usize = 9_000;
        let sim = Sim::start(&run.program, CONNECTIONS)?;
        let each = |client: &str| -> anyhow::Result<f64> {
            let driver = Driver::start(&run.program, client, sim.tls_port(), CONNECTIONS, 1)?;
            Ok(driver.memory as f64 / CONNECTIONS as f64)
        };
        let ours = each("worker-tls")?;
        let theirs = each("tokio-rustls")?;
        Ok(Outcome::Noted {
            measured: ours,
            baseline: theirs,
            notes: vec![format!("{:.2} x the memory of tokio-rustls", ours / theirs)],
        })
    }
}
