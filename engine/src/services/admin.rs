use muster_proto::v1;
use muster_proto::v1::admin_service_server::AdminService;
use tonic::{Request, Response, Status};

use super::Service;
use crate::error;

#[tonic::async_trait]
impl AdminService for Service {
    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let status = self.0.store.status().await.map_err(error::store)?;
        let workers = self.0.sessions.status();
        let named = self.0.store.zones().await.map_err(error::store)?;
        let served = |zone: &String| {
            workers.iter().any(|worker| {
                worker.zones.contains(zone) || (worker.zones.is_empty() && !named.contains(zone))
            })
        };
        let waiting = status.waiting.into_iter().filter(|(zone, _)| !served(zone));
        Ok(Response::new(v1::GetStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            devices: status.devices,
            running_jobs: status.running_jobs,
            waiting: waiting
                .map(|(zone, pending)| v1::ZoneStatus { zone, pending })
                .collect(),
            workers,
        }))
    }
}
