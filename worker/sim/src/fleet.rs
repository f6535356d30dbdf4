//! A running fleet.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::config::{FleetConfig, SimError};
use crate::connection::Shell;
use crate::counters::Counters;
use crate::fault::Fault;
use crate::journal::JournalEntry;
use crate::service::Service;
use crate::world::World;
use crate::{control, listener};

/// A fleet that answers on its addresses until it is stopped or dropped.
#[derive(Debug)]
pub struct Fleet {
    world: Arc<World>,
    ports: [Option<u16>; Service::ALL.len()],
    control: Option<SocketAddr>,
    tasks: Vec<JoinHandle<()>>,
    /// Ends the tasks, also when the fleet is dropped.
    stop: DropGuard,
}

impl Fleet {
    /// Starts a fleet on the current tokio runtime. Raises the process's soft limit of file descriptors to the
    /// hard one, since each connection takes one.
    pub async fn start(config: FleetConfig) -> Result<Self, SimError> {
        let world = World::new(&config)?;
        if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
            tracing::warn!(%error, "failed to raise the limit of file descriptors");
        }
        let stop = CancellationToken::new();
        let mut tasks = Vec::new();

        let shell = Shell {
            world: Arc::clone(&world),
            fragment: config.fragment,
            started: Instant::now(),
        };
        let wanted = [
            Some(config.port),
            config.tls_port,
            config.rest_port,
            config.https_port,
        ];
        let mut ports = [None; Service::ALL.len()];
        let mut listeners = Vec::new();
        for ((service, wanted), bound_to) in Service::ALL.into_iter().zip(wanted).zip(&mut ports) {
            let Some(port) = wanted else { continue };
            let (devices, address) = bound((Ipv4Addr::UNSPECIFIED, port).into(), listener::listen(port))?;
            *bound_to = Some(address.port());
            listeners.push((service, devices));
        }

        let mut control = None;
        if let Some(address) = config.control {
            let (listener, address) = bound(address, TcpListener::bind(address).await)?;
            control = Some(address);
            tasks.push(tokio::spawn(serve_control(
                Arc::clone(&world),
                listener,
                stop.clone(),
            )));
        }
        // Only now that every port is had: what is spawned keeps its port when the rest fails.
        for (service, devices) in listeners {
            let accept = listener::accept(shell.clone(), devices, service, stop.clone());
            tasks.push(tokio::spawn(accept));
        }
        Ok(Self {
            world,
            ports,
            control,
            tasks,
            stop: stop.drop_guard(),
        })
    }

    /// The API port of every device.
    pub fn port(&self) -> u16 {
        self.ports[Service::Api as usize].unwrap_or_default()
    }

    /// The port of the API over TLS, if it is served.
    pub fn tls_port(&self) -> Option<u16> {
        self.ports[Service::ApiSsl as usize]
    }

    /// The port of REST over HTTP, if it is served.
    pub fn rest_port(&self) -> Option<u16> {
        self.ports[Service::Www as usize]
    }

    /// The port of REST over HTTPS, if it is served.
    pub fn https_port(&self) -> Option<u16> {
        self.ports[Service::WwwSsl as usize]
    }

    /// The certificate of a device and its public key, DER.
    pub fn certificate(&self, index: usize) -> Option<(Vec<u8>, Vec<u8>)> {
        let identity = self.world.certificate(index).ok()?;
        Some((identity.certificate.to_vec(), identity.public_key))
    }

    /// Where the control API listens.
    pub fn control(&self) -> Option<SocketAddr> {
        self.control
    }

    /// The address of a device.
    pub fn address(&self, index: usize) -> Ipv4Addr {
        self.world.address(index)
    }

    /// The name that a device has now, `sim-00001` for index 0 until it is changed.
    pub fn identity(&self, index: usize) -> String {
        self.world.identity(index)
    }

    /// Number of devices.
    #[expect(clippy::len_without_is_empty, reason = "a fleet has at least one device")]
    pub fn len(&self) -> usize {
        self.world.len()
    }

    /// What a device does wrong now.
    pub fn fault(&self, index: usize) -> Option<Fault> {
        self.world.fault(index)
    }

    /// Sets what a device does wrong from the next connection and the next command on.
    pub fn set_fault(&self, index: usize, fault: Option<Fault>) {
        self.world.set_fault(index, fault);
    }

    /// Every mutating command that a device executed, in order.
    pub fn journal(&self) -> Vec<JournalEntry> {
        self.world.journal()
    }

    /// The counters now.
    pub fn counters(&self) -> Counters {
        self.world.counters()
    }

    /// The devices themselves, which outlive the fleet as long as somebody holds them.
    pub fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// Ends every connection and frees the ports.
    pub async fn stop(self) {
        drop(self.stop);
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task of the fleet has failed");
            }
        }
    }
}

fn bound(
    address: SocketAddr,
    listener: std::io::Result<TcpListener>,
) -> Result<(TcpListener, SocketAddr), SimError> {
    let with_address = listener.and_then(|listener| {
        let local = listener.local_addr()?;
        Ok((listener, local))
    });
    with_address.map_err(|source| SimError::Listen { address, source })
}

async fn serve_control(world: Arc<World>, listener: TcpListener, stop: CancellationToken) {
    // Dropping the server ends its connections too; nobody waits for a keep-alive.
    let server = axum::serve(listener, control::router(world)).into_future();
    if let Some(Err(error)) = stop.run_until_cancelled(server).await {
        tracing::error!(%error, "the control API has failed");
    }
}
