use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Mutex;

use routeros_conn::Credentials;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::DeviceLimits;
use crate::devices::{Devices, Line};
use crate::held::Held;
use crate::reach::Reach;
use crate::run::next_run;
use crate::session::{Handle, Words};

use super::*;

/// Reads a request and answers it. Returns whether the connection goes on: not after a filter, which is refused.
fn answer(stream: &mut BufReader<std::net::TcpStream>) -> bool {
    let Some(first) = request(stream) else {
        return false;
    };
    let refused = first.starts_with("GET") && first.contains("comment=");
    let (status, body) = match (refused, first.contains("identity")) {
        (true, _) => (
            "400 Bad Request\r\nConnection: close",
            r#"{"error":400,"message":"Bad Request"}"#,
        ),
        (false, true) => ("200 OK", r#"{"name":"r1"}"#),
        (false, false) => ("200 OK", "[]"),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream
        .get_mut()
        .write_all(format!("{head}{body}").as_bytes())
        .expect("written");
    !refused
}

/// Reads a request: its first line, or nothing at the end of the connection.
fn request(stream: &mut BufReader<std::net::TcpStream>) -> Option<String> {
    let (mut first, mut length) = (String::new(), 0);
    if stream.read_line(&mut first).ok()? == 0 {
        return None;
    }
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let line = line.to_ascii_lowercase();
        if let Some(count) = line.strip_prefix("content-length:") {
            length = count.trim().parse().expect("a number");
        }
        if line.trim().is_empty() {
            break;
        }
    }
    stream.read_exact(&mut vec![0; length]).ok()?;
    Some(first.trim().to_owned())
}

/// A router that answers one request a connection, with a head that says so or not. It tells what it was asked.
fn one_each(head: &'static str) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
    let address = listener.local_addr().expect("bound");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let told = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.expect("accept"));
            let Some(first) = request(&mut stream) else {
                continue;
            };
            let body = if first.contains("identity") {
                r#"{"name":"r1"}"#
            } else {
                "[]"
            };
            told.lock().expect("whole").push(first);
            let length = match head.contains("HTTP/1.0") {
                true => String::new(),
                false => format!("Content-Length: {}\r\n", body.len()),
            };
            let answer = format!("{head}\r\nContent-Type: application/json\r\n{length}\r\n{body}");
            // Who was asked something by a connection that it had ended is not there to be told.
            let _ = stream.get_mut().write_all(answer.as_bytes());
        }
    });
    (address, asked)
}

async fn session(address: SocketAddr) -> (Devices, Handle) {
    let (nobody, _) = mpsc::unbounded_channel();
    let reach = Reach::new(None, Held::new(nobody));
    let devices = Devices::new(DeviceLimits::default(), 1, reach, TaskTracker::new());
    let target = Target {
        transport: Transport::Http,
        ..Target::plain(address, Arc::new(Credentials::new("admin", "")))
    };
    let session = devices.session(1, Line::Main, &target);
    session.ready().await.expect("a router");
    (devices, session)
}

async fn run<const N: usize>(session: &Handle, words: [&str; N]) -> StepEnd {
    let (turn, timeout) = (session.turn(false).await, Duration::from_secs(30));
    let until = Instant::now() + timeout;
    let answer = session.run(Words::new(words), timeout, until, turn, next_run());
    answer.await.expect("answered").end
}

#[tokio::test]
async fn a_filter_that_ends_the_connection_is_asked_otherwise_over_another() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.expect("accept"));
            while answer(&mut stream) {}
        }
    });
    let (_devices, session) = session(address).await;
    assert_eq!(
        run(&session, ["/interface/print", "?comment=x"]).await,
        StepEnd::Completed
    );
}

#[tokio::test]
async fn a_router_that_ends_each_connection_after_one_answer_is_asked_over_as_many() {
    for head in [
        "HTTP/1.1 200 OK\r\nConnection: close",
        "HTTP/1.0 200 OK",
        "HTTP/1.1 200 OK\r\nConnection: keep-alive",
        "HTTP/1.1 200 OK",
    ] {
        let (address, asked) = one_each(head);
        let (_devices, session) = session(address).await;
        for words in [
            ["/interface/print", "?type=ether"],
            ["/ip/dns/print", "=.proplist=servers"],
        ] {
            assert_eq!(
                run(&session, words).await,
                StepEnd::Completed,
                "{head}: {words:?}"
            );
        }
        assert_eq!(
            run(&session, ["/ip/dns/cache/flush"]).await,
            StepEnd::Completed,
            "{head}"
        );
        let asked = asked.lock().expect("whole");
        let flushed = asked.iter().filter(|first| first.contains("flush")).count();
        assert_eq!(flushed, 1, "{head}: {asked:?}");
    }
}
