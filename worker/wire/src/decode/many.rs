//! The buffers of several connections as lanes.
//!
//! No guess is needed here: every lane begins where its connection's decoder stands. When a lane comes near the end
//! of its buffer, or upon a word that is not all there, what all lanes found goes to their tapes and the next
//! connection takes its place. The last bytes of each buffer, and whoever is left alone, are walked serially.

use super::lanes::{Ahead, LANES, Rows, Walk};
use super::{Decoder, Kernel, within};

/// Less than this is not worth a lane.
const LEAST: usize = 512;

pub(super) fn scan(pairs: &mut [(&mut Decoder, &[u8])]) {
    if pairs.iter().filter(|pair| fits(pair)).count() >= LANES {
        in_lanes(pairs);
    }
    for (decoder, buf) in pairs {
        // An error stays with its decoder.
        let _ = decoder.scan(buf);
    }
}

fn fits((decoder, buf): &(&mut Decoder, &[u8])) -> bool {
    decoder.failed.is_none()
        && decoder.kernel != Kernel::Serial
        && buf.len() >= decoder.tape.need
        && within(buf).len() - decoder.tape.scan >= LEAST
}

fn in_lanes(pairs: &mut [(&mut Decoder, &[u8])]) {
    let mut rows = Rows::new();
    let mut waiting = 0..pairs.len();
    let mut seats: [Option<usize>; LANES] = [None; LANES];
    loop {
        for seat in &mut seats {
            if seat.is_none() {
                *seat = waiting.find(|&index| fits(&pairs[index]));
            }
        }
        let [Some(a), Some(b), Some(c), Some(d)] = seats else {
            return;
        };
        let taken = [a, b, c, d];
        let mut walk = Walk::new(
            taken.map(|index| within(pairs[index].1)),
            taken.map(|index| pairs[index].0.tape.scan),
        );
        let steps = pairs[a].0.kernel.how().steps;
        rows.clear(walk.bufs, steps.masked());
        let word_bytes = taken.map(|index| pairs[index].0.limits.word_bytes);
        let word_bytes = word_bytes.into_iter().fold(u32::MAX, u32::min);
        let mut dry = None;
        while let count @ 1.. = walk.room(&rows) {
            if word_bytes >= 0x7F && walk.run(&mut rows, count, steps, Ahead::default()) {
                continue;
            }
            if let Err(lane) = walk.cold(&mut rows, word_bytes) {
                dry = Some(lane);
                break;
            }
        }
        for lane in 0..LANES {
            let (decoder, buf) = &mut pairs[taken[lane]];
            let kept = decoder.tape.take(
                &rows,
                lane,
                rows.len(),
                walk.at[lane],
                within(buf),
                &decoder.limits,
            );
            let left = within(buf).len() - decoder.tape.scan;
            if !kept || left < LEAST || dry == Some(lane) {
                seats[lane] = None;
            }
        }
    }
}
