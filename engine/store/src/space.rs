//! The file: how large it is, how much of it is free, and giving that back to the file system.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, SqliteConnection};

use crate::{Store, StoreError, Write, sql};

/// A database up to this, in bytes, is rewritten at open if it cannot give space back yet: a matter of seconds.
const CONVERT_UP_TO: u64 = 256 << 20;
/// What SQLite calls a database that gives free pages back when told to.
const INCREMENTAL: i64 = 2;

/// The file's sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Bytes of the database.
    pub database: u64,
    /// Bytes of it that hold nothing.
    pub free: u64,
    /// Bytes of the write-ahead log beside it.
    pub wal: u64,
}

/// Gives some free pages at the end of the file back, moving what is in use there. Takes a few milliseconds. The file
/// shrinks at the next [`Store::checkpoint`].
#[derive(Clone, Copy, Debug)]
pub struct ReturnSpace;

impl Write for ReturnSpace {
    type Out = ();

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<(), StoreError> {
        sqlx::query(sql::VACUUM_STEP).execute(tx).await?;
        Ok(())
    }
}

/// Whether the file is still to be made.
pub(crate) fn is_new(path: &Path) -> bool {
    std::fs::metadata(path).map_or(true, |file| file.len() == 0)
}

/// Makes a database that was made without the means to give space back into one with them, if it is small. Whether
/// it did: connections from before are to be opened again then.
pub(crate) async fn convert(writer: &mut SqliteConnection, path: &Path) -> Result<bool, sqlx::Error> {
    let mode: i64 = sqlx::query_scalar(sql::AUTO_VACUUM).fetch_one(writer).await?;
    if mode == INCREMENTAL {
        return Ok(false);
    }
    let bytes = std::fs::metadata(path).map_or(0, |file| file.len());
    if bytes > CONVERT_UP_TO {
        tracing::warn!(
            database = %path.display(),
            bytes,
            "this database keeps the space of what is deleted and uses it again; to have it shrink, stop the engine \
             and run once: sqlite3 {} 'PRAGMA auto_vacuum = INCREMENTAL; VACUUM'",
            path.display()
        );
        return Ok(false);
    }
    // Not with the store's own settings: they would hold the copy in memory.
    let options = SqliteConnectOptions::new().filename(path);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    for statement in [sql::AUTO_VACUUM_INCREMENTAL, sql::VACUUM] {
        sqlx::query(statement).execute(&mut connection).await?;
    }
    tracing::info!(database = %path.display(), bytes, "this database gives space back from now on");
    connection.close().await?;
    Ok(true)
}

/// Durable writes that are timed at most, and for how long at most.
const SYNCS: usize = 16;
const SYNCS_WITHIN: Duration = Duration::from_millis(200);

/// How long this disk takes to make 4 KiB durable: the median of a few times, beside the database.
fn time_sync(database: &Path) -> std::io::Result<Duration> {
    let path = database.with_extension("probe");
    let mut file = std::fs::File::create(&path)?;
    let (began, mut took) = (Instant::now(), Vec::new());
    let timed = loop {
        let one = Instant::now();
        if let Err(error) = file.write_all(&[0; 4096]).and_then(|()| file.sync_data()) {
            break Err(error);
        }
        took.push(one.elapsed());
        if took.len() == SYNCS || began.elapsed() > SYNCS_WITHIN {
            break Ok(());
        }
    };
    std::fs::remove_file(&path)?;
    timed?;
    took.sort();
    Ok(took[took.len() / 2])
}

impl Store {
    /// The sizes now.
    pub async fn space(&self) -> Result<Space, StoreError> {
        let mut tx = self.readers().begin().await?;
        let mut sizes = [0_u64; 3];
        for (size, statement) in sizes
            .iter_mut()
            .zip([sql::PAGE_SIZE, sql::PAGE_COUNT, sql::PAGES_FREE])
        {
            let found: i64 = sqlx::query_scalar(statement).fetch_one(&mut *tx).await?;
            *size = found.unsigned_abs();
        }
        let [page, pages, free] = sizes;
        let mut wal = self.path().as_os_str().to_owned();
        wal.push("-wal");
        Ok(Space {
            database: page * pages,
            free: page * free,
            wal: std::fs::metadata(wal).map_or(0, |file| file.len()),
        })
    }

    /// Brings what is in the log into the database file, which shrinks then if it can, and empties the log. Whoever
    /// reads meanwhile is not waited for: what they hold up is done the next time.
    pub async fn checkpoint(&self) -> Result<(), StoreError> {
        // A connection of its own, which waits for nobody: the writer never does this, so that it holds nobody up.
        let options = SqliteConnectOptions::new()
            .filename(self.path())
            .busy_timeout(Duration::ZERO);
        let mut connection = SqliteConnection::connect_with(&options).await?;
        for statement in [sql::CHECKPOINT, sql::CHECKPOINT_TRUNCATE] {
            sqlx::query(statement).execute(&mut connection).await?;
        }
        Ok(connection.close().await?)
    }

    /// How long the disk takes to make a small write durable now.
    pub async fn sync_time(&self) -> std::io::Result<Duration> {
        let path = self.path().to_owned();
        tokio::task::spawn_blocking(move || time_sync(&path))
            .await
            .map_err(std::io::Error::other)?
    }

    /// Operations that wait for the writer.
    pub fn queued(&self) -> usize {
        self.writer().queued()
    }
}
