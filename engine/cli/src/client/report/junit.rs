//! JUnit XML: each device is a test.

use super::super::result::class_name;
use super::summary::Summary;

pub(super) fn write(summary: &Summary) -> String {
    let count = |wanted: &[&str]| {
        let states = summary
            .states
            .iter()
            .filter(|(state, _)| wanted.contains(&state.as_str()));
        states.map(|(_, count)| count).sum::<u64>()
    };
    let skipped = count(&["skipped", "cancelled", "expired", "pending", "leased", "running"]);
    let errors = count(&["broken", "lost", "unknown"]);
    let failures = count(&["failed", "rejected", "reverted"]);
    let time = summary
        .devices
        .iter()
        .filter_map(|(.., seconds)| *seconds)
        .sum::<f64>();
    let name = escape(&summary.name);
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"{name}\" tests=\"{}\" failures=\"{failures}\" \
         errors=\"{errors}\" skipped=\"{skipped}\" time=\"{time:.3}\">\n",
        summary.devices.len()
    );
    let why = summary.bad.iter().map(|result| (result.device.as_str(), result));
    let why = why.collect::<std::collections::BTreeMap<_, _>>();
    for (device, state, seconds) in &summary.devices {
        let seconds = seconds.unwrap_or_default();
        xml.push_str(&format!(
            "  <testcase classname=\"{name}\" name=\"{}\" time=\"{seconds:.3}\"",
            escape(device)
        ));
        let error = why.get(device.as_str()).and_then(|result| result.error.as_ref());
        let message = error.map_or_else(|| state.clone(), |error| format!("{state}: {}", error.message));
        let class = error.map(class_name).unwrap_or_default();
        let element = match state.as_str() {
            "succeeded" | "unchanged" => {
                xml.push_str("/>\n");
                continue;
            }
            "broken" | "lost" | "unknown" => "error",
            "failed" | "rejected" | "reverted" => "failure",
            _ => "skipped",
        };
        let message = escape(&message);
        match element {
            "skipped" => xml.push_str(&format!("><skipped message=\"{message}\"/></testcase>\n")),
            element => xml.push_str(&format!(
                "><{element} type=\"{}\" message=\"{message}\"/></testcase>\n",
                escape(&class)
            )),
        }
    }
    xml.push_str("</testsuite>");
    xml
}

/// Text as it may stand in an attribute. What XML cannot say at all becomes a question mark.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\r' | '\t' => escaped.push_str(&format!("&#{};", u32::from(c))),
            c if c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}') => escaped.push('?'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::{Summary, result};
    use super::*;
    use muster_proto::v1;
    use v1::ExecutionState::{Expired, Failed, Succeeded, Unknown};

    #[test]
    fn each_device_is_a_test() {
        let mut summary = Summary::new(&v1::Job::default());
        summary.name = "a \"b\"".into();
        for (device, state) in [
            ("r1", Succeeded),
            ("r2", Failed),
            ("r3", Unknown),
            ("r4", Expired),
        ] {
            summary.add(&result(device, state, 0, 1500));
        }
        let xml = write(&summary);
        assert!(
            xml.contains(
                "<testsuite name=\"a &quot;b&quot;\" tests=\"4\" failures=\"1\" errors=\"1\" skipped=\"1\""
            ),
            "{xml}"
        );
        assert!(xml.contains("name=\"r1\" time=\"1.500\"/>"), "{xml}");
        assert!(
            xml.contains(
                "<failure type=\"trap\" message=\"failed: no &lt;such&gt; &amp; &quot;thing&quot;\"/>"
            ),
            "{xml}"
        );
        assert_eq!(escape("a\u{1b}b\n"), "a?b&#10;");
    }
}
