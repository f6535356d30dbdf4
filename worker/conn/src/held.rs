//! Bytes that were read and have not been told in full.

use routeros_wire::{Decoder, Limits};

/// The bytes, and how far they are understood. There is one only while there are such bytes.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) decoder: Decoder,
    pub(crate) input: Vec<u8>,
    /// The next complete sentence of `input` to look at.
    next: usize,
}

impl Held {
    /// Nothing yet, at this offset of the stream.
    pub(crate) fn at(offset: u64, limits: Limits) -> Self {
        let mut decoder = Decoder::default();
        decoder.restart_at(offset, limits);
        Self {
            decoder,
            input: Vec::new(),
            next: 0,
        }
    }

    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        // An error is acted on after the sentences before it.
        let _ = self.decoder.scan(&self.input);
    }

    /// The next complete sentence to look at.
    pub(crate) fn next(&mut self) -> Option<usize> {
        let index = self.next;
        let found = index < self.decoder.ready();
        self.next += usize::from(found);
        found.then_some(index)
    }

    /// Forgets the complete sentences. Returns how many bytes they had.
    pub(crate) fn release(&mut self) -> usize {
        let used = self.decoder.consume();
        self.next = 0;
        let left = self.input.len() - used;
        if left * 4 > self.input.capacity() {
            self.input.drain(..used);
        } else {
            // A slow connection owns no more than it needs.
            self.input = self.input[used..].to_vec();
            self.decoder.shrink();
        }
        used
    }
}
