//! What one connection has to say because of what another did: rows for its listens, or that the device restarts.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// Bytes that wait for a client that does not read. A client that lets more pile up is disconnected, as a device
/// does that runs out of memory for it.
const OUTBOX_BYTES: usize = 4 << 20;

/// Bytes on their way to one connection.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    content: Mutex<Content>,
    notify: Notify,
}

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    closed: bool,
}

impl Outbox {
    pub(crate) fn push(&self, bytes: &[u8]) {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        if content.bytes.len() + bytes.len() > OUTBOX_BYTES {
            content.closed = true;
        } else {
            content.bytes.extend_from_slice(bytes);
        }
        self.notify.notify_one();
    }

    /// Ends the connection once it has written what it has.
    pub(crate) fn close(&self) {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        content.closed = true;
        self.notify.notify_one();
    }

    /// Moves what there is to `out`. Returns whether the connection is to end.
    pub(crate) fn drain(&self, out: &mut Vec<u8>) -> bool {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        out.append(&mut content.bytes);
        // An idle connection owns no buffer.
        content.bytes = Vec::new();
        content.closed
    }

    /// Waits until there is something to [`drain`](Self::drain).
    pub(crate) async fn filled(&self) {
        self.notify.notified().await;
    }
}
