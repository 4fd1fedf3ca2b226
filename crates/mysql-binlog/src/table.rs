//! TABLE_MAP → columns by name. In goes the body of a TABLE_MAP event, and, where the event has no column
//! names (`binlog_row_metadata=MINIMAL`, MySQL 5.7), what `information_schema` says of the table. Out
//! comes a [`Table`]: name, type, nullability, sign and character set of each column. What the schema
//! says is held against everything that the event says; a difference is a [`Mismatch`], never a guess.
//!
//! Format: `Table_map_event` in the MySQL source documentation (mysql::binlog::event).

use thiserror::Error;

use super::bytes::{Bytes, Malformed};
use super::charset::Charset;
use super::json;

mod kind;
mod metadata;
mod schema;

use metadata::OptionalMetadata;

pub use kind::{ColumnKind, Size};
pub use schema::{Difference, Mismatch, SCHEMA_COLUMNS_SQL, SchemaColumn};

/// Most columns of a table
/// (<https://dev.mysql.com/doc/refman/8.4/en/column-count-limit.html>).
const COLUMNS_MAX: usize = 4096;

/// Why a TABLE_MAP event cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Error {
    /// The event is cut off or damaged.
    #[error("the TABLE_MAP event is damaged: {0}")]
    Malformed(#[from] Malformed),
    /// A column has a type that no supported server writes, so the length of its metadata is unknown.
    #[error(
        "column {} of the table has the type {type_code}, which this version does not know",
        column + 1
    )]
    UnknownType {
        /// Index of the column, from 0.
        column: usize,
        /// `enum_field_types` of the server.
        type_code: u8,
    },
    /// The metadata of a column has a value that its type cannot have.
    #[error(
        "column {column} (counted from 0) of the TABLE_MAP event has impossible metadata {metadata:#06x}"
    )]
    Metadata {
        /// Index of the column, from 0.
        column: usize,
        /// The two bytes of metadata.
        metadata: u16,
    },
}

/// The head of a TABLE_MAP event: enough to tell whether the table is of interest, and whether it is still
/// the one that was parsed before. Costs two length bytes and two UTF-8 checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableId<'a> {
    /// What the rows events that follow call the table by; changes whenever the server reopens it.
    pub table_id: u64,
    /// Database of the table.
    pub schema: &'a str,
    /// Name of the table.
    pub table: &'a str,
    /// Everything after the names: equal bytes describe equal columns.
    pub signature: &'a [u8],
}

impl<'a> TableId<'a> {
    /// Reads the head of the body of a TABLE_MAP event (after the common header, without checksum).
    ///
    /// # Errors
    /// [`Error::Malformed`] when the head is cut off or a name is not UTF-8.
    pub fn peek(body: &'a [u8]) -> Result<Self, Error> {
        let mut bytes = Bytes::new(body);
        let table_id = bytes.uint(6)?;
        bytes.take(2)?; // flags: nothing in them concerns the columns
        let schema = bytes.lenenc_name()?;
        bytes.take(1)?; // each name ends with a zero byte as well
        let table = bytes.lenenc_name()?;
        bytes.take(1)?;
        Ok(Self { table_id, schema, table, signature: bytes.rest() })
    }
}

/// A whole TABLE_MAP event.
#[derive(Debug, Clone)]
pub struct TableMap<'a> {
    id: TableId<'a>,
    kinds: Vec<ColumnKind>,
    optional: OptionalMetadata<'a>,
    nullable: &'a [u8],
}

impl<'a> TableMap<'a> {
    /// Reads the body of a TABLE_MAP event (after the common header, without checksum).
    ///
    /// # Errors
    /// [`enum@Error`] when it is damaged or has a column of an unknown type.
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let id = TableId::peek(body)?;
        let mut bytes = Bytes::new(id.signature);
        let types = bytes.lenenc_bytes()?;
        if types.len() > COLUMNS_MAX {
            return Err(Malformed::Long(types.len() - COLUMNS_MAX).into());
        }
        let mut metadata = Bytes::new(bytes.lenenc_bytes()?);
        let kinds = types
            .iter()
            .enumerate()
            .map(|(column, type_code)| ColumnKind::parse(column, *type_code, &mut metadata))
            .collect::<Result<Vec<_>, _>>()?;
        let nullable = bytes.take(types.len().div_ceil(8))?;
        let optional = OptionalMetadata::parse(&kinds, bytes)?;
        Ok(Self { id, kinds, optional, nullable })
    }

    /// What the rows events that follow call the table by.
    pub fn table_id(&self) -> u64 {
        self.id.table_id
    }

    /// Database of the table.
    pub fn schema(&self) -> &'a str {
        self.id.schema
    }

    /// Name of the table.
    pub fn table(&self) -> &'a str {
        self.id.table
    }

    /// Type of each column, in the order of the rows.
    pub fn kinds(&self) -> &[ColumnKind] {
        &self.kinds
    }

    /// Whether the column can hold NULL.
    pub fn is_nullable(&self, column: usize) -> bool {
        self.nullable.get(column / 8).is_some_and(|byte| byte >> (column % 8) & 1 == 1)
    }

    /// Collations whose character sets are not known: ids that a person gave to collations of their own.
    pub fn unknown_collations(&self) -> Vec<u16> {
        let mut ids: Vec<u16> = self.optional.charsets.iter().filter_map(unknown_id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Says which character sets such collations are of. Those that are not named stay unknown.
    pub fn name_collations(&mut self, charsets: &[(u16, Charset)]) {
        for charset in &mut self.optional.charsets {
            let named = unknown_id(charset)
                .and_then(|id| charsets.iter().find(|(collation, _)| *collation == id));
            if let Some((_, named)) = named {
                *charset = Some(*named);
            }
        }
    }

    /// Everything after the names. A table whose signature did not change need not be parsed again, even
    /// when its `table_id` did.
    pub fn signature(&self) -> &'a [u8] {
        self.id.signature
    }
}

fn unknown_id(charset: &Option<Charset>) -> Option<u16> {
    match charset {
        Some(Charset::Unknown(id)) => Some(*id),
        _ => None,
    }
}

/// One column of a table, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: ColumnKind,
    /// Whether it can hold NULL.
    pub nullable: bool,
    /// Whether a numeric column is UNSIGNED; `None` for other types and where nobody says it.
    pub unsigned: Option<bool>,
    /// Character set of a text, binary, ENUM or SET column; `None` for other types and where nobody
    /// says it.
    pub charset: Option<Charset>,
    /// What the values of an ENUM or SET stand for; `None` for other types, and `None` of a value where
    /// it is not known.
    pub values: Option<Vec<Option<String>>>,
    /// How the server that has the table prints JSON, FLOAT and DOUBLE.
    pub json_style: json::Style,
    /// How the server prints its numbers.
    pub display: Display,
}

/// What only `information_schema` says of how a number is printed: the binlog never does, with no metadata. Empty where
/// the event itself named the columns (`binlog_row_metadata=FULL`). MySQL deprecates both since 8.0.17.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Display {
    /// ZEROFILL: zeros stand before the number, up to this many characters.
    pub zerofill: Option<u8>,
    /// FLOAT(M,D) and DOUBLE(M,D): digits after the point, D.
    pub decimals: Option<u8>,
}

/// A table whose columns have names: what the row decoder and the routes are built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its database.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its columns, in the order of the rows.
    pub columns: Vec<Column>,
    /// Indices of the columns of its primary key; empty where it has none, and where nobody says it.
    pub primary_key: Vec<usize>,
}

impl Table {
    /// The table as the event itself describes it; `None` when the event has no column names (the server
    /// runs with `binlog_row_metadata=MINIMAL`, or is a 5.7).
    pub fn from_metadata(map: &TableMap<'_>) -> Option<Self> {
        let names = map.optional.names.as_ref()?;
        let columns = names
            .iter()
            .zip(&map.kinds)
            .enumerate()
            .map(|(index, (name, kind))| Column {
                name: (*name).to_owned(),
                kind: *kind,
                nullable: map.is_nullable(index),
                unsigned: map.optional.unsigned[index],
                charset: map.optional.charsets[index]
                    .filter(|_| kind.is_character() || kind.is_enum_or_set()),
                values: map.optional.values(index),
                // Events have column names from 8.0.1 on only.
                json_style: json::Style::V8_0,
                display: Display::default(),
            })
            .collect();
        Some(Self {
            schema: map.id.schema.to_owned(),
            name: map.id.table.to_owned(),
            columns,
            primary_key: map.optional.primary_key.clone(),
        })
    }

    /// The table with columns that have no names: enough to find the ends of its rows.
    pub fn without_names(map: &TableMap<'_>) -> Self {
        let columns = map.kinds.iter().enumerate().map(|(index, kind)| Column {
            name: String::new(),
            kind: *kind,
            nullable: map.is_nullable(index),
            unsigned: None,
            charset: None,
            values: None,
            json_style: json::Style::V8_0,
            display: Display::default(),
        });
        Self {
            schema: map.id.schema.to_owned(),
            name: map.id.table.to_owned(),
            columns: columns.collect(),
            primary_key: Vec::new(),
        }
    }

    /// The table with columns that are called by their position, `@1` and so on, and what the event says of them: to look
    /// at rows whose columns have no names. A number without a sign in the event counts as signed.
    pub fn by_position(map: &TableMap<'_>) -> Self {
        let mut table = Self::without_names(map);
        for (index, column) in table.columns.iter_mut().enumerate() {
            column.name = format!("@{}", index + 1);
            let is_numeric = column.kind.is_numeric();
            column.unsigned = map.optional.unsigned[index].or(is_numeric.then_some(false));
            column.charset = map.optional.charsets[index].filter(|_| column.kind.is_character());
        }
        table
    }

    /// The table as `information_schema` describes it now ([`SCHEMA_COLUMNS_SQL`]), after that was held
    /// against all that the event says. It cannot find out that two columns of equal type changed places
    /// or names since the event was written: only `binlog_row_metadata=FULL` can.
    ///
    /// # Errors
    /// [`Mismatch`] when the two do not describe the same columns: the table was altered since.
    pub fn from_schema(map: &TableMap<'_>, columns: &[SchemaColumn]) -> Result<Self, Mismatch> {
        schema::table(map, columns)
    }

    /// The table as `information_schema` describes it now ([`SCHEMA_COLUMNS_SQL`]), for rows that do not come from a
    /// binlog. A table of a server that logs column names (`binlog_row_metadata=FULL`) has to be
    /// [as its binlog has it](Table::as_named_by_events).
    ///
    /// # Errors
    /// [`Mismatch`] when a column has a type or a character set that is not known.
    pub fn of_schema(
        schema: &str,
        table: &str,
        columns: &[SchemaColumn],
    ) -> Result<Self, Mismatch> {
        schema::without_event(schema, table, columns)
    }

    /// The table as [`Table::from_metadata`] has it: without what only `information_schema` says of it.
    #[must_use]
    pub fn as_named_by_events(mut self) -> Self {
        for column in &mut self.columns {
            column.display = Display::default();
            column.json_style = json::Style::V8_0;
        }
        self
    }

    /// `schema.name`
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// Index of the column of that name. Like the server, without regard to the case of ASCII letters.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
pub(super) mod golden;
#[cfg(test)]
mod tests;
