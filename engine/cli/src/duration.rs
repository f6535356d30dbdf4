//! Durations as people write them: `30s`, `5m`, `1h30m`, `500ms`.

use std::time::Duration;

use muster_model::span;

/// Reads a duration that is not negative.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let hint = "write it with a unit, for example 30s, 5m or 500ms";
    span::parse(text).ok_or_else(|| match text.trim().starts_with('-') {
        true => format!("{text:?} is negative; {hint}"),
        false => format!("{text:?} is no duration; {hint}"),
    })
}

/// Reads a duration that is more than nothing.
pub(crate) fn parse_positive(text: &str) -> Result<Duration, String> {
    match parse(text)? {
        Duration::ZERO => Err(format!("{text:?} is no time at all")),
        duration => Ok(duration),
    }
}

/// How long to keep something; none for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keep(pub(crate) Option<Duration>);

/// Reads how long jobs are kept: a duration of at least a day, or `forever`, which `0` means too.
pub(crate) fn parse_keep(text: &str) -> Result<Keep, String> {
    if matches!(text, "forever" | "0") {
        return Ok(Keep(None));
    }
    let least = muster_engine::KEEP_AT_LEAST;
    match parse(text)? {
        Duration::ZERO => Ok(Keep(None)),
        keep if keep < least => Err(format!(
            "{text:?} is too short; at least {}h, so that a request that is repeated is not done again",
            least.as_secs() / 3600
        )),
        keep => Ok(Keep(Some(keep))),
    }
}

/// For serde.
pub(crate) fn deserialize_keep<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Keep>, D::Error> {
    let text = <String as serde::Deserialize>::deserialize(deserializer)?;
    parse_keep(&text).map(Some).map_err(serde::de::Error::custom)
}

/// For serde.
pub(crate) fn deserialize<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let text = <String as serde::Deserialize>::deserialize(deserializer)?;
    parse(&text).map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        for bad in ["30", "", "-5s", "soon"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_kept_is_kept_for_a_day_at_least() {
        assert_eq!(
            parse_keep("2160h"),
            Ok(Keep(Some(Duration::from_secs(90 * 86_400))))
        );
        assert_eq!(parse_keep("24h"), Ok(Keep(Some(Duration::from_secs(86_400)))));
        for ever in ["0", "0s", "forever"] {
            assert_eq!(parse_keep(ever), Ok(Keep(None)), "{ever}");
        }
        for bad in ["23h", "1ms", "90", "always", "-24h"] {
            assert!(parse_keep(bad).is_err(), "{bad}");
        }
    }
}
