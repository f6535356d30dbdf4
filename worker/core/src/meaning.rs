//! Values as RouterOS means them: whether what a device has is what a plan wants (L6).
//!
//! | kind | the same |
//! |---|---|
//! | boolean | `yes`, `true`; `no`, `false`, and a property that is not there |
//! | duration | `90s`, `1m30s`, `00:01:30`, and `90` beside any of them |
//! | size, rate | `2MiB`, `2048KiB`, `2097152`, and `2M` beside any of them; `10M/2M`, `10000000/2000000` |
//! | what is not to be | `!` before any of these, and before a list the whole of it |
//! | address | `10.0.0.1`, `10.0.0.1/32`; IPv6 and MAC addresses in any spelling |
//! | list | `a,b`, `b,a`, except where it is a list of what to try first |
//! | text | nothing but itself: comments, names, scripts |

use std::borrow::Cow;
use std::net::IpAddr;

use routeros_wire::value::{List, boolean, duration, size};

/// Properties whose value is text, whatever it looks like.
const TEXT: &[&str] = &[
    "code",
    "comment",
    "content",
    "contents",
    "contact",
    "location",
    "log-prefix",
    "name",
    "note",
    "on-down",
    "on-event",
    "on-login",
    "on-logout",
    "on-up",
    "regexp",
    "source",
    "ssid",
    "text",
];

/// Lists whose order is the order in which their parts are tried or shown.
const ORDERED: &[&str] = &[
    "authentication-types",
    "default-route-distance",
    "dns-server",
    "ntp-server",
    "primary-dns",
    "proposals",
    "radius-servers",
    "servers",
    "server-dns-names",
    "wins-server",
];

/// Whether a property that has this value, or is not there, is as wanted.
///
/// ```
/// use muster_worker_core::meaning::same;
/// assert!(same("allow-remote-requests", Some(b"true"), b"yes"));
/// assert!(same("dst-port", Some(b"80,443"), b"443,80"));
/// assert!(!same("servers", Some(b"1.1.1.1,9.9.9.9"), b"9.9.9.9,1.1.1.1"));
/// assert!(same("comment", None, b""));
/// ```
pub fn same(name: &str, have: Option<&[u8]>, want: &[u8]) -> bool {
    let Some(have) = have else {
        return want.is_empty() || (!TEXT.contains(&name) && boolean(want) == Some(false));
    };
    if have == want {
        return true;
    }
    let (a, b) = (normal(name, have), normal(name, want));
    a == b
        || (!TEXT.contains(&name) && (is_in_seconds(&a, &b) || is_in_seconds(&b, &a) || are_one_size(&a, &b)))
}

/// The value in one spelling out of those that mean the same. A bare number stays a number.
pub fn normal<'a>(name: &str, value: &'a [u8]) -> Cow<'a, [u8]> {
    if value.is_empty() || TEXT.contains(&name) {
        return value.into();
    }
    match value.strip_prefix(b"!") {
        Some(not) => [&b"!"[..], &list(name, not)].concat().into(),
        None => list(name, value),
    }
}

fn list<'a>(name: &str, value: &'a [u8]) -> Cow<'a, [u8]> {
    if !value.contains(&b',') {
        return one(value);
    }
    let mut parts = List(value).iter().map(one).collect::<Vec<_>>();
    if !ORDERED.contains(&name) {
        parts.sort();
    }
    parts.join(&b","[..]).into()
}

fn one(value: &[u8]) -> Cow<'_, [u8]> {
    if let Some(on) = boolean(value) {
        return if on { &b"yes"[..] } else { b"no" }.into();
    }
    // Most values are plain numbers and names: nothing below has a spelling without one of these.
    if !value.iter().any(|byte| matches!(byte, b'0'..=b'9' | b':')) || value.iter().all(u8::is_ascii_digit) {
        return value.into();
    }
    if let Some(duration) = duration::parse(value) {
        return duration::display(duration).to_string().into_bytes().into();
    }
    if let Some(bytes) = value.ends_with(b"iB").then(|| size::parse(value)).flatten() {
        return bytes.to_string().into_bytes().into();
    }
    if let Some(address) = address(value) {
        return address.into_bytes().into();
    }
    match is_mac(value) {
        true => value.to_ascii_uppercase().into(),
        false => value.into(),
    }
}

/// An IP address in its shortest spelling, with the length of its prefix unless that covers all of it.
fn address(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let address = address.parse::<IpAddr>().ok()?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    Some(match length {
        Some(length) if length < whole => format!("{address}/{length}"),
        Some(length) if length > whole => return None,
        _ => address.to_string(),
    })
}

fn is_mac(value: &[u8]) -> bool {
    value.len() == 17
        && value.iter().enumerate().all(|(at, byte)| match at % 3 {
            2 => *byte == b':',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Whether a bare number is this duration: devices take it for seconds where they expect one.
fn is_in_seconds(number: &[u8], other: &[u8]) -> bool {
    let number = std::str::from_utf8(number)
        .ok()
        .and_then(|text| text.parse().ok());
    let number: Option<u64> = number.filter(|_| !other.iter().all(u8::is_ascii_digit));
    number.is_some_and(|number| {
        duration::parse(other).is_some_and(|duration| duration == std::time::Duration::from_secs(number))
    })
}

/// Whether sizes or rates are the same where one of the two is written with a `k`, `M` or `G`: that is a power of ten for a
/// rate and a power of two for a size, and only the device knows which of them its property is.
fn are_one_size(a: &[u8], b: &[u8]) -> bool {
    let (Some(a), Some(b)) = (sizes(a), sizes(b)) else {
        return false;
    };
    let short = |sizes: &[[u64; 2]]| sizes.iter().any(|[ten, two]| ten != two);
    (short(&a) || short(&b))
        && a.len() == b.len()
        && std::iter::zip(&a, &b).all(|(a, b)| a.iter().any(|size| b.contains(size)))
}

/// What each part of `10M/2M` may be: with powers of ten, and with powers of two.
fn sizes(value: &[u8]) -> Option<Vec<[u64; 2]>> {
    let part = |part: &[u8]| {
        let (unit, number) = part.split_last()?;
        let power = match unit {
            b'k' | b'K' => 1,
            b'M' => 2,
            b'G' => 3,
            _ => return size::parse(part).map(|size| [size, size]),
        };
        let number = number
            .iter()
            .all(u8::is_ascii_digit)
            .then(|| size::parse(number))??;
        let times = |base: u64| number.checked_mul(base.pow(power));
        Some([times(1000)?, times(1024)?])
    };
    value.split(|byte| *byte == b'/').map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_same(name: &str, a: &str, b: &str) -> bool {
        let same_there = same(name, Some(a.as_bytes()), b.as_bytes());
        assert_eq!(
            same_there,
            same(name, Some(b.as_bytes()), a.as_bytes()),
            "{a} {b}"
        );
        same_there
    }

    #[test]
    fn spellings_of_the_same() {
        for (name, a, b) in [
            ("disabled", "true", "yes"),
            ("disabled", "no", "false"),
            ("cache-max-ttl", "1w", "7d"),
            ("cache-max-ttl", "604800", "1w"),
            ("timeout", "00:01:30", "90s"),
            ("timeout", "90", "1m30s"),
            ("max-size", "2MiB", "2048KiB"),
            ("max-size", "2097152", "2MiB"),
            ("address", "10.0.0.1/32", "10.0.0.1"),
            ("address", "2001:DB8:0::1", "2001:db8::1/128"),
            ("address", "2001:db8:0:0::/64", "2001:db8::/64"),
            ("mac-address", "aa:bb:cc:00:11:22", "AA:BB:CC:00:11:22"),
            ("dst-port", "443,80", "80,443"),
            ("policy", "read,write,api", "api,read,write"),
            ("servers", "1.1.1.1,9.9.9.9", "1.1.1.1/32,9.9.9.9"),
            ("cache-size", "2048KiB", "2M"),
            ("max-limit", "10000000/2000000", "10M/2M"),
            ("max-limit", "10M/2000k", "10000k/2M"),
            ("max-size", "2097152", "2M"),
            ("src-address", "!10.0.0.1", "!10.0.0.1/32"),
            ("dst-port", "!80,443", "!443,80"),
        ] {
            assert!(is_same(name, a, b), "{name} {a} {b}");
        }
    }

    #[test]
    fn what_only_looks_the_same() {
        for (name, a, b) in [
            ("servers", "1.1.1.1,9.9.9.9", "9.9.9.9,1.1.1.1"),
            ("comment", "yes", "true"),
            ("comment", "a,b", "b,a"),
            ("comment", "90s", "1m30s"),
            ("name", "60", "1m"),
            ("address", "10.0.0.1/24", "10.0.0.2/24"),
            ("address", "10.0.0.1", "10.0.0.1/24"),
            ("mtu", "1500", "1400"),
            ("dst-port", "80,80", "80"),
            ("timeout", "0", "no"),
            ("max-limit", "10M/2M", "2M/10M"),
            ("max-limit", "10M", "10M/10M"),
            ("max-limit", "9M", "10M"),
            ("max-limit", "10000000", "10000001"),
            ("comment", "2M", "2000k"),
            ("src-address", "!10.0.0.1", "10.0.0.1"),
            ("dst-port", "!80,443", "80,443"),
        ] {
            assert!(!is_same(name, a, b), "{name} {a} {b}");
        }
    }

    #[test]
    fn what_is_not_there_is_empty_and_not_set() {
        assert!(same("comment", None, b"") && same("disabled", None, b"no"));
        assert!(!same("disabled", None, b"yes") && !same("comment", None, b"no"));
    }

    proptest! {
        #[test]
        fn one_spelling_is_its_own(name in "servers|comment|dst-port", value in value()) {
            let once = normal(&name, &value).into_owned();
            prop_assert_eq!(&normal(&name, &once)[..], &once[..]);
            prop_assert!(same(&name, Some(&value), &value) && same(&name, Some(&value), &once));
        }

        #[test]
        fn it_does_not_matter_which_is_wanted(name in "servers|comment|dst-port", a in value(), b in value()) {
            prop_assert_eq!(same(&name, Some(&a), &b), same(&name, Some(&b), &a));
        }
    }

    fn value() -> impl Strategy<Value = Vec<u8>> {
        let part = "[0-9]{1,3}(s|m|KiB|ms|iB)?|yes|true|no|([0-9]{1,2}:){1,5}[0-9]{2}|10\\.0\\.0\\.[0-9](/[0-9]{1,2})?|[a-f0-9:]{0,6}";
        prop_oneof![
            proptest::collection::vec(part, 0..4).prop_map(|parts| parts.join(",").into_bytes()),
            proptest::collection::vec(any::<u8>(), 0..8),
        ]
    }
}
