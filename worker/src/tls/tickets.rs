//! Session tickets: what lets the next connection to a device skip the expensive half of the handshake.
//!
//! A ticket stands for a certificate that was taken under a demand, so it is kept with that demand and that address:
//! whoever changes either is judged anew. It holds only for the very configuration it was given under, so that is kept
//! with it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use muster_model::Demand;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, NamedGroup};

use super::judge::Judge;

/// Devices whose tickets are kept; the oldest go first. A ticket carries its certificate: some 2 KiB.
const MOST: usize = 4096;

/// What a ticket holds for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) device: u64,
    pub(crate) address: Box<str>,
    pub(crate) port: u16,
    pub(crate) demand: Demand,
}

/// How a device is spoken to, with its ticket inside.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) judge: Arc<Judge>,
}

/// The devices that may have a ticket.
#[derive(Debug, Default)]
pub(crate) struct Tickets(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    by_key: HashMap<Arc<Key>, Known>,
    order: VecDeque<Arc<Key>>,
}

impl Tickets {
    /// What is known, or what is made for those who come after.
    pub(crate) fn known<E>(&self, key: Key, make: impl FnOnce() -> Result<Known, E>) -> Result<Known, E> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.by_key.get(&key) {
            return Ok(known.clone());
        }
        let (key, known) = (Arc::new(key), make()?);
        kept.order.push_back(key.clone());
        kept.by_key.insert(key, known.clone());
        while kept.order.len() > MOST
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.by_key.remove(&oldest);
        }
        Ok(known)
    }
}

/// The ticket of one device.
#[derive(Debug, Default)]
pub(crate) struct Ticket(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    group: Option<NamedGroup>,
    tls12: Option<Box<Tls12ClientSessionValue>>,
    tls13: Option<Box<Tls13ClientSessionValue>>,
}

impl Ticket {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for Ticket {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.lock().group = Some(group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.lock().group
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.lock().tls12 = Some(Box::new(value));
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.lock().tls12.as_deref().cloned()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.lock().tls12 = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.lock().tls13 = Some(Box::new(value));
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.lock().tls13.take().map(|value| *value)
    }
}
