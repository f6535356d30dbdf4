//! A router that is a few lines of state, on virtual time.

use std::time::Duration;

use bytes::Bytes;
use routeros_wire::encode;

/// How long a restart takes.
pub(crate) const AWAY: Duration = Duration::from_secs(20);
/// How long a download takes.
pub(crate) const DOWNLOAD: Duration = Duration::from_secs(5);

/// A router, and the clock of everything.
#[derive(Debug, Default)]
pub(crate) struct Router {
    pub(crate) now: Duration,
    pub(crate) version: &'static str,
    pub(crate) offers: &'static str,
    pub(crate) booted: Duration,
    pub(crate) away: Duration,
    pub(crate) downloading: Option<Duration>,
    pub(crate) known: bool,
    pub(crate) file: bool,
    /// Its updater's channel is the one that only offers the hop.
    pub(crate) channel: bool,
    /// The channel is an updater's that does as it is told.
    pub(crate) has_channels: bool,
    pub(crate) bootloader: &'static str,
    pub(crate) bootloader_waits: bool,
    /// It does not install what it has.
    pub(crate) keeps: bool,
    /// The connection is lost over each of these.
    pub(crate) drops: &'static str,
    /// How long after a start its board and its second package are not there yet, and its links are down.
    pub(crate) late: Duration,
    /// It refuses a restart that it has begun: it goes down so long after.
    pub(crate) refuses: Option<Duration>,
    /// When it goes down.
    pub(crate) goes: Option<Duration>,
    /// What it installs does not start: it never comes back, unless it has a partition to fall back to.
    pub(crate) bricks: bool,
    /// The version on its other partition; none for a router without partitions.
    pub(crate) spare: Option<&'static str>,
    /// What it does when what is active does not start.
    pub(crate) fallback_to: &'static str,
    pub(crate) fell_back: bool,
    /// Whether its device-mode allows partitions.
    pub(crate) partitions_off: bool,
    pub(crate) restarts: usize,
    /// Its DNS servers, and how often they were set.
    pub(crate) servers: &'static str,
    pub(crate) sets: usize,
    /// Addresses of its list.
    pub(crate) list: Vec<String>,
    /// A backup that it has saved.
    pub(crate) saved: bool,
    /// Packages of its own that it has fetched, for a downgrade.
    pub(crate) package: bool,
    /// Commands that were carried out and are not reads.
    pub(crate) done: Vec<String>,
}

impl Router {
    pub(crate) fn new() -> Self {
        Self {
            now: Duration::from_secs(100_000),
            version: "7.13.5",
            offers: "7.16.2",
            bootloader: "7.13.5",
            servers: "8.8.8.8",
            ..Self::default()
        }
    }

    pub(crate) fn is_late(&self) -> bool {
        self.now < self.booted + self.late
    }

    /// Time has passed.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        if self.goes.is_some_and(|at| self.now >= at) {
            self.goes = None;
            self.restart();
        }
    }

    pub(crate) fn is_away(&self) -> bool {
        self.now < self.away
    }

    /// It starts anew without having been told to; what has been downloaded is installed then, too.
    pub(crate) fn lose_power(&mut self) {
        self.restart();
        self.restarts -= 1;
    }

    pub(crate) fn restart(&mut self) {
        self.restarts += 1;
        self.booted = self.now + AWAY;
        let installs = (self.is_downloaded() || self.package) && !self.keeps;
        match (self.spare, self.fallback_to) {
            (Some(spare), "next" | "part1") if self.bricks && installs => {
                (self.version, self.fell_back) = (spare, true);
                self.booted += AWAY;
            }
            _ if self.bricks => self.booted = Duration::MAX,
            _ if installs => self.version = self.offers,
            _ => {}
        }
        self.away = self.booted;
        self.package = false;
        if std::mem::take(&mut self.bootloader_waits) {
            self.bootloader = self.version;
        }
        (self.downloading, self.known) = (None, false);
    }

    pub(crate) fn is_downloaded(&self) -> bool {
        self.downloading.is_some_and(|since| self.now >= since + DOWNLOAD)
    }

    /// Carries a command out.
    pub(crate) fn run(&mut self, words: &[Vec<u8>]) -> Bytes {
        let word = |at: usize| {
            let word = words.get(at).map(Vec::as_slice);
            String::from_utf8_lossy(word.unwrap_or_default()).into_owned()
        };
        let uptime = format!("=uptime={}s", self.now.saturating_sub(self.booted).as_secs());
        let version = format!("=version={} (stable)", self.version);
        let row = |values: &[&str]| values.iter().map(ToString::to_string).collect::<Vec<_>>();
        if !word(0).ends_with("/print") {
            self.done.push(word(0));
        }
        let row = match word(0).as_str() {
            "/system/resource/print" => row(&[
                &version,
                &uptime,
                "=architecture-name=arm64",
                "=board-name=RB5009",
                "=free-hdd-space=90000000",
            ]),
            "/system/package/print" => return self.print_packages(),
            "/interface/print" => row(&[&format!("=running={}", !self.is_late())]),
            "/system/routerboard/print" if self.is_late() => Vec::new(),
            "/system/routerboard/print" => row(&[
                "=routerboard=true",
                &format!("=current-firmware={}", self.bootloader),
                &format!("=upgrade-firmware={}", self.version),
            ]),
            "/system/package/update/print" => {
                let channel = if self.channel { "upgrade" } else { "stable" };
                let mut values = vec![format!("=channel={channel}")];
                let status = match self.downloading {
                    Some(_) if self.is_downloaded() => "Downloaded, please reboot router to upgrade it",
                    Some(_) => "Downloading 40%",
                    None if self.known => "New version is available",
                    None => "",
                };
                if self.known {
                    values.push(format!("=latest-version={}", self.offers));
                }
                values.push(format!("=status={status}"));
                values
            }
            "/ip/dns/print" => row(&[&format!("=servers={}", self.servers)]),
            "/ip/dns/set" | "/execute" if !word(1).contains("/export") => {
                self.sets += 1;
                self.servers = "1.1.1.1";
                Vec::new()
            }
            "/ip/firewall/address-list/print" => return self.print_list(),
            "/ip/firewall/address-list/add" => {
                let given = words.iter().filter_map(|word| word.strip_prefix(b"=address="));
                self.list
                    .extend(given.map(|address| String::from_utf8_lossy(address).into_owned()));
                Vec::new()
            }
            "/execute" => {
                let mut out = Vec::new();
                let text = "=ret=# 2026-11-26 10:00:00 by RouterOS 7.13.5\n/ip dns\nset servers=8.8.8.8\n";
                encode::sentence(&mut out, ["!done", text]).expect("no empty words");
                return out.into();
            }
            "/system/backup/save" => {
                self.saved = true;
                Vec::new()
            }
            "/file/print" if word(2) == "?name=muster-backup.backup" && self.saved => {
                row(&["=.id=*2", "=name=muster-backup.backup", "=size=6"])
            }
            "/file/read" => row(&["=data=backup"]),
            "/file/remove" => {
                self.saved &= word(1) != "=.id=*2";
                Vec::new()
            }
            "/file/print" if self.package => row(&["=.id=*3", "=name=routeros-7.12.1-arm64.npk", "=size=10"]),
            "/file/print" if self.file => row(&["=.id=*1", "=name=ca.pem", "=size=10"]),
            "/system/package/update/check-for-updates" => {
                (self.known, self.downloading) = (true, None);
                row(&["=status=finding out latest version..."])
            }
            "/system/package/update/download" => {
                self.downloading = Some(self.now);
                Vec::new()
            }
            "/system/package/update/set" => {
                if self.has_channels {
                    self.channel = word(1).ends_with("upgrade");
                    self.offers = if self.channel { "7.12.1" } else { "7.16.2" };
                    self.known = false;
                }
                Vec::new()
            }
            "/tool/fetch" => {
                self.package = words.iter().any(|word| word.ends_with(b".npk"));
                self.file = !self.package;
                row(&["=status=finished"])
            }
            "/system/routerboard/upgrade" => {
                self.bootloader_waits = true;
                Vec::new()
            }
            "/system/device-mode/print" if self.partitions_off => {
                row(&["=mode=advanced", "=partitions=false"])
            }
            "/partitions/print" => return self.print_partitions(),
            "/partitions/copy-to" => {
                self.spare = Some(self.version);
                row(&["=status=copying"])
            }
            "/partitions/set" => {
                self.fallback_to = "part1";
                Vec::new()
            }
            "/system/reboot" | "/system/package/downgrade" => {
                self.restart();
                Vec::new()
            }
            _ => Vec::new(),
        };
        let mut out = Vec::new();
        if !row.is_empty() {
            let words = ["!re".to_owned()].into_iter().chain(row);
            encode::sentence(&mut out, words).expect("no empty words");
        }
        encode::sentence(&mut out, ["!done"]).expect("no empty words");
        out.into()
    }

    fn print_partitions(&self) -> Bytes {
        let mut out = Vec::new();
        for (at, version) in [Some(self.version), self.spare].into_iter().flatten().enumerate() {
            // What it fell back to is the other one.
            let words = [
                "!re".to_owned(),
                format!("=name=part{at}"),
                format!("=fallback-to={}", if at == 0 { self.fallback_to } else { "next" }),
                format!("=version=RouterOS v{version} 2024-04-15 10:00:00"),
                format!("=active={}", at == 0),
                format!("=running={}", (at == 1) == self.fell_back),
            ];
            encode::sentence(&mut out, words).expect("no empty words");
        }
        encode::sentence(&mut out, ["!done"]).expect("no empty words");
        out.into()
    }

    fn print_packages(&self) -> Bytes {
        let mut out = Vec::new();
        let second = (!self.late.is_zero() && !self.is_late()).then_some("container");
        for name in ["routeros"].into_iter().chain(second) {
            let name = format!("=name={name}");
            let words = ["!re", &name, "=version=1", "=disabled=false"];
            encode::sentence(&mut out, words).expect("no empty words");
        }
        encode::sentence(&mut out, ["!done"]).expect("no empty words");
        out.into()
    }

    fn print_list(&self) -> Bytes {
        let mut out = Vec::new();
        for (at, address) in self.list.iter().enumerate() {
            let words = [
                "!re".to_owned(),
                format!("=.id=*{at}"),
                "=list=mgmt".to_owned(),
                format!("=address={address}"),
            ];
            encode::sentence(&mut out, words).expect("no empty words");
        }
        encode::sentence(&mut out, ["!done"]).expect("no empty words");
        out.into()
    }
}
