//! Sessions without an engine: for who wants to ask devices and nothing else, and for measuring what a session costs.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use muster_model::{DeviceError, Transport};
use muster_worker_core::StepEnd;
use routeros_conn::Credentials;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::DeviceLimits;
use crate::devices::{Devices, Line};
use crate::held::Held;
use crate::reach::Reach;
use crate::run::next_run;
use crate::session::{self, Awaited, Handle, Reply, Target, Turn, Words};

/// A worker's sessions, kept by its limits.
#[derive(Clone, Debug)]
pub struct Direct(Devices);

/// A device's session, logged in. It is kept open for as long as this lives.
pub struct Session {
    handle: Handle,
    turn: Arc<Turn>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

/// An answer that is under way.
#[derive(Debug)]
pub struct Answer(Awaited);

impl Direct {
    /// Room for `most` sessions.
    pub fn new(limits: DeviceLimits, most: usize) -> Self {
        // Nobody is told what an engine would be.
        let (nobody, _) = mpsc::unbounded_channel();
        let reach = Reach::new(None, Held::new(nobody));
        Self(Devices::new(limits, most, reach, TaskTracker::new()))
    }

    /// The session of a device, which has this number: the one there is, or a new one in the clear.
    pub async fn connect(
        &self,
        device: u64,
        address: SocketAddr,
        user: &str,
        password: &str,
    ) -> Result<Session, DeviceError> {
        let target = Target::plain(address, Arc::new(Credentials::new(user, password)));
        self.open(device, target).await
    }

    /// The same over TLS, whatever the device's certificate.
    pub async fn connect_tls(
        &self,
        device: u64,
        address: SocketAddr,
        user: &str,
        password: &str,
    ) -> Result<Session, DeviceError> {
        let target = Target {
            transport: Transport::ApiSsl,
            ..Target::plain(address, Arc::new(Credentials::new(user, password)))
        };
        self.open(device, target).await
    }

    async fn open(&self, device: u64, target: Target) -> Result<Session, DeviceError> {
        let handle = self.0.session(device, Line::Main, &target);
        handle.ready().await.map_err(|failure| failure.error)?;
        let turn = handle.turn(false).await;
        Ok(Session { handle, turn })
    }
}

impl Session {
    /// Sends a command: a path and words as the protocol has them.
    pub fn ask(&self, words: &[&str], timeout: Duration) -> Answer {
        let send_by = Instant::now() + timeout;
        Answer(
            self.handle
                .run(Words::new(words), timeout, send_by, self.turn.clone(), next_run()),
        )
    }
}

impl Future for Answer {
    /// The sentences of the answer, in wire format without their tags.
    type Output = Result<Bytes, DeviceError>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0).poll(cx).map(|reply| {
            let Reply { end, sentences } = reply.unwrap_or_else(|_| session::never_sent());
            match end {
                StepEnd::Completed => Ok(sentences),
                StepEnd::Cancelled => Err(DeviceError::new(
                    muster_model::ErrorClass::Cancelled,
                    "the command was cancelled",
                )),
                StepEnd::NoAnswer(error)
                | StepEnd::NotSent(error)
                | StepEnd::Refused(error)
                | StepEnd::Trapped(error) => Err(error),
            }
        })
    }
}
