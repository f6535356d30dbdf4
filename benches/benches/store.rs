//! The queue in the store: claims and completions in batches, on a real disk and, where there is one, in memory.
//!
//! Wall-clock time, because a commit is mostly waiting for the disk: compare within one run, and look at the memory
//! figures for what the code costs. Every commit is durable, as in the product.

use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use muster_benches::queue::{self, Answers, BATCH, Queue};
use muster_benches::scratch;
use tempfile::TempDir;
use tokio::runtime::Runtime;

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
    let mut queue = run(&runtime, Queue::open(directory.path()));
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
    runtime.block_on(queue.close());
}

/// Claims and completes so many batches. Returns the time each of the two took.
async fn cycles(queue: &mut Queue, batches: u64, answers: Answers) -> anyhow::Result<(Duration, Duration)> {
    let (mut claiming, mut completing) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..batches {
        queue.refill().await?;
        let began = Instant::now();
        let leases = queue.claim().await?;
        claiming += began.elapsed();
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
