//! How to reach the primary, and who the relay is to it.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use crate::coordinates::Uuid;
use crate::password::Password;

/// How to reach the primary and how to be a replica of it.
#[derive(Debug, Clone)]
pub struct MysqlOptions {
    /// A name, or an address.
    pub host: String,
    /// Usually 3306.
    pub port: u16,
    /// It needs REPLICATION SLAVE to read the binlog, and REPLICATION CLIENT for some questions.
    pub user: String,
    /// Asked for at each connection.
    pub password: Password,
    /// `None`: derived from the relay's name, so that the same relay is always the same replica.
    pub server_id: Option<NonZeroU32>,
    /// How often an idle server shows that it is alive.
    pub heartbeat: Duration,
    /// Whether and how connections are encrypted.
    pub tls: TlsOptions,
}

impl MysqlOptions {
    /// How long nothing may arrive: a server that has nothing to send sends heartbeats.
    pub fn silence_max(&self) -> Duration {
        (self.heartbeat * SILENT_HEARTBEATS).max(SILENCE_MIN)
    }
}

/// Whether and how the connection is encrypted; the files are PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// What is encrypted and verified.
    pub mode: TlsMode,
    /// The authorities that may have signed the server's certificate: needed to verify it.
    pub ca: Option<PathBuf>,
    /// Our own certificate, with those between it and its authority.
    pub cert: Option<PathBuf>,
    /// The key of `cert`, not encrypted.
    pub key: Option<PathBuf>,
}

/// As `--ssl-mode` of the MySQL clients
/// (<https://dev.mysql.com/doc/refman/8.4/en/connection-options.html#option_general_ssl-mode>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Never encrypt.
    Disabled,
    /// Encrypt where the server can, and verify nothing.
    Preferred,
    /// Always encrypt, and verify nothing.
    Required,
    /// Always encrypt, and verify who signed the server's certificate.
    VerifyCa,
    /// The same, and that the certificate is for the host.
    VerifyIdentity,
}

impl fmt::Display for MysqlOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Who the relay is to the primary. MySQL ends the older of two dumps of one replica UUID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// No other replica and no server of the topology may have it.
    pub server_id: NonZeroU32,
    /// The server ends the dump of an older connection with the same UUID.
    pub uuid: Uuid,
}

/// The dump stream needs this many silent heartbeats to count as dead …
const SILENT_HEARTBEATS: u32 = 3;

/// … and at least this long: a busy server may be late with a heartbeat.
pub(super) const SILENCE_MIN: Duration = Duration::from_secs(10);
