//! Why a connection is over, in words for people and for whoever may try again.

use bytes::Bytes;
use muster_model::{DeviceError, ErrorClass};
use muster_worker_core::{ConnectFailure, StepEnd};
use routeros_conn::CloseCause;

use super::Reply;

/// The end of a command that never left.
pub(super) fn unsent(error: DeviceError) -> Reply {
    Reply {
        end: StepEnd::NotSent(error),
        sentences: Bytes::new(),
    }
}

/// Why a command never left that nobody wants sent any more.
pub(crate) fn too_late() -> DeviceError {
    DeviceError::new(ErrorClass::Timeout, "it could not be sent in time")
}

/// What a connection means that the router ends before it answers the login.
const TURNED_AWAY: &str = "the router closed the connection before it answered the login: the service takes nobody from this \
                           address (/ip/service address=), or has no session left (max-sessions)";

/// What the machine says of a connection that was or was not logged in.
pub(super) fn failure(cause: &CloseCause, logged_in: bool) -> ConnectFailure {
    let (class, may_pass) = match cause {
        CloseCause::Fatal { .. } => (ErrorClass::Fatal, false),
        CloseCause::LoginRefused(refused) if refused.is_transient() => (ErrorClass::Timeout, true),
        CloseCause::LoginRefused(_) => (ErrorClass::Auth, false),
        CloseCause::LoginTimeout(_) => (ErrorClass::Timeout, true),
        CloseCause::Decode(_)
        | CloseCause::NotAReply(_)
        | CloseCause::StrayReplies(_)
        | CloseCause::Encode(_) => (ErrorClass::Protocol, false),
        // Whoever was in the middle of something suffers for another's command, and may ask again.
        CloseCause::CancelIgnored(_) | CloseCause::Lost | CloseCause::Requested => (ErrorClass::Reset, true),
    };
    let message = match cause {
        CloseCause::Lost if !logged_in => TURNED_AWAY.into(),
        cause => message(cause),
    };
    ConnectFailure {
        error: DeviceError::new(class, message),
        may_pass,
    }
}

/// The device's own words where it has any: they are what an operator searches for.
fn message(cause: &CloseCause) -> String {
    match cause {
        CloseCause::Fatal { reason } => String::from_utf8_lossy(reason).into_owned(),
        CloseCause::LoginRefused(refused) => String::from_utf8_lossy(&refused.message).into_owned(),
        CloseCause::CancelIgnored(_) => {
            "the device did not end an earlier command; its connection was closed".into()
        }
        other => other.to_string(),
    }
}
