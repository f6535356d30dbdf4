//! The socket of one connection: a loop around a [`Conversation`].

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::conversation::{Conversation, End};
use crate::counters::add;
use crate::cut::Client;
use crate::fault::Fault;
use crate::rng::Rng;
use crate::service::{Admission, Service};
use crate::world::World;
use crate::{rest, tls};

/// Bytes read at a time, into a buffer on the stack, so that an idle connection owns none.
const READ_BYTES: usize = 8 << 10;

/// The same over TLS, where they are held with the connection.
const TLS_READ_BYTES: usize = 1 << 10;

/// The largest fragment, in bytes, of an answer that is written in fragments.
const FRAGMENT_BYTES: u64 = 48;

/// What a connection has in common with the others of its fleet.
#[derive(Clone, Debug)]
pub(crate) struct Shell {
    pub(crate) world: Arc<World>,
    pub(crate) fragment: bool,
    pub(crate) started: Instant,
}

/// A connection's place among those that a service of a device has.
struct Seat<'a> {
    world: &'a World,
    device: usize,
    service: Service,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let place = self.world.place(self.device);
        match place.fault() {
            Some(Fault::HalfOpen) => place.lock().leave_unnoticed(self.service),
            _ => place.lock().leave(self.service),
        }
    }
}

/// Serves one connection until it ends.
pub(crate) async fn serve(shell: Shell, stream: TcpStream, device: usize, peer: Ipv4Addr, service: Service) {
    let world = Arc::clone(&shell.world);
    let now = shell.started.elapsed();
    let (admission, cut) = {
        let mut state = world.at(device, now);
        let ports = [stream.local_addr().map_or(0, |local| local.port()), 8728];
        let client = Client {
            peer,
            ports,
            established: false,
        };
        match state.device.cuts(client) {
            // Nobody listens there.
            _ if state.device.firmware.is_away(now) => (Admission::Refused, false),
            true => (Admission::Admitted, true),
            false => (state.admit(service, peer), false),
        }
    };
    if cut {
        // Nothing that the client sends arrives.
        let (mut stream, mut sink) = (stream, [0; 256]);
        while stream.read(&mut sink).await.is_ok_and(|count| count > 0) {}
        return;
    }
    match admission {
        Admission::Admitted => {}
        Admission::Closed => return,
        Admission::Refused => return reset(&stream),
    }
    let _seat = Seat {
        world: &world,
        device,
        service,
    };
    if service != Service::Api && world.fault(device) == Some(Fault::Drop) {
        return reset(&stream);
    }
    match service {
        Service::Api => serve_api(shell, stream, device, peer).await,
        Service::ApiSsl => {
            let Some(mut tls) = secure(&world, stream, device).await else {
                return;
            };
            let conversation = Conversation::open(&world, device, peer);
            if let Ok(End::Reset) = converse(&shell, &mut tls, conversation, device).await {
                reset(tls.get_ref().0);
            }
        }
        Service::Www => {
            let (stream, end) = rest::serve(shell, stream, device, false).await;
            if end == End::Reset {
                reset(&stream);
            }
        }
        Service::WwwSsl => {
            let Some(tls) = secure(&world, stream, device).await else {
                return;
            };
            let (tls, end) = rest::serve(shell, tls, device, true).await;
            if end == End::Reset {
                reset(tls.get_ref().0);
            }
        }
    }
}

/// Shakes hands, with the certificate that the device presents. `None` when that came to nothing.
async fn secure(world: &World, mut stream: TcpStream, device: usize) -> Option<TlsStream<TcpStream>> {
    match world.fault(device) {
        Some(Fault::Silent) => {
            let mut sink = [0; 256];
            while stream.read(&mut sink).await.is_ok_and(|count| count > 0) {}
            return None;
        }
        Some(Fault::TlsAnonymous) => {
            let mut hello = [0; 2048];
            let _ = stream.read(&mut hello).await;
            let _ = stream.write_all(&tls::NO_SUITE).await;
            return None;
        }
        _ => {}
    }
    let config = world.certificate(device).map_err(|error| error.to_string());
    let config = config.and_then(|identity| identity.server().map_err(|error| error.to_string()));
    match config {
        Ok(config) => TlsAcceptor::from(config).accept(stream).await.ok(),
        Err(error) => {
            tracing::error!(%error, device, "a certificate cannot be made");
            None
        }
    }
}

/// Carries a conversation over TLS.
async fn converse(
    shell: &Shell,
    stream: &mut TlsStream<TcpStream>,
    mut conversation: Conversation,
    device: usize,
) -> io::Result<End> {
    let mut out = Vec::new();
    loop {
        if !out.is_empty() {
            let bytes = std::mem::take(&mut out);
            add(&shell.world.counters.bytes_out, bytes.len() as u64);
            let step = match shell.world.fault(device) {
                Some(Fault::ByteByByte) => 1,
                _ if shell.fragment => FRAGMENT_BYTES as usize / 2,
                _ => bytes.len(),
            };
            for piece in bytes.chunks(step) {
                stream.write_all(piece).await?;
                stream.flush().await?;
            }
        }
        if let Some(end) = conversation.end() {
            return Ok(end);
        }
        let due = conversation.poll_timeout();
        let mut bytes = [0; TLS_READ_BYTES];
        tokio::select! {
            read = stream.read(&mut bytes), if conversation.is_reading() => match read? {
                0 => return Ok(End::Close),
                count => conversation.handle_input(&bytes[..count], shell.started.elapsed(), &mut out),
            },
            () = conversation.pushed() => conversation.handle_push(&mut out),
            () = until(shell.started, due) => conversation.handle_timeout(shell.started.elapsed(), &mut out),
            () = tokio::task::yield_now(), if conversation.is_streaming() => conversation.stream(&mut out),
        }
    }
}

async fn serve_api(shell: Shell, stream: TcpStream, device: usize, peer: Ipv4Addr) {
    let conversation = Conversation::open(&shell.world, device, peer);
    let mut connection = Connection {
        rng: conversation.fragment_rng(),
        conversation,
        out: Vec::new(),
        device,
        stream,
        shell,
    };
    let end = match connection.shell.world.fault(device) {
        Some(Fault::Drop) => Ok(End::Reset),
        _ => connection.run().await,
    };
    // An error is the client's leaving in one of many ways, and needs no answer.
    if let Ok(End::Reset) = end {
        reset(&connection.stream);
    }
}

/// Makes the closing of a socket an RST.
pub(crate) fn reset(stream: &TcpStream) {
    if let Err(error) = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "failed to arm a reset");
    }
}

struct Connection {
    shell: Shell,
    device: usize,
    stream: TcpStream,
    conversation: Conversation,
    out: Vec<u8>,
    /// For the sizes of pieces.
    rng: Rng,
}

impl Connection {
    async fn run(&mut self) -> io::Result<End> {
        loop {
            self.flush().await?;
            if let Some(end) = self.conversation.end() {
                return Ok(end);
            }
            let due = self.conversation.poll_timeout();
            tokio::select! {
                ready = self.stream.readable(), if self.conversation.is_reading() => {
                    ready?;
                    // The fault may have come since.
                    if self.conversation.is_reading() && !self.read()? {
                        return Ok(End::Close);
                    }
                }
                () = self.conversation.pushed() => self.conversation.handle_push(&mut self.out),
                () = until(self.shell.started, due) => {
                    self.conversation.handle_timeout(self.shell.started.elapsed(), &mut self.out);
                }
                ready = self.stream.writable(), if self.conversation.is_streaming() => {
                    ready?;
                    self.conversation.stream(&mut self.out);
                }
            }
        }
    }

    /// Handles what has arrived. Returns false when the client has closed.
    fn read(&mut self) -> io::Result<bool> {
        let mut bytes = [0; READ_BYTES];
        match self.stream.try_read(&mut bytes) {
            Ok(0) => return Ok(false),
            Ok(count) => {
                let now = self.shell.started.elapsed();
                self.conversation
                    .handle_input(&bytes[..count], now, &mut self.out);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Writes what there is: at once, or in the pieces that the fault or the fleet asks for.
    async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let out = std::mem::take(&mut self.out);
        // Counted first: whoever has read an answer finds it in the counters.
        add(&self.shell.world.counters.bytes_out, out.len() as u64);
        if self.shell.world.fault(self.device) == Some(Fault::ByteByByte) {
            self.write_pieces(&out, |_| 1).await?;
        } else if self.shell.fragment {
            self.write_pieces(&out, |rng| rng.between(1, FRAGMENT_BYTES) as usize)
                .await?;
        } else {
            self.stream.write_all(&out).await?;
        }
        Ok(())
    }

    async fn write_pieces(&mut self, mut rest: &[u8], size: impl Fn(&mut Rng) -> usize) -> io::Result<()> {
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(size(&mut self.rng).min(rest.len()));
            self.stream.write_all(piece).await?;
            rest = after;
            // The client gets a chance to see a piece by itself.
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

/// Waits until a time since `started`; for ever without one.
async fn until(started: Instant, due: Option<Duration>) {
    match due {
        Some(due) => tokio::time::sleep_until(started + due).await,
        None => std::future::pending().await,
    }
}
