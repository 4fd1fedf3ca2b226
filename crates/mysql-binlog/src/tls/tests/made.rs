//! Certificates of every kind, the files that they are in, and servers that have them.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::OnceLock;

use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::ssl::{Ssl, SslContext, SslContextBuilder, SslMethod};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};
use tempfile::TempDir;

const YEAR: i64 = 365 * 24 * 3600;
const NOW: i64 = 1_790_000_000;

#[derive(Clone)]
pub struct Certified {
    pub certificate: X509,
    pub key: PKey<Private>,
    /// What the server sends beside its own.
    pub chain: Vec<X509>,
}

/// How a certificate is made.
#[derive(Clone)]
pub struct Recipe<'a> {
    pub common_name: &'a str,
    pub hosts: &'a [&'a str],
    pub version: i32,
    pub is_authority: bool,
    pub valid: (i64, i64),
    pub digest: Option<MessageDigest>,
    pub key: PKey<Private>,
}

pub fn rsa() -> PKey<Private> {
    static KEY: OnceLock<PKey<Private>> = OnceLock::new();
    KEY.get_or_init(|| rsa_of(2048)).clone()
}

pub fn rsa_of(bits: u32) -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(bits).expect("generate a key")).expect("it is one")
}

pub fn elliptic() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a curve");
    PKey::from_ec_key(EcKey::generate(&group).expect("generate a key")).expect("it is one")
}

pub fn recipe<'a>(common_name: &'a str, hosts: &'a [&'a str]) -> Recipe<'a> {
    Recipe {
        common_name,
        hosts,
        version: 2,
        is_authority: false,
        valid: (NOW - 10 * YEAR, NOW + 20 * YEAR),
        digest: Some(MessageDigest::sha256()),
        key: rsa(),
    }
}

impl Recipe<'_> {
    pub fn of_version_1(self) -> Self {
        Recipe { version: 0, hosts: &[], ..self }
    }

    pub fn authority(self) -> Self {
        Recipe { is_authority: true, ..self }
    }

    pub fn with_key(self, key: PKey<Private>) -> Self {
        Recipe { key, ..self }
    }

    pub fn signed_by(&self, issuer: Option<&Certified>) -> Certified {
        let mut name = X509NameBuilder::new().expect("a name");
        name.append_entry_by_text("CN", self.common_name).expect("a common name");
        let name = name.build();
        let mut builder = X509::builder().expect("a certificate");
        builder.set_version(self.version).expect("a version");
        let serial = BigNum::from_u32(rand::random()).expect("a number");
        let serial = Asn1Integer::from_bn(&serial).expect("a serial number");
        builder.set_serial_number(&serial).expect("a serial number");
        builder.set_subject_name(&name).expect("a subject");
        let issuer_name = issuer.map_or(&*name, |it| it.certificate.subject_name());
        builder.set_issuer_name(issuer_name).expect("an issuer");
        let time = |at| Asn1Time::from_unix(at).expect("a time");
        builder.set_not_before(&time(self.valid.0)).expect("a time");
        builder.set_not_after(&time(self.valid.1)).expect("a time");
        builder.set_pubkey(&self.key).expect("a key");
        if self.is_authority && self.version == 2 {
            let extension = BasicConstraints::new().critical().ca().build().expect("an extension");
            builder.append_extension(extension).expect("an extension");
        }
        if !self.hosts.is_empty() {
            let mut names = SubjectAlternativeName::new();
            for host in self.hosts {
                match host.parse::<IpAddr>() {
                    Ok(_) => names.ip(host),
                    Err(_) => names.dns(host),
                };
            }
            let names =
                names.build(&builder.x509v3_context(issuer.map(|it| &*it.certificate), None));
            builder.append_extension(names.expect("an extension")).expect("an extension");
        }
        let signer = issuer.map_or(&self.key, |it| &it.key);
        let digest = self.digest.unwrap_or_else(MessageDigest::null);
        builder.sign(signer, digest).expect("sign a certificate");
        Certified { certificate: builder.build(), key: self.key.clone(), chain: Vec::new() }
    }
}

pub fn authority(name: &str) -> Certified {
    recipe(name, &[]).authority().with_key(elliptic()).signed_by(None)
}

/// A folder of PEM files.
pub struct Files {
    folder: TempDir,
}

impl Files {
    pub fn new() -> Files {
        Files { folder: tempfile::tempdir().expect("make a folder") }
    }

    pub fn write(&self, name: &str, pem: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, pem).expect("write a file");
        path
    }

    pub fn authorities(&self, certified: &[&Certified]) -> PathBuf {
        let pems = certified.iter().map(|it| it.certificate.to_pem().expect("as PEM"));
        self.write("ca.pem", pems.collect::<Vec<_>>().concat())
    }
}

/// A server that takes any number of connections, and writes a byte to each that it has taken.
pub fn serve(certified: &Certified, change: impl FnOnce(&mut SslContextBuilder)) -> SocketAddr {
    let mut context = SslContext::builder(SslMethod::tls_server()).expect("a context");
    context.set_security_level(0);
    context.set_min_proto_version(None).expect("any version");
    context.set_certificate(&certified.certificate).expect("a certificate");
    context.set_private_key(&certified.key).expect("its key");
    for certificate in &certified.chain {
        context.add_extra_chain_cert(certificate.clone()).expect("a chain");
    }
    change(&mut context);
    let context = context.build();
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("listen");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for tcp in listener.incoming().flatten() {
            let ssl = Ssl::new(&context).expect("a connection");
            if let Ok(mut stream) = ssl.accept(tcp) {
                stream.write_all(b"!").and_then(|()| stream.read(&mut [0])).ok();
            }
        }
    });
    address
}
