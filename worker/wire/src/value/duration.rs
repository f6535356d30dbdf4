//! Durations: `1w4d23h26m9s`, `100ms`, `00:01:30`, `1d02:03:04`.
//!
//! Units stand in falling order, each at most once. The clock form may follow weeks and days and carry a fraction of a
//! second. A bare number is no duration here (devices take it for seconds where they expect one, and it is a number
//! everywhere else), and neither is a negative one: [`Duration`] has no sign.

use std::fmt;
use std::time::Duration;

use super::digits;

const SECOND: u64 = 1_000_000_000;

/// The units in falling order with their nanoseconds.
const UNITS: [(&str, u64); 8] = [
    ("w", 604_800 * SECOND),
    ("d", 86_400 * SECOND),
    ("h", 3600 * SECOND),
    ("m", 60 * SECOND),
    ("s", SECOND),
    ("ms", 1_000_000),
    ("us", 1000),
    ("ns", 1),
];

/// Reads a duration in either form.
///
/// ```
/// use std::time::Duration;
/// use routeros_wire::value::duration;
/// assert_eq!(duration::parse(b"1w4d23h26m9s"), Some(Duration::from_secs(1_034_769)));
/// assert_eq!(duration::parse(b"00:01:30"), Some(Duration::from_secs(90)));
/// assert_eq!(duration::parse(b"-5s"), None);
/// ```
pub fn parse(value: &[u8]) -> Option<Duration> {
    if !value.first()?.is_ascii_digit() {
        return None;
    }
    let (mut rest, mut units, mut sum) = (value, &UNITS[..], Duration::ZERO);
    while !rest.is_empty() {
        let (number, after) = digits(rest)?;
        if after.first() == Some(&b':') {
            // Only weeks and days may stand before the clock.
            return if units.len() > UNITS.len() - 3 {
                sum.checked_add(clock(number, after)?)
            } else {
                None
            };
        }
        let end = after.iter().position(u8::is_ascii_digit).unwrap_or(after.len());
        let (unit, tail) = after.split_at(end);
        let at = units.iter().position(|(name, _)| name.as_bytes() == unit)?;
        sum = sum.checked_add(times(number, units[at].1)?)?;
        units = &units[at + 1..];
        rest = tail;
    }
    Some(sum)
}

/// `:MM:SS` or `:MM:SS.fraction` after the hours.
fn clock(hours: u64, rest: &[u8]) -> Option<Duration> {
    let (clock, fraction) = match rest {
        [b':', m1, m2, b':', s1, s2] => ([m1, m2, s1, s2], &b""[..]),
        [b':', m1, m2, b':', s1, s2, b'.', fraction @ ..] if !fraction.is_empty() && fraction.len() <= 9 => {
            ([m1, m2, s1, s2], fraction)
        }
        _ => return None,
    };
    if !clock.iter().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let [m1, m2, s1, s2] = clock.map(|digit| u64::from(digit - b'0'));
    let (minutes, seconds) = (m1 * 10 + m2, s1 * 10 + s2);
    if minutes > 59 || seconds > 59 {
        return None;
    }
    let nanoseconds = match fraction {
        [] => 0,
        fraction => match digits(fraction)? {
            // At most nine digits, so this stays below a second.
            (number, []) => number * 10u64.pow(9 - fraction.len() as u32),
            _ => return None,
        },
    };
    let seconds = hours.checked_mul(3600)?.checked_add(minutes * 60 + seconds)?;
    Duration::from_secs(seconds).checked_add(Duration::from_nanos(nanoseconds))
}

fn times(number: u64, nanoseconds: u64) -> Option<Duration> {
    match nanoseconds {
        n if n >= SECOND => Some(Duration::from_secs(number.checked_mul(n / SECOND)?)),
        n => {
            let in_a_second = SECOND / n;
            let below = Duration::from_nanos((number % in_a_second) * n);
            Duration::from_secs(number / in_a_second).checked_add(below)
        }
    }
}

/// A duration as devices print it: `1w4d23h26m9s`, `1s500ms`, `0s`. Nothing is rounded.
///
/// ```
/// use std::time::Duration;
/// use routeros_wire::value::duration;
/// assert_eq!(duration::display(Duration::from_millis(90_100)).to_string(), "1m30s100ms");
/// ```
pub fn display(duration: Duration) -> impl fmt::Display {
    Spelled(duration)
}

struct Spelled(Duration);

impl fmt::Display for Spelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() {
            return f.write_str("0s");
        }
        let (mut seconds, mut below) = (self.0.as_secs(), u64::from(self.0.subsec_nanos()));
        for (name, nanoseconds) in UNITS {
            let (left, unit) = match nanoseconds >= SECOND {
                true => (&mut seconds, nanoseconds / SECOND),
                false => (&mut below, nanoseconds),
            };
            let count = *left / unit;
            *left %= unit;
            if count > 0 {
                write!(f, "{count}{name}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_forms_and_all_units() {
        for (text, milliseconds) in [
            ("1w4d23h26m9s", 1_034_769_000),
            ("7w5d6h3m34s", 4_687_414_000),
            ("00:01:30", 90_000),
            ("01:22:53", 4_973_000),
            ("100:00:00", 360_000_000),
            ("1d00:00:01", 86_401_000),
            ("1w2d03:04:05.25", 788_645_250),
            ("5m", 300_000),
            ("100ms", 100),
            ("1s500ms", 1500),
            ("90s", 90_000),
            ("0s", 0),
            ("00:00:00", 0),
        ] {
            assert_eq!(
                parse(text.as_bytes()),
                Some(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        assert_eq!(parse(b"12us7ns"), Some(Duration::from_nanos(12_007)));
    }

    #[test]
    fn what_is_no_duration() {
        for bad in [
            "",
            "5",
            "-5s",
            "+5s",
            "s",
            "5 s",
            "1s1s",
            "1s1m",
            "1h00:00:01",
            "1m00:01:30",
            "01:30",
            "00:60:00",
            "00:00:60",
            "0:0:1",
            "00:00:00.",
            "00:00:00.0000000001",
            "00:00:00.1s",
            "00:0C:42:00:00:01",
            "1.5s",
            "5x",
            "5S",
            "never",
            "99999999999999999999s",
            "18446744073709551615w",
            "18446744073709551615:00:00",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn display_is_read_back(seconds: u64, below in 0u32..1_000_000_000) {
            let duration = Duration::new(seconds, below);
            prop_assert_eq!(parse(display(duration).to_string().as_bytes()), Some(duration));
        }

        #[test]
        fn nothing_panics(value in "[0-9wdhmsun:.]{0,20}") {
            parse(value.as_bytes());
        }
    }
}
