mod checks;
mod prechecks;

use super::*;
use crate::Caps;
use crate::action::Manner;
use muster_model::{Command, Ensure, Values, Verify, WayBack};
use routeros_wire::{Limits, decode_all, encode};

fn attempt(commands: &[&str]) -> Attempt {
    let step = |path: &&str| Step::Command(Command::parse([*path]).expect("valid"));
    of(commands.iter().map(step).collect())
}

fn of(steps: Vec<Step>) -> Attempt {
    in_mode(
        steps,
        Mode::Apply {
            first_step: 0,
            expected: None,
        },
    )
}

fn in_mode(steps: Vec<Step>, mode: Mode) -> Attempt {
    let caps = Caps {
        safe_mode: false,
        clock: true,
    };
    Attempt::new(Arc::new(Plan::new(steps)), mode).with_caps(Some(caps))
}

fn error(class: ErrorClass) -> DeviceError {
    DeviceError::new(class, "x")
}

fn ended(action: Action) -> Ended {
    match action {
        Action::End(ended) => ended,
        other => panic!("not an end: {other:?}"),
    }
}

fn outcome(action: Action) -> (Outcome, Option<ErrorClass>) {
    let ended = ended(action);
    (ended.outcome, ended.error.map(|error| error.class))
}

/// The words of an exchange, joined by blanks.
fn sent(action: Action) -> (String, Manner) {
    match action {
        Action::Exchange(exchange) => {
            let words = exchange.words.join(&b' ');
            (String::from_utf8(words).expect("text"), exchange.manner)
        }
        other => panic!("no exchange: {other:?}"),
    }
}

fn answer(rows: &[&[&str]]) -> Bytes {
    let mut out = Vec::new();
    for row in rows {
        encode::sentence(&mut out, ["!re"].iter().chain(row.iter())).expect("no empty words");
    }
    encode::sentence(&mut out, ["!done"]).expect("no empty words");
    out.into()
}

fn told(replies: &[u8]) -> Vec<String> {
    let mut sentences = Vec::new();
    decode_all(replies, Limits::default(), |sentence| {
        sentences.push(String::from_utf8(sentence.to_vec().join(&b' ')).expect("text"));
    })
    .expect("decodes");
    sentences
}

impl Attempt {
    fn completed(&mut self) -> Action {
        self.answered(StepEnd::Completed, answer(&[]))
    }

    fn ends(&mut self, end: StepEnd) -> Action {
        self.answered(end, Bytes::new())
    }
}

const READ: &[&str] = &["/system/resource/print"];
const CHANGE: &[&str] = &["/ip/dns/set"];

#[test]
fn a_read_is_sent_at_once_and_a_change_asks_first() {
    let (words, manner) = sent(attempt(READ).connected());
    assert_eq!((words.as_str(), manner), (READ[0], Manner::Question));
    let mut change = attempt(CHANGE);
    assert_eq!(change.connected(), Action::AskIntent { step: 0 });
    assert_eq!(sent(change.granted()), (CHANGE[0].to_owned(), Manner::Write));
    assert_eq!(outcome(change.completed()), (Outcome::Succeeded, None));
}

#[test]
fn what_a_lost_answer_means_depends_on_what_was_asked() {
    for (class, read) in [
        (ErrorClass::Reset, Outcome::Interrupted),
        (ErrorClass::Timeout, Outcome::Failed),
        (ErrorClass::Protocol, Outcome::Failed),
        (ErrorClass::Fatal, Outcome::Failed),
    ] {
        let lost = StepEnd::NoAnswer(error(class));
        assert_eq!(outcome(attempt(READ).ends(lost.clone())), (read, Some(class)));
        assert_eq!(
            outcome(attempt(CHANGE).ends(lost)),
            (Outcome::Unknown, Some(class))
        );
    }
}

#[test]
fn what_never_left_may_be_tried_again() {
    let unsent = StepEnd::NotSent(error(ErrorClass::Reset));
    assert_eq!(
        outcome(attempt(CHANGE).ends(unsent.clone())).0,
        Outcome::Unreached
    );
    let mut change = attempt(&["/a/set", "/b/print"]);
    change.completed();
    let ended = ended(change.ends(unsent));
    assert_eq!(
        (ended.outcome, ended.steps_done),
        (Outcome::Unreached, 1),
        "the change is not done twice"
    );
}

#[test]
fn a_trap_is_an_answer_where_it_proves_something() {
    let trap = |message: &str| StepEnd::Trapped(DeviceError::new(ErrorClass::Trap, message));
    let told = |commands: &[&str], message: &str| outcome(attempt(commands).ends(trap(message)));
    let refused = (Outcome::Failed, Some(ErrorClass::Trap));
    assert_eq!(told(CHANGE, "failure: invalid value"), refused);
    assert_eq!(told(READ, "no such command prefix"), refused);
    assert_eq!(
        told(READ, "could not authenticate - radius timeout").0,
        Outcome::Interrupted
    );
    assert_eq!(told(&["/system/script/run"], "failure").0, Outcome::Unknown);
    assert_eq!(told(&["/ip/dns/frobnicate"], "no such command"), refused);
}

#[test]
fn an_attempt_that_looks_does_nothing_else() {
    let verify = Verify::new(["/ip/dns/print"], "servers=1.1.1.1", false).expect("a read");
    let command = Command::parse(["/ip/dns/set", "servers=1.1.1.1"]).expect("valid");
    let command = command.with_verify(verify).expect("a change");
    for step in [Step::Command(command), dns()] {
        let plan = Arc::new(Plan::new(vec![step]));
        let look = || {
            let mut look = Attempt::new(plan.clone(), Mode::Resolve(0));
            assert!(!look.is_alone());
            let (words, manner) = sent(look.connected());
            assert!(words.starts_with("/ip/dns/print"), "{words}");
            assert_eq!(manner, Manner::Question);
            look
        };
        let found = |servers: &str| {
            let answer = answer(&[&[servers]]);
            outcome(look().answered(StepEnd::Completed, answer)).0
        };
        assert_eq!(found("=servers=1.1.1.1"), Outcome::FoundDone);
        assert_eq!(found("=servers=8.8.8.8"), Outcome::FoundNotDone);
        let lost = StepEnd::NoAnswer(error(ErrorClass::Timeout));
        assert_eq!(outcome(look().ends(lost)).0, Outcome::Interrupted);
        let trap = StepEnd::Trapped(error(ErrorClass::Trap));
        assert_eq!(
            outcome(look().ends(trap)).0,
            Outcome::Failed,
            "its answer will not decide"
        );
    }
}

#[test]
fn a_cancelled_change_is_a_question() {
    assert_eq!(
        outcome(attempt(READ).ends(StepEnd::Cancelled)).0,
        Outcome::Cancelled
    );
    assert_eq!(
        outcome(attempt(CHANGE).ends(StepEnd::Cancelled)).0,
        Outcome::Unknown
    );
}

#[test]
fn only_some_failures_to_connect_may_pass() {
    let refused = ConnectFailure {
        error: error(ErrorClass::Refused),
        may_pass: true,
    };
    assert_eq!(
        outcome(attempt(READ).connect_failed(refused)).0,
        Outcome::Unreached
    );
    let auth = ConnectFailure {
        error: error(ErrorClass::Auth),
        may_pass: false,
    };
    assert_eq!(
        outcome(attempt(READ).connect_failed(auth)),
        (Outcome::Failed, Some(ErrorClass::Auth))
    );
}

#[test]
fn answers_have_a_limit_together() {
    let big = Bytes::from(vec![0; ANSWERS / 2 + 1]);
    let mut reads = attempt(&["/a/print", "/b/print"]);
    reads.connected();
    assert!(matches!(
        reads.answered(StepEnd::Completed, big.clone()),
        Action::Exchange(_)
    ));
    assert_eq!(
        outcome(reads.answered(StepEnd::Completed, big.clone())),
        (Outcome::Failed, Some(ErrorClass::Protocol))
    );
    let mut change = attempt(&["/a/print", "/b/set"]);
    change.answered(StepEnd::Completed, big.clone());
    change.granted();
    assert_eq!(
        outcome(change.answered(StepEnd::Completed, big)).0,
        Outcome::Succeeded,
        "what it did counts"
    );
    assert_eq!(change.into_told().replies[1], Bytes::new());
}

fn dns() -> Step {
    let set = Values::new([("servers", "1.1.1.1")]).expect("valid");
    Step::Ensure(Ensure::singleton("/ip/dns", set).expect("valid"))
}

fn wish() -> Attempt {
    of(vec![dns()])
}

/// With this as the device's servers.
fn has(servers: &str) -> Bytes {
    answer(&[&[&format!("=servers={servers}")]])
}

/// A wish whose menu is different, with its intent granted.
fn writing() -> Attempt {
    let mut wish = wish();
    wish.connected();
    let asks = wish.answered(StepEnd::Completed, has("8.8.8.8"));
    assert_eq!(asks, Action::AskIntent { step: 0 });
    assert_eq!(
        sent(wish.granted()),
        ("/ip/dns/set =servers=1.1.1.1".to_owned(), Manner::Write)
    );
    wish
}

#[test]
fn what_is_as_wanted_is_not_written_and_asks_for_nothing() {
    let mut wish = wish();
    let (words, manner) = sent(wish.connected());
    assert_eq!(
        (words.as_str(), manner),
        ("/ip/dns/print =.proplist=servers", Manner::Question)
    );
    assert!(wish.is_alone());
    let end = ended(wish.answered(StepEnd::Completed, has("1.1.1.1")));
    assert_eq!((end.outcome, end.steps_done), (Outcome::Unchanged, 1));
    assert_eq!(told(&wish.into_told().replies[0]), ["!done"]);
    let mut both = of(vec![
        dns(),
        Step::Command(Command::parse(["/ip/dns/cache/flush"]).expect("valid")),
    ]);
    both.connected();
    assert_eq!(
        both.answered(StepEnd::Completed, has("1.1.1.1")),
        Action::AskIntent { step: 1 }
    );
    both.granted();
    assert_eq!(
        outcome(both.completed()).0,
        Outcome::Succeeded,
        "a step of it changed something"
    );
}

#[test]
fn what_is_different_is_written_and_read_back() {
    let mut wish = writing();
    assert!(!wish.is_in_the_middle(), "nothing of it is known to be done");
    assert_eq!(
        sent(wish.completed()),
        ("/ip/dns/print =.proplist=servers".to_owned(), Manner::Proof)
    );
    assert!(wish.is_in_the_middle());
    assert_eq!(
        outcome(wish.answered(StepEnd::Completed, has("1.1.1.1"))),
        (Outcome::Succeeded, None)
    );
    assert_eq!(
        told(&wish.into_told().replies[0]),
        [
            "!re =op=set =menu=/ip/dns =name=servers =from=8.8.8.8 =to=1.1.1.1",
            "!done"
        ]
    );
}

#[test]
fn what_is_read_back_decides() {
    let after = |servers: &str| {
        let mut wish = writing();
        wish.completed();
        outcome(wish.answered(StepEnd::Completed, has(servers)))
    };
    assert_eq!(after("8.8.8.8"), (Outcome::Failed, Some(ErrorClass::NotAsWanted)));
    assert_eq!(after("9.9.9.9"), (Outcome::Broken, Some(ErrorClass::NotAsWanted)));
    let mut gone = writing();
    gone.completed();
    let lost = StepEnd::NoAnswer(error(ErrorClass::Reset));
    assert_eq!(
        outcome(gone.ends(lost)).0,
        Outcome::Unknown,
        "written and not looked at"
    );
}

#[test]
fn every_end_of_a_wish_says_what_is_known() {
    let trap = StepEnd::Trapped(DeviceError::new(ErrorClass::Trap, "invalid value"));
    let lost = |class| StepEnd::NoAnswer(error(class));
    let unsent = StepEnd::NotSent(error(ErrorClass::Reset));
    let reading = |end| {
        let mut wish = wish();
        wish.connected();
        outcome(wish.ends(end)).0
    };
    assert_eq!(reading(trap.clone()), Outcome::Failed);
    assert_eq!(reading(lost(ErrorClass::Reset)), Outcome::Interrupted);
    assert_eq!(reading(lost(ErrorClass::Timeout)), Outcome::Failed);
    assert_eq!(reading(unsent.clone()), Outcome::Unreached);
    assert_eq!(reading(StepEnd::Cancelled), Outcome::Cancelled);
    let written = |end| outcome(writing().ends(end)).0;
    assert_eq!(written(trap), Outcome::Failed);
    assert_eq!(written(lost(ErrorClass::Timeout)), Outcome::Unknown);
    assert_eq!(written(unsent), Outcome::Unreached);
    assert_eq!(outcome(writing().revoked()).0, Outcome::Cancelled);
    let mut proving = writing();
    proving.completed();
    assert_eq!(
        outcome(proving.revoked()).0,
        Outcome::Unknown,
        "it is looked after"
    );
}

#[test]
fn a_menu_that_does_not_fit_is_rejected() {
    let mut wish = wish();
    wish.connected();
    assert_eq!(
        outcome(wish.completed()),
        (Outcome::Rejected, Some(ErrorClass::Plan))
    );
}

/// A preview of a wish and two commands on a device with these servers, to its end.
fn preview(servers: &str) -> (Outcome, Vec<Bytes>, Option<[u8; 32]>) {
    let command = |words: &str| Step::Command(Command::parse(words.split(' ')).expect("valid"));
    let steps = vec![
        command("/system/identity/print"),
        dns(),
        command("/ip/dns/cache/flush"),
    ];
    let mut preview = in_mode(steps, Mode::Preview);
    assert!(!preview.is_alone());
    let (words, manner) = sent(preview.connected());
    assert_eq!(
        (words.as_str(), manner),
        ("/ip/dns/print =.proplist=servers", Manner::Question)
    );
    let ended = ended(preview.answered(StepEnd::Completed, has(servers)));
    assert_eq!(ended.steps_done, 3);
    let Told {
        replies, fingerprint, ..
    } = preview.into_told();
    (ended.outcome, replies, fingerprint)
}

#[test]
fn a_preview_reads_menus_and_tells_what_would_be_done() {
    let (end, replies, fingerprint) = preview("8.8.8.8");
    assert_eq!(end, Outcome::Succeeded);
    let replies = replies.iter().map(|reply| told(reply)).collect::<Vec<_>>();
    assert_eq!(
        replies,
        [
            vec!["!done"],
            vec![
                "!re =op=set =menu=/ip/dns =name=servers =from=8.8.8.8 =to=1.1.1.1",
                "!re =op=way-back =level=L4",
                "!done"
            ],
            vec![
                "!re =op=run =effect=change =command=/ip/dns/cache/flush",
                "!re =op=way-back =level=L0",
                "!done"
            ],
        ]
    );
    assert!(fingerprint.is_some());
    let mut nothing = in_mode(vec![dns()], Mode::Preview);
    nothing.connected();
    let end = ended(nothing.answered(StepEnd::Completed, has("1.1.1.1")));
    assert_eq!(end.outcome, Outcome::Unchanged);
    let mut conflict = in_mode(vec![dns()], Mode::Preview);
    conflict.connected();
    assert_eq!(
        outcome(conflict.completed()),
        (Outcome::Rejected, Some(ErrorClass::Plan))
    );
    let mut cut = in_mode(vec![dns()], Mode::Preview);
    cut.connected();
    let lost = StepEnd::NoAnswer(error(ErrorClass::Reset));
    assert_eq!(outcome(cut.ends(lost)).0, Outcome::Interrupted);
}

#[test]
fn what_is_not_as_the_preview_found_it_is_not_written() {
    let (_, _, expected) = preview("8.8.8.8");
    let apply = |servers: &str, first_step| {
        let mode = Mode::Apply { first_step, expected };
        let mut apply = in_mode(vec![dns()], mode);
        let (words, _) = sent(apply.connected());
        assert_eq!(words, "/ip/dns/print =.proplist=servers");
        let next = apply.answered(StepEnd::Completed, has(servers));
        (apply, next)
    };
    let (mut same, next) = apply("8.8.8.8", 0);
    assert_eq!(next, Action::AskIntent { step: 0 }, "read once for both");
    assert_eq!(
        sent(same.granted()),
        ("/ip/dns/set =servers=1.1.1.1".to_owned(), Manner::Write)
    );
    let (_, next) = apply("9.9.9.9", 0);
    assert_eq!(outcome(next), (Outcome::Rejected, Some(ErrorClass::Drift)));
    let (_, next) = apply("1.1.1.1", 0);
    assert_eq!(
        outcome(next),
        (Outcome::Rejected, Some(ErrorClass::Drift)),
        "even where somebody else did it"
    );
}
