//! The devices of a fleet, its journal and its counters: all that the connections share, without sockets.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clamp::{Asked, Clamp};
use crate::config::{FleetConfig, SimError};
use crate::counters::{Counters, LiveCounters};
use crate::device::{Account, Device};
use crate::drift::{self, Drift, Planted};
use crate::escape::escape;
use crate::fault::{Fault, deal};
use crate::firmware::Firmware;
use crate::generate::Profile;
use crate::journal::{Journal, JournalEntry};
use crate::listen::Event;
use crate::outbox::Outbox;
use crate::service::{Admission, Service};
use crate::tls::{Identity, Kind};

/// A fleet without sockets. [`Conversation`](crate::Conversation)s run on it.
#[derive(Debug)]
pub struct World {
    base: Ipv4Addr,
    devices: Vec<Place>,
    pub(crate) journal: Journal,
    pub(crate) counters: LiveCounters,
    pub(crate) late: Duration,
    pub(crate) rest_cut: Duration,
    clamp: Option<Clamp>,
    pub(crate) seed: u64,
    last_session: AtomicU64,
    /// The latest time that anybody has told, milliseconds.
    told: AtomicU64,
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
    /// Connections open now, by service.
    open: [u16; Service::ALL.len()],
    asked: Asked,
    /// Sessions and seats whose clients went and that the device has not noticed.
    gone: (Vec<u64>, Vec<Service>),
}

impl World {
    /// The devices that a configuration describes. Its addresses and ports are checked and not used.
    pub fn new(config: &FleetConfig) -> Result<Arc<Self>, SimError> {
        let versions = config.check()?;
        let account = Arc::new(Account {
            name: config.user.clone().into_bytes(),
            password: config.password.clone().into_bytes(),
        });
        let firmware = Arc::new(config.firmware.clone());
        let faults = deal(&config.faults, config.devices, config.seed);
        let profile = |index: usize| Profile {
            seed: config.seed,
            index,
            version: versions[index % versions.len()],
            born: versions[index % versions.len()],
            drift: None,
        };
        let mut profiles = (0..config.devices).map(profile).collect::<Vec<_>>();
        if let Some(share) = config.drift {
            drift::plant(&mut profiles, share, config.user == "admin");
        }
        let place = |(profile, fault): (Profile, Option<Fault>)| {
            let device = Device::new(profile, Arc::clone(&account)).set_up(
                config.safe_mode,
                config.port,
                Firmware::new(Arc::clone(&firmware)),
            );
            Place::new(device, fault)
        };
        Ok(Arc::new(Self {
            base: config.base,
            devices: profiles.into_iter().zip(faults).map(place).collect(),
            journal: Journal::default(),
            counters: LiveCounters::new(),
            late: config.late,
            rest_cut: config.rest_cut,
            clamp: config.clamp,
            seed: config.seed,
            last_session: AtomicU64::new(0),
            told: AtomicU64::new(0),
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

    /// What of a device is not as a hardening guide wants it since it was made; nothing unless drift was asked for.
    pub fn planted(&self, index: usize) -> Vec<Planted> {
        let drift = self
            .devices
            .get(index)
            .and_then(|place| place.lock().device.profile.drift);
        drift.map(Drift::planted).unwrap_or_default()
    }

    /// What a device does wrong now.
    pub fn fault(&self, index: usize) -> Option<Fault> {
        self.devices.get(index).and_then(Place::fault)
    }

    /// Sets what a device does wrong, for connections that are open too. Nothing when there is no such device.
    pub fn set_fault(&self, index: usize, fault: Option<Fault>) {
        if let Some(place) = self.devices.get(index) {
            place.fault.store(fault_code(fault), Relaxed);
            let mut state = place.lock();
            let now = self.told();
            state.device.saves_nothing = fault == Some(Fault::EmptyBackup);
            state.device.firmware.trouble = fault;
            if fault != Some(Fault::HalfOpen) {
                state.forget_gone(now);
            }
            state.wake_all();
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

    /// How long a device lets the answer to one more command wait.
    pub(crate) fn clamp(&self, device: usize, now: Duration) -> Option<Duration> {
        self.clamp
            .is_some()
            .then(|| self.clamp_of(&mut self.place(device).lock(), now))?
    }

    /// The same of a device that is at hand.
    pub(crate) fn clamp_of(&self, state: &mut State, now: Duration) -> Option<Duration> {
        state.asked.wait(self.clamp?, now)
    }

    /// The certificate of a device, as its fault has it.
    pub(crate) fn certificate(&self, device: usize) -> Result<Identity, rcgen::Error> {
        let kind = match self.fault(device) {
            Some(Fault::TlsExpired) => Kind::Expired,
            Some(Fault::TlsOther) => Kind::Other,
            _ => Kind::Usual,
        };
        Identity::of(self.seed, device, kind)
    }

    /// Somebody says what time it is: a time since the fleet was started.
    pub(crate) fn tell(&self, now: Duration) {
        self.told.fetch_max(now.as_millis() as u64, Relaxed);
    }

    /// The latest time that was told.
    pub(crate) fn told(&self) -> Duration {
        Duration::from_millis(self.told.load(Relaxed))
    }

    /// A device at a time, with all done that was due.
    pub(crate) fn at(&self, device: usize, now: Duration) -> MutexGuard<'_, State> {
        self.tell(now);
        let mut state = self.place(device).lock();
        let passed = state.device.pass(now);
        if passed.restarted {
            state.disconnect_all(now);
        } else if passed.anything {
            state.wake_all();
        }
        state
    }

    pub(crate) fn next_session(&self) -> u64 {
        self.last_session.fetch_add(1, Relaxed) + 1
    }
}

impl Place {
    fn new(mut device: Device, fault: Option<Fault>) -> Self {
        device.saves_nothing = fault == Some(Fault::EmptyBackup);
        device.firmware.trouble = fault;
        Self {
            fault: AtomicU8::new(fault_code(fault)),
            state: Mutex::new(State {
                device,
                outboxes: Vec::new(),
                connections: 0,
                open: [0; Service::ALL.len()],
                asked: Asked::default(),
                gone: (Vec::new(), Vec::new()),
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

    /// Counts a connection to a service, if it is let in.
    pub(crate) fn admit(&mut self, service: Service, peer: Ipv4Addr) -> Admission {
        let open = &mut self.open[service as usize];
        let admission = self.device.admits(service, peer, usize::from(*open));
        *open += u16::from(admission == Admission::Admitted);
        admission
    }

    /// A connection's client went without the device's noticing.
    pub(crate) fn leave_unnoticed(&mut self, service: Service) {
        self.gone.1.push(service);
    }

    /// The same of what the client had logged in.
    pub(crate) fn disconnect_unnoticed(&mut self, session: u64) {
        self.gone.0.push(session);
    }

    /// Notices who is gone.
    fn forget_gone(&mut self, now: Duration) {
        let (sessions, seats) = std::mem::take(&mut self.gone);
        sessions
            .into_iter()
            .for_each(|session| self.disconnect(session, now));
        seats.into_iter().for_each(|service| self.leave(service));
    }

    /// A connection to a service is over.
    pub(crate) fn leave(&mut self, service: Service) {
        let open = &mut self.open[service as usize];
        *open = open.saturating_sub(1);
    }

    pub(crate) fn disconnect(&mut self, session: u64, now: Duration) {
        self.device.holder_left(session, now);
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
    pub(crate) fn disconnect_all(&mut self, now: Duration) {
        self.forget_gone(now);
        for (_, outbox) in self.outboxes.drain(..) {
            outbox.close();
        }
    }
}

fn fault_code(fault: Option<Fault>) -> u8 {
    let at = fault.and_then(|fault| Fault::ALL.iter().position(|known| *known == fault));
    at.map_or(0, |at| at as u8 + 1)
}
