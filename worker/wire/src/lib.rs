//! The grammar of the RouterOS API, and nothing else: bytes in, sentences out, and back.
//!
//! # The grammar on one page
//!
//! ```text
//! stream    = sentence*
//! sentence  = word* 00                      a zero-length word ends it; a lone 00 is legal and means nothing
//! word      = length byte*length
//! length    = 00..7F                        one byte,   up to 0x7F
//!           | 80..BF b                      two bytes,  up to 0x3FFF
//!           | C0..DF b b                    three,      up to 0x1F_FFFF
//!           | E0..EF b b b                  four,       up to 0x0FFF_FFFF
//!           | F0 b b b b                    five,       up to 0xFFFF_FFFF
//!           | F1..F7                        undefined:  refused as unsupported
//!           | F8..FF                        reserved control bytes: refused
//!
//! request   = "/path/verb" (attribute | query | tag)*
//! reply     = ("!re" | "!done" | "!empty" | "!trap" | "!fatal" | "!…") (attribute | tag | bare word)*
//! attribute = "=" name "=" value            split at the second "=" only: a value may hold "=" and any byte
//!           | "=" name                      an attribute without a value
//! tag       = ".tag=" bytes                 anywhere in the sentence, echoed byte for byte
//! query     = "?" …                         see [`query`]
//! ```
//!
//! A length prefix may hold a zero byte itself (`81 00` announces 256 bytes), so nothing here ever looks for
//! zero bytes; it walks the lengths. Non-minimal lengths are read and never written. Sources: the vendor's
//! page "API", section "API words", and the recorded behaviour collected for this project.
//!
//! # Guarantees
//!
//! * Words are bytes. Values keep the operator's code page; [`str::from_utf8`] is the caller's choice.
//! * Every limit is checked on the announced length, before any memory is reserved for the word.
//! * [`Decoder`] resumes at any byte, in time linear in the bytes fed, however they are cut.
//! * No input makes anything here panic or allocate more than the bytes that really arrived.
//!
//! # Example
//!
//! ```
//! use routeros_wire::{Decoder, Kind, Limits, encode};
//!
//! let mut bytes = Vec::new();
//! encode::sentence(&mut bytes, [&b"!re"[..], b"=name=ether1", b".tag=7"])?;
//!
//! let mut decoder = Decoder::new(Limits::default());
//! assert_eq!(decoder.scan(&bytes)?, 1);
//! let sentence = decoder.sentence(&bytes, 0);
//! assert_eq!(sentence.kind(), Kind::Re);
//! assert_eq!(sentence.tag(), Some(&b"7"[..]));
//! assert_eq!(sentence.get(b"name"), Some(&b"ether1"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod columns;
pub mod decode;
pub mod encode;
pub mod expression;
pub mod length;
pub mod query;
pub mod reply;
pub mod sentence;
pub mod value;

pub use columns::Columns;
pub use decode::{DecodeError, DecodeErrorKind, Decoder, Kernel, Limits, decode_all};
pub use encode::EncodeError;
pub use expression::{Expression, ExpressionError};
pub use query::{Query, QueryError};
pub use reply::{Kind, TrapCategory};
pub use sentence::{Attributes, Sentence, Words};

/// The README's example runs with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
