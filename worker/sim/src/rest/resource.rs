//! What a REST request asks for, as the sentence that the API would have been sent, and what its replies become.
//!
//! ```text
//! Request ─▶ Asked: words, and the shape of the answer ─▶ device ─▶ Replies ─▶ Response
//! ```

use routeros_wire::{Kind, Limits, decode_all, encode};

use super::http::{Request, Response, reason};
use super::json::{self, Json};
use crate::menu::{MENUS, Menu};

/// A command, and what is answered when it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) words: Vec<Vec<u8>>,
    pub(crate) shape: Shape,
}

/// What is answered when the command is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The rows as a list; of a menu with one item, that item.
    List { singleton: bool },
    /// The only row, or 404.
    One,
    /// The item that was made, after looking at it by these words and its id.
    Made { print: Vec<u8> },
    /// The item that was changed.
    Changed { print: Vec<u8>, id: Vec<u8> },
    /// 204.
    Gone,
    /// As over the API: rows as a list, else the data of `!done` as an object, else an empty list.
    Whatever,
}

/// What a command's replies were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replies {
    pub(crate) rows: Vec<Vec<(Vec<u8>, Vec<u8>)>>,
    pub(crate) done: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) traps: Vec<Vec<u8>>,
}

impl Replies {
    /// Reads reply sentences.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut replies = Self::default();
        let read = decode_all(bytes, Limits::default(), |sentence| {
            let fields = || {
                sentence
                    .attributes()
                    .map(|(name, value)| (name.to_vec(), value.to_vec()))
                    .collect::<Vec<_>>()
            };
            match sentence.kind() {
                Kind::Re => replies.rows.push(fields()),
                Kind::Done => replies.done = fields(),
                Kind::Trap => replies
                    .traps
                    .push(sentence.get(b"message").unwrap_or_default().to_vec()),
                Kind::Empty | Kind::Fatal | Kind::Unknown | Kind::NotAReply => {}
            }
        });
        debug_assert_eq!(read, Ok(()), "answers are well formed");
        replies
    }
}

/// An error as the vendor's page has it.
pub(crate) fn error(status: u16, detail: &[u8]) -> Response {
    let mut body = Vec::new();
    if detail.is_empty() {
        body.extend(format!("{{\"error\":{status},\"message\":\"{}\"}}", reason(status)).bytes());
    } else {
        body.extend(b"{\"detail\":");
        json::write_text(&mut body, detail);
        body.extend(format!(",\"error\":{status},\"message\":\"{}\"}}", reason(status)).bytes());
    }
    Response::json(status, body)
}

/// What a request asks for, or the error that answers it.
pub(crate) fn asked(request: &Request) -> Result<Asked, Response> {
    let path = request.path.get(1..).unwrap_or_default();
    match request.method.as_str() {
        "GET" => get(path, &request.query),
        "POST" => post(path, &body(request)?),
        "PUT" => {
            let fields = body(request)?;
            let (menu, None) = split(path)? else {
                return Err(error(400, b"missing or invalid resource identifier"));
            };
            Ok(Asked {
                words: words(menu, "add", &fields)?,
                shape: Shape::Made {
                    print: format!("{}/print", menu.path).into_bytes(),
                },
            })
        }
        "PATCH" => {
            let fields = body(request)?;
            let (menu, Some(id)) = split(path)? else {
                return Err(error(400, b"missing or invalid resource identifier"));
            };
            // null unsets, which the API does by another name.
            let (nulls, values): (Vec<_>, Vec<_>) =
                fields.into_iter().partition(|(_, value)| *value == Json::Null);
            let mut words = words(menu, "set", &values)?;
            words.push([b"=.id=", &id[..]].concat());
            words.extend(
                nulls
                    .into_iter()
                    .map(|(name, _)| [b"=!", &name[..], b"="].concat()),
            );
            Ok(Asked {
                words,
                shape: Shape::Changed {
                    print: format!("{}/print", menu.path).into_bytes(),
                    id,
                },
            })
        }
        "DELETE" => {
            let (menu, Some(id)) = split(path)? else {
                return Err(error(400, b"missing or invalid resource identifier"));
            };
            let path = format!("{}/remove", menu.path).into_bytes();
            Ok(Asked {
                words: vec![path, [b"=.id=", &id[..]].concat()],
                shape: Shape::Gone,
            })
        }
        _ => Err(error(405, b"")),
    }
}

/// A menu, and what stands behind it in the path.
fn split(path: &[Vec<u8>]) -> Result<(&'static Menu, Option<Vec<u8>>), Response> {
    let joined = |parts: &[Vec<u8>]| {
        parts
            .iter()
            .flat_map(|part| [b"/", &part[..]].concat())
            .collect::<Vec<u8>>()
    };
    let menu = |parts: &[Vec<u8>]| {
        let path = joined(parts);
        MENUS.iter().find(|menu| menu.path.as_bytes() == path)
    };
    if let Some(menu) = menu(path) {
        return Ok((menu, None));
    }
    match path.split_last() {
        Some((last, parents)) if menu(parents).is_some() => {
            Ok((menu(parents).unwrap_or(&MENUS[0]), Some(last.clone())))
        }
        _ => {
            let last = path.last().map_or(&b""[..], |last| last);
            Err(error(
                400,
                &[b"no such command or directory (", last, b")"].concat(),
            ))
        }
    }
}

fn get(path: &[Vec<u8>], query: &[(Vec<u8>, Vec<u8>)]) -> Result<Asked, Response> {
    let (menu, id) = split(path)?;
    let mut words = vec![format!("{}/print", menu.path).into_bytes()];
    for (name, value) in query {
        match &name[..] {
            b".proplist" | b"_proplist" => words.push([b"=.proplist=", &value[..]].concat()),
            name if name == b".id" || menu.field(name).is_some() => {
                words.push([b"?", name, b"=", &value[..]].concat());
            }
            name => return Err(error(400, &[b"unknown parameter ", name].concat())),
        }
    }
    let shape = match id {
        None => Shape::List {
            singleton: menu.is_singleton(),
        },
        Some(id) => {
            words.push([b"=.id=", &id[..]].concat());
            Shape::One
        }
    };
    Ok(Asked { words, shape })
}

fn post(path: &[Vec<u8>], fields: &[(Vec<u8>, Json)]) -> Result<Asked, Response> {
    let command = path
        .iter()
        .flat_map(|part| [b"/", &part[..]].concat())
        .collect::<Vec<u8>>();
    if MENUS.iter().any(|menu| menu.path.as_bytes() == command) || command.ends_with(b"/unset") {
        return Err(error(400, b"no such command"));
    }
    let mut words = vec![command];
    for (name, value) in fields {
        match (&name[..], value) {
            (b".query" | b"_query", Json::List(list)) => {
                for word in list {
                    let Json::Text(word) = word else {
                        return Err(error(400, b"invalid .query"));
                    };
                    words.push([b"?", &word[..]].concat());
                }
            }
            (b".proplist" | b"_proplist", Json::List(list)) => {
                let names = list.iter().map(|name| match name {
                    Json::Text(name) => Ok(name.clone()),
                    _ => Err(error(400, b"invalid .proplist")),
                });
                let names = names.collect::<Result<Vec<_>, _>>()?.join(&b',');
                words.push([b"=.proplist=", &names[..]].concat());
            }
            (b"_proplist", Json::Text(names)) => words.push([b"=.proplist=", &names[..]].concat()),
            (name, value) => words.push(attribute(name, value)?),
        }
    }
    Ok(Asked {
        words,
        shape: Shape::Whatever,
    })
}

fn attribute(name: &[u8], value: &Json) -> Result<Vec<u8>, Response> {
    let value = match value {
        Json::Text(text) => &text[..],
        Json::Null => b"",
        Json::List(_) | Json::Object(_) => return Err(error(400, &[b"invalid value of ", name].concat())),
    };
    Ok([b"=", name, b"=", value].concat())
}

fn words(menu: &Menu, verb: &str, fields: &[(Vec<u8>, Json)]) -> Result<Vec<Vec<u8>>, Response> {
    let mut words = vec![format!("{}/{verb}", menu.path).into_bytes()];
    for (name, value) in fields {
        words.push(attribute(name, value)?);
    }
    Ok(words)
}

/// The fields of the body, which is an object or nothing.
fn body(request: &Request) -> Result<Vec<(Vec<u8>, Json)>, Response> {
    if request.body.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let kind = request.content_type.as_deref().unwrap_or_default();
    if !kind.to_ascii_lowercase().starts_with("application/json") {
        return Err(error(415, b""));
    }
    match json::read(&request.body) {
        Some(Json::Object(fields)) => Ok(fields),
        _ => Err(error(400, b"invalid JSON")),
    }
}

/// The answer for replies that are no refusal.
pub(crate) fn answer(shape: &Shape, replies: &Replies) -> Response {
    let mut body = Vec::new();
    let object = |body: &mut Vec<u8>, fields: &[(Vec<u8>, Vec<u8>)]| {
        json::write_object(body, fields.iter().map(|(name, value)| (&name[..], &value[..])));
    };
    match (shape, &replies.rows[..]) {
        (Shape::Gone, _) => return Response::json(204, body),
        (Shape::One | Shape::Changed { .. } | Shape::Made { .. }, []) => return error(404, b""),
        (Shape::One | Shape::Changed { .. } | Shape::List { singleton: true }, [row, ..]) => {
            object(&mut body, row);
        }
        (Shape::Made { .. }, [row, ..]) => {
            object(&mut body, row);
            return Response::json(201, body);
        }
        (Shape::Whatever, []) if !replies.done.is_empty() => object(&mut body, &replies.done),
        (Shape::List { .. } | Shape::Whatever, rows) => {
            body.push(b'[');
            for (at, row) in rows.iter().enumerate() {
                if at > 0 {
                    body.push(b',');
                }
                object(&mut body, row);
            }
            body.push(b']');
        }
    }
    Response::json(200, body)
}

/// The answer for a refusal.
pub(crate) fn refusal(shape: &Shape, traps: &[Vec<u8>]) -> Response {
    let message = traps.first().map_or(&b""[..], |message| message);
    let about_an_item = matches!(shape, Shape::One | Shape::Changed { .. } | Shape::Gone);
    if *shape == Shape::Gone && message.starts_with(b"failure: can not remove builtin") {
        // As the vendor's page has it of interfaces.
        return error(406, b"no such command or directory (remove)");
    }
    match message.starts_with(b"no such item") && about_an_item {
        true => error(404, b""),
        false => error(400, message),
    }
}

/// A sentence of these words.
pub(crate) fn sentence(words: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in words {
        // Neither empty nor too long: they came in a body of a bounded length.
        let _ = encode::word(&mut bytes, word);
    }
    encode::end(&mut bytes);
    bytes
}
