//! REST over HTTP and HTTPS: the vendor's page, on the same devices as the API.
//!
//! ```text
//! socket ─▶ http ─▶ resource: words ─▶ device ─▶ replies ─▶ resource: status and JSON ─▶ socket
//! ```
//!
//! Each request is authenticated by itself. What does not end is cut after a minute, in which nothing is sent.

mod http;
mod json;
mod resource;

use std::io;
use std::time::Duration;

use routeros_wire::{Decoder, Limits, Sentence};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::connection::Shell;
use crate::conversation::{End, note};
use crate::counters::add;
use crate::device::Caller;
use crate::fault::Fault;
use crate::firmware::RestartEnd;
use crate::menu::Verb;
use crate::paced::Paced;
use crate::route::{Act, NoRoute, Route};
use crate::trap::Trap;
use http::{Read, Request, Response};
use resource::{Asked, Replies, Shape};

/// Bytes read at a time.
const READ_BYTES: usize = 4 << 10;
/// The first versions with REST on https and on http.
const HTTPS_SINCE: (u16, u16) = (7, 1);
const HTTP_SINCE: (u16, u16) = (7, 9);

/// What is served where there is no REST, and by whatever stands in front of a router.
const PAGE: &[u8] =
    b"<!DOCTYPE html>\n<html><head><title>RouterOS</title></head><body><h1>webfig</h1></body></html>\n";

/// One HTTP connection to one device.
pub(crate) struct Rest {
    shell: Shell,
    device: usize,
    session: u64,
    secure: bool,
}

/// What is done after an answer.
enum Next {
    Answer(Response),
    /// The answer, and nothing after it.
    Last(Response),
    /// Half of an answer, then the connection ends.
    Half(Response),
    End(End),
    /// Nothing, ever.
    Silence,
}

impl Rest {
    pub(crate) fn new(shell: Shell, device: usize, secure: bool) -> Self {
        Self {
            session: shell.world.next_session(),
            shell,
            device,
            secure,
        }
    }

    fn now(&self) -> Duration {
        self.shell.started.elapsed()
    }

    /// Serves requests until the connection ends, and says how it does.
    pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: &mut S) -> io::Result<End> {
        let counters = &self.shell.world.counters;
        let mut held = Vec::new();
        let mut told_to_go_on = false;
        loop {
            let (request, length) = match http::read(&held) {
                Read::Request(request, length) => (request, length),
                Read::Partial { expects } => {
                    if expects && !told_to_go_on {
                        told_to_go_on = true;
                        self.write(stream, b"HTTP/1.1 100 Continue\r\n\r\n").await?;
                    }
                    let mut bytes = [0; READ_BYTES];
                    let count = stream.read(&mut bytes).await?;
                    if count == 0 {
                        return Ok(End::Close);
                    }
                    add(&counters.bytes_in, count as u64);
                    held.extend_from_slice(&bytes[..count]);
                    continue;
                }
                Read::Bad(status) => {
                    let response = resource::error(status, b"");
                    self.write(stream, &response.bytes(false)).await?;
                    return Ok(End::Close);
                }
            };
            held.drain(..length);
            told_to_go_on = false;
            match self.handle(&request).await {
                Next::Answer(response) => {
                    self.write(stream, &response.bytes(request.keeps_alive)).await?;
                    if !request.keeps_alive {
                        return Ok(End::Close);
                    }
                }
                Next::Last(response) => {
                    self.write(stream, &response.bytes(false)).await?;
                    return Ok(End::Close);
                }
                Next::Half(response) => {
                    let bytes = response.bytes(true);
                    self.write(stream, &bytes[..bytes.len() - response.body.len().div_ceil(2)])
                        .await?;
                    return Ok(End::Reset);
                }
                Next::End(end) => return Ok(end),
                Next::Silence => {
                    // Until the client goes.
                    let mut sink = [0; READ_BYTES];
                    while stream.read(&mut sink).await? > 0 {}
                    return Ok(End::Close);
                }
            }
        }
    }

    async fn write<S: AsyncWrite + Unpin>(&self, stream: &mut S, bytes: &[u8]) -> io::Result<()> {
        let world = &self.shell.world;
        add(&world.counters.bytes_out, bytes.len() as u64);
        let step = match world.fault(self.device) {
            Some(Fault::ByteByByte) => 1,
            _ if self.shell.fragment => 7,
            _ => bytes.len().max(1),
        };
        for piece in bytes.chunks(step) {
            stream.write_all(piece).await?;
            stream.flush().await?;
            if step < bytes.len() {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    async fn handle(&self, request: &Request) -> Next {
        let world = &self.shell.world;
        let fault = world.fault(self.device);
        add(&world.counters.sentences, 1);
        if request.path.first().map(|part| &part[..]) != Some(b"rest") {
            return Next::Answer(page(200));
        }
        let since = if self.secure { HTTPS_SINCE } else { HTTP_SINCE };
        if !world
            .place(self.device)
            .lock()
            .device
            .version()
            .since(since.0, since.1)
        {
            return Next::Answer(page(404));
        }
        if let Some(next) = self.booting() {
            return next;
        }
        match fault {
            Some(Fault::Silent | Fault::NotReading) => return Next::Silence,
            Some(Fault::Drop | Fault::LostCommand) => return Next::End(End::Reset),
            _ => {}
        }
        let Some(caller) = self.caller(request, fault) else {
            add(&world.counters.failed_logins, 1);
            return Next::Answer(resource::error(401, b""));
        };
        add(&world.counters.logins, 1);
        match fault {
            Some(Fault::Fatal) => return Next::End(End::Close),
            Some(Fault::Garbage) => return Next::Last(page(200)),
            Some(Fault::HugeWord) => {
                let response = Response::json(200, vec![b' '; 1 << 20]);
                return Next::Half(response);
            }
            Some(Fault::Hang) => return Next::Silence,
            Some(Fault::TwoTraps) => {
                return Next::Answer(resource::error(400, b"no such command prefix"));
            }
            _ => {}
        }
        let asked = match resource::asked(request) {
            Ok(asked) => asked,
            Err(response) => return Next::Answer(response),
        };
        let writes = Route::of(&asked.words[0]).is_ok_and(Route::is_mutating);
        let fault = match fault {
            Some(Fault::LostWrite) if writes => return Next::End(End::Reset),
            Some(Fault::LostWriteAnswer) if writes => Some(Fault::LostAnswer),
            fault => fault,
        };
        if let Some(wait) = world.clamp(self.device, self.now()) {
            tokio::time::sleep(wait).await;
        }
        // Whose password it is, is known of sessions that are logged in.
        let logs_in = asked.words[0] == b"/password";
        if logs_in && let Some((user, _)) = credentials(request) {
            let mut state = world.at(self.device, self.now());
            let peer = world.address(self.device);
            let events = state.device.attach(caller, user, peer, self.now());
            state.deliver(&events);
        }
        let next = self.answer(&asked, caller).await;
        if logs_in {
            let mut state = world.at(self.device, self.now());
            let events = state.device.detach(self.session);
            state.deliver(&events);
        }
        match (fault, next) {
            (Some(Fault::LostAnswer), _) => Next::End(End::Reset),
            (Some(Fault::Reset), Next::Answer(response)) => Next::Half(response),
            (Some(Fault::Late), next) => {
                tokio::time::sleep(world.late).await;
                next
            }
            (Some(Fault::Endless), _) if asked.words[0].ends_with(b"/print") => self.cut().await,
            (_, next) => next,
        }
    }

    /// Who asks. The user of each request has to be let in.
    fn caller(&self, request: &Request, fault: Option<Fault>) -> Option<Caller> {
        let (user, password) = credentials(request).filter(|_| fault != Some(Fault::WrongPassword))?;
        let place = self.shell.world.place(self.device);
        let (secret, group) = place.lock().device.credentials(user)?;
        (secret == password).then_some(Caller {
            session: self.session,
            group,
        })
    }

    /// Nothing for as long as the device lets a command run, then the end of it.
    async fn cut(&self) -> Next {
        tokio::time::sleep(self.shell.world.rest_cut).await;
        Next::Last(resource::error(400, b"Session closed"))
    }

    async fn answer(&self, asked: &Asked, caller: Caller) -> Next {
        let world = &self.shell.world;
        let bytes = resource::sentence(&asked.words);
        let mut decoder = Decoder::new(Limits::default());
        if decoder.scan(&bytes).is_err() {
            return Next::Answer(resource::error(400, b"bad request"));
        }
        let Some(sentence) = decoder.sentences(&bytes).next() else {
            return Next::Answer(resource::error(400, b"bad request"));
        };
        let path = asked.words[0].clone();
        let route = world
            .place(self.device)
            .lock()
            .device
            .route(&path)
            .map_err(|error| match error {
                NoRoute::Command => {
                    let verb = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
                    resource::error(406, &[b"no such command or directory (", verb, b")"].concat())
                }
                NoRoute::Directory(part) => {
                    resource::error(400, &[b"no such command or directory (", part, b")"].concat())
                }
            });
        world.counters.command(route.as_ref().ok().copied());
        let route = match route {
            Ok(route) => route,
            Err(response) => return Next::Answer(response),
        };
        match route {
            Route::Act(Act::Cancel | Act::Login | Act::Quit) => {
                return Next::Answer(resource::error(400, b"no such command"));
            }
            Route::Act(act) if Paced::is(act) => return self.pace(act, sentence).await,
            // Accepted, and nothing is ever told.
            Route::Menu(_, Verb::Listen) => return self.cut().await,
            Route::Menu(_, Verb::Print | Verb::GetAll)
                if ["follow", "follow-only", "interval"]
                    .iter()
                    .any(|name| sentence.get(name.as_bytes()).is_some()) =>
            {
                return self.cut().await;
            }
            _ => {}
        }
        let (replies, restart) = self.execute(route, sentence, caller);
        if !replies.traps.is_empty() {
            return Next::Answer(resource::refusal(&asked.shape, &replies.traps));
        }
        let replies = match &asked.shape {
            Shape::Made { print } => match replies.done.iter().find(|(name, _)| name == b"ret") {
                Some((_, id)) => self.look(print, id, caller),
                None => replies,
            },
            Shape::Changed { print, id } => self.look(print, id, caller),
            _ => replies,
        };
        let response = resource::answer(&asked.shape, &replies);
        match restart {
            None => Next::Answer(response),
            Some(RestartEnd::Done) => Next::Last(response),
            Some(RestartEnd::Close) => Next::End(End::Close),
            Some(RestartEnd::Reset) => Next::End(End::Reset),
            Some(RestartEnd::Hang) => Next::Silence,
        }
    }

    /// What a device says that is restarting or has not come up yet; nothing of one that is up. The first answers after a
    /// restart are refused logins, then answers of which nothing is true (facts §2).
    fn booting(&self) -> Option<Next> {
        let now = self.now();
        let state = self.shell.world.at(self.device, now);
        let firmware = &state.device.firmware;
        match (firmware.is_away(now), firmware.is_coming_up(now)) {
            (true, _) => Some(Next::End(End::Reset)),
            (_, false) => None,
            (_, true) if self.shell.world.next_session().is_multiple_of(2) => {
                Some(Next::Answer(resource::error(401, b"")))
            }
            (_, true) => Some(Next::Answer(Response::json(200, b"{}".to_vec()))),
        }
    }

    /// The item with this id, or of this name.
    fn look(&self, print: &[u8], id: &[u8], caller: Caller) -> Replies {
        let bytes = resource::sentence(&[print.to_vec(), [b"=.id=", id].concat()]);
        let mut decoder = Decoder::new(Limits::default());
        let sentence = match decoder.scan(&bytes) {
            Ok(_) => decoder.sentences(&bytes).next(),
            Err(_) => None,
        };
        match (Route::of(print), sentence) {
            (Ok(route), Some(sentence)) => self.execute(route, sentence, caller).0,
            _ => Replies::default(),
        }
    }

    /// Carries a request out, and says how the connection ends when the device restarts by it.
    fn execute(&self, route: Route, request: Sentence<'_>, caller: Caller) -> (Replies, Option<RestartEnd>) {
        let world = &self.shell.world;
        let now = self.now();
        let mut out = Vec::new();
        let mut state = world.at(self.device, now);
        let identity = route
            .is_mutating()
            .then(|| crate::escape::escape(&state.device.identity()));
        let executed = state.device.execute(route, request, caller, now, &mut out);
        if let Some(identity) = identity {
            note(world, self.device, request, identity, &executed, now);
        }
        state.deliver(&executed.events);
        if let Some((work, url)) = &executed.works {
            // Nobody waits for it here: the one answer tells how it ends.
            let ends = now + state.device.firmware.lasts(work);
            let mut replies = crate::reply::Replies::new(&mut out, None);
            state.device.tell_work(work, url, ends, &mut replies);
            replies.done();
        }
        let restart = executed.reboots.then(|| {
            state.disconnect_all(now);
            state.device.restart_end()
        });
        (Replies::of(&out), restart)
    }

    /// All rows of a bounded command at its end; an unbounded one, or one that is too long, is cut.
    async fn pace(&self, act: Act, request: Sentence<'_>) -> Next {
        let now = self.now();
        let world = &self.shell.world;
        let paced = Paced::of(act, request, &world.at(self.device, now).device, now);
        let mut paced = match paced {
            Ok(paced) => paced,
            Err(trap) => return Next::Answer(refused(&trap)),
        };
        let lasts = paced.lasts().filter(|lasts| *lasts < world.rest_cut);
        let Some(lasts) = lasts else {
            return self.cut().await;
        };
        tokio::time::sleep(lasts).await;
        let mut out = Vec::new();
        while paced.next(&mut crate::reply::Replies::new(&mut out, None)) {}
        Next::Answer(resource::answer(&Shape::Whatever, &Replies::of(&out)))
    }
}

/// The user and the password of a request.
fn credentials(request: &Request) -> Option<(&[u8], &[u8])> {
    let both = request.authorization.as_deref()?;
    let colon = both.iter().position(|byte| *byte == b':')?;
    Some((&both[..colon], &both[colon + 1..]))
}

fn refused(trap: &Trap) -> Response {
    resource::error(400, &trap.message)
}

fn page(status: u16) -> Response {
    Response {
        status,
        content_type: "text/html",
        body: PAGE.to_vec(),
    }
}

/// Serves one connection, whatever it is carried by.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    shell: Shell,
    mut stream: S,
    device: usize,
    secure: bool,
) -> (S, End) {
    let rest = Rest::new(shell, device, secure);
    // An error is the client's leaving in one of many ways, and needs no answer.
    let end = rest.serve(&mut stream).await.unwrap_or(End::Close);
    (stream, end)
}
