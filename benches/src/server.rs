//! A device that knows one answer, in a process of its own, so that the processor time of a client is the client's.
//!
//! The process is the scoreboard itself with a hidden command. It prints its port, serves one client and ends with it.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};
use routeros_wire::{Decoder, encode};

use crate::corpus::Corpus;

/// The hidden command: `scoreboard __server`.
pub const COMMAND: &str = "__server";

/// A server in a child process; ends when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts `program`, a scoreboard, as a server on a free port.
    pub fn start(program: &Path) -> anyhow::Result<Self> {
        let mut child = Command::new(program)
            .arg(COMMAND)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        // From here on the child ends with this value.
        let mut server = Self {
            child,
            address: (Ipv4Addr::LOCALHOST, 0).into(),
        };
        let port = line.trim().parse();
        server
            .address
            .set_port(port.with_context(|| format!("the server said {line:?} and not its port"))?);
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing to be done about a child that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends the only request that a server knows.
pub fn ask(stream: &mut TcpStream) -> anyhow::Result<()> {
    let mut request = Vec::new();
    encode::sentence(&mut request, ["/ip/firewall/filter/print", ".tag=2"])?;
    Ok(stream.write_all(&request)?)
}

/// Answers every sentence of one client with corpus b.
pub fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    writeln!(io::stdout(), "{}", listener.local_addr()?.port())?;
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let answer = Corpus::firewall().bytes;
    let (mut decoder, mut buffer, mut read) = (Decoder::default(), Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut read)?;
        if count == 0 {
            ensure!(buffer.is_empty(), "the client left in the middle of a request");
            return Ok(());
        }
        buffer.extend_from_slice(&read[..count]);
        for _ in 0..decoder.scan(&buffer)? {
            stream.write_all(&answer)?;
        }
        buffer.drain(..decoder.consume());
    }
}
