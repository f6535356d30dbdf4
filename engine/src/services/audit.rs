use muster_proto::v1;
use muster_proto::v1::audit_service_server::AuditService;
use tonic::{Request, Response, Status};

use super::Service;
use crate::error::not_there_yet;

#[tonic::async_trait]
impl AuditService for Service {
    async fn create_audit(
        &self,
        _: Request<v1::CreateAuditRequest>,
    ) -> Result<Response<v1::CreateAuditResponse>, Status> {
        Err(not_there_yet("CreateAudit"))
    }

    async fn list_findings(
        &self,
        _: Request<v1::ListFindingsRequest>,
    ) -> Result<Response<v1::ListFindingsResponse>, Status> {
        Err(not_there_yet("ListFindings"))
    }
}
