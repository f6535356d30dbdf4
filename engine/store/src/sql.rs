//! Every statement. One test prepares them all on a migrated database, so a typo cannot wait for its first use.
//! Statements that take a batch read it from JSON by `json_each`.

use std::sync::LazyLock;

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $text:expr;)*) => {
        $($(#[$doc])* pub(crate) const $name: &str = $text;)*
        #[cfg(test)]
        pub(super) const STATEMENTS: &[(&str, &str)] = &[$((stringify!($name), $name),)*];
    };
}

/// What a [`crate::loaded::Loaded`] is read from, as JSON. Most executions have neither an open intent nor an error: what
/// they have nothing of costs them nothing.
macro_rules! loaded_columns {
    () => {
        "json_group_array(json_array(
             e.id, e.job_id, e.state, e.epoch, e.attempts, e.device_id, e.started_at, e.next_step, e.wave,
             e.touched + 2 * e.locked + 4 * e.exempt,
             CASE WHEN coalesce(e.open_intent, e.error_class, e.touched_from, e.resolution) IS NOT NULL
             THEN json_array(
                 e.touched_from, e.open_intent, e.intent_epoch, e.intent_at, e.error_class, e.error_message,
                 e.error_category, e.resolution, e.resolution_epoch, e.resolution_at, e.silent_since,
                 -- Over REST a router goes on, for up to a minute, with a command that nobody waits for any more.
                 CASE WHEN e.open_intent IS NULL THEN 0 ELSE coalesce((SELECT 60000 FROM device q
                     WHERE q.id = e.device_id AND q.transport IN ('http', 'https', 'auto')), 0) END,
                 -- How long what is armed on the device may take to act.
                 CASE WHEN e.open_intent IS NULL THEN 0 ELSE coalesce((SELECT p.guard_ms FROM pre_state p
                     WHERE p.execution_id = e.id AND p.step = e.open_intent), 0) END) END))"
    };
}

/// Executions from a table or tables with the executions as `x` among them.
macro_rules! loaded {
    ($from:literal) => {
        concat!(
            "SELECT ",
            loaded_columns!(),
            " FROM (SELECT x.* FROM ",
            $from,
            ") e"
        )
    };
}

/// What a claim may take, with the fields of a `claim::lease::Ready` in their order, in one text: the way of a row from the database's thread costs
/// more than all of its columns. What few executions have costs the others nothing, and those that are passed over are looked at
/// in the index alone.
macro_rules! ready {
    ($where:literal, $zones:literal) => {
        concat!(
            "SELECT json_group_array(json_array(
                 e.id, e.job_id, e.epoch, e.device_id, e.next_step, d.name, d.address, d.port, d.transport, d.ports,
                 d.credential, d.facts_at, d.zone, d.labels,
                 CASE WHEN coalesce(d.serial, d.tls, d.pin, d.worked, d.offered_serial, d.in_flight) IS NOT NULL
                 THEN json_array(d.serial, d.tls, d.pin, d.worked, d.worked_at, d.offered_serial, d.in_flight) END,
                 CASE WHEN e.touched OR coalesce(e.open_intent, e.fingerprint, e.memo) IS NOT NULL
                 THEN json_array(e.touched, e.open_intent, e.intent_at, nullif(hex(e.fingerprint), ''),
                                 nullif(hex(e.memo), '')) END))
             FROM (SELECT e.id FROM execution e WHERE ",
            $where,
            " AND e.ready_at <= ?1 AND ",
            $zones,
            " ORDER BY e.ready_at LIMIT ?2) r CROSS JOIN execution e ON e.id = r.id CROSS JOIN device d ON d.id = e.device_id"
        )
    };
}
/// Of a wave of a job. ?4 job, ?5 wave, ?6 whether devices are held, ?7 full label values as JSON, ?8 workers whose devices are
/// left to them, each with a zone or null for all, as JSON, ?9 whether executions of the job wait for others of it,
/// ?10 whether only those that have not staged yet.
macro_rules! ready_of_job {
    ($zones:literal) => {
        ready!(
            "e.job_id = ?4 AND e.wave = ?5 AND e.state = 1 AND e.open_intent IS NULL
             AND (?10 = 0 OR (e.touched = 0 AND (e.epoch = 0 OR e.error_class IS NOT NULL)))
             AND (?6 = 0 OR NOT EXISTS (
                 SELECT 1 FROM execution l WHERE l.device_id = e.device_id AND l.locked = 1 AND l.id <> e.id))
             AND (?6 = 0 OR NOT EXISTS (
                 SELECT 1 FROM device s CROSS JOIN device o ON o.serial = s.serial AND o.id <> s.id
                 CROSS JOIN execution l ON l.device_id = o.id AND l.locked = 1
                 WHERE s.id = e.device_id AND s.serial IS NOT NULL))
             AND (?7 = '[]' OR NOT EXISTS (
                 SELECT 1 FROM json_each(?7) f JOIN device_label dl
                 WHERE dl.device_id = e.device_id AND dl.key = f.value ->> 0 AND dl.value = f.value ->> 1))
             AND (?9 = 0 OR NOT EXISTS (
                 SELECT 1 FROM execution_after a
                 JOIN execution c ON c.job_id = a.job_id AND c.device_id = a.child_id AND c.state < 10
                 WHERE a.job_id = e.job_id AND a.device_id = e.device_id))
             AND (?8 = '[]' OR NOT EXISTS (
                 SELECT 1 FROM device_holder h WHERE h.device_id = e.device_id
                 AND (h.worker IN (SELECT value ->> 0 FROM json_each(?8) WHERE value ->> 1 IS NULL)
                      OR (h.worker, e.zone) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?8)))))",
            $zones
        )
    };
}
/// Those of a job that hold a unit of its budget, whatever is left of it: units come free by their ends. ?4 job.
macro_rules! ready_touched {
    ($zones:literal) => {
        ready!(
            "e.job_id = ?4 AND e.state = 1 AND e.touched = 1 AND e.open_intent IS NULL",
            $zones
        )
    };
}
/// Those of a job whose soak is over, whatever the job waits for: only a look ends them. ?4 job.
macro_rules! ready_soaked {
    ($zones:literal) => {
        ready!(
            "e.job_id = ?4 AND e.state = 1 AND e.touched = 1 AND e.open_intent IS NULL
             AND e.next_step >= (SELECT length(j.steps) FROM job j WHERE j.id = ?4)",
            $zones
        )
    };
}
/// Open questions, of any job. They hold their device already.
macro_rules! ready_resolving {
    ($zones:literal) => {
        ready!("e.state = 1 AND e.open_intent IS NOT NULL", $zones)
    };
}

/// The columns of a device record.
macro_rules! device {
    ($rest:literal) => {
        concat!(
            "SELECT d.id, d.name, d.address, d.port, d.transport, d.credential, d.zone, d.labels, d.created_at, ",
            "d.version, d.board, d.architecture, d.identity, d.facts_at, d.tls, d.pin, d.ports, d.serial, ",
            "d.worked, d.worked_at, d.pinned_by, d.pinned_at, d.offered_certificate, d.offered_key, d.offered_at, ",
            "d.offered_serial, d.offered_serial_at, d.in_flight FROM device d ",
            $rest
        )
    };
}

/// The columns of a job record. A job that is being deleted is not there any more.
macro_rules! job {
    ($rest:literal) => {
        concat!(
            "SELECT j.id, j.uuid, j.name, p.body, j.selector, j.timeout_ms, j.effect, j.state, j.total, ",
            "j.created_at, j.expires_at, j.finished_at, j.claimed_by, j.plan_digest, j.priority, j.concurrency, ",
            "j.paused_at, o.uuid, j.budget, j.budget_asked, j.open_wave, j.halted_rule, j.halted_at, j.halted_detail, ",
            "j.mode, (SELECT v.uuid FROM job v WHERE v.id = j.previewed) ",
            "FROM job j JOIN plan p ON p.digest = j.plan_digest ",
            "AND j.id NOT IN (SELECT job_id FROM job_removed) LEFT JOIN job o ON o.id = j.retry_of ",
            $rest
        )
    };
}

/// Whether something is restarting a device.
macro_rules! disrupted {
    ($device:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM execution x JOIN job y ON y.id = x.job_id WHERE x.device_id = ",
            $device,
            " AND x.locked = 1 AND x.state < 10 AND x.open_intent IS NOT NULL ",
            "AND lower(substr(y.steps, x.open_intent + 1, 1)) IN ('d', 'z'))"
        )
    };
}

/// The columns a [`crate::RolloutRecord`] is read from, in its order.
macro_rules! rollout {
    ($rest:literal) => {
        concat!(
            "SELECT r.job_id, j.uuid, j.state, j.claimed_by, r.policy, r.seed, r.assigned, r.digest, j.open_wave, ",
            "j.steps, j.timeout_ms, j.plan_digest, j.budget, j.concurrency, j.pace, r.pace_since, r.warned_at, ",
            "r.acknowledged, r.runs, r.hold_by, r.hold_evidence, r.hold_until, r.hold_person, j.admit_until, ",
            "r.break_glass, r.lasts_ms, r.back_ms, j.selector, j.local FROM rollout r JOIN job j ON j.id = r.job_id ",
            $rest
        )
    };
}

/// Statements about rows whose values are given one by one, for values that JSON would have to spell out. A row
/// without a first value is none, so that a statement of a fixed length, which stays prepared, takes any number of rows.
pub(crate) struct Rows {
    few: LazyLock<String>,
    many: LazyLock<String>,
}

/// Of digests, those of answers that are stored.
pub(crate) static BLOB_KNOWN: Rows = Rows {
    few: LazyLock::new(|| known(Rows::FEW)),
    many: LazyLock::new(|| known(Rows::MANY)),
};
pub(crate) static BLOB_STORE: Rows = Rows {
    few: LazyLock::new(|| insert("blob (digest, encoding, bytes)", Rows::FEW)),
    many: LazyLock::new(|| insert("blob (digest, encoding, bytes)", Rows::MANY)),
};
pub(crate) static STEP_STORE: Rows = Rows {
    few: LazyLock::new(|| {
        insert(
            "step_result (execution_id, step, digest, encoding, bytes)",
            Rows::FEW,
        )
    }),
    many: LazyLock::new(|| {
        insert(
            "step_result (execution_id, step, digest, encoding, bytes)",
            Rows::MANY,
        )
    }),
};

impl Rows {
    const FEW: usize = 8;
    const MANY: usize = 256;

    /// The statement for so many rows, and how many it takes.
    pub(crate) fn of(&'static self, rows: usize) -> (&'static str, usize) {
        match rows > 4 * Self::FEW {
            true => (&self.many, Self::MANY),
            false => (&self.few, Self::FEW),
        }
    }
}

fn known(rows: usize) -> String {
    let values = vec!["(?)"; rows].join(", ");
    format!("SELECT b.digest FROM (VALUES {values}) v CROSS JOIN blob b ON b.digest = v.column1")
}

fn insert(into: &str, rows: usize) -> String {
    let columns = into.matches(',').count() + 1;
    let row = format!("({})", vec!["?"; columns].join(", "));
    let values = vec![row; rows].join(", ");
    format!("INSERT INTO {into} SELECT * FROM (VALUES {values}) WHERE column1 IS NOT NULL")
}

/// For a selection's tail, which is made at run time from a selector: see `select`.
pub(crate) const DEVICES: &str = device!("");

pub(crate) mod audit;
mod execution;
mod explain;
mod inventory;
mod job;
mod keep;
mod kept;
mod pre;
mod rescue;
mod result;
mod rollout;
mod schedule;

pub(crate) use execution::*;
pub(crate) use explain::*;
pub(crate) use inventory::*;
pub(crate) use job::*;
pub(crate) use keep::*;
pub(crate) use kept::*;
pub(crate) use pre::*;
pub(crate) use rescue::*;
pub(crate) use result::*;
pub(crate) use rollout::*;
pub(crate) use schedule::*;

statements! {
    BEGIN = "BEGIN IMMEDIATE";
    COMMIT = "COMMIT";
    ROLLBACK = "ROLLBACK";
    HAS_MIGRATIONS = "SELECT count(*) FROM sqlite_master WHERE name = '_sqlx_migrations'";
    SCHEMA_VERSION = "SELECT coalesce(max(version), 0) FROM _sqlx_migrations";
}

/// Each, with its name.
#[cfg(test)]
pub(crate) fn all() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    let areas = [
        STATEMENTS,
        audit::STATEMENTS,
        execution::STATEMENTS,
        explain::STATEMENTS,
        inventory::STATEMENTS,
        job::STATEMENTS,
        keep::STATEMENTS,
        kept::STATEMENTS,
        pre::STATEMENTS,
        rescue::STATEMENTS,
        result::STATEMENTS,
        rollout::STATEMENTS,
        schedule::STATEMENTS,
    ];
    areas.into_iter().flatten()
}
