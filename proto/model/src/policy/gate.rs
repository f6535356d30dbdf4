//! Gates: what has to be passed between two waves (E3).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Classes, Condition, Scope, Share, Tolerance};

/// One gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Gate {
    /// Names it in states, events and reports.
    pub id: String,
    /// What is asked.
    pub kind: GateKind,
    /// Records its verdict and never holds.
    pub shadow: bool,
}

/// What a gate asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateKind {
    /// Whether a rule would trip now; too small a sample is no answer.
    #[serde(rename_all = "kebab-case")]
    Rule {
        /// When it would.
        condition: Condition,
        /// What it counts.
        classes: Classes,
        /// Among which executions.
        scope: Scope,
    },
    /// Whether so much time has passed since the wave ended.
    Timer(Duration),
    /// Whether so many people, other than the author, approved of going on.
    #[serde(rename_all = "kebab-case")]
    Approval {
        /// So many different people.
        needed: u32,
        /// Only these; anybody when it is empty.
        from: Vec<String>,
    },
    /// Whether the devices of the wave measure after their change what they did before; a device that was not measured
    /// is no answer.
    #[serde(rename_all = "kebab-case")]
    Snapshot {
        /// What is compared, and which difference is right; never empty.
        tolerances: Vec<Tolerance>,
        /// So many devices may be out of it.
        max: u64,
    },
    /// What a server says to a POST: 2xx with `{"verdict": "pass" | "fail" | "inconclusive"}`.
    #[serde(rename_all = "kebab-case")]
    Webhook {
        /// `http://…` or `https://…`: see [`web_address`].
        url: String,
        /// How long an answer is waited for.
        timeout: Duration,
        /// Certificates that its chain may end in, PEM; none for those that the engine's system trusts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        roots: Option<String>,
    },
    /// Whether devices that were changed measure what those of their board, architecture and site do that were not yet, at the
    /// same time.
    #[serde(rename_all = "kebab-case")]
    Control {
        /// What is compared, and how far the middle of those that were changed may be from the middle of the others; never empty.
        tolerances: Vec<Tolerance>,
        /// About so many devices are asked on each side.
        sample: u32,
    },
    /// Whether the devices of the wave that went well are as an audit wants them. Devices that do not answer are no answer.
    #[serde(rename_all = "kebab-case")]
    Audit {
        /// The file's name, for people.
        name: String,
        /// The audit's file, TOML.
        definition: String,
        /// The share of devices and checks that has to be judged.
        min_coverage: Share,
        /// So many devices may fail.
        max: u64,
    },
}

impl GateKind {
    /// As in files.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Rule { .. } => "rule",
            Self::Timer(_) => "timer",
            Self::Approval { .. } => "approval",
            Self::Webhook { .. } => "webhook",
            Self::Snapshot { .. } => "snapshot",
            Self::Audit { .. } => "audit",
            Self::Control { .. } => "control",
        }
    }
}

/// A web address taken apart: whether it is asked over TLS, the host, the port, and the path with its slash. `None` for what
/// cannot be asked.
///
/// ```
/// use muster_model::policy::web_address;
/// assert_eq!(web_address("https://hooks/gate"), Some((true, "hooks", 443, "/gate")));
/// assert_eq!(web_address("http://[::1]:9000"), Some((false, "::1", 9000, "/")));
/// assert_eq!(web_address("ftp://hooks"), None);
/// ```
pub fn web_address(url: &str) -> Option<(bool, &str, u16, &str)> {
    let (tls, rest) = match url.strip_prefix("https://") {
        Some(rest) => (true, rest),
        None => (false, url.strip_prefix("http://")?),
    };
    if !url.is_ascii() || url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return None;
    }
    let at = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let (host, port) = match authority.rsplit_once(':') {
        // An address of version 6 without a port ends with its bracket.
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok().filter(|port| *port > 0)?),
        _ => (authority, if tls { 443 } else { 80 }),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    let right = !host.is_empty() && !host.contains(['@', '[', ']', '?', '#']);
    right.then_some((tls, host, port, if path.is_empty() { "/" } else { path }))
}
