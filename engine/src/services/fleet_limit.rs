//! Limits of the whole fleet, read and changed while everything runs.

use muster_model::limit::{KINDS, Limit, Limits};
use muster_proto::{Violation, v1};
use muster_store::{Deed, SetLimits};
use tonic::Status;

use super::Service;
use crate::{error, limits};

/// Changes in one call.
const MOST: usize = 100;

pub(super) fn kinds() -> Vec<v1::LimitKind> {
    let kind = |kind: &muster_model::limit::Kind| v1::LimitKind {
        name: kind.name.to_owned(),
        what: kind.what.to_owned(),
        least: kind.range.0,
        most: kind.range.1,
        default: kind.default,
    };
    KINDS.iter().map(kind).collect()
}

pub(super) fn messages(limits: &Limits) -> Vec<v1::Limit> {
    let limit = |(limit, value): (&Limit, u64)| v1::Limit {
        name: limit.kind.name.to_owned(),
        scope: limit.scope.to_string(),
        value,
    };
    limits.iter().map(limit).collect()
}

pub(super) async fn set(service: &Service, request: v1::SetLimitsRequest) -> Result<Vec<v1::Limit>, Status> {
    let changes = check(&request.changes).map_err(error::invalid)?;
    let text = |(limit, value): &(Limit, Option<u64>)| match value {
        Some(value) => format!("{limit} = {value}"),
        None => format!("{limit} reset"),
    };
    let deed = Deed {
        claimed_by: request.claimed_by,
        action: "limits.set",
        subject: "limits".to_owned(),
        reason: request.reason,
        detail: changes.iter().map(text).collect::<Vec<_>>().join(", "),
    };
    let shared = &service.0;
    let now = shared.clock.now();
    let set = shared.store.write(SetLimits { changes, deed, now }).await;
    let set = set.map_err(error::store)?;
    let told = messages(&set);
    limits::changed(shared, set);
    Ok(told)
}

fn check(changes: &[v1::LimitChange]) -> Result<Vec<(Limit, Option<u64>)>, Vec<Violation>> {
    if changes.is_empty() || changes.len() > MOST {
        let text = format!("1 to {MOST} changes at once, not {}", changes.len());
        return Err(vec![Violation::new("changes", text)]);
    }
    let (mut checked, mut violations) = (Vec::new(), Vec::new());
    for (at, change) in changes.iter().enumerate() {
        let limit = Limit::new(&change.name, &change.scope).and_then(|limit| {
            change.value.map_or(Ok(()), |value| limit.check(value))?;
            Ok((limit, change.value))
        });
        match limit {
            Ok(limit) => checked.push(limit),
            Err(error) => violations.push(Violation::new(format!("changes[{at}]"), error.to_string())),
        }
    }
    match violations.is_empty() {
        true => Ok(checked),
        false => Err(violations),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_change_is_told_and_none_is_made() {
        let change = |name: &str, scope: &str, value| v1::LimitChange {
            name: name.to_owned(),
            scope: scope.to_owned(),
            value,
        };
        let good = change("device.commands", "", Some(5));
        let bad = [
            good.clone(),
            change("device.burst", "", Some(0)),
            change("label.executions", "", Some(5)),
            change("speed", "", None),
        ];
        let told = check(&bad).expect_err("three are bad");
        let fields = told.iter().map(|violation| violation.field.as_str());
        assert_eq!(
            fields.collect::<Vec<_>>(),
            ["changes[1]", "changes[2]", "changes[3]"]
        );
        assert_eq!(check(&[good]).map(|good| good.len()), Ok(1));
        assert!(check(&[]).is_err());
    }
}
