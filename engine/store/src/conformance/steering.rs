//! What people do, and what is kept of it.

use muster_engine_core::Outcome;
use muster_model::{ExecutionState, JobState, Priority};

use super::scene::{CHANGE, READ, Scene, create, ensure, same, told};
use super::{Checked, Opener};
use crate::{Aborted, Deed, JobStore as _, Paused, ReleaseDevices, Verdict, chained};

pub(super) async fn a_paused_job_admits_nothing_and_loses_no_time<O: Opener>(opener: &O) -> Checked {
    let scene = Scene::with(opener, 2).await?;
    let job = scene.job(create("it", &[CHANGE])?).await?;
    let session = scene.session("w", &[]).await?;
    let lease = scene.take(session, 1, 0).await?.remove(0);
    same!(scene.pause(&job, true, 1_000).await?, Paused::Done, "pausing");
    same!(
        scene.pause(&job, true, 2_000).await?,
        Paused::Done,
        "pausing again"
    );
    ensure!(
        scene.take(session, 9, 2_500).await?.is_empty(),
        "it is handed out"
    );
    ensure!(
        matches!(scene.ask(&lease, 2_500).await?, Verdict::Held(_)),
        "it is granted an intent"
    );
    same!(scene.expire(40_000).await?, 0, "given up while it is paused");
    same!(scene.pause(&job, false, 41_000).await?, Paused::Done, "resuming");
    same!(
        scene.record(&job).await?.expires_at,
        70_000,
        "its time stood still from the first pause on"
    );
    same!(scene.ask(&lease, 41_000).await?, Verdict::Granted, "its intent");
    scene.abort(&job, 41_001).await?;
    let refused = Paused::Refused(JobState::Aborting);
    same!(
        scene.pause(&job, true, 41_002).await?,
        refused,
        "pausing what is ending"
    );
    same!(
        scene.pause("nothing", true, 0).await?,
        Paused::NotFound,
        "pausing nothing"
    );
    Ok(())
}

pub(super) async fn an_aborted_job_ends<O: Opener>(opener: &O) -> Checked {
    let scene = Scene::with(opener, 3).await?;
    let job = scene.job(create("it", &[READ])?).await?;
    let session = scene.session("w", &[]).await?;
    let lease = scene.take(session, 1, 0).await?.remove(0);
    let held = vec![(lease.execution, lease.epoch, session)];
    same!(
        scene.abort(&job, 5).await?,
        Aborted::Aborting(held),
        "what is out"
    );
    same!(scene.record(&job).await?.state, JobState::Aborting, "the job");
    ensure!(scene.take(session, 9, 6).await?.is_empty(), "it is handed out");
    scene.tell(&lease, Outcome::Cancelled, 7).await?;
    same!(
        scene.record(&job).await?.state,
        JobState::Aborted,
        "the job when all is in"
    );
    same!(
        scene.states(&job).await?,
        [ExecutionState::Cancelled; 3],
        "its executions"
    );
    same!(scene.abort(&job, 8).await?, Aborted::Over, "ending it again");
    same!(
        scene.abort("nothing", 8).await?,
        Aborted::NotFound,
        "ending nothing"
    );
    Ok(())
}

pub(super) async fn a_device_that_keeps_ending_badly_is_left_out<O: Opener>(opener: &O) -> Checked {
    let scene = Scene::with(opener, 2).await?;
    let session = scene.session("w", &[]).await?;
    for round in 0..5 {
        let mut change = create(&format!("change {round}"), &[CHANGE])?;
        change.selector = "name=r1".parse().map_err(told)?;
        change.priority = Priority::Emergency;
        scene.job(change).await?;
        let lease = scene.take(session, 1, 10).await?.remove(0);
        scene.ask(&lease, 10).await?;
        scene.tell(&lease, Outcome::Unknown, 11).await?;
        if round == 3 {
            let mut waits = create("waits", &[CHANGE])?;
            (waits.selector, waits.priority) = ("name=r1".parse().map_err(told)?, Priority::Audit);
            scene.job(waits).await?;
        }
    }
    same!(
        scene.states("waits").await?,
        [ExecutionState::Skipped],
        "what waited for it"
    );
    same!(
        scene.store().quarantined(20).await.map_err(told)?,
        ["r1"],
        "who is quarantined"
    );
    let job = scene.job(create("later", &[CHANGE])?).await?;
    let states = [ExecutionState::Skipped, ExecutionState::Pending];
    same!(scene.states(&job).await?, states, "a later change");
    let read = scene.job(create("read", &[READ])?).await?;
    same!(
        scene.states(&read).await?,
        [ExecutionState::Pending; 2],
        "looking harms nobody"
    );
    let release = ReleaseDevices {
        names: vec!["r1".into()],
        deed: Deed::default(),
        now: 20,
    };
    same!(
        scene.store().release_devices(release).await.map_err(told)?,
        5,
        "notes forgotten"
    );
    ensure!(
        scene.store().quarantined(20).await.map_err(told)?.is_empty(),
        "it is still quarantined"
    );
    Ok(())
}

pub(super) async fn the_history_is_a_chain<O: Opener>(opener: &O) -> Checked {
    let scene = Scene::with(opener, 1).await?;
    let job = scene.job(create("it", &[CHANGE])?).await?;
    scene.pause(&job, true, 1).await?;
    scene.pause(&job, false, 2).await?;
    let tighter = scene.limit(&job, Some(1), "", 3).await?;
    ensure!(tighter.is_ok(), "tightening: {tighter:?}");
    scene.abort(&job, 4).await?;
    let rows = scene.store().history(&job, 0, 10).await.map_err(told)?;
    let actions = rows.iter().map(|row| row.action.as_str()).collect::<Vec<_>>();
    let deeds = ["job.pause", "job.resume", "job.limits", "job.abort"];
    same!(actions, deeds, "what was done");
    let mut before = Vec::new();
    for row in rows {
        let fields = [
            &*row.claimed_by,
            &row.action,
            &row.subject,
            &row.reason,
            &row.detail,
        ];
        same!(
            row.hash,
            chained(&before, row.at, fields),
            "the hash of row {}",
            row.id
        );
        before = row.hash;
    }
    Ok(())
}

/// After each operation that returned, a crash: what it did is there.
pub(super) async fn everything_told_is_durable<O: Opener>(opener: &O) -> Checked {
    let scene = Scene::with(opener, 3).await?;
    let job = scene.job(create("it", &[CHANGE])?).await?;
    kept(&scene, &job).await?;
    let session = scene.session("w", &[]).await?;
    let leases = scene.take(session, 3, 0).await?;
    kept(&scene, &job).await?;
    scene.ask_all(&leases, 0, 1).await?;
    kept(&scene, &job).await?;
    scene.tell(&leases[0], Outcome::Succeeded, 2).await?;
    kept(&scene, &job).await?;
    scene.pause(&job, true, 3).await?;
    kept(&scene, &job).await?;
    let limited = scene.limit(&job, Some(1), "", 4).await?;
    ensure!(limited.is_ok(), "tightening: {limited:?}");
    kept(&scene, &job).await?;
    scene.pause(&job, false, 5).await?;
    kept(&scene, &job).await?;
    scene.lose(session, 6).await?;
    kept(&scene, &job).await?;
    scene.abort(&job, 7).await?;
    kept(&scene, &job).await
}

async fn kept<S: super::Subject>(scene: &Scene<S>, job: &str) -> Checked {
    let crashed = scene.after_crash().await?;
    let (now, after) = (scene.record(job).await, crashed.record(job).await);
    same!(
        format!("{after:?}"),
        format!("{now:?}"),
        "the job after a crash, and before"
    );
    let (now, after) = (scene.executions(job).await?, crashed.executions(job).await?);
    same!(after, now, "its executions after a crash, and before");
    let history = |scene: Result<Vec<crate::HistoryRecord>, crate::StoreError>| scene.map_err(told);
    let now = history(scene.store().history("", 0, 100).await)?;
    let after = history(crashed.store().history("", 0, 100).await)?;
    same!(after, now, "the history after a crash, and before");
    Ok(())
}
