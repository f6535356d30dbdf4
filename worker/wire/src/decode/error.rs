//! What a peer may make us hold, and what is said when it tries more.

use thiserror::Error;

use crate::length::BadPrefix;

/// What a peer may make us hold. Checked on announced lengths, before anything is reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes in one word. Default 16 MiB; real large words (file contents, script output) stay under 64 KiB.
    pub word_bytes: u32,
    /// Words in one sentence, the terminator not counted. Default 4,096.
    pub sentence_words: usize,
    /// Bytes in one sentence, prefixes counted. Default 64 MiB.
    pub sentence_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            word_bytes: 16 << 20,
            sentence_words: 4096,
            sentence_bytes: 64 << 20,
        }
    }
}

/// Why a stream cannot be read further, and where.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{kind} at byte {at} of the stream")]
pub struct DecodeError {
    /// What was wrong.
    pub kind: DecodeErrorKind,
    /// Offset in the stream, in bytes from its start, of the first byte of the offending prefix.
    pub at: u64,
}

/// The classes of bytes that end a stream.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DecodeErrorKind {
    /// `F8..=FF` where a length should be.
    #[error("reserved control byte {0:#04x}")]
    ControlByte(u8),
    /// `F1..=F7` where a length should be.
    #[error("unsupported length form {0:#04x}")]
    UnsupportedLength(u8),
    /// A word over [`Limits::word_bytes`].
    #[error("word of {announced} bytes is over the limit of {limit}")]
    WordTooLong {
        /// Announced length in bytes.
        announced: u32,
        /// The limit in force.
        limit: u32,
    },
    /// A sentence over [`Limits::sentence_words`] or [`Limits::sentence_bytes`].
    #[error("sentence is over the limit of {limit} {unit}")]
    SentenceTooLong {
        /// The limit in force.
        limit: usize,
        /// `words` or `bytes`.
        unit: &'static str,
    },
}

impl DecodeErrorKind {
    /// The class as printed by tools: `control-byte`, `unsupported-length`, `word-too-long`, `sentence-too-long`.
    pub fn class(&self) -> &'static str {
        match self {
            Self::ControlByte(_) => "control-byte",
            Self::UnsupportedLength(_) => "unsupported-length",
            Self::WordTooLong { .. } => "word-too-long",
            Self::SentenceTooLong { .. } => "sentence-too-long",
        }
    }
}

impl From<BadPrefix> for DecodeErrorKind {
    fn from(bad: BadPrefix) -> Self {
        match bad {
            BadPrefix::ControlByte(byte) => Self::ControlByte(byte),
            BadPrefix::UnsupportedLength(byte) => Self::UnsupportedLength(byte),
        }
    }
}
