//! The items of one menu of one device.

/// Items in the order they print.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
    /// The highest id there ever was: an id is never given twice.
    last_id: u32,
}

/// One item: an id and the properties that are set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) id: u32,
    values: Vec<(&'static str, Vec<u8>)>,
}

impl Row {
    /// An item with an id and nothing else.
    pub(crate) fn numbered(id: u32) -> Self {
        Self {
            id,
            values: Vec::new(),
        }
    }

    /// Sets a property, for building.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Vec<u8>>) -> Self {
        self.set(name, value.into());
        self
    }

    pub(crate) fn get(&self, name: &[u8]) -> Option<&[u8]> {
        let found = self.values.iter().find(|(known, _)| known.as_bytes() == name);
        found.map(|(_, value)| value.as_slice())
    }

    pub(crate) fn set(&mut self, name: &'static str, value: Vec<u8>) {
        match self.values.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.values.push((name, value)),
        }
    }

    pub(crate) fn unset(&mut self, name: &str) {
        self.values.retain(|(known, _)| *known != name);
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.values.iter().map(|(name, value)| (*name, value.as_slice()))
    }
}

impl Table {
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub(crate) fn rows_mut(&mut self) -> &mut [Row] {
        &mut self.rows
    }

    pub(crate) fn row(&self, id: u32) -> Option<&Row> {
        self.rows.iter().find(|row| row.id == id)
    }

    pub(crate) fn row_mut(&mut self, id: u32) -> Option<&mut Row> {
        self.rows.iter_mut().find(|row| row.id == id)
    }

    /// Adds an item with a new id before the item `before`, or as the last. Returns the id.
    pub(crate) fn add(&mut self, row: Row, before: Option<u32>) -> u32 {
        self.last_id += 1;
        let at = self.position(before);
        self.rows.insert(
            at,
            Row {
                id: self.last_id,
                ..row
            },
        );
        self.last_id
    }

    /// Adds an item that has an id.
    pub(crate) fn push(&mut self, row: Row) {
        self.last_id = self.last_id.max(row.id);
        self.rows.push(row);
    }

    pub(crate) fn remove(&mut self, id: u32) {
        self.rows.retain(|row| row.id != id);
    }

    /// Puts an item back to the place where it stood, as far as there still are so many.
    pub(crate) fn restore(&mut self, row: Row, at: usize) {
        let at = at.min(self.rows.len());
        self.rows.insert(at, row);
    }

    /// Where an item stands.
    pub(crate) fn place_of(&self, id: u32) -> Option<usize> {
        self.rows.iter().position(|row| row.id == id)
    }

    /// Items in this order; those that it does not name come last.
    pub(crate) fn reorder(&mut self, order: &[u32]) {
        let place = |row: &Row| order.iter().position(|id| *id == row.id).unwrap_or(usize::MAX);
        self.rows.sort_by_key(place);
    }

    /// The highest id there ever was.
    pub(crate) fn last_id(&self) -> u32 {
        self.last_id
    }

    /// Gives no id up to this one again.
    pub(crate) fn skip_ids(&mut self, last: u32) {
        self.last_id = self.last_id.max(last);
    }

    /// Moves items, in the order given, before the item `before`, or to the end.
    pub(crate) fn relocate(&mut self, ids: &[u32], before: Option<u32>) {
        let before = before.filter(|id| !ids.contains(id));
        let mut moved: Vec<Row> = ids.iter().filter_map(|&id| self.row(id).cloned()).collect();
        self.rows.retain(|row| !ids.contains(&row.id));
        let at = self.position(before);
        self.rows.splice(at..at, moved.drain(..));
    }

    fn position(&self, before: Option<u32>) -> usize {
        let found = before.and_then(|id| self.rows.iter().position(|row| row.id == id));
        found.unwrap_or(self.rows.len())
    }

    /// The item with this id (`*1F`), or whose property `key` has this value.
    pub(crate) fn find(&self, id_or_name: &[u8], key: Option<&str>) -> Option<u32> {
        if let Some(id) = parse_id(id_or_name) {
            return self.row(id).map(|row| row.id);
        }
        let key = key?.as_bytes();
        let found = self.rows.iter().find(|row| row.get(key) == Some(id_or_name));
        found.map(|row| row.id)
    }

    /// The item other than `except` whose property `name` has this value.
    pub(crate) fn holder(&self, name: &str, wanted: &[u8], except: Option<u32>) -> Option<u32> {
        let is_holder = |row: &&Row| Some(row.id) != except && row.get(name.as_bytes()) == Some(wanted);
        self.rows.iter().find(is_holder).map(|row| row.id)
    }
}

/// An id as it prints: upper-case hexadecimal, `*1F`.
pub(crate) fn id_text(id: u32) -> String {
    format!("*{id:X}")
}

fn parse_id(text: &[u8]) -> Option<u32> {
    let digits = text.strip_prefix(b"*")?;
    let valid = digits.iter().all(u8::is_ascii_hexdigit);
    u32::from_str_radix(std::str::from_utf8(digits).ok().filter(|_| valid)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(names: &[&str]) -> Table {
        let mut table = Table::default();
        for name in names {
            table.add(Row::default().with("name", *name), None);
        }
        table
    }

    fn order(table: &Table) -> Vec<u32> {
        table.rows().iter().map(|row| row.id).collect()
    }

    #[test]
    fn ids_are_never_given_twice() {
        let mut table = table(&["a", "b"]);
        table.remove(2);
        assert_eq!(table.add(Row::default(), Some(1)), 3);
        assert_eq!(order(&table), [3, 1]);
    }

    #[test]
    fn items_are_found_by_id_and_by_name() {
        let table = table(&["a", "b"]);
        assert_eq!(table.find(b"*2", None), Some(2));
        assert_eq!(table.find(b"b", Some("name")), Some(2));
        assert_eq!(table.find(b"b", None), None);
        assert_eq!(table.find(b"*+2", Some("name")), None);
        assert_eq!(table.find(b"*", Some("name")), None);
        assert_eq!(id_text(0x1F), "*1F");
    }

    #[test]
    fn items_move_together() {
        let mut table = table(&["a", "b", "c", "d"]);
        table.relocate(&[4, 1], Some(3));
        assert_eq!(order(&table), [2, 4, 1, 3]);
        table.relocate(&[2], None);
        assert_eq!(order(&table), [4, 1, 3, 2]);
        table.relocate(&[4], Some(4));
        assert_eq!(order(&table), [1, 3, 2, 4]);
    }
}
