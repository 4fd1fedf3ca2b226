//! Reads the binlog of a MySQL primary as a replica does.

pub mod boundary;
pub mod bytes;
pub mod catalog;
pub mod charset;
pub mod clock;
mod connection;
pub mod coordinates;
mod dump;
pub mod event_type;
pub mod feed;
pub mod file;
pub mod json;
mod options;
mod password;
pub mod progress;
pub mod query;
pub mod raw_event;
pub mod row;
pub mod server;
mod source;
pub mod start;
pub mod table;
mod tables;
pub mod tls;
pub mod transaction;
pub mod value;
mod words;
#[cfg(any(test, feature = "write"))]
pub mod write;

/// Rows and errors of statements are of this crate's types.
pub use mysql_async;

pub use self::catalog::{Catalog, FixedCatalog};
pub use self::connection::{Answer, Conn, Stream};
pub use self::dump::DumpLogin;
pub use self::options::{Options, Replica, TlsMode, TlsOptions};
pub use self::password::{Password, PasswordError};
pub use self::progress::Progress;
pub use self::server::{Identity, Server};
pub use self::source::{Change, Error, Rows, Source};
pub use self::start::Resume;
pub use self::tables::{Interest, LayoutId, TableFilter};
pub use self::transaction::{Passed, Place, RowsAt, Start};
