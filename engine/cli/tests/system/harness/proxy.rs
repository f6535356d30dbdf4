//! A TCP connection between a worker and its engine that can be held up.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Forwards connections to an engine. While it holds a direction, what is sent in it waits.
pub(crate) struct Proxy {
    address: SocketAddr,
    gates: Arc<Gates>,
}

#[derive(Default)]
struct Gates {
    held: Mutex<Held>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default)]
struct Held {
    up: bool,
    down: bool,
}

#[derive(Clone, Copy)]
enum Way {
    Up,
    Down,
}

impl Proxy {
    /// Stands in front of the engine at this URL.
    pub(crate) fn start(engine: &str) -> Self {
        let engine = engine.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let gates = Arc::new(Gates::default());
        let shared = gates.clone();
        std::thread::spawn(move || {
            for worker in listener.incoming().map_while(Result::ok) {
                if let Ok(engine) = TcpStream::connect(&engine) {
                    let _ = serve(&worker, &engine, &shared);
                }
            }
        });
        Self { address, gates }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Holds up what the engine says to the worker.
    pub(crate) fn hold_down(&self) {
        self.set(Held {
            up: false,
            down: true,
        });
    }

    /// Holds up both directions: each side believes that the other is silent.
    pub(crate) fn hold(&self) {
        self.set(Held { up: true, down: true });
    }

    /// Lets everything through, what waited first.
    pub(crate) fn release(&self) {
        self.set(Held::default());
    }

    fn set(&self, held: Held) {
        *self.gates.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
        self.gates.changed.notify_all();
    }
}

fn serve(worker: &TcpStream, engine: &TcpStream, gates: &Arc<Gates>) -> io::Result<()> {
    for (from, to, way) in [(worker, engine, Way::Up), (engine, worker, Way::Down)] {
        let (from, to, gates) = (from.try_clone()?, to.try_clone()?, gates.clone());
        std::thread::spawn(move || {
            let _ = forward(&from, &to, &gates, way);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}

fn forward(mut from: &TcpStream, mut to: &TcpStream, gates: &Gates, way: Way) -> io::Result<()> {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut bytes)?;
        let held = gates.held.lock().unwrap_or_else(PoisonError::into_inner);
        drop(gates.changed.wait_while(held, |held| match way {
            Way::Up => held.up,
            Way::Down => held.down,
        }));
        if count == 0 {
            return Ok(());
        }
        to.write_all(&bytes[..count])?;
    }
}
