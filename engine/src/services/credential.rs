use muster_model::name;
use muster_proto::v1::credential_service_server::CredentialService;
use muster_proto::{Violation, time, v1};
use muster_store::{CredentialRecord, RemoveCredential, RemoveCredentialRefused, SetCredential};
use tonic::{Request, Response, Status};

use super::Service;
use crate::error;

/// RouterOS takes less; what is longer is a mistake, such as a file instead of a password.
const MAX_SECRET: usize = 1024;

#[tonic::async_trait]
impl CredentialService for Service {
    async fn set_credential(
        &self,
        request: Request<v1::SetCredentialRequest>,
    ) -> Result<Response<v1::SetCredentialResponse>, Status> {
        let request = request.into_inner();
        let violations = check(&request);
        if !violations.is_empty() {
            return Err(error::invalid(violations));
        }
        let sealed = self
            .0
            .seal
            .seal(&request.name, &request.password)
            .map_err(error::internal)?;
        let now = self.0.clock.now();
        let set = SetCredential {
            name: request.name.clone(),
            username: request.username,
            sealed,
            now,
        };
        self.0.store.write(set).await.map_err(error::store)?;
        self.0.inventory_changed();
        let record = self
            .0
            .store
            .credential(&request.name)
            .await
            .map_err(error::store)?;
        Ok(Response::new(v1::SetCredentialResponse {
            credential: record.map(credential),
        }))
    }

    async fn list_credentials(
        &self,
        _: Request<v1::ListCredentialsRequest>,
    ) -> Result<Response<v1::ListCredentialsResponse>, Status> {
        let records = self.0.store.credentials().await.map_err(error::store)?;
        let credentials = records.into_iter().map(credential).collect();
        Ok(Response::new(v1::ListCredentialsResponse { credentials }))
    }

    async fn remove_credential(
        &self,
        request: Request<v1::RemoveCredentialRequest>,
    ) -> Result<Response<v1::RemoveCredentialResponse>, Status> {
        let name = request.into_inner().name;
        match self
            .0
            .store
            .write(RemoveCredential { name: name.clone() })
            .await
            .map_err(error::store)?
        {
            Ok(()) => Ok(Response::new(v1::RemoveCredentialResponse {})),
            Err(RemoveCredentialRefused::NotFound) => Err(error::not_found("credential", &name)),
            Err(refused @ RemoveCredentialRefused::InUse(_)) => {
                let message = format!("credential {name:?} cannot be removed: {refused}");
                Err(error::precondition("CREDENTIAL_IN_USE", &name, message))
            }
        }
    }
}

fn check(request: &v1::SetCredentialRequest) -> Vec<Violation> {
    let mut violations = Vec::new();
    if let Err(error) = name::check(&request.name) {
        violations.push(Violation::new("name", format!("{:?} {error}", request.name)));
    }
    if request.username.is_empty() {
        violations.push(Violation::new("username", "it is empty"));
    }
    for (field, value) in [("username", &request.username), ("password", &request.password)] {
        if value.len() > MAX_SECRET {
            let text = format!("it has {} bytes; at most {MAX_SECRET} are allowed", value.len());
            violations.push(Violation::new(field, text));
        }
    }
    violations
}

fn credential(record: CredentialRecord) -> v1::Credential {
    v1::Credential {
        name: record.name,
        username: record.username,
        updated_at: Some(time(record.updated_at)),
        devices: record.devices,
    }
}
