//! The row decoder. In goes the body of a WRITE_ROWS event, out come its rows as slices of that body. It
//! allocates nothing for a row, looks at the wanted columns only and passes over the others by their
//! length. Each row is read to its end, so a wrong length shows up in the row where it happens. Bytes
//! that fit no row are an [`enum@Error`], never a panic.
//!
//! Format: `Rows_event` in the MySQL source documentation (mysql::binlog::event).

use std::fmt;

use thiserror::Error;

use super::bytes::{Bytes, Malformed};
use super::event_type::{
    DELETE_ROWS, DELETE_ROWS_V1, UPDATE_ROWS, UPDATE_ROWS_V1, WRITE_ROWS, WRITE_ROWS_V1,
};
use super::table::{Column, Size, Table};

const STATEMENT_END: u16 = 1;

/// Why rows cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// The event is not a WRITE_ROWS event.
    #[error("an event of type {0} is not a WRITE_ROWS event")]
    NotAnInsert(u8),
    /// The part of the event before the rows is damaged.
    #[error("the WRITE_ROWS event is damaged before its rows: {0}")]
    Head(Malformed),
    /// The event has another number of columns than its table.
    #[error("the rows have {event} columns, their table has {table}")]
    ColumnCount {
        /// Columns of the event.
        event: usize,
        /// Columns of the TABLE_MAP event.
        table: usize,
    },
    /// The row image has no column at all, so there is no telling how many rows there are.
    #[error("the row image has no columns")]
    NoColumns,
    /// The row ends within its NULL bitmap.
    #[error("the row is cut off in its NULL bitmap: {0}")]
    NullBitmap(Malformed),
    /// The row ends within a value.
    #[error("the row is cut off in column {column}: {malformed}")]
    Value {
        /// Name of the column.
        column: String,
        /// What is missing.
        malformed: Malformed,
    },
    /// A column whose values have no known length.
    #[error("column {column} is of a type whose values have no known length")]
    UnknownSize {
        /// Name of the column.
        column: String,
    },
}

/// The id of the table that the rows of an event are of, by the body of a rows event of any kind.
///
/// # Errors
/// [`Error::Head`] when it is cut off.
pub fn table_id(body: &[u8]) -> Result<u64, Error> {
    Bytes::new(body).uint(6).map_err(Error::Head)
}

/// What was done to rows, other than to insert them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowChange {
    /// Also by INSERT … ON DUPLICATE KEY UPDATE, and mostly by REPLACE.
    Update,
    /// Also by REPLACE, before the new row.
    Delete,
}

impl fmt::Display for RowChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RowChange::Update => "updated",
            RowChange::Delete => "deleted",
        })
    }
}

/// A WRITE_ROWS event: its head, and its rows still encoded.
#[derive(Debug, Clone, Copy)]
pub struct RowsEvent<'a> {
    table_id: u64,
    flags: u16,
    present: Bitmap<'a>,
    rows: &'a [u8],
}

impl<'a> RowsEvent<'a> {
    /// Reads the head of the body of a WRITE_ROWS event of version 1 (type 23) or 2 (type 30).
    ///
    /// # Errors
    /// [`Error::NotAnInsert`] for another type, [`Error::Head`] when it is damaged.
    pub fn parse(event_type: u8, body: &'a [u8]) -> Result<Self, Error> {
        if !matches!(event_type, WRITE_ROWS_V1 | WRITE_ROWS) {
            return Err(Error::NotAnInsert(event_type));
        }
        Self::parse_head(event_type == WRITE_ROWS, body).map_err(Error::Head)
    }

    /// Reads the head of the body of an event of inserted, deleted or updated rows. Of updated ones, the images of a row
    /// before and after alternate, and the second bitmap says which columns those after have.
    ///
    /// # Errors
    /// [`Error::NotAnInsert`] for another type, [`Error::Head`] when it is damaged.
    pub fn parse_any(event_type: u8, body: &'a [u8]) -> Result<(Self, Option<Bitmap<'a>>), Error> {
        let (is_update, has_extra_data) = match event_type {
            WRITE_ROWS_V1 | DELETE_ROWS_V1 => (false, false),
            WRITE_ROWS | DELETE_ROWS => (false, true),
            UPDATE_ROWS_V1 => (true, false),
            UPDATE_ROWS => (true, true),
            other => return Err(Error::NotAnInsert(other)),
        };
        let mut event = Self::parse_head(has_extra_data, body).map_err(Error::Head)?;
        if !is_update {
            return Ok((event, None));
        }
        let columns = event.present.columns;
        let mut bytes = Bytes::new(event.rows);
        let bits = bytes.take(columns.div_ceil(8)).map_err(Error::Head)?;
        event.rows = bytes.rest();
        Ok((event, Some(Bitmap { bits, columns })))
    }

    fn parse_head(has_extra_data: bool, body: &'a [u8]) -> Result<Self, Malformed> {
        let mut bytes = Bytes::new(body);
        let table_id = bytes.uint(6)?;
        let flags = bytes.uint(2)? as u16; // two bytes
        if has_extra_data {
            // The length counts its own two bytes. Partition ids and NDB data: nothing for a relay.
            let length = bytes.uint(2)? as usize; // two bytes
            let extra =
                length.checked_sub(2).ok_or(Malformed::Short { wanted: 2, left: length })?;
            bytes.take(extra)?;
        }
        let columns = bytes.lenenc()?;
        let present = Bitmap { bits: bytes.take(columns.div_ceil(8))?, columns };
        Ok(Self { table_id, flags, present, rows: bytes.rest() })
    }

    /// The id under which a TABLE_MAP event before it described the table.
    pub fn table_id(&self) -> u64 {
        self.table_id
    }

    /// Which columns the rows have.
    pub fn present(&self) -> Bitmap<'a> {
        self.present
    }

    /// The rows, one after another, for [`RowDecoder::decode`].
    pub fn rows(&self) -> &'a [u8] {
        self.rows
    }

    /// Whether the statement ends with this event: the TABLE_MAP events before it are then done with.
    pub fn ends_statement(&self) -> bool {
        self.flags & STATEMENT_END != 0
    }
}

/// One bit a column, from the lowest bit of the first byte on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bitmap<'a> {
    bits: &'a [u8],
    columns: usize,
}

impl<'a> Bitmap<'a> {
    /// A bitmap of `columns` bits; `None` when `bits` has another number of bytes than that takes.
    pub fn new(bits: &'a [u8], columns: usize) -> Option<Self> {
        (bits.len() == columns.div_ceil(8)).then_some(Self { bits, columns })
    }

    /// How many columns it tells of.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The bit of that column; false beyond the last one.
    #[inline]
    pub fn has(&self, column: usize) -> bool {
        column < self.columns && bit(self.bits, column)
    }

    /// How many bits are set.
    pub fn count(&self) -> usize {
        // The bits above the last column are not the server's to set, but nothing holds them at 0.
        let (whole, rest) = (self.columns / 8, self.columns % 8);
        let ones = |byte: &u8| byte.count_ones() as usize;
        let in_rest = self.bits.get(whole).map_or(0, |last| ones(&(last & ((1 << rest) - 1))));
        self.bits.iter().take(whole).map(ones).sum::<usize>() + in_rest
    }
}

#[inline]
fn bit(bits: &[u8], index: usize) -> bool {
    bits.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1)
}

/// The value of one column in one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cell<'a> {
    /// The row image does not have the column (`binlog_row_image=MINIMAL`, and its default was used).
    #[default]
    Absent,
    /// NULL
    Null,
    /// The value as the binlog has it, without the length before it.
    Bytes(&'a [u8]),
}

/// Decodes the rows of one table. Built once a table, used for every row.
#[derive(Debug, Clone)]
pub struct RowDecoder {
    steps: Box<[Step]>,
    wanted: usize,
    names: Box<[String]>,
}

/// What to do with one column of a row.
#[derive(Debug, Clone, Copy)]
struct Step {
    size: Size,
    /// Where the value goes, or [`SKIP`].
    cell: u16,
}

/// The cell of a column that nobody wants. A table has at most 4096 columns.
const SKIP: u16 = u16::MAX;

impl RowDecoder {
    /// A decoder of `table` that hands out the columns `wanted` (indices from 0), in that order.
    ///
    /// # Panics
    /// When the table does not have a wanted column, or one is wanted twice: the caller took the indices
    /// from this very table.
    pub fn new(table: &Table, wanted: &[usize]) -> Self {
        let step = |column: &Column| Step { size: column.kind.size(), cell: SKIP };
        let mut steps: Box<[Step]> = table.columns.iter().map(step).collect();
        for (cell, index) in wanted.iter().enumerate() {
            let step = &mut steps[*index];
            assert!(step.cell == SKIP, "column {index} is wanted once");
            step.cell = u16::try_from(cell).expect("fewer cells than columns");
        }
        let names = table.columns.iter().map(|column| column.name.clone()).collect();
        Self { steps, wanted: wanted.len(), names }
    }

    /// How many cells a row fills: one a wanted column.
    pub fn cells(&self) -> usize {
        self.wanted
    }

    /// The columns of the cells, in that order: their indices in the table.
    pub fn wanted(&self) -> Vec<usize> {
        let mut wanted = vec![0; self.wanted];
        for (index, step) in self.steps.iter().enumerate().filter(|(_, step)| step.cell != SKIP) {
            wanted[usize::from(step.cell)] = index;
        }
        wanted
    }

    /// Decodes the first of `rows` into `cells` (in the order of `wanted`) and moves `rows` behind it.
    /// Call it until `rows` is empty.
    ///
    /// # Errors
    /// [`enum@Error`] when the bytes are no row of this table; `rows` stays where it was, and what `cells`
    /// holds means nothing.
    ///
    /// # Panics
    /// When `cells` is shorter than [`RowDecoder::cells`].
    pub fn decode<'a>(
        &self,
        rows: &mut &'a [u8],
        present: Bitmap<'_>,
        cells: &mut [Cell<'a>],
    ) -> Result<(), Error> {
        if present.columns() != self.steps.len() {
            return Err(Error::ColumnCount { event: present.columns(), table: self.steps.len() });
        }
        let count = present.count();
        if count == 0 {
            return Err(Error::NoColumns);
        }
        let cells = &mut cells[..self.wanted];
        cells.fill(Cell::Absent);
        let mut bytes = Bytes::new(rows);
        let nulls = bytes.take(count.div_ceil(8)).map_err(Error::NullBitmap)?;
        // The NULL bitmap has bits for the present columns only.
        let mut null_bit = 0;
        for (index, step) in self.steps.iter().enumerate() {
            if !bit(present.bits, index) {
                continue;
            }
            let cell = if bit(nulls, null_bit) {
                Cell::Null
            } else {
                Cell::Bytes(self.value(index, step.size, &mut bytes)?)
            };
            null_bit += 1;
            if step.cell != SKIP {
                cells[usize::from(step.cell)] = cell;
            }
        }
        *rows = bytes.rest();
        Ok(())
    }

    #[inline]
    fn value<'a>(
        &self,
        index: usize,
        size: Size,
        bytes: &mut Bytes<'a>,
    ) -> Result<&'a [u8], Error> {
        let value = match size {
            Size::Fixed(length) => bytes.take(usize::from(length)),
            Size::Prefixed(1) => bytes.u8().and_then(|length| bytes.take(usize::from(length))),
            // At most 4 bytes of length.
            Size::Prefixed(width) => {
                bytes.uint(usize::from(width)).and_then(|length| bytes.take(length as usize))
            }
            Size::Unknown => return Err(Error::UnknownSize { column: self.names[index].clone() }),
        };
        value.map_err(|malformed| self.cut_off(index, malformed))
    }

    #[cold]
    fn cut_off(&self, index: usize, malformed: Malformed) -> Error {
        Error::Value { column: self.names[index].clone(), malformed }
    }
}

#[cfg(test)]
mod tests;
