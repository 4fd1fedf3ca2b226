//! Certificates of the tests: authorities, and what they sign, as PEM files.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::symm::Cipher;
use openssl::x509::extension::{
    BasicConstraints, KeyUsage, SubjectAlternativeName, SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Name, X509NameRef};

const NOT_BEFORE: &str = "20200101000000Z";
const NOT_AFTER: &str = "20991231000000Z";
const EXPIRED: &str = "20210203000000Z";

pub struct Authority {
    certificate: X509,
    key: PKey<Private>,
    /// Its certificate.
    pub pem: String,
}

/// A certificate and its key, as PEM.
pub struct Signed {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let key = elliptic().expect("generate a key");
        let made = || {
            let mut builder = version_3(name, NOT_AFTER, &key)?;
            builder.set_issuer_name(&*common_name(name)?)?;
            builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
            let usage = KeyUsage::new().critical().key_cert_sign().crl_sign().build()?;
            builder.append_extension(usage)?;
            let identifier =
                SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
            builder.append_extension(identifier)?;
            builder.sign(&key, MessageDigest::sha256())?;
            Ok::<_, ErrorStack>(builder.build())
        };
        let certificate = made().expect("sign an authority's certificate");
        Authority { pem: pem(&certificate), certificate, key }
    }

    /// A certificate for these hosts, names or addresses.
    pub fn sign(&self, name: &str, hosts: &[&str]) -> Signed {
        self.sign_until(NOT_AFTER, name, hosts).expect("sign a certificate")
    }

    pub fn sign_expired(&self, name: &str, hosts: &[&str]) -> Signed {
        self.sign_until(EXPIRED, name, hosts).expect("sign a certificate")
    }

    fn sign_until(&self, end: &str, name: &str, hosts: &[&str]) -> Result<Signed, ErrorStack> {
        let key = elliptic()?;
        let mut builder = version_3(name, end, &key)?;
        builder.set_issuer_name(self.certificate.subject_name())?;
        if !hosts.is_empty() {
            let mut names = SubjectAlternativeName::new();
            for host in hosts {
                let is_address = host.parse::<IpAddr>().is_ok();
                if is_address {
                    names.ip(host)
                } else {
                    names.dns(host)
                };
            }
            let names = names.build(&builder.x509v3_context(Some(&self.certificate), None))?;
            builder.append_extension(names)?;
        }
        builder.sign(&self.key, MessageDigest::sha256())?;
        Ok(Signed {
            certificate: pem(&builder.build()),
            key: text(key.private_key_to_pem_pkcs8()?),
        })
    }
}

impl Signed {
    /// Writes both into a folder, and returns where.
    pub fn write(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let certificate = write(folder, &format!("{name}-cert.pem"), &self.certificate);
        (certificate, write(folder, &format!("{name}-key.pem"), &self.key))
    }
}

/// An authority of RSA and what it signed for a host, both of X.509 version 1, as MySQL's manual has them made
/// with openssl: no extensions, so the host is in the common name.
pub fn of_version_1(host: &str) -> (String, Signed) {
    let authority_key = rsa();
    let authority = version_1("an old authority", &authority_key, None);
    let key = rsa();
    let certificate = version_1(host, &key, Some((&authority, &authority_key)));
    let key = key.rsa().and_then(|rsa| rsa.private_key_to_pem()).expect("a key as PEM");
    (pem(&authority), Signed { certificate: pem(&certificate), key: text(key) })
}

/// The same key behind a passphrase.
pub fn encrypt_key(pem: &str) -> String {
    let key = PKey::private_key_from_pem(pem.as_bytes()).expect("a key");
    let encrypted = key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"secret");
    text(encrypted.expect("encrypt a key"))
}

fn rsa() -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(2048).expect("generate a key")).expect("it is one")
}

fn elliptic() -> Result<PKey<Private>, ErrorStack> {
    PKey::from_ec_key(EcKey::generate(&*EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?)?)
}

fn version_1(name: &str, key: &PKey<Private>, issuer: Option<(&X509, &PKey<Private>)>) -> X509 {
    let signed = || {
        let subject = common_name(name)?;
        let mut builder = unsigned(&subject, NOT_AFTER, key)?;
        builder.set_version(0)?;
        builder.set_issuer_name(issuer.map_or(&*subject, |(issuer, _)| issuer.subject_name()))?;
        builder.sign(issuer.map_or(key, |(_, key)| key), MessageDigest::sha256())?;
        Ok::<_, ErrorStack>(builder.build())
    };
    signed().expect("sign a certificate")
}

fn version_3(name: &str, end: &str, key: &PKey<Private>) -> Result<X509Builder, ErrorStack> {
    let mut builder = unsigned(&*common_name(name)?, end, key)?;
    builder.set_version(2)?;
    Ok(builder)
}

fn unsigned(
    subject: &X509NameRef,
    end: &str,
    key: &PKey<Private>,
) -> Result<X509Builder, ErrorStack> {
    let mut builder = X509::builder()?;
    let serial = Asn1Integer::from_bn(&*BigNum::from_u32(rand::random())?)?;
    builder.set_serial_number(&serial)?;
    builder.set_subject_name(subject)?;
    builder.set_not_before(&*Asn1Time::from_str(NOT_BEFORE)?)?;
    builder.set_not_after(&*Asn1Time::from_str(end)?)?;
    builder.set_pubkey(key)?;
    Ok(builder)
}

fn common_name(name: &str) -> Result<X509Name, ErrorStack> {
    let mut builder = X509Name::builder()?;
    builder.append_entry_by_text("CN", name)?;
    Ok(builder.build())
}

fn pem(certificate: &X509) -> String {
    text(certificate.to_pem().expect("a certificate as PEM"))
}

fn text(pem: Vec<u8>) -> String {
    String::from_utf8(pem).expect("PEM is ASCII")
}

/// Writes a file, and returns where it is.
pub fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).expect("write a file of the test");
    path
}
