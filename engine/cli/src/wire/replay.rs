//! `muster wire replay`: a captured conversation, put in order by tag.
//!
//! A capture has two directions and no clock, so the order in which commands and replies met is lost; within a tag it
//! can be had back, because every command is answered up to its `!done`:
//!
//! ```text
//! sent      /a .tag=1   /b .tag=2            tag 1   > /a   < !re   < !done
//! received  !done .tag=2   !re .tag=1   …    tag 2   > /b   < !done
//! ```

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use routeros_wire::value::text;
use routeros_wire::{Kind, Limits, Sentence};

use super::decode::{End, sentences};
use super::input::Input;
use super::word;
use crate::exit::{Done, Exit, Failure};
use crate::terminal::{BOLD, DIM, RESET, out, safe};

/// What is held of a capture, because a tag may come back at its end.
const MAX_BYTES: usize = 256 << 20;

pub(super) fn run(sent: Option<&Path>, received: Option<&Path>, hex: bool, json: bool) -> Done {
    let mut conversation = Conversation::default();
    let mut ends = Vec::new();
    for (path, name, side) in [(sent, "sent", Side::Client), (received, "received", Side::Device)] {
        if let Some(path) = path {
            let file = File::open(path).map_err(|error| {
                let told = format!("--{name}: cannot read {}: {error}", path.display());
                Failure::usage(told)
            })?;
            ends.push((name, conversation.read(file, hex, Some(side))?));
        }
    }
    if ends.is_empty() {
        ends.push(("input", conversation.read(std::io::stdin().lock(), hex, None)?));
    }
    for (at, group) in conversation.groups.iter().enumerate() {
        match json {
            true => out(group.json()),
            false => out(group.text(at == 0)),
        }
    }
    let mut exit = Exit::Ok;
    for (name, end) in &ends {
        let (told, line) = match end {
            End::Clean => continue,
            End::Partial => (
                "ends in the middle of a sentence".into(),
                format!(r#"{{"source": "{name}", "end": "partial"}}"#),
            ),
            End::Bad(error) => (
                error.to_string(),
                format!(
                    r#"{{"source": "{name}", "error": "{}", "at": {}}}"#,
                    error.kind.class(),
                    error.at
                ),
            ),
        };
        match json {
            true => out(line),
            false => anstream::eprintln!("{name}: {told}"),
        }
        exit = end.exit();
    }
    Ok(exit)
}

/// Who said it.
#[derive(Clone, Copy)]
enum Side {
    Client,
    Device,
}

type Words = Vec<Vec<u8>>;

#[derive(Default)]
struct Conversation {
    /// In order of appearance.
    groups: Vec<Group>,
    by_tag: HashMap<Option<Vec<u8>>, usize>,
    bytes: usize,
}

/// What was said under one tag, or under none.
struct Group {
    tag: Option<Vec<u8>>,
    exchanges: Vec<Exchange>,
    /// Commands so far.
    asked: usize,
    /// Commands answered to the end so far.
    answered: usize,
}

/// A command and its replies; either may be missing from a capture.
#[derive(Default)]
struct Exchange {
    sent: Option<Words>,
    received: Vec<Words>,
}

impl Conversation {
    /// Reads one direction, or a mixture where `side` is not known: replies begin with `!`.
    fn read(&mut self, from: impl Read, hex: bool, side: Option<Side>) -> Result<End, Failure> {
        sentences(Input::new(from, hex), Limits::default(), None, |batch| {
            batch
                .filter(|sentence| !sentence.is_empty())
                .try_for_each(|sentence| {
                    let side = side.unwrap_or(match sentence.kind() {
                        Kind::NotAReply => Side::Client,
                        _ => Side::Device,
                    });
                    self.add(sentence, side)
                })
        })
    }

    fn add(&mut self, sentence: Sentence<'_>, side: Side) -> Result<(), Failure> {
        let words = words(sentence);
        self.bytes += words
            .iter()
            .map(|word| word.len() + size_of::<Vec<u8>>())
            .sum::<usize>();
        if self.bytes > MAX_BYTES {
            let told = "the conversation is too long to be put in order";
            return Err(Failure::usage(told).hint("look at it with: muster wire decode"));
        }
        let tag = sentence.tag().map(<[u8]>::to_vec);
        let at = *self.by_tag.entry(tag.clone()).or_insert_with(|| {
            self.groups.push(Group::new(tag));
            self.groups.len() - 1
        });
        let group = &mut self.groups[at];
        match side {
            Side::Client => {
                group.exchange(group.asked).sent = Some(words);
                group.asked += 1;
            }
            Side::Device => {
                group.exchange(group.answered).received.push(words);
                group.answered += usize::from(matches!(sentence.kind(), Kind::Done | Kind::Fatal));
            }
        }
        Ok(())
    }
}

/// The words to show: without the tag, which is in the title, and without what a login gives away.
fn words(sentence: Sentence<'_>) -> Words {
    let login = sentence.word(0) == Some(b"/login");
    let secret = |word: &&[u8]| {
        [&b"=password="[..], b"=response="]
            .into_iter()
            .find(|name| word.starts_with(name))
    };
    let shown = sentence.words().filter(|word| !word.starts_with(b".tag="));
    shown
        .map(|word| match secret(&word).filter(|_| login) {
            Some(name) => [name, "…".as_bytes()].concat(),
            None => word.to_vec(),
        })
        .collect()
}

impl Group {
    fn new(tag: Option<Vec<u8>>) -> Self {
        Self {
            tag,
            exchanges: Vec::new(),
            asked: 0,
            answered: 0,
        }
    }

    fn exchange(&mut self, index: usize) -> &mut Exchange {
        if index >= self.exchanges.len() {
            self.exchanges.resize_with(index + 1, Exchange::default);
        }
        &mut self.exchanges[index]
    }

    fn text(&self, first: bool) -> String {
        let mut lines = String::new();
        if !first {
            lines.push('\n');
        }
        let title = match &self.tag {
            Some(tag) => format!("tag {}", shown(tag)),
            None => "no tag".into(),
        };
        lines.push_str(&format!("{BOLD}{title}{RESET}"));
        let mut line = |arrow, words: &Words| {
            let words = words.iter().map(|word| shown(word)).collect::<Vec<_>>();
            lines.push_str(&format!("\n  {DIM}{arrow}{RESET} {}", words.join("  ")));
        };
        for exchange in &self.exchanges {
            exchange.sent.iter().for_each(|words| line('>', words));
            exchange.received.iter().for_each(|words| line('<', words));
        }
        lines
    }

    fn json(&self) -> String {
        let sentence =
            |out: &mut String, words: &Words| word::write_all(out, words.iter().map(Vec::as_slice));
        let mut out = String::from(r#"{"tag": "#);
        match &self.tag {
            Some(tag) => word::write(&mut out, tag),
            None => out.push_str("null"),
        }
        out.push_str(r#", "exchanges": ["#);
        for (at, exchange) in self.exchanges.iter().enumerate() {
            out.push_str(if at > 0 { r#", {"sent": "# } else { r#"{"sent": "# });
            match &exchange.sent {
                Some(words) => sentence(&mut out, words),
                None => out.push_str("null"),
            }
            out.push_str(r#", "received": ["#);
            for (at, words) in exchange.received.iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                sentence(&mut out, words);
            }
            out.push_str("]}");
        }
        out.push_str("]}");
        out
    }
}

fn shown(word: &[u8]) -> String {
    safe(&text::escape(word)).into_owned()
}
