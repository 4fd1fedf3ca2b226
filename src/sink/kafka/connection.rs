//! What all Kafka clients of the relay share: addresses, security, and where their log lines go.

mod admin;
mod authorized;
pub(crate) mod early;
mod failure;
pub(crate) mod token;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaConfRes;

pub use self::admin::Admin;
pub use self::authorized::{Authorized, Operation, authorized};
pub use self::early::Early;
pub use self::failure::{Failure, LastFailure};
use super::reader::LastEnd;
use crate::secret::{self, Secret};
use crate::tasks;

/// How to reach the brokers.
#[derive(Debug, Clone)]
pub struct KafkaOptions {
    /// `host:port`, several separated by commas.
    pub bootstrap_servers: String,
    /// librdkafka properties of the user, none of which the delivery guarantees rest on.
    pub properties: BTreeMap<String, Secret>,
}

/// librdkafka's default of `topic.metadata.refresh.interval.ms`.
const METADATA_REFRESH_INTERVAL: Duration = Duration::from_secs(300);

/// How long one request to a broker may take before it counts as failed. librdkafka's own default for
/// `socket.timeout.ms` is 60 s, which is too long to find out that a broker is gone.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// If the first answer takes longer than this, use a client that can also tell why.
const FIRST_ANSWER: Duration = Duration::from_secs(1);

/// How long to retry a refused login. The broker may still be starting, or another one may let us in.
const REJECTION_PATIENCE: Duration = Duration::from_secs(3);

/// How long a client's queue must be empty before we stop reading. Its threads may be about to report more.
const QUEUE_PAUSE: Duration = Duration::from_millis(50);

// The brokers' addresses, and our user there.
impl fmt::Display for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.bootstrap_servers)?;
        match self.properties.get("sasl.username").map(Secret::reveal) {
            Some(Ok(user)) => write!(f, " as {user}"),
            _ => Ok(()),
        }
    }
}

impl KafkaOptions {
    /// How often librdkafka refreshes its metadata; `None`: never.
    pub fn metadata_refresh_interval(&self) -> Option<Duration> {
        let given = self.properties.get("topic.metadata.refresh.interval.ms");
        let millis = given.and_then(|given| given.reveal().ok()?.parse::<i64>().ok());
        match millis {
            None => Some(METADATA_REFRESH_INTERVAL),
            Some(millis) => u64::try_from(millis).ok().map(Duration::from_millis),
        }
    }

    /// A client configuration with what all clients share. Each user of it adds its own.
    ///
    /// # Errors
    /// A secret that cannot be read any more.
    pub fn client_config(&self, client_id: &str) -> Result<ClientConfig, secret::Error> {
        let mut config = ClientConfig::new();
        let level = if tracing::enabled!(target: "librdkafka", tracing::Level::DEBUG) {
            RDKafkaLogLevel::Debug
        } else {
            // At this level librdkafka reports connections that a broker ends.
            RDKafkaLogLevel::Info
        };
        // librdkafka waits for half of this time before it chooses a broker to connect to. With its default, every new
        // client would wait for 50 ms. The time doubles up to `reconnect.backoff.max.ms`.
        config.set("reconnect.backoff.ms", "20");
        for (name, value) in &self.properties {
            config.set(name, value.reveal()?);
        }
        config
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("client.id", client_id)
            // A look-up must not create a topic. By default a producer's does, if the brokers allow it.
            .set("allow.auto.create.topics", "false")
            .set_log_level(level);
        Ok(config)
    }

    /// Checks the user's properties with librdkafka.
    ///
    /// # Errors
    /// The first one that it does not know, or whose value it does not take.
    pub fn validate(&self) -> Result<(), ClientError> {
        let config = self.client_config("validate")?;
        config.create_native_config().map(drop).map_err(ClientError::from)
    }

    /// An admin client, for topics and their configuration.
    ///
    /// # Errors
    /// A secret that cannot be read, or a property that librdkafka refuses.
    pub fn admin_client(&self, client_id: &str) -> Result<Admin, ClientError> {
        Admin::new(&self.client_config(client_id)?)
    }

    /// Whether clients log in with tokens. They ask us for one, and get it only while their events are read.
    pub fn uses_tokens(&self) -> bool {
        let mechanism = |name| self.properties.get(name).and_then(|value| value.reveal().ok());
        let mechanism = mechanism("sasl.mechanism").or_else(|| mechanism("sasl.mechanisms"));
        mechanism.is_some_and(|mechanism| mechanism.eq_ignore_ascii_case("OAUTHBEARER"))
    }

    /// An admin client that a broker has answered, and the cluster's own id.
    ///
    /// # Errors
    /// No broker answered within [`REQUEST_TIMEOUT`]: the reason, where librdkafka told one. A cluster without
    /// an id (older than Kafka 0.10.1).
    pub fn connect(&self, client_id: &str) -> Result<(Admin, Arc<str>), ClientError> {
        let admin = self.admin_client(client_id)?;
        let cluster_id = match admin.inner().fetch_cluster_id(FIRST_ANSWER) {
            Some(id) => id,
            // A consumer tells more about the reason.
            None => {
                await_cluster_id(&create(&self.client_config(client_id)?, Context::default())?)?
            }
        };
        Ok((admin, Arc::from(cluster_id)))
    }
}

fn await_cluster_id(client: &BaseConsumer<Context>) -> Result<String, ClientError> {
    let since = Instant::now();
    let mut rejected_at = None;
    while since.elapsed() < REQUEST_TIMEOUT {
        if let Some(id) = client.client().fetch_cluster_id(FIRST_ANSWER) {
            return Ok(id);
        }
        read_events(client);
        if client.client().context().failure.get().is_some_and(|failure| failure.is_rejection()) {
            let rejected_at = rejected_at.get_or_insert_with(Instant::now);
            if rejected_at.elapsed() > REJECTION_PATIENCE {
                break;
            }
        }
    }
    Err(explain(client, KafkaError::MetadataFetch(RDKafkaErrorCode::BrokerTransportFailure)))
}

/// The error of a consumer's call, or the connection failure behind it.
pub fn explain(client: &BaseConsumer<Context>, error: KafkaError) -> ClientError {
    read_events(client);
    ClientError::of_client(&client.client().context().failure, error)
}

fn read_events(client: &BaseConsumer<Context>) {
    while let Some(Err(_)) = client.poll(QUEUE_PAUSE) {}
}

/// Drops clients in the background, since that takes up to 100 ms.
pub fn end(clients: impl Send + 'static) {
    if let Err(error) = tasks::spawn_thread("client end", move || drop(clients)) {
        tracing::debug!(%error, "there is no thread to end clients on");
    }
}

/// Makes a client of any kind.
///
/// # Errors
/// librdkafka refuses the configuration.
pub fn create<C, T>(config: &ClientConfig, context: C) -> Result<T, ClientError>
where
    C: ClientContext,
    T: FromClientConfigAndContext<C>,
{
    T::from_config_and_context(config, context).map_err(ClientError::from)
}

/// Why a client could not be made or asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    Secret(#[from] secret::Error),
    /// librdkafka's own words would repeat the value, which may be a secret.
    #[error("[kafka.properties] {name}: {problem}")]
    Property { name: String, problem: &'static str },
    #[error("start a thread for the events of librdkafka: {0}")]
    Thread(std::io::Error),
    #[error("{0}")]
    Unreachable(Failure),
    #[error("{}", spoken(.0))]
    Kafka(KafkaError),
}

impl ClientError {
    /// A broker answers, and refuses us.
    #[must_use]
    pub fn is_rejection(&self) -> bool {
        matches!(self, ClientError::Unreachable(failure) if failure.is_rejection())
    }

    /// The error of a call, or the connection failure behind it.
    pub fn of_client(last: &LastFailure, error: KafkaError) -> ClientError {
        match last.get() {
            Some(failure) if is_about_a_connection(&error) => ClientError::Unreachable(failure),
            _ => error.into(),
        }
    }
}

/// The call failed because no broker could be asked, or none answered.
pub fn is_about_a_connection(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::SSL
                | RDKafkaErrorCode::OperationTimedOut
        )
    )
}

/// Plain words for librdkafka's errors about brokers that do not answer.
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

impl From<KafkaError> for ClientError {
    fn from(error: KafkaError) -> ClientError {
        match error {
            KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, _, name, _) => {
                ClientError::Property { name, problem: "librdkafka knows no such property" }
            }
            KafkaError::ClientConfig(_, _, name, _) => {
                ClientError::Property { name, problem: "librdkafka does not take that value" }
            }
            error => ClientError::Kafka(error),
        }
    }
}

/// Writes librdkafka's log lines to the relay's log, at levels that suit a client that must expect brokers to come and
/// go. Keeps the reason why it could not connect.
#[derive(Debug, Default)]
pub struct Context {
    failure: LastFailure,
    pub(super) end: LastEnd,
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(
        &self,
        config: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        Ok(token::generate(config)?)
    }

    /// The statistics of `statistics.interval.ms`, which nobody reads.
    fn stats_raw(&self, _: &[u8]) {}

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
        self.failure.note_log(facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
        self.failure.note(&error, reason);
        self.end.note(&error, reason);
    }
}

impl ConsumerContext for Context {}

/// One log line of librdkafka. Its errors are at most warnings here. What they mean for the data is logged where the
/// failed call is handled.
pub fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => tracing::warn!(target: "librdkafka", facility, "{message}"),
        // librdkafka warns of what it retries by itself.
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
                | RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::SSL
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::PartitionEOF
        )
    );
    if is_ordinary {
        // We ask for the end of a partition, and use no consumer group. A failed connection has a log line of its own.
        // Every client reports that all brokers are down.
        tracing::debug!(target: "librdkafka", %error, "{reason}");
    } else {
        tracing::warn!(target: "librdkafka", %error, "{reason}");
    }
}
