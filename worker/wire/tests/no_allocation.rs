//! What was read once is read again without asking for memory: tape, views, attributes, columns.

// Memory is measured by an allocator.
#![cfg(not(miri))]
#![allow(clippy::unwrap_used, reason = "a test says what it knows")]

use allocation_counter::measure;
use routeros_wire::{Columns, Decoder, encode};

#[test]
fn a_decoder_at_work_allocates_nothing() {
    let mut bytes = Vec::new();
    for row in 0..1_000 {
        let (id, name) = (format!("=.id=*{row:X}"), format!("=name=ether{row}"));
        let words = ["!re", ".tag=2", &id, &name, "=comment=a=b", "=running=true"];
        encode::sentence(&mut bytes, words).unwrap();
    }
    let columns = Columns::new(["name", "comment"]);
    let mut decoder = Decoder::default();
    let mut pass = || {
        let (mut hints, mut found) = (columns.hints(), 0);
        decoder.scan(&bytes).unwrap();
        for sentence in decoder.sentences(&bytes) {
            found += sentence.attributes().map(|(_, value)| value.len()).sum::<usize>();
            found += sentence.tag().map_or(0, <[u8]>::len);
            found += columns.read(&sentence, &mut hints).iter().flatten().count();
            found += usize::from(sentence.get(b"running") == Some(b"true"));
        }
        decoder.consume();
        found
    };
    let first = pass();
    let mut again = 0;
    let used = measure(|| again = pass());
    assert_eq!((again, used.count_total), (first, 0));
}
