//! The way back from a change (fleet-semantics I3, I5): which guards there are, and what a plan demands of them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::effect::Effect;
use crate::ensure::{Ensure, Want};
use crate::plan::Step;

/// How a device gets back from a change, from nothing to what holds even when nobody can reach it any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Level {
    /// Not at all.
    #[default]
    L0,
    /// By the inverse of what was done, from what was recorded before. It takes a device that can be reached.
    L4,
    /// Firmware that does not start: the router starts what ran before from another partition. It is a way back from
    /// firmware and from nothing else.
    L3,
    /// A schedule on the device restores a backup, unless it is disarmed in time.
    L2,
    /// The device's safe mode takes the change back when the connection that made it goes.
    L1,
}

impl Level {
    /// All of them, the weakest first.
    pub const ALL: &'static [Self] = &[Self::L0, Self::L4, Self::L3, Self::L2, Self::L1];

    /// As people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::L0 => "L0",
            Self::L4 => "L4",
            Self::L3 => "L3",
            Self::L2 => "L2",
            Self::L1 => "L1",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL
            .iter()
            .copied()
            .find(|level| level.as_str().eq_ignore_ascii_case(text));
        found.ok_or_else(|| {
            format!(
                "{text:?} is no level; there are L0 (none), L4 (inverse plan), L3 (partitions), L2 (scheduler) and L1 (safe mode)"
            )
        })
    }
}

/// What is armed on a device while a change is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guard {
    /// Its safe mode, held by our connection.
    SafeMode,
    /// A schedule that restores a backup.
    Scheduler,
}

impl Guard {
    /// As in `muster.v1.Guard`.
    pub fn number(self) -> i32 {
        match self {
            Self::SafeMode => 1,
            Self::Scheduler => 2,
        }
    }

    /// The one with this number.
    pub fn from_number(number: i32) -> Option<Self> {
        [Self::SafeMode, Self::Scheduler]
            .into_iter()
            .find(|guard| guard.number() == number)
    }
}

/// How long a device may take to notice that whoever holds its safe mode is gone: 9 minutes for a connection whose packets
/// are dropped (facts §3.4), and some more.
pub const SAFE_MODE_WITHIN: Duration = Duration::from_secs(600);

/// How long a device that restores its backup may take to come back, beyond the time at which it does.
pub const RESTORED_WITHIN: Duration = Duration::from_secs(300);

/// Writes under one hold of the safe mode: its history has room for 100.
pub const CHUNK: usize = 80;

/// What a plan demands of the way back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayBack {
    /// The least that each change needs.
    #[serde(default)]
    pub min: Level,
    /// Whether changes to the way we come in by are made without a guard too, where there is none.
    #[serde(default)]
    pub accept_none: bool,
    /// After how long a schedule restores the backup, milliseconds; `None` for [`AFTER`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u64>,
    /// Whether what was done is taken back when a check does not hold after it.
    #[serde(default)]
    pub on_failed_check: bool,
}

/// See [`WayBack::after_ms`].
pub const AFTER: Duration = Duration::from_secs(300);

/// What [`WayBack::after_ms`] may be.
pub const AFTER_RANGE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(5)..=Duration::from_secs(86_400);

impl WayBack {
    /// Whether it says nothing.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// After how long a schedule restores the backup.
    pub fn after(&self) -> Duration {
        self.after_ms.map_or(AFTER, Duration::from_millis)
    }

    /// The least that a step needs which changes something.
    pub fn needs(&self, step: &Step) -> Level {
        // Firmware has prechecks and, where it is demanded, a partition to fall back to; no guard holds through a restart.
        match step {
            Step::Firmware(firmware) if firmware.fallback => return Level::L3,
            Step::Firmware(_) | Step::Reboot(_) => return Level::L0,
            _ => {}
        }
        match touches_the_way_in(step) && !self.accept_none {
            true => self.min.max(Level::L2),
            false => self.min,
        }
    }
}

/// Menus that decide whether we get in (I5): addresses, routes, interfaces, and what they are made of.
const WAY_IN: &[&str] = &[
    "/interface",
    "/ip/address",
    "/ip/dhcp-client",
    "/ip/route",
    "/ip/vrf",
    "/ipv6/address",
    "/ipv6/route",
    "/ppp",
    "/routing",
];

/// Filters, of which the chains `forward` and `output` say nothing about us.
const FILTERS: &[&str] = &[
    "/ip/firewall/filter",
    "/ip/firewall/mangle",
    "/ip/firewall/nat",
    "/ip/firewall/raw",
    "/ipv6/firewall/filter",
    "/ipv6/firewall/raw",
];

/// Services by which nobody of us comes in.
const OTHER_SERVICES: &[&str] = &["ftp", "ssh", "telnet", "winbox"];

/// Menus whose order means something: an item that is gone from them, or has moved, cannot be put back by its values
/// alone.
const ORDERED: &[&str] = &[
    "/firewall/",
    "/queue/simple",
    "/bridge/filter",
    "/bridge/nat",
    "/routing/filter",
    "/routing/rule",
];

/// Whether a menu is one whose order means something.
pub fn is_ordered(menu: &str) -> bool {
    ORDERED.iter().any(|part| menu.contains(part)) && !menu.ends_with("/address-list")
}

fn is_in(menu: &str, roots: &[&str]) -> bool {
    roots.iter().any(|root| {
        menu.strip_prefix(root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Whether a step may cut the way by which we come in. Judged by what it says, before any device is asked.
pub fn touches_the_way_in(step: &Step) -> bool {
    match step {
        Step::Ensure(ensure) => ensure_touches(ensure),
        Step::Command(command) if command.effect() != Effect::Change => false,
        Step::Command(command) => {
            let menu = command.path().rsplit_once('/').map_or("", |(menu, _)| menu);
            let value = |name: &str| {
                let start = format!("={name}=");
                let mut words = command.sent_words();
                words.find_map(|word| word.strip_prefix(start.as_str()).map(str::to_owned))
            };
            is_in(menu, WAY_IN)
                || is_in(menu, FILTERS) && !leaves_us_alone(value("chain").as_deref())
                || menu == "/ip/service" && !is_other_service(value("numbers").or(value(".id")).as_deref())
        }
        _ => false,
    }
}

fn ensure_touches(ensure: &Ensure) -> bool {
    let menu = ensure.menu();
    let any = |property: &str, harmless: fn(Option<&str>) -> bool| match ensure.want() {
        Want::Set(_) => true,
        Want::Items(items) => {
            let named = items.items.iter().chain(&items.absent);
            items.purge.is_some() || named.into_iter().any(|values| !harmless(values.get(property)))
        }
    };
    if is_in(menu, FILTERS) {
        return any("chain", leaves_us_alone);
    }
    if menu == "/ip/service" {
        return any("name", is_other_service);
    }
    // A comment cuts nobody off.
    let only_comments = match ensure.want() {
        Want::Set(_) => false,
        Want::Items(items) => {
            let comments = |values: &crate::Values| {
                let mut names = values.iter().map(|(name, _)| name);
                names.all(|name| name == "comment" || items.key.iter().any(|key| key == name))
            };
            items.purge.is_none()
                && items.absent.is_empty()
                && menu == "/interface"
                && items.items.iter().all(comments)
        }
    };
    is_in(menu, WAY_IN) && !only_comments
}

fn leaves_us_alone(chain: Option<&str>) -> bool {
    matches!(chain, Some("forward" | "output"))
}

fn is_other_service(name: Option<&str>) -> bool {
    name.is_some_and(|name| OTHER_SERVICES.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Command, Items, Values};

    fn command(words: &str) -> Step {
        Step::Command(Command::parse(words.split(' ')).expect("valid"))
    }

    fn items(menu: &str, key: &str, values: &[(&str, &str)]) -> Step {
        let values = Values::new(values.iter().copied()).expect("valid");
        let items = Items {
            key: vec![key.to_owned()],
            items: vec![values],
            ..Items::default()
        };
        Step::Ensure(Ensure::items(menu, items).expect("valid"))
    }

    #[test]
    fn what_may_cut_us_off_needs_a_guard() {
        for (words, touches) in [
            ("/ip/address/remove .id=*1", true),
            ("/ip/address/print", false),
            ("/interface/disable .id=ether1", true),
            ("/interface/bridge/port/add bridge=b interface=ether1", true),
            ("/ip/firewall/filter/add chain=input action=drop", true),
            ("/ip/firewall/filter/add chain=forward action=drop", false),
            ("/ip/firewall/filter/remove .id=*1", true),
            ("/ip/service/set numbers=telnet disabled=yes", false),
            ("/ip/service/set numbers=api disabled=yes", true),
            ("/ip/dns/set servers=1.1.1.1", false),
            ("/ip/dns/cache/flush", false),
            ("/system/reboot", false),
        ] {
            assert_eq!(touches_the_way_in(&command(words)), touches, "{words}");
        }
        let filter = |chain| {
            items(
                "/ip/firewall/filter",
                "comment",
                &[("comment", "x"), ("chain", chain)],
            )
        };
        assert!(touches_the_way_in(&filter("input")) && !touches_the_way_in(&filter("forward")));
        assert!(
            touches_the_way_in(&filter("mine")),
            "who knows where it is jumped to from"
        );
        let comment = items("/interface", "name", &[("name", "ether1"), ("comment", "core")]);
        let off = items("/interface", "name", &[("name", "ether1"), ("disabled", "yes")]);
        assert!(!touches_the_way_in(&comment) && touches_the_way_in(&off));
        assert!(!touches_the_way_in(&items(
            "/ip/firewall/address-list",
            "address",
            &[("address", "10.0.0.1")]
        )));
    }

    #[test]
    fn levels_are_read_and_have_an_order() {
        for &level in Level::ALL {
            assert_eq!(level.to_string().to_lowercase().parse(), Ok(level));
        }
        assert!(
            "L5".parse::<Level>()
                .expect_err("not there")
                .contains("L4 (inverse plan)")
        );
        assert!(Level::ALL.is_sorted(), "the weakest first");
        let way = WayBack {
            min: Level::L4,
            ..WayBack::default()
        };
        assert_eq!(way.needs(&command("/ip/dns/set servers=1.1.1.1")), Level::L4);
        assert_eq!(way.needs(&command("/ip/address/remove .id=*1")), Level::L2);
        let taken = WayBack {
            accept_none: true,
            ..WayBack::default()
        };
        assert_eq!(taken.needs(&command("/ip/address/remove .id=*1")), Level::L0);
    }
}
