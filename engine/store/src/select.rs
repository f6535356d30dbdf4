//! Selectors as SQL over `device d`.

use muster_model::Selector;
use muster_model::selector::{Condition, Field, Subject};

/// A `WHERE` condition and the values of its `?`s, in order.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    pub(crate) sql: String,
    pub(crate) values: Vec<String>,
}

/// The condition that holds for the devices the selector means. Values are always bound, never written out.
pub(crate) fn filter(selector: &Selector) -> Filter {
    let mut filter = Filter::default();
    for requirement in selector.requirements() {
        let joint = if filter.sql.is_empty() { "" } else { " AND " };
        filter.sql.push_str(joint);
        match &requirement.subject {
            Subject::Field(field) => filter.field(column(*field), &requirement.condition),
            Subject::Label(key) => filter.label(key, &requirement.condition),
        }
    }
    if filter.sql.is_empty() {
        filter.sql.push_str("true");
    }
    filter
}

fn column(field: Field) -> &'static str {
    match field {
        Field::Address => "d.address",
        Field::Board => "d.board",
        Field::Name => "d.name",
        Field::Version => "d.version",
        Field::Zone => "d.zone",
    }
}

impl Filter {
    fn field(&mut self, column: &str, condition: &Condition) {
        match condition {
            Condition::Exists => self.sql.push_str(&format!("coalesce({column}, '') <> ''")),
            Condition::Absent => self.sql.push_str(&format!("coalesce({column}, '') = ''")),
            Condition::In(globs) => self.globs(column, globs),
            Condition::NotIn(globs) => {
                self.sql.push_str("NOT ");
                self.globs(column, globs);
            }
        }
    }

    fn globs(&mut self, column: &str, globs: &[String]) {
        // Names that are spelled out may be many thousands, and are found by an index.
        if globs.len() > 1 && !globs.iter().any(|glob| glob.contains(['*', '?'])) {
            let values = serde_json::Value::from(globs.to_vec()).to_string();
            self.sql
                .push_str(&format!("({column} IN (SELECT value FROM json_each(?)))"));
            self.values.push(values);
            return;
        }
        let one = format!("coalesce({column}, '') GLOB ?");
        self.sql
            .push_str(&format!("({})", vec![one; globs.len()].join(" OR ")));
        // SQLite's GLOB also knows [classes]; ours does not.
        self.values
            .extend(globs.iter().map(|glob| glob.replace('[', "[[]")));
    }

    fn label(&mut self, key: &str, condition: &Condition) {
        let (not, values) = match condition {
            Condition::Exists => ("", None),
            Condition::Absent => ("NOT ", None),
            Condition::In(values) => ("", Some(values)),
            Condition::NotIn(values) => ("NOT ", Some(values)),
        };
        let wanted = values.map(|values| format!(" AND l.value IN ({})", vec!["?"; values.len()].join(", ")));
        self.sql.push_str(&format!(
            "{not}EXISTS (SELECT 1 FROM device_label l WHERE l.device_id = d.id AND l.key = ?{})",
            wanted.unwrap_or_default()
        ));
        self.values.push(key.to_owned());
        self.values.extend(values.into_iter().flatten().cloned());
    }
}
