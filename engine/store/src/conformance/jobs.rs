//! Jobs: made once, laid out whole, deleted for good.

use muster_engine_core::Outcome;
use muster_model::{ExecutionState, JobState};

use super::scene::{CHANGE, READ, Scene, create, ensure, same, told};
use super::{Checked, Opener};
use crate::{CreateRefused, DeleteJob, Deleted, JobStore as _, LayOut, PART, ResultPage, Retry, Sweep};

pub(super) async fn a_request_id_stands_for_one_job<O: Opener>(opener: &O) -> Checked {
    let scene = Scene::with(opener, 2).await?;
    let asked = |name: &str, hash: u8| {
        let mut create = create(name, &[READ])?;
        create.request_id = Some("request".into());
        create.request_hash = [hash; 32];
        Ok::<_, String>(create)
    };
    let first = scene.job(asked("one", 1)?).await?;
    same!(first, "one", "the job of a new request");
    let again = scene.job(asked("two", 1)?).await?;
    same!(again, "one", "the same request with the same body");
    let other = scene.make(asked("three", 2)?).await?;
    let reused = Err(CreateRefused::RequestIdReused("one".into()));
    same!(other, reused, "the same request with another body");
    let missing = scene.store().job("two").await.map_err(told)?;
    ensure!(missing.is_none(), "a repeated request made a second job");
    let crashed = scene.after_crash().await?;
    same!(
        crashed.job(asked("four", 1)?).await?,
        "one",
        "the same request after a crash"
    );
    Ok(())
}

pub(super) async fn a_selection_is_laid_out_in_parts_and_resumed<O: Opener>(opener: &O) -> Checked {
    let devices = PART as usize + 1;
    let scene = Scene::with(opener, devices).await?;
    let created = scene.make(create("large", &[READ])?).await?.map_err(told)?;
    ensure!(created.draft, "a job over a part is not laid out in one commit");
    same!(
        scene.record("large").await?.total,
        u64::from(PART),
        "one commit lays out a part"
    );
    let session = scene.session("w", &[]).await?;
    ensure!(
        scene.take(session, 5, 0).await?.is_empty(),
        "a job that is not whole is handed out"
    );
    // The rest is laid out by whoever comes after a crash.
    let scene = scene.after_crash().await?;
    same!(
        scene.store().drafts().await.map_err(told)?,
        ["large"],
        "drafts after a crash"
    );
    let part = || LayOut {
        uuid: "large".into(),
        now: 1,
    };
    ensure!(
        !scene.store().lay_out(part()).await.map_err(told)?,
        "there is more to lay out"
    );
    ensure!(
        !scene.store().lay_out(part()).await.map_err(told)?,
        "what is done is done again"
    );
    let record = scene.record("large").await?;
    same!(
        (record.state, record.total),
        (JobState::Running, devices as u64),
        "the whole job"
    );
    same!(
        record.counts,
        [(ExecutionState::Pending, devices as u64)],
        "its counts"
    );
    same!(
        scene.take(session, 5, 1).await?.len(),
        5,
        "a whole job is handed out"
    );
    Ok(())
}

pub(super) async fn an_empty_selection_makes_no_job<O: Opener>(opener: &O) -> Checked {
    let scene = Scene::with(opener, 1).await?;
    let mut nobody = create("nobody", &[READ])?;
    nobody.selector = "site=nowhere".parse().map_err(told)?;
    nobody.request_id = Some("request".into());
    same!(
        scene.make(nobody).await?,
        Err(CreateRefused::EmptySelection),
        "a selection of nobody"
    );
    ensure!(
        scene.store().job("nobody").await.map_err(told)?.is_none(),
        "it is there"
    );
    let mut all = create("all", &[READ])?;
    all.request_id = Some("request".into());
    let id = scene.job(all).await?;
    let record = scene.record(&id).await?;
    let events = scene.store().events(record.id, 0, 10).await.map_err(told)?;
    let kinds = events.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>();
    same!(kinds, ["created", "state"], "events of the next job");
    Ok(())
}

pub(super) async fn a_retry_takes_outcomes_and_nothing_that_is_done<O: Opener>(opener: &O) -> Checked {
    let scene = Scene::with(opener, 4).await?;
    let first = scene.job(create("first", &[CHANGE])?).await?;
    let session = scene.session("w", &[]).await?;
    let leases = scene.take(session, 10, 0).await?;
    scene.ask_all(&leases[..3], 0, 0).await?;
    scene.tell(&leases[0], Outcome::Unknown, 10).await?;
    scene.tell(&leases[1], Outcome::Unknown, 10).await?;
    scene.tell(&leases[1], Outcome::Succeeded, 10).await?;
    scene.tell(&leases[2], Outcome::Failed, 10).await?;
    scene.tell(&leases[3], Outcome::Cancelled, 10).await?;
    let mut again = create("again", &[CHANGE])?;
    again.retry = Some(Retry {
        job: first.clone(),
        states: vec![ExecutionState::Failed, ExecutionState::Unknown],
        wave: None,
    });
    let again = scene.job(again).await?;
    let devices = scene.executions(&again).await?.into_iter().map(|one| one.device);
    let wanted = [leases[0].device, leases[2].device];
    same!(devices.collect::<Vec<_>>(), wanted, "what is tried again");
    same!(
        scene.record(&again).await?.retry_of,
        Some(first),
        "the job it tries again"
    );
    Ok(())
}

pub(super) async fn a_deleted_job_is_gone_and_its_request_id_stands<O: Opener>(opener: &O) -> Checked {
    let scene = Scene::with(opener, 2).await?;
    let mut create_it = create("it", &[READ])?;
    create_it.request_id = Some("request".into());
    let job = scene.job(create_it.clone()).await?;
    let delete = || DeleteJob {
        uuid: job.clone(),
        claimed_by: "tester".into(),
        now: 50,
    };
    let deleted = scene.store().delete_job(delete()).await.map_err(told)?;
    same!(deleted, Deleted::Live, "deleting a job that runs");
    let session = scene.session("w", &[]).await?;
    let leases = scene.take(session, 10, 0).await?;
    for lease in &leases {
        scene.tell(lease, Outcome::Succeeded, 10).await?;
    }
    let youngest = leases.iter().map(|lease| lease.execution).max();
    let deleted = scene.store().delete_job(delete()).await.map_err(told)?;
    same!(deleted, Deleted::Gone, "deleting a job that is over");
    ensure!(
        scene.store().job(&job).await.map_err(told)?.is_none(),
        "it is seen"
    );
    let deleted = scene.store().delete_job(delete()).await.map_err(told)?;
    same!(deleted, Deleted::NotFound, "deleting it again");
    while !scene.store().sweep(Sweep).await.map_err(told)?.is_nothing() {}
    create_it.uuid = "another".into();
    same!(scene.job(create_it).await?, job, "its request, repeated");
    let next = scene.job(create("next", &[READ])?).await?;
    let numbers = scene
        .executions(&next)
        .await?
        .into_iter()
        .map(|one| one.execution.id);
    ensure!(
        numbers.min() > youngest,
        "the number of an execution is given out twice"
    );
    Ok(())
}

pub(super) async fn what_was_answered_survives_a_crash<O: Opener>(opener: &O) -> Checked {
    let scene = Scene::with(opener, 1).await?;
    let job = scene.job(create("it", &[READ])?).await?;
    let session = scene.session("w", &[]).await?;
    let lease = scene.take(session, 1, 0).await?.remove(0);
    scene.tell(&lease, Outcome::Succeeded, 10).await?;
    let crashed = scene.after_crash().await?;
    let record = crashed.record(&job).await?;
    same!(record.state, JobState::Completed, "the job after a crash");
    let page = ResultPage {
        job: record.id,
        after: 0,
        limit: 10,
        states: Vec::new(),
    };
    let results = crashed.store().results(&page).await.map_err(told)?;
    let replies = results
        .iter()
        .flat_map(|result| &result.replies)
        .collect::<Vec<_>>();
    same!(replies, [&b"\x05!done\x00"[..]], "what its device answered");
    Ok(())
}
