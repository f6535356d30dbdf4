//! A simulated fleet of RouterOS devices that speak the binary API, for tests, benches and `muster sim`.
//!
//! ```text
//!              listener ── which device? the address that was connected to
//!                 │
//!              connection ── a socket and a loop
//!                 │
//!              Conversation ── bytes in, bytes out: login, tags, cancel, faults. No sockets, no clock
//!                 │
//!   journal ←─ World ── the devices, each behind a lock
//!                 │
//!              device ── pure state: execute(command, now) → replies and events
//! ```
//!
//! The devices are built on the grammar (`routeros-wire`) and on no client, so that neither hides the mistakes of
//! the other. Everything about a device follows from the fleet's seed and the device's index; a table is generated
//! when somebody looks at it and kept once somebody has changed it.
//!
//! A test may run a [`Fleet`] over sockets, or a [`Conversation`] on a [`World`] over nothing, on virtual time.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use muster_sim::{Conversation, FleetConfig, World};
//! use routeros_wire::{decode_all, encode, Limits};
//!
//! let world = World::new(&FleetConfig::default())?;
//! let mut connection = Conversation::open(&world, 0, [127, 0, 0, 1].into());
//! let (mut request, mut replies) = (Vec::new(), Vec::new());
//! encode::sentence(&mut request, ["/login", "=name=admin", "=password="])?;
//! encode::sentence(&mut request, ["/system/identity/print", ".tag=7"])?;
//! connection.handle_input(&request, Duration::ZERO, &mut replies);
//!
//! let mut kinds = Vec::new();
//! decode_all(&replies, Limits::default(), |reply| kinds.push((reply.kind(), reply.get(b"name").is_some())))?;
//! use routeros_wire::Kind::{Done, Re};
//! assert_eq!(kinds, [(Done, false), (Re, true), (Done, false)]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod acts;
mod backup;
mod change;
mod clamp;
mod config;
mod connection;
mod control;
mod conversation;
mod counters;
mod cut;
mod device;
mod drift;
mod escape;
mod fault;
mod field;
mod files;
mod firmware;
mod fleet;
mod generate;
mod history;
mod journal;
mod listen;
mod listener;
mod menu;
mod outbox;
mod paced;
mod partitions;
mod repeat;
mod reply;
mod rest;
mod rng;
mod route;
mod scheduler;
mod script;
mod selection;
mod service;
mod session;
mod table;
mod tls;
mod trap;
mod version;
mod world;

pub use clamp::Clamp;
pub use config::{FleetConfig, SimError};
pub use conversation::{Conversation, End};
pub use counters::Counters;
pub use drift::Planted;
pub use escape::{escape, unescape};
pub use fault::{BadFault, Fault, parse_faults};
pub use firmware::{FirmwareConfig, RestartEnd, package};
pub use fleet::Fleet;
pub use history::SafeMode;
pub use journal::{CommandResult, JOURNAL_ENTRIES, JournalEntry};
pub use version::{BadVersion, Version};
pub use world::World;
