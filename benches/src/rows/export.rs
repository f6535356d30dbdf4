//! R2 and R5: counting the rows of results, and writing them out.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use muster_proto::v1;
use muster_proto::v1::job_service_client::JobServiceClient;
use routeros_wire::encode;
use tokio::runtime::Runtime;
use tonic::transport::Channel;

use super::{Row, Run};
use crate::board::{Better, Outcome, Spec};
use crate::cpu::median;
use crate::process::EngineProcess;
use crate::queue::{self, Answers, Queue};
use crate::sync::Place;

/// Against `DuckDB`.
#[derive(Debug)]
pub(super) struct R2;

/// How much memory an export takes.
#[derive(Debug)]
pub(super) struct R5;

impl Row for R2 {
    fn spec(&self) -> Spec {
        Spec {
            id: "R2",
            what: "job aggregate --group-by version,board-name over 100,000 stored results of 30 attributes, from the \
                   call to its answer: time relative to the baseline",
            unit: "x time",
            better: Better::Lower,
            floor: 2.0,
            goal: 0.7,
            baseline: "DuckDB from PyPI on the same as JSON lines, GROUP BY the same, in turns",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        if !run.peers {
            let how = "its peer is not there; add --peers, which installs duckdb from PyPI";
            return Ok(Outcome::Skipped(how.to_owned()));
        }
        let place = Place::disk()?;
        let Some(python) = python(&place)? else {
            return Ok(Outcome::Skipped("duckdb cannot be installed here".to_owned()));
        };
        let results = run.pick(20_000, 100_000) as u64;
        let runtime = Runtime::new()?;
        let data = place.directory("aggregate")?;
        runtime.block_on(fill(&data, results, 1))?;
        let engine = EngineProcess::start(&run.program, &place, &data)?;
        let channel = runtime.block_on(engine.connect())?;
        let job = runtime.block_on(job(&channel))?;
        let files = [v1::ExportFormat::Jsonl, v1::ExportFormat::Parquet];
        let [lines, parquet] = files.map(|format| data.join(format.as_str_name()));
        for (format, file) in files.into_iter().zip([&lines, &parquet]) {
            runtime.block_on(export(&channel, &job, format, file))?;
        }
        let (mut ours, mut on_lines, mut on_parquet, mut ratios) = (vec![], vec![], vec![], vec![]);
        for number in 1..=run.pick(3, 9) {
            let (took, groups) = runtime.block_on(aggregate(&channel, &job))?;
            let (line_took, line_groups) = duckdb(&python, "read_json_auto", &lines)?;
            let (parquet_took, parquet_groups) = duckdb(&python, "read_parquet", &parquet)?;
            ensure!(
                groups == line_groups,
                "DuckDB counts other groups in the JSON lines"
            );
            ensure!(
                groups == parquet_groups,
                "DuckDB counts other groups in the Parquet"
            );
            run.progress(&format!(
                "R2 run {number}: {took:.3} s, DuckDB {line_took:.3} on JSON lines, {parquet_took:.3} on Parquet"
            ));
            ratios.push(took / line_took);
            ours.push(took);
            on_lines.push(line_took);
            on_parquet.push(parquet_took);
        }
        let notes = vec![format!(
            "{:.0} ms, DuckDB {:.0} ms on JSON lines and {:.0} ms on Parquet (medians)",
            median(&mut ours) * 1e3,
            median(&mut on_lines) * 1e3,
            median(&mut on_parquet) * 1e3
        )];
        Ok(Outcome::Noted {
            measured: median(&mut ratios),
            baseline: 1.0,
            notes,
        })
    }
}

impl Row for R5 {
    fn spec(&self) -> Spec {
        Spec {
            id: "R5",
            what: "job export of 1,000,000 rows of 30 attributes as Parquet: the most memory that the engine's process \
                   ever holds",
            unit: "MiB",
            better: Better::Lower,
            floor: 256.0,
            goal: 64.0,
            baseline: "the same process before the export",
        }
    }

    fn measure(&self, run: &Run) -> anyhow::Result<Outcome> {
        const EACH: u64 = 20;
        let place = Place::disk()?;
        let rows = run.pick(100_000, 1_000_000) as u64;
        let runtime = Runtime::new()?;
        let data = place.directory("export")?;
        runtime.block_on(fill(&data, rows / EACH, EACH))?;
        let engine = EngineProcess::start(&run.program, &place, &data)?;
        let channel = runtime.block_on(engine.connect())?;
        let job = runtime.block_on(job(&channel))?;
        let before = engine.used()?;
        let file = data.join("rows.parquet");
        let began = Instant::now();
        let written = runtime.block_on(export(&channel, &job, v1::ExportFormat::Parquet, &file))?;
        let took = began.elapsed();
        ensure!(written == rows, "{written} rows, not {rows}");
        let after = engine.used()?;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        Ok(Outcome::Noted {
            measured: mib(after.peak),
            baseline: mib(before.peak),
            notes: vec![format!(
                "{rows} rows, {:.0} MiB of Parquet in {:.1} s; {:.1} s of the engine's processor time",
                mib(std::fs::metadata(&file)?.len()),
                took.as_secs_f64(),
                (after.cpu - before.cpu).as_secs_f64()
            )],
        })
    }
}

/// A job that is over: on so many devices, each of which answered so many rows of its own.
async fn fill(data: &Path, devices: u64, rows: u64) -> anyhow::Result<()> {
    let queue = Queue::open(data, devices).await?;
    ensure!(queue.create().await? == devices, "a job on every device");
    loop {
        let leases = queue.claim().await?;
        if leases.is_empty() {
            break;
        }
        let mut reports = queue::reports(&leases, Answers::Done)?;
        for report in &mut reports {
            report.replies = vec![Bytes::from(answer(report.execution, rows)?)];
        }
        queue.complete(reports).await?;
    }
    queue.close().await;
    Ok(())
}

/// Rows of thirty attributes each, some of which every device has alike.
fn answer(execution: u64, rows: u64) -> anyhow::Result<Vec<u8>> {
    const VERSIONS: [&str; 5] = ["7.16.2", "7.12.1", "6.49.10", "7.18.2", "7.9"];
    const BOARDS: [&str; 7] = [
        "hEX",
        "hEX S",
        "RB5009UG+S+",
        "CHR",
        "cAP ac",
        "hAP ax^2",
        "RB4011iGS+",
    ];
    let mut bytes = Vec::new();
    for row in 0..rows {
        let seed = (execution * rows + row).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16;
        let mut words = vec![
            "!re".to_owned(),
            format!("=.id=*{:X}", row + 1),
            format!("=version={} (stable)", VERSIONS[(seed % 5) as usize]),
            format!("=board-name={}", BOARDS[(seed / 5 % 7) as usize]),
            format!("=uptime={}h{}m", seed % 9000, seed % 60),
            format!("=cpu-load={}", seed % 101),
            format!("=free-memory={}", seed % 1_073_741_824),
            format!("=serial={seed:012X}"),
        ];
        words.extend((8..=30).map(|at| format!("=attribute-{at}={}", seed >> (at % 24) & 0xFFF)));
        encode::sentence(&mut bytes, words.iter().map(String::as_str))?;
    }
    encode::sentence(&mut bytes, ["!done"])?;
    Ok(bytes)
}

fn client(channel: &Channel) -> JobServiceClient<Channel> {
    JobServiceClient::new(channel.clone()).max_decoding_message_size(128 << 20)
}

async fn job(channel: &Channel) -> anyhow::Result<String> {
    let jobs = client(channel)
        .list_jobs(v1::ListJobsRequest::default())
        .await?
        .into_inner()
        .jobs;
    Ok(jobs.first().context("the job that was made")?.id.clone())
}

/// Rows by version and board.
type Groups = Vec<(String, String, u64)>;

async fn aggregate(channel: &Channel, job: &str) -> anyhow::Result<(f64, Groups)> {
    let request = v1::AggregateJobRequest {
        id: job.to_owned(),
        group_by: vec!["version".into(), "board-name".into()],
        ..Default::default()
    };
    let began = Instant::now();
    let mut stream = client(channel).aggregate_job(request).await?.into_inner();
    let answer = stream.message().await?.context("an answer")?;
    let took = began.elapsed().as_secs_f64();
    let text = |value: &v1::AggregateValue| match &value.kind {
        Some(v1::aggregate_value::Kind::Text(text)) => text.clone(),
        _ => String::new(),
    };
    let group = |group: &v1::AggregateGroup| {
        let [version, board] = group.key.as_slice() else {
            return (String::new(), String::new(), 0);
        };
        (text(version), text(board), group.rows)
    };
    let mut groups = answer.groups.iter().map(group).collect::<Groups>();
    groups.sort();
    Ok((took, groups))
}

/// Writes an export to a file; returns how many rows it has.
async fn export(channel: &Channel, job: &str, format: v1::ExportFormat, file: &Path) -> anyhow::Result<u64> {
    use std::io::Write as _;
    let request = v1::ExportJobRequest {
        id: job.to_owned(),
        format: format.into(),
        ..Default::default()
    };
    let mut stream = client(channel).export_job(request).await?.into_inner();
    let (mut file, mut rows) = (std::fs::File::create(file)?, 0);
    while let Some(message) = stream.message().await? {
        file.write_all(&message.data)?;
        rows = message.rows;
    }
    Ok(rows)
}

/// A Python that has `DuckDB`; none where it cannot be had. `MUSTER_DUCKDB_PYTHON` names one that is there already.
fn python(place: &Place) -> anyhow::Result<Option<PathBuf>> {
    if let Some(given) = std::env::var_os("MUSTER_DUCKDB_PYTHON") {
        return Ok(Some(given.into()));
    }
    let venv = place.directory("venv")?;
    let quiet = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    let python = venv.join("bin/python");
    let made = quiet(Command::new("python3").args(["-m", "venv"]).arg(&venv))
        && quiet(Command::new(&python).args(["-m", "pip", "install", "--quiet", "duckdb"]));
    Ok(made.then_some(python))
}

/// The time of the query alone, without the start of its process, and what it finds.
fn duckdb(python: &Path, reader: &str, file: &Path) -> anyhow::Result<(f64, Groups)> {
    const SCRIPT: &str = "
import duckdb, json, sys, time
query = f\"SELECT version, \\\"board-name\\\", count(*) FROM {sys.argv[1]}('{sys.argv[2]}') GROUP BY ALL\"
connection = duckdb.connect()
began = time.perf_counter()
rows = connection.execute(query).fetchall()
print(json.dumps([time.perf_counter() - began, sorted(rows)]))
";
    let output = Command::new(python)
        .args(["-c", SCRIPT, reader])
        .arg(file)
        .output()
        .with_context(|| format!("cannot start {}", python.display()))?;
    let told = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&told)
        .with_context(|| format!("DuckDB said {told:?} {}", String::from_utf8_lossy(&output.stderr)))
}
