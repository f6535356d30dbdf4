//! What should be true of a menu: written only where it is different, and looked after when an answer is lost.

use std::time::Duration;

use muster_proto::v1;
use serde_json::Value;

use crate::harness::api::Api;
use crate::harness::{Engine, Executed, Fleet};

const WITHIN: Duration = Duration::from_secs(60);

struct Case {
    fleet: Fleet,
    engine: Engine,
    api: Api,
}

impl Case {
    fn new(network: u8, devices: usize, more: &[&str]) -> Self {
        let fleet = Fleet::start(network, devices, more);
        let engine = Engine::start(&[]);
        engine.import(&fleet, devices, "\n");
        let api = Api::new(&engine.url);
        Self { fleet, engine, api }
    }

    /// Wants these values of a menu, on all devices, and waits until that is over.
    fn ensure(&self, menu: &str, values: &[(&str, &str)], timeout: Duration) -> Vec<Value> {
        let values = values
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        let set = v1::Values {
            values: values.collect(),
        };
        let step = v1::Step {
            kind: Some(v1::step::Kind::Ensure(v1::Ensure {
                menu: menu.to_owned(),
                want: Some(v1::ensure::Want::Set(set)),
            })),
        };
        let spec = v1::JobSpec {
            plan: Some(v1::Plan { steps: vec![step] }),
            all: true,
            timeout: timeout.try_into().ok(),
            ..v1::JobSpec::default()
        };
        let job = self.api.make(spec, "").expect("a job");
        self.api.finished(&job, WITHIN).expect("it ends");
        self.engine.run(&["job", "results", &job, "--json"]).json()
    }

    fn words(&self) -> Vec<Vec<String>> {
        let journal = self.fleet.journal();
        journal.into_iter().map(|Executed { words, .. }| words).collect()
    }
}

const SHORT: Duration = Duration::from_secs(2);

#[test]
fn only_the_difference_is_written_and_a_second_run_writes_nothing() {
    let case = Case::new(170, 40, &[]);
    let wanted = [
        ("servers", "192.0.2.53"),
        ("cache-max-ttl", "7d"),
        ("verify-doh-cert", "no"),
    ];
    for result in case.ensure("/ip/dns", &wanted, SHORT) {
        assert_eq!(result["state"], "succeeded", "{result}");
        let row = &result["rows"][0];
        assert_eq!(
            (&row["op"], &row["menu"]),
            (&"set".into(), &"/ip/dns".into()),
            "{result}"
        );
        assert_eq!(
            (&row["name"], &row["to"]),
            (&"servers".into(), &"192.0.2.53".into())
        );
        assert_eq!(
            result["rows"].as_array().map(Vec::len),
            Some(1),
            "a week is seven days: {result}"
        );
    }
    let written = case.words();
    assert_eq!(written.len(), 40);
    assert!(
        written
            .iter()
            .all(|words| words[..] == ["/ip/dns/set", "=servers=192.0.2.53"]),
        "{written:?}"
    );
    for result in case.ensure("/ip/dns", &wanted, SHORT) {
        assert_eq!(
            (&result["state"], &result["rows"]),
            (&"unchanged".into(), &Value::Array(vec![]))
        );
    }
    assert_eq!(case.words().len(), 40, "the second time nothing is written");
}

#[test]
fn a_lost_answer_is_looked_after_and_never_written_twice() {
    let case = Case::new(171, 1, &["--fault", "lost-write-answer=1"]);
    let results = case.ensure("/ip/dns", &[("servers", "192.0.2.53")], SHORT);
    assert_eq!(results[0]["state"], "succeeded", "{results:?}");
    assert_eq!(
        results[0]["rows"][0]["to"], "192.0.2.53",
        "what it changed is told: {results:?}"
    );
    assert_eq!(case.words().len(), 1);
}

#[test]
fn what_is_lost_on_its_way_was_not_done() {
    let case = Case::new(172, 1, &["--fault", "lost-write=1"]);
    let results = case.ensure("/ip/dns", &[("servers", "192.0.2.53")], SHORT);
    assert_eq!(
        (&results[0]["state"], &results[0]["error"]["class"]),
        (&"failed".into(), &"not_done".into()),
        "{results:?}"
    );
    assert!(case.words().is_empty(), "and it is not sent again");
}

#[test]
fn a_refusal_and_a_menu_that_does_not_fit_leave_the_device_alone() {
    let case = Case::new(173, 1, &[]);
    let refused = case.ensure("/ip/dns", &[("cache-size", "1")], SHORT);
    assert_eq!(
        (&refused[0]["state"], &refused[0]["error"]["class"]),
        (&"failed".into(), &"trap".into()),
        "{refused:?}"
    );
    assert_eq!(
        refused[0]["rows"][0]["to"], "1",
        "what it wanted is told with the refusal"
    );
    let rejected = case.ensure("/ip/service", &[("disabled", "yes")], SHORT);
    assert_eq!(
        (&rejected[0]["state"], &rejected[0]["error"]["class"]),
        (&"rejected".into(), &"plan".into()),
        "{rejected:?}"
    );
    let done = case
        .fleet
        .journal()
        .into_iter()
        .filter(|executed| executed.result == "done");
    assert_eq!(done.count(), 0);
}
