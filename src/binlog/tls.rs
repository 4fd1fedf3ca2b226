//! TLS to the MySQL server: which files it takes, and in words why a certificate is refused.
//!
//! `[mysql.tls]` enters; what leaves are the options of mysql_async's connections and the connector of the dump
//! connection, made of files that were looked into first, so that a wrong file is never taken for a server
//! without TLS.

mod verifier;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mysql_async::{ClientIdentity, DriverError, IoError, SslOpts, TlsError};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use self::verifier::Verifier;
use super::{Options, TlsMode, TlsOptions};

/// The name that `verify_ca` checks in vain. mysql_async passes over a wrong name where rustls' words for it
/// have this text in them, and rustls 0.23 has it there only where it is the name that was asked for. The
/// chain is verified before the name.
const ANY_NAME: &str = "NotValidForName";

/// Why there is no TLS connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read {}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{} holds no {what} in PEM format", path.display())]
    NotPem { path: PathBuf, what: &'static str },
    #[error("{} holds a certificate that cannot be used", path.display())]
    Unusable { path: PathBuf, source: rustls::Error },
    #[error("the server offers no TLS")]
    NotOffered,
    #[error("the server's certificate is not signed by the authority in {}", ca.display())]
    UnknownIssuer { ca: PathBuf },
    #[error("the server's certificate is not for the host {host}, but for {}", names(presented))]
    WrongName { host: String, presented: Vec<String> },
    #[error("the server's certificate expired on {}", date(*not_after))]
    Expired { not_after: UnixTime },
    #[error("the server's certificate is not valid before {}", date(*not_before))]
    NotYetValid { not_before: UnixTime },
    #[error("the server does not accept the certificate in {}", cert.display())]
    ClientRefused { cert: PathBuf, source: rustls::Error },
    #[error("the server asks for a certificate of the relay")]
    ClientUnknown { source: rustls::Error },
    #[error("the server and the relay have no TLS version or cipher in common")]
    NothingInCommon { source: rustls::Error },
    #[error("TLS cannot be established")]
    Tls { source: rustls::Error },
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
            Self::Unusable { .. } => {
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
            Self::Expired { .. } | Self::NotYetValid { .. } => {
                "give the server a valid certificate, or correct the clock of the relay's machine"
            }
            Self::ClientRefused { .. } => {
                "set [mysql.tls] cert and key to a valid pair that an authority in the server's ssl_ca signed"
            }
            Self::ClientUnknown { .. } => "set cert and key in [mysql.tls]",
            Self::NothingInCommon { .. } => {
                "the relay speaks TLS 1.2 and 1.3: allow one of them in the server's tls_version"
            }
            Self::Tls { .. } => "check [mysql.tls]: mode, ca, cert and key",
        }
    }
}

/// mysql_async's options for a mode; `None` where nothing is encrypted.
///
/// # Errors
/// A file cannot be read, or is not what its key says.
pub fn ssl_opts(tls: &TlsOptions, mode: TlsMode) -> Result<Option<SslOpts>, Error> {
    if mode == TlsMode::Disabled {
        return Ok(None);
    }
    let verifies_chain = matches!(mode, TlsMode::VerifyCa | TlsMode::VerifyIdentity);
    let mut ssl = SslOpts::default()
        .with_danger_accept_invalid_certs(!verifies_chain)
        .with_danger_skip_domain_validation(mode != TlsMode::VerifyIdentity);
    if mode == TlsMode::VerifyCa {
        ssl = ssl.with_danger_tls_hostname_override(Some(ANY_NAME));
    }
    if let Some(ca) = &tls.ca {
        ssl = ssl.with_root_certs(vec![read_authority(ca)?.1.into()]);
        ssl = ssl.with_disable_built_in_roots(true);
    }
    if let (Some(cert), Some(key)) = (&tls.cert, &tls.key) {
        let identity = ClientIdentity::new(read_certificates(cert)?.into(), read_key(key)?.into());
        ssl = ssl.with_client_identity(Some(identity));
    }
    Ok(Some(ssl))
}

/// The same for a connection of our own; `None` where nothing is encrypted.
///
/// # Errors
/// As [`ssl_opts`].
pub fn connector(tls: &TlsOptions, mode: TlsMode) -> Result<Option<TlsConnector>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = match &tls.ca {
        Some(ca) => read_authority(ca)?.0,
        None => RootCertStore::empty(),
    };
    let verifier = match mode {
        TlsMode::Disabled => return Ok(None),
        TlsMode::Preferred | TlsMode::Required => Ok(Verifier::of_nothing(provider.clone())),
        TlsMode::VerifyCa => Verifier::of_chain(provider.clone(), roots),
        TlsMode::VerifyIdentity => Verifier::of_name(provider.clone(), roots),
    };
    let unusable = |path: &Option<PathBuf>| {
        let path = path.clone().unwrap_or_default();
        move |source| Error::Unusable { path, source }
    };
    let verifier = verifier.map_err(unusable(&tls.ca))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has ciphers for TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let config = match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => {
            let chain = read_certificates(cert)?;
            let chain = CertificateDer::pem_slice_iter(&chain).flatten().collect();
            let key = PrivateKeyDer::from_pem_slice(&read_key(key)?)
                .expect("it was looked at when it was read");
            config.with_client_auth_cert(chain, key).map_err(unusable(&tls.cert))?
        }
        _ => config.with_no_client_auth(),
    };
    Ok(Some(TlsConnector::from(Arc::new(config))))
}

/// The server has no TLS that could be used. What is wrong with our own files is no reason to go without.
pub fn is_unavailable(error: &mysql_async::Error) -> bool {
    match error {
        mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer) => true,
        mysql_async::Error::Io(IoError::Tls(TlsError::InvalidDnsName(_))) => true,
        error => handshake_error(error).is_some(),
    }
}

/// The words for an error of connecting that is about TLS; `None` where it is about something else.
pub fn explain(error: &mysql_async::Error, options: &Options) -> Option<Error> {
    let source = match error {
        mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer) => {
            return Some(Error::NotOffered);
        }
        mysql_async::Error::Io(IoError::Tls(TlsError::Tls(error))) => error,
        error => handshake_error(error)?,
    };
    Some(explain_rustls(source, options))
}

/// A failed handshake comes from tokio-rustls as an I/O error that carries rustls' own.
fn handshake_error(error: &mysql_async::Error) -> Option<&rustls::Error> {
    match error {
        mysql_async::Error::Io(IoError::Io(error)) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

fn explain_rustls(error: &rustls::Error, options: &Options) -> Error {
    use AlertDescription as Alert;
    let source = error.clone();
    let ca = options.tls.ca.clone().unwrap_or_default();
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            Error::UnknownIssuer { ca }
        }
        // An authority of the same name, with another key.
        rustls::Error::InvalidCertificate(CertificateError::BadSignature) => {
            Error::UnknownIssuer { ca }
        }
        rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            presented,
            ..
        }) => Error::WrongName { host: options.host.clone(), presented: presented.clone() },
        rustls::Error::InvalidCertificate(CertificateError::ExpiredContext {
            not_after, ..
        }) => Error::Expired { not_after: *not_after },
        rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext {
            not_before,
            ..
        }) => Error::NotYetValid { not_before: *not_before },
        rustls::Error::AlertReceived(
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::CertificateRequired
            | Alert::UnknownCA
            | Alert::AccessDenied,
        ) => match &options.tls.cert {
            Some(cert) => Error::ClientRefused { cert: cert.clone(), source },
            None => Error::ClientUnknown { source },
        },
        rustls::Error::AlertReceived(Alert::ProtocolVersion | Alert::HandshakeFailure)
        | rustls::Error::PeerIncompatible(_) => Error::NothingInCommon { source },
        _ => Error::Tls { source },
    }
}

/// What a file of authorities holds, and its bytes.
fn read_authority(path: &Path) -> Result<(RootCertStore, Vec<u8>), Error> {
    let bytes = read_certificates(path)?;
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bytes).flatten() {
        store
            .add(certificate)
            .map_err(|source| Error::Unusable { path: path.to_owned(), source })?;
    }
    Ok((store, bytes))
}

fn read_certificates(path: &Path) -> Result<Vec<u8>, Error> {
    let bytes = read_file(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(bytes),
        _ => Err(Error::NotPem { path: path.to_owned(), what: "certificate" }),
    }
}

fn read_key(path: &Path) -> Result<Vec<u8>, Error> {
    let bytes = read_file(path)?;
    match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(_) => Ok(bytes),
        Err(_) => Err(Error::NotPem { path: path.to_owned(), what: "private key" }),
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

/// As rustls names them: `DnsName("db.example.org")`, `IpAddress(10.0.0.5)`.
fn names(presented: &[String]) -> String {
    let plain = |name: &String| {
        let (_, inside) = name.split_once('(').unwrap_or(("", name));
        inside.trim_end_matches(')').trim_matches('"').to_owned()
    };
    match presented {
        [] => "no host at all (it has no subjectAltName)".to_owned(),
        names => names.iter().map(plain).collect::<Vec<_>>().join(", "),
    }
}

fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_second(seconds) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => format!("second {seconds} of Unix time"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_a_certificate_are_written_as_people_write_them() {
        let presented =
            [r#"DnsName("db.example.org")"#, "IpAddress(10.0.0.5)"].map(ToOwned::to_owned);
        assert_eq!(names(&presented), "db.example.org, 10.0.0.5");
        assert_eq!(names(&[]), "no host at all (it has no subjectAltName)");
    }
}
