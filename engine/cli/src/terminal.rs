//! What is safe and pleasant to print.

use std::borrow::Cow;
use std::fmt;
use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::sync::OnceLock;

use anstyle::{AnsiColor, Style};

use crate::exit::{Exit, Failure};

/// Errors.
pub(crate) const ERROR: Style = AnsiColor::Red.on_default().bold();
/// Hints.
pub(crate) const HINT: Style = AnsiColor::Cyan.on_default().bold();
/// What went well.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// What did not.
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
/// What may still change, or is beside the point.
pub(crate) const DIM: Style = Style::new().dimmed();
/// Titles.
pub(crate) const BOLD: Style = Style::new().bold();
/// Back to normal.
pub(crate) const RESET: anstyle::Reset = anstyle::Reset;

/// Why standard output takes nothing more: nothing to say for a reader that has gone away, the error otherwise.
static CLOSED: OnceLock<Option<String>> = OnceLock::new();

/// Prints a line of data. A reader that has gone away (`head`, `grep -q`) has what it wanted.
pub(crate) fn out(line: impl fmt::Display) {
    if is_closed() {
        return;
    }
    if let Err(error) = writeln!(anstream::stdout(), "{line}") {
        close(&error);
    }
}

/// Prints whole lines of data at once.
pub(crate) fn lines(text: &[u8]) {
    if is_closed() {
        return;
    }
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = stdout.write_all(text).and_then(|()| stdout.flush()) {
        close(&error);
    }
}

fn close(error: &std::io::Error) {
    let told = (error.kind() != ErrorKind::BrokenPipe).then(|| error.to_string());
    let _ = CLOSED.set(told);
}

/// Whether nobody reads standard output any more.
pub(crate) fn is_closed() -> bool {
    CLOSED.get().is_some()
}

/// The exit code of a command that ended with `exit`, after what became of its output.
pub(crate) fn settle(exit: Exit) -> Exit {
    match CLOSED.get() {
        Some(Some(error)) => Failure::usage(format!("standard output: {error}")).print(false),
        _ => exit,
    }
}

/// Text from a device, with what could move the cursor or ring the bell written out: comments are anybody's.
pub(crate) fn safe(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| {
        if c.is_control() {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    };
    Cow::Owned(text.chars().map(escape).collect())
}

/// As much of a text as reads well on a line.
pub(crate) fn short(text: &str, characters: usize) -> Cow<'_, str> {
    match text.char_indices().nth(characters) {
        Some((at, _)) => Cow::Owned(format!("{}…", &text[..at])),
        None => Cow::Borrowed(text),
    }
}

/// Whether a person reads the data.
pub(crate) fn is_read_by_a_person() -> bool {
    std::io::stdout().is_terminal()
}

/// Whether a person looks at what is told beside the data.
pub(crate) fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

/// Whether a person sits at both ends: to be asked, and to see the question.
pub(crate) fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// A number with thousands separated.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 device`, `2 devices`.
pub(crate) fn devices(count: u64) -> String {
    format!("{} device{}", number(count), if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_device_says_cannot_drive_the_terminal() {
        assert_eq!(safe("plain ж"), "plain ж");
        assert_eq!(safe("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(
            (number(7), number(1000), number(1234567)),
            ("7".into(), "1,000".into(), "1,234,567".into())
        );
    }
}
