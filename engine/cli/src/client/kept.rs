//! `muster device backup`, `exports` and `diff`: files of devices that the engine keeps.

use std::io::Write as _;
use std::path::PathBuf;

use muster_proto::v1;
use serde_json::json;
use similar::TextDiff;

use super::connect::Engine;
use super::result::{table, timestamp};
use super::run;
use crate::args::Selection;
use crate::exit::{Done, Exit, Failure};
use crate::terminal::{number, out, safe};

/// Files in one page of a list.
const PAGE: i32 = 500;

/// Lines around a difference that are shown.
const AROUND: usize = 3;

/// What is to be brought.
pub(crate) struct Wanted {
    pub(crate) selection: Selection,
    pub(crate) max_age: Option<std::time::Duration>,
    pub(crate) export_only: bool,
    pub(crate) or_export: bool,
    pub(crate) timeout: std::time::Duration,
}

/// Brings backups, as a job of one step.
pub(crate) async fn backup(engine: &Engine, wanted: Wanted, json: bool) -> Done {
    let kind = match wanted.export_only {
        true => v1::step::Kind::Export(v1::Export {}),
        false => v1::step::Kind::Backup(v1::Backup {
            max_age: wanted.max_age.and_then(|age| age.try_into().ok()),
            or_export: wanted.or_export,
        }),
    };
    let plan = v1::Plan {
        steps: vec![v1::Step { kind: Some(kind) }],
        ..Default::default()
    };
    let mut spec = run::spec(plan, wanted.selection, wanted.timeout);
    spec.name = if wanted.export_only {
        "device export"
    } else {
        "device backup"
    }
    .into();
    let job = run::create(engine, spec).await?;
    run::watch(engine, &job.id, json).await
}

/// Lists what is kept of a device, or gets one of it.
pub(crate) async fn exports(
    engine: &Engine,
    device: String,
    get: Option<String>,
    output: Option<PathBuf>,
    json: bool,
) -> Done {
    if let Some(id) = get {
        let (file, content) = fetch(engine, &id).await?;
        if file.device != device {
            let told = format!("file {id} is of {}, not of {device}", safe(&file.device));
            return Err(Failure::usage(told));
        }
        return save(&file, &content, output, json);
    }
    let files = list(engine, &device, v1::KeptKind::Unspecified).await?;
    if json {
        files.iter().for_each(|file| out(to_json(file)));
        return Ok(Exit::Ok);
    }
    let rows = files.iter().map(|file| {
        vec![
            file.id.clone(),
            timestamp(file.at.as_ref()).unwrap_or_default(),
            kind(file).to_owned(),
            number(file.size),
            file.version.clone(),
            file.sha256.chars().take(12).collect(),
            file.job.clone(),
        ]
    });
    let mut shown = table(["ID", "AT", "KIND", "BYTES", "VERSION", "SHA-256", "JOB"]);
    shown.add_rows(rows);
    match files.is_empty() {
        true => anstream::eprintln!(
            "nothing is kept of {}; muster device backup {} brings it",
            safe(&device),
            safe(&device)
        ),
        false => out(shown),
    }
    Ok(Exit::Ok)
}

/// What is different between two exports, each the newest of a device or one by its number.
pub(crate) async fn diff(engine: &Engine, one: String, other: String, json: bool) -> Done {
    let (before, old) = export(engine, &one).await?;
    let (after, new) = export(engine, &other).await?;
    let text = |content: &[u8]| routeros_wire::value::text::escape(content).into_owned();
    let lines = |content: &[u8]| content.split(|byte| *byte == b'\n').map(text).collect::<Vec<_>>();
    let (old, new) = (lines(&old), lines(&new));
    let label = |file: &v1::KeptFile| {
        format!(
            "{} {}",
            safe(&file.device),
            timestamp(file.at.as_ref()).unwrap_or_default()
        )
    };
    let same = before.sha256 == after.sha256 || old == new;
    if json {
        let (removed, added) = changed(&old, &new);
        out(json!({
            "from": to_json(&before), "to": to_json(&after), "same": same, "removed": removed, "added": added,
        }));
    } else if !same {
        let old = old.iter().map(String::as_str).collect::<Vec<_>>();
        let new = new.iter().map(String::as_str).collect::<Vec<_>>();
        let diff = TextDiff::from_slices(&old, &new);
        let shown = diff
            .unified_diff()
            .context_radius(AROUND)
            .header(&label(&before), &label(&after))
            .to_string();
        out(shown.trim_end());
    }
    if same && !json {
        anstream::eprintln!("no difference");
    }
    Ok(if same { Exit::Ok } else { Exit::Pending })
}

/// Lines that are gone, and lines that are new.
fn changed(old: &[String], new: &[String]) -> (Vec<String>, Vec<String>) {
    let old = old.iter().map(String::as_str).collect::<Vec<_>>();
    let new = new.iter().map(String::as_str).collect::<Vec<_>>();
    let (mut removed, mut added) = (Vec::new(), Vec::new());
    let diff = TextDiff::from_slices(&old, &new);
    for change in diff.iter_all_changes() {
        let line = change.value().trim_end().to_owned();
        match change.tag() {
            similar::ChangeTag::Delete => removed.push(line),
            similar::ChangeTag::Insert => added.push(line),
            similar::ChangeTag::Equal => {}
        }
    }
    (removed, added)
}

/// The export that a word means: of a device the newest, or one by its number.
async fn export(engine: &Engine, word: &str) -> Result<(v1::KeptFile, Vec<u8>), Failure> {
    let id = match word.strip_prefix('#') {
        Some(id) => id.to_owned(),
        None => {
            let files = list(engine, word, v1::KeptKind::Export).await?;
            let newest = files.first().ok_or_else(|| {
                Failure::usage(format!("no export of {word} is kept")).hint(format!(
                    "muster device backup {word} brings one; #ID means one by its number"
                ))
            })?;
            newest.id.clone()
        }
    };
    let (file, content) = fetch(engine, &id).await?;
    match file.kind() {
        v1::KeptKind::Export => Ok((file, content)),
        _ => Err(Failure::usage(format!(
            "file {id} is a binary backup, which cannot be compared; name an export"
        ))),
    }
}

async fn list(engine: &Engine, device: &str, kind: v1::KeptKind) -> Result<Vec<v1::KeptFile>, Failure> {
    let (mut files, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListKeptFilesRequest {
            device: device.to_owned(),
            kind: kind.into(),
            page_size: PAGE,
            page_token,
        };
        let page = engine.devices().list_kept_files(request).await?.into_inner();
        files.extend(page.files);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(files);
        }
    }
}

async fn fetch(engine: &Engine, id: &str) -> Result<(v1::KeptFile, Vec<u8>), Failure> {
    let request = v1::GetKeptFileRequest { id: id.to_owned() };
    let mut parts = engine.devices().get_kept_file(request).await?.into_inner();
    let (mut file, mut content) = (v1::KeptFile::default(), Vec::new());
    while let Some(part) = parts.message().await? {
        if let Some(told) = part.file {
            file = told;
        }
        content.extend_from_slice(&part.content);
    }
    Ok((file, content))
}

/// Writes a file to where it is wanted: by default beside us, under a name that says what it is.
fn save(file: &v1::KeptFile, content: &[u8], output: Option<PathBuf>, json: bool) -> Done {
    let failed = |path: &std::path::Path, error: std::io::Error| {
        Failure::usage(format!("{} cannot be written: {error}", path.display()))
    };
    if output.as_deref() == Some("-".as_ref()) {
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(content).and_then(|()| stdout.flush());
        return written
            .map(|()| Exit::Ok)
            .map_err(|error| failed("-".as_ref(), error));
    }
    let suffix = match file.kind() {
        v1::KeptKind::Export => "rsc",
        _ => "backup",
    };
    let name = file.device.replace(['/', ':'], "-");
    let path = output.unwrap_or_else(|| format!("{name}-{}.{suffix}", file.id).into());
    // A backup holds secrets: nobody else reads it, and nothing is written over.
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&path).and_then(|mut made| made.write_all(content));
    written.map_err(|error| failed(&path, error))?;
    match json {
        true => out(json!({ "path": path, "file": to_json(file) })),
        false => anstream::eprintln!("{}: {} bytes", path.display(), number(content.len() as u64)),
    }
    Ok(Exit::Ok)
}

fn kind(file: &v1::KeptFile) -> &'static str {
    match file.kind() {
        v1::KeptKind::Backup => "backup",
        v1::KeptKind::Export => "export",
        v1::KeptKind::Unspecified => "",
    }
}

pub(super) fn to_json(file: &v1::KeptFile) -> serde_json::Value {
    json!({
        "id": file.id, "device": file.device, "kind": kind(file), "at": timestamp(file.at.as_ref()),
        "job": file.job, "version": file.version, "bytes": file.size, "sha256": file.sha256,
    })
}
