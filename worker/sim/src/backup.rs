//! Backups and exports of a device.
//!
//! A backup is the tables that somebody has changed, in wire format behind a header, filled up to the size that real ones
//! have. An export is the configuration as commands, with long lines continued as devices write them.

use std::time::Duration;

use routeros_wire::{Limits, Sentence, decode_all, encode};

use crate::device::Device;
use crate::menu::{MENUS, MenuId};
use crate::table::{Row, Table};
use crate::trap::Trap;

/// What a backup begins with.
const MAGIC: &[u8] = &[0x88, 0xAC, 0xA1, 0xB1];

/// Bytes of a backup at least.
const SIZE: usize = 40_000;

/// Columns of an export after which a line is continued.
const COLUMNS: usize = 80;

/// Menus that are configuration, in the order they are exported.
const EXPORTED: &[MenuId] = &[
    MenuId::Interface,
    MenuId::IpAddress,
    MenuId::IpDns,
    MenuId::IpFirewallAddressList,
    MenuId::IpFirewallFilter,
    MenuId::IpService,
    MenuId::PppSecret,
    MenuId::SystemClock,
    MenuId::SystemIdentity,
    MenuId::SystemNtpClient,
    MenuId::SystemScheduler,
    MenuId::SystemScript,
];

impl Device {
    /// `/system/backup/save`.
    pub(crate) fn save_backup(
        &mut self,
        request: Sentence<'_>,
        empty: bool,
        now: Duration,
    ) -> Result<(), Trap> {
        let known = [&b"name"[..], b"password", b"dont-encrypt", b"encryption"];
        if let Some((name, _)) = request.attributes().find(|(name, _)| !known.contains(name)) {
            return Err(Trap::unknown_parameter(name));
        }
        let name = match request.get(b"name") {
            Some(name) if !name.is_empty() => name.to_vec(),
            _ => self.identity(),
        };
        let name = match name.ends_with(b".backup") {
            true => name,
            false => [&name[..], b".backup"].concat(),
        };
        let contents = if empty { Vec::new() } else { self.backup() };
        self.files.write(&name, contents, now);
        Ok(())
    }

    /// `/system/backup/load`: afterwards the device restarts.
    pub(crate) fn load_backup(&mut self, request: Sentence<'_>, now: Duration) -> Result<(), Trap> {
        let name = request.get(b"name").ok_or_else(|| Trap::missing("name"))?;
        let whole = [name, b".backup"].concat();
        let file = self
            .files
            .named(name, now)
            .or_else(|| self.files.named(&whole, now))
            .ok_or_else(|| Trap::failure("backup file not found"))?;
        let tables = restored(&file.contents).ok_or_else(|| Trap::failure("invalid backup file"))?;
        self.replace_configuration(tables);
        Ok(())
    }

    fn backup(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (menu, table) in self.configuration() {
            let menu = menu.menu();
            let last = table.last_id().to_string();
            write(
                &mut body,
                "table",
                &[("menu", menu.path.as_bytes()), ("last", last.as_bytes())],
            );
            for row in table.rows() {
                let id = row.id.to_string();
                let values = std::iter::once((".id", id.as_bytes())).chain(row.values());
                write(&mut body, "row", &values.collect::<Vec<_>>());
            }
        }
        let mut backup = MAGIC.to_vec();
        backup.extend_from_slice(&(body.len() as u32).to_le_bytes());
        backup.extend_from_slice(&body);
        while backup.len() < SIZE {
            backup.push((backup.len() / 7 % 251) as u8);
        }
        backup
    }

    /// The configuration as commands; as this version does it unless a word says otherwise.
    pub(crate) fn export_text(&self, sensitive: Option<bool>, now: Duration) -> Vec<u8> {
        let version = self.version();
        // Version 6 shows secrets unless it is told not to; 7 does the opposite.
        let sensitive = sensitive.unwrap_or(!version.since(7, 0));
        let date = version.date(self.clock_at(now));
        let mut text = format!(
            "# {date} by RouterOS {version}\n# software id = SIM{:05}\n#\n",
            self.profile.index
        )
        .into_bytes();
        for &id in EXPORTED {
            let menu = id.menu();
            let table = self.table(id, now);
            let born = self.profile.table(id);
            let mut lines = Vec::new();
            for row in table.rows() {
                let before = born.row(row.id);
                if row.get(b"dynamic") == Some(version.boolean(true).as_bytes()) {
                    continue;
                }
                let by_birth = id == MenuId::Interface || id == MenuId::IpService;
                let values = menu.fields.iter().filter(|field| {
                    let value = row.get(field.name.as_bytes());
                    let changed = !by_birth || before.and_then(|row| row.get(field.name.as_bytes())) != value;
                    let usual = field.default_in(version).as_deref() == value;
                    let shown = sensitive || !field.is_secret();
                    // What the time is belongs to no configuration.
                    let is_time = id == MenuId::SystemClock && ["time", "date"].contains(&field.name);
                    field.may_be_set() && !is_time && value.is_some() && changed && !usual && shown
                });
                let mut words = values
                    .map(|field| {
                        let value = row.get(field.name.as_bytes()).unwrap_or_default();
                        [field.name.as_bytes(), b"=", &quoted(value)].concat()
                    })
                    .collect::<Vec<_>>();
                if words.is_empty() {
                    continue;
                }
                let verb: Vec<u8> = if menu.is_singleton() {
                    b"set".to_vec()
                } else if by_birth {
                    words.retain(|word| !word.starts_with(b"name="));
                    let key = row.get(b"default-name").or(row.get(b"name")).unwrap_or_default();
                    [b"set [ find name=", &quoted(key)[..], b" ]"].concat()
                } else {
                    b"add".to_vec()
                };
                lines.push(continued(&verb, &words));
            }
            if !lines.is_empty() {
                text.extend_from_slice(menu.path.replace('/', " ").replacen(' ', "/", 1).as_bytes());
                text.push(b'\n');
                lines.iter().for_each(|line| text.extend_from_slice(line));
            }
        }
        text
    }
}

/// The tables of a backup.
fn restored(backup: &[u8]) -> Option<Vec<(MenuId, Table)>> {
    let rest = backup.strip_prefix(MAGIC)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let body = rest.get(..u32::from_le_bytes(*length) as usize)?;
    let mut tables = Vec::<(MenuId, Table)>::new();
    let read = decode_all(body, Limits::default(), |sentence| {
        let number = |name: &[u8]| std::str::from_utf8(sentence.get(name)?).ok()?.parse::<u32>().ok();
        match (sentence.word(0), tables.last_mut()) {
            (Some(b"table"), _) => {
                let path = sentence.get(b"menu").unwrap_or_default();
                if let Some(menu) = MENUS.iter().find(|menu| menu.path.as_bytes() == path) {
                    let mut table = Table::default();
                    table.skip_ids(number(b"last").unwrap_or(0));
                    tables.push((menu.id, table));
                }
            }
            (_, Some((menu, table))) => {
                let mut row = Row::numbered(number(b".id").unwrap_or(0));
                for field in menu.menu().fields {
                    if let Some(value) = sentence.get(field.name.as_bytes()) {
                        row.set(field.name, value.to_vec());
                    }
                }
                table.push(row);
            }
            _ => {}
        }
    });
    read.ok().map(|_| tables)
}

fn write(out: &mut Vec<u8>, word: &str, values: &[(&str, &[u8])]) {
    let values = values
        .iter()
        .map(|(name, value)| [b"=", name.as_bytes(), b"=", value].concat());
    let words = std::iter::once(word.as_bytes().to_vec()).chain(values);
    // No word is empty, and none is longer than what came over the wire.
    let _ = encode::sentence(out, words);
}

/// A value as a console writes it.
fn quoted(value: &[u8]) -> Vec<u8> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".,:/-_*".contains(byte);
    if !value.is_empty() && value.iter().all(plain) {
        return value.to_vec();
    }
    let mut text = vec![b'"'];
    for &byte in value {
        match byte {
            b'"' | b'\\' | b'$' => text.extend([b'\\', byte]),
            b'\n' => text.extend(b"\\n"),
            b'\r' => text.extend(b"\\r"),
            0x20..=0x7E => text.push(byte),
            other => text.extend(format!("\\{other:02X}").into_bytes()),
        }
    }
    text.push(b'"');
    text
}

/// One command, its line continued where it is too long.
fn continued(verb: &[u8], words: &[Vec<u8>]) -> Vec<u8> {
    let (mut text, mut column) = (verb.to_vec(), verb.len());
    for word in words {
        if column + 1 + word.len() > COLUMNS {
            text.extend(b" \\\n    ");
            column = 4;
        } else {
            text.push(b' ');
            column += 1;
        }
        text.extend_from_slice(word);
        column += word.len();
    }
    text.push(b'\n');
    text
}
