//! Entries for fuzz targets into what has no public one: the login and the answers to statements, over any stream.
//!
//! They exist under the feature `fuzzing` only and may change at any time.

use crate::connection::{Account, Conn, Connection, Stream, greet, log_in_plainly};

/// Logs in to whatever answers on the stream, and runs statements there. `is_encrypted` lets the password go out as it is,
/// as over TLS. Returns how many statements were answered.
///
/// # Errors
/// The words of the first error.
pub async fn log_in_and_ask(
    stream: impl Stream + 'static,
    is_encrypted: bool,
    statements: &[&str],
) -> Result<usize, String> {
    let greeted = greet(stream).await.map_err(|error| error.to_string())?;
    let account = Account { user: "replicator", password: "secret" };
    let connection = log_in_plainly(greeted, account, is_encrypted).await;
    ask(connection.map_err(|error| error.to_string())?, statements).await
}

/// Runs statements on a stream where the server has let us in.
///
/// # Errors
/// The words of the first error.
pub async fn ask_over(
    stream: impl Stream + 'static,
    takes_several: bool,
    statements: &[&str],
) -> Result<usize, String> {
    let packets = crate::connection::Packets::new(Box::new(stream) as Box<dyn Stream>);
    let server_version = (8, 0, 31);
    let connection = Connection { packets, server_version, id: 1, takes_several, fallback: None };
    ask(connection, statements).await
}

async fn ask(connection: Connection, statements: &[&str]) -> Result<usize, String> {
    let mut conn = Conn::over(connection);
    let answers = conn.ask(statements).await.map_err(|error| error.to_string())?;
    Ok(answers.len())
}

/// How many bytes the events inside a compressed transaction have, as the body of its event states it. `None` when that is
/// damaged.
pub fn stated_payload_bytes(body: &[u8]) -> Option<u64> {
    crate::dump::stated(body).map(|stated| stated.uncompressed_bytes)
}
