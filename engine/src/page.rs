//! Page tokens: opaque to callers, and bound to the query they came from.

use sha2::{Digest as _, Sha256};
use tonic::Status;

use crate::error;

/// The size of a page: 0 means `default`, more than `most` gives `most`.
pub(crate) fn size(asked: i32, default: u32, most: u32) -> Result<u32, Status> {
    match u32::try_from(asked) {
        Ok(0) => Ok(default),
        Ok(size) => Ok(size.min(most)),
        Err(_) => Err(error::invalid_field(
            "page_size",
            format!("{asked} is negative; 0 means {default}"),
        )),
    }
}

/// A token that leads to what comes after `cursor` in this query.
pub(crate) fn token(query: &str, cursor: &str) -> String {
    let bytes = [&fingerprint(query), cursor.as_bytes()].concat();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The cursor in a token; `None` for the first page.
pub(crate) fn cursor(query: &str, token: &str) -> Result<Option<String>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let bad = || {
        error::invalid_field(
            "page_token",
            "it does not come from an earlier answer to the same query",
        )
    };
    let digits = token.as_bytes();
    if !digits.len().is_multiple_of(2) || !token.is_ascii() {
        return Err(bad());
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes = digits
        .chunks_exact(2)
        .map(byte)
        .collect::<Option<Vec<_>>>()
        .ok_or_else(bad)?;
    let cursor = bytes
        .strip_prefix(fingerprint(query).as_slice())
        .ok_or_else(bad)?;
    String::from_utf8(cursor.to_vec()).map(Some).map_err(|_| bad())
}

fn fingerprint(query: &str) -> [u8; 4] {
    let digest = Sha256::digest(query);
    [digest[0], digest[1], digest[2], digest[3]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_belongs_to_its_query() {
        let made = token("devices/site=a", "r7");
        assert_eq!(
            cursor("devices/site=a", &made).expect("its own"),
            Some("r7".to_owned())
        );
        assert!(cursor("devices/site=b", &made).is_err());
        assert!(cursor("devices/site=a", "zz").is_err());
        assert!(cursor("devices/site=a", "abc").is_err());
        assert_eq!(cursor("devices/site=a", "").expect("first page"), None);
    }

    #[test]
    fn sizes_are_clamped() {
        assert_eq!(size(0, 50, 500).expect("default"), 50);
        assert_eq!(size(9999, 50, 500).expect("clamped"), 500);
        assert!(size(-1, 50, 500).is_err());
    }
}
