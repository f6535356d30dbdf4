//! The configuration file of `serve`: every key may be left out, an unknown one is an error.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::duration;
use crate::exit::Failure;

/// What a file may say.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// As `--data`.
    pub data: Option<PathBuf>,
    /// As `--listen`.
    pub listen: Option<SocketAddr>,
    /// A worker that is silent for this long has lost its leases; `"15s"` unless told otherwise.
    #[serde(default, deserialize_with = "deserialize_lease")]
    pub lease: Option<Duration>,
    /// As `--keep`.
    #[serde(default, deserialize_with = "duration::deserialize_keep")]
    pub keep: Option<duration::Keep>,
    /// TLS for callers from elsewhere.
    #[serde(default)]
    pub tls: Tls,
    /// The worker in the engine's process.
    #[serde(default)]
    pub worker: Worker,
}

/// TLS for callers from elsewhere.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Tls {
    /// As `--tls-cert`.
    pub certificate: Option<PathBuf>,
    /// As `--tls-key`.
    pub key: Option<PathBuf>,
    /// As `--tls-client-ca`.
    pub client_ca: Option<PathBuf>,
}

/// The worker in the engine's process.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Worker {
    /// `false` as `--no-worker`.
    pub enabled: Option<bool>,
    /// Executions held at once.
    pub slots: Option<u32>,
    /// TCP connect and login together.
    #[serde(default, deserialize_with = "duration::deserialize")]
    pub connect_timeout: Option<Duration>,
    /// A session without work is closed after this.
    #[serde(default, deserialize_with = "duration::deserialize")]
    pub idle: Option<Duration>,
    /// Commands in flight on one connection.
    pub in_flight: Option<usize>,
    /// New connections a second.
    pub connects_per_second: Option<u32>,
    /// As `--hold`.
    pub hold: Option<String>,
    /// PEM file with the roots for devices whose `tls` is `roots`.
    pub device_roots: Option<PathBuf>,
}

impl Config {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
        toml::from_str(&text).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
    }
}

/// Shorter terms than this are lost whenever a machine is busy for a moment.
const SHORTEST_LEASE: Duration = Duration::from_millis(50);

/// Reads the term of a lease.
pub(crate) fn parse_lease(text: &str) -> Result<Duration, String> {
    match duration::parse(text)? {
        short if short < SHORTEST_LEASE => Err(format!("{text:?} is too short; at least 50ms is needed")),
        lease => Ok(lease),
    }
}

fn deserialize_lease<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_lease(&text).map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_read_and_a_typo_is_not() {
        let text = "data = \"/var/lib/muster\"\nlisten = \"127.0.0.1:7601\"\nlease = \"15s\"\nkeep = \"720h\"\n[worker]\nenabled = true\n\
                    slots = 10\nconnect-timeout = \"10s\"\nidle = \"1m\"\nin-flight = 4\nconnects-per-second = 100\n";
        let config = toml::from_str::<Config>(text).expect("valid");
        assert_eq!(
            config.keep,
            Some(duration::Keep(Some(Duration::from_secs(30 * 86_400))))
        );
        assert_eq!(config.worker.idle, Some(Duration::from_secs(60)));
        let error = toml::from_str::<Config>("lissten = \"127.0.0.1:1\"")
            .expect_err("a typo")
            .to_string();
        assert!(
            error.contains("unknown field `lissten`") && error.contains("`listen`"),
            "{error}"
        );
        assert!(toml::from_str::<Config>("lease = \"15\"").is_err());
        let error = toml::from_str::<Config>("lease = \"49ms\"").expect_err("too short");
        assert!(error.to_string().contains("at least 50ms"), "{error}");
    }
}
