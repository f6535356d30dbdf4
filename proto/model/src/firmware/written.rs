//! The parts of an upgrade, taken for the one step that somebody has written.

use std::ops::Range;

use super::{Firmware, Part};
use crate::plan::Step;

/// Steps as they were written: which they are, from 0, and in a few words what they do. An upgrade is one, however many it is
/// done in.
pub fn written(steps: &[Step]) -> Vec<(Range<usize>, String)> {
    let mut all = Vec::new();
    let mut at = 0;
    while let Some(step) = steps.get(at) {
        let mut parts = steps[at..].iter().map_while(firmware).peekable();
        let mut last: Option<&Firmware> = None;
        let mut count = 0;
        while let Some(next) = parts.next_if(|next| last.is_none_or(|last| order(last) < order(next))) {
            (last, count) = (Some(next), count + 1);
        }
        let end = at + count.max(1);
        let title = match last {
            Some(last) if count > 1 => title(&steps[at..end], last),
            _ => step.title(),
        };
        all.push((at..end, title));
        at = end;
    }
    all
}

fn firmware(step: &Step) -> Option<&Firmware> {
    match step {
        Step::Firmware(firmware) => Some(firmware),
        _ => None,
    }
}

/// The place of a part among those of its upgrade.
fn order(firmware: &Firmware) -> (bool, u8) {
    let part = match firmware.part {
        Part::Fallback => 0,
        Part::Channel => 1,
        Part::Stage => 2,
        Part::Install => 3,
        Part::Bootloader => 4,
    };
    (firmware.below.is_none(), part)
}

fn title(parts: &[Step], last: &Firmware) -> String {
    let has = |part: Part| parts.iter().filter_map(firmware).any(|one| one.part == part);
    let verb = if last.down { "downgrade" } else { "upgrade" };
    let mut title = format!("{verb} to {}", last.to.text());
    for (part, text) in [
        (Part::Fallback, ", with a partition to fall back to"),
        (Part::Bootloader, ", then RouterBOOT"),
    ] {
        if has(part) {
            title.push_str(text);
        }
    }
    if !has(Part::Install) {
        title.push_str(", only the download");
    }
    title
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firmware::with_fallbacks;
    use crate::{Level, Upgrade, WayBack};

    fn upgrade(version: &str) -> Upgrade {
        Upgrade {
            version: Some(version.to_owned()),
            ..Upgrade::default()
        }
    }

    #[test]
    fn an_upgrade_is_one_step_however_many_it_is_done_in() {
        let upgrades = [
            upgrade("7.16.2"),
            Upgrade {
                routerboot: true,
                ..upgrade("7.18.2")
            },
            Upgrade {
                channel: Some("stable".into()),
                stage_only: true,
                ..Upgrade::default()
            },
        ];
        let mut steps = vec![Step::Export];
        steps.extend(
            upgrades
                .into_iter()
                .flat_map(|upgrade| upgrade.steps().expect("valid")),
        );
        steps.push(Step::Export);
        assert_eq!(
            written(&steps),
            [
                (0..1, "export".to_owned()),
                (1..6, "upgrade to 7.16.2".to_owned()),
                (6..12, "upgrade to 7.18.2, then RouterBOOT".to_owned()),
                (
                    12..14,
                    "upgrade to the newest of stable, only the download".to_owned()
                ),
                (14..15, "export".to_owned()),
            ]
        );
        let way = WayBack {
            min: Level::L3,
            ..WayBack::default()
        };
        let guarded =
            with_fallbacks(upgrade("7.16.2").steps().expect("valid"), &way).expect("it has a way back");
        assert_eq!(
            written(&guarded),
            [(
                0..7,
                "upgrade to 7.16.2, with a partition to fall back to".to_owned()
            )]
        );
    }
}
