//! `muster device rescue`: devices that are lost, and what to do about them on site.

use muster_proto::v1;
use serde_json::{Value, json};

use super::connect::{Engine, claimed_by};
use super::device::{address, device_json, labels};
use super::kept;
use super::result::{error_json, error_text, timestamp};
use crate::args::{Rescue, RescueDeed};
use crate::exit::{Done, Exit, Failure};
use crate::terminal::{devices, is_closed, out, safe};

pub(crate) async fn run(rescue: Rescue, engine: &str, json: bool) -> Done {
    let engine = Engine::connect(engine).await?;
    if let Some(RescueDeed::Clear { names, reason }) = rescue.deed {
        return clear(&engine, names, reason, json).await;
    }
    let mut count = 0;
    let mut pages = Pages::new(&engine, rescue.job.unwrap_or_default());
    while let Some(page) = pages.next().await? {
        for lost in &page {
            match json {
                true => out(to_json(lost)),
                false => show(lost),
            }
        }
        count += page.len() as u64;
        if is_closed() {
            break;
        }
    }
    if !json {
        anstream::eprintln!("{} to rescue", devices(count));
    }
    Ok(Exit::Ok)
}

async fn clear(engine: &Engine, names: Vec<String>, reason: String, json: bool) -> Done {
    let request = v1::ClearRescueRequest {
        names,
        reason,
        claimed_by: claimed_by(),
    };
    let cleared = engine.devices().clear_rescue(request).await?.into_inner().cleared;
    match json {
        true => out(json!({ "cleared": cleared })),
        false => anstream::eprintln!("off the list: {}", cleared.join(", ")),
    }
    Ok(Exit::Ok)
}

/// All that a job has lost and that is still to be rescued.
pub(crate) async fn of_job(engine: &Engine, job: &str) -> Result<Vec<v1::Rescue>, Failure> {
    let (mut lost, mut pages) = (Vec::new(), Pages::new(engine, job.to_owned()));
    while let Some(page) = pages.next().await? {
        lost.extend(page);
    }
    Ok(lost)
}

struct Pages<'a> {
    engine: &'a Engine,
    job: String,
    /// Of the next page; none after the last.
    token: Option<String>,
}

impl<'a> Pages<'a> {
    fn new(engine: &'a Engine, job: String) -> Self {
        Self {
            engine,
            job,
            token: Some(String::new()),
        }
    }

    async fn next(&mut self) -> Result<Option<Vec<v1::Rescue>>, Failure> {
        let Some(page_token) = self.token.take() else {
            return Ok(None);
        };
        let request = v1::ListRescueRequest {
            job: self.job.clone(),
            page_size: 0,
            page_token,
        };
        let page = self.engine.devices().list_rescue(request).await?.into_inner();
        self.token = Some(page.next_page_token).filter(|token| !token.is_empty());
        Ok(Some(page.devices))
    }
}

/// A lost device, and what to do about it.
pub(crate) fn show(lost: &v1::Rescue) {
    let device = lost.device.clone().unwrap_or_default();
    let facts = device.facts.clone().unwrap_or_default();
    let told = [&facts.board, &facts.version, &facts.identity, &facts.serial];
    let told = told.map(|text| safe(text).into_owned());
    let told = told
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect::<Vec<_>>();
    let since = timestamp(lost.since.as_ref()).unwrap_or_default();
    out(format_args!("{}  lost since {since}", safe(&device.name)));
    for (key, value) in [
        ("address", address(&device)),
        ("labels", labels(&device)),
        ("was", told.join(", ")),
        ("job", lost.job.clone()),
        ("step", step(lost)),
        ("why", lost.error.as_ref().map(error_text).unwrap_or_default()),
        ("backup", file(lost.backup.as_ref())),
        ("export", file(lost.export.as_ref())),
    ] {
        if !value.is_empty() {
            out(format_args!("    {key:<8} {value}"));
        }
    }
    for (at, line) in lost.on_site.iter().enumerate() {
        let key = if at == 0 { "on site" } else { "" };
        out(format_args!("    {key:<8} {}. {}", at + 1, safe(line)));
    }
}

/// The step that a device was lost by, in a few words.
pub(super) fn step(lost: &v1::Rescue) -> String {
    let title = safe(&lost.title);
    match lost.under_way {
        true => format!("{} ({title}), under way", lost.step),
        false => format!("{} ({title}), done before", lost.step),
    }
}

/// A file that is kept, in a few words; nothing where there is none.
pub(super) fn file(file: Option<&v1::KeptFile>) -> String {
    let Some(file) = file else {
        return String::new();
    };
    let at = timestamp(file.at.as_ref()).unwrap_or_default();
    format!("{} of {at}, RouterOS {}", file.id, safe(&file.version))
}

pub(super) fn to_json(lost: &v1::Rescue) -> Value {
    let device = lost.device.clone().unwrap_or_default();
    json!({
        "device": device.name, "since": timestamp(lost.since.as_ref()), "job": lost.job,
        "execution": lost.execution, "step": lost.step, "under_way": lost.under_way,
        "title": lost.title, "error": lost.error.as_ref().map(error_json),
        "backup": lost.backup.as_ref().map(kept::to_json), "export": lost.export.as_ref().map(kept::to_json),
        "on_site": lost.on_site, "inventory": device_json(&device),
    })
}
