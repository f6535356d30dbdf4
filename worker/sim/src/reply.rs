//! Replies to one command, written straight into the buffer that goes to the socket.
//!
//! The tag is the second word of every reply, as devices write it, and its bytes are the client's. `!fatal` has no
//! tag and its reason is a bare word (facts §1.2).

use routeros_wire::{EncodeError, encode};

use crate::trap::Trap;

/// Writes the replies to one command.
#[derive(Debug)]
pub(crate) struct Replies<'a> {
    out: &'a mut Vec<u8>,
    tag: Option<&'a [u8]>,
}

impl<'a> Replies<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>, tag: Option<&'a [u8]>) -> Self {
        Self { out, tag }
    }

    /// `!re` with the attributes that `row` adds.
    pub(crate) fn row(&mut self, row: impl FnOnce(&mut Self)) {
        self.begin(b"!re");
        row(self);
        encode::end(self.out);
    }

    pub(crate) fn done(&mut self) {
        self.begin(b"!done");
        encode::end(self.out);
    }

    /// `!done` with `=ret=`.
    pub(crate) fn returned(&mut self, value: &[u8]) {
        self.begin(b"!done");
        self.attribute(b"ret", value);
        encode::end(self.out);
    }

    pub(crate) fn empty(&mut self) {
        self.begin(b"!empty");
        encode::end(self.out);
    }

    /// `!trap`. What ends the exchange is the `!done` that the caller writes after it.
    pub(crate) fn trap(&mut self, trap: &Trap) {
        self.begin(b"!trap");
        if let Some(category) = trap.category {
            self.attribute(b"category", &[b'0' + category as u8]);
        }
        self.attribute(b"message", &trap.message);
        encode::end(self.out);
    }

    /// `!fatal`, after which the connection ends.
    pub(crate) fn fatal(&mut self, reason: &str) {
        fits(encode::sentence(self.out, ["!fatal", reason]));
    }

    /// `=name=value` in the sentence that is open.
    pub(crate) fn attribute(&mut self, name: &[u8], value: &[u8]) {
        fits(encode::attribute(self.out, name, value));
    }

    fn begin(&mut self, word: &[u8]) {
        fits(encode::word(self.out, word));
        if let Some(tag) = self.tag {
            fits(encode::tag(self.out, tag));
        }
    }
}

#[expect(
    clippy::expect_used,
    reason = "words here begin with ! or = and their values came in under the decoder's limit"
)]
fn fits(result: Result<(), EncodeError>) {
    result.expect("a word that is neither empty nor 4 GiB long");
}
