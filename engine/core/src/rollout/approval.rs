//! Who has to agree (H2): n of m, never the author, each once.

use std::collections::BTreeSet;

use thiserror::Error;

/// Why an approval is not taken.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Refused {
    /// Who made it cannot approve of it.
    #[error("{0:?} made the job; somebody else has to approve of it")]
    Author(String),
    /// Only some may.
    #[error("{0:?} may not approve of it; these may: {list}", list = .1.join(", "))]
    NotAmong(String, Vec<String>),
    /// Nobody gave a name.
    #[error("an approval needs a name")]
    Nobody,
}

/// Whether somebody may approve.
pub fn may(who: &str, author: &str, from: &[String]) -> Result<(), Refused> {
    match who.trim() {
        "" => Err(Refused::Nobody),
        who if who == author.trim() => Err(Refused::Author(who.to_owned())),
        who if !from.is_empty() && !from.iter().any(|name| name == who) => {
            Err(Refused::NotAmong(who.to_owned(), from.to_vec()))
        }
        _ => Ok(()),
    }
}

/// How many more are needed, given the names of those who approved.
pub fn missing<'a>(needed: u32, approved: impl IntoIterator<Item = &'a str>) -> u32 {
    let names = approved.into_iter().map(str::trim).collect::<BTreeSet<_>>();
    needed.saturating_sub(u32::try_from(names.len()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_author_never_approves_and_names_count_once() {
        let from = ["ann".to_owned(), "bob".to_owned()];
        assert_eq!(may("ann", "eve", &from), Ok(()));
        assert_eq!(may("eve", "eve", &[]), Err(Refused::Author("eve".into())));
        assert!(matches!(may("carl", "eve", &from), Err(Refused::NotAmong(..))));
        assert_eq!(may(" ", "eve", &[]), Err(Refused::Nobody));
        assert_eq!(missing(2, ["ann", "ann "]), 1);
        assert_eq!(missing(2, ["ann", "bob", "carl"]), 0);
    }
}
