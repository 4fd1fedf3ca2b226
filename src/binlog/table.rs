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

mod metadata;
mod schema;

use metadata::OptionalMetadata;

pub use schema::{Difference, Mismatch, SCHEMA_COLUMNS_SQL, SchemaColumn};

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

/// The type of a column as the binlog knows it, with what is needed to find the end of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// TINYINT
    Tiny,
    /// SMALLINT
    Short,
    /// MEDIUMINT
    Int24,
    /// INT
    Long,
    /// BIGINT
    LongLong,
    /// FLOAT
    Float,
    /// DOUBLE
    Double,
    /// DECIMAL
    Decimal {
        /// Digits in all.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// BIT
    Bit {
        /// 1 to 64.
        bits: u16,
    },
    /// YEAR
    Year,
    /// DATE
    Date,
    /// TIME as MySQL 5.5 stored it
    Time,
    /// TIME
    Time2 {
        /// Digits of the fraction of a second.
        fraction: u8,
    },
    /// DATETIME as MySQL 5.5 stored it
    DateTime,
    /// DATETIME
    DateTime2 {
        /// Digits of the fraction of a second.
        fraction: u8,
    },
    /// TIMESTAMP as MySQL 5.5 stored it
    Timestamp,
    /// TIMESTAMP
    Timestamp2 {
        /// Digits of the fraction of a second.
        fraction: u8,
    },
    /// VARCHAR or VARBINARY
    VarChar {
        /// Longest value in bytes, not characters.
        bytes_max: u16,
    },
    /// CHAR or BINARY
    Char {
        /// Longest value in bytes, not characters.
        bytes_max: u16,
    },
    /// TINYTEXT to LONGTEXT, TINYBLOB to LONGBLOB
    Blob {
        /// Bytes of the length before a value: 1 to 4.
        length_bytes: u8,
    },
    /// ENUM
    Enum {
        /// Bytes of a value: 1 or 2.
        bytes: u8,
    },
    /// SET
    Set {
        /// Bytes of a value: 1 to 8.
        bytes: u8,
    },
    /// JSON
    Json {
        /// Bytes of the length before a value: 1 to 4.
        length_bytes: u8,
    },
    /// GEOMETRY and its kin
    Geometry {
        /// Bytes of the length before a value: 1 to 4.
        length_bytes: u8,
    },
    /// VECTOR (MySQL 9)
    Vector {
        /// Bytes of the length before a value: 1 to 4.
        length_bytes: u8,
    },
    /// The hidden array column of a multi-valued index. No server is known to write one into a row.
    TypedArray,
}

/// How long a value of a column is in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Always this many bytes.
    Fixed(u8),
    /// As many bytes as a little-endian length of this many bytes before it says.
    Prefixed(u8),
    /// Not known.
    Unknown,
}

impl ColumnKind {
    fn parse(column: usize, type_code: u8, metadata: &mut Bytes<'_>) -> Result<Self, Error> {
        let kind = match type_code {
            1 => Self::Tiny,
            2 => Self::Short,
            3 => Self::Long,
            7 => Self::Timestamp,
            8 => Self::LongLong,
            9 => Self::Int24,
            10 | 14 => Self::Date,
            11 => Self::Time,
            12 => Self::DateTime,
            13 => Self::Year,
            4 | 5 | 17..=19 | 242 | 245 | 249..=252 | 255 => {
                let value = metadata.u8()?;
                Self::with_one_byte(type_code, value)
                    .ok_or(Error::Metadata { column, metadata: u16::from(value) })?
            }
            15 | 16 | 253 | 246..=248 | 254 => {
                let value = metadata.take(2)?;
                Self::with_two_bytes(type_code, value[0], value[1]).ok_or(Error::Metadata {
                    column,
                    metadata: u16::from_be_bytes([value[0], value[1]]),
                })?
            }
            20 => skip_typed_array(metadata)?,
            _ => return Err(Error::UnknownType { column, type_code }),
        };
        Ok(kind)
    }

    fn with_one_byte(type_code: u8, value: u8) -> Option<Self> {
        let is_length = (1..=4).contains(&value);
        let is_fraction = value <= 6;
        match type_code {
            4 if value == 4 => Some(Self::Float),
            5 if value == 8 => Some(Self::Double),
            17 if is_fraction => Some(Self::Timestamp2 { fraction: value }),
            18 if is_fraction => Some(Self::DateTime2 { fraction: value }),
            19 if is_fraction => Some(Self::Time2 { fraction: value }),
            242 if is_length => Some(Self::Vector { length_bytes: value }),
            245 if is_length => Some(Self::Json { length_bytes: value }),
            249..=252 if is_length => Some(Self::Blob { length_bytes: value }),
            255 if is_length => Some(Self::Geometry { length_bytes: value }),
            _ => None,
        }
    }

    fn with_two_bytes(type_code: u8, first: u8, second: u8) -> Option<Self> {
        match type_code {
            15 | 253 => Some(Self::VarChar { bytes_max: u16::from_le_bytes([first, second]) }),
            16 if first < 8 && second <= 8 => {
                Some(Self::Bit { bits: u16::from(second) * 8 + u16::from(first) })
            }
            246 => Some(Self::Decimal { precision: first, scale: second })
                .filter(|_| (1..=65).contains(&first) && second <= first.min(30)),
            247 | 248 | 254 => Self::in_string(first, second),
            _ => None,
        }
    }

    /// CHAR, ENUM and SET share the type STRING: the first byte of the metadata is the real type, and two
    /// bits of it, inverted, are bits 8 and 9 of a length above 255.
    fn in_string(first: u8, second: u8) -> Option<Self> {
        let high_bits = u16::from(!first & 0x30) << 4;
        let length = high_bits | u16::from(second);
        match first | 0x30 {
            254 => Some(Self::Char { bytes_max: length }),
            247 if (1..=2).contains(&length) => Some(Self::Enum { bytes: second }),
            248 if (1..=8).contains(&length) => Some(Self::Set { bytes: second }),
            _ => None,
        }
    }

    /// How long a value is.
    pub fn size(self) -> Size {
        match self {
            Self::Tiny | Self::Year => Size::Fixed(1),
            Self::Short => Size::Fixed(2),
            Self::Int24 | Self::Date | Self::Time => Size::Fixed(3),
            Self::Long | Self::Float | Self::Timestamp => Size::Fixed(4),
            Self::LongLong | Self::Double | Self::DateTime => Size::Fixed(8),
            Self::Decimal { precision, scale } => Size::Fixed(decimal_size(precision, scale)),
            Self::Bit { bits } => Size::Fixed(bits.div_ceil(8) as u8), // at most 71 bits
            Self::Time2 { fraction } => Size::Fixed(3 + fraction.div_ceil(2)),
            Self::DateTime2 { fraction } => Size::Fixed(5 + fraction.div_ceil(2)),
            Self::Timestamp2 { fraction } => Size::Fixed(4 + fraction.div_ceil(2)),
            Self::Enum { bytes } | Self::Set { bytes } => Size::Fixed(bytes),
            // The length takes a second byte as soon as the longest value in bytes needs it.
            Self::VarChar { bytes_max } | Self::Char { bytes_max } => {
                Size::Prefixed(if bytes_max > 255 { 2 } else { 1 })
            }
            Self::Blob { length_bytes }
            | Self::Json { length_bytes }
            | Self::Geometry { length_bytes }
            | Self::Vector { length_bytes } => Size::Prefixed(length_bytes),
            Self::TypedArray => Size::Unknown,
        }
    }

    /// The name of the type in SQL, for messages. Text and binary types share a name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tiny => "TINYINT",
            Self::Short => "SMALLINT",
            Self::Int24 => "MEDIUMINT",
            Self::Long => "INT",
            Self::LongLong => "BIGINT",
            Self::Float => "FLOAT",
            Self::Double => "DOUBLE",
            Self::Decimal { .. } => "DECIMAL",
            Self::Bit { .. } => "BIT",
            Self::Year => "YEAR",
            Self::Date => "DATE",
            Self::Time | Self::Time2 { .. } => "TIME",
            Self::DateTime | Self::DateTime2 { .. } => "DATETIME",
            Self::Timestamp | Self::Timestamp2 { .. } => "TIMESTAMP",
            Self::VarChar { .. } => "VARCHAR/VARBINARY",
            Self::Char { .. } => "CHAR/BINARY",
            Self::Blob { .. } => "TEXT/BLOB",
            Self::Enum { .. } => "ENUM",
            Self::Set { .. } => "SET",
            Self::Json { .. } => "JSON",
            Self::Geometry { .. } => "GEOMETRY",
            Self::Vector { .. } => "VECTOR",
            Self::TypedArray => "TYPED ARRAY",
        }
    }

    /// Whether the SIGNEDNESS metadata has a bit for a column of this type. YEAR counts, BIT does not.
    pub fn is_numeric(self) -> bool {
        matches!(
            self,
            Self::Tiny
                | Self::Short
                | Self::Int24
                | Self::Long
                | Self::LongLong
                | Self::Year
                | Self::Float
                | Self::Double
                | Self::Decimal { .. }
        )
    }

    /// Whether the CHARSET metadata counts a column of this type. Binary columns count, and VECTOR does: to
    /// the server it is a BLOB of the collation `binary`. JSON and GEOMETRY do not.
    pub fn has_collation(self) -> bool {
        self.is_character() || matches!(self, Self::Vector { .. })
    }

    /// Text, or binary text.
    pub fn is_character(self) -> bool {
        matches!(self, Self::VarChar { .. } | Self::Char { .. } | Self::Blob { .. })
    }

    fn is_enum_or_set(self) -> bool {
        matches!(self, Self::Enum { .. } | Self::Set { .. })
    }
}

/// Nine digits take four bytes; a rest of 1 to 8 digits takes 1, 1, 2, 2, 3, 3, 4, 4. Both sides of the
/// point are packed on their own.
fn decimal_size(precision: u8, scale: u8) -> u8 {
    let packed = |digits: u8| digits / 9 * 4 + (digits % 9).div_ceil(2);
    packed(precision - scale) + packed(scale)
}

fn skip_typed_array(metadata: &mut Bytes<'_>) -> Result<ColumnKind, Malformed> {
    let length = match metadata.u8()? {
        15 | 253 => 3, // the element's longest value may pass 65535 bytes
        16 | 246..=248 | 254 => 2,
        4 | 5 | 17..=19 | 242 | 245 | 249..=252 | 255 => 1,
        _ => 0,
    };
    metadata.take(length)?;
    Ok(ColumnKind::TypedArray)
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
    /// How the server that has the table prints JSON.
    pub json_style: json::Style,
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
            })
            .collect();
        Some(Self { schema: map.id.schema.to_owned(), name: map.id.table.to_owned(), columns })
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
        });
        Self {
            schema: map.id.schema.to_owned(),
            name: map.id.table.to_owned(),
            columns: columns.collect(),
        }
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
