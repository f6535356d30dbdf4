//! One request and its replies.

use std::fmt;
use std::time::Instant;

/// Names an exchange on its connection; also the number in its tag. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId(pub(crate) u64);

/// The digits of the largest number.
pub(crate) const DIGITS: usize = 20;

impl ExchangeId {
    pub(crate) fn from_tag(tag: &[u8]) -> Option<Self> {
        // Only the form we send: a leading zero or a plus sign was never ours.
        if !matches!(tag, [b'1'..=b'9', ..]) {
            return None;
        }
        let append = |number: u64, byte: &u8| {
            let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
            number.checked_mul(10)?.checked_add(u64::from(digit))
        };
        tag.iter().try_fold(0, append).map(Self)
    }

    /// The number as text, in a buffer of the caller's.
    pub(crate) fn digits(self, buffer: &mut [u8; DIGITS]) -> &[u8] {
        let (mut rest, mut at) = (self.0, DIGITS);
        loop {
            at -= 1;
            buffer[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                return &buffer[at..];
            }
        }
    }

    pub(crate) fn tag(self) -> Vec<u8> {
        self.0.to_string().into_bytes()
    }
}

/// The number in its tag, as logs and captures have it.
impl fmt::Display for ExchangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `!done` came and no trap before it.
    Completed,
    /// `!done` came after at least one trap.
    Trapped,
    /// We asked for its end, and the device ended it.
    Cancelled,
    /// No byte of it left: the device certainly has not done it.
    NotSent,
    /// Bytes had left and no final reply came: the device may have done it or not.
    Unknown(UnknownCause),
}

/// Why no final reply came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownCause {
    /// Its deadline passed. The command was then cancelled on the device and its tag set aside.
    Deadline,
    /// The connection ended; [`Event::Closed`](crate::Event::Closed) says how.
    ConnectionLost,
}

#[derive(Debug)]
pub(crate) struct Exchange {
    /// Position in the outgoing stream of its first byte.
    pub(crate) first_byte: u64,
    pub(crate) deadline: Option<Instant>,
    pub(crate) state: State,
    pub(crate) trapped: bool,
    pub(crate) interrupted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Replies are wanted.
    Open,
    /// `/cancel` was sent; replies are still wanted, and the final one tells how it went.
    Cancelling { give_up_at: Instant },
    /// Its outcome has been told; replies are dropped until the final one frees the tag.
    Quarantined { give_up_at: Instant },
    /// A `/cancel` of our own; nobody waits for it.
    Cancel { give_up_at: Instant },
}

impl Exchange {
    /// When [`crate::Connection::handle_timeout`] has something to do for it.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self.state {
            State::Open => self.deadline,
            State::Cancelling { give_up_at }
            | State::Quarantined { give_up_at }
            | State::Cancel { give_up_at } => Some(give_up_at),
        }
    }

    /// Whether somebody still waits for its outcome.
    pub(crate) fn is_awaited(&self) -> bool {
        matches!(self.state, State::Open | State::Cancelling { .. })
    }

    pub(crate) fn final_outcome(&self) -> Outcome {
        match self.state {
            State::Cancelling { .. } if self.interrupted => Outcome::Cancelled,
            _ if self.trapped => Outcome::Trapped,
            _ => Outcome::Completed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_number() {
        for number in [1, 9, 10, 12_345, u64::MAX] {
            let id = ExchangeId(number);
            assert_eq!(id.digits(&mut [0; DIGITS]), id.tag());
        }
    }

    #[test]
    fn only_tags_of_our_own_form_are_ours() {
        assert_eq!(ExchangeId::from_tag(b"12"), Some(ExchangeId(12)));
        let most = u64::MAX.to_string();
        assert_eq!(ExchangeId::from_tag(most.as_bytes()), Some(ExchangeId(u64::MAX)));
        for tag in [
            &b"0"[..],
            b"012",
            b"+1",
            b"",
            b"1a",
            b"1/",
            b"18446744073709551616",
            b"99999999999999999999999",
        ] {
            assert_eq!(ExchangeId::from_tag(tag), None);
        }
    }
}
