//! `muster device`.

use std::path::Path;

use muster_proto::v1;
use serde_json::{Value, json};

use super::connect::{Engine, claimed_by};
use super::import::{self, Bad, Parsed};
use super::result::{table, timestamp};
use super::{kept, rescue, run};
use crate::args::{Device, Selection};
use crate::exit::{Done, Exit, Failure};
use crate::terminal::{devices, number, out, safe};

/// Devices in one message of an import.
const CHUNK: usize = 1000;
/// Devices in one page of a list.
const PAGE: i32 = 5000;

pub(crate) async fn run(command: Device, engine: &str, json: bool) -> Done {
    match command {
        Device::Import {
            file,
            skip_bad,
            update,
            dry_run,
        } => {
            let parsed = import::read(&file)?;
            let engine = Engine::connect(engine).await?;
            import(
                &engine,
                &file,
                parsed,
                Options {
                    skip_bad,
                    update,
                    dry_run,
                    json,
                },
            )
            .await
        }
        Device::List { select } => {
            list(&Engine::connect(engine).await?, select.unwrap_or_default(), json).await
        }
        Device::Show { name } => show(&Engine::connect(engine).await?, name, json).await,
        Device::Label { select, words } => label(&Engine::connect(engine).await?, select, words, json).await,
        Device::Remove { names, select, yes } => {
            let engine = Engine::connect(engine).await?;
            let names = match select {
                Some(select) => selected(&engine, select, yes).await?,
                None => names,
            };
            let removed = engine
                .devices()
                .remove_devices(v1::RemoveDevicesRequest { names })
                .await?;
            let removed = removed.into_inner().removed;
            match json {
                true => out(json!({ "removed": removed })),
                false => anstream::eprintln!("{} removed", devices(removed)),
            }
            Ok(Exit::Ok)
        }
        Device::Trust {
            name,
            pin,
            serial,
            reason,
        } => {
            let request = v1::TrustDeviceRequest {
                name,
                pin: pin.unwrap_or_default(),
                serial: serial.unwrap_or_default(),
                reason,
                claimed_by: claimed_by(),
            };
            let engine = Engine::connect(engine).await?;
            let done = engine.devices().trust_device(request).await?.into_inner();
            let name = done.device.map(|device| device.name).unwrap_or_default();
            let told = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            let (pin, serial) = (told(&done.accepted_pin), told(&done.accepted_serial));
            match json {
                true => out(json!({ "device": name, "pin": pin, "serial": serial })),
                false => {
                    if let Some(pin) = pin {
                        anstream::eprintln!("{name}: trusted by the SHA-256 {pin}");
                    }
                    if let Some(serial) = serial {
                        anstream::eprintln!("{name}: known by the serial number {}", safe(&serial));
                    }
                }
            }
            Ok(Exit::Ok)
        }
        Device::Backup {
            names,
            select,
            all,
            max_age,
            export,
            or_export,
            timeout,
        } => {
            let wanted = kept::Wanted {
                selection: selection(&names, select, all)?,
                max_age,
                export_only: export,
                or_export,
                timeout,
            };
            kept::backup(&Engine::connect(engine).await?, wanted, json).await
        }
        Device::Exports { name, get, output } => {
            kept::exports(&Engine::connect(engine).await?, name, get, output, json).await
        }
        Device::Diff { one, other } => kept::diff(&Engine::connect(engine).await?, one, other, json).await,
        Device::Rescue(rescue) => rescue::run(rescue, engine, json).await,
        Device::Quarantined => {
            let engine = Engine::connect(engine).await?;
            let request = v1::ListQuarantinedRequest {};
            let names = engine
                .devices()
                .list_quarantined(request)
                .await?
                .into_inner()
                .names;
            match json {
                true => names.iter().for_each(|name| out(json!({ "device": name }))),
                false => names.iter().for_each(out),
            }
            Ok(Exit::Ok)
        }
        Device::Release { names, reason } => {
            let engine = Engine::connect(engine).await?;
            let request = v1::ReleaseDevicesRequest {
                names,
                reason,
                claimed_by: claimed_by(),
            };
            let released = engine
                .devices()
                .release_devices(request)
                .await?
                .into_inner()
                .released;
            match json {
                true => out(json!({ "released": released })),
                false => anstream::eprintln!("released: {}", released.join(", ")),
            }
            Ok(Exit::Ok)
        }
        Device::Test {
            names,
            select,
            all,
            timeout,
        } => {
            let selection = selection(&names, select, all)?;
            run::test(&Engine::connect(engine).await?, selection, timeout, json).await
        }
    }
}

/// Devices by name, by selector, or all of them.
fn selection(names: &[String], select: Option<String>, all: bool) -> Result<Selection, Failure> {
    let select = match (names.is_empty(), select, all) {
        (false, _, _) => Some(format!(
            "name in ({})",
            names.iter().map(|n| exact(n)).collect::<Vec<_>>().join(",")
        )),
        (true, select @ Some(_), _) => select,
        (true, None, true) => None,
        (true, None, false) => {
            return Err(Failure::usage("which devices? give names, --select or --all"));
        }
    };
    Ok(Selection {
        all: select.is_none(),
        select,
    })
}

/// The names of the devices a selector means, after asking whether they are meant.
async fn selected(engine: &Engine, selector: String, yes: bool) -> Result<Vec<String>, Failure> {
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListDevicesRequest {
            selector: selector.clone(),
            page_size: PAGE,
            page_token,
        };
        let page = engine.devices().list_devices(request).await?.into_inner();
        names.extend(page.devices.into_iter().map(|device| device.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if names.is_empty() {
        return Err(Failure::usage(format!("--select: {selector:?} means no device")));
    }
    let sample = names.iter().take(10).cloned().collect::<Vec<_>>();
    run::ask(
        &format!("this removes {} from the inventory", devices(names.len() as u64)),
        names.len(),
        &sample,
        yes,
    )?;
    Ok(names)
}

/// A name as a selector takes it. Names have no characters that mean something there.
fn exact(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

struct Options {
    skip_bad: bool,
    update: bool,
    dry_run: bool,
    json: bool,
}

async fn import(engine: &Engine, file: &Path, parsed: Parsed, options: Options) -> Done {
    let Parsed { mut rows, mut bad } = parsed;
    let checked = send(engine, &rows, &options, true).await?;
    for found in &checked.bad {
        let row = usize::try_from(found.index)
            .ok()
            .and_then(|index| rows.get(index));
        // What could not be read was told already, and the engine saw something else in its place.
        let told = |bad: &Bad| row.is_some_and(|row| row.line == bad.line) && bad.field == found.field;
        if bad.iter().any(told) {
            continue;
        }
        bad.push(Bad {
            line: row.map_or(0, |row| row.line),
            column: row.and_then(|row| row.columns.get(found.field.as_str()).copied()),
            field: found.field.clone(),
            message: found.description.clone(),
        });
    }
    bad.sort_by_key(|bad| (bad.line, bad.column));
    if !bad.is_empty() && !options.skip_bad {
        let count = number(bad.len() as u64);
        let message = format!("{}: {count} problem(s); nothing was imported", file.display());
        let told = if options.json { bad } else { import::told_once(bad) };
        let details = told.iter().map(Bad::to_json).collect::<Vec<_>>();
        let failure =
            Failure::new(Exit::Usage, "BAD_INVENTORY", message).with("details", Value::Array(details));
        return Err(failure.hint("correct the lines, or leave them out with --skip-bad"));
    }
    let mut skipped = bad.iter().map(|bad| bad.line).collect::<Vec<_>>();
    skipped.dedup();
    let told = if options.json { bad } else { import::told_once(bad) };
    for bad in &told {
        match options.json {
            true => anstream::eprintln!("{}", json!({ "skipped": bad.to_json() })),
            false => anstream::eprintln!("skipped: line {}: {}{}", bad.line, field(bad), bad.message),
        }
    }
    rows.retain(|row| !row.bad);
    let done = send(engine, &rows, &options, options.dry_run).await?;
    let v1::ImportDevicesResponse {
        created,
        updated,
        unchanged,
        ..
    } = done;
    if options.json {
        let line = json!({
            "created": created, "updated": updated, "unchanged": unchanged,
            "skipped": skipped.len(), "dry_run": options.dry_run,
        });
        out(&line);
    } else {
        let would = if options.dry_run {
            "would import"
        } else {
            "imported"
        };
        let mut told = format!("{would} {}", devices(created));
        for (count, what) in [
            (updated, "updated"),
            (unchanged, "unchanged"),
            (skipped.len() as u64, "skipped"),
        ] {
            if count > 0 {
                told.push_str(&format!(", {} {what}", number(count)));
            }
        }
        anstream::eprintln!("{told}");
    }
    Ok(Exit::Ok)
}

fn field(bad: &Bad) -> String {
    match bad.column {
        Some(column) => format!("column {column} ({}): ", bad.field),
        None if bad.field.is_empty() => String::new(),
        None => format!("{}: ", bad.field),
    }
}

async fn send(
    engine: &Engine,
    rows: &[import::Row],
    options: &Options,
    validate_only: bool,
) -> Result<v1::ImportDevicesResponse, Failure> {
    let message = |devices: &[import::Row]| v1::ImportDevicesRequest {
        devices: devices.iter().map(|row| row.device.clone()).collect(),
        update: options.update,
        validate_only,
        skip_bad: options.skip_bad,
        claimed_by: claimed_by(),
    };
    // At least one message: it carries the options.
    let mut messages = rows.chunks(CHUNK).map(message).collect::<Vec<_>>();
    if messages.is_empty() {
        messages.push(message(&[]));
    }
    Ok(engine
        .devices()
        .import_devices(tokio_stream::iter(messages))
        .await?
        .into_inner())
}

async fn list(engine: &Engine, selector: String, json: bool) -> Done {
    let mut table = table([
        "NAME",
        "ADDRESS",
        "TRANSPORT",
        "ZONE",
        "CREDENTIAL",
        "VERSION",
        "BOARD",
        "LABELS",
    ]);
    let (mut page_token, mut total) = (String::new(), 0);
    loop {
        let request = v1::ListDevicesRequest {
            selector: selector.clone(),
            page_size: PAGE,
            page_token,
        };
        let page = engine.devices().list_devices(request).await?.into_inner();
        total = page.total.max(total);
        for device in &page.devices {
            if json {
                out(device_json(device));
            } else {
                let facts = device.facts.clone().unwrap_or_default();
                table.add_row([
                    device.name.clone(),
                    address(device),
                    transport(device),
                    device.zone.clone(),
                    device.credential.clone(),
                    safe(&facts.version).into_owned(),
                    safe(&facts.board).into_owned(),
                    labels(device),
                ]);
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if !json {
        out(&table);
        anstream::eprintln!("{}", devices(total));
    }
    Ok(Exit::Ok)
}

async fn show(engine: &Engine, name: String, json: bool) -> Done {
    let answer = engine
        .devices()
        .get_device(v1::GetDeviceRequest { name })
        .await?
        .into_inner();
    let device = answer.device.unwrap_or_default();
    if json {
        out(device_json(&device));
        return Ok(Exit::Ok);
    }
    let facts = device.facts.clone().unwrap_or_default();
    let observed = timestamp(facts.observed_at.as_ref()).unwrap_or_else(|| "never connected".into());
    for (key, value) in [
        ("name", device.name.clone()),
        (
            "address",
            format!("{} ({})", address(&device), transport(&device)),
        ),
        ("certificate", certificate(&device)),
        ("credential", device.credential.clone()),
        ("zone", device.zone.clone()),
        ("labels", labels(&device)),
        ("identity", safe(&facts.identity).into_owned()),
        ("version", safe(&facts.version).into_owned()),
        ("board", safe(&facts.board).into_owned()),
        ("architecture", safe(&facts.architecture).into_owned()),
        ("serial", serial(&device)),
        ("observed", observed),
        (
            "imported",
            timestamp(device.created_at.as_ref()).unwrap_or_default(),
        ),
    ] {
        out(format_args!("{key:<13} {value}"));
    }
    Ok(Exit::Ok)
}

async fn label(engine: &Engine, select: Option<String>, words: Vec<String>, json: bool) -> Done {
    let (mut names, mut request) = (Vec::new(), v1::LabelDevicesRequest::default());
    for word in words {
        if let Some((key, value)) = word.split_once('=') {
            request.set.insert(key.to_owned(), value.to_owned());
        } else if let Some(key) = word.strip_suffix('-') {
            request.remove.push(key.to_owned());
        } else {
            names.push(exact(&word));
        }
    }
    if request.set.is_empty() && request.remove.is_empty() {
        return Err(Failure::usage(
            "no label is set or removed; write key=value or key-",
        ));
    }
    request.selector = match (names.as_slice(), select) {
        ([], Some(select)) => select,
        ([_, ..], None) => format!("name in ({})", names.join(",")),
        ([], None) => return Err(Failure::usage("which devices? give names or --select")),
        ([_, ..], Some(_)) => return Err(Failure::usage("names and --select exclude each other")),
    };
    let done = engine.devices().label_devices(request).await?.into_inner();
    match json {
        true => out(format_args!(
            "{}",
            json!({ "selected": done.selected, "changed": done.changed })
        )),
        false => anstream::eprintln!(
            "{} labelled, {} changed",
            devices(done.selected),
            number(done.changed)
        ),
    }
    Ok(Exit::Ok)
}

/// Where it is: for `auto` without a port, which each transport has its own of.
pub(super) fn address(device: &v1::Device) -> String {
    match device.port {
        0 => device.address.clone(),
        port => format!("{}:{port}", device.address),
    }
}

/// How it is spoken to, and what waits for somebody to accept it.
fn transport(device: &v1::Device) -> String {
    let reach = device.reach.clone().unwrap_or_default();
    let worked = match reach.worked.as_str() {
        "" => String::new(),
        worked => format!(": {worked}"),
    };
    let mut told = format!("{}{worked}", device.transport);
    if !reach.offered_certificate.is_empty() {
        told.push_str(", certificate not trusted");
    }
    if !reach.offered_serial.is_empty() {
        told.push_str(", SERIAL CHANGED");
    }
    told
}

/// What its certificate has to satisfy, and what it presented instead.
fn certificate(device: &v1::Device) -> String {
    let reach = device.reach.clone().unwrap_or_default();
    let mut told = match (
        device.tls.as_str(),
        device.pin.as_str(),
        device.transport.as_str(),
    ) {
        (_, _, "api" | "http") => return "none: in the clear".into(),
        ("" | "pin", pin, _) if !pin.is_empty() => format!("pinned: {pin}"),
        (tls, pin, _) if !pin.is_empty() => format!("{tls}: {pin}"),
        ("", _, "auto") => "whatever there is: not authenticated".into(),
        (tls @ ("insecure" | "legacy"), ..) => format!("{tls}: encrypted, not authenticated"),
        ("", ..) => "system".into(),
        (tls, ..) => tls.to_owned(),
    };
    if !reach.pinned_by.is_empty() {
        told.push_str(&format!(
            " (accepted by {} at {})",
            reach.pinned_by,
            timestamp(reach.pinned_at.as_ref()).unwrap_or_default()
        ));
    }
    if !reach.offered_certificate.is_empty() {
        told.push_str(&format!(
            "; not trusted: {} presented at {}",
            reach.offered_certificate,
            timestamp(reach.offered_at.as_ref()).unwrap_or_default()
        ));
    }
    told
}

fn serial(device: &v1::Device) -> String {
    let facts = device.facts.clone().unwrap_or_default();
    let reach = device.reach.clone().unwrap_or_default();
    let known = safe(&facts.serial).into_owned();
    match reach.offered_serial.as_str() {
        "" => known,
        other => format!(
            "{known}; CHANGED: since {} it says {}. Changes are refused until `device trust {}`",
            timestamp(reach.offered_serial_at.as_ref()).unwrap_or_default(),
            safe(other),
            device.name
        ),
    }
}

pub(super) fn labels(device: &v1::Device) -> String {
    let mut labels = device
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect::<Vec<_>>();
    labels.sort();
    labels.join(" ")
}

pub(super) fn device_json(device: &v1::Device) -> Value {
    let mut labels = device.labels.iter().collect::<Vec<_>>();
    labels.sort();
    let labels = labels
        .into_iter()
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect::<serde_json::Map<_, _>>();
    let facts = device.facts.as_ref().map(|facts| {
        json!({
            "version": facts.version, "board": facts.board, "architecture": facts.architecture,
            "identity": facts.identity, "serial": facts.serial, "observed_at": timestamp(facts.observed_at.as_ref()),
        })
    });
    let reach = device.reach.as_ref().map(|reach| {
        json!({
            "worked": reach.worked, "worked_at": timestamp(reach.worked_at.as_ref()),
            "pinned_by": reach.pinned_by, "pinned_at": timestamp(reach.pinned_at.as_ref()),
            "offered_certificate": reach.offered_certificate, "offered_key": reach.offered_key,
            "offered_at": timestamp(reach.offered_at.as_ref()),
            "offered_serial": reach.offered_serial,
            "offered_serial_at": timestamp(reach.offered_serial_at.as_ref()),
        })
    });
    json!({
        "name": device.name, "address": device.address, "port": device.port, "transport": device.transport,
        "credential": device.credential, "zone": device.zone, "labels": labels, "facts": facts,
        "created_at": timestamp(device.created_at.as_ref()), "tls": device.tls, "pin": device.pin,
        "ports": device.ports, "in_flight": (device.in_flight > 0).then_some(device.in_flight), "reach": reach,
    })
}
