//! What of a table a print shows: `.proplist`, queries, `count-only`, and the sentences that come of it.

use routeros_wire::{Query, Sentence};

use crate::field::Field;
use crate::menu::Menu;
use crate::reply::Replies;
use crate::table::{Row, id_text};
use crate::trap::Trap;

/// The arguments of a `print`, `getall` or `listen`.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    /// The names in `.proplist`, in their order; none for every property.
    names: Option<Vec<Vec<u8>>>,
    query: Query,
    /// Ids or names of the only items to look at.
    only: Option<Vec<Vec<u8>>>,
    pub(crate) count_only: bool,
    pub(crate) follow: Follow,
}

/// Whether a print goes on as a listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follow {
    /// It ends.
    No,
    /// It goes on without the rows that are there.
    Only,
    /// It goes on after the rows that are there.
    Yes,
}

/// Parameters of print that change how a console prints and nothing here.
const ACCEPTED: [&[u8]; 9] = [
    b"as-value",
    b"brief",
    b"detail",
    b"oid",
    b"show-ids",
    b"stats",
    b"terse",
    b"value-list",
    b"without-paging",
];

impl Selection {
    /// Reads the arguments of a request.
    pub(crate) fn of(sentence: Sentence<'_>) -> Result<Self, Trap> {
        let mut selection = Self {
            names: None,
            query: Query::of(sentence).map_err(|error| Trap::query(error.reason))?,
            only: None,
            count_only: false,
            follow: Follow::No,
        };
        // The list is an attribute in the vendor's page and an API word (`.proplist=`) in older clients.
        let api_word = sentence.words().find_map(|word| word.strip_prefix(b".proplist="));
        let arguments = sentence
            .attributes()
            .chain(api_word.map(|list| (&b".proplist"[..], list)));
        for (name, value) in arguments {
            match name {
                b".proplist" => selection.names = Some(list(value)).filter(|names| !names.is_empty()),
                b".id" | b"from" | b"numbers" => selection.only = Some(list(value)),
                b"count-only" => selection.count_only = true,
                b"follow" => selection.follow = Follow::Yes,
                b"follow-only" => selection.follow = Follow::Only,
                name if ACCEPTED.contains(&name) => {}
                name => return Err(Trap::unknown_parameter(name)),
            }
        }
        Ok(selection)
    }

    /// Whether a row is shown.
    pub(crate) fn shows(&self, menu: &Menu, row: &Row) -> bool {
        let id = id_text(row.id);
        let id = (!menu.is_singleton()).then_some(id.as_bytes());
        let key = menu.key.and_then(|key| row.get(key.as_bytes()));
        let among = |only: &Vec<Vec<u8>>| {
            only.iter()
                .any(|name| Some(&name[..]) == id || Some(&name[..]) == key)
        };
        if !self.only.as_ref().is_none_or(among) {
            return false;
        }
        self.query.is_empty()
            || self.query.matches(|name| match name {
                b".id" => id,
                name => visible(menu, row, name),
            })
    }

    /// Writes the `!re` of a row: bare when `.proplist` names nothing that the row has.
    pub(crate) fn write(&self, replies: &mut Replies<'_>, menu: &Menu, row: &Row) {
        replies.row(|re| match &self.names {
            Some(names) => names.iter().for_each(|name| write_named(re, menu, row, name)),
            None => {
                if !menu.is_singleton() {
                    re.attribute(b".id", id_text(row.id).as_bytes());
                }
                for (name, value) in row.values() {
                    if visible(menu, row, name.as_bytes()).is_some() {
                        re.attribute(name.as_bytes(), value);
                    }
                }
            }
        });
    }
}

fn write_named(re: &mut Replies<'_>, menu: &Menu, row: &Row, name: &[u8]) {
    if name == b".id" && !menu.is_singleton() {
        re.attribute(name, id_text(row.id).as_bytes());
    } else if let Some(value) = visible(menu, row, name) {
        re.attribute(name, value);
    } else if let Some(oid) = oid(menu, row, name) {
        re.attribute(name, oid.as_bytes());
    }
}

/// `mtu.oid`: the SNMP object of a property.
fn oid(menu: &Menu, row: &Row, name: &[u8]) -> Option<String> {
    let field = menu.field(name.strip_suffix(b".oid")?)?;
    row.get(field.name.as_bytes())?;
    let oid = field.oid?;
    Some(match menu.is_singleton() {
        true => oid.to_owned(),
        false => format!("{oid}.{}", row.id),
    })
}

/// A property of a row, unless it is one that devices never print.
fn visible<'r>(menu: &Menu, row: &'r Row, name: &[u8]) -> Option<&'r [u8]> {
    let value = row.get(name)?;
    let secret = menu.field(name).is_some_and(Field::is_secret);
    (!secret).then_some(value)
}

/// The parts of a comma list.
pub(crate) fn list(value: &[u8]) -> Vec<Vec<u8>> {
    let parts = value.split(|&byte| byte == b',').filter(|part| !part.is_empty());
    parts.map(<[u8]>::to_vec).collect()
}
