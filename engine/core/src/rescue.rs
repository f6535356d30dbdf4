//! What to do about a device that is lost (J4), in words for whoever goes there.

use muster_model::firmware::Part;
use muster_model::{Guard, Step};

/// What is known of a lost device.
#[derive(Clone, Copy, Debug)]
pub struct Lost<'a> {
    /// Its name.
    pub device: &'a str,
    /// The job that lost it.
    pub job: &'a str,
    /// The step that was under way, or else the last that was done; none if it cannot be read any more.
    pub step: Option<&'a Step>,
    /// Whether it was under way.
    pub under_way: bool,
    /// What was armed for it on the device.
    pub guard: Option<Guard>,
    /// The number of its newest backup that is kept, and of its newest export.
    pub backup: Option<&'a str>,
    /// See [`Lost::backup`].
    pub export: Option<&'a str>,
}

impl Lost<'_> {
    /// What to do on site, in the order in which it is worth trying.
    pub fn on_site(&self) -> Vec<String> {
        let mut list = Vec::new();
        match self.guard.filter(|_| self.under_way) {
            Some(Guard::Scheduler) => list.push(
                "wait, or switch it off and on: its schedule muster-guard restores the backup when its time has come, \
                 and at its next start"
                    .to_owned(),
            ),
            Some(Guard::SafeMode) => list.push(
                "wait ten minutes: its safe mode takes the change back when it notices that our connection is gone"
                    .to_owned(),
            ),
            None => {}
        }
        match self.step {
            Some(Step::Firmware(firmware)) if matches!(firmware.part, Part::Install | Part::Bootloader) => {
                list.push(CONSOLE.to_owned());
                list.push(match firmware.part {
                    Part::Bootloader => {
                        "if it does not start: reset its RouterBOOT to the backup loader (hold the reset button while \
                         it is switched on), then Netinstall"
                            .to_owned()
                    }
                    _ => format!(
                        "if it does not start: install RouterOS by Netinstall ({}, or the version that it had)",
                        firmware.to.text()
                    ),
                });
                self.restore(&mut list);
            }
            Some(Step::Reboot(_)) => {
                list.push(CONSOLE.to_owned());
                list.push("if it does not start: install RouterOS by Netinstall".to_owned());
                self.restore(&mut list);
            }
            Some(Step::Ensure(_) | Step::Revert(_)) => {
                let step = self.step.map(Step::title).unwrap_or_default();
                list.push(format!(
                    "log in where no address is needed (console, or MAC Telnet and WinBox from its own segment) and \
                     take back {step}: muster job results {} tells what was there before",
                    self.job
                ));
                self.restore(&mut list);
            }
            Some(step) => {
                list.push(format!(
                    "log in where no address is needed (console, or MAC Telnet and WinBox from its own segment) and \
                     look what became of {}",
                    step.title()
                ));
                self.restore(&mut list);
            }
            None => {
                list.push(CONSOLE.to_owned());
                self.restore(&mut list);
            }
        }
        list.push(format!(
            "muster device test {} tells when it is back",
            self.device
        ));
        list
    }

    fn restore(&self, list: &mut Vec<String>) {
        let device = self.device;
        match (self.backup, self.export) {
            (Some(backup), _) => list.push(format!(
                "restore the backup that is kept: muster device exports {device} --get {backup}"
            )),
            (None, Some(export)) => list.push(format!(
                "no backup is kept; for a new start there is the export: muster device exports {device} --get {export}"
            )),
            (None, None) => list.push("neither a backup nor an export is kept of it".to_owned()),
        }
    }
}

const CONSOLE: &str =
    "look at its power and at what it says on its console (serial, or a screen where it has one)";

#[cfg(test)]
mod tests {
    use muster_model::{Command, Reboot};

    use super::*;

    fn advice(step: &Step, guard: Option<Guard>, backup: Option<&str>) -> String {
        let lost = Lost {
            device: "r7",
            job: "j",
            step: Some(step),
            under_way: true,
            guard,
            backup,
            export: Some("4"),
        };
        lost.on_site().join("\n")
    }

    #[test]
    fn what_to_do_depends_on_what_was_done() {
        let drop = Step::Command(
            Command::parse(["/ip/firewall/filter/add", "chain=input", "action=drop"]).expect("valid"),
        );
        let told = advice(&drop, Some(Guard::Scheduler), Some("3"));
        assert!(told.starts_with("wait, or switch it off and on"), "{told}");
        assert!(told.contains("MAC Telnet") && told.contains("--get 3"), "{told}");
        let told = advice(&drop, None, None);
        assert!(
            told.starts_with("log in where") && told.contains("--get 4"),
            "{told}"
        );
        let told = advice(&Step::Reboot(Reboot { wait_ms: 1000 }), None, Some("3"));
        assert!(
            told.contains("power") && told.contains("Netinstall") && told.contains("--get 3"),
            "{told}"
        );
        assert!(
            told.ends_with("muster device test r7 tells when it is back"),
            "{told}"
        );
    }
}
