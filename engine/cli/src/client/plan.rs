//! Files with the steps of a plan.

use std::path::Path;

use muster_model::{FileError, FileErrors, file};
use muster_proto::v1;
use serde_json::json;

use crate::exit::Failure;

/// Reads the steps of a file; every mistake in it is told with its place.
pub(crate) fn load(path: &Path) -> Result<v1::Plan, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    let plan = file::read(&text, file::step::plan).map_err(|errors| refused(path, errors))?;
    Ok((&plan).into())
}

fn refused(path: &Path, FileErrors(errors): FileErrors) -> Failure {
    let several = if errors.len() == 1 { "mistake" } else { "mistakes" };
    let told = format!("{} has {} {several}", path.display(), errors.len());
    let detail = |error: &FileError| {
        let value = error.value.as_ref();
        let message = value.map_or_else(
            || error.message.clone(),
            |value| format!("{value} {}", error.message),
        );
        json!({ "line": error.line, "column": error.column, "field": error.field, "message": message })
    };
    Failure::usage(told).with("details", errors.iter().map(detail).collect::<Vec<_>>())
}
