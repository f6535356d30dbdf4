//! What a fleet is made of, and why one may not start.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use thiserror::Error;

use crate::clamp::Clamp;
use crate::fault::Fault;
use crate::firmware::FirmwareConfig;
use crate::history::SafeMode;
use crate::version::{BadVersion, Version};

/// A fleet to be started.
#[derive(Clone, Debug)]
pub struct FleetConfig {
    /// The first device's address; device i is at base + i. All of them have to be loopback addresses.
    pub base: Ipv4Addr,
    /// Where the control API listens, which has to be a loopback address; none without.
    pub control: Option<SocketAddr>,
    /// Number of devices, at least one.
    pub devices: usize,
    /// How fast a device answers when it is asked much; none for always at once.
    pub clamp: Option<Clamp>,
    /// Devices are born as a hardening guide wants them, and each deviation is planted on this share of them, 0 to 1; none
    /// for devices as they are delivered and used.
    pub drift: Option<f64>,
    /// Faults and the number of devices that have each. The seed chooses the devices.
    pub faults: Vec<(Fault, usize)>,
    /// How long devices take to notice that whoever holds safe mode is gone.
    pub safe_mode: SafeMode,
    /// How firmware behaves.
    pub firmware: FirmwareConfig,
    /// Whether answers are written in chunks of random sizes.
    pub fragment: bool,
    /// How long a device with [`Fault::Late`] takes to answer. Default 3 s.
    pub late: Duration,
    /// The password of `user`.
    pub password: String,
    /// The API port of all devices; 0 for any that is free.
    pub port: u16,
    /// The port of REST over HTTPS, 0 for any that is free; none without.
    pub https_port: Option<u16>,
    /// How long a REST command may take before the device ends it. Default 60 s, as devices have it.
    pub rest_cut: Duration,
    /// The port of REST over HTTP, 0 for any that is free; none without.
    pub rest_port: Option<u16>,
    /// The port of the API over TLS, 0 for any that is free; none without.
    pub tls_port: Option<u16>,
    /// What all data of the devices, the choice of faulty devices and the sizes of fragments come from.
    pub seed: u64,
    /// The user that may log in to all devices, of group `full`.
    pub user: String,
    /// RouterOS versions, dealt to the devices in turn.
    pub versions: Vec<String>,
}

impl Default for FleetConfig {
    fn default() -> Self {
        Self {
            base: Ipv4Addr::new(127, 20, 0, 1),
            control: None,
            devices: 1,
            clamp: None,
            drift: None,
            faults: Vec::new(),
            safe_mode: SafeMode::default(),
            firmware: FirmwareConfig::default(),
            fragment: false,
            late: Duration::from_secs(3),
            password: String::new(),
            port: 8728,
            https_port: None,
            rest_cut: Duration::from_secs(60),
            rest_port: None,
            tls_port: None,
            seed: 1,
            user: "admin".to_owned(),
            versions: ["7.16.2", "7.12.1", "7.18.2", "6.49.17"]
                .map(str::to_owned)
                .to_vec(),
        }
    }
}

/// Why a fleet does not start.
#[derive(Debug, Error)]
pub enum SimError {
    /// A listener could not be had.
    #[error("listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A fleet of nothing.
    #[error("a fleet needs at least one device")]
    NoDevices,
    /// The addresses leave 127.0.0.0/8.
    #[error("{devices} devices from {base} on are not all loopback addresses (127.0.0.1 to 127.255.255.254)")]
    NotLoopback {
        /// The first address.
        base: Ipv4Addr,
        /// How many.
        devices: usize,
    },
    /// No share.
    #[error("a share of drift is 0 to 1, not {0}")]
    Drift(f64),
    /// Nothing to deal.
    #[error("a fleet needs at least one version")]
    NoVersions,
    /// The control API has no authentication, so it is for this machine only.
    #[error("the control address {0} is not a loopback address; the control API has no authentication")]
    OpenControl(SocketAddr),
    /// More faults than devices: each device has at most one.
    #[error("{faults} faults for {devices} devices; a device has at most one")]
    TooManyFaults {
        /// The sum of the counts.
        faults: usize,
        /// The number of devices.
        devices: usize,
    },
    /// A version that cannot be read.
    #[error(transparent)]
    Version(#[from] BadVersion),
}

impl FleetConfig {
    /// Checks what can be checked without a socket. Returns the versions.
    pub(crate) fn check(&self) -> Result<Vec<Version>, SimError> {
        if self.devices == 0 {
            return Err(SimError::NoDevices);
        }
        let last = u32::try_from(self.devices - 1)
            .ok()
            .and_then(|more| u32::from(self.base).checked_add(more))
            .map(Ipv4Addr::from);
        let usable =
            |address: Ipv4Addr| address.is_loopback() && !address.octets().ends_with(&[255, 255, 255]);
        if !self.base.is_loopback() || !last.is_some_and(usable) || self.base.octets() == [127, 0, 0, 0] {
            return Err(SimError::NotLoopback {
                base: self.base,
                devices: self.devices,
            });
        }
        if let Some(control) = self.control.filter(|address| !address.ip().is_loopback()) {
            return Err(SimError::OpenControl(control));
        }
        if let Some(share) = self.drift.filter(|share| !(0.0..=1.0).contains(share)) {
            return Err(SimError::Drift(share));
        }
        let faults = self
            .faults
            .iter()
            .map(|(_, count)| count)
            .fold(0, |sum: usize, count| sum.saturating_add(*count));
        if faults > self.devices {
            return Err(SimError::TooManyFaults {
                faults,
                devices: self.devices,
            });
        }
        let versions = self
            .versions
            .iter()
            .map(|text| text.trim().parse())
            .collect::<Result<Vec<_>, _>>()?;
        if let Some(offers) = &self.firmware.offers {
            offers.parse::<Version>()?;
        }
        match versions.is_empty() {
            true => Err(SimError::NoVersions),
            false => Ok(versions),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(change: impl FnOnce(&mut FleetConfig)) -> String {
        let mut config = FleetConfig::default();
        change(&mut config);
        config.check().expect_err("refused").to_string()
    }

    #[test]
    fn the_default_is_fine() {
        assert_eq!(FleetConfig::default().check().expect("fine").len(), 4);
    }

    #[test]
    fn what_cannot_work_is_refused_with_a_reason() {
        assert!(error(|c| c.devices = 0).contains("at least one device"));
        assert!(error(|c| c.versions.clear()).contains("at least one version"));
        assert!(error(|c| c.versions.push("x".to_owned())).contains("\"x\""));
        assert!(error(|c| c.base = Ipv4Addr::new(10, 0, 0, 1)).contains("loopback"));
        assert!(error(|c| (c.base, c.devices) = (Ipv4Addr::new(127, 255, 255, 0), 256)).contains("loopback"));
        assert!(error(|c| c.devices = usize::MAX).contains("loopback"));
        assert!(error(|c| c.control = "0.0.0.0:80".parse().ok()).contains("0.0.0.0:80"));
        assert!(error(|c| c.drift = Some(1.5)).contains("not 1.5"));
        assert!(error(|c| c.faults = vec![(Fault::Hang, 2)]).contains("2 faults for 1 devices"));
    }
}
