//! As much of the scripting language as it takes to do what an API client does: commands one after the other, with words,
//! quotes and `[find name=value]`. No variables, no branches.

use std::time::Duration;

use routeros_wire::{Decoder, Kind, Limits, decode_all, encode};

use crate::device::{Caller, Device};
use crate::listen::Event;
use crate::menu::{Menu, Verb};
use crate::route::{Act, Route};
use crate::table::id_text;

/// Scripts that run one another at most.
const DEEP: u32 = 4;

/// What came of a script.
#[derive(Debug, Default)]
pub(crate) struct Ran {
    /// What it printed.
    pub(crate) output: Vec<u8>,
    /// Why it stopped.
    pub(crate) error: Option<String>,
    pub(crate) events: Vec<Event>,
    /// Whether it restarted the device.
    pub(crate) restarts: bool,
}

/// A part of a command.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(Vec<u8>),
    /// What stands in brackets.
    Bracket(Vec<u8>),
}

impl Device {
    /// Runs a script to its end, or to the first command that fails.
    pub(crate) fn run_script(&mut self, source: &[u8], caller: Caller, now: Duration) -> Ran {
        let mut ran = Ran::default();
        if self.scripts_deep >= DEEP {
            ran.error = Some("too many scripts that run one another".to_owned());
            return ran;
        }
        self.scripts_deep += 1;
        for (line, command) in (1..).zip(commands(source)) {
            if let Err(error) = self.run_line(&command, caller, now, &mut ran) {
                ran.error = Some(format!("{error} (line {line} column 1)"));
            }
            if ran.error.is_some() || ran.restarts {
                break;
            }
        }
        self.scripts_deep -= 1;
        ran
    }

    fn run_line(
        &mut self,
        command: &[Token],
        caller: Caller,
        now: Duration,
        ran: &mut Ran,
    ) -> Result<(), String> {
        let word = |at: usize| match command.get(at) {
            Some(Token::Word(word)) => Some(&word[..]),
            _ => None,
        };
        match word(0).unwrap_or_default() {
            b":put" => {
                ran.output.extend_from_slice(word(1).unwrap_or_default());
                ran.output.push(b'\n');
                return Ok(());
            }
            b":error" => return Err(String::from_utf8_lossy(word(1).unwrap_or_default()).into_owned()),
            first if first.starts_with(b":") => return Ok(()),
            _ => {}
        }
        let (mut path, mut rest, mut route) = (Vec::new(), command, None);
        while let Some((Token::Word(word), after)) = rest.split_first() {
            path.push(b'/');
            path.extend_from_slice(word.strip_prefix(b"/").unwrap_or(word));
            rest = after;
            if let Ok(found) = self.route(&path) {
                route = Some(found);
                break;
            }
        }
        let Some(route) = route else {
            let name = String::from_utf8_lossy(word(0).unwrap_or_default()).into_owned();
            return Err(format!("bad command name {name}"));
        };
        let mut words = vec![path];
        for token in rest {
            match (token, route) {
                (Token::Word(word), _) if word.contains(&b'=') => words.push([b"=", &word[..]].concat()),
                (Token::Word(word), Route::Act(Act::Export)) => words.push([b"=", &word[..], b"="].concat()),
                (Token::Word(word), _) => words.push([b"=numbers=", &word[..]].concat()),
                (Token::Bracket(find), Route::Menu(menu, _)) => match self.find(menu, find, now) {
                    ids if ids.is_empty() => return Ok(()),
                    ids => words.push(format!("=numbers={}", ids.join(",")).into_bytes()),
                },
                (Token::Bracket(_), Route::Act(_)) => return Err("expected a value".to_owned()),
            }
        }
        if let Route::Act(Act::Export) = route {
            let shows = |name: &[u8]| words.iter().any(|word| word.starts_with(name));
            let sensitive = match (shows(b"=show-sensitive"), shows(b"=hide-sensitive")) {
                (true, _) => Some(true),
                (_, true) => Some(false),
                _ => None,
            };
            if !shows(b"=file=") {
                let text = self.export_text(sensitive, now);
                ran.output.extend_from_slice(&text);
                return Ok(());
            }
        }
        let mut request = Vec::new();
        encode::sentence(&mut request, &words).map_err(|error| error.to_string())?;
        let mut decoder = Decoder::new(Limits::default());
        decoder.scan(&request).map_err(|error| error.to_string())?;
        let mut replies = Vec::new();
        let executed = self.execute(route, decoder.sentence(&request, 0), caller, now, &mut replies);
        ran.events.extend(executed.events);
        ran.restarts |= executed.reboots;
        if let Some(trap) = executed.trap {
            return Err(String::from_utf8_lossy(&trap).into_owned());
        }
        if matches!(route, Route::Menu(_, Verb::Print | Verb::GetAll)) {
            // As a console shows them, nearly.
            let _ = decode_all(&replies, Limits::default(), |sentence| {
                if sentence.kind() == Kind::Re {
                    let values = sentence
                        .attributes()
                        .map(|(name, value)| [name, b"=", value].concat());
                    ran.output.extend(values.collect::<Vec<_>>().join(&b' '));
                    ran.output.push(b'\n');
                }
            });
        }
        Ok(())
    }

    /// The items of a menu that `find name=value …` finds.
    fn find(&self, menu: &Menu, find: &[u8], now: Duration) -> Vec<String> {
        let commands = commands(find);
        let conditions = commands.iter().flatten().filter_map(|token| match token {
            Token::Word(word) => {
                let at = word.iter().position(|byte| *byte == b'=')?;
                Some((&word[..at], &word[at + 1..]))
            }
            Token::Bracket(_) => None,
        });
        let conditions = conditions.collect::<Vec<_>>();
        let table = self.table(menu.id, now);
        let found = table.rows().iter().filter(|row| {
            conditions
                .iter()
                .all(|(name, value)| row.get(name) == Some(value))
        });
        found.map(|row| id_text(row.id)).collect()
    }
}

/// The commands of a script, each in its parts.
fn commands(source: &[u8]) -> Vec<Vec<Token>> {
    let (mut commands, mut command) = (Vec::new(), Vec::new());
    let (mut word, mut is_word) = (Vec::new(), false);
    let mut bytes = source.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => {
                is_word = true;
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'"' => break,
                        b'\\' => match bytes.next() {
                            Some(b'n') => word.push(b'\n'),
                            Some(b'r') => word.push(b'\r'),
                            Some(other) => word.push(other),
                            None => break,
                        },
                        other => word.push(other),
                    }
                }
            }
            b'[' if !is_word => {
                let inner = bytes
                    .by_ref()
                    .take_while(|byte| *byte != b']')
                    .collect::<Vec<_>>();
                let inner = inner.trim_ascii();
                command.push(Token::Bracket(
                    inner.strip_prefix(b"find").unwrap_or(inner).to_vec(),
                ));
            }
            b' ' | b'\t' | b'\r' | b'\n' | b';' => {
                if std::mem::take(&mut is_word) {
                    command.push(Token::Word(std::mem::take(&mut word)));
                }
                if matches!(byte, b'\n' | b';') && !command.is_empty() {
                    commands.push(std::mem::take(&mut command));
                }
            }
            other => {
                is_word = true;
                word.push(other);
            }
        }
    }
    if is_word {
        command.push(Token::Word(word));
    }
    if !command.is_empty() {
        commands.push(command);
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_read_as_a_console_reads_it() {
        let word = |text: &str| Token::Word(text.as_bytes().to_vec());
        let read = commands(
            b"/system backup load name=\"a b\" password=\"\"; :put \"x\\\"y\"\n/x/remove [find name=q]",
        );
        assert_eq!(read.len(), 3);
        assert_eq!(
            read[0],
            ["/system", "backup", "load", "name=a b", "password="].map(word)
        );
        assert_eq!(read[1], [":put", "x\"y"].map(word));
        assert_eq!(read[2], [word("/x/remove"), Token::Bracket(b" name=q".to_vec())]);
        assert!(commands(b" ; ;\n").is_empty());
    }
}
