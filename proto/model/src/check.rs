//! Expressions that a device has to satisfy (CEL): `facts.free_disk > 20000000 && facts.version >= version('7.12.1')`.
//!
//! `facts.NAME` and `post.NAME` are what the device says when the check is reached, `pre.NAME` is what it said before the
//! first step of the attempt. All are numbers or texts, see [`FACTS`]; a version is a number that [`number`] makes, and
//! `version('7.16.2')` makes the same of a text.
//!
//! An expression may be 4 KiB long and holds no comprehension inside another. So there is nothing in it that runs long: what
//! it can go through is what it spells out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, OnceLock};

use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue};
use cel::{Context, Program, Value};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest expression, in bytes.
pub const MAX_BYTES: usize = 4096;

/// A checked expression. It is compiled once, and copies of it share that.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Check {
    text: String,
    compiled: OnceLock<Option<Arc<Compiled>>>,
}

/// An expression that is ready to be evaluated.
struct Compiled {
    program: Program,
    /// What it names, as `root.name`.
    names: BTreeSet<(String, String)>,
    /// Whether whoever asks has the stack for it.
    is_small: bool,
}

impl PartialEq for Check {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Check {}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Check").field(&self.text).finish()
    }
}

/// One that was checked before: it is compiled when it is wanted.
impl From<String> for Check {
    fn from(text: String) -> Self {
        Self {
            text,
            compiled: OnceLock::new(),
        }
    }
}

impl From<Check> for String {
    fn from(check: Check) -> Self {
        check.text
    }
}

/// Where a fact comes from: one question to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// `/system/resource`.
    Resource,
    /// Of that, how busy it is.
    Load,
    /// `/system/identity`.
    Identity,
    /// Interfaces that are running.
    Interfaces,
    /// Active routes.
    Routes,
    /// DHCP leases that are bound.
    Leases,
    /// BGP sessions that are established.
    Bgp,
    /// The same on a router of version 6. Asked where there is no [`Source::Bgp`].
    BgpPeers,
    /// OSPF neighbours whose state is full.
    Ospf,
}

/// What an expression may name, with its kind and where it comes from. Durations are seconds, sizes bytes.
pub const FACTS: &[(&str, Kind, Source)] = &[
    ("architecture", Kind::Text, Source::Resource),
    ("bgp_up", Kind::Number, Source::Bgp),
    ("board", Kind::Text, Source::Resource),
    ("cpu_count", Kind::Number, Source::Resource),
    ("cpu_load", Kind::Number, Source::Resource),
    ("free_disk", Kind::Number, Source::Resource),
    ("free_memory", Kind::Number, Source::Resource),
    ("identity", Kind::Text, Source::Identity),
    ("interfaces_up", Kind::Number, Source::Interfaces),
    ("leases", Kind::Number, Source::Leases),
    ("ospf_up", Kind::Number, Source::Ospf),
    ("routes", Kind::Number, Source::Routes),
    ("total_disk", Kind::Number, Source::Resource),
    ("total_memory", Kind::Number, Source::Resource),
    ("uptime", Kind::Number, Source::Resource),
    ("version", Kind::Number, Source::Resource),
];

/// The kinds of facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number.
    Number,
    /// A text.
    Text,
}

/// A fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A whole number.
    Number(i64),
    /// A text.
    Text(String),
}

/// What a device said at one time, by name.
pub type Facts = BTreeMap<&'static str, Fact>;

/// Why a text is no check.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CheckError {
    /// Over [`MAX_BYTES`].
    #[error("the expression has {0} bytes; at most {MAX_BYTES} are allowed")]
    TooLong(usize),
    /// More brackets or operators than anybody needs.
    #[error("there are over {OPERATORS} operators, or brackets over {DEPTH} deep; write several checks")]
    TooMuch,
    /// Not CEL.
    #[error("column {column}: {message}")]
    Syntax {
        /// From 1.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// A name that there is not.
    #[error("{0:?} is not known; there are {names}", names = names())]
    Unknown(String),
    /// `facts` by itself.
    #[error("{0} is to be followed by a name, as in {0}.free_disk")]
    Bare(String),
    /// A comprehension in another.
    #[error("all, exists, filter and map may not stand inside one another")]
    Nested,
    /// Nothing.
    #[error("it is empty; write what has to hold, for example facts.free_disk > 20000000")]
    Empty,
    /// A fact is compared with something of another kind: that is so, or is not, whatever the device says.
    #[error("{0}")]
    Compared(String),
    /// It cannot be evaluated, whatever the device says.
    #[error("{0}")]
    Type(String),
}

fn names() -> String {
    FACTS
        .iter()
        .map(|(name, ..)| *name)
        .collect::<Vec<_>>()
        .join(", ")
}

impl Check {
    /// Reads an expression.
    ///
    /// ```
    /// use muster_model::Check;
    /// assert!(Check::parse("facts.version >= version('7.12.1')").is_ok());
    /// assert!(Check::parse("facts.free_dsk > 1").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Self, CheckError> {
        if text.trim().is_empty() {
            return Err(CheckError::Empty);
        }
        check_size(text)?;
        deep(|| Self::parse_there(text)).unwrap_or(Err(CheckError::TooMuch))
    }

    fn parse_there(text: &str) -> Result<Self, CheckError> {
        let compiled = Compiled::new(text)?;
        // What is of the wrong kind is so for every device: two made-up ones, so that neither side of an `&&` or `||` is
        // always passed over.
        for number in [0, i64::from(u32::MAX)] {
            let facts = made_up(number);
            if let Err(error) = run(&compiled.program, &facts, &facts) {
                return Err(CheckError::Type(error));
            }
        }
        Ok(Self {
            text: text.to_owned(),
            compiled: Some(Arc::new(compiled)).into(),
        })
    }

    /// As given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What has to be asked for its `facts` and `post`.
    pub fn needs(&self) -> BTreeSet<Source> {
        self.sources(&["facts", "post"])
    }

    /// What has to be asked before the first step, for its `pre`.
    pub fn needs_before(&self) -> BTreeSet<Source> {
        self.sources(&["pre"])
    }

    /// Whether it compares with what was before.
    pub fn is_about_a_change(&self) -> bool {
        self.names().any(|(root, _)| root != "facts")
    }

    fn sources(&self, roots: &[&str]) -> BTreeSet<Source> {
        let named = |name: &str| {
            self.names()
                .any(|(root, known)| known == name && roots.contains(&root))
        };
        FACTS
            .iter()
            .filter(|(name, ..)| named(name))
            .map(|(_, _, source)| *source)
            .collect()
    }

    fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        let names = self.compiled().into_iter().flat_map(|compiled| &compiled.names);
        names.map(|(root, name)| (root.as_str(), name.as_str()))
    }

    /// `None` where there was no thread to compile it; that it can be was seen when it was checked.
    fn compiled(&self) -> Option<&Compiled> {
        let compile = || deep(|| Compiled::new(&self.text))?.ok().map(Arc::new);
        self.compiled.get_or_init(compile).as_deref()
    }

    /// Whether it holds; or why that cannot be told.
    pub fn holds(&self, pre: &Facts, now: &Facts) -> Result<bool, String> {
        for (root, name) in self.names() {
            let facts = if root == "pre" { pre } else { now };
            if !facts.contains_key(name) {
                let why = match pre.is_empty() && root == "pre" {
                    true => "the attempt that asked before the first step was cut off",
                    false => "the device did not say",
                };
                return Err(format!("{root}.{name} is not known: {why}"));
            }
        }
        let evaluated = self.compiled().and_then(|compiled| {
            let evaluate = || run(&compiled.program, pre, now);
            match compiled.is_small {
                true => Some(evaluate()),
                false => deep(evaluate),
            }
        });
        evaluated.unwrap_or_else(|| Err("there is no thread to evaluate it".into()))
    }

    /// The facts it names, as they are: `facts.free_disk=123`.
    pub fn named(&self, pre: &Facts, now: &Facts) -> Vec<(String, String)> {
        let value = |(root, name): (&str, &str)| {
            let facts = if root == "pre" { pre } else { now };
            let text = match facts.get(name)? {
                Fact::Number(number) if name == "version" => version_text(*number),
                Fact::Number(number) => number.to_string(),
                Fact::Text(text) => text.clone(),
            };
            Some((format!("{root}.{name}"), text))
        };
        self.names().filter_map(value).collect()
    }
}

impl Compiled {
    fn new(text: &str) -> Result<Self, CheckError> {
        let program = compile(text)?;
        let mut names = BTreeSet::new();
        walk(program.expression(), false, &mut names)?;
        let is_small = depth(program.expression()) <= SMALL;
        Ok(Self {
            program,
            names,
            is_small,
        })
    }
}

/// Operators within operators, as many as need no stack of their own to be evaluated.
const SMALL: usize = 8;

fn depth(expression: &IdedExpr) -> usize {
    let inner = match &expression.expr {
        Expr::Select(select) => depth(&select.operand),
        Expr::Call(call) => {
            let parts = call.target.iter().map(|target| &**target).chain(&call.args);
            parts.map(depth).max().unwrap_or(0)
        }
        Expr::List(list) => list.elements.iter().map(depth).max().unwrap_or(0),
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => 0,
        // Rare, and not worth to be looked into.
        Expr::Comprehension(_) | Expr::Map(_) | Expr::Struct(_) => SMALL,
    };
    inner + 1
}

/// Brackets in brackets, and operators in all: a parser and an interpreter that call themselves stay within [`deep`]'s
/// stack.
const DEPTH: usize = 16;
const OPERATORS: usize = 150;

/// Whether an expression is small enough for a parser and an interpreter that call themselves, on a stack of [`deep`]'s
/// size.
pub fn check_size(text: &str) -> Result<(), CheckError> {
    if text.len() > MAX_BYTES {
        return Err(CheckError::TooLong(text.len()));
    }
    let (mut quote, mut escaped) = (None, false);
    let (mut depth, mut operators) = (0usize, 0);
    for c in text.chars() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '\'' || c == '"' => quote = Some(c),
            None => {
                operators += usize::from(c.is_ascii_punctuation() && c != '_');
                match c {
                    '(' | '[' | '{' => depth += 1,
                    ')' | ']' | '}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                if depth > DEPTH || operators > OPERATORS {
                    return Err(CheckError::TooMuch);
                }
            }
        }
    }
    Ok(())
}

/// The stack that the largest expression needs, with room to spare.
pub const STACK: usize = 32 << 20;

/// Does something on a stack that is deep enough for it: the parser needs more for a bracket than one would think. `None`
/// when there is no thread for it.
pub fn deep<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK);
        thread.spawn_scoped(scope, work).ok()?.join().ok()
    })
}

fn compile(text: &str) -> Result<Program, CheckError> {
    Program::compile(text).map_err(|errors| match errors.errors.first() {
        Some(error) => CheckError::Syntax {
            column: usize::try_from(error.pos.1).unwrap_or_default() + 1,
            message: error.msg.clone(),
        },
        None => CheckError::Syntax {
            column: 1,
            message: errors.to_string(),
        },
    })
}

const COMPARISONS: [&str; 6] = ["_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_"];

/// Whether a fact, if it is one, can be compared with a value that is spelled out, if it is one.
fn comparable(fact: &IdedExpr, value: &IdedExpr) -> Result<(), CheckError> {
    let (Expr::Select(select), Expr::Literal(literal)) = (&fact.expr, &value.expr) else {
        return Ok(());
    };
    let kind = FACTS
        .iter()
        .find(|(name, ..)| *name == select.field)
        .map(|(_, kind, _)| *kind);
    let is_text = matches!(literal, LiteralValue::String(_));
    let is_number = matches!(
        literal,
        LiteralValue::Int(_) | LiteralValue::UInt(_) | LiteralValue::Double(_)
    );
    let name = &select.field;
    match kind {
        Some(Kind::Number) if name == "version" => Err(CheckError::Compared(
            "a version is compared with a version: facts.version >= version('7.16.2')".to_owned(),
        )),
        Some(Kind::Number) if !is_number => Err(CheckError::Compared(format!(
            "{name} is a number, without quotes"
        ))),
        Some(Kind::Text) if !is_text => Err(CheckError::Compared(format!("{name} is a text, in quotes"))),
        Some(_) | None => Ok(()),
    }
}

/// Goes through all of it, and gathers `root.name`.
fn walk(
    expression: &IdedExpr,
    in_comprehension: bool,
    names: &mut BTreeSet<(String, String)>,
) -> Result<(), CheckError> {
    const ROOTS: [&str; 3] = ["facts", "post", "pre"];
    let inner = in_comprehension;
    match &expression.expr {
        Expr::Select(select) => match &select.operand.expr {
            Expr::Ident(root) if ROOTS.contains(&root.as_str()) => {
                if FACTS.iter().all(|(name, ..)| *name != select.field) {
                    return Err(CheckError::Unknown(format!("{root}.{}", select.field)));
                }
                names.insert((root.clone(), select.field.clone()));
                Ok(())
            }
            _ => walk(&select.operand, inner, names),
        },
        Expr::Ident(root) if ROOTS.contains(&root.as_str()) => Err(CheckError::Bare(root.clone())),
        Expr::Call(call) => {
            if let [left, right] = call.args.as_slice()
                && COMPARISONS.contains(&call.func_name.as_str())
            {
                comparable(left, right).and_then(|()| comparable(right, left))?;
            }
            let parts = call.target.iter().map(|target| &**target).chain(&call.args);
            for part in parts {
                walk(part, inner, names)?;
            }
            Ok(())
        }
        Expr::Comprehension(_) if in_comprehension => Err(CheckError::Nested),
        Expr::Comprehension(comprehension) => {
            for part in [
                &comprehension.iter_range,
                &comprehension.accu_init,
                &comprehension.loop_cond,
                &comprehension.loop_step,
                &comprehension.result,
            ] {
                walk(part, true, names)?;
            }
            Ok(())
        }
        Expr::List(list) => list.elements.iter().try_for_each(|part| walk(part, inner, names)),
        Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => {
                walk(&entry.key, inner, names)?;
                walk(&entry.value, inner, names)
            }
            EntryExpr::StructField(field) => walk(&field.value, inner, names),
        }),
        Expr::Struct(_) => Err(CheckError::Type("there are no types to make values of".into())),
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Ok(()),
    }
}

fn made_up(number: i64) -> Facts {
    let fact = |(name, kind, _): &(&'static str, Kind, Source)| {
        let fact = match kind {
            Kind::Number => Fact::Number(number),
            Kind::Text => Fact::Text(number.to_string()),
        };
        (*name, fact)
    };
    FACTS.iter().map(fact).collect()
}

fn run(program: &Program, pre: &Facts, now: &Facts) -> Result<bool, String> {
    let mut context = Context::default();
    for (root, facts) in [("pre", pre), ("post", now), ("facts", now)] {
        let value = |(name, fact): (&&str, &Fact)| {
            let value = match fact {
                Fact::Number(number) => Value::Int(*number),
                Fact::Text(text) => Value::from(text.as_str()),
            };
            ((*name).to_owned(), value)
        };
        context.add_variable_from_value(root, facts.iter().map(value).collect::<HashMap<_, _>>());
    }
    let version = |text: Arc<String>| {
        number(&text).ok_or_else(|| cel::ExecutionError::FunctionError {
            function: "version".into(),
            message: format!("{text:?} is no version; write for example version('7.16.2')"),
        })
    };
    context
        .add_function("version", version)
        .map_err(|error| error.to_string())?;
    match program.execute(&context) {
        Ok(Value::Bool(holds)) => Ok(holds),
        Ok(_) => Err("it is neither true nor false; compare something".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// Between the parts of a version.
const PART: i64 = 1000;
/// What follows a version without `alpha`, `beta` or `rc` is later than those.
const STAGES: [&str; 3] = ["alpha", "beta", "rc"];
const RELEASE: i64 = 9;

/// A version as a number, so that a later one is larger: `7.16.2 (stable)`, `7.19rc1`.
///
/// ```
/// use muster_model::check::number;
/// assert!(number("7.9").unwrap() < number("7.16.2 (stable)").unwrap());
/// assert!(number("7.19rc1").unwrap() < number("7.19").unwrap());
/// assert_eq!(number("stable"), None);
/// ```
pub fn number(text: &str) -> Option<i64> {
    let text = text.split_whitespace().next()?;
    let (digits, stage) = match text.find(|c: char| c.is_ascii_alphabetic()) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let mut parts = digits
        .split('.')
        .map(|part| part.parse::<i64>().ok().filter(|part| (0..PART).contains(part)));
    let (major, minor) = (parts.next()??, parts.next()??);
    let patch = match parts.next() {
        Some(patch) => patch?,
        None => 0,
    };
    if parts.next().is_some() {
        return None;
    }
    let (stage, count) = match stage {
        "" => (RELEASE, 0),
        stage => {
            let at = STAGES.iter().position(|known| stage.starts_with(known))?;
            let count = &stage[STAGES[at].len()..];
            let count = if count.is_empty() { 0 } else { count.parse().ok()? };
            (at as i64, Some(count).filter(|count| (0..PART).contains(count))?)
        }
    };
    Some((((major * PART + minor) * PART + patch) * 10 + stage) * PART + count)
}

fn version_text(number: i64) -> String {
    let (count, rest) = (number % PART, number / PART);
    let (stage, rest) = (rest % 10, rest / 10);
    let (patch, rest) = (rest % PART, rest / PART);
    let mut text = format!("{}.{}", rest / PART, rest % PART);
    if patch > 0 {
        text.push_str(&format!(".{patch}"));
    }
    if let Some(stage) = usize::try_from(stage).ok().and_then(|stage| STAGES.get(stage)) {
        text.push_str(&format!("{stage}{count}"));
    }
    text
}

#[cfg(test)]
mod tests;
