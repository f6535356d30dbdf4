//! The same few attributes of many rows.
//!
//! The rows of a print have their attributes in the same order, with some left out here and there. So where a name was
//! found in one row is the first place to look in the next:
//!
//! ```text
//! row 1   !re .tag=2 =.id=*1 =name=ether1 =mtu=1500      name found at 3
//! row 2   !re .tag=2 =.id=*2 =name=ether2 =mtu=1500      looked at 3 first: there it is
//! row 3   !re .tag=2 =name=ether3                        not at 3: looked at all words, found at 2
//! ```

use crate::sentence::Sentence;

/// Names to read from each row.
///
/// ```
/// use routeros_wire::{Columns, Limits, decode_all};
///
/// let columns = Columns::new(["name", "mtu"]);
/// let (mut hints, mut mtus) = (columns.hints(), Vec::new());
/// decode_all(b"\x03!re\x07=name=a\x09=mtu=1500\0\x03!re\x07=name=b\0", Limits::default(), |row| {
///     let [_, mtu] = columns.read(&row, &mut hints);
///     mtus.push(mtu.map(<[u8]>::to_vec));
/// })?;
/// assert_eq!(mtus, [Some(b"1500".to_vec()), None]);
/// # Ok::<(), routeros_wire::DecodeError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Columns<'n, const N: usize> {
    names: [&'n [u8]; N],
}

impl<'n, const N: usize> Columns<'n, N> {
    /// These names, in the order in which their values are wanted.
    pub fn new<S: AsRef<[u8]> + ?Sized>(names: [&'n S; N]) -> Self {
        Self {
            names: names.map(AsRef::as_ref),
        }
    }

    /// Where to look first, before anything is known. One for each series of rows.
    pub fn hints(&self) -> [u32; N] {
        [0; N]
    }

    /// The values of one row, as [`Sentence::get`] gives them; where a row has a name twice, which no device
    /// does, any of its values.
    #[inline]
    pub fn read<'a>(&self, row: &Sentence<'a>, hints: &mut [u32; N]) -> [Option<&'a [u8]>; N] {
        let mut values = [None; N];
        for ((value, name), hint) in values.iter_mut().zip(self.names).zip(hints) {
            *value = row.get_near(name, hint);
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, decode_all, encode};

    #[test]
    fn rows_of_any_order_are_read_as_by_name() {
        let rows: [&[&str]; 5] = [
            &["!re", ".tag=2", "=.id=*1", "=name=a", "=mtu=1"],
            &["!re", ".tag=2", "=.id=*2", "=name=b", "=mtu=2"],
            &["!re", "=name=c", "=names=x", "=mtu"],
            &["!re"],
            &[
                "!re",
                "=mtu=5",
                "=a-name-of-more-than-thirty-two-bytes=6",
                "=name=d=",
            ],
        ];
        let mut bytes = Vec::new();
        for row in rows {
            encode::sentence(&mut bytes, row).expect("no empty words");
        }
        let names = ["name", "mtu", "a-name-of-more-than-thirty-two-bytes", "nam"];
        let columns = Columns::new(names);
        let mut hints = columns.hints();
        let mut count = 0;
        decode_all(&bytes, Limits::default(), |row| {
            let read = columns.read(&row, &mut hints);
            assert_eq!(read, names.map(|name| row.get(name.as_bytes())), "{row:?}");
            count += 1;
        })
        .expect("valid");
        assert_eq!(count, rows.len());
    }
}
