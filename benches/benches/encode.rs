//! Encoding: requests with tags, from words that are ready and from names and values.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use muster_benches::codec;
use routeros_wire::{Decoder, EncodeError};

mod measure;

use measure::CpuTime;

/// Requests in one buffer.
const REQUESTS: usize = 1_000;

const RULE: [(&str, &str); 8] = [
    ("chain", "forward"),
    ("action", "accept"),
    ("protocol", "tcp"),
    ("src-address-list", "customers-17"),
    ("dst-address", "10.20.30.0/24"),
    ("dst-port", "443,8443"),
    ("disabled", "no"),
    ("comment", "managed by fleet, ticket NOC-4711 do not edit"),
];

fn encode(criterion: &mut Criterion<CpuTime>) {
    let tags = (1..=REQUESTS).map(|tag| tag.to_string().into_bytes());
    let tags = tags.collect::<Vec<_>>();
    let mut group = criterion.benchmark_group("encode");
    bench(&mut group, "print", &tags, codec::encode_print);
    bench(&mut group, "add", &tags, |out, tag| {
        codec::encode_add(out, black_box(&RULE), tag)
    });
    group.finish();
}

fn bench(
    group: &mut criterion::BenchmarkGroup<'_, CpuTime>,
    name: &str,
    tags: &[Vec<u8>],
    request: impl Fn(&mut Vec<u8>, &[u8]) -> Result<(), EncodeError>,
) {
    let mut out = Vec::new();
    let mut fill = |tags: &[Vec<u8>]| {
        out.clear();
        for tag in tags {
            if let Err(error) = request(&mut out, tag) {
                panic!("{error}");
            }
        }
        check(&out, tags);
        out.len() as u64
    };
    group.throughput(Throughput::Bytes(fill(tags)));
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            out.clear();
            for tag in black_box(tags) {
                let _ = black_box(request(&mut out, tag));
            }
            out.len()
        });
    });
}

/// A decoder finds every request with its tag.
fn check(bytes: &[u8], tags: &[Vec<u8>]) {
    let mut decoder = Decoder::default();
    assert_eq!(decoder.scan(bytes), Ok(tags.len()));
    for (sentence, tag) in decoder.sentences(bytes).zip(tags) {
        assert_eq!(sentence.tag(), Some(tag.as_slice()));
    }
}

criterion_group! {
    name = benches;
    config = measure::criterion();
    targets = encode
}
criterion_main!(benches);
