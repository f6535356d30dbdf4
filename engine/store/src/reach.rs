//! How devices were reached: what worked, which certificates they presented, and who accepts what is new.

use serde_json::json;
use sqlx::SqliteConnection;
use thiserror::Error;

use crate::device::DeviceRecord;
use crate::history::{self, Deed};
use crate::{StoreError, Write, rescue, sql};

/// How a device was reached, as a worker tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contact {
    /// The device's number.
    pub device: u64,
    /// What `auto` found; empty for nothing.
    pub worked: String,
    /// SHA-256 of the certificate presented, hex; empty without one.
    pub certificate: String,
    /// SHA-256 of its key, hex.
    pub key: String,
    /// Whether the device was reached, and so the certificate was taken.
    pub reached: bool,
}

/// Keeps how devices were reached. A certificate at its first use is pinned, which the history tells.
#[derive(Debug)]
pub struct StoreContacts {
    /// In the order they were told.
    pub contacts: Vec<Contact>,
    /// Unix milliseconds.
    pub now: i64,
}

impl Write for StoreContacts {
    type Out = ();

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<(), StoreError> {
        let row = |contact: &Contact| {
            json!({
                "id": contact.device, "worked": contact.worked, "certificate": contact.certificate,
                "key": contact.key, "reached": contact.reached,
            })
        };
        let rows = json!(self.contacts.iter().map(row).collect::<Vec<_>>()).to_string();
        let first: Vec<(i64, String, String, String)> = sqlx::query_as(sql::DEVICE_AT_FIRST_USE)
            .bind(&rows)
            .fetch_all(&mut *tx)
            .await?;
        for (id, name, asked_by, certificate) in first {
            pin(tx, id, &certificate, &asked_by, self.now).await?;
            let deed = Deed {
                claimed_by: asked_by,
                action: "device.trust",
                subject: name,
                reason: "tls = first-use".into(),
                detail: format!("certificate {certificate} at its first use"),
            };
            history::add(tx, &deed, self.now).await?;
        }
        sqlx::query(sql::DEVICE_CONTACTS)
            .bind(rows)
            .bind(self.now)
            .execute(&mut *tx)
            .await?;
        let reached = self.contacts.iter().filter(|contact| contact.reached);
        rescue::seen(tx, reached.map(|contact| contact.device), [], self.now).await
    }
}

async fn pin(tx: &mut SqliteConnection, id: i64, pin: &str, by: &str, now: i64) -> Result<(), StoreError> {
    sqlx::query(sql::DEVICE_PIN)
        .bind(id)
        .bind(pin)
        .bind(by)
        .bind(now)
        .execute(tx)
        .await?;
    Ok(())
}

/// Accepts what a device presented: without `pin` and `serial` whatever waits to be accepted.
#[derive(Debug)]
pub struct TrustDevice {
    /// Its name.
    pub name: String,
    /// SHA-256 of a certificate or key, hex.
    pub pin: Option<String>,
    /// A serial number.
    pub serial: Option<String>,
    /// Who accepts it and why; its detail is made here.
    pub deed: Deed,
    /// Unix milliseconds.
    pub now: i64,
}

/// What was accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trusted {
    /// The pin it has now, when that was accepted.
    pub pin: Option<String>,
    /// The serial number it is known by now, when that was accepted.
    pub serial: Option<String>,
}

/// Why nothing was accepted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TrustRefused {
    /// Not in the inventory.
    #[error("there is no device {0:?}")]
    NotFound(String),
    /// Nothing waits.
    #[error(
        "device {0:?} presented nothing that waits to be accepted; connect to it first (device test), or give a pin"
    )]
    Nothing(String),
    /// A pin for a device without TLS.
    #[error("device {name:?} has transport {transport}, which has no certificate")]
    NoTls {
        /// The device.
        name: String,
        /// Its transport.
        transport: String,
    },
}

impl Write for TrustDevice {
    type Out = Result<Trusted, TrustRefused>;

    async fn apply(&self, tx: &mut SqliteConnection) -> Result<Self::Out, StoreError> {
        let found: Option<DeviceRecord> = sqlx::query_as(sql::DEVICE_GET)
            .bind(&self.name)
            .fetch_optional(&mut *tx)
            .await?;
        let Some(DeviceRecord {
            id, device, reach, ..
        }) = found
        else {
            return Ok(Err(TrustRefused::NotFound(self.name.clone())));
        };
        let whatever = self.pin.is_none() && self.serial.is_none();
        let offered = |wanted: bool| wanted.then(|| reach.offered.clone()).flatten();
        let trusted = Trusted {
            pin: self
                .pin
                .clone()
                .or(offered(whatever).map(|(certificate, ..)| certificate)),
            serial: match (&self.serial, &reach.offered_serial) {
                (Some(serial), _) => Some(serial.clone()),
                (None, Some((serial, _))) if whatever => Some(serial.clone()),
                (None, _) => None,
            },
        };
        if trusted == Trusted::default() {
            return Ok(Err(TrustRefused::Nothing(self.name.clone())));
        }
        let mut detail = Vec::new();
        if let Some(new) = &trusted.pin {
            if !device.transport.has_tls() {
                return Ok(Err(TrustRefused::NoTls {
                    name: self.name.clone(),
                    transport: device.transport.to_string(),
                }));
            }
            let before = device
                .pin
                .map_or_else(|| "no pin".to_owned(), |pin| pin.to_string());
            detail.push(format!("pin {new}, before: {before}"));
            pin(tx, id as i64, new, &self.deed.claimed_by, self.now).await?;
        }
        if let Some(serial) = &trusted.serial {
            detail.push(format!("serial number {serial}"));
            sqlx::query(sql::DEVICE_SERIAL)
                .bind(id as i64)
                .bind(serial)
                .execute(&mut *tx)
                .await?;
        }
        let deed = Deed {
            detail: detail.join("; "),
            ..self.deed.clone()
        };
        history::add(tx, &deed, self.now).await?;
        Ok(Ok(trusted))
    }
}
