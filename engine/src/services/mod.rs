//! The gRPC services: check, ask the store, answer.

mod admin;
mod ask;
mod audit;
mod credential;
mod device;
mod explain;
mod explain_rollout;
mod fleet_limit;
mod group;
pub(crate) mod job;
mod kept;
mod limits;
mod rescue;
pub(crate) mod revert;
mod rollout;
mod schedule;
mod spec;
mod watch;
mod worker;

use std::sync::Arc;

use muster_model::Selector;
use muster_proto::v1::admin_service_server::AdminServiceServer;
use muster_proto::v1::audit_service_server::AuditServiceServer;
use muster_proto::v1::credential_service_server::CredentialServiceServer;
use muster_proto::v1::device_service_server::DeviceServiceServer;
use muster_proto::v1::job_service_server::JobServiceServer;
use muster_proto::v1::schedule_service_server::ScheduleServiceServer;
use muster_proto::v1::worker_service_server::WorkerServiceServer;
use tokio::net::TcpListener;
use tonic::service::InterceptorLayer;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::{Request, Status};

pub(crate) use ask::Asked;
pub(crate) use spec::check_job;

use crate::{Shared, auth, error, listen};

/// The largest message taken from a worker; see there.
const WORKER_MESSAGE_BYTES: usize = 64 << 20;

/// A service over what the engine's parts share.
#[derive(Clone, Debug)]
pub(crate) struct Service(pub(crate) Arc<Shared>);

/// Serves until the engine stops.
pub(crate) async fn serve(shared: Arc<Shared>, listener: TcpListener, tls: Option<Arc<listen::Tls>>) {
    let service = Service(shared.clone());
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<DeviceServiceServer<Service>>().await;
    health.set_serving::<CredentialServiceServer<Service>>().await;
    health.set_serving::<JobServiceServer<Service>>().await;
    health.set_serving::<AdminServiceServer<Service>>().await;
    health.set_serving::<ScheduleServiceServer<Service>>().await;
    health.set_serving::<AuditServiceServer<Service>>().await;
    health.set_serving::<WorkerServiceServer<Service>>().await;
    let worker = WorkerServiceServer::new(service.clone())
        .max_decoding_message_size(WORKER_MESSAGE_BYTES)
        .max_encoding_message_size(WORKER_MESSAGE_BYTES);
    let token = shared.client_token.clone();
    let has_token = move |request: Request<()>| auth::client(&request, &token).map(|()| request);
    let mut server = Server::builder()
        .layer(InterceptorLayer::new(auth::here_or_secure))
        .http2_keepalive_interval(Some(std::time::Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(std::time::Duration::from_secs(5)))
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .add_service(health_service)
        .add_service(InterceptedService::new(
            AdminServiceServer::new(service.clone()),
            has_token.clone(),
        ))
        .add_service(InterceptedService::new(
            AuditServiceServer::new(service.clone()),
            has_token.clone(),
        ))
        .add_service(InterceptedService::new(
            CredentialServiceServer::new(service.clone()),
            has_token.clone(),
        ))
        .add_service(InterceptedService::new(
            DeviceServiceServer::new(service.clone()),
            has_token.clone(),
        ))
        .add_service(InterceptedService::new(
            JobServiceServer::new(service.clone()),
            has_token.clone(),
        ))
        .add_service(InterceptedService::new(
            ScheduleServiceServer::new(service),
            has_token.clone(),
        ))
        .add_service(worker);
    // Both versions: older clients know only the alpha one.
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(muster_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    match (reflection().build_v1(), reflection().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => {
            let v1alpha = InterceptedService::new(v1alpha, has_token.clone());
            let v1 = InterceptedService::new(v1, has_token);
            server = server.add_service(v1).add_service(v1alpha);
        }
        (Err(error), _) | (_, Err(error)) => tracing::error!(%error, "reflection is off"),
    }
    let incoming = listen::incoming(listener, tls, shared.stop.clone());
    let stopped = shared.stop.clone().cancelled_owned();
    if let Err(error) = server.serve_with_incoming_shutdown(incoming, stopped).await {
        tracing::error!(%error, "serving gRPC");
    }
}

/// Reads a selector; empty means every device.
fn selector(text: &str, field: &str) -> Result<Selector, Status> {
    match text.trim() {
        "" => Ok(Selector::default()),
        text => text
            .parse()
            .map_err(|error: muster_model::SelectorError| error::invalid_field(field, error.to_string())),
    }
}
