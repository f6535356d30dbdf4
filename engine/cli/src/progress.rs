//! One progress bar on a terminal; nothing elsewhere.

use std::fmt;
use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::terminal::number;

/// A bar over so many devices. Hidden when stderr is no terminal.
pub(crate) fn bar(total: u64) -> ProgressBar {
    made(
        total,
        "  {bar:40.green/dim} {human_pos}/{human_len}  {rate}  eta {eta}  {msg}",
    )
}

/// One that takes what the terminal is wide, however often that changes.
pub(crate) fn wide_bar() -> ProgressBar {
    made(
        0,
        "  {wide_bar:.green/dim} {human_pos}/{human_len}  {rate}  eta {eta}",
    )
}

fn made(total: u64, template: &str) -> ProgressBar {
    let target = match std::io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    // The template is a constant and right; a wrong one would only look plain.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
        // A bar whose rate cannot be written has no rate.
        let _ = write!(out, "{}/s", number(state.per_sec() as u64));
    };
    ProgressBar::with_draw_target(Some(total), target).with_style(style.with_key("rate", rate))
}
