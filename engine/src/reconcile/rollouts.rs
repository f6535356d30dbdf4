//! Rollouts go on: executions are put into waves, waves end and open, gates are asked, windows open and shut. What
//! follows from what is decided by the core; each step is right at any time, and any number of times.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use muster_engine_core::rollout::advance::{self, Advance, Counted, Hold, Standing};
use muster_engine_core::rollout::ramp::{self, Pace};
use muster_engine_core::rollout::window::{self, Opening};
use muster_model::JobState;
use muster_model::policy::{AtEnd, Policy, Zone};
use muster_store::{
    EndWave, HoldRecord, Local, NoteVerdict, OpenWave, RolloutRecord, SettleRollout, StoreError, WaveRecord,
};

use super::{Pass, Reconcile, Reconciler};
use crate::rollout::gate::ask;
use crate::rollout::{join, probe};
use crate::{Shared, rollout};

/// While there are rollouts. Bounds how late a bake, a window or a gate is.
const PERIOD: Duration = Duration::from_millis(200);
/// While there are none: one that is made wakes it.
const IDLE: Duration = Duration::from_secs(5);
/// Times that differ by less are the same: they are computed anew each time.
const SAME_MS: i64 = 1000;

pub(super) struct Rollouts;

impl Reconcile for Rollouts {
    fn told(shared: &Shared) -> &Reconciler {
        &shared.reconcilers.rollouts
    }

    async fn pass(shared: &Arc<Shared>) -> Result<Pass, StoreError> {
        let rollouts = shared.store.rollouts().await?;
        let mut did = Vec::new();
        for rollout in &rollouts {
            if matches!(
                rollout.state,
                JobState::Running | JobState::Gated | JobState::WaitingWindow
            ) {
                let joined = join::join(shared, rollout).await?;
                did.extend(joined.map(|joined| format!("{}: {joined}", rollout.uuid)));
            }
            let done = match rollout.state {
                JobState::Scheduled if !rollout.assigned => begin(shared, rollout).await?,
                JobState::Running | JobState::Gated | JobState::WaitingWindow => {
                    step(shared, rollout).await?
                }
                _ => None,
            };
            did.extend(done.map(|done| format!("{}: {done}", rollout.uuid)));
            if rollout.state == JobState::Running {
                let asked = probe::probe(shared, rollout).await?;
                did.extend(asked.map(|asked| format!("{}: {asked}", rollout.uuid)));
            }
        }
        let next = if rollouts.is_empty() { IDLE } else { PERIOD };
        Ok(Pass {
            did: did.join("; "),
            next,
        })
    }
}

/// What was cut off by a crash is done again. The inventory is left alone meanwhile.
async fn begin(shared: &Arc<Shared>, record: &RolloutRecord) -> Result<Option<String>, StoreError> {
    // Whoever makes it holds this, too: then it is not cut off, but under way.
    let Ok(_frozen) = shared.inventory.clone().try_write_owned() else {
        return Ok(None);
    };
    match rollout::begin(shared, record).await {
        Ok(_) => Ok(Some("put into waves".into())),
        Err(rollout::BeginError::Store(error)) => Err(error),
        Err(error) => {
            tracing::error!(job = record.uuid, %error, "a rollout cannot begin");
            Ok(None)
        }
    }
}

/// Takes a rollout as far as it goes now.
async fn step(shared: &Arc<Shared>, rollout: &RolloutRecord) -> Result<Option<String>, StoreError> {
    let mut rollout = rollout.clone();
    let mut opened = None;
    let (hold, waves) = loop {
        let waves = shared.store.waves(rollout.job).await?;
        let now = shared.clock.now();
        let Some(standing) = standing(shared, &rollout, &waves).await? else {
            return Ok(None);
        };
        let counted = rollout.counted(&waves);
        let counted = Counted {
            waves: &counted,
            runs: &rollout.runs,
        };
        let next = advance::advance(&rollout.policy, &standing, counted, now);
        if standing.ended_at.is_some() {
            record(
                shared,
                &rollout,
                &standing,
                counted,
                &waves,
                next == Advance::Open,
            )
            .await?;
        }
        match next {
            Advance::Wait | Advance::Last => break (None, waves),
            Advance::Hold(hold) => break (Some(hold), waves),
            Advance::Ended => {
                let end = EndWave {
                    uuid: rollout.uuid.clone(),
                    wave: rollout.open_wave,
                    now,
                };
                shared.store.write(end).await?;
                shared.committed();
                // The last one's end opens nothing.
                if rollout.open_wave as usize + 1 >= rollout.policy.waves.len() {
                    break (None, waves);
                }
            }
            Advance::Open => {
                let wave = rollout.open_wave + 1;
                let open = OpenWave {
                    uuid: rollout.uuid.clone(),
                    wave,
                    now,
                };
                if !shared.store.write(open).await? {
                    return Ok(None);
                }
                rollout.open_wave = wave;
                opened = Some(format!("wave {} opened", wave + 1));
                shared.committed();
                shared.work_appeared();
            }
        }
    };
    let settled = settle(shared, &rollout, hold.as_ref(), &waves).await?;
    Ok(opened.or(settled))
}

async fn standing(
    shared: &Shared,
    rollout: &RolloutRecord,
    waves: &[WaveRecord],
) -> Result<Option<Standing>, StoreError> {
    let Some(wave) = waves.iter().find(|wave| wave.number == rollout.open_wave) else {
        return Ok(None);
    };
    let busy = match wave.ended_at {
        Some(_) => 0,
        None => shared.store.busy(rollout.job, wave.number).await?,
    };
    Ok(Some(Standing {
        number: wave.number,
        total: wave.total,
        tally: wave.tally,
        busy,
        ended_at: wave.ended_at,
        answers: shared.store.gate_answers(rollout.job, wave.number).await?,
    }))
}

/// Writes the state that follows from gates and windows, where it is another one.
async fn settle(
    shared: &Arc<Shared>,
    rollout: &RolloutRecord,
    hold: Option<&Hold>,
    waves: &[WaveRecord],
) -> Result<Option<String>, StoreError> {
    let now = shared.clock.now();
    let opening = opening(shared, rollout).await?;
    let (open, admit_until, stop_at) = opening.on_the_clock_of_the_engine(now);
    let local = opening.local(rollout, now);
    if let Some(gate) = hold.and_then(|hold| hold.ask) {
        ask(shared, rollout, gate, waves);
    }
    let state = match (hold, open) {
        (Some(_), _) => JobState::Gated,
        (None, false) => JobState::WaitingWindow,
        (None, true) => JobState::Running,
    };
    let hold_record = hold.map(|hold| HoldRecord {
        by: hold.by.clone(),
        evidence: hold.evidence.clone(),
        until: hold.until,
        needs_person: hold.needs_person,
    });
    let (pace, pace_since) = pace(rollout, now);
    let halt = hold
        .filter(|hold| hold.fails)
        .map(|hold| (hold.by.clone(), hold.evidence.clone()));
    let same = state == rollout.state
        && near(admit_until, rollout.admit_until)
        && alike(local.as_ref(), rollout.local.as_ref())
        && hold_record == rollout.hold
        && pace == rollout.pace
        && halt.is_none();
    if same {
        return Ok(None);
    }
    let told = match (&halt, &hold_record) {
        (Some((by, _)), _) => format!("halted by {by}"),
        (None, Some(hold)) => format!("{state} by {}", hold.by),
        (None, None) => state.to_string(),
    };
    let settle = SettleRollout {
        uuid: rollout.uuid.clone(),
        state,
        admit_until,
        // Each zone stops by itself.
        stop_at: stop_at.filter(|_| local.is_none()),
        local,
        hold: hold_record,
        pace,
        pace_since,
        halt,
        now,
    };
    shared.store.write(settle).await?;
    shared.committed();
    shared.work_appeared();
    Ok((state != rollout.state).then_some(told))
}

fn near(a: Option<i64>, b: Option<i64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() < SAME_MS,
        (None, None) => true,
        _ => false,
    }
}

fn alike(a: Option<&Local>, b: Option<&Local>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => {
            let mut zones = a.admit.iter().zip(&b.admit);
            a.admit.len() == b.admit.len()
                && zones.all(|((zone, until), (other, before))| zone == other && near(*until, *before))
        }
        (a, b) => a.is_none() && b.is_none(),
    }
}

fn pace(rollout: &RolloutRecord, now: i64) -> (Option<u32>, Option<i64>) {
    let (Some(ramp), Some(concurrency)) = (&rollout.policy.ramp, rollout.pace) else {
        return (rollout.pace, rollout.pace_since);
    };
    let pace = Pace {
        concurrency,
        since: rollout.pace_since.unwrap_or(now),
    };
    let next = ramp::next(ramp, pace, rollout.warned_at, rollout.concurrency, now);
    (Some(next.concurrency), Some(next.since))
}

/// Whether something may start, by the wall clock.
pub(crate) struct Times {
    opening: Opening,
    /// The same in each zone of its devices, if its windows are in those.
    zones: Vec<(String, Opening)>,
    needs: Duration,
    wall: i64,
    stops: bool,
    unbounded: bool,
    /// A freeze of its own holds now, in which nothing is staged either.
    frozen: bool,
}

/// Nothing starts, and nothing is staged: before any time that is one, as the store's claims know it.
const FROZEN: i64 = -86_400_000;

/// How windows and freezes of a rollout stand.
pub(crate) async fn opening(shared: &Shared, rollout: &RolloutRecord) -> Result<Times, StoreError> {
    let policy = &rollout.policy;
    let wall = wall_clock();
    let unbounded = rollout.break_glass.is_some() || (policy.windows.is_empty() && policy.freezes.is_empty());
    if unbounded {
        return Ok(Times {
            opening: Opening::Open(None),
            zones: Vec::new(),
            needs: Duration::ZERO,
            wall,
            stops: false,
            unbounded,
            frozen: false,
        });
    }
    let mut samples = shared.store.durations(&rollout.plan_digest).await?;
    let deadlines = rollout.timeout.saturating_mul(rollout.steps.max(1));
    let needs = window::needs(&mut samples, deadlines.saturating_add(rollout.lasts));
    let needs = needs.saturating_add(rollout.back);
    let zones = rollout.local.as_ref();
    let zones = zones.map(|local| local.admit.keys().cloned().collect::<Vec<_>>());
    let (opening, zones) = zones_open(policy, zones.as_deref(), needs, wall);
    Ok(Times {
        opening,
        zones,
        needs,
        wall,
        stops: policy.at_end == AtEnd::Stop,
        unbounded,
        frozen: matches!(
            window::opening(&[], &policy.freezes, Duration::ZERO, wall),
            Opening::Closed(_)
        ),
    })
}

/// Whether something that takes `needs` may start, anywhere; and in each zone, where windows are in the zones of devices.
pub(crate) fn zones_open(
    policy: &Policy,
    zones: Option<&[String]>,
    needs: Duration,
    wall: i64,
) -> (Opening, Vec<(String, Opening)>) {
    let Some(zones) = zones else {
        let opening = window::opening(&policy.windows, &policy.freezes, needs, wall);
        return (opening, Vec::new());
    };
    let of = |name: &String| {
        let zone = Zone::new(name).ok()?;
        let windows = window::in_zone(&policy.windows, &zone);
        Some((
            name.clone(),
            window::opening(&windows, &policy.freezes, needs, wall),
        ))
    };
    let zones = zones.iter().filter_map(of).collect::<Vec<_>>();
    (window::together(zones.iter().map(|(_, opening)| *opening)), zones)
}

impl Times {
    /// Zones that are shut, each with when it opens, Unix milliseconds by the wall clock, if it does.
    pub(crate) fn shut_zones(&self) -> impl Iterator<Item = (&str, Option<i64>)> {
        self.zones.iter().filter_map(|(zone, opening)| match opening {
            Opening::Closed(at) => Some((zone.as_str(), *at)),
            Opening::Open(_) => None,
        })
    }

    /// How each zone stands, on the engine's clock.
    fn local(&self, rollout: &RolloutRecord, now: i64) -> Option<Local> {
        let label = &rollout.local.as_ref()?.label;
        let mut local = Local {
            label: label.clone(),
            ..Local::default()
        };
        if self.unbounded {
            local.admit = rollout
                .local
                .as_ref()?
                .admit
                .keys()
                .map(|zone| (zone.clone(), None))
                .collect();
        }
        for (zone, opening) in &self.zones {
            let (_, until, stop) = self.told(*opening, now);
            local.admit.insert(zone.clone(), until);
            local.stop.extend(stop.map(|at| (zone.clone(), at)));
        }
        Some(local)
    }

    /// When something may start next, Unix milliseconds by the wall clock; none when it may now, or never.
    pub(crate) fn opens_at(&self) -> Option<i64> {
        match self.opening {
            Opening::Closed(at) => at,
            Opening::Open(_) => None,
        }
    }

    /// Whether nothing may start now.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.opening, Opening::Closed(_))
    }

    /// Whether it is open; until when something may start, and when what is in flight stops.
    fn on_the_clock_of_the_engine(&self, now: i64) -> (bool, Option<i64>, Option<i64>) {
        self.told(self.opening, now)
    }

    fn told(&self, opening: Opening, now: i64) -> (bool, Option<i64>, Option<i64>) {
        let needs = i64::try_from(self.needs.as_millis()).unwrap_or(i64::MAX);
        match opening {
            Opening::Open(None) => (true, None, None),
            Opening::Open(Some(until)) => {
                let until = now.saturating_add(until - self.wall);
                (
                    true,
                    Some(until),
                    self.stops.then_some(until.saturating_add(needs)),
                )
            }
            // What was open has shut: nothing starts, and what was to stop at its end does so by itself.
            Opening::Closed(_) => {
                let shut = if self.frozen { FROZEN } else { 0 };
                (self.unbounded, Some(shut), self.stops.then_some(now))
            }
        }
    }
}

/// Windows follow the wall clock, whoever sets it.
pub(crate) fn wall_clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Notes what gates of a wave that has ended say and nobody would see otherwise: those that only watch, and rules that let
/// pass.
async fn record(
    shared: &Arc<Shared>,
    rollout: &RolloutRecord,
    standing: &Standing,
    counted: Counted<'_>,
    waves: &[WaveRecord],
    opens: bool,
) -> Result<(), StoreError> {
    let Some(wave) = rollout.policy.waves.get(standing.number as usize) else {
        return Ok(());
    };
    for (gate, asked) in wave.gates.iter().enumerate() {
        let told = standing.answers.iter().any(|answer| answer.gate == gate);
        if told || !(asked.shadow || opens) {
            continue;
        }
        match advance::judge(asked, counted) {
            Some((verdict, reason)) => {
                let note = NoteVerdict {
                    job: rollout.job,
                    wave: standing.number,
                    gate,
                    verdict,
                    reason,
                    run: None,
                    now: shared.clock.now(),
                };
                shared.store.write(note).await?;
                shared.committed();
            }
            None => ask(shared, rollout, gate, waves),
        }
    }
    Ok(())
}
