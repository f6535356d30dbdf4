//! Counts and statistics over the results of a job: each stored answer is read once, however many devices gave it.

pub(crate) mod fold;
mod number;
mod stats;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use muster_proto::{Violation, v1};
use muster_store::{Batch, Details, JobRecord, Scan, ScannedDevice, StoreError};
use routeros_wire::Expression;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::names::Name;
use crate::{Shared, error};
use fold::{Fold, Group, Stats};

/// Groups told, unless asked for others.
const TOLD: usize = 1000;
const MOST: usize = 100_000;
/// Names in one question.
const NAMES: usize = 32;
/// Between two answers of one that is followed.
const PACE: Duration = Duration::from_millis(250);
/// Events read at once.
const EVENTS: u32 = 256;

/// A question that was understood.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    group_by: Vec<Name>,
    stats: Vec<Name>,
    stats_names: Vec<String>,
    distinct: Vec<Name>,
    filter: Option<Expression>,
    /// The names in the filter, as they are written and as they are meant.
    filter_names: Vec<(Vec<u8>, Name)>,
    most: usize,
}

/// Why something is not counted.
#[derive(Debug, Error)]
pub(crate) enum Refused {
    #[error("there are over {0} groups; group by less, or ask for fewer rows with where")]
    Groups(usize),
    #[error(
        "there are over {0} different values to tell apart; leave distinct out, or ask for fewer rows with where"
    )]
    Distinct(usize),
    #[error(transparent)]
    Store(StoreError),
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Store(failed) => error::store(failed),
            refused => error::exhausted("TOO_MUCH_TO_COUNT", refused.to_string()),
        }
    }
}

/// A list of names; what is wrong with any is told.
pub(crate) fn names(field: &str, texts: &[String], violations: &mut Vec<Violation>) -> Vec<Name> {
    if texts.len() > NAMES {
        let told = format!("there are {} names; at most {NAMES} are taken", texts.len());
        violations.push(Violation::new(field, told));
        return Vec::new();
    }
    let mut name = |(at, text): (usize, &String)| {
        Name::parse(text)
            .map_err(|told| violations.push(Violation::new(format!("{field}[{at}]"), told)))
            .ok()
    };
    texts.iter().enumerate().filter_map(&mut name).collect()
}

/// A filter and the names in it; nothing for an empty text.
pub(crate) fn filter(
    text: &str,
    violations: &mut Vec<Violation>,
) -> (Option<Expression>, Vec<(Vec<u8>, Name)>) {
    if text.trim().is_empty() {
        return (None, Vec::new());
    }
    let expression = match text.parse::<Expression>() {
        Ok(expression) => expression,
        Err(told) => {
            violations.push(Violation::new("where", told.to_string()));
            return (None, Vec::new());
        }
    };
    let names = expression.names().into_iter().collect::<BTreeSet<_>>();
    let names = names.into_iter().filter_map(|written| {
        let text = String::from_utf8_lossy(written);
        match Name::parse(&text) {
            // A name that is not UTF-8 can only be an attribute's.
            Ok(Name::Attribute(_)) if !text.starts_with("row.") => {
                Some((written.to_vec(), Name::Attribute(written.to_vec())))
            }
            Ok(name) => Some((written.to_vec(), name)),
            Err(told) => {
                violations.push(Violation::new("where", told));
                None
            }
        }
    });
    let names = names.collect();
    (Some(expression), names)
}

impl Query {
    /// Reads a request; all that is wrong with it is told.
    pub(crate) fn parse(request: &v1::AggregateJobRequest) -> Result<Self, Vec<Violation>> {
        let mut violations = Vec::new();
        let group_by = names("group_by", &request.group_by, &mut violations);
        let stats = names("stats", &request.stats, &mut violations);
        let distinct = names("distinct", &request.distinct, &mut violations);
        let (filter, filter_names) = filter(&request.r#where, &mut violations);
        match violations.is_empty() {
            true => Ok(Self {
                stats_names: stats.iter().map(ToString::to_string).collect(),
                group_by,
                stats,
                distinct,
                filter,
                filter_names,
                most: match request.max_groups as usize {
                    0 => TOLD,
                    most => most.min(MOST),
                },
            }),
            false => Err(violations),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Name> {
        let names = self.group_by.iter().chain(&self.stats).chain(&self.distinct);
        names.chain(self.filter_names.iter().map(|(_, name)| name))
    }

    /// Whether the rows of an answer count the same for whoever gave it.
    fn is_of_the_answer(&self) -> bool {
        self.all().all(Name::is_of_the_answer)
    }

    fn details(&self) -> Details {
        match self.all().any(Name::needs_details) {
            true => Details::All,
            false => Details::None,
        }
    }
}

/// The devices of a batch, if they are asked for.
pub(crate) async fn devices(
    shared: &Shared,
    batch: &Batch,
    wanted: bool,
) -> Result<HashMap<u64, ScannedDevice>, StoreError> {
    if !wanted {
        return Ok(HashMap::new());
    }
    let numbers = batch.executions.iter().map(|execution| execution.device);
    shared.store.scanned_devices(numbers).await
}

/// Counts all that is left of a scan. What is read next is read while the last is counted.
async fn count(shared: &Shared, mut fold: Fold, mut scan: Scan) -> Result<Fold, Status> {
    let wanted = fold.query().all().any(Name::needs_device);
    let mut known = fold.remembers();
    let read = async |scan: &mut Scan, known: &std::collections::HashSet<[u8; 32]>| {
        let Some(batch) = scan.next(|digest| known.contains(digest)).await? else {
            return Ok::<_, StoreError>(None);
        };
        let devices = devices(shared, &batch, wanted).await?;
        Ok(Some((batch, devices)))
    };
    let mut next = read(&mut scan, &known).await.map_err(error::store)?;
    while let Some((batch, devices)) = next.take() {
        let counting = tokio::task::spawn_blocking(move || {
            let done = fold.add(&batch, &devices);
            (fold, done)
        });
        let (counted, read) = tokio::join!(counting, read(&mut scan, &known));
        let done;
        (fold, done) = counted.map_err(error::internal)?;
        done?;
        known = fold.remembers();
        next = read.map_err(error::store)?;
    }
    Ok(fold)
}

/// Answers to a question about a job.
pub(crate) fn stream(
    shared: Arc<Shared>,
    job: JobRecord,
    query: Query,
    follow: bool,
) -> impl Stream<Item = Result<v1::AggregateJobResponse, Status>> + Send {
    let (sender, receiver) = mpsc::channel(1);
    let stop = shared.stop.clone();
    tokio::spawn(async move {
        let counting = async {
            if let Err(status) = tell(&shared, job, query, follow, &sender).await {
                let _ = sender.send(Err(status)).await;
            }
        };
        tokio::select! {
            () = counting => {}
            () = sender.closed() => {}
            () = stop.cancelled() => {}
        }
    });
    ReceiverStream::new(receiver)
}

async fn tell(
    shared: &Shared,
    mut job: JobRecord,
    query: Query,
    follow: bool,
    sender: &mpsc::Sender<Result<v1::AggregateJobResponse, Status>>,
) -> Result<(), Status> {
    let mut news = shared.news.subscribe();
    // Read before the results: what ends from here on is told by an event, if only for the second time.
    let mut seq = shared.store.last_event().await.map_err(error::store)?;
    let scan = shared.store.scan(job.id, query.details());
    let mut fold = Fold::new(query);
    if follow {
        fold.note_executions();
    }
    let mut fold = count(shared, fold, scan).await?;
    let mut told = None;
    loop {
        news.mark_unchanged();
        let uuid = job.uuid.clone();
        let record = shared.store.job(&uuid).await.map_err(error::store)?;
        job = record.ok_or_else(|| error::not_found("job", &uuid))?;
        let mut ended = Vec::new();
        loop {
            let events = shared
                .store
                .events(job.id, seq, EVENTS)
                .await
                .map_err(error::store)?;
            seq = events.last().map_or(seq, |event| event.seq);
            let full = events.len() == EVENTS as usize;
            ended.extend(events.into_iter().flat_map(|event| event.ended));
            if !full || !follow {
                break;
            }
        }
        if follow {
            ended.retain(|execution| fold.is_new(*execution));
            if !ended.is_empty() {
                fold = count(shared, fold, shared.store.scan_some(ended)).await?;
            }
        }
        let now = (fold.executions, job.state);
        if told != Some(now) {
            told = Some(now);
            if sender.send(Ok(answer(&fold, &job))).await.is_err() {
                return Ok(());
            }
        }
        if !follow || job.state.is_terminal() {
            return Ok(());
        }
        if news.changed().await.is_err() {
            return Ok(());
        }
        tokio::time::sleep(PACE).await;
    }
}

fn answer(fold: &Fold, job: &JobRecord) -> v1::AggregateJobResponse {
    let query = fold.query();
    let (groups, more_groups, more_rows) = fold.largest(query.most);
    v1::AggregateJobResponse {
        groups: groups
            .into_iter()
            .map(|(key, group)| told(query, key, group))
            .collect(),
        more_groups,
        more_rows,
        executions: fold.executions,
        total: job.total,
        rows: fold.rows,
        state: v1::JobState::from(job.state).into(),
    }
}

fn told(query: &Query, key: &[u8], group: &Group) -> v1::AggregateGroup {
    let stats = group.stats.iter().zip(&query.stats_names);
    v1::AggregateGroup {
        key: fold::parts(key).into_iter().map(value).collect(),
        rows: group.rows,
        devices: group.devices,
        stats: stats.flat_map(|(stats, name)| told_stats(name, stats)).collect(),
        distinct: group.distinct.iter().map(|values| values.len() as u64).collect(),
    }
}

/// A value as the API tells it.
fn value(value: Option<&[u8]>) -> v1::AggregateValue {
    use v1::aggregate_value::Kind;
    v1::AggregateValue {
        kind: value.map(|value| match std::str::from_utf8(value) {
            Ok(text) => Kind::Text(text.to_owned()),
            Err(_) => Kind::Raw(value.to_vec()),
        }),
    }
}

/// One for each unit. Plain numbers belong to the only other unit there is: a device writes 0 where another writes 0KiB.
fn told_stats(name: &str, stats: &Stats) -> Vec<v1::AggregateStats> {
    let mut units = stats.units.clone();
    if units.len() == 2
        && let Some(plain) = units.remove(&number::Unit::Plain)
    {
        units.values_mut().for_each(|numbers| numbers.merge(&plain));
    }
    let none = v1::AggregateStats {
        name: name.to_owned(),
        not_numbers: stats.not_numbers,
        ..Default::default()
    };
    if units.is_empty() {
        return vec![none];
    }
    let told = |(unit, numbers): (number::Unit, stats::Numbers)| {
        let [p50, p90, p99] = numbers.percentiles([50, 90, 99]);
        v1::AggregateStats {
            unit: unit.as_str().to_owned(),
            count: numbers.count,
            min: numbers.min,
            max: numbers.max,
            sum: numbers.sum,
            mean: numbers.mean(),
            p50,
            p90,
            p99,
            histogram: numbers.histogram(),
            ..none.clone()
        }
    };
    units.into_iter().map(told).collect()
}
