//! What a device says about itself, asked over a session that is open anyway.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use muster_proto::v1;
use muster_worker_core::StepEnd;
use routeros_wire::value::duration;
use routeros_wire::{Kind, Limits, decode_all};

use crate::run::next_run;
use crate::session::{Handle, Turn, Words};

/// Facts are worth little; a device that is slow to give them is left alone.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long after a start menus may come that are not there yet.
const COMES_UP: Duration = Duration::from_secs(60);
/// A connection that does not answer within this is not trusted with a change.
const ALIVE_WITHIN: Duration = Duration::from_secs(3);

const RESOURCE: [&str; 2] = [
    "/system/resource/print",
    "=.proplist=version,board-name,architecture-name",
];
const BOARD: [&str; 2] = ["/system/routerboard/print", "=.proplist=serial-number"];
const LICENCE: [&str; 2] = ["/system/license/print", "=.proplist=system-id,software-id"];
const UPTIME: [&str; 2] = ["/system/resource/print", "=.proplist=uptime"];
const IDENTITY: [&str; 2] = ["/system/identity/print", "=.proplist=name"];

/// Asks the device what it is. `None` when it does not say.
pub(crate) async fn learn(session: &Handle, device: u64) -> Option<v1::DeviceFactsReport> {
    let turn = tokio::time::timeout(TIMEOUT, session.turn(false)).await.ok()?;
    learn_in(session, device, turn).await
}

/// The same for whoever has a turn.
pub(crate) async fn learn_in(
    session: &Handle,
    device: u64,
    turn: Arc<Turn>,
) -> Option<v1::DeviceFactsReport> {
    let (resource, identity, serial) = tokio::join!(
        ask(session, RESOURCE, TIMEOUT, turn.clone()),
        ask(session, IDENTITY, TIMEOUT, turn.clone()),
        serial(session, TIMEOUT, turn)
    );
    let (resource, identity) = (resource?, identity.unwrap_or_default());
    Some(v1::DeviceFactsReport {
        device,
        version: value(&resource, b"version"),
        board: value(&resource, b"board-name"),
        architecture: value(&resource, b"architecture-name"),
        identity: value(&identity, b"name"),
        serial: serial.unwrap_or_default(),
    })
}

/// What the router is known by: its board's serial number, or the id of its licence where it has no board. Empty when it
/// tells neither; `None` when it does not answer.
pub(crate) async fn serial(session: &Handle, timeout: Duration, turn: Arc<Turn>) -> Option<String> {
    let board = value(
        &ask(session, BOARD, timeout, turn.clone()).await?,
        b"serial-number",
    );
    if !board.is_empty() {
        return Some(board);
    }
    let licence = ask(session, LICENCE, timeout, turn).await?;
    let ids = [&b"system-id"[..], b"software-id"].map(|name| value(&licence, name));
    Some(ids.into_iter().find(|id| !id.is_empty()).unwrap_or_default())
}

/// Asks for the serial number when there is time.
pub(crate) async fn serial_of(session: &Handle) -> Option<String> {
    let turn = tokio::time::timeout(TIMEOUT, session.turn(false)).await.ok()?;
    serial(session, TIMEOUT, turn).await
}

/// Asks for the serial number before a change. `None` when the device does not answer.
pub(crate) async fn serial_now(session: &Handle, turn: Arc<Turn>) -> Option<String> {
    serial(session, ALIVE_WITHIN, turn).await
}

/// Whether the device has come up so lately that menus may be missing which it will have.
pub(crate) async fn is_coming_up(session: &Handle, turn: Arc<Turn>) -> bool {
    let answer = ask(session, UPTIME, ALIVE_WITHIN, turn).await.unwrap_or_default();
    duration::parse(value(&answer, b"uptime").as_bytes()).is_none_or(|uptime| uptime < COMES_UP)
}

/// Whether the device still answers on this session.
pub(crate) async fn is_alive(session: &Handle, turn: Arc<Turn>) -> bool {
    ask(session, IDENTITY, ALIVE_WITHIN, turn).await.is_some()
}

async fn ask(session: &Handle, words: [&str; 2], timeout: Duration, turn: Arc<Turn>) -> Option<Bytes> {
    let reply = session
        .run(
            Words::new(words),
            timeout,
            Instant::now() + timeout,
            turn,
            next_run(),
        )
        .await
        .ok()?;
    // A trap is an answer too: the device is there, it only may not tell.
    matches!(reply.end, StepEnd::Completed | StepEnd::Trapped(_)).then_some(reply.sentences)
}

fn value(sentences: &[u8], name: &[u8]) -> String {
    let mut found = String::new();
    // Our own bytes, written sentence by sentence: they decode.
    let _ = decode_all(sentences, Limits::default(), |sentence| {
        if sentence.kind() == Kind::Re
            && let Some(value) = sentence.get(name)
        {
            found = String::from_utf8_lossy(value).into_owned();
        }
    });
    found
}
