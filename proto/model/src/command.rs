//! One command as it goes to a device: a path and words.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::effect::{self, Effect};

/// The longest command, in bytes of all its words. Real ones stay far below; scripts are the largest.
pub const MAX_BYTES: usize = 1 << 20;

/// A checked command. Its words are in wire spelling: `=name=value`, `?query`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Command {
    words: Vec<String>,
}

/// Why words are no command.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CommandError {
    /// No words at all.
    #[error("there is no command; write for example /system/resource/print")]
    Missing,
    /// The first word is no path.
    #[error("{0:?} is no command: a command begins with a slash, for example /system/resource/print")]
    NoSlash(String),
    /// The path has an empty part, or a character no path has.
    #[error("{0:?} is no command: {1}")]
    Path(String, &'static str),
    /// `/login`, `/quit`, `/cancel`.
    #[error("{0:?} is muster's own business: connections, logins and cancels are done for you")]
    Reserved(String),
    /// A tag of the caller's.
    #[error("word {at}, {word:?}: tags are set by muster")]
    Tag {
        /// Position, the command being word 1.
        at: usize,
        /// The word.
        word: String,
    },
    /// An empty word would end the sentence.
    #[error("word {0} is empty")]
    EmptyWord(usize),
    /// A `?` on something that is not a print.
    #[error(
        "word {at}, {word:?}: only print honours queries, the device would ignore it and {path} would not be limited by it"
    )]
    QueryOnChange {
        /// Position, the command being word 1.
        at: usize,
        /// The word.
        word: String,
        /// The command.
        path: String,
    },
    /// Over [`MAX_BYTES`].
    #[error("the command has {0} bytes; at most {MAX_BYTES} are allowed")]
    TooLong(usize),
}

impl Command {
    /// Reads words as the protocol writes them (`=name=value`, `?query`, `.proplist=…`) and as people do
    /// (`name=value`, `once`).
    ///
    /// ```
    /// use muster_model::Command;
    /// let command = Command::parse(["/interface/print", ".proplist=name", "?type=ether", "once"])?;
    /// assert_eq!(command.words(), ["/interface/print", "=.proplist=name", "?type=ether", "=once="]);
    /// # Ok::<(), muster_model::CommandError>(())
    /// ```
    pub fn parse<I>(words: I) -> Result<Self, CommandError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let mut words = words.into_iter();
        let path = words.next().ok_or(CommandError::Missing)?.as_ref().to_owned();
        check_path(&path)?;
        let mut all = vec![path];
        for (at, word) in words.enumerate() {
            check_console(&all, word.as_ref())?;
            all.push(wire_word(at + 2, word.as_ref())?);
        }
        let command = Self { words: all };
        match command.words.iter().map(String::len).sum() {
            bytes if bytes > MAX_BYTES => return Err(CommandError::TooLong(bytes)),
            _ => {}
        }
        command.check_queries()?;
        Ok(command)
    }

    fn check_queries(&self) -> Result<(), CommandError> {
        if self.effect().is_read() {
            return Ok(());
        }
        match self
            .words
            .iter()
            .enumerate()
            .find(|(_, word)| word.starts_with('?'))
        {
            Some((at, word)) if !effect::honours_queries(self.path()) => Err(CommandError::QueryOnChange {
                at: at + 1,
                word: word.clone(),
                path: self.path().to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// All words in wire spelling, the path first.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// The words to send: without queries where the device would not honour them (facts §1.4).
    pub fn sent_words(&self) -> impl Iterator<Item = &str> {
        let queries = effect::honours_queries(self.path());
        self.words
            .iter()
            .map(String::as_str)
            .filter(move |word| queries || !word.starts_with('?'))
    }

    /// The path, `/menu/verb`.
    pub fn path(&self) -> &str {
        self.words.first().map(String::as_str).unwrap_or_default()
    }

    /// What it can do to a device.
    pub fn effect(&self) -> Effect {
        let names = self
            .words
            .iter()
            .filter_map(|word| word.strip_prefix('=')?.split('=').next());
        effect::of(self.path(), names)
    }
}

fn check_path(path: &str) -> Result<(), CommandError> {
    let bad = |reason| Err(CommandError::Path(path.to_owned(), reason));
    let Some(rest) = path.strip_prefix('/') else {
        return Err(CommandError::NoSlash(path.to_owned()));
    };
    if rest.is_empty() || rest.split('/').any(str::is_empty) {
        return bad("a part between slashes is empty");
    }
    if rest.chars().any(char::is_whitespace) {
        return bad("it has a space; write slashes between the parts, and give each further word by itself");
    }
    if !rest
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "/-_.".contains(c))
    {
        return bad("a path has letters, digits, hyphens and slashes only");
    }
    match path {
        "/cancel" | "/login" | "/quit" => Err(CommandError::Reserved(path.to_owned())),
        _ => Ok(()),
    }
}

/// `/system identity print` is how the console has it: the words after the first part are no attributes.
fn check_console(before: &[String], word: &str) -> Result<(), CommandError> {
    match before {
        [path] if path.matches('/').count() == 1 && !word.contains(['=', '?', '.']) && !word.is_empty() => {
            let reason = "the console's spaces are slashes here: write for example /system/identity/print";
            Err(CommandError::Path(format!("{path} {word}"), reason))
        }
        _ => Ok(()),
    }
}

fn wire_word(at: usize, word: &str) -> Result<String, CommandError> {
    if word.is_empty() {
        return Err(CommandError::EmptyWord(at));
    }
    if word.starts_with(".tag=") || word.starts_with("=.tag=") {
        return Err(CommandError::Tag {
            at,
            word: word.to_owned(),
        });
    }
    Ok(match word {
        word if word.starts_with(['=', '?']) => word.to_owned(),
        word if word.contains('=') => format!("={word}"),
        word => format!("={word}="),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_as_people_write_them() {
        let command = Command::parse([
            "/ip/address/add",
            "address=10.0.0.1/24",
            "=interface=ether1",
            "comment=a=b",
        ]);
        let expected = [
            "/ip/address/add",
            "=address=10.0.0.1/24",
            "=interface=ether1",
            "=comment=a=b",
        ];
        assert_eq!(command.expect("valid").words(), expected);
    }

    #[test]
    fn bad_commands_say_what_would_be_right() {
        let error = |words: &[&str]| Command::parse(words).expect_err("bad").to_string();
        assert!(error(&[]).contains("there is no command"));
        assert!(error(&["system/resource/print"]).contains("begins with a slash"));
        assert!(error(&["/system resource print"]).contains("it has a space"));
        assert!(error(&["/system", "identity", "print"]).contains("the console's spaces are slashes"));
        assert!(error(&["/"]).contains("is empty"));
        assert!(error(&["/quit"]).contains("muster's own business"));
        assert!(error(&["/a/print", ".tag=1"]).starts_with("word 2"));
        assert!(error(&["/a/print", ""]).contains("word 2 is empty"));
    }

    #[test]
    fn a_query_on_a_change_is_refused_and_on_another_read_left_off() {
        let error = Command::parse(["/interface/disable", "?name=ether5"]).expect_err("would not be limited");
        assert!(matches!(error, CommandError::QueryOnChange { at: 2, .. }));
        let listen = Command::parse(["/interface/listen", "?name=ether5", "a=1"]).expect("a read");
        assert_eq!(
            listen.sent_words().collect::<Vec<_>>(),
            ["/interface/listen", "=a=1"]
        );
        let print = Command::parse(["/interface/print", "?name=ether5"]).expect("a read");
        assert_eq!(print.sent_words().count(), 2);
    }
}
