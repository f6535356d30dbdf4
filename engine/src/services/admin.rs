use muster_proto::v1;
use muster_proto::v1::admin_service_server::AdminService;
use tonic::{Request, Response, Status};

use super::{Service, fleet_limit};
use crate::{answer, error, page};

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
            reconcilers: self.0.reconcilers.status(),
            store: Some(self.store().await?),
        }))
    }

    async fn list_limits(
        &self,
        _: Request<v1::ListLimitsRequest>,
    ) -> Result<Response<v1::ListLimitsResponse>, Status> {
        Ok(Response::new(v1::ListLimitsResponse {
            kinds: fleet_limit::kinds(),
            limits: fleet_limit::messages(&self.0.limits.get()),
        }))
    }

    async fn set_limits(
        &self,
        request: Request<v1::SetLimitsRequest>,
    ) -> Result<Response<v1::SetLimitsResponse>, Status> {
        let limits = fleet_limit::set(self, request.into_inner()).await?;
        Ok(Response::new(v1::SetLimitsResponse { limits }))
    }

    async fn list_history(
        &self,
        request: Request<v1::ListHistoryRequest>,
    ) -> Result<Response<v1::ListHistoryResponse>, Status> {
        let request = request.into_inner();
        let size = page::size(request.page_size, 100, 1000)?;
        let query = format!("history/{}", request.subject);
        let after = page::cursor(&query, &request.page_token)?.and_then(|cursor| cursor.parse().ok());
        let store = &self.0.store;
        let found = store
            .history(&request.subject, after.unwrap_or(0), size + 1)
            .await;
        let mut records = found.map_err(error::store)?;
        let more = records.len() > size as usize;
        records.truncate(size as usize);
        let next = records
            .last()
            .filter(|_| more)
            .map(|last| page::token(&query, &last.id.to_string()));
        Ok(Response::new(v1::ListHistoryResponse {
            entries: records.into_iter().map(answer::history).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }
}

impl Service {
    async fn store(&self) -> Result<v1::StoreStatus, Status> {
        let space = self.0.store.space().await.map_err(error::store)?;
        Ok(v1::StoreStatus {
            database_bytes: space.database,
            free_bytes: space.free,
            wal_bytes: space.wal,
            sync_time: self.0.sync_time.get().and_then(|took| (*took).try_into().ok()),
            queued: self.0.store.queued() as u64,
            keep: self.0.keep.and_then(|keep| keep.try_into().ok()),
        })
    }
}
