//! What a device's refusal means for trying again (facts §3.6, fleet-semantics A8).

/// Why a device refused, as far as its words tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It will refuse again.
    Permanent,
    /// Something on its way was slow or busy: the same command may be taken a moment later.
    Transient,
}

/// Words of refusals that pass: matched case-insensitively, anywhere, because RouterOS puts context around them. Its
/// numeric suffixes are internal and not stable.
const TRANSIENT: &[&str] = &["radius timeout", "action failed (6)", "session closed"];

/// The class of a trap's message.
///
/// ```
/// use muster_model::trap::{Refusal, refusal};
/// assert_eq!(refusal("could not authenticate - radius timeout"), Refusal::Transient);
/// assert_eq!(refusal("no such item (4)"), Refusal::Permanent);
/// ```
pub fn refusal(message: &str) -> Refusal {
    let message = message.to_ascii_lowercase();
    // `timeout` alone; "timeout" inside a message may be a property's name.
    match message == "timeout" || TRANSIENT.iter().any(|words| message.contains(words)) {
        true => Refusal::Transient,
        false => Refusal::Permanent,
    }
}

/// Whether the device did not even know the command: its parser refused the sentence before anything ran. Not to be
/// asked of commands that run scripts, whose lines may fail so after others have run.
pub fn is_unknown_command(message: &str) -> bool {
    message.to_ascii_lowercase().starts_with("no such command")
}
