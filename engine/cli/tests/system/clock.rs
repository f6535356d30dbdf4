//! The machine's clock, set back and forth under a running engine and its worker.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::harness::api::{Api, Order};
use crate::harness::{Engine, Fleet, until};

const DEVICES: usize = 60;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// A wall clock that can be set, for processes that are started with it.
pub(crate) struct Clock {
    shift: std::fs::File,
    file: PathBuf,
    library: PathBuf,
}

impl Clock {
    /// `None`, with a line that says so, where there is no C compiler.
    pub(crate) fn new(directory: &Path) -> Option<Self> {
        let (library, file) = (directory.join("clock.so"), directory.join("clock"));
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-o"])
            .arg(&library)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/system/clock.c"))
            .status();
        if !compiled.is_ok_and(|status| status.success()) {
            println!("skipped: cc cannot compile a preload here");
            return None;
        }
        let shift = std::fs::File::create(&file).unwrap();
        let clock = Self { shift, file, library };
        clock.set(0);
        Some(clock)
    }

    /// Milliseconds beside the true time.
    pub(crate) fn set(&self, shift: i64) {
        self.shift.write_all_at(&shift.to_ne_bytes(), 0).unwrap();
    }

    pub(crate) fn under(&self, engine: Engine) -> Engine {
        engine
            .with("LD_PRELOAD", self.library.to_str().unwrap())
            .with("MUSTER_TEST_CLOCK", self.file.to_str().unwrap())
    }
}

#[test]
fn setting_the_clock_back_and_forth_ends_nothing_early_and_repeats_nothing() {
    let fleet = Fleet::start(91, DEVICES, &["--fault", "late=60", "--late", "200ms"]);
    let engine = Engine::prepare(&["--lease", "450ms"]).configured("[worker]\nslots = 10\n");
    let Some(clock) = Clock::new(engine.directory.path()) else {
        return;
    };
    let mut engine = clock.under(engine);
    engine.start_again();
    engine.import(&fleet, DEVICES, "\n");
    let api = Api::new(&engine.url);
    let order = Order {
        steps: &[&["/ip/dns/set", "servers=9.9.9.9"]],
        selector: "",
        timeout: Duration::from_secs(20),
        request_id: "a",
    };
    let id = api.create(&order).unwrap();
    for (done, shift) in [(5, DAY_MS), (20, -DAY_MS), (35, 0), (45, 365 * DAY_MS)] {
        until("some more are done", || fleet.executed() > done);
        clock.set(shift);
    }
    api.finished(&id, Duration::from_secs(20)).unwrap();
    engine.run(&["job", "results", &id, "--json"]).ok();
    assert_eq!(fleet.journal().len(), DEVICES);
}

#[test]
fn an_engine_that_finds_the_clock_set_back_does_not_wait_for_the_old_time() {
    let fleet = Fleet::start(92, 1, &["--fault", "drop=1"]);
    let engine = Engine::prepare(&[]);
    let Some(clock) = Clock::new(engine.directory.path()) else {
        return;
    };
    let mut engine = clock.under(engine);
    engine.start_again();
    engine.import(&fleet, 1, "\n");
    let run = [
        "run",
        "--all",
        "--yes",
        "--timeout",
        "25s",
        "--detach",
        "--json",
        "--",
    ];
    let run = [&run[..], &["/ip/dns/set", "servers=9.9.9.9"]].concat();
    let id = engine.run(&run).exits(7).json()[0]["job"]
        .as_str()
        .unwrap()
        .to_owned();
    until("it was tried", || {
        let connections = fleet.get("/counters")["connections_accepted"].as_u64();
        connections > Some(0)
    });
    let api = Api::new(&engine.url);
    until("it waits", || {
        api.count(&id, muster_proto::v1::ExecutionState::Pending) == 1
    });
    engine.kill();
    clock.set(-DAY_MS);
    fleet.set_fault(0, None);
    engine.start_again();
    api.finished(&id, Duration::from_secs(20))
        .expect("its backoff is seconds, not a day");
    engine.run(&["job", "results", &id]).ok();
    assert_eq!(fleet.journal().len(), 1);
}
