//! One HTTP connection to one router.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION,
};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use muster_model::trap::{Refusal, refusal};
use muster_model::{DeviceError, ErrorClass};
use muster_worker_core::{ConnectFailure, StepEnd};
use routeros_conn::Credentials;
use routeros_wire::{Limits, decode_all};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::answer::{self, Answer};
use super::asked::Asked;
use crate::stream::Stream;

/// An HTTP connection. One request at a time.
pub(crate) struct Rest {
    sender: SendRequest<Full<Bytes>>,
    /// What moves bytes; pending for ever once the connection is over.
    connection: Pin<Box<dyn Future<Output = ()> + Send>>,
    over: bool,
    /// Bytes that count as gone, and bytes that came.
    left: Arc<AtomicU64>,
    heard: Arc<AtomicU64>,
    host: HeaderValue,
    authorization: HeaderValue,
    answered: bool,
    ended_unheard: bool,
}

/// Looks who is there.
const PROBE: [&str; 2] = ["/system/identity/print", "=.proplist=name"];

impl Rest {
    /// Speaks HTTP over a stream, and looks whether a router answers that lets the user in.
    pub(crate) async fn open(
        stream: Stream,
        address: &str,
        port: u16,
        credentials: &Credentials,
    ) -> Result<Self, ConnectFailure> {
        let mut rest = Self::over(stream, address, port, credentials).await?;
        rest.probe().await?;
        Ok(rest)
    }

    /// Speaks HTTP over a stream, whoever is there.
    pub(crate) async fn over(
        stream: Stream,
        address: &str,
        port: u16,
        credentials: &Credentials,
    ) -> Result<Self, ConnectFailure> {
        let failed = |class, text: String, may_pass| ConnectFailure {
            error: DeviceError::new(class, text),
            may_pass,
        };
        let host = match address.contains(':') {
            true => format!("[{address}]:{port}"),
            false => format!("{address}:{port}"),
        };
        let host = HeaderValue::try_from(host).map_err(|_| {
            failed(
                ErrorClass::Address,
                format!("{address:?} cannot stand in a header"),
                false,
            )
        })?;
        if credentials.user.contains(&b':') {
            let text = "a user name with a colon cannot log in over REST".to_owned();
            return Err(failed(ErrorClass::Auth, text, false));
        }
        let (left, heard) = <(Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let counted = Counted {
            stream,
            left: left.clone(),
            heard: heard.clone(),
        };
        let (sender, connection) = http1::handshake(TokioIo::new(counted))
            .await
            .map_err(|error| failed(ErrorClass::Reset, format!("HTTP: {error}"), true))?;
        Ok(Self {
            sender,
            connection: Box::pin(async move {
                // How it ended is told by the request that was under way.
                let _ = connection.await;
            }),
            over: false,
            left,
            heard,
            host,
            authorization: authorization(credentials),
            answered: false,
            ended_unheard: false,
        })
    }

    async fn probe(&mut self) -> Result<(), ConnectFailure> {
        let words = PROBE.map(|word| word.as_bytes().to_vec());
        let asked = Asked::of(&words).map_err(|error| ConnectFailure {
            error,
            may_pass: false,
        })?;
        let Answer { end, sentences, .. } = self.exchange(&asked, 1 << 16).await;
        let (error, may_pass) = match end {
            StepEnd::Completed => {
                let mut named = false;
                // Our own sentences: they decode.
                let _ = decode_all(&sentences, Limits::default(), |row| {
                    named |= row.get(b"name").is_some();
                });
                if named {
                    return Ok(());
                }
                // Seen while a router starts.
                let text = "HTTP answers, and not as a router that is up: it does not say who it is";
                (DeviceError::new(ErrorClass::Protocol, text), true)
            }
            StepEnd::Trapped(error) if error.category == Some(0) => {
                let text = format!(
                    "there is no REST here ({}); it needs RouterOS 7.1 for https and 7.9 for http",
                    error.message
                );
                (DeviceError::new(ErrorClass::Protocol, text), false)
            }
            StepEnd::Trapped(error) => {
                let may_pass = refusal(&error.message) == Refusal::Transient;
                (error, may_pass)
            }
            StepEnd::Refused(error) => (error, false),
            StepEnd::NoAnswer(error) => {
                let may_pass = error.class != ErrorClass::Protocol;
                (error, may_pass)
            }
            StepEnd::NotSent(error) => (error, true),
            StepEnd::Cancelled => (lost("HTTP: cancelled"), true),
        };
        Err(ConnectFailure { error, may_pass })
    }

    /// Whether another request may be sent, as far as it can be known without waiting: an end that was announced with
    /// the last answer, or that has arrived, is seen.
    pub(crate) async fn is_open(&mut self) -> bool {
        poll_fn(|cx| {
            if !self.over && self.connection.as_mut().poll(cx).is_ready() {
                self.give_up();
            }
            Poll::Ready(())
        })
        .await;
        !self.over && !self.sender.is_closed()
    }

    /// Whether it has brought an answer already.
    pub(crate) fn has_answered(&self) -> bool {
        self.answered
    }

    /// Whether it was lost when a request had left and before a byte of the answer had come.
    pub(crate) fn ended_unheard(&self) -> bool {
        self.ended_unheard
    }

    /// Waits until the router ends the connection.
    pub(crate) async fn closed(&mut self) {
        if self.over {
            return std::future::pending().await;
        }
        self.connection.as_mut().await;
        self.give_up();
    }

    /// Ends the connection.
    pub(crate) fn give_up(&mut self) {
        self.over = true;
        self.connection = Box::pin(std::future::pending());
    }

    /// Sends a request and reads its answer, of at most `limit` bytes. Dropped, it leaves a connection that must not be
    /// used again.
    pub(crate) async fn exchange(&mut self, asked: &Asked, limit: usize) -> Answer {
        let before = self.left.load(Ordering::Relaxed);
        let heard = self.heard.load(Ordering::Relaxed);
        let answer = match self.request(asked) {
            Ok(request) => {
                let sent = self.sender.send_request(request);
                let work = async {
                    match sent.await {
                        Ok(response) => read(response, asked, limit).await,
                        Err(error) => failed(&error, 0),
                    }
                };
                Self::drive(&mut self.connection, &mut self.over, work).await
            }
            Err(error) => Answer {
                end: StepEnd::Refused(error),
                sentences: Vec::new(),
                is_over: true,
            },
        };
        match answer.end {
            StepEnd::NoAnswer(error) => {
                // Whatever the reason, nothing may be concluded from what comes later.
                self.give_up();
                self.ended_unheard = self.heard.load(Ordering::Relaxed) == heard;
                let end = match self.left.load(Ordering::Relaxed) == before {
                    true => StepEnd::NotSent(error),
                    false => StepEnd::NoAnswer(error),
                };
                Answer { end, ..answer }
            }
            _ => {
                self.answered = true;
                answer
            }
        }
    }

    /// Does some work while the connection moves.
    async fn drive<T>(
        connection: &mut Pin<Box<dyn Future<Output = ()> + Send>>,
        over: &mut bool,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = connection.as_mut(), if !*over => {
                    // With it goes what the work waits for.
                    *over = true;
                    *connection = Box::pin(std::future::pending());
                }
            }
        }
    }

    fn request(&self, asked: &Asked) -> Result<Request<Full<Bytes>>, DeviceError> {
        let body = asked.body.clone().map(Bytes::from);
        let mut request = Request::builder()
            .method(asked.method.clone())
            .uri(&asked.target)
            .header(HOST, self.host.clone())
            .header(AUTHORIZATION, self.authorization.clone());
        if body.is_some() {
            // Exactly so: early versions take nothing else (facts §2).
            request = request.header(CONTENT_TYPE, "application/json");
        }
        request
            .body(Full::new(body.unwrap_or_default()))
            .map_err(|error| DeviceError::new(ErrorClass::Protocol, format!("HTTP: {error}")))
    }
}

impl std::fmt::Debug for Rest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rest")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

fn authorization(credentials: &Credentials) -> HeaderValue {
    let both = [&credentials.user[..], b":", &credentials.password[..]].concat();
    let text = format!("Basic {}", STANDARD.encode(both));
    // Base64 has no character that a header could not have.
    let mut value = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

async fn read(response: Response<Incoming>, asked: &Asked, limit: usize) -> Answer {
    let (head, mut incoming) = response.into_parts();
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        match frame {
            Ok(frame) => body.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..])),
            Err(error) => return failed(&error, body.len()),
        }
        if body.len() > limit {
            let text = format!("the answer is over the limit of {limit} bytes");
            return no_answer(DeviceError::new(ErrorClass::Protocol, text));
        }
    }
    let text = |name| header(&head.headers, name);
    let encoding = text(CONTENT_ENCODING);
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity") {
        let text = format!(
            "not RouterOS's REST: HTTP {} with a body that is encoded as {encoding:?}, which nobody asked for; is there a \
             proxy in between?",
            head.status.as_u16()
        );
        return no_answer(DeviceError::new(ErrorClass::Protocol, text));
    }
    answer::read(
        head.status,
        &text(CONTENT_TYPE),
        &text(LOCATION),
        &body,
        asked.answer,
    )
}

fn header(headers: &HeaderMap, name: HeaderName) -> String {
    let value = headers.get(name).map(HeaderValue::as_bytes).unwrap_or_default();
    String::from_utf8_lossy(value).into_owned()
}

fn no_answer(error: DeviceError) -> Answer {
    Answer {
        end: StepEnd::NoAnswer(error),
        sentences: Vec::new(),
        is_over: false,
    }
}

fn lost(text: &str) -> DeviceError {
    DeviceError::new(ErrorClass::Reset, text)
}

fn failed(error: &hyper::Error, read: usize) -> Answer {
    // Of a body in chunks that are none hyper tells so.
    let malformed = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<io::Error>())
        .filter(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput
            )
        });
    no_answer(if let Some(error) = malformed {
        DeviceError::new(
            ErrorClass::Protocol,
            format!("what answers does not speak HTTP: {error}"),
        )
    } else if error.is_parse() || error.is_parse_too_large() || error.is_parse_status() {
        DeviceError::new(
            ErrorClass::Protocol,
            format!("what answers does not speak HTTP: {error}"),
        )
    } else if read > 0 {
        lost(&format!("the answer was cut in the middle, after {read} bytes"))
    } else {
        lost("the connection was lost")
    })
}

/// A stream that counts what was written to it, and what came.
struct Counted {
    stream: Stream,
    left: Arc<AtomicU64>,
    heard: Arc<AtomicU64>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = AsyncRead::poll_read(Pin::new(&mut self.stream), cx, buffer);
        let count = buffer.filled().len() - before;
        self.heard.fetch_add(count as u64, Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = &written {
            self.left.fetch_add(*count as u64, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
