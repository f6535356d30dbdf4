//! `muster rollout preview`.

use std::time::Duration;

use muster_proto::v1;
use serde_json::{Value, json};

use super::super::connect::Engine;
use super::super::group::{self, Found};
use super::super::result::{table, timestamp, written};
use super::super::run::create;
use crate::exit::{Done, Exit, Failure};
use crate::terminal::{devices, number, out, safe, short as short_text};

/// Characters shown of a selector.
const WHOM: usize = 200;
/// Names shown of a wave.
const NAMES: usize = 3;
/// Lines of a list before the rest is only counted.
const LINES: usize = 10;

/// Reads every device, unless told not to, and prints what a rollout would do: 2 if there is something to do.
/// Shows what a rollout would do. `start` is the command that starts it.
pub(crate) async fn run(engine: &Engine, start: &str, mut spec: v1::JobSpec, read: bool, json: bool) -> Done {
    // What is wrong with it is told before thousands of devices are asked.
    let laid = lay(engine, &spec).await?;
    let mut found = None;
    if read && laid.effect() != v1::Effect::Read {
        let job = create(engine, reading(&spec)).await?;
        let Some(what) = group::find(engine, &job.id).await? else {
            return Ok(Exit::StillRuns);
        };
        spec.previewed.clone_from(&job.id);
        found = Some((job.id, what));
    }
    let answer = match found {
        Some(_) => lay(engine, &spec).await?,
        None => laid,
    };
    match json {
        true => out(to_json(&spec, &answer, found.as_ref())),
        false => {
            if let Some((id, found)) = &found {
                found.print(id, false);
            }
            show(start, &spec, &answer, found.as_ref().map(|(_, found)| found));
        }
    }
    // What only reads leaves nothing to be done.
    Ok(match (answer.effect(), found) {
        (v1::Effect::Read, _) => Exit::Ok,
        (_, None) => Exit::Pending,
        (_, Some((_, found))) => match (found.changes, found.conflicts, found.unreached) {
            (1.., _, _) => Exit::Pending,
            (0, 1.., _) => Exit::Failures,
            (0, 0, 1..) => Exit::Coverage,
            (0, 0, 0) => Exit::Ok,
        },
    })
}

async fn lay(engine: &Engine, spec: &v1::JobSpec) -> Result<v1::PreviewJobResponse, Failure> {
    let request = v1::PreviewJobRequest {
        spec: Some(spec.clone()),
    };
    Ok(engine.jobs().preview_job(request).await?.into_inner())
}

/// The job that looks at every device of a rollout.
fn reading(spec: &v1::JobSpec) -> v1::JobSpec {
    v1::JobSpec {
        preview: true,
        policy: None,
        budget: String::new(),
        break_glass: String::new(),
        priority: v1::JobPriority::Interactive.into(),
        ..spec.clone()
    }
}

/// For whoever is asked whether it is meant.
pub(crate) fn in_a_line(answer: &v1::PreviewJobResponse) -> String {
    let waves = answer
        .waves
        .iter()
        .map(|wave| number(wave.total))
        .collect::<Vec<_>>();
    format!(
        "{} in waves of {}; {}",
        devices(answer.total),
        waves.join(", "),
        worst_case(answer)
    )
}

fn worst_case(answer: &v1::PreviewJobResponse) -> String {
    match answer.budget {
        Some(budget) => format!("at worst {} harmed", devices(budget)),
        None => "no limit on how many are harmed".into(),
    }
}

fn show(start: &str, spec: &v1::JobSpec, answer: &v1::PreviewJobResponse, found: Option<&Found>) {
    let whom = match spec.all {
        true => "every device".into(),
        false => short_text(&safe(&spec.selector), WHOM).into_owned(),
    };
    let steps = spec.plan.as_ref().map_or(0, |plan| written(plan).len());
    out(format_args!(
        "{}: {steps} step{} on {whom}: {}",
        safe(&spec.name),
        if steps == 1 { "" } else { "s" },
        devices(answer.total)
    ));
    if let Some(found) = found {
        out(format_args!("changes:    {}", found.text()));
    }
    let mut waves = table(["WAVE", "NAME", "SIZE", "DEVICES", "BUDGET", "SHOWS", "FIRST"]);
    for wave in &answer.waves {
        let more = if wave.total as usize > NAMES { ", …" } else { "" };
        let first = wave
            .sample
            .iter()
            .take(NAMES)
            .cloned()
            .collect::<Vec<_>>()
            .join(", ");
        waves.add_row([
            number(wave.number.into()),
            safe(&wave.name).into_owned(),
            safe(&wave.size).into_owned(),
            number(wave.total),
            wave.budget.map_or_else(|| "the job's".into(), number),
            format!("under {:.1} % fail", wave.claim * 100.0),
            format!("{}{more}", safe(&first)),
        ]);
    }
    out(&waves);
    out(format_args!("worst case: {}", worst_case(answer)));
    if let Some(at_once) = answer.at_once {
        out(format_args!(
            "at once:    {} being changed, because of the {}",
            devices(at_once),
            answer.at_once_by
        ));
    }
    out(format_args!("forecast:   {}", forecast(answer.forecast.as_ref())));
    if let Some(opens) = timestamp(answer.opens_at.as_ref()) {
        out(format_args!("window:     opens at {opens}"));
    }
    let skipped = answer
        .skipped
        .iter()
        .map(|skipped| format!("{}: {}", skipped.device, skipped.reason));
    list("skipped", &skipped.collect::<Vec<_>>());
    let uncovered = answer.uncovered.iter().map(|short| {
        format!(
            "wave {}: {} ({} of {})",
            short.wave, short.stratum, short.has, short.wants
        )
    });
    list("not covered", &uncovered.collect::<Vec<_>>());
    answer
        .notes
        .iter()
        .for_each(|note| out(format_args!("note:       {}", safe(note))));
    if answer.unseen.is_none() {
        out("way back:   not looked at: devices tell it, and none was read");
    }
    out(format_args!("plan:       {}", answer.plan_digest));
    out(format_args!("digest:     {}", answer.digest));
    anstream::eprintln!(
        "start exactly this with: muster {start} --approve-digest {}",
        answer.digest
    );
}

fn list(what: &str, lines: &[String]) {
    for line in lines.iter().take(LINES) {
        out(format_args!("{:<12}{}", format!("{what}:"), safe(line)));
    }
    if lines.len() > LINES {
        out(format_args!(
            "{:<12}and {} more",
            format!("{what}:"),
            lines.len() - LINES
        ));
    }
}

fn forecast(forecast: Option<&v1::Forecast>) -> String {
    let seconds = |duration: Option<&prost_types::Duration>| {
        let duration: Option<Duration> = duration.and_then(|duration| (*duration).try_into().ok());
        duration.map_or_else(|| "?".into(), short)
    };
    match forecast {
        None => "none: no execution of this plan is known yet".into(),
        Some(forecast) => format!(
            "{} for half of such rollouts, {} for 95 of 100 ({} past executions)",
            seconds(forecast.p50.as_ref()),
            seconds(forecast.p95.as_ref()),
            forecast.samples
        ),
    }
}

/// `1h 5m`, `12m 3s`, `4.2s`.
fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{:.1}s", duration.as_secs_f64()),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        _ => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
    }
}

fn to_json(spec: &v1::JobSpec, answer: &v1::PreviewJobResponse, found: Option<&(String, Found)>) -> Value {
    let seconds = |duration: Option<&prost_types::Duration>| {
        let duration: Option<Duration> = duration.and_then(|duration| (*duration).try_into().ok());
        duration.map(|duration| duration.as_secs_f64())
    };
    let waves = answer.waves.iter().map(|wave| {
        json!({
            "number": wave.number, "name": wave.name, "size": wave.size, "total": wave.total,
            "budget": wave.budget, "sample": wave.sample, "claim": wave.claim,
        })
    });
    let skipped = answer
        .skipped
        .iter()
        .map(|skipped| json!({ "device": skipped.device, "reason": skipped.reason }));
    let uncovered = answer.uncovered.iter().map(
        |short| json!({ "wave": short.wave, "stratum": short.stratum, "has": short.has, "wants": short.wants }),
    );
    json!({
        "name": spec.name,
        "total": answer.total,
        "effect": answer.effect().as_str_name().trim_start_matches("EFFECT_").to_ascii_lowercase(),
        "waves": waves.collect::<Vec<_>>(),
        "budget": answer.budget,
        "at_once": answer.at_once,
        "at_once_by": answer.at_once_by,
        "skipped": skipped.collect::<Vec<_>>(),
        "uncovered": uncovered.collect::<Vec<_>>(),
        "forecast": answer.forecast.as_ref().map(|forecast| json!({
            "p50_seconds": seconds(forecast.p50.as_ref()),
            "p95_seconds": seconds(forecast.p95.as_ref()),
            "samples": forecast.samples,
        })),
        "opens_at": timestamp(answer.opens_at.as_ref()),
        "notes": answer.notes,
        "plan_digest": answer.plan_digest,
        "digest": answer.digest,
        "unseen": answer.unseen,
        "previewed": found.map(|(id, _)| id),
        "to_change": found.map(|(_, found)| found.changes),
        "as_wanted": found.map(|(_, found)| found.as_wanted),
        "conflicts": found.map(|(_, found)| found.conflicts),
        "not_reached": found.map(|(_, found)| found.unreached),
        "groups": found.map(|(id, found)| found.json(id)),
    })
}
