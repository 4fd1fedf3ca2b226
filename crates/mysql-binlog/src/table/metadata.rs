//! The optional metadata at the end of a TABLE_MAP event: a list of type, length, value. Fields that do
//! not concern the columns' names, signs or character sets are passed over, and so are unknown ones.
//!
//! Most lists name no column: entry 3 belongs to the third column of those that the server counts. A list
//! that is longer or shorter than ours counts other columns, so it is an error, never a shift.

use super::super::bytes::{Bytes, Malformed};
use super::super::charset::Charset;
use super::ColumnKind;

const SIGNEDNESS: u8 = 1;
const DEFAULT_CHARSET: u8 = 2;
const COLUMN_CHARSET: u8 = 3;
const COLUMN_NAME: u8 = 4;
const SET_VALUES: u8 = 5;
const ENUM_VALUES: u8 = 6;
const SIMPLE_PRIMARY_KEY: u8 = 8;
const PRIMARY_KEY_WITH_PREFIX: u8 = 9;
const ENUM_AND_SET_DEFAULT_CHARSET: u8 = 10;
const ENUM_AND_SET_COLUMN_CHARSET: u8 = 11;

/// What the server adds of its own accord (sign and character set, from MySQL 8.0) and under
/// `binlog_row_metadata=FULL` (all the rest). Each list has one entry a column of the table.
#[derive(Debug, Clone)]
pub(super) struct OptionalMetadata<'a> {
    /// Whether the column is UNSIGNED, where the event says it.
    pub(super) unsigned: Vec<Option<bool>>,
    /// Character set, where the event says it.
    pub(super) charsets: Vec<Option<Charset>>,
    /// Names of all columns.
    pub(super) names: Option<Vec<&'a str>>,
    /// Indices of the columns of the primary key.
    pub(super) primary_key: Vec<usize>,
    values: Vec<Option<Vec<&'a [u8]>>>,
}

impl<'a> OptionalMetadata<'a> {
    pub(super) fn parse(kinds: &[ColumnKind], mut bytes: Bytes<'a>) -> Result<Self, Malformed> {
        let mut metadata = Self {
            unsigned: vec![None; kinds.len()],
            charsets: vec![None; kinds.len()],
            names: None,
            primary_key: Vec::new(),
            values: vec![None; kinds.len()],
        };
        let of = |wanted: fn(ColumnKind) -> bool| -> Vec<usize> {
            (0..kinds.len()).filter(|index| wanted(kinds[*index])).collect()
        };
        let mut read = 0_u32;
        while !bytes.is_empty() {
            let field = bytes.u8()?;
            let value = Bytes::new(bytes.lenenc_bytes()?);
            ensure_first(field, &mut read, value)?;
            match field {
                SIGNEDNESS => metadata.read_signs(&of(ColumnKind::is_numeric), value)?,
                DEFAULT_CHARSET => {
                    metadata.read_default_charset(&of(ColumnKind::has_collation), value)?
                }
                COLUMN_CHARSET => metadata.read_charsets(&of(ColumnKind::has_collation), value)?,
                COLUMN_NAME => metadata.read_names(kinds.len(), value)?,
                SET_VALUES => {
                    metadata.read_values(&of(|k| matches!(k, ColumnKind::Set { .. })), value)?
                }
                ENUM_VALUES => {
                    metadata.read_values(&of(|k| matches!(k, ColumnKind::Enum { .. })), value)?
                }
                SIMPLE_PRIMARY_KEY => metadata.read_primary_key(kinds.len(), value, false)?,
                PRIMARY_KEY_WITH_PREFIX => metadata.read_primary_key(kinds.len(), value, true)?,
                ENUM_AND_SET_DEFAULT_CHARSET => {
                    metadata.read_default_charset(&of(ColumnKind::is_enum_or_set), value)?;
                }
                ENUM_AND_SET_COLUMN_CHARSET => {
                    metadata.read_charsets(&of(ColumnKind::is_enum_or_set), value)?;
                }
                _ => {}
            }
        }
        Ok(metadata)
    }

    /// What the values of an ENUM or SET column stand for, decoded by the column's character set; `None`
    /// when the event does not say it, and `None` of a value that cannot be decoded.
    pub(super) fn values(&self, column: usize) -> Option<Vec<Option<String>>> {
        let charset = self.charsets[column]?;
        let raw = self.values[column].as_ref()?;
        Some(raw.iter().map(|value| Some(charset.decode(value).ok()?.into_owned())).collect())
    }

    fn read_signs(&mut self, columns: &[usize], mut value: Bytes<'a>) -> Result<(), Malformed> {
        let bits = value.take(columns.len().div_ceil(8))?;
        for (index, column) in columns.iter().enumerate() {
            self.unsigned[*column] = Some(bit_from_left(bits, index));
        }
        value.ensure_read()
    }

    /// One collation for all of `columns`, then pairs of index into `columns` and another collation.
    fn read_default_charset(
        &mut self,
        columns: &[usize],
        mut value: Bytes<'a>,
    ) -> Result<(), Malformed> {
        let charset = Charset::from_collation(value.lenenc()?);
        for column in columns {
            self.charsets[*column] = Some(charset);
        }
        while !value.is_empty() {
            let index = value.lenenc()?;
            let charset = Charset::from_collation(value.lenenc()?);
            let column = columns
                .get(index)
                .ok_or(Malformed::Short { wanted: index, left: columns.len() })?;
            self.charsets[*column] = Some(charset);
        }
        Ok(())
    }

    fn read_charsets(&mut self, columns: &[usize], mut value: Bytes<'a>) -> Result<(), Malformed> {
        for column in columns {
            self.charsets[*column] = Some(Charset::from_collation(value.lenenc()?));
        }
        value.ensure_read()
    }

    fn read_names(&mut self, count: usize, mut value: Bytes<'a>) -> Result<(), Malformed> {
        let names = (0..count).map(|_| value.lenenc_name()).collect::<Result<Vec<_>, _>>()?;
        self.names = Some(names);
        value.ensure_read()
    }

    /// `has_prefixes`: the length of its prefix follows each column.
    fn read_primary_key(
        &mut self,
        count: usize,
        mut value: Bytes<'a>,
        has_prefixes: bool,
    ) -> Result<(), Malformed> {
        while !value.is_empty() {
            let column = value.lenenc()?;
            if column >= count || self.primary_key.contains(&column) {
                return Err(Malformed::Short { wanted: column, left: count });
            }
            self.primary_key.push(column);
            if has_prefixes {
                value.lenenc()?;
            }
        }
        Ok(())
    }

    fn read_values(&mut self, columns: &[usize], mut value: Bytes<'a>) -> Result<(), Malformed> {
        for column in columns {
            let count = value.lenenc()?;
            // Not `with_capacity`: the count is not to be trusted before that many values were read.
            let values = (0..count).map(|_| value.lenenc_bytes()).collect::<Result<Vec<_>, _>>()?;
            self.values[*column] = Some(values);
        }
        value.ensure_read()
    }
}

/// Each list costs a look at all columns, so one of ours that comes again is an error: no server writes a list twice.
fn ensure_first(field: u8, read: &mut u32, value: Bytes<'_>) -> Result<(), Malformed> {
    let is_ours = matches!(
        field,
        SIGNEDNESS..=ENUM_VALUES | SIMPLE_PRIMARY_KEY..=ENUM_AND_SET_COLUMN_CHARSET
    );
    if !is_ours {
        return Ok(());
    }
    let bit = 1 << field;
    if *read & bit != 0 {
        return Err(Malformed::Long(value.rest().len()));
    }
    *read |= bit;
    Ok(())
}

/// Bits of optional metadata count from the highest one of each byte, unlike those of a row.
fn bit_from_left(bits: &[u8], index: usize) -> bool {
    bits[index / 8] >> (7 - index % 8) & 1 == 1
}
