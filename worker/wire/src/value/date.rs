//! Dates with a time of day, in the formats that three generations of RouterOS print.

use std::fmt;

/// A date and a time of day as a device's clock showed it: without a zone, because the value has none.
///
/// Ordered by time. Read from `Mar/22/2022 11:03:33`, `apr/22/2022 07:54:55` (the case does not matter) and
/// `2025-05-23 14:27:17`; written as the last.
///
/// ```
/// use routeros_wire::value::DateTime;
/// let old = DateTime::parse(b"Mar/22/2022 11:03:33").unwrap();
/// let new = DateTime::parse(b"2025-05-23 14:27:17").unwrap();
/// assert!(old < new);
/// assert_eq!(old.to_string(), "2022-03-22 11:03:33");
/// ```
// The order of the fields is the order of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DateTime {
    /// 0 to 9999.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31, and a day that the month has.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
}

const MONTHS: [&[u8; 3]; 12] = [
    b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec",
];

impl DateTime {
    /// Reads any of the three formats; `None` for anything else and for days that do not exist.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let at = value.iter().position(|&byte| byte == b' ')?;
        let (date, time) = (&value[..at], &value[at + 1..]);
        let (year, month, day) = match date {
            [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] => (
                number(&[*y1, *y2, *y3, *y4])?,
                number(&[*m1, *m2])?,
                number(&[*d1, *d2])?,
            ),
            [a, b, c, b'/', d1, d2, b'/', y1, y2, y3, y4] => {
                let name = [a, b, c].map(u8::to_ascii_lowercase);
                let month = MONTHS.iter().position(|month| **month == name)? as u16 + 1;
                (number(&[*y1, *y2, *y3, *y4])?, month, number(&[*d1, *d2])?)
            }
            _ => return None,
        };
        let [h1, h2, b':', m1, m2, b':', s1, s2] = *time else {
            return None;
        };
        let (hour, minute, second) = (number(&[h1, h2])?, number(&[m1, m2])?, number(&[s1, s2])?);
        let exists = (1..=days(year, month)?).contains(&day) && hour < 24 && minute < 60 && second < 60;
        // All of them were just seen to be below 60, or to be a month.
        exists.then_some(Self {
            year,
            month: month as u8,
            day: day as u8,
            hour: hour as u8,
            minute: minute as u8,
            second: second as u8,
        })
    }
}

impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            year,
            month,
            day,
            hour,
            minute,
            second,
        } = self;
        write!(
            f,
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}"
        )
    }
}

fn number(digits: &[u8]) -> Option<u16> {
    let add = |number: u16, digit: &u8| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + u16::from(digit - b'0'))
    };
    digits.iter().try_fold(0, add)
}

fn days(year: u16, month: u16) -> Option<u16> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    Some(match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_three_formats() {
        for (text, iso) in [
            ("Mar/22/2022 11:03:33", "2022-03-22 11:03:33"),
            ("apr/22/2022 07:54:55", "2022-04-22 07:54:55"),
            ("2025-05-23 14:27:17", "2025-05-23 14:27:17"),
            ("jan/02/1970 00:00:00", "1970-01-02 00:00:00"),
            ("feb/29/2024 23:59:59", "2024-02-29 23:59:59"),
        ] {
            let parsed = DateTime::parse(text.as_bytes()).map(|date| date.to_string());
            assert_eq!(parsed.as_deref(), Some(iso), "{text}");
        }
    }

    #[test]
    fn what_is_no_date() {
        for bad in [
            "",
            " ",
            "2025-05-23",
            "14:27:17",
            "2025-05-23T14:27:17",
            "2025-5-23 14:27:17",
            "2025-13-01 00:00:00",
            "2025-00-01 00:00:00",
            "2025-02-29 00:00:00",
            "2100-02-29 00:00:00",
            "2025-04-31 00:00:00",
            "2025-04-00 00:00:00",
            "2025-04-01 24:00:00",
            "2025-04-01 00:60:00",
            "2025-04-01 00:00:60",
            "2025-04-01 00:00:00 ",
            "foo/01/2025 00:00:00",
            "22/mar/2022 00:00:00",
            "mar/22/2022  11:03:3",
        ] {
            assert_eq!(DateTime::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn both_spellings_of_a_day_are_the_same_day(
            year in 0u16..=9999, month in 1u16..=12, day in 1u16..=31, seconds in 0u32..86_400,
        ) {
            let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            let name = String::from_utf8_lossy(MONTHS[usize::from(month) - 1]);
            let old = format!("{name}/{day:02}/{year:04} {hour:02}:{minute:02}:{second:02}");
            let new = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}");
            let parsed = DateTime::parse(new.as_bytes());
            prop_assert_eq!(DateTime::parse(old.as_bytes()), parsed);
            prop_assert_eq!(parsed.is_some(), day <= days(year, month).unwrap());
            if let Some(parsed) = parsed {
                prop_assert_eq!(parsed.to_string(), new);
            }
        }

        #[test]
        fn dates_order_as_their_text(a in "20[0-2][0-9]-0[1-9]-[0-2][1-8] 1[0-9]:[0-5][0-9]:00", b in "20[0-2][0-9]-0[1-9]-[0-2][1-8] 1[0-9]:[0-5][0-9]:00") {
            let parse = |text: &str| DateTime::parse(text.as_bytes());
            prop_assert_eq!(parse(&a).cmp(&parse(&b)), a.cmp(&b));
        }
    }
}
