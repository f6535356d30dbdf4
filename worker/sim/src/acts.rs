//! The commands of a device beside the verbs of its menus.

use std::time::Duration;

use routeros_wire::{Decoder, Limits, Sentence, encode};

use crate::device::{Caller, Device, Executed};
use crate::firmware::Work;
use crate::menu::{MenuId, Verb};
use crate::reply::Replies;
use crate::route::{Act, Route};
use crate::trap::Trap;

impl Device {
    pub(crate) fn act(
        &mut self,
        act: Act,
        request: Sentence<'_>,
        caller: Caller,
        now: Duration,
        replies: &mut Replies<'_>,
    ) -> Result<Executed, Trap> {
        let mut executed = Executed::default();
        match act {
            Act::Reboot => {
                self.reboot(now);
                executed.reboots = true;
            }
            Act::BackupLoad => {
                self.load_backup(request, now)?;
                self.reboot(now);
                executed.reboots = true;
            }
            Act::BackupSave => {
                let empty = self.saves_nothing;
                self.save_backup(request, empty, now)?;
            }
            Act::Execute => return self.execute_script(request, caller, now, replies),
            // Over the API it prints nothing (facts §3.4).
            Act::Export => {
                if let Some(name) = request.get(b"file") {
                    let given = |name: &[u8]| request.attributes().any(|(known, _)| known == name);
                    let sensitive = match (given(b"show-sensitive"), given(b"hide-sensitive")) {
                        (true, _) => Some(true),
                        (_, true) => Some(false),
                        _ => None,
                    };
                    let name = match name.ends_with(b".rsc") {
                        true => name.to_vec(),
                        false => [name, b".rsc"].concat(),
                    };
                    let text = self.export_text(sensitive, now);
                    self.files.export(&name, text, now);
                }
            }
            Act::FileRead => {
                self.read_file(request, now, replies)?;
                return Ok(executed);
            }
            Act::SafeModeRelease => self.release_safe_mode()?,
            Act::SafeModeTake => self.take_safe_mode(caller.session)?,
            Act::SafeModeUnroll => {
                self.unroll_safe_mode()?;
                self.look_for_cut();
            }
            Act::ScriptRun => {
                let name = request
                    .get(b".id")
                    .or(request.get(b"number"))
                    .or(request.get(b"numbers"));
                let name = name.ok_or_else(|| Trap::missing("number"))?;
                let scripts = self.table(MenuId::SystemScript, now);
                let id = scripts.find(name, Some("name")).ok_or_else(Trap::no_such_item)?;
                let source = scripts.row(id).and_then(|row| row.get(b"source"));
                let source = source.unwrap_or_default().to_vec();
                drop(scripts);
                let ran = self.run_script(&source, caller, now);
                if let Some(error) = ran.error {
                    return Err(Trap::script(&error));
                }
                executed.events = ran.events;
                executed.reboots = ran.restarts;
            }
            Act::Undo => {
                self.undo()?;
                self.look_for_cut();
            }
            Act::Fetch => {
                let url = request.get(b"url").ok_or_else(|| Trap::missing("url"))?;
                let last = || url.rsplit(|byte| *byte == b'/').next();
                let name = request.get(b"dst-path").or_else(last).unwrap_or_default();
                let work = Work::Fetch {
                    name: name.to_vec(),
                    since: now,
                };
                executed.works = Some((self.begin_work(work, now)?, url.to_vec()));
                return Ok(executed);
            }
            Act::PackageCheck | Act::PackageDownload => {
                let once = request.attributes().any(|(name, _)| name == b"once");
                let work = match act {
                    Act::PackageCheck => Work::Check,
                    _ => Work::Download,
                };
                let work = self.begin_work(work, now)?;
                if !once {
                    executed.works = Some((work, Vec::new()));
                    return Ok(executed);
                }
                self.tell_work(&work, &[], now, replies);
            }
            Act::PackageDowngrade | Act::PackageInstall => {
                match act {
                    Act::PackageDowngrade => self.downgrade(),
                    _ => drop(self.begin_work(Work::Download, now)?),
                }
                self.reboot(now);
                executed.reboots = true;
            }
            Act::PartitionCopy => {
                executed.works = Some((self.copy_to_partition(request, now)?, Vec::new()));
                return Ok(executed);
            }
            Act::PartitionActivate => self.activate_partition(request)?,
            Act::PartitionRestore => self.restore_from_partition(request)?,
            Act::PartitionSave => self.save_to_partition(request)?,
            Act::RouterboardUpgrade => self.upgrade_bootloader(),
            Act::Password => {
                self.change_password(request, caller, now)?;
            }
            // The cache is not simulated; the others belong to the connection.
            Act::BandwidthTest
            | Act::Cancel
            | Act::FlushDnsCache
            | Act::Login
            | Act::MonitorTraffic
            | Act::Ping
            | Act::Quit => {}
        }
        replies.done();
        Ok(executed)
    }

    /// `/password`: that of the user who asks.
    fn change_password(&mut self, request: Sentence<'_>, caller: Caller, now: Duration) -> Result<(), Trap> {
        let given = |name: &str| request.get(name.as_bytes()).ok_or_else(|| Trap::missing(name));
        let (old, new) = (given("old-password")?, given("new-password")?);
        let user = self.user_of(caller.session);
        if self.credentials(&user).is_none_or(|(secret, _)| secret != old) {
            return Err(Trap::failure("incorrect old password"));
        }
        if given("confirm-new-password")? != new {
            return Err(Trap::failure("passwords do not match"));
        }
        let words = [
            b"/user/set".to_vec(),
            [b"=numbers=", &user[..]].concat(),
            [b"=password=", new].concat(),
        ];
        let mut set = Vec::new();
        let mut decoder = Decoder::new(Limits::default());
        // Words that were decoded can be encoded, and decoded again.
        let _ = encode::sentence(&mut set, &words);
        if decoder.scan(&set).is_ok()
            && let Some(set) = decoder.sentences(&set).next()
        {
            let route = Route::Menu(MenuId::User.menu(), Verb::Set);
            self.run(route, set, caller, now, &mut Replies::new(&mut Vec::new(), None))?;
        }
        Ok(())
    }

    /// `/execute`: with `as-string` what it prints comes back when it is done; without, the id of a job of which nothing
    /// is heard any more.
    fn execute_script(
        &mut self,
        request: Sentence<'_>,
        caller: Caller,
        now: Duration,
        replies: &mut Replies<'_>,
    ) -> Result<Executed, Trap> {
        let script = request.get(b"script").ok_or_else(|| Trap::missing("script"))?;
        let waits = request.attributes().any(|(name, _)| name == b"as-string");
        let mut ran = self.run_script(script, caller, now);
        if waits {
            if let Some(error) = &ran.error {
                ran.output.extend_from_slice(error.as_bytes());
            }
            replies.returned(&ran.output);
        } else {
            replies.returned(b"*1");
        }
        Ok(Executed {
            events: ran.events,
            reboots: ran.restarts,
            ..Executed::default()
        })
    }
}
