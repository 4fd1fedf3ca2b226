//! Which tables the rows of a transaction are of: table maps enter, what leaves is a table with its columns by
//! name, or that it is not relayed.
//!
//! Columns are learnt from the table map where it names them, else from the server; a table whose columns are
//! not those that its rows were logged with is never guessed at.

use std::sync::Arc;

use super::Error;
use super::catalog::Catalog;
use super::charset::Charset;
use super::row::{self, RowChange, RowDecoder, RowsEvent};
use super::server::spelled;
use super::table::{self, Difference, Table, TableId, TableMap};
use crate::coordinates::Coordinates;

/// What is done with the rows of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// They are passed over.
    None,
    /// They are copies that a tool makes while it alters a table: not relayed, but counted.
    Ghost,
    /// Those that are inserted are handed out, any other change is passed over.
    Outbox,
    /// The same, and a change that the guard refuses is an error.
    Guarded(Guard),
}

impl Interest {
    const fn is_outbox(self) -> bool {
        matches!(self, Interest::Outbox | Interest::Guarded(_))
    }
}

/// Changes of rows that may not happen to a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Guard {
    /// An update of a row is an error.
    pub updates: bool,
    /// A delete of a row is an error.
    pub deletes: bool,
}

impl Guard {
    /// The guard refuses such a change.
    pub const fn refuses(self, change: RowChange) -> bool {
        match change {
            RowChange::Update => self.updates,
            RowChange::Delete => self.deletes,
        }
    }

    /// What either of the two refuses.
    #[must_use]
    pub const fn and(self, other: Guard) -> Guard {
        Guard { updates: self.updates || other.updates, deletes: self.deletes || other.deletes }
    }
}

/// Says of a database and table what is done with its rows.
pub type TableFilter = Arc<dyn Fn(&str, &str) -> Interest + Send + Sync>;

/// A table layout: a table with its columns as they stood when rows were logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayoutId {
    /// Small numbers, counted up from 0.
    pub index: usize,
    /// Another one means that every index stands for something else.
    pub epoch: u64,
}

#[derive(Debug)]
struct Layout {
    schema: String,
    name: String,
    /// What the table map said when the columns were learnt; the same bytes mean the same columns.
    signature: Vec<u8>,
    table: Arc<Table>,
}

/// What the rows of an event are of.
#[derive(Debug)]
pub enum RowsOf<'a> {
    NoInterest,
    /// A table that is left out, and this many rows of it.
    Ghosts(u64),
    Outbox(LayoutId, &'a Arc<Table>),
}

/// The layouts of outbox tables, back to the last transaction that altered one.
#[derive(Debug, Default)]
struct Layouts {
    known: Vec<Layout>,
    epoch: u64,
    is_outdated: bool,
}

impl Layouts {
    fn find(&self, id: &TableId<'_>) -> Option<LayoutId> {
        let is_same = |layout: &Layout| {
            layout.schema == id.schema
                && layout.name == id.table
                && layout.signature == id.signature
        };
        let epoch = self.epoch;
        self.known.iter().rposition(is_same).map(|index| LayoutId { index, epoch })
    }

    fn add(&mut self, layout: Layout) -> LayoutId {
        self.known.push(layout);
        LayoutId { index: self.known.len() - 1, epoch: self.epoch }
    }

    fn table(&self, id: LayoutId) -> &Arc<Table> {
        &self.known[id.index].table
    }

    /// None is found any more; those of the open transaction stay until it is closed.
    fn outdate(&mut self) {
        self.known.iter_mut().for_each(|layout| layout.signature.clear());
        self.is_outdated = true;
    }

    fn close_transaction(&mut self) {
        // An ALTER in a loop would leave one layout after the other behind.
        if self.is_outdated || self.known.len() > LAYOUTS_MAX {
            *self = Layouts { epoch: self.epoch + 1, ..Layouts::default() };
        }
    }
}

/// Above so many, all are learnt anew: more tables than a relay has, and some 100 MB of them.
const LAYOUTS_MAX: usize = 65_536;

/// What a table id stands for.
#[derive(Debug)]
enum MappedTable {
    /// A table that is not relayed.
    Foreign,
    /// The same, and its rows are counted.
    Ghost(Box<RowDecoder>),
    Layout(LayoutId),
    /// A table whose columns could not be learnt, at a position where that may not matter.
    Unknown(Unknown),
}

/// A table whose columns are not those that its rows were logged with.
#[derive(Debug, Clone)]
struct Unknown {
    table: String,
    at: Coordinates,
    source: table::Mismatch,
}

impl From<Unknown> for Error {
    fn from(unknown: Unknown) -> Error {
        let Unknown { table, at, source } = unknown;
        Error::Columns { table, at, source }
    }
}

/// What is known of the tables of a stream.
pub struct Tables<C> {
    pub(crate) catalog: C,
    filter: TableFilter,
    layouts: Layouts,
    /// The tables of the open transaction by their ids.
    mapped: Vec<(u64, MappedTable)>,
    /// Those of them that have a guard. Mostly empty, so that a change that nobody refuses costs nothing.
    guarded: Vec<(u64, Guard)>,
    /// Why rows before the start could not be read. It matters only when the transaction goes on after it.
    uncounted: Option<Unknown>,
    /// Copies that were told of.
    ghosts: Vec<String>,
}

impl<C: Catalog> Tables<C> {
    pub fn new(catalog: C, filter: TableFilter) -> Tables<C> {
        let layouts = Layouts::default();
        let (mapped, guarded, ghosts) = (Vec::new(), Vec::new(), Vec::new());
        Tables { catalog, filter, layouts, mapped, guarded, uncounted: None, ghosts }
    }

    /// Whether rows of the table are relayed.
    pub fn is_outbox(&self, database: &str, table: &str) -> bool {
        (self.filter)(database, table).is_outbox()
    }

    /// Rows of the open transaction, before the start, could not be read.
    pub fn is_uncounted(&self) -> bool {
        self.uncounted.is_some()
    }

    /// Table ids hold until their transaction ends.
    pub fn close_transaction(&mut self) {
        self.mapped.clear();
        self.guarded.clear();
        self.layouts.close_transaction();
        self.uncounted = None;
    }

    /// The same types may now stand under other names: they are learnt again.
    pub fn forget_columns(&mut self) {
        self.layouts.outdate();
    }

    /// Takes a table map. `is_passed`: the rows that follow were relayed before.
    ///
    /// # Errors
    /// It cannot be read, or its columns are not known.
    pub async fn learn(
        &mut self,
        body: &[u8],
        position: &Coordinates,
        is_passed: bool,
    ) -> Result<(), Error> {
        let id = TableId::peek(body).map_err(|source| Error::TableMap {
            table: "a table".to_owned(),
            at: position.clone(),
            source,
        })?;
        let interest = (self.filter)(id.schema, id.table);
        let mapped = match interest {
            Interest::None => MappedTable::Foreign,
            Interest::Ghost => self.learn_ghost(&id, body),
            Interest::Outbox | Interest::Guarded(_) => match self.layouts.find(&id) {
                Some(layout) => MappedTable::Layout(layout),
                None => {
                    let mut map = TableMap::parse(body).map_err(|source| {
                        let table = format!("{}.{}", id.schema, id.table);
                        Error::TableMap { table, at: position.clone(), source }
                    })?;
                    self.name_collations(&mut map).await?;
                    match self.learn_layout(&map, position).await? {
                        // Rows before the start may be of a shape that the table has no more.
                        MappedTable::Unknown(unknown) if !is_passed => return Err(unknown.into()),
                        mapped => mapped,
                    }
                }
            },
        };
        self.mapped.retain(|(table_id, _)| *table_id != id.table_id);
        self.mapped.push((id.table_id, mapped));
        if let Interest::Guarded(guard) = interest {
            self.guarded.push((id.table_id, guard));
        }
        Ok(())
    }

    /// Whether a table of the open transaction has a guard.
    pub fn has_guarded(&self) -> bool {
        !self.guarded.is_empty()
    }

    /// Holds rows that were changed against the guard of their table. `body`: that of their event, of which only the
    /// table's id is read.
    ///
    /// # Errors
    /// The guard refuses the change.
    pub fn ensure_not_refused(
        &self,
        change: RowChange,
        body: &[u8],
        position: &Coordinates,
    ) -> Result<(), Error> {
        let table_id =
            row::table_id(body).map_err(|source| Error::Rows { at: position.clone(), source })?;
        let found = self.guarded.iter().rev().find(|(id, _)| *id == table_id);
        match found.filter(|(_, guard)| guard.refuses(change)) {
            Some(_) => {
                let (table, at) = (self.name_of(table_id), position.clone());
                Err(Error::Refused { table, change, at })
            }
            None => Ok(()),
        }
    }

    fn name_of(&self, table_id: u64) -> String {
        match self.mapped.iter().find(|(id, _)| *id == table_id) {
            Some((_, MappedTable::Layout(layout))) => self.layouts.table(*layout).full_name(),
            Some((_, MappedTable::Unknown(unknown))) => unknown.table.clone(),
            _ => format!("the table of id {table_id}"),
        }
    }

    /// Nothing of such a table is relayed, so nothing that is wrong with it may halt.
    fn learn_ghost(&mut self, id: &TableId<'_>, body: &[u8]) -> MappedTable {
        let name = format!("{}.{}", id.schema, id.table);
        if !self.ghosts.contains(&name) {
            tracing::info!(
                table = name,
                "skipping rows of a schema change's copy; to relay this table, name it without * in its own [[outbox]]"
            );
            self.ghosts.push(name);
        }
        match TableMap::parse(body) {
            Ok(map) => {
                MappedTable::Ghost(Box::new(RowDecoder::new(&Table::without_names(&map), &[])))
            }
            Err(_) => MappedTable::Foreign,
        }
    }

    /// Collations that a person added to the server have ids that only the server knows.
    async fn name_collations(&mut self, map: &mut TableMap<'_>) -> Result<(), Error> {
        let unknown = map.unknown_collations();
        if unknown.is_empty() {
            return Ok(());
        }
        let charsets = self.catalog.collation_charsets(&unknown).await?;
        let known: Vec<_> = charsets
            .into_iter()
            .filter_map(|(id, name)| Some((id, Charset::from_name(&name)?)))
            .collect();
        map.name_collations(&known);
        Ok(())
    }

    /// The columns by name: from the event where it has names, else from the server, checked against it.
    async fn learn_layout(
        &mut self,
        map: &TableMap<'_>,
        position: &Coordinates,
    ) -> Result<MappedTable, Error> {
        let (schema, name) = (map.schema(), map.table());
        let table = match Table::from_metadata(map) {
            Some(table) => table,
            None => {
                let columns = self.catalog.columns(schema, name).await?;
                match Table::from_schema(map, &columns) {
                    Ok(table) => table,
                    Err(source) => {
                        self.ensure_all_columns_seen(&source, position).await?;
                        let (table, at) = (format!("{schema}.{name}"), position.clone());
                        return Ok(MappedTable::Unknown(Unknown { table, at, source }));
                    }
                }
            }
        };
        let layout = self.layouts.add(Layout {
            schema: schema.to_owned(),
            name: name.to_owned(),
            signature: map.signature().to_vec(),
            table: Arc::new(table),
        });
        Ok(MappedTable::Layout(layout))
    }

    /// A user with rights on single columns sees no others: then it is not the table that changed.
    async fn ensure_all_columns_seen(
        &mut self,
        mismatch: &table::Mismatch,
        position: &Coordinates,
    ) -> Result<(), Error> {
        let table::Mismatch { schema, table, difference } = mismatch;
        let lacks_columns =
            matches!(difference, Difference::Count { event, schema } if event > schema);
        if !lacks_columns {
            return Ok(());
        }
        match self.catalog.has_column_rights_only(schema, table).await? {
            None => Ok(()),
            Some(account) => Err(Error::ColumnRights {
                table: format!("{}.{}", spelled(schema), spelled(table)),
                account,
                at: position.clone(),
            }),
        }
    }

    /// What the rows of an event are of.
    ///
    /// # Errors
    /// They come without their table map, or their columns are not known.
    pub fn of_rows(
        &mut self,
        event: &RowsEvent<'_>,
        position: &Coordinates,
        is_passed: bool,
    ) -> Result<RowsOf<'_>, Error> {
        let table_id = event.table_id();
        let known = self.mapped.iter().find(|(id, _)| *id == table_id);
        let layout = match known.map(|(_, mapped)| mapped) {
            Some(MappedTable::Foreign) => return Ok(RowsOf::NoInterest),
            Some(MappedTable::Layout(layout)) => *layout,
            Some(MappedTable::Ghost(_)) if is_passed => return Ok(RowsOf::NoInterest),
            Some(MappedTable::Ghost(decoder)) => {
                return Ok(RowsOf::Ghosts(count_rows(decoder, event)));
            }
            Some(MappedTable::Unknown(unknown)) if is_passed => {
                self.uncounted = Some(unknown.clone());
                return Ok(RowsOf::NoInterest);
            }
            Some(MappedTable::Unknown(unknown)) => return Err(unknown.clone().into()),
            None if is_dummy(table_id) => return Ok(RowsOf::NoInterest),
            None => return Err(Error::NoTableMap { at: position.clone() }),
        };
        match self.uncounted.as_ref().filter(|_| !is_passed) {
            Some(unknown) => Err(unknown.clone().into()),
            None => Ok(RowsOf::Outbox(layout, self.layouts.table(layout))),
        }
    }
}

fn count_rows(decoder: &RowDecoder, event: &RowsEvent<'_>) -> u64 {
    let (mut rows, mut count) = (event.rows(), 0);
    while !rows.is_empty() && decoder.decode(&mut rows, event.present(), &mut []).is_ok() {
        count += 1;
    }
    count
}

/// An event with this table id only closes a statement and has no rows.
fn is_dummy(table_id: u64) -> bool {
    table_id == 0x00FF_FFFF
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(signature: &[u8]) -> Layout {
        let (schema, name) = ("shop".to_owned(), "events".to_owned());
        let table = Table {
            schema: schema.clone(),
            name: name.clone(),
            columns: Vec::new(),
            primary_key: Vec::new(),
        };
        Layout { schema, name, signature: signature.to_vec(), table: Arc::new(table) }
    }

    fn id(signature: &[u8]) -> TableId<'_> {
        TableId { table_id: 7, schema: "shop", table: "events", signature }
    }

    #[test]
    fn truncate_and_alter_in_a_loop_leave_nothing_behind() {
        let mut layouts = Layouts::default();
        let mut seen = Vec::new();
        for round in 0..1_000_u32 {
            let signature = round.to_le_bytes();
            assert_eq!(layouts.find(&id(&signature)), None);
            seen.push(layouts.add(layout(&signature)));
            assert_eq!(layouts.find(&id(&signature)), seen.last().copied());
            layouts.outdate();
            layouts.close_transaction();
            assert_eq!(layouts.known.len(), 0);
        }
        seen.dedup();
        assert_eq!(seen.len(), 1_000, "an id stands for one layout only");
    }

    #[test]
    fn a_layout_that_is_outdated_holds_to_the_end_of_its_transaction() {
        let mut layouts = Layouts::default();
        let held = layouts.add(layout(&[1]));
        layouts.outdate();
        assert_eq!(layouts.find(&id(&[1])), None);
        assert_eq!(layouts.table(held).name, "events");
        let learnt = layouts.add(layout(&[1]));
        assert_eq!(layouts.find(&id(&[1])), Some(learnt));
        layouts.close_transaction();
        assert_eq!(layouts.find(&id(&[1])), None);
    }
}
