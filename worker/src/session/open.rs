//! A command that was sent and has no final answer yet.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use muster_model::{DeviceError, ErrorClass};
use muster_worker_core::StepEnd;
use routeros_conn::{Outcome, UnknownCause};
use routeros_wire::{Kind, Sentence, TrapCategory};
use tokio::sync::mpsc::error::TrySendError;

use super::{Command, Follow, Reply, Turn, gone};
use crate::budget::Budget;

pub(super) struct Open {
    pub(super) run: u64,
    pub(super) turn: Arc<Turn>,
    /// Gone when the answer was given before the exchange ended.
    reply: Option<Command>,
    pub(super) sentences: Vec<u8>,
    trap: Option<DeviceError>,
    pub(super) outcome: Option<Outcome>,
    followed: Option<Box<Followed>>,
}

/// What there is to know of a command that is followed.
struct Followed {
    follow: Follow,
    /// When it has lasted long enough.
    until: Instant,
    /// How much of the answer was told live.
    told: usize,
    rows: u64,
    /// It has lasted long enough, or told enough: its end is a good one.
    reached: bool,
}

/// What is to be done after a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    GoOn,
    /// The command is to be ended: its answer is too large, or as large as was asked for.
    End,
}

/// Bytes of a `!done` that says nothing else.
const END: usize = b"\x05!done\x00".len();

/// Rows of a followed command that wait for whoever gets them, in bytes; beyond it the device is read no further.
const BEHIND: usize = 256 << 10;

impl Open {
    pub(super) fn new(
        run: u64,
        turn: Arc<Turn>,
        reply: Command,
        follow: Option<Box<Follow>>,
        now: Instant,
    ) -> Self {
        let followed = follow.map(|follow| {
            Box::new(Followed {
                until: now + follow.lasts,
                follow: *follow,
                told: 0,
                rows: 0,
                reached: false,
            })
        });
        Self {
            run,
            turn,
            reply: Some(reply),
            sentences: Vec::new(),
            trap: None,
            outcome: None,
            followed,
        }
    }

    /// A sentence came. `limit` is the most bytes that an answer may have.
    pub(super) fn on_reply(&mut self, sentence: Sentence<'_>, limit: usize) -> After {
        if self.reply.is_none() {
            return After::GoOn;
        }
        let kind = sentence.kind();
        if kind == Kind::Trap && self.trap.is_none() && !self.is_reached() {
            self.trap = Some(trap(sentence));
        }
        if let Some(followed) = &mut self.followed {
            if followed.reached {
                // What comes while it is being ended is more than was asked for.
                return After::GoOn;
            }
            followed.rows += u64::from(kind == Kind::Re);
            followed.reached = followed.follow.rows == Some(followed.rows);
        }
        if self.sentences.capacity() == 0 {
            // Most answers are one sentence and its end.
            self.sentences.reserve_exact(sentence.untagged_len() + END);
        }
        sentence.write_untagged(&mut self.sentences);
        if self.sentences.len() > limit {
            let text = format!("the answer is over the limit of {limit} bytes");
            self.tell(
                StepEnd::NoAnswer(DeviceError::new(ErrorClass::Protocol, text)),
                None,
            );
            return After::End;
        }
        match self.is_reached() {
            true => After::End,
            false => After::GoOn,
        }
    }

    /// Room for what a large read brought: an answer that begins so is seldom longer.
    pub(super) fn reserve(&mut self, bytes: usize) {
        if self.sentences.capacity() == 0 {
            self.sentences.reserve_exact(bytes);
        }
    }

    fn is_reached(&self) -> bool {
        self.followed.as_ref().is_some_and(|followed| followed.reached)
    }

    /// When it has lasted long enough.
    pub(super) fn until(&self) -> Option<Instant> {
        let followed = self.followed.as_ref()?;
        (!followed.reached).then_some(followed.until)
    }

    /// Whether it has just lasted long enough and is to be ended.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        match &mut self.followed {
            Some(followed) if !followed.reached && followed.until <= now => {
                followed.reached = true;
                true
            }
            _ => false,
        }
    }

    /// Hands on what came since, when there is somebody who wants it and has room.
    pub(super) fn tell_live(&mut self) {
        let Some(followed) = &mut self.followed else {
            return;
        };
        let new = &self.sentences[followed.told.min(self.sentences.len())..];
        if new.is_empty() {
            return;
        }
        match followed.follow.live.try_reserve() {
            Ok(place) => {
                place.send(Bytes::copy_from_slice(new));
                followed.told = self.sentences.len();
            }
            Err(TrySendError::Full(())) => {}
            // Nobody wants it any more; the answer is kept all the same.
            Err(TrySendError::Closed(())) => followed.told = self.sentences.len(),
        }
    }

    /// Whether so much waits for whoever gets the rows that no more should be read.
    pub(super) fn is_behind(&self) -> bool {
        let followed = self.followed.as_ref();
        followed.is_some_and(|followed| self.sentences.len().saturating_sub(followed.told) > BEHIND)
    }

    fn tell(&mut self, end: StepEnd, budget: Option<&Budget>) {
        let sentences = std::mem::take(&mut self.sentences);
        let sentences = match budget {
            Some(budget) => budget.answer(sentences),
            None => sentences.into(),
        };
        if let Some(reply) = self.reply.take() {
            reply.answer(Reply { end, sentences });
        }
    }

    /// Ends the command. `lost` is the cause when the connection is over.
    pub(super) fn answer(mut self, outcome: Outcome, lost: Option<&DeviceError>, budget: &Budget) {
        self.tell_live();
        let lost = || lost.cloned().unwrap_or_else(gone);
        let trap = self.trap.take();
        let end = match outcome {
            // It was asked for so much and no more.
            Outcome::Cancelled | Outcome::Trapped | Outcome::Unknown(_) if self.is_reached() => {
                StepEnd::Completed
            }
            Outcome::Completed => StepEnd::Completed,
            Outcome::Trapped => {
                StepEnd::Trapped(trap.unwrap_or_else(|| DeviceError::new(ErrorClass::Trap, "")))
            }
            Outcome::Cancelled => StepEnd::Cancelled,
            Outcome::NotSent => StepEnd::NotSent(lost()),
            Outcome::Unknown(UnknownCause::Deadline) => {
                let text = "no final answer to the command within its deadline";
                StepEnd::NoAnswer(DeviceError::new(ErrorClass::Timeout, text))
            }
            Outcome::Unknown(UnknownCause::ConnectionLost) => StepEnd::NoAnswer(lost()),
        };
        self.tell(end, Some(budget));
    }
}

fn trap(sentence: Sentence<'_>) -> DeviceError {
    let message = sentence.get(b"message").unwrap_or(b"trap without a message");
    let category = sentence.get(b"category").and_then(TrapCategory::parse);
    DeviceError {
        class: ErrorClass::Trap,
        message: String::from_utf8_lossy(message).into_owned(),
        category: category.map(|category| category as u8),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use routeros_wire::{Limits, decode_all, encode};
    use tokio::sync::mpsc;

    use super::*;
    use crate::session::command::command;
    use crate::session::command::tests::request;

    async fn turn() -> Arc<Turn> {
        request().await.turn
    }

    fn reply(open: &mut Open, words: &[&str]) -> After {
        let mut bytes = Vec::new();
        encode::sentence(&mut bytes, words).expect("valid");
        let mut after = After::GoOn;
        decode_all(&bytes, Limits::default(), |sentence| {
            after = open.on_reply(sentence, 1000);
        })
        .expect("valid");
        after
    }

    #[tokio::test]
    async fn a_followed_command_ends_well_when_it_told_enough() {
        let (live, mut rows) = mpsc::channel(1);
        let (sender, answer) = command(request().await);
        let follow = Follow {
            lasts: Duration::from_secs(60),
            rows: Some(2),
            live,
        };
        let mut open = Open::new(1, turn().await, sender, Some(Box::new(follow)), Instant::now());
        assert_eq!(reply(&mut open, &["!re", "=a=1"]), After::GoOn);
        open.tell_live();
        assert_eq!(reply(&mut open, &["!re", "=a=2", "=.dead=yes"]), After::End);
        open.tell_live();
        assert_eq!(
            reply(&mut open, &["!re", "=a=3"]),
            After::GoOn,
            "more than was asked for"
        );
        assert_eq!(reply(&mut open, &["!trap", "=category=2"]), After::GoOn);
        let first = rows.recv().await.expect("told live");
        assert_eq!(&first[..], b"\x03!re\x04=a=1\x00");
        open.answer(Outcome::Cancelled, None, &Budget::new(1 << 20));
        let second = rows.recv().await.expect("the rest, when there was room");
        let told = answer.await.expect("answered");
        assert_eq!(told.end, StepEnd::Completed);
        assert_eq!([&first[..], &second[..]].concat(), told.sentences);
    }

    #[tokio::test]
    async fn an_answer_that_is_too_large_is_given_up_and_kept_so_far() {
        let (sender, answer) = command(request().await);
        let mut open = Open::new(1, turn().await, sender, None, Instant::now());
        let long = format!("=a={}", "x".repeat(600));
        assert_eq!(reply(&mut open, &["!re", &long]), After::GoOn);
        assert_eq!(reply(&mut open, &["!re", &long]), After::End);
        let told = answer
            .now_or_never()
            .expect("answered at once")
            .expect("answered");
        assert!(matches!(told.end, StepEnd::NoAnswer(error) if error.class == ErrorClass::Protocol));
        assert!(told.sentences.len() > 1000);
    }
}
