//! `/ping`: a command that tells a row a second until it has told `count` of them, or until it is cancelled.

use std::time::Duration;

use routeros_wire::{Sentence, value::duration};

use crate::reply::Replies;
use crate::trap::Trap;

/// A ping that is under way. Whom it pings always answers, after a millisecond.
#[derive(Clone, Debug)]
pub(crate) struct Ping {
    address: Vec<u8>,
    interval: Duration,
    /// Rows it has yet to tell; none for no end.
    left: Option<u64>,
    sent: u64,
}

impl Ping {
    pub(crate) fn of(request: Sentence<'_>) -> Result<Self, Trap> {
        let known: [&[u8]; 5] = [b"address", b"count", b"interval", b"size", b".proplist"];
        if let Some((name, _)) = request.attributes().find(|(name, _)| !known.contains(name)) {
            return Err(Trap::unknown_parameter(name));
        }
        let number = |text: &[u8]| std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        let left = match request.get(b"count") {
            Some(count) => Some(number(count).ok_or_else(|| Trap::invalid("count"))?),
            None => None,
        };
        let interval = match request.get(b"interval") {
            Some(interval) => duration::parse(interval).ok_or_else(|| Trap::invalid("interval"))?,
            None => Duration::from_secs(1),
        };
        Ok(Self {
            address: request
                .get(b"address")
                .ok_or_else(|| Trap::missing("address"))?
                .to_vec(),
            interval: interval.max(Duration::from_millis(10)),
            left,
            sent: 0,
        })
    }

    /// From one row to the next.
    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// How long it goes on, if it ends.
    pub(crate) fn lasts(&self) -> Option<Duration> {
        let rows = u32::try_from(self.left?).unwrap_or(u32::MAX);
        Some(self.interval.saturating_mul(rows))
    }

    /// Tells a row, if one is left.
    pub(crate) fn next(&mut self, replies: &mut Replies<'_>) -> bool {
        match &mut self.left {
            Some(0) => return false,
            Some(left) => *left -= 1,
            None => {}
        }
        let sent = self.sent.to_string();
        self.sent += 1;
        let all = self.sent.to_string();
        replies.row(|re| {
            for (name, value) in [
                (&b"seq"[..], sent.as_bytes()),
                (b"host", &self.address),
                (b"size", b"56"),
                (b"ttl", b"64"),
                (b"time", b"1ms"),
                (b"sent", all.as_bytes()),
                (b"received", all.as_bytes()),
                (b"packet-loss", b"0"),
            ] {
                re.attribute(name, value);
            }
        });
        true
    }

    /// Whether it has told all.
    pub(crate) fn is_over(&self) -> bool {
        self.left == Some(0)
    }
}
