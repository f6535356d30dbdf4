//! Values that are different on each device: `{{ labels.mgmt_net }}` (minijinja).
//!
//! | name | what |
//! |---|---|
//! | `labels.KEY` | a label of the device |
//! | `facts.version`, `facts.board`, `facts.architecture`, `facts.identity` | what it last said of itself |
//! | `device.name`, `device.address`, `device.zone` | as in the inventory |
//!
//! A name that is not defined is an error, and so is a template that does not come to its end.

use std::collections::BTreeMap;

use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use serde::Serialize;

/// Steps of the template engine that one value may take. A plain insertion takes a handful.
const FUEL: u64 = 10_000;

/// What templates know of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Device {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it last said of itself, by name. What is not known is not there.
    pub facts: BTreeMap<String, String>,
    /// As in the inventory, by name.
    pub device: BTreeMap<String, String>,
}

/// Whether a text is more than itself.
pub fn is_template(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|mark| text.contains(mark))
}

/// Whether a text is a template as far as can be told without a device.
pub fn check(text: &str) -> Result<(), String> {
    match is_template(text) {
        true => {
            let environment = environment();
            let template = environment
                .template_from_str(text)
                .map_err(|error| told(&error))?;
            let mut names = template
                .undeclared_variables(true)
                .into_iter()
                .collect::<Vec<_>>();
            names.sort();
            match names.iter().find(|name| !may_be(name)) {
                Some(name) => Err(format!(
                    "{name} is nothing that is known of a device; there are {KNOWN}"
                )),
                None => Ok(()),
            }
        }
        false => Ok(()),
    }
}

const KNOWN: &str = "labels.KEY, facts.version, facts.board, facts.architecture, facts.identity, device.name, device.address \
                     and device.zone";

/// Whether some device may have what is called so.
fn may_be(name: &str) -> bool {
    matches!(
        name.split_once('.').unwrap_or((name, "")),
        ("labels", _)
            | ("facts", "" | "version" | "board" | "architecture" | "identity")
            | ("device", "" | "name" | "address" | "zone")
    )
}

/// The text for a device.
///
/// ```
/// use muster_model::template::{Device, render};
/// let device = Device { labels: [("site".into(), "ams".into())].into(), ..Device::default() };
/// assert_eq!(render("{{ labels.site }}-1", &device), Ok("ams-1".into()));
/// assert!(render("{{ labels.rack }}", &device).is_err());
/// ```
pub fn render(text: &str, device: &Device) -> Result<String, String> {
    match is_template(text) {
        true => {
            let environment = environment();
            let rendered = environment.render_str(text, minijinja::value::Serde(device));
            rendered.map_err(|error| match undefined(&environment, text, device) {
                Some(name) if error.kind() == ErrorKind::UndefinedError => {
                    format!("{name} is not defined for this device")
                }
                _ => told(&error),
            })
        }
        false => Ok(text.to_owned()),
    }
}

/// The first name of a template that a device does not have.
fn undefined(environment: &Environment<'_>, text: &str, device: &Device) -> Option<String> {
    let template = environment.template_from_str(text).ok()?;
    let mut names = template
        .undeclared_variables(true)
        .into_iter()
        .collect::<Vec<_>>();
    names.sort();
    names.into_iter().find(|name| {
        let (root, key) = name.split_once('.').unwrap_or((name, ""));
        let of = match root {
            "labels" => &device.labels,
            "facts" => &device.facts,
            _ => &device.device,
        };
        !key.is_empty() && !of.contains_key(key)
    })
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment
}

/// Without the name of a file that there is not.
fn told(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_runs_for_ever() {
        let forever = "{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}";
        let device = Device::default();
        assert!(render(forever, &device).is_err());
        assert!(check("{{ labels.site").is_err() && check("{% if %}").is_err());
        assert_eq!(check("10.0.0.1/24"), Ok(()));
        assert_eq!(
            check("{{ labels.a.b }}{% if facts.board == 'x' %}{{ device.zone }}{% endif %}"),
            Ok(())
        );
        for text in ["{{ label.site }}", "{{ facts.versoin }}", "{{ device.labels }}"] {
            assert!(
                check(text).is_err_and(|error| error.contains("there are labels.KEY")),
                "{text}"
            );
        }
        assert_eq!(render("{ a }", &device), Ok("{ a }".into()));
        assert_eq!(
            render("{{ device.name }}{{ labels.site }}", &device),
            Err("device.name is not defined for this device".into())
        );
    }
}
