//! The queue in the store: claims and completions in batches, on a real disk and, where there is one, in memory.
//!
//! Wall-clock time, because a commit is mostly waiting for the disk: compare within one run, and look at the memory
//! figures for what the code costs. Every commit is durable, as in the product.

use std::time::{Duration, Instant};

use anyhow::ensure;
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use muster_benches::queue::{self, Answers, BATCH, Queue};
use muster_benches::scratch;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Devices, thus executions of a job. A multiple of [`BATCH`].
const DEVICES: u64 = 20 * BATCH as u64;

/// A queue, and how many of its executions can be claimed.
struct Ready {
    queue: Queue,
    executions: u64,
}

impl Ready {
    fn new(queue: Queue) -> Self {
        Self { queue, executions: 0 }
    }

    /// The queue with another batch to claim. Making jobs is not part of what is timed.
    async fn refill(&mut self) -> anyhow::Result<&Queue> {
        if self.executions == 0 {
            self.executions = self.queue.create().await?;
        }
        self.executions -= BATCH as u64;
        Ok(&self.queue)
    }
}

fn store(criterion: &mut Criterion) {
    let disk = match scratch::on_disk() {
        Ok(directory) => directory,
        Err(error) => panic!("no directory beside the bench: {error}"),
    };
    bench(criterion, "disk", &disk);
    if let Some(memory) = scratch::in_memory() {
        bench(criterion, "memory", &memory);
    }
}

fn bench(criterion: &mut Criterion, place: &str, directory: &TempDir) {
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => panic!("{error}"),
    };
    let mut queue = Ready::new(run(&runtime, Queue::open(directory.path(), DEVICES)));
    let mut group = criterion.benchmark_group(format!("store/{place}"));
    group.throughput(Throughput::Elements(BATCH as u64));
    // Batches take milliseconds: the same number of them in every sample.
    group.sampling_mode(SamplingMode::Flat);
    group.bench_function("claim", |bencher| {
        bencher.iter_custom(|batches| run(&runtime, cycles(&mut queue, batches, Answers::Same)).0);
    });
    for (name, answers) in [("complete", Answers::Own), ("complete-same", Answers::Same)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|batches| run(&runtime, cycles(&mut queue, batches, answers)).1);
        });
    }
    group.finish();
    runtime.block_on(queue.queue.close());
}

/// Claims and completes so many batches. Returns the time each of the two took.
async fn cycles(ready: &mut Ready, batches: u64, answers: Answers) -> anyhow::Result<(Duration, Duration)> {
    let (mut claiming, mut completing) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..batches {
        let queue = ready.refill().await?;
        let began = Instant::now();
        let leases = queue.claim().await?;
        claiming += began.elapsed();
        ensure!(leases.len() == BATCH, "claimed {} of {BATCH}", leases.len());
        let reports = queue::reports(&leases, answers)?;
        let began = Instant::now();
        queue.complete(reports).await?;
        completing += began.elapsed();
    }
    Ok((claiming, completing))
}

fn run<T>(runtime: &Runtime, work: impl Future<Output = anyhow::Result<T>>) -> T {
    match runtime.block_on(work) {
        Ok(done) => done,
        Err(error) => panic!("{error:#}"),
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = store
}
criterion_main!(benches);
