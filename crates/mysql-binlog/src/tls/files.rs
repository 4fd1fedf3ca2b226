//! The PEM files of `[mysql.tls]`: read whole and looked into, so that an error names the file.

use std::fs;
use std::path::Path;

use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::SslContextBuilder;
use openssl::x509::X509;
use openssl::x509::store::{X509Store, X509StoreBuilder};

use super::{Error, Reasons};

/// What opens a certificate in a PEM file: the usual words, and those that OpenSSL takes as well.
const CERTIFICATE_MARKS: [&str; 3] = [
    "-----BEGIN CERTIFICATE-----",
    "-----BEGIN X509 CERTIFICATE-----",
    "-----BEGIN TRUSTED CERTIFICATE-----",
];

/// The authorities in a file, any number of them.
pub fn read_authorities(path: &Path) -> Result<X509Store, Error> {
    let unusable = |error| unusable(path, error);
    let mut store = X509StoreBuilder::new().map_err(unusable)?;
    for certificate in read_certificates(path)? {
        store.add_cert(certificate).map_err(unusable)?;
    }
    Ok(store.build())
}

/// The relay's own certificate with those between it and its authority, and its key.
pub fn set_client_certificate(
    context: &mut SslContextBuilder,
    cert: &Path,
    key: &Path,
) -> Result<(), Error> {
    let unusable = |error| unusable(cert, error);
    let private_key = read_key(key)?;
    let mut chain = read_certificates(cert)?.into_iter();
    let own = chain.next().expect("a file without certificates is refused");
    if !own.public_key().is_ok_and(|public_key| public_key.public_eq(&private_key)) {
        return Err(Error::OtherKey { cert: cert.to_owned(), key: key.to_owned() });
    }
    context.set_certificate(&own).map_err(unusable)?;
    for certificate in chain {
        context.add_extra_chain_cert(certificate).map_err(unusable)?;
    }
    context.set_private_key(&private_key).map_err(unusable)
}

/// At least one.
fn read_certificates(path: &Path) -> Result<Vec<X509>, Error> {
    let bytes = read(path)?;
    let text = String::from_utf8_lossy(&bytes);
    let none = || Error::NotPem { path: path.to_owned(), what: "certificate" };
    if !CERTIFICATE_MARKS.iter().any(|mark| text.contains(mark)) {
        return Err(none());
    }
    match X509::stack_from_pem(&bytes) {
        Ok(certificates) if certificates.is_empty() => Err(none()),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(unusable(path, error)),
    }
}

fn read_key(path: &Path) -> Result<PKey<Private>, Error> {
    let bytes = read(path)?;
    let mut is_encrypted = false;
    // Without a callback OpenSSL would ask on the terminal.
    let key = PKey::private_key_from_pem_callback(&bytes, |_| {
        is_encrypted = true;
        Err(ErrorStack::get())
    });
    match key {
        Ok(key) => Ok(key),
        Err(_) if is_encrypted => Err(Error::EncryptedKey { path: path.to_owned() }),
        Err(_) => Err(Error::NotPem { path: path.to_owned(), what: "private key" }),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

fn unusable(path: &Path, error: ErrorStack) -> Error {
    Error::Unusable { path: path.to_owned(), source: Reasons(error) }
}
