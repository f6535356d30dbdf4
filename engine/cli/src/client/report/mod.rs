//! `muster job report`: a job from its beginning to its end, for people who were not there and for programs.

mod html;
mod junit;
mod summary;

use std::collections::BTreeMap;

use muster_proto::v1;

use super::connect::Engine;
use super::job::{Pages, get};
use super::rescue;
use super::result::{class_name, job_json, state_name, timestamp, to_json};
use crate::exit::{Done, Exit, Failure};
use crate::terminal::{lines, out};

pub(super) use html::STYLE;
pub(super) use junit::escape;
pub(super) use summary::Summary;

/// What a report is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Format {
    /// A page that needs nothing else: timeline, waves, failures, who did what
    #[arg(long)]
    pub html: bool,
    /// A line for the job, then one for each device
    #[arg(long)]
    pub jsonl: bool,
    /// A line for each device
    #[arg(long)]
    pub csv: bool,
    /// For build servers: each device is a test
    #[arg(long)]
    pub junit: bool,
}

pub(super) async fn run(engine: &Engine, id: String, format: Format) -> Done {
    let job = get(engine, id.clone()).await?;
    let mut pages = Pages::new(engine, &id, &[]);
    if format.jsonl {
        let lost = rescue::of_job(engine, &job.id).await?;
        let mut object = job_json(&job);
        object["rescue"] = lost.iter().map(rescue::to_json).collect();
        out(object);
        while let Some(results) = pages.next().await? {
            results.iter().for_each(|result| out(to_json(result)));
        }
        return Ok(Exit::Ok);
    }
    if format.csv {
        csv(pages).await?;
        return Ok(Exit::Ok);
    }
    let mut summary = Summary::new(&job);
    while let Some(results) = pages.next().await? {
        results.iter().for_each(|result| summary.add(result));
    }
    match format.junit {
        true => out(junit::write(&summary)),
        false => {
            let sites = match summary.away.is_empty() {
                true => BTreeMap::new(),
                false => sites(engine).await?,
            };
            let away = summary::by_site(&summary.away, &sites);
            let lost = rescue::of_job(engine, &job.id).await?;
            let history = history(engine, &id).await?;
            out(html::page(&job, &summary, &away, &lost, &history));
        }
    }
    Ok(Exit::Ok)
}

/// The sites of devices, by name: their label `site`, as the inventory has it now.
async fn sites(engine: &Engine) -> Result<BTreeMap<String, String>, Failure> {
    let (mut all, mut page_token) = (BTreeMap::new(), String::new());
    loop {
        let request = v1::ListDevicesRequest {
            page_size: 5000,
            page_token,
            ..Default::default()
        };
        let page = engine.devices().list_devices(request).await?.into_inner();
        for mut device in page.devices {
            if let Some(site) = device.labels.remove("site") {
                all.insert(device.name, site);
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

async fn history(engine: &Engine, id: &str) -> Result<Vec<v1::HistoryEntry>, Failure> {
    let (mut entries, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListHistoryRequest {
            subject: id.to_owned(),
            page_token,
            ..Default::default()
        };
        let page = engine.admin().list_history(request).await?.into_inner();
        entries.extend(page.entries);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(entries);
        }
    }
}

/// The columns of a report as CSV.
const COLUMNS: [&str; 9] = [
    "device",
    "state",
    "attempts",
    "error_class",
    "error_message",
    "started_at",
    "finished_at",
    "seconds",
    "away_seconds",
];

async fn csv(mut pages: Pages<'_>) -> Result<(), Failure> {
    let told = |error: csv::Error| Failure::usage(error);
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS).map_err(told)?;
    while let Some(results) = pages.next().await? {
        for result in &results {
            let error = result.error.as_ref();
            let row = [
                result.device.clone(),
                state_name(result.state()),
                result.attempts.to_string(),
                error.map(class_name).unwrap_or_default(),
                error.map(|error| error.message.clone()).unwrap_or_default(),
                timestamp(result.started_at.as_ref()).unwrap_or_default(),
                timestamp(result.finished_at.as_ref()).unwrap_or_default(),
                summary::seconds(result)
                    .map(|seconds| format!("{seconds:.3}"))
                    .unwrap_or_default(),
                summary::away(result)
                    .map(|seconds| seconds.to_string())
                    .unwrap_or_default(),
            ];
            writer.write_record(row).map_err(told)?;
        }
        writer.flush()?;
        lines(writer.get_ref());
        writer = csv::Writer::from_writer(Vec::new());
    }
    Ok(())
}

/// For tests of the parts.
#[cfg(test)]
fn result(device: &str, state: v1::ExecutionState, from: i64, to: i64) -> v1::ExecutionResult {
    v1::ExecutionResult {
        device: device.into(),
        state: state.into(),
        error: (state != v1::ExecutionState::Succeeded).then(|| v1::DeviceError {
            class: v1::ErrorClass::Trap.into(),
            message: "no <such> & \"thing\"".into(),
            category: None,
        }),
        started_at: Some(muster_proto::time(from)),
        finished_at: Some(muster_proto::time(to)),
        ..Default::default()
    }
}
