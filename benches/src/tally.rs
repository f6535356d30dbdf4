//! What a fleet answered, in a form that two clients can be compared by.

/// An attribute that is another one a second later: its name counts, its value does not.
const MOVING: &str = "uptime";

/// Answers, added up. Two clients that were told the same by the same fleet have equal tallies, in whatever order the
/// devices answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Devices whose answer was complete.
    pub devices: u64,
    /// Rows of all answers.
    pub rows: u64,
    /// Attributes of all rows.
    pub attributes: u64,
    /// Over device, name and value of each attribute.
    pub checksum: u64,
}

impl Tally {
    /// Adds a row of a device's answer.
    pub fn row<'a>(&mut self, device: &str, attributes: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) {
        self.rows += 1;
        for (name, value) in attributes {
            self.attributes += 1;
            let value = if name == MOVING.as_bytes() { b"" } else { value };
            let hash = [device.as_bytes(), name, value].into_iter().fold(SEED, part);
            self.checksum = self.checksum.wrapping_add(hash);
        }
    }

    /// Adds what others were told.
    pub fn add(&mut self, other: Self) {
        self.devices += other.devices;
        self.rows += other.rows;
        self.attributes += other.attributes;
        self.checksum = self.checksum.wrapping_add(other.checksum);
    }
}

// FNV-1a, with the length of each part so that parts cannot run into each other.
const SEED: u64 = 0xcbf2_9ce4_8422_2325;

fn part(hash: u64, bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let length = (bytes.len() as u64).to_le_bytes();
    length.into_iter().chain(bytes.iter().copied()).fold(hash, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(rows: &[(&str, &str, &str)]) -> Tally {
        let mut tally = Tally::default();
        for (device, name, value) in rows {
            tally.row(device, [(name.as_bytes(), value.as_bytes())]);
        }
        tally
    }

    #[test]
    fn order_does_not_matter_and_everything_else_does() {
        let both = tally(&[("r1", "version", "7.16"), ("r2", "version", "7.12")]);
        assert_eq!(
            both,
            tally(&[("r2", "version", "7.12"), ("r1", "version", "7.16")])
        );
        assert_ne!(
            both,
            tally(&[("r1", "version", "7.12"), ("r2", "version", "7.16")])
        );
        assert_ne!(both, tally(&[("r1", "version", "7.16")]));
        assert_eq!(tally(&[("r1", "uptime", "1s")]), tally(&[("r1", "uptime", "2s")]));
    }
}
