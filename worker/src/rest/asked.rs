//! From a command's words to an HTTP request, as the vendor's page has it.
//!
//! | words | request |
//! |---|---|
//! | `/ip/address/print` | `GET /rest/ip/address` |
//! | … `.proplist=address,disabled` | … `?.proplist=address,disabled` |
//! | … `.id=*1` | `GET /rest/ip/address/*1` |
//! | … `?interface=ether1 ?disabled=no` | … `?interface=ether1&disabled=no` |
//! | print with anything else | `POST /rest/ip/address/print` with `.query` and `.proplist` |
//! | `/ip/address/add` | `PUT /rest/ip/address` |
//! | `/ip/address/set .id=*1` | `PATCH /rest/ip/address/*1` |
//! | `/ip/address/unset .id=*1 value-name=comment` | `PATCH /rest/ip/address/*1` with `null` |
//! | `/ip/address/remove .id=*1` | `DELETE /rest/ip/address/*1` |
//! | whatever else | `POST /rest/…` |

use std::time::Duration;

use hyper::Method;
use muster_model::{DeviceError, ErrorClass};
use routeros_wire::value::duration;

use super::json::write_text;

/// A request, and what its answer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    /// Path and query, from `/rest` on.
    pub(crate) target: String,
    /// JSON; none without.
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) answer: Shape,
    /// The same question as a POST, for a device that does not take it as a filter.
    pub(crate) otherwise: Option<Box<Asked>>,
}

/// What a good answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A list of rows, or one row.
    Rows,
    /// The item that was made, or its id.
    Made,
    /// Nothing that a command's answer over the API would have.
    Nothing,
    /// A list of rows, or what the `!done` had.
    Whatever,
}

/// A router ends every REST command after this.
pub(crate) const ENDS_AFTER: Duration = Duration::from_secs(60);

/// Commands that tell rows until they are told to stop.
const ENDLESS: [&str; 15] = [
    "bandwidth-test",
    "flood-ping",
    "frequency-monitor",
    "monitor",
    "monitor-traffic",
    "ping",
    "ping-speed",
    "profile",
    "quick",
    "scan",
    "sniff",
    "snooper",
    "spectral-scan",
    "torch",
    "traceroute",
];

/// What bounds them.
const BOUNDS: [&[u8]; 3] = [b"count", b"duration", b"once"];

/// A command, taken apart.
struct Parts<'a> {
    /// The path without its verb, each part percent-encoded.
    menu: String,
    verb: &'a str,
    attributes: Vec<(&'a [u8], &'a [u8])>,
    /// Query words without their `?`.
    queries: Vec<&'a [u8]>,
}

impl Asked {
    /// The request for a command. Refused is what REST cannot do or would not end.
    pub(crate) fn of(words: &[Vec<u8>]) -> Result<Self, DeviceError> {
        let parts = Parts::of(words)?;
        parts.check_end()?;
        Ok(match parts.verb {
            "print" | "getall" => parts.print(),
            "add" => parts.with_body(Method::PUT, &parts.menu, &[], Shape::Made),
            "set" => match parts.one_item() {
                Some(item) if !parts.attributes.iter().any(|(name, _)| name.starts_with(b"!")) => {
                    let target = format!("{}/{item}", parts.menu);
                    parts.with_body(Method::PATCH, &target, &[b".id", b"numbers"], Shape::Nothing)
                }
                _ => parts.post(Shape::Nothing),
            },
            "unset" => match (parts.one_item(), parts.get(b"value-name")) {
                (Some(item), Some(name)) => {
                    let mut body = vec![b'{'];
                    write_text(&mut body, name);
                    body.extend(b":null}");
                    Self::new(
                        Method::PATCH,
                        &format!("{}/{item}", parts.menu),
                        Some(body),
                        Shape::Nothing,
                    )
                }
                _ => parts.post(Shape::Nothing),
            },
            "remove" => match parts.one_item() {
                Some(item) if parts.attributes.len() == 1 => Self::new(
                    Method::DELETE,
                    &format!("{}/{item}", parts.menu),
                    None,
                    Shape::Nothing,
                ),
                _ => parts.post(Shape::Nothing),
            },
            _ => parts.post(Shape::Whatever),
        })
    }

    /// Whether it only asks, so that asking twice is asking once.
    pub(crate) fn is_question(&self) -> bool {
        self.method == Method::GET || self.answer == Shape::Rows
    }

    fn new(method: Method, path: &str, body: Option<Vec<u8>>, answer: Shape) -> Self {
        Self {
            method,
            target: format!("/rest{path}"),
            body,
            answer,
            otherwise: None,
        }
    }
}

impl<'a> Parts<'a> {
    fn of(words: &'a [Vec<u8>]) -> Result<Self, DeviceError> {
        let refused = |text: String| DeviceError::new(ErrorClass::Protocol, text);
        let path = words
            .first()
            .and_then(|word| std::str::from_utf8(word).ok())
            .unwrap_or_default();
        let path = path.trim_matches('/');
        if path.is_empty() {
            return Err(refused(
                "a command without a path cannot be sent over REST".into(),
            ));
        }
        let (menu, verb) = path
            .rsplit_once('/')
            .map_or(("", path), |(menu, verb)| (menu, verb));
        let encoded = menu.split('/').filter(|part| !part.is_empty());
        let menu = encoded
            .map(|part| format!("/{}", percent(part.as_bytes())))
            .collect();
        let mut parts = Self {
            menu,
            verb,
            attributes: Vec::new(),
            queries: Vec::new(),
        };
        for word in &words[1..] {
            match word.first() {
                Some(b'?') => parts.queries.push(&word[1..]),
                Some(b'=') => parts.attributes.push(split(&word[1..])),
                Some(b'.') if word.starts_with(b".proplist=") => parts.attributes.push(split(word)),
                _ => {
                    return Err(refused(format!(
                        "the word {:?} cannot be sent over REST",
                        word.escape_ascii().to_string()
                    )));
                }
            }
        }
        Ok(parts)
    }

    fn get(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.attributes
            .iter()
            .rev()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| *value)
    }

    /// What tells rows for ever is refused, with what would be right: a router ends it after a minute, and all that it
    /// told is lost.
    fn check_end(&self) -> Result<(), DeviceError> {
        let refused = |why: String| {
            let text = format!(
                "REST cannot do it: {why}, and a router ends every REST command after {} s; use transport api or api-ssl",
                ENDS_AFTER.as_secs()
            );
            Err(DeviceError::new(ErrorClass::Protocol, text))
        };
        let is_print = matches!(self.verb, "print" | "getall");
        let bounded = BOUNDS.iter().any(|name| self.get(name).is_some());
        if self.verb == "listen" {
            return refused("listen does not end by itself".into());
        }
        for name in ["follow", "follow-only", "interval"] {
            if is_print && self.get(name.as_bytes()).is_some() {
                return refused(format!("a print with {name} does not end by itself"));
            }
        }
        if ENDLESS.contains(&self.verb) && !bounded {
            return refused(format!(
                "{} does not end by itself without once, count or duration",
                self.verb
            ));
        }
        if let Some(lasts) = self.get(b"duration").and_then(duration::parse)
            && lasts >= ENDS_AFTER
        {
            return refused(format!("it lasts {}", duration::display(lasts)));
        }
        Ok(())
    }

    /// The one item that a command is about, for the path.
    fn one_item(&self) -> Option<String> {
        let (id, numbers) = (self.get(b".id"), self.get(b"numbers"));
        let item = match (id, numbers) {
            (Some(item), None) | (None, Some(item)) => item,
            _ => return None,
        };
        (!item.is_empty() && !item.contains(&b',')).then(|| percent(item))
    }

    fn print(&self) -> Asked {
        let among = |known: &[&[u8]]| self.attributes.iter().all(|(name, _)| known.contains(name));
        let proplist = self
            .get(b".proplist")
            .map(|list| format!(".proplist={}", percent(list)));
        let get = |path: String, filters: Vec<String>| {
            let query = filters
                .into_iter()
                .chain(proplist.clone())
                .collect::<Vec<_>>()
                .join("&");
            let mark = if query.is_empty() { "" } else { "?" };
            Asked::new(Method::GET, &format!("{path}{mark}{query}"), None, Shape::Rows)
        };
        if self.queries.is_empty() && among(&[b".proplist"]) {
            return get(self.menu.clone(), Vec::new());
        }
        if self.queries.is_empty()
            && among(&[b".proplist", b".id"])
            && let Some(item) = self.one_item()
        {
            return get(format!("{}/{item}", self.menu), Vec::new());
        }
        let post = self.post_print();
        match self.filters().filter(|_| among(&[b".proplist"])) {
            Some(filters) => Asked {
                otherwise: Some(Box::new(post)),
                ..get(self.menu.clone(), filters)
            },
            None => post,
        }
    }

    /// Queries that a GET can say: each a name and the value that it has to have, no name twice.
    fn filters(&self) -> Option<Vec<String>> {
        let mut names = Vec::new();
        let mut filters = Vec::new();
        for query in &self.queries {
            let (name, value) = query.split_at(query.iter().position(|byte| *byte == b'=')?);
            let plain = name.first().is_some_and(u8::is_ascii_alphanumeric);
            if !plain || value.len() < 2 || names.contains(&name) {
                return None;
            }
            names.push(name);
            filters.push(format!("{}={}", percent(name), percent(&value[1..])));
        }
        Some(filters)
    }

    fn post_print(&self) -> Asked {
        let mut body = vec![b'{'];
        let list = |body: &mut Vec<u8>, name: &[u8], values: &[&[u8]]| {
            key(body, name);
            for (at, value) in values.iter().enumerate() {
                body.push(if at == 0 { b'[' } else { b',' });
                write_text(body, value);
            }
            body.push(b']');
        };
        if let Some(names) = self.get(b".proplist") {
            let names = names.split(|byte| *byte == b',').collect::<Vec<_>>();
            list(&mut body, b".proplist", &names);
        }
        if !self.queries.is_empty() {
            list(&mut body, b".query", &self.queries);
        }
        for (name, value) in self.attributes.iter().filter(|(name, _)| *name != b".proplist") {
            key(&mut body, name);
            write_text(&mut body, value);
        }
        body.push(b'}');
        let answer = match self.get(b"count-only") {
            Some(_) => Shape::Whatever,
            None => Shape::Rows,
        };
        Asked::new(Method::POST, &format!("{}/print", self.menu), Some(body), answer)
    }

    fn post(&self, answer: Shape) -> Asked {
        let target = format!("{}/{}", self.menu, percent(self.verb.as_bytes()));
        self.with_body(Method::POST, &target, &[], answer)
    }

    /// A request whose body has the attributes, but for some.
    fn with_body(&self, method: Method, path: &str, without: &[&[u8]], answer: Shape) -> Asked {
        let mut body = vec![b'{'];
        for (name, value) in self.attributes.iter().filter(|(name, _)| !without.contains(name)) {
            key(&mut body, name);
            write_text(&mut body, value);
        }
        body.push(b'}');
        Asked::new(method, path, Some(body), answer)
    }
}

/// Begins a field of an object.
fn key(body: &mut Vec<u8>, name: &[u8]) {
    if body.last() != Some(&b'{') {
        body.push(b',');
    }
    write_text(body, name);
    body.push(b':');
}

/// `name=value`; a name alone has an empty value.
fn split(word: &[u8]) -> (&[u8], &[u8]) {
    match word.iter().position(|byte| *byte == b'=') {
        Some(at) => (&word[..at], &word[at + 1..]),
        None => (word, &[]),
    }
}

/// As it stands in a path or a query. An id keeps its `*`, as the vendor writes it.
fn percent(text: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for &byte in text {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'*' | b',' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &[&str]) -> Result<Asked, DeviceError> {
        let words = words
            .iter()
            .map(|word| word.as_bytes().to_vec())
            .collect::<Vec<_>>();
        Asked::of(&words)
    }

    /// Method, target and body in one line.
    fn line(words: &[&str]) -> String {
        let asked = asked(words).expect("can be asked");
        let body = asked
            .body
            .map(|body| format!(" {}", String::from_utf8_lossy(&body)));
        format!("{} {}{}", asked.method, asked.target, body.unwrap_or_default())
    }

    #[test]
    fn commands_become_the_requests_of_the_vendors_page() {
        for (words, expected) in [
            (&["/ip/address/print"][..], "GET /rest/ip/address"),
            (
                &["/ip/address/print", "=.proplist=address,disabled"],
                "GET /rest/ip/address?.proplist=address,disabled",
            ),
            (&["/ip/address/print", "=.id=*1"], "GET /rest/ip/address/*1"),
            (
                &["/interface/print", "=.id=ether1", ".proplist=mtu"],
                "GET /rest/interface/ether1?.proplist=mtu",
            ),
            (
                &["/ip/address/print", "?network=10.155.101.0", "?dynamic=true"],
                "GET /rest/ip/address?network=10.155.101.0&dynamic=true",
            ),
            (
                &["/ip/address/print", "?comment=a b&c"],
                "GET /rest/ip/address?comment=a%20b%26c",
            ),
            (
                &[
                    "/ip/address/print",
                    "=.proplist=.id,address",
                    "?network=10.0.0.0",
                    "?dynamic=true",
                    "?#|",
                ],
                r##"POST /rest/ip/address/print {".proplist":[".id","address"],".query":["network=10.0.0.0","dynamic=true","#|"]}"##,
            ),
            (
                &["/ip/address/print", "=count-only="],
                r#"POST /rest/ip/address/print {"count-only":""}"#,
            ),
            (
                &["/ip/address/add", "=address=1.1.1.1/24", "=interface=dummy"],
                r#"PUT /rest/ip/address {"address":"1.1.1.1/24","interface":"dummy"}"#,
            ),
            (
                &["/ip/address/set", "=.id=*3", "=comment=te\"st\n"],
                r#"PATCH /rest/ip/address/*3 {"comment":"te\"st\n"}"#,
            ),
            (
                &["/ip/address/set", "=.id=*3,*4", "=comment="],
                r#"POST /rest/ip/address/set {".id":"*3,*4","comment":""}"#,
            ),
            (
                &["/system/identity/set", "=name=x"],
                r#"POST /rest/system/identity/set {"name":"x"}"#,
            ),
            (
                &["/ip/address/unset", "=.id=*3", "=value-name=comment"],
                r#"PATCH /rest/ip/address/*3 {"comment":null}"#,
            ),
            (&["/ip/address/remove", "=.id=*9"], "DELETE /rest/ip/address/*9"),
            (
                &["/ip/address/remove", "=numbers=*8,*9"],
                r#"POST /rest/ip/address/remove {"numbers":"*8,*9"}"#,
            ),
            (
                &["/interface/disable", "=.id=ether1"],
                r#"POST /rest/interface/disable {".id":"ether1"}"#,
            ),
            (&["/system/reboot"], "POST /rest/system/reboot {}"),
            (
                &["/ping", "=address=10.0.0.1", "=count=4"],
                r#"POST /rest/ping {"address":"10.0.0.1","count":"4"}"#,
            ),
        ] {
            assert_eq!(line(words), expected);
        }
        let filter = asked(&["/interface/print", "?type=ether"]).expect("can be asked");
        let otherwise = filter.otherwise.expect("a POST as well");
        assert_eq!(
            otherwise.body.as_deref(),
            Some(&br#"{".query":["type=ether"]}"#[..])
        );
    }

    #[test]
    fn what_would_not_end_is_refused_with_the_reason() {
        for (words, told) in [
            (&["/interface/listen"][..], "listen does not end"),
            (&["/log/print", "=follow="], "a print with follow"),
            (&["/interface/print", "=interval=1s"], "a print with interval"),
            (
                &["/interface/monitor-traffic", "=interface=ether1"],
                "without once, count or duration",
            ),
            (&["/ping", "=address=10.0.0.1"], "ping does not end"),
            (
                &["/tool/bandwidth-test", "=address=10.0.0.1", "=duration=2m"],
                "it lasts 2m",
            ),
        ] {
            let error = asked(words).expect_err("refused");
            assert!(
                error.message.contains(told) && error.message.contains("60 s"),
                "{}",
                error.message
            );
        }
        assert!(asked(&["/interface/monitor-traffic", "=interface=ether1", "=once="]).is_ok());
        assert!(asked(&["/tool/torch", "=interface=ether1", "=duration=5s"]).is_ok());
        assert!(asked(&[""]).is_err());
    }
}
