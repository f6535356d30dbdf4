//! What the kinds of steps have in common.

use std::time::Duration;

use thiserror::Error;

use crate::span;

/// A field of a step that cannot be taken.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct BadStep {
    /// Its name in a message: `wait`, `sha256`. Empty for the step as a whole.
    pub field: &'static str,
    /// What is wrong with the value, and what would be right.
    pub message: String,
}

impl BadStep {
    pub(crate) fn new(field: &'static str, message: impl Into<String>) -> Self {
        Self {
            field,
            message: message.into(),
        }
    }
}

/// The longest that a step waits: a day.
pub const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The shortest deadline of a step.
const SHORTEST: Duration = Duration::from_secs(1);

/// A deadline in milliseconds; what is wrong with it is told.
pub(crate) fn deadline(field: &'static str, given: Duration, bad: &mut Vec<BadStep>) -> u64 {
    if !(SHORTEST..=LONGEST).contains(&given) {
        bad.push(BadStep::new(
            field,
            format!("{}; 1 s to 24 h are possible", span::text(given)),
        ));
    }
    millis(given)
}

pub(crate) fn millis(given: Duration) -> u64 {
    u64::try_from(given.as_millis()).unwrap_or(u64::MAX)
}

/// Whether a text is SHA-256 in hexadecimal digits.
pub(crate) fn check_sha256(field: &'static str, text: &str, bad: &mut Vec<BadStep>) {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let message = format!("{text:?} is no SHA-256; it has 64 hexadecimal digits");
        bad.push(BadStep::new(field, message));
    }
}

/// Whether a text is an address that a router fetches from.
pub(crate) fn check_url(field: &'static str, text: &str, bad: &mut Vec<BadStep>) {
    const SCHEMES: [&str; 4] = ["http://", "https://", "ftp://", "tftp://"];
    const LONGEST_URL: usize = 4096;
    let scheme = SCHEMES.iter().find(|scheme| text.starts_with(**scheme));
    let Some(rest) = scheme.and_then(|scheme| text.strip_prefix(scheme)) else {
        let message = format!(
            "{text:?} is no address; it begins with one of {}",
            SCHEMES.join(", ")
        );
        bad.push(BadStep::new(field, message));
        return;
    };
    let host = rest.split('/').next().unwrap_or_default();
    if host.is_empty() || text.len() > LONGEST_URL || text.bytes().any(|byte| byte < b' ') {
        bad.push(BadStep::new(
            field,
            format!("{text:?} is no address of a file, at most {LONGEST_URL} bytes long"),
        ));
    }
    if host.contains('@') {
        bad.push(BadStep::new(
            field,
            "it holds a user's name or password, and a plan is kept and shown as it stands",
        ));
    }
}

/// Whether a text is the name of a file on a router.
pub(crate) fn check_file(field: &'static str, text: &str, bad: &mut Vec<BadStep>) {
    let odd = |part: &str| part.is_empty() || part == "." || part == "..";
    if text.is_empty() || text.len() > 255 || text.chars().any(char::is_control) || text.split('/').any(odd) {
        bad.push(BadStep::new(
            field,
            format!("{text:?} is no name of a file, such as flash/routeros-7.16.2-arm64.npk"),
        ));
    }
}
