//! Any commands, in any pieces, under any fault: nothing panics, and what is answered is answered once.
#![expect(clippy::expect_used, reason = "helpers of tests state what they know")]

use std::sync::Arc;
use std::time::Duration;

use muster_sim::{Conversation, End, Fault, FleetConfig, World};
use proptest::prelude::*;
use routeros_wire::{Kind, Limits, decode_all, encode};

const MENUS: [&str; 12] = [
    "/interface",
    "/ip/address",
    "/ip/dns",
    "/ip/firewall/filter",
    "/ip/service",
    "/system/identity",
    "/system/package",
    "/system/resource",
    "/system/routerboard",
    "/user",
    "/user/active",
    "/no/such",
];

const VERBS: [&str; 11] = [
    "add", "cancel", "disable", "enable", "getall", "listen", "move", "print", "remove", "set", "unset",
];

const NAMES: [&str; 17] = [
    ".id",
    "numbers",
    "name",
    "comment",
    "address",
    "interface",
    "chain",
    "disabled",
    "password",
    "group",
    "value-name",
    "destination",
    "place-before",
    ".proplist",
    "count-only",
    "!comment",
    "follow",
];

const VALUES: [&str; 12] = [
    "",
    "*1",
    "*2,*1",
    "ether1",
    "*FFFFFFFFFF",
    "yes",
    "10.0.0.1/33",
    "10.0.0.1/0",
    "forward",
    "full",
    "name,.id,name.oid",
    "\u{e9}",
];

const QUERIES: [&str; 7] = ["?", "?name", "?#|&!", "?name=x", "?>mtu=1", "?#9.", "?-comment"];

fn argument() -> impl Strategy<Value = Vec<u8>> {
    let pick = |words: &'static [&'static str]| proptest::sample::select(words);
    prop_oneof![
        6 => (pick(&NAMES), pick(&VALUES)).prop_map(|(name, value)| format!("={name}={value}").into_bytes()),
        2 => pick(&QUERIES).prop_map(|query| query.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 1..20),
    ]
}

fn command() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let path = (
        proptest::sample::select(&MENUS[..]),
        proptest::sample::select(&VERBS[..]),
    )
        .prop_map(|(menu, verb)| format!("{menu}/{verb}").into_bytes());
    (path, proptest::collection::vec(argument(), 0..6))
        .prop_map(|(path, arguments)| [path].into_iter().chain(arguments).collect())
}

fn world(version: &str, fault: Option<Fault>) -> Arc<World> {
    let config = FleetConfig {
        versions: vec![version.to_owned()],
        faults: fault.into_iter().map(|fault| (fault, 1)).collect(),
        ..FleetConfig::default()
    };
    World::new(&config).expect("a valid configuration")
}

fn sentence(out: &mut Vec<u8>, words: &[Vec<u8>]) {
    encode::sentence(out, words).expect("no empty words");
}

fn words(text: &[&str]) -> Vec<Vec<u8>> {
    text.iter().map(|word| word.as_bytes().to_vec()).collect()
}

proptest! {
    #[test]
    fn every_command_is_done_once(
        commands in proptest::collection::vec(command(), 1..12),
        version in proptest::sample::select(&["6.45.1", "7.1", "7.18"][..]),
        cut in 1usize..200,
    ) {
        let world = world(version, None);
        let mut connection = Conversation::open(&world, 0, [127, 0, 0, 1].into());
        let mut input = Vec::new();
        sentence(&mut input, &words(&["/login", "=name=admin", "=password=", ".tag=login"]));
        for (at, command) in commands.iter().enumerate() {
            let noise = |word: &&Vec<u8>| !word.starts_with(b".tag=");
            let mut command: Vec<_> = command.iter().filter(noise).cloned().collect();
            command.push(format!(".tag={at}").into_bytes());
            sentence(&mut input, &command);
        }
        // Listens are done when they are cancelled.
        sentence(&mut input, &words(&["/cancel", ".tag=cancel"]));
        let mut out = Vec::new();
        for piece in input.chunks(cut) {
            connection.handle_input(piece, Duration::from_secs(1), &mut out);
        }
        prop_assert_eq!(connection.end(), None);
        let mut done = Vec::new();
        let read = decode_all(&out, Limits::default(), |reply| {
            if reply.kind() == Kind::Done {
                done.push(String::from_utf8_lossy(reply.tag().unwrap_or_default()).into_owned());
            }
        });
        prop_assert_eq!(read, Ok(()));
        done.sort();
        let tags = (0..commands.len()).map(|at| at.to_string());
        let mut expected: Vec<_> = tags.chain(["login", "cancel"].map(str::to_owned)).collect();
        expected.sort();
        prop_assert_eq!(done, expected);
        drop(connection);
        prop_assert_eq!(world.counters().open, 0);
    }

    #[test]
    fn no_bytes_and_no_fault_panic(
        commands in proptest::collection::vec(command(), 0..6),
        noise in proptest::collection::vec(any::<u8>(), 0..60),
        fault in proptest::option::of(proptest::sample::select(&Fault::ALL[..])),
        version in proptest::sample::select(&["6.40", "6.43", "7.18"][..]),
        cut in 1usize..100,
    ) {
        let world = world(version, fault);
        let mut connection = Conversation::open(&world, 0, [127, 0, 0, 1].into());
        let mut input = Vec::new();
        sentence(&mut input, &words(&["/login", "=name=admin", "=password="]));
        commands.iter().for_each(|command| sentence(&mut input, command));
        input.extend_from_slice(&noise);
        let mut out = Vec::new();
        for piece in input.chunks(cut) {
            connection.handle_input(piece, Duration::from_secs(1), &mut out);
        }
        let now = connection.poll_timeout().unwrap_or_default();
        connection.handle_timeout(now, &mut out);
        connection.stream(&mut out);
        prop_assert_eq!(connection.poll_timeout(), None);
        prop_assert!(connection.end() != Some(End::Reset) || fault.is_some());
    }
}
