//! However a stream is cut, the same sentences and the same error come out.
//!
//! The input's first byte is a number of sizes, each in a byte; the rest is the stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use routeros_wire::{Decoder, Limits};

type Found = (Vec<Vec<Vec<u8>>>, Option<u64>);

fn feed(bytes: &[u8], sizes: impl Iterator<Item = usize>) -> Found {
    let mut decoder = Decoder::new(Limits::default());
    let (mut buf, mut rest, mut all) = (Vec::new(), bytes, Vec::new());
    for size in sizes {
        let (piece, after) = rest.split_at(rest.len().min(size));
        buf.extend_from_slice(piece);
        rest = after;
        let error = decoder.scan(&buf).err().map(|error| error.at);
        all.extend(decoder.sentences(&buf).map(|s| s.to_vec()));
        if error.is_some() || rest.is_empty() {
            return (all, error);
        }
        buf.drain(..decoder.consume());
    }
    (all, None)
}

fuzz_target!(|input: &[u8]| {
    let Some((&count, rest)) = input.split_first() else {
        return;
    };
    let (sizes, bytes) = rest.split_at(usize::from(count).min(rest.len()));
    let whole = feed(bytes, std::iter::once(usize::MAX));
    let cut = sizes.iter().map(|&size| usize::from(size).max(1));
    let pieces = cut.cycle().chain(std::iter::repeat(1));
    assert_eq!(feed(bytes, pieces), whole);
});
