//! A partition to fall back to, for firmware that does not start (L3).

use super::{Firmware, Part};
use crate::plan::Step;
use crate::way_back::{Level, WayBack};

/// The steps with a copy of what runs before each upgrade, where the plan demands `L3`; or why there is no such way back from
/// one of them. Steps that have it stay as they are.
///
/// The copy comes first, so that nothing is changed where it cannot be made, and before the download: one that had what is to
/// be installed would install it too when it is started.
pub fn with_fallbacks(steps: Vec<Step>, way: &WayBack) -> Result<Vec<Step>, String> {
    if way.min != Level::L3 {
        return Ok(steps);
    }
    let mut all = Vec::<Step>::with_capacity(steps.len());
    for step in steps {
        match step {
            Step::Firmware(firmware) if firmware.part == Part::Bootloader => {
                let text = "RouterBOOT is on no partition: nothing takes it back, and the plan demands L3. Leave routerboot \
                            out, and bring it up in a plan of its own";
                return Err(text.to_owned());
            }
            Step::Firmware(firmware) if firmware.part == Part::Install && firmware.to.version().is_none() => {
                let text =
                    "L3 needs an exact version: what a channel offers is only known when a router has asked";
                return Err(text.to_owned());
            }
            Step::Firmware(firmware) if firmware.part == Part::Install && !firmware.fallback => {
                let copy = Firmware {
                    part: Part::Fallback,
                    ..firmware.clone()
                };
                // Before what else is done of its upgrade.
                let is_part = |step: &Step| {
                    matches!(step, Step::Firmware(before)
                        if matches!(before.part, Part::Channel | Part::Stage) && before.below == firmware.below)
                };
                let before = all.iter().rev().take_while(|step| is_part(step)).count();
                all.insert(all.len() - before, Step::Firmware(copy));
                all.push(Step::Firmware(Firmware {
                    fallback: true,
                    ..firmware
                }));
            }
            step => all.push(step),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Upgrade;

    fn way(min: Level) -> WayBack {
        WayBack {
            min,
            ..WayBack::default()
        }
    }

    #[test]
    fn a_copy_comes_before_what_is_to_be_installed_is_there() {
        let upgrade = Upgrade {
            version: Some("7.16.2".into()),
            ..Upgrade::default()
        };
        let steps = upgrade.steps().expect("valid");
        assert_eq!(with_fallbacks(steps.clone(), &way(Level::L2)), Ok(steps.clone()));
        let guarded = with_fallbacks(steps, &way(Level::L3)).expect("it has a way back");
        let titles = guarded.iter().map(Step::title).collect::<Vec<_>>();
        assert_eq!(
            titles,
            [
                "upgrade to 7.12.1: a partition to fall back to",
                "update channel: upgrade",
                "upgrade to 7.12.1: download",
                "upgrade to 7.12.1: restart",
                "upgrade to 7.16.2: a partition to fall back to",
                "upgrade to 7.16.2: download",
                "upgrade to 7.16.2: restart",
            ]
        );
        let needs = guarded.iter().map(|step| way(Level::L3).needs(step));
        assert_eq!(
            needs.filter(|level| *level == Level::L3).count(),
            2,
            "the restarts"
        );
        assert_eq!(with_fallbacks(guarded.clone(), &way(Level::L3)), Ok(guarded));
    }

    #[test]
    fn some_have_no_way_back() {
        let upgrade = Upgrade {
            version: Some("7.16.2".into()),
            routerboot: true,
            ..Upgrade::default()
        };
        let why = with_fallbacks(upgrade.steps().expect("valid"), &way(Level::L3)).expect_err("refused");
        assert!(why.contains("on no partition"), "{why}");
        let newest = Upgrade {
            channel: Some("stable".into()),
            ..Upgrade::default()
        };
        let why = with_fallbacks(newest.steps().expect("valid"), &way(Level::L3)).expect_err("refused");
        assert!(why.contains("an exact version"), "{why}");
    }
}
