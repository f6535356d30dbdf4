//! Errors as AIP-193 wants them: one reason, the variables of the message as metadata, violations by field.

use std::collections::HashMap;

use muster_proto::Violation;
use muster_store::StoreError;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, StatusExt as _};

const DOMAIN: &str = "muster";

fn info<const N: usize>(reason: &str, metadata: [(&str, String); N]) -> ErrorDetails {
    let metadata = metadata
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect::<HashMap<_, _>>();
    ErrorDetails::with_error_info(reason, DOMAIN, metadata)
}

/// Details travel in an HTTP header, which clients bound to a few KiB: so much of the violations is told.
const TOLD: usize = 4096;

/// Fields that cannot be taken, as many as fit.
pub(crate) fn invalid(mut violations: Vec<Violation>) -> Status {
    let all = violations.len();
    let mut told = 0;
    violations.retain(|violation| {
        told += violation.field.len() + violation.description.len();
        told <= TOLD
    });
    let message = match violations.first() {
        Some(one) if all == 1 => format!("{}: {}", one.field, one.description),
        Some(first) => format!(
            "{all} fields are not valid; the first: {}: {}",
            first.field, first.description
        ),
        None => format!("{all} fields are not valid"),
    };
    let mut details = info("INVALID_FIELD", []);
    let fields = violations
        .into_iter()
        .map(|violation| FieldViolation::new(violation.field, violation.description));
    details.set_bad_request(fields.collect::<Vec<_>>());
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// One field that cannot be taken.
pub(crate) fn invalid_field(field: &str, description: impl Into<String>) -> Status {
    invalid(vec![Violation::new(field, description)])
}

/// There is no such thing.
pub(crate) fn not_found(kind: &str, name: &str) -> Status {
    let message = format!("there is no {kind} {name:?}");
    let mut details = info(
        "NOT_FOUND",
        [("kind", kind.to_owned()), ("name", name.to_owned())],
    );
    details.set_resource_info(kind, name, "", &message);
    Status::with_error_details(Code::NotFound, message, details)
}

/// Right, but not now.
pub(crate) fn precondition(reason: &str, subject: &str, message: impl Into<String>) -> Status {
    let message = message.into();
    let mut details = info(reason, [("subject", subject.to_owned())]);
    details.set_precondition_failure(vec![PreconditionViolation::new(reason, subject, &message)]);
    Status::with_error_details(Code::FailedPrecondition, message, details)
}

/// More than is done for one caller.
pub(crate) fn exhausted(reason: &str, message: impl Into<String>) -> Status {
    Status::with_error_details(Code::ResourceExhausted, message, info(reason, []))
}

/// There is one already.
pub(crate) fn exists(reason: &str, name: &str, message: impl Into<String>) -> Status {
    let details = info(reason, [("name", name.to_owned())]);
    Status::with_error_details(Code::AlreadyExists, message, details)
}

/// The request id stands for another request.
pub(crate) fn request_id_reused(request_id: &str, job: &str) -> Status {
    let message = format!("request_id {request_id:?} was used before, with another body, for job {job}");
    let details = info(
        "REQUEST_ID_REUSED",
        [("requestId", request_id.to_owned()), ("job", job.to_owned())],
    );
    Status::with_error_details(Code::AlreadyExists, message, details)
}

/// Not allowed.
pub(crate) fn permission<const N: usize>(
    reason: &str,
    message: String,
    metadata: [(&str, String); N],
) -> Status {
    Status::with_error_details(Code::PermissionDenied, message, info(reason, metadata))
}

/// Not known.
pub(crate) fn unauthenticated(reason: &str, message: &str) -> Status {
    Status::with_error_details(Code::Unauthenticated, message, info(reason, []))
}

/// Comes with a later version.
#[cfg_attr(
    feature = "parquet",
    allow(dead_code, reason = "everything is there in this build")
)]
pub(crate) fn not_there_yet(what: &str) -> Status {
    let message = format!("{what} is not there yet in this version");
    Status::with_error_details(
        Code::Unimplemented,
        message,
        info("NOT_THERE_YET", [("what", what.to_owned())]),
    )
}

/// The store failed, and nothing was written. The text is for the operator; the caller may try again.
#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err takes")]
pub(crate) fn store(error: StoreError) -> Status {
    tracing::error!(%error, "the store failed");
    let (code, reason, message) = match &error {
        StoreError::Full => (
            Code::ResourceExhausted,
            "DISK_FULL",
            "the engine's disk is full and nothing was written; it goes on when there is space where its data is".into(),
        ),
        StoreError::Locked => (
            Code::Unavailable,
            "DATABASE_LOCKED",
            "another process holds the database of the engine and nothing was written; try again".into(),
        ),
        error => (Code::Unavailable, "STORE", format!("the engine's store failed: {error}")),
    };
    Status::with_error_details(code, message, info(reason, []))
}

/// What should not happen.
pub(crate) fn internal(error: impl std::fmt::Display) -> Status {
    tracing::error!(%error, "internal error");
    Status::with_error_details(Code::Internal, error.to_string(), info("INTERNAL", []))
}
