//! The commands that talk to an engine. They know its public API and nothing else of it.

pub(crate) mod admin;
pub(crate) mod aggregate;
pub(crate) mod audit;
pub(crate) mod connect;
pub(crate) mod credential;
pub(crate) mod csv;
pub(crate) mod device;
pub(crate) mod export;
mod fleet_limit;
pub(crate) mod follow;
pub(crate) mod freeze;
mod group;
pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod job;
mod kept;
mod limits;
mod plan;
pub(crate) mod report;
pub(crate) mod rescue;
pub(crate) mod result;
pub(crate) mod rollout;
pub(crate) mod run;
pub(crate) mod schedule;
pub(crate) mod steer;
