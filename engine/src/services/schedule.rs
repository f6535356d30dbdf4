use muster_proto::v1;
use muster_proto::v1::schedule_service_server::ScheduleService;
use tonic::{Request, Response, Status};

use super::Service;
use crate::error::not_there_yet;

#[tonic::async_trait]
impl ScheduleService for Service {
    async fn create_schedule(
        &self,
        _: Request<v1::CreateScheduleRequest>,
    ) -> Result<Response<v1::CreateScheduleResponse>, Status> {
        Err(not_there_yet("CreateSchedule"))
    }

    async fn list_schedules(
        &self,
        _: Request<v1::ListSchedulesRequest>,
    ) -> Result<Response<v1::ListSchedulesResponse>, Status> {
        Err(not_there_yet("ListSchedules"))
    }

    async fn remove_schedule(
        &self,
        _: Request<v1::RemoveScheduleRequest>,
    ) -> Result<Response<v1::RemoveScheduleResponse>, Status> {
        Err(not_there_yet("RemoveSchedule"))
    }
}
