//! The words that muster's parts share. No I/O and no clock: everything here is a value or a function of values.
//!
//! * [`Device`], [`Labels`] and [`Selector`]: what there is, and which of it is meant.
//! * [`Command`], [`Effect`] and [`Plan`]: what is to be done, and what that can do to a device.
//! * [`mod@file`]: files that people write, read with the place of every mistake.
//! * [`ExecutionState`], [`JobState`] and [`ErrorClass`]: how it went.

pub mod backup;
pub mod check;
pub mod command;
pub mod device;
pub mod effect;
pub mod ensure;
pub mod fetch;
pub mod file;
pub mod firmware;
pub mod label;
pub mod limit;
pub mod marks;
pub mod name;
pub mod outcome;
pub mod plan;
pub mod policy;
pub mod quiet;
pub mod reboot;
pub mod revert;
pub mod script;
pub mod selector;
pub mod span;
pub mod step;
pub mod template;
pub mod transport;
pub mod trap;
pub mod trust;
pub mod wait;
pub mod way_back;

pub use backup::{Backup, Kept};
pub use check::{Check, CheckError};
pub use command::{Command, CommandError, Follow, Verify};
pub use device::Device;
pub use effect::Effect;
pub use ensure::{Ensure, EnsureError, Items, Values, Want};
pub use fetch::Fetch;
pub use file::{FileError, FileErrors};
pub use firmware::{Firmware, Upgrade};
pub use label::Labels;
pub use marks::Marks;
pub use name::NameError;
pub use outcome::{DeviceError, ErrorClass, ExecutionState, JobState, Priority};
pub use plan::{Plan, PlanDigest, Step};
pub use policy::Policy;
pub use reboot::Reboot;
pub use revert::Revert;
pub use script::Script;
pub use selector::{Selector, SelectorError};
pub use step::BadStep;
pub use transport::{Ports, Transport};
pub use trust::{Demand, Pin, Trust};
pub use wait::Wait;
pub use way_back::{Guard, Level, WayBack};
