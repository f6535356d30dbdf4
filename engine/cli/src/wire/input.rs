//! Bytes from a file or standard input, as they are or as hexadecimal text.

use std::io::{BufRead, BufReader, Read};

use crate::exit::Failure;

/// How much is read at once.
const READ: usize = 64 << 10;
/// The most that is gathered before it is decoded, whatever `--chunk` says.
const MAX_CHUNK: usize = 16 << 20;

pub(super) struct Input<R> {
    reader: BufReader<R>,
    hex: Option<Hex>,
}

/// Where in hexadecimal text we are.
struct Hex {
    high: Option<u8>,
    line: usize,
    column: usize,
}

impl<R: Read> Input<R> {
    pub(super) fn new(reader: R, hex: bool) -> Self {
        let start = Hex {
            high: None,
            line: 1,
            column: 0,
        };
        Self {
            reader: BufReader::with_capacity(READ, reader),
            hex: hex.then_some(start),
        }
    }

    /// Appends the next bytes to `buf`: exactly `chunk` of them if that is given and the input does not end, otherwise
    /// what there is. Returns whether there may be more.
    pub(super) fn fill(&mut self, buf: &mut Vec<u8>, chunk: Option<usize>) -> Result<bool, Failure> {
        let before = buf.len();
        let want = chunk.unwrap_or(READ).min(MAX_CHUNK);
        loop {
            let left = want - (buf.len() - before);
            let ready = match self.reader.fill_buf() {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                ready => ready?,
            };
            if ready.is_empty() {
                return match &self.hex {
                    Some(hex) if hex.high.is_some() => Err(hex.bad("the last byte has one digit")),
                    _ => Ok(false),
                };
            }
            let used = match &mut self.hex {
                None => {
                    let used = ready.len().min(left);
                    buf.extend_from_slice(&ready[..used]);
                    used
                }
                Some(hex) => hex.read(ready, buf, left)?,
            };
            self.reader.consume(used);
            let gathered = buf.len() - before;
            if gathered == want || (gathered > 0 && chunk.is_none()) {
                return Ok(true);
            }
        }
    }
}

impl Hex {
    /// Appends at most `left` bytes; returns how much of the text they took.
    fn read(&mut self, text: &[u8], buf: &mut Vec<u8>, left: usize) -> Result<usize, Failure> {
        let end = buf.len() + left;
        for (at, &c) in text.iter().enumerate() {
            if buf.len() == end {
                return Ok(at);
            }
            self.column += 1;
            match char::from(c).to_digit(16) {
                // A digit is below 16.
                Some(digit) => match self.high.take() {
                    Some(high) => buf.push(high << 4 | digit as u8),
                    None => self.high = Some(digit as u8),
                },
                None if c == b'\n' => {
                    self.line += 1;
                    self.column = 0;
                }
                None if c.is_ascii_whitespace() => {}
                None => {
                    let found = char::from(c).escape_default();
                    return Err(self.bad(format!(
                        "expected a hexadecimal digit or white space, found {found}"
                    )));
                }
            }
        }
        Ok(text.len())
    }

    fn bad(&self, message: impl std::fmt::Display) -> Failure {
        let Self { line, column, .. } = self;
        Failure::usage(format!("input, line {line}, column {column}: {message}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str, chunk: Option<usize>) -> Result<Vec<u8>, String> {
        let mut input = Input::new(text.as_bytes(), true);
        let mut buf = Vec::new();
        let mut fill = || {
            let before = buf.len();
            let more = input.fill(&mut buf, chunk);
            if let (Ok(true), Some(chunk)) = (&more, chunk) {
                assert_eq!(buf.len() - before, chunk);
            }
            more.map_err(|failure| failure.message().to_owned())
        };
        while fill()? {}
        Ok(buf)
    }

    #[test]
    fn hexadecimal_text_in_any_layout() {
        for text in ["0aFf00", "0a ff 00\n", " 0 a\tF\nf00 "] {
            for chunk in [None, Some(1), Some(2)] {
                assert_eq!(all(text, chunk), Ok(vec![0x0A, 0xFF, 0x00]), "{text:?}");
            }
        }
        assert_eq!(
            all("00\n0g", None).expect_err("no digit"),
            "input, line 2, column 2: expected a hexadecimal digit or white space, found g"
        );
        assert!(all("000", Some(1)).expect_err("half").contains("one digit"));
    }
}
