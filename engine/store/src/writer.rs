//! The one writer: a queue drained into group commits.

use std::fmt;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use crate::{StoreError, sql};

/// A writing operation: what it is given, and what it does in a transaction.
pub trait Write: Send + Sync + 'static {
    /// What it tells.
    type Out: Send + 'static;

    /// Does it. May run again from the start after a rollback, so it changes nothing but the database.
    fn apply(&self, tx: &mut SqliteConnection) -> impl Future<Output = Result<Self::Out, StoreError>> + Send;
}

/// Operations that may wait; beyond it, callers wait to be let in.
const QUEUE: usize = 1024;
/// Operations that are taken up together.
const GROUP: usize = 256;
/// Each operation is a batch by itself: after so long those that were done are committed, so that who waits for them
/// does not wait for all the others.
const TURN: Duration = Duration::from_millis(20);

#[derive(Clone)]
pub(crate) struct Handle(mpsc::Sender<Message>);

enum Message {
    Operation(Box<dyn Operation>),
    Close(oneshot::Sender<()>),
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("free", &self.0.capacity())
            .finish()
    }
}

impl Handle {
    pub(crate) async fn write<W: Write>(&self, operation: W) -> Result<W::Out, StoreError> {
        let (reply, answer) = oneshot::channel();
        let pending = Pending {
            operation,
            out: None,
            reply,
        };
        let message = Message::Operation(Box::new(pending));
        self.0.send(message).await.map_err(|_| StoreError::WriterGone)?;
        answer.await.unwrap_or(Err(StoreError::WriterGone))
    }

    /// Operations that wait to be taken up.
    pub(crate) fn queued(&self) -> usize {
        self.0.max_capacity() - self.0.capacity()
    }

    pub(crate) async fn close(self) {
        let (reply, answer) = oneshot::channel();
        if self.0.send(Message::Close(reply)).await.is_ok() {
            let _ = answer.await;
        }
    }
}

pub(crate) fn spawn(connection: SqliteConnection) -> Handle {
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(run(connection, receiver));
    Handle(sender)
}

async fn run(mut connection: SqliteConnection, mut queue: mpsc::Receiver<Message>) {
    let mut messages = Vec::with_capacity(GROUP);
    let mut closing = Vec::new();
    while closing.is_empty() && queue.recv_many(&mut messages, GROUP).await > 0 {
        let mut group = Vec::with_capacity(messages.len());
        for message in messages.drain(..) {
            match message {
                Message::Operation(operation) => group.push(operation),
                Message::Close(reply) => closing.push(reply),
            }
        }
        commit_group(&mut connection, group).await;
    }
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "closing the database");
    }
    // Whoever closed the store may now remove its file.
    drop(closing);
}

/// As many as fit into a turn in each transaction; if one fails, each operation in its own, so that one bad operation
/// fails alone.
async fn commit_group(connection: &mut SqliteConnection, mut group: Vec<Box<dyn Operation>>) {
    while !group.is_empty() {
        match transaction(connection, &mut group).await {
            Ok(done) => group.drain(..done).for_each(|operation| operation.finish(Ok(()))),
            // It is nobody's fault in the group, and each by itself would wait as long again.
            Err(StoreError::Locked) => {
                tracing::warn!(operations = group.len(), "another process holds the database");
                return group
                    .into_iter()
                    .for_each(|operation| operation.finish(Err(StoreError::Locked)));
            }
            Err(error) if group.len() == 1 => {
                if let Some(operation) = group.pop() {
                    operation.finish(Err(error));
                }
            }
            Err(error) => {
                tracing::warn!(%error, operations = group.len(), "group commit failed; retrying one by one");
                break;
            }
        }
    }
    for operation in group {
        let mut alone = [operation];
        let result = transaction(connection, &mut alone).await;
        let [operation] = alone;
        operation.finish(result.map(|_| ()));
    }
}

/// Commits the first of these operations: at least one, and no more when a turn is over. Returns how many.
async fn transaction(
    connection: &mut SqliteConnection,
    operations: &mut [Box<dyn Operation>],
) -> Result<usize, StoreError> {
    sqlx::query(sql::BEGIN).execute(&mut *connection).await?;
    let result = run_some(connection, operations).await;
    let ended = match &result {
        Ok(_) => sqlx::query(sql::COMMIT).execute(&mut *connection).await,
        Err(_) => sqlx::query(sql::ROLLBACK).execute(&mut *connection).await,
    };
    if let (Ok(_), Err(error)) = (&result, ended) {
        // A commit that failed (disk full, I/O error) may leave the transaction open.
        let _ = sqlx::query(sql::ROLLBACK).execute(connection).await;
        return Err(error.into());
    }
    result
}

async fn run_some(
    tx: &mut SqliteConnection,
    operations: &mut [Box<dyn Operation>],
) -> Result<usize, StoreError> {
    let began = Instant::now();
    let mut done = 0;
    for operation in operations {
        operation.run(tx).await?;
        done += 1;
        if began.elapsed() >= TURN {
            break;
        }
    }
    Ok(done)
}

trait Operation: Send {
    fn run<'a>(&'a mut self, tx: &'a mut SqliteConnection) -> BoxFuture<'a, Result<(), StoreError>>;
    fn finish(self: Box<Self>, result: Result<(), StoreError>);
}

struct Pending<W: Write> {
    operation: W,
    out: Option<W::Out>,
    reply: oneshot::Sender<Result<W::Out, StoreError>>,
}

impl<W: Write> Operation for Pending<W> {
    fn run<'a>(&'a mut self, tx: &'a mut SqliteConnection) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.out = Some(self.operation.apply(tx).await?);
            Ok(())
        })
    }

    fn finish(self: Box<Self>, result: Result<(), StoreError>) {
        let Self { out, reply, .. } = *self;
        // Nobody may be waiting any more; what was committed stays.
        let _ = reply.send(result.and_then(|()| out.ok_or(StoreError::WriterGone)));
    }
}
