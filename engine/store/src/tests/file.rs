//! The file: its statements, its version, what is there after reopening.

use super::*;

#[tokio::test]
async fn every_statement_is_understood_by_a_migrated_database() {
    let bench = Bench::with_devices(0).await;
    let options = SqliteConnectOptions::new().filename(bench.path());
    let mut connection = SqliteConnection::connect_with(&options).await.expect("connect");
    for (name, statement) in sql::all() {
        if let Err(error) = connection.prepare(statement.into_sql_str()).await {
            panic!("{name}: {error}");
        }
    }
}

/// Statements that run for every batch, or several times a second, find what they need by an index: a scan would cost
/// in proportion to all that was ever done.
#[tokio::test]
async fn hot_statements_scan_no_table() {
    const HOT: &[&str] = &[
        "JOB_LIVE",
        "JOB_DUE",
        "NEXT_READY",
        "READY_NAMED",
        "READY_REST",
        "RESOLVING_NAMED",
        "RESOLVING_REST",
        "CLAIM",
        "JOBS_ASSIGNED",
        "LOAD",
        "JOBS_DECIDING",
        "LOAD_SESSION",
        "LOAD_PENDING",
        "LOAD_RESOLVING",
        "RESULT_PAGE",
        "MOVE",
        "MOVE_ALIKE",
        "COUNTS_MOVE",
        "COUNTS",
        "STEPS_REMOVE",
        "BLOB_SHARE",
        "WAKE",
        "EVENTS_AFTER",
    ];
    let bench = Bench::with_devices(0).await;
    let options = SqliteConnectOptions::new().filename(bench.path());
    let mut connection = SqliteConnection::connect_with(&options).await.expect("connect");
    for name in HOT {
        let (_, statement) = sql::all().find(|(known, _)| known == name).expect("it is there");
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
        let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(explain)
            .fetch_all(&mut connection)
            .await
            .expect("a plan");
        for (.., step) in &plan {
            let tables = [
                "job",
                "j",
                "execution",
                "e",
                "x",
                "event",
                "step_result",
                "s",
                "blob",
                "b",
                "device",
                "d",
            ];
            let scans = tables.iter().any(|table| {
                let scan = format!("SCAN {table}");
                // What was found already may have the name of a table.
                if plan
                    .iter()
                    .any(|(.., step)| *step == format!("CO-ROUTINE {table}"))
                {
                    return false;
                }
                *step == scan || step.starts_with(&format!("{scan} USING COVERING INDEX sqlite_"))
            });
            assert!(!scans, "{name}: {plan:?}");
        }
    }
    for statements in [&sql::BLOB_KNOWN, &sql::BLOB_STORE, &sql::STEP_STORE] {
        for rows in [1, 1_000] {
            let (statement, _) = statements.of(rows);
            connection
                .prepare(statement.into_sql_str())
                .await
                .expect(statement);
        }
    }
}

#[tokio::test]
async fn a_database_from_a_newer_muster_is_refused_with_a_sentence() {
    let Bench { store, directory } = Bench::with_devices(0).await;
    store.close().await;
    let path = directory.path().join("muster.db");
    let mut connection = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&path))
        .await
        .expect("connect");
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (99, 'later', true, x'00', 0)";
    sqlx::query(newer).execute(&mut connection).await.expect("insert");
    connection.close().await.expect("close");
    let error = Store::open(&path).await.expect_err("newer").to_string();
    assert!(
        error.contains("was written by a newer muster (schema 99, this one knows "),
        "{error}"
    );
}

#[tokio::test]
async fn what_was_answered_is_there_after_reopening() {
    let bench = Bench::with_devices(1).await;
    let job = bench.job(READ, "").await;
    let session = bench.session("i", &[]).await;
    let lease = bench.claim(session, Zones::Rest, 1).await.remove(0);
    bench
        .report(&lease, Outcome::Succeeded, &[b"\x05!done\x00"])
        .await;
    // A second handle on the same file: what a new process would see, without a close before it.
    let again = Store::open(&bench.path()).await.expect("open");
    assert_eq!(
        again.job(&job).await.expect("read").expect("exists").state,
        JobState::Completed
    );
}
