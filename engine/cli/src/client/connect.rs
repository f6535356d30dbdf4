//! The connection to an engine, and its errors as people read them.

use std::fmt;
use std::path::PathBuf;
use std::sync::OnceLock;

use muster_proto::dial::{Dial, DialError, Files};
use muster_proto::v1::admin_service_client::AdminServiceClient;
use muster_proto::v1::audit_service_client::AuditServiceClient;
use muster_proto::v1::credential_service_client::CredentialServiceClient;
use muster_proto::v1::device_service_client::DeviceServiceClient;
use muster_proto::v1::job_service_client::JobServiceClient;
use muster_proto::v1::schedule_service_client::ScheduleServiceClient;
use serde_json::{Value, json};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::exit::{Exit, Failure};

/// The largest answer taken: one device may say 16 MiB, which decoding into rows makes larger.
const MESSAGE_BYTES: usize = 128 << 20;

/// How engines are called, beside their address: told once, on the command line.
static ACCESS: OnceLock<Access> = OnceLock::new();

/// See there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    pub(crate) files: Files,
    /// The file with the token that an engine wants over TLS.
    pub(crate) token_file: Option<PathBuf>,
}

/// Takes what the command line says, once.
pub(crate) fn set_access(access: Access) {
    let _ = ACCESS.set(access);
}

/// The way to an engine.
pub(crate) fn way(url: &str) -> Result<Dial, Failure> {
    let files = ACCESS
        .get()
        .map(|access| access.files.clone())
        .unwrap_or_default();
    Ok(Dial::new(url, &files)?)
}

/// What is sent along over TLS. Without TLS a token would be there for all to read, and no engine asks for one.
fn bearer(dial: &Dial) -> Result<Option<MetadataValue<Ascii>>, Failure> {
    let path = ACCESS.get().and_then(|access| access.token_file.as_deref());
    let Some(path) = path.filter(|_| dial.is_secure()) else {
        return Ok(None);
    };
    let bad = |error: &dyn fmt::Display| {
        Failure::usage(format!("--client-token-file {}: {error}", path.display()))
            .hint("it is the file client.token in the engine's data directory")
    };
    let token = std::fs::read_to_string(path).map_err(|error| bad(&error))?;
    let value = format!("Bearer {}", token.trim());
    Ok(Some(value.parse().map_err(|_| bad(&"it holds no token"))?))
}

/// Clients of all services, over one connection.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    dial: Dial,
    channel: Authorised,
}

/// A connection that says with each call who calls.
pub(crate) type Authorised = InterceptedService<Channel, Bearer>;

/// See there.
#[derive(Clone, Debug)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

impl Engine {
    /// Connects.
    pub(crate) async fn connect(url: &str) -> Result<Self, Failure> {
        let dial = way(url)?;
        let bearer = Bearer(bearer(&dial)?);
        let channel = dial.connect(|endpoint| endpoint).await?;
        let channel = InterceptedService::new(channel, bearer);
        Ok(Self { dial, channel })
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        self.dial.url()
    }

    pub(crate) fn admin(&self) -> AdminServiceClient<Authorised> {
        AdminServiceClient::new(self.channel.clone())
    }

    pub(crate) fn audits(&self) -> AuditServiceClient<Authorised> {
        AuditServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES)
    }

    pub(crate) fn credentials(&self) -> CredentialServiceClient<Authorised> {
        CredentialServiceClient::new(self.channel.clone())
    }

    pub(crate) fn devices(&self) -> DeviceServiceClient<Authorised> {
        DeviceServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES)
    }

    pub(crate) fn schedules(&self) -> ScheduleServiceClient<Authorised> {
        ScheduleServiceClient::new(self.channel.clone())
    }

    pub(crate) fn jobs(&self) -> JobServiceClient<Authorised> {
        JobServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES)
    }
}

impl From<DialError> for Failure {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Usage(said) => Self::usage(said),
            DialError::Away(said) => {
                Self::new(Exit::Usage, "NO_CONNECTION", format!("no engine answers: {said}"))
                    .hint("start one with `muster serve`, or name it with --engine")
            }
            DialError::Refused(said) => Self::new(Exit::NotAllowed, "ENGINE_REFUSED", said),
        }
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
