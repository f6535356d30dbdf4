//! Pages of results of a job that is large.

use super::*;

const EXECUTIONS: u64 = 40_000;
const PAGE: u32 = 1_000;

/// Two jobs on the same devices, laid out in turns as large jobs are, so that the executions of each lie between those of
/// the other. Every third one has failed.
async fn fill(bench: &Bench) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(bench.path());
    let mut connection = SqliteConnection::connect_with(&options).await.expect("connect");
    let statement = "
        WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
        INSERT INTO execution (job_id, device_id, device_name, zone, state, ready_at)
        SELECT j.value, n.i, 'r' || n.i, 'z', iif(n.i % 3 = 0, 16, 10), 0 FROM n JOIN json_each('[7, 8]') j
        ORDER BY n.i / 10000, j.value, n.i";
    sqlx::query(statement)
        .bind(EXECUTIONS as i64)
        .execute(&mut connection)
        .await
        .expect("insert");
    connection
}

/// A page costs what it is large, wherever it is in the job.
#[tokio::test]
async fn pages_of_results_seek_and_sort_nothing() {
    let bench = Bench::with_devices(0).await;
    let mut connection = fill(&bench).await;
    sqlx::query("ANALYZE")
        .execute(&mut connection)
        .await
        .expect("analyse");
    for statement in [sql::RESULT_PAGE, sql::SCAN, sql::SCAN_DETAILS] {
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
        let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(explain)
            .fetch_all(&mut connection)
            .await
            .expect("a plan");
        let has = |part: &str| plan.iter().any(|(.., step)| step.contains(part));
        assert!(
            has("execution_device (job_id=? AND device_id>?)") && !has("TEMP B-TREE"),
            "{plan:?}"
        );
    }
}

#[tokio::test]
async fn pages_follow_each_other_in_the_order_in_which_executions_were_laid_out() {
    let bench = Bench::with_devices(0).await;
    let mut connection = fill(&bench).await;
    for (states, state) in [(vec![], None), (vec![ExecutionState::Failed], Some(16))] {
        let mut page = ResultPage {
            job: 8,
            after: 0,
            limit: PAGE,
            states,
        };
        let mut found = Vec::new();
        loop {
            let results = bench.store.results(&page).await.expect("read");
            let Some(last) = results.last() else { break };
            page.after = last.execution;
            found.extend(results.iter().map(|result| result.execution as i64));
        }
        let statement =
            "SELECT id FROM execution WHERE job_id = 8 AND state = coalesce(?1, state) ORDER BY id";
        let all: Vec<i64> = sqlx::query_scalar(statement)
            .bind(state)
            .fetch_all(&mut connection)
            .await
            .expect("read");
        assert_eq!(found, all);
    }
}

/// What is asked for after an execution of another job, or after one that is gone, is not the job from its beginning.
#[tokio::test]
async fn after_an_execution_of_another_job_there_is_nothing() {
    let bench = Bench::with_devices(0).await;
    fill(&bench).await;
    for after in [1, 10 * EXECUTIONS] {
        let page = ResultPage {
            job: 8,
            after,
            limit: PAGE,
            states: vec![],
        };
        assert_eq!(
            bench.store.results(&page).await.expect("read").len(),
            0,
            "{after}"
        );
    }
}
