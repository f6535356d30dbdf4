//! `muster wire encode`: lines of JSON to bytes.

use std::io::{BufRead, ErrorKind, Read as _, Write};

use routeros_wire::encode;
use serde_json::Value;

use super::word;
use crate::exit::{Done, Exit, Failure};

/// The longest line that is held: room for the longest sentence with every byte escaped.
const MAX_LINE: u64 = 512 << 20;
/// Bytes are written when there are so many.
const WRITE: usize = 64 << 10;

pub(super) fn run(hex: bool) -> Done {
    match encode_lines(std::io::stdin().lock(), std::io::stdout().lock(), hex) {
        Err(Stop::Gone) => Ok(Exit::Ok),
        Err(Stop::Failed(failure)) => Err(failure),
        Ok(()) => Ok(Exit::Ok),
    }
}

enum Stop {
    /// Nobody reads any more.
    Gone,
    Failed(Failure),
}

/// What comes before a bad line is written.
fn encode_lines(mut input: impl BufRead, mut output: impl Write, hex: bool) -> Result<(), Stop> {
    let (mut line, mut bytes, mut text) = (Vec::new(), Vec::new(), String::new());
    for number in 1.. {
        line.clear();
        let read = (&mut input).take(MAX_LINE).read_until(b'\n', &mut line);
        let read = read.map_err(|error| Stop::Failed(error.into()))?;
        let result = match read as u64 {
            0 => Ok(()),
            MAX_LINE => Err(format!("longer than {MAX_LINE} bytes")),
            _ => sentence(&line, &mut bytes),
        };
        if read == 0 || result.is_err() || hex || bytes.len() >= WRITE {
            let written = match hex {
                true if bytes.is_empty() => Ok(()),
                true => {
                    text.clear();
                    word::write_hex(&mut text, &bytes);
                    text.push('\n');
                    output.write_all(text.as_bytes())
                }
                false => output.write_all(&bytes),
            };
            written.and_then(|()| output.flush()).map_err(stop)?;
            bytes.clear();
        }
        if let Err(message) = result {
            return Err(Stop::Failed(Failure::usage(format!(
                "input, line {number}: {message}"
            ))));
        }
        if read == 0 {
            break;
        }
    }
    Ok(())
}

fn stop(error: std::io::Error) -> Stop {
    match error.kind() {
        ErrorKind::BrokenPipe => Stop::Gone,
        _ => Stop::Failed(error.into()),
    }
}

/// Appends the sentence of a line; nothing for an empty line and for the one with which decode says that all is well.
fn sentence(line: &[u8], bytes: &mut Vec<u8>) -> Result<(), String> {
    if line.trim_ascii().is_empty() {
        return Ok(());
    }
    let value = serde_json::from_slice::<Value>(line.trim_ascii_end()).map_err(|error| {
        let told = error.to_string();
        let told = told
            .rsplit_once(" at line ")
            .map_or(told.as_str(), |(told, _)| told);
        format!("column {}: {told}; write a JSON array of words", error.column())
    })?;
    let words = match &value {
        Value::Array(words) => words,
        Value::Object(object) if object.contains_key("end") => return Ok(()),
        Value::Object(object) if object.contains_key("error") => {
            return Err(format!("what was decoded ended with an error here: {value}"));
        }
        _ => return Err(format!("{value} is no sentence; write a JSON array of words")),
    };
    let words = words.iter().zip(1..).map(|(word, at)| match word::read(word) {
        Ok(word) if word.is_empty() => Err(format!("word {at} is empty, which would end the sentence")),
        Ok(word) => Ok(word),
        Err(message) => Err(format!("word {at}: {message}")),
    });
    let words = words.collect::<Result<Vec<_>, _>>()?;
    encode::sentence(bytes, words).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(lines: &str, hex: bool) -> (Vec<u8>, Option<String>) {
        let mut output = Vec::new();
        let told = match encode_lines(lines.as_bytes(), &mut output, hex) {
            Err(Stop::Failed(failure)) => Some(failure.message().to_owned()),
            Err(Stop::Gone) => Some("gone".into()),
            Ok(()) => None,
        };
        (output, told)
    }

    #[test]
    fn lines_become_sentences() {
        let lines = "[\"!re\", {\"hex\": \"FF00\"}]\r\n\n[]\n{\"end\": \"clean\"}";
        assert_eq!(
            encoded(lines, false),
            (b"\x03!re\x02\xFF\x00\x00\x00".to_vec(), None)
        );
        assert_eq!(encoded(lines, true), (b"0321726502ff0000\n00\n".to_vec(), None));
    }

    #[test]
    fn a_bad_line_is_named_and_what_was_before_is_written() {
        for (bad, told) in [
            ("{}", "{} is no sentence"),
            ("[1]", "word 1: 1 is no word"),
            (r#"["a", ""]"#, "word 2 is empty"),
            (r#"[{"hex": ""}]"#, "word 1 is empty"),
            (r#"["a""#, "column 4: EOF"),
            (r#"["\ud800"]"#, "column"),
            (r#"{"error": "control-byte", "at": 3}"#, "ended with an error"),
        ] {
            let (output, error) = encoded(&format!("[\"a\"]\n\n{bad}\n[\"b\"]\n"), false);
            assert_eq!(output, b"\x01a\x00");
            let error = error.expect(bad);
            assert!(
                error.starts_with("input, line 3: ") && error.contains(told),
                "{error}"
            );
        }
    }
}
