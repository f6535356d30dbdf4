//! Decoding: scan, scan and split of every attribute, scan and three attributes by name, over each corpus.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use muster_benches::codec;
use muster_benches::corpus::Corpus;
use routeros_wire::Decoder;

mod measure;

use measure::CpuTime;

fn decode(criterion: &mut Criterion<CpuTime>) {
    let corpora = Corpus::all();
    for corpus in &corpora {
        if let Err(error) = codec::check(corpus) {
            panic!("{error}");
        }
    }
    // One decoder for all, as a worker's sessions keep theirs: its tape has grown to its size.
    let mut decoder = Decoder::default();
    each(criterion, "decode/scan", &corpora, |corpus| {
        codec::scan(&mut decoder, black_box(&corpus.bytes))
    });
    each(criterion, "decode/attributes", &corpora, |corpus| {
        codec::attributes(&mut decoder, black_box(&corpus.bytes))
    });
    each(criterion, "decode/get", &corpora, |corpus| {
        codec::get(&mut decoder, black_box(&corpus.bytes), corpus.names)
    });
}

fn each(
    criterion: &mut Criterion<CpuTime>,
    name: &str,
    corpora: &[Corpus],
    mut pass: impl FnMut(&Corpus) -> u64,
) {
    let mut group = criterion.benchmark_group(name);
    for corpus in corpora {
        group.throughput(Throughput::Bytes(corpus.bytes.len() as u64));
        group.bench_function(corpus.name, |bencher| bencher.iter(|| pass(corpus)));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = measure::criterion();
    targets = decode
}
criterion_main!(benches);
