//! The devices of a fleet, its journal and its counters: all that the connections share, without sockets.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::config::{FleetConfig, SimError};
use crate::counters::{Counters, LiveCounters};
use crate::device::{Account, Device};
use crate::escape::escape;
use crate::fault::{Fault, deal};
use crate::generate::Profile;
use crate::journal::{Journal, JournalEntry};
use crate::listen::Event;
use crate::outbox::Outbox;

/// A fleet without sockets. [`Conversation`](crate::Conversation)s run on it.
#[derive(Debug)]
pub struct World {
    base: Ipv4Addr,
    devices: Vec<Place>,
    pub(crate) journal: Journal,
    pub(crate) counters: LiveCounters,
    pub(crate) late: Duration,
    pub(crate) seed: u64,
    last_session: AtomicU64,
}

/// One device and who is connected to it.
#[derive(Debug)]
pub(crate) struct Place {
    /// 0 for none, else 1 + the position in [`Fault::ALL`].
    fault: AtomicU8,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) device: Device,
    /// Where events for a session go.
    outboxes: Vec<(u64, Arc<Outbox>)>,
    /// Connections so far.
    connections: u64,
}

impl World {
    /// The devices that a configuration describes. Its addresses and ports are checked and not used.
    pub fn new(config: &FleetConfig) -> Result<Arc<Self>, SimError> {
        let versions = config.check()?;
        let account = Arc::new(Account {
            name: config.user.clone().into_bytes(),
            password: config.password.clone().into_bytes(),
        });
        let faults = deal(&config.faults, config.devices, config.seed);
        let place = |(index, fault): (usize, Option<Fault>)| {
            let profile = Profile {
                seed: config.seed,
                index,
                version: versions[index % versions.len()],
            };
            Place::new(Device::new(profile, Arc::clone(&account)), fault)
        };
        Ok(Arc::new(Self {
            base: config.base,
            devices: faults.into_iter().enumerate().map(place).collect(),
            journal: Journal::default(),
            counters: LiveCounters::new(),
            late: config.late,
            seed: config.seed,
            last_session: AtomicU64::new(0),
        }))
    }

    /// Number of devices.
    pub fn len(&self) -> usize {
        self.devices.len()
    }

    /// Whether there are no devices, which does not happen.
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// The address of a device, of one that would exist if the fleet were larger included.
    pub fn address(&self, index: usize) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.base).wrapping_add(index as u32))
    }

    /// The device at an address.
    pub fn index_of(&self, address: Ipv4Addr) -> Option<usize> {
        let index = u32::from(address).checked_sub(u32::from(self.base))? as usize;
        (index < self.len()).then_some(index)
    }

    /// The name of a device now, escaped with [`escape`]; empty when there is no such device.
    pub fn identity(&self, index: usize) -> String {
        self.devices
            .get(index)
            .map(|place| escape(&place.lock().device.identity()))
            .unwrap_or_default()
    }

    /// The version of a device, such as `7.16.2`; empty when there is no such device.
    pub fn version(&self, index: usize) -> String {
        self.devices
            .get(index)
            .map(|place| place.lock().device.version().to_string())
            .unwrap_or_default()
    }

    /// What a device does wrong now.
    pub fn fault(&self, index: usize) -> Option<Fault> {
        self.devices.get(index).and_then(Place::fault)
    }

    /// Sets what a device does wrong, for connections that are open too. Nothing when there is no such device.
    pub fn set_fault(&self, index: usize, fault: Option<Fault>) {
        if let Some(place) = self.devices.get(index) {
            place.fault.store(fault_code(fault), Relaxed);
            place.lock().wake_all();
        }
    }

    /// Every mutating command that a device executed.
    pub fn journal(&self) -> Vec<JournalEntry> {
        self.journal.entries(None, 0)
    }

    /// The counters now.
    pub fn counters(&self) -> Counters {
        self.counters.snapshot()
    }

    /// The device at an index, which is below [`len`](Self::len).
    pub(crate) fn place(&self, index: usize) -> &Place {
        &self.devices[index]
    }

    pub(crate) fn next_session(&self) -> u64 {
        self.last_session.fetch_add(1, Relaxed) + 1
    }
}

impl Place {
    fn new(device: Device, fault: Option<Fault>) -> Self {
        Self {
            fault: AtomicU8::new(fault_code(fault)),
            state: Mutex::new(State {
                device,
                outboxes: Vec::new(),
                connections: 0,
            }),
        }
    }

    pub(crate) fn fault(&self) -> Option<Fault> {
        let code = usize::from(self.fault.load(Relaxed));
        code.checked_sub(1).and_then(|at| Fault::ALL.get(at)).copied()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes in a connection. Returns the how manieth it is of this device.
    pub(crate) fn connect(&mut self, session: u64, outbox: &Arc<Outbox>) -> u64 {
        self.outboxes.push((session, Arc::clone(outbox)));
        self.connections += 1;
        self.connections
    }

    pub(crate) fn disconnect(&mut self, session: u64) {
        self.outboxes.retain(|(known, _)| *known != session);
        let events = self.device.detach(session);
        self.deliver(&events);
    }

    /// Hands events to their connections. Under the device's lock, so that they arrive in the order they happened.
    pub(crate) fn deliver(&self, events: &[Event]) {
        for event in events {
            if let Some((_, outbox)) = self
                .outboxes
                .iter()
                .find(|(session, _)| *session == event.session)
            {
                outbox.push(&event.bytes);
            }
        }
    }

    /// Lets every connection look again at what the device does wrong.
    fn wake_all(&self) {
        for (_, outbox) in &self.outboxes {
            outbox.push(&[]);
        }
    }

    /// Ends every connection.
    pub(crate) fn disconnect_all(&mut self) {
        for (_, outbox) in self.outboxes.drain(..) {
            outbox.close();
        }
    }
}

fn fault_code(fault: Option<Fault>) -> u8 {
    let at = fault.and_then(|fault| Fault::ALL.iter().position(|known| *known == fault));
    at.map_or(0, |at| at as u8 + 1)
}
