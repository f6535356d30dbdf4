//! The conformance suite on both stores, and on stores that are wrong on purpose.

use std::collections::BTreeSet;

use tempfile::TempDir;

use crate::conformance::{self, CHECKS, Opener, Subject};
use crate::memory::{MemoryStore, Sabotage};
use crate::{Store, conformance::Failed};

/// A store in a file.
pub(super) struct InFile {
    store: Store,
    directory: TempDir,
}

impl InFile {
    pub(super) async fn open(directory: TempDir) -> Result<Self, String> {
        let path = directory.path().join("muster.db");
        let store = Store::open(&path).await.map_err(|error| error.to_string())?;
        Ok(Self { store, directory })
    }
}

impl Subject for InFile {
    type Store = Store;

    fn store(&self) -> &Store {
        &self.store
    }

    /// The file and its log as they are at this moment: what a process that was killed leaves.
    async fn after_crash(&self) -> Result<Self, String> {
        let copy = TempDir::new().map_err(|error| error.to_string())?;
        for file in ["muster.db", "muster.db-wal"] {
            let (from, to) = (self.directory.path().join(file), copy.path().join(file));
            std::fs::copy(from, to).map_err(|error| error.to_string())?;
        }
        Self::open(copy).await
    }
}

struct Files;

impl Opener for Files {
    type Subject = InFile;

    async fn open(&self) -> Result<InFile, String> {
        InFile::open(TempDir::new().map_err(|error| error.to_string())?).await
    }
}

struct InMemory(MemoryStore);

impl Subject for InMemory {
    type Store = MemoryStore;

    fn store(&self) -> &MemoryStore {
        &self.0
    }

    async fn after_crash(&self) -> Result<Self, String> {
        Ok(Self(self.0.copy()))
    }
}

/// Stores in memory, right or wrong.
struct Memories(Option<Sabotage>);

impl Opener for Memories {
    type Subject = InMemory;

    async fn open(&self) -> Result<InMemory, String> {
        let store = self.0.map_or_else(MemoryStore::default, MemoryStore::sabotaged);
        Ok(InMemory(store))
    }
}

fn told(failed: &[Failed]) -> String {
    failed
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

#[tokio::test]
async fn sqlite_conforms() {
    let failed = conformance::run(&Files).await;
    assert!(failed.is_empty(), "{}", told(&failed));
}

#[tokio::test]
async fn memory_conforms() {
    let failed = conformance::run(&Memories(None)).await;
    assert!(failed.is_empty(), "{}", told(&failed));
}

/// Runs the suite on a store that is wrong in one way. These checks, at least, have to notice.
async fn notices(sabotage: Sabotage, checks: &[&'static str]) {
    let failed = conformance::run(&Memories(Some(sabotage))).await;
    let names = failed.iter().map(|failed| failed.check).collect::<BTreeSet<_>>();
    for check in checks {
        assert!(CHECKS.contains(check), "there is no check {check}");
        assert!(
            names.contains(check),
            "{check} does not notice {sabotage:?}; noticed:\n{}",
            told(&failed)
        );
    }
    assert!(
        names.len() < CHECKS.len(),
        "a store on which nothing works shows nothing"
    );
}

#[tokio::test]
async fn a_store_without_epochs_is_noticed() {
    notices(
        Sabotage::NoEpoch,
        &[
            "intents_are_granted_held_or_revoked",
            "an_old_epoch_moves_nothing_and_is_evidence",
            "lost_leases_cost_nothing_before_an_intent",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_store_without_device_locks_is_noticed() {
    notices(
        Sabotage::NoDeviceLock,
        &["a_device_has_one_job_with_effects_at_a_time"],
    )
    .await;
}

#[tokio::test]
async fn a_store_that_grants_without_reserving_is_noticed() {
    notices(
        Sabotage::GrantWithoutReservation,
        &[
            "the_budget_is_reserved_with_the_grant",
            "a_wave_keeps_to_its_own_budget",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_store_that_answers_before_it_commits_is_noticed() {
    notices(
        Sabotage::AckBeforeCommit,
        &["everything_told_is_durable", "what_was_answered_survives_a_crash"],
    )
    .await;
}

#[tokio::test]
async fn a_store_that_counts_wrong_by_one_is_noticed() {
    notices(
        Sabotage::RecountOffByOne,
        &["reports_count_once", "an_aborted_job_ends"],
    )
    .await;
}
