//! Measures the rows of the scoreboard. `benches/README.md` says how to read them.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Parser;
use mimalloc::MiMalloc;
use muster_benches::board::{self, Line};
use muster_benches::rows::{self, Row, Run};
use muster_benches::{alone, drive, echo, machine, process, server, sim};

/// Measures muster: one row, one number, each beside a baseline that does the same work.
#[derive(Debug, Parser)]
#[command(name = "scoreboard")]
struct Args {
    /// Fewer runs: a number to look at, not one to record.
    #[arg(long)]
    quick: bool,
    /// One JSON object a row.
    #[arg(long)]
    json: bool,
    /// Build the peers that rows compare with.
    #[arg(long)]
    peers: bool,
    /// Rows to measure; all of them without.
    #[arg(value_name = "ROW")]
    rows: Vec<String>,
}

/// As in the product.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let done = match words.next() {
        Some(first) if first == OsStr::new(sim::COMMAND) => simulate(words),
        Some(first) if first == OsStr::new(server::COMMAND) => server::serve(),
        Some(first) if first == OsStr::new(echo::COMMAND) => echo::serve(),
        Some(first) if first == OsStr::new(drive::COMMAND) => {
            drive::serve(words.map(|word| word.to_string_lossy().into_owned()))
        }
        Some(first) if first == OsStr::new(process::COMMAND) => serve(words.next().as_deref()),
        Some(first) if first == OsStr::new(alone::COMMAND) => alone::serve(words),
        _ => score(&Args::parse()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn simulate(words: impl Iterator<Item = OsString>) -> anyhow::Result<()> {
    let numbers = words.map(|word| word.to_string_lossy().parse());
    let numbers = numbers.collect::<Result<Vec<u64>, _>>()?;
    let firmware = match numbers.get(1..) {
        Some(&[download, restart]) => Some(sim::Firmware {
            download: Duration::from_millis(download),
            restart: Duration::from_millis(restart),
        }),
        _ => None,
    };
    let devices = numbers.first().context("how many devices?")?;
    sim::serve(usize::try_from(*devices)?, firmware)
}

fn serve(data: Option<&OsStr>) -> anyhow::Result<()> {
    process::serve(data.context("in which directory?")?.as_ref())
}

fn score(args: &Args) -> anyhow::Result<()> {
    let rows = chosen(&args.rows)?;
    if cfg!(debug_assertions) {
        tell("this is a debug build: its numbers mean nothing; use cargo run --release");
    }
    rlimit::increase_nofile_limit(u64::MAX).context("the limit of open files cannot be raised")?;
    let run = Run {
        quick: args.quick,
        peers: args.peers,
        program: std::env::current_exe()?,
    };
    let machine = machine::describe();
    let mut lines = Vec::new();
    for row in rows {
        let spec = row.spec();
        let outcome = row.measure(&run).with_context(|| format!("row {}", spec.id))?;
        let line = Line::new(&spec, outcome, &machine);
        if args.json {
            // As it comes: a row may take minutes.
            writeln!(io::stdout(), "{}", serde_json::to_string(&line)?)?;
        }
        lines.push(line);
    }
    if !args.json {
        write!(io::stdout(), "{}", board::table(&lines))?;
    }
    Ok(())
}

/// The rows with these ids in the scoreboard's order; all without any.
fn chosen(ids: &[String]) -> anyhow::Result<Vec<Box<dyn Row>>> {
    let rows = rows::all();
    let known = rows.iter().map(|row| row.spec().id).collect::<Vec<_>>();
    if let Some(unknown) = ids.iter().find(|id| !known.contains(&id.as_str())) {
        bail!("there is no row {unknown:?}; rows: {}", known.join(", "));
    }
    let wanted = |id: &str| ids.is_empty() || ids.iter().any(|wanted| wanted == id);
    Ok(rows.into_iter().filter(|row| wanted(row.spec().id)).collect())
}

fn tell(text: &str) {
    // Nobody may be there to be told.
    let _ = writeln!(io::stderr(), "{text}");
}
