//! A connection to the server, from the host's name to being let in: both that for statements and that of the
//! dump are made here, so that one works where the other does.
//!
//! The options enter; what leaves are packets of a server that has greeted us, encrypted as the mode asks for,
//! and logged in.

mod addresses;
mod buffer;
mod login;
mod packets;
mod sql;

use std::net::SocketAddr;
use std::time::Duration;

use mysql_async::Error as MySqlError;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

pub use self::buffer::Buffer;
#[cfg(feature = "fuzzing")]
pub use self::login::{Account, greet, log_in_plainly};
pub use self::login::{END, ERR, OK, command, is_end, ok_or_error, serialized, server_error};
use self::login::{Encryption, Greeted};
pub use self::packets::{PIECE_BYTES_MAX, Packets, Stream, invalid};
pub use self::sql::{Answer, Conn, typed, with_params};
use super::server::Error;
use super::tls::{self, Connector};
use super::{MysqlOptions, TlsMode};
use crate::words::Causes;

/// Finding the host, connecting, TLS and login together may take this long; a server that is gone without a
/// word would otherwise hold us for the kernel's two minutes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that the server has let in.
pub struct Connection {
    pub packets: Packets,
    pub server_version: (u16, u16, u16),
    /// The number by which the server lists it.
    pub id: u32,
    /// One command may have several statements.
    pub takes_several: bool,
    /// Why it is not encrypted, though the server offers TLS and the mode prefers it.
    pub fallback: Option<tls::Error>,
}

/// Connects with the TLS mode asked for.
///
/// # Errors
/// The server cannot be reached, refuses TLS or the login, or does not answer in time.
pub async fn connect(options: &MysqlOptions) -> Result<Connection, Error> {
    // A file of ours that cannot be used is no reason to go without TLS.
    let connector = Connector::new(&options.tls)?;
    let opened = match open(options, connector.as_ref()).await {
        // The network may have broken the handshake off, and not the server.
        Err(Error::Tls(why)) if why.is_transient() => open(options, connector.as_ref()).await,
        opened => opened,
    };
    match opened {
        Err(Error::Tls(why)) if options.tls.mode == TlsMode::Preferred => {
            let connection = open(options, None).await?;
            Ok(Connection { fallback: note_fallback(options, why), ..connection })
        }
        opened => opened,
    }
}

/// PREFERRED falls back to an unencrypted connection when an encrypted one cannot be established
/// (<https://dev.mysql.com/doc/refman/8.4/en/connection-options.html#option_general_ssl-mode>).
fn note_fallback(options: &MysqlOptions, why: tls::Error) -> Option<tls::Error> {
    if matches!(why, tls::Error::NotOffered) {
        tracing::debug!(server = %options, "the server offers no TLS, connected without it");
        return None;
    }
    tracing::warn!(
        server = %options,
        error = %Causes(&why),
        hint = why.hint(),
        "the server offers TLS, but it cannot be established: this connection is not encrypted"
    );
    Some(why)
}

async fn open(options: &MysqlOptions, connector: Option<&Connector>) -> Result<Connection, Error> {
    let password = options.password.reveal()?;
    let account = login::Account { user: &options.user, password: &password };
    let encryption = connector.map(|connector| Encryption { connector, host: &options.host });
    let opening = async {
        let greeted = reach(&options.host, options.port).await?;
        login::log_in(greeted, account, encryption).await
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, opening).await {
        Ok(opened) => opened,
        Err(_) => Err(Error::Timeout { timeout: CONNECT_TIMEOUT }),
    }
}

/// Waits for the greeting of whichever address of the host has a server: one that takes connections and says
/// nothing is as dead as one that takes none.
async fn reach(host: &str, port: u16) -> Result<Greeted, MySqlError> {
    let found: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    let greeted = addresses::first_answer(&found, async |address| {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new().with_time(CONNECT_TIMEOUT);
        SockRef::from(&tcp).set_tcp_keepalive(&keepalive)?;
        login::greet(tcp).await
    });
    greeted.await.map_err(addresses::one_error)
}
