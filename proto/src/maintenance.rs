//! Between messages and the model: waits, scripts, files, restarts and firmware.

use std::time::Duration;

use muster_model::firmware::{Mirror, Part, Target};
use muster_model::script::Run;
use muster_model::{BadStep, Fetch, Firmware, Reboot, Script, Step, Upgrade, Verify, Wait, check};

use crate::v1;
use crate::v1::step::Kind;

/// What is wrong with a step: the path of the field from the step on, and why.
type Bad = Vec<(String, String)>;

/// The steps that a message of one of these kinds is.
pub(crate) fn steps(kind: &Kind) -> Result<Vec<Step>, Bad> {
    let one = |step| vec![step];
    match kind {
        Kind::Wait(message) => wait_of(message).map(Step::Wait).map(one),
        Kind::Script(message) => script_of(message).map(Step::Script).map(one),
        Kind::Fetch(message) => {
            let within = optional("fetch.within", message.within.as_ref())?;
            Fetch::new(&message.url, given(&message.file), given(&message.sha256), within)
                .map(Step::Fetch)
                .map(one)
                .map_err(|bad| under("fetch", bad))
        }
        Kind::Reboot(message) => {
            let wait = optional("reboot.wait", message.wait.as_ref())?;
            Reboot::new(wait)
                .map(Step::Reboot)
                .map(one)
                .map_err(|bad| under("reboot", bad))
        }
        Kind::Firmware(message) => firmware_of(message).map(Step::Firmware).map(one),
        Kind::Upgrade(message) => upgrade_of(message)?.steps().map_err(|bad| under("upgrade", bad)),
        Kind::Command(_)
        | Kind::Ensure(_)
        | Kind::Check(_)
        | Kind::Backup(_)
        | Kind::Export(_)
        | Kind::Revert(_) => Err(vec![(
            String::new(),
            "it is not of a kind that is read here".to_owned(),
        )]),
    }
}

fn under(kind: &str, bad: Vec<BadStep>) -> Bad {
    let named = |BadStep { field, message }| match field {
        "" => (kind.to_owned(), message),
        // What a file calls `url` and `source` is one field here.
        "url" | "source" if kind == "upgrade" => (format!("{kind}.mirror"), message),
        field => (format!("{kind}.{field}"), message),
    };
    bad.into_iter().map(named).collect()
}

fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn owned(text: &str) -> Option<String> {
    given(text).map(str::to_owned)
}

/// A duration that may be absent.
fn optional(field: &str, message: Option<&prost_types::Duration>) -> Result<Option<Duration>, Bad> {
    match message.map(crate::duration) {
        None => Ok(None),
        Some(Some(duration)) => Ok(Some(duration)),
        Some(None) => Err(vec![(field.to_owned(), "it is negative".to_owned())]),
    }
}

/// Milliseconds as a message.
pub(crate) fn time(ms: u64) -> Option<prost_types::Duration> {
    Duration::from_millis(ms).try_into().ok()
}

fn wait_of(message: &v1::Wait) -> Result<Wait, Bad> {
    match &message.kind {
        Some(v1::wait::Kind::Time(time)) => {
            let time = optional("wait.time", Some(time))?.unwrap_or_default();
            Wait::time(time).map_err(|bad| under("wait", bad))
        }
        Some(v1::wait::Kind::Until(until)) => {
            let within = optional("wait.until.within", until.within.as_ref())?;
            let every = optional("wait.until.every", until.every.as_ref())?;
            Wait::until(&until.expression, within, every).map_err(|bad| {
                let named = |BadStep { field, message }| match field {
                    "until" => ("wait.until.expression".to_owned(), message),
                    field => (format!("wait.until.{field}"), message),
                };
                bad.into_iter().map(named).collect()
            })
        }
        Some(v1::wait::Kind::Idle(idle)) => {
            let within = optional("wait.idle.within", idle.within.as_ref())?;
            let every = optional("wait.idle.every", idle.every.as_ref())?;
            Wait::idle(idle.max_load, within, every).map_err(|bad| under("wait.idle", bad))
        }
        None => Err(vec![(
            "wait".to_owned(),
            "it needs a time, or what is waited for".to_owned(),
        )]),
    }
}

pub(crate) fn wait(wait: &Wait) -> v1::Wait {
    let kind = match wait {
        Wait::For(ms) => time(*ms).map(v1::wait::Kind::Time),
        Wait::Until {
            check,
            within_ms,
            every_ms,
        } => Some(v1::wait::Kind::Until(v1::Until {
            expression: check.text().to_owned(),
            within: time(*within_ms),
            every: time(*every_ms),
        })),
        Wait::Idle {
            max_load,
            within_ms,
            every_ms,
        } => Some(v1::wait::Kind::Idle(v1::Idle {
            max_load: *max_load,
            within: time(*within_ms),
            every: time(*every_ms),
        })),
    };
    v1::Wait { kind }
}

fn script_of(message: &v1::Script) -> Result<Script, Bad> {
    let run = match &message.run {
        Some(v1::script::Run::Source(source)) => Run::Source(source.clone()),
        Some(v1::script::Run::Name(name)) => Run::Named(name.clone()),
        None => {
            return Err(vec![(
                "script".to_owned(),
                "it needs a source, or the name of a script of the router's".to_owned(),
            )]);
        }
    };
    let verify = match &message.verify {
        None => None,
        Some(verify) => Some(
            Verify::new(&verify.words, &verify.expect, verify.absent)
                .map_err(|error| vec![("script.verify.words".to_owned(), error.to_string())])?,
        ),
    };
    Script::new(run, verify).map_err(|bad| under("script", bad))
}

pub(crate) fn script(script: &Script) -> v1::Script {
    v1::Script {
        run: Some(match &script.run {
            Run::Source(source) => v1::script::Run::Source(source.clone()),
            Run::Named(name) => v1::script::Run::Name(name.clone()),
        }),
        verify: script.verify.as_ref().map(|verify| v1::Verify {
            words: verify.words.clone(),
            expect: verify.expect.clone(),
            absent: verify.absent,
        }),
    }
}

pub(crate) fn fetch(fetch: &Fetch) -> v1::Fetch {
    v1::Fetch {
        url: fetch.url.clone(),
        file: fetch.file.clone(),
        sha256: fetch.sha256.clone().unwrap_or_default(),
        within: time(fetch.within_ms),
    }
}

fn upgrade_of(message: &v1::Upgrade) -> Result<Upgrade, Bad> {
    Ok(Upgrade {
        version: owned(&message.version),
        channel: owned(&message.channel),
        down: message.downgrade,
        mirror: owned(&message.mirror),
        sha256: lower(&message.sha256),
        routerboot: message.routerboot,
        packages: message.packages.clone(),
        wait: optional("upgrade.wait", message.wait.as_ref())?,
        stage_only: message.stage_only,
        reserve: message.reserve,
    })
}

fn lower(map: &std::collections::HashMap<String, String>) -> std::collections::BTreeMap<String, String> {
    map.iter()
        .map(|(file, sha256)| (file.clone(), sha256.to_lowercase()))
        .collect()
}

/// A part that somebody made: it is one of the parts of an upgrade, or none.
fn firmware_of(message: &v1::Firmware) -> Result<Firmware, Bad> {
    let part = match message.part() {
        v1::FirmwarePart::Channel => Part::Channel,
        v1::FirmwarePart::Fallback => Part::Fallback,
        v1::FirmwarePart::Stage => Part::Stage,
        v1::FirmwarePart::Install => Part::Install,
        v1::FirmwarePart::Bootloader => Part::Bootloader,
        v1::FirmwarePart::Unspecified => {
            return Err(vec![("firmware.part".to_owned(), "it is no part".to_owned())]);
        }
    };
    // What is wrong with an upgrade is wrong with its parts.
    let whole = Upgrade {
        version: owned(&message.version),
        channel: owned(&message.channel).filter(|_| message.mirror.is_empty()),
        down: message.downgrade,
        mirror: owned(&message.mirror),
        sha256: lower(&message.sha256),
        packages: message.packages.clone(),
        wait: optional("firmware.wait", message.wait.as_ref())?,
        reserve: Some(message.reserve),
        ..Upgrade::default()
    };
    whole.steps().map_err(|bad| under("firmware", bad))?;
    let below = owned(&message.below);
    if below
        .as_deref()
        .is_some_and(|below| check::number(below).is_none())
    {
        let text = format!("{:?} is no version such as 7.0", message.below);
        return Err(vec![("firmware.below".to_owned(), text)]);
    }
    let wait = optional("firmware.wait", message.wait.as_ref())?.unwrap_or(muster_model::firmware::WAIT);
    Ok(Firmware {
        part,
        to: match owned(&message.version) {
            Some(version) => Target::Version(version),
            None => Target::Channel(message.channel.clone()),
        },
        down: message.downgrade,
        below,
        mirror: owned(&message.mirror).map(|url| Mirror {
            url,
            sha256: lower(&message.sha256),
        }),
        packages: message.packages.clone(),
        reserve: message.reserve,
        wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        fallback: message.fallback,
    })
}

pub(crate) fn firmware(firmware: &Firmware) -> v1::Firmware {
    let part = match firmware.part {
        Part::Channel => v1::FirmwarePart::Channel,
        Part::Fallback => v1::FirmwarePart::Fallback,
        Part::Stage => v1::FirmwarePart::Stage,
        Part::Install => v1::FirmwarePart::Install,
        Part::Bootloader => v1::FirmwarePart::Bootloader,
    };
    let (version, channel) = match &firmware.to {
        Target::Version(version) => (version.clone(), String::new()),
        Target::Channel(channel) => (String::new(), channel.clone()),
    };
    let mirror = firmware.mirror.as_ref();
    v1::Firmware {
        part: part.into(),
        version,
        channel,
        downgrade: firmware.down,
        below: firmware.below.clone().unwrap_or_default(),
        mirror: mirror.map(|mirror| mirror.url.clone()).unwrap_or_default(),
        sha256: mirror.map_or_else(Default::default, |mirror| {
            mirror.sha256.clone().into_iter().collect()
        }),
        packages: firmware.packages.clone(),
        reserve: firmware.reserve,
        wait: time(firmware.wait_ms),
        fallback: firmware.fallback,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_to_a_router_goes_there_and_back() {
        let upgrade = Upgrade {
            version: Some("7.16.2".into()),
            mirror: Some("http://mirror/{{ file }}".into()),
            sha256: [("routeros-7.16.2-arm64.npk".to_owned(), "a".repeat(64))].into(),
            routerboot: true,
            packages: vec!["wireless".into()],
            ..Upgrade::default()
        };
        let down = Upgrade {
            version: Some("7.12.1".into()),
            down: true,
            mirror: Some("http://mirror/{{ file }}".into()),
            ..Upgrade::default()
        };
        let channel = Upgrade {
            channel: Some("stable".into()),
            ..Upgrade::default()
        };
        let mut all = [upgrade, down.clone(), channel]
            .into_iter()
            .flat_map(|upgrade| upgrade.steps().expect("valid"))
            .collect::<Vec<_>>();
        let way = muster_model::WayBack {
            min: muster_model::Level::L3,
            ..Default::default()
        };
        let down = down.steps().expect("valid");
        all.extend(muster_model::firmware::with_fallbacks(down, &way).expect("it has a way back"));
        let until = Wait::until("facts.uptime > 60", None, None).expect("valid");
        let verify = Verify::new(["/ip/dns/print"], "", true).expect("a read");
        all.extend([
            Step::Wait(Wait::time(Duration::from_millis(1500)).expect("valid")),
            Step::Wait(Wait::idle(90, None, None).expect("valid")),
            Step::Wait(until),
            Step::Script(Script::new(Run::Named("tidy".into()), None).expect("valid")),
            Step::Script(Script::new(Run::Source("/quit".into()), Some(verify)).expect("valid")),
            Step::Fetch(Fetch::new("http://m/ca.pem", None, Some(&"0".repeat(64)), None).expect("valid")),
            Step::Reboot(Reboot::new(None).expect("valid")),
        ]);
        let plan = muster_model::Plan::new(all);
        let message = v1::Plan::from(&plan);
        assert_eq!(crate::plan(Some(&message), "plan"), Ok(plan));
    }

    /// Whoever demands L3 gets it, whatever he wrote the upgrade with.
    #[test]
    fn an_upgrade_that_has_to_have_a_way_back_has_it_or_is_refused() {
        let plan = |routerboot| v1::Plan {
            steps: vec![v1::Step {
                kind: Some(Kind::Upgrade(v1::Upgrade {
                    version: "7.16.2".into(),
                    routerboot,
                    ..Default::default()
                })),
            }],
            way_back: Some(v1::WayBack {
                min_level: "L3".into(),
                ..Default::default()
            }),
        };
        let made = crate::plan(Some(&plan(false)), "plan").expect("valid");
        let is_copy =
            |step: &Step| matches!(step, Step::Firmware(firmware) if firmware.part == Part::Fallback);
        assert_eq!(
            made.steps.iter().filter(|step| is_copy(step)).count(),
            2,
            "{made:?}"
        );
        assert_eq!(crate::plan(Some(&v1::Plan::from(&made)), "plan"), Ok(made));
        let refused = crate::plan(Some(&plan(true)), "plan").expect_err("RouterBOOT has none");
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert_eq!(refused[0].field, "plan.way_back.min_level");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let message = v1::Plan {
            steps: [
                Kind::Upgrade(v1::Upgrade {
                    downgrade: true,
                    mirror: "ftp:/".into(),
                    ..Default::default()
                }),
                Kind::Fetch(v1::Fetch::default()),
                Kind::Wait(v1::Wait::default()),
                Kind::Script(v1::Script::default()),
                Kind::Firmware(v1::Firmware::default()),
            ]
            .map(|kind| v1::Step { kind: Some(kind) })
            .into(),
            ..Default::default()
        };
        let violations = crate::plan(Some(&message), "p").expect_err("all wrong");
        let fields = violations
            .iter()
            .map(|violation| violation.field.as_str())
            .collect::<Vec<_>>();
        assert_eq!(
            fields,
            [
                "p.steps[0].upgrade.version",
                "p.steps[0].upgrade.mirror",
                "p.steps[0].upgrade.mirror",
                "p.steps[1].fetch.url",
                "p.steps[1].fetch.file",
                "p.steps[2].wait",
                "p.steps[3].script",
                "p.steps[4].firmware.part",
            ]
        );
    }
}
