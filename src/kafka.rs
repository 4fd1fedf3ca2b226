//! What every Kafka client of the relay has in common: addresses, security, and where its log lines go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::admin::AdminClient;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaConfRes;

use crate::secret::{self, Secret};

/// How to reach the brokers.
#[derive(Debug, Clone)]
pub struct Options {
    /// `host:port`, several separated by commas.
    pub bootstrap_servers: String,
    /// librdkafka properties of the user, none of which the delivery guarantees rest on.
    pub properties: BTreeMap<String, Secret>,
}

/// How long one request to a broker may take before it counts as failed. librdkafka's own default for
/// `socket.timeout.ms` is 60 s, which is too long to find out that a broker is gone.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

impl Options {
    /// A client configuration with what all clients share; each room adds its own.
    ///
    /// # Errors
    /// A secret that cannot be read any more.
    pub fn client_config(&self, client_id: &str) -> Result<ClientConfig, secret::Error> {
        let mut config = ClientConfig::new();
        let level = match tracing::enabled!(target: "librdkafka", tracing::Level::DEBUG) {
            true => RDKafkaLogLevel::Debug,
            false => RDKafkaLogLevel::Warning,
        };
        for (name, value) in &self.properties {
            config.set(name, value.reveal()?);
        }
        config
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("client.id", client_id)
            // Looking at a topic must not create it: a producer's default would, where the brokers allow it.
            .set("allow.auto.create.topics", "false")
            .set_log_level(level);
        Ok(config)
    }

    /// Holds the user's properties against those that librdkafka knows.
    ///
    /// # Errors
    /// The first one that it does not know, or whose value it does not take.
    pub fn validate(&self) -> Result<(), Error> {
        let config = self.client_config("validate")?;
        config.create_native_config().map(drop).map_err(Error::from)
    }

    /// An admin client, for topics and their configuration.
    ///
    /// # Errors
    /// A secret that cannot be read, or a property that librdkafka refuses.
    pub fn admin_client(&self, client_id: &str) -> Result<AdminClient<Context>, Error> {
        create(&self.client_config(client_id)?, Context)
    }
}

/// Makes a client of any kind.
///
/// # Errors
/// librdkafka refuses the configuration.
pub fn create<C, T>(config: &ClientConfig, context: C) -> Result<T, Error>
where
    C: ClientContext,
    T: FromClientConfigAndContext<C>,
{
    T::from_config_and_context(config, context).map_err(Error::from)
}

/// Why a client could not be made or asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Secret(#[from] secret::Error),
    /// librdkafka's own words would repeat the value, which may be a secret.
    #[error("[kafka.properties] {name}: {problem}")]
    Property { name: String, problem: &'static str },
    #[error("{}", spoken(.0))]
    Kafka(KafkaError),
}

/// librdkafka's names for a broker that does not answer, in words.
fn spoken(error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown) => {
            "no broker answers".to_owned()
        }
        Some(RDKafkaErrorCode::OperationTimedOut | RDKafkaErrorCode::RequestTimedOut) => {
            "no broker answers in time".to_owned()
        }
        _ => error.to_string(),
    }
}

impl From<KafkaError> for Error {
    fn from(error: KafkaError) -> Error {
        match error {
            KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, _, name, _) => {
                Error::Property { name, problem: "librdkafka knows no such property" }
            }
            KafkaError::ClientConfig(_, _, name, _) => {
                Error::Property { name, problem: "librdkafka does not take that value" }
            }
            error => Error::Kafka(error),
        }
    }
}

/// Sends librdkafka's log lines to the relay's log, at a level that fits a client which is expected to
/// see brokers come and go.
#[derive(Debug, Clone, Copy)]
pub struct Context;

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }
}

impl ConsumerContext for Context {}

/// One log line of librdkafka. Its errors are at most warnings here: what they mean for the data is said
/// where the failed call is handled.
pub fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => tracing::warn!(target: "librdkafka", facility, "{message}"),
        // Its warnings are about what it tries again by itself.
        RDKafkaLogLevel::Warning
        | RDKafkaLogLevel::Notice
        | RDKafkaLogLevel::Info
        | RDKafkaLogLevel::Debug => {
            tracing::debug!(target: "librdkafka", facility, "{message}");
        }
    }
}

/// A client-wide error event of librdkafka.
pub fn log_error(error: &KafkaError, reason: &str) {
    let is_ordinary = matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::PartitionEOF
        )
    );
    if is_ordinary {
        // The end of a partition is asked for; a lost connection is in a log line as well, and every client
        // says for itself that all brokers are down.
        tracing::debug!(target: "librdkafka", %error, "{reason}");
    } else {
        tracing::warn!(target: "librdkafka", %error, "{reason}");
    }
}

/// The cluster's own id, and the proof that a broker answers.
///
/// # Errors
/// No broker answered within [`REQUEST_TIMEOUT`], or it has no cluster id (older than Kafka 0.10.1).
pub fn fetch_cluster_id(client: &AdminClient<Context>) -> Result<Arc<str>, KafkaError> {
    client
        .inner()
        .fetch_cluster_id(REQUEST_TIMEOUT)
        .map(Arc::from)
        .ok_or(KafkaError::MetadataFetch(RDKafkaErrorCode::BrokerTransportFailure))
}
