//! Values that are numbers, in the units that devices write.

use routeros_wire::value::{duration, size};

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unit {
    Plain,
    Seconds,
    Bytes,
    BitsPerSecond,
    Percent,
    DecibelMilliwatts,
}

impl Unit {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Seconds => "s",
            Self::Bytes => "B",
            Self::BitsPerSecond => "bit/s",
            Self::Percent => "%",
            Self::DecibelMilliwatts => "dBm",
        }
    }
}

const SUFFIXES: [(&str, Unit, f64); 6] = [
    ("Gbps", Unit::BitsPerSecond, 1e9),
    ("Mbps", Unit::BitsPerSecond, 1e6),
    ("kbps", Unit::BitsPerSecond, 1e3),
    ("bps", Unit::BitsPerSecond, 1.0),
    ("dBm", Unit::DecibelMilliwatts, 1.0),
    ("%", Unit::Percent, 1.0),
];

/// Reads a number; `None` to anything else.
pub(crate) fn parse(value: &[u8]) -> Option<(f64, Unit)> {
    let first = *value.first()?;
    if !(first.is_ascii_digit() || matches!(first, b'-' | b'+' | b'.')) {
        return None;
    }
    let text = std::str::from_utf8(value).ok()?;
    if let Some(number) = decimal(text) {
        return Some((number, Unit::Plain));
    }
    if let Some(duration) = duration::parse(value) {
        return Some((duration.as_secs_f64(), Unit::Seconds));
    }
    if let Some(size) = size::parse(value) {
        return Some((size as f64, Unit::Bytes));
    }
    SUFFIXES
        .iter()
        .find_map(|(suffix, unit, factor)| Some((decimal(text.strip_suffix(suffix)?)? * factor, *unit)))
}

/// What Rust takes for a number without what only Rust takes: `1e5`, `inf`, `nan`.
fn decimal(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_one = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.parse().ok().filter(|_| is_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_units_of_devices() {
        for (text, number, unit) in [
            ("7", 7.0, Unit::Plain),
            ("-67", -67.0, Unit::Plain),
            ("3.25", 3.25, Unit::Plain),
            ("1w1d", 691_200.0, Unit::Seconds),
            ("00:01:30", 90.0, Unit::Seconds),
            ("1s500ms", 1.5, Unit::Seconds),
            ("512KiB", 524_288.0, Unit::Bytes),
            ("7.5GiB", 8_053_063_680.0, Unit::Bytes),
            ("100Mbps", 1e8, Unit::BitsPerSecond),
            ("2.5Gbps", 2.5e9, Unit::BitsPerSecond),
            ("95%", 95.0, Unit::Percent),
            ("-55dBm", -55.0, Unit::DecibelMilliwatts),
        ] {
            assert_eq!(parse(text.as_bytes()), Some((number, unit)), "{text}");
        }
    }

    #[test]
    fn what_is_no_number() {
        for text in [
            "",
            "x",
            "1.1.1.1",
            "1e5",
            "inf",
            "-",
            "7.16.2 (stable)",
            "ether1",
            "5 apples",
            "1,2",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse(b"5\xE9"), None);
    }
}
