//! One connection to one device, without its socket: bytes in, bytes out, and how it ends.
//!
//! ```text
//!            handle_input                 handle_push            handle_timeout
//!                 │                            │                       │
//!   sentence ─→ fault? ─→ login | device ─→ outboxes (this and     late answers
//!                             │              other connections)        │
//!                             └──────────→ out ←──────────────────────┘
//! ```
//!
//! Faults live here, between the wire and the device: the device itself always behaves.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use routeros_wire::{Decoder, Kind, Limits, Sentence, decode_all, encode};

use crate::counters::add;
use crate::device::{Caller, Device, Executed};
use crate::escape::escape;
use crate::fault::Fault;
use crate::firmware::{RestartEnd, Work};
use crate::journal::{CommandResult, JournalEntry, words};
use crate::menu::Verb;
use crate::outbox::Outbox;
use crate::paced::Paced;
use crate::repeat::Repeat;
use crate::reply::Replies;
use crate::rng::Rng;
use crate::route::{Act, NoRoute, Route};
use crate::session::{Login, Session};
use crate::trap::Trap;
use crate::world::{State, World};

/// What a client may make a device hold. Real devices hold less; nobody has published how much.
const LIMITS: Limits = Limits {
    word_bytes: 1 << 20,
    sentence_words: 4096,
    sentence_bytes: 4 << 20,
};

/// Bytes of endless rows that are written at a time.
const STREAM_BYTES: usize = 16 << 10;

/// What random numbers are for: what a connection says. Keys of devices are indices, and fewer than this.
const CONNECTION: u64 = 1 << 40;

/// How a connection ends, after what has been written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With FIN.
    Close,
    /// With RST.
    Reset,
}

/// One connection to a device. Opening counts and dropping closes it.
///
/// After each call the caller sends what was appended to `out` and then looks at [`end`](Self::end).
#[derive(Debug)]
pub struct Conversation {
    world: Arc<World>,
    device: usize,
    peer: Ipv4Addr,
    id: u64,
    session: Session,
    rng: Rng,
    outbox: Arc<Outbox>,
    decoder: Decoder,
    /// The bytes of an unfinished sentence.
    partial: Vec<u8>,
    late: Vec<Late>,
    endless: Vec<Endless>,
    pacing: Vec<Pacing>,
    repeats: Vec<Repeat>,
    working: Vec<Working>,
    /// The device has gone and says nothing more, here.
    hung: bool,
    end: Option<End>,
}

/// An answer that is held back.
#[derive(Debug)]
struct Late {
    due: Duration,
    tag: Option<Vec<u8>>,
    answer: Vec<u8>,
}

/// A command that tells a row at a time.
#[derive(Debug)]
struct Pacing {
    due: Duration,
    tag: Option<Vec<u8>>,
    paced: Paced,
}

/// Something that takes its time, and tells how far it is.
#[derive(Debug)]
struct Working {
    due: Duration,
    every: Duration,
    tag: Option<Vec<u8>>,
    work: Work,
    url: Vec<u8>,
}

/// Between two rows that tell how far something is.
const SHORTEST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(1);

/// A print that does not end.
#[derive(Debug)]
struct Endless {
    tag: Option<Vec<u8>>,
    rows: Vec<u8>,
}

impl Conversation {
    /// Connects `peer` to the device at an index below [`World::len`].
    pub fn open(world: &Arc<World>, device: usize, peer: Ipv4Addr) -> Self {
        world.counters.opened();
        let (id, outbox) = (world.next_session(), Arc::new(Outbox::default()));
        let mut state = world.place(device).lock();
        let nth = state.connect(id, &outbox);
        drop(state);
        Self {
            world: Arc::clone(world),
            device,
            peer,
            id,
            session: Session::new(),
            rng: Rng::keyed(world.seed, &[CONNECTION, device as u64, nth]),
            outbox,
            decoder: Decoder::new(LIMITS),
            partial: Vec::new(),
            late: Vec::new(),
            endless: Vec::new(),
            pacing: Vec::new(),
            repeats: Vec::new(),
            working: Vec::new(),
            hung: false,
            end: None,
        }
    }

    /// Random numbers for cutting what this connection writes.
    pub(crate) fn fragment_rng(&self) -> Rng {
        self.rng.fork()
    }

    /// How the connection ends, once it does. Nothing is handled after that.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// Takes what the client has sent, cut anywhere.
    pub fn handle_input(&mut self, bytes: &[u8], now: Duration, out: &mut Vec<u8>) {
        add(&self.world.counters.bytes_in, bytes.len() as u64);
        // Mostly whole sentences arrive, and then nothing is copied and nothing is kept.
        let mut partial = std::mem::take(&mut self.partial);
        let input = match partial.is_empty() {
            true => bytes,
            false => {
                partial.extend_from_slice(bytes);
                &partial
            }
        };
        let mut decoder = std::mem::take(&mut self.decoder);
        let result = decoder.scan(input);
        for sentence in decoder.sentences(input) {
            if self.end.is_some() {
                break;
            }
            self.handle(sentence, now, out);
        }
        let rest = input[decoder.consume()..].to_vec();
        decoder.shrink();
        self.decoder = decoder;
        self.partial = rest;
        if result.is_err() && self.end.is_none() {
            self.end = Some(End::Close);
        }
        self.handle_push(out);
    }

    /// Takes what other connections, and this one, have caused.
    pub fn handle_push(&mut self, out: &mut Vec<u8>) {
        if self.outbox.drain(out) && self.end.is_none() {
            self.end = Some(End::Close);
        }
    }

    /// Waits until [`handle_push`](Self::handle_push) has something to do.
    pub(crate) async fn pushed(&self) {
        self.outbox.filled().await;
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let rows = self.pacing.iter().map(|pacing| pacing.due);
        let rows = rows.chain(self.repeats.iter().map(|repeat| repeat.due));
        let rows = rows.chain(self.working.iter().map(|working| working.due));
        self.late.iter().map(|late| late.due).chain(rows).min()
    }

    /// Gives the answers that are due.
    pub fn handle_timeout(&mut self, now: Duration, out: &mut Vec<u8>) {
        for late in self.late.extract_if(.., |late| late.due <= now) {
            out.extend_from_slice(&late.answer);
        }
        for pacing in &mut self.pacing {
            if pacing.due <= now {
                let mut replies = Replies::new(out, pacing.tag.as_deref());
                pacing.paced.next(&mut replies);
                pacing.due = now + pacing.paced.interval();
                if pacing.paced.is_over() {
                    replies.done();
                }
            }
        }
        self.pacing.retain(|pacing| !pacing.paced.is_over());
        let (world, device) = (Arc::clone(&self.world), self.device);
        self.repeats.retain_mut(|repeat| {
            repeat.due > now || repeat.tell(&mut world.at(device, now).device, now, out)
        });
        self.working.retain_mut(|working| {
            if working.due > now {
                return true;
            }
            let mut state = world.at(device, now);
            let mut replies = Replies::new(out, working.tag.as_deref());
            let over = state
                .device
                .tell_work(&working.work, &working.url, now, &mut replies);
            working.due = now + working.every;
            if over {
                replies.done();
            }
            !over
        });
    }

    /// Whether the device takes what the client sends. Look again after [`handle_push`](Self::handle_push).
    pub fn is_reading(&self) -> bool {
        let stalled = self.world.fault(self.device) == Some(Fault::NotReading);
        (!stalled || self.session.group().is_none()) && !self.world.place(self.device).lock().device.cut
    }

    /// Whether [`stream`](Self::stream) has rows to give, whenever the socket takes some.
    pub fn is_streaming(&self) -> bool {
        !self.endless.is_empty() && self.end.is_none()
    }

    /// Gives some 16 KiB of rows for each print that does not end.
    pub fn stream(&self, out: &mut Vec<u8>) {
        for endless in &self.endless {
            let times = STREAM_BYTES.div_ceil(endless.rows.len().max(1));
            (0..times).for_each(|_| out.extend_from_slice(&endless.rows));
        }
    }

    fn handle(&mut self, request: Sentence<'_>, now: Duration, out: &mut Vec<u8>) {
        let Some(path) = request.word(0) else { return };
        if self.hung {
            return;
        }
        let world = Arc::clone(&self.world);
        add(&world.counters.sentences, 1);
        let fault = world.fault(self.device);
        let mut state = world.at(self.device, now);
        let route = state.device.route(path);
        world.counters.command(route.ok());
        // Events from before this command come before its answer.
        self.handle_push(out);
        match (fault, route) {
            (Some(Fault::Silent), _) => {}
            (Some(Fault::Drop), _) => self.end = Some(End::Reset),
            (_, Ok(Route::Act(Act::Login))) => self.login(request, &mut state, fault, now, out),
            _ => match self.session.group() {
                Some(group) => {
                    let caller = Caller {
                        session: self.id,
                        group,
                    };
                    self.command(request, route, fault, caller, &mut state, now, out);
                }
                None => self.anonymous(request, route, out),
            },
        }
    }

    fn login(
        &mut self,
        request: Sentence<'_>,
        state: &mut State,
        fault: Option<Fault>,
        now: Duration,
        out: &mut Vec<u8>,
    ) {
        let refuse_all = fault == Some(Fault::WrongPassword) || state.device.firmware.is_coming_up(now);
        let mut replies = Replies::new(out, request.tag());
        let login = self
            .session
            .login(request, &state.device, refuse_all, &mut self.rng, &mut replies);
        let counters = &self.world.counters;
        match login {
            Login::Challenged => {}
            Login::Accepted { user, group } => {
                replies.done();
                add(&counters.logins, 1);
                let caller = Caller {
                    session: self.id,
                    group,
                };
                let events = state.device.attach(caller, &user, self.peer, now);
                state.deliver(&events);
            }
            Login::Refused => add(&counters.failed_logins, 1),
            Login::Fatal => {
                add(&counters.failed_logins, 1);
                self.end = Some(End::Close);
            }
        }
    }

    fn anonymous(&mut self, request: Sentence<'_>, route: Result<Route, NoRoute<'_>>, out: &mut Vec<u8>) {
        let mut replies = Replies::new(out, request.tag());
        if matches!(route, Ok(Route::Act(Act::Quit))) {
            self.quit(&mut replies);
        } else if self.session.not_logged_in(&mut replies) == Login::Fatal {
            self.end = Some(End::Close);
        }
    }

    fn quit(&mut self, replies: &mut Replies<'_>) {
        replies.fatal("session terminated on request");
        self.end = Some(End::Close);
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "what a command is, where it runs and where it answers"
    )]
    fn command(
        &mut self,
        request: Sentence<'_>,
        route: Result<Route, NoRoute<'_>>,
        fault: Option<Fault>,
        caller: Caller,
        state: &mut State,
        now: Duration,
        out: &mut Vec<u8>,
    ) {
        let tag = request.tag();
        let mut answer = Vec::new();
        let writes = route.as_ref().is_ok_and(|route| route.is_mutating());
        let fault = match fault {
            Some(Fault::LostWrite) => writes.then_some(Fault::LostCommand),
            Some(Fault::LostWriteAnswer) => writes.then_some(Fault::LostAnswer),
            fault => fault,
        };
        match fault {
            Some(Fault::Endless) if matches!(route, Ok(Route::Menu(_, Verb::GetAll | Verb::Print))) => {
                self.execute(request, route, caller, state, now, &mut answer);
                self.endless.push(Endless {
                    tag: tag.map(<[u8]>::to_vec),
                    rows: rows_of(&answer, tag),
                });
            }
            Some(Fault::Fatal) => {
                Replies::new(out, tag).fatal("session closed");
                self.end = Some(End::Close);
            }
            Some(Fault::Garbage) => out.extend(garbage(&mut self.rng)),
            Some(Fault::Hang) => {}
            Some(Fault::HugeWord) => out.extend([0xF0, 0xFF, 0xFF, 0xFF, 0xFF]),
            // What ends the connection cannot be answered afterwards.
            Some(Fault::Late)
                if !matches!(
                    route,
                    Ok(Route::Act(
                        Act::BackupLoad
                            | Act::Quit
                            | Act::Reboot
                            | Act::PackageDowngrade
                            | Act::PackageInstall
                    ))
                ) =>
            {
                self.execute(request, route, caller, state, now, &mut answer);
                self.late.push(Late {
                    due: now + self.world.late,
                    tag: tag.map(<[u8]>::to_vec),
                    answer,
                });
            }
            Some(Fault::LostAnswer) => {
                self.execute(request, route, caller, state, now, &mut answer);
                self.end = Some(End::Reset);
            }
            Some(Fault::LostCommand) => self.end = Some(End::Reset),
            Some(Fault::Reset) => {
                self.execute(request, route, caller, state, now, &mut answer);
                out.extend_from_slice(cut(&answer));
                self.end = Some(End::Reset);
            }
            Some(Fault::TwoTraps) => refuse_path(request, &mut Replies::new(out, tag)),
            None if let Some(wait) = self.world.clamp_of(state, now)
                && !matches!(
                    route,
                    Ok(Route::Act(
                        Act::BackupLoad
                            | Act::Quit
                            | Act::Reboot
                            | Act::PackageDowngrade
                            | Act::PackageInstall
                    ))
                ) =>
            {
                self.execute(request, route, caller, state, now, &mut answer);
                self.late.push(Late {
                    due: now + wait,
                    tag: tag.map(<[u8]>::to_vec),
                    answer,
                });
            }
            Some(
                Fault::ByteByByte
                | Fault::Drop
                | Fault::Bricks
                | Fault::Busy
                | Fault::CutDownload
                | Fault::DeviceMode
                | Fault::DiskFull
                | Fault::EmptyBackup
                | Fault::EndlessDownload
                | Fault::NoUpdates
                | Fault::OldVersion
                | Fault::WrongFile
                | Fault::Endless
                | Fault::HalfOpen
                | Fault::Late
                | Fault::LostWrite
                | Fault::LostWriteAnswer
                | Fault::NotReading
                | Fault::Silent
                | Fault::TlsAnonymous
                | Fault::TlsExpired
                | Fault::TlsOther
                | Fault::WrongPassword,
            )
            | None => self.execute(request, route, caller, state, now, out),
        }
    }

    fn execute(
        &mut self,
        request: Sentence<'_>,
        route: Result<Route, NoRoute<'_>>,
        caller: Caller,
        state: &mut State,
        now: Duration,
        out: &mut Vec<u8>,
    ) {
        let mut replies = Replies::new(out, request.tag());
        let route = match route {
            Ok(Route::Act(Act::Cancel)) => return self.cancel(request, state, out),
            Ok(Route::Act(Act::Quit)) => return self.quit(&mut replies),
            Ok(Route::Act(act)) if Paced::is(act) => {
                return self.pace(act, request, &state.device, now, &mut replies);
            }
            Ok(route) => route,
            Err(NoRoute::Command) => {
                replies.trap(&Trap::no_such_command());
                return replies.done();
            }
            Err(NoRoute::Directory(part)) => {
                Trap::no_such_directory(part)
                    .iter()
                    .for_each(|trap| replies.trap(trap));
                return replies.done();
            }
        };
        match Repeat::of(request, route, caller, now) {
            Ok(None) => {}
            Ok(Some(mut repeat)) => {
                if repeat.tell(&mut state.device, now, out) {
                    self.repeats.push(repeat);
                }
                return;
            }
            Err(trap) => {
                replies.trap(&trap);
                return replies.done();
            }
        }
        let identity = route.is_mutating().then(|| escape(&state.device.identity()));
        let before = out.len();
        let executed = state.device.execute(route, request, caller, now, out);
        if let Some(identity) = identity {
            note(&self.world, self.device, request, identity, &executed, now);
        }
        state.deliver(&executed.events);
        if let Some((work, url)) = executed.works {
            let every = (state.device.firmware.lasts(&work) / 4).clamp(SHORTEST, LONGEST);
            self.working.push(Working {
                due: now,
                every,
                tag: request.tag().map(<[u8]>::to_vec),
                work,
                url,
            });
        }
        if executed.reboots {
            state.disconnect_all(now);
            let end = state.device.restart_end();
            if end != RestartEnd::Done {
                out.truncate(before);
            }
            match end {
                RestartEnd::Done | RestartEnd::Close => self.end = Some(End::Close),
                RestartEnd::Reset => self.end = Some(End::Reset),
                RestartEnd::Hang => self.hung = true,
            }
        }
    }

    fn pace(
        &mut self,
        act: Act,
        request: Sentence<'_>,
        device: &Device,
        now: Duration,
        replies: &mut Replies<'_>,
    ) {
        match Paced::of(act, request, device, now) {
            Ok(paced) if paced.is_over() => replies.done(),
            Ok(paced) => self.pacing.push(Pacing {
                due: now + paced.first(),
                tag: request.tag().map(<[u8]>::to_vec),
                paced,
            }),
            Err(trap) => {
                replies.trap(&trap);
                replies.done();
            }
        }
    }

    /// Ends the commands with the tag named, or all of them. First the interrupted ones say so, then the cancel is
    /// done, then they are (facts §1.4). Whether there was anything to cancel makes no difference.
    fn cancel(&mut self, request: Sentence<'_>, state: &mut State, out: &mut Vec<u8>) {
        let wanted = request.get(b"tag");
        let ends = |tag: &Option<Vec<u8>>| wanted.is_none() || tag.as_deref() == wanted;
        let mut ended = state.device.cancel(self.id, wanted);
        ended.extend(
            self.late
                .extract_if(.., |late| ends(&late.tag))
                .map(|late| late.tag),
        );
        ended.extend(
            self.endless
                .extract_if(.., |print| ends(&print.tag))
                .map(|print| print.tag),
        );
        ended.extend(
            self.pacing
                .extract_if(.., |pacing| ends(&pacing.tag))
                .map(|pacing| pacing.tag),
        );
        ended.extend(
            self.repeats
                .extract_if(.., |repeat| ends(&repeat.tag))
                .map(|repeat| repeat.tag),
        );
        ended.extend(
            self.working
                .extract_if(.., |working| ends(&working.tag))
                .map(|working| working.tag),
        );
        for tag in &ended {
            Replies::new(out, tag.as_deref()).trap(&Trap::interrupted());
        }
        Replies::new(out, request.tag()).done();
        for tag in &ended {
            Replies::new(out, tag.as_deref()).done();
        }
    }
}

/// Writes a mutating command that was executed into the journal.
pub(crate) fn note(
    world: &World,
    device: usize,
    request: Sentence<'_>,
    identity: String,
    executed: &Executed,
    now: Duration,
) {
    add(&world.counters.mutating_commands, 1);
    world.journal.append(JournalEntry {
        seq: 0,
        at_ms: now.as_millis() as u64,
        device,
        address: world.address(device),
        identity,
        words: words(request),
        result: match executed.trap {
            None => CommandResult::Done,
            Some(_) => CommandResult::Trap,
        },
        message: executed.trap.as_deref().map(escape),
    });
}

impl Drop for Conversation {
    fn drop(&mut self) {
        let place = self.world.place(self.device);
        match place.fault() {
            Some(Fault::HalfOpen) => place.lock().disconnect_unnoticed(self.id),
            _ => place.lock().disconnect(self.id, self.world.told()),
        }
        self.world.counters.closed();
    }
}

/// What a device says of a path that it does not have.
fn refuse_path(request: Sentence<'_>, replies: &mut Replies<'_>) {
    let path = request.word(0).unwrap_or_default();
    let part = path.split(|&byte| byte == b'/').find(|part| !part.is_empty());
    for trap in Trap::no_such_directory(part.unwrap_or_default()) {
        replies.trap(&trap);
    }
    replies.done();
}

/// The `!re` sentences of an answer, to be repeated; one that is made up when there are none.
fn rows_of(answer: &[u8], tag: Option<&[u8]>) -> Vec<u8> {
    let mut rows = Vec::new();
    let read = decode_all(answer, Limits::default(), |sentence| {
        if sentence.kind() == Kind::Re {
            // Words that were decoded can be encoded.
            let _ = encode::sentence(&mut rows, sentence.words());
        }
    });
    debug_assert_eq!(read, Ok(()), "answers are well formed");
    if rows.is_empty() {
        Replies::new(&mut rows, tag).row(|re| re.attribute(b".id", b"*1"));
    }
    rows
}

/// About half of an answer, ending inside a sentence.
fn cut(answer: &[u8]) -> &[u8] {
    let middle = &answer[..answer.len() / 2];
    let mut decoder = Decoder::new(Limits::default());
    let at_boundary = decoder.scan(middle).is_ok() && !decoder.is_partial(middle);
    // The shortest sentence is `!re` and its end: one byte more is still inside.
    &answer[..(middle.len() + usize::from(at_boundary)).min(answer.len())]
}

/// A word of noise, and then a control byte with more noise where the next word should begin.
fn garbage(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = vec![7];
    bytes.extend(rng.bytes(7));
    bytes.push(0xF8 | rng.below(8) as u8);
    bytes.extend(rng.bytes(24));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_always_inside_a_sentence() {
        for count in 1..8 {
            let mut answer = Vec::new();
            for _ in 0..count {
                encode::sentence(&mut answer, ["!re", "=name=x"]).expect("no empty words");
            }
            let mut decoder = Decoder::new(Limits::default());
            let cut = cut(&answer);
            let whole = decoder.scan(cut).expect("valid so far");
            assert!(decoder.is_partial(cut) && whole < count, "{count}");
        }
        assert!(cut(&[]).is_empty());
    }

    #[test]
    fn garbage_ends_any_decoder() {
        for seed in 0..50 {
            let bytes = garbage(&mut Rng::keyed(seed, &[]));
            let read = decode_all(&bytes, Limits::default(), |_| ());
            assert_eq!(read.map_err(|error| error.kind.class()), Err("control-byte"));
        }
    }
}
