//! `muster sim`: a simulated fleet.

use muster_sim::{Fleet, FleetConfig, parse_faults};
use serde_json::json;
use tokio::io::AsyncReadExt as _;

use crate::args;
use crate::exit::{Done, Exit, Failure};
use crate::serve::Stop;
use crate::{limits, logging};

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
        fragment: args.fragment,
        late: args.late,
    };
    let mut stop = Stop::new()?;
    let fleet = Fleet::start(config)
        .await
        .map_err(|error| Failure::new(Exit::Usage, "START", error))?;
    let (first, last) = (fleet.address(0), fleet.address(fleet.len() - 1));
    if json {
        let control = fleet.control().map(|address| address.to_string());
        let line = json!({ "devices": fleet.len(), "base": first, "port": fleet.port(), "control": control });
        crate::terminal::out(&line);
    } else {
        crate::terminal::out(format_args!(
            "{} devices on {first} to {last}, port {}",
            fleet.len(),
            fleet.port()
        ));
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

/// Ends when whoever started this process closes its end, or is gone.
async fn stdin_closed() {
    let mut stdin = tokio::io::stdin();
    let mut sink = [0; 64];
    while stdin.read(&mut sink).await.is_ok_and(|count| count > 0) {}
}
