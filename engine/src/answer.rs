//! From what is stored to what the API shows.

use muster_engine_core::Tally;
use muster_model::Step;
use muster_proto::{time, v1};
use muster_store::{DeviceRecord, HistoryRecord, JobRecord, Mode, ReachRecord, ResultRecord, WaveRecord};
use routeros_wire::decode::decode_each;
use routeros_wire::{Kind, Limits, Sentence};

pub(crate) fn device(record: DeviceRecord) -> v1::Device {
    let DeviceRecord {
        device,
        created_at,
        facts,
        reach,
        ..
    } = record;
    v1::Device {
        name: device.name,
        address: device.address,
        port: device.port.into(),
        transport: device.transport.to_string(),
        credential: device.credential,
        zone: device.zone,
        labels: device
            .labels
            .iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        facts: facts.map(|facts| v1::DeviceFacts {
            version: facts.version,
            board: facts.board,
            architecture: facts.architecture,
            identity: facts.identity,
            observed_at: Some(time(facts.observed_at)),
            serial: facts.serial,
        }),
        created_at: Some(time(created_at)),
        tls: device.tls.map(|tls| tls.to_string()).unwrap_or_default(),
        pin: device.pin.map(|pin| pin.to_string()).unwrap_or_default(),
        ports: device.ports.to_string(),
        in_flight: device.in_flight.unwrap_or_default(),
        reach: reach_of(reach),
    }
}

fn reach_of(record: ReachRecord) -> Option<v1::DeviceReach> {
    if record == ReachRecord::default() {
        return None;
    }
    let ReachRecord {
        worked,
        pinned,
        offered,
        offered_serial,
    } = record;
    let (worked, worked_at) = worked.unzip();
    let (pinned_by, pinned_at) = pinned.unzip();
    let (offered_serial, offered_serial_at) = offered_serial.unzip();
    let offered_at = offered.as_ref().map(|(.., at)| *at);
    let (offered_certificate, offered_key) = offered.map(|(certificate, key, _)| (certificate, key)).unzip();
    Some(v1::DeviceReach {
        worked: worked.unwrap_or_default(),
        worked_at: worked_at.map(time),
        pinned_by: pinned_by.unwrap_or_default(),
        pinned_at: pinned_at.map(time),
        offered_certificate: offered_certificate.unwrap_or_default(),
        offered_key: offered_key.unwrap_or_default(),
        offered_at: offered_at.map(time),
        offered_serial: offered_serial.unwrap_or_default(),
        offered_serial_at: offered_serial_at.map(time),
    })
}

pub(crate) fn job(record: &JobRecord) -> v1::Job {
    let ledger = record.ledger();
    let reverts = record
        .plan
        .steps
        .iter()
        .any(|step| matches!(step, Step::Revert(_)));
    let rollout = record.rollout.as_deref().map(|(rollout, _)| rollout);
    let timeout = std::time::Duration::from_millis(record.timeout_ms);
    v1::Job {
        id: record.uuid.clone(),
        spec: Some(v1::JobSpec {
            name: record.name.clone(),
            plan: Some((&record.plan).into()),
            selector: record.selector.clone(),
            all: record.selector.is_empty(),
            timeout: timeout.try_into().ok(),
            priority: v1::JobPriority::from(record.priority).into(),
            max_concurrency: record.concurrency.unwrap_or(0),
            policy: rollout.map(|rollout| (&rollout.policy).into()),
            break_glass: rollout
                .and_then(|rollout| rollout.break_glass.clone())
                .unwrap_or_default(),
            budget: record
                .budget_asked
                .map(|asked| asked.to_string())
                .unwrap_or_default(),
            preview: record.mode == Mode::Preview,
            previewed: match &record.mode {
                Mode::AsPreviewed { preview, .. } => preview.clone().unwrap_or_default(),
                Mode::Apply | Mode::Preview => String::new(),
            },
            unseen: matches!(record.mode, Mode::AsPreviewed { unseen: true, .. }),
            // It is in the times of the executions, and looked at by nobody any more.
            spread: None,
        }),
        state: v1::JobState::from(record.state).into(),
        effect: v1::Effect::from(record.effect).into(),
        total: record.total,
        counts: record
            .counts
            .iter()
            .map(|&(state, count)| state_count(state, count))
            .collect(),
        created_at: Some(time(record.created_at)),
        expires_at: Some(time(record.expires_at)),
        finished_at: record.finished_at.map(time),
        plan_digest: hex(&record.plan_digest),
        claimed_by: record.claimed_by.clone(),
        paused_at: record.paused_at.map(time),
        retry_of: record.retry_of.clone().filter(|_| !reverts).unwrap_or_default(),
        revert_of: record.retry_of.clone().filter(|_| reverts).unwrap_or_default(),
        budget: record.budget,
        budget_use: Some(budget_use(record.budget, &ledger.tally())),
        halted: record.halted.as_ref().map(|halted| v1::Halted {
            rule: halted.rule.clone(),
            detail: halted.detail.clone(),
            at: Some(time(halted.at)),
        }),
        reverts: Vec::new(),
        waves: record.waves.iter().map(wave).collect(),
        open_wave: record.open_wave.saturating_add(1),
        rollout: None,
    }
}

fn wave(wave: &WaveRecord) -> v1::Wave {
    v1::Wave {
        number: wave.number.saturating_add(1),
        total: wave.total,
        budget: wave.budget,
        budget_use: Some(budget_use(wave.budget, &wave.tally)),
        ended: counted(wave.tally.ended),
        good: counted(wave.tally.good),
        opened_at: wave.opened_at.map(time),
        ended_at: wave.ended_at.map(time),
    }
}

fn budget_use(budget: Option<u64>, tally: &Tally) -> v1::BudgetUse {
    v1::BudgetUse {
        in_flight: counted(tally.in_flight),
        harmed: counted(tally.harmed),
        rescued: counted(tally.rescued),
        refused: counted(tally.refused),
        left: budget.map(|budget| budget.saturating_sub(tally.committed())),
    }
}

fn counted(number: i64) -> u64 {
    number.max(0).unsigned_abs()
}

pub(crate) fn history(record: HistoryRecord) -> v1::HistoryEntry {
    v1::HistoryEntry {
        id: record.id.unsigned_abs(),
        at: Some(time(record.at)),
        claimed_by: record.claimed_by,
        action: record.action,
        subject: record.subject,
        reason: record.reason,
        detail: record.detail,
        hash: hex(&record.hash),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn state_count(state: muster_model::ExecutionState, count: u64) -> v1::StateCount {
    v1::StateCount {
        state: v1::ExecutionState::from(state).into(),
        count,
    }
}

/// A page of results. What its devices answered is decoded all at once.
pub(crate) fn results(job: &str, records: Vec<ResultRecord>) -> Vec<v1::ExecutionResult> {
    let replies = records.iter().flat_map(|record| &record.replies);
    let mut steps = steps(&replies.map(|replies| &**replies).collect::<Vec<_>>()).into_iter();
    let result = |record: ResultRecord| v1::ExecutionResult {
        execution: record.execution.to_string(),
        job: job.to_owned(),
        device: record.device,
        state: v1::ExecutionState::from(record.state).into(),
        attempts: record.attempts,
        error: record.error.as_ref().map(Into::into),
        steps: steps.by_ref().take(record.replies.len()).collect(),
        started_at: record.started_at.map(time),
        finished_at: record.finished_at.map(time),
        resolution: record.resolution.map(|resolution| v1::Resolution {
            done: resolution.done,
            by: format!("a report under epoch {}", resolution.epoch),
            at: Some(time(resolution.at)),
        }),
    };
    records.into_iter().map(result).collect()
}

pub(crate) fn step(replies: &[u8]) -> v1::StepResult {
    steps(&[replies]).pop().unwrap_or_default()
}

fn steps(replies: &[&[u8]]) -> Vec<v1::StepResult> {
    let mut steps = vec![v1::StepResult::default(); replies.len()];
    // Stored answers were written by a worker, sentence by sentence, within tighter limits than these.
    let limits = Limits {
        word_bytes: u32::MAX,
        sentence_words: usize::MAX,
        sentence_bytes: usize::MAX,
    };
    let errors = decode_each(replies, limits, |of, sentence| {
        let step = &mut steps[of];
        match sentence.kind() {
            Kind::Re => step.rows.push(row(sentence)),
            Kind::Done => step.done = Some(row(sentence)),
            Kind::Trap => step.traps.push(row(sentence)),
            Kind::Empty | Kind::Fatal | Kind::Unknown | Kind::NotAReply => {}
        }
    });
    for (_, error) in errors {
        tracing::error!(%error, "a stored answer does not decode");
    }
    steps
}

fn row(sentence: Sentence<'_>) -> v1::Row {
    let attributes = sentence
        .attributes()
        .map(|(name, value)| attribute(name, value))
        .collect();
    v1::Row {
        attributes,
        dead: sentence.is_dead(),
    }
}

fn attribute(name: &[u8], value: &[u8]) -> v1::Attribute {
    let mut attribute = v1::Attribute::default();
    match std::str::from_utf8(name) {
        Ok(name) => attribute.name = name.to_owned(),
        Err(_) => attribute.raw_name = name.to_vec(),
    }
    match std::str::from_utf8(value) {
        Ok(value) => attribute.value = value.to_owned(),
        Err(_) => attribute.raw_value = value.to_vec(),
    }
    attribute
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_item_is_told_in_both_spellings() {
        let mut bytes = Vec::new();
        for dead in ["=.dead=true", "=.dead=yes", "=disabled=yes"] {
            routeros_wire::encode::sentence(&mut bytes, ["!re", "=.id=*1", dead]).expect("no empty words");
        }
        let dead = step(&bytes).rows.iter().map(|row| row.dead).collect::<Vec<_>>();
        assert_eq!(dead, [true, true, false]);
    }

    #[test]
    fn bytes_that_are_not_utf_8_survive() {
        let mut bytes = Vec::new();
        let words = [&b"!re"[..], b"=name=ether1", b"=comment=caf\xE9", b"=empty="];
        routeros_wire::encode::sentence(&mut bytes, words).expect("no empty words");
        routeros_wire::encode::sentence(&mut bytes, ["!done", "=ret=*1"]).expect("no empty words");
        let step = step(&bytes);
        let attributes = &step.rows[0].attributes;
        assert_eq!(
            (attributes[0].name.as_str(), attributes[0].value.as_str()),
            ("name", "ether1")
        );
        assert_eq!(
            (attributes[1].value.as_str(), attributes[1].raw_value.as_slice()),
            ("", &b"caf\xE9"[..])
        );
        assert_eq!(step.done.expect("done").attributes[0].value, "*1");
    }
}
