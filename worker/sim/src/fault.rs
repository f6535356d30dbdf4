//! The ways in which a simulated device misbehaves, and which devices do.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::rng::Rng;

/// What a device does wrong. A fault may be set and taken away while connections are open; it is looked at for
/// each connection and each command.
///
/// Under `hang`, `garbage`, `huge-word`, `two-traps`, `fatal`, `lost-command` and `lost-write` a command is *not*
/// executed and so is not in the journal; under `reset`, `lost-answer`, `lost-write-answer`, `late` and `byte-by-byte`
/// it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Its CPU has no time left, and says so.
    Busy,
    /// Is never heard of again once it was to install another version.
    Bricks,
    /// Its first download is cut off in the middle.
    CutDownload,
    /// Its device-mode allows neither fetch nor another version.
    DeviceMode,
    /// Has no space for what it downloads.
    DiskFull,
    /// What it downloads never comes to its end.
    EndlessDownload,
    /// Its updater does not find out what there is.
    NoUpdates,
    /// Comes back from an upgrade with the version from before.
    OldVersion,
    /// What it fetches is another file than the one at that address.
    WrongFile,
    /// Answers correctly, one byte for each write.
    ByteByByte,
    /// Accepts and resets at once.
    Drop,
    /// Saves backups that are empty; does everything else right.
    EmptyBackup,
    /// Answers a print with rows that never end; `/cancel` ends them.
    Endless,
    /// Answers a command with a bare-word `!fatal` and closes.
    Fatal,
    /// Answers a command with random bytes and a control byte among them.
    Garbage,
    /// Logs in, then never answers a command.
    Hang,
    /// Answers a command by announcing a word of 4 GiB: `F0 FF FF FF FF`.
    HugeWord,
    /// Answers after [`FleetConfig::late`](crate::FleetConfig::late); the command is executed when it arrives.
    Late,
    /// Executes the command and resets before the first byte of the answer.
    LostAnswer,
    /// Reads the command and resets without executing it.
    LostCommand,
    /// Resets without executing a command that changes something; answers everything else.
    LostWrite,
    /// Executes a command that changes something and resets before the first byte of the answer; answers everything
    /// else.
    LostWriteAnswer,
    /// Logs in, then takes nothing from its connections until the fault is taken away. What came until then waits
    /// in the kernel's buffers, which close the receive window when they are full.
    NotReading,
    /// A client that goes leaves its session behind: it counts until the device restarts or the fault is taken away.
    HalfOpen,
    /// Executes the command and resets in the middle of a sentence of its answer.
    Reset,
    /// Accepts and never answers anything.
    Silent,
    /// Offers no certificate, so that only anonymous DH is left: no suite is in common.
    TlsAnonymous,
    /// Presents a certificate that has expired.
    TlsExpired,
    /// Presents another certificate than the one it is known by.
    TlsOther,
    /// Answers each command as if its path did not exist: two traps, then `!done`.
    TwoTraps,
    /// Refuses every login.
    WrongPassword,
}

impl Fault {
    /// Every fault, in the order of their names.
    pub const ALL: [Self; 31] = [
        Self::Bricks,
        Self::Busy,
        Self::ByteByByte,
        Self::CutDownload,
        Self::DeviceMode,
        Self::DiskFull,
        Self::Drop,
        Self::EmptyBackup,
        Self::Endless,
        Self::EndlessDownload,
        Self::Fatal,
        Self::Garbage,
        Self::HalfOpen,
        Self::Hang,
        Self::HugeWord,
        Self::Late,
        Self::LostAnswer,
        Self::LostCommand,
        Self::LostWrite,
        Self::LostWriteAnswer,
        Self::NoUpdates,
        Self::NotReading,
        Self::OldVersion,
        Self::Reset,
        Self::Silent,
        Self::TlsAnonymous,
        Self::TlsExpired,
        Self::TlsOther,
        Self::TwoTraps,
        Self::WrongFile,
        Self::WrongPassword,
    ];

    /// The name on the command line and in the control API.
    pub fn name(self) -> &'static str {
        match self {
            Self::ByteByByte => "byte-by-byte",
            Self::Bricks => "bricks",
            Self::Busy => "busy",
            Self::CutDownload => "cut-download",
            Self::DeviceMode => "device-mode",
            Self::DiskFull => "disk-full",
            Self::EndlessDownload => "endless-download",
            Self::NoUpdates => "no-updates",
            Self::OldVersion => "old-version",
            Self::WrongFile => "wrong-file",
            Self::Drop => "drop",
            Self::EmptyBackup => "empty-backup",
            Self::Endless => "endless",
            Self::Fatal => "fatal",
            Self::Garbage => "garbage",
            Self::HalfOpen => "half-open",
            Self::Hang => "hang",
            Self::HugeWord => "huge-word",
            Self::Late => "late",
            Self::LostAnswer => "lost-answer",
            Self::LostCommand => "lost-command",
            Self::LostWrite => "lost-write",
            Self::LostWriteAnswer => "lost-write-answer",
            Self::NotReading => "not-reading",
            Self::Reset => "reset",
            Self::Silent => "silent",
            Self::TlsAnonymous => "tls-anonymous",
            Self::TlsExpired => "tls-expired",
            Self::TlsOther => "tls-other",
            Self::TwoTraps => "two-traps",
            Self::WrongPassword => "wrong-password",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Text that says no fault, or no list of them.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BadFault {
    /// Not `KIND=COUNT`.
    #[error("{0:?} is not KIND=COUNT, such as hang=3")]
    Count(String),
    /// A kind that does not exist.
    #[error("no fault is called {0:?}; there are {names}", names = Fault::ALL.map(Fault::name).join(", "))]
    Kind(String),
}

impl FromStr for Fault {
    type Err = BadFault;

    fn from_str(name: &str) -> Result<Self, BadFault> {
        let found = Self::ALL.into_iter().find(|fault| fault.name() == name);
        found.ok_or_else(|| BadFault::Kind(name.to_owned()))
    }
}

/// Reads `KIND=COUNT[,KIND=COUNT…]`.
///
/// ```
/// use muster_sim::{Fault, parse_faults};
/// assert_eq!(parse_faults("hang=2,drop=1")?, [(Fault::Hang, 2), (Fault::Drop, 1)]);
/// # Ok::<(), muster_sim::BadFault>(())
/// ```
pub fn parse_faults(text: &str) -> Result<Vec<(Fault, usize)>, BadFault> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| {
            let bad = || BadFault::Count(part.to_owned());
            let (kind, count) = part.split_once('=').ok_or_else(bad)?;
            Ok((kind.trim().parse()?, count.trim().parse().map_err(|_| bad())?))
        })
        .collect()
}

/// Deals faults to devices: which device gets which depends on the seed and on nothing else.
pub(crate) fn deal(faults: &[(Fault, usize)], devices: usize, seed: u64) -> Vec<Option<Fault>> {
    const PURPOSE: u64 = 0xFA17;
    let mut order: Vec<usize> = (0..devices).collect();
    Rng::keyed(seed, &[PURPOSE]).shuffle(&mut order);
    let mut dealt = vec![None; devices];
    let each = faults
        .iter()
        .flat_map(|&(fault, count)| std::iter::repeat_n(fault, count));
    for (device, fault) in order.into_iter().zip(each) {
        dealt[device] = Some(fault);
    }
    dealt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for fault in Fault::ALL {
            assert_eq!(fault.to_string().parse(), Ok(fault));
        }
        let error = "explode".parse::<Fault>().expect_err("no such fault");
        assert!(
            error.to_string().contains("bricks, busy, byte-by-byte"),
            "{error}"
        );
        assert!(Fault::ALL.is_sorted_by_key(|fault| fault.name()));
    }

    #[test]
    fn lists_are_read() {
        assert_eq!(parse_faults(""), Ok(vec![]));
        assert_eq!(
            parse_faults("late=1, two-traps=20"),
            Ok(vec![(Fault::Late, 1), (Fault::TwoTraps, 20)])
        );
        for text in ["hang", "hang=", "hang=x", "hang=-1", "what=1"] {
            assert!(parse_faults(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_seed_chooses_the_devices() {
        let faults = [(Fault::Hang, 3), (Fault::Drop, 2)];
        let dealt = deal(&faults, 50, 1);
        let count = |fault| dealt.iter().filter(|&&f| f == Some(fault)).count();
        assert_eq!((count(Fault::Hang), count(Fault::Drop)), (3, 2));
        assert_eq!(deal(&faults, 50, 1), dealt);
        assert_ne!(deal(&faults, 50, 2), dealt);
    }
}
