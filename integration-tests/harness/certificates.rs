//! Certificates of the tests: authorities, and what they sign, as PEM files.

use std::fs;
use std::path::{Path, PathBuf};

use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::symm::Cipher;
use openssl::x509::{X509, X509NameBuilder};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
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
        let mut params = params(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("generate a key");
        let pem = params.self_signed(&key).expect("sign an authority's certificate").pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for these hosts, names or addresses.
    pub fn sign(&self, name: &str, hosts: &[&str]) -> Signed {
        self.sign_params(&params(name, hosts))
    }

    pub fn sign_expired(&self, name: &str, hosts: &[&str]) -> Signed {
        let mut params = params(name, hosts);
        params.not_after = date_time_ymd(2021, 2, 3);
        self.sign_params(&params)
    }

    fn sign_params(&self, params: &CertificateParams) -> Signed {
        let key = KeyPair::generate().expect("generate a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("sign a certificate").pem();
        Signed { certificate, key: key.serialize_pem() }
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
    let pem = |certificate: &X509| text(certificate.to_pem().expect("a certificate as PEM"));
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

fn version_1(name: &str, key: &PKey<Private>, issuer: Option<(&X509, &PKey<Private>)>) -> X509 {
    let signed = || {
        let mut subject = X509NameBuilder::new()?;
        subject.append_entry_by_text("CN", name)?;
        let subject = subject.build();
        let mut builder = X509::builder()?;
        builder.set_version(0)?;
        let serial = Asn1Integer::from_bn(&*BigNum::from_u32(rand::random())?)?;
        builder.set_serial_number(&serial)?;
        builder.set_subject_name(&subject)?;
        builder.set_issuer_name(issuer.map_or(&*subject, |(issuer, _)| issuer.subject_name()))?;
        builder.set_not_before(&*Asn1Time::from_str("20200101000000Z")?)?;
        builder.set_not_after(&*Asn1Time::days_from_now(3650)?)?;
        builder.set_pubkey(key)?;
        builder.sign(issuer.map_or(key, |(_, key)| key), MessageDigest::sha256())?;
        Ok::<_, openssl::error::ErrorStack>(builder.build())
    };
    signed().expect("sign a certificate")
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

fn params(name: &str, hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    let mut params = CertificateParams::new(hosts).expect("hosts have legal names");
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params
}
