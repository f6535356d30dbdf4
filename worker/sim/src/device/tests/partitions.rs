//! Partitions: what is copied to them, and what is started when the active one does not.

use super::*;
use crate::firmware::FirmwareConfig;

/// A device whose storage is NAND, in so many partitions, that is offered 7.16.2.
fn partitioned(partitions: usize) -> Bench {
    let nand = (0..100).map(|index| indexed("7.13.5", index));
    let mut bench = nand
        .into_iter()
        .find(|bench| bench.device.has_partitions())
        .expect("some have NAND");
    let config = FirmwareConfig {
        offers: Some("7.16.2".to_owned()),
        restart: Duration::from_secs(10),
        partitions,
        ..FirmwareConfig::default()
    };
    bench.device.firmware = Firmware::new(Arc::new(config));
    bench
}

impl Bench {
    fn copy(&mut self, name: &str) {
        let place = name.trim_start_matches("part").parse().expect("a place");
        let work = Work::Copy {
            to: place,
            since: self.now,
        };
        self.ask(&["/partitions/copy-to", &format!("=numbers={name}")]);
        self.now += Duration::from_secs(1);
        let mut out = Vec::new();
        let over = self
            .device
            .tell_work(&work, &[], self.now, &mut Replies::new(&mut out, None));
        assert!(over, "{:?}", lines(&out));
    }

    /// Downloads what is offered, and restarts.
    fn upgrade(&mut self) {
        self.ask(&["/system/package/update/check-for-updates", "=once="]);
        self.now += Duration::from_secs(1);
        self.ask(&["/system/package/update/download"]);
        self.now += Duration::from_secs(1);
        self.ask(&["/system/reboot"]);
        self.now += Duration::from_secs(30);
    }

    fn partitions(&mut self) -> Vec<String> {
        let mut shown = self.ask(&["/partitions/print", "=.proplist=name,version,active,running"]);
        shown.pop();
        let made = |line: String| line.replace(" 2025-12-31 00:00:00", "").replace("!re =name=", "");
        shown.into_iter().map(made).collect()
    }
}

#[test]
fn what_has_no_nand_has_no_partitions() {
    let other = (0..100).map(|index| indexed("7.13.5", index));
    let other = other
        .into_iter()
        .find(|bench| !bench.device.has_partitions())
        .expect("some have none");
    for path in ["/partitions/print", "/partitions/copy-to"] {
        let refused = other.device.route(path.as_bytes()).expect_err("not there");
        assert_eq!(refused, NoRoute::Directory(b"partitions"));
    }
    assert_eq!(partitioned(1).ids("/partitions"), ["*1"]);
}

#[test]
fn one_that_does_not_start_falls_back_to_what_was_copied() {
    let mut bench = partitioned(2);
    assert_eq!(
        bench.partitions(),
        [
            "part0 =version=RouterOS v7.13.5 =active=true =running=true",
            "part1 =version=EMPTY =active=false =running=false"
        ]
    );
    assert!(
        bench
            .trap(&["/partitions/copy-to", "=numbers=part0"])
            .contains("running partition")
    );
    bench.ask(&["/system/identity/set", "=name=kept"]);
    bench.copy("part1");
    bench.ask(&["/system/identity/set", "=name=late"]);
    bench.device.firmware.trouble = Some(Fault::Bricks);
    bench.upgrade();
    assert_eq!(
        bench.partitions(),
        [
            "part0 =version=RouterOS v7.13.5 =active=true =running=false",
            "part1 =version=RouterOS v7.13.5 =active=false =running=true"
        ]
    );
    assert_eq!(bench.row(&["/system/identity/print"]), "!re =name=kept");
    // It is tried again, and stays only when that is said.
    bench.ask(&["/system/reboot"]);
    assert!(bench.partitions()[1].ends_with("=active=false =running=true"));
    bench.ask(&["/partitions/activate", "=numbers=part1"]);
    bench.ask(&["/system/reboot"]);
    assert!(bench.partitions()[1].ends_with("=active=true =running=true"));
}

#[test]
fn one_that_falls_back_to_nothing_is_never_heard_of_again() {
    for (fallback, copies) in [("etherboot", true), ("next", false)] {
        let mut bench = partitioned(2);
        bench.ask(&[
            "/partitions/set",
            "=numbers=part0",
            &format!("=fallback-to={fallback}"),
        ]);
        if copies {
            bench.copy("part1");
        }
        bench.device.firmware.trouble = Some(Fault::Bricks);
        bench.upgrade();
        assert!(
            bench
                .device
                .firmware
                .is_away(bench.now + Duration::from_secs(9999)),
            "{fallback}"
        );
    }
}

#[test]
fn configuration_goes_from_one_to_another_and_back() {
    let mut bench = partitioned(2);
    assert!(
        bench
            .trap(&["/partitions/save-config-to", "=numbers=part1"])
            .contains("empty")
    );
    bench.copy("part1");
    bench.ask(&["/system/identity/set", "=name=saved"]);
    bench.ask(&["/partitions/save-config-to", "=numbers=part1"]);
    bench.ask(&["/system/identity/set", "=name=other"]);
    bench.ask(&["/partitions/restore-config-from", "=numbers=part1"]);
    assert_eq!(bench.row(&["/system/identity/print"]), "!re =name=saved");
    bench.device.firmware.trouble = Some(Fault::DeviceMode);
    assert!(
        bench
            .trap(&["/partitions/copy-to", "=numbers=part1"])
            .contains("not allowed by device-mode")
    );
}
