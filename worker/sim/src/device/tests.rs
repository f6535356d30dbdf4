//! Each verb and each trap, on a device alone.

use super::*;
use routeros_wire::{Decoder, Limits, decode_all, encode};

struct Bench {
    device: Device,
    now: Duration,
    group: Group,
    /// Events since they were last looked at.
    heard: Vec<(u64, String)>,
}

fn bench(version: &str) -> Bench {
    indexed(version, 0)
}

fn indexed(version: &str, index: usize) -> Bench {
    let profile = Profile {
        seed: 1,
        index,
        version: version.parse().expect("a version"),
        born: version.parse().expect("a version"),
        drift: None,
    };
    let account = Account {
        name: b"admin".to_vec(),
        password: b"secret".to_vec(),
    };
    Bench {
        device: Device::new(profile, Arc::new(account)),
        now: Duration::from_secs(1),
        group: Group::Full,
        heard: Vec::new(),
    }
}

impl Bench {
    /// The replies to one command, each as its words with a space between.
    fn ask(&mut self, words: &[&str]) -> Vec<String> {
        self.ask_as(1, words)
    }

    fn ask_as(&mut self, session: u64, words: &[&str]) -> Vec<String> {
        let route = self.device.route(words[0].as_bytes()).expect("the path exists");
        let mut bytes = Vec::new();
        encode::sentence(&mut bytes, words).expect("no empty words");
        let mut decoder = Decoder::new(Limits::default());
        decoder.scan(&bytes).expect("valid");
        let caller = Caller {
            session,
            group: self.group,
        };
        let mut out = Vec::new();
        let request = decoder.sentence(&bytes, 0);
        let executed = self.device.execute(route, request, caller, self.now, &mut out);
        let heard = executed
            .events
            .iter()
            .map(|event| (event.session, lines(&event.bytes).concat()));
        self.heard.extend(heard);
        lines(&out)
    }

    /// The one row that a print shows.
    fn row(&mut self, words: &[&str]) -> String {
        let lines = self.ask(words);
        assert_eq!(lines.len(), 2, "{lines:?}");
        lines[0].clone()
    }

    /// The message of the one trap that answers a command.
    fn trap(&mut self, words: &[&str]) -> String {
        let lines = self.ask(words);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(lines[1], "!done");
        assert!(lines[0].starts_with("!trap "), "{lines:?}");
        lines[0]["!trap ".len()..].to_owned()
    }

    fn ids(&mut self, menu: &str) -> Vec<String> {
        let lines = self.ask(&[&format!("{menu}/print"), "=.proplist=.id"]);
        lines
            .iter()
            .filter_map(|line| line.strip_prefix("!re =.id="))
            .map(str::to_owned)
            .collect()
    }
}

fn lines(bytes: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    let line = |sentence: Sentence<'_>| {
        let words: Vec<_> = sentence.words().map(String::from_utf8_lossy).collect();
        lines.push(words.join(" "));
    };
    decode_all(bytes, Limits::default(), line).expect("replies are well formed");
    lines
}

const RULE: [&str; 3] = ["/ip/firewall/filter/add", "=chain=forward", "=action=drop"];

#[test]
fn print_shows_rows_and_done() {
    let mut bench = bench("7.16.2");
    assert_eq!(
        bench.ask(&["/system/identity/print"]),
        ["!re =name=sim-00001", "!done"]
    );
    assert_eq!(
        bench.ask(&["/system/identity/getall", ".tag=a b"]),
        ["!re .tag=a b =name=sim-00001", "!done .tag=a b"]
    );
    let rows = bench.ask(&["/interface/print"]);
    assert!(
        rows[0].starts_with("!re =.id=*1 =name=ether1 =default-name=ether1 =type=ether"),
        "{rows:?}"
    );
    assert!(rows[0].contains("=running=true") || rows[0].contains("=running=false"));
    let version = bench.row(&["/system/resource/print", "=.proplist=version,platform"]);
    assert_eq!(version, "!re =version=7.16.2 (stable) =platform=MikroTik");
}

#[test]
fn version_6_spells_booleans_its_way() {
    let rows = bench("6.49.17").ask(&["/interface/print"]);
    assert!(rows[0].contains("=dynamic=no"), "{rows:?}");
}

#[test]
fn proplist_gives_what_it_names_in_its_order() {
    let mut bench = bench("7.16.2");
    let one = ["/interface/print", "?name=ether1"];
    assert_eq!(
        bench.row(&[one[0], one[1], "=.proplist=type,.id"]),
        "!re =type=ether =.id=*1"
    );
    assert_eq!(bench.row(&[one[0], one[1], ".proplist=type"]), "!re =type=ether");
    assert_eq!(
        bench.row(&[one[0], one[1], "=.proplist=name,name.oid,type.oid"]),
        "!re =name=ether1 =name.oid=.1.3.6.1.2.1.2.2.1.2.1"
    );
    assert_eq!(
        bench.row(&["/system/identity/print", "=.proplist=name.oid,.id"]),
        "!re =name.oid=.1.3.6.1.2.1.1.5.0"
    );
    let bare = bench.ask(&["/interface/print", "=.proplist=no-such-property"]);
    assert!(
        bare.len() > 2 && bare[..bare.len() - 1].iter().all(|line| line == "!re"),
        "{bare:?}"
    );
}

#[test]
fn queries_choose_rows() {
    let mut bench = bench("7.16.2");
    let all = bench.ids("/interface").len();
    let count = |bench: &mut Bench, query: &[&str]| {
        let words = [&["/interface/print", "=count-only="], query].concat();
        let lines = bench.ask(&words);
        assert_eq!(lines.len(), 1, "count-only says done and nothing else");
        lines[0]
            .strip_prefix("!done =ret=")
            .expect("a count")
            .parse::<usize>()
            .expect("a number")
    };
    assert_eq!(count(&mut bench, &[]), all);
    assert_eq!(count(&mut bench, &["?name=ether1"]), 1);
    assert_eq!(count(&mut bench, &["?name=ether1", "?#!"]), all - 1);
    assert_eq!(count(&mut bench, &["?name=ether1", "?name=ether2", "?#|"]), 2);
    assert_eq!(count(&mut bench, &["?.id=*2"]), 1);
    assert_eq!(count(&mut bench, &["?-name"]), 0);
    assert_eq!(count(&mut bench, &["=.id=*1,ether2"]), 2);
    let trap = bench.trap(&["/interface/print", "?~name=ether"]);
    assert!(trap.contains("regular expressions"), "{trap}");
}

#[test]
fn empty_is_said_from_7_18_on() {
    let none = ["/interface/print", "?name=nothing", ".tag=1"];
    assert_eq!(bench("7.17").ask(&none), ["!done .tag=1"]);
    assert_eq!(bench("7.18.2").ask(&none), ["!empty .tag=1", "!done .tag=1"]);
}

#[test]
fn passwords_are_neither_printed_nor_found() {
    let mut bench = bench("7.16.2");
    let rows = bench.ask(&["/user/print"]).concat();
    assert!(
        rows.contains("=name=admin =group=full") && !rows.contains("password"),
        "{rows}"
    );
    let found = bench.ask(&["/user/print", "?password=secret"]);
    assert_eq!(found, ["!done"]);
    assert_eq!(
        bench.row(&["/user/print", "=.proplist=name,password", "?name=admin"]),
        "!re =name=admin"
    );
}

#[test]
fn add_returns_an_id_and_fills_in_the_rest() {
    let mut bench = bench("7.16.2");
    let before = bench.ids("/ip/address");
    let done = bench.ask(&[
        "/ip/address/add",
        "=address=10.9.8.7/20",
        "=interface=ether1",
        "=comment=a=b",
    ]);
    let id = done[0].strip_prefix("!done =ret=").expect("an id").to_owned();
    assert!(!before.contains(&id));
    let row = bench.row(&["/ip/address/print", &format!("?.id={id}")]);
    let expected = format!(
        "!re =.id={id} =address=10.9.8.7/20 =interface=ether1 =invalid=false =dynamic=false \
         =disabled=false =comment=a=b =network=10.9.0.0 =actual-interface=ether1"
    );
    assert_eq!(row, expected);
}

#[test]
fn add_is_refused_for_a_reason() {
    let mut bench = bench("7.16.2");
    let path = "/ip/address/add";
    assert_eq!(
        bench.trap(&[path, "=interface=ether1"]),
        "=message=missing =address="
    );
    assert_eq!(
        bench.trap(&[path, "=address=10.9.8.7/20", "=interface=ether1", "=colour=red"]),
        "=message=unknown parameter colour"
    );
    assert_eq!(
        bench.trap(&[path, "=address=10.9.8.7/20", "=interface=ether99"]),
        "=category=1 =message=input does not match any value of interface"
    );
    assert_eq!(
        bench.trap(&[path, "=address=ten", "=interface=ether1"]),
        "=category=1 =message=invalid value for argument address"
    );
    assert_eq!(
        bench
            .ask(&[path, "=address=10.9.8.7/20", "=interface=ether1"])
            .len(),
        1
    );
    assert_eq!(
        bench.trap(&[path, "=address=10.9.8.7/20", "=interface=ether2"]),
        "=message=failure: already have such address"
    );
    assert_eq!(
        bench.trap(&["/user/add", "=name=admin", "=group=read"]),
        "=message=failure: item with such name already exists"
    );
    assert_eq!(
        bench.trap(&[
            "/ip/address/add",
            "=place-before=*1",
            "=address=10.1.1.1",
            "=interface=ether1"
        ]),
        "=message=unknown parameter place-before"
    );
}

#[test]
fn rules_are_added_and_moved_in_order() {
    let mut bench = bench("7.16.2");
    let before = bench.ids("/ip/firewall/filter");
    let added = bench.ask(&[RULE[0], RULE[1], RULE[2], "=place-before=*1"]);
    let id = added[0].strip_prefix("!done =ret=").expect("an id").to_owned();
    assert_eq!(bench.ids("/ip/firewall/filter")[0], id);
    assert_eq!(
        bench.ask(&[
            "/ip/firewall/filter/move",
            &format!("=numbers={id}"),
            "=destination=*3"
        ]),
        ["!done"]
    );
    assert_eq!(bench.ids("/ip/firewall/filter")[..4], ["*1", "*2", &id, "*3"]);
    assert_eq!(bench.ask(&["/ip/firewall/filter/move", "=.id=*1"]), ["!done"]);
    let after = bench.ids("/ip/firewall/filter");
    assert_eq!(after.last().map(String::as_str), Some("*1"));
    assert_eq!(after.len(), before.len() + 1);
    for words in [
        [RULE[0], RULE[1], "=place-before=*FF"],
        ["/ip/firewall/filter/move", "=.id=*1", "=destination=*FF"],
        ["/ip/firewall/filter/move", "=.id=*FE", "=destination=*2"],
    ] {
        assert_eq!(bench.trap(&words), "=category=0 =message=no such item (4)");
    }
}

#[test]
fn set_changes_one_or_many_by_id_or_name() {
    let mut bench = bench("7.16.2");
    assert_eq!(
        bench.ask(&["/interface/set", "=.id=ether1", "=comment=one"]),
        ["!done"]
    );
    assert_eq!(
        bench.ask(&["/interface/set", "=numbers=*1,ether2", "=mtu=1400"]),
        ["!done"]
    );
    let print = [
        "/interface/print",
        "=.proplist=name,mtu,comment",
        "?mtu=1400",
        "?name=ether1",
        "?#&",
    ];
    assert_eq!(bench.row(&print), "!re =name=ether1 =mtu=1400 =comment=one");
    assert_eq!(
        bench.ask(&["/interface/set", "=.id=ether1", "=!comment="]),
        ["!done"]
    );
    assert_eq!(bench.row(&print), "!re =name=ether1 =mtu=1400");

    assert_eq!(bench.ask(&["/system/identity/set", "=name=core"]), ["!done"]);
    assert_eq!(bench.row(&["/system/identity/print"]), "!re =name=core");
    assert_eq!(bench.device.identity(), b"core");
    assert_eq!(
        bench.ask(&["/ip/service/set", "=.id=telnet", "=disabled=yes"]),
        ["!done"]
    );
    assert_eq!(
        bench.row(&["/ip/service/print", "?name=telnet", "=.proplist=disabled"]),
        "!re =disabled=true"
    );
}

#[test]
fn set_is_refused_for_a_reason_and_changes_nothing() {
    let mut bench = bench("7.16.2");
    let before = bench.ask(&["/interface/print"]);
    for (words, trap) in [
        (&["/interface/set", "=mtu=1400"][..], "=message=missing =.id="),
        (
            &["/interface/set", "=.id=*1,*99", "=mtu=1400"],
            "=category=0 =message=no such item (4)",
        ),
        (
            &["/interface/set", "=.id=*1", "=running=no"],
            "=message=unknown parameter running",
        ),
        (
            &["/interface/set", "=.id=*1", "=mtu=1"],
            "=category=1 =message=value of mtu is out of range (68..65535)",
        ),
        (
            &["/interface/set", "=.id=*1", "=name=ether2"],
            "=message=failure: already have interface with such name",
        ),
        (
            &["/interface/set", "=.id=*1,*2", "=name=new"],
            "=message=failure: already have interface with such name",
        ),
        (
            &["/interface/set", "=.id=*1", "=!name="],
            "=category=1 =message=invalid value for argument name",
        ),
    ] {
        assert_eq!(bench.trap(words), trap, "{words:?}");
    }
    assert_eq!(bench.ask(&["/interface/print"]), before);
    let own_name = ["/interface/set", "=.id=*1", "=name=ether1"];
    assert_eq!(bench.ask(&own_name), ["!done"]);
}

#[test]
fn parameters_come_with_their_versions() {
    let set = ["/ip/service/set", "=.id=api", "=max-sessions=10"];
    assert_eq!(
        bench("7.15").trap(&set),
        "=message=unknown parameter max-sessions"
    );
    assert_eq!(bench("7.16").ask(&set), ["!done"]);
}

#[test]
fn unset_clears_or_goes_back_to_the_default() {
    let mut bench = bench("7.16.2");
    bench.ask(&["/interface/set", "=.id=ether1", "=comment=x", "=mtu=1400"]);
    let print = ["/interface/print", "?name=ether1", "=.proplist=mtu,comment"];
    let unset = ["/interface/unset", "=.id=ether1"];
    assert_eq!(bench.ask(&[unset[0], unset[1], "=value-name=comment"]), ["!done"]);
    assert_eq!(bench.ask(&[unset[0], unset[1], "=value-name=mtu"]), ["!done"]);
    assert_eq!(bench.row(&print), "!re =mtu=1500");
    let trap = bench.trap(&[unset[0], unset[1], "=value-name=name"]);
    assert_eq!(
        trap,
        "=category=1 =message=input does not match any value of value-name"
    );
    assert_eq!(bench.trap(&unset), "=message=missing =value-name=");
}

#[test]
fn enable_and_disable() {
    let mut bench = bench("7.16.2");
    let print = ["/interface/print", "?name=ether1", "=.proplist=disabled,running"];
    assert_eq!(bench.ask(&["/interface/disable", "=numbers=ether1"]), ["!done"]);
    assert_eq!(bench.row(&print), "!re =disabled=true =running=false");
    assert_eq!(bench.ask(&["/interface/enable", "=.id=*1"]), ["!done"]);
    assert_eq!(bench.row(&print), "!re =disabled=false =running=true");
    assert_eq!(bench.trap(&["/interface/enable"]), "=message=missing =.id=");
    let trap = bench.trap(&["/interface/enable", "=.id=*1", "=mtu=1"]);
    assert_eq!(trap, "=message=unknown parameter mtu");
}

#[test]
fn remove_takes_a_list_and_gives_no_id_again() {
    let mut bench = bench("7.16.2");
    let before = bench.ids("/ip/firewall/filter");
    assert_eq!(
        bench.ask(&["/ip/firewall/filter/remove", "=.id=*1,*3"]),
        ["!done"]
    );
    assert_eq!(bench.ids("/ip/firewall/filter").len(), before.len() - 2);
    let trap = bench.trap(&["/ip/firewall/filter/remove", "=.id=*2,*3"]);
    assert_eq!(trap, "=category=0 =message=no such item (4)");
    assert_eq!(
        bench.ids("/ip/firewall/filter").len(),
        before.len() - 2,
        "nothing by halves"
    );
    let added = bench.ask(&RULE);
    assert!(!before.iter().any(|id| added[0] == format!("!done =ret={id}")));
    let trap = bench.trap(&["/interface/remove", "=.id=ether1"]);
    assert_eq!(trap, "=message=failure: can not remove builtin item");
}

#[test]
fn listeners_hear_rows_and_deaths_under_their_tags() {
    let mut bench = bench("7.16.2");
    let listen = ["/ip/firewall/filter/listen", ".tag=L", "=.proplist=.id,chain"];
    assert_eq!(bench.ask_as(7, &listen), Vec::<String>::new());
    let id = bench.ask(&RULE)[0]
        .strip_prefix("!done =ret=")
        .expect("an id")
        .to_owned();
    bench.ask(&["/ip/firewall/filter/set", &format!("=.id={id}"), "=chain=input"]);
    bench.ask(&["/ip/firewall/filter/set", &format!("=.id={id}"), "=chain=input"]);
    bench.ask(&["/ip/firewall/filter/remove", &format!("=.id={id}")]);
    bench.ask(&["/interface/set", "=.id=ether1", "=comment=other menu"]);
    let expected = [
        format!("!re .tag=L =.id={id} =chain=forward"),
        format!("!re .tag=L =.id={id} =chain=input"),
        format!("!re .tag=L =.id={id} =.dead=true"),
    ];
    assert_eq!(bench.heard, expected.map(|line| (7, line)));

    assert_eq!(bench.device.cancel(7, Some(b"other")), []);
    assert_eq!(bench.device.cancel(1, None), []);
    assert_eq!(bench.device.cancel(7, Some(b"L")), [Some(b"L".to_vec())]);
    bench.heard.clear();
    bench.ask(&RULE);
    assert_eq!(bench.heard, []);
}

#[test]
fn a_print_may_follow() {
    let mut bench = bench("6.49.17");
    let rows = bench.ask(&["/interface/print", "=follow=", "=.proplist=name", ".tag=F"]);
    assert!(
        rows.iter().all(|row| row.starts_with("!re .tag=F =name=")),
        "{rows:?}"
    );
    assert_eq!(bench.ask(&["/user/print", "=follow-only="]), Vec::<String>::new());
    bench.ask(&["/interface/disable", "=.id=ether1"]);
    bench.ask(&["/user/add", "=name=new", "=group=read"]);
    bench.ask(&["/user/remove", "=.id=new"]);
    let heard: Vec<&str> = bench.heard.iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!(heard[0], "!re .tag=F =name=ether1");
    assert!(
        heard[1].starts_with("!re =.id=*") && heard[1].contains("=name=new"),
        "{heard:?}"
    );
    assert!(heard[2].ends_with("=.dead=yes"), "{heard:?}");
}

#[test]
fn active_users_come_and_go() {
    let mut bench = bench("7.16.2");
    bench.ask_as(
        9,
        &["/user/active/listen", ".tag=A", "=.proplist=name,when,via,group"],
    );
    let caller = Caller {
        session: 3,
        group: Group::Full,
    };
    let came = bench
        .device
        .attach(caller, b"admin", Ipv4Addr::LOCALHOST, bench.now);
    assert_eq!(
        lines(&came[0].bytes),
        ["!re .tag=A =name=admin =when=2026-01-01 00:00:01 =via=api =group=full"]
    );
    assert_eq!(bench.ids("/user/active"), ["*1"]);
    bench
        .device
        .attach(caller, b"admin", Ipv4Addr::LOCALHOST, bench.now);
    assert_eq!(
        bench.ids("/user/active"),
        ["*2"],
        "who logs in again is listed once"
    );
    let gone = bench.device.detach(3);
    assert_eq!(lines(&gone[0].bytes), ["!re .tag=A =.id=*2 =.dead=true"]);
    assert_eq!(bench.ids("/user/active"), Vec::<String>::new());
}

#[test]
fn groups_bound_what_users_do() {
    let mut bench = bench("7.16.2");
    bench.group = Group::Read;
    assert_eq!(bench.ids("/interface")[0], "*1");
    for words in [&RULE[..], &["/system/reboot"], &["/user/remove", "=.id=admin"]] {
        assert_eq!(bench.trap(words), "=message=not enough permissions (9)");
    }
    bench.group = Group::Write;
    assert!(bench.ask(&RULE)[0].starts_with("!done =ret="));
    assert_eq!(
        bench.trap(&["/user/remove", "=.id=admin"]),
        "=message=not enough permissions (9)"
    );
}

#[test]
fn users_and_passwords_can_be_changed() {
    let mut bench = bench("7.16.2");
    assert_eq!(
        bench.device.credentials(b"admin"),
        Some((b"secret".to_vec(), Group::Full))
    );
    bench.ask(&["/user/set", "=.id=admin", "=password=better"]);
    assert_eq!(
        bench.device.credentials(b"admin"),
        Some((b"better".to_vec(), Group::Full))
    );
    bench.ask(&["/user/add", "=name=new", "=group=read", "=password=p"]);
    assert_eq!(
        bench.device.credentials(b"new"),
        Some((b"p".to_vec(), Group::Read))
    );
    bench.ask(&["/user/disable", "=.id=new"]);
    assert_eq!(bench.device.credentials(b"new"), None);
    assert_eq!(bench.device.credentials(b"nobody"), None);
}

#[test]
fn a_restart_begins_a_new_uptime_and_carries_out_what_was_scheduled() {
    let mut bench = bench("7.16.2");
    bench.ask(&["/system/package/disable", "=.id=routeros"]);
    let print = [
        "/system/package/print",
        "?name=routeros",
        "=.proplist=scheduled,disabled",
    ];
    assert_eq!(
        bench.row(&print),
        "!re =scheduled=scheduled for disable =disabled=false"
    );
    bench.now = Duration::from_secs(100);
    assert_eq!(bench.ask(&["/system/reboot"]), ["!done"]);
    assert_eq!(bench.row(&print), "!re =scheduled= =disabled=true");
    bench.now = Duration::from_secs(163);
    let uptime = bench.row(&["/system/resource/print", "=.proplist=uptime"]);
    assert_eq!(uptime, "!re =uptime=1m3s");
}

#[test]
fn routerboard_is_there_on_routerboards_only() {
    let mut kinds = [0, 0];
    for index in 0..60 {
        let mut bench = indexed("7.16.2", index);
        let board = bench.row(&[
            "/system/resource/print",
            "=.proplist=board-name,architecture-name",
        ]);
        let exists = bench.device.route(b"/system/routerboard/print").is_ok();
        assert_eq!(!exists, board.contains("CHR"), "{board}");
        kinds[usize::from(exists)] += 1;
    }
    assert!(kinds[0] > 0 && kinds[1] > 0, "{kinds:?}");
    let route = indexed("7.16.2", 0)
        .device
        .route(b"/ip/dns/cache/flush")
        .map(Route::is_mutating);
    assert_eq!(route, Ok(true));
}

mod back;
mod partitions;
