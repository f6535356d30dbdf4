//! `print interval=`: a print whose rows are told again and again, until it is cancelled.

use std::time::Duration;

use routeros_wire::{Decoder, Kind, Limits, Sentence, decode_all, encode, value::duration};

use crate::device::{Caller, Device};
use crate::menu::Verb;
use crate::paced::bounded;
use crate::route::Route;
use crate::trap::Trap;

/// A print that is repeated.
#[derive(Debug)]
pub(crate) struct Repeat {
    pub(crate) due: Duration,
    pub(crate) tag: Option<Vec<u8>>,
    every: Duration,
    route: Route,
    caller: Caller,
    /// The print without its interval, in wire format.
    print: Vec<u8>,
}

impl Repeat {
    /// Nothing when the request is not to be repeated.
    pub(crate) fn of(
        request: Sentence<'_>,
        route: Route,
        caller: Caller,
        now: Duration,
    ) -> Result<Option<Self>, Trap> {
        if !matches!(route, Route::Menu(_, Verb::Print | Verb::GetAll)) {
            return Ok(None);
        }
        let Some(interval) = request.get(b"interval") else {
            return Ok(None);
        };
        let every = duration::parse(interval).ok_or_else(|| Trap::invalid("interval"))?;
        let every = bounded(every);
        let mut print = Vec::new();
        let words = request.words().filter(|word| !word.starts_with(b"=interval="));
        // Words that were decoded can be encoded.
        let _ = encode::sentence(&mut print, words);
        Ok(Some(Self {
            due: now + every,
            tag: request.tag().map(<[u8]>::to_vec),
            every,
            route,
            caller,
            print,
        }))
    }

    /// Tells the rows as they are now. Returns whether it goes on: not after a refusal, which is told whole.
    pub(crate) fn tell(&mut self, device: &mut Device, now: Duration, out: &mut Vec<u8>) -> bool {
        self.due = now + self.every;
        let mut decoder = Decoder::new(Limits::default());
        let print = match decoder.scan(&self.print) {
            Ok(_) => decoder.sentences(&self.print).next(),
            Err(_) => None,
        };
        let Some(print) = print else { return false };
        let mut answer = Vec::new();
        if device
            .execute(self.route, print, self.caller, now, &mut answer)
            .trap
            .is_some()
        {
            out.extend_from_slice(&answer);
            return false;
        }
        let read = decode_all(&answer, Limits::default(), |sentence| {
            if sentence.kind() != Kind::Done {
                let _ = encode::sentence(out, sentence.words());
            }
        });
        debug_assert_eq!(read, Ok(()), "answers are well formed");
        true
    }
}
