//! TLS to the MySQL server: which files it takes, what is verified, and in words why a certificate is refused.
//!
//! `[mysql.tls]` enters; what leaves is a [`Connector`], which encrypts a TCP connection and verifies as much of
//! the server's certificate as the mode asks for. Its files are read first, so that a wrong file is never taken
//! for a server without TLS. The library is OpenSSL, which librdkafka brings along: it speaks to every server
//! that the MySQL clients speak to.

mod files;
mod verification;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use openssl::error::ErrorStack;
use openssl::ssl::{self, Ssl, SslContext, SslMethod, SslOptions, SslVerifyMode, SslVersion};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use self::verification::Verification;
use super::{TlsMode, TlsOptions};

/// Ciphertext is read in pieces of this size: several records of 16 KiB cost one call of the kernel.
const READ_BYTES: usize = 64 << 10;

/// A server from before RFC 5746, such as MySQL 5.7 with yaSSL, is spoken to; nothing is ever renegotiated.
const LEGACY_SERVER_CONNECT: SslOptions = SslOptions::from_bits_retain(0x4);

/// 112 bits: RSA and DH of 2048, no SHA-1 in signatures
/// (<https://docs.openssl.org/3.6/man3/SSL_CTX_get_security_level/>).
const VERIFIED_SECURITY_LEVEL: u32 = 2;

// OpenSSL's own list of TLS 1.3 ciphers, and those that it leaves out.
const TLS_1_3_CIPHERS: &str = "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:\
     TLS_AES_128_CCM_SHA256";
const ALL_TLS_1_3_CIPHERS: &str = "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:\
     TLS_AES_128_CCM_SHA256:TLS_AES_128_CCM_8_SHA256";

/// What encrypts, and needs nothing but a certificate.
const ALL_CIPHERS: &str = "ALL:!eNULL:!aNULL:!PSK:!SRP";

// Reasons in OpenSSL's library SSL (its include/openssl/sslerr.h); those of alerts are 1000 and the alert
// (<https://www.iana.org/assignments/tls-parameters/tls-parameters.xhtml#tls-parameters-6>).
const NO_PROTOCOLS_AVAILABLE: i32 = 191;
const UNSUPPORTED_PROTOCOL: i32 = 258;
const WRONG_VERSION: i32 = 266;
const UNSAFE_LEGACY_RENEGOTIATION_DISABLED: i32 = 338;
const DH_KEY_TOO_SMALL: i32 = 394;
const ALERT: i32 = 1000;
const ALERT_HANDSHAKE_FAILURE: i32 = ALERT + 40;
const ALERT_PROTOCOL_VERSION: i32 = ALERT + 70;
const ALERT_INSUFFICIENT_SECURITY: i32 = ALERT + 71;
const ALERT_CERTIFICATE_REQUIRED: i32 = ALERT + 116;

/// An encrypted connection. A server sends each event in a record of its own, and OpenSSL hands out one at a time:
/// all that have arrived are read at once, as they are from a plain connection.
pub struct Stream(SslStream<BufReader<TcpStream>>);

impl Stream {
    /// Bytes are here that were not handed out.
    fn holds_bytes(&self) -> bool {
        self.0.ssl().pending() > 0 || !self.0.get_ref().buffer().is_empty()
    }

    #[cfg(test)]
    fn ssl(&self) -> &openssl::ssl::SslRef {
        self.0.ssl()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = room.filled().len();
        ready!(Pin::new(&mut self.0).poll_read(context, room))?;
        let mut filled = room.filled().len();
        while filled > before && room.remaining() > 0 && self.holds_bytes() {
            // What is wrong with the connection is said again by the next read.
            if !matches!(Pin::new(&mut self.0).poll_read(context, room), Poll::Ready(Ok(())))
                || room.filled().len() == filled
            {
                break;
            }
            filled = room.filled().len();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// Why there is no TLS connection.
#[allow(missing_docs, reason = "each has its words")]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} holds no {what} in PEM format", path.display())]
    NotPem { path: PathBuf, what: &'static str },
    #[error("the private key in {} is encrypted", path.display())]
    EncryptedKey { path: PathBuf },
    #[error("{} holds a certificate that cannot be used", path.display())]
    Unusable { path: PathBuf, source: Reasons },
    #[error("TLS cannot be established: {} is not the key of {}", key.display(), cert.display())]
    OtherKey { cert: PathBuf, key: PathBuf },
    #[error("the server offers no TLS")]
    NotOffered,
    #[error("the server's certificate is not signed by the authority in {}", ca.display())]
    UnknownIssuer { ca: PathBuf },
    #[error("the server's certificate is not for the host {host}, but for {}", names(presented))]
    WrongName { host: String, presented: Vec<String> },
    #[error("the server's certificate expired on {}", date(*not_after))]
    Expired { not_after: i64 },
    #[error("the server's certificate is not valid before {}", date(*not_before))]
    NotYetValid { not_before: i64 },
    #[error("the authority {subject}, which the server's certificate rests on, expired on {}", date(*not_after))]
    AuthorityExpired { subject: String, not_after: i64 },
    #[error(
        "the server's certificate, or that of its authority, is too weak to be verified: {why}"
    )]
    Weak { why: &'static str },
    #[error("the server does not accept the certificate in {}", cert.display())]
    ClientRefused { cert: PathBuf, source: Reasons },
    #[error("the server asks for a certificate of the relay")]
    ClientUnknown { source: Reasons },
    #[error("the server and the relay have no TLS version or cipher in common")]
    NothingInCommon { source: Reasons },
    #[error("TLS cannot be established: {why}")]
    Certificate { why: &'static str },
    #[error("TLS cannot be established")]
    Tls { source: Reasons },
    #[error("the connection broke while TLS was established")]
    Broken { source: io::Error },
}

/// OpenSSL's reasons, without the codes and the lines of its source that it adds to them.
#[derive(Debug)]
pub struct Reasons(ErrorStack);

impl std::error::Error for Reasons {}

impl fmt::Display for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reasons = self.0.errors().iter().filter_map(|error| error.reason());
        let reasons: Vec<&str> = reasons.collect();
        if reasons.is_empty() { write!(f, "{}", self.0) } else { f.write_str(&reasons.join(", ")) }
    }
}

impl From<ErrorStack> for Error {
    fn from(error: ErrorStack) -> Error {
        Error::Tls { source: Reasons(error) }
    }
}

impl Error {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::File { .. } => {
                "correct the paths in [mysql.tls], or let the relay's user read the files"
            }
            Self::NotPem { .. } => {
                "[mysql.tls] ca, cert and key name PEM files (-----BEGIN …); the key is not encrypted"
            }
            Self::EncryptedKey { .. } => {
                "write it without a passphrase (openssl pkey -in KEY -out NEW), readable by the relay's user only, \
                 and set [mysql.tls] key to that file"
            }
            Self::Unusable { .. } | Self::OtherKey { .. } => {
                "give [mysql.tls] ca, cert and key as files that belong together"
            }
            Self::NotOffered => {
                "enable TLS on the server (ssl_ca, ssl_cert, ssl_key), or set [mysql.tls] mode = \"preferred\""
            }
            Self::UnknownIssuer { .. } => {
                "set [mysql.tls] ca to the certificate of the authority that signed the server's (its ssl_ca)"
            }
            Self::WrongName { .. } => {
                "write a name of the certificate in [mysql] hosts, give the server a certificate for this one, or \
                 set [mysql.tls] mode = \"verify_ca\""
            }
            Self::Expired { .. } | Self::NotYetValid { .. } | Self::AuthorityExpired { .. } => {
                "give the server a valid certificate, or correct the clock of the relay's machine"
            }
            Self::Weak { .. } => {
                "give the server a certificate of RSA with 2048 bits or more, or of an elliptic curve, signed with \
                 SHA-256; [mysql.tls] mode = \"required\" encrypts without verifying it"
            }
            Self::ClientRefused { .. } => {
                "set [mysql.tls] cert and key to a valid pair that an authority in the server's ssl_ca signed"
            }
            Self::ClientUnknown { .. } => "set cert and key in [mysql.tls]",
            Self::NothingInCommon { .. } => {
                "the relay speaks TLS 1.2 and 1.3: allow one of them in the server's tls_version, and a cipher of \
                 OpenSSL's default list; modes that verify nothing, preferred and required, speak TLS 1.0 and 1.1 as \
                 well"
            }
            Self::Certificate { .. } | Self::Tls { .. } | Self::Broken { .. } => {
                "check [mysql.tls]: mode, ca, cert and key"
            }
        }
    }

    /// It may go away by itself.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Broken { .. })
    }
}

/// Encrypts connections as `[mysql.tls]` asks for.
pub struct Connector {
    context: SslContext,
    options: TlsOptions,
}

impl Connector {
    /// `None` where nothing is encrypted.
    ///
    /// # Errors
    /// A file cannot be read, or is not what its key says.
    pub fn new(options: &TlsOptions) -> Result<Option<Connector>, Error> {
        if options.mode == TlsMode::Disabled {
            return Ok(None);
        }
        let mut context = SslContext::builder(SslMethod::tls_client())?;
        // MySQL's packets say how long they are, so a connection that ends early is noticed without TLS saying so;
        // servers close without.
        context.set_options(SslOptions::IGNORE_UNEXPECTED_EOF);
        if verifies(options.mode) {
            context.set_min_proto_version(Some(SslVersion::TLS1_2))?;
            context.set_security_level(VERIFIED_SECURITY_LEVEL);
            context.set_ciphersuites(TLS_1_3_CIPHERS)?;
        } else {
            // Without verification nobody is kept from reading along who wants to enough: whatever the server has
            // is better than no encryption.
            context.set_min_proto_version(Some(SslVersion::TLS1))?;
            context.set_security_level(0);
            context.set_cipher_list(ALL_CIPHERS)?;
            context.set_ciphersuites(ALL_TLS_1_3_CIPHERS)?;
            context.set_options(LEGACY_SERVER_CONNECT);
        }
        if let Some(ca) = &options.ca {
            context.set_cert_store(files::read_authorities(ca)?);
        }
        if let (Some(cert), Some(key)) = (&options.cert, &options.key) {
            files::set_client_certificate(&mut context, cert, key)?;
        }
        Ok(Some(Connector { context: context.build(), options: options.clone() }))
    }

    /// Encrypts a connection to this host, a name or an address.
    ///
    /// # Errors
    /// The handshake fails, or the certificate is not what the mode asks for.
    pub async fn connect(&self, host: &str, tcp: TcpStream) -> Result<Stream, Error> {
        let mut ssl = Ssl::new(&self.context)?;
        // A name may be written as rooted; certificates never say so.
        let host = host.strip_suffix('.').unwrap_or(host);
        // Addresses are not sent (RFC 6066); a name that cannot be sent is one that no server asks for.
        if host.parse::<IpAddr>().is_err() && ssl.set_hostname(host).is_err() {
            tracing::debug!(%host, "the server is not told the host name");
        }
        let verification = if verifies(self.options.mode) {
            Some(Verification::set_up(&mut ssl, self.options.mode, host)?)
        } else {
            ssl.set_verify(SslVerifyMode::NONE);
            None
        };
        let tcp = BufReader::with_capacity(READ_BYTES, tcp);
        let mut stream = SslStream::new(ssl, tcp)?;
        match Pin::new(&mut stream).connect().await {
            Ok(()) => Ok(Stream(stream)),
            Err(error) => Err(match verification.and_then(Verification::into_refusal) {
                Some(refusal) => refusal.explain(host, &self.options),
                None => self.explain(error),
            }),
        }
    }

    /// The words for an error of the connection that is about TLS, which with TLS 1.3 may come after the
    /// handshake: that is when the server has verified our certificate.
    pub fn explain_io(&self, error: io::Error) -> Result<Error, io::Error> {
        let stack = error.get_ref().and_then(|error| error.downcast_ref::<ssl::Error>());
        match stack.and_then(ssl::Error::ssl_error).map(|stack| self.explain_stack(stack.clone())) {
            Some(Error::Broken { source }) => Err(source),
            Some(explained) => Ok(explained),
            None => Err(error),
        }
    }

    fn explain(&self, error: ssl::Error) -> Error {
        if let Some(stack) = error.ssl_error() {
            return self.explain_stack(stack.clone());
        }
        let source = error.into_io_error();
        Error::Broken { source: source.unwrap_or_else(|_| io::ErrorKind::UnexpectedEof.into()) }
    }

    fn explain_stack(&self, stack: ErrorStack) -> Error {
        if let Some(source) = system_error(&stack) {
            return Error::Broken { source };
        }
        let reason = stack.errors().first().map_or(0, openssl::error::Error::reason_code);
        let source = Reasons(stack);
        match reason {
            NO_PROTOCOLS_AVAILABLE
            | UNSUPPORTED_PROTOCOL
            | WRONG_VERSION
            | UNSAFE_LEGACY_RENEGOTIATION_DISABLED
            | DH_KEY_TOO_SMALL
            | ALERT_HANDSHAKE_FAILURE
            | ALERT_PROTOCOL_VERSION
            | ALERT_INSUFFICIENT_SECURITY => Error::NothingInCommon { source },
            // bad_certificate to unknown_ca, but for illegal_parameter.
            1042..=1046 | 1048 | 1049 | ALERT_CERTIFICATE_REQUIRED => match &self.options.cert {
                Some(cert) => Error::ClientRefused { cert: cert.clone(), source },
                None => Error::ClientUnknown { source },
            },
            _ => Error::Tls { source },
        }
    }
}

/// The network's error in OpenSSL's words: the number of the system's, with a bit that says so.
fn system_error(stack: &ErrorStack) -> Option<io::Error> {
    const IS_OF_SYSTEM: u64 = 1 << 31;
    let mut codes = stack.errors().iter().map(openssl::error::Error::code);
    let code = codes.find(|code| code & IS_OF_SYSTEM != 0)?;
    Some(io::Error::from_raw_os_error(i32::try_from(code & !IS_OF_SYSTEM).ok()?))
}

fn verifies(mode: TlsMode) -> bool {
    matches!(mode, TlsMode::VerifyCa | TlsMode::VerifyIdentity)
}

fn names(presented: &[String]) -> String {
    match presented {
        [] => "no host at all (it has no subjectAltName)".to_owned(),
        names => names.join(", "),
    }
}

fn date(seconds: i64) -> String {
    match jiff::Timestamp::from_second(seconds) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => format!("second {seconds} of Unix time"),
    }
}

#[cfg(test)]
mod tests;
