//! The vendor's updater, as its menu tells of it.
//!
//! Its status is a text for people that differs from version to version: it is matched by its beginning, and versions are
//! compared instead wherever that decides (facts §3.2).

use bytes::Bytes;

use crate::steps::router::value;

pub(super) const QUESTION: &[&str] = &["/system/package/update/print"];

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Updater {
    pub(super) channel: String,
    /// Empty while a check runs, and after one that failed.
    pub(super) latest: String,
    pub(super) status: Status,
}

/// What it is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// Nothing: what it offers is known, if it has been asked.
    Idle,
    /// A check or a download runs, as it says.
    Busy(String),
    /// It says something that nobody knows; what it offers is known. After a check that is its answer, in the middle of a
    /// download it is a part of that.
    Other(String),
    /// What it offers is on the router, and a restart installs it.
    Downloaded,
    /// It failed, as it says.
    Error(String),
}

impl Updater {
    pub(super) fn read(answer: &Bytes) -> Self {
        let text = |name: &str| value(answer, name).unwrap_or_default();
        let latest = text("latest-version");
        Self {
            channel: text("channel"),
            status: Status::of(&text("status"), latest.is_empty()),
            latest,
        }
    }
}

impl Status {
    fn of(text: &str, nothing_known: bool) -> Self {
        let lower = text.trim().to_ascii_lowercase();
        let begins = |beginning: &str| lower.starts_with(beginning);
        if begins("error") || begins("failed") || begins("could not") || lower.contains("not enough") {
            Self::Error(text.trim().to_owned())
        } else if is_downloaded(&lower) {
            Self::Downloaded
        } else if begins("new version") || begins("system is already") || begins("download interrupted") {
            Self::Idle
        } else if lower.is_empty() {
            match nothing_known {
                true => Self::Busy(String::new()),
                false => Self::Idle,
            }
        } else if nothing_known || is_at_it(&lower) {
            Self::Busy(text.trim().to_owned())
        } else {
            Self::Other(text.trim().to_owned())
        }
    }
}

/// Whether a text in small letters says that a download is over, and not how far it is ("downloaded 40%").
fn is_downloaded(text: &str) -> bool {
    let asks = text.contains("downloaded") && text.contains("reboot");
    asks || text.starts_with("downloaded") && !text.contains(|c: char| c.is_ascii_digit())
}

/// Whether it says that something runs.
fn is_at_it(text: &str) -> bool {
    let doing = [
        "finding",
        "checking",
        "calculating",
        "download",
        "connecting",
        "resolving",
    ];
    doing.iter().any(|word| text.starts_with(word)) || text.ends_with("...") || text.ends_with('%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_known_by_their_beginning() {
        let of = |text: &str| Status::of(text, true);
        assert_eq!(of("New version is available"), Status::Idle);
        assert_eq!(of("System is already up to date"), Status::Idle);
        assert_eq!(
            of("Downloaded, please reboot router to upgrade it"),
            Status::Downloaded
        );
        for busy in [
            "finding out latest version...",
            "Downloading 37%",
            "calculating download size...",
        ] {
            assert_eq!(of(busy), Status::Busy(busy.to_owned()));
        }
        // What is known of it decides what an unknown text means.
        let other = "Update available: 7.20.4";
        assert_eq!(of(other), Status::Busy(other.to_owned()));
        assert_eq!(Status::of(other, false), Status::Other(other.to_owned()));
        for busy in [
            "finding out latest version...",
            "asking upgrade.mikrotik.com...",
            "42%",
        ] {
            assert_eq!(Status::of(busy, false), Status::Busy(busy.to_owned()));
        }
        // How far a download is, and that it is over.
        for busy in ["downloaded 42%", "downloaded 3.5 of 12MiB"] {
            assert_eq!(Status::of(busy, false), Status::Busy(busy.to_owned()));
        }
        for done in [
            "Downloaded",
            "Downloaded 7.20.4, please reboot router to upgrade it",
            "Packages downloaded, reboot to install",
        ] {
            assert_eq!(Status::of(done, false), Status::Downloaded, "{done}");
        }
        for error in [
            "ERROR: could not resolve dns name",
            "ERROR: not enough disk space",
            "not enough disk space",
        ] {
            assert_eq!(of(error), Status::Error(error.to_owned()));
        }
    }
}
