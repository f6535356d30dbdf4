//! Intents before effects, the budget they are under, and what workers tell.

use muster_engine_core::budget::{Asked, Scope};
use muster_engine_core::{Held, Outcome, execution};
use muster_model::{DeviceError, ErrorClass, ExecutionState, JobState};

use super::scene::{CHANGE, READ, Scene, create, ensure, report, same, told, verified};
use super::{Checked, Opener};
use crate::{
    AssignWaves, CreateJob, IntentRequest, JobStore as _, LimitsRefused, OpenWave, Paused, ReportAnswer,
    StartJob, Verdict,
};

fn is_over_budget(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Held(Held::Budget(_)))
}

fn budgeted(name: &str, steps: &[&[&str]], budget: u64) -> Result<CreateJob, String> {
    let mut create = create(name, steps)?;
    create.budget = Asked::Count(budget);
    Ok(create)
}

pub(super) async fn intents_are_granted_held_or_revoked<O: Opener>(opener: &O) -> Checked {
    let scene = Scene::with(opener, 3).await?;
    let job = scene.job(create("it", &[CHANGE])?).await?;
    let session = scene.session("w", &[]).await?;
    let leases = scene.take(session, 3, 0).await?;
    let mut stale = leases[0].clone();
    stale.epoch += 1;
    same!(
        scene.ask(&stale, 1).await?,
        Verdict::Revoked,
        "an epoch that it does not hold"
    );
    same!(scene.ask(&leases[0], 1).await?, Verdict::Granted, "an intent");
    same!(
        scene.states(&job).await?[0],
        ExecutionState::Running,
        "what has an intent"
    );
    same!(
        scene.ask(&leases[0], 2).await?,
        Verdict::Granted,
        "the same intent again"
    );
    scene.pause(&job, true, 3).await?;
    let held = Verdict::Held(Held::Job(JobState::Paused));
    same!(scene.ask(&leases[1], 4).await?, held, "an intent of a paused job");
    scene.pause(&job, false, 5).await?;
    scene.abort(&job, 6).await?;
    same!(
        scene.ask(&leases[1], 7).await?,
        Verdict::Revoked,
        "an intent of a job that is ending"
    );
    let nothing = crate::GrantIntents {
        intents: vec![IntentRequest {
            execution: 999,
            epoch: 1,
            step: 0,
            memo: Vec::new(),
        }],
        now: 8,
    };
    let answers = scene.store().grant_intents(nothing).await.map_err(told)?;
    same!(answers, [Verdict::Revoked], "an intent of nothing");
    Ok(())
}

pub(super) async fn the_budget_is_reserved_with_the_grant<O: Opener>(opener: &O) -> Checked {
    let scene = Scene::with(opener, 8).await?;
    let job = scene.job(budgeted("it", &[CHANGE, CHANGE], 3)?).await?;
    let session = scene.session("w", &[]).await?;
    let leases = scene.take(session, 8, 0).await?;
    let verdicts = scene.ask_all(&leases, 0, 1).await?;
    same!(verdicts[..3], [Verdict::Granted; 3], "intents within the budget");
    ensure!(
        verdicts[3..].iter().copied().all(is_over_budget),
        "more are granted than the budget has"
    );
    let second = scene.ask_all(&leases[..1], 1, 2).await?;
    same!(
        second,
        [Verdict::Granted],
        "a second change uses the unit of the first"
    );
    // Whoever comes after a crash finds what was reserved.
    let crashed = scene.after_crash().await?;
    same!(
        crashed.record(&job).await?.ledger().tally().in_flight,
        3,
        "units in flight after a crash"
    );
    ensure!(
        is_over_budget(crashed.ask(&leases[4], 3).await?),
        "a crash gave units back"
    );
    // What is lost keeps its unit: it may be broken.
    scene.lose(session, 4).await?;
    let tally = scene.record(&job).await?.ledger().tally();
    same!(tally.committed(), 3, "units after the worker is gone");
    Ok(())
}

pub(super) async fn a_wave_keeps_to_its_own_budget<O: Opener>(opener: &O) -> Checked {
    let scene = Scene::with(opener, 6).await?;
    let mut create = budgeted("it", &[CHANGE], 5)?;
    (create.waves, create.start) = (vec![Some(1), None], JobState::Scheduled);
    let job = scene.job(create).await?;
    let devices = scene.executions(&job).await?.into_iter().map(|one| one.device);
    let assign = AssignWaves {
        uuid: job.clone(),
        waves: devices.zip([0, 0, 1, 1, 1, 1]).collect(),
    };
    scene.store().assign_waves(assign).await.map_err(told)?;
    let start = StartJob {
        uuid: job.clone(),
        now: 0,
    };
    scene.store().start_job(start).await.map_err(told)?;
    let session = scene.session("w", &[]).await?;
    let first = scene.take(session, 10, 0).await?;
    let verdicts = scene.ask_all(&first, 0, 1).await?;
    let of_wave = |verdict| match verdict {
        Verdict::Held(Held::Budget(full)) => full.scope == Scope::Wave(0),
        _ => false,
    };
    ensure!(
        verdicts[0] == Verdict::Granted && of_wave(verdicts[1]),
        "the wave's budget: {verdicts:?}"
    );
    let open = OpenWave {
        uuid: job.clone(),
        wave: 1,
        now: 2,
    };
    scene.store().open_wave(open).await.map_err(told)?;
    let second = scene.take(session, 10, 3).await?;
    let verdicts = scene.ask_all(&second, 0, 4).await?;
    same!(
        verdicts,
        [Verdict::Granted; 4],
        "a wave without a budget of its own is under the job's"
    );
    scene.tell(&first[0], Outcome::Unknown, 5).await?;
    same!(
        scene.record(&job).await?.state,
        JobState::Halted,
        "a wave's budget halts the job"
    );
    Ok(())
}

pub(super) async fn a_spent_budget_halts_until_somebody_raises_it<O: Opener>(opener: &O) -> Checked {
    let scene = Scene::with(opener, 4).await?;
    let job = scene.job(budgeted("it", &[CHANGE], 1)?).await?;
    let session = scene.session("w", &[]).await?;
    let leases = scene.take(session, 4, 0).await?;
    same!(scene.ask(&leases[0], 1).await?, Verdict::Granted, "an intent");
    scene.tell(&leases[0], Outcome::Unknown, 2).await?;
    let record = scene.record(&job).await?;
    let rule = record.halted.as_ref().map(|halted| halted.rule.as_str());
    same!(
        (record.state, rule),
        (JobState::Halted, Some("budget")),
        "a job whose budget is spent"
    );
    let events = scene.store().events(record.id, 0, 100).await.map_err(told)?;
    ensure!(
        events.iter().any(|event| event.kind == "halted"),
        "no event tells it"
    );
    let held = Verdict::Held(Held::Job(JobState::Halted));
    same!(scene.ask(&leases[1], 3).await?, held, "an intent of a halted job");
    scene.tell(&leases[1], Outcome::HandedBack, 4).await?;
    ensure!(
        scene.take(session, 9, 40_000).await?.is_empty(),
        "a halted job is handed out"
    );
    ensure!(
        matches!(scene.pause(&job, false, 5).await?, Paused::Spent(_)),
        "it goes on by itself"
    );
    let refused = scene.limit(&job, Some(2), "", 6).await?;
    ensure!(
        matches!(refused, Err(LimitsRefused::NeedsApprover(_))),
        "anybody raises it: {refused:?}"
    );
    let limits = scene.limit(&job, Some(2), "ann", 6).await?.map_err(told)?;
    same!(limits.promised, Some(2), "what is promised");
    same!(scene.pause(&job, false, 7).await?, Paused::Done, "it goes on");
    same!(
        scene.ask(&leases[2], 8).await?,
        Verdict::Granted,
        "there is one unit more"
    );
    let limits = scene.limit(&job, Some(1), "", 9).await?.map_err(told)?;
    same!(limits.promised, Some(2), "what is in flight is still promised");
    Ok(())
}

pub(super) async fn reports_count_once<O: Opener>(opener: &O) -> Checked {
    let scene = Scene::with(opener, 2).await?;
    let job = scene.job(create("it", &[READ])?).await?;
    let session = scene.session("w", &[]).await?;
    let leases = scene.take(session, 2, 0).await?;
    let both = vec![
        report(&leases[0], Outcome::Succeeded),
        report(&leases[0], Outcome::Succeeded),
    ];
    let applied = scene.tell_all(both, 10).await?;
    let moved = |answer: &ReportAnswer| matches!(answer, ReportAnswer::Moved { .. });
    let answers = applied.answers.iter().map(moved).collect::<Vec<_>>();
    same!(answers, [true, false], "the same report twice in a batch");
    ensure!(
        !moved(&scene.tell(&leases[0], Outcome::Failed, 11).await?),
        "a report moves what is over"
    );
    let states = [ExecutionState::Succeeded, ExecutionState::Leased];
    same!(scene.states(&job).await?, states, "the executions");
    scene.tell(&leases[1], Outcome::Succeeded, 12).await?;
    let record = scene.record(&job).await?;
    same!(
        (record.state, record.finished_at),
        (JobState::Completed, Some(12)),
        "the job"
    );
    let events = scene.store().events(record.id, 0, 100).await.map_err(told)?;
    let ended = events
        .iter()
        .flat_map(|event| &event.ended)
        .copied()
        .collect::<Vec<_>>();
    same!(
        ended,
        [leases[0].execution, leases[1].execution],
        "what events say has ended"
    );
    ensure!(
        events.windows(2).all(|two| two[0].seq < two[1].seq),
        "events have places that rise"
    );
    Ok(())
}

pub(super) async fn an_old_epoch_moves_nothing_and_is_evidence<O: Opener>(opener: &O) -> Checked {
    let scene = Scene::with(opener, 2).await?;
    let job = scene.job(create("it", &[CHANGE])?).await?;
    let session = scene.session("w", &[]).await?;
    let leases = scene.take(session, 2, 0).await?;
    same!(scene.ask(&leases[0], 1).await?, Verdict::Granted, "an intent");
    scene.lose(session, 2).await?;
    same!(
        scene.states(&job).await?[0],
        ExecutionState::Unknown,
        "what nobody can tell"
    );
    // The worker that was taken for dead tells what became of it.
    scene.tell(&leases[0], Outcome::Succeeded, 3).await?;
    let known = scene.executions(&job).await?.remove(0).execution;
    same!(known.state, ExecutionState::Unknown, "a state that is final");
    same!(
        known.resolution.map(|known| (known.done, known.epoch)),
        Some((true, 1)),
        "the evidence"
    );
    let harmed = scene.record(&job).await?.ledger().tally().harmed;
    same!(harmed, 1, "budgets keep counting it");
    // The other one was given to somebody else.
    let again = scene.take(session, 2, 4).await?;
    same!((again.len(), again[0].epoch), (1, 2), "it is handed out again");
    same!(scene.ask(&again[0], 5).await?, Verdict::Granted, "its intent");
    let told_late = scene.tell(&leases[1], Outcome::Failed, 6).await?;
    ensure!(
        matches!(told_late, ReportAnswer::Ignored(_)),
        "an old epoch moved it: {told_late:?}"
    );
    same!(
        scene.states(&job).await?[1],
        ExecutionState::Running,
        "whoever holds it"
    );
    same!(
        scene.ask(&leases[1], 7).await?,
        Verdict::Revoked,
        "an intent under an old epoch"
    );
    Ok(())
}

pub(super) async fn an_open_question_is_asked_first<O: Opener>(opener: &O) -> Checked {
    let scene = Scene::with(opener, 3).await?;
    let job = scene.job(verified("it")?).await?;
    let session = scene.session("w", &[]).await?;
    let lease = scene.take(session, 1, 0).await?.remove(0);
    same!(scene.ask(&lease, 0).await?, Verdict::Granted, "an intent");
    scene.tell(&lease, Outcome::Unknown, 10).await?;
    // The job is paused; the question is not.
    scene.pause(&job, true, 11).await?;
    let looking = scene.take(session, 10, 12).await?;
    let asked = looking
        .iter()
        .map(|one| (one.execution, one.resolve))
        .collect::<Vec<_>>();
    same!(asked, [(lease.execution, Some(0))], "what is handed out");
    same!(
        scene.ask(&looking[0], 13).await?,
        Verdict::Revoked,
        "whoever looks does nothing else"
    );
    scene.tell(&looking[0], Outcome::FoundDone, 14).await?;
    same!(
        scene.states(&job).await?[0],
        ExecutionState::Succeeded,
        "what was found done"
    );
    scene.pause(&job, false, 15).await?;
    let next = scene.take(session, 1, 16).await?.remove(0);
    same!(scene.ask(&next, 16).await?, Verdict::Granted, "an intent");
    scene.tell(&next, Outcome::Unknown, 17).await?;
    // Nobody looks in time.
    let until = 16 + 30_000 + execution::resolved_within().as_millis() as i64;
    scene.expire(until - 1).await?;
    same!(
        scene.states(&job).await?[1],
        ExecutionState::Pending,
        "before its deadline"
    );
    scene.expire(until).await?;
    same!(
        scene.states(&job).await?[1],
        ExecutionState::Unknown,
        "at its deadline"
    );
    Ok(())
}

pub(super) async fn a_device_that_answers_wakes_what_waits_for_it<O: Opener>(opener: &O) -> Checked {
    let scene = Scene::with(opener, 2).await?;
    scene.job(create("change", &[CHANGE])?).await?;
    let session = scene.session("w", &[]).await?;
    let leases = scene.take(session, 2, 0).await?;
    for lease in &leases {
        scene.tell(lease, Outcome::Unreached, 10).await?;
    }
    scene.job(create("read", &[READ])?).await?;
    let reads = scene.take(session, 10, 20).await?;
    same!(reads.len(), 2, "those that wait for their device are left");
    let mut refused = report(&reads[0], Outcome::Failed);
    refused.error = Some(DeviceError::new(ErrorClass::Trap, "no such command"));
    let applied = scene.tell_all(vec![refused], 21).await?;
    same!(applied.woken, 1, "a device that says no is there");
    let woken = scene.take(session, 10, 22).await?;
    let devices = woken.iter().map(|lease| lease.device).collect::<Vec<_>>();
    same!(devices, [reads[0].device], "what waited for it");
    Ok(())
}
