//! A row as a JSON object → its cells.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use thiserror::Error;

use super::super::super::row::Cell;
use super::super::super::table::Table;
use super::super::JsonOptions;
use super::{EncodeError, encode_json};

/// The cells of a row that does not come from a binlog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedRow {
    values: Vec<EncodedCell>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum EncodedCell {
    Absent,
    Null,
    Bytes(Vec<u8>),
}

/// Why a JSON text is no row of a table.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RowError {
    /// It is no JSON, or no object.
    #[error("the row is no JSON object: {0}")]
    NotAnObject(String),
    /// The table does not have a column of this name.
    #[error("the table {table} has no column {column}; it has {}", present.join(", "))]
    UnknownColumn {
        /// `database.table`
        table: String,
        /// The column that it does not have.
        column: String,
        /// The columns that it has.
        present: Vec<String>,
    },
    /// Two members are the same column.
    #[error("the row has the column {0} twice")]
    Twice(String),
    /// A column has no such value.
    #[error(transparent)]
    Value(#[from] EncodeError),
}

/// The row of `table` that this JSON object is: a member a column, written as [`write_json`](super::super::write_json)
/// writes it with `options`. A column without a member is [`Cell::Absent`].
///
/// # Errors
/// It is no object, names a column that the table does not have, or a column has no such value.
pub fn row_from_json(
    table: &Table,
    json: &str,
    options: JsonOptions,
) -> Result<EncodedRow, RowError> {
    let members: BTreeMap<String, &RawValue> =
        serde_json::from_str(json).map_err(|error| RowError::NotAnObject(error.to_string()))?;
    let mut values = vec![EncodedCell::Absent; table.columns.len()];
    for (name, value) in members {
        let index = table.position(&name).ok_or_else(|| RowError::UnknownColumn {
            table: table.full_name(),
            column: name.clone(),
            present: table.columns.iter().map(|column| column.name.clone()).collect(),
        })?;
        if values[index] != EncodedCell::Absent {
            return Err(RowError::Twice(table.columns[index].name.clone()));
        }
        values[index] = match encode_json(&table.columns[index], value, options)? {
            Some(bytes) => EncodedCell::Bytes(bytes),
            None => EncodedCell::Null,
        };
    }
    Ok(EncodedRow { values })
}

impl EncodedRow {
    /// A row of the bytes of each column, in the order of the table; `None` is NULL.
    #[must_use]
    pub fn of(values: Vec<Option<Vec<u8>>>) -> Self {
        let cell = |value: Option<_>| value.map_or(EncodedCell::Null, EncodedCell::Bytes);
        Self { values: values.into_iter().map(cell).collect() }
    }

    /// The cells of the columns `wanted` (indices from 0 in the table), in that order: what
    /// [`RowDecoder::decode`](super::super::super::row::RowDecoder::decode) gives for a row of a binlog.
    ///
    /// # Panics
    /// When the table does not have a wanted column.
    #[must_use]
    pub fn cells(&self, wanted: &[usize]) -> Vec<Cell<'_>> {
        wanted.iter().map(|index| self.cell(*index)).collect()
    }

    /// The cell of one column.
    ///
    /// # Panics
    /// When the table does not have it.
    #[must_use]
    pub fn cell(&self, column: usize) -> Cell<'_> {
        match &self.values[column] {
            EncodedCell::Absent => Cell::Absent,
            EncodedCell::Null => Cell::Null,
            EncodedCell::Bytes(bytes) => Cell::Bytes(bytes),
        }
    }
}
