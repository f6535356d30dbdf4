//! Random operations on both stores: what they answer, and what is to be seen afterwards, must be the same.

use muster_engine_core::Outcome;
use muster_engine_core::budget::Asked;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use tempfile::TempDir;

use super::conformance::InFile;
use super::*;
use crate::conformance::Subject as _;
use crate::memory::{MemoryStore, Sabotage};

const SESSIONS: u64 = 3;
const JOBS: usize = 6;

/// Something that is done to both.
#[derive(Clone, Debug)]
enum Deed {
    Create {
        plan: usize,
        devices: &'static str,
        budget: Asked,
        waves: usize,
        capped: bool,
    },
    Retry(usize),
    Claim(u64, usize),
    /// Which execution, which step, and how far from its newest epoch.
    Ask(Vec<(usize, u32, u64)>),
    Report(Vec<(usize, Outcome, u32, u64)>),
    Lose(u64),
    /// A session of the same worker, which holds some of what was handed out.
    Begin(u64, Vec<usize>),
    OpenWave(usize, u32),
    Limit(usize, Option<u64>, bool),
    Pause(usize, bool),
    Abort(usize),
    Delete(usize),
    Expire,
    Release,
}

const PLANS: &[&[&[&str]]] = &[
    &[READ],
    &[CHANGE],
    &[READ, CHANGE],
    &[CHANGE, &["/system/reboot"]],
    &[&["/system/backup/save", "name=x"], CHANGE],
];

fn deeds() -> impl Strategy<Value = Vec<(Deed, i64)>> {
    let outcome = || {
        proptest::sample::select(vec![
            Outcome::Succeeded,
            Outcome::Succeeded,
            Outcome::Failed,
            Outcome::Unreached,
            Outcome::Interrupted,
            Outcome::Unknown,
            Outcome::Unknown,
            Outcome::Cancelled,
            Outcome::HandedBack,
            Outcome::FoundDone,
            Outcome::FoundNotDone,
        ])
    };
    let budget = proptest::sample::select(vec![Asked::All, Asked::Count(1), Asked::Count(2), Asked::RUN]);
    let devices = proptest::sample::select(vec!["", "name=r1", "site=a", "zone=z2"]);
    let old = || prop_oneof![8 => Just(0_u64), 1 => Just(1)];
    let job = || 0..JOBS;
    let some = || 0_usize..24;
    let deed = prop_oneof![
        4 => (0..PLANS.len() + 1, devices, budget, 1_usize..4, any::<bool>()).prop_map(
            |(plan, devices, budget, waves, capped)| Deed::Create { plan, devices, budget, waves, capped }),
        1 => job().prop_map(Deed::Retry),
        8 => (0..SESSIONS, 1_usize..9).prop_map(|(session, limit)| Deed::Claim(session, limit)),
        8 => proptest::collection::vec((some(), 0_u32..3, old()), 1..8).prop_map(Deed::Ask),
        8 => proptest::collection::vec((some(), outcome(), 0_u32..3, old()), 1..8).prop_map(Deed::Report),
        1 => (0..SESSIONS).prop_map(Deed::Lose),
        1 => (0..SESSIONS, proptest::collection::vec(some(), 0..6)).prop_map(|(of, held)| Deed::Begin(of, held)),
        2 => (job(), 0_u32..4).prop_map(|(job, wave)| Deed::OpenWave(job, wave)),
        1 => (job(), proptest::option::of(1_u64..4), any::<bool>())
            .prop_map(|(job, budget, approved)| Deed::Limit(job, budget, approved)),
        2 => (job(), any::<bool>()).prop_map(|(job, pause)| Deed::Pause(job, pause)),
        1 => job().prop_map(Deed::Abort),
        1 => job().prop_map(Deed::Delete),
        1 => Just(Deed::Expire),
        1 => Just(Deed::Release),
    ];
    proptest::collection::vec((deed, 0_i64..6_000), 1..60)
}

/// What a test knows of the world that it made.
#[derive(Default)]
struct World {
    now: i64,
    /// Ids of jobs in the order they were made.
    jobs: Vec<String>,
    /// What was handed out last for each execution.
    leases: Vec<Lease>,
    sessions: Vec<u64>,
}

impl World {
    fn lease(&self, at: usize) -> Option<&Lease> {
        self.leases.get(at % self.leases.len().max(1))
    }

    fn job(&self, at: usize) -> String {
        self.jobs
            .get(at % self.jobs.len().max(1))
            .cloned()
            .unwrap_or_default()
    }
}

/// Does it to a store. Returns what it answered, in words.
async fn act(store: &impl JobStore, world: &mut World, deed: &Deed, first: bool) -> String {
    let now = world.now;
    match deed {
        Deed::Create {
            plan,
            devices,
            budget,
            waves,
            capped,
        } => {
            let uuid = format!("job-{}", world.jobs.len());
            let mut create = match PLANS.get(*plan) {
                Some(steps) => {
                    let mut create = create(CHANGE, devices, None, 0);
                    let step = |words: &&[&str]| Step::Command(Command::parse(*words).expect("valid"));
                    create.plan.steps = steps.iter().map(step).collect();
                    create
                }
                None => {
                    let verify = Verify::new(["/ip/dns/print"], "servers=1.1.1.1", false).expect("a read");
                    let command = Command::parse(CHANGE).expect("valid").with_verify(verify);
                    let mut create = create(CHANGE, devices, None, 0);
                    create.plan.steps = vec![Step::Command(command.expect("a change"))];
                    create
                }
            };
            create.uuid.clone_from(&uuid);
            create.budget = *budget;
            create.waves = vec![None; *waves];
            create.waves[0] = (*waves > 1).then_some(1);
            create.concurrency = capped.then_some(2);
            create.start = if *waves > 1 {
                JobState::Scheduled
            } else {
                JobState::Running
            };
            create.stretch_ms = capped.then_some(9_000);
            create.spread = capped.then_some(Spread { ms: 700, seed: 5 });
            (create.now, create.expires_at) = (now, now + 30_000);
            let made = format!("{:?}", store.create_job(create).await);
            if *waves > 1 && made.contains("Created") {
                let job = store.job(&uuid).await.expect("read").expect("made");
                let executions = store.executions(job.id).await.expect("read");
                let assigned = executions
                    .iter()
                    .enumerate()
                    .map(|(at, one)| (one.device, (at % waves) as u32));
                let assign = AssignWaves {
                    uuid: uuid.clone(),
                    waves: assigned.collect(),
                };
                assert!(store.assign_waves(assign).await.expect("write"));
                let start = StartJob {
                    uuid: uuid.clone(),
                    now,
                };
                assert!(store.start_job(start).await.expect("write"));
            }
            if !first && made.contains("Created") {
                world.jobs.push(uuid);
            }
            made
        }
        Deed::Retry(job) => {
            let uuid = format!("job-{}", world.jobs.len());
            let mut create = create(CHANGE, "", None, 0);
            create.uuid.clone_from(&uuid);
            create.retry = Some(Retry {
                job: world.job(*job),
                states: vec![
                    ExecutionState::Failed,
                    ExecutionState::Unknown,
                    ExecutionState::Skipped,
                ],
                wave: None,
            });
            (create.now, create.expires_at) = (now, now + 30_000);
            // A store is not asked for what is not there: the engine looks before.
            if store.job(&world.job(*job)).await.expect("read").is_none() {
                return String::new();
            }
            let made = format!("{:?}", store.create_job(create).await);
            if !first && made.contains("Created") {
                world.jobs.push(uuid);
            }
            made
        }
        Deed::Claim(session, limit) => {
            let zones = match session {
                0 => Zones::Named(vec!["z2".into()]),
                _ => Zones::Rest,
            };
            let claim = Claim {
                session: world.sessions[*session as usize],
                zones,
                limit: *limit,
                now,
                holder: None,
            };
            let claimed = store.claim(claim).await.expect("write");
            let told = format!("{claimed:?}");
            if !first {
                for lease in claimed.leases {
                    world.leases.retain(|other| other.execution != lease.execution);
                    world.leases.push(lease);
                }
            }
            told
        }
        Deed::Ask(asked) => {
            let asked = asked.iter().filter_map(|(at, step, old)| {
                let lease = world.lease(*at)?;
                Some(IntentRequest {
                    execution: lease.execution,
                    epoch: lease.epoch - old,
                    step: *step,
                    memo: Vec::new(),
                })
            });
            let intents = asked.collect();
            format!("{:?}", store.grant_intents(GrantIntents { intents, now }).await)
        }
        Deed::Report(reports) => {
            let reports = reports.iter().filter_map(|(at, outcome, steps_done, old)| {
                let lease = world.lease(*at)?;
                let error = DeviceError::new(ErrorClass::Refused, "no");
                Some(Report {
                    execution: lease.execution,
                    epoch: lease.epoch - old,
                    outcome: *outcome,
                    error: (*outcome != Outcome::Succeeded).then_some(error),
                    steps_done: *steps_done,
                    first_step: lease.first_step,
                    replies: vec![Bytes::from(format!("{outcome:?}"))],
                    started_at: now - 1,
                    fingerprint: None,
                })
            });
            let reports = reports.collect();
            format!("{:?}", store.apply_reports(ApplyReports { reports, now }).await)
        }
        Deed::Lose(session) => {
            let sessions = vec![world.sessions[*session as usize]];
            format!("{:?}", store.lose_leases(LoseLeases { sessions, now }).await)
        }
        Deed::Begin(of, held) => {
            let held = held.iter().filter_map(|at| world.lease(*at));
            let held = held.map(|lease| (lease.execution, lease.epoch)).collect();
            let begun = store
                .begin_session(BeginSession {
                    open: open(*of, now),
                    held,
                })
                .await;
            let (session, _) = begun.as_ref().expect("write");
            if !first {
                world.sessions[*of as usize] = *session;
            }
            format!("{begun:?}")
        }
        Deed::OpenWave(job, wave) => {
            let uuid = world.job(*job);
            format!(
                "{:?}",
                store
                    .open_wave(OpenWave {
                        uuid,
                        wave: *wave,
                        now
                    })
                    .await
            )
        }
        Deed::Limit(job, budget, approved) => {
            let change = ChangeLimits {
                uuid: world.job(*job),
                budget: Some(*budget),
                waves: Vec::new(),
                concurrency: None,
                approver: if *approved { "ann" } else { "" }.into(),
                claimed_by: String::new(),
                reason: String::new(),
                now,
            };
            format!("{:?}", store.change_limits(change).await)
        }
        Deed::Pause(job, pause) => {
            let pause = PauseJob {
                uuid: world.job(*job),
                pause: *pause,
                claimed_by: String::new(),
                reason: String::new(),
                now,
            };
            format!("{:?}", store.pause_job(pause).await)
        }
        Deed::Abort(job) => {
            let abort = AbortJob {
                uuid: world.job(*job),
                claimed_by: String::new(),
                reason: String::new(),
                finish: job % 2 == 0,
                now,
            };
            let mut aborted = store.abort_job(abort).await.expect("write");
            if let Aborted::Aborting(held) = &mut aborted {
                held.sort();
            }
            format!("{aborted:?}")
        }
        Deed::Delete(job) => {
            let delete = DeleteJob {
                uuid: world.job(*job),
                claimed_by: String::new(),
                now,
            };
            let deleted = format!("{:?}", store.delete_job(delete).await);
            while !store.sweep(Sweep).await.expect("write").is_nothing() {}
            deleted
        }
        Deed::Expire => format!("{:?}", store.expire_jobs(ExpireJobs { now }).await),
        Deed::Release => {
            let release = ReleaseDevices {
                names: vec!["r1".into(), "r2".into()],
                deed: crate::Deed::default(),
                now,
            };
            format!("{:?}", store.release_devices(release).await)
        }
    }
}

fn open(of: u64, now: i64) -> OpenSession {
    OpenSession {
        worker: format!("w{of}"),
        instance: format!("i{of}"),
        engine_boot: String::new(),
        zones: if of == 0 { vec!["z2".into()] } else { Vec::new() },
        now,
    }
}

/// Everything that can be seen of a store, in words.
async fn seen(store: &impl JobStore, world: &World) -> Vec<String> {
    let mut seen = Vec::new();
    for uuid in &world.jobs {
        let job = store.job(uuid).await.expect("read");
        seen.push(format!("{job:?}"));
        let Some(job) = job else { continue };
        let executions = store.executions(job.id).await.expect("read");
        seen.extend(executions.iter().map(|one| format!("{one:?}")));
        let page = ResultPage {
            job: job.id,
            after: 0,
            limit: 1_000,
            states: Vec::new(),
        };
        let results = store.results(&page).await.expect("read");
        seen.extend(results.iter().map(|one| format!("{one:?}")));
        let mut events = store.events(job.id, 0, 10_000).await.expect("read");
        for event in &mut events {
            // In which order executions ended within one commit is nobody's business.
            event.ended.sort_unstable();
        }
        seen.push(format!("{events:?}"));
    }
    seen.push(format!("{:?}", store.history("", 0, 10_000).await.expect("read")));
    seen.push(format!("{:?}", store.quarantined(world.now).await.expect("read")));
    seen.push(format!("{:?}", store.sessions_holding().await.expect("read")));
    seen
}

async fn prepare(store: &impl JobStore, world: &mut World) {
    let credential = SetCredential {
        name: "ops".into(),
        username: "admin".into(),
        sealed: vec![1],
        now: 0,
    };
    store.set_credential(credential).await.expect("write");
    let import = ImportDevices {
        devices: (1..=8).map(device).collect(),
        update: false,
        validate_only: false,
        claimed_by: "tester".into(),
        now: 0,
    };
    assert!(store.import_devices(import).await.expect("write").is_ok());
    world.sessions.clear();
    for of in 0..SESSIONS {
        world
            .sessions
            .push(store.open_session(open(of, 0)).await.expect("write"));
    }
}

/// Does the same to both and compares after each step.
async fn live(memory: MemoryStore, deeds: &[(Deed, i64)]) -> Result<(), TestCaseError> {
    let file = InFile::open(TempDir::new().expect("temporary directory")).await;
    let file = file.expect("open");
    let mut world = World::default();
    prepare(file.store(), &mut world).await;
    prepare(&memory, &mut world).await;
    for (deed, later) in deeds {
        world.now += later;
        let here = act(file.store(), &mut world, deed, true).await;
        let there = act(&memory, &mut world, deed, false).await;
        prop_assert_eq!(&here, &there, "what SQLite and memory answer to {:?}", deed);
        let (here, there) = (seen(file.store(), &world).await, seen(&memory, &world).await);
        for (here, there) in here.iter().zip(&there) {
            prop_assert_eq!(
                here,
                there,
                "what is seen in SQLite and in memory after {:?}",
                deed
            );
        }
        prop_assert_eq!(here.len(), there.len());
        let jobs = world.jobs.iter().map(String::as_str);
        let recounted = crate::conformance::recount(file.store(), jobs).await;
        prop_assert!(recounted.is_ok(), "{:?} after {:?}", recounted, deed);
    }
    Ok(())
}

fn run(work: impl Future<Output = Result<(), TestCaseError>>) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

/// `MUSTER_TWINS` says how many sequences are tried.
fn cases() -> ProptestConfig {
    let cases = std::env::var("MUSTER_TWINS")
        .ok()
        .and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: cases.unwrap_or(24),
        max_shrink_iters: 500,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn sqlite_and_memory_are_the_same_store(deeds in deeds()) {
        run(live(MemoryStore::default(), &deeds))?;
    }
}

#[test]
fn the_comparison_notices_every_sabotage_that_is_not_of_the_disk() {
    for sabotage in [
        Sabotage::NoEpoch,
        Sabotage::NoDeviceLock,
        Sabotage::GrantWithoutReservation,
        Sabotage::RecountOffByOne,
    ] {
        let config = ProptestConfig {
            cases: 200,
            max_shrink_iters: 0,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        let found = runner.run(&deeds(), |deeds| {
            run(live(MemoryStore::sabotaged(sabotage), &deeds))
        });
        assert!(found.is_err(), "{sabotage:?} was not noticed");
    }
}
