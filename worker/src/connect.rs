//! From an address to a socket.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use muster_model::quiet::USER_TIMEOUT;
use muster_model::{DeviceError, ErrorClass};
use muster_worker_core::ConnectFailure;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream, lookup_host};

/// An idle connection is probed by the kernel after this; NAT tables forget sooner than routers do.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Why there is no socket.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The device, or the way there.
    Device(ConnectFailure),
    /// The system has no descriptor left.
    Exhausted(io::Error),
}

impl From<ConnectFailure> for Failed {
    fn from(failure: ConnectFailure) -> Self {
        Self::Device(failure)
    }
}

/// Connects to the first address of the host that answers.
pub(crate) async fn connect(address: &str, port: u16) -> Result<TcpStream, Failed> {
    let resolved = lookup_host((address, port))
        .await
        .map_err(|error| ConnectFailure {
            error: DeviceError::new(
                ErrorClass::Address,
                format!("{address:?} does not resolve: {error}"),
            ),
            may_pass: true,
        })?;
    let mut last = None;
    for to in resolved {
        match connect_to(to).await {
            Ok(stream) => return Ok(stream),
            Err(error) if is_exhausted(&error) => return Err(Failed::Exhausted(error)),
            Err(error) => last = Some(failure(to, &error)),
        }
    }
    let none = || ConnectFailure {
        error: DeviceError::new(ErrorClass::Address, format!("{address:?} has no address")),
        may_pass: true,
    };
    Err(last.unwrap_or_else(none).into())
}

async fn connect_to(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    let options = SockRef::from(&stream);
    // When we drop a connection, nothing of it may arrive later.
    options.set_linger(Some(Duration::ZERO))?;
    options.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    options.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
    Ok(stream)
}

/// No descriptors left for this process, or for the system.
fn is_exhausted(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    matches!(code, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE))
}

fn failure(to: SocketAddr, error: &io::Error) -> ConnectFailure {
    let class = match error.kind() {
        io::ErrorKind::TimedOut => ErrorClass::Timeout,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => ErrorClass::Reset,
        // Refused, no route, network down: nobody is there now.
        _ => ErrorClass::Refused,
    };
    let text = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    };
    ConnectFailure {
        error: DeviceError::new(class, format!("{to}: {text}")),
        may_pass: true,
    }
}
