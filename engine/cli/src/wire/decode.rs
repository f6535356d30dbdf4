//! `muster wire decode`: bytes to sentences, a line each.

use std::io::Read;

use routeros_wire::{DecodeError, Decoder, Limits, Sentence};

use super::input::Input;
use super::word;
use crate::exit::{Done, Exit, Failure};
use crate::terminal::out;

/// How a stream ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// With a whole sentence.
    Clean,
    /// In the middle of one.
    Partial,
    /// At bytes that cannot be read.
    Bad(DecodeError),
}

impl End {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Clean => Exit::Ok,
            Self::Partial | Self::Bad(_) => Exit::Failures,
        }
    }

    fn line(&self) -> String {
        match self {
            Self::Clean => r#"{"end": "clean"}"#.into(),
            Self::Partial => r#"{"end": "partial"}"#.into(),
            Self::Bad(error) => format!(r#"{{"error": "{}", "at": {}}}"#, error.kind.class(), error.at),
        }
    }
}

pub(super) fn run(hex: bool, max_word: u32, chunk: Option<usize>) -> Done {
    let input = Input::new(std::io::stdin().lock(), hex);
    let mut lines = String::new();
    let end = sentences(input, limits(max_word), chunk, |batch| {
        lines.clear();
        for sentence in batch {
            if !lines.is_empty() {
                lines.push('\n');
            }
            word::write_all(&mut lines, sentence.words());
        }
        if !lines.is_empty() {
            out(&lines);
        }
        Ok(())
    })?;
    out(end.line());
    Ok(end.exit())
}

/// The default limits, with room in a sentence for the longest word. The cap keeps a sentence within the offsets of 32
/// bits that the decoder has.
fn limits(max_word: u32) -> Limits {
    let default = Limits::default();
    let sentence_bytes = (max_word as usize).saturating_add(1 << 20);
    Limits {
        word_bytes: max_word,
        sentence_bytes: sentence_bytes
            .max(default.sentence_bytes)
            .min(u32::MAX as usize - (1 << 20)),
        ..default
    }
}

/// Hands all sentences of a stream to `each`, those of one read at a time.
pub(super) fn sentences<R: Read>(
    mut input: Input<R>,
    limits: Limits,
    chunk: Option<usize>,
    mut each: impl FnMut(&mut dyn Iterator<Item = Sentence<'_>>) -> Result<(), Failure>,
) -> Result<End, Failure> {
    let mut decoder = Decoder::new(limits);
    let mut buf = Vec::new();
    loop {
        let filled = input.fill(&mut buf, chunk);
        let scanned = decoder.scan(&buf);
        each(&mut decoder.sentences(&buf))?;
        if let Err(error) = scanned {
            return Ok(End::Bad(error));
        }
        buf.drain(..decoder.consume());
        match filled? {
            true => {}
            false if decoder.is_partial(&buf) => return Ok(End::Partial),
            false => return Ok(End::Clean),
        }
    }
}
