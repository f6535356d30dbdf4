//! As much HTTP/1.1 as a router speaks: one request after the other, bodies with a length.

/// What a client may send before a device gives up on it.
const HEAD_BYTES: usize = 16 << 10;
const BODY_BYTES: usize = 1 << 20;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Parts of the path, decoded.
    pub(crate) path: Vec<Vec<u8>>,
    /// Names and values of the query, decoded.
    pub(crate) query: Vec<(Vec<u8>, Vec<u8>)>,
    /// `user:password`.
    pub(crate) authorization: Option<Vec<u8>>,
    pub(crate) content_type: Option<String>,
    pub(crate) body: Vec<u8>,
    pub(crate) keeps_alive: bool,
}

/// What of a request has arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// All of it, and how many bytes it has.
    Request(Request, usize),
    /// Not all. Whether the client waits to be told to go on.
    Partial {
        /// With `100 Continue`.
        expects: bool,
    },
    /// Nothing that HTTP is made of; the status says what is wrong.
    Bad(u16),
}

/// Looks for a request at the beginning of `bytes`.
pub(crate) fn read(bytes: &[u8]) -> Read {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return match bytes.len() > HEAD_BYTES || bytes.first().is_some_and(|byte| !byte.is_ascii_uppercase())
        {
            true => Read::Bad(400),
            false => Read::Partial { expects: false },
        };
    };
    let Ok(head) = std::str::from_utf8(&bytes[..end]) else {
        return Read::Bad(400);
    };
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version)) = (first.next(), first.next(), first.next()) else {
        return Read::Bad(400);
    };
    if !version.starts_with("HTTP/1.") {
        return Read::Bad(400);
    }
    let headers = lines.filter_map(|line| line.split_once(':')).collect::<Vec<_>>();
    let header = |name: &str| {
        let found = headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    };
    if header("transfer-encoding").is_some() {
        return Read::Bad(411);
    }
    let length = match header("content-length").map_or(Ok(0), str::parse::<usize>) {
        Ok(length) if length <= BODY_BYTES => length,
        Ok(_) => return Read::Bad(413),
        Err(_) => return Read::Bad(400),
    };
    let total = end + 4 + length;
    if bytes.len() < total {
        let expects = header("expect").is_some_and(|what| what.eq_ignore_ascii_case("100-continue"));
        return Read::Partial { expects };
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    };
    let request = Request {
        method: method.to_owned(),
        path: path
            .split('/')
            .filter(|part| !part.is_empty())
            .map(decode)
            .collect(),
        query: query
            .split('&')
            .filter(|part| !part.is_empty())
            .map(pair)
            .collect(),
        authorization: header("authorization").and_then(basic),
        content_type: header("content-type").map(str::to_owned),
        body: bytes[end + 4..total].to_vec(),
        keeps_alive: version == "HTTP/1.1"
            && !header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")),
    };
    Read::Request(request, total)
}

/// Undoes percent-encoding; what is none stays.
fn decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    decoded
}

/// What `Basic` stands for.
fn basic(value: &str) -> Option<Vec<u8>> {
    let (scheme, text) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let mut decoded = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.trim().bytes().take_while(|byte| *byte != b'=') {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            decoded.push((bits >> count) as u8);
        }
    }
    Some(decoded)
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn json(status: u16, body: Vec<u8>) -> Self {
        Self {
            status,
            content_type: "application/json",
            body,
        }
    }

    /// As it goes to the socket.
    pub(crate) fn bytes(&self, keeps_alive: bool) -> Vec<u8> {
        let Self {
            status,
            content_type,
            body,
        } = self;
        let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(*status));
        if *status == 401 {
            head.push_str("WWW-Authenticate: Basic realm=\"RouterOS REST\"\r\n");
        }
        if *status != 204 {
            head.push_str(&format!(
                "Content-Type: {content_type}\r\nContent-Length: {}\r\n",
                body.len()
            ));
        }
        let connection = if keeps_alive { "keep-alive" } else { "close" };
        head.push_str(&format!("Connection: {connection}\r\n\r\n"));
        let mut bytes = head.into_bytes();
        if *status != 204 {
            bytes.extend_from_slice(body);
        }
        bytes
    }
}

/// What a status is called.
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        411 => "Length Required",
        413 => "Payload Too Large",
        415 => "Unsupported Media Type",
        _ => "Internal Server Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] = b"PATCH /rest/ip/address/%2A3?.proplist=a%2Cb&x=1%202 HTTP/1.1\r\nHost: r\r\n\
        Authorization: Basic YWRtaW46cGE6c3M=\r\nContent-Type: application/json\r\ncontent-length: 2\r\n\r\n{}GET ";

    #[test]
    fn a_request_is_read_once_it_is_there() {
        for end in 0..REQUEST.len() - 4 {
            assert_eq!(read(&REQUEST[..end]), Read::Partial { expects: false }, "{end}");
        }
        let Read::Request(request, length) = read(REQUEST) else {
            panic!("a request")
        };
        assert_eq!(length, REQUEST.len() - 4);
        assert_eq!(
            (request.method.as_str(), &request.body[..]),
            ("PATCH", &b"{}"[..])
        );
        assert_eq!(request.path, [&b"rest"[..], b"ip", b"address", b"*3"]);
        assert_eq!(
            request.query,
            [
                (b".proplist".to_vec(), b"a,b".to_vec()),
                (b"x".to_vec(), b"1 2".to_vec())
            ]
        );
        assert_eq!(request.authorization.as_deref(), Some(&b"admin:pa:ss"[..]));
        assert!(request.keeps_alive);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        assert_eq!(read(b"\x06/login"), Read::Bad(400));
        assert_eq!(read(b"GET / SPDY/3\r\n\r\n"), Read::Bad(400));
        assert_eq!(
            read(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Read::Bad(411)
        );
        assert_eq!(
            read(b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n"),
            Read::Bad(413)
        );
        let expects = read(b"POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
        assert_eq!(expects, Read::Partial { expects: true });
    }
}
