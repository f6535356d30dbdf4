//! The hardware that devices are, from a list of boards that exist.

use super::{Profile, Purpose};

/// One product.
#[derive(Debug)]
pub(crate) struct Board {
    /// `board-name` in `/system/resource`.
    pub(super) name: &'static str,
    /// `model` in `/system/routerboard`; none on what is no RouterBOARD.
    pub(super) model: Option<&'static str>,
    pub(super) architecture: &'static str,
    pub(super) cpu: &'static str,
    pub(super) cpu_count: u64,
    /// MHz.
    pub(super) cpu_frequency: u64,
    /// MiB.
    pub(super) memory: u64,
    /// MiB.
    pub(super) storage: u64,
    /// Ethernet ports.
    pub(super) ports: u64,
    /// `firmware-type` in `/system/routerboard`.
    pub(super) firmware: &'static str,
    /// Whether only version 7 runs on it.
    needs_7: bool,
}

impl Board {
    /// The board of a device: one on which its version runs.
    pub(super) fn of(profile: &Profile) -> &'static Self {
        let fits = |board: &&Self| profile.born.since(7, 0) || !board.needs_7;
        let fitting = BOARDS.iter().filter(fits).count() as u64;
        let at = profile.rng(Purpose::Board).below(fitting) as usize;
        BOARDS.iter().filter(fits).nth(at).unwrap_or(&BOARDS[0])
    }

    /// Whether its storage is NAND that may be partitioned; what has 16 MB has another kind.
    pub(crate) fn has_nand(&self) -> bool {
        self.is_routerboard() && self.storage >= 128 && !matches!(self.architecture, "smips" | "mmips")
    }

    /// MiB.
    pub(crate) fn storage(&self) -> u64 {
        self.storage
    }

    /// Whether `/system/routerboard` exists.
    pub(crate) fn is_routerboard(&self) -> bool {
        self.model.is_some()
    }
}

#[rustfmt::skip]
static BOARDS: [Board; 13] = [
    board("hAP ac^2", Some("RBD52G-5HacD2HnD"), "arm", "ARM", 4, 716, 128, 16, 5, "ipq4000L", false),
    board("hEX", Some("RB750Gr3"), "mmips", "MIPS 1004Kc V2.15", 4, 880, 256, 16, 5, "mt7621L", false),
    board("hEX S", Some("RB760iGS"), "mmips", "MIPS 1004Kc V2.15", 4, 880, 256, 16, 6, "mt7621L", false),
    board("RB4011iGS+", Some("RB4011iGS+"), "arm", "ARMv7", 4, 1400, 1024, 512, 8, "al2", false),
    board("RB1100AHx4 Dude Edition", Some("RB1100Dx4"), "arm", "ARMv7", 4, 1400, 1024, 128, 8, "al2", false),
    board("RB951Ui-2HnD", Some("951Ui-2HnD"), "mipsbe", "MIPS 74Kc V4.12", 1, 600, 128, 128, 5, "ar9344", false),
    board("RB750GL", Some("750GL"), "mipsbe", "MIPS 24Kc V7.4", 1, 400, 64, 64, 5, "ar7240", false),
    board("cAP ac", Some("RBcAPGi-5acD2nD"), "arm", "ARM", 4, 716, 128, 16, 2, "ipq4000L", false),
    board("CCR1009-7G-1C-1S+", Some("CCR1009-7G-1C-1S+"), "tile", "tilegx", 9, 1200, 2048, 128, 8, "tilegx", false),
    board("CHR", None, "x86_64", "Intel(R)", 2, 2400, 1024, 128, 3, "", false),
    board("RB5009UG+S+", Some("RB5009UG+S+"), "arm64", "ARM64", 4, 1400, 1024, 1024, 8, "70x0", true),
    board("hAP ax^2", Some("C52iG-5HaxD2HaxD"), "arm64", "ARM64", 4, 864, 1024, 128, 5, "ipq6000", true),
    board("CCR2004-1G-12S+2XS", Some("CCR2004-1G-12S+2XS"), "arm64", "ARM64", 4, 1700, 4096, 128, 8, "al64", true),
];

#[expect(
    clippy::too_many_arguments,
    reason = "one line for each board reads as the table it is"
)]
const fn board(
    name: &'static str,
    model: Option<&'static str>,
    architecture: &'static str,
    cpu: &'static str,
    cpu_count: u64,
    cpu_frequency: u64,
    memory: u64,
    storage: u64,
    ports: u64,
    firmware: &'static str,
    needs_7: bool,
) -> Board {
    Board {
        name,
        model,
        architecture,
        cpu,
        cpu_count,
        cpu_frequency,
        memory,
        storage,
        ports,
        firmware,
        needs_7,
    }
}
