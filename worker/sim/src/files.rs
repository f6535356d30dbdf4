//! The files of a device: what it lists, and what it gives of them.

use std::sync::Arc;
use std::time::Duration;

use routeros_wire::Sentence;

use crate::device::Device;
use crate::listen::Changes;
use crate::reply::Replies;
use crate::selection::list;
use crate::table::{Row, Table, id_text};
use crate::trap::Trap;
use crate::version::Version;

/// The largest part that `/file/read` gives at once, bytes (facts §3.1).
const MOST_READ: usize = 32_768;

/// The largest file whose `contents` are listed, bytes: from 7 on, and before.
const MOST_LISTED: usize = 60 * 1024;
const MOST_LISTED_BEFORE: usize = 4096;

/// How long an export is under way, under another name.
const EXPORTING: Duration = Duration::from_millis(150);

/// One file.
#[derive(Clone, Debug)]
pub(crate) struct File {
    id: u32,
    pub(crate) name: Vec<u8>,
    pub(crate) contents: Arc<[u8]>,
    modified: Duration,
    /// Until then its name ends in `.in_progress`.
    ready: Duration,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    files: Vec<File>,
    last_id: u32,
}

impl Files {
    /// Makes a file, or writes over the one of that name.
    pub(crate) fn write(&mut self, name: &[u8], contents: Vec<u8>, now: Duration) {
        self.files.retain(|file| file.name != name);
        self.last_id += 1;
        self.files.push(File {
            id: self.last_id,
            name: name.to_vec(),
            contents: contents.into(),
            modified: now,
            ready: now,
        });
    }

    /// The same of one that takes a while.
    pub(crate) fn export(&mut self, name: &[u8], contents: Vec<u8>, now: Duration) {
        self.write(name, contents, now);
        if let Some(file) = self.files.last_mut() {
            file.ready = now + EXPORTING;
        }
    }

    /// The file of a name, if it is complete.
    pub(crate) fn named(&self, name: &[u8], now: Duration) -> Option<&File> {
        self.files.iter().find(|file| file.shown_name(now) == name)
    }

    /// The packages among them, by name and version: `routeros-7.16.2-arm64.npk`.
    pub(crate) fn packages(&self) -> Vec<(String, Version)> {
        let package = |file: &File| {
            let name = std::str::from_utf8(&file.name).ok()?;
            let name = name.rsplit('/').next()?.strip_suffix(".npk")?;
            let parts = name.split('-').collect::<Vec<_>>();
            let at = parts.iter().position(|part| part.parse::<Version>().is_ok())?;
            let version = parts[at].parse().ok()?;
            let name = match parts[0] {
                "routeros" => "routeros".to_owned(),
                _ => parts[..at].join("-"),
            };
            Some((name, version))
        };
        self.files.iter().filter_map(package).collect()
    }

    /// A restart takes them away, installed or not.
    pub(crate) fn drop_packages(&mut self) {
        self.files.retain(|file| !file.name.ends_with(b".npk"));
    }

    fn find(&self, id_or_name: &[u8], now: Duration) -> Option<&File> {
        let is_it =
            |file: &&File| id_text(file.id).as_bytes() == id_or_name || file.shown_name(now) == id_or_name;
        self.files.iter().find(is_it)
    }

    /// What is not kept over a restart goes: nothing, for these devices have no RAM disk.
    pub(crate) fn table(&self, device: &Device, now: Duration) -> Table {
        let version = device.version();
        let most = match version.since(7, 0) {
            true => MOST_LISTED,
            false => MOST_LISTED_BEFORE,
        };
        let mut table = Table::default();
        for file in &self.files {
            let name = file.shown_name(now);
            let kind: &str = match name.rsplit(|byte| *byte == b'.').next() {
                Some(b"backup") => "backup",
                Some(b"rsc") => "script",
                Some(b"npk") => "package",
                _ => "file",
            };
            let when = version.date(device.clock_at(file.modified));
            let time = match version.since(7, 16) {
                true => "last-modified",
                false => "creation-time",
            };
            let mut row = Row::numbered(file.id)
                .with("name", name)
                .with("type", kind)
                .with("size", file.contents.len().to_string())
                .with(time, when);
            if file.contents.len() <= most {
                row = row.with("contents", file.contents.to_vec());
            }
            table.push(row);
        }
        table
    }
}

impl File {
    fn shown_name(&self, now: Duration) -> Vec<u8> {
        match now < self.ready {
            true => [&self.name[..], b".in_progress"].concat(),
            false => self.name.clone(),
        }
    }
}

impl Device {
    /// `/file/read file= offset= chunk-size=`.
    pub(crate) fn read_file(
        &self,
        request: Sentence<'_>,
        now: Duration,
        replies: &mut Replies<'_>,
    ) -> Result<(), Trap> {
        let name = request.get(b"file").ok_or_else(|| Trap::missing("file"))?;
        let number = |name: &'static str, default| match request.get(name.as_bytes()) {
            None => Ok(default),
            Some(text) => std::str::from_utf8(text)
                .ok()
                .and_then(|text| text.parse::<usize>().ok())
                .ok_or_else(|| Trap::invalid(name)),
        };
        let (offset, size) = (number("offset", 0)?, number("chunk-size", MOST_READ)?);
        if size == 0 || size > MOST_READ {
            return Err(Trap::out_of_range("chunk-size", 1, MOST_READ as u64));
        }
        let file = self.files.find(name, now).ok_or_else(Trap::no_such_item)?;
        let contents = &file.contents;
        let from = offset.min(contents.len());
        let part = &contents[from..(from + size).min(contents.len())];
        replies.row(|re| re.attribute(b"data", part));
        replies.done();
        Ok(())
    }

    /// `/file/remove`.
    pub(crate) fn remove_files(&mut self, request: Sentence<'_>, now: Duration) -> Result<Changes, Trap> {
        let names = request.get(b".id").or_else(|| request.get(b"numbers"));
        let names = names.map(list).filter(|names| !names.is_empty());
        let mut removed = Vec::new();
        for name in names.ok_or_else(|| Trap::missing(".id"))? {
            let file = self.files.find(&name, now).ok_or_else(Trap::no_such_item)?;
            removed.push(file.id);
        }
        self.files.files.retain(|file| !removed.contains(&file.id));
        Ok(Changes {
            removed,
            ..Changes::default()
        })
    }
}
