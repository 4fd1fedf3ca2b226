//! What becomes of a row of which the plan makes no record that its topic takes.
//!
//! The choice is made for each outbox, and only there: without one, such a row is a halt.

use crate::binlog::row::{Bitmap, Cell, Error, RowDecoder};
use crate::binlog::table::{Column, Table};

/// What an outbox does instead of a halt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FallbackOptions {
    pub on_error: OnError,
    pub oversize: Oversize,
    pub dead_letter_topic: String,
}

/// What becomes of a row that cannot be a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    Halt,
    DeadLetter,
}

/// What becomes of a record that is larger than its topic takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oversize {
    Halt,
    DeadLetter,
    /// The record has a reference to the row in place of its value.
    ClaimCheck,
}

impl FallbackOptions {
    /// Rows may come to the topic of dead letters.
    pub fn has_dead_letters(&self) -> bool {
        self.on_error == OnError::DeadLetter || self.oversize == Oversize::DeadLetter
    }
}

/// What a fallback needs of one table layout: the whole row, not only what the plan names.
#[derive(Debug)]
pub struct Fallback {
    pub options: FallbackOptions,
    /// All columns of the table, by cell.
    pub columns: Vec<Column>,
    /// Cells of the primary key.
    pub primary_key: Vec<usize>,
    decoder: RowDecoder,
}

impl Fallback {
    pub fn new(options: &FallbackOptions, table: &Table) -> Fallback {
        let all: Vec<usize> = (0..table.columns.len()).collect();
        Fallback {
            options: options.clone(),
            columns: table.columns.clone(),
            primary_key: table.primary_key.clone(),
            decoder: RowDecoder::new(table, &all),
        }
    }

    /// All cells of the row that `bytes` begins with.
    ///
    /// # Errors
    /// The row is damaged.
    pub fn decode<'a>(
        &self,
        mut bytes: &'a [u8],
        present: Bitmap<'_>,
    ) -> Result<Vec<Cell<'a>>, Error> {
        let mut cells = vec![Cell::Null; self.columns.len()];
        self.decoder.decode(&mut bytes, present, &mut cells)?;
        Ok(cells)
    }
}
