//! Following a job to its end, over as many connections as it takes.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use muster_proto::v1;
use tonic::{Code, Status};

use super::connect::Engine;
use super::result::is_over;
use crate::exit::{Exit, Failure};
use crate::serve::Stop;
use crate::terminal;

/// What is told while a job is followed.
pub(crate) trait Follower {
    /// An execution ended. Told once for each.
    fn result(&mut self, result: v1::ExecutionResult);
    /// The job as it is now.
    fn job(&mut self, job: &v1::Job);
    /// Something for people: the engine is gone, the engine is back.
    fn note(&mut self, note: &str);
}

/// How following ended.
#[derive(Debug)]
pub(crate) enum Followed {
    /// The job is over.
    Over(Box<v1::Job>),
    /// The user pressed Ctrl-C, or nobody reads the output any more; the job goes on.
    Detached,
}

/// Between tries to reach an engine that is gone.
const RETRY: Duration = Duration::from_millis(250);
/// An engine that is gone for longer is given up; the job goes on when it is back.
const GIVE_UP: Duration = Duration::from_secs(300);

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
    };
    let mut gone_since = None;
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
            () = tokio::time::sleep(RETRY) => {}
            () = stop.wait() => return Ok(Followed::Detached),
        }
    }
}

struct Watch<'a> {
    engine: &'a Engine,
    id: &'a str,
    /// Everything up to here was seen.
    seq: u64,
    /// Executions told: after a reconnection some come again.
    seen: HashSet<String>,
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
        };
        let mut stream = self.engine.jobs().watch_job(request).await?.into_inner();
        let mut last = None;
        while let Some(message) = stream.message().await? {
            if gone_since.take().is_some() {
                follower.note("the engine is back");
            }
            for result in message.results {
                if is_over(result.state()) && self.seen.insert(result.execution.clone()) {
                    follower.result(result);
                }
            }
            self.seq = message.seq;
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
