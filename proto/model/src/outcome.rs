//! How it went: the states of executions and jobs, and the classes of device errors.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $number:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant = $number,)* }

        impl $name {
            /// All of them, in the order of a life.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// As shown to people and in JSON.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The number it is stored and sent as.
            pub fn number(self) -> i32 {
                self as i32
            }

            /// Back from the number.
            pub fn from_number(number: i32) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }

            /// Back from the text.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)* _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

states! {
    /// The state of one job on one device (fleet-semantics A3). The numbers are those of `muster.v1.ExecutionState`.
    ExecutionState {
        /// Waits: for a worker, for its turn, for the device to come back.
        Pending = 1, "pending";
        /// A worker has it.
        Leased = 2, "leased";
        /// A worker acts on the device.
        Running = 3, "running";
        /// All steps done.
        Succeeded = 10, "succeeded";
        /// Already as wanted; nothing was written.
        Unchanged = 11, "unchanged";
        /// Left out, with a reason.
        Skipped = 12, "skipped";
        /// A check said no.
        Rejected = 13, "rejected";
        /// Withdrawn before it touched the device.
        Cancelled = 14, "cancelled";
        /// Not reached in time.
        Expired = 15, "expired";
        /// A read that failed, or a change the device refused.
        Failed = 16, "failed";
        /// Pre-state restored and verified.
        Reverted = 17, "reverted";
        /// Reachable, in neither the old nor the new state.
        Broken = 18, "broken";
        /// Unreachable at its deadline.
        Lost = 19, "lost";
        /// Bytes of a change had left and nobody can say what became of it.
        Unknown = 20, "unknown";
    }
}

impl ExecutionState {
    /// Whether it is final.
    pub fn is_terminal(self) -> bool {
        self.number() >= Self::Succeeded.number()
    }

    /// Whether the job did what it was asked to on this device.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Succeeded | Self::Unchanged)
    }

    /// Harmed in the sense of C1.
    pub fn is_harmed(self) -> bool {
        matches!(self, Self::Broken | Self::Lost | Self::Unknown)
    }
}

states! {
    /// The state of a job (fleet-semantics A2). The numbers are those of `muster.v1.JobState`.
    JobState {
        /// Being laid out.
        Draft = 1, "draft";
        /// Needs an approval.
        AwaitingApproval = 2, "awaiting_approval";
        /// Starts later.
        Scheduled = 3, "scheduled";
        /// Executions are handed out.
        Running = 4, "running";
        /// Soaking, or at a gate.
        Gated = 5, "gated";
        /// Outside its window.
        WaitingWindow = 6, "waiting_window";
        /// Stopped by a person.
        Paused = 7, "paused";
        /// Stopped by a rule.
        Halted = 8, "halted";
        /// Ending early.
        Aborting = 9, "aborting";
        /// Its revert job runs.
        Reverting = 10, "reverting";
        /// Every execution ended well.
        Completed = 20, "completed";
        /// Every execution ended, some not well.
        CompletedWithFailures = 21, "completed_with_failures";
        /// Ended early by a person or a rule.
        Aborted = 22, "aborted";
        /// Ended early and reverted.
        Reverted = 23, "reverted";
        /// Not started in time.
        Expired = 24, "expired";
    }
}

impl JobState {
    /// Whether it is final.
    pub fn is_terminal(self) -> bool {
        self.number() >= Self::Completed.number()
    }
}

states! {
    /// Who goes first (D1). Inside a class jobs share equally. The numbers are those of `muster.v1.JobPriority`.
    Priority {
        /// Before everything else.
        Emergency = 1, "emergency";
        /// Somebody waits at a terminal.
        Interactive = 2, "interactive";
        /// A rollout.
        Rollout = 3, "rollout";
        /// An audit.
        Audit = 4, "audit";
    }
}

states! {
    /// What kept a device from answering well. The numbers are those of `muster.v1.ErrorClass`.
    ErrorClass {
        /// The connection was refused, or there is no route.
        Refused = 1, "refused";
        /// No answer in time: to connect, to log in, to the command.
        Timeout = 2, "timeout";
        /// The connection ended before the answer was complete.
        Reset = 3, "reset";
        /// User name or password refused.
        Auth = 4, "auth";
        /// The device answered with `!trap`.
        Trap = 5, "trap";
        /// The device answered with `!fatal`.
        Fatal = 6, "fatal";
        /// What came is not the RouterOS API, or is over a limit.
        Protocol = 7, "protocol";
        /// The address does not resolve, or the host cannot be spoken to from here.
        Address = 8, "address";
        /// The worker that held it is gone.
        Worker = 9, "worker";
        /// Withdrawn by a person.
        Cancelled = 10, "cancelled";
        /// An answer was lost, and a look showed that the step was not done.
        NotDone = 11, "not_done";
        /// The device is quarantined.
        Quarantined = 12, "quarantined";
        /// The device's certificate is not trusted, or no secure connection can be agreed on.
        Tls = 25, "tls";
        /// It is another router than the one that was known: its serial number changed.
        Identity = 26, "identity";
        /// The plan does not fit the device: for example a menu of items where it wants one of a single item.
        Plan = 50, "plan";
        /// The device said that it was done, and a look showed otherwise.
        NotAsWanted = 51, "not_as_wanted";
        /// The device is not as the preview found it, or the preview did not find it.
        Drift = 52, "drift";
        /// A check of the plan does not hold.
        Check = 53, "check";
    }
}

/// What kept a device from answering well, in its own words where it has any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceError {
    /// The class a script can test.
    pub class: ErrorClass,
    /// For people: the device's words, or ours.
    pub message: String,
    /// The category of a trap, 0 to 7, when the device gave one.
    pub category: Option<u8>,
}

impl DeviceError {
    /// An error without a trap category.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            category: None,
        }
    }
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_go_there_and_back() {
        for &state in ExecutionState::ALL {
            assert_eq!(ExecutionState::from_number(state.number()), Some(state));
            assert_eq!(ExecutionState::parse(state.as_str()), Some(state));
        }
        for &state in JobState::ALL {
            assert_eq!(JobState::from_number(state.number()), Some(state));
        }
        assert_eq!(ErrorClass::from_number(0), None);
    }

    #[test]
    fn what_is_final() {
        let live = ExecutionState::ALL
            .iter()
            .filter(|state| !state.is_terminal())
            .count();
        assert_eq!(live, 3);
        assert!(!JobState::Reverting.is_terminal() && JobState::Completed.is_terminal());
    }
}
