//! Who answers what the binlog does not say: the names of columns, collations that a person added, and where a
//! transaction ends that cannot be read.
//!
//! The server answers by SQL. A recording or a simulation has no server and answers from a [`FixedCatalog`], which may be
//! empty: with `binlog_row_metadata=FULL` the binlog names the columns itself.

use std::collections::HashMap;

use crate::coordinates::Coordinates;
use crate::server::{Error, Server};
use crate::table::SchemaColumn;
use crate::transaction_end;

/// Answers questions about the tables of a binlog. All answers are of now, and the binlog may be older: the source checks
/// columns against the table map before it uses them.
pub trait Catalog: Send {
    /// The columns of a table, in the order of its rows. Empty when there is no such table.
    ///
    /// # Errors
    /// It could not be asked.
    fn columns(
        &mut self,
        database: &str,
        table: &str,
    ) -> impl Future<Output = Result<Vec<SchemaColumn>, Error>> + Send;

    /// The names of the character sets of collations, each with the collation's id. Leaves out unknown ids.
    ///
    /// # Errors
    /// It could not be asked.
    fn collation_charsets(
        &mut self,
        collations: &[u16],
    ) -> impl Future<Output = Result<Vec<(u16, String)>, Error>> + Send;

    /// The account that asks, as GRANT names it, if it may see some columns of the table only.
    ///
    /// # Errors
    /// It could not be asked.
    fn has_column_rights_only(
        &mut self,
        database: &str,
        table: &str,
    ) -> impl Future<Output = Result<Option<String>, Error>> + Send;

    /// Where the transaction ends that begins at `begin`; `None` when that is not known.
    ///
    /// # Errors
    /// It could not be asked.
    fn end_of_transaction(
        &mut self,
        begin: Coordinates,
    ) -> impl Future<Output = Result<Option<Coordinates>, Error>> + Send;
}

impl Catalog for Server {
    async fn columns(&mut self, database: &str, table: &str) -> Result<Vec<SchemaColumn>, Error> {
        Server::columns(self, database, table).await
    }

    async fn collation_charsets(
        &mut self,
        collations: &[u16],
    ) -> Result<Vec<(u16, String)>, Error> {
        Server::collation_charsets(self, collations).await
    }

    async fn has_column_rights_only(
        &mut self,
        database: &str,
        table: &str,
    ) -> Result<Option<String>, Error> {
        Server::has_column_rights_only(self, database, table).await
    }

    async fn end_of_transaction(
        &mut self,
        begin: Coordinates,
    ) -> Result<Option<Coordinates>, Error> {
        transaction_end::listed_end(self, begin).await
    }
}

/// Answers from a fixed list. It never fails.
#[derive(Debug, Clone, Default)]
pub struct FixedCatalog {
    /// By database, then by table.
    tables: HashMap<String, HashMap<String, Vec<SchemaColumn>>>,
}

impl FixedCatalog {
    /// Sets the columns of a table, in the order of its rows.
    pub fn set_columns(&mut self, database: &str, table: &str, columns: Vec<SchemaColumn>) {
        self.tables.entry(database.to_owned()).or_default().insert(table.to_owned(), columns);
    }
}

impl Catalog for FixedCatalog {
    async fn columns(&mut self, database: &str, table: &str) -> Result<Vec<SchemaColumn>, Error> {
        let columns = self.tables.get(database).and_then(|tables| tables.get(table));
        Ok(columns.cloned().unwrap_or_default())
    }

    async fn collation_charsets(&mut self, _: &[u16]) -> Result<Vec<(u16, String)>, Error> {
        Ok(Vec::new())
    }

    async fn has_column_rights_only(&mut self, _: &str, _: &str) -> Result<Option<String>, Error> {
        Ok(None)
    }

    async fn end_of_transaction(&mut self, _: Coordinates) -> Result<Option<Coordinates>, Error> {
        Ok(None)
    }
}
