//! Budgets and waves in the store: what is reserved is on disk with the grant (C3).

use muster_engine_core::budget::{Full, Scope};

use super::*;

const TWO_CHANGES: &[&[&str]] = &[CHANGE, &["/system/identity/set", "name=moved"]];

impl Bench {
    async fn budgeted(&self, steps: &[&[&str]], budget: Asked, waves: Vec<Option<u64>>) -> String {
        self.made(steps, |create| (create.budget, create.waves) = (budget, waves))
            .await
    }

    /// A job with a budget of one, whose end is put off by a minute.
    async fn one_by_one(&self, steps: &[&[&str]]) -> String {
        self.made(steps, |create| {
            (create.budget, create.stretch_ms) = (Asked::Count(1), Some(60_000));
        })
        .await
    }

    async fn made(&self, steps: &[&[&str]], change: impl FnOnce(&mut CreateJob)) -> String {
        let mut create = create(CHANGE, "", None, 0);
        create.plan.steps = steps
            .iter()
            .map(|words| Step::Command(Command::parse(*words).expect("valid")))
            .collect();
        change(&mut create);
        self.store.write(create).await.expect("write").expect("made").uuid
    }

    async fn limits(&self, job: &str, budget: Option<u64>, approver: &str) -> Result<Limits, LimitsRefused> {
        let change = ChangeLimits {
            uuid: job.to_owned(),
            budget: Some(budget),
            waves: Vec::new(),
            concurrency: None,
            approver: approver.to_owned(),
            claimed_by: "tester".into(),
            reason: "a test".into(),
            now: 50,
        };
        self.store.write(change).await.expect("write")
    }

    /// Tallies are kept by deltas; a recount must agree.
    async fn tally(&self, job: &str) -> Tally {
        let record = self.record(job).await;
        let options = SqliteConnectOptions::new().filename(self.path());
        let mut connection = SqliteConnection::connect_with(&options).await.expect("connect");
        let ids: Vec<i64> = sqlx::query_scalar("SELECT id FROM execution WHERE job_id = ?1")
            .bind(record.id)
            .fetch_all(&mut connection)
            .await
            .expect("read");
        let loaded = loaded::load(&mut connection, ids.into_iter().map(i64::unsigned_abs)).await;
        let mut recount = Tally::default();
        for one in loaded.expect("read") {
            recount += Tally::of(&one.execution);
        }
        assert_eq!(record.ledger().tally(), recount);
        recount
    }
}

fn over(verdict: Verdict) -> Full {
    match verdict {
        Verdict::Held(Held::Budget(full)) => full,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn no_more_are_touched_than_the_budget_allows_and_at_its_end_the_job_halts() {
    let bench = Bench::with_devices(6).await;
    let job = bench.budgeted(&[CHANGE], Asked::Count(2), Vec::new()).await;
    let session = bench.session("i", &[]).await;
    let leases = bench.claim(session, Zones::Rest, 10).await;
    let intents = leases.iter().map(|lease| IntentRequest {
        execution: lease.execution,
        epoch: lease.epoch,
        step: 0,
        memo: Vec::new(),
    });
    let intents = intents.collect::<Vec<_>>();
    let verdicts = bench
        .store
        .write(GrantIntents { intents, now: 0 })
        .await
        .expect("write");
    assert_eq!(verdicts[..2], [Verdict::Granted; 2]);
    let full = over(verdicts[2]);
    assert_eq!(
        (full.scope, full.budget, full.tally.in_flight),
        (Scope::Job, 2, 2)
    );
    assert_eq!(bench.grant(&leases[0]).await, Verdict::Granted, "asked again");
    bench.report(&leases[0], Outcome::Succeeded, &[]).await;
    assert_eq!(
        bench.grant(&leases[2]).await,
        Verdict::Granted,
        "its unit is free"
    );
    bench.report(&leases[1], Outcome::Unknown, &[]).await;
    over(bench.grant(&leases[3]).await);
    assert_eq!(bench.record(&job).await.state, JobState::Running);
    bench.report(&leases[2], Outcome::Unknown, &[]).await;
    let record = bench.record(&job).await;
    assert_eq!(record.state, JobState::Halted);
    let halted = record.halted.expect("by a rule");
    assert_eq!(
        (halted.rule.as_str(), halted.detail.as_str()),
        (
            "budget",
            "the budget of the job is 2: 2 harmed or rescued, 0 being changed"
        )
    );
    let events = bench.store.events(record.id, 0, 100).await.expect("read");
    assert!(events.iter().any(|event| event.kind == "halted"));
    let held = Verdict::Held(Held::Job(JobState::Halted));
    assert_eq!(bench.grant(&leases[3]).await, held);
    bench.report(&leases[3], Outcome::HandedBack, &[]).await;
    assert!(
        bench
            .claim_at(session, Zones::Rest, 10, 60)
            .await
            .leases
            .is_empty()
    );
    assert_eq!(bench.tally(&job).await.harmed, 2);
}

#[tokio::test]
async fn a_halted_job_goes_on_when_somebody_who_may_raises_its_budget() {
    let bench = Bench::with_devices(3).await;
    let job = bench.budgeted(&[CHANGE], Asked::Count(1), Vec::new()).await;
    let session = bench.session("i", &[]).await;
    let leases = bench.claim(session, Zones::Rest, 10).await;
    bench.grant(&leases[0]).await;
    bench.report(&leases[0], Outcome::Unknown, &[]).await;
    assert!(matches!(bench.pause(&job, false, 40).await, Paused::Spent(full) if full.budget == 1));
    let refused = bench
        .limits(&job, Some(2), " ")
        .await
        .expect_err("nobody approves");
    assert_eq!(refused, LimitsRefused::NeedsApprover("budget 1 to 2".into()));
    let limits = bench.limits(&job, Some(2), "ann").await.expect("raised");
    assert_eq!(limits.promised, Some(2));
    let before = bench.record(&job).await;
    assert_eq!((before.state, before.budget), (JobState::Halted, Some(2)));
    assert_eq!(bench.pause(&job, false, 1_010).await, Paused::Done);
    let record = bench.record(&job).await;
    assert_eq!((record.state, record.halted.clone()), (JobState::Running, None));
    assert_eq!(
        record.expires_at,
        before.expires_at + 1_000,
        "its clock stood still"
    );
    assert_eq!(bench.grant(&leases[1]).await, Verdict::Granted);
    let history = bench.store.history(&job, 0, 10).await.expect("read");
    let details = history
        .iter()
        .map(|row| (row.action.as_str(), row.detail.as_str()));
    assert_eq!(
        details.collect::<Vec<_>>(),
        [
            ("job.limits", "budget 1 to 2; approved by ann; promised: 2"),
            ("job.resume", "")
        ]
    );
}

#[tokio::test]
async fn limits_are_tightened_by_anybody_and_what_is_in_flight_is_still_promised() {
    let bench = Bench::with_devices(5).await;
    let job = bench.budgeted(&[CHANGE], Asked::All, Vec::new()).await;
    let session = bench.session("i", &[]).await;
    let leases = bench.claim(session, Zones::Rest, 10).await;
    for lease in &leases[..3] {
        assert_eq!(bench.grant(lease).await, Verdict::Granted);
    }
    let limits = bench.limits(&job, Some(1), "").await.expect("tighter");
    assert_eq!(limits.promised, Some(3), "three are being changed");
    over(bench.grant(&leases[3]).await);
    bench.report(&leases[0], Outcome::Unknown, &[]).await;
    assert_eq!(bench.record(&job).await.state, JobState::Halted);
    bench.report(&leases[1], Outcome::Succeeded, &[]).await;
    bench.report(&leases[2], Outcome::Succeeded, &[]).await;
    let waves = ChangeLimits {
        waves: vec![(4, None)],
        ..ChangeLimits {
            uuid: job.clone(),
            budget: None,
            waves: Vec::new(),
            concurrency: None,
            approver: String::new(),
            claimed_by: String::new(),
            reason: String::new(),
            now: 60,
        }
    };
    let refused = bench
        .store
        .write(waves)
        .await
        .expect("write")
        .expect_err("no such wave");
    assert_eq!(refused.to_string(), "the job has 1 waves, and no wave 5");
    bench.abort(&job, 70).await;
    for lease in &leases[3..] {
        bench.report(lease, Outcome::Cancelled, &[]).await;
    }
    assert_eq!(bench.record(&job).await.state, JobState::Aborted);
    assert_eq!(
        bench.limits(&job, Some(1), "").await,
        Err(LimitsRefused::Over(JobState::Aborted))
    );
    bench.tally(&job).await;
}

#[tokio::test]
async fn a_second_change_of_an_execution_uses_the_unit_of_its_first() {
    let bench = Bench::with_devices(2).await;
    let job = bench.budgeted(TWO_CHANGES, Asked::Count(1), Vec::new()).await;
    let session = bench.session("i", &[]).await;
    let leases = bench.claim(session, Zones::Rest, 10).await;
    assert_eq!(bench.grant_step(&leases[0], 0).await, Verdict::Granted);
    assert_eq!(bench.grant_step(&leases[0], 1).await, Verdict::Granted);
    over(bench.grant_step(&leases[1], 0).await);
    assert_eq!(bench.tally(&job).await.in_flight, 1);
}

#[tokio::test]
async fn waves_are_handed_out_when_they_are_open_and_keep_to_their_own_budgets() {
    let bench = Bench::with_devices(6).await;
    let mut create = create(CHANGE, "", None, 0);
    (create.budget, create.waves) = (Asked::Count(5), vec![Some(1), None]);
    create.start = JobState::Scheduled;
    let job = bench
        .store
        .write(create)
        .await
        .expect("write")
        .expect("made")
        .uuid;
    let devices = bench
        .store
        .devices(&Selector::default(), "", 10)
        .await
        .expect("read");
    let waves = devices[2..].iter().map(|device| (device.id, 1)).collect();
    let uuid = || job.clone();
    let assign = AssignWaves { uuid: uuid(), waves };
    assert!(bench.store.write(assign.clone()).await.expect("write"));
    let totals = bench.record(&job).await.waves.into_iter().map(|wave| wave.total);
    assert_eq!(totals.collect::<Vec<_>>(), [2, 4]);
    let session = bench.session("i", &[]).await;
    assert!(
        bench.claim(session, Zones::Rest, 10).await.is_empty(),
        "it has not begun"
    );
    assert!(
        bench
            .store
            .write(StartJob { uuid: uuid(), now: 0 })
            .await
            .expect("write")
    );
    assert!(!bench.store.write(assign).await.expect("write"), "it has begun");
    let first = bench.claim(session, Zones::Rest, 10).await;
    assert_eq!(first.len(), 2);
    assert_eq!(bench.grant(&first[0]).await, Verdict::Granted);
    assert_eq!(over(bench.grant(&first[1]).await).scope, Scope::Wave(0));
    let open = |wave| {
        bench.store.write(OpenWave {
            uuid: job.clone(),
            wave,
            now: 7,
        })
    };
    assert!(!open(2).await.expect("write"), "there is no such wave");
    assert!(open(1).await.expect("write"));
    assert!(!open(1).await.expect("write"), "it is open");
    let second = bench.claim(session, Zones::Rest, 10).await;
    assert_eq!(second.len(), 4);
    assert_eq!(
        bench.grant(&second[0]).await,
        Verdict::Granted,
        "the other wave has nothing left"
    );
    bench.report(&first[0], Outcome::Unknown, &[]).await;
    let record = bench.record(&job).await;
    assert_eq!(record.state, JobState::Halted);
    assert_eq!(
        record.halted.expect("by a rule").detail,
        "the budget of wave 1 is 1: 1 harmed or rescued, 0 being changed"
    );
    assert_eq!((record.open_wave, record.waves[1].opened_at), (1, Some(7)));
    bench.tally(&job).await;
}

#[tokio::test]
async fn what_the_budget_has_no_unit_for_is_not_handed_out() {
    let bench = Bench::with_devices(80).await;
    let job = bench.budgeted(&[CHANGE], Asked::Count(1), Vec::new()).await;
    let session = bench.session("i", &[]).await;
    let leases = bench.claim(session, Zones::Rest, 100).await;
    assert_eq!(leases.len(), 65, "one has a unit, and some may prepare");
    assert!(bench.claim(session, Zones::Rest, 100).await.is_empty());
    assert_eq!(bench.grant(&leases[0]).await, Verdict::Granted);
    let applied = bench.report_at(&leases[1], Outcome::HandedBack, &[], 10).await;
    assert!(matches!(applied.answers[0], ReportAnswer::Moved { .. }));
    assert!(
        bench
            .claim_at(session, Zones::Rest, 100, 20)
            .await
            .leases
            .is_empty(),
        "no unit is left"
    );
    // It holds a unit, and comes again although none is left: how else would it end?
    bench.report(&leases[0], Outcome::HandedBack, &[]).await;
    let again = bench.claim_at(session, Zones::Rest, 100, 20).await.leases;
    assert_eq!(
        again.iter().map(|lease| lease.execution).collect::<Vec<_>>(),
        [leases[0].execution]
    );
    bench.report(&again[0], Outcome::Succeeded, &[]).await;
    assert_eq!(
        bench.claim_at(session, Zones::Rest, 100, 20).await.leases.len(),
        2
    );
    bench.check_counts(&job).await;
}

#[tokio::test]
async fn what_reads_first_is_handed_out_whatever_the_budget() {
    let bench = Bench::with_devices(80).await;
    bench.budgeted(&[READ, CHANGE], Asked::Count(1), Vec::new()).await;
    let session = bench.session("i", &[]).await;
    assert_eq!(bench.claim(session, Zones::Rest, 100).await.len(), 80);
}

#[tokio::test]
async fn waiting_for_the_budget_is_not_taken_for_waiting_for_a_device() {
    let bench = Bench::with_devices(3).await;
    let job = bench.one_by_one(&[CHANGE]).await;
    let session = bench.session("i", &[]).await;
    let leases = bench.claim(session, Zones::Rest, 10).await;
    bench.grant(&leases[0]).await;
    bench.report_at(&leases[0], Outcome::Succeeded, &[], 29_000).await;
    assert_eq!(
        bench.record(&job).await.expires_at,
        89_000,
        "others waited for its unit"
    );
    bench.report_at(&leases[1], Outcome::Cancelled, &[], 40_000).await;
    assert_eq!(bench.record(&job).await.expires_at, 89_000, "it held none");
}

#[tokio::test]
async fn a_job_does_not_end_while_a_device_is_being_worked_on() {
    let bench = Bench::with_devices(2).await;
    let job = bench.one_by_one(TWO_CHANGES).await;
    let session = bench.session("i", &[]).await;
    let leases = bench.claim(session, Zones::Rest, 1).await;
    let expire = async |now| {
        bench.store.write(ExpireJobs { now }).await.expect("write");
        bench.record(&job).await.expires_at
    };
    assert_eq!(expire(25_000).await, 30_000, "it is not there yet");
    bench.grant(&leases[0]).await;
    assert_eq!(expire(20_000).await, 30_000, "there is time");
    assert_eq!(expire(25_000).await, 55_000);
    assert_eq!(expire(54_000).await, 84_000, "an upgrade may last");
    // Its first step is done, and it cannot be reached any more: it is tried again, and holds up nobody's end.
    let report = Report {
        execution: leases[0].execution,
        epoch: leases[0].epoch,
        outcome: Outcome::Unreached,
        error: Some(DeviceError::new(ErrorClass::Timeout, "away")),
        steps_done: 1,
        first_step: 0,
        replies: Vec::new(),
        started_at: 5,
        fingerprint: None,
    };
    let reports = vec![report];
    let reports = ApplyReports { reports, now: 60_000 };
    bench.store.write(reports).await.expect("write");
    assert_eq!(expire(80_000).await, 84_000);
    let again = bench.claim_at(session, Zones::Rest, 1, 80_000).await.leases;
    assert_eq!(
        (again[0].execution, again[0].first_step),
        (leases[0].execution, 1)
    );
    assert_eq!(expire(81_000).await, 84_000);
}

#[tokio::test]
async fn the_budget_follows_from_the_selection_and_reading_has_none() {
    let bench = Bench::with_devices(3).await;
    let job = bench.budgeted(&[CHANGE], Asked::RUN, Vec::new()).await;
    let record = bench.record(&job).await;
    assert_eq!((record.budget, record.budget_asked), (Some(10), Some(Asked::RUN)));
    let mut read = create(READ, "", None, 0);
    read.budget = Asked::RUN;
    let read = bench.store.write(read).await.expect("write").expect("made").uuid;
    assert_eq!(bench.record(&read).await.budget, None);
}

#[tokio::test]
async fn a_job_whose_last_devices_break_ends() {
    let bench = Bench::with_devices(1).await;
    let job = bench.budgeted(&[CHANGE], Asked::Count(1), Vec::new()).await;
    let session = bench.session("i", &[]).await;
    let lease = bench.claim(session, Zones::Rest, 1).await.remove(0);
    bench.grant(&lease).await;
    bench.report(&lease, Outcome::Unknown, &[]).await;
    assert_eq!(
        bench.record(&job).await.state,
        JobState::CompletedWithFailures,
        "nothing is left to hold back"
    );
}
