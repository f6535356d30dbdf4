//! However a stream is cut, the same sentences and the same error come out.
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

fuzz_target!(|input: (Vec<u16>, Vec<u8>)| {
    let (sizes, bytes) = input;
    let sizes = sizes.into_iter().map(|size| usize::from(size).max(1));
    let cut = sizes.collect::<Vec<_>>();
    let whole = feed(&bytes, std::iter::once(usize::MAX));
    let pieces = cut.iter().copied().cycle().chain(std::iter::repeat(1));
    assert_eq!(feed(&bytes, pieces), whole);
});
