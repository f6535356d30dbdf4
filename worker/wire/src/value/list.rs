//! Comma lists: `ether1,ether2`.

use std::collections::HashMap;

/// A value that is a list. Empty parts are no parts, so the empty value is the empty list.
///
/// ```
/// use routeros_wire::value::List;
/// let list = List(b"ether1,ether2");
/// assert_eq!(list.iter().count(), 2);
/// assert!(list.same_in_any_order(List(b"ether2,ether1")));
/// assert!(!list.same_in_order(List(b"ether2,ether1")));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct List<'a>(pub &'a [u8]);

/// Lists up to this long are compared by counting each part in place, longer ones with a map.
const SHORT: usize = 16;

impl<'a> List<'a> {
    /// The parts in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        self.0.split(|&byte| byte == b',').filter(|part| !part.is_empty())
    }

    /// Whether there are no parts.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Whether the list has this part.
    pub fn contains(&self, part: &[u8]) -> bool {
        self.iter().any(|other| other == part)
    }

    /// Whether both have the same parts in the same order, as matters for lists of servers to try.
    pub fn same_in_order(&self, other: List<'_>) -> bool {
        self.iter().eq(other.iter())
    }

    /// Whether both have the same parts the same number of times, as matters for sets of ports or policies. Allocates
    /// for lists of more than a few parts.
    pub fn same_in_any_order(&self, other: List<'_>) -> bool {
        let count = self.iter().count();
        if count != other.iter().count() {
            return false;
        }
        if count <= SHORT {
            let times = |list: &List<'_>, part: &[u8]| list.iter().filter(|other| *other == part).count();
            return self.iter().all(|part| times(self, part) == times(&other, part));
        }
        let mut balance = HashMap::<&[u8], isize>::new();
        self.iter()
            .for_each(|part| *balance.entry(part).or_default() += 1);
        other
            .iter()
            .for_each(|part| *balance.entry(part).or_default() -= 1);
        balance.values().all(|&left| left == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn empty_parts_are_no_parts() {
        for (text, parts) in [
            ("", &[][..]),
            (",", &[]),
            ("a", &["a"]),
            (",a,,b,", &["a", "b"]),
            ("*1,*A", &["*1", "*A"]),
        ] {
            let found = List(text.as_bytes()).iter().collect::<Vec<_>>();
            assert_eq!(found, parts.iter().map(|p| p.as_bytes()).collect::<Vec<_>>());
        }
        assert!(List(b",").is_empty() && List(b"ab,c").contains(b"c") && !List(b"ab").contains(b"a"));
    }

    #[test]
    fn how_often_matters_in_any_order() {
        assert!(!List(b"a,a,b").same_in_any_order(List(b"a,b,b")));
        assert!(List(b"a,b,a").same_in_any_order(List(b"b,a,a")));
    }

    proptest! {
        #[test]
        fn any_order_is_what_sorting_says(
            a in proptest::collection::vec("[ab]{1,2}", 0..24),
            b in proptest::collection::vec("[ab]{1,2}", 0..24),
            shuffled in any::<bool>(),
        ) {
            let mut b = if shuffled { a.iter().rev().cloned().collect() } else { b };
            let (text_a, text_b) = (a.join(","), b.join(","));
            let (list_a, list_b) = (List(text_a.as_bytes()), List(text_b.as_bytes()));
            prop_assert_eq!(list_a.same_in_order(list_b), a == b);
            let mut a = a.clone();
            a.sort();
            b.sort();
            prop_assert_eq!(list_a.same_in_any_order(list_b), a == b);
        }
    }
}
