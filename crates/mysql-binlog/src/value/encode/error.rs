//! Why a text or JSON is no value of a column.

use thiserror::Error;

use super::super::super::charset::NoCharacter;
use super::super::super::table::{Column, ColumnKind};
use super::BinaryFormat;

/// A column has no such value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{} is no value of column {column} ({kind}): {misfit}", Excerpt(given))]
pub struct EncodeError {
    /// Name of the column.
    pub column: String,
    /// Its type.
    pub kind: String,
    /// The text or JSON.
    pub given: String,
    /// Why not.
    pub misfit: Misfit,
}

/// Why a column has no such value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Misfit {
    /// It is of another kind than the column's type.
    #[error("it is of another type")]
    NoValue,
    /// It is not written as values of the type are.
    #[error("write it as {0}")]
    Form(&'static str),
    /// It is beyond what the type holds.
    #[error("it is not between {min} and {max}")]
    Range {
        /// The smallest value.
        min: String,
        /// The greatest value.
        max: String,
    },
    /// It has more digits than the type.
    #[error("the type has {whole} digits before the point and {fraction} after it")]
    Digits {
        /// Digits before the point.
        whole: u8,
        /// Digits after the point.
        fraction: u8,
    },
    /// NULL, and the column is NOT NULL.
    #[error("the column is NOT NULL")]
    NotNull,
    /// It takes more bytes than the column has room for.
    #[error("it takes {length} bytes, the column has room for {max}")]
    Long {
        /// Bytes that it takes.
        length: usize,
        /// Bytes of the longest value.
        max: u64,
    },
    /// The bytes of a binary column are written in base64 or hex, and these are not.
    #[error("bytes are written in {}", name(*.0))]
    NotEncoded(BinaryFormat),
    /// The column's character set does not have a character of it.
    #[error("{0}")]
    Character(NoCharacter),
    /// Nobody says which character set the column has.
    #[error("the character set of the column is not known")]
    UnknownCharset,
    /// Nobody says whether the column is UNSIGNED, and for this value it matters.
    #[error("it is not known whether the column is UNSIGNED")]
    UnknownSign,
    /// An ENUM or SET has no such member.
    #[error("it has no member {name:?}, but {}", known.join(", "))]
    Member {
        /// The member that it does not have.
        name: String,
        /// Those that it has. `?`: one whose name is not known.
        known: Vec<String>,
    },
    /// It is no JSON document that a server stores.
    #[error("{0}")]
    Document(&'static str),
    /// Values of the type cannot be encoded.
    #[error("this version cannot encode the type")]
    Unsupported,
}

impl Misfit {
    pub(super) fn of(self, column: &Column, given: &str) -> EncodeError {
        EncodeError {
            column: column.name.clone(),
            kind: type_name(column),
            given: given.to_owned(),
            misfit: self,
        }
    }
}

const fn name(binary: BinaryFormat) -> &'static str {
    match binary {
        BinaryFormat::Base64 => "base64",
        BinaryFormat::Hex => "hex",
    }
}

/// The type as a table's definition has it, nearly.
fn type_name(column: &Column) -> String {
    let is_binary = super::super::is_binary(column);
    let mut name = match column.kind {
        ColumnKind::VarChar { .. } => if is_binary { "VARBINARY" } else { "VARCHAR" }.to_owned(),
        ColumnKind::Char { .. } => if is_binary { "BINARY" } else { "CHAR" }.to_owned(),
        ColumnKind::Blob { .. } => if is_binary { "BLOB" } else { "TEXT" }.to_owned(),
        ColumnKind::Decimal { precision, scale } => format!("DECIMAL({precision},{scale})"),
        ColumnKind::Bit { bits } => format!("BIT({bits})"),
        ColumnKind::Time2 { fraction: fraction @ 1.. }
        | ColumnKind::DateTime2 { fraction: fraction @ 1.. }
        | ColumnKind::Timestamp2 { fraction: fraction @ 1.. } => {
            format!("{}({fraction})", column.kind.name())
        }
        kind => kind.name().to_owned(),
    };
    if column.unsigned == Some(true) && column.kind != ColumnKind::Year {
        name.push_str(" UNSIGNED");
    }
    name
}

/// The beginning of what was given.
struct Excerpt<'a>(&'a str);

impl std::fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const CHARACTERS_MAX: usize = 40;
        match self.0.char_indices().nth(CHARACTERS_MAX) {
            None => f.write_str(self.0),
            Some((end, _)) => write!(f, "{}…", &self.0[..end]),
        }
    }
}
