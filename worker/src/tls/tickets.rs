//! Session tickets: what lets the next connection to a device skip the expensive half of the handshake.
//!
//! A ticket stands for a certificate that was taken under a demand, so it is kept under that demand and that address:
//! whoever changes either is judged anew.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use muster_model::Demand;
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

/// Devices whose tickets are kept; the oldest go first. A ticket carries its certificate: some 2 KiB.
const MOST: usize = 4096;

/// The tickets of a worker; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tickets(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    by_device: HashMap<Key, Ticket>,
    order: VecDeque<Key>,
}

/// What a ticket holds for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    device: u64,
    port: u16,
    demand: Demand,
}

#[derive(Debug)]
struct Ticket {
    name: ServerName<'static>,
    group: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    tls13: Option<Tls13ClientSessionValue>,
}

impl Tickets {
    /// Where a connection keeps its ticket and finds the one of the connection before.
    pub(crate) fn of(&self, device: u64, port: u16, demand: Demand) -> TicketsOf {
        TicketsOf {
            tickets: self.clone(),
            key: Key { device, port, demand },
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tickets of one device under one demand.
#[derive(Debug)]
pub(crate) struct TicketsOf {
    tickets: Tickets,
    key: Key,
}

impl TicketsOf {
    fn with<T>(&self, name: &ServerName<'_>, look: impl FnOnce(&mut Ticket) -> Option<T>) -> Option<T> {
        let mut kept = self.tickets.lock();
        let ticket = kept.by_device.get_mut(&self.key)?;
        (ticket.name == *name).then(|| look(ticket)).flatten()
    }

    fn change(&self, name: ServerName<'static>, change: impl FnOnce(&mut Ticket)) {
        let mut kept = self.tickets.lock();
        if !kept.by_device.contains_key(&self.key) {
            kept.order.push_back(self.key.clone());
            while kept.order.len() > MOST
                && let Some(oldest) = kept.order.pop_front()
            {
                kept.by_device.remove(&oldest);
            }
        }
        let empty = |name| Ticket {
            name,
            group: None,
            tls12: None,
            tls13: None,
        };
        let ticket = kept
            .by_device
            .entry(self.key.clone())
            .or_insert_with(|| empty(name.clone()));
        if ticket.name != name {
            *ticket = empty(name);
        }
        change(ticket);
    }
}

impl ClientSessionStore for TicketsOf {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.change(name, |ticket| ticket.group = Some(group));
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.with(name, |ticket| ticket.group)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.change(name, |ticket| ticket.tls12 = Some(value));
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.with(name, |ticket| ticket.tls12.clone())
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.with(name, |ticket| ticket.tls12.take());
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.change(name, |ticket| ticket.tls13 = Some(value));
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.with(name, |ticket| ticket.tls13.take())
    }
}
