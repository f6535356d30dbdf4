//! Expressions over what a device answered (CEL): `rows.all(r, r.disabled == 'true')`.
//!
//! | name | what it is |
//! |---|---|
//! | `rows` | the items that were read, as maps of name to text |
//! | `also.NAME` | items of another menu, as `also` names them |
//! | `facts.NAME` | `version` (a number, see [`number`]), `uptime`, `board`, … as in plans' checks |
//! | `device.NAME` | `name`, `address`, `zone` |
//! | `labels.KEY` | a label; empty where the device has no such label |
//!
//! Values are texts. `yes` and `true` are one, and read as `'true'`, as do `no` and `false` as `'false'`, in answers as in
//! the expression. A property that an item does not have is the empty text, unless the expression asks `has(r.NAME)`.
//! `r.src_address` is the property `src-address`.

use std::collections::{BTreeMap, BTreeSet};

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue};
use cel::common::types::{CelBool, CelInt, CelList, CelMap, CelString};
use cel::common::value::{CowVal, Val};
use cel::{Context, Value};
use muster_model::check::{self, FACTS, Fact, Facts, Source, number};
use muster_model::{CheckError, Labels};
use routeros_wire::value::duration;

use crate::reads::is_read;
use crate::row::{Row, RowRef};

/// What an expression names, and so what has to be read for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Properties of items, by the list they are in: empty for `rows`, else the name in `also`.
    pub properties: BTreeMap<String, BTreeSet<String>>,
    /// Lists whose items are used as a whole: all of their properties matter.
    pub whole: BTreeSet<String>,
    /// Properties that are asked for with `has`.
    pub tested: BTreeSet<String>,
    /// Facts.
    pub facts: BTreeSet<&'static str>,
    /// Whether it names `device` or `labels`.
    pub device: bool,
}

/// What an expression may name beside what all may, and what it makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Of one device: true or false.
    Verdict,
    /// Of rows of many devices, with `fleet`, the names of all of them: true or false.
    Joined,
    /// Of a device, a text.
    Text,
    /// Of one item, `row`, a text.
    RowText,
}

/// A checked expression.
#[derive(Debug)]
pub struct Rule {
    text: String,
    tree: IdedExpr,
    names: Names,
}

/// What of a device is not in its answers.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its address.
    pub address: &'a str,
    /// Its zone.
    pub zone: &'a str,
    /// Its labels.
    pub labels: &'a Labels,
}

impl Rule {
    /// Reads an expression over `rows` and the lists that `also` names.
    pub fn parse(text: &str, also: &[String]) -> Result<Self, CheckError> {
        Self::parse_as(text, also, Form::Verdict)
    }

    /// Reads an expression of a form.
    pub fn parse_as(text: &str, also: &[String], form: Form) -> Result<Self, CheckError> {
        check::check_size(text)?;
        check::deep(|| Self::parse_there(text, also, form)).unwrap_or(Err(CheckError::TooMuch))
    }

    fn parse_there(text: &str, also: &[String], form: Form) -> Result<Self, CheckError> {
        let mut tree = cel::parser::Parser::new().parse(text).map_err(|errors| {
            let first = errors.errors.first();
            CheckError::Syntax {
                column: first.map_or(1, |error| usize::try_from(error.pos.1).unwrap_or_default() + 1),
                message: first.map_or_else(|| errors.to_string(), |error| error.msg.clone()),
            }
        })?;
        unify(&mut tree);
        let mut walk = Walk {
            also,
            form,
            scope: Vec::new(),
            names: Names::default(),
        };
        walk.visit(&tree, 0)?;
        let rule = Self {
            text: text.to_owned(),
            tree,
            names: walk.names,
        };
        rule.try_on_made_up(also, form)?;
        Ok(rule)
    }

    /// As given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it names.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// What is of the wrong kind is so for every device.
    fn try_on_made_up(&self, also: &[String], form: Form) -> Result<(), CheckError> {
        let labels = Labels::default();
        let about = About {
            name: "r1",
            address: "192.0.2.1",
            zone: "",
            labels: &labels,
        };
        for text in ["1", "true"] {
            let of = |list: &str| {
                let names = self.names.properties.get(list).into_iter().flatten();
                vec![Row::made_up(names.map(String::as_str), text)]
            };
            let rows = of("");
            let others = also.iter().map(|name| (name.as_str(), of(name)));
            let others = others.collect::<Vec<_>>();
            let given = Given {
                rows: rows.iter().collect(),
                also: others
                    .iter()
                    .map(|(name, rows)| (*name, rows.iter().collect()))
                    .collect(),
                facts: &made_up_facts(),
                about,
                row: rows.first().filter(|_| form == Form::RowText),
                fleet: (form == Form::Joined).then_some(&[][..]),
            };
            // What depends on a value is for devices to show.
            let tried = match form {
                Form::Verdict | Form::Joined => evaluate(&self.tree, &self.names, &given, is_true).map(drop),
                Form::Text | Form::RowText => evaluate(&self.tree, &self.names, &given, text_of).map(drop),
            };
            match tried {
                Err(Failed::Kind(error)) => return Err(CheckError::Type(error)),
                Ok(()) | Err(Failed::Value(_)) => {}
            }
        }
        Ok(())
    }

    /// Whether it holds; or why that cannot be told.
    ///
    /// Needs a stack of [`check::STACK`] bytes.
    pub fn holds(&self, given: &Given<'_>) -> Result<bool, String> {
        self.evaluate(given, is_true)
    }

    /// The text it makes; or why that cannot be told.
    ///
    /// Needs a stack of [`check::STACK`] bytes.
    pub fn text_of(&self, given: &Given<'_>) -> Result<String, String> {
        self.evaluate(given, text_of)
    }

    fn evaluate<T>(
        &self,
        given: &Given<'_>,
        take: fn(&CowVal<'_, '_>) -> Result<T, Failed>,
    ) -> Result<T, String> {
        for name in &self.names.facts {
            if !given.facts.contains_key(name) {
                return Err(format!("facts.{name} is not known: the device did not say"));
            }
        }
        evaluate(&self.tree, &self.names, given, take).map_err(|(Failed::Kind(why) | Failed::Value(why))| why)
    }
}

fn made_up_facts() -> Facts {
    let fact = |(name, kind, _): &(&'static str, check::Kind, Source)| {
        let fact = match kind {
            check::Kind::Number => Fact::Number(1),
            check::Kind::Text => Fact::Text("1".into()),
        };
        (*name, fact)
    };
    FACTS.iter().map(fact).collect()
}

/// What an expression is evaluated over.
#[derive(Debug)]
pub struct Given<'a> {
    /// `rows`.
    pub rows: Vec<&'a Row<'a>>,
    /// `also`.
    pub also: Vec<(&'a str, Vec<&'a Row<'a>>)>,
    /// `facts`.
    pub facts: &'a Facts,
    /// `device` and `labels`.
    pub about: About<'a>,
    /// `row`, of an expression over one item.
    pub row: Option<&'a Row<'a>>,
    /// `fleet`, of an expression over rows of many devices.
    pub fleet: Option<&'a [String]>,
}

enum Failed {
    /// It cannot be evaluated whatever the values are.
    Kind(String),
    /// It cannot be evaluated with these values.
    Value(String),
}

thread_local! {
    /// The functions: made once a thread.
    static ROOT: Context<'static, 'static> = root();
}

fn root() -> Context<'static, 'static> {
    let mut context = Context::default();
    let wrong = |function: &str, message: String| cel::ExecutionError::FunctionError {
        function: function.to_owned(),
        message,
    };
    let version = move |text: std::sync::Arc<String>| {
        number(&text).ok_or_else(|| wrong("version", format!("{text:?} is no version")))
    };
    let seconds = move |text: std::sync::Arc<String>| {
        let parsed = duration::parse(text.as_bytes()).and_then(|time| i64::try_from(time.as_secs()).ok());
        parsed.ok_or_else(|| wrong("seconds", format!("{text:?} is no duration")))
    };
    // No function of the language has these names.
    let _ = context.add_function("version", version);
    let _ = context.add_function("seconds", seconds);
    context
}

fn is_true(value: &CowVal<'_, '_>) -> Result<bool, Failed> {
    match value.downcast_ref::<CelBool>() {
        Some(holds) => Ok(*holds.inner()),
        None => Err(Failed::Kind(
            "it is neither true nor false; compare something".into(),
        )),
    }
}

fn text_of(value: &CowVal<'_, '_>) -> Result<String, Failed> {
    match value.downcast_ref::<CelString<'_>>() {
        Some(text) => Ok(text.inner().to_owned()),
        None => Err(Failed::Kind("it is no text; string() makes one".into())),
    }
}

type Take<T> = fn(&CowVal<'_, '_>) -> Result<T, Failed>;

fn evaluate<T>(tree: &IdedExpr, names: &Names, given: &Given<'_>, take: Take<T>) -> Result<T, Failed> {
    ROOT.with(|root| bind(root, tree, names, given, take))
}

fn list<'a>(rows: &[&'a Row<'a>], names: &'a Names) -> Box<dyn Val + 'a> {
    let boxed = |row: &&'a Row<'a>| Box::new(RowRef::new(row, &names.tested)) as Box<dyn Val + 'a>;
    Box::new(CelList::from(rows.iter().map(boxed).collect::<Vec<_>>()))
}

fn bind<'a, T>(
    root: &Context<'a, 'a>,
    tree: &IdedExpr,
    names: &'a Names,
    given: &Given<'a>,
    take: Take<T>,
) -> Result<T, Failed> {
    let mut context = root.new_inner_scope();
    if let Some(row) = given.row {
        context.add_variable_as_val("row", Box::new(RowRef::new(row, &names.tested)));
    }
    if let Some(fleet) = given.fleet {
        let name = |name: &'a String| Box::new(CelString::from(name.as_str())) as Box<dyn Val + 'a>;
        let names = fleet.iter().map(name).collect::<Vec<_>>();
        context.add_variable_as_val("fleet", Box::new(CelList::from(names)));
    }
    context.add_variable_as_val("rows", list(&given.rows, names));
    if !given.also.is_empty() {
        let lists = given
            .also
            .iter()
            .map(|(name, rows)| ((*name).into(), list(rows, names)));
        let lists = CelMap::from(lists.collect::<std::collections::HashMap<_, _>>());
        context.add_variable_as_val("also", Box::new(lists));
    }
    if !names.facts.is_empty() {
        let fact = |name: &&'static str| {
            let value: Box<dyn Val + 'a> = match given.facts.get(*name)? {
                Fact::Number(number) => Box::new(CelInt::from(*number)),
                Fact::Text(text) => Box::new(CelString::from(text.as_str())),
            };
            Some(((*name).into(), value))
        };
        let facts = names
            .facts
            .iter()
            .filter_map(fact)
            .collect::<std::collections::HashMap<_, _>>();
        context.add_variable_as_val("facts", Box::new(CelMap::from(facts)));
    }
    if names.device {
        let About {
            name,
            address,
            zone,
            labels,
        } = given.about;
        let text = |text: &'a str| Box::new(CelString::from(text)) as Box<dyn Val + 'a>;
        let device = [("name", name), ("address", address), ("zone", zone)];
        let device = device.map(|(key, value)| (key.into(), text(value)));
        context.add_variable_as_val(
            "device",
            Box::new(CelMap::from(std::collections::HashMap::from(device))),
        );
        context.add_variable_as_val("labels", Box::new(RowRef::labels(labels)));
    }
    match Value::resolve_val(tree, &context) {
        Ok(value) => take(&value),
        Err(error) => Err(failed(&error)),
    }
}

fn failed(error: &cel::ExecutionError) -> Failed {
    use cel::ExecutionError as E;
    let why = match error {
        E::DivisionByZero(_) => "division by zero".to_owned(),
        E::RemainderByZero(_) => "remainder of a division by zero".to_owned(),
        other => other.to_string(),
    };
    match error {
        E::NoSuchOverload(_)
        | E::UndeclaredReference(_)
        | E::InvalidArgumentCount { .. }
        | E::NotSupportedAsMethod { .. }
        | E::UnsupportedBinaryOperator(..)
        | E::MissingArgumentOrTarget => Failed::Kind(why),
        _ => Failed::Value(why),
    }
}

/// `'yes'` is `'true'`, as in what devices answer.
fn unify(tree: &mut IdedExpr) {
    match &mut tree.expr {
        Expr::Literal(LiteralValue::String(text)) => {
            let unified = match text.inner() {
                "yes" => Some("true"),
                "no" => Some("false"),
                _ => None,
            };
            if let Some(unified) = unified {
                *text = CelString::from(unified);
            }
        }
        Expr::Call(CallExpr { target, args, .. }) => {
            target.iter_mut().for_each(|target| unify(target));
            args.iter_mut().for_each(unify);
        }
        Expr::Comprehension(inner) => {
            for part in [
                &mut inner.iter_range,
                &mut inner.accu_init,
                &mut inner.loop_cond,
                &mut inner.loop_step,
                &mut inner.result,
            ] {
                unify(part);
            }
        }
        Expr::List(list) => list.elements.iter_mut().for_each(unify),
        Expr::Map(map) => map.entries.iter_mut().for_each(|entry| {
            if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                unify(&mut entry.value);
            }
        }),
        Expr::Select(select) => unify(&mut select.operand),
        Expr::Literal(_) | Expr::Struct(_) | Expr::Ident(_) | Expr::Unspecified => {}
    }
}

/// `all`, `exists`, `filter` and `map` that may stand inside one another.
const NESTED: usize = 2;

/// Functions there are, beside operators.
const FUNCTIONS: &[&str] = &[
    "bool",
    "bytes",
    "contains",
    "double",
    "dyn",
    "endsWith",
    "int",
    "matches",
    "max",
    "min",
    "seconds",
    "size",
    "startsWith",
    "string",
    "type",
    "uint",
    "version",
];

struct Walk<'a> {
    also: &'a [String],
    form: Form,
    /// Variables, with the list whose items they are, if that is known.
    scope: Vec<(String, Of)>,
    names: Names,
}

/// What an expression stands for, as far as properties are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Of {
    /// The items of a list.
    List(String),
    /// One item of a list.
    Item(String),
    /// Something else, or not known.
    Other,
}

impl Walk<'_> {
    fn visit(&mut self, tree: &IdedExpr, depth: usize) -> Result<Of, CheckError> {
        match &tree.expr {
            Expr::Ident(name) => self.ident(name),
            Expr::Select(select) => match &select.operand.expr {
                Expr::Ident(root) if !self.is_bound(root) => self.member(root, &select.field),
                _ => {
                    let of = self.visit(&select.operand, depth)?;
                    Ok(self.property(&of, &select.field, select.test))
                }
            },
            Expr::Call(call) => self.call(call, depth),
            Expr::Comprehension(_) if depth == NESTED => Err(CheckError::Type(format!(
                "all, exists, filter and map stand {} deep in one another; at most {NESTED} are allowed",
                NESTED + 1
            ))),
            Expr::Comprehension(inner) => {
                let range = self.visit(&inner.iter_range, depth)?;
                let item = match &range {
                    Of::List(list) => Of::Item(list.clone()),
                    Of::Item(_) | Of::Other => Of::Other,
                };
                self.visit(&inner.accu_init, depth + 1)?;
                let before = self.scope.len();
                self.scope.push((inner.iter_var.clone(), item));
                self.scope.push((inner.accu_var.clone(), Of::Other));
                for part in [&inner.loop_cond, &inner.loop_step] {
                    self.visit(part, depth + 1)?;
                }
                self.scope.remove(before);
                self.visit(&inner.result, depth + 1)?;
                self.scope.truncate(before);
                // What filter leaves are items of the same list; what else there is has no properties, or the same.
                Ok(range)
            }
            Expr::List(list) => {
                for part in &list.elements {
                    self.visit(part, depth)?;
                }
                Ok(Of::Other)
            }
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.visit(&entry.key, depth)?;
                        self.visit(&entry.value, depth)?;
                    }
                }
                Ok(Of::Other)
            }
            Expr::Struct(_) => Err(CheckError::Type("there are no types to make values of".into())),
            Expr::Literal(_) | Expr::Unspecified => Ok(Of::Other),
        }
    }

    fn is_bound(&self, name: &str) -> bool {
        matches!(name, "rows" | "row" | "fleet") || self.scope.iter().any(|(bound, _)| bound == name)
    }

    fn ident(&mut self, name: &str) -> Result<Of, CheckError> {
        if let Some((_, of)) = self.scope.iter().rev().find(|(bound, _)| bound == name) {
            return Ok(of.clone());
        }
        match name {
            "rows" if self.form != Form::RowText => Ok(Of::List(String::new())),
            "row" if self.form == Form::RowText => Ok(Of::Item(String::new())),
            "fleet" if self.form == Form::Joined => Ok(Of::Other),
            "facts" | "device" | "labels" | "also" => Err(CheckError::Bare(name.to_owned())),
            "int" | "string" | "bool" | "double" | "uint" | "bytes" => Ok(Of::Other),
            other => Err(CheckError::Type(format!(
                "{other:?} is not known; there are {}device, facts, labels{}",
                match self.form {
                    Form::Verdict | Form::Text => "rows, ",
                    Form::Joined => "rows, fleet, ",
                    Form::RowText => "row, ",
                },
                if self.also.is_empty() { "" } else { " and also" }
            ))),
        }
    }

    fn member(&mut self, root: &str, name: &str) -> Result<Of, CheckError> {
        let none = |known: String| {
            Err(CheckError::Type(format!(
                "{root}.{name} is not known; there are {known}"
            )))
        };
        match root {
            "facts" => {
                let fact = FACTS.iter().filter(|(_, _, source)| is_read(*source));
                match fact.clone().find(|(known, ..)| *known == name) {
                    Some((known, ..)) => self.names.facts.insert(known),
                    None => return none(fact.map(|(known, ..)| *known).collect::<Vec<_>>().join(", ")),
                };
                Ok(Of::Other)
            }
            "device" => {
                self.names.device = true;
                match name {
                    "name" | "address" | "zone" => Ok(Of::Other),
                    _ => none("name, address, zone".into()),
                }
            }
            "labels" => {
                self.names.device = true;
                Ok(Of::Other)
            }
            "also" => match self.also.iter().any(|known| known == name) {
                true => Ok(Of::List(name.to_owned())),
                false if self.also.is_empty() => {
                    none("none: write also = { name = \"/menu\" } beside read".into())
                }
                false => none(self.also.join(", ")),
            },
            other => self.ident(other),
        }
    }

    fn call(&mut self, call: &CallExpr, depth: usize) -> Result<Of, CheckError> {
        const INDEX: &str = "_[_]";
        if call.func_name == INDEX
            && let [operand, index] = call.args.as_slice()
        {
            let of = match &operand.expr {
                Expr::Ident(root) if root == "labels" && !self.is_bound(root) => {
                    self.names.device = true;
                    Of::Other
                }
                _ => self.visit(operand, depth)?,
            };
            return match (&of, &index.expr) {
                (_, Expr::Literal(LiteralValue::String(name))) => Ok(self.property(&of, name.inner(), false)),
                (Of::List(list), _) => {
                    let list = list.clone();
                    self.visit(index, depth)?;
                    Ok(Of::Item(list))
                }
                (Of::Item(list), _) => {
                    self.names.whole.insert(list.clone());
                    self.visit(index, depth)
                }
                (Of::Other, _) => self.visit(index, depth),
            };
        }
        let operator = call.func_name.starts_with(|c: char| !c.is_ascii_alphabetic());
        if !operator && !FUNCTIONS.contains(&call.func_name.as_str()) {
            return Err(CheckError::Type(format!(
                "there is no function {:?}; there are {}, and all, exists, exists_one, filter, map, has",
                call.func_name,
                FUNCTIONS.join(", ")
            )));
        }
        let mut choice = Of::Other;
        for part in call.target.iter().map(|target| &**target).chain(&call.args) {
            let of = self.visit(part, depth)?;
            if call.func_name == "_?_:_" && of != Of::Other {
                choice = of.clone();
            }
            // Compared, or handed to a function, as a whole.
            if let Of::Item(list) = of {
                self.names.whole.insert(list);
            }
        }
        Ok(choice)
    }

    /// Notes a property. Where it is not known of which list, it may be of any.
    fn property(&mut self, of: &Of, name: &str, tested: bool) -> Of {
        let name = name.replace('_', "-");
        let lists = match of {
            Of::Item(list) => vec![list.clone()],
            Of::List(_) => vec![],
            Of::Other => std::iter::once(String::new())
                .chain(self.also.iter().cloned())
                .collect(),
        };
        for list in lists {
            self.names
                .properties
                .entry(list)
                .or_default()
                .insert(name.clone());
        }
        if tested {
            self.names.tested.insert(name);
        }
        Of::Other
    }
}
