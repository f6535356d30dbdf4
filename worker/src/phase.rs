//! What an execution in a worker's hands is doing, for people who ask why it takes so long.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::session::{Handle, Stage};

/// Set by whoever runs the execution, read by whoever asks.
#[derive(Debug, Default)]
pub(crate) struct Phase(Mutex<Doing>);

/// What it does now.
#[derive(Clone, Debug, Default)]
pub(crate) enum Doing {
    /// It has just come.
    #[default]
    Beginning,
    /// Waits for a connection.
    Connecting(Handle),
    /// Waits for others to be done with the connection.
    Turn,
    /// Asks the engine for the right to change something.
    Intent,
    /// The engine does not grant it for now.
    Held,
    /// Lets time pass, as a step of its plan wants it.
    Waiting(&'static str),
    /// A command is on its way, or waits to be.
    Command(Handle),
}

impl Phase {
    pub(crate) fn set(&self, doing: Doing) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = doing;
    }

    /// Why there is no session yet, after some time.
    pub(crate) fn no_session(&self, within: Duration) -> String {
        let within = within.as_millis();
        match self.tell() {
            // The router has nothing to do with it.
            (why, true) => format!("no turn to connect within {within} ms: {why}"),
            (_, false) => format!("not connected and logged in within {within} ms"),
        }
    }

    /// In one sentence, and whether a limiter of this worker is what it waits for.
    pub(crate) fn tell(&self) -> (&'static str, bool) {
        let doing = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (handle, otherwise) = match doing {
            Doing::Beginning => return ("it has just come", false),
            Doing::Turn => {
                return (
                    "it waits for others to be done with the device's connection",
                    false,
                );
            }
            Doing::Intent => return ("it asks the engine for the right to change something", false),
            Doing::Waiting(what) => return (what, false),
            Doing::Held => return ("the engine does not grant its change for now", false),
            Doing::Connecting(handle) => (handle, "it connects and logs in"),
            Doing::Command(handle) => (handle, "the device has the command and has not answered"),
        };
        match handle.stage() {
            Stage::Connecting => ("it connects and logs in", false),
            Stage::Device => (otherwise, false),
            Stage::Room => ("it waits for a place among the worker's device sessions", true),
            Stage::Zone => (
                "it waits for the limit zone.connects: new connections a second in its zone",
                true,
            ),
            Stage::Login => ("it waits for the limit worker.logins: logins a second", true),
            Stage::Handshake => (
                "it waits for the limit worker.handshakes: connections in the making at once",
                true,
            ),
            Stage::DeviceRate => (
                "it waits for the limit device.commands: commands a second on its device",
                true,
            ),
            Stage::WorkerRate => (
                "it waits for the limit worker.commands: commands a second of its worker",
                true,
            ),
            Stage::Bytes => (
                "it waits for a limit label.bytes: bytes a second of a label of its device",
                true,
            ),
            Stage::Budget => (
                "it waits for other large answers: the worker's budget of open answers is spent",
                true,
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_it_does() {
        let phase = Phase::default();
        assert_eq!(phase.tell(), ("it has just come", false));
        phase.set(Doing::Held);
        assert!(phase.tell().0.contains("does not grant"));
    }
}
