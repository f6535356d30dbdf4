//! `muster sim`: a simulated fleet.

use muster_sim::{FirmwareConfig, Fleet, FleetConfig, SafeMode, SimError, World, parse_faults};
use serde_json::json;
use tokio::io::AsyncReadExt as _;

use crate::args;
use crate::exit::{Done, Exit, Failure};
use crate::serve::Stop;
use crate::{limits, logging};

/// Ports of the services beside the API, unless told otherwise.
const TLS_PORT: u16 = 8729;
const REST_PORT: u16 = 8080;
const HTTPS_PORT: u16 = 8443;

pub(crate) async fn run(args: args::Sim, json: bool) -> Done {
    logging::start();
    let fits = limits::raise();
    if args.devices > fits {
        // Each may be connected to; beyond the limit some could not be.
        tracing::warn!(
            devices = args.devices,
            fits,
            "more devices than connections that fit into this process"
        );
    }
    let config = FleetConfig {
        devices: args.devices,
        base: args.base,
        port: args.port,
        tls_port: Some(args.tls_port.unwrap_or(TLS_PORT)),
        rest_port: Some(args.rest_port.unwrap_or(REST_PORT)),
        https_port: Some(args.https_port.unwrap_or(HTTPS_PORT)),
        rest_cut: args.rest_cut,
        clamp: args.clamp,
        drift: args.drift,
        control: args.control,
        seed: args.seed,
        versions: if args.version.is_empty() {
            FleetConfig::default().versions
        } else {
            args.version
        },
        user: args.user,
        password: args.password,
        faults: parse_faults(&args.fault).map_err(|error| Failure::usage(format!("--fault: {error}")))?,
        safe_mode: SafeMode {
            closed: args.safe_mode_closed,
            dead: args.safe_mode_dead,
        },
        firmware: FirmwareConfig {
            offers: args.offers,
            download: args.download,
            restart: args.restart,
            ends: args.restart_ends,
            partitions: args.partitions,
            clock_set_after: args.clock_set_after,
            menus_after: args.menus_after,
            ..FirmwareConfig::default()
        },
        fragment: args.fragment,
        late: args.late,
    };
    if args.list {
        return list(&config, json);
    }
    let mut stop = Stop::new()?;
    // Where a port that nobody asked for is taken, any will do.
    let anywhere = FleetConfig {
        tls_port: Some(args.tls_port.unwrap_or(0)),
        rest_port: Some(args.rest_port.unwrap_or(0)),
        https_port: Some(args.https_port.unwrap_or(0)),
        ..config.clone()
    };
    let started = match Fleet::start(config).await {
        Err(SimError::Listen { .. }) => Fleet::start(anywhere).await,
        started => started,
    };
    let fleet = started.map_err(|error| Failure::new(Exit::Usage, "START", error))?;
    let (first, last) = (fleet.address(0), fleet.address(fleet.len() - 1));
    if json {
        let control = fleet.control().map(|address| address.to_string());
        let line = json!({ "devices": fleet.len(), "base": first, "port": fleet.port(), "tls_port": fleet.tls_port(),
            "rest_port": fleet.rest_port(), "https_port": fleet.https_port(), "control": control });
        crate::terminal::out(&line);
    } else {
        crate::terminal::out(format_args!(
            "{} devices on {first} to {last}, port {}",
            fleet.len(),
            fleet.port()
        ));
        let ports = [
            ("the API over TLS", fleet.tls_port()),
            ("REST over HTTP", fleet.rest_port()),
            ("REST over HTTPS", fleet.https_port()),
        ];
        for (what, port) in ports {
            if let Some(port) = port {
                crate::terminal::out(format_args!("{what} on port {port}"));
            }
        }
        if let Some(control) = fleet.control() {
            crate::terminal::out(format_args!(
                "journal and counters on http://{control}/journal and http://{control}/counters"
            ));
        }
    }
    tokio::select! {
        () = stop.wait() => {}
        () = stdin_closed(), if args.until_stdin_closes => {}
    }
    fleet.stop().await;
    Ok(Exit::Ok)
}

/// Tells what an audit should find.
fn list(config: &FleetConfig, json: bool) -> Done {
    let world = World::new(config).map_err(|error| Failure::new(Exit::Usage, "START", error))?;
    for index in 0..world.len() {
        let (address, identity) = (world.address(index), world.identity(index));
        let version = world.version(index);
        for planted in world.planted(index) {
            let muster_sim::Planted {
                deviation,
                menu,
                shows,
            } = planted;
            match json {
                true => crate::terminal::out(
                    json!({ "address": address, "identity": identity, "version": version,
                    "deviation": deviation, "menu": menu, "shows": shows }),
                ),
                false => crate::terminal::out(format_args!(
                    "{address:<15} {identity}  {version:<8} {deviation:<20} {menu} {shows}"
                )),
            }
        }
    }
    Ok(Exit::Ok)
}

/// Ends when whoever started this process closes its end, or is gone.
async fn stdin_closed() {
    let mut stdin = tokio::io::stdin();
    let mut sink = [0; 64];
    while stdin.read(&mut sink).await.is_ok_and(|count| count > 0) {}
}
