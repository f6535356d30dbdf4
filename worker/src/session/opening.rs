//! From a target to a connection: a task for as long as that takes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use muster_model::{DeviceError, ErrorClass};
use muster_worker_core::ConnectFailure;
use routeros_conn::{Config, Connection, Credentials};

use super::cause::unsent;
use super::serve::Session;
use super::wire::Wire;
use super::{Handle, Message, Stage, State, Target, Vitals, gone};
use crate::connect;
use crate::devices::{Key, World};
use crate::mailbox::{Mailbox, mailbox};
use crate::pacing::Handshake;
use crate::reach::{self, Way};
use crate::rest::{self, Rest, RestSession};
use crate::stream::Stream;

/// A connection in the making gives its turn to others when nobody has answered after this: who is not there at all
/// should not keep those waiting who are.
const PATIENCE: Duration = Duration::from_secs(1);
/// Before connecting is tried again when the system had no descriptor left.
const EXHAUSTED: Duration = Duration::from_millis(200);

/// Starts a session. It connects at once, or as soon as the world's limits let it.
pub(crate) fn spawn(key: Key, target: Arc<Target>, world: &Arc<World>) -> Handle {
    let (messages, mailbox) = mailbox();
    let vitals = Arc::new(Vitals::new());
    let handle = Handle {
        messages,
        vitals: vitals.clone(),
    };
    let tries = Tries {
        ways: world.reach.ways(key.0, &target).into_iter(),
        failures: Vec::new(),
        way: None,
        handshake: None,
    };
    let life = Life {
        key,
        target,
        world: world.clone(),
        vitals,
        mailbox,
    };
    world.spawn(open(life, Box::new(tries)));
    handle
}

/// What a session has from its first try to connect to its end.
pub(super) struct Life {
    pub(super) key: Key,
    pub(super) target: Arc<Target>,
    pub(super) world: Arc<World>,
    pub(super) vitals: Arc<Vitals>,
    pub(super) mailbox: Mailbox<Message>,
}

/// What is left to be tried, until somebody is logged in.
pub(super) struct Tries {
    ways: std::vec::IntoIter<Way>,
    failures: Vec<(Way, ConnectFailure)>,
    /// The one that is being tried.
    way: Option<Way>,
    /// The place among connections in the making.
    handshake: Option<Handshake>,
}

impl Life {
    pub(super) fn is_ready(&self) -> bool {
        matches!(*self.vitals.state(), State::Ready)
    }

    /// A device is logged in: nothing else has to be tried.
    pub(super) fn logged_in(&self, tries: &Tries) {
        if let Some(way) = tries.way {
            let (device, asked) = (self.key.0, self.target.transport);
            self.world.reach.worked(device, asked, way.transport);
        }
        self.vitals.enter(Stage::Device);
        self.vitals.settle(State::Ready);
    }

    /// A connection is over, or there was none. Before the login another way may be tried.
    pub(super) fn failed(self, failure: ConnectFailure, tries: Option<Box<Tries>>) {
        let Some(mut tries) = tries.filter(|_| !self.is_ready()) else {
            return self.end(&failure);
        };
        tries.handshake = None;
        let goes_on = reach::goes_on(&failure);
        if let Some(way) = tries.way.take() {
            if !goes_on {
                tries.failures.clear();
            }
            tries.failures.push((way, failure));
        }
        let world = self.world.clone();
        match goes_on && tries.ways.len() > 0 {
            true => world.spawn(open(self, tries)),
            false => {
                world.reach.failed(self.key.0, self.target.transport);
                self.end(&reach::all(tries.failures));
            }
        }
    }

    /// Nobody is served any more.
    fn end(mut self, failure: &ConnectFailure) {
        self.mailbox.close();
        self.vitals.settle(State::Closed(failure.clone()));
        self.world.ended(self.key, &self.vitals);
        while let Some(message) = self.mailbox.try_recv() {
            if let Message::Run(_, command) = message {
                command.answer(unsent(failure.error.clone()));
            }
        }
    }
}

impl Drop for Life {
    /// Tells the end of a session to its handles, even when nobody else does.
    fn drop(&mut self) {
        if !matches!(*self.vitals.state(), State::Closed(_)) {
            self.vitals.settle(State::Closed(ConnectFailure {
                error: gone(),
                may_pass: true,
            }));
        }
    }
}

/// Tries the next way.
async fn open(mut life: Life, mut tries: Box<Tries>) {
    tries.way = tries.ways.next();
    let failure = match tries.way {
        Some(way) => match connect_for_somebody(&life, way, &mut tries.handshake).await {
            Ok(Opened::Api(stream, login_within, place)) => {
                let wire = match Wire::of(stream) {
                    Ok(wire) => wire,
                    Err(error) => return life.failed(lost(&error), Some(tries)),
                };
                let mut config = Config::new(Credentials::clone(&life.target.credentials));
                // An answer may not be larger in all, so a sentence of it need not be either.
                config.limits.sentence_bytes = life.world.limits.answer_bytes;
                config.login_timeout = login_within;
                let now = Instant::now();
                life.vitals.touch(now);
                let world = life.world.clone();
                let session = Session::new(wire, Connection::new(config, now), life, tries, place, now);
                return world.shards.serve(session, &world);
            }
            Ok(Opened::Rest(session)) => {
                life.logged_in(&tries);
                Box::pin(session.serve(&mut life.mailbox)).await
            }
            Err(Some(failure)) => failure,
            Err(None) => {
                return life.end(&ConnectFailure {
                    error: gone(),
                    may_pass: true,
                });
            }
        },
        None => reach::all(Vec::new()),
    };
    life.failed(failure, Some(tries));
}

/// The runtime would not part with a socket, or nobody would watch it.
pub(super) fn lost(error: &std::io::Error) -> ConnectFailure {
    ConnectFailure {
        error: DeviceError::new(
            ErrorClass::Worker,
            format!("the socket cannot be watched: {error}"),
        ),
        may_pass: true,
    }
}

enum Opened {
    /// With the time that is left for the login.
    Api(Stream, Duration, crate::room::Place),
    Rest(Box<RestSession>),
}

/// Connects one way for as long as anybody has a handle on the session; without a failure when nobody has.
async fn connect_for_somebody(
    life: &Life,
    way: Way,
    handshake: &mut Option<Handshake>,
) -> Result<Opened, Option<ConnectFailure>> {
    tokio::select! {
        opened = connect_api_or_rest(life, way, handshake) => opened.map_err(Some),
        () = life.mailbox.abandoned() => Err(None),
    }
}

/// Connects one way; over REST, looks who is there too.
async fn connect_api_or_rest(
    life: &Life,
    way: Way,
    handshake: &mut Option<Handshake>,
) -> Result<Opened, ConnectFailure> {
    let Life {
        key: (device, _),
        target,
        world,
        vitals,
        ..
    } = life;
    vitals.enter(Stage::Room);
    let place = world.enter().await;
    vitals.enter(Stage::Zone);
    world.pacing.connect(&target.care.zone).await;
    vitals.enter(Stage::Login);
    world.pacing.login().await;
    vitals.enter(Stage::Handshake);
    *handshake = Some(world.pacing.handshake().await);
    vitals.enter(Stage::Connecting);
    let began = Instant::now();
    let limits = world.limits;
    let connecting = async {
        let mut connecting = std::pin::pin!(connect_way(*device, target, way, world));
        if let Ok(done) = tokio::time::timeout(PATIENCE, &mut connecting).await {
            return done;
        }
        drop(handshake.take());
        let stream = connecting.await?;
        *handshake = Some(world.pacing.handshake().await);
        Ok(stream)
    };
    let stream = match tokio::time::timeout(limits.connect_timeout, connecting).await {
        Ok(done) => done?,
        Err(_) => {
            let waited = limits.connect_timeout.as_millis();
            let text = format!(
                "{}:{}: no answer to connect in {waited} ms",
                target.address, way.port
            );
            return Err(ConnectFailure {
                error: DeviceError::new(ErrorClass::Timeout, text),
                may_pass: true,
            });
        }
    };
    let left = limits.connect_timeout.saturating_sub(began.elapsed());
    if !way.transport.is_rest() {
        return Ok(Opened::Api(stream, left.max(Duration::from_millis(100)), place));
    }
    let asking = Rest::open(stream, &target.address, way.port, &target.credentials);
    let rest = match tokio::time::timeout(left, asking).await {
        Ok(rest) => rest?,
        Err(_) => return Err(no_login(limits.connect_timeout)),
    };
    *handshake = None;
    vitals.touch(Instant::now());
    vitals.rest.store(true, Ordering::Relaxed);
    let opened = rest::Opened {
        device: *device,
        target: target.clone(),
        way,
        world: world.clone(),
        vitals: vitals.clone(),
        pace: world.pacing.pace(*device),
        _place: place,
    };
    Ok(Opened::Rest(Box::new(RestSession::new(opened, rest))))
}

fn no_login(within: Duration) -> ConnectFailure {
    let text = format!("no answer to the login in {} ms", within.as_millis());
    ConnectFailure {
        error: DeviceError::new(ErrorClass::Timeout, text),
        may_pass: true,
    }
}

/// Connects, and when the system has no descriptor left for it, tells the world and tries again.
pub(crate) async fn connect_way(
    device: u64,
    target: &Target,
    way: Way,
    world: &World,
) -> Result<Stream, ConnectFailure> {
    loop {
        match connect::connect(&target.address, way.port).await {
            Ok(socket) => return world.reach.secure(socket, device, target, way).await,
            Err(connect::Failed::Exhausted(error)) => {
                world.exhausted(&error);
                tokio::time::sleep(EXHAUSTED).await;
            }
            Err(connect::Failed::Device(failure)) => return Err(failure),
        }
    }
}
