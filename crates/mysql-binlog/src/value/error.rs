//! Why a value cannot be had.

use thiserror::Error;

use super::super::charset;
use super::super::json;

/// Why a value cannot be had; `column` is the column's name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// The type has no text (or no number) in this version.
    #[error("column {column} is a {kind}, which this version cannot turn into {into}")]
    UnsupportedType {
        /// Name of the column.
        column: String,
        /// Name of its type.
        kind: &'static str,
        /// What was wanted: `text` or `a number`.
        into: &'static str,
    },
    /// The value is not as long as its type says.
    #[error("column {column} has a value of {length} bytes, its type takes {wanted}")]
    Length {
        /// Name of the column.
        column: String,
        /// Bytes that the type takes.
        wanted: usize,
        /// Bytes of the value.
        length: usize,
    },
    /// The value is no text in the column's character set.
    #[error("column {column} has a value that is {source}")]
    Charset {
        /// Name of the column.
        column: String,
        /// What is wrong with it.
        source: charset::Error,
    },
    /// The value of a BINARY, VARBINARY or BLOB column is not UTF-8; there is no other text in it.
    #[error("column {column} is binary, and its value is not UTF-8 from byte {at} on")]
    BinaryNotUtf8 {
        /// Name of the column.
        column: String,
        /// First byte that is not UTF-8.
        at: usize,
    },
    /// Nobody says which character set the column has.
    #[error("the character set of column {column} is not known")]
    UnknownCharset {
        /// Name of the column.
        column: String,
    },
    /// Nobody says whether the column is UNSIGNED, and for this value it matters.
    #[error("it is not known whether column {column} is UNSIGNED")]
    UnknownSign {
        /// Name of the column.
        column: String,
    },
    /// The number of an ENUM or SET value that the column does not have, or whose names are not known.
    #[error("column {column} has the value number {number}, and no name of it is known")]
    UnknownValue {
        /// Name of the column.
        column: String,
        /// The value as stored: an index from 1 of an ENUM, a bit set of a SET.
        number: u64,
    },
    /// The value of a JSON column is damaged.
    #[error("column {column}: {source}")]
    Json {
        /// Name of the column.
        column: String,
        /// What is wrong with it.
        source: json::Error,
    },
    /// The bytes are none that a server stores for the type.
    #[error("column {column} has a value that no server stores in a {kind}")]
    Damaged {
        /// Name of the column.
        column: String,
        /// Name of its type.
        kind: &'static str,
    },
}
