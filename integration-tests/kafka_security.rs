//! SASL and TLS to Kafka by `[kafka.properties]`, and what the relay says where the broker does not let it
//! in: it halts if it never was let in, and waits if it was.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use harness::certificates::{self, Authority, Signed};
use harness::proxy::Proxy;
use harness::relay::{Relay, SOON};
use harness::scene::{Delivery, Scene};
use harness::secured::{
    Listener, PASSWORD, PLAIN_USER, SCRAM_USER, SecuredKafka, TOKEN_USER, shared_secured_kafka,
};
use harness::servers::{free_port, shared_mysql};
use harness::workload::{PlainWriter, insert_event};

const WRONG_PASSWORD: &str = "wr0ng-pass-w0rd";

type Properties = Vec<(&'static str, String)>;

#[test]
fn every_way_in_relays_with_the_right_credentials() {
    let secured = shared_secured_kafka();
    let client = pair(secured, &secured.authority.sign("the relay", &[]), "client");
    let plain = [("security.protocol", "SASL_PLAINTEXT")];
    let started: Vec<_> = [
        (Listener::Sasl, sasl(&plain, "PLAIN", PLAIN_USER, PASSWORD)),
        (Listener::Sasl, sasl(&plain, "SCRAM-SHA-512", SCRAM_USER, PASSWORD)),
        (Listener::SaslSsl, sasl_ssl(secured, PASSWORD)),
        (Listener::Ssl, ssl(&secured.ca.display().to_string())),
        (Listener::Mutual, [ssl(&secured.ca.display().to_string()), client].concat()),
    ]
    .into_iter()
    .map(|(listener, properties)| {
        let (scene, relay) = start(secured, listener, &properties);
        let mut writer = PlainWriter::on(&scene);
        writer.write(2);
        (scene, writer, relay)
    })
    .collect();
    for (scene, writer, mut relay) in started {
        scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
    }
}

#[test]
fn tokens_are_renewed_before_they_end_by_every_client_in_either_delivery() {
    let secured = shared_secured_kafka();
    let file = secured.folder.join("token");
    let renewal = Renewal::of(file.clone());
    let of_file = format!("token_file={}", file.display());
    let unsecured = format!("principal={TOKEN_USER} lifeSeconds={TOKEN_SECONDS}");
    let mut started: Vec<_> = [
        (Delivery::ExactlyOnce, &unsecured, "true"),
        (Delivery::ExactlyOnce, &of_file, "false"),
        (Delivery::Idempotent, &of_file, "false"),
    ]
    .into_iter()
    .map(|(delivery, config, is_unsecured)| {
        let scene = Scene::on(shared_mysql(), Arc::clone(&secured.kafka), "token").with(delivery);
        let mut setup = scene.relay_setup();
        let properties = [
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "OAUTHBEARER"),
            ("sasl.oauthbearer.config", config.as_str()),
            ("enable.sasl.oauthbearer.unsecure.jwt", is_unsecured),
        ];
        secured.enter(&mut setup, Listener::Token, &properties);
        let mut writer = PlainWriter::on(&scene);
        writer.write(2);
        (scene, writer, setup.start())
    })
    .collect();
    for (scene, _, relay) in &started {
        scene.wait_for_records(relay, 2);
    }
    // Through the lives of two tokens: whoever has none that holds is not let in again.
    std::thread::sleep(Duration::from_secs(2 * TOKEN_SECONDS));
    for (scene, writer, relay) in &mut started {
        // A topic of its own, so that the admin client is asked as well.
        let topic = scene.topic("late");
        writer.sql.run(insert_event("1-1", "'{}'", &topic));
        assert_eq!(scene.wait_for_records(relay, 3).len(), 3, "{}", relay.log_tail());
        let log = relay.log();
        assert!(!log.contains("refuses the login") && !log.contains("retry_in_ms"), "{log}");
        assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    }
    drop(renewal);
}

const TOKEN_SECONDS: u64 = 8;

/// Writes a new token to a file every second, until it is dropped.
struct Renewal(Arc<AtomicBool>);

impl Renewal {
    fn of(file: PathBuf) -> Renewal {
        let renew = move || {
            let next = file.with_extension("next");
            std::fs::write(&next, token_for(TOKEN_SECONDS)).expect("write a token");
            std::fs::rename(&next, &file).expect("put the token in its place");
        };
        renew();
        let is_over = Arc::<AtomicBool>::default();
        let stop = Arc::clone(&is_over);
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_secs(1));
                renew();
            }
        });
        Renewal(is_over)
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A token without a signature that ends in so many seconds.
fn token_for(seconds: u64) -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a sane clock");
    let now = since.as_secs();
    let claims = format!(r#"{{"sub":"{TOKEN_USER}","iat":{now},"exp":{}}}"#, now + seconds);
    format!("{}.{}.", base64(br#"{"alg":"none"}"#), base64(claims.as_bytes()))
}

/// For URLs, without padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let digits = bits.as_bytes().chunks(6).map(|six| {
        let six = format!("{:0<6}", std::str::from_utf8(six).expect("digits"));
        usize::from_str_radix(&six, 2).expect("a number below 64")
    });
    digits.map(|digit| char::from(LETTERS[digit])).collect()
}

#[test]
fn a_broker_that_does_not_let_a_new_relay_in_halts_it_with_the_key_to_correct() {
    const LOGIN: &str = "the broker refuses the login";
    const BROKER: &str = "the broker's certificate is not to be trusted";
    const OWN: &str = "the broker does not accept the relay's certificate";
    let secured = shared_secured_kafka();
    let ca = secured.ca.display().to_string();
    let other = Authority::new("another authority");
    let wrong_ca = certificates::write(&secured.folder, "wrong-ca.pem", &other.pem);
    let strange = pair(secured, &other.sign("the relay", &[]), "strange");
    let plain = [("security.protocol", "SASL_PLAINTEXT")];
    let started: Vec<_> = [
        (Listener::Sasl, sasl(&plain, "PLAIN", PLAIN_USER, WRONG_PASSWORD), LOGIN, "sasl.password"),
        (Listener::Sasl, sasl(&plain, "PLAIN", "nobody", WRONG_PASSWORD), LOGIN, "sasl.username"),
        (
            Listener::Sasl,
            sasl(&plain, "SCRAM-SHA-512", SCRAM_USER, WRONG_PASSWORD),
            LOGIN,
            "sasl.password",
        ),
        (
            Listener::Sasl,
            sasl(&plain, "SCRAM-SHA-256", SCRAM_USER, PASSWORD),
            LOGIN,
            "sasl.mechanism",
        ),
        (Listener::SaslSsl, sasl_ssl(secured, WRONG_PASSWORD), LOGIN, "sasl.password"),
        (Listener::Ssl, ssl(&wrong_ca.display().to_string()), BROKER, "ssl.ca.location"),
        (Listener::Mutual, ssl(&ca), OWN, "ssl.certificate.location"),
        (Listener::Mutual, [ssl(&ca), strange].concat(), OWN, "ssl.certificate.location"),
        (Listener::Ssl, ssl("/nowhere/ca.pem"), "ssl.ca.location failed", "[kafka.properties]"),
    ]
    .into_iter()
    .map(|(listener, properties, words, key)| {
        let (_, relay) = start(secured, listener, &properties);
        (relay, words, key)
    })
    .collect();
    for (mut relay, words, key) in started {
        let log = relay.halts();
        let (_, end) = log.split_once("\nerror: ").expect("a halt ends with its error");
        let (error, hint) = end.split_once("\nhint: ").expect("and with a hint");
        assert!(error.contains(words), "{words}: {log}");
        assert!(hint.contains(key) && hint.contains("[kafka.properties]"), "{key}: {log}");
        assert!(!log.contains(PASSWORD) && !log.contains(WRONG_PASSWORD), "{log}");
    }
}

#[test]
fn a_broker_that_is_not_there_or_speaks_otherwise_is_waited_for_with_the_reason() {
    let secured = shared_secured_kafka();
    let ca = secured.ca.display().to_string();
    let nobody = format!("127.0.0.1:{}", free_port());
    let plain = [("security.protocol", "SASL_PLAINTEXT")];
    let other_protocol =
        "the broker ends the connection, as a listener of another security.protocol does";
    let mut started: Vec<_> = [
        (nobody.clone(), vec![], format!("{nobody} failed: Connection refused")),
        (
            "nowhere.invalid:9092".to_owned(),
            vec![],
            "Failed to resolve 'nowhere.invalid:9092'".to_owned(),
        ),
        (secured.address(Listener::Ssl), vec![], other_protocol.to_owned()),
        (secured.address(Listener::Sasl), vec![], other_protocol.to_owned()),
        (secured.address(Listener::Sasl), ssl(&ca), other_protocol.to_owned()),
        (
            secured.address(Listener::Ssl),
            sasl(&plain, "PLAIN", PLAIN_USER, PASSWORD),
            other_protocol.to_owned(),
        ),
    ]
    .into_iter()
    .map(|(address, properties, words)| {
        let scene = Scene::on(shared_mysql(), Arc::clone(&secured.kafka), "waits");
        let mut setup = scene.relay_setup();
        secured.enter(&mut setup, Listener::Ssl, &borrowed(&properties));
        setup.kafka_bootstrap = address;
        (setup.start(), words)
    })
    .collect();
    for (relay, words) in &mut started {
        relay.wait_for_log("retry_in_ms");
        let log = relay.log();
        let waiting = log.lines().find(|line| line.contains("retry_in_ms")).expect("it is there");
        assert!(waiting.contains(words.as_str()), "{words}: {log}");
        assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    }
}

#[test]
fn a_relay_that_was_let_in_waits_for_its_password_to_be_right_again() {
    let secured = shared_secured_kafka();
    let scene = Scene::on(shared_mysql(), Arc::clone(&secured.kafka), "rotated");
    let file = certificates::write(&secured.folder, "password", PASSWORD);
    let (proxy, mut setup) = scene.behind_mysql_proxy();
    let plain = [("security.protocol", "SASL_PLAINTEXT")];
    let password = format!("${{file:{}}}", file.display());
    let properties = sasl(&plain, "PLAIN", PLAIN_USER, &password);
    secured.enter(&mut setup, Listener::Sasl, &borrowed(&properties));
    let mut writer = PlainWriter::on(&scene);
    let mut relay = setup.start();
    writer.write(2);
    scene.wait_for_records(&relay, 2);
    certificates::write(&secured.folder, "password", WRONG_PASSWORD);
    reconnect(&proxy);
    writer.write(2);
    relay.wait_for_log("the broker refuses the login");
    assert!(!relay.has_ended(), "{}", relay.log_tail());
    certificates::write(&secured.folder, "password", PASSWORD);
    scene.judge_clean_to_the_end(&writer.ledger, &mut relay, SOON);
    let log = relay.log();
    assert!(!log.contains(PASSWORD) && !log.contains(WRONG_PASSWORD), "{log}");
}

/// Ends the session, and with it every connection to Kafka.
fn reconnect(proxy: &Proxy) {
    proxy.cut();
    proxy.pass();
}

fn start(secured: &SecuredKafka, listener: Listener, properties: &Properties) -> (Scene, Relay) {
    let scene = Scene::on(shared_mysql(), Arc::clone(&secured.kafka), "secured");
    let mut setup = scene.relay_setup();
    secured.enter(&mut setup, listener, &borrowed(properties));
    setup.environment.push(("RUST_LOG".to_owned(), "debug".to_owned()));
    let relay = setup.start();
    (scene, relay)
}

fn sasl(
    protocol: &[(&'static str, &str)],
    mechanism: &str,
    user: &str,
    password: &str,
) -> Properties {
    let login =
        [("sasl.mechanism", mechanism), ("sasl.username", user), ("sasl.password", password)];
    protocol.iter().chain(&login).map(|&(key, value)| (key, value.to_owned())).collect()
}

fn sasl_ssl(secured: &SecuredKafka, password: &str) -> Properties {
    let ca = secured.ca.display().to_string();
    let protocol = [("security.protocol", "SASL_SSL"), ("ssl.ca.location", ca.as_str())];
    sasl(&protocol, "SCRAM-SHA-512", SCRAM_USER, password)
}

fn ssl(ca: &str) -> Properties {
    vec![("security.protocol", "SSL".to_owned()), ("ssl.ca.location", ca.to_owned())]
}

fn pair(secured: &SecuredKafka, signed: &Signed, name: &str) -> Properties {
    let (cert, key) = signed.write(&secured.folder, name);
    let text = |path: &std::path::Path| path.display().to_string();
    vec![("ssl.certificate.location", text(&cert)), ("ssl.key.location", text(&key))]
}

fn borrowed(properties: &Properties) -> Vec<(&str, &str)> {
    properties.iter().map(|(key, value)| (*key, value.as_str())).collect()
}
