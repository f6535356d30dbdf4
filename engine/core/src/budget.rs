//! The hard budget: how many devices a job may harm, at most (fleet-semantics C3).
//!
//! Let *I* be the executions that are touched and not over. The first change or disrupt intent of an execution reserves
//! one unit, and is granted only while `harmed + rescued + I + 1 ≤ B`, for the job and for its wave. So harm never
//! passes B, whatever the concurrency and whoever crashes: what was not counted when it was let in cannot break.

mod asked;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{AddAssign, Sub};

use muster_model::ExecutionState;

use crate::Execution;

pub use asked::{Asked, BadBudget};

/// Executions of a job, or of a wave, by what rules count (C1). As a difference its numbers may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Touched and not over: *I* of C3.
    pub in_flight: i64,
    /// Ended `broken`, `lost` or `unknown`.
    pub harmed: i64,
    /// Ended `reverted`.
    pub rescued: i64,
    /// Touched, and ended `failed`.
    pub refused: i64,
    /// Untouched, and ended `failed` or `rejected`.
    pub benign: i64,
    /// Ended `expired`.
    pub unreached: i64,
    /// Ended `succeeded` or `unchanged`.
    pub good: i64,
    /// Touched, and over.
    pub touched: i64,
    /// Over.
    pub ended: i64,
}

impl Tally {
    /// What one execution adds.
    pub fn of(execution: &Execution) -> Self {
        let (state, touched) = (execution.state, execution.touched);
        let over = state.is_terminal();
        let failed = state == ExecutionState::Failed;
        let counts = !execution.exempt;
        Self {
            in_flight: i64::from(counts && touched && !over),
            harmed: i64::from(counts && state.is_harmed()),
            rescued: i64::from(counts && state == ExecutionState::Reverted),
            refused: i64::from(touched && failed),
            benign: i64::from(!touched && failed || state == ExecutionState::Rejected),
            unreached: i64::from(state == ExecutionState::Expired),
            good: i64::from(state.is_good()),
            touched: i64::from(touched && over),
            ended: i64::from(over),
        }
    }

    /// In the order of the fields.
    pub fn numbers(&self) -> [i64; 9] {
        [
            self.in_flight,
            self.harmed,
            self.rescued,
            self.refused,
            self.benign,
            self.unreached,
            self.good,
            self.touched,
            self.ended,
        ]
    }

    /// From the numbers in the order of the fields.
    pub fn from_numbers(numbers: [i64; 9]) -> Self {
        let [
            in_flight,
            harmed,
            rescued,
            refused,
            benign,
            unreached,
            good,
            touched,
            ended,
        ] = numbers;
        Self {
            in_flight,
            harmed,
            rescued,
            refused,
            benign,
            unreached,
            good,
            touched,
            ended,
        }
    }

    /// What counts against a budget for good.
    pub fn spent(&self) -> u64 {
        count(self.harmed) + count(self.rescued)
    }

    /// What is spent, and what may yet be.
    pub fn committed(&self) -> u64 {
        self.spent() + count(self.in_flight)
    }

    /// Whether it says nothing.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

fn count(number: i64) -> u64 {
    number.max(0).unsigned_abs()
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        let (mut sum, other) = (self.numbers(), other.numbers());
        for (number, more) in sum.iter_mut().zip(other) {
            *number += more;
        }
        *self = Self::from_numbers(sum);
    }
}

impl Sub for Tally {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        let (mut rest, other) = (self.numbers(), other.numbers());
        for (number, less) in rest.iter_mut().zip(other) {
            *number -= less;
        }
        Self::from_numbers(rest)
    }
}

/// Whose budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// The job's.
    Job,
    /// That of its wave of this number, counted from 0.
    Wave(u32),
}

impl fmt::Display for Scope {
    /// Waves are counted from 1 for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job => f.write_str("the job"),
            Self::Wave(number) => write!(f, "wave {}", u64::from(*number) + 1),
        }
    }
}

/// A budget that has nothing left, and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// Whose.
    pub scope: Scope,
    /// B.
    pub budget: u64,
    /// What it is used for.
    pub tally: Tally,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scope, budget, tally } = self;
        let (spent, in_flight) = (tally.spent(), count(tally.in_flight));
        write!(
            f,
            "the budget of {scope} is {budget}: {spent} harmed or rescued, {in_flight} being changed"
        )
    }
}

/// A wave's budget and how it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaveLedger {
    /// Its own B; `None` for the job's alone.
    pub budget: Option<u64>,
    /// How it stands.
    pub tally: Tally,
}

/// The budgets of a job and of its waves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// The job's B; `None` for no limit.
    pub budget: Option<u64>,
    /// Its waves by number.
    pub waves: BTreeMap<u32, WaveLedger>,
}

impl Ledger {
    /// The job as a whole.
    pub fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        for wave in self.waves.values() {
            sum += wave.tally;
        }
        sum
    }

    /// Notes what changed in a wave.
    pub fn add(&mut self, wave: u32, change: Tally) {
        self.waves.entry(wave).or_default().tally += change;
    }

    /// Whether one more execution of a wave may be touched: the budget that says no, if one does.
    pub fn full(&self, wave: u32) -> Option<Full> {
        let no = |full: &Full| full.tally.committed() >= full.budget;
        self.of(wave).into_iter().flatten().find(no)
    }

    /// How many more executions of a wave may be touched now; `None` for no limit.
    pub fn left(&self, wave: u32) -> Option<u64> {
        let left = |full: Full| full.budget.saturating_sub(full.tally.committed());
        self.of(wave).into_iter().flatten().map(left).min()
    }

    /// The budgets that an execution of a wave is under.
    fn of(&self, wave: u32) -> [Option<Full>; 2] {
        let job = self.budget.map(|budget| Full {
            scope: Scope::Job,
            budget,
            tally: self.tally(),
        });
        [job, self.of_wave(wave)]
    }

    fn of_wave(&self, number: u32) -> Option<Full> {
        let wave = self.waves.get(&number)?;
        Some(Full {
            scope: Scope::Wave(number),
            budget: wave.budget?,
            tally: wave.tally,
        })
    }

    /// The budget that is spent for good, if one is: the job halts by rule [`RULE`].
    pub fn exhausted(&self) -> Option<Full> {
        let job = self.of(0)[0];
        let waves = self.waves.keys().map(|number| self.of_wave(*number));
        let spent = |full: &Full| full.tally.spent() >= full.budget;
        std::iter::once(job).chain(waves).flatten().find(spent)
    }

    /// What may be harmed or rescued at most from here on, whatever happens (A6); `None` for no limit.
    pub fn promised(&self) -> Option<u64> {
        self.budget.map(|budget| budget.max(self.tally().committed()))
    }
}

/// The rule by which a job halts whose budget is spent.
pub const RULE: &str = "budget";

/// How a limit compares with the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The same.
    Same,
    /// Stricter: anybody may.
    Tighter,
    /// Less strict, or lifted: somebody who may approve has to.
    Looser,
}

impl Change {
    /// From one limit to another; `None` is no limit.
    pub fn between(before: Option<u64>, after: Option<u64>) -> Self {
        let (before, after) = (before.unwrap_or(u64::MAX), after.unwrap_or(u64::MAX));
        match after.cmp(&before) {
            std::cmp::Ordering::Equal => Self::Same,
            std::cmp::Ordering::Less => Self::Tighter,
            std::cmp::Ordering::Greater => Self::Looser,
        }
    }
}
