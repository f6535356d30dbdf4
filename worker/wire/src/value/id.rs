//! Item ids: `*` and a hexadecimal number, as in `.id`.

use std::fmt;

/// The id of an item. Read in either case, written in upper case, as devices write it.
///
/// ```
/// use routeros_wire::value::ItemId;
/// let id = ItemId::parse(b"*30000001").unwrap();
/// assert_eq!(id, ItemId(0x3000_0001));
/// assert_eq!(id.to_string(), "*30000001");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemId(pub u64);

impl ItemId {
    /// Reads `*HEX`. `None` for anything else, beyond 64 bits included.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let digits = value.strip_prefix(b"*")?;
        if digits.is_empty() {
            return None;
        }
        let number = digits.iter().try_fold(0u64, |number, &digit| {
            let digit = char::from(digit).to_digit(16)?;
            Some(number.checked_mul(16)? | u64::from(digit))
        });
        number.map(Self)
    }
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "*{:X}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_are_a_star_and_hexadecimal() {
        assert_eq!(ItemId::parse(b"*A"), Some(ItemId(10)));
        assert_eq!(ItemId::parse(b"*FFFFFFFFFFFFFFFF"), Some(ItemId(u64::MAX)));
        for bad in [
            "",
            "*",
            "A",
            "*G",
            "*-1",
            "*10000000000000000",
            "*1,*2",
            "* 1",
            "*+1",
        ] {
            assert_eq!(ItemId::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_number_is_an_id(number: u64) {
            prop_assert_eq!(ItemId::parse(ItemId(number).to_string().as_bytes()), Some(ItemId(number)));
        }
    }
}
