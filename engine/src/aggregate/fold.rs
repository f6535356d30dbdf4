//! Counting rows: what is kept of a job's results while they go by.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use muster_store::{Batch, Scanned, ScannedDevice, StoreError};
use routeros_wire::decode::decode_each;
use routeros_wire::{Kind, Limits, Sentence};

use super::number::{self, Unit};
use super::stats::Numbers;
use super::{Query, Refused};
use crate::names::{Name, Of, View};

/// Groups, and different values of `distinct` in all groups together.
const GROUPS: usize = 1_000_000;
const DISTINCT: usize = 8_000_000;
/// Answers that are remembered, by the groups they make.
const REMEMBERED: usize = 200_000;

/// Stored answers were written by a worker, sentence by sentence, within tighter limits than these.
pub(crate) const LIMITS: Limits = Limits {
    word_bytes: u32::MAX,
    sentence_words: usize::MAX,
    sentence_bytes: usize::MAX,
};

/// Whether a sentence of an answer is a row, as exports and counts see it.
pub(crate) fn is_row(sentence: &Sentence<'_>) -> bool {
    match sentence.kind() {
        Kind::Re => true,
        Kind::Done => sentence.attributes().next().is_some(),
        Kind::Trap | Kind::Empty | Kind::Fatal | Kind::Unknown | Kind::NotAReply => false,
    }
}

/// A name, and where its attribute stood in the row before.
#[derive(Debug)]
struct Column {
    name: Name,
    hint: Cell<u32>,
}

impl Column {
    fn all(names: &[Name]) -> Vec<Self> {
        let column = |name: &Name| Self {
            name: name.clone(),
            hint: Cell::new(0),
        };
        names.iter().map(column).collect()
    }

    fn get<'a>(&self, row: &View<'a>) -> Option<&'a [u8]> {
        self.name.get(row, &self.hint)
    }
}

/// A group so far.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) rows: u64,
    pub(super) devices: u64,
    /// The execution that was counted last: its rows come together.
    last: u64,
    /// By name.
    pub(super) stats: Vec<Stats>,
    pub(super) distinct: Vec<HashSet<u128>>,
}

/// What one name has.
#[derive(Clone, Debug, Default)]
pub(super) struct Stats {
    pub(super) not_numbers: u64,
    pub(super) units: BTreeMap<Unit, Numbers>,
}

impl Group {
    fn new(query: &Query) -> Self {
        Self {
            rows: 0,
            devices: 0,
            last: 0,
            stats: vec![Stats::default(); query.stats.len()],
            distinct: vec![HashSet::new(); query.distinct.len()],
        }
    }

    fn count(&mut self, rows: u64, execution: u64) {
        self.rows += rows;
        self.devices += u64::from(self.last != execution);
        self.last = execution;
    }
}

/// Groups by their keys.
#[derive(Debug, Default)]
struct Groups {
    groups: HashMap<Box<[u8]>, Group>,
    distinct: usize,
}

/// What the rows of one answer come to.
#[derive(Debug)]
struct Remembered {
    groups: Groups,
    had_rows: bool,
    /// Rows that count.
    rows: u64,
}

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Fold {
    reader: Reader,
    all: Groups,
    pub(super) rows: u64,
    pub(super) executions: u64,
    /// By digest, and what is asked that is not in the answer.
    remembered: HashMap<Vec<u8>, Remembered>,
    weight: usize,
    /// Executions that are counted, where some may come again.
    counted: Option<HashSet<u64>>,
}

/// What is asked of each row.
#[derive(Debug)]
struct Reader {
    query: Query,
    keys: Vec<Column>,
    stats: Vec<Column>,
    distinct: Vec<Column>,
    /// The names of the filter as they are written, and what they mean.
    filter: Vec<(Vec<u8>, Column)>,
    hashers: [RandomState; 2],
    key: Vec<u8>,
}

impl Reader {
    /// Counts a row, if it is asked for.
    fn add(&mut self, into: &mut Groups, row: &View<'_>, execution: u64) -> Result<bool, Refused> {
        if let Some(filter) = &self.query.filter {
            let names = &self.filter;
            let get = |name: &[u8]| {
                let (_, column) = names.iter().find(|(known, _)| known == name)?;
                column.get(row)
            };
            if !filter.matches(&get) {
                return Ok(false);
            }
        }
        self.key.clear();
        for column in &self.keys {
            write_part(&mut self.key, column.get(row));
        }
        let group = match into.groups.get_mut(self.key.as_slice()) {
            Some(group) => group,
            None => into.insert(&self.key, Group::new(&self.query))?,
        };
        group.count(1, execution);
        for (stats, column) in group.stats.iter_mut().zip(&self.stats) {
            let Some(value) = column.get(row) else { continue };
            match number::parse(value) {
                Some((number, unit)) => stats.units.entry(unit).or_default().add(number),
                None => stats.not_numbers += 1,
            }
        }
        let mut new = 0;
        for (distinct, column) in group.distinct.iter_mut().zip(&self.distinct) {
            let Some(value) = column.get(row) else { continue };
            let [high, low] = self.hashers.each_ref().map(|hasher| hasher.hash_one(value));
            new += usize::from(distinct.insert(u128::from(high) << 64 | u128::from(low)));
        }
        into.distinct += new;
        match into.distinct > DISTINCT {
            true => Err(Refused::Distinct(DISTINCT)),
            false => Ok(true),
        }
    }
}

impl Groups {
    fn insert(&mut self, key: &[u8], group: Group) -> Result<&mut Group, Refused> {
        if self.groups.len() >= GROUPS {
            return Err(Refused::Groups(GROUPS));
        }
        Ok(self.groups.entry(key.into()).or_insert(group))
    }

    /// Adds what one answer comes to.
    fn merge(&mut self, other: &Self, execution: u64, query: &Query) -> Result<(), Refused> {
        for (key, from) in &other.groups {
            if !self.groups.contains_key(key) {
                self.insert(key, Group::new(query))?;
            }
            let Some(into) = self.groups.get_mut(key) else {
                continue;
            };
            into.count(from.rows, execution);
            for (into, from) in into.stats.iter_mut().zip(&from.stats) {
                into.not_numbers += from.not_numbers;
                for (unit, numbers) in &from.units {
                    into.units.entry(*unit).or_default().merge(numbers);
                }
            }
            for (into, from) in into.distinct.iter_mut().zip(&from.distinct) {
                let before = into.len();
                into.extend(from);
                self.distinct += into.len() - before;
            }
        }
        match self.distinct > DISTINCT {
            true => Err(Refused::Distinct(DISTINCT)),
            false => Ok(()),
        }
    }
}

/// A part of a key: nothing, or a length and the bytes.
fn write_part(key: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None => key.extend_from_slice(&u32::MAX.to_le_bytes()),
        Some(value) => {
            // An answer has at most 16 MiB.
            let length = u32::try_from(value.len()).unwrap_or(u32::MAX - 1);
            key.extend_from_slice(&length.to_le_bytes());
            key.extend_from_slice(value);
        }
    }
}

/// The parts of a key.
pub(super) fn parts(mut key: &[u8]) -> Vec<Option<&[u8]>> {
    let mut parts = Vec::new();
    while let Some((length, rest)) = key.split_first_chunk() {
        let length = u32::from_le_bytes(*length);
        let value = rest.split_at_checked(length as usize);
        (parts, key) = match value {
            Some((value, rest)) if length != u32::MAX => {
                parts.push(Some(value));
                (parts, rest)
            }
            _ => {
                parts.push(None);
                (parts, rest)
            }
        };
    }
    parts
}

/// Steps as they are told, from 1.
pub(crate) fn step_names(batch: &Batch) -> Vec<String> {
    let last = batch.answers.iter().map(|answer| answer.step).max();
    (0..=last.unwrap_or_default())
        .map(|step| (step + 1).to_string())
        .collect()
}

impl Fold {
    pub(crate) fn new(query: Query) -> Self {
        let filter = query.filter_names.iter().map(|(text, name)| {
            let column = Column {
                name: name.clone(),
                hint: Cell::new(0),
            };
            (text.clone(), column)
        });
        Self {
            reader: Reader {
                filter: filter.collect(),
                keys: Column::all(&query.group_by),
                stats: Column::all(&query.stats),
                distinct: Column::all(&query.distinct),
                hashers: [RandomState::new(), RandomState::new()],
                key: Vec::new(),
                query,
            },
            all: Groups::default(),
            rows: 0,
            executions: 0,
            remembered: HashMap::new(),
            weight: 0,
            counted: None,
        }
    }

    /// Notes from here on which executions are counted, for [`Self::is_new`].
    pub(super) fn note_executions(&mut self) {
        self.counted = Some(HashSet::new());
    }

    /// Whether an execution is not counted yet.
    pub(super) fn is_new(&self, execution: u64) -> bool {
        self.counted
            .as_ref()
            .is_none_or(|counted| !counted.contains(&execution))
    }

    pub(crate) fn query(&self) -> &Query {
        &self.reader.query
    }

    /// Counts the rows of a batch.
    pub(crate) fn add(
        &mut self,
        batch: &Batch,
        devices: &HashMap<u64, ScannedDevice>,
    ) -> Result<(), Refused> {
        let steps = step_names(batch);
        let ofs = batch
            .executions
            .iter()
            .map(|execution| Of::new(execution, devices.get(&execution.device)))
            .collect::<Vec<_>>();
        let mut had_rows = vec![false; ofs.len()];
        // Answers that nobody else gave, to be read together: the execution's place, the answer's, the bytes'.
        let mut waiting = Vec::new();
        let mut bytes = Vec::new();
        for (at, execution) in batch.executions.iter().enumerate() {
            for index in execution.answers.clone() {
                let answer = &batch.answers[index];
                let Some(digest) = answer.digest() else {
                    let start = bytes.len();
                    batch.unpack(answer, &mut bytes)?;
                    waiting.push((at, answer.step, start..bytes.len()));
                    continue;
                };
                // In the order of executions: the rows of one come together.
                self.read(&mut waiting, &mut bytes, batch, (&ofs, &steps), &mut had_rows)?;
                let row = View {
                    of: &ofs[at],
                    step: steps.get(answer.step as usize).map(String::as_str),
                    sentence: None,
                };
                let key = self.memory_key(digest, &row);
                if !self.remembered.contains_key(&key) {
                    let answered = self.evaluate(batch, answer, &row)?;
                    if self.weight >= REMEMBERED {
                        self.take(&answered, execution, &mut had_rows[at])?;
                        continue;
                    }
                    self.weight += 1 + answered.groups.groups.len();
                    self.remembered.insert(key.clone(), answered);
                }
                if let Some((key, answered)) = self.remembered.remove_entry(&key) {
                    let taken = self.take(&answered, execution, &mut had_rows[at]);
                    self.remembered.insert(key, answered);
                    taken?;
                }
            }
        }
        self.read(&mut waiting, &mut bytes, batch, (&ofs, &steps), &mut had_rows)?;
        let without = had_rows.iter().zip(&ofs).zip(&batch.executions);
        for ((_, of), execution) in without.filter(|((had, _), _)| !**had) {
            let row = View {
                of,
                step: None,
                sentence: None,
            };
            let counts = self.reader.add(&mut self.all, &row, execution.execution)?;
            self.rows += u64::from(counts);
        }
        self.executions += batch.executions.len() as u64;
        if let Some(counted) = &mut self.counted {
            counted.extend(batch.executions.iter().map(|execution| execution.execution));
        }
        Ok(())
    }

    /// Reads answers that wait, all at once.
    fn read(
        &mut self,
        waiting: &mut Vec<(usize, u32, std::ops::Range<usize>)>,
        bytes: &mut Vec<u8>,
        batch: &Batch,
        (ofs, steps): (&[Of<'_>], &[String]),
        had_rows: &mut [bool],
    ) -> Result<(), Refused> {
        if waiting.is_empty() {
            return Ok(());
        }
        let slices = waiting
            .iter()
            .map(|(.., range)| &bytes[range.clone()])
            .collect::<Vec<_>>();
        let mut refused = None;
        let (reader, all, mut rows) = (&mut self.reader, &mut self.all, 0);
        let errors = decode_each(&slices, LIMITS, |of, sentence| {
            if refused.is_some() || !is_row(&sentence) {
                return;
            }
            let (at, step, _) = &waiting[of];
            had_rows[*at] = true;
            let row = View {
                of: &ofs[*at],
                step: steps.get(*step as usize).map(String::as_str),
                sentence: Some(sentence),
            };
            match reader.add(all, &row, batch.executions[*at].execution) {
                Ok(counts) => rows += u64::from(counts),
                Err(error) => refused = Some(error),
            }
        });
        for (_, error) in errors {
            tracing::error!(%error, "a stored answer does not decode");
        }
        self.rows += rows;
        waiting.clear();
        bytes.clear();
        refused.map_or(Ok(()), Err)
    }

    /// What the rows of an answer come to, for whoever gave it.
    fn evaluate(
        &mut self,
        batch: &Batch,
        answer: &muster_store::ScannedAnswer,
        row: &View<'_>,
    ) -> Result<Remembered, Refused> {
        let mut bytes = Vec::new();
        batch.unpack(answer, &mut bytes)?;
        let mut found = Remembered {
            groups: Groups::default(),
            had_rows: false,
            rows: 0,
        };
        let mut refused = None;
        let reader = &mut self.reader;
        let errors = decode_each(&[bytes.as_slice()], LIMITS, |_, sentence| {
            if refused.is_some() || !is_row(&sentence) {
                return;
            }
            found.had_rows = true;
            let row = View {
                sentence: Some(sentence),
                ..*row
            };
            // Any number but 0, which stands for nobody.
            match reader.add(&mut found.groups, &row, 1) {
                Ok(counts) => found.rows += u64::from(counts),
                Err(error) => refused = Some(error),
            }
        });
        for (_, error) in errors {
            tracing::error!(%error, "a stored answer does not decode");
        }
        refused.map_or(Ok(found), Err)
    }

    fn take(
        &mut self,
        answered: &Remembered,
        execution: &Scanned,
        had_rows: &mut bool,
    ) -> Result<(), Refused> {
        *had_rows |= answered.had_rows;
        self.rows += answered.rows;
        self.all
            .merge(&answered.groups, execution.execution, &self.reader.query)
    }

    /// What an answer is remembered by.
    fn memory_key(&self, digest: &[u8], row: &View<'_>) -> Vec<u8> {
        let mut key = digest.to_vec();
        let reader = &self.reader;
        let columns = reader.keys.iter().chain(&reader.stats).chain(&reader.distinct);
        let columns = columns.chain(reader.filter.iter().map(|(_, column)| column));
        for column in columns.filter(|column| !column.name.is_of_the_answer()) {
            write_part(&mut key, column.name.beside(row));
        }
        key
    }

    /// Whether an answer is not needed any more.
    pub(crate) fn remembers(&self) -> HashSet<[u8; 32]> {
        // What is asked beside the answer may be new with the next device.
        match self.reader.query.is_of_the_answer() {
            true => self
                .remembered
                .keys()
                .filter_map(|key| key.as_slice().try_into().ok())
                .collect(),
            false => HashSet::new(),
        }
    }

    /// The largest groups, and how many more there are with how many rows.
    pub(super) fn largest(&self, most: usize) -> (Vec<(&[u8], &Group)>, u64, u64) {
        let mut groups = self
            .all
            .groups
            .iter()
            .map(|(key, group)| (&**key, group))
            .collect::<Vec<_>>();
        groups.sort_unstable_by(|(a_key, a), (b_key, b)| b.rows.cmp(&a.rows).then_with(|| a_key.cmp(b_key)));
        let rest = groups.split_off(most.min(groups.len()));
        let rows = rest.iter().map(|(_, group)| group.rows).sum();
        (groups, rest.len() as u64, rows)
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
