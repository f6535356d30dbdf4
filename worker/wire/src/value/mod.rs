//! Values as RouterOS means them, where two spellings mean the same.
//!
//! On the wire every value is bytes, and bytes they stay: the views here are read from a borrowed value, none of them
//! allocates unless its page says so, and each says `None` to bytes that are not of its kind, so that a caller can fall
//! back to the bytes.
//!
//! | kind | as devices write it | view |
//! |---|---|---|
//! | boolean | `true`, `yes`, `false`, `no` | [`boolean`] |
//! | item id | `*30000001` | [`ItemId`] |
//! | duration | `1w4d23h26m9s`, `00:01:30`, `1s500ms` | [`duration::parse`] |
//! | size | `7.5GiB`, `64.0MiB`, `1048576` | [`size::parse`] |
//! | date | `Mar/22/2022 11:03:33`, `2025-05-23 14:27:17` | [`DateTime`] |
//! | list | `ether1,ether2` | [`List`] |
//! | version | `7.16.2 (stable)`, `7.19rc1` | [`Version`] |
//! | any bytes, as text | `caf\xE9` | [`text::escape`] |

use std::cmp::Ordering;

pub mod date;
pub mod duration;
pub mod id;
pub mod list;
pub mod size;
pub mod text;
pub mod version;

pub use date::DateTime;
pub use id::ItemId;
pub use list::List;
pub use version::{Stage, Version};

/// A boolean in either spelling: `true`/`yes` and `false`/`no`.
pub fn boolean(value: &[u8]) -> Option<bool> {
    match value {
        b"true" | b"yes" => Some(true),
        b"false" | b"no" => Some(false),
        _ => None,
    }
}

/// Whether two values are the same to a device: byte for byte, or as booleans.
///
/// ```
/// use routeros_wire::value;
/// assert!(value::equal(b"yes", b"true"));
/// assert!(!value::equal(b"", b"false"));
/// ```
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    a == b || boolean(a).is_some_and(|a| boolean(b) == Some(a))
}

/// How two values compare: by what they mean where both are of one kind, byte by byte otherwise.
///
/// The kinds, in the order they are tried, are whole numbers, item ids, durations, dates, sizes and versions. Some
/// values could be of two kinds: `1048576` is a number and a size, `7.16` a version and, elsewhere, a decimal. Such a
/// value counts as the kind of its partner if that partner can be nothing else, so `512KiB` is less than `1048576` and
/// `7.9` is less than `7.16.2 (stable)`; two of them count as bytes, or as whole numbers if they are.
///
/// It is the order of two values, not of many: across kinds it is not transitive, so do not sort with it.
///
/// ```
/// use routeros_wire::value::compare;
/// assert!(compare(b"90s", b"00:01:00").is_gt());
/// assert!(compare(b"7.16.2 (stable)", b"7.9").is_gt());
/// assert!(compare(b"ether10", b"ether9").is_lt());
/// ```
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    if equal(a, b) {
        return Ordering::Equal;
    }
    // Most values are numbers or names; one byte of each side tells whether anything else is worth trying.
    let (Some(first_a), Some(first_b)) = (a.first(), b.first()) else {
        return a.cmp(b);
    };
    if let (b'*', b'*') = (first_a, first_b) {
        return both(a, b, ItemId::parse).unwrap_or_else(|| a.cmp(b));
    }
    both(a, b, integer)
        .or_else(|| both(a, b, duration::parse))
        .or_else(|| both(a, b, DateTime::parse))
        .or_else(|| {
            let sure = size::has_unit(a) || size::has_unit(b);
            both(a, b, size::parse).filter(|_| sure)
        })
        .or_else(|| {
            let sure = version::is_nothing_else(a) || version::is_nothing_else(b);
            both(a, b, Version::parse).filter(|_| sure)
        })
        .unwrap_or_else(|| a.cmp(b))
}

fn both<T: Ord>(a: &[u8], b: &[u8], parse: fn(&[u8]) -> Option<T>) -> Option<Ordering> {
    Some(parse(a)?.cmp(&parse(b)?))
}

fn integer(value: &[u8]) -> Option<i128> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The digits at the front as a number, and what follows them; `None` without digits or beyond 64 bits.
fn digits(value: &[u8]) -> Option<(u64, &[u8])> {
    let end = value
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(value.len());
    let (digits, rest) = value.split_at(end);
    if digits.is_empty() {
        return None;
    }
    let number = digits.iter().try_fold(0u64, |number, digit| {
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })?;
    Some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_compare_by_value_and_text_by_bytes() {
        assert_eq!(compare(b"9", b"1500"), Ordering::Less);
        assert_eq!(compare(b"-1", b"0"), Ordering::Less);
        assert_eq!(compare(b"ether10", b"ether9"), Ordering::Less);
    }

    #[test]
    fn values_of_one_kind_compare_by_what_they_mean() {
        for (less, more) in [
            ("*9", "*1F"),
            ("90s", "2m"),
            ("00:01:30", "5m"),
            ("1w4d23h26m9s", "2w"),
            ("512KiB", "1.5MiB"),
            ("512KiB", "1048576"),
            ("900", "1KiB"),
            ("Mar/22/2022 11:03:33", "2025-05-23 14:27:17"),
            ("apr/22/2022 07:54:55", "2022-04-22 07:54:56"),
            ("7.9.2", "7.16.2 (stable)"),
            ("7.9", "7.16.2 (stable)"),
            ("7.19rc1", "7.19"),
        ] {
            let (a, b) = (less.as_bytes(), more.as_bytes());
            assert_eq!(compare(a, b), Ordering::Less, "{less} {more}");
            assert_eq!(compare(b, a), Ordering::Greater, "{more} {less}");
        }
    }

    #[test]
    fn what_could_be_two_things_is_bytes() {
        assert_eq!(compare(b"7.16", b"7.9"), Ordering::Less, "perhaps decimals");
        assert_eq!(compare(b"10m", b"9"), Ordering::Less, "a duration and a number");
        assert_eq!(compare(b"1.1.1.1", b"1.1.1.9"), Ordering::Less, "addresses");
    }

    proptest! {
        #[test]
        fn swapping_turns_the_answer_round(a in value(), b in value()) {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            if equal(&a, &b) {
                prop_assert_eq!(compare(&a, &b), Ordering::Equal);
            }
        }
    }

    fn value() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            "[*]?[0-9A-F]{1,4}".prop_map(String::into_bytes),
            "[0-9]{1,3}(s|m|KiB|\\.[0-9]|rc1)?".prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 0..6),
        ]
    }
}
