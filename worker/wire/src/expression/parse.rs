//! Text to a tree, by recursive descent; every error has its column and says what would be right.

use std::str::FromStr;

use thiserror::Error;

use super::{Expression, MAX_DEPTH, Name, Operator};
use crate::value::text::hex_byte;

/// Where a text stops being an expression, and what would be right.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("column {column}: {message}")]
pub struct ExpressionError {
    /// In characters, from 1; one beyond the text where something is missing at its end.
    pub column: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

impl FromStr for Expression {
    type Err = ExpressionError;

    fn from_str(text: &str) -> Result<Self, ExpressionError> {
        let mut parser = Parser {
            rest: text,
            column: 1,
        };
        let expression = parser.expression(1)?;
        match parser.rest.chars().next() {
            // A level of text can make two of the tree: an `and` in an `or`.
            None if expression.depth > MAX_DEPTH => Err(too_deep(1)),
            None => Ok(expression),
            Some(')') => Err(parser.error("there is no ( that this ) closes")),
            Some(_) => Err(parser.expected("and, or, or the end")),
        }
    }
}

fn too_deep(column: usize) -> ExpressionError {
    ExpressionError {
        column,
        message: format!("nested too deep; at most {MAX_DEPTH} levels are allowed"),
    }
}

/// Whether a name or a value needs no quotes.
pub(super) fn is_bare(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_bare_char) && !is_keyword(text) && !text.starts_with('?')
}

fn is_bare_char(c: char) -> bool {
    !c.is_whitespace() && !c.is_control() && !"()\"'\\=<>!~&|".contains(c)
}

fn is_keyword(text: &str) -> bool {
    ["and", "not", "or"]
        .iter()
        .any(|keyword| text.eq_ignore_ascii_case(keyword))
}

const OPERATORS: [(&str, Operator); 6] = [
    ("!=", Operator::NotEqual),
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    ("=", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

struct Parser<'a> {
    rest: &'a str,
    column: usize,
}

impl<'a> Parser<'a> {
    fn expression(&mut self, depth: usize) -> Result<Expression, ExpressionError> {
        let mut expression = self.term(depth)?;
        while self.keyword("or") {
            expression = expression.or(self.term(depth)?);
        }
        Ok(expression)
    }

    fn term(&mut self, depth: usize) -> Result<Expression, ExpressionError> {
        let mut expression = self.factor(depth)?;
        while self.keyword("and") {
            expression = expression.and(self.factor(depth)?);
        }
        Ok(expression)
    }

    fn factor(&mut self, depth: usize) -> Result<Expression, ExpressionError> {
        self.skip_space();
        let at = self.column;
        if depth > MAX_DEPTH {
            return Err(too_deep(at));
        }
        if self.keyword("not") {
            return Ok(self.factor(depth + 1)?.not());
        }
        if !self.take("(") {
            return self.test();
        }
        let inner = self.expression(depth + 1)?;
        match self.take(")") {
            true => Ok(inner),
            false => Err(self.expected(&format!("and, or, or the ) for the ( in column {at}"))),
        }
    }

    fn test(&mut self) -> Result<Expression, ExpressionError> {
        let at = self.column;
        let name = self.name()?;
        let name = Name::new(name).map_err(|bad| ExpressionError {
            column: at,
            message: bad.to_string(),
        })?;
        self.skip_space();
        let found = OPERATORS.iter().find(|(text, _)| self.take(text));
        let Some((_, operator)) = found else {
            return Ok(Expression::present(name));
        };
        let value = self.value()?;
        Ok(Expression::compare(name, *operator, value))
    }

    fn name(&mut self) -> Result<Vec<u8>, ExpressionError> {
        if let Some(quoted) = self.quoted()? {
            return Ok(quoted);
        }
        match self.peek_bare() {
            "" => {}
            word if is_keyword(word) => {
                return Err(self.error(format!(
                    "expected a property name, found {word}; quote it if it is one"
                )));
            }
            word if word.starts_with('?') => {
                return Err(self.error("expected a property name; leave out the question mark"));
            }
            word => return Ok(self.advance(word.len()).into()),
        }
        Err(match self.rest.chars().next() {
            Some('!') => self.error("expected a property name; write not instead of !"),
            Some(c @ ('=' | '<' | '>' | '~')) => self.error(format!("expected a property name before {c}")),
            _ => self.expected("a property name"),
        })
    }

    fn value(&mut self) -> Result<Vec<u8>, ExpressionError> {
        let right = match self.rest.chars().next() {
            Some('=') => Some("a single =, <= or >="),
            Some('<') => Some("<="),
            Some('>') => Some(">= or !="),
            _ => None,
        };
        if let Some(right) = right {
            return Err(self.error(format!("no such operator; write {right}")));
        }
        self.skip_space();
        if let Some(quoted) = self.quoted()? {
            return Ok(quoted);
        }
        let word = self.peek_bare();
        if word.is_empty() {
            return Err(self.expected("a value; the empty one is written \"\""));
        }
        if is_keyword(word) {
            return Err(self.error(format!(
                "expected a value, found {word}; quote it if it is one; the empty one is written \"\""
            )));
        }
        let word = self.advance(word.len()).to_owned();
        match self.rest.chars().next() {
            Some(c) if !is_bare_char(c) && !c.is_whitespace() && !"()".contains(c) => Err(self.error(
                format!("a value with {} in it is written in quotes", c.escape_debug()),
            )),
            _ => Ok(word.into()),
        }
    }

    /// A quoted name or value, if one begins here.
    fn quoted(&mut self) -> Result<Option<Vec<u8>>, ExpressionError> {
        let Some(quote @ (b'"' | b'\'')) = self.rest.bytes().next() else {
            return Ok(None);
        };
        let opened = self.column;
        self.advance(1);
        let mut out = Vec::new();
        loop {
            let end = self.rest.bytes().position(|byte| byte == quote || byte == b'\\');
            let Some(end) = end else {
                return Err(ExpressionError {
                    column: opened,
                    message: "the quote that begins here is not closed".into(),
                });
            };
            out.extend_from_slice(self.advance(end).as_bytes());
            if self.rest.as_bytes()[0] == quote {
                self.advance(1);
                return Ok(Some(out));
            }
            let (byte, width) = match self.rest.as_bytes()[1..] {
                [byte @ (b'\\' | b'"' | b'\''), ..] => (byte, 2),
                [b'n', ..] => (b'\n', 2),
                [b'r', ..] => (b'\r', 2),
                [b't', ..] => (b'\t', 2),
                ref after => match hex_byte(after) {
                    Some((byte, _)) => (byte, 4),
                    None => return Err(self.error(r#"no such escape; there are \\ \" \' \n \r \t and \xHH"#)),
                },
            };
            out.push(byte);
            self.advance(width);
        }
    }

    /// Consumes a keyword, if it is what comes next.
    fn keyword(&mut self, keyword: &str) -> bool {
        self.skip_space();
        let word = self.peek_bare();
        let found = word.eq_ignore_ascii_case(keyword);
        if found {
            self.advance(word.len());
        }
        found
    }

    fn take(&mut self, text: &str) -> bool {
        let found = self.rest.starts_with(text);
        if found {
            self.advance(text.len());
        }
        found
    }

    fn peek_bare(&self) -> &'a str {
        let end = self.rest.find(|c| !is_bare_char(c)).unwrap_or(self.rest.len());
        &self.rest[..end]
    }

    fn skip_space(&mut self) {
        let space = self.rest.len() - self.rest.trim_start().len();
        self.advance(space);
    }

    fn advance(&mut self, bytes: usize) -> &'a str {
        let (passed, rest) = self.rest.split_at(bytes);
        self.column += passed.chars().count();
        self.rest = rest;
        passed
    }

    fn error(&self, message: impl Into<String>) -> ExpressionError {
        ExpressionError {
            column: self.column,
            message: message.into(),
        }
    }

    /// What was expected here, what is there, and what is often meant by it.
    fn expected(&self, what: &str) -> ExpressionError {
        let hint = match self.rest.chars().next() {
            Some('&') => "; write and instead of &",
            Some('|') => "; write or instead of |",
            Some('~') => "; the API has no regular expressions",
            Some('!') => "; write not or != instead of !",
            _ => "",
        };
        let found = match (self.peek_bare(), self.rest.chars().next()) {
            (_, None) => "the end".into(),
            ("", Some(c)) => c.escape_debug().to_string(),
            (word, _) if word.chars().count() > 20 => {
                format!("{}…", word.chars().take(20).collect::<String>())
            }
            (word, _) => word.to_owned(),
        };
        self.error(format!("expected {what}, found {found}{hint}"))
    }
}
