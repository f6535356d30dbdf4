//! Devices that answer every command alike, in a process of its own: what a client can get out of them is the client's
//! doing.
//!
//! The process is the scoreboard itself with a hidden command. One thread and one epoll serve all connections. It
//! prints its port and lives until its standard input ends.

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use routeros_wire::{Decoder, encode};

/// The hidden command: `scoreboard __echo`.
pub const COMMAND: &str = "__echo";

/// What a client sends: 61 bytes and a tag.
pub const REQUEST: [&str; 2] = ["/system/resource/print", "=.proplist=uptime,version,cpu"];

/// What a device answers, behind `!re` and the tag: with `!done` 331 bytes and two tags.
const ANSWER: [&str; 14] = [
    "=uptime=3w4d05:11:27",
    "=version=7.20.4 (stable)",
    "=build-time=2026-10-11 09:31:45",
    "=factory-software=7.8",
    "=free-memory=801972224",
    "=total-memory=1073741824",
    "=cpu=ARM64",
    "=cpu-count=4",
    "=cpu-frequency=1400",
    "=cpu-load=7",
    "=free-hdd-space=94797824",
    "=total-hdd-space=134479872",
    "=architecture-name=arm64",
    "=board-name=RB5009UG+S+",
];

/// A server in a child process; ends when dropped.
#[derive(Debug)]
pub struct Echo {
    child: Child,
    /// Where it listens, on every loopback address.
    pub port: u16,
}

impl Echo {
    /// Starts `program`, a scoreboard, as a server on a free port.
    pub fn start(program: &Path) -> anyhow::Result<Self> {
        let mut child = Command::new(program)
            .arg(COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        // From here on the child ends with this value.
        let mut echo = Self { child, port: 0 };
        echo.port = line
            .trim()
            .parse()
            .with_context(|| format!("the server said {line:?} and not its port"))?;
        Ok(echo)
    }

    /// The server's process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // Nothing to be done about a child that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the `at`-th device is: a port has room for so many connections between two addresses only.
pub fn address(at: usize, port: u16) -> SocketAddr {
    (Ipv4Addr::new(127, 0, 1, 1 + (at % 8) as u8), port).into()
}

/// Tells the parent's end by ending.
pub fn end_with_parent() {
    std::thread::spawn(|| {
        // Nobody writes: it returns when the parent has gone.
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
}

const LISTENER: Token = Token(usize::MAX);

/// What the child process does.
pub fn serve() -> anyhow::Result<()> {
    rlimit::increase_nofile_limit(u64::MAX)?;
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind_device(Some(b"lo"))?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into())?;
    socket.listen(16_384)?;
    let mut listener = TcpListener::from_std(socket.into());
    writeln!(io::stdout(), "{}", listener.local_addr()?.port())?;
    end_with_parent();
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut server = Server {
        connections: HashMap::new(),
        buffer: vec![0; 64 << 10],
        out: Vec::new(),
    };
    let (mut events, mut next) = (Events::with_capacity(1024), 0);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() != LISTENER {
                server.serve(event.token());
                continue;
            }
            while let Ok((mut stream, _)) = listener.accept() {
                next += 1;
                poll.registry()
                    .register(&mut stream, Token(next), Interest::READABLE)?;
                let connection = Connection {
                    stream,
                    decoder: Decoder::default(),
                    left: Vec::new(),
                };
                server.connections.insert(Token(next), connection);
                // It may have spoken before it was registered.
                server.serve(Token(next));
            }
        }
    }
}

struct Server {
    connections: HashMap<Token, Connection>,
    buffer: Vec<u8>,
    out: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    decoder: Decoder,
    /// The beginning of an unfinished sentence.
    left: Vec<u8>,
}

impl Server {
    /// Answers what has arrived. The socket tells once: it is read until nothing is left.
    fn serve(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(&token) else {
            return;
        };
        loop {
            match connection.stream.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => {
                    if connection.answer(&self.buffer[..count], &mut self.out).is_err() {
                        break;
                    }
                    if count < self.buffer.len() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => break,
            }
        }
        self.connections.remove(&token);
    }
}

impl Connection {
    fn answer(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> anyhow::Result<()> {
        out.clear();
        let whole = self.left.is_empty();
        if !whole {
            self.left.extend_from_slice(bytes);
        }
        let input = if whole { bytes } else { &self.left };
        self.decoder.scan(input)?;
        for sentence in self.decoder.sentences(input) {
            // A login's answer is no number of anybody.
            let is_login = sentence.words().next() == Some(b"/login".as_slice());
            if !is_login {
                encode::word(out, b"!re")?;
                if let Some(tag) = sentence.tag() {
                    encode::tag(out, tag)?;
                }
                for word in ANSWER {
                    encode::word(out, word.as_bytes())?;
                }
                encode::end(out);
            }
            encode::word(out, b"!done")?;
            if let Some(tag) = sentence.tag() {
                encode::tag(out, tag)?;
            }
            encode::end(out);
        }
        let used = self.decoder.consume();
        self.left = input[used..].to_vec();
        // A client that has as much under way as fits into no buffer is not what is measured here.
        self.stream.write_all(out)?;
        Ok(())
    }
}
