//! The exchanges of one connection: a few at a time, so that looking at all of them beats any index.

use std::collections::VecDeque;

use crate::exchange::{Exchange, ExchangeId};

/// Exchanges in the order they were opened, which is that of their numbers and mostly that of their ends.
#[derive(Debug, Default)]
pub(crate) struct Exchanges(VecDeque<(ExchangeId, Exchange)>);

/// Room that is kept while there are none: what a connection may have in flight by default.
const KEPT: usize = 4;

impl Exchanges {
    /// Bytes that it keeps at most while there are none.
    pub(crate) const KEPT_BYTES: usize = KEPT * size_of::<(ExchangeId, Exchange)>();

    /// Adds one whose number is above all others'.
    pub(crate) fn push(&mut self, id: ExchangeId, exchange: Exchange) {
        self.0.push_back((id, exchange));
    }

    pub(crate) fn get_mut(&mut self, id: ExchangeId) -> Option<&mut Exchange> {
        let found = self.0.iter_mut().find(|(other, _)| *other == id);
        found.map(|(_, exchange)| exchange)
    }

    pub(crate) fn remove(&mut self, id: ExchangeId) {
        if let Some(at) = self.0.iter().position(|(other, _)| *other == id) {
            self.0.remove(at);
        }
        if self.0.is_empty() && self.0.capacity() > KEPT {
            self.0 = VecDeque::new();
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(ExchangeId, Exchange)> {
        self.0.iter()
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Exchange> {
        self.0.iter_mut().map(|(_, exchange)| exchange)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them, leaving none.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = (ExchangeId, Exchange)> + use<> {
        std::mem::take(&mut self.0).into_iter()
    }
}
