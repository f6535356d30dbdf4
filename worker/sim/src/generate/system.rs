//! Hardware, packages and users.

use crate::table::{Row, Table};

use super::{FLEET_EPOCH_S, Profile, Purpose, comment};

const MIB: u64 = 1 << 20;

/// Everything but `uptime` and `cpu-load`, which change as one looks.
pub(super) fn resource(profile: &Profile) -> Row {
    let board = profile.board();
    let mut rng = profile.rng(Purpose::Resource);
    let (memory, storage) = (board.memory * MIB, board.storage * MIB);
    let mut row = Row::default()
        .with("uptime", "")
        .with("version", profile.version.with_channel())
        .with("build-time", build_time(profile));
    if board.is_routerboard() {
        row = row.with(
            "factory-software",
            if profile.born.since(7, 0) { "7.1" } else { "6.36" },
        );
    }
    row = row
        .with("free-memory", rng.between(memory / 4, memory / 5 * 4).to_string())
        .with("total-memory", memory.to_string())
        .with("cpu", board.cpu)
        .with("cpu-count", board.cpu_count.to_string())
        .with("cpu-frequency", board.cpu_frequency.to_string())
        .with("cpu-load", "")
        .with(
            "free-hdd-space",
            rng.between(storage / 40, storage / 2).to_string(),
        )
        .with("total-hdd-space", storage.to_string());
    if board.is_routerboard() {
        let sectors = rng.below(50_000);
        row = row
            .with("write-sect-since-reboot", sectors.to_string())
            .with("write-sect-total", (sectors * rng.between(2, 90)).to_string())
            .with("bad-blocks", "0");
    }
    row.with("architecture-name", board.architecture)
        .with("board-name", board.name)
        .with("platform", "MikroTik")
}

pub(super) fn routerboard(profile: &Profile) -> Row {
    let board = profile.board();
    let mut rng = profile.rng(Purpose::Routerboard);
    let current = match rng.percent(70) {
        true => profile.born.to_string(),
        false => if profile.born.since(7, 2) {
            "7.1.5"
        } else {
            "6.39.3"
        }
        .to_owned(),
    };
    let serial: Vec<String> = rng.bytes(6).iter().map(|byte| format!("{byte:02X}")).collect();
    Row::default()
        .with("routerboard", profile.boolean(true))
        .with("board-name", board.name)
        .with("model", board.model.unwrap_or_default())
        .with("serial-number", serial.concat())
        .with("firmware-type", board.firmware)
        .with("factory-firmware", "6.36.1")
        .with("current-firmware", current)
        .with("upgrade-firmware", profile.version.to_string())
}

pub(super) fn packages(profile: &Profile) -> Table {
    let mut rng = profile.rng(Purpose::Packages);
    let mut names = match profile.version.since(7, 0) {
        true => vec!["routeros"],
        false => vec![
            "system",
            "security",
            "dhcp",
            "ppp",
            "wireless",
            "routing",
            "advanced-tools",
        ],
    };
    let extra: &[&str] = match profile.version.since(7, 13) {
        true => &["container", "user-manager", "wireless", "zerotier"],
        false if profile.version.since(7, 0) => &["container", "user-manager"],
        false => &["ntp", "ups", "user-manager"],
    };
    names.extend(extra.iter().filter(|_| rng.percent(25)));
    let mut table = Table::default();
    for name in names {
        let row = Row::default()
            .with("name", name)
            .with("version", profile.version.to_string())
            .with("build-time", build_time(profile))
            .with("scheduled", "")
            .with("disabled", profile.boolean(false));
        table.add(row, None);
    }
    table
}

/// The day of a version's release; any day will do that is the same for all devices.
fn build_time(profile: &Profile) -> String {
    let days = 400 - i64::from(profile.version.since(7, 0)) * 200;
    profile.version.date(FLEET_EPOCH_S - days * 86_400 + 38_400)
}

/// The users. The first one's name and password are those of the fleet's configuration: the device sets them.
pub(super) fn users(profile: &Profile) -> Table {
    let mut rng = profile.rng(Purpose::Users);
    let mut table = Table::default();
    let account = Row::default()
        .with("name", "")
        .with("group", "full")
        .with("password", "");
    table.add(account, None);
    for (name, group, percent) in [
        ("monitor", "read", 60),
        ("noc", "write", 40),
        ("old-admin", "full", 15),
    ] {
        if rng.percent(percent) {
            // Nobody knows these passwords.
            let password: String = rng.bytes(16).iter().map(|byte| format!("{byte:02x}")).collect();
            let row = Row::default()
                .with("name", name)
                .with("group", group)
                .with("password", password);
            table.add(row, None);
        }
    }
    for row in table.rows_mut() {
        row.set("address", Vec::new());
        if profile.version.since(7, 16) {
            row.set("inactivity-timeout", b"10m".to_vec());
            row.set("inactivity-policy", b"none".to_vec());
        }
        row.set("last-logged-in", profile.past(&mut rng, 30).into_bytes());
        row.set("disabled", profile.boolean(false).into());
        *row = comment::maybe(std::mem::take(row), &mut rng, 20);
    }
    table
}
/// Accounts of those who dial in.
pub(super) fn secrets(profile: &Profile) -> Table {
    let mut rng = profile.rng(Purpose::Secrets);
    let mut table = Table::default();
    for at in 1..=rng.between(1, 2) {
        let password = rng
            .bytes(6)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        table.add(
            Row::default()
                .with("name", format!("dial-{at}"))
                .with("password", password)
                .with("service", "any")
                .with("profile", "default")
                .with("disabled", profile.boolean(false)),
            None,
        );
    }
    table
}

/// What is set of the clock; what it shows is the device's.
pub(super) fn clock(profile: &Profile) -> Row {
    Row::default()
        .with("time-zone-autodetect", profile.boolean(true))
        .with("time-zone-name", "UTC")
        .with("gmt-offset", "+00:00")
}

/// Every device asks a server for the time.
pub(super) fn ntp_client(profile: &Profile) -> Row {
    let row = Row::default().with("enabled", profile.boolean(true));
    match profile.version.since(7, 1) {
        true => row.with("servers", "10.0.0.1"),
        false if profile.version.since(7, 0) => row,
        false => row
            .with("primary-ntp", "10.0.0.1")
            .with("secondary-ntp", "0.0.0.0")
            .with("server-dns-names", ""),
    }
}
