//! Sizes: plain bytes, or a decimal with a binary unit, as in `7.5GiB`.

use super::digits;

const UNITS: [(&[u8], u64); 5] = [
    (b"", 1),
    (b"KiB", 1 << 10),
    (b"MiB", 1 << 20),
    (b"GiB", 1 << 30),
    (b"TiB", 1 << 40),
];

/// Reads a size in bytes. What a device has rounded (`15.3MiB`) comes to the nearest byte.
///
/// ```
/// use routeros_wire::value::size;
/// assert_eq!(size::parse(b"7.5GiB"), Some(15 << 29));
/// assert_eq!(size::parse(b"1048576"), Some(1 << 20));
/// ```
pub fn parse(value: &[u8]) -> Option<u64> {
    let (whole, rest) = digits(value)?;
    let (fraction, unit) = match rest {
        [b'.', rest @ ..] => {
            let (number, unit) = digits(rest)?;
            let places = rest.len() - unit.len();
            // Devices print one or two places. Nine are more than a TiB needs to be told from its neighbour.
            if places > 9 {
                return None;
            }
            ((number, 10u64.pow(places as u32)), unit)
        }
        rest => ((0, 1), rest),
    };
    let has_fraction = rest.len() > unit.len();
    let (_, factor) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    if has_fraction && factor == 1 {
        return None;
    }
    let (number, scale) = fraction;
    // At most nine digits times 2^40: wider than 64 bits, far below 128.
    let below = (u128::from(number) * u128::from(factor) + u128::from(scale / 2)) / u128::from(scale);
    whole.checked_mul(factor)?.checked_add(u64::try_from(below).ok()?)
}

/// Whether a value ends as only sizes do.
pub(super) fn has_unit(value: &[u8]) -> bool {
    value.ends_with(b"iB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_are_binary() {
        for (text, bytes) in [
            ("0", 0),
            ("1048576", 1_048_576),
            ("512KiB", 524_288),
            ("64.0MiB", 67_108_864),
            ("7.5GiB", 8_053_063_680),
            ("15.3MiB", 16_043_213),
            ("2TiB", 2 << 40),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size() {
        for bad in [
            "",
            "KiB",
            ".5KiB",
            "1.KiB",
            "1.5",
            "1k",
            "10M",
            "1kib",
            "1 KiB",
            "-1",
            "1.0000000001KiB",
            "18446744073709551616",
            "18446744073709551615KiB",
            "1.5.5KiB",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn whole_units_are_exact(whole in 0u64..1 << 20, unit in 0usize..5) {
            let (name, factor) = UNITS[unit];
            let text = [whole.to_string().as_bytes(), name].concat();
            prop_assert_eq!(parse(&text), Some(whole * factor));
        }

        #[test]
        fn nothing_panics(value in "[0-9.KMGTiB]{0,30}") {
            parse(value.as_bytes());
        }
    }
}
