//! The data directory: what is in it, who may read it, and that only one engine uses it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroizing;

/// The environment variable that holds the key, as 64 hex digits, for who keeps it elsewhere.
pub(crate) const KEY_VARIABLE: &str = "MUSTER_KEY";

/// An open data directory.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    key: Zeroizing<[u8; 32]>,
    worker_token: String,
    client_token: String,
    /// Locked for as long as it is open.
    _lock: File,
}

/// A data directory that cannot be used.
#[derive(Debug, Error)]
pub enum DataError {
    /// The file system's word.
    #[error("{path}: {source}")]
    Io {
        /// What was opened or made.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Another engine has it.
    #[error("{path} is in use by another muster")]
    InUse {
        /// The directory.
        path: String,
    },
    /// The key file or variable does not hold a key.
    #[error("{place} does not hold a key: 64 hex digits are needed")]
    BadKey {
        /// Where it was looked for.
        place: String,
    },
    /// A secret that others can read.
    #[error("{path} can be read by others (mode {mode:o}); it must be 0600")]
    Exposed {
        /// The file.
        path: String,
        /// Its mode.
        mode: u32,
    },
}

impl DataDirectory {
    /// Opens the directory, making it and its secrets as needed.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let io = |path: &Path| {
            let path = path.display().to_string();
            move |source| DataError::Io { path, source }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(io(path))?;
        let lock_path = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path);
        let lock = lock.map_err(io(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DataError::InUse {
                    path: path.display().to_string(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(io(&lock_path)(error)),
        }
        let key = match std::env::var(KEY_VARIABLE) {
            Ok(text) => parse_key(&text, KEY_VARIABLE)?,
            Err(_) => {
                let file = path.join("key");
                let text = secret(&file, || hex(random()?))?;
                parse_key(&text, &file.display().to_string())?
            }
        };
        let token = |file: &str, prefix: &str| {
            let made = || Ok(format!("{prefix}_{}", *hex(random()?)?).into());
            secret(&path.join(file), made).map(|token| token.trim().to_owned())
        };
        let (worker_token, client_token) = (token("worker.token", "mwt")?, token("client.token", "mct")?);
        // Made here, so that it is its owner's from the first byte, in a directory of whatever mode.
        let database = path.join("muster.db");
        let made = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&database);
        made.map_err(io(&database))?;
        Ok(Self {
            path: path.to_owned(),
            key,
            worker_token,
            client_token,
            _lock: lock,
        })
    }

    /// The database file.
    pub fn database(&self) -> PathBuf {
        self.path.join("muster.db")
    }

    /// What a worker must present.
    pub fn worker_token(&self) -> &str {
        &self.worker_token
    }

    /// What a client must present over TLS.
    pub(crate) fn client_token(&self) -> &str {
        &self.client_token
    }

    pub(crate) fn key(&self) -> &[u8; 32] {
        &self.key
    }
}

/// Reads a secret file, or makes it, readable by its owner only.
fn secret(
    path: &Path,
    make: impl FnOnce() -> io::Result<Zeroizing<String>>,
) -> Result<Zeroizing<String>, DataError> {
    let io = |source| DataError::Io {
        path: path.display().to_string(),
        source,
    };
    match OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)
    {
        Ok(mut file) => {
            let text = make().map_err(io)?;
            file.write_all(text.as_bytes())
                .and_then(|()| file.write_all(b"\n"))
                .map_err(io)?;
            // Without it, a power cut could leave sealed passwords without their key.
            file.sync_all().map_err(io)?;
            Ok(text)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mode = fs::metadata(path).map_err(io)?.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(DataError::Exposed {
                    path: path.display().to_string(),
                    mode,
                });
            }
            fs::read_to_string(path).map(Zeroizing::new).map_err(io)
        }
        Err(error) => Err(io(error)),
    }
}

fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

fn hex(bytes: [u8; 32]) -> io::Result<Zeroizing<String>> {
    Ok(Zeroizing::new(
        bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    ))
}

fn parse_key(text: &str, place: &str) -> Result<Zeroizing<[u8; 32]>, DataError> {
    let bad = || DataError::BadKey {
        place: place.to_owned(),
    };
    let text = text.trim();
    if text.len() != 64 || !text.is_ascii() {
        return Err(bad());
    }
    let mut key = Zeroizing::new([0; 32]);
    for (byte, at) in key.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| bad())?;
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn secrets_are_made_once_and_kept_from_others() {
        let directory = TempDir::new().expect("temporary directory");
        let path = directory.path().join("data");
        let first = DataDirectory::open(&path).expect("open");
        let (key, token) = (first.key().to_owned(), first.worker_token().to_owned());
        for file in ["key", "worker.token", "client.token", "muster.db"] {
            let mode = fs::metadata(path.join(file)).expect("made").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        assert!(matches!(DataDirectory::open(&path), Err(DataError::InUse { .. })));
        drop(first);
        let again = DataDirectory::open(&path).expect("open again");
        assert_eq!((again.key(), again.worker_token()), (&key, token.as_str()));
        drop(again);
        fs::set_permissions(path.join("key"), fs::Permissions::from_mode(0o644)).expect("chmod");
        assert!(matches!(
            DataDirectory::open(&path),
            Err(DataError::Exposed { mode: 0o644, .. })
        ));
    }

    #[test]
    fn a_bad_key_is_refused() {
        assert!(parse_key("abc", "x").is_err());
        assert!(parse_key(&"g".repeat(64), "x").is_err());
        assert_eq!(parse_key(&"01".repeat(32), "x").expect("a key")[..], [1; 32]);
    }
}
