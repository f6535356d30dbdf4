//! The connection to an engine, and its errors as people read them.

use std::time::Duration;

use muster_proto::v1::admin_service_client::AdminServiceClient;
use muster_proto::v1::credential_service_client::CredentialServiceClient;
use muster_proto::v1::device_service_client::DeviceServiceClient;
use muster_proto::v1::job_service_client::JobServiceClient;
use serde_json::{Value, json};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::exit::{Exit, Failure};

/// The largest answer taken: one device may say 16 MiB, which decoding into rows makes larger.
const MESSAGE_BYTES: usize = 128 << 20;

/// Clients of all services, over one connection.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    url: String,
    channel: Channel,
}

impl Engine {
    /// Connects.
    pub(crate) async fn connect(url: &str) -> Result<Self, Failure> {
        let bad = |error: tonic::transport::Error| {
            Failure::usage(format!(
                "--engine {url:?} is no URL ({error}); write for example http://127.0.0.1:7600"
            ))
        };
        let endpoint = Endpoint::from_shared(url.to_owned())
            .map_err(bad)?
            .connect_timeout(Duration::from_secs(5));
        let channel = endpoint.tcp_nodelay(true).connect().await.map_err(|error| {
            let cause = std::error::Error::source(&error)
                .map(ToString::to_string)
                .unwrap_or_default();
            Failure::new(
                Exit::Usage,
                "NO_CONNECTION",
                format!("no engine at {url}: {cause}"),
            )
            .hint("start one with `muster serve`, or name it with --engine")
        })?;
        Ok(Self {
            url: url.to_owned(),
            channel,
        })
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel.clone())
    }

    pub(crate) fn credentials(&self) -> CredentialServiceClient<Channel> {
        CredentialServiceClient::new(self.channel.clone())
    }

    pub(crate) fn devices(&self) -> DeviceServiceClient<Channel> {
        DeviceServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES)
    }

    pub(crate) fn jobs(&self) -> JobServiceClient<Channel> {
        JobServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let exit = match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => Exit::NotAllowed,
            Code::FailedPrecondition => Exit::Refused,
            _ => Exit::Usage,
        };
        let details = status.get_error_details();
        let reason = details
            .error_info()
            .map_or_else(|| format!("{:?}", status.code()), |info| info.reason.clone());
        let fields = details
            .bad_request()
            .map(|bad| bad.field_violations.as_slice())
            .unwrap_or_default();
        match fields {
            [one] => Self::new(exit, &reason, &one.description).with("field", one.field.as_str()),
            fields => {
                let detail = |field: &tonic_types::FieldViolation| json!({ "field": field.field, "message": field.description });
                let details = fields.iter().map(detail).collect::<Vec<_>>();
                let failure = Self::new(exit, &reason, status.message());
                if details.is_empty() {
                    failure
                } else {
                    failure.with("details", Value::Array(details))
                }
            }
        }
    }
}

/// Who asks, for the record: the operating-system user as the environment says, or else, under cron and in containers,
/// the system. Claimed, not proven.
pub(crate) fn claimed_by() -> String {
    let names = ["USER", "LOGNAME"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok());
    names
        .into_iter()
        .find(|name| !name.is_empty())
        .or_else(|| whoami::username().ok())
        .unwrap_or_default()
}
