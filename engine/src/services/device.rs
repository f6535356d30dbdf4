use std::collections::BTreeSet;

use muster_model::device::{self, DEFAULT, IN_FLIGHT};
use muster_model::{Demand, Device, Labels, Pin, Ports, Transport, name};
use muster_proto::v1::device_service_server::DeviceService;
use muster_proto::{Violation, v1};
use muster_store::{
    Deed, ImportDevices, Imported, LabelDevices, ReleaseDevices, RemoveDevices, RemoveDevicesRefused,
    TrustDevice, TrustRefused,
};
use tonic::{Request, Response, Status, Streaming};

use super::{Service, selector};
use crate::{answer, error, page};

/// Devices in one import.
const MOST: usize = 1_000_000;

#[tonic::async_trait]
impl DeviceService for Service {
    async fn import_devices(
        &self,
        request: Request<Streaming<v1::ImportDevicesRequest>>,
    ) -> Result<Response<v1::ImportDevicesResponse>, Status> {
        let mut stream = request.into_inner();
        let (mut given, mut options) = (Vec::new(), None);
        while let Some(message) = stream.message().await? {
            options.get_or_insert((
                message.update,
                message.validate_only,
                message.skip_bad,
                message.claimed_by,
            ));
            given.extend(message.devices);
            if given.len() > MOST {
                return Err(error::invalid_field(
                    "devices",
                    format!("more than {MOST} in one import"),
                ));
            }
        }
        let (update, validate_only, skip_bad, claimed_by) = options.unwrap_or_default();
        let (mut devices, mut bad) = (Vec::new(), Vec::new());
        for (index, given) in given.iter().enumerate() {
            let (device, found) = check(given, index);
            devices.push((index, device));
            bad.extend(found);
        }
        // The store looks at all of them, so that everything that is wrong is told at once.
        bad.extend(self.import(&devices, update, true, "").await?.1);
        bad.sort_by_key(|bad| bad.index);
        if !bad.is_empty() && !validate_only && !skip_bad {
            let violations = bad
                .into_iter()
                .map(|bad| Violation::new(format!("devices[{}].{}", bad.index, bad.field), bad.description));
            return Err(error::invalid(violations.collect()));
        }
        let skipped = bad.iter().map(|bad| bad.index).collect::<BTreeSet<_>>();
        devices.retain(|(index, _)| !skipped.contains(&(*index as u64)));
        let (imported, late) = self.import(&devices, update, validate_only, &claimed_by).await?;
        if !late.is_empty() {
            return Err(error::precondition(
                "INVENTORY_CHANGED",
                "devices",
                "the inventory changed meanwhile; try again",
            ));
        }
        let Imported {
            created,
            updated,
            unchanged,
        } = imported;
        Ok(Response::new(v1::ImportDevicesResponse {
            created,
            updated,
            unchanged,
            bad,
        }))
    }

    async fn list_devices(
        &self,
        request: Request<v1::ListDevicesRequest>,
    ) -> Result<Response<v1::ListDevicesResponse>, Status> {
        let request = request.into_inner();
        let wanted = selector(&request.selector, "selector")?;
        let size = page::size(request.page_size, 1000, 5000)?;
        let query = format!("devices/{wanted}");
        let after = page::cursor(&query, &request.page_token)?.unwrap_or_default();
        let mut records = self
            .0
            .store
            .devices(&wanted, &after, size + 1)
            .await
            .map_err(error::store)?;
        let total = self.0.store.count_devices(&wanted).await.map_err(error::store)?;
        let more = records.len() > size as usize;
        records.truncate(size as usize);
        let next = records
            .last()
            .filter(|_| more)
            .map(|last| page::token(&query, &last.device.name));
        Ok(Response::new(v1::ListDevicesResponse {
            devices: records.into_iter().map(answer::device).collect(),
            next_page_token: next.unwrap_or_default(),
            total,
        }))
    }

    async fn get_device(
        &self,
        request: Request<v1::GetDeviceRequest>,
    ) -> Result<Response<v1::GetDeviceResponse>, Status> {
        let name = request.into_inner().name;
        let record = self.0.store.device(&name).await.map_err(error::store)?;
        let record = record.ok_or_else(|| error::not_found("device", &name))?;
        Ok(Response::new(v1::GetDeviceResponse {
            device: Some(answer::device(record)),
        }))
    }

    async fn label_devices(
        &self,
        request: Request<v1::LabelDevicesRequest>,
    ) -> Result<Response<v1::LabelDevicesResponse>, Status> {
        let request = request.into_inner();
        if request.selector.trim().is_empty() {
            return Err(error::invalid_field(
                "selector",
                "it is empty; name=* means every device",
            ));
        }
        let wanted = selector(&request.selector, "selector")?;
        let set = labels(&request.set, "set");
        let set = set.map_err(error::invalid)?;
        let label = LabelDevices {
            selector: wanted,
            set,
            remove: request.remove,
        };
        let _alone = self.0.inventory.write().await;
        let done = self.0.store.write(label).await.map_err(error::store)?;
        self.0.inventory_changed();
        match (done.refused, done.selected) {
            (Some(reason), _) => Err(error::invalid_field("set", reason)),
            (None, 0) => Err(error::invalid_field(
                "selector",
                format!("{:?} means no device", request.selector),
            )),
            (None, selected) => Ok(Response::new(v1::LabelDevicesResponse {
                changed: done.changed,
                selected,
            })),
        }
    }

    async fn remove_devices(
        &self,
        request: Request<v1::RemoveDevicesRequest>,
    ) -> Result<Response<v1::RemoveDevicesResponse>, Status> {
        let names = request.into_inner().names;
        let _alone = self.0.inventory.write().await;
        match self
            .0
            .store
            .write(RemoveDevices { names })
            .await
            .map_err(error::store)?
        {
            Ok(removed) => {
                self.0.inventory_changed();
                Ok(Response::new(v1::RemoveDevicesResponse { removed }))
            }
            Err(RemoveDevicesRefused::NotFound(names)) => Err(error::not_found("device", &names.join(", "))),
            Err(refused @ RemoveDevicesRefused::Busy { .. }) => {
                Err(error::precondition("DEVICE_BUSY", "device", refused.to_string()))
            }
        }
    }

    async fn release_devices(
        &self,
        request: Request<v1::ReleaseDevicesRequest>,
    ) -> Result<Response<v1::ReleaseDevicesResponse>, Status> {
        let v1::ReleaseDevicesRequest {
            names,
            reason,
            claimed_by,
        } = request.into_inner();
        let now = self.0.clock.now();
        let quarantined = self.0.store.quarantined(now).await.map_err(error::store)?;
        let missing = names.iter().filter(|name| !quarantined.contains(name));
        let missing = missing.map(String::as_str).collect::<Vec<_>>();
        if names.is_empty() || !missing.is_empty() {
            let text = match missing.as_slice() {
                [] => "name at least one device".to_owned(),
                names => format!("not quarantined: {}", names.join(", ")),
            };
            return Err(error::invalid_field("names", text));
        }
        let release = ReleaseDevices {
            deed: Deed {
                claimed_by: claimed_by.chars().take(256).collect(),
                action: "device.release",
                subject: names.join(", "),
                reason: reason.chars().take(4096).collect(),
                detail: String::new(),
            },
            names: names.clone(),
            now,
        };
        self.0.store.write(release).await.map_err(error::store)?;
        Ok(Response::new(v1::ReleaseDevicesResponse { released: names }))
    }

    async fn trust_device(
        &self,
        request: Request<v1::TrustDeviceRequest>,
    ) -> Result<Response<v1::TrustDeviceResponse>, Status> {
        let v1::TrustDeviceRequest {
            name,
            pin,
            serial,
            reason,
            claimed_by,
        } = request.into_inner();
        let pin = optional::<Pin>(&pin).map_err(|error| error::invalid_field("pin", error))?;
        let trust = TrustDevice {
            deed: Deed {
                claimed_by: claimed_by.chars().take(256).collect(),
                action: "device.trust",
                subject: name.clone(),
                reason: reason.chars().take(4096).collect(),
                detail: String::new(),
            },
            name: name.clone(),
            pin: pin.map(|pin| pin.to_string()),
            serial: (!serial.is_empty()).then_some(serial),
            now: self.0.clock.now(),
        };
        let trusted = match self.0.store.write(trust).await.map_err(error::store)? {
            Ok(trusted) => trusted,
            Err(TrustRefused::NotFound(name)) => return Err(error::not_found("device", &name)),
            Err(refused @ TrustRefused::Nothing(_)) => {
                return Err(error::precondition(
                    "NOTHING_TO_TRUST",
                    &name,
                    refused.to_string(),
                ));
            }
            Err(refused @ TrustRefused::NoTls { .. }) => {
                return Err(error::invalid_field("pin", refused.to_string()));
            }
        };
        let record = self.0.store.device(&name).await.map_err(error::store)?;
        Ok(Response::new(v1::TrustDeviceResponse {
            device: record.map(answer::device),
            accepted_pin: trusted.pin.unwrap_or_default(),
            accepted_serial: trusted.serial.unwrap_or_default(),
        }))
    }

    type GetKeptFileStream = super::kept::Parts;

    async fn list_kept_files(
        &self,
        request: Request<v1::ListKeptFilesRequest>,
    ) -> Result<Response<v1::ListKeptFilesResponse>, Status> {
        self.kept_files(request.into_inner()).await.map(Response::new)
    }

    async fn get_kept_file(
        &self,
        request: Request<v1::GetKeptFileRequest>,
    ) -> Result<Response<Self::GetKeptFileStream>, Status> {
        self.kept_file(request.into_inner()).await.map(Response::new)
    }

    async fn list_rescue(
        &self,
        request: Request<v1::ListRescueRequest>,
    ) -> Result<Response<v1::ListRescueResponse>, Status> {
        self.rescue(request.into_inner()).await.map(Response::new)
    }

    async fn clear_rescue(
        &self,
        request: Request<v1::ClearRescueRequest>,
    ) -> Result<Response<v1::ClearRescueResponse>, Status> {
        Service::clear_rescue(self, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn list_quarantined(
        &self,
        _: Request<v1::ListQuarantinedRequest>,
    ) -> Result<Response<v1::ListQuarantinedResponse>, Status> {
        let now = self.0.clock.now();
        let names = self.0.store.quarantined(now).await.map_err(error::store)?;
        Ok(Response::new(v1::ListQuarantinedResponse { names }))
    }
}

impl Service {
    /// Lets the store import the devices or say what is wrong with them, by their places in the stream.
    async fn import(
        &self,
        devices: &[(usize, Device)],
        update: bool,
        validate_only: bool,
        claimed_by: &str,
    ) -> Result<(Imported, Vec<v1::BadDevice>), Status> {
        let import = ImportDevices {
            devices: devices.iter().map(|(_, device)| device.clone()).collect(),
            update,
            validate_only,
            claimed_by: claimed_by.chars().take(256).collect(),
            now: self.0.clock.now(),
        };
        let _alone = match validate_only {
            true => None,
            false => Some(self.0.inventory.write().await),
        };
        let refused = match self.0.store.write(import).await.map_err(error::store)? {
            Ok(imported) => return Ok((imported, Vec::new())),
            Err(refused) => refused,
        };
        let bad = refused.into_iter().map(|refused| {
            let index = devices.get(refused.index).map_or(0, |(index, _)| *index as u64);
            v1::BadDevice {
                index,
                field: refused.field.to_owned(),
                description: refused.reason,
            }
        });
        Ok((Imported::default(), bad.collect()))
    }
}

/// Checks one device by itself. All that is wrong with it is told; a field that is stands at its default.
fn check(given: &v1::Device, index: usize) -> (Device, Vec<v1::BadDevice>) {
    let mut violations = Vec::new();
    let mut bad = |field: &str, description: String| {
        violations.push(v1::BadDevice {
            index: index as u64,
            field: field.to_owned(),
            description,
        });
    };
    let or_default = |text: &str| {
        if text.is_empty() {
            DEFAULT.to_owned()
        } else {
            text.to_owned()
        }
    };
    let (credential, zone) = (or_default(&given.credential), or_default(&given.zone));
    for (field, value) in [
        ("name", &given.name),
        ("credential", &credential),
        ("zone", &zone),
    ] {
        if let Err(error) = name::check(value) {
            bad(field, format!("{value:?} {error}"));
        }
    }
    if let Err(error) = device::check_address(&given.address) {
        bad("address", error);
    }
    let transport = match given.transport.as_str() {
        "" => Ok(Transport::default()),
        text => text.parse::<Transport>(),
    };
    let transport = transport.unwrap_or_else(|error| {
        bad("transport", error);
        Transport::default()
    });
    let port = match given.port {
        0 => Some(transport.default_port()),
        port => u16::try_from(port).ok(),
    };
    match port {
        None => bad("port", format!("{} is no port; 1 to 65535 are", given.port)),
        Some(port) if transport == Transport::Auto && port > 0 => {
            let text = format!(
                "transport auto has a port for each transport it tries: not {port}, but ports, such as \
                                api-ssl={port}"
            );
            bad("port", text);
        }
        Some(_) => {}
    }
    let ports = given.ports.parse::<Ports>().unwrap_or_else(|error| {
        bad("ports", error);
        Ports::default()
    });
    if !ports.is_empty() && transport != Transport::Auto {
        bad(
            "ports",
            format!("ports are for transport auto; transport {transport} has a port"),
        );
    }
    let in_flight = (given.in_flight != 0).then_some(given.in_flight);
    if in_flight.is_some_and(|depth| !IN_FLIGHT.contains(&depth)) {
        let (least, most) = IN_FLIGHT.into_inner();
        bad(
            "in_flight",
            format!("{} commands at once: {least} to {most} are", given.in_flight),
        );
    }
    let tls = optional(&given.tls).unwrap_or_else(|error| {
        bad("tls", error);
        None
    });
    let pin = optional(&given.pin).unwrap_or_else(|error| {
        bad("pin", error);
        None
    });
    if let Err((field, error)) = Demand::of(transport, tls, pin) {
        bad(field, error);
    }
    let labels = labels(&given.labels, "labels").unwrap_or_else(|errors| {
        errors
            .into_iter()
            .for_each(|error| bad("labels", error.description));
        Labels::default()
    });
    let (name, address) = (given.name.clone(), given.address.clone());
    let device = Device {
        name,
        address,
        port: port.unwrap_or_default(),
        transport,
        credential,
        zone,
        labels,
        tls,
        pin,
        ports,
        in_flight,
    };
    (device, violations)
}

fn optional<T: std::str::FromStr<Err = String>>(text: &str) -> Result<Option<T>, String> {
    (!text.is_empty()).then(|| text.parse()).transpose()
}

fn labels<'a>(
    given: impl IntoIterator<Item = (&'a String, &'a String)>,
    field: &str,
) -> Result<Labels, Vec<Violation>> {
    let (mut labels, mut violations) = (Labels::default(), Vec::new());
    for (key, value) in given {
        if let Err(error) = labels.set(key, value) {
            violations.push(Violation::new(field, error.to_string()));
        }
    }
    if violations.is_empty() {
        Ok(labels)
    } else {
        Err(violations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_gets_its_defaults() {
        let given = v1::Device {
            name: "r1".into(),
            address: "10.0.0.1".into(),
            ..Default::default()
        };
        let (device, bad) = check(&given, 0);
        assert_eq!(bad, []);
        assert_eq!(
            (device.port, device.zone.as_str(), device.credential.as_str()),
            (8728, "default", "default")
        );
    }

    #[test]
    fn everything_that_is_wrong_is_told() {
        let given = v1::Device {
            name: "a b".into(),
            address: "nowhere:1".into(),
            port: 70_000,
            transport: "ssh".into(),
            zone: "-".into(),
            labels: [("zone".to_owned(), "x".to_owned())].into(),
            ..Default::default()
        };
        let (_, bad) = check(&given, 3);
        let mut fields = bad.iter().map(|bad| bad.field.as_str()).collect::<Vec<_>>();
        fields.sort_unstable();
        assert!(bad.iter().all(|bad| bad.index == 3));
        let expected = ["address", "labels", "name", "port", "transport", "zone"];
        assert_eq!(fields, expected);
    }
}
