//! Handshakes with servers of every age, made of OpenSSL on a loopback address.

mod made;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use openssl::dh::Dh;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::ssl::SslContextBuilder;
use openssl::symm::Cipher;
use openssl::x509::store::X509StoreBuilder;
use tokio::io::AsyncReadExt;

use self::made::{Certified, Files, Recipe, authority, elliptic, recipe, rsa_of, serve};
use super::*;

const UNVERIFIED: [TlsMode; 2] = [TlsMode::Preferred, TlsMode::Required];
const VERIFIED: [TlsMode; 2] = [TlsMode::VerifyCa, TlsMode::VerifyIdentity];

fn tls_options(mode: TlsMode, ca: Option<&Path>) -> TlsOptions {
    TlsOptions { mode, ca: ca.map(Path::to_owned), cert: None, key: None }
}

/// Version and cipher.
fn connect(options: &TlsOptions, host: &str, to: SocketAddr) -> Result<String, Error> {
    let connector = Connector::new(options)?.expect("it encrypts");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("build a runtime").block_on(async {
        let tcp = TcpStream::connect(to).await.expect("it listens");
        let mut stream = connector.connect(host, tcp).await?;
        match stream.read_u8().await {
            Ok(byte) => assert_eq!(byte, b'!'),
            Err(error) => {
                return Err(connector
                    .explain_io(error)
                    .unwrap_or_else(|source| Error::Broken { source }));
            }
        }
        let cipher = stream.ssl().current_cipher().expect("it is encrypted").name();
        Ok(format!("{} {cipher}", stream.ssl().version_str()))
    })
}

/// Fails unless the modes that verify nothing take it.
fn taken_unverified(to: SocketAddr) {
    for mode in UNVERIFIED {
        let taken = connect(&tls_options(mode, None), "127.0.0.1", to);
        assert!(taken.is_ok(), "{mode:?}: {taken:?}");
    }
}

fn judged(mode: TlsMode, ca: &Path, host: &str, to: SocketAddr) -> String {
    match connect(&tls_options(mode, Some(ca)), host, to) {
        Ok(_) => "taken".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_kind_of_certificate_encrypts_and_every_sound_one_is_verified() {
    let (files, root) = (Files::new(), authority("root"));
    let ca = files.authorities(&[&authority("another"), &root]);
    let (name, hosts) = ("db.example.org", ["db.example.org"]);
    let v3 = recipe(name, &hosts);
    let ed25519 = PKey::generate_ed25519().expect("generate a key");
    let weak = "the server's certificate, or that of its authority, is too weak to be verified: ";
    for (label, certified, verdict) in [
        ("version 3", v3.signed_by(Some(&root)), "taken".to_owned()),
        ("version 1", v3.clone().of_version_1().signed_by(Some(&root)), "taken".to_owned()),
        ("elliptic", v3.clone().with_key(elliptic()).signed_by(Some(&root)), "taken".to_owned()),
        ("Ed25519", v3.clone().with_key(ed25519).signed_by(Some(&root)), "taken".to_owned()),
        (
            "1024 bits",
            v3.clone().with_key(rsa_of(1024)).signed_by(Some(&root)),
            format!("{weak}EE certificate key too weak"),
        ),
        (
            "SHA-1",
            Recipe { digest: Some(MessageDigest::sha1()), ..v3.clone() }.signed_by(Some(&root)),
            format!("{weak}CA signature digest algorithm too weak"),
        ),
        (
            "expired",
            Recipe { valid: (0, 1_612_314_245), ..v3.clone() }.signed_by(Some(&root)),
            "the server's certificate expired on 2021-02-03 01:04:05 UTC".to_owned(),
        ),
        (
            "early",
            Recipe { valid: (4_102_444_800, 4_102_444_900), ..v3.clone() }.signed_by(Some(&root)),
            "the server's certificate is not valid before 2100-01-01 00:00:00 UTC".to_owned(),
        ),
        (
            "self-signed",
            v3.signed_by(None),
            format!("the server's certificate is not signed by the authority in {}", ca.display()),
        ),
    ] {
        let server = serve(&certified, |_| ());
        taken_unverified(server);
        for mode in VERIFIED {
            assert_eq!(judged(mode, &ca, name, server), verdict, "{label}, {mode:?}");
        }
    }
}

#[test]
fn a_chain_is_trusted_up_to_whatever_the_file_of_authorities_has() {
    let files = Files::new();
    let root = authority("root");
    let between = recipe("between", &[]).authority().signed_by(Some(&root));
    let leaf = recipe("db", &["db"]).signed_by(Some(&between));
    let with_chain = Certified { chain: vec![between.certificate.clone()], ..leaf.clone() };
    let (alone, chained) = (serve(&leaf, |_| ()), serve(&with_chain, |_| ()));
    let unknown = |ca: &Path| {
        format!("the server's certificate is not signed by the authority in {}", ca.display())
    };
    for mode in VERIFIED {
        let judged = |ca: &[&Certified], to| {
            let ca = files.authorities(ca);
            (judged(mode, &ca, "db", to), unknown(&ca))
        };
        assert_eq!(judged(&[&root], chained).0, "taken");
        assert_eq!(judged(&[&between], alone).0, "taken", "no root");
        assert_eq!(judged(&[&between, &root], alone).0, "taken");
        assert_eq!(judged(&[&leaf], alone).0, "taken", "the certificate itself");
        let (verdict, unknown) = judged(&[&root], alone);
        assert_eq!(verdict, unknown, "a link is missing");
        // One of the same name is another authority.
        let (verdict, unknown) = judged(&[&authority("root")], chained);
        assert_eq!(verdict, unknown);
    }
}

#[test]
fn authorities_of_version_1_are_taken_and_expired_ones_named() {
    let files = Files::new();
    let old = recipe("old root", &[]).authority().of_version_1().signed_by(None);
    let server = serve(&recipe("db", &["db"]).of_version_1().signed_by(Some(&old)), |_| ());
    assert_eq!(judged(TlsMode::VerifyIdentity, &files.authorities(&[&old]), "db", server), "taken");

    let expired = Recipe { valid: (0, 1_612_314_245), ..recipe("last year's", &[]).authority() };
    let expired = expired.signed_by(None);
    let server = serve(&recipe("db", &["db"]).signed_by(Some(&expired)), |_| ());
    assert_eq!(
        judged(TlsMode::VerifyCa, &files.authorities(&[&expired]), "db", server),
        "the authority last year's, which the server's certificate rests on, expired on 2021-02-03 01:04:05 UTC"
    );
}

#[test]
fn a_host_is_compared_to_the_certificates_names_as_the_mysql_clients_do() {
    let (files, root) = (Files::new(), authority("root"));
    let ca = files.authorities(&[&root]);
    for (common_name, hosts, host, verdict) in [
        ("x", &["db.example.org"][..], "db.example.org", "taken"),
        ("x", &["db.example.org"], "DB.Example.ORG.", "taken"),
        ("x", &["*.example.org"], "db.example.org", "taken"),
        ("x", &["*.example.org"], "a.db.example.org", "but for *.example.org"),
        ("x", &["10.0.0.5", "fd00::1"], "10.0.0.5", "taken"),
        ("x", &["10.0.0.5", "fd00::1"], "fd00::1", "taken"),
        ("x", &["10.0.0.5", "a.org"], "10.0.0.6", "but for 10.0.0.5, a.org"),
        // Without alternative names, the common name counts; beside them, it does not.
        ("db.example.org", &[], "db.example.org", "taken"),
        ("db.example.org", &[], "other.org", "but for db.example.org"),
        ("db.example.org", &["a.org"], "db.example.org", "but for a.org"),
        ("10.0.0.5", &[], "10.0.0.5", "taken"),
        ("10.0.0.5", &["10.0.0.6"], "10.0.0.5", "but for 10.0.0.6"),
        ("x", &[], "10.0.0.5", "but for no host at all (it has no subjectAltName)"),
    ] {
        let server = serve(&recipe(common_name, hosts).signed_by(Some(&root)), |_| ());
        let judgement = judged(TlsMode::VerifyIdentity, &ca, host, server);
        assert!(judgement.ends_with(verdict), "{common_name}, {hosts:?}, {host}: {judgement}");
        assert_eq!(judged(TlsMode::VerifyCa, &ca, host, server), "taken");
    }
}

#[test]
fn servers_of_every_age_are_spoken_to_and_none_old_is_trusted() {
    let (files, root) = (Files::new(), authority("root"));
    let ca = files.authorities(&[&root]);
    let db = recipe("db", &["db"]).signed_by(Some(&root));
    let up_to = |context: &mut SslContextBuilder, version| {
        context.set_max_proto_version(Some(version)).expect("a version");
    };
    let dh = |context: &mut SslContextBuilder, params: Dh<openssl::pkey::Params>| {
        context.set_cipher_list("DHE-RSA-AES128-SHA256").expect("a cipher");
        context.set_tmp_dh(&params).expect("parameters");
    };
    type Change<'a> = &'a dyn Fn(&mut SslContextBuilder);
    let servers: [(&str, bool, Change<'_>); 9] = [
        ("TLSv1 ", false, &|it| up_to(it, SslVersion::TLS1)),
        ("TLSv1.1 ", false, &|it| up_to(it, SslVersion::TLS1_1)),
        ("TLSv1.2 ", true, &|it| up_to(it, SslVersion::TLS1_2)),
        ("TLSv1.3 ", true, &|it| {
            it.set_min_proto_version(Some(SslVersion::TLS1_3)).expect("a version");
        }),
        // No forward secrecy, and a MAC of SHA-1.
        ("TLSv1.2 AES128-SHA", true, &|it| {
            up_to(it, SslVersion::TLS1_2);
            it.set_cipher_list("AES128-SHA").expect("a cipher");
        }),
        ("TLSv1.2 DHE-RSA-AES128-SHA256", true, &|it| {
            up_to(it, SslVersion::TLS1_2);
            dh(it, Dh::get_2048_256().expect("parameters"));
        }),
        ("TLSv1.2 DHE-RSA-AES128-SHA256", false, &|it| {
            up_to(it, SslVersion::TLS1_2);
            dh(it, Dh::get_1024_160().expect("parameters"));
        }),
        ("TLSv1.3 TLS_AES_128_CCM_SHA256", true, &|it| {
            it.set_ciphersuites("TLS_AES_128_CCM_SHA256").expect("a cipher");
            it.set_min_proto_version(Some(SslVersion::TLS1_3)).expect("a version");
        }),
        ("TLSv1.2 AES128-CCM8", false, &|it| {
            up_to(it, SslVersion::TLS1_2);
            it.set_cipher_list("AES128-CCM8").expect("a cipher");
        }),
    ];
    for (spoken, is_verified, change) in servers {
        let server = serve(&db, change);
        for mode in UNVERIFIED {
            let cipher = connect(&tls_options(mode, None), "db", server).expect(spoken);
            assert!(cipher.starts_with(spoken), "{cipher}");
        }
        for mode in VERIFIED {
            match connect(&tls_options(mode, Some(&ca)), "db", server) {
                Ok(cipher) => assert!(is_verified && cipher.starts_with(spoken), "{cipher}"),
                Err(error) => {
                    assert!(!is_verified, "{spoken}: {error}");
                    assert!(matches!(error, Error::NothingInCommon { .. }), "{spoken}: {error:?}");
                }
            }
        }
    }
}

#[test]
fn a_server_that_asks_for_a_certificate_gets_it_from_keys_of_every_format() {
    let (files, root) = (Files::new(), authority("root"));
    let ca = files.authorities(&[&root]);
    let db = recipe("db", &["db"]).signed_by(Some(&root));
    let relay = recipe("relay", &[]);
    let trusted = [relay.clone(), relay.with_key(elliptic())].map(|it| it.signed_by(Some(&root)));
    let stranger = recipe("relay", &[]).signed_by(Some(&authority("another")));
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let server = serve(&db, |context| {
            let mut store = X509StoreBuilder::new().expect("a store");
            store.add_cert(root.certificate.clone()).expect("an authority");
            context.set_cert_store(store.build());
            context.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
            context.set_min_proto_version(Some(version)).expect("a version");
            context.set_max_proto_version(Some(version)).expect("a version");
        });
        let connect_with = |certified: &Certified, key: Vec<u8>| {
            let cert = files.write("cert.pem", certified.certificate.to_pem().expect("as PEM"));
            let key = files.write("key.pem", key);
            let options = tls_options(TlsMode::VerifyIdentity, Some(&ca));
            connect(&TlsOptions { cert: Some(cert), key: Some(key), ..options }, "db", server)
        };
        for certified in &trusted {
            for key in keys_of(&certified.key) {
                connect_with(certified, key).expect("it has a certificate");
            }
        }
        let pkcs8 = |it: &Certified| it.key.private_key_to_pem_pkcs8().expect("as PEM");
        let error = connect_with(&stranger, pkcs8(&stranger)).expect_err("it is a stranger");
        assert!(matches!(error, Error::ClientRefused { .. }), "{error:?}");
        let options = tls_options(TlsMode::VerifyIdentity, Some(&ca));
        let error = connect(&options, "db", server).expect_err("it has no certificate");
        match version {
            // It has no alert of its own for that.
            SslVersion::TLS1_2 => {
                assert!(matches!(error, Error::NothingInCommon { .. }), "{error:?}")
            }
            _ => assert!(matches!(error, Error::ClientUnknown { .. }), "{error:?}"),
        }
    }
}

/// As openssl has written keys over the years.
fn keys_of(key: &PKey<Private>) -> Vec<Vec<u8>> {
    let mut keys = vec![key.private_key_to_pem_pkcs8().expect("as PEM")];
    if let Ok(rsa) = key.rsa() {
        keys.push(rsa.private_key_to_pem().expect("as PEM"));
    }
    if let Ok(elliptic) = key.ec_key() {
        let pem = elliptic.private_key_to_pem().expect("as PEM");
        keys.push(pem.clone());
        // As `openssl ecparam -genkey` writes it.
        let curve =
            b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
        keys.push([&curve[..], &pem].concat());
    }
    keys
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let (files, root) = (Files::new(), authority("root"));
    let ca = files.authorities(&[&root]);
    let relay = recipe("relay", &[]).signed_by(Some(&root));
    let cert = files.write("cert.pem", relay.certificate.to_pem().expect("as PEM"));
    let error_of = |key: Vec<u8>| {
        let key = files.write("key.pem", key);
        let options = tls_options(TlsMode::Preferred, Some(&ca));
        let options = TlsOptions { cert: Some(cert.clone()), key: Some(key), ..options };
        Connector::new(&options).err().expect("the key is of no use").to_string()
    };
    let cipher = Cipher::aes_256_cbc();
    let pkcs8 = relay.key.private_key_to_pem_pkcs8_passphrase(cipher, b"secret").expect("as PEM");
    let rsa = relay.key.rsa().expect("it is RSA");
    let pkcs1 = rsa.private_key_to_pem_passphrase(cipher, b"secret").expect("as PEM");
    for key in [pkcs8, pkcs1] {
        let error = error_of(key);
        assert!(
            error.starts_with("the private key in ") && error.ends_with(" is encrypted"),
            "{error}"
        );
    }
    let other = elliptic().private_key_to_pem_pkcs8().expect("as PEM");
    assert!(error_of(other).contains("key.pem is not the key of "));
    assert!(error_of(b"nothing".to_vec()).ends_with("key.pem holds no private key in PEM format"));
}

#[test]
fn a_server_that_breaks_off_or_speaks_no_tls_is_told_apart() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("listen");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for (number, mut tcp) in listener.incoming().flatten().enumerate() {
            let hello = tcp.read(&mut [0; 4096]).expect("a client says hello");
            if number > 0 && hello > 0 {
                tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("it still listens");
            }
        }
    });
    let options = tls_options(TlsMode::Required, None);
    let error = connect(&options, "db", address).expect_err("it breaks off");
    assert!(matches!(error, Error::Broken { .. }) && error.is_transient(), "{error:?}");
    let error = connect(&options, "db", address).expect_err("it speaks no TLS");
    assert!(matches!(error, Error::Tls { .. }) && !error.is_transient(), "{error:?}");
}

#[test]
fn all_records_that_have_arrived_are_read_at_once() {
    const RECORDS: usize = 50;
    let db = recipe("db", &["db"]).signed_by(None);
    let mut context = SslContext::builder(SslMethod::tls_server()).expect("a context");
    context.set_certificate(&db.certificate).expect("a certificate");
    context.set_private_key(&db.key).expect("its key");
    let context = context.build();
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("listen");
    let address = listener.local_addr().expect("it is bound");
    let serving = std::thread::spawn(move || {
        let (tcp, _) = listener.accept().expect("a client");
        let mut stream = Ssl::new(&context).expect("a connection").accept(tcp).expect("TLS");
        for number in 0..RECORDS {
            stream.write_all(&[number as u8; 100]).expect("it listens");
        }
        stream
    });
    let options = tls_options(TlsMode::Required, None);
    let connector = Connector::new(&options).expect("no files").expect("it encrypts");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("build a runtime").block_on(async {
        let tcp = TcpStream::connect(address).await.expect("it listens");
        let mut stream = connector.connect("db", tcp).await.expect("TLS");
        let mut server = serving.join().expect("all is written");
        let (mut room, mut filled, mut reads) = ([0; 8192], 0, 0);
        while filled < RECORDS * 100 {
            filled += stream.read(&mut room[filled..]).await.expect("the rest");
            reads += 1;
        }
        // The records of the handshake may come before them.
        assert!(reads <= 2, "{reads} reads");
        assert!(room[..filled].chunks(100).enumerate().all(|(at, it)| it == [at as u8; 100]));
        server.shutdown().expect("it is over");
        assert_eq!(stream.read(&mut room).await.expect("the end"), 0);
    });
}
