//! One command as it goes to a device: a path and words.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::effect::{self, Effect};
use crate::trap;

/// The longest command, in bytes of all its words. Real ones stay far below; scripts are the largest.
pub const MAX_BYTES: usize = 1 << 20;

/// A checked command. Its words are in wire spelling: `=name=value`, `?query`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Command {
    words: Vec<String>,
    declared_read: bool,
    verify: Option<Verify>,
    follow: Option<Follow>,
    tolerant: bool,
}

/// How long a command is followed that would tell rows for ever: a `listen`, a monitor, a print with `follow` or
/// `interval`. It is ended when either is reached, and that is a good end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Follow {
    /// So many milliseconds from its sending.
    pub lasts_ms: u64,
    /// So many rows; without a number only time ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

/// The longest that a command is followed, milliseconds: a day.
pub const FOLLOW_AT_MOST_MS: u64 = 24 * 60 * 60 * 1000;

/// How to find out whether a command whose answer was lost was done (A5): what to ask, and what the answer has to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Verify {
    /// The words of the question, a read.
    pub words: Vec<String>,
    /// An expression over one row of the answer (`routeros-wire`'s, as in `run --where`). Empty: any row will do.
    pub expect: String,
    /// The command was done when no row is as expected, and not when one is.
    pub absent: bool,
}

impl Verify {
    /// A question and its expected answer. The expression is the caller's to check.
    pub fn new<I>(words: I, expect: impl Into<String>, absent: bool) -> Result<Self, CommandError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let command = Command::parse(words)?;
        if !command.effect().is_read() {
            return Err(CommandError::VerifyNotRead(command.path().to_owned()));
        }
        Ok(Self {
            words: command.words,
            expect: expect.into(),
            absent,
        })
    }

    /// The words to send.
    pub fn sent_words(&self) -> impl Iterator<Item = &str> {
        sent_words(&self.words)
    }
}

/// In a plan's canonical form: the words alone where there is nothing else.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Words(Vec<String>),
    #[serde(rename_all = "kebab-case")]
    Full {
        words: Vec<String>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        declared_read: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        verify: Option<Verify>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        follow: Option<Follow>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        tolerant: bool,
    },
}

impl From<Stored> for Command {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Words(words) => Self::plain(words),
            Stored::Full {
                words,
                declared_read,
                verify,
                follow,
                tolerant,
            } => Self {
                words,
                declared_read,
                verify,
                follow,
                tolerant,
            },
        }
    }
}

impl From<Command> for Stored {
    fn from(command: Command) -> Self {
        let Command {
            words,
            declared_read,
            verify,
            follow,
            tolerant,
        } = command;
        match (declared_read, &verify, follow, tolerant) {
            (false, None, None, false) => Self::Words(words),
            _ => Self::Full {
                words,
                declared_read,
                verify,
                follow,
                tolerant,
            },
        }
    }
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
    /// Declared a read, and known not to be one.
    #[error("{0} is known to {1}; only a command that muster does not know can be declared a read")]
    KnownEffect(String, &'static str),
    /// A `verify` that is not a read.
    #[error("{0} is no read; a verification may only look")]
    VerifyNotRead(String),
    /// A `verify` on something that needs none.
    #[error("{0} is a read: when its answer is lost it is simply asked again, there is nothing to verify")]
    VerifyOfRead(String),
    /// Followed, and not a read.
    #[error("{0} is no read; only what looks can be followed")]
    FollowNotRead(String),
    /// A trap is to be taken for an answer, of what is not a read.
    #[error("{0} is no read; only a read may be refused without harm")]
    TolerantNotRead(String),
    /// Followed for no time, or too long.
    #[error("{0} ms; a command is followed for 1 ms to 24 h")]
    FollowTime(u64),
    /// Followed for no rows.
    #[error("0 rows; a command is followed for at least one")]
    FollowRows,
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
        let command = Self::plain(all);
        match command.words.iter().map(String::len).sum() {
            bytes if bytes > MAX_BYTES => return Err(CommandError::TooLong(bytes)),
            _ => {}
        }
        command.check_queries()?;
        Ok(command)
    }

    fn plain(words: Vec<String>) -> Self {
        Self {
            words,
            declared_read: false,
            verify: None,
            follow: None,
            tolerant: false,
        }
    }

    /// The same read, whose trap is an answer like any other: the plan goes on after it. For asking devices of which
    /// some do not have the menu.
    pub fn tolerant(mut self) -> Result<Self, CommandError> {
        if !self.effect().is_read() {
            return Err(CommandError::TolerantNotRead(self.path().to_owned()));
        }
        self.tolerant = true;
        Ok(self)
    }

    /// Whether its trap is an answer like any other.
    pub fn is_tolerant(&self) -> bool {
        self.tolerant
    }

    /// The same command as a read, on the caller's word: for verbs that muster does not know. One that is known to do
    /// more stays what it is.
    pub fn declare_read(mut self) -> Result<Self, CommandError> {
        match effect::known(self.path(), self.attributes()) {
            Some(known) if !known.is_read() => {
                Err(CommandError::KnownEffect(self.path().to_owned(), known.does()))
            }
            Some(_) => Ok(self),
            None => {
                self.declared_read = true;
                Ok(self)
            }
        }
    }

    /// Whether it is a read on the caller's word alone.
    pub fn is_declared_read(&self) -> bool {
        self.declared_read
    }

    /// The same command with a way to find out whether it was done.
    pub fn with_verify(mut self, verify: Verify) -> Result<Self, CommandError> {
        if self.effect().is_read() {
            return Err(CommandError::VerifyOfRead(self.path().to_owned()));
        }
        self.verify = Some(verify);
        Ok(self)
    }

    /// The same command, ended when it was followed for so long.
    pub fn with_follow(mut self, follow: Follow) -> Result<Self, CommandError> {
        if !self.effect().is_read() {
            return Err(CommandError::FollowNotRead(self.path().to_owned()));
        }
        if follow.lasts_ms == 0 || follow.lasts_ms > FOLLOW_AT_MOST_MS {
            return Err(CommandError::FollowTime(follow.lasts_ms));
        }
        if follow.rows == Some(0) {
            return Err(CommandError::FollowRows);
        }
        self.follow = Some(follow);
        Ok(self)
    }

    /// How long it is followed, if it is.
    pub fn follow(&self) -> Option<Follow> {
        self.follow
    }

    /// How to find out whether it was done.
    pub fn verify(&self) -> Option<&Verify> {
        self.verify.as_ref()
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
        sent_words(&self.words)
    }

    /// The path, `/menu/verb`.
    pub fn path(&self) -> &str {
        self.words.first().map(String::as_str).unwrap_or_default()
    }

    /// What it can do to a device.
    pub fn effect(&self) -> Effect {
        match self.declared_read {
            true => Effect::Read,
            false => effect::of(self.path(), self.attributes()),
        }
    }

    /// Whether a trap with this message proves that nothing was done (A5): only for verbs that act on one item, or on
    /// the menu itself, and where the device did not know a command that muster does not know either.
    pub fn trap_proves_nothing_done(&self, message: &str) -> bool {
        if effect::known(self.path(), []).is_none() && trap::is_unknown_command(message) {
            return true;
        }
        let items = |name: &str| {
            let mut values = self.words.iter().filter_map(|word| word.strip_prefix(name));
            values.all(|value| !value.contains(','))
        };
        effect::acts_on_one_item(self.path()) && items("=.id=") && items("=numbers=")
    }

    fn attributes(&self) -> impl Iterator<Item = &str> {
        self.words
            .iter()
            .filter_map(|word| word.strip_prefix('=')?.split('=').next())
    }
}

fn sent_words(words: &[String]) -> impl Iterator<Item = &str> {
    let path = words.first().map(String::as_str).unwrap_or_default();
    let queries = effect::honours_queries(path);
    words
        .iter()
        .map(String::as_str)
        .filter(move |word| queries || !word.starts_with('?'))
}

pub(crate) fn check_path(path: &str) -> Result<(), CommandError> {
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
    fn only_an_unknown_verb_can_be_declared_a_read() {
        let declare = |words: &[&str]| Command::parse(words).expect("valid").declare_read();
        let peek = declare(&["/interface/peek"]).expect("unknown");
        assert!(peek.effect().is_read() && peek.is_declared_read());
        for known in [
            "/ip/dns/set",
            "/system/reboot",
            "/tool/fetch",
            "/system/script/run",
        ] {
            let told = declare(&[known]).expect_err(known).to_string();
            assert!(
                told.contains("only a command that muster does not know"),
                "{told}"
            );
        }
        assert!(
            declare(&["/interface/print", "file=x"]).is_err(),
            "it leaves a file"
        );
        assert!(!declare(&["/interface/print"]).expect("a read").is_declared_read());
    }

    #[test]
    fn a_verification_looks_and_belongs_to_a_change() {
        let verify = Verify::new(["/ip/dns/print"], "servers=1.1.1.1", false).expect("a read");
        let set = Command::parse(["/ip/dns/set", "servers=1.1.1.1"]).expect("valid");
        let json = |command: &Command| serde_json::to_string(command).expect("strings");
        assert_eq!(
            json(&set),
            r#"["/ip/dns/set","=servers=1.1.1.1"]"#,
            "as it always was"
        );
        let set = set.with_verify(verify.clone()).expect("a change");
        assert_eq!(
            serde_json::from_str::<Command>(&json(&set)).expect("round trip"),
            set
        );
        assert!(Verify::new(["/ip/dns/set"], "", false).is_err());
        let print = Command::parse(["/ip/dns/print"]).expect("valid");
        assert!(print.with_verify(verify).is_err());
    }

    #[test]
    fn only_a_read_is_followed_and_not_for_ever() {
        let listen = Command::parse(["/interface/listen"]).expect("valid");
        let plain = serde_json::to_string(&listen).expect("strings");
        assert_eq!(plain, r#"["/interface/listen"]"#, "as it always was");
        let follow = Follow {
            lasts_ms: 5,
            rows: None,
        };
        let followed = listen.clone().with_follow(follow).expect("a read");
        let stored = serde_json::to_string(&followed).expect("strings");
        assert_eq!(
            stored,
            r#"{"words":["/interface/listen"],"follow":{"lasts-ms":5}}"#
        );
        assert_eq!(
            serde_json::from_str::<Command>(&stored).expect("round trip"),
            followed
        );
        for bad in [
            Follow {
                lasts_ms: 0,
                ..follow
            },
            Follow {
                lasts_ms: FOLLOW_AT_MOST_MS + 1,
                ..follow
            },
            Follow {
                rows: Some(0),
                ..follow
            },
        ] {
            assert!(listen.clone().with_follow(bad).is_err(), "{bad:?}");
        }
        let set = Command::parse(["/ip/dns/set"]).expect("valid");
        assert!(set.with_follow(follow).is_err());
    }

    #[test]
    fn a_trap_proves_something_for_one_item_only() {
        let proves = |words: &[&str]| {
            Command::parse(words)
                .expect("valid")
                .trap_proves_nothing_done("failure")
        };
        assert!(proves(&["/ip/dns/set", "servers=1.1.1.1"]));
        assert!(proves(&["/interface/disable", ".id=*1"]));
        assert!(!proves(&["/interface/disable", ".id=*1,*2"]));
        assert!(!proves(&["/interface/disable", "numbers=*1,*2"]));
        assert!(
            !proves(&["/system/script/run", ".id=*1"]),
            "its first lines may have run"
        );
        let told = |path: &str| {
            Command::parse([path])
                .expect("valid")
                .trap_proves_nothing_done("no such command prefix")
        };
        assert!(told("/ip/dns/frobnicate"), "the device's parser refused it");
        assert!(!told("/import"), "a line of it may be what is not known");
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
