//! When changes may start: windows and freezes (G1 to G3). The values only; which window is open when is computed in
//! the engine's core.

use std::time::Duration;

use croner::parser::{CronParser, Seconds};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The shortest window. A shorter one would be over before anything could begin.
const SHORTEST: Duration = Duration::from_secs(1);
/// The longest window: longer ones overlap with themselves in any usual schedule.
const LONGEST: Duration = Duration::from_secs(31 * 86_400);

/// Opens whenever the cron expression fires in the zone, and stays open for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Window {
    /// Five or six fields.
    pub cron: String,
    /// How long it stays open.
    pub duration: Duration,
    /// An IANA zone: `Europe/Riga`.
    pub zone: Zone,
}

/// A time zone that is known by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Zone(String);

/// A time in which nothing may start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Freeze {
    /// Unix milliseconds.
    pub from: i64,
    /// Unix milliseconds; later than `from`.
    pub to: i64,
    /// For people.
    pub reason: String,
}

/// What happens to what is in flight when a window ends (G3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AtEnd {
    /// It goes through all steps.
    #[default]
    Finish,
    /// It stops before its next step.
    Stop,
}

/// What is wrong with a window.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WindowError {
    /// Not an expression of cron.
    #[error(
        "{0:?} is no cron expression ({1}); write minute, hour, day, month and weekday, for example \"0 1 * * *\""
    )]
    Cron(String, String),
    /// Too short or too long.
    #[error("a window is open for 1 s to 31 days")]
    Duration,
    /// Nobody knows this zone.
    #[error("{0:?} is no time zone; write an IANA name, for example \"Europe/Riga\" or \"UTC\"")]
    Zone(String),
}

impl Zone {
    /// A zone by its IANA name.
    pub fn new(name: &str) -> Result<Self, WindowError> {
        match TimeZone::get(name) {
            Ok(_) => Ok(Self(name.to_owned())),
            Err(_) => Err(WindowError::Zone(name.to_owned())),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Its rules; those of UTC when this machine has lost them.
    pub fn rules(&self) -> TimeZone {
        TimeZone::get(&self.0).unwrap_or(TimeZone::UTC)
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self("UTC".into())
    }
}

/// Reads an expression of cron with five or six fields, the first of six being seconds.
pub fn cron(text: &str) -> Result<croner::Cron, WindowError> {
    let parser = CronParser::builder().seconds(Seconds::Optional).build();
    parser
        .parse(text)
        .map_err(|error| WindowError::Cron(text.to_owned(), error.to_string()))
}

impl Window {
    /// What is wrong with it, if anything.
    pub fn check(&self) -> Result<(), WindowError> {
        cron(&self.cron)?;
        Zone::new(self.zone.name())?;
        match self.duration {
            duration if (SHORTEST..=LONGEST).contains(&duration) => Ok(()),
            _ => Err(WindowError::Duration),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_checked() {
        let window = |cron: &str, seconds| Window {
            cron: cron.into(),
            duration: Duration::from_secs(seconds),
            zone: Zone::default(),
        };
        assert_eq!(window("0 1 * * *", 3600).check(), Ok(()));
        assert_eq!(window("0 0 1 * * MON-FRI", 3600).check(), Ok(()));
        assert!(matches!(
            window("0 25 * * *", 3600).check(),
            Err(WindowError::Cron(..))
        ));
        assert_eq!(window("0 1 * * *", 0).check(), Err(WindowError::Duration));
        assert!(Zone::new("Europe/Riga").is_ok());
        assert_eq!(
            Zone::new("Europe/Rigga"),
            Err(WindowError::Zone("Europe/Rigga".into()))
        );
    }
}
