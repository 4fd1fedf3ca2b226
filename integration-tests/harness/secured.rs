//! A broker that asks who is there: listeners with SASL, TLS and both beside the plain one that the
//! harness uses itself, and rights that it gives and takes. Shared by the tests of a run.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use super::certificates::{self, Authority};
use super::relay::RelaySetup;
use super::servers::{Kafka, free_port};
use super::watchdog;

/// Two users that may do all, one for each mechanism, and one who may only what a test grants.
pub const PLAIN_USER: &str = "plain_user";
pub const SCRAM_USER: &str = "scram_user";
pub const LIMITED_USER: &str = "limited_user";
/// Who logs in with a token, and may do all.
pub const TOKEN_USER: &str = "token_user";
pub const PASSWORD: &str = "br0ker-pass-w0rd";

pub struct SecuredKafka {
    pub kafka: Arc<Kafka>,
    pub authority: Authority,
    pub folder: PathBuf,
    /// The authority's certificate.
    pub ca: PathBuf,
    sasl_port: u16,
    sasl_ssl_port: u16,
    ssl_port: u16,
    /// TLS that asks for the client's certificate.
    mutual_port: u16,
    /// Tokens without a signature. A connection that does not log in again within some seconds is ended.
    token_port: u16,
}

/// How a relay gets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    Sasl,
    SaslSsl,
    Ssl,
    Mutual,
    Token,
}

pub fn shared_secured_kafka() -> &'static SecuredKafka {
    static SHARED: OnceLock<SecuredKafka> = OnceLock::new();
    SHARED.get_or_init(SecuredKafka::start)
}

impl SecuredKafka {
    fn start() -> SecuredKafka {
        let folder = watchdog::fresh_directory("secured_kafka");
        let authority = Authority::new("the brokers' authority");
        let ca = certificates::write(&folder, "ca.pem", &authority.pem);
        let signed = authority.sign("broker", &["127.0.0.1", "localhost"]);
        let store = signed.key + &signed.certificate;
        let store = certificates::write(&folder, "broker.pem", &store);
        let [sasl_port, sasl_ssl_port, ssl_port, mutual_port, token_port] =
            [(); 5].map(|()| free_port());
        let jaas = "org.apache.kafka.common.security";
        let users = [PLAIN_USER, LIMITED_USER].map(|user| format!("user_{user}=\"{PASSWORD}\""));
        let mut properties = vec![
            format!("listeners+=SASL_PLAINTEXT://127.0.0.1:{sasl_port}"),
            format!("listeners+=SASL_SSL://127.0.0.1:{sasl_ssl_port}"),
            format!("listeners+=SSL://127.0.0.1:{ssl_port}"),
            format!("listeners+=MUTUAL://127.0.0.1:{mutual_port}"),
            format!("listeners+=TOKEN://127.0.0.1:{token_port}"),
            "listener.name.token.sasl.enabled.mechanisms=OAUTHBEARER".to_owned(),
            format!("listener.name.token.oauthbearer.sasl.jaas.config={jaas}.oauthbearer.OAuthBearerLoginModule required;"),
            "listener.name.token.oauthbearer.connections.max.reauth.ms=3000".to_owned(),
            format!("scram+=SCRAM-SHA-512=[name={SCRAM_USER},password={PASSWORD}]"),
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,\
             SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL,MUTUAL:SSL,TOKEN:SASL_PLAINTEXT"
                .to_owned(),
            "listener.name.mutual.ssl.client.auth=required".to_owned(),
            "ssl.keystore.type=PEM".to_owned(),
            format!("ssl.keystore.location={}", store.display()),
            "ssl.truststore.type=PEM".to_owned(),
            format!("ssl.truststore.location={}", ca.display()),
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer"
                .to_owned(),
            // The harness itself, on the plain listener and on those with TLS alone, and two users.
            format!(
                "super.users=User:ANONYMOUS;User:CN=the relay;User:{PLAIN_USER};User:{SCRAM_USER};User:{TOKEN_USER}"
            ),
        ];
        for listener in ["sasl_plaintext", "sasl_ssl"] {
            let name = format!("listener.name.{listener}");
            properties.push(format!("{name}.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512"));
            let login = format!("{jaas}.plain.PlainLoginModule required {};", users.join(" "));
            properties.push(format!("{name}.plain.sasl.jaas.config={login}"));
            let login = format!("{jaas}.scram.ScramLoginModule required;");
            properties.push(format!("{name}.scram-sha-512.sasl.jaas.config={login}"));
        }
        let properties: Vec<&str> = properties.iter().map(String::as_str).collect();
        let kafka = Arc::new(Kafka::start(&properties));
        SecuredKafka {
            kafka,
            authority,
            folder,
            ca,
            sasl_port,
            sasl_ssl_port,
            ssl_port,
            mutual_port,
            token_port,
        }
    }

    pub fn address(&self, listener: Listener) -> String {
        let port = match listener {
            Listener::Sasl => self.sasl_port,
            Listener::SaslSsl => self.sasl_ssl_port,
            Listener::Ssl => self.ssl_port,
            Listener::Mutual => self.mutual_port,
            Listener::Token => self.token_port,
        };
        format!("127.0.0.1:{port}")
    }

    /// Lets the relay in there with these librdkafka properties.
    pub fn enter(&self, setup: &mut RelaySetup, listener: Listener, properties: &[(&str, &str)]) {
        setup.kafka_bootstrap = self.address(listener);
        setup.kafka_lines.push("[kafka.properties]".to_owned());
        let lines = properties.iter().map(|(key, value)| format!("{key:?} = {value:?}"));
        setup.kafka_lines.extend(lines);
    }

    /// The same as the user who may only what is granted.
    pub fn enter_limited(&self, setup: &mut RelaySetup) {
        let properties = [
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", LIMITED_USER),
            ("sasl.password", PASSWORD),
        ];
        self.enter(setup, Listener::Sasl, &properties);
    }

    pub fn grant(&self, right: &Right) {
        // Throttle, one result, its error code.
        let answer = self.ask(CREATE_ACLS, &one(right.encode()));
        assert_eq!(answer[8..10], [0, 0], "{right:?}: {answer:?}");
        self.await_known(right, 1);
    }

    pub fn revoke(&self, right: &Right) {
        let answer = self.ask(DELETE_ACLS, &one(right.encode()));
        assert_eq!(answer[8..10], [0, 0], "{right:?}: {answer:?}");
        // After the error and its absent message: how many it took away.
        assert_eq!(answer[12..16], [0, 0, 0, 1], "{right:?} was not granted: {answer:?}");
        self.await_known(right, 0);
    }

    /// The controller answers to a change before the broker heeds it.
    fn await_known(&self, right: &Right, count: u8) {
        let deadline = Instant::now() + HEEDED_WITHIN;
        loop {
            // Throttle, error code and its absent message, then how many resources have it.
            let answer = self.ask(DESCRIBE_ACLS, &right.encode());
            assert_eq!(answer[4..6], [0, 0], "{right:?}: {answer:?}");
            if answer[8..12] == [0, 0, 0, count] {
                return;
            }
            assert!(Instant::now() < deadline, "the broker does not heed {right:?}: {answer:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// One request of version 1 on the plain listener, and the answer behind its header
    /// (<https://kafka.apache.org/protocol#The_Messages_CreateAcls>).
    fn ask(&self, api: u16, body: &[u8]) -> Vec<u8> {
        let mut request = Vec::new();
        request.extend(api.to_be_bytes());
        request.extend([0, 1, 0, 0, 0, 7]);
        request.extend(string("tests"));
        request.extend(body);
        let mut stream = TcpStream::connect(self.kafka.bootstrap()).expect("connect to the broker");
        let length = u32::try_from(request.len()).expect("a short request").to_be_bytes();
        stream.write_all(&[&length[..], &request].concat()).expect("ask the broker");
        let mut length = [0; 4];
        stream.read_exact(&mut length).expect("the broker answers");
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut answer).expect("the broker answers");
        answer.split_off(4)
    }
}

const HEEDED_WITHIN: Duration = Duration::from_secs(120);

const DESCRIBE_ACLS: u16 = 29;
const CREATE_ACLS: u16 = 30;
const DELETE_ACLS: u16 = 31;

/// What the limited user may do, with everything whose name begins so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    pub operation: Operation,
    pub resource: Resource,
    pub prefix: String,
}

/// Numbers of <https://kafka.apache.org/protocol>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Read = 3,
    Write = 4,
    Create = 5,
    Describe = 8,
    DescribeConfigs = 10,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    Topic = 2,
    TransactionalId = 5,
}

impl Right {
    pub fn new(operation: Operation, resource: Resource, prefix: &str) -> Right {
        Right { operation, resource, prefix: prefix.to_owned() }
    }

    fn encode(&self) -> Vec<u8> {
        const PREFIXED: u8 = 4;
        const ALLOW: u8 = 3;
        let mut bytes = vec![self.resource as u8];
        bytes.extend(string(&self.prefix));
        bytes.push(PREFIXED);
        bytes.extend(string(&format!("User:{LIMITED_USER}")));
        bytes.extend(string("*"));
        bytes.extend([self.operation as u8, ALLOW]);
        bytes
    }
}

/// A list of one.
fn one(item: Vec<u8>) -> Vec<u8> {
    [&1_u32.to_be_bytes()[..], &item].concat()
}

fn string(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("a short text").to_be_bytes();
    [&length[..], text.as_bytes()].concat()
}
