//! Between messages and the model. What comes from outside is checked here, once, and every violation is told.

use std::time::{Duration, UNIX_EPOCH};

use muster_model::{
    Backup, Check, Command, CommandError, DeviceError, Effect, Ensure, EnsureError, ErrorClass,
    ExecutionState, Follow, Items, JobState, Plan, Priority, Revert, Step, Values, Verify, Want,
};

use muster_model::way_back::{AFTER_RANGE, Level, WayBack};

use crate::{maintenance, v1};

/// A field of a request that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Dotted path, for example `spec.plan.steps[0].command.words`.
    pub field: String,
    /// What is wrong with the value and what would be right.
    pub description: String,
}

impl Violation {
    /// A violation of `field`.
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            description: description.into(),
        }
    }
}

/// A checked plan. `path` is where the message stands in the request.
pub fn plan(message: Option<&v1::Plan>, path: &str) -> Result<Plan, Vec<Violation>> {
    let steps = message.map(|plan| plan.steps.as_slice()).unwrap_or_default();
    if steps.is_empty() || steps.len() > muster_model::plan::MAX_STEPS {
        let description = format!(
            "a plan has 1 to {} steps, not {}",
            muster_model::plan::MAX_STEPS,
            steps.len()
        );
        return Err(vec![Violation::new(format!("{path}.steps"), description)]);
    }
    let (mut checked, mut violations) = (Vec::new(), Vec::new());
    for (at, step) in steps.iter().enumerate() {
        match &step.kind {
            Some(v1::step::Kind::Command(message)) => match command_of(message) {
                Ok(command) => checked.push(Step::Command(command)),
                Err((field, error)) => {
                    let field = format!("{path}.steps[{at}].command.{field}");
                    violations.push(Violation::new(field, error.to_string()));
                }
            },
            Some(v1::step::Kind::Ensure(message)) => match ensure_of(message) {
                Ok(ensure) => checked.push(Step::Ensure(ensure)),
                Err((field, error)) => {
                    let field = format!("{path}.steps[{at}].ensure.{field}");
                    violations.push(Violation::new(field, error.to_string()));
                }
            },
            Some(v1::step::Kind::Check(message)) => match Check::parse(&message.expression) {
                Ok(check) => checked.push(Step::Check(check)),
                Err(error) => {
                    let field = format!("{path}.steps[{at}].check.expression");
                    violations.push(Violation::new(field, error.to_string()));
                }
            },
            Some(v1::step::Kind::Backup(message)) => match message.max_age.as_ref().map(duration) {
                Some(None) => violations.push(Violation::new(
                    format!("{path}.steps[{at}].backup.max_age"),
                    "it is negative; leave it out for a backup in any case",
                )),
                age => checked.push(Step::Backup(Backup {
                    max_age_ms: age
                        .flatten()
                        .map(|age| age.as_millis().try_into().unwrap_or(u64::MAX)),
                    or_export: message.or_export,
                })),
            },
            Some(v1::step::Kind::Export(_)) => checked.push(Step::Export),
            Some(v1::step::Kind::Revert(message)) => {
                match ensure_of(message.ensure.as_ref().unwrap_or(&v1::Ensure::default())) {
                    Ok(ensure) => checked.push(Step::Revert(Box::new(Revert {
                        ensure,
                        step: message.step,
                    }))),
                    Err((field, error)) => {
                        let field = format!("{path}.steps[{at}].revert.ensure.{field}");
                        violations.push(Violation::new(field, error.to_string()));
                    }
                }
            }
            Some(other) => match maintenance::steps(other) {
                Ok(steps) => checked.extend(steps),
                Err(bad) => violations.extend(
                    bad.into_iter()
                        .map(|(field, text)| Violation::new(format!("{path}.steps[{at}].{field}"), text)),
                ),
            },
            None => violations.push(Violation::new(
                format!("{path}.steps[{at}]"),
                "a step needs a kind: command, ensure, check, backup, export, wait, script, fetch, reboot or upgrade",
            )),
        }
    }
    let way_back = message.and_then(|plan| plan.way_back.as_ref());
    let way_back = way_back_of(way_back, path).unwrap_or_else(|bad| {
        violations.extend(bad);
        WayBack::default()
    });
    if !violations.is_empty() {
        return Err(violations);
    }
    let steps = muster_model::firmware::with_fallbacks(checked, &way_back)
        .map_err(|text| vec![Violation::new(format!("{path}.way_back.min_level"), text)])?;
    Ok(Plan { steps, way_back })
}

fn way_back_of(message: Option<&v1::WayBack>, path: &str) -> Result<WayBack, Vec<Violation>> {
    let Some(message) = message else {
        return Ok(WayBack::default());
    };
    let mut violations = Vec::new();
    let min = match message.min_level.as_str() {
        "" => Level::L0,
        text => text.parse().unwrap_or_else(|error: String| {
            violations.push(Violation::new(format!("{path}.way_back.min_level"), error));
            Level::L0
        }),
    };
    let after = message.after.as_ref().map(duration);
    if let Some(given) = after
        && !given.is_some_and(|given| AFTER_RANGE.contains(&given))
    {
        violations.push(Violation::new(
            format!("{path}.way_back.after"),
            "it is to be 5 s to 24 h",
        ));
    }
    match violations.is_empty() {
        true => Ok(WayBack {
            min,
            accept_none: message.accept_none,
            after_ms: after
                .flatten()
                .and_then(|after| after.as_millis().try_into().ok()),
            on_failed_check: message.revert_on_failed_check,
        }),
        false => Err(violations),
    }
}

fn way_back(way: &WayBack) -> Option<v1::WayBack> {
    (!way.is_default()).then(|| v1::WayBack {
        min_level: way.min.to_string(),
        accept_none: way.accept_none,
        after: way
            .after_ms
            .and_then(|after| Duration::from_millis(after).try_into().ok()),
        revert_on_failed_check: way.on_failed_check,
    })
}

fn command_of(message: &v1::Command) -> Result<Command, (&'static str, CommandError)> {
    let mut command = Command::parse(&message.words).map_err(|error| ("words", error))?;
    if message.declared_read {
        command = command.declare_read().map_err(|error| ("declared_read", error))?;
    }
    if let Some(follow) = follow_of(message) {
        command = command.with_follow(follow).map_err(|error| match error {
            CommandError::FollowRows => ("follow_rows", error),
            _ => ("follow", error),
        })?;
    }
    if message.tolerant {
        command = command.tolerant().map_err(|error| ("tolerant", error))?;
    }
    let Some(v1::Verify {
        words,
        expect,
        absent,
    }) = &message.verify
    else {
        return Ok(command);
    };
    let verify = Verify::new(words, expect, *absent).map_err(|error| ("verify.words", error))?;
    command.with_verify(verify).map_err(|error| ("verify", error))
}

fn ensure_of(message: &v1::Ensure) -> Result<Ensure, (&'static str, EnsureError)> {
    match &message.want {
        Some(v1::ensure::Want::Set(set)) => {
            let set = Values::new(set.values.clone()).map_err(|error| ("set", error))?;
            Ensure::singleton(&message.menu, set).map_err(|error| ("menu", error))
        }
        Some(v1::ensure::Want::Items(items)) => items_of(&message.menu, items),
        None => Err(("set", EnsureError::Empty)),
    }
}

fn items_of(menu: &str, message: &v1::Items) -> Result<Ensure, (&'static str, EnsureError)> {
    let all = |list: &[v1::Values]| {
        list.iter()
            .map(|values| Values::new(values.values.clone()))
            .collect::<Result<Vec<_>, _>>()
    };
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let items = Items {
        key: message.key.clone(),
        items: all(&message.items).map_err(|error| ("items.items", error))?,
        absent: all(&message.absent).map_err(|error| ("items.absent", error))?,
        purge: some(&message.purge),
        ordered: message.ordered,
        place_before: some(&message.place_before),
    };
    Ensure::items(menu, items).map_err(|error| match error {
        error @ (EnsureError::Menu(_) | EnsureError::IsCommand(_)) => ("menu", error),
        error => ("items", error),
    })
}

/// A wish as a message.
fn ensure(ensure: &Ensure) -> v1::Ensure {
    let values = |values: &Values| v1::Values {
        values: values
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    };
    let want = match ensure.want() {
        Want::Set(set) => v1::ensure::Want::Set(values(set)),
        Want::Items(items) => v1::ensure::Want::Items(v1::Items {
            key: items.key.clone(),
            items: items.items.iter().map(values).collect(),
            absent: items.absent.iter().map(values).collect(),
            purge: items.purge.clone().unwrap_or_default(),
            ordered: items.ordered,
            place_before: items.place_before.clone().unwrap_or_default(),
        }),
    };
    v1::Ensure {
        menu: ensure.menu().to_owned(),
        want: Some(want),
    }
}

/// With rows alone, a command is followed for so long at most.
const FOLLOW_ROWS_WITHIN: Duration = Duration::from_secs(60 * 60);

fn follow_of(message: &v1::Command) -> Option<Follow> {
    let lasts = match &message.follow {
        // A negative time is none, and refused as such.
        Some(given) => duration(given).unwrap_or(Duration::ZERO),
        None if message.follow_rows > 0 => FOLLOW_ROWS_WITHIN,
        None => return None,
    };
    Some(Follow {
        lasts_ms: lasts.as_millis().try_into().unwrap_or(u64::MAX),
        rows: Some(message.follow_rows).filter(|rows| *rows > 0),
    })
}

/// A command as a message.
pub fn command(command: &Command) -> v1::Command {
    v1::Command {
        words: command.words().to_vec(),
        verify: command.verify().map(|verify| v1::Verify {
            words: verify.words.clone(),
            expect: verify.expect.clone(),
            absent: verify.absent,
        }),
        declared_read: command.is_declared_read(),
        follow: command
            .follow()
            .and_then(|follow| Duration::from_millis(follow.lasts_ms).try_into().ok()),
        follow_rows: command.follow().and_then(|follow| follow.rows).unwrap_or(0),
        tolerant: command.is_tolerant(),
    }
}

/// A duration as a message gives it; `None` when it is negative.
pub fn duration(message: &prost_types::Duration) -> Option<Duration> {
    (*message).try_into().ok()
}

/// Milliseconds since the Unix epoch as a message.
pub fn time(unix_ms: i64) -> prost_types::Timestamp {
    let since = Duration::from_millis(unix_ms.unsigned_abs());
    let time = if unix_ms < 0 {
        UNIX_EPOCH - since
    } else {
        UNIX_EPOCH + since
    };
    time.into()
}

impl From<&Plan> for v1::Plan {
    fn from(plan: &Plan) -> Self {
        let kind = |step: &Step| match step {
            Step::Command(words) => v1::step::Kind::Command(command(words)),
            Step::Ensure(wish) => v1::step::Kind::Ensure(ensure(wish)),
            Step::Check(check) => v1::step::Kind::Check(v1::Check {
                expression: check.text().to_owned(),
            }),
            Step::Backup(backup) => v1::step::Kind::Backup(v1::Backup {
                max_age: backup
                    .max_age_ms
                    .and_then(|age| Duration::from_millis(age).try_into().ok()),
                or_export: backup.or_export,
            }),
            Step::Export => v1::step::Kind::Export(v1::Export {}),
            Step::Wait(wait) => v1::step::Kind::Wait(maintenance::wait(wait)),
            Step::Script(script) => v1::step::Kind::Script(maintenance::script(script)),
            Step::Fetch(fetch) => v1::step::Kind::Fetch(maintenance::fetch(fetch)),
            Step::Reboot(reboot) => v1::step::Kind::Reboot(v1::Reboot {
                wait: maintenance::time(reboot.wait_ms),
            }),
            Step::Firmware(firmware) => v1::step::Kind::Firmware(maintenance::firmware(firmware)),
            Step::Revert(revert) => v1::step::Kind::Revert(v1::Revert {
                ensure: Some(ensure(&revert.ensure)),
                step: revert.step,
            }),
        };
        Self {
            way_back: way_back(&plan.way_back),
            steps: plan
                .steps
                .iter()
                .map(|step| v1::Step {
                    kind: Some(kind(step)),
                })
                .collect(),
        }
    }
}

impl From<&DeviceError> for v1::DeviceError {
    fn from(error: &DeviceError) -> Self {
        Self {
            class: v1::ErrorClass::from(error.class).into(),
            message: error.message.clone(),
            category: error.category.map(u32::from),
        }
    }
}

impl v1::DeviceError {
    /// As the model has it; `None` when the class is not known here.
    pub fn to_model(&self) -> Option<DeviceError> {
        Some(DeviceError {
            class: ErrorClass::from_number(self.class)?,
            message: self.message.clone(),
            category: self.category.and_then(|category| category.try_into().ok()),
        })
    }
}

impl From<ErrorClass> for v1::ErrorClass {
    fn from(class: ErrorClass) -> Self {
        Self::try_from(class.number()).unwrap_or_default()
    }
}

impl From<ExecutionState> for v1::ExecutionState {
    fn from(state: ExecutionState) -> Self {
        Self::try_from(state.number()).unwrap_or_default()
    }
}

impl From<JobState> for v1::JobState {
    fn from(state: JobState) -> Self {
        Self::try_from(state.number()).unwrap_or_default()
    }
}

impl From<Priority> for v1::JobPriority {
    fn from(priority: Priority) -> Self {
        Self::try_from(priority.number()).unwrap_or_default()
    }
}

impl From<Effect> for v1::Effect {
    fn from(effect: Effect) -> Self {
        match effect {
            Effect::Read => Self::Read,
            Effect::Stage => Self::Stage,
            Effect::Change => Self::Change,
            Effect::Disrupt => Self::Disrupt,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_of_the_model_is_in_the_api() {
        for &state in ExecutionState::ALL {
            let name = format!("EXECUTION_STATE_{}", state.as_str().to_uppercase());
            assert_eq!(v1::ExecutionState::from(state).as_str_name(), name);
        }
        for &state in JobState::ALL {
            let name = format!("JOB_STATE_{}", state.as_str().to_uppercase());
            assert_eq!(v1::JobState::from(state).as_str_name(), name);
        }
        for &priority in Priority::ALL {
            let name = format!("JOB_PRIORITY_{}", priority.as_str().to_uppercase());
            assert_eq!(v1::JobPriority::from(priority).as_str_name(), name);
        }
        for &class in ErrorClass::ALL {
            let name = format!("ERROR_CLASS_{}", class.as_str().to_uppercase());
            assert_eq!(v1::ErrorClass::from(class).as_str_name(), name);
        }
    }

    #[test]
    fn every_bad_step_is_named() {
        let step = |words: &[&str]| v1::Step {
            kind: Some(v1::step::Kind::Command(v1::Command {
                words: words.iter().map(ToString::to_string).collect(),
                ..Default::default()
            })),
        };
        let message = v1::Plan {
            steps: vec![step(&["print"]), step(&["/a/print"]), step(&[])],
            ..Default::default()
        };
        let fields = plan(Some(&message), "spec.plan").expect_err("two are bad");
        let fields = fields
            .iter()
            .map(|violation| violation.field.as_str())
            .collect::<Vec<_>>();
        assert_eq!(
            fields,
            [
                "spec.plan.steps[0].command.words",
                "spec.plan.steps[2].command.words"
            ]
        );
        assert!(plan(None, "plan").is_err());
    }

    #[test]
    fn what_a_command_says_of_itself_goes_there_and_back() {
        let verify = v1::Verify {
            words: vec!["/ip/dns/print".into()],
            expect: "servers=1.1.1.1".into(),
            absent: true,
        };
        let message = v1::Command {
            words: vec!["/ip/dns/set".into(), "=servers=1.1.1.1".into()],
            verify: Some(verify),
            ..Default::default()
        };
        assert_eq!(command(&command_of(&message).expect("valid")), message);
        let followed = v1::Command {
            words: vec!["/interface/listen".into()],
            follow: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
            follow_rows: 3,
            ..Default::default()
        };
        assert_eq!(command(&command_of(&followed).expect("valid")), followed);
        let refused = v1::Command {
            follow_rows: 1,
            ..message.clone()
        };
        assert_eq!(command_of(&refused).expect_err("it changes").0, "follow");
        let declared = v1::Command {
            declared_read: true,
            ..message
        };
        assert_eq!(
            command_of(&declared).expect_err("known to change").0,
            "declared_read"
        );
    }

    #[test]
    fn what_should_be_true_goes_there_and_back() {
        let set = v1::Values {
            values: [("servers".to_owned(), "1.1.1.1".to_owned())].into(),
        };
        let message = v1::Ensure {
            menu: "/ip/dns".into(),
            want: Some(v1::ensure::Want::Set(set)),
        };
        assert_eq!(ensure(&ensure_of(&message).expect("valid")), message);
        let list = v1::Values {
            values: [("list".to_owned(), "mgmt".to_owned())].into(),
        };
        let gone = v1::Values {
            values: [("list".to_owned(), "old".to_owned())].into(),
        };
        let items = v1::Items {
            key: vec!["list".into()],
            items: vec![list],
            absent: vec![gone],
            purge: "list=old".into(),
            ordered: true,
            place_before: "list=z".into(),
        };
        let items = v1::Ensure {
            menu: "/ip/firewall/address-list".into(),
            want: Some(v1::ensure::Want::Items(items)),
        };
        assert_eq!(ensure(&ensure_of(&items).expect("valid")), items);
        let step = v1::Step {
            kind: Some(v1::step::Kind::Ensure(v1::Ensure {
                menu: "ip dns".into(),
                ..message
            })),
        };
        let violations = plan(
            Some(&v1::Plan {
                steps: vec![step],
                ..Default::default()
            }),
            "p",
        )
        .expect_err("no menu");
        assert_eq!(violations[0].field, "p.steps[0].ensure.menu");
    }

    #[test]
    fn a_password_is_not_printed() {
        let request = v1::SetCredentialRequest {
            password: "hunter2".into(),
            ..Default::default()
        };
        assert!(!format!("{request:?}").contains("hunter2"));
    }
}
