use super::*;
use muster_engine_core::Held;
use muster_engine_core::rollout::digest;
use muster_model::policy::{Action, Classes, Condition, Rule, Scope, Size, Wave};
use muster_model::{Policy, Upgrade};

const ALL: Zones = Zones::Rest;

/// A canary of `canary` devices, then the rest; halt on more than `max` harmed.
fn policy(canary: u64, max: u64) -> Policy {
    Policy {
        waves: vec![Wave::new(Size::Count(canary)), Wave::new(Size::Rest)],
        rules: vec![Rule {
            id: "few".into(),
            condition: Condition::Count(max),
            classes: Classes::default(),
            scope: Scope::Job,
            action: Action::Halt,
        }],
        ..Policy::default()
    }
}

impl Bench {
    /// A rollout whose first `canary` devices by number are its first wave, and which runs.
    async fn rollout(&self, policy: Policy, canary: u64, devices: u64, wait: bool) -> String {
        let create = create(CHANGE, "", None, 0);
        self.rollout_of(create, policy, canary, devices, wait).await
    }

    async fn rollout_of(
        &self,
        create: CreateJob,
        policy: Policy,
        canary: u64,
        devices: u64,
        wait: bool,
    ) -> String {
        let create = CreateJob {
            waves: vec![None, None],
            start: JobState::Scheduled,
            rollout: Some(NewRollout {
                policy,
                seed: 7,
                break_glass: None,
            }),
            ..create
        };
        let uuid = self.store.write(create).await.expect("write").expect("made").uuid;
        let places = (1..=devices).map(|device| (device, u32::from(device > canary), devices - device));
        let spread = SpreadWaves {
            uuid: uuid.clone(),
            places: places.collect(),
            from: 0,
        };
        assert!(self.store.write(spread).await.expect("write"));
        let begin = BeginRollout {
            uuid: uuid.clone(),
            digest: "abc".into(),
            budget: Some(100),
            waves: vec![(0, Some(5)), (1, None)],
            pace: None,
            wait,
            shut: false,
            local: None,
            now: 0,
        };
        let expected = if wait { Begun::Waiting } else { Begun::Running };
        assert_eq!(self.store.write(begin.clone()).await.expect("write"), expected);
        assert_eq!(self.store.write(begin).await.expect("write"), Begun::No, "once");
        uuid
    }

    async fn state(&self, job: &str) -> JobState {
        self.record(job).await.state
    }

    /// Claims, gets an intent, and ends `unknown`.
    async fn harm(&self, session: u64) {
        let lease = self.claim(session, ALL, 1).await.remove(0);
        assert_eq!(self.grant(&lease).await, Verdict::Granted);
        self.report(&lease, Outcome::Unknown, &[]).await;
    }

    async fn settle(&self, job: &str, admit_until: Option<i64>, hold: Option<HoldRecord>) {
        let settle = SettleRollout {
            uuid: job.to_owned(),
            state: if hold.is_some() {
                JobState::Gated
            } else {
                JobState::Running
            },
            admit_until,
            stop_at: None,
            local: None,
            hold,
            pace: None,
            pace_since: None,
            halt: None,
            now: 1,
        };
        assert_eq!(self.store.write(settle).await.expect("write"), Settled::Done);
    }
}

#[tokio::test]
async fn only_open_waves_are_handed_out_and_in_their_order() {
    let bench = Bench::with_devices(5).await;
    let session = bench.session("i", &[]).await;
    let job = bench.rollout(policy(2, 9), 2, 5, false).await;
    let names = |leases: Vec<Lease>| {
        leases
            .into_iter()
            .map(|lease| lease.device_name)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(bench.claim(session, ALL, 1).await),
        ["r2"],
        "the order is the one given"
    );
    assert_eq!(names(bench.claim(session, ALL, 9).await), ["r1"]);
    let record = bench.store.rollout(&job).await.expect("read").expect("a rollout");
    assert_eq!(
        (record.assigned, record.open_wave, record.budget),
        (true, 0, Some(100))
    );
    assert_eq!(bench.store.busy(record.job, 0).await.expect("read"), 2);
    let open = OpenWave {
        uuid: job.clone(),
        wave: 1,
        now: 3,
    };
    assert!(bench.store.write(open).await.expect("write"));
    assert_eq!(bench.claim(session, ALL, 9).await.len(), 3);
}

#[tokio::test]
async fn a_rule_halts_in_the_commit_of_the_outcome_that_trips_it() {
    let bench = Bench::with_devices(5).await;
    let session = bench.session("i", &[]).await;
    let job = bench.rollout(policy(5, 1), 5, 5, false).await;
    bench.harm(session).await;
    assert_eq!(bench.state(&job).await, JobState::Running);
    bench.harm(session).await;
    let record = bench.record(&job).await;
    assert_eq!(record.state, JobState::Halted);
    let halted = record.halted.expect("told");
    assert_eq!(
        (halted.rule.as_str(), halted.detail.as_str()),
        ("few", "2 of 2 failed; 1 are allowed")
    );
    assert!(bench.claim(session, ALL, 9).await.is_empty());
    // Resuming acknowledges: old failures trip nothing, new ones count from there.
    assert_eq!(bench.pause(&job, false, 20).await, Paused::Done);
    bench.harm(session).await;
    assert_eq!(bench.state(&job).await, JobState::Running);
    bench.harm(session).await;
    assert_eq!(bench.state(&job).await, JobState::Halted);
}

#[tokio::test]
async fn failures_in_a_row_are_counted_over_commits() {
    let mut policy = policy(5, 0);
    policy.rules[0].condition = Condition::Consecutive(3);
    let bench = Bench::with_devices(5).await;
    let session = bench.session("i", &[]).await;
    let job = bench.rollout(policy, 5, 5, false).await;
    for expected in [JobState::Running, JobState::Running, JobState::Halted] {
        bench.harm(session).await;
        assert_eq!(bench.state(&job).await, expected);
    }
}

#[tokio::test]
async fn an_abort_by_a_rule_ends_the_job() {
    let mut policy = policy(5, 0);
    policy.rules[0].action = Action::Abort;
    let bench = Bench::with_devices(3).await;
    let session = bench.session("i", &[]).await;
    let job = bench.rollout(policy, 3, 3, false).await;
    bench.harm(session).await;
    assert_eq!(bench.state(&job).await, JobState::Aborted);
    bench.check_counts(&job).await;
    let history = bench.store.history(&job, 0, 10).await.expect("read");
    assert!(
        history
            .iter()
            .any(|row| row.reason == "rule few: 1 of 1 failed; 0 are allowed")
    );
}

#[tokio::test]
async fn outside_its_window_and_while_all_is_frozen_nothing_starts() {
    let bench = Bench::with_devices(4).await;
    let session = bench.session("i", &[]).await;
    let job = bench.rollout(policy(4, 9), 4, 4, false).await;
    let lease = bench.claim(session, ALL, 1).await.remove(0);
    bench.settle(&job, Some(0), None).await;
    assert!(bench.claim(session, ALL, 9).await.is_empty());
    let held = Verdict::Held(Held::Job(JobState::WaitingWindow));
    assert_eq!(
        bench.grant(&lease).await,
        held,
        "what was claimed before touches nothing"
    );
    bench.settle(&job, None, None).await;
    let freeze = |on| SetFreeze {
        on,
        claimed_by: "ann".into(),
        reason: "storm".into(),
        now: 5,
    };
    assert!(bench.store.write(freeze(true)).await.expect("write"));
    assert!(
        !bench.store.write(freeze(true)).await.expect("write"),
        "it is on already"
    );
    assert!(bench.claim(session, ALL, 9).await.is_empty());
    assert_eq!(bench.grant(&lease).await, held);
    let read = bench.job(READ, "").await;
    assert_eq!(
        bench.claim(session, ALL, 9).await.len(),
        4,
        "reads are not frozen: {read}"
    );
    assert!(bench.store.write(freeze(false)).await.expect("write"));
    assert_eq!(bench.grant(&lease).await, Verdict::Granted);
    assert_eq!(bench.claim(session, ALL, 9).await.len(), 3);
}

#[tokio::test]
async fn approvals_count_names_and_never_the_author() {
    let mut policy = policy(2, 9);
    policy.approval.needed = 2;
    let bench = Bench::with_devices(2).await;
    let session = bench.session("i", &[]).await;
    let job = bench.rollout(policy, 2, 2, true).await;
    assert!(bench.claim(session, ALL, 9).await.is_empty());
    let approve = async |who: &str, digest: &str| {
        let approve = Approve {
            uuid: job.clone(),
            digest: digest.into(),
            claimed_by: who.into(),
            reason: String::new(),
            now: 9,
        };
        let approved = bench.store.write(approve).await.expect("write");
        approved
            .map(|approved| approved.missing)
            .map_err(|refused| refused.to_string())
    };
    assert!(
        approve("tester", "")
            .await
            .expect_err("the author")
            .contains("somebody else")
    );
    assert!(
        approve("ann", "xyz")
            .await
            .expect_err("another digest")
            .contains("abc")
    );
    assert_eq!(approve("ann", "abc").await, Ok(1));
    assert_eq!(approve("ann", "").await, Ok(1));
    assert_eq!(bench.state(&job).await, JobState::AwaitingApproval);
    assert_eq!(approve("bob", "").await, Ok(0));
    assert_eq!(bench.state(&job).await, JobState::Running);
    assert_eq!(bench.claim(session, ALL, 9).await.len(), 2);
    assert!(
        approve("carl", "")
            .await
            .expect_err("too late")
            .contains("waits for no approval")
    );
}

#[tokio::test]
async fn a_device_waits_for_those_that_go_before_it() {
    let bench = Bench::with_devices(3).await;
    let session = bench.session("i", &[]).await;
    let job = bench.rollout(policy(3, 9), 3, 3, false).await;
    let after = AfterChildren {
        uuid: job.clone(),
        pairs: vec![(1, 2), (1, 3)],
    };
    bench.store.write(after).await.expect("write");
    let leases = bench.claim(session, ALL, 9).await;
    assert_eq!(leases.len(), 2);
    for lease in &leases {
        assert!(bench.claim(session, ALL, 9).await.is_empty());
        bench.report(lease, Outcome::Succeeded, &[]).await;
    }
    assert_eq!(bench.claim(session, ALL, 9).await[0].device_name, "r1");
}

#[tokio::test]
async fn what_a_person_stopped_stays_stopped() {
    let bench = Bench::with_devices(2).await;
    let job = bench.rollout(policy(2, 9), 2, 2, false).await;
    let hold = HoldRecord {
        by: "gate-1".into(),
        evidence: "too few".into(),
        until: None,
        needs_person: true,
    };
    bench.settle(&job, None, Some(hold.clone())).await;
    assert_eq!(bench.state(&job).await, JobState::Gated);
    assert_eq!(bench.pause(&job, true, 3).await, Paused::Done);
    let settle = SettleRollout {
        uuid: job.clone(),
        state: JobState::Running,
        admit_until: None,
        stop_at: None,
        local: None,
        hold: None,
        pace: None,
        pace_since: None,
        halt: None,
        now: 4,
    };
    assert_eq!(
        bench.store.write(settle).await.expect("write"),
        Settled::Elsewhere
    );
    let record = bench.store.rollout(&job).await.expect("read").expect("a rollout");
    assert_eq!((record.state, record.hold), (JobState::Paused, Some(hold)));
}

#[tokio::test]
async fn previews_are_kept_by_digest() {
    let bench = Bench::with_devices(0).await;
    let command = Command::parse(CHANGE).expect("valid");
    let plan = Plan::new(vec![Step::Command(command)]);
    let approved = digest::Approved::new(&plan, &Policy::default(), Vec::new());
    let preview = StorePreview {
        approved: approved.clone(),
        now: 1,
    };
    bench.store.write(preview).await.expect("write");
    assert_eq!(
        bench.store.previewed(&approved.digest()).await.expect("read"),
        Some((approved, 1))
    );
    assert_eq!(bench.store.previewed("other").await.expect("read"), None);
}

/// Staging waits for no window (C3, J1): what stages first is handed out outside it, once, and changes nothing there.
#[tokio::test]
async fn outside_its_window_a_rollout_stages_and_does_nothing_else() {
    let upgrade = Upgrade {
        version: Some("7.16.2".into()),
        ..Upgrade::default()
    };
    let bench = Bench::with_devices(3).await;
    let session = bench.session("i", &[]).await;
    let other = bench.rollout(policy(5, 9), 5, 5, false).await;
    let mut create = create(&["/system/reboot"], "", None, 0);
    create.plan.steps = upgrade.steps().expect("valid");
    let job = bench.rollout_of(create, policy(5, 9), 5, 5, false).await;
    let shut = async |job: &str, until: i64| {
        let settle = SettleRollout {
            uuid: job.to_owned(),
            state: JobState::WaitingWindow,
            admit_until: Some(until),
            stop_at: None,
            local: None,
            hold: None,
            pace: None,
            pace_since: None,
            halt: None,
            now: 1,
        };
        assert_eq!(bench.store.write(settle).await.expect("write"), Settled::Done);
    };
    shut(&other, 0).await;
    shut(&job, -86_400_000).await;
    assert!(
        bench.claim(session, ALL, 9).await.is_empty(),
        "one stages nothing, and the other is frozen"
    );
    shut(&job, 0).await;
    let leases = bench.claim(session, ALL, 2).await;
    assert_eq!(leases.len(), 2);
    for lease in &leases {
        assert_eq!(bench.grant_step(lease, 3).await, Verdict::Granted);
        let held = Verdict::Held(Held::Job(JobState::WaitingWindow));
        assert_eq!(bench.grant_step(lease, 4).await, held);
        bench.report(lease, Outcome::HandedBack, &[]).await;
    }
    let rest = bench.claim(session, ALL, 9).await;
    assert_eq!(rest.len(), 1, "those that have staged are left alone");
    bench.report(&rest[0], Outcome::Interrupted, &[]).await;
    let again = bench.claim_at(session, ALL, 9, 20_000).await.leases;
    assert_eq!(again.len(), 1, "what could not be staged is tried again");
    bench.report(&again[0], Outcome::HandedBack, &[]).await;
    assert!(bench.claim_at(session, ALL, 9, 20_000).await.leases.is_empty());
    bench.settle(&job, None, None).await;
    let open = bench.claim_at(session, ALL, 9, 20_000).await.leases;
    assert_eq!(open.len(), 3);
    assert_eq!(bench.grant_step(&open[0], 4).await, Verdict::Granted);
    bench.check_counts(&job).await;
}
