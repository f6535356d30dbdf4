//! The simulated fleet in a process of its own, so that its processor time, its memory and its open files are not
//! counted as muster's.
//!
//! The process is the scoreboard itself with a hidden command. It prints its ports and lives until its standard input
//! ends, so it cannot outlive whoever started it.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use muster_sim::{Counters, FirmwareConfig, Fleet, FleetConfig};

/// The hidden command: `scoreboard __sim DEVICES [DOWNLOAD_MS RESTART_MS]`.
pub const COMMAND: &str = "__sim";

/// A fleet in a child process; ends when dropped.
#[derive(Debug)]
pub struct Sim {
    child: Child,
    devices: usize,
    base: Ipv4Addr,
    port: u16,
    tls_port: u16,
    control: u16,
}

/// How long routers take that are to be upgraded, from [`Firmware::FROM`] to [`Firmware::TO`].
#[derive(Clone, Copy, Debug)]
pub struct Firmware {
    /// For a download.
    pub download: Duration,
    /// For a restart, and a tenth more until logins are taken.
    pub restart: Duration,
}

impl Firmware {
    /// What they run.
    pub const FROM: &str = "7.13.5";
    /// What their updater offers.
    pub const TO: &str = "7.16.2";
}

/// One device of a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name in the inventory.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Sim {
    /// Starts `program`, a scoreboard, as a fleet of `devices` on a free port.
    pub fn start(program: &Path, devices: usize) -> anyhow::Result<Self> {
        Self::start_with(program, devices, None)
    }

    /// The same with firmware to upgrade.
    pub fn start_with(program: &Path, devices: usize, firmware: Option<Firmware>) -> anyhow::Result<Self> {
        let times = firmware.map(|firmware| [firmware.download, firmware.restart]);
        let times = times
            .into_iter()
            .flatten()
            .map(|time| time.as_millis().to_string());
        let mut child = Command::new(program)
            .args([COMMAND, &devices.to_string()])
            .args(times)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        // From here on the child ends with this value.
        let mut sim = Self {
            child,
            devices,
            base: FleetConfig::default().base,
            port: 0,
            tls_port: 0,
            control: 0,
        };
        let ports = line
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<Vec<_>, _>>();
        let Ok([port, tls_port, control]) = ports.as_deref() else {
            bail!("the simulated fleet said {line:?} and not its ports");
        };
        (sim.port, sim.tls_port, sim.control) = (*port, *tls_port, *control);
        Ok(sim)
    }

    /// Where all of them serve the API over TLS.
    pub fn tls_port(&self) -> u16 {
        self.tls_port
    }

    /// How much the fleet has been asked.
    pub fn counters(&self) -> anyhow::Result<Counters> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.control))?;
        stream.write_all(b"GET /counters HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer
            .split_once("\r\n\r\n")
            .context("the simulated fleet has no counters")?;
        Ok(serde_json::from_str(body)?)
    }

    /// The devices in order.
    pub fn devices(&self) -> Vec<Device> {
        let first = u32::from(self.base);
        let device = |(at, number): (u32, usize)| Device {
            name: format!("sim-{number:05}"),
            address: (Ipv4Addr::from(first + at), self.port).into(),
        };
        (0..).zip(1..=self.devices).map(device).collect()
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // Nothing to be done about a child that cannot be waited for.
        let _ = self.child.wait();
    }
}

/// The user and the password of every device.
pub fn login() -> (String, String) {
    let FleetConfig { user, password, .. } = FleetConfig::default();
    (user, password)
}

/// What the child process does.
pub fn serve(devices: usize, firmware: Option<Firmware>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let mut config = FleetConfig {
        devices,
        port: 0,
        tls_port: Some(0),
        control: Some((Ipv4Addr::LOCALHOST, 0).into()),
        ..FleetConfig::default()
    };
    if let Some(Firmware { download, restart }) = firmware {
        config.versions = vec![Firmware::FROM.to_owned()];
        config.firmware = FirmwareConfig {
            offers: Some(Firmware::TO.to_owned()),
            download,
            restart,
            ..FirmwareConfig::default()
        };
    }
    let fleet = runtime.block_on(Fleet::start(config))?;
    writeln!(
        io::stdout(),
        "{} {} {}",
        fleet.port(),
        fleet.tls_port().unwrap_or_default(),
        fleet.control().map_or(0, |address| address.port())
    )?;
    // The runtime's own threads serve the fleet meanwhile.
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
