//! `muster admin limits`: how gently routers are treated.

use muster_proto::v1;
use serde_json::{Value, json};

use super::connect::{Engine, claimed_by};
use super::result::table;
use crate::exit::{Done, Exit, Failure};
use crate::terminal::{number, out, safe};

pub(super) async fn run(
    engine: &Engine,
    set: Vec<String>,
    reset: Vec<String>,
    reason: String,
    json: bool,
) -> Done {
    if !set.is_empty() || !reset.is_empty() {
        let mut changes = set
            .iter()
            .map(|text| change(text))
            .collect::<Result<Vec<_>, _>>()?;
        for text in &reset {
            let (name, scope) = named(text)?;
            changes.push(v1::LimitChange {
                name,
                scope,
                value: None,
            });
        }
        let request = v1::SetLimitsRequest {
            changes,
            reason,
            claimed_by: claimed_by(),
        };
        engine.admin().set_limits(request).await?;
    }
    let answer = engine.admin().list_limits(v1::ListLimitsRequest {}).await?;
    let v1::ListLimitsResponse { kinds, limits } = answer.into_inner();
    if json {
        for kind in &kinds {
            out(to_json(kind, &limits));
        }
        return Ok(Exit::Ok);
    }
    let mut table = table(["LIMIT", "IS", "WITHOUT", "WHAT"]);
    for kind in &kinds {
        let default = kind.default.map_or_else(|| "no limit".to_owned(), number);
        let own = limits.iter().filter(|limit| limit.name == kind.name);
        let general = own.clone().find(|limit| limit.scope.is_empty());
        let is = general.map_or_else(|| default.clone(), |limit| number(limit.value));
        table.add_row([kind.name.clone(), is, default, kind.what.clone()]);
        for limit in own.filter(|limit| !limit.scope.is_empty()) {
            let name = format!("{}:{}", limit.name, safe(&limit.scope));
            table.add_row([name, number(limit.value), String::new(), String::new()]);
        }
    }
    out(&table);
    Ok(Exit::Ok)
}

/// `NAME[:SCOPE]=VALUE`; a scope may have equals signs of its own.
fn change(text: &str) -> Result<v1::LimitChange, Failure> {
    let usage = |why: &str| {
        Failure::usage(format!("{text:?}: {why}"))
            .hint("write for example device.commands=10 or label.executions:site=ams=20")
    };
    let (name, value) = text.rsplit_once('=').ok_or_else(|| usage("it has no value"))?;
    let value = value
        .trim()
        .parse()
        .map_err(|_| usage("behind the last = stands no whole number"))?;
    let (name, scope) = named(name)?;
    Ok(v1::LimitChange {
        name,
        scope,
        value: Some(value),
    })
}

/// A limit's name and what it is about. An empty zone or label is a variable that was not set, and not everything.
fn named(text: &str) -> Result<(String, String), Failure> {
    let Some((name, scope)) = text.split_once(':') else {
        return Ok((text.trim().to_owned(), String::new()));
    };
    match scope.trim() {
        "" => Err(Failure::usage(format!(
            "{text:?}: behind the colon stands no zone or label value"
        ))
        .hint("leave the colon out for what holds everywhere")),
        scope => Ok((name.trim().to_owned(), scope.to_owned())),
    }
}

fn to_json(kind: &v1::LimitKind, limits: &[v1::Limit]) -> Value {
    let set = limits.iter().filter(|limit| limit.name == kind.name);
    let set = set.map(|limit| json!({ "scope": limit.scope, "value": limit.value }));
    json!({
        "name": kind.name,
        "what": kind.what,
        "least": kind.least,
        "most": kind.most,
        "default": kind.default,
        "set": set.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_may_have_an_equals_sign() {
        let read = |text: &str| {
            let change = change(text).ok()?;
            Some((change.name, change.scope, change.value?))
        };
        let expected = |name: &str, scope: &str, value| Some((name.to_owned(), scope.to_owned(), value));
        assert_eq!(read("device.commands=10"), expected("device.commands", "", 10));
        assert_eq!(
            read("label.bytes:uplink=a=5"),
            expected("label.bytes", "uplink=a", 5)
        );
        assert_eq!(
            read("label.executions:site=*=20"),
            expected("label.executions", "site=*", 20)
        );
        assert_eq!(read("device.commands"), None);
        assert_eq!(read("device.commands=fast"), None);
    }
}
