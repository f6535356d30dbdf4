//! The firmware of a device: its updater, the packages that are brought to it, its restarts and RouterBOOT (facts §3.2,
//! §3.3).
//!
//! ```text
//! check ──▶ downloads ──▶ restart: away ──▶ resets ──▶ refuses logins ──▶ up, with the new version
//! fetch .npk ─────────────▲
//! ```
//!
//! What takes time is computed from when it began; nothing happens by itself. A version changes at a restart and at no
//! other time.

use std::str::FromStr;
use std::time::Duration;

use routeros_wire::Sentence;

use crate::device::Device;
use crate::drift::Drift;
use crate::fault::Fault;
use crate::menu::MenuId;
use crate::partitions::Started;
use crate::reply::Replies;
use crate::rng::Rng;
use crate::table::{Row, Table};
use crate::trap::Trap;
use crate::version::Version;

/// How the firmware of a fleet's devices behaves.
#[derive(Clone, Debug)]
pub struct FirmwareConfig {
    /// The version that the updater offers; none for the one that a device has. Devices of version 6 whose channel is
    /// `upgrade` are offered 7.12.1, and nothing newer.
    pub offers: Option<String>,
    /// How long a check takes.
    pub check: Duration,
    /// How long a download takes, or a fetch.
    pub download: Duration,
    /// How long a device is away when it restarts; zero for not at all. It then refuses logins for a tenth of that.
    pub restart: Duration,
    /// How a command that restarts a device ends, dealt in turn to devices and their restarts.
    pub ends: Vec<RestartEnd>,
    /// Bytes of a package.
    pub package_bytes: usize,
    /// Clocks are reset by a start, and a server sets them after so long; zero for clocks that go on.
    pub clock_set_after: Duration,
    /// How long after a start a device tells nothing of its board and only its first package; zero for not at all.
    pub menus_after: Duration,
    /// Partitions of devices whose storage is NAND, 1 to 8. With more than one, device-mode allows them.
    pub partitions: usize,
}

impl Default for FirmwareConfig {
    fn default() -> Self {
        Self {
            offers: None,
            check: Duration::from_millis(200),
            download: Duration::from_secs(1),
            restart: Duration::ZERO,
            ends: vec![RestartEnd::Done],
            package_bytes: 64 << 10,
            clock_set_after: Duration::ZERO,
            menus_after: Duration::ZERO,
            partitions: 1,
        }
    }
}

/// How a command that restarts a device ends (facts §3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartEnd {
    /// `!done`, then the connection closes.
    Done,
    /// The connection closes.
    Close,
    /// The connection is reset.
    Reset,
    /// Nothing more is heard on the connection.
    Hang,
}

impl RestartEnd {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Done, "done"),
        (Self::Close, "close"),
        (Self::Reset, "reset"),
        (Self::Hang, "hang"),
    ];
}

impl FromStr for RestartEnd {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found.map(|(end, _)| *end).ok_or_else(|| {
            let names = Self::ALL.map(|(_, name)| name).join(", ");
            format!("{text:?} is no end of a restart; there are {names}")
        })
    }
}

/// The firmware of one device.
#[derive(Clone, Debug)]
pub(crate) struct Firmware {
    pub(crate) config: std::sync::Arc<FirmwareConfig>,
    channel: Option<Vec<u8>>,
    updater: Updater,
    /// Downloads that were begun.
    downloads: u32,
    /// RouterBOOT, once it was changed; and whether it is to be at the next restart.
    bootloader: Option<String>,
    bootloader_waits: bool,
    /// What the next restart installs may be older.
    downgrades: bool,
    /// Restarts so far.
    restarts: usize,
    /// Until when it is away, and then refuses logins.
    away: Duration,
    coming: Duration,
    /// It never comes back.
    bricked: bool,
    /// What it does wrong.
    pub(crate) trouble: Option<Fault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Updater {
    /// Nothing was asked of it since the last restart.
    Fresh,
    Checking(Duration),
    Downloading(Duration),
}

/// What a command that takes time is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Check,
    Download,
    /// What runs, to the partition at this place, and when it was begun.
    Copy {
        to: usize,
        since: Duration,
    },
    /// A file, and when it was begun.
    Fetch {
        name: Vec<u8>,
        since: Duration,
    },
}

/// The contents of a package as a device of these configurations fetches it from `url`, which ends in its name.
pub fn package(url: &str, bytes: usize) -> Vec<u8> {
    let name = url.rsplit('/').next().unwrap_or_default();
    let keys = name.bytes().map(u64::from).collect::<Vec<_>>();
    Rng::keyed(0x0F11, &keys).bytes(bytes)
}

impl Firmware {
    pub(crate) fn new(config: std::sync::Arc<FirmwareConfig>) -> Self {
        Self {
            config,
            channel: None,
            updater: Updater::Fresh,
            downloads: 0,
            bootloader: None,
            bootloader_waits: false,
            downgrades: false,
            restarts: 0,
            away: Duration::ZERO,
            coming: Duration::ZERO,
            bricked: false,
            trouble: None,
        }
    }

    /// Whether no connection is to be had.
    pub(crate) fn is_away(&self, now: Duration) -> bool {
        self.bricked || now < self.away
    }

    /// Whether it answers, and refuses every login still.
    pub(crate) fn is_coming_up(&self, now: Duration) -> bool {
        now < self.coming
    }

    /// How long until it has finished, `None` for never, and in which steps it tells of it.
    pub(crate) fn lasts(&self, work: &Work) -> Duration {
        match work {
            Work::Check => self.config.check,
            Work::Copy { .. } | Work::Download | Work::Fetch { .. } => self.config.download,
        }
    }
}

/// The status texts of the updater.
const FINDING: &str = "finding out latest version...";
const NEW: &str = "New version is available";
const UP_TO_DATE: &str = "System is already up to date";
const DOWNLOADED: &str = "Downloaded, please reboot router to upgrade it";

impl Device {
    /// How the restart that was just begun ends for whoever asked for it: another way than the one before, and than that of
    /// the device before.
    pub(crate) fn restart_end(&self) -> RestartEnd {
        let ends = &self.firmware.config.ends;
        let at = (self.profile.index + self.firmware.restarts.saturating_sub(1)) % ends.len().max(1);
        ends.get(at).copied().unwrap_or(RestartEnd::Done)
    }

    fn channel(&self) -> Vec<u8> {
        self.firmware
            .channel
            .clone()
            .unwrap_or_else(|| b"stable".to_vec())
    }

    /// The version that the updater offers.
    fn offered(&self) -> Version {
        let own = self.version();
        let offers = self.firmware.config.offers.as_deref();
        let hop = (!own.since(7, 0)).then_some(match &self.channel()[..] {
            b"upgrade" => Some("7.12.1"),
            _ => offers.filter(|version| version.starts_with("6.")),
        });
        let offered = hop.unwrap_or(offers).and_then(|version| version.parse().ok());
        offered.unwrap_or(own).max(own)
    }

    /// `latest-version` and `status`.
    fn update_status(&self, now: Duration) -> (Option<Version>, Option<String>) {
        let firmware = &self.firmware;
        let known = || {
            let offered = self.offered();
            let text = if offered > self.version() { NEW } else { UP_TO_DATE };
            (Some(offered), Some(text.to_owned()))
        };
        match firmware.updater {
            Updater::Fresh => (None, None),
            Updater::Checking(since) if now < since + firmware.config.check => {
                (None, Some(FINDING.to_owned()))
            }
            Updater::Checking(_) if firmware.trouble == Some(Fault::NoUpdates) => {
                (None, Some("ERROR: could not resolve dns name".to_owned()))
            }
            Updater::Checking(_) => known(),
            Updater::Downloading(since) => {
                let passed = now.saturating_sub(since);
                let percent =
                    (passed.as_millis() * 100 / firmware.config.download.as_millis().max(1)).min(100);
                let (latest, says) = (self.offered(), |text: String| Some(text));
                match firmware.trouble {
                    Some(Fault::EndlessDownload) if percent >= 37 => {
                        (Some(latest), says("Downloading 37%".into()))
                    }
                    Some(Fault::CutDownload) if percent >= 50 && firmware.downloads == 1 => known(),
                    Some(Fault::DiskFull) if percent >= 50 => {
                        (Some(latest), says("ERROR: not enough disk space".into()))
                    }
                    _ if percent < 100 => (Some(latest), says(format!("Downloading {percent}%"))),
                    _ => (Some(latest), says(DOWNLOADED.into())),
                }
            }
        }
    }

    /// `/system/package/update`.
    pub(crate) fn package_update(&self, now: Duration) -> Table {
        let (latest, status) = self.update_status(now);
        let mut row = Row::default()
            .with("channel", self.channel())
            .with("installed-version", self.version().to_string());
        if let Some(latest) = latest {
            row = row.with("latest-version", latest.to_string());
        }
        if let Some(status) = status {
            row = row.with("status", status);
        }
        let mut table = Table::default();
        table.push(row);
        table
    }

    /// `/system/package/update/set channel=`.
    pub(crate) fn set_channel(&mut self, request: Sentence<'_>) -> Result<(), Trap> {
        const CHANNELS: [&[u8]; 7] = [
            b"stable",
            b"long-term",
            b"testing",
            b"development",
            b"upgrade",
            b"current",
            b"bugfix-only",
        ];
        for (name, value) in request.attributes() {
            match name {
                b"channel" if CHANNELS.contains(&value) => self.firmware.channel = Some(value.to_vec()),
                b"channel" => return Err(Trap::no_match("channel")),
                name => return Err(Trap::unknown_parameter(name)),
            }
        }
        Ok(())
    }

    /// What `/system/device-mode` shows.
    pub(crate) fn device_mode(&self) -> Table {
        let version = self.version();
        let strict = self.firmware.trouble == Some(Fault::DeviceMode);
        let mut table = Table::default();
        table.push(
            Row::default()
                .with("mode", if strict { "home" } else { "advanced" })
                .with("fetch", version.boolean(!strict))
                .with("scheduler", version.boolean(!strict))
                .with("install-any-version", version.boolean(!strict))
                .with(
                    "partitions",
                    version.boolean(!strict && self.firmware.config.partitions > 1),
                )
                .with(
                    "flagged",
                    version.boolean(self.profile.drift.is_some_and(Drift::is_flagged)),
                )
                .with("attempt-count", "0"),
        );
        table
    }

    /// `/system/routerboard` now.
    pub(crate) fn routerboard(&self) -> Table {
        let mut table = self.profile.table(MenuId::SystemRouterboard);
        if let Some(row) = table.row_mut(0)
            && let Some(current) = &self.firmware.bootloader
        {
            row.set("current-firmware", current.clone().into_bytes());
        }
        table
    }

    /// A check, a download, or a file that is fetched. Returns what tells of it until it is over.
    pub(crate) fn begin_work(&mut self, work: Work, now: Duration) -> Result<Work, Trap> {
        match &work {
            Work::Check => self.firmware.updater = Updater::Checking(now),
            Work::Download => {
                let running = self.firmware.updater;
                let (latest, _) = self.update_status(now);
                if latest.is_none_or(|latest| latest <= self.version()) {
                    return Err(Trap::failure("no new version to download"));
                }
                if !matches!(running, Updater::Downloading(_)) || self.is_staged(now).is_none() {
                    self.firmware.updater = Updater::Downloading(now);
                    self.firmware.downloads += 1;
                }
            }
            Work::Fetch { .. } if self.firmware.trouble == Some(Fault::DeviceMode) => {
                return Err(Trap::failure("not allowed by device-mode"));
            }
            Work::Copy { to, .. } => self.begin_copy(*to),
            Work::Fetch { .. } => {}
        }
        Ok(work)
    }

    /// A row that tells how far something is, and whether it is over.
    pub(crate) fn tell_work(
        &mut self,
        work: &Work,
        url: &[u8],
        now: Duration,
        replies: &mut Replies<'_>,
    ) -> bool {
        match work {
            Work::Check | Work::Download => {
                let (latest, status) = self.update_status(now);
                let status = status.unwrap_or_default();
                replies.row(|re| {
                    re.attribute(b"channel", &self.channel());
                    re.attribute(b"installed-version", self.version().to_string().as_bytes());
                    if let Some(latest) = latest {
                        re.attribute(b"latest-version", latest.to_string().as_bytes());
                    }
                    re.attribute(b"status", status.as_bytes());
                    re.attribute(b".section", b"0");
                });
                !(status == FINDING || status.starts_with("Downloading"))
            }
            Work::Copy { to, since } => {
                let over = now.saturating_sub(*since) >= self.firmware.lasts(work);
                replies.row(|re| {
                    re.attribute(b"status", if over { b"done" } else { b"copying" });
                    re.attribute(b".section", b"0");
                });
                if over {
                    self.end_copy(*to);
                }
                over
            }
            Work::Fetch { name, since } => {
                let passed = now.saturating_sub(*since);
                let total = self.firmware.config.package_bytes / 1024;
                let share = passed.as_millis() * 100 / self.firmware.config.download.as_millis().max(1);
                let share = match self.firmware.trouble {
                    Some(Fault::EndlessDownload) => share.min(37),
                    _ => share.min(100),
                } as usize;
                let status = match share {
                    _ if self.firmware.trouble == Some(Fault::DiskFull) && share >= 50 => "failed",
                    100 => "finished",
                    _ => "downloading",
                };
                replies.row(|re| {
                    re.attribute(b"status", status.as_bytes());
                    re.attribute(b"downloaded", (total * share / 100).to_string().as_bytes());
                    re.attribute(b"total", total.to_string().as_bytes());
                    re.attribute(b"duration", format!("{}s", passed.as_secs()).as_bytes());
                    re.attribute(b".section", b"0");
                });
                if status == "finished" {
                    let url = String::from_utf8_lossy(url);
                    let mut contents = package(&url, self.firmware.config.package_bytes);
                    if self.firmware.trouble == Some(Fault::WrongFile)
                        && let Some(byte) = contents.first_mut()
                    {
                        *byte ^= 1;
                    }
                    self.files.write(name, contents, now);
                }
                status != "downloading"
            }
        }
    }

    /// The version that the updater has brought.
    fn is_staged(&self, now: Duration) -> Option<Version> {
        let (latest, status) = self.update_status(now);
        latest.filter(|_| status.as_deref() == Some(DOWNLOADED))
    }

    /// `/system/package/downgrade`: what the restart installs may be older.
    pub(crate) fn downgrade(&mut self) {
        self.firmware.downgrades = true;
    }

    /// `/system/routerboard/upgrade`: at the next restart.
    pub(crate) fn upgrade_bootloader(&mut self) {
        self.firmware.bootloader_waits = true;
    }

    /// A restart begins: whatever is to be installed is. Returns when the device is up again.
    pub(crate) fn restart_firmware(&mut self, now: Duration) -> Duration {
        let away = self.firmware.config.restart;
        self.firmware.restarts += 1;
        self.firmware.away = now + away;
        self.firmware.coming = now + away + away / 10;
        if std::mem::take(&mut self.firmware.bootloader_waits) {
            self.firmware.bootloader = Some(self.version().to_string());
        }
        let down = std::mem::take(&mut self.firmware.downgrades);
        let packages = self.files.packages();
        let brought = packages.iter().filter(|(package, _)| package == "routeros");
        let fits = |version: &Version| *version > self.version() || (down && *version < self.version());
        let version = brought
            .map(|(_, version)| *version)
            .find(fits)
            .or_else(|| self.is_staged(now));
        self.firmware.updater = Updater::Fresh;
        self.files.drop_packages();
        if let Some(version) = version {
            match self.firmware.trouble {
                Some(Fault::OldVersion) => {}
                Some(Fault::Bricks) => self.partitions.breaks(),
                _ => self.install(version, &packages),
            }
        }
        match self.start_partition() {
            Started::Active => {}
            // The one that does not start is tried first.
            Started::Fallback => {
                self.firmware.away += away;
                self.firmware.coming += away;
            }
            Started::None => self.firmware.bricked = true,
        }
        self.firmware.away
    }

    fn install(&mut self, version: Version, brought: &[(String, Version)]) {
        if self.firmware.bootloader.is_none() {
            let born = self.routerboard();
            let current = born.rows().first().and_then(|row| row.get(b"current-firmware"));
            self.firmware.bootloader = current.map(|current| String::from_utf8_lossy(current).into_owned());
        }
        let before = self.lasting(MenuId::SystemPackage).into_owned();
        let had = before.rows().iter().filter_map(|row| row.get(b"name"));
        let names = had.map(|name| String::from_utf8_lossy(name).into_owned());
        let mut names = match brought.is_empty() {
            // The vendor's updater brings what the device has.
            true => names.collect::<Vec<_>>(),
            false => brought.iter().map(|(name, _)| name.clone()).collect(),
        };
        const BUNDLE: [&str; 9] = [
            "system",
            "security",
            "dhcp",
            "ppp",
            "routing",
            "advanced-tools",
            "ntp",
            "ups",
            "routeros",
        ];
        names.retain(|name| !BUNDLE.contains(&name.as_str()));
        names.insert(0, "routeros".to_owned());
        names.dedup();
        self.profile.version = version;
        let mut table = Table::default();
        for name in names {
            let row = Row::default()
                .with("name", name)
                .with("version", version.to_string())
                .with(
                    "build-time",
                    version.date(crate::generate::FLEET_EPOCH_S - 86_400),
                )
                .with("scheduled", "")
                .with("disabled", version.boolean(false));
            table.add(row, None);
        }
        *self.table_mut(MenuId::SystemPackage) = table;
    }
}
