//! The words of a command in one piece of memory.

/// A command's words.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Words {
    /// Each word behind its length.
    bytes: Box<[u8]>,
}

/// Bytes of a length.
const LENGTH: usize = size_of::<u64>();

impl Words {
    pub(crate) fn new<I>(words: I) -> Self
    where
        I: IntoIterator<Item: AsRef<[u8]>, IntoIter: Clone>,
    {
        let words = words.into_iter();
        let size = words.clone().map(|word| LENGTH + word.as_ref().len()).sum();
        let mut bytes = Vec::with_capacity(size);
        for word in words {
            let word = word.as_ref();
            bytes.extend_from_slice(&(word.len() as u64).to_ne_bytes());
            bytes.extend_from_slice(word);
        }
        Self {
            bytes: bytes.into_boxed_slice(),
        }
    }

    /// The words in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let (length, behind) = rest.split_first_chunk::<LENGTH>()?;
            let (word, behind) = behind.split_at_checked(u64::from_ne_bytes(*length) as usize)?;
            rest = behind;
            Some(word)
        })
    }

    /// Each by itself.
    pub(crate) fn to_vec(&self) -> Vec<Vec<u8>> {
        self.iter().map(<[u8]>::to_vec).collect()
    }
}

impl std::fmt::Debug for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = self.iter().map(|word| word.escape_ascii().to_string());
        f.debug_list().entries(words).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_they_were() {
        let words = [&b"/a/b"[..], b"", b"=c=\xFF\0", &[7; 300]];
        let kept = Words::new(words);
        assert_eq!(kept.iter().collect::<Vec<_>>(), words);
        assert_eq!(kept.to_vec().len(), 4);
        assert_eq!(Words::new(&[] as &[&[u8]]).iter().next(), None);
    }
}
