//! Backups and exports of devices.

use std::pin::Pin;

use muster_model::Kept;
use muster_proto::v1;
use muster_store::{KeepFile, KeepFiles, KeptRecord};
use sha2::{Digest as _, Sha256};
use tokio_stream::Stream;
use tonic::Status;

use super::Service;
use crate::{Shared, error, page};

/// A file in parts.
pub(crate) type Parts = Pin<Box<dyn Stream<Item = Result<v1::GetKeptFileResponse, Status>> + Send>>;

/// Bytes of one part.
const PART: usize = 256 << 10;

/// Keeps the files that executions have brought.
pub(super) async fn keep(
    shared: &Shared,
    brought: impl Iterator<Item = (u64, v1::GivenFile)>,
    now: i64,
) -> Result<(), Status> {
    let mut files = Vec::new();
    for (execution, given) in brought {
        let Some(kind) = Kept::from_number(given.kind) else {
            tracing::error!(kind = given.kind, "a file of an unknown kind");
            continue;
        };
        let digest = Sha256::digest(&given.content).into();
        let sealed = shared.seal.seal_file(&digest, &given.content);
        files.push(KeepFile {
            execution,
            kind,
            version: given.version,
            size: given.content.len() as u64,
            digest,
            sealed: sealed.map_err(|error| Status::internal(error.to_string()))?,
        });
    }
    if !files.is_empty() {
        shared
            .store
            .write(KeepFiles { files, now })
            .await
            .map_err(error::store)?;
    }
    Ok(())
}

impl Service {
    pub(super) async fn kept_files(
        &self,
        request: v1::ListKeptFilesRequest,
    ) -> Result<v1::ListKeptFilesResponse, Status> {
        let size = page::size(request.page_size, 50, 500)?;
        let kind = match request.kind {
            0 => None,
            number => Some(Kept::from_number(number).ok_or_else(|| {
                error::invalid_field("kind", format!("{number} is no kind of file; 0 means every kind"))
            })?),
        };
        let query = format!("kept/{}/{}", request.device, request.kind);
        let before = page::cursor(&query, &request.page_token)?;
        let before = before.and_then(|before| before.parse().ok()).unwrap_or(u64::MAX);
        let store = &self.0.store;
        let found = store.kept_files(&request.device, kind, before, size + 1).await;
        let mut found = found.map_err(error::store)?;
        if found.is_empty() && before == u64::MAX {
            let known = store.device(&request.device).await.map_err(error::store)?;
            known.ok_or_else(|| error::not_found("device", &request.device))?;
        }
        let more = found.len() > size as usize;
        found.truncate(size as usize);
        let last = found.last().filter(|_| more);
        let next = last.map(|last| page::token(&query, &last.id.to_string()));
        Ok(v1::ListKeptFilesResponse {
            files: found.iter().map(message).collect(),
            next_page_token: next.unwrap_or_default(),
        })
    }

    pub(super) async fn kept_file(&self, request: v1::GetKeptFileRequest) -> Result<Parts, Status> {
        let missing = || error::not_found("file", &request.id);
        let id = request.id.parse().map_err(|_| missing())?;
        let found = self.0.store.kept_file(id).await.map_err(error::store)?;
        let (record, sealed) = found.ok_or_else(missing)?;
        let content = self.0.seal.unseal_file(&record.digest, &sealed);
        let content = content.map_err(|error| Status::internal(error.to_string()))?;
        let parts = content.chunks(PART).enumerate().map(|(at, part)| {
            Ok(v1::GetKeptFileResponse {
                file: (at == 0).then(|| message(&record)),
                content: part.to_vec(),
            })
        });
        Ok(Box::pin(tokio_stream::iter(parts.collect::<Vec<_>>())))
    }
}

pub(super) fn message(record: &KeptRecord) -> v1::KeptFile {
    v1::KeptFile {
        id: record.id.to_string(),
        device: record.device.clone(),
        kind: record.kind.number(),
        at: Some(muster_proto::time(record.at)),
        job: record.job.clone(),
        version: record.version.clone(),
        size: record.size,
        sha256: record.digest.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}
