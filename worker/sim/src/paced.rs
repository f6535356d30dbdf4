//! Commands that tell a row at a time until they have told all of them, or until they are cancelled: `/ping`,
//! `/interface/monitor-traffic` and `/tool/bandwidth-test`.

use std::time::Duration;

use routeros_wire::{Sentence, value::duration};

use crate::device::Device;
use crate::menu::MenuId;
use crate::reply::Replies;
use crate::route::Act;
use crate::trap::Trap;

/// A command that is under way.
#[derive(Clone, Debug)]
pub(crate) struct Paced {
    what: What,
    /// Properties that are told; all of them without.
    names: Option<Vec<Vec<u8>>>,
    interval: Duration,
    /// Before the first row.
    first: Duration,
    /// Rows it has yet to tell; none for no end.
    left: Option<u64>,
    told: u64,
}

#[derive(Clone, Debug)]
enum What {
    /// Whom it pings always answers, after a millisecond.
    Ping {
        address: Vec<u8>,
    },
    Traffic {
        interface: Vec<u8>,
    },
    /// Whom it tests with is never there to send anything.
    Bandwidth,
}

/// The time between two rows as it is kept: no busy loop, and no time that cannot be reckoned with.
pub(crate) fn bounded(interval: Duration) -> Duration {
    interval.clamp(Duration::from_millis(10), Duration::from_secs(24 * 60 * 60))
}

/// What bounds a command.
struct Bounds {
    interval: Duration,
    count: Option<u64>,
    duration: Option<Duration>,
    once: bool,
}

impl Bounds {
    fn of(request: Sentence<'_>) -> Result<Self, Trap> {
        let time = |name: &str| match request.get(name.as_bytes()) {
            Some(value) => duration::parse(value)
                .map(Some)
                .ok_or_else(|| Trap::invalid(name)),
            None => Ok(None),
        };
        let number = |text: &[u8]| std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        let count = match request.get(b"count") {
            Some(count) => Some(number(count).ok_or_else(|| Trap::invalid("count"))?),
            None => None,
        };
        let interval = time("interval")?.unwrap_or(Duration::from_secs(1));
        Ok(Self {
            interval: bounded(interval),
            count,
            duration: time("duration")?,
            once: request.get(b"once").is_some(),
        })
    }

    /// Rows within the duration.
    fn rows(&self) -> Option<u64> {
        let rows = self.duration?.as_millis().div_ceil(self.interval.as_millis());
        Some(u64::try_from(rows).unwrap_or(u64::MAX))
    }
}

impl Paced {
    /// Whether a command is one of these.
    pub(crate) fn is(act: Act) -> bool {
        matches!(act, Act::BandwidthTest | Act::MonitorTraffic | Act::Ping)
    }

    pub(crate) fn of(act: Act, request: Sentence<'_>, device: &Device, now: Duration) -> Result<Self, Trap> {
        let known: &[&[u8]] = match act {
            Act::MonitorTraffic => &[b"interface", b"interval", b"duration", b"once"],
            Act::BandwidthTest => &[
                b"address",
                b"interval",
                b"duration",
                b"direction",
                b"protocol",
                b"user",
                b"password",
                b"connection-count",
            ],
            _ => &[b"address", b"count", b"interval", b"size"],
        };
        let mut names = request.attributes().map(|(name, _)| name);
        if let Some(name) = names.find(|name| *name != b".proplist" && !known.contains(name)) {
            return Err(Trap::unknown_parameter(name));
        }
        let bounds = Bounds::of(request)?;
        let needed = |name: &str| request.get(name.as_bytes()).ok_or_else(|| Trap::missing(name));
        let (what, first, left) = match act {
            Act::MonitorTraffic => {
                let interface = needed("interface")?.to_vec();
                let interfaces = device.table(MenuId::Interface, now);
                if interfaces.find(&interface, Some("name")).is_none() {
                    return Err(Trap::no_match("interface"));
                }
                let left = if bounds.once { Some(1) } else { bounds.rows() };
                (What::Traffic { interface }, Duration::ZERO, left)
            }
            Act::BandwidthTest => {
                needed("address")?;
                // One more to say that it connects.
                let left = bounds.rows().map(|rows| rows.saturating_add(1));
                (What::Bandwidth, Duration::ZERO, left)
            }
            _ => {
                let address = needed("address")?.to_vec();
                (What::Ping { address }, bounds.interval, bounds.count)
            }
        };
        let list = request.words().find_map(|word| word.strip_prefix(b".proplist="));
        let list = list.or(request.get(b".proplist"));
        let names = list.map(|list| list.split(|byte| *byte == b',').map(<[u8]>::to_vec).collect());
        Ok(Self {
            what,
            names,
            interval: bounds.interval,
            first,
            left,
            told: 0,
        })
    }

    /// From the command to the first row.
    pub(crate) fn first(&self) -> Duration {
        self.first
    }

    /// From one row to the next.
    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// How long it goes on, if it ends.
    pub(crate) fn lasts(&self) -> Option<Duration> {
        let rows = u32::try_from(self.left?).unwrap_or(u32::MAX);
        Some(self.first + self.interval.saturating_mul(rows.saturating_sub(1)))
    }

    /// Tells a row, if one is left.
    pub(crate) fn next(&mut self, replies: &mut Replies<'_>) -> bool {
        match &mut self.left {
            Some(0) => return false,
            Some(left) => *left -= 1,
            None => {}
        }
        let row = self.row();
        self.told += 1;
        let is_told = |name: &str| {
            let named = |names: &Vec<Vec<u8>>| names.iter().any(|told| told == name.as_bytes());
            self.names.as_ref().is_none_or(named)
        };
        replies.row(|re| {
            for (name, value) in row.iter().filter(|(name, _)| is_told(name)) {
                re.attribute(name.as_bytes(), value);
            }
        });
        true
    }

    fn row(&self) -> Vec<(&'static str, Vec<u8>)> {
        let told = self.told;
        let number = |number: u64| number.to_string().into_bytes();
        match &self.what {
            What::Ping { address } => vec![
                ("seq", number(told)),
                ("host", address.clone()),
                ("size", b"56".to_vec()),
                ("ttl", b"64".to_vec()),
                ("time", b"1ms".to_vec()),
                ("sent", number(told + 1)),
                ("received", number(told + 1)),
                ("packet-loss", b"0".to_vec()),
            ],
            What::Traffic { interface } => {
                let packets = 40 + told % 7;
                vec![
                    ("name", interface.clone()),
                    ("rx-packets-per-second", number(packets)),
                    ("rx-bits-per-second", number(packets * 4096)),
                    ("tx-packets-per-second", number(packets / 2)),
                    ("tx-bits-per-second", number(packets * 2048)),
                    (".section", number(told)),
                ]
            }
            What::Bandwidth => {
                let status = match (told, self.left) {
                    (0, _) => "connecting",
                    (_, Some(0)) => "done testing",
                    _ => "running",
                };
                let mut row = vec![(".section", number(told)), ("status", status.into())];
                if told > 0 {
                    let lasted = self
                        .interval
                        .saturating_mul(u32::try_from(told).unwrap_or(u32::MAX));
                    row.push(("duration", format!("{}s", lasted.as_secs()).into_bytes()));
                }
                row.extend([
                    ("connection-count", b"20".to_vec()),
                    ("direction", b"receive".to_vec()),
                    ("lost-packets", b"0".to_vec()),
                    ("rx-current", b"0".to_vec()),
                    ("rx-total-average", b"0".to_vec()),
                ]);
                row
            }
        }
    }

    /// Whether it has told all.
    pub(crate) fn is_over(&self) -> bool {
        self.left == Some(0)
    }
}
