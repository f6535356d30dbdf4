//! Clients that ask [echoing devices](crate::echo) again and again, each in a process of its own, so that memory and
//! processor time are one client's.
//!
//! A client is started with a port, a number of connections and how many commands it has under way on each. It says
//! `READY` when all are logged in. For each line on its standard input, a number of milliseconds, it runs so long and
//! says how many commands were answered, in how many nanoseconds, and how many nanoseconds of processor time that took.
//! Other people's clients are programs with the same manners (`benches/peers`).

use std::cell::Cell;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use mio::{Events, Interest, Poll, Token};
use muster_sim::FleetConfig;
use muster_worker::DeviceLimits;
use muster_worker::direct::{Direct, Session};
use routeros_wire::{Decoder, Kind, encode};
use rustix::time::{ClockId, clock_gettime};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use crate::echo::{self, REQUEST};
use crate::process::used;

/// The hidden command: `scoreboard __drive CLIENT PORT CONNECTIONS DEPTH`.
pub const COMMAND: &str = "__drive";

/// A client in a process of its own; ends when dropped.
#[derive(Debug)]
pub struct Driver {
    child: Child,
    orders: ChildStdin,
    told: BufReader<ChildStdout>,
    /// Bytes of memory that its connections take, without the kernel's part: what it had more when they were logged
    /// in than before.
    pub memory: u64,
}

/// What a run came to.
#[derive(Clone, Copy, Debug)]
pub struct Ran {
    /// Commands answered in a second.
    pub rate: f64,
    /// Processor time for a command, microseconds.
    pub cpu: f64,
}

impl Driver {
    /// Starts a client of ours: `bare` or `worker`.
    pub fn start(
        program: &Path,
        client: &str,
        port: u16,
        connections: usize,
        depth: usize,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.arg(COMMAND).arg(client);
        Self::spawn(command, port, connections, depth)
    }

    /// Starts any client, given its program and what comes before the numbers.
    pub fn spawn(mut command: Command, port: u16, connections: usize, depth: usize) -> anyhow::Result<Self> {
        command
            .args([port as usize, connections, depth].map(|number| number.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let (Some(orders), Some(told)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("a client without standard input and output");
        };
        // From here on the child ends with this value.
        let mut driver = Self {
            child,
            orders,
            told: BufReader::new(told),
            memory: 0,
        };
        let line = driver.line()?;
        let memory = line.strip_prefix("READY").map(str::trim);
        let memory = memory.with_context(|| format!("a client said {line:?} and not that it is ready"))?;
        driver.memory = memory.parse().unwrap_or(0);
        Ok(driver)
    }

    /// Has it run for a while.
    pub fn run(&mut self, time: Duration) -> anyhow::Result<Ran> {
        writeln!(self.orders, "{}", time.as_millis())?;
        self.orders.flush()?;
        let line = self.line()?;
        let numbers = line.split_whitespace().map(str::parse::<f64>);
        let numbers = numbers
            .collect::<Result<Vec<_>, _>>()
            .with_context(|| format!("a client said {line:?}"))?;
        let [commands, wall, cpu] = numbers[..] else {
            bail!("a client said {line:?}");
        };
        ensure!(
            commands > 0.0 && wall > 0.0,
            "a client's commands were not answered"
        );
        Ok(Ran {
            rate: commands * 1e9 / wall,
            cpu: cpu / 1e3 / commands,
        })
    }

    /// Has it run for a while, and returns the bytes of memory that its connections take then.
    pub fn memory_after(&mut self, time: Duration) -> anyhow::Result<u64> {
        let before = used(self.child.id())?.memory;
        self.run(time)?;
        Ok(self.memory + used(self.child.id())?.memory.saturating_sub(before))
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        ensure!(self.told.read_line(&mut line)? > 0, "a client ended early");
        Ok(line.trim().to_owned())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Nothing to be done about a child that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the child process does.
pub fn serve(mut words: impl Iterator<Item = String>) -> anyhow::Result<()> {
    rlimit::increase_nofile_limit(u64::MAX)?;
    let client = words.next().context("which client?")?;
    let numbers = words.map(|word| word.parse::<usize>());
    let [port, connections, depth] = numbers.collect::<Result<Vec<_>, _>>()?[..] else {
        bail!("a port, connections and a depth are needed");
    };
    match client.as_str() {
        "bare" => bare(port as u16, connections, depth),
        "tokio-rustls" => tokio_rustls(port as u16, connections),
        "worker" => worker(port as u16, connections, depth, false),
        "worker-tls" => worker(port as u16, connections, depth, true),
        other => bail!("there is no client {other:?}"),
    }
}

/// Processor time of this process.
fn cpu() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// Memory this process holds.
fn memory() -> anyhow::Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages = statm
        .split_whitespace()
        .nth(1)
        .context("no pages in /proc/self/statm")?;
    Ok(pages.parse::<u64>()? * rustix::param::page_size() as u64)
}

fn ready(before: u64) -> anyhow::Result<()> {
    writeln!(io::stdout(), "READY {}", memory()?.saturating_sub(before))?;
    Ok(())
}

/// The next order, a time; nothing when the parent has gone.
fn order() -> anyhow::Result<Option<Duration>> {
    let mut line = String::new();
    if io::stdin().read_line(&mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(Duration::from_millis(line.trim().parse()?)))
}

fn tell(commands: u64, began: Instant, cpu_before: u64) -> anyhow::Result<()> {
    let (wall, cpu) = (began.elapsed().as_nanos(), cpu() - cpu_before);
    writeln!(io::stdout(), "{commands} {wall} {cpu}")?;
    Ok(())
}

/// The least that a client can do: one thread, one epoll, a buffer for all. It knows no tags, no deadlines and no
/// limits; it finds the ends of answers with the same decoder.
fn bare(port: u16, connections: usize, depth: usize) -> anyhow::Result<()> {
    let before = memory()?;
    let mut poll = Poll::new()?;
    let mut all = Vec::with_capacity(connections);
    for at in 0..connections {
        let mut stream = TcpStream::connect(echo::address(at, port))?;
        stream.set_nodelay(true)?;
        let mut login = Vec::new();
        encode::sentence(&mut login, ["/login", "=name=admin", "=password="])?;
        stream.write_all(&login)?;
        ensure!(stream.read(&mut [0; 64])? > 0, "no answer to a login");
        stream.set_nonblocking(true)?;
        let mut stream = mio::net::TcpStream::from_std(stream);
        poll.registry()
            .register(&mut stream, Token(at), Interest::READABLE)?;
        all.push(Bare {
            stream,
            open: 0,
            left: Vec::new(),
        });
    }
    ready(before)?;
    let mut request = Vec::new();
    for _ in 0..depth {
        encode::sentence(&mut request, REQUEST.into_iter().chain([".tag=7"]))?;
    }
    let (mut decoder, mut buffer, mut events) =
        (Decoder::default(), vec![0; 64 << 10], Events::with_capacity(1024));
    while let Some(time) = order()? {
        let (began, cpu_before, mut commands) = (Instant::now(), cpu(), 0);
        let mut working = connections;
        for connection in &mut all {
            connection.ask(&request, depth)?;
        }
        while working > 0 {
            poll.poll(&mut events, None)?;
            let going_on = began.elapsed() < time;
            for event in &events {
                let connection = &mut all[event.token().0];
                commands += connection.read(&mut decoder, &mut buffer)?;
                if connection.open == 0 {
                    match going_on {
                        true => connection.ask(&request, depth)?,
                        false => working -= 1,
                    }
                }
            }
        }
        tell(commands, began, cpu_before)?;
    }
    Ok(())
}

struct Bare {
    stream: mio::net::TcpStream,
    open: usize,
    left: Vec<u8>,
}

impl Bare {
    fn ask(&mut self, request: &[u8], depth: usize) -> anyhow::Result<()> {
        self.open = depth;
        // Less than a socket's buffer, which is empty.
        Ok(self.stream.write_all(request)?)
    }

    /// Reads what has arrived and counts answers.
    fn read(&mut self, decoder: &mut Decoder, buffer: &mut [u8]) -> anyhow::Result<u64> {
        let count = match self.stream.read(buffer) {
            Ok(0) => bail!("the server hung up"),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        let whole = self.left.is_empty();
        if !whole {
            self.left.extend_from_slice(&buffer[..count]);
        }
        let input = if whole { &buffer[..count] } else { &self.left };
        decoder.scan(input)?;
        let done = decoder
            .sentences(input)
            .filter(|sentence| sentence.kind() == Kind::Done);
        let done = done.count();
        let used = decoder.consume();
        self.left = input[used..].to_vec();
        self.open -= done.min(self.open);
        Ok(done as u64)
    }
}

/// A worker's sessions with everything they need: login, tags, deadlines, limits, turns. A task asks on each, as an
/// execution does.
fn worker(port: u16, connections: usize, depth: usize, tls: bool) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // Limits are kept, and never reached.
        let limits = DeviceLimits {
            commands_per_second: 1_000_000,
            command_burst: 1_000_000,
            connects_per_second: 1_000_000,
            in_flight: depth,
            ..DeviceLimits::default()
        };
        let before = memory()?;
        let direct = Direct::new(limits, connections);
        let mut sessions = Vec::with_capacity(connections);
        for at in 0..connections {
            let session = match tls {
                false => {
                    direct
                        .connect(at as u64, echo::address(at, port), "admin", "")
                        .await
                }
                true => {
                    direct
                        .connect_tls(at as u64, sim_address(at, port), "admin", "")
                        .await
                }
            };
            sessions.push(session.map_err(anyhow::Error::msg)?);
        }
        ready(before)?;
        let tasks = tokio::task::LocalSet::new();
        let sessions = sessions.into_iter().map(Rc::new).collect::<Vec<_>>();
        while let Some(time) = order()? {
            let (began, cpu_before) = (Instant::now(), cpu());
            let (commands, until) = (Rc::new(Cell::new(0)), began + time);
            let asking = sessions
                .iter()
                .map(|session| tasks.spawn_local(ask(session.clone(), depth, commands.clone(), until)));
            let asking = asking.collect::<Vec<_>>();
            tasks
                .run_until(async {
                    for asking in asking {
                        asking.await??;
                    }
                    anyhow::Ok(())
                })
                .await?;
            tell(commands.get(), began, cpu_before)?;
        }
        Ok(())
    })
}

/// A device of a simulated fleet.
fn sim_address(at: usize, port: u16) -> SocketAddr {
    let base = u32::from(FleetConfig::default().base);
    (Ipv4Addr::from(base + at as u32), port).into()
}

/// TLS streams as tokio-rustls has them, logged in and idle: what TLS costs without a driver of one's own.
fn tokio_rustls(port: u16, connections: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        let before = memory()?;
        let mut streams = Vec::with_capacity(connections);
        for at in 0..connections {
            let address = sim_address(at, port);
            let socket = tokio::net::TcpStream::connect(address).await?;
            let mut stream = connector.connect(address.ip().into(), socket).await?;
            let mut login = Vec::new();
            encode::sentence(&mut login, ["/login", "=name=admin", "=password="])?;
            stream.write_all(&login).await?;
            ensure!(stream.read(&mut [0; 64]).await? > 0, "no answer to a login");
            streams.push(stream);
        }
        ready(before)?;
        ensure!(order()?.is_none(), "this client is only looked at");
        drop(streams);
        Ok(())
    })
}

/// Takes every certificate, and verifies that whoever presents it has its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

async fn ask(
    session: Rc<Session>,
    depth: usize,
    commands: Rc<Cell<u64>>,
    until: Instant,
) -> anyhow::Result<()> {
    let mut answers = Vec::with_capacity(depth);
    while Instant::now() < until {
        answers.extend((0..depth).map(|_| session.ask(&REQUEST, Duration::from_secs(30))));
        for answer in answers.drain(..) {
            let answer = answer.await.map_err(anyhow::Error::msg)?;
            ensure!(!answer.is_empty(), "an empty answer");
            commands.set(commands.get() + 1);
        }
    }
    Ok(())
}
