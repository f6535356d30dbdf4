//! Queries as people write them: `a=1 and (b>2 or not c)`.
//!
//! [Query words](crate::query) are made for a stack machine; an [`Expression`] is the tree that one has in mind, with a
//! text to type it and words to send it:
//!
//! ```text
//! text                      tree                          words
//! a=1 and (b>2 or not c)    all [a=1, any [b>2, not c]]   ?a=1  ?>b=2  ?-c  ?#|&
//! ```
//!
//! # The text
//!
//! ```text
//! expression = term ("or" term)*               in falling precedence: not, and, or
//! term       = factor ("and" factor)*          keywords are case-insensitive
//! factor     = "not" factor | "(" expression ")" | test
//! test       = name                            the item has the property
//!            | name operator value
//! operator   = "=" | "!=" | "<" | "<=" | ">" | ">="
//! name       = bare | quoted                   not empty, no "=" in it, none of - = < > # ~ in front
//! value      = bare | quoted                   the empty value is written ""
//! bare       = characters other than space ( ) " ' \ = < > ! ~ & |, and no keyword
//! quoted     = "…" or '…', with \\ \" \' \n \r \t and \xHH for any byte
//! ```
//!
//! # Items without the property
//!
//! A device evaluates words, so an operator means what its words mean:
//!
//! | test | words | of an item without `a` |
//! |---|---|---|
//! | `a` | `?a` | does not hold |
//! | `a=x` | `?a=x` | holds if x is empty, and only then |
//! | `a!=x` | `?a=x` `?#!` | holds, unless x is empty: it is `not a=x`, as in selectors |
//! | `a<x`, `a>x` | `?<a=x`, `?>a=x` | does not hold |
//! | `a<=x` | `?a` `?>a=x` `?#!&` | does not hold: it is `a and not a>x` |
//! | `a>=x` | `?a` `?<a=x` `?#!&` | does not hold: it is `a and not a<x` |
//!
//! An expression leaves exactly one value on the stack, so its words may stand after others; both then have to hold.

use thiserror::Error;

use crate::query::{Operation, Query};
use crate::value;

mod parse;
mod print;
#[cfg(test)]
mod tests;

pub use parse::ExpressionError;

/// Which items of a `print` are meant.
///
/// Trees that mean the same by their shape alone are equal: `(a and b) and c` is `a and b and c`, `not not a` is `a`,
/// `not a=1` is `a!=1`.
///
/// ```
/// use routeros_wire::expression::{Expression, Name, Operator};
/// let parsed: Expression = "type=ether and not (disabled=yes or mtu<1500)".parse()?;
///
/// let [kind, disabled, mtu] = ["type", "disabled", "mtu"].map(|name| Name::new(name).unwrap());
/// let off = Expression::compare(disabled, Operator::Equal, "yes");
/// let small = Expression::compare(mtu, Operator::Less, "1500");
/// let built = Expression::compare(kind, Operator::Equal, "ether").and(off.or(small).not());
///
/// assert_eq!(parsed, built);
/// assert_eq!(built.to_string(), "type=ether and not (disabled=yes or mtu<1500)");
/// assert_eq!(built.words(), [&b"?type=ether"[..], b"?disabled=yes", b"?<mtu=1500", b"?#|!&"]);
/// # Ok::<(), routeros_wire::ExpressionError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    node: Node,
    /// Levels of the tree, so that nothing recurses deeper than [`MAX_DEPTH`] because of what came from outside.
    depth: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    /// At least two, none of which is `All`.
    All(Vec<Expression>),
    /// At least two, none of which is `Any`.
    Any(Vec<Expression>),
    Compare(Name, Operator, Vec<u8>),
    /// Neither `Not` nor a comparison that has an opposite.
    Not(Box<Expression>),
    Present(Name),
}

/// The name of a property, in a form that query words can carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(Vec<u8>);

/// A name that query words cannot carry.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a property name is not empty, has no = in it and does not begin with one of - < > # ~")]
pub struct BadName;

/// How a property is compared with a value. See [the module](self) for items without the property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `=`, by [`value::equal`].
    Equal,
    /// `!=`.
    NotEqual,
    /// `<`, by [`value::compare`].
    Less,
    /// `<=`.
    AtMost,
    /// `>`.
    Greater,
    /// `>=`.
    AtLeast,
}

/// Text and words that make a deeper tree are refused. A tree within it prints as text within it.
const MAX_DEPTH: usize = 64;

/// Queries of more operations have no expression: only machines write them.
const MAX_OPERATIONS: usize = 1 << 13;

impl Name {
    /// Checks a name.
    pub fn new(name: impl Into<Vec<u8>>) -> Result<Self, BadName> {
        let name = name.into();
        match name.first() {
            Some(first) if !b"-<>#~".contains(first) && !name.contains(&b'=') => Ok(Self(name)),
            _ => Err(BadName),
        }
    }

    /// The name as it goes on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Expression {
    /// The item has the property.
    pub fn present(name: Name) -> Self {
        Self::leaf(Node::Present(name))
    }

    /// The property compares like this with the value.
    pub fn compare(name: Name, operator: Operator, value: impl Into<Vec<u8>>) -> Self {
        Self::leaf(Node::Compare(name, operator, value.into()))
    }

    fn leaf(node: Node) -> Self {
        Self { node, depth: 1 }
    }

    /// Both hold.
    pub fn and(self, other: Self) -> Self {
        let parts = |part: Self| match part.node {
            Node::All(parts) => Ok(parts),
            _ => Err(part),
        };
        Self::join(parts(self), parts(other), Node::All)
    }

    /// At least one holds.
    pub fn or(self, other: Self) -> Self {
        let parts = |part: Self| match part.node {
            Node::Any(parts) => Ok(parts),
            _ => Err(part),
        };
        Self::join(parts(self), parts(other), Node::Any)
    }

    /// Joins two sides that are lists of the same kind already, or single parts of the list to be.
    fn join(
        left: Result<Vec<Self>, Self>,
        right: Result<Vec<Self>, Self>,
        node: fn(Vec<Self>) -> Node,
    ) -> Self {
        let mut parts = left.unwrap_or_else(|part| vec![part]);
        match right {
            Ok(more) => parts.extend(more),
            Err(part) => parts.push(part),
        }
        let depth = 1 + parts.iter().map(|part| part.depth).max().unwrap_or_default();
        Self {
            node: node(parts),
            depth,
        }
    }

    /// It does not hold.
    #[expect(clippy::should_implement_trait, reason = "reads in a row with `and` and `or`")]
    pub fn not(self) -> Self {
        use Operator::{Equal, NotEqual};
        match self.node {
            Node::Compare(name, Equal, value) => Self::compare(name, NotEqual, value),
            Node::Compare(name, NotEqual, value) => Self::compare(name, Equal, value),
            Node::Not(inner) => *inner,
            node => Self {
                depth: self.depth + 1,
                node: Node::Not(Box::new(Self {
                    node,
                    depth: self.depth,
                })),
            },
        }
    }

    /// Whether it holds for the item whose properties `get` finds.
    pub fn matches<'v>(&self, get: &impl Fn(&[u8]) -> Option<&'v [u8]>) -> bool {
        match &self.node {
            Node::All(parts) => parts.iter().all(|part| part.matches(get)),
            Node::Any(parts) => parts.iter().any(|part| part.matches(get)),
            Node::Compare(Name(name), operator, x) => {
                let (found, orders) = (get(name), |v: &[u8]| value::compare(v, x));
                match operator {
                    Operator::Equal => value::equal(found.unwrap_or_default(), x),
                    Operator::NotEqual => !value::equal(found.unwrap_or_default(), x),
                    Operator::Less => found.is_some_and(|v| orders(v).is_lt()),
                    Operator::AtMost => found.is_some_and(|v| orders(v).is_le()),
                    Operator::Greater => found.is_some_and(|v| orders(v).is_gt()),
                    Operator::AtLeast => found.is_some_and(|v| orders(v).is_ge()),
                }
            }
            Node::Not(inner) => !inner.matches(get),
            Node::Present(Name(name)) => get(name).is_some(),
        }
    }

    /// The names of the properties that it looks at, in the order in which they stand; some perhaps twice.
    pub fn names(&self) -> Vec<&[u8]> {
        let mut names = Vec::new();
        self.gather(&mut names);
        names
    }

    fn gather<'e>(&'e self, names: &mut Vec<&'e [u8]>) {
        match &self.node {
            Node::All(parts) | Node::Any(parts) => parts.iter().for_each(|part| part.gather(names)),
            Node::Not(inner) => inner.gather(names),
            Node::Compare(Name(name), ..) | Node::Present(Name(name)) => names.push(name),
        }
    }

    /// The query words, in the order to send them.
    pub fn words(&self) -> Vec<Vec<u8>> {
        self.query().words()
    }

    /// The query that a device would run.
    pub fn query(&self) -> Query {
        let mut operations = Vec::new();
        self.compile(&mut operations);
        Query { operations }
    }

    fn compile(&self, out: &mut Vec<Operation>) {
        let list = |parts: &[Self], operation: Operation, out: &mut Vec<Operation>| {
            parts.iter().for_each(|part| part.compile(out));
            out.extend(std::iter::repeat_n(operation, parts.len() - 1));
        };
        match &self.node {
            Node::All(parts) => list(parts, Operation::And, out),
            Node::Any(parts) => list(parts, Operation::Or, out),
            Node::Compare(Name(name), operator, x) => {
                let (name, x) = (name.clone(), x.clone());
                let with_present = |test: fn(Vec<u8>, Vec<u8>) -> Operation, name: Vec<u8>, x| {
                    let present = Operation::Present(name.clone());
                    [present, test(name, x), Operation::Not, Operation::And]
                };
                match operator {
                    Operator::Equal => out.push(Operation::Equals(name, x)),
                    Operator::NotEqual => out.extend([Operation::Equals(name, x), Operation::Not]),
                    Operator::Less => out.push(Operation::Less(name, x)),
                    Operator::AtMost => out.extend(with_present(Operation::Greater, name, x)),
                    Operator::Greater => out.push(Operation::Greater(name, x)),
                    Operator::AtLeast => out.extend(with_present(Operation::Less, name, x)),
                }
            }
            Node::Not(inner) => match &inner.node {
                Node::Present(Name(name)) => out.push(Operation::Absent(name.clone())),
                _ => {
                    inner.compile(out);
                    out.push(Operation::Not);
                }
            },
            Node::Present(Name(name)) => out.push(Operation::Present(name.clone())),
        }
    }

    /// The tree of a query that has one.
    ///
    /// `None` for the empty query, for copies and indices (a tree says each thing once), for operations that reach below
    /// what was pushed, and for what is nested too deep or is too long to be written by people.
    ///
    /// ```
    /// use routeros_wire::{Expression, Query};
    /// let query = Query::from_words([&b"?a=1"[..], b"?>b=2", b"?c", b"?#!|"])?;
    /// assert_eq!(Expression::of(&query).unwrap().to_string(), "a=1 and (b>2 or not c)");
    /// # Ok::<(), routeros_wire::QueryError>(())
    /// ```
    pub fn of(query: &Query) -> Option<Self> {
        let mut stack = Vec::<Self>::new();
        if query.operations.len() > MAX_OPERATIONS {
            return None;
        }
        for operation in &query.operations {
            let name = |name: &Vec<u8>| Name::new(name.clone()).ok();
            let test = |n, operator, x: &Vec<u8>| Some(Self::compare(name(n)?, operator, x.clone()));
            let pushed = match operation {
                Operation::Present(n) => Self::present(name(n)?),
                Operation::Absent(n) => Self::present(name(n)?).not(),
                Operation::Equals(n, x) => test(n, Operator::Equal, x)?,
                Operation::Less(n, x) => test(n, Operator::Less, x)?,
                Operation::Greater(n, x) => test(n, Operator::Greater, x)?,
                Operation::Not => stack.pop()?.not(),
                Operation::And => {
                    let (right, left) = (stack.pop()?, stack.pop()?);
                    at_bound(left, right)
                }
                Operation::Or => {
                    let (right, left) = (stack.pop()?, stack.pop()?);
                    left.or(right)
                }
                Operation::Copy(_) | Operation::Replace(_) => return None,
            };
            if pushed.depth > MAX_DEPTH {
                return None;
            }
            stack.push(pushed);
        }
        stack.into_iter().reduce(at_bound)
    }
}

/// `left and right`, which is `a<=x` where it is `a and not a>x`.
fn at_bound(left: Expression, right: Expression) -> Expression {
    if let (Node::Present(name), Node::Not(inner)) = (&left.node, &right.node)
        && let Node::Compare(compared, operator, x) = &inner.node
        && name == compared
    {
        match operator {
            Operator::Greater => return Expression::compare(name.clone(), Operator::AtMost, x.clone()),
            Operator::Less => return Expression::compare(name.clone(), Operator::AtLeast, x.clone()),
            _ => {}
        }
    }
    left.and(right)
}
