//! Safe mode, history, schedules, backups, exports, files, and changes that cut off who is connected.

use super::*;
use crate::cut::Client;

impl Bench {
    fn after(&mut self, seconds: u64) -> bool {
        self.now += Duration::from_secs(seconds);
        self.device.pass(self.now).restarted
    }

    fn name(&mut self) -> String {
        self.row(&["/system/identity/print"])
    }
}

const NAMED: &str = "!re =name=other";
const DROP: [&str; 6] = [
    "/ip/firewall/filter/add",
    "=chain=input",
    "=action=drop",
    "=protocol=tcp",
    "=dst-port=8728",
    "=place-before=*1",
];

#[test]
fn what_was_done_in_safe_mode_is_taken_back_when_its_session_goes() {
    let mut bench = bench("7.18.2");
    let before = bench.name();
    let rules = bench.ids("/ip/firewall/filter");
    assert_eq!(bench.ask(&["/safe-mode/take"]), ["!done"]);
    assert!(bench.trap(&["/safe-mode/take"]).contains("already taken"));
    bench.ask(&["/system/identity/set", "=name=other"]);
    bench.ask(&["/ip/firewall/filter/remove", "=.id=*2,*3"]);
    bench.ask(&["/ip/firewall/filter/move", "=.id=*4", "=destination=*1"]);
    // Another session's change goes with it.
    bench.ask_as(2, &["/ip/dns/set", "=servers=5.5.5.5"]);
    let shown = bench.ask(&["/system/history/print", "=.proplist=action,floating-undo"]);
    assert_eq!(shown[0], "!re =action=dns changed =floating-undo=true");
    bench.device.detach(1);
    bench.device.holder_left(1, bench.now);
    bench.after(1);
    assert_eq!(bench.name(), NAMED);
    assert!(
        bench.trap(&["/safe-mode/take"]).contains("already taken"),
        "a stale hold is in the way"
    );
    bench.after(1);
    assert_eq!(bench.name(), before);
    assert_eq!(bench.ids("/ip/firewall/filter"), rules);
    assert!(!bench.ask(&["/ip/dns/print"])[0].contains("5.5.5.5"));
    assert_eq!(bench.ask(&["/safe-mode/take"]), ["!done"]);
    bench.ask(&["/system/identity/set", "=name=other"]);
    bench.ask_as(9, &["/safe-mode/release"]);
    bench.device.holder_left(1, bench.now);
    bench.after(600);
    assert_eq!(bench.name(), NAMED, "any session can make it last");
    bench.ask(&["/undo"]);
    assert_eq!(bench.name(), before);
    let old = super::bench("7.17");
    assert_eq!(
        old.device.route(b"/safe-mode/take").unwrap_err(),
        NoRoute::Directory(b"safe-mode")
    );
}

#[test]
fn more_than_a_hundred_actions_leave_safe_mode_without_a_word() {
    let mut bench = bench("7.18.2");
    bench.ask(&["/safe-mode/take"]);
    for at in 0..101 {
        bench.ask(&["/system/identity/set", &format!("=name=n{at}")]);
    }
    bench.device.holder_left(1, bench.now);
    bench.after(600);
    assert_eq!(bench.name(), "!re =name=n100");
    assert_eq!(bench.ids("/system/history").len(), 100);
}

#[test]
fn a_rule_that_drops_us_cuts_us_off_until_it_is_taken_back() {
    let mut bench = bench("7.18.2");
    let new = Client {
        peer: Ipv4Addr::LOCALHOST,
        ports: [8728; 2],
        established: false,
    };
    assert!(!bench.device.cuts(new));
    bench.ask(&["/safe-mode/take"]);
    bench.ask(&DROP);
    assert!(bench.device.cut && bench.device.cuts(new));
    bench.after(539);
    assert!(
        bench.device.cut,
        "nothing comes, and nothing says that the session is gone"
    );
    bench.after(2);
    assert!(!bench.device.cut && !bench.device.cuts(new));

    // Those who are connected stay connected where a rule lets them, and nobody else comes in.
    bench.ask(&DROP[..5]);
    assert!(!bench.device.cut && bench.device.cuts(new));
    bench.ask(&["/undo"]);
    let address = bench.ids("/ip/address")[0].clone();
    bench.ask(&["/ip/address/disable", &format!("=.id={address}")]);
    assert!(bench.device.cut);
    bench.ask(&["/undo"]);
    bench.ask(&["/interface/disable", "=.id=ether1"]);
    assert!(bench.device.cut);
}

#[test]
fn what_is_scheduled_runs_at_its_time_and_when_the_device_starts() {
    for version in ["6.49.17", "7.5", "7.16.2"] {
        let mut bench = bench(version);
        let clock = bench.row(&["/system/clock/print", "=.proplist=date,time"]);
        let date = clock.split(' ').nth(1).expect("a date")["=date=".len()..].to_owned();
        bench.ask(&["/system/backup/save", "=name=before", "=dont-encrypt=yes"]);
        let before = bench.name();
        bench.ask(&["/system/identity/set", "=name=other"]);
        let event = "=on-event=/system backup load name=before password=\"\"";
        let entry = [
            "/system/scheduler/add",
            "=name=back",
            &format!("=start-date={date}"),
            "=start-time=00:05:00",
            event,
        ];
        bench.ask(&entry);
        let shown = bench.row(&["/system/scheduler/print", "=.proplist=next-run,run-count"]);
        assert!(
            shown.contains("00:05:00") && shown.contains("=run-count=0"),
            "{shown}"
        );
        assert!(!bench.after(298), "{version}");
        assert_eq!(bench.name(), NAMED);
        assert!(bench.after(1), "it restarts");
        assert_eq!(bench.name(), before);
        assert!(
            bench.ids("/system/scheduler").is_empty(),
            "the backup had no such entry"
        );

        bench.ask(&[
            "/system/scheduler/add",
            "=name=twin",
            "=start-time=startup",
            event,
        ]);
        bench.ask(&["/system/identity/set", "=name=other"]);
        assert!(!bench.after(100));
        bench.ask(&["/system/reboot"]);
        assert!(bench.after(0));
        assert_eq!(bench.name(), before);
    }
}

#[test]
fn the_clock_can_be_set_and_is_asked_for_from_a_server() {
    let mut bench = bench("7.16.2");
    assert!(
        bench
            .row(&["/system/ntp/client/print"])
            .contains("=status=synchronized")
    );
    bench.ask(&["/system/ntp/client/set", "=enabled=no"]);
    assert!(
        bench
            .row(&["/system/ntp/client/print"])
            .contains("=status=stopped")
    );
    bench.ask(&["/system/clock/set", "=date=1970-01-02", "=time=00:00:10"]);
    bench.after(5);
    let clock = bench.row(&["/system/clock/print", "=.proplist=date,time"]);
    assert_eq!(clock, "!re =date=1970-01-02 =time=00:00:15");
}

#[test]
fn files_are_listed_read_in_parts_and_removed() {
    let mut bench = bench("7.16.2");
    bench.ask(&["/system/backup/save", "=name=one", "=dont-encrypt=yes"]);
    let row = bench.row(&["/file/print", "=.proplist=name,size", "?name=one.backup"]);
    assert_eq!(row, "!re =name=one.backup =size=40000");
    let mut length = 0;
    for offset in ["0", "32768", "40000"] {
        let mut bytes = Vec::new();
        let words = ["/file/read", "=file=one.backup", "=chunk-size=32768"];
        encode::sentence(
            &mut bytes,
            words.iter().copied().chain([&format!("=offset={offset}")[..]]),
        )
        .expect("words");
        let mut decoder = Decoder::new(Limits::default());
        decoder.scan(&bytes).expect("valid");
        let mut out = Vec::new();
        let route = bench.device.route(b"/file/read").expect("there");
        let caller = Caller {
            session: 1,
            group: Group::Full,
        };
        bench
            .device
            .execute(route, decoder.sentence(&bytes, 0), caller, bench.now, &mut out);
        decode_all(&out, Limits::default(), |sentence| {
            length += sentence.get(b"data").map_or(0, <[u8]>::len);
        })
        .expect("well formed");
    }
    assert_eq!(length, 40_000);
    assert!(
        bench
            .trap(&["/file/read", "=file=one.backup", "=chunk-size=99999"])
            .contains("1..32768")
    );
    assert_eq!(bench.ask(&["/file/remove", "=numbers=one.backup"]), ["!done"]);
    assert!(
        bench
            .trap(&["/file/remove", "=numbers=one.backup"])
            .contains("no such item")
    );
    bench.device.saves_nothing = true;
    bench.ask(&["/system/backup/save", "=name=one"]);
    assert!(bench.row(&["/file/print", "=.proplist=size"]).contains("=size=0"));
    assert!(
        bench
            .trap(&["/system/backup/load", "=name=one"])
            .contains("invalid backup")
    );
}

#[test]
fn an_export_is_text_without_secrets_unless_they_are_asked_for() {
    let export = |bench: &mut Bench, script: &str| {
        let lines = bench.ask(&["/execute", &format!("=script={script}"), "=as-string="]);
        lines.concat()["!done =ret=".len()..].to_owned()
    };
    let mut new = bench("7.16.2");
    let text = export(&mut new, "/export");
    assert!(
        text.starts_with("# 2026-01-01 00:00:01 by RouterOS 7.16.2\n"),
        "{text}"
    );
    assert!(
        text.contains("\n/ip firewall filter\nadd ") && text.contains("\\\n    "),
        "{text}"
    );
    assert!(!text.contains("password="));
    assert!(export(&mut new, "/export show-sensitive").contains("password="));
    assert!(export(&mut new, "/nonsense").contains("bad command name /nonsense"));
    let mut old = bench("6.49.17");
    assert!(export(&mut old, "/export").contains("password="));
    assert!(!export(&mut old, "/export hide-sensitive").contains("password="));

    assert_eq!(new.ask(&["/export"]), ["!done"], "over the API it prints nothing");
    new.ask(&["/export", "=file=two"]);
    assert!(
        new.row(&["/file/print", "=.proplist=name"])
            .ends_with("=name=two.rsc.in_progress")
    );
    new.after(1);
    let row = new.row(&["/file/print", "=.proplist=name,contents"]);
    assert!(row.starts_with("!re =name=two.rsc =contents=# 2026"), "{row}");
}

#[test]
fn a_clock_that_is_reset_by_a_start_is_set_later_and_schedules_go_by_it() {
    let mut bench = bench("7.16.2");
    let config = crate::firmware::FirmwareConfig {
        clock_set_after: Duration::from_secs(20),
        ..Default::default()
    };
    bench.device.firmware = Firmware::new(Arc::new(config));
    let clock = |bench: &mut Bench| bench.row(&["/system/clock/print", "=.proplist=date"]);
    let ntp = |bench: &mut Bench| bench.row(&["/system/ntp/client/print", "=.proplist=status"]);
    assert!(clock(&mut bench).contains("2026-01-01"));
    let due = [
        "/system/scheduler/add",
        "=name=a",
        "=start-date=2026-01-01",
        "=start-time=00:01:00",
    ];
    bench.ask(&[&due[..], &["=on-event=/system identity set name=other"]].concat());
    bench.ask(&["/system/reboot"]);
    bench.after(5);
    assert!(
        clock(&mut bench).contains("1970-01-02"),
        "it does not know what time it is"
    );
    assert_eq!(ntp(&mut bench), "!re =status=waiting");
    // Both the clock and what is due by it, in one look.
    bench.after(60);
    assert!(clock(&mut bench).contains("2026-01-01"));
    assert_eq!(ntp(&mut bench), "!re =status=synchronized");
    assert_eq!(bench.name(), NAMED);
}

#[test]
fn one_that_has_just_come_up_tells_of_its_board_later() {
    let mut bench = bench("7.16.2");
    let config = crate::firmware::FirmwareConfig {
        menus_after: Duration::from_secs(10),
        ..Default::default()
    };
    bench.device.firmware = Firmware::new(Arc::new(config));
    let packages = |bench: &mut Bench| bench.ask(&["/system/package/print", "=.proplist=name"]);
    let before = packages(&mut bench);
    bench.ask(&["/system/reboot"]);
    bench.after(5);
    assert_eq!(bench.ask(&["/system/routerboard/print"]), ["!done"]);
    assert_eq!(packages(&mut bench).len(), 2, "one, and the end");
    bench.after(6);
    assert!(
        bench
            .row(&["/system/routerboard/print"])
            .contains("=serial-number=")
    );
    assert_eq!(packages(&mut bench), before);
}
