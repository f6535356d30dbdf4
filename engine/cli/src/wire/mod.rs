//! `muster wire`: looks into the bytes of the RouterOS API, for example into a capture.
//!
//! Nothing here talks to an engine or to a device. Input is a stream: what is held of it is one read and one unfinished
//! sentence, which the decoder's limits bound.

mod decode;
mod encode;
mod input;
mod replay;
mod word;

use std::path::PathBuf;

use clap::Subcommand;

use crate::args::at_least_one;
use crate::exit::Done;

#[derive(Debug, Subcommand)]
pub(crate) enum Args {
    /// Print the sentences in the bytes on standard input, a JSON array of words a line
    Decode {
        /// The input is hexadecimal text; white space does not matter
        #[arg(long)]
        hex: bool,
        /// The longest word that is taken
        #[arg(long, value_name = "BYTES", default_value_t = 16 << 20)]
        max_word: u32,
        /// Feed the decoder so many bytes at a time, at most 16 MiB [default: as they are read]
        #[arg(long, value_name = "N", value_parser = at_least_one)]
        chunk: Option<usize>,
    },
    /// The reverse: JSON arrays of words, one a line, to bytes
    Encode {
        /// Write hexadecimal text, a line a sentence
        #[arg(long)]
        hex: bool,
    },
    /// Print a captured conversation by tag, in order of appearance; passwords of logins are left out
    Replay {
        /// What the client sent
        #[arg(long, value_name = "FILE")]
        sent: Option<PathBuf>,
        /// What the device sent; without files, one direction is read from standard input
        #[arg(long, value_name = "FILE")]
        received: Option<PathBuf>,
        /// The input is hexadecimal text; white space does not matter
        #[arg(long)]
        hex: bool,
    },
}

pub(crate) fn run(args: Args, json: bool) -> Done {
    match args {
        Args::Decode { hex, max_word, chunk } => decode::run(hex, max_word, chunk),
        Args::Encode { hex } => encode::run(hex),
        Args::Replay { sent, received, hex } => replay::run(sent.as_deref(), received.as_deref(), hex, json),
    }
}
