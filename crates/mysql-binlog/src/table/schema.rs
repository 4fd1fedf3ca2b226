//! Columns by name from `information_schema`, for events without names. Whatever the TABLE_MAP event
//! says (count, types, byte lengths, nullability, and from 8.0 on sign and character set) must agree.

use thiserror::Error;

use super::super::charset::Charset;
use super::super::json;
use super::{Column, ColumnKind, Display, Table, TableMap};

/// The columns of one table in the order of its rows; parameters are database and table. The casts make
/// the result types equal on MySQL 5.7, 8.0 and 9. The columns are those of [`SchemaColumn`], in order.
pub const SCHEMA_COLUMNS_SQL: &str = "\
SELECT CAST(COLUMN_NAME AS CHAR), CAST(DATA_TYPE AS CHAR), CAST(COLUMN_TYPE AS CHAR), \
CAST(IS_NULLABLE AS CHAR), CAST(CHARACTER_OCTET_LENGTH AS UNSIGNED), CAST(NUMERIC_PRECISION AS UNSIGNED), \
CAST(NUMERIC_SCALE AS UNSIGNED), CAST(DATETIME_PRECISION AS UNSIGNED), CAST(CHARACTER_SET_NAME AS CHAR), \
VERSION(), CAST(COLUMN_KEY AS CHAR) \
FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION";

/// One row of [`SCHEMA_COLUMNS_SQL`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaColumn {
    /// COLUMN_NAME
    pub name: String,
    /// DATA_TYPE, e.g. `varchar`
    pub data_type: String,
    /// COLUMN_TYPE, e.g. `varchar(255)`, `int unsigned`, `enum('a','b')`
    pub column_type: String,
    /// IS_NULLABLE is `YES`
    pub nullable: bool,
    /// CHARACTER_OCTET_LENGTH: longest value of a text or binary column in bytes
    pub octet_length_max: Option<u64>,
    /// NUMERIC_PRECISION: digits of a DECIMAL, bits of a BIT
    pub numeric_precision: Option<u64>,
    /// NUMERIC_SCALE: digits after the point of a DECIMAL
    pub numeric_scale: Option<u64>,
    /// DATETIME_PRECISION: digits of the fraction of a second
    pub datetime_precision: Option<u64>,
    /// CHARACTER_SET_NAME of a text column
    pub charset: Option<String>,
    /// VERSION() of the server, e.g. `5.7.22-log`
    pub server_version: String,
    /// COLUMN_KEY is `PRI`: it is a column of the primary key
    pub is_in_primary_key: bool,
}

impl SchemaColumn {
    /// Reads a row of the answer to [`SCHEMA_COLUMNS_SQL`]; `None` when it does not have that shape.
    pub fn from_row(row: &mysql_async::Row) -> Option<Self> {
        fn get<T: mysql_async::prelude::FromValue>(
            row: &mysql_async::Row,
            index: usize,
        ) -> Option<T> {
            row.get_opt(index)?.ok()
        }
        Some(Self {
            name: get(row, 0)?,
            data_type: get(row, 1)?,
            column_type: get(row, 2)?,
            nullable: get::<String>(row, 3)? == "YES",
            octet_length_max: get(row, 4)?,
            numeric_precision: get(row, 5)?,
            numeric_scale: get(row, 6)?,
            datetime_precision: get(row, 7)?,
            charset: get(row, 8)?,
            server_version: get(row, 9)?,
            is_in_primary_key: get::<String>(row, 10)? == "PRI",
        })
    }
}

/// The schema's table is not the one that the event describes: it was altered since.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{schema}.{table} is not what it was when its binlog event was written: {difference}")]
pub struct Mismatch {
    /// Database of the table.
    pub schema: String,
    /// Name of the table.
    pub table: String,
    /// What differs.
    pub difference: Difference,
}

/// The first difference between event and schema.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Difference {
    /// Not the same number of columns.
    #[error("the event has {event} columns, information_schema has {schema}")]
    Count {
        /// Columns in the event.
        event: usize,
        /// Columns in information_schema.
        schema: usize,
    },
    /// Another type, or another longest value.
    #[error(
        "column {column} is {event:?} in the event, {schema:?} ({column_type}) in information_schema"
    )]
    Kind {
        /// Name in information_schema.
        column: String,
        /// Type in the event.
        event: ColumnKind,
        /// Type in information_schema.
        schema: ColumnKind,
        /// COLUMN_TYPE of information_schema.
        column_type: String,
    },
    /// A type that this version of the relay does not know.
    #[error("column {column} has the type {column_type}, which this version does not know")]
    UnknownType {
        /// Name in information_schema.
        column: String,
        /// COLUMN_TYPE of information_schema.
        column_type: String,
    },
    /// NULL in one, NOT NULL in the other.
    #[error("column {column} {} NULL in the event, not so in information_schema", if *event { "may be" } else { "is NOT" })]
    Nullable {
        /// Name in information_schema.
        column: String,
        /// Whether it can hold NULL by the event.
        event: bool,
    },
    /// UNSIGNED in one, not in the other.
    #[error("column {column} is {} in the event, not so in information_schema", if *event { "UNSIGNED" } else { "signed" })]
    Unsigned {
        /// Name in information_schema.
        column: String,
        /// Whether it is UNSIGNED by the event.
        event: bool,
    },
    /// Another character set.
    #[error("column {column} is in {event} in the event, in {schema} in information_schema")]
    Charset {
        /// Name in information_schema.
        column: String,
        /// Character set in the event.
        event: Charset,
        /// Character set in information_schema.
        schema: Charset,
    },
    /// A collation that neither this version of the relay nor the server knows.
    #[error(
        "column {column} is in the collation with the id {id} in the event, which is not known"
    )]
    UnknownCollation {
        /// Name in information_schema.
        column: String,
        /// Id of the collation in the event.
        id: u16,
    },
    /// A character set that this version of the relay does not know.
    #[error("column {column} is in the character set {charset}, which this version does not know")]
    UnknownCharset {
        /// Name in information_schema.
        column: String,
        /// CHARACTER_SET_NAME of information_schema.
        charset: String,
    },
}

pub(super) fn table(map: &TableMap<'_>, columns: &[SchemaColumn]) -> Result<Table, Mismatch> {
    let mismatch = |difference| Mismatch {
        schema: map.id.schema.to_owned(),
        table: map.id.table.to_owned(),
        difference,
    };
    if columns.len() != map.kinds.len() {
        return Err(mismatch(Difference::Count { event: map.kinds.len(), schema: columns.len() }));
    }
    let primary_key = primary_key(columns);
    let columns = columns
        .iter()
        .enumerate()
        .map(|(index, schema)| column(map, index, schema))
        .collect::<Result<Vec<_>, _>>()
        .map_err(mismatch)?;
    let (schema, name) = (map.id.schema.to_owned(), map.id.table.to_owned());
    Ok(Table { schema, name, columns, primary_key })
}

fn primary_key(columns: &[SchemaColumn]) -> Vec<usize> {
    (0..columns.len()).filter(|index| columns[*index].is_in_primary_key).collect()
}

fn column(map: &TableMap<'_>, index: usize, schema: &SchemaColumn) -> Result<Column, Difference> {
    let kind = checked_kind(map.kinds[index], schema)?;
    let name = schema.name.clone();
    let nullable = map.is_nullable(index);
    if nullable != schema.nullable {
        return Err(Difference::Nullable { column: name, event: nullable });
    }
    let unsigned = unsigned(kind, schema);
    if let Some(event) = map.optional.unsigned[index]
        && Some(event) != unsigned
    {
        return Err(Difference::Unsigned { column: name, event });
    }
    let charset = checked_charset(map.optional.charsets[index], kind, schema)?;
    Ok(described(kind, unsigned, charset, schema))
}

/// The table as a server describes it, with no event to compare it with.
pub(super) fn without_event(
    schema: &str,
    table: &str,
    columns: &[SchemaColumn],
) -> Result<Table, Mismatch> {
    let column = |column: &SchemaColumn| {
        let kind = expected_kind(column).ok_or_else(|| unknown_type(column))?;
        let charset = checked_charset(None, kind, column)?;
        Ok(described(kind, unsigned(kind, column), charset, column))
    };
    let primary_key = primary_key(columns);
    let columns = columns.iter().map(column).collect::<Result<Vec<_>, _>>();
    let mismatch =
        |difference| Mismatch { schema: schema.to_owned(), table: table.to_owned(), difference };
    let columns = columns.map_err(mismatch)?;
    Ok(Table { schema: schema.to_owned(), name: table.to_owned(), columns, primary_key })
}

fn described(
    kind: ColumnKind,
    unsigned: Option<bool>,
    charset: Option<Charset>,
    schema: &SchemaColumn,
) -> Column {
    Column {
        name: schema.name.clone(),
        kind,
        nullable: schema.nullable,
        unsigned,
        charset,
        values: charset
            .filter(|_| kind.is_enum_or_set())
            .and_then(|charset| known_values(charset, schema)),
        json_style: json::Style::of_server(&schema.server_version),
        display: display(kind, schema),
    }
}

/// A YEAR is UNSIGNED by nature, and information_schema does not say so.
fn unsigned(kind: ColumnKind, schema: &SchemaColumn) -> Option<bool> {
    let is_unsigned = || kind == ColumnKind::Year || has_word(&schema.column_type, "unsigned");
    kind.is_numeric().then(is_unsigned)
}

fn unknown_type(schema: &SchemaColumn) -> Difference {
    Difference::UnknownType { column: schema.name.clone(), column_type: schema.column_type.clone() }
}

fn display(kind: ColumnKind, schema: &SchemaColumn) -> Display {
    let is_floating = matches!(kind, ColumnKind::Float | ColumnKind::Double);
    let decimals = schema.numeric_scale.filter(|_| is_floating);
    // A YEAR has ZEROFILL by nature: its text always has four digits.
    let is_padded = kind != ColumnKind::Year && kind.is_numeric();
    let zerofill = (is_padded && has_word(&schema.column_type, "zerofill")).then(|| {
        // The server shows the width of these types wherever it has one.
        let shown = schema.column_type.split_once('(').map(|(_, rest)| rest);
        let digits = shown.map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
        let width = digits.flatten().and_then(|digits| digits.parse().ok());
        width.unwrap_or(if kind == ColumnKind::Float { 12 } else { 22 })
    });
    Display { zerofill, decimals: decimals.and_then(|decimals| u8::try_from(decimals).ok()) }
}

fn checked_kind(event: ColumnKind, schema: &SchemaColumn) -> Result<ColumnKind, Difference> {
    let expected = expected_kind(schema).ok_or_else(|| unknown_type(schema))?;
    // information_schema does not tell the temporal formats of MySQL 5.5 from today's.
    let old_format = matches!(
        (event, expected),
        (ColumnKind::Time, ColumnKind::Time2 { fraction: 0 })
            | (ColumnKind::DateTime, ColumnKind::DateTime2 { fraction: 0 })
            | (ColumnKind::Timestamp, ColumnKind::Timestamp2 { fraction: 0 })
    );
    if event == expected || old_format {
        return Ok(event);
    }
    Err(Difference::Kind {
        column: schema.name.clone(),
        event,
        schema: expected,
        column_type: schema.column_type.clone(),
    })
}

/// The type that the TABLE_MAP event has when it is of this very column.
fn expected_kind(schema: &SchemaColumn) -> Option<ColumnKind> {
    let octets = || u16::try_from(schema.octet_length_max?).ok();
    let precision = || u8::try_from(schema.numeric_precision?).ok();
    let fraction = || u8::try_from(schema.datetime_precision.unwrap_or(0)).ok();
    let kind = match schema.data_type.to_ascii_lowercase().as_str() {
        "tinyint" => ColumnKind::Tiny,
        "smallint" => ColumnKind::Short,
        "mediumint" => ColumnKind::Int24,
        "int" => ColumnKind::Long,
        "bigint" => ColumnKind::LongLong,
        "float" => ColumnKind::Float,
        "double" => ColumnKind::Double,
        "decimal" => ColumnKind::Decimal {
            precision: precision()?,
            scale: u8::try_from(schema.numeric_scale?).ok()?,
        },
        "bit" => ColumnKind::Bit { bits: u16::from(precision()?) },
        "year" => ColumnKind::Year,
        "date" => ColumnKind::Date,
        "time" => ColumnKind::Time2 { fraction: fraction()? },
        "datetime" => ColumnKind::DateTime2 { fraction: fraction()? },
        "timestamp" => ColumnKind::Timestamp2 { fraction: fraction()? },
        "char" | "binary" => ColumnKind::Char { bytes_max: octets()? },
        "varchar" | "varbinary" => ColumnKind::VarChar { bytes_max: octets()? },
        "tinytext" | "tinyblob" => ColumnKind::Blob { length_bytes: 1 },
        "text" | "blob" => ColumnKind::Blob { length_bytes: 2 },
        "mediumtext" | "mediumblob" => ColumnKind::Blob { length_bytes: 3 },
        "longtext" | "longblob" => ColumnKind::Blob { length_bytes: 4 },
        "enum" => ColumnKind::Enum { bytes: enum_bytes(quoted_values(&schema.column_type)?.len()) },
        "set" => ColumnKind::Set { bytes: set_bytes(quoted_values(&schema.column_type)?.len()) },
        "json" => ColumnKind::Json { length_bytes: 4 },
        "vector" => ColumnKind::Vector { length_bytes: 4 },
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geometrycollection" | "geomcollection" => {
            ColumnKind::Geometry { length_bytes: 4 }
        }
        _ => return None,
    };
    Some(kind)
}

fn enum_bytes(values: usize) -> u8 {
    if values > 255 { 2 } else { 1 }
}

/// The server rounds 5 bytes and more up to 8.
fn set_bytes(values: usize) -> u8 {
    match values.div_ceil(8) {
        0 | 1 => 1,
        bytes @ 2..=4 => bytes as u8,
        _ => 8,
    }
}

fn checked_charset(
    event: Option<Charset>,
    kind: ColumnKind,
    schema: &SchemaColumn,
) -> Result<Option<Charset>, Difference> {
    if !kind.is_character() && !kind.is_enum_or_set() {
        return Ok(None);
    }
    let known = match schema.charset.as_deref() {
        None => Charset::Binary,
        Some(name) => Charset::from_name(name).ok_or_else(|| Difference::UnknownCharset {
            column: schema.name.clone(),
            charset: name.to_owned(),
        })?,
    };
    match event {
        Some(Charset::Unknown(id)) => {
            Err(Difference::UnknownCollation { column: schema.name.clone(), id })
        }
        Some(event) if event != known => {
            Err(Difference::Charset { column: schema.name.clone(), event, schema: known })
        }
        _ => Ok(Some(known)),
    }
}

fn has_word(text: &str, word: &str) -> bool {
    // Quoted values of an ENUM never matter here: only numeric types and EXTRA are asked.
    text.split_ascii_whitespace().any(|part| part.eq_ignore_ascii_case(word))
}

/// The values of an ENUM or SET. information_schema speaks utf8mb3 and shows a `?` for a character beyond
/// the basic plane, so where the column's character set has such characters, a value with a `?` in it is
/// not known.
fn known_values(charset: Charset, schema: &SchemaColumn) -> Option<Vec<Option<String>>> {
    let values = quoted_values(&schema.column_type)?;
    let is_known = |value: &String| !(charset.is_beyond_basic_plane() && value.contains('?'));
    Some(values.into_iter().map(|value| Some(value).filter(is_known)).collect())
}

/// The values in `enum('a','b')` or `set('a','b')`, as the server quotes them: `''` for a quote, and
/// `\0`, `\n`, `\r`, `\\` behind a backslash.
fn quoted_values(column_type: &str) -> Option<Vec<String>> {
    let list = column_type.split_once('(')?.1.strip_suffix(')')?;
    let mut values = Vec::new();
    let mut rest = list.chars().peekable();
    loop {
        if rest.next()? != '\'' {
            return None;
        }
        let mut value = String::new();
        loop {
            match rest.next()? {
                '\'' if rest.peek() == Some(&'\'') => value.push(rest.next()?),
                '\'' => break,
                '\\' => value.push(match rest.next()? {
                    '0' => '\0',
                    'n' => '\n',
                    'r' => '\r',
                    other => other,
                }),
                other => value.push(other),
            }
        }
        values.push(value);
        match rest.next() {
            None => return Some(values),
            Some(',') => {}
            Some(_) => return None,
        }
    }
}
