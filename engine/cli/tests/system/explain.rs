//! What keeps a job, or an execution, from moving: one test for each kind of blocker (K3).

use std::time::Duration;

use muster_proto::v1::{self, ExecutionState, IntentVerdict, ReportOutcome};
use serde_json::Value;

use crate::harness::api::{Api, Order};
use crate::harness::database::Database;
use crate::harness::session::Session;
use crate::harness::{Engine, Fleet, until};

const CHANGE: &[&[&str]] = &[&["/system/identity/set", "name=one"]];
const READ: &[&[&str]] = &[&["/system/identity/print"]];
const PATIENCE: Duration = Duration::from_secs(20);

/// An engine without a worker and with some devices, and a job on all of them.
struct Scene {
    engine: Engine,
    api: Api,
    job: String,
}

impl Scene {
    fn with(devices: usize, steps: &[&[&str]]) -> Self {
        let fleet = Fleet::start(71, devices, &[]);
        let engine = Engine::start(&["--no-worker"]);
        engine.import(&fleet, devices, "\n");
        let api = Api::new(&engine.url);
        let job = create(&api, steps, "first");
        Self { engine, api, job }
    }

    fn worker(&self) -> Session<'_> {
        Session::open(&self.api, &self.engine, "w1", Vec::new())
    }

    /// All blockers of a job, or of its execution on a device.
    fn explain(&self, job: &str, device: Option<&str>) -> Vec<Value> {
        let mut args = vec!["job", "explain", job, "--json"];
        args.extend(device.iter().flat_map(|device| ["--device", device]));
        let told = self.engine.run(&args).ok().json();
        told[0]["blockers"].as_array().expect("a list").clone()
    }

    /// The one blocker there is.
    fn blocker(&self, device: Option<&str>) -> Value {
        let blockers = self.explain(&self.job, device);
        assert_eq!(blockers.len(), 1, "{blockers:?}");
        blockers[0].clone()
    }
}

fn create(api: &Api, steps: &[&[&str]], request_id: &str) -> String {
    let order = Order {
        steps,
        selector: "",
        timeout: PATIENCE,
        request_id,
    };
    api.create(&order).expect("a job")
}

fn report(assignment: &v1::Assignment, outcome: ReportOutcome, class: v1::ErrorClass) -> v1::Report {
    v1::Report {
        execution: assignment.execution,
        epoch: assignment.epoch,
        outcome: outcome.into(),
        error: Some(v1::DeviceError {
            class: class.into(),
            message: "so it was".into(),
            category: None,
        }),
        ..v1::Report::default()
    }
}

#[test]
fn no_worker_serves_the_zone() {
    let scene = Scene::with(2, READ);
    let told = scene.blocker(None);
    assert_eq!(
        (&told["kind"], &told["executions"]),
        (&"no_worker".into(), &2.into()),
        "{told}"
    );
    assert_eq!(scene.blocker(Some("r1"))["executions"], 1);
    let _worker = scene.worker();
    let told = scene.blocker(None);
    assert_eq!(
        (&told["kind"], &told["holders"][0]),
        (&"workers_full".into(), &"w1".into()),
        "it has asked for nothing: {told}"
    );
}

#[test]
fn a_worker_has_it() {
    let scene = Scene::with(1, READ);
    let mut worker = scene.worker();
    worker.take();
    let told = scene.blocker(Some("r0"));
    assert_eq!(
        (&told["kind"], &told["holders"][0]),
        (&"with_worker".into(), &"w1".into()),
        "{told}"
    );
    drop(worker);
    until("the engine notices", || {
        scene.blocker(None)["text"]
            .as_str()
            .is_some_and(|text| text.contains("not connected"))
    });
}

#[test]
fn a_person_paused_it() {
    let scene = Scene::with(1, READ);
    let told = scene
        .engine
        .run(&["job", "pause", &scene.job, "--reason", "the phone rang"]);
    told.ok();
    assert_eq!(scene.blocker(None)["kind"], "paused");
    scene.engine.run(&["job", "resume", &scene.job]).ok();
    assert_eq!(scene.blocker(None)["kind"], "no_worker");
    let again = scene.engine.run(&["job", "resume", &scene.job]);
    again.ok();
    let history = scene.engine.run(&["history", &scene.job, "--json"]).ok().json();
    let actions = history
        .iter()
        .map(|line| line["action"].clone())
        .collect::<Vec<_>>();
    assert_eq!(
        actions,
        ["job.pause", "job.resume"],
        "resuming what runs is no deed"
    );
    assert_eq!(history[0]["reason"], "the phone rang");
}

#[test]
fn its_cap_is_reached() {
    let fleet = Fleet::start(72, 2, &[]);
    let engine = Engine::start(&["--no-worker"]);
    engine.import(&fleet, 2, "\n");
    let api = Api::new(&engine.url);
    let made = engine.run(&[
        "run",
        "--all",
        "--concurrency",
        "1",
        "--detach",
        "--json",
        "--",
        "/system/identity/print",
    ]);
    let job = made.json()[0]["job"].as_str().expect("an id").to_owned();
    let scene = Scene { engine, api, job };
    let mut worker = scene.worker();
    worker.take();
    let told = scene.explain(&scene.job, None);
    let kinds = told.iter().map(|told| told["kind"].clone()).collect::<Vec<_>>();
    // This worker asked for one and has it, so it is full too.
    assert_eq!(kinds, ["workers_full", "cap", "with_worker"], "{told:?}");
    assert_eq!(told[1]["executions"], 1);
}

#[test]
fn another_job_holds_the_device() {
    let scene = Scene::with(1, CHANGE);
    let mut worker = scene.worker();
    worker.take();
    let second = create(&scene.api, &[&["/system/identity/set", "name=two"]], "second");
    let told = scene.explain(&second, Some("r0"));
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (&told[0]["kind"], &told[0]["holders"][0]),
        (&"device_lock".into(), &scene.job.clone().into())
    );
}

#[test]
fn the_device_is_offline_or_its_next_try_is_to_come() {
    let scene = Scene::with(1, READ);
    let mut worker = scene.worker();
    for (outcome, class, kind) in [
        (ReportOutcome::Unreached, v1::ErrorClass::Refused, "offline"),
        (ReportOutcome::Interrupted, v1::ErrorClass::Trap, "backoff"),
    ] {
        let taken = worker.take();
        worker.report(report(&taken, outcome, class));
        let told = scene.blocker(Some("r0"));
        assert_eq!(told["kind"], kind, "{told}");
        assert!(
            told["next_check"].is_string() && told["until"].is_string(),
            "{told}"
        );
        assert!(
            told["text"]
                .as_str()
                .is_some_and(|text| text.contains("so it was")),
            "{told}"
        );
    }
}

#[test]
fn what_became_of_a_change_is_found_out() {
    let fleet = Fleet::start(73, 1, &[]);
    let engine = Engine::start(&["--no-worker"]);
    engine.import(&fleet, 1, "\n");
    let api = Api::new(&engine.url);
    let made = engine.run(&[
        "run",
        "--all",
        "--yes",
        "--verify",
        "/system/identity/print",
        "--expect",
        "name=one",
        "--detach",
        "--json",
        "--",
        "/system/identity/set",
        "name=one",
    ]);
    let job = made.json()[0]["job"].as_str().expect("an id").to_owned();
    let scene = Scene { engine, api, job };
    let mut worker = scene.worker();
    let taken = worker.take();
    assert_eq!(
        worker.ask(taken.execution, taken.epoch, 0),
        IntentVerdict::Granted
    );
    worker.report(report(&taken, ReportOutcome::Unknown, v1::ErrorClass::Reset));
    let kinds = scene.explain(&scene.job, None);
    assert!(kinds.iter().any(|told| told["kind"] == "resolving"), "{kinds:?}");
    let looking = worker.take();
    assert!(looking.resolve);
    assert_eq!(scene.blocker(None)["kind"], "resolving");
    worker.report(report(&looking, ReportOutcome::FoundDone, v1::ErrorClass::Reset));
    let job = scene.api.finished(&scene.job, PATIENCE).expect("over");
    assert_eq!(
        scene.api.count(&scene.job, ExecutionState::Succeeded),
        1,
        "{job:?}"
    );
    assert!(scene.explain(&scene.job, None).is_empty());
}

/// A job of one change on three devices that may harm one, and a worker that has all three.
fn under_budget(network: u8) -> (Fleet, Scene) {
    let fleet = Fleet::start(network, 3, &[]);
    let engine = Engine::start(&["--no-worker"]);
    engine.import(&fleet, 3, "\n");
    let api = Api::new(&engine.url);
    let order = Order {
        steps: CHANGE,
        selector: "",
        timeout: PATIENCE,
        request_id: "first",
    };
    let job = api.create_within("1", &order).expect("a job");
    (fleet, Scene { engine, api, job })
}

#[test]
fn the_budget_is_used_up_and_the_devices_being_changed_are_named() {
    let (_fleet, scene) = under_budget(74);
    let mut worker = scene.worker();
    let first = worker.take();
    let second = worker.take();
    assert_eq!(
        worker.ask(first.execution, first.epoch, 0),
        IntentVerdict::Granted
    );
    assert_eq!(worker.ask(second.execution, second.epoch, 0), IntentVerdict::Held);
    let told = scene.explain(&scene.job, None);
    let budget = told
        .iter()
        .find(|told| told["kind"] == "budget")
        .expect("the budget");
    assert_eq!(
        budget["executions"], 2,
        "one that asks, and one that waits: {told:?}"
    );
    assert_eq!(
        budget["text"],
        "the budget of the job is 1: 0 harmed or rescued, 1 being changed"
    );
    let holder = budget["holders"][0].as_str().expect("a device").to_owned();
    assert_eq!(budget["holders"].as_array().map(Vec::len), Some(1));
    let held = scene.explain(&scene.job, Some(&holder));
    assert!(held.iter().all(|told| told["kind"] == "with_worker"), "{held:?}");
    let waits = ["r0", "r1", "r2"]
        .into_iter()
        .find(|name| *name != holder)
        .expect("another");
    let told = scene.explain(&scene.job, Some(waits));
    assert_eq!(
        (&told[0]["kind"], &told[0]["executions"]),
        (&"budget".into(), &1.into())
    );
}

#[test]
fn a_rule_halted_it_and_it_goes_on_when_somebody_approves() {
    let (_fleet, scene) = under_budget(75);
    let mut worker = scene.worker();
    let first = worker.take();
    assert_eq!(
        worker.ask(first.execution, first.epoch, 0),
        IntentVerdict::Granted
    );
    worker.report(report(&first, ReportOutcome::Unknown, v1::ErrorClass::Reset));
    let told = scene.blocker(None);
    assert_eq!(
        (&told["kind"], &told["executions"]),
        (&"halted".into(), &2.into())
    );
    assert!(
        told["text"]
            .as_str()
            .is_some_and(|text| text.starts_with("rule budget halted the job: ")),
        "{told}"
    );
    let engine = &scene.engine;
    engine.run(&["job", "watch", &scene.job]).exits(4);
    let refused = engine.run(&["job", "resume", &scene.job]).exits(6);
    assert!(
        refused.stderr().contains("muster job limits"),
        "{}",
        refused.stderr()
    );
    let limits = ["job", "limits", &scene.job, "--budget", "2", "--json"];
    let refused = engine.run(&limits).exits(6);
    assert!(
        refused.stderr().contains("NEEDS_APPROVER"),
        "{}",
        refused.stderr()
    );
    let raised = engine
        .run(&[&limits[..], &["--approver", "ann"]].concat())
        .ok()
        .json();
    assert_eq!(
        (&raised[0]["promised"], &raised[0]["budget_use"]["left"]),
        (&2.into(), &1.into())
    );
    engine.run(&["job", "resume", &scene.job]).ok();
    let next = worker.take();
    assert_eq!(worker.ask(next.execution, next.epoch, 0), IntentVerdict::Granted);
    let history = engine.run(&["history", &scene.job, "--json"]).ok().json();
    assert_eq!(
        history[0]["detail"],
        "budget 1 to 2; approved by ann; promised: 2"
    );
}

#[test]
fn its_wave_is_not_open() {
    let scene = Scene::with(2, READ);
    let mut database = Database::open(&scene.engine.data());
    database.run("INSERT INTO wave (job_id, number, total) SELECT id, 1, 1 FROM job");
    database.run("UPDATE execution SET wave = 1 WHERE device_name = 'r1'");
    let told = scene.blocker(Some("r1"));
    assert_eq!(
        (&told["kind"], &told["text"]),
        (
            &"wave".into(),
            &"it belongs to wave 2; only wave 1 is open".into()
        )
    );
    assert_eq!(scene.blocker(Some("r0"))["kind"], "no_worker");
}

#[test]
fn it_is_being_laid_out() {
    let scene = Scene::with(1, READ);
    Database::open(&scene.engine.data()).run("UPDATE job SET state = 1");
    let told = scene.explain(&scene.job, None);
    assert_eq!(
        (&told[0]["kind"], &told[0]["text"]),
        (
            &"draft".into(),
            &"the job is being laid out: 1 devices so far".into()
        )
    );
}
