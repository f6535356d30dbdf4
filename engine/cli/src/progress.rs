//! One progress bar on a terminal; nothing elsewhere.

use std::fmt;
use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::terminal::number;

/// A bar over so many devices. Hidden when stderr is no terminal.
pub(crate) fn bar(total: u64) -> ProgressBar {
    let target = match std::io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let template = "  {bar:40.green/dim} {human_pos}/{human_len}  {rate}  eta {eta}  {msg}";
    // The template is a constant and right; a wrong one would only look plain.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
        // A bar whose rate cannot be written has no rate.
        let _ = write!(out, "{}/s", number(state.per_sec() as u64));
    };
    ProgressBar::with_draw_target(Some(total), target).with_style(style.with_key("rate", rate))
}
