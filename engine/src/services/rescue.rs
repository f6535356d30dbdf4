//! Devices that are lost (J4).

use std::collections::BTreeMap;

use muster_engine_core::rescue::Lost;
use muster_model::{Kept, Step};
use muster_proto::{time, v1};
use muster_store::{ClearRescue, Deed, KeptRecord, RescueRecord};
use tonic::Status;

use super::{Service, kept};
use crate::{answer, error, page};

impl Service {
    pub(super) async fn rescue(
        &self,
        request: v1::ListRescueRequest,
    ) -> Result<v1::ListRescueResponse, Status> {
        let size = page::size(request.page_size, 500, 5000)?;
        let query = format!("rescue/{}", request.job);
        let after = page::cursor(&query, &request.page_token)?.unwrap_or_default();
        let store = &self.0.store;
        let found = store.rescue(&request.job, &after, size + 1).await;
        let mut found = found.map_err(error::store)?;
        let more = found.len() > size as usize;
        found.truncate(size as usize);
        let last = found.last().filter(|_| more);
        let next_page_token = last.map(|last| page::token(&query, &last.device));
        let numbers = found.iter().map(|lost| lost.device_id).collect::<Vec<_>>();
        let devices = store.devices_by_number(&numbers).await.map_err(error::store)?;
        let devices = devices
            .into_iter()
            .map(|record| (record.id, answer::device(record)));
        let mut devices = devices.collect::<BTreeMap<_, _>>();
        let files = store.newest_kept(numbers).await.map_err(error::store)?;
        let files = files
            .into_iter()
            .map(|(device, file)| ((device, file.kind.number()), file));
        let files = files.collect::<BTreeMap<_, _>>();
        let newest = |device, kind: Kept| files.get(&(device, kind.number()));
        let message = |lost: RescueRecord| {
            let id = lost.device_id;
            let device = devices.remove(&id);
            message(lost, device, newest(id, Kept::Backup), newest(id, Kept::Export))
        };
        Ok(v1::ListRescueResponse {
            devices: found.into_iter().map(message).collect(),
            next_page_token: next_page_token.unwrap_or_default(),
        })
    }

    pub(super) async fn clear_rescue(
        &self,
        request: v1::ClearRescueRequest,
    ) -> Result<v1::ClearRescueResponse, Status> {
        let v1::ClearRescueRequest {
            names,
            reason,
            claimed_by,
        } = request;
        if names.is_empty() {
            return Err(error::invalid_field("names", "name at least one device"));
        }
        let clear = ClearRescue {
            deed: Deed {
                claimed_by: claimed_by.chars().take(256).collect(),
                action: "device.rescue-clear",
                subject: names.join(", "),
                reason: reason.chars().take(4096).collect(),
                detail: String::new(),
            },
            names: names.clone(),
            now: self.0.clock.now(),
        };
        match self.0.store.write(clear).await.map_err(error::store)? {
            Ok(()) => Ok(v1::ClearRescueResponse { cleared: names }),
            Err(missing) => Err(error::invalid_field(
                "names",
                format!("not on the rescue list: {}", missing.join(", ")),
            )),
        }
    }
}

fn message(
    lost: RescueRecord,
    device: Option<v1::Device>,
    backup: Option<&KeptRecord>,
    export: Option<&KeptRecord>,
) -> v1::Rescue {
    let (backup, export) = (backup.map(kept::message), export.map(kept::message));
    let id = |file: &Option<v1::KeptFile>| file.as_ref().map(|file| file.id.clone());
    let (backup_id, export_id) = (id(&backup), id(&export));
    let known = Lost {
        device: &lost.device,
        job: &lost.job,
        step: lost.body.as_ref(),
        under_way: lost.under_way,
        guard: lost.guard,
        backup: backup_id.as_deref(),
        export: export_id.as_deref(),
    };
    v1::Rescue {
        on_site: known.on_site(),
        device,
        since: Some(time(lost.at)),
        step: lost.step.saturating_add(1),
        under_way: lost.under_way,
        title: lost.body.as_ref().map(Step::title).unwrap_or_default(),
        error: lost.error.as_ref().map(Into::into),
        job: lost.job,
        execution: lost.execution.to_string(),
        backup,
        export,
    }
}
