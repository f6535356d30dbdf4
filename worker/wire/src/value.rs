//! Values as RouterOS means them, where two spellings mean the same.

use std::cmp::Ordering;

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

/// How two values compare: as whole numbers if both are, byte by byte otherwise.
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    match (integer(a), integer(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => a.cmp(b),
    }
}

fn integer(value: &[u8]) -> Option<i128> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_by_value_and_text_by_bytes() {
        assert_eq!(compare(b"9", b"1500"), Ordering::Less);
        assert_eq!(compare(b"-1", b"0"), Ordering::Less);
        assert_eq!(compare(b"ether10", b"ether9"), Ordering::Less);
    }
}
