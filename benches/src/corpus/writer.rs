//! Writing rows as devices do, and counting what is written.

use std::fmt::Display;

use routeros_wire::length;

use super::{Corpus, Facts};

/// SplitMix64: small, and the same everywhere.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }

    /// A counter of up to so many digits; every number of digits is equally likely.
    fn counter(&mut self, digits: u64) -> u64 {
        let digits = self.below(digits) as u32 + 1;
        self.below(10_u64.pow(digits))
    }
}

pub(super) struct Writer {
    name: &'static str,
    names: [&'static str; 3],
    pub(super) random: Random,
    bytes: Vec<u8>,
    facts: Facts,
}

impl Writer {
    pub(super) fn new(name: &'static str, names: [&'static str; 3]) -> Self {
        let seed = name.bytes().map(u64::from).sum();
        Self {
            name,
            names,
            random: Random(seed),
            bytes: Vec::new(),
            facts: Facts::default(),
        }
    }

    fn word(&mut self, word: &str) {
        // Test data: no word here comes near 4 GiB.
        length::write(word.len() as u32, &mut self.bytes);
        self.bytes.extend_from_slice(word.as_bytes());
        self.facts.words += 1;
    }

    pub(super) fn attribute(&mut self, name: &str, value: impl Display) {
        let value = value.to_string();
        self.word(&format!("={name}={value}"));
        self.facts.attributes += 1;
        self.facts.attribute_bytes += (name.len() + value.len()) as u64;
        if self.names.contains(&name) {
            self.facts.named_bytes += value.len() as u64;
        }
    }

    pub(super) fn end(&mut self) {
        self.bytes.push(0);
        self.facts.words += 1;
        self.facts.sentences += 1;
    }

    pub(super) fn row(&mut self) {
        self.word("!re");
        self.word(".tag=2");
    }

    pub(super) fn done(&mut self, tag: u64) {
        self.word("!done");
        self.word(&format!(".tag={tag}"));
        self.end();
    }

    pub(super) fn interface(&mut self, row: u64) {
        let kind = self.random.pick(&["ether", "vlan", "bridge", "wg", "pppoe-in"]);
        let [_, _, _, x, y, z, ..] = self.random.next().to_be_bytes();
        let (day, hour, minute) = (
            self.random.below(28) + 1,
            self.random.below(24),
            self.random.below(60),
        );
        self.row();
        self.attribute(".id", format_args!("*{row:X}"));
        self.attribute("name", format_args!("{kind}{row}"));
        self.attribute("default-name", format_args!("ether{row}"));
        self.attribute("type", kind);
        for (name, value) in [
            ("mtu", 1500),
            ("actual-mtu", 1500),
            ("l2mtu", 1592),
            ("max-l2mtu", 9578),
        ] {
            self.attribute(name, value);
        }
        self.attribute("mac-address", format_args!("48:8F:5A:{x:02X}:{y:02X}:{z:02X}"));
        self.attribute(
            "last-link-up-time",
            format_args!("2026-10-{day:02} {hour:02}:{minute:02}:00"),
        );
        for (name, digits) in [
            ("link-downs", 1),
            ("rx-byte", 13),
            ("tx-byte", 13),
            ("rx-packet", 10),
            ("tx-packet", 10),
            ("rx-drop", 3),
            ("tx-drop", 3),
            ("tx-queue-drop", 4),
            ("rx-error", 2),
            ("tx-error", 2),
            ("fp-rx-byte", 13),
            ("fp-tx-byte", 13),
            ("fp-rx-packet", 10),
            ("fp-tx-packet", 10),
        ] {
            let value = self.random.counter(digits);
            self.attribute(name, value);
        }
        let (running, disabled) = (!self.random.one_in(4), self.random.one_in(8));
        self.attribute("running", running);
        self.attribute("disabled", disabled);
        if self.random.one_in(3) {
            let (site, port) = (self.random.below(900), self.random.below(48));
            self.attribute("comment", format_args!("uplink to site {site} / port {port}"));
        }
        self.end();
    }

    pub(super) fn rule(&mut self, row: u64) {
        let chain = self.random.pick(&["input", "forward", "output", "customer-in"]);
        let action = self.random.pick(&[
            "accept",
            "drop",
            "jump",
            "fasttrack-connection",
            "add-src-to-address-list",
        ]);
        self.row();
        self.attribute(".id", format_args!("*{row:X}"));
        self.attribute("chain", chain);
        self.attribute("action", action);
        if self.random.one_in(3) {
            let state = self
                .random
                .pick(&["established,related,untracked", "invalid", "new"]);
            self.attribute("connection-state", state);
        }
        if self.random.one_in(2) {
            let (protocol, port) = (
                self.random.pick(&["tcp", "udp", "icmp"]),
                self.random.below(65_536),
            );
            self.attribute("protocol", protocol);
            self.attribute("dst-port", port);
        }
        if self.random.one_in(2) {
            let (a, b) = (self.random.below(256), self.random.below(256));
            self.attribute("src-address", format_args!("10.{a}.{b}.0/24"));
        }
        if self.random.one_in(3) {
            let list = self.random.below(300);
            self.attribute("src-address-list", format_args!("customers-{list}"));
        }
        let list = self.random.pick(&["WAN", "LAN", "all"]);
        let (bytes, packets) = (self.random.counter(13), self.random.counter(10));
        let (dynamic, disabled) = (self.random.one_in(10), self.random.one_in(10));
        self.attribute("in-interface-list", list);
        self.attribute("log", false);
        self.attribute("log-prefix", "");
        self.attribute("bytes", bytes);
        self.attribute("packets", packets);
        self.attribute("invalid", false);
        self.attribute("dynamic", dynamic);
        self.attribute("disabled", disabled);
        match self.random.below(4) {
            0 => {
                let ticket = self.random.below(99_999);
                self.attribute(
                    "comment",
                    format_args!("defconf: rule {row} managed by fleet, ticket NOC-{ticket} do not edit"),
                );
            }
            1 => self.attribute("comment", "x"),
            _ => {}
        }
        self.end();
    }

    pub(super) fn file(&mut self, row: u64, size: u64) {
        const LINE: &str = "/ip address add address=10.0.0.1/24 interface=ether1 comment=\"uplink\"\n";
        let contents = LINE.chars().cycle().take(size as usize).collect::<String>();
        self.row();
        self.attribute(".id", format_args!("*{row:X}"));
        self.attribute("name", format_args!("backup-{row}.rsc"));
        self.attribute("size", size);
        self.attribute("contents", contents);
        self.end();
    }

    pub(super) fn finish(mut self) -> Corpus {
        self.done(2);
        Corpus {
            name: self.name,
            bytes: self.bytes,
            names: self.names,
            facts: self.facts,
        }
    }
}
