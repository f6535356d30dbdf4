//! Every kernel against the grammar read off the page, limits included.
//!
//! The input's first byte says how often the rest is repeated.
#![no_main]

use libfuzzer_sys::fuzz_target;
use routeros_wire::{Decoder, Kernel, Limits, length};

type Found = (Vec<Vec<Vec<u8>>>, Option<u64>);

fn naive(bytes: &[u8], limits: &Limits) -> Found {
    let (mut all, mut open, mut open_at, mut at) = (Vec::new(), Vec::new(), 0, 0);
    loop {
        let (length, width) = match length::read(&bytes[at..]) {
            Ok(Some(read)) => read,
            Ok(None) => return (all, None),
            Err(_) => return (all, Some(at as u64)),
        };
        let end = at + width + length as usize;
        let long = open.len() == limits.sentence_words || end - open_at > limits.sentence_bytes;
        if length > limits.word_bytes || (length > 0 && long) {
            return (all, Some(at as u64));
        }
        match bytes.get(at + width..end) {
            None => return (all, None),
            Some([]) => {
                all.push(std::mem::take(&mut open));
                open_at = end;
            }
            Some(word) => open.push(word.to_vec()),
        }
        at = end;
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((times, bytes)) = input.split_first() else {
        return;
    };
    // Short inputs again and again, so that there are lanes.
    let bytes = bytes.repeat(usize::from(*times) + 1);
    let tight = Limits {
        word_bytes: 0x4000,
        sentence_words: 40,
        sentence_bytes: 2_000,
    };
    for limits in [Limits::default(), tight] {
        let expected = naive(&bytes, &limits);
        for kernel in Kernel::ALL {
            let mut decoder = Decoder::with_kernel(limits, kernel);
            let error = decoder.scan(&bytes).err().map(|error| error.at);
            let sentences = decoder.sentences(&bytes).map(|s| s.to_vec()).collect();
            assert_eq!((sentences, error), expected, "{kernel:?}");
        }
    }
});
