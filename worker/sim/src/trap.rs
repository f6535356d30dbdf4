//! What a device says when it does not do what it was asked.
//!
//! The texts are those of real devices where one is known (facts §1.2, §1.3, §3.6). `category` is optional on the
//! wire, and devices do leave it out.

use std::borrow::Cow;

use routeros_wire::TrapCategory;

/// One `!trap` sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trap {
    pub(crate) category: Option<TrapCategory>,
    /// Bytes, since it may quote the client.
    pub(crate) message: Cow<'static, [u8]>,
}

impl Trap {
    fn fixed(category: Option<TrapCategory>, message: &'static str) -> Self {
        Self {
            category,
            message: Cow::Borrowed(message.as_bytes()),
        }
    }

    fn about(category: Option<TrapCategory>, before: &str, name: &[u8], after: &str) -> Self {
        Self {
            category,
            message: Cow::Owned([before.as_bytes(), name, after.as_bytes()].concat()),
        }
    }

    /// An item that may not go.
    pub(crate) fn cannot_remove() -> Self {
        Self::fixed(None, "failure: can not remove builtin item")
    }

    /// `failure: already have such …`: the texts differ from menu to menu.
    pub(crate) fn duplicate(message: &'static str) -> Self {
        Self::fixed(None, message)
    }

    /// A value that does not parse.
    pub(crate) fn invalid(name: &str) -> Self {
        Self::about(
            Some(TrapCategory::ArgumentValue),
            "invalid value for argument ",
            name.as_bytes(),
            "",
        )
    }

    /// A command that `/cancel` ended.
    pub(crate) fn interrupted() -> Self {
        Self::fixed(Some(TrapCategory::Interrupted), "interrupted")
    }

    /// A parameter that a command cannot do without.
    pub(crate) fn missing(name: &str) -> Self {
        Self::about(None, "missing =", name.as_bytes(), "=")
    }

    /// A verb that a menu does not have.
    pub(crate) fn no_such_command() -> Self {
        Self::fixed(Some(TrapCategory::MissingItemOrCommand), "no such command")
    }

    /// The two traps of a path that does not exist; `part` is what is not there.
    pub(crate) fn no_such_directory(part: &[u8]) -> [Self; 2] {
        let category = Some(TrapCategory::MissingItemOrCommand);
        [
            Self::about(category, "no such command or directory (", part, ")"),
            Self::fixed(None, "no such command prefix"),
        ]
    }

    /// An item that does not exist.
    pub(crate) fn no_such_item() -> Self {
        Self::fixed(Some(TrapCategory::MissingItemOrCommand), "no such item (4)")
    }

    /// A value that is not among those allowed.
    pub(crate) fn no_match(name: &str) -> Self {
        let before = "input does not match any value of ";
        Self::about(Some(TrapCategory::ArgumentValue), before, name.as_bytes(), "")
    }

    /// What a device cannot do now.
    pub(crate) fn failure(why: &str) -> Self {
        Self::about(Some(TrapCategory::General), "failure: ", why.as_bytes(), "")
    }

    /// A script that stopped.
    pub(crate) fn script(why: &str) -> Self {
        Self::about(Some(TrapCategory::Scripting), "", why.as_bytes(), "")
    }

    /// A user whose group lacks a policy.
    pub(crate) fn not_enough_permissions() -> Self {
        Self::fixed(None, "not enough permissions (9)")
    }

    /// A command before login.
    pub(crate) fn not_logged_in() -> Self {
        Self::fixed(None, "not logged in")
    }

    /// A number outside its range.
    pub(crate) fn out_of_range(name: &str, low: u64, high: u64) -> Self {
        let after = format!(" is out of range ({low}..{high})");
        Self::about(
            Some(TrapCategory::ArgumentValue),
            "value of ",
            name.as_bytes(),
            &after,
        )
    }

    /// A query word that says nothing known.
    pub(crate) fn query(reason: &'static str) -> Self {
        Self::about(Some(TrapCategory::Api), "bad query: ", reason.as_bytes(), "")
    }

    /// A refused login, in the words of the device's version.
    pub(crate) fn refused_login(message: &'static str) -> Self {
        Self::fixed(None, message)
    }

    /// A parameter that a command does not have.
    pub(crate) fn unknown_parameter(name: &[u8]) -> Self {
        Self::about(None, "unknown parameter ", name, "")
    }
}
