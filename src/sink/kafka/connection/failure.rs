//! Why brokers do not answer. librdkafka retries for ever, and reports the reason in events and log lines, apart from
//! the call that waits. These enter here. The last reason leaves, and whether a person must act on it.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// What went wrong between a client and a broker, in librdkafka's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    kind: Kind,
    reason: String,
}

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The address, the network, or a broker that is not there (yet).
    Connection,
    /// The connection ended before any answer, as on a listener of another protocol. A broker or a load balancer that
    /// stops looks the same.
    Protocol,
    /// The user, the password, or the login mechanism.
    Login,
    /// The broker's certificate.
    BrokerCertificate,
    /// The relay's certificate.
    OwnCertificate,
}

impl Failure {
    /// Reads an error event of librdkafka; `None` if it is not about a connection.
    fn read(code: RDKafkaErrorCode, reason: &str) -> Option<Failure> {
        let says = |text: &str| reason.contains(text);
        let kind = match code {
            RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::UnsupportedSASLMechanism
            | RDKafkaErrorCode::IllegalSASLState => Kind::Login,
            RDKafkaErrorCode::SSL if says("certificate verify failed") => Kind::BrokerCertificate,
            // The broker sends an alert about our certificate. In TLS 1.3 it comes after the handshake.
            RDKafkaErrorCode::SSL | RDKafkaErrorCode::BrokerTransportFailure
                if says(" alert ") && (says("certificate") || says("unknown ca")) =>
            {
                Kind::OwnCertificate
            }
            RDKafkaErrorCode::SSL => Kind::Protocol,
            RDKafkaErrorCode::BrokerTransportFailure if is_cut_short(reason) => Kind::Protocol,
            RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::Resolve => {
                Kind::Connection
            }
            _ => return None,
        };
        Some(Failure { kind, reason: for_people(reason) })
    }

    /// Reads a log line of librdkafka. A connection that the broker ends causes no event.
    fn read_log(facility: &str, message: &str) -> Option<Failure> {
        let (_, reason) = message.split_once("]: ").filter(|_| facility == "FAIL")?;
        Failure::read(RDKafkaErrorCode::BrokerTransportFailure, reason)
    }

    /// The broker answers, and refuses us.
    pub fn is_rejection(&self) -> bool {
        matches!(self.kind, Kind::Login | Kind::BrokerCertificate | Kind::OwnCertificate)
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self.kind {
            Kind::Connection => "correct [kafka] bootstrap_servers, or start the brokers",
            Kind::Protocol => {
                "correct \"security.protocol\" in [kafka.properties], or the port in bootstrap_servers"
            }
            Kind::Login => {
                "correct \"sasl.mechanism\", \"sasl.username\" and \"sasl.password\" in [kafka.properties], or \
                 the user on the brokers"
            }
            Kind::BrokerCertificate => {
                "set \"ssl.ca.location\" in [kafka.properties] to the authority that signed the brokers' \
                 certificates, and name the brokers in bootstrap_servers as their certificates do"
            }
            Kind::OwnCertificate => {
                "set \"ssl.certificate.location\" and \"ssl.key.location\" in [kafka.properties] to a pair whose \
                 authority the brokers trust"
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            Kind::Connection => "no broker answers",
            Kind::Protocol => {
                "the broker ends the connection, as a listener of another security.protocol does"
            }
            Kind::Login => "the broker refuses the login",
            Kind::BrokerCertificate => "the broker's certificate is not to be trusted",
            Kind::OwnCertificate => "the broker does not accept the relay's certificate",
        };
        write!(f, "{what}: {}", self.reason)
    }
}

/// The most telling failure of one client.
#[derive(Debug, Default)]
pub struct LastFailure(Mutex<Option<Failure>>);

impl LastFailure {
    /// Takes an error event of librdkafka.
    pub fn note(&self, error: &KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        self.keep(code.and_then(|code| Failure::read(code, reason)));
    }

    /// Takes a log line of librdkafka.
    pub fn note_log(&self, facility: &str, message: &str) {
        self.keep(Failure::read_log(facility, message));
    }

    fn keep(&self, failure: Option<Failure>) {
        let Some(failure) = failure else { return };
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A client that was refused sees its other connections end as well.
        if failure.is_rejection() || !last.as_ref().is_some_and(Failure::is_rejection) {
            *last = Some(failure);
        }
    }

    pub fn get(&self) -> Option<Failure> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The connection was made and ended at once.
fn is_cut_short(reason: &str) -> bool {
    const AT_ONCE_MS: u32 = 2_000;
    let duration_ms = reason
        .rsplit_once(" (after ")
        .and_then(|(_, after)| after.split_once("ms in state ")?.0.parse::<u32>().ok());
    reason.contains("Disconnected: ") && duration_ms.is_some_and(|ms| ms < AT_ONCE_MS)
}

/// Leaves out the place in OpenSSL, the time and the state.
fn for_people(reason: &str) -> String {
    const LIBRARY: &str = "SSL routines::";
    let reason = reason.rsplit_once(" (after ").map_or(reason, |(reason, _)| reason);
    match reason.split_once(LIBRARY) {
        Some((before, problem)) => {
            let doing = before.rsplit_once(": ").map_or("", |(doing, _)| doing);
            format!("{doing}: {problem}")
        }
        None => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWN: RDKafkaErrorCode = RDKafkaErrorCode::BrokerTransportFailure;

    fn told(code: RDKafkaErrorCode, reason: &str) -> (Kind, String) {
        let last = LastFailure::default();
        last.note(&KafkaError::Global(code), reason);
        let failure = last.get().unwrap();
        (failure.kind, failure.to_string())
    }

    #[test]
    fn the_words_of_librdkafka_tell_what_a_person_must_correct() {
        for (code, reason, kind, words) in [
            (
                RDKafkaErrorCode::Authentication,
                "sasl_plaintext://b:9093/bootstrap: SASL authentication error: Authentication failed: Invalid \
                 username or password (after 357ms in state AUTH_REQ)",
                Kind::Login,
                "the broker refuses the login: sasl_plaintext://b:9093/bootstrap: SASL authentication error: \
                 Authentication failed: Invalid username or password",
            ),
            (
                RDKafkaErrorCode::SSL,
                "ssl://b:9093/bootstrap: SSL handshake failed: ssl/statem/statem_clnt.c:2125:\
                 tls_post_process_server_certificate error:0A000086:SSL routines::certificate verify failed: \
                 broker certificate could not be verified (after 86ms in state SSL_HANDSHAKE)",
                Kind::BrokerCertificate,
                "the broker's certificate is not to be trusted: ssl://b:9093/bootstrap: SSL handshake failed: \
                 certificate verify failed: broker certificate could not be verified",
            ),
            (
                DOWN,
                "ssl://b:9093/bootstrap: Receive failed: ssl/record/rec_layer_s3.c:918:ssl3_read_bytes \
                 error:0A000412:SSL routines::ssl/tls alert bad certificate: SSL alert number 42 (after 3ms in \
                 state APIVERSION_QUERY)",
                Kind::OwnCertificate,
                "the broker does not accept the relay's certificate: ssl://b:9093/bootstrap: Receive failed: \
                 ssl/tls alert bad certificate: SSL alert number 42",
            ),
            (
                DOWN,
                "ssl://b:9092/bootstrap: SSL handshake failed: Disconnected: SSL connection closed by peer: \
                 connecting to a PLAINTEXT broker listener? (after 115ms in state SSL_HANDSHAKE)",
                Kind::Protocol,
                "the broker ends the connection, as a listener of another security.protocol does: \
                 ssl://b:9092/bootstrap: SSL handshake failed: Disconnected: SSL connection closed by peer: \
                 connecting to a PLAINTEXT broker listener?",
            ),
            (
                DOWN,
                "b:9092/bootstrap: Connect to ipv4#10.0.0.5:9092 failed: Connection refused (after 0ms in state \
                 CONNECT)",
                Kind::Connection,
                "no broker answers: b:9092/bootstrap: Connect to ipv4#10.0.0.5:9092 failed: Connection refused",
            ),
        ] {
            assert_eq!(told(code, reason), (kind, words.to_owned()));
        }
    }

    #[test]
    fn a_connection_that_ends_after_a_while_is_no_other_protocol() {
        let reason =
            "b:9092/1: Disconnected: connection closed by peer (after 72000ms in state UP)";
        assert_eq!(told(DOWN, reason).0, Kind::Connection);
    }

    #[test]
    fn a_rejection_outlives_the_failures_that_come_with_it() {
        let last = LastFailure::default();
        last.note(&KafkaError::Global(RDKafkaErrorCode::Authentication), "b:9092/1: no");
        last.note_log(
            "FAIL",
            "[thrd:b:9092/2]: b:9092/2: Connect failed (after 0ms in state CONNECT)",
        );
        assert!(last.get().unwrap().is_rejection());
    }
}
