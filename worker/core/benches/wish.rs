//! What a worker's processor does for one device: 50 wanted items in a menu of 5,000, half of them missing, from the first
//! answer to the last, the answers being there.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use muster_model::{Ensure, EnsureError, Items, Plan, Step, Values};
use muster_worker_core::{Action, Attempt, Mode, Outcome, StepEnd};
use routeros_wire::encode;

const ROWS: usize = 5000;
const WANTED: usize = 50;

fn address(at: usize) -> String {
    format!("10.{}.{}.0/24", at / 250, at % 250)
}

fn row(out: &mut Vec<u8>, at: usize) {
    let words = [
        "!re".to_owned(),
        format!("=.id=*{:X}", at + 1),
        "=list=mgmt".to_owned(),
        format!("=address={}", address(at)),
        "=creation-time=2026-01-01 00:00:00".to_owned(),
        "=dynamic=false".to_owned(),
        "=disabled=false".to_owned(),
        format!("=comment=item {at}"),
    ];
    // No word is empty.
    let _ = encode::sentence(out, words);
}

fn table(rows: usize) -> Bytes {
    let mut out = Vec::new();
    (0..rows).for_each(|at| row(&mut out, at));
    let _ = encode::sentence(&mut out, ["!done"]);
    out.into()
}

fn plan(purge: Option<&str>) -> Result<Plan, EnsureError> {
    let item = |at: usize| {
        let at = ROWS - WANTED / 2 + at;
        Values::new([
            ("list", "mgmt".to_owned()),
            ("address", address(at)),
            ("comment", format!("item {at}")),
        ])
    };
    let items = Items {
        key: vec!["list".into(), "address".into()],
        items: (0..WANTED).map(item).collect::<Result<_, _>>()?,
        purge: purge.map(str::to_owned),
        ..Items::default()
    };
    let ensure = Ensure::items("/ip/firewall/address-list", items)?;
    Ok(Plan::new(vec![Step::Ensure(ensure)]))
}

/// One attempt to its end; how many commands it wrote.
fn drive(plan: &Arc<Plan>, before: &Bytes, after: &Bytes) -> usize {
    let mode = Mode::Apply {
        first_step: 0,
        expected: None,
    };
    let mut attempt = Attempt::new(plan.clone(), mode);
    let done = Bytes::from_static(b"\x05!done\x07=ret=*1\0");
    let (mut action, mut reads, mut writes) = (attempt.connected(), 0, 0);
    loop {
        action = match action {
            Action::AskIntent { .. } => attempt.granted(),
            Action::Exchange(exchange) if exchange.words[0].ends_with(b"/print") => {
                reads += 1;
                let answer = if reads == 1 { before } else { after };
                attempt.answered(StepEnd::Completed, answer.clone())
            }
            Action::Exchange(_) => {
                writes += 1;
                attempt.answered(StepEnd::Completed, done.clone())
            }
            Action::End(ended) => {
                assert_eq!(
                    (ended.outcome, reads),
                    (Outcome::Succeeded, 2),
                    "{:?}",
                    ended.error
                );
                return writes;
            }
            Action::Connect | Action::Wait(_) | Action::Reconnect(_) => return writes,
        };
    }
}

fn wish(criterion: &mut Criterion) {
    let (before, after) = (table(ROWS), table(ROWS + WANTED / 2));
    for (name, purge) in [("items", None), ("items and a purge", Some("list=old"))] {
        let Ok(plan) = plan(purge) else { continue };
        let plan = Arc::new(plan);
        assert_eq!(drive(&plan, &before, &after), WANTED / 2);
        criterion.bench_function(&format!("wish/{name}"), |bencher| {
            bencher.iter(|| drive(black_box(&plan), &before, &after));
        });
    }
}

criterion_group!(benches, wish);
criterion_main!(benches);
