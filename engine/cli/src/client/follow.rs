//! Following a job to its end, over as many connections as it takes.

use std::collections::HashSet;
use std::pin::Pin;
use std::time::{Duration, Instant};

use muster_proto::v1;
use tonic::{Code, Status};

use super::connect::Engine;
use super::result::is_over;
use crate::exit::{Exit, Failure};
use crate::serve::Stop;
use crate::terminal::{self, devices};

/// What is told while a job is followed.
pub(crate) trait Follower {
    /// An execution ended. Told once for each.
    fn result(&mut self, result: v1::ExecutionResult);
    /// Rows of a step that is followed, as they come.
    fn live(&mut self, _rows: v1::LiveResult) {}
    /// The job as it is now.
    fn job(&mut self, job: &v1::Job);
    /// Something for people: the engine is gone, the engine is back.
    fn note(&mut self, note: &str);
    /// What was told does not hold: the engine has an older past than that. Everything is told anew.
    fn resync(&mut self);
}

/// How following ended.
#[derive(Debug)]
pub(crate) enum Followed {
    /// The job is over, or a rule has halted it and somebody has to decide.
    Over(Box<v1::Job>),
    /// The user pressed Ctrl-C, or nobody reads the output any more; the job goes on.
    Detached,
}

/// Between tries to reach an engine that is gone: from the first, doubling to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));
/// An engine that is gone for longer is given up; the job goes on when it is back.
const GIVE_UP: Duration = Duration::from_secs(300);

/// A job that is halted is followed until nothing of it was heard for so long.
const HALTED_FOR: Duration = Duration::from_millis(500);

/// Follows a job from its beginning.
pub(crate) async fn follow(
    engine: &Engine,
    id: &str,
    follower: &mut impl Follower,
) -> Result<Followed, Failure> {
    let mut stop = Stop::new()?;
    let mut watch = Watch {
        engine,
        id,
        seq: 0,
        seen: HashSet::new(),
        want: Some(Box::pin(want_of_workers(engine, id))),
    };
    let (mut gone_since, mut delay) = (None, RETRY.0);
    loop {
        let ended = tokio::select! {
            ended = watch.once(follower, &mut gone_since) => ended,
            () = stop.wait() => return Ok(Followed::Detached),
        };
        match ended {
            Ok(Some(job)) => return Ok(Followed::Over(Box::new(job))),
            Ok(None) => return Ok(Followed::Detached),
            Err(status) if status.code() == Code::Unavailable || status.code() == Code::Unknown => {
                let since = *gone_since.get_or_insert_with(|| {
                    follower.note(&format!("the engine at {} is gone; waiting for it", engine.url()));
                    delay = RETRY.0;
                    Instant::now()
                });
                if since.elapsed() > GIVE_UP {
                    let message = format!("the engine at {} did not come back", engine.url());
                    let failure = Failure::new(Exit::Usage, "NO_CONNECTION", message);
                    return Err(failure.hint(format!("when it is back: muster job watch {id}")));
                }
            }
            Err(status) => return Err(status.into()),
        }
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = stop.wait() => return Ok(Followed::Detached),
        }
        delay = (delay * 2).min(RETRY.1);
    }
}

struct Watch<'a> {
    engine: &'a Engine,
    id: &'a str,
    /// Everything up to here was seen.
    seq: u64,
    /// Executions told since `seq`: these come again after a reconnection, and no others.
    seen: HashSet<String>,
    /// What to say when nothing moves for want of workers; until it was found out.
    want: Option<Pin<Box<dyn Future<Output = Option<String>> + Send + 'a>>>,
}

impl Watch<'_> {
    /// Follows over one connection; `None` when nobody reads any more.
    async fn once(
        &mut self,
        follower: &mut impl Follower,
        gone_since: &mut Option<Instant>,
    ) -> Result<Option<v1::Job>, Status> {
        let request = v1::WatchJobRequest {
            id: self.id.to_owned(),
            from_seq: self.seq,
            results: true,
            live: true,
        };
        let mut stream = self.engine.jobs().watch_job(request).await?.into_inner();
        let mut last: Option<v1::Job> = None;
        loop {
            let halted = last
                .as_ref()
                .is_some_and(|job| job.state() == v1::JobState::Halted);
            let message = tokio::select! {
                message = stream.message() => message?,
                () = tokio::time::sleep(HALTED_FOR), if halted => return Ok(last),
                note = found_out(&mut self.want) => {
                    note.iter().for_each(|note| follower.note(note));
                    continue;
                }
            };
            let Some(message) = message else { break };
            if gone_since.take().is_some() {
                follower.note("the engine is back");
            }
            if message.resync {
                self.seen.clear();
                follower.resync();
            }
            message.live.into_iter().for_each(|rows| follower.live(rows));
            for result in message.results {
                if is_over(result.state()) && self.seen.insert(result.execution.clone()) {
                    follower.result(result);
                }
            }
            if message.seq != self.seq {
                self.seq = message.seq;
                self.seen.clear();
            }
            if let Some(job) = message.job {
                follower.job(&job);
                last = Some(job);
            }
            if terminal::is_closed() {
                return Ok(None);
            }
        }
        match last {
            Some(job) if job.finished_at.is_some() => Ok(Some(job)),
            _ => Err(Status::unavailable("the watch ended before the job")),
        }
    }
}

/// Nothing moving for this long is looked into.
const LOOK_AFTER: Duration = Duration::from_secs(2);

/// Which zones of a job no worker serves; nothing when that is not what keeps it.
async fn want_of_workers(engine: &Engine, id: &str) -> Option<String> {
    tokio::time::sleep(LOOK_AFTER).await;
    let request = v1::ExplainJobRequest {
        id: id.to_owned(),
        device: String::new(),
    };
    let explained = engine.jobs().explain_job(request).await.ok()?.into_inner();
    let mut unserved = explained
        .blockers
        .into_iter()
        .filter(|blocker| blocker.kind() == v1::BlockerKind::NoWorker)
        .peekable();
    unserved.peek()?;
    let status = engine.admin().get_status(v1::GetStatusRequest {}).await.ok()?;
    if status.into_inner().workers.is_empty() {
        return Some("no worker is connected to the engine; the job waits for one".into());
    }
    let told = unserved.map(|blocker| format!("{} ({} wait)", blocker.text, devices(blocker.executions)));
    Some(told.collect::<Vec<_>>().join("; "))
}

/// What was found out, once; after that, for ever nothing.
async fn found_out(
    want: &mut Option<Pin<Box<dyn Future<Output = Option<String>> + Send + '_>>>,
) -> Option<String> {
    match want {
        Some(finding) => {
            let found = finding.await;
            *want = None;
            found
        }
        None => std::future::pending().await,
    }
}
