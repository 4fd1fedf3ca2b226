//! Rows as a table holds them now → the cells that its binlog would have.

use mysql_async::Value;

use super::tables::quoted;
use super::{Error, Server, unexpected};
use crate::table::{Column, ColumnKind, Table};
use crate::value::{EncodeError, EncodedRow, encode_selected};

/// The last rows of a table.
#[derive(Debug)]
pub struct LastRows {
    /// The columns of the primary key; empty where there is none, and the rows are any.
    pub primary_key: Vec<String>,
    /// The rows, the last one first.
    pub rows: Vec<Result<EncodedRow, EncodeError>>,
}

impl Server {
    /// The last rows of a table by its primary key. Needs SELECT.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn last_rows(&mut self, table: &Table, rows_max: usize) -> Result<LastRows, Error> {
        let primary_key = self.primary_key(&table.schema, &table.name).await?;
        // An index of its own choice could hold other rows together.
        let order = match &primary_key[..] {
            [] => String::new(),
            key => {
                let columns: Vec<_> = key.iter().map(|name| quoted(name) + " DESC").collect();
                format!(" FORCE INDEX (PRIMARY) ORDER BY {}", columns.join(", "))
            }
        };
        let columns: Vec<_> = table.columns.iter().map(selected).collect();
        let (columns, database, name) =
            (columns.join(", "), quoted(&table.schema), quoted(&table.name));
        let sql = format!("SELECT {columns} FROM {database}.{name}{order} LIMIT {rows_max}");
        let rows: Vec<mysql_async::Row> = self.rows(&sql).await?;
        let rows = rows.into_iter().map(|row| encoded(table, row)).collect::<Result<_, _>>()?;
        Ok(LastRows { primary_key, rows })
    }
}

/// What to select so that nothing of the value is lost: numbers as they are stored, and text in the column's own
/// character set, whatever that of the session is.
fn selected(column: &Column) -> String {
    let name = quoted(&column.name);
    match column.kind {
        ColumnKind::VarChar { .. } | ColumnKind::Char { .. } | ColumnKind::Blob { .. } => {
            format!("CAST({name} AS BINARY)")
        }
        ColumnKind::Json { .. } => format!("CAST({name} AS CHAR)"),
        ColumnKind::Bit { .. } | ColumnKind::Enum { .. } | ColumnKind::Set { .. } => {
            format!("CAST({name} AS UNSIGNED)")
        }
        // With all digits: the text of the column is rounded. A zero keeps its sign.
        ColumnKind::Float | ColumnKind::Double => format!("{name} * 1e0"),
        _ => name,
    }
}

fn encoded(table: &Table, row: mysql_async::Row) -> Result<Result<EncodedRow, EncodeError>, Error> {
    if row.len() != table.columns.len() {
        return Err(unexpected("a SELECT of rows", &row));
    }
    let mut values = Vec::with_capacity(table.columns.len());
    for (column, value) in table.columns.iter().zip(row.unwrap()) {
        let value = match value {
            Value::NULL => None,
            Value::Bytes(bytes) => match encode_selected(column, bytes) {
                Ok(bytes) => Some(bytes),
                Err(error) => return Ok(Err(error)),
            },
            other => {
                let answer = other.as_sql(true);
                return Err(Error::UnexpectedAnswer { question: "a SELECT of rows", answer });
            }
        };
        values.push(value);
    }
    Ok(Ok(EncodedRow::of(values)))
}
