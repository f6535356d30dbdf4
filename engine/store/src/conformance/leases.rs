//! Who gets what, and who loses it.

use muster_engine_core::Outcome;
use muster_model::{ExecutionState, JobState, Priority};

use super::scene::{CHANGE, READ, Scene, create, ensure, open, same, told};
use super::{Checked, Opener};
use crate::{
    AssignWaves, BeginSession, Claim, Holder, JobStore as _, Lease, OpenWave, StartJob, Verdict, Zones,
};

pub(super) async fn claims_keep_to_zones_and_demand<O: Opener>(opener: &O) -> Checked {
    let scene = Scene::with(opener, 6).await?;
    let named = scene.session("named", &["z2"]).await?;
    let rest = scene.session("rest", &[]).await?;
    scene.job(create("it", &[READ])?).await?;
    let claim = |session, zones, limit| Claim {
        session,
        zones,
        limit,
        now: 0,
        holder: None,
    };
    let taken = scene.claim(claim(rest, Zones::Rest, 2)).await?.leases;
    same!(taken.len(), 2, "as many as are asked for");
    let taken = scene.claim(claim(rest, Zones::Rest, 10)).await?.leases;
    same!(taken.len(), 1, "what is left of zones that nobody serves by name");
    let zones = Zones::Named(vec!["z2".into()]);
    let taken = scene.claim(claim(named, zones.clone(), 10)).await?.leases;
    let names = taken
        .iter()
        .map(|lease| lease.device_name.as_str())
        .collect::<Vec<_>>();
    same!(names, ["r2", "r4", "r6"], "the zone that is served by name");
    ensure!(
        taken.iter().all(|lease| lease.epoch == 1),
        "a lease has an epoch of its own"
    );
    ensure!(
        scene.claim(claim(named, zones, 10)).await?.leases.is_empty(),
        "something is handed out twice"
    );
    Ok(())
}

pub(super) async fn claims_leave_devices_to_who_has_their_connections<O: Opener>(opener: &O) -> Checked {
    let scene = Scene::with(opener, 6).await?;
    let session = scene.session("w", &[]).await?;
    let claim = |worker, beside: &[(i64, Option<&str>)], limit| Claim {
        session,
        zones: Zones::Rest,
        limit,
        now: 0,
        holder: Some(Holder {
            worker,
            beside: beside
                .iter()
                .map(|(worker, zone)| (*worker, zone.map(str::to_owned)))
                .collect(),
        }),
    };
    let names = |leases: &[Lease]| {
        let names = leases.iter().map(|lease| lease.device_name.clone());
        names.collect::<std::collections::BTreeSet<_>>()
    };
    scene.job(create("first", &[READ])?).await?;
    let ones = scene.claim(claim(1, &[(2, None)], 2)).await?.leases;
    let twos = scene.claim(claim(2, &[(1, None)], 2)).await?.leases;
    same!((ones.len(), twos.len()), (2, 2), "nobody has any of them yet");

    scene.job(create("second", &[READ])?).await?;
    let again = scene.claim(claim(1, &[(2, None)], 10)).await?.leases;
    let free = again.len();
    ensure!(
        names(&again).is_disjoint(&names(&twos)),
        "a device goes to another than who has its connection"
    );
    ensure!(
        names(&ones).is_subset(&names(&again)),
        "its own and those of nobody"
    );
    same!(
        free,
        6,
        "four of the second job, and two of the first that were left"
    );
    let elsewhere = scene.claim(claim(3, &[(2, Some("nowhere"))], 1)).await?.leases;
    same!(elsewhere.len(), 1, "it holds for the zones that both serve only");
    let left = scene.claim(claim(1, &[], 10)).await?.leases;
    same!(left.len(), 1, "what nobody else takes is free");
    Ok(())
}

pub(super) async fn classes_go_in_order_and_jobs_share_equally<O: Opener>(opener: &O) -> Checked {
    let scene = Scene::with(opener, 10).await?;
    let mut audit = create("audit", &[READ])?;
    audit.priority = Priority::Audit;
    let audit = scene.job(audit).await?;
    let one = scene.job(create("one", &[READ])?).await?;
    let two = scene.job(create("two", &[READ])?).await?;
    let session = scene.session("w", &[]).await?;
    same!(scene.take(session, 8, 0).await?.len(), 8, "leases");
    for (job, share) in [(&one, 4), (&two, 4), (&audit, 0)] {
        same!(leased(&scene.states(job).await?), share, "leases of job {job}");
    }
    same!(scene.take(session, 14, 0).await?.len(), 14, "leases");
    for (job, share) in [(&one, 10), (&two, 10), (&audit, 2)] {
        same!(leased(&scene.states(job).await?), share, "leases of job {job}");
    }
    Ok(())
}

fn leased(states: &[ExecutionState]) -> usize {
    states
        .iter()
        .filter(|state| **state == ExecutionState::Leased)
        .count()
}

pub(super) async fn a_job_keeps_to_its_cap<O: Opener>(opener: &O) -> Checked {
    let scene = Scene::with(opener, 10).await?;
    let mut capped = create("capped", &[READ])?;
    capped.concurrency = Some(3);
    scene.job(capped).await?;
    let session = scene.session("w", &[]).await?;
    let taken = scene.take(session, 10, 0).await?;
    same!(taken.len(), 3, "leases under a cap of three");
    scene.tell(&taken[0], Outcome::Succeeded, 5).await?;
    same!(
        scene.take(session, 10, 6).await?.len(),
        1,
        "leases when one has ended"
    );
    Ok(())
}

pub(super) async fn a_device_has_one_job_with_effects_at_a_time<O: Opener>(opener: &O) -> Checked {
    let scene = Scene::with(opener, 1).await?;
    let first = scene.job(create("first", &[CHANGE])?).await?;
    let second = scene.job(create("second", &[CHANGE])?).await?;
    let reading = scene.job(create("reading", &[READ])?).await?;
    let session = scene.session("w", &[]).await?;
    let taken = scene.take(session, 10, 0).await?;
    same!(taken.len(), 2, "one that changes and one that reads");
    same!(
        scene.states(&second).await?,
        [ExecutionState::Pending],
        "the other change"
    );
    same!(
        scene.states(&reading).await?,
        [ExecutionState::Leased],
        "reads share"
    );
    let change = taken
        .iter()
        .find(|lease| !lease.effect.is_read())
        .ok_or("no change was taken")?;
    // Given back untouched, it frees its device.
    scene.tell(change, Outcome::Unreached, 5).await?;
    ensure!(
        scene.executions(&first).await?.iter().all(|one| !one.locked),
        "it is held for nobody"
    );
    let next = scene.take(session, 10, 6).await?;
    same!(next.len(), 1, "the device is free");
    same!(
        scene.states(&second).await?,
        [ExecutionState::Leased],
        "the other change has it"
    );
    // A touched one that waits for its device keeps it.
    same!(scene.ask(&next[0], 7).await?, Verdict::Granted, "its intent");
    scene.tell(&next[0], Outcome::Unreached, 8).await?;
    let held = scene.executions(&second).await?;
    ensure!(
        held[0].locked && held[0].execution.touched,
        "a touched device is let go of"
    );
    let ids = scene.take(session, 10, 20_000).await?;
    let jobs = ids.iter().map(|lease| lease.execution).collect::<Vec<_>>();
    same!(jobs, [next[0].execution], "only whoever touched it comes again");
    scene.tell(&ids[0], Outcome::Succeeded, 20_001).await?;
    same!(
        scene.take(session, 10, 20_002).await?.len(),
        1,
        "it is free when that is over"
    );
    Ok(())
}

pub(super) async fn waves_are_handed_out_when_they_are_open<O: Opener>(opener: &O) -> Checked {
    let scene = Scene::with(opener, 5).await?;
    let mut create = create("waves", &[READ])?;
    (create.waves, create.start) = (vec![None; 3], JobState::Scheduled);
    let job = scene.job(create).await?;
    let devices = scene.executions(&job).await?.into_iter().map(|one| one.device);
    let waves = devices.zip([0, 0, 1, 1, 2]).collect::<Vec<_>>();
    let assign = AssignWaves {
        uuid: job.clone(),
        waves,
    };
    ensure!(
        scene.store().assign_waves(assign.clone()).await.map_err(told)?,
        "waves are not assigned"
    );
    let totals = scene.record(&job).await?.waves.into_iter().map(|wave| wave.total);
    same!(totals.collect::<Vec<_>>(), [2, 2, 1], "executions by wave");
    let session = scene.session("w", &[]).await?;
    ensure!(
        scene.take(session, 10, 0).await?.is_empty(),
        "it is handed out before it begins"
    );
    let start = StartJob {
        uuid: job.clone(),
        now: 1,
    };
    ensure!(
        scene.store().start_job(start.clone()).await.map_err(told)?,
        "it does not begin"
    );
    ensure!(
        !scene.store().start_job(start).await.map_err(told)?,
        "it begins twice"
    );
    ensure!(
        !scene.store().assign_waves(assign).await.map_err(told)?,
        "waves change under way"
    );
    let open = |wave| OpenWave {
        uuid: job.clone(),
        wave,
        now: 2,
    };
    for (wave, size) in [(0, 2), (1, 2), (2, 1)] {
        let opened = scene.store().open_wave(open(wave)).await.map_err(told)?;
        same!(opened, wave > 0, "opening wave {wave}");
        let taken = scene.take(session, 10, 3).await?;
        same!(taken.len(), size, "what wave {wave} lets in");
        let executions = scene.executions(&job).await?;
        let of_wave = executions.iter().filter(|one| one.wave == wave);
        ensure!(
            of_wave
                .clone()
                .all(|one| one.execution.state == ExecutionState::Leased),
            "another wave was handed out"
        );
    }
    ensure!(
        !scene.store().open_wave(open(3)).await.map_err(told)?,
        "a wave that is not there"
    );
    Ok(())
}

pub(super) async fn a_session_takes_over_what_its_worker_holds<O: Opener>(opener: &O) -> Checked {
    let scene = Scene::with(opener, 3).await?;
    let job = scene.job(create("it", &[READ])?).await?;
    let session = scene.session("worker", &[]).await?;
    let leases = scene.take(session, 3, 0).await?;
    let (kept, forgotten) = (&leases[0], &leases[1]);
    let begin = |instance: &str, held| BeginSession {
        open: open(instance, &[]),
        held,
    };
    let held = vec![(kept.execution, kept.epoch), (forgotten.execution, 9)];
    let (other, adopted) = scene
        .store()
        .begin_session(begin("other", held.clone()))
        .await
        .map_err(told)?;
    same!(adopted.revoked, held, "another worker's leases are not its own");
    ensure!(
        other > session,
        "the number of a session is higher than any before"
    );
    let (again, adopted) = scene
        .store()
        .begin_session(begin("worker", held))
        .await
        .map_err(told)?;
    same!(
        adopted.revoked,
        [(forgotten.execution, 9)],
        "an epoch that it does not hold"
    );
    let executions = scene.executions(&job).await?;
    let sessions = executions.iter().map(|one| one.session).collect::<Vec<_>>();
    same!(
        sessions,
        [Some(again), None, None],
        "what it did not name is taken from it"
    );
    same!(
        scene.states(&job).await?[1],
        ExecutionState::Pending,
        "and is to be had again"
    );
    let holding = scene.store().sessions_holding().await.map_err(told)?;
    same!(holding, [(again, String::new())], "sessions that hold leases");
    Ok(())
}

pub(super) async fn lost_leases_cost_nothing_before_an_intent<O: Opener>(opener: &O) -> Checked {
    let scene = Scene::with(opener, 2).await?;
    let job = scene.job(create("it", &[CHANGE])?).await?;
    let session = scene.session("worker", &[]).await?;
    let leases = scene.take(session, 2, 0).await?;
    same!(scene.ask(&leases[0], 1).await?, Verdict::Granted, "an intent");
    same!(scene.lose(session, 2).await?, 2, "leases lost");
    same!(scene.lose(session, 2).await?, 0, "leases lost again");
    let states = [ExecutionState::Unknown, ExecutionState::Pending];
    same!(scene.states(&job).await?, states, "after one intent, and before");
    let other = scene.session("other", &[]).await?;
    let taken = scene.take(other, 2, 3).await?;
    same!(
        (taken.len(), taken[0].epoch),
        (1, 2),
        "the next lease has an epoch of its own"
    );
    // What the first worker says of it now moves nothing.
    scene.tell(&leases[1], Outcome::Succeeded, 4).await?;
    same!(
        scene.states(&job).await?[1],
        ExecutionState::Leased,
        "a report under an epoch that is over"
    );
    Ok(())
}

pub(super) async fn time_gives_up_on_what_waits<O: Opener>(opener: &O) -> Checked {
    let scene = Scene::with(opener, 2).await?;
    let job = scene.job(create("it", &[READ])?).await?;
    let session = scene.session("worker", &[]).await?;
    let lease = scene.take(session, 1, 0).await?.remove(0);
    same!(scene.expire(29_999).await?, 0, "given up before the time");
    same!(scene.expire(30_000).await?, 1, "given up at the time");
    let states = [ExecutionState::Leased, ExecutionState::Expired];
    same!(
        scene.states(&job).await?,
        states,
        "what a worker holds is the worker's to end"
    );
    ensure!(
        scene.take(session, 5, 30_001).await?.is_empty(),
        "something is handed out after the time"
    );
    scene.tell(&lease, Outcome::Unreached, 30_002).await?;
    same!(
        scene.record(&job).await?.state,
        JobState::CompletedWithFailures,
        "the job"
    );
    Ok(())
}
