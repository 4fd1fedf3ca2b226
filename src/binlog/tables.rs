//! Which tables the rows of a transaction are of: table maps enter, what leaves is a table with its columns by
//! name, or that it is not relayed.
//!
//! Columns are learnt from the table map where it names them, else from the server; a table whose columns are
//! not those that its rows were logged with is never guessed at.

use std::sync::Arc;

use super::charset::Charset;
use super::server::spelled;
use super::table::{self, Difference, Table, TableId, TableMap};
use super::{Error, Server};
use crate::coordinates::Coordinates;

/// Which databases and tables are relayed.
pub type TableFilter = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

/// Index of a table layout: a table with its columns as they stood when rows were logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayoutId(pub usize);

struct Layout {
    schema: String,
    name: String,
    /// What the table map said when the columns were learnt; the same bytes mean the same columns.
    signature: Vec<u8>,
    table: Arc<Table>,
}

/// What a table id stands for.
#[derive(Debug)]
enum Mapped {
    /// A table that is not relayed.
    Foreign,
    Layout(LayoutId),
    /// A table whose columns could not be learnt, at a place where that may not matter.
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
pub struct Tables {
    pub(super) server: Server,
    filter: TableFilter,
    layouts: Vec<Layout>,
    /// The tables of the open transaction by their ids.
    mapped: Vec<(u64, Mapped)>,
    /// Why rows before the start could not be read. It matters only when the transaction goes on after it.
    uncounted: Option<Unknown>,
}

impl Tables {
    pub fn new(server: Server, filter: TableFilter) -> Tables {
        Tables { server, filter, layouts: Vec::new(), mapped: Vec::new(), uncounted: None }
    }

    pub fn filter(&self) -> &dyn Fn(&str, &str) -> bool {
        &*self.filter
    }

    /// Rows of the open transaction, before the start, could not be read.
    pub fn is_uncounted(&self) -> bool {
        self.uncounted.is_some()
    }

    /// Table ids hold until their transaction ends.
    pub fn close_transaction(&mut self) {
        self.mapped.clear();
        self.uncounted = None;
    }

    /// The same types may now stand under other names: they are learnt again.
    pub fn forget_columns(&mut self) {
        self.layouts.iter_mut().for_each(|layout| layout.signature.clear());
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
        let mapped = match (self.filter)(id.schema, id.table) {
            false => Mapped::Foreign,
            true => match self.known_layout(&id) {
                Some(layout) => Mapped::Layout(layout),
                None => {
                    let mut map = TableMap::parse(body).map_err(|source| {
                        let table = format!("{}.{}", id.schema, id.table);
                        Error::TableMap { table, at: position.clone(), source }
                    })?;
                    self.name_collations(&mut map).await?;
                    match self.learn_layout(&map, position).await? {
                        // Rows before the start may be of a shape that the table has no more.
                        Mapped::Unknown(unknown) if !is_passed => return Err(unknown.into()),
                        mapped => mapped,
                    }
                }
            },
        };
        self.mapped.retain(|(table_id, _)| *table_id != id.table_id);
        self.mapped.push((id.table_id, mapped));
        Ok(())
    }

    fn known_layout(&self, id: &TableId<'_>) -> Option<LayoutId> {
        let is_same = |layout: &Layout| {
            layout.schema == id.schema
                && layout.name == id.table
                && layout.signature == id.signature
        };
        self.layouts.iter().rposition(is_same).map(LayoutId)
    }

    /// Collations that a person added to the server have ids that only the server knows.
    async fn name_collations(&mut self, map: &mut TableMap<'_>) -> Result<(), Error> {
        let unknown = map.unknown_collations();
        if unknown.is_empty() {
            return Ok(());
        }
        let charsets = self.server.collation_charsets(&unknown).await?;
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
    ) -> Result<Mapped, Error> {
        let (schema, name) = (map.schema(), map.table());
        let table = match Table::from_metadata(map) {
            Some(table) => table,
            None => {
                let columns = self.server.columns(schema, name).await?;
                match Table::from_schema(map, &columns) {
                    Ok(table) => table,
                    Err(source) => {
                        self.ensure_all_columns_seen(&source, position).await?;
                        let (table, at) = (format!("{schema}.{name}"), position.clone());
                        return Ok(Mapped::Unknown(Unknown { table, at, source }));
                    }
                }
            }
        };
        self.layouts.push(Layout {
            schema: schema.to_owned(),
            name: name.to_owned(),
            signature: map.signature().to_vec(),
            table: Arc::new(table),
        });
        Ok(Mapped::Layout(LayoutId(self.layouts.len() - 1)))
    }

    /// A user with rights on single columns sees no others: then it is not the table that changed.
    async fn ensure_all_columns_seen(
        &mut self,
        mismatch: &table::Mismatch,
        position: &Coordinates,
    ) -> Result<(), Error> {
        let table::Mismatch { schema, table, difference } = mismatch;
        let lacks_columns = matches!(difference, Difference::Count { event, schema } if event > schema);
        if !lacks_columns {
            return Ok(());
        }
        match self.server.has_column_rights_only(schema, table).await? {
            None => Ok(()),
            Some(account) => Err(Error::ColumnRights {
                table: format!("{}.{}", spelled(schema), spelled(table)),
                account,
                at: position.clone(),
            }),
        }
    }

    /// The table that rows are of; `None` where they are of no interest.
    ///
    /// # Errors
    /// They come without their table map, or their columns are not known.
    pub fn of_rows(
        &mut self,
        table_id: u64,
        position: &Coordinates,
        is_passed: bool,
    ) -> Result<Option<(LayoutId, &Arc<Table>)>, Error> {
        let known = self.mapped.iter().find(|(id, _)| *id == table_id);
        let layout = match known.map(|(_, mapped)| mapped) {
            Some(Mapped::Foreign) => return Ok(None),
            Some(Mapped::Layout(layout)) => *layout,
            Some(Mapped::Unknown(unknown)) if is_passed => {
                self.uncounted = Some(unknown.clone());
                return Ok(None);
            }
            Some(Mapped::Unknown(unknown)) => return Err(unknown.clone().into()),
            None if is_dummy(table_id) => return Ok(None),
            None => return Err(Error::NoTableMap { at: position.clone() }),
        };
        match self.uncounted.as_ref().filter(|_| !is_passed) {
            Some(unknown) => Err(unknown.clone().into()),
            None => Ok(Some((layout, &self.layouts[layout.0].table))),
        }
    }
}

/// An event with this table id only closes a statement and has no rows.
fn is_dummy(table_id: u64) -> bool {
    table_id == 0x00FF_FFFF
}
