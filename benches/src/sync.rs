//! Durable writes that take a fixed time, so that rows about them can be compared between machines and hours.
//!
//! A preloaded library of a few lines of C replaces `fsync` and `fdatasync` by a wait of [`DELAY`]. It only works from
//! the start of a process on, so what is measured runs in a child; its files are in memory. Beside it the same runs on
//! the disk that the bench is on, and whoever measures says how long that disk takes.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use crate::scratch;

/// What a durable write takes: a solid-state disk in a data centre.
pub const DELAY: Duration = Duration::from_micros(200);

const SOURCE: &str = include_str!("sync/delay.c");

/// Where a child keeps its files, and what a durable write costs there.
#[derive(Debug)]
pub struct Place {
    directory: TempDir,
    /// Preloaded into children.
    library: Option<PathBuf>,
}

impl Place {
    /// Files in memory, where there is such a place, and durable writes that take [`DELAY`].
    pub fn delayed() -> anyhow::Result<Self> {
        Self::with_library(match scratch::in_memory() {
            Some(memory) => memory,
            None => scratch::on_disk()?,
        })
    }

    /// Files on the bench's disk, because they are too many for memory, and durable writes that take [`DELAY`].
    pub fn delayed_on_disk() -> anyhow::Result<Self> {
        Self::with_library(scratch::on_disk()?)
    }

    /// The bench's disk as it is.
    pub fn disk() -> anyhow::Result<Self> {
        Ok(Self {
            directory: scratch::on_disk()?,
            library: None,
        })
    }

    fn with_library(directory: TempDir) -> anyhow::Result<Self> {
        let (source, library) = (
            directory.path().join("delay.c"),
            directory.path().join("delay.so"),
        );
        std::fs::write(&source, SOURCE)?;
        let compiled = Command::new("cc")
            .args(["-O2", "-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(&source)
            .status()
            .context(
                "a C compiler is needed for durable writes of a fixed duration, and cc cannot be started",
            )?;
        ensure!(compiled.success(), "cc does not compile {}", source.display());
        Ok(Self {
            directory,
            library: Some(library),
        })
    }

    /// A directory of this place, made on first use.
    pub fn directory(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.directory.path().join(name);
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// A program whose durable writes are this place's.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some(library) = &self.library {
            command
                .env("LD_PRELOAD", library)
                .env("MUSTER_SYNC_NS", DELAY.as_nanos().to_string());
        }
        command
    }

    /// Fails if durable writes are not what this place promises: the library was not loaded.
    pub fn check(&self, sync: Duration) -> anyhow::Result<()> {
        ensure!(
            self.library.is_none() || sync >= DELAY,
            "a durable write took {sync:?}, not {DELAY:?}: the preloaded library does not work"
        );
        Ok(())
    }
}

/// What a durable write of 4 KiB takes in a directory: the median of a few.
pub fn time(directory: &Path) -> io::Result<Duration> {
    const WRITES: usize = 33;
    let path = directory.join("sync-time");
    let mut file = File::create(&path)?;
    let mut times = Vec::with_capacity(WRITES);
    for _ in 0..WRITES {
        let began = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    std::fs::remove_file(path)?;
    times.sort();
    Ok(times[WRITES / 2])
}
