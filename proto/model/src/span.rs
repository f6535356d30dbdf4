//! Lengths of time as people write them.

use std::time::Duration;

use jiff::SignedDuration;

/// `30s`, `1h30m`, `500ms`, and with days of 24 hours `2d`, `1d12h`. `None` for anything else, and for less than nothing.
///
/// ```
/// use std::time::Duration;
/// use muster_model::span;
/// assert_eq!(span::parse("1h30m"), Some(Duration::from_secs(5400)));
/// assert_eq!(span::parse("1d12h"), Some(Duration::from_secs(36 * 3600)));
/// assert_eq!(span::parse("-1s"), None);
/// assert_eq!(span::parse("30"), None);
/// ```
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let with_days = text
        .split_once('d')
        .and_then(|(days, rest)| Some((days.trim().parse::<u32>().ok()?, rest)));
    let (days, rest) = with_days.unwrap_or((0, text));
    let rest = match (with_days, rest) {
        (Some(_), "") => Duration::ZERO,
        (_, rest) => rest.parse::<SignedDuration>().ok()?.try_into().ok()?,
    };
    rest.checked_add(Duration::from_secs(u64::from(days) * 86_400))
}

/// As it is written: `0s`, `90s`, `1.5s`.
pub fn text(time: Duration) -> String {
    match time.is_zero() {
        true => "0s".to_owned(),
        false => format!("{time:?}"),
    }
}
