//! Names that people give: of devices, credentials, zones and labels. Parsed once, at the edge.

use thiserror::Error;

/// The longest name, in bytes. Long enough for a DNS name.
pub const MAX_NAME: usize = 253;

/// Why a text is no name.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NameError {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// Over [`MAX_NAME`].
    #[error("has {0} bytes; at most {MAX_NAME} are allowed")]
    TooLong(usize),
    /// Names are safe in selectors, file names and URLs.
    #[error("has the character {0:?}; letters, digits and . _ - : @ / are allowed")]
    Character(char),
    /// `-x` reads as an option on a command line.
    #[error("begins with {0:?}; a letter, a digit or _ is needed there")]
    Start(char),
}

/// Checks a name: letters and digits of any script, and `. _ - : @ /`, not beginning with punctuation.
pub fn check(name: &str) -> Result<(), NameError> {
    if name.len() > MAX_NAME {
        return Err(NameError::TooLong(name.len()));
    }
    let first = name.chars().next().ok_or(NameError::Empty)?;
    match name
        .chars()
        .find(|&c| !(c.is_alphanumeric() || "._-:@/".contains(c)))
    {
        Some(bad) => Err(NameError::Character(bad)),
        None if first.is_alphanumeric() || first == '_' => Ok(()),
        None => Err(NameError::Start(first)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in [
            "r1",
            "ams-core-1.example.net",
            "10.0.0.1",
            "router_7",
            "маршрутизатор",
            "a/b:c@d",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        assert_eq!(check(""), Err(NameError::Empty));
        assert_eq!(check("a b"), Err(NameError::Character(' ')));
        assert_eq!(check("-x"), Err(NameError::Start('-')));
        assert_eq!(check(&"x".repeat(254)), Err(NameError::TooLong(254)));
    }
}
