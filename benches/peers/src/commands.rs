//! Small commands with mikrotik-rs, a task for each device, with the manners of the scoreboard's own clients.
//!
//! `muster-peers commands PORT CONNECTIONS DEPTH`: connects, says `READY`, and for each line on its standard input, a
//! number of milliseconds, runs so long and says how many commands were answered, in how many nanoseconds, and how many
//! nanoseconds of processor time that took.

use std::io::{BufRead as _, Write as _};
use std::time::{Duration, Instant};

use mikrotik_rs::{CommandBuilder, Event, MikrotikDevice};
use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinSet;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn cpu() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// One command and its answer, which has to have a row.
async fn ask(device: &MikrotikDevice) -> Result<(), Failure> {
    let command = CommandBuilder::new()
        .command("/system/resource/print")
        .attribute(".proplist", Some("uptime,version,cpu"))
        .build();
    let (mut events, mut rows) = (device.send_command(command).await?, 0);
    while let Some(event) = events.recv().await {
        match event {
            Event::Reply { .. } => rows += 1,
            Event::Done { .. } if rows > 0 => return Ok(()),
            other => return Err(format!("not an answer: {other:?}").into()),
        }
    }
    Err("the connection ended".into())
}

/// Asks until the time is over; returns how many were answered.
async fn work(device: MikrotikDevice, until: Instant) -> Result<u64, Failure> {
    let mut commands = 0;
    while Instant::now() < until {
        ask(&device).await?;
        commands += 1;
    }
    Ok(commands)
}

async fn serve(port: u16, connections: usize, depth: usize) -> Result<(), Failure> {
    let mut devices = Vec::with_capacity(connections);
    for at in 0..connections {
        let address = format!("127.0.1.{}:{port}", 1 + at % 8);
        devices.push(MikrotikDevice::connect(address, "admin", None).await?);
    }
    println!("READY 0");
    std::io::stdout().flush()?;
    for line in std::io::stdin().lock().lines() {
        let time = Duration::from_millis(line?.trim().parse()?);
        let (began, cpu_before) = (Instant::now(), cpu());
        let mut tasks = JoinSet::new();
        for device in &devices {
            for _ in 0..depth {
                tasks.spawn(work(device.clone(), began + time));
            }
        }
        let mut commands = 0;
        while let Some(done) = tasks.join_next().await {
            commands += done??;
        }
        println!("{commands} {} {}", began.elapsed().as_nanos(), cpu() - cpu_before);
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// What the command line asks for.
pub(crate) fn run(words: &[String]) -> Result<(), String> {
    let numbers = words
        .iter()
        .map(|word| word.parse::<usize>())
        .collect::<Result<Vec<_>, _>>();
    let Ok([port, connections, depth]) =
        numbers.map(|numbers| <[usize; 3]>::try_from(numbers).unwrap_or_default())
    else {
        return Err("usage: muster-peers commands PORT CONNECTIONS DEPTH".into());
    };
    // As the scoreboard's clients: one thread, so that one core is compared with one core.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let served = runtime.block_on(serve(port as u16, connections, depth));
    served.map_err(|error| error.to_string())
}
