//! One listener for all devices: which device a client reached is the address it connected to.
//!
//! The socket is bound to all addresses but to the loopback device only, so that no other machine reaches it and
//! every address in 127.0.0.0/8 works without being configured.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::connection::{Shell, reset, serve};
use crate::counters::add;
use crate::service::Service;

/// Connections that may wait to be accepted; the kernel's somaxconn may be lower.
const BACKLOG: i32 = 16_384;

/// How long accepting rests when the process has no file descriptors left.
const REST: Duration = Duration::from_millis(10);

/// Opens the listener on a port, any free one for 0.
pub(crate) fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind_device(Some(b"lo"))?;
    // Accepted sockets inherit this, which saves a call for each.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts connections and serves each in a task of its own until `stop`, then ends them all.
pub(crate) async fn accept(shell: Shell, listener: TcpListener, service: Service, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => start(&shell, stream, peer, service, &mut connections),
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection");
                    tokio::time::sleep(REST).await;
                }
            },
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection's task has failed");
                }
            }
        }
    }
    drop(listener);
    connections.shutdown().await;
}

fn start(
    shell: &Shell,
    stream: TcpStream,
    peer: SocketAddr,
    service: Service,
    connections: &mut JoinSet<()>,
) {
    let device = match stream.local_addr() {
        Ok(SocketAddr::V4(local)) => shell.world.index_of(*local.ip()),
        _ => None,
    };
    let peer = match peer {
        SocketAddr::V4(peer) => *peer.ip(),
        SocketAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    };
    match device {
        Some(device) => {
            connections.spawn(serve(shell.clone(), stream, device, peer, service));
        }
        None => {
            add(&shell.world.counters.connections_refused, 1);
            reset(&stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn accepted_sockets_do_not_wait_to_fill_segments() {
        let listener = listen(0).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let (client, accepted) = tokio::join!(
            TcpStream::connect((Ipv4Addr::new(127, 9, 8, 7), port)),
            listener.accept()
        );
        client.expect("any loopback address will do");
        let (stream, _) = accepted.expect("accepted");
        assert!(stream.nodelay().expect("a socket"));
        assert_eq!(
            stream.local_addr().expect("connected").ip(),
            Ipv4Addr::new(127, 9, 8, 7)
        );
    }
}
