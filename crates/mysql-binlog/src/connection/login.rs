//! Becoming a client of the server: handshake, TLS, and authentication.
//!
//! A TCP connection enters, what leaves is one that the server has let in. It offers mysql_native_password and
//! caching_sha2_password, the latter with TLS or with the server's RSA key
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html>).

use mysql_async::consts::CapabilityFlags;
use mysql_async::{DriverError, Error, IoError, ServerError};
use mysql_common::collations::CollationId;
use mysql_common::io::ParseBuf;
use mysql_common::packets::{
    AuthPlugin, AuthSwitchRequest, ErrPacket, HandshakePacket, HandshakeResponse, SslRequest,
};
use mysql_common::proto::MySerialize;
use openssl::error::ErrorStack;
use openssl::rsa::{Padding, Rsa};
use tokio::io::AsyncRead;
use tokio::net::TcpStream;

use super::Connection;
use super::packets::{Packets, Stream, invalid};
use crate::server;
use crate::tls::{self, Connector};

// The first byte of an answer.
pub const OK: u8 = 0x00;
const MORE_DATA: u8 = 0x01;
/// EOF, the end of a result, or during authentication a change of the plugin.
pub const END: u8 = 0xFE;
pub const ERR: u8 = 0xFF;

// What caching_sha2_password says
// (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_caching_sha2_authentication_exchanges.html>).
const REQUEST_PUBLIC_KEY: u8 = 2;
const FAST_AUTH_SUCCESS: u8 = 3;
const PERFORM_FULL_AUTHENTICATION: u8 = 4;

pub const COM_QUERY: u8 = 3;

const NONCE_BYTES: usize = 20;

/// From the zero behind the version of a greeting: connection id (4 bytes), nonce (8), filler (1), capabilities (2), character
/// set (1), status (2), capabilities (2)
/// (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_handshake_v10.html>).
const NONCE_LENGTH_AFTER_VERSION: usize = 1 + 4 + 8 + 1 + 2 + 1 + 2 + 2;

/// Events are as large as rows: the most that the protocol allows.
const PACKET_BYTES_MAX: u32 = 1 << 30;

/// What the relay can do.
const CAPABILITIES: CapabilityFlags = CapabilityFlags::CLIENT_PROTOCOL_41
    .union(CapabilityFlags::CLIENT_LONG_PASSWORD)
    .union(CapabilityFlags::CLIENT_SECURE_CONNECTION)
    .union(CapabilityFlags::CLIENT_MULTI_STATEMENTS)
    .union(CapabilityFlags::CLIENT_MULTI_RESULTS)
    .union(CapabilityFlags::CLIENT_PLUGIN_AUTH)
    .union(CapabilityFlags::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA);

/// Who logs in.
#[derive(Clone, Copy)]
pub struct Account<'a> {
    pub user: &'a str,
    pub password: &'a str,
}

/// How the connection is encrypted.
#[derive(Clone, Copy)]
pub struct Encryption<'a> {
    pub connector: &'a Connector,
    /// The server that the certificate is to be for.
    pub host: &'a str,
}

/// A server that has said what it is.
pub struct Greeted<S = TcpStream> {
    packets: Packets<S>,
    greeting: Vec<u8>,
}

/// Waits for a server to say what it is.
///
/// # Errors
/// The connection broke, or the server takes none.
pub async fn greet<S: AsyncRead + Unpin>(stream: S) -> Result<Greeted<S>, Error> {
    let mut packets = Packets::new(stream);
    let greeting = ok_or_error(packets.read().await?)?.to_vec();
    Ok(Greeted { packets, greeting })
}

/// Logs in.
///
/// # Errors
/// The connection broke, TLS cannot be established, or the server does not let this account in.
pub async fn log_in(
    greeted: Greeted,
    account: Account<'_>,
    encryption: Option<Encryption<'_>>,
) -> Result<Connection, server::Error> {
    let Greeted { packets, greeting } = greeted;
    let handshake = parse_handshake(&greeting)?;
    let offered = handshake.capabilities();
    let mut capabilities = CAPABILITIES & offered;
    let packets: Packets = match encryption {
        Some(_) if !offered.contains(CapabilityFlags::CLIENT_SSL) => {
            return Err(tls::Error::NotOffered.into());
        }
        Some(encryption) => {
            capabilities |= CapabilityFlags::CLIENT_SSL;
            encrypt(packets, capabilities, encryption).await?
        }
        None => packets.map_stream(|tcp| Box::new(tcp) as Box<dyn Stream>),
    };
    let entered = enter(packets, &handshake, capabilities, account, encryption.is_some()).await;
    entered.map_err(|error| about_tls(error, encryption))
}

/// Logs in without TLS, over any stream.
///
/// # Errors
/// As [`log_in`].
#[cfg(feature = "fuzzing")]
pub async fn log_in_plainly<S: Stream + 'static>(
    greeted: Greeted<S>,
    account: Account<'_>,
    is_encrypted: bool,
) -> Result<Connection, Error> {
    let Greeted { packets, greeting } = greeted;
    let handshake = parse_handshake(&greeting)?;
    let capabilities = CAPABILITIES & handshake.capabilities();
    let packets = packets.map_stream(|stream| Box::new(stream) as Box<dyn Stream>);
    enter(packets, &handshake, capabilities, account, is_encrypted).await
}

fn parse_handshake(greeting: &[u8]) -> Result<HandshakePacket<'_>, Error> {
    // mysql_common reads the length of the nonce as a signed byte, and subtracting from 128 to 135 panics.
    match nonce_length(greeting) {
        Some(length) if i8::try_from(length).is_err() => {
            Err(invalid(format!("a greeting with a nonce of {length} bytes")).into())
        }
        _ => Ok(ParseBuf(greeting).parse(())?),
    }
}

/// The length of the nonce that a greeting states; servers state 21 or 0.
fn nonce_length(greeting: &[u8]) -> Option<u8> {
    let version_end = 1 + memchr::memchr(0, greeting.get(1..)?)?;
    greeting.get(version_end + NONCE_LENGTH_AFTER_VERSION).copied()
}

/// Logs in to a server that has greeted, once the connection is as secure as it will be.
async fn enter(
    packets: Packets,
    handshake: &HandshakePacket<'_>,
    capabilities: CapabilityFlags,
    account: Account<'_>,
    is_encrypted: bool,
) -> Result<Connection, Error> {
    let mut nonce = handshake.scramble_1_ref().to_vec();
    nonce.extend_from_slice(handshake.scramble_2_ref().unwrap_or_default());
    nonce.resize(NONCE_BYTES, 0);
    // Other plugins are asked for later, by name.
    let plugin = match handshake.auth_plugin() {
        Some(AuthPlugin::CachingSha2Password) => AuthPlugin::CachingSha2Password,
        _ => AuthPlugin::MysqlNativePassword,
    };
    let (server_version, id) = (version(handshake), handshake.connection_id());
    let takes_several = capabilities.contains(CapabilityFlags::CLIENT_MULTI_STATEMENTS);
    let mut login = Login { packets, account, plugin, nonce, capabilities, is_encrypted };
    login.log_in(server_version).await?;
    let packets = login.packets;
    Ok(Connection { packets, server_version, id, takes_several, fallback: None })
}

/// With TLS 1.3, the server says after the handshake what it thinks of our certificate.
fn about_tls(error: Error, encryption: Option<Encryption<'_>>) -> server::Error {
    match (error, encryption) {
        (Error::Io(IoError::Io(error)), Some(encryption)) => {
            match encryption.connector.explain_io(error) {
                Ok(error) => error.into(),
                Err(error) => Error::from(error).into(),
            }
        }
        (error, _) => error.into(),
    }
}

/// MariaDB's is behind a 5.5.5, which old replicas need.
fn version(handshake: &HandshakePacket<'_>) -> (u16, u16, u16) {
    handshake
        .maria_db_server_version_parsed()
        .or_else(|| handshake.server_version_parsed())
        .unwrap_or_default()
}

async fn encrypt(
    mut packets: Packets<TcpStream>,
    capabilities: CapabilityFlags,
    encryption: Encryption<'_>,
) -> Result<Packets, server::Error> {
    let Encryption { connector, host } = encryption;
    let collation = CollationId::UTF8MB4_GENERAL_CI as u8;
    let request = SslRequest::new(capabilities, PACKET_BYTES_MAX, collation);
    packets.write(&serialized(&request)).await.map_err(Error::from)?;
    if packets.holds_bytes() {
        return Err(Error::from(invalid("bytes that nobody asked for".to_owned())).into());
    }
    packets
        .try_map_stream(async |tcp| {
            Ok(Box::new(connector.connect(host, tcp).await?) as Box<dyn Stream>)
        })
        .await
}

/// The dialogue about who we are.
struct Login<'a> {
    packets: Packets,
    account: Account<'a>,
    plugin: AuthPlugin<'static>,
    nonce: Vec<u8>,
    capabilities: CapabilityFlags,
    is_encrypted: bool,
}

impl Login<'_> {
    async fn log_in(&mut self, server_version: (u16, u16, u16)) -> Result<(), Error> {
        if let Err(error) = self.respond(server_version).await {
            // A server that has closed may have said why before.
            self.packets.read().await?;
            return Err(error);
        }
        self.authenticate().await
    }

    async fn respond(&mut self, server_version: (u16, u16, u16)) -> Result<(), Error> {
        let proof = self.plugin.gen_data(Some(self.account.password), &self.nonce);
        let response = HandshakeResponse::new(
            proof.as_deref(),
            server_version,
            Some(self.account.user.as_bytes()),
            None::<&[u8]>,
            Some(self.plugin.borrow()),
            self.capabilities,
            None,
            PACKET_BYTES_MAX,
        );
        Ok(self.packets.write(&serialized(&response)).await?)
    }

    async fn authenticate(&mut self) -> Result<(), Error> {
        let mut was_switched = false;
        loop {
            let answer = ok_or_error(self.packets.read().await?)?.to_vec();
            match (answer.as_slice(), &self.plugin) {
                ([OK, ..], _) => return Ok(()),
                ([END, ..], _) if !was_switched => {
                    was_switched = true;
                    self.switch(&answer).await?;
                }
                ([MORE_DATA, FAST_AUTH_SUCCESS], AuthPlugin::CachingSha2Password) => {}
                ([MORE_DATA, PERFORM_FULL_AUTHENTICATION], AuthPlugin::CachingSha2Password) => {
                    self.send_password().await?;
                }
                _ => return Err(DriverError::UnexpectedPacket { payload: answer }.into()),
            }
        }
    }

    /// The account is of another plugin than the one that the server offered first.
    async fn switch(&mut self, request: &[u8]) -> Result<(), Error> {
        let request: AuthSwitchRequest<'_> = ParseBuf(request).parse(())?;
        self.plugin = request.auth_plugin().into_owned();
        self.nonce = request.plugin_data().to_vec();
        match &self.plugin {
            AuthPlugin::CachingSha2Password | AuthPlugin::MysqlNativePassword => {}
            AuthPlugin::MysqlOldPassword => {
                return Err(DriverError::MysqlOldPasswordDisabled.into());
            }
            AuthPlugin::MysqlClearPassword => {
                return Err(DriverError::CleartextPluginDisabled.into());
            }
            other => {
                let name = String::from_utf8_lossy(other.as_bytes()).into_owned();
                return Err(DriverError::UnknownAuthPlugin { name }.into());
            }
        }
        let proof = self.plugin.gen_data(Some(self.account.password), &self.nonce);
        Ok(self.packets.write(proof.as_deref().unwrap_or_default()).await?)
    }

    /// The server has no proof of the password in its cache and wants it itself.
    async fn send_password(&mut self) -> Result<(), Error> {
        let mut password = [self.account.password.as_bytes(), &[0]].concat();
        if self.is_encrypted {
            return Ok(self.packets.write(&password).await?);
        }
        self.packets.write(&[REQUEST_PUBLIC_KEY]).await?;
        let answer = ok_or_error(self.packets.read().await?)?;
        let [MORE_DATA, key @ ..] = answer else {
            return Err(DriverError::UnexpectedPacket { payload: answer.to_vec() }.into());
        };
        for (byte, nonce) in password.iter_mut().zip(self.nonce.iter().cycle()) {
            *byte ^= nonce;
        }
        let encrypted = encrypt_with(key, &password)
            .map_err(|error| invalid(format!("the server's RSA key cannot be used: {error}")))?;
        Ok(self.packets.write(&encrypted).await?)
    }
}

fn encrypt_with(pem: &[u8], password: &[u8]) -> Result<Vec<u8>, ErrorStack> {
    let key = Rsa::public_key_from_pem(pem)?;
    let mut encrypted = vec![0; usize::try_from(key.size()).expect("a key of few bytes")];
    let length = key.public_encrypt(password, &mut encrypted, Padding::PKCS1_OAEP)?;
    encrypted.truncate(length);
    Ok(encrypted)
}

/// Sends a command.
///
/// # Errors
/// The connection broke.
pub async fn command<S: Stream>(packets: &mut Packets<S>, command: &[u8]) -> Result<(), Error> {
    packets.restart_sequence();
    Ok(packets.write(command).await?)
}

/// Gives back a packet that is not an error.
///
/// # Errors
/// It is the server's error.
pub fn ok_or_error(packet: &[u8]) -> Result<&[u8], Error> {
    match packet.first() {
        Some(&ERR) => Err(server_error(packet)),
        Some(_) => Ok(packet),
        None => Err(invalid("an empty packet".to_owned()).into()),
    }
}

/// The server's words; before it knows what we can do it leaves out the SQL state.
pub fn server_error(packet: &[u8]) -> Error {
    let has_state = packet.get(3) == Some(&b'#');
    let capabilities = CapabilityFlags::CLIENT_PROTOCOL_41;
    let capabilities = if has_state { capabilities } else { CapabilityFlags::empty() };
    match ParseBuf(packet).parse(capabilities) {
        Ok(ErrPacket::Error(error)) => Error::Server(ServerError::from(error)),
        Ok(ErrPacket::Progress(_)) | Err(_) => {
            DriverError::UnexpectedPacket { payload: packet.to_vec() }.into()
        }
    }
}

/// An EOF packet; a row that begins with the same byte is longer.
pub fn is_end(packet: &[u8]) -> bool {
    packet.first() == Some(&END) && packet.len() < 9
}

pub fn serialized(packet: &impl MySerialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.serialize(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_may_state_any_length_of_its_nonce_without_a_panic() {
        for length in 0..=u8::MAX {
            let mut greeting = b"\x0a8.0.31\0\x08\0\0\0abcdefgh\0".to_vec();
            greeting.extend([0xff, 0xf7, 0xff, 2, 0, 0xff, 0xdf, length]);
            greeting.extend([0; 10]);
            greeting.extend([b'i'; 120]);
            assert_eq!(nonce_length(&greeting), Some(length));
            assert_eq!(parse_handshake(&greeting).is_ok(), length < 128, "{length}");
        }
    }

    #[test]
    fn a_key_that_is_none_and_a_password_that_does_not_fit_are_errors() {
        let key = Rsa::generate(2048).unwrap().public_key_to_pem().unwrap();
        assert_eq!(encrypt_with(&key, b"secret").unwrap().len(), 256);
        assert!(encrypt_with(b"no key", b"secret").is_err());
        assert!(encrypt_with(&key, &[7; 250]).is_err());
    }
}
