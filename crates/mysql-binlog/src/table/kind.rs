//! Type codes and metadata of a TABLE_MAP event become types of columns. A type tells where a value ends, and
//! which lists of the optional metadata count the column.

use super::super::bytes::{Bytes, Malformed};
use super::super::text::number::decimal_bytes;
use super::Error;

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
    pub(super) fn parse(
        column: usize,
        type_code: u8,
        metadata: &mut Bytes<'_>,
    ) -> Result<Self, Error> {
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
            Self::Decimal { precision, scale } => Size::Fixed(decimal_bytes(precision, scale)),
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

    /// TINYINT to BIGINT.
    pub fn is_integer(self) -> bool {
        matches!(self, Self::Tiny | Self::Short | Self::Int24 | Self::Long | Self::LongLong)
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

    pub(super) fn is_enum_or_set(self) -> bool {
        matches!(self, Self::Enum { .. } | Self::Set { .. })
    }
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
