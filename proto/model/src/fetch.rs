//! A file that a router fetches.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::step::{BadStep, check_file, check_sha256, check_url, deadline};

/// How long a file may take unless told otherwise.
pub const WITHIN: Duration = Duration::from_secs(10 * 60);

/// A checked file to be fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Fetch {
    /// Where it is.
    pub url: String,
    /// What it is called on the router.
    pub file: String,
    /// What it has to be, SHA-256 in lower-case hex: read back from the router, which can be done from 7.13 on. Without it
    /// only its size is compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// How long it may take, milliseconds.
    pub within_ms: u64,
}

impl Fetch {
    /// A file to be fetched; without a name it is called as in its address.
    pub fn new(
        url: &str,
        file: Option<&str>,
        sha256: Option<&str>,
        within: Option<Duration>,
    ) -> Result<Self, Vec<BadStep>> {
        let mut bad = Vec::new();
        check_url("url", url, &mut bad);
        let last = || {
            url.split(['?', '#'])
                .next()
                .and_then(|path| path.rsplit('/').next())
        };
        let file = file.or_else(last).unwrap_or_default();
        check_file("file", file, &mut bad);
        if let Some(sha256) = sha256 {
            check_sha256("sha256", sha256, &mut bad);
        }
        let within_ms = deadline("within", within.unwrap_or(WITHIN), &mut bad);
        match bad.is_empty() {
            true => Ok(Self {
                url: url.to_owned(),
                file: file.to_owned(),
                sha256: sha256.map(str::to_lowercase),
                within_ms,
            }),
            false => Err(bad),
        }
    }
}
