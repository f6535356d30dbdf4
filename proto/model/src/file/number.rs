//! Numbers as a file has them.

use toml::de::DeValue;

/// A whole number, in any of TOML's notations.
pub(super) fn integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// A number, whole or not; never infinite.
pub(super) fn float(value: &DeValue<'_>) -> Option<f64> {
    match value.as_float() {
        Some(float) => float
            .as_str()
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite()),
        None => integer(value).map(|number| number as f64),
    }
}
