//! From an HTTP answer to how the command ended, and to the sentences the API would have answered with.

use hyper::StatusCode;
use muster_model::{DeviceError, ErrorClass};
use muster_worker_core::StepEnd;
use routeros_wire::encode;

use super::asked::{ENDS_AFTER, Shape};
use super::json::Json;

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) end: StepEnd,
    /// Reply sentences in wire format.
    pub(crate) sentences: Vec<u8>,
    /// Whether the router is done with it, whatever came of it.
    pub(crate) is_over: bool,
}

/// Bytes of a body that is no JSON which are shown to people.
const SHOWN: usize = 60;

/// Reads an answer. `kind` is its `Content-Type`, `location` where it leads to.
pub(crate) fn read(status: StatusCode, kind: &str, location: &str, body: &[u8], shape: Shape) -> Answer {
    if status.is_success() {
        return match good(status, body, shape) {
            Ok(sentences) => Answer {
                end: StepEnd::Completed,
                sentences,
                is_over: true,
            },
            Err(what) => unread(status, kind, body, &what),
        };
    }
    if status.is_redirection() {
        let text = format!(
            "not RouterOS's REST: HTTP {} leads to {location:?}; is it another port or transport https?",
            status.as_u16()
        );
        return no_answer(ErrorClass::Protocol, text);
    }
    let Ok(error) = Json::parse(body) else {
        return match status {
            StatusCode::UNAUTHORIZED => refused_login("HTTP 401 Unauthorized".into()),
            _ => unread(status, kind, body, "no JSON"),
        };
    };
    let text = |name: &[u8]| error.get(name).map(Json::bytes).filter(|text| !text.is_empty());
    let Some(message) = text(b"detail").or_else(|| text(b"message")) else {
        return unread(status, kind, body, "no RouterOS error");
    };
    let readable = String::from_utf8_lossy(&message).into_owned();
    match status {
        StatusCode::UNAUTHORIZED => refused_login(readable),
        StatusCode::BAD_REQUEST if readable.eq_ignore_ascii_case("session closed") => {
            let text = format!(
                "the router ended the command ({readable}), as it ends every REST command after {} s",
                ENDS_AFTER.as_secs()
            );
            no_answer(ErrorClass::Timeout, text)
        }
        _ => trap(status, &message, readable),
    }
}

fn no_answer(class: ErrorClass, text: String) -> Answer {
    Answer {
        end: StepEnd::NoAnswer(DeviceError::new(class, text)),
        sentences: Vec::new(),
        is_over: true,
    }
}

/// The command was not looked at.
fn refused_login(text: String) -> Answer {
    Answer {
        end: StepEnd::Refused(DeviceError::new(ErrorClass::Auth, text)),
        sentences: Vec::new(),
        is_over: true,
    }
}

/// The router's refusal, as the API tells it.
fn trap(status: StatusCode, message: &[u8], readable: String) -> Answer {
    // Missing items and missing commands; of the others REST tells no category.
    let category = match status {
        StatusCode::NOT_FOUND | StatusCode::NOT_ACCEPTABLE => Some(0),
        _ => None,
    };
    let mut sentences = Vec::new();
    sentence(&mut sentences, "!trap", |out| {
        if let Some(category) = category {
            attribute(out, b"category", format!("{category}").as_bytes());
        }
        attribute(out, b"message", message);
    });
    sentence(&mut sentences, "!done", |_| ());
    Answer {
        end: StepEnd::Trapped(DeviceError {
            class: ErrorClass::Trap,
            message: readable,
            category,
        }),
        sentences,
        is_over: true,
    }
}

/// What no router's REST says.
fn unread(status: StatusCode, kind: &str, body: &[u8], what: &str) -> Answer {
    let begins = String::from_utf8_lossy(&body[..body.len().min(SHOWN)]).into_owned();
    let text = match body {
        [] => format!("not RouterOS's REST: HTTP {} with an empty body", status.as_u16()),
        _ => format!(
            "not RouterOS's REST: HTTP {} with {kind:?} that begins {begins:?}: {what}",
            status.as_u16()
        ),
    };
    no_answer(ErrorClass::Protocol, text)
}

/// The sentences of a good answer, or why it is none.
fn good(status: StatusCode, body: &[u8], shape: Shape) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    if body.trim_ascii().is_empty() {
        // A router that has nothing to say says an empty list, but for a removal.
        return match (status, shape) {
            (StatusCode::NO_CONTENT, Shape::Nothing | Shape::Whatever) => {
                sentence(&mut out, "!done", |_| ());
                Ok(out)
            }
            _ => Err("an empty body".into()),
        };
    }
    match (Json::parse(body).map_err(|error| error.to_string())?, shape) {
        (_, Shape::Nothing) => sentence(&mut out, "!done", |_| ()),
        (Json::Object(item), Shape::Made) => {
            let id = item.iter().find(|(name, _)| name == b"ret" || name == b".id");
            let id = id.ok_or("an item without an id")?.1.bytes();
            sentence(&mut out, "!done", |out| attribute(out, b"ret", &id));
        }
        (Json::List(rows), _) => {
            for row in rows {
                let Json::Object(row) = row else {
                    return Err("a row that is no object".into());
                };
                sentence(&mut out, "!re", |out| attributes(out, &row));
            }
            sentence(&mut out, "!done", |_| ());
        }
        (Json::Object(row), Shape::Rows) => {
            sentence(&mut out, "!re", |out| attributes(out, &row));
            sentence(&mut out, "!done", |_| ());
        }
        (Json::Object(data), _) => sentence(&mut out, "!done", |out| attributes(out, &data)),
        _ => return Err("neither a list nor an object".into()),
    }
    Ok(out)
}

fn attributes(out: &mut Vec<u8>, fields: &[(Vec<u8>, Json)]) {
    fields
        .iter()
        .for_each(|(name, value)| attribute(out, name, &value.bytes()));
}

fn sentence(out: &mut Vec<u8>, word: &str, attributes: impl FnOnce(&mut Vec<u8>)) {
    // Neither empty nor over 4 GiB: the body is bounded.
    let _ = encode::word(out, word.as_bytes());
    attributes(out);
    encode::end(out);
}

fn attribute(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let _ = encode::attribute(out, name, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, body: &str, shape: Shape) -> (StepEnd, String) {
        let status = StatusCode::from_u16(status).expect("a status");
        let answer = read(status, "application/json", "", body.as_bytes(), shape);
        let mut words = Vec::new();
        routeros_wire::decode_all(&answer.sentences, routeros_wire::Limits::default(), |sentence| {
            let sentence = sentence
                .words()
                .map(|word| String::from_utf8_lossy(word).into_owned());
            words.push(sentence.collect::<Vec<_>>().join(" "));
        })
        .expect("our own sentences");
        (answer.end, words.join(" | "))
    }

    #[test]
    fn rows_data_and_nothing_are_the_apis_sentences() {
        for (status, body, shape, sentences) in [
            (
                200,
                r#"[{".id":"*1","name":"a=b"},{}]"#,
                Shape::Rows,
                "!re =.id=*1 =name=a=b | !re | !done",
            ),
            (200, r#"{"name":"r1"}"#, Shape::Rows, "!re =name=r1 | !done"),
            (200, "[]", Shape::Rows, "!done"),
            (
                201,
                r#"{".id":"*A","address":"1.1.1.1"}"#,
                Shape::Made,
                "!done =ret=*A",
            ),
            (200, r#"{"ret":"*A"}"#, Shape::Made, "!done =ret=*A"),
            (200, r#"{".id":"*A","comment":"x"}"#, Shape::Nothing, "!done"),
            (204, "", Shape::Nothing, "!done"),
            (200, r#"{"ret":"12"}"#, Shape::Whatever, "!done =ret=12"),
            (200, "[]", Shape::Whatever, "!done"),
        ] {
            assert_eq!(
                told(status, body, shape),
                (StepEnd::Completed, sentences.to_owned()),
                "{body}"
            );
        }
    }

    #[test]
    fn refusals_are_traps_in_the_routers_words() {
        let (end, sentences) = told(
            406,
            r#"{"error":406,"message":"Not Acceptable","detail":"no such command or directory (remove)"}"#,
            Shape::Nothing,
        );
        assert!(matches!(end, StepEnd::Trapped(error) if error.category == Some(0)));
        assert_eq!(
            sentences,
            "!trap =category=0 =message=no such command or directory (remove) | !done"
        );
        let (end, _) = told(404, r#"{"error":404,"message":"Not Found"}"#, Shape::Nothing);
        assert!(matches!(end, StepEnd::Trapped(error) if error.message == "Not Found"));
        let (end, _) = told(
            400,
            r#"{"error":400,"message":"Bad Request","detail":"Session closed"}"#,
            Shape::Rows,
        );
        assert!(matches!(end, StepEnd::NoAnswer(error) if error.class == ErrorClass::Timeout));
        let (end, _) = told(401, r#"{"error":401,"message":"Unauthorized"}"#, Shape::Rows);
        assert!(matches!(end, StepEnd::Refused(error) if error.class == ErrorClass::Auth));
    }

    #[test]
    fn what_is_no_rest_is_said_to_be_none() {
        for (status, body) in [
            (200, "<!DOCTYPE html><html>"),
            (200, r#"[{"name":"cut"#),
            (200, ""),
            (204, ""),
            (200, "[1]"),
            (200, "12"),
            (502, "<html>Bad Gateway</html>"),
            (500, "{}"),
            (302, ""),
        ] {
            let (end, sentences) = told(status, body, Shape::Rows);
            let StepEnd::NoAnswer(error) = end else {
                panic!("{status} {body}: {end:?}")
            };
            assert_eq!(error.class, ErrorClass::Protocol);
            assert!(error.message.contains("not RouterOS's REST"), "{}", error.message);
            assert_eq!(sentences, "");
        }
    }
}
