//! `muster device`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use crate::duration;

#[derive(Debug, Subcommand)]
pub(crate) enum Device {
    /// Add devices from a CSV file (name,address,port,transport,credential,zone,labels,tls,pin,ports,in_flight) or JSON
    /// lines
    Import {
        /// The file; - for standard input
        file: PathBuf,
        /// Import the good lines and leave out the bad ones
        #[arg(long)]
        skip_bad: bool,
        /// Overwrite devices that are in the inventory already
        #[arg(long)]
        update: bool,
        /// Check everything, import nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// List devices
    List {
        /// Only these: site=ams,version=7.1*
        #[arg(long, value_name = "SELECTOR")]
        select: Option<String>,
    },
    /// Show one device
    Show {
        /// Its name
        name: String,
    },
    /// Set labels with key=value, remove them with key-
    Label {
        /// Devices by selector, instead of by name
        #[arg(long, value_name = "SELECTOR")]
        select: Option<String>,
        /// Names of devices, key=value, key-
        #[arg(required = true, value_name = "NAME|KEY=VALUE|KEY-")]
        words: Vec<String>,
    },
    /// Remove devices from the inventory
    Remove {
        /// Their names
        #[arg(required_unless_present = "select")]
        names: Vec<String>,
        /// Devices by selector, instead of by name
        #[arg(long, value_name = "SELECTOR", conflicts_with = "names")]
        select: Option<String>,
        /// Do not ask before removing what a selector means
        #[arg(long, short = 'y')]
        yes: bool,
    },
    /// Accept the certificate or the serial number that a device presented and that was not trusted
    Trust {
        /// Its name
        name: String,
        /// The SHA-256 of its certificate or key [default: of the certificate it presented last]
        #[arg(long, value_name = "SHA256")]
        pin: Option<String>,
        /// Accept only this serial number
        #[arg(long, value_name = "SERIAL", conflicts_with = "pin")]
        serial: Option<String>,
        /// Why, for the record
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Bring a backup and an export of devices, and keep them
    Backup {
        /// Devices by name
        names: Vec<String>,
        /// Devices by selector
        #[arg(long, value_name = "SELECTOR", conflicts_with = "names")]
        select: Option<String>,
        /// Every device
        #[arg(long, conflicts_with_all = ["names", "select"])]
        all: bool,
        /// Leave out devices of which a backup is kept that is not older
        #[arg(long, value_name = "DURATION", value_parser = duration::parse_positive)]
        max_age: Option<Duration>,
        /// Only the export
        #[arg(long, conflicts_with = "max_age")]
        export: bool,
        /// Keep the export alone where a router before 7.13 cannot give its backup over its API
        #[arg(long, conflicts_with = "export")]
        or_export: bool,
        /// Deadline of each command, and how long devices that cannot be reached are waited for
        #[arg(long, default_value = "60s", value_parser = duration::parse_positive)]
        timeout: Duration,
    },
    /// List the backups and exports that are kept of a device, or get one of them
    Exports {
        /// Its name
        name: String,
        /// The number of one, to be written to a file
        #[arg(long, value_name = "ID")]
        get: Option<String>,
        /// Where to; - for standard output [default: NAME-ID.rsc or NAME-ID.backup here]
        #[arg(long, short = 'o', value_name = "FILE", requires = "get")]
        output: Option<PathBuf>,
    },
    /// Show what is different between two exports; exit code 2 if anything is
    Diff {
        /// A device, for its newest export, or #ID for one by its number
        one: String,
        /// The same
        other: String,
    },
    /// List devices that are lost, with what to do about them on site; clear takes them off
    #[command(args_conflicts_with_subcommands = true)]
    Rescue(Rescue),
    /// List devices that jobs with effects skip, because too many executions on them ended badly
    Quarantined,
    /// Lift the quarantine of devices
    Release {
        /// Their names
        #[arg(required = true)]
        names: Vec<String>,
        /// Why, for the record
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Connect, log in and ask who is there
    Test {
        /// Devices by name
        names: Vec<String>,
        /// Devices by selector
        #[arg(long, value_name = "SELECTOR", conflicts_with = "names")]
        select: Option<String>,
        /// Every device
        #[arg(long, conflicts_with_all = ["names", "select"])]
        all: bool,
        /// How long to try
        #[arg(long, default_value = "10s", value_parser = duration::parse_positive)]
        timeout: Duration,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Rescue {
    #[command(subcommand)]
    pub(crate) deed: Option<RescueDeed>,
    /// Only those that this job has lost
    #[arg(long, value_name = "ID")]
    pub(crate) job: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RescueDeed {
    /// Take devices off the list: somebody has looked after them
    Clear {
        /// Their names
        #[arg(required = true)]
        names: Vec<String>,
        /// Why, for the record
        #[arg(long)]
        reason: String,
    },
}
