//! An expression as text that reads back as the same expression.

use std::fmt::{self, Display as _, Write as _};

use super::parse::is_bare;
use super::{Expression, Name, Node, Operator};

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Node::All(parts) => list(f, parts, " and ", |node| matches!(node, Node::Any(_))),
            Node::Any(parts) => list(f, parts, " or ", |_| false),
            Node::Compare(name, operator, value) => {
                write!(f, "{name}{operator}")?;
                word(f, value)
            }
            Node::Not(inner) => match &inner.node {
                Node::All(_) | Node::Any(_) => write!(f, "not ({inner})"),
                _ => write!(f, "not {inner}"),
            },
            Node::Present(name) => name.fmt(f),
        }
    }
}

fn list(
    f: &mut fmt::Formatter<'_>,
    parts: &[Expression],
    between: &str,
    binds_less: fn(&Node) -> bool,
) -> fmt::Result {
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            f.write_str(between)?;
        }
        match binds_less(&part.node) {
            true => write!(f, "({part})")?,
            false => part.fmt(f)?,
        }
    }
    Ok(())
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        word(f, &self.0)
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Greater => ">",
            Self::AtLeast => ">=",
        })
    }
}

/// Bare where that reads back, otherwise quoted.
fn word(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    if let Ok(text) = std::str::from_utf8(bytes)
        && is_bare(text)
    {
        return f.write_str(text);
    }
    f.write_char('"')?;
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                c if c.is_control() => hex(f, c.encode_utf8(&mut [0; 4]).as_bytes())?,
                c => f.write_char(c)?,
            }
        }
        hex(f, chunk.invalid())?;
    }
    f.write_char('"')
}

fn hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "\\x{byte:02X}"))
}
