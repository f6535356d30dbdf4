//! The engine's database as another process sees it.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, SqliteConnection};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A connection to the file.
pub(crate) struct Database {
    runtime: Runtime,
    connection: SqliteConnection,
    /// Where a copy is, for as long as it is read.
    copy: Option<TempDir>,
}

impl Database {
    /// Opens the database in a data directory.
    pub(crate) fn open(data: &Path) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let options = SqliteConnectOptions::new()
            .filename(data.join("muster.db"))
            .busy_timeout(Duration::from_secs(10));
        let connection = runtime.block_on(SqliteConnection::connect_with(&options));
        let connection = connection.expect("a database");
        Self {
            runtime,
            connection,
            copy: None,
        }
    }

    /// Opens a copy: what a process that was killed left is for the next one to find as it is.
    pub(crate) fn of_the_dead(data: &Path) -> Self {
        let copy = TempDir::new().expect("temporary directory");
        for file in ["muster.db", "muster.db-wal"] {
            // No log, when everything was in the database.
            let _ = std::fs::copy(data.join(file), copy.path().join(file));
        }
        let mut database = Self::open(copy.path());
        database.copy = Some(copy);
        database
    }

    /// Names of the devices for which these workers have an intent, or that were given up since.
    pub(crate) fn at_risk(&mut self, workers: &[&str], since: i64) -> Vec<String> {
        const AT_RISK: &str = "
            SELECT device_name FROM execution WHERE (state = 20 AND finished_at >= ?2) OR (state = 3 AND session_id IN (
                SELECT id FROM session WHERE worker IN (SELECT value FROM json_each(?1))))";
        let workers = serde_json::json!(workers).to_string();
        let query = sqlx::query_scalar(AT_RISK).bind(workers).bind(since);
        let names = self.runtime.block_on(query.fetch_all(&mut self.connection));
        names.expect("a database")
    }

    /// Runs a statement.
    pub(crate) fn run(&mut self, sql: &'static str) {
        let ran = self
            .runtime
            .block_on(sqlx::query(sql).execute(&mut self.connection));
        ran.expect(sql);
    }

    /// The text a query gives.
    pub(crate) fn text(&mut self, sql: &'static str) -> String {
        let query = sqlx::query_scalar(sql).fetch_one(&mut self.connection);
        self.runtime.block_on(query).expect(sql)
    }
}
