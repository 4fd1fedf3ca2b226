//! The fate of every error, in one place: it may heal and is tried again, a person must act, or another
//! instance has taken over.

mod way_out;

use mysql_async::DriverError;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

pub use self::way_out::WayOut;
use crate::binlog::{self, row, server, start, transaction};
use crate::coordinates::{Coordinates, Gtid};
use crate::outbox::{Ambiguous, MissingColumn};
use crate::telemetry::metrics::{ErrorKind, Peer};
use crate::{checkpoint, envelope, kafka, preflight, publish, secret, topics};

/// Whatever ends a session of the relay.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("MySQL {server}: {source}")]
    Binlog { server: String, source: binlog::Error },
    #[error("MySQL {server}: cannot begin at {origin}: {source}")]
    Start { server: String, origin: start::Origin, source: start::Error },
    #[error("MySQL {server}: {source}")]
    Preflight { server: String, source: preflight::mysql::Error },
    #[error("Kafka {brokers}: {source}")]
    Kafka { brokers: String, source: kafka::Error },
    #[error("Kafka {brokers}: {source}")]
    Topics { brokers: String, source: topics::Error },
    #[error("Kafka {brokers}: {source}")]
    Publish { brokers: String, source: publish::Error },
    #[error("Kafka {brokers}: {source}")]
    Checkpoint { brokers: String, source: checkpoint::Error },
    #[error(
        "row {number} of {table} in the event that ends at {at} cannot be a record: {source}",
        number = row + 1
    )]
    Row {
        table: String,
        at: Coordinates,
        /// Counted from 0 here, from 1 where people read it.
        row: u64,
        source: envelope::Error,
    },
    #[error(
        "row {number} of {table} in the event that ends at {at} makes a record of {bytes} bytes; the topic \
         {topic} takes {bytes_max} (max.message.bytes)",
        number = row + 1
    )]
    RecordTooLarge {
        table: String,
        at: Coordinates,
        row: u64,
        topic: String,
        bytes: usize,
        bytes_max: usize,
    },
    #[error(transparent)]
    MissingColumn(#[from] MissingColumn),
    #[error(transparent)]
    Ambiguous(#[from] Ambiguous),
    #[error("there is no checkpoint of key {key:?} in {topic}, and no start_from")]
    NoStart { key: String, topic: String },
    #[error(
        "the checkpoint of key {key:?} in {topic}, which this relay wrote, is not there any more"
    )]
    CheckpointGone { key: String, topic: String },
    #[error(
        "the checkpoint was written inside a transaction under another configuration of [[outbox]]"
    )]
    OutboxChanged,
    #[error("the checkpoint was written by idempotent delivery, and not at the end of a drain")]
    UncleanIdempotent,
    #[error(
        "the checkpoint says that {rows_done} rows of the transaction at {at} are in Kafka, but it has fewer"
    )]
    FewerRows { rows_done: u64, at: Coordinates },
    #[error(
        "the transaction at {at} is larger than [batch] allows, and comes before the transaction{} of which the \
         checkpoint says that a part is in Kafka",
        gtid.as_ref().map(|gtid| format!(" {gtid}")).unwrap_or_default()
    )]
    SplitBeforePart { at: Coordinates, gtid: Option<Gtid> },
    #[error("the transaction at {at} was rolled back after a part of it was relayed")]
    RolledBackPart { at: Coordinates },
    #[error(
        "row {number} of {table} in the event that ends at {at} cannot be read: {source}",
        number = row + 1
    )]
    Decode { table: String, at: Coordinates, row: u64, source: row::Error },
    #[error("{0}, also when it is read again")]
    DamagedAgain(Box<Error>),
    #[error(
        "the topic {topic} takes batches of {bytes_max} bytes only; going on with smaller ones"
    )]
    SmallerBatches { topic: String, bytes_max: usize },
    #[error("start the publisher's thread: {0}")]
    Thread(std::io::Error),
    #[error("a task of the relay ended without a word: {0}")]
    Task(String),
    #[error("taken over by instance {instance}, whose last checkpoint is of {recorded_at}")]
    TakenOver { instance: String, recorded_at: String },
    /// A halt over one transaction, with the way out of it.
    #[error("{source}")]
    OfOneTransaction { source: Box<Error>, way_out: WayOut },
    #[error("there is no checkpoint of key {key:?} in {topic}")]
    NoCheckpoint { key: String, topic: String },
    #[error("a relay of the name {name} is running: {whom}")]
    Running { name: String, whom: String },
    #[error("whether a relay of the name {name} is running cannot be told: {source}")]
    NotTold { name: String, source: Box<Error> },
    #[error("nothing was stored: a relay of the name {name} took its transactional ids back")]
    TakenBack { name: String },
    #[error("stored, but what is read back is not it: {is}")]
    NotReadBack { is: String },
    #[error("print what follows from it: {0}")]
    Print(std::io::Error),
}

/// What is to be done about an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It may heal: recover and go on.
    Retry,
    /// A person must act; the hint says how.
    Halt { hint: String },
    /// Somebody else may have this relay's identity: the checkpoint tells.
    MaybeTakenOver,
    /// Somebody else has.
    TakenOver,
}

const OTHER_HISTORY: &str = "the server was restored, reset or replaced: point the relay at the server of the \
     checkpoint, or begin elsewhere on this one with `binlog-relay checkpoint set --to earliest` (or latest, a \
     place, a GTID set)";

fn halt(hint: impl Into<String>) -> Fate {
    Fate::Halt { hint: hint.into() }
}

impl Error {
    pub fn fate(&self) -> Fate {
        match self {
            Error::Binlog { source, .. } => binlog_fate(source),
            Error::Start { origin: start::Origin::Checkpoint(_), source, .. } => start_fate(source),
            Error::Start { source, .. } => start_from_fate(source),
            Error::Preflight { source, .. } => preflight_fate(source),
            Error::Kafka { source, .. } => kafka_fate(source),
            Error::Topics { source, .. } => topics_fate(source),
            Error::Publish { source, .. } => publish_fate(source),
            Error::Checkpoint { source, .. } => checkpoint_fate(source),
            Error::Row { source, .. } => row_fate(&source.problem),
            Error::RecordTooLarge { topic, .. } => halt(format!(
                "raise max.message.bytes of the topic {topic} (and what its consumers fetch), then start the \
                 relay again; everything before that transaction is in Kafka"
            )),
            Error::MissingColumn(_) => {
                halt("give the table the columns of the preset, or [[outbox]] another preset")
            }
            Error::Ambiguous(_) => halt("make the patterns in [[outbox]] exclude each other"),
            Error::NoStart { .. } => halt(
                "set [mysql] start_from = \"earliest\", \"latest\" or a place (or store one with `binlog-relay \
                 checkpoint set --to …`), or the checkpoint_key of the relay to take over from",
            ),
            Error::CheckpointGone { .. } => halt(
                "find out who deleted the record or the topic; a new start begins anew at start_from, or where \
                 `binlog-relay checkpoint set --to …` says: either relays rows again, or leaves some out",
            ),
            Error::OutboxChanged => halt(
                "start once with the configuration of [[outbox]] that was there before, stop the relay with \
                 SIGTERM, then start it with the new one; `binlog-relay checkpoint set --to` the place of that \
                 checkpoint relays the whole transaction again instead, in a new generation",
            ),
            Error::UncleanIdempotent => halt(
                "start the version that wrote it once with delivery = \"idempotent\" and stop it with SIGTERM",
            ),
            Error::SplitBeforePart { .. } => halt(
                "raise [batch] max_records and max_bytes until that transaction fits, and start again",
            ),
            Error::FewerRows { .. } | Error::RolledBackPart { .. } => halt(
                "compare the topics with the table from that transaction on; the relay cannot tell what is right: \
                 say where it goes on with `binlog-relay checkpoint set --to …`",
            ),
            Error::Decode { at, .. } => halt(look_at_binlog(at)),
            Error::DamagedAgain(error) => halt(hint_of_damage(error)),
            Error::SmallerBatches { .. } | Error::Thread(_) | Error::Task(_) => Fate::Retry,
            Error::TakenOver { .. } => Fate::TakenOver,
            Error::OfOneTransaction { source, way_out } => match source.fate() {
                Fate::Halt { hint } => halt(format!("{hint}; {way_out}")),
                fate => fate,
            },
            Error::NoCheckpoint { .. }
            | Error::Running { .. }
            | Error::NotTold { .. }
            | Error::TakenBack { .. }
            | Error::NotReadBack { .. }
            | Error::Print(_) => halt(self.hint_of_command()),
        }
    }

    /// What to do when the place could not be changed.
    fn hint_of_command(&self) -> &'static str {
        match self {
            Error::NoCheckpoint { .. } => {
                "nothing is to be forgotten; check [kafka] checkpoint_topic and checkpoint_key if there should be one"
            }
            Error::Running { .. } => {
                "stop it with SIGTERM and try again; with --force it is fenced instead: after `checkpoint set` it \
                 exits 3, after `checkpoint reset` it halts"
            }
            Error::NotTold { .. } => {
                "try again when MySQL answers, or use --force if you are sure that none is running"
            }
            Error::TakenBack { .. } => "stop the relay with SIGTERM, and try again",
            Error::Print(_) => "nothing was stored; try again with a standard output that takes it",
            _ => "a relay was started meanwhile: stop it with SIGTERM, and try again",
        }
    }

    /// What it is about, as the metric names it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Binlog { source: binlog::Error::Server(_), .. } => ErrorKind::MySql,
            Error::Binlog { .. } | Error::Decode { .. } | Error::DamagedAgain(_) => {
                ErrorKind::Binlog
            }
            Error::Start { .. }
            | Error::Preflight { .. }
            | Error::MissingColumn(_)
            | Error::Ambiguous(_) => ErrorKind::Preflight,
            Error::Row { .. }
            | Error::RecordTooLarge { .. }
            | Error::Publish { source: publish::Error::Refused { .. }, .. } => ErrorKind::Row,
            Error::Kafka { .. } => ErrorKind::Kafka,
            Error::Topics { .. } | Error::SmallerBatches { .. } => ErrorKind::Topic,
            Error::Publish { source: publish::Error::Fenced, .. } | Error::TakenOver { .. } => {
                ErrorKind::Fenced
            }
            Error::Publish { .. } => ErrorKind::Publish,
            Error::OfOneTransaction { source, .. } | Error::NotTold { source, .. } => source.kind(),
            Error::Running { .. } | Error::TakenBack { .. } => ErrorKind::Fenced,
            Error::Checkpoint { .. }
            | Error::NoCheckpoint { .. }
            | Error::NotReadBack { .. }
            | Error::NoStart { .. }
            | Error::CheckpointGone { .. }
            | Error::OutboxChanged
            | Error::UncleanIdempotent
            | Error::FewerRows { .. }
            | Error::SplitBeforePart { .. }
            | Error::RolledBackPart { .. } => ErrorKind::Checkpoint,
            Error::Thread(_) | Error::Task(_) | Error::Print(_) => ErrorKind::Internal,
        }
    }

    /// The end of the line that failed; `None` where it is neither.
    pub fn peer(&self) -> Option<Peer> {
        match self.kind() {
            ErrorKind::MySql | ErrorKind::Binlog | ErrorKind::Preflight => Some(Peer::MySql),
            ErrorKind::Kafka
            | ErrorKind::Topic
            | ErrorKind::Publish
            | ErrorKind::Checkpoint
            | ErrorKind::Fenced => Some(Peer::Kafka),
            ErrorKind::Row | ErrorKind::Internal => None,
        }
    }

    /// What ends the waiting for an error that is tried again; `None` where a person can do nothing, or must
    /// act anyway.
    pub fn cure(&self) -> Option<&'static str> {
        if self.fate() != Fate::Retry {
            return None;
        }
        match self {
            Error::Binlog { source: binlog::Error::Server(source), .. }
            | Error::Preflight { source: preflight::mysql::Error::Server(source), .. } => {
                mysql_cure(source)
            }
            Error::Topics { source: topics::Error::Missing { .. }, .. } => {
                Some("create the topic, or set [kafka] create_topics = true")
            }
            Error::Topics { source: topics::Error::TooFewBrokers { .. }, .. } => {
                Some("start more brokers, or lower [kafka] topic_replication")
            }
            Error::Kafka { .. }
            | Error::Topics { source: topics::Error::LookUp { .. }, .. }
            | Error::Topics { source: topics::Error::Create { .. }, .. }
            | Error::Publish { .. }
            | Error::Checkpoint { .. } => Some(
                "start the brokers, or correct [kafka] bootstrap_servers, and security.protocol and sasl.* under \
                 [kafka.properties]",
            ),
            _ => None,
        }
    }

    /// A broker is there, and does not let us in.
    pub fn is_rejection(&self) -> bool {
        match self {
            Error::Kafka { source, .. }
            | Error::Checkpoint { source: checkpoint::Error::Kafka { source, .. }, .. }
            | Error::Publish { source: publish::Error::Client(source), .. } => {
                matches!(source, kafka::Error::Unreachable(failure) if failure.is_rejection())
            }
            _ => false,
        }
    }

    /// It is about one transaction, and the way to Kafka is open: what came before can be published still.
    pub fn is_of_one_transaction(&self) -> bool {
        match self {
            // Read again, it may be whole; if not, the relay halts behind what comes before it.
            Error::Binlog { source: binlog::Error::Checksum { .. }, .. } => true,
            // Waited for; what comes before need not wait with it.
            Error::Topics {
                source: topics::Error::Missing { .. } | topics::Error::TooFewBrokers { .. },
                ..
            } => true,
            Error::Binlog { .. }
            | Error::Row { .. }
            | Error::Decode { .. }
            | Error::RecordTooLarge { .. }
            | Error::MissingColumn(_)
            | Error::Ambiguous(_)
            | Error::Topics { .. } => matches!(self.fate(), Fate::Halt { .. }),
            _ => false,
        }
    }
}

fn hint_of_damage(error: &Error) -> String {
    match error {
        Error::Binlog { source: binlog::Error::Checksum { after }, .. } => format!(
            "the binlog file itself is damaged: look at it with mysqlbinlog --verify-binlog-checksum \
             --start-position={} {}, and go on behind it with `binlog-relay checkpoint set --to` the next file, which \
             leaves out what is between",
            after.offset,
            after.file()
        ),
        _ => "look at the event with mysqlbinlog, and report what the relay says of it".to_owned(),
    }
}

fn binlog_fate(error: &binlog::Error) -> Fate {
    use binlog::Error as E;
    match error {
        E::Server(error) => server_fate(error),
        E::Start(error) => start_fate(error),
        E::Transaction(error) => transaction_fate(error),
        // What TLS or the protocol say in mid-stream is about the connection, not about the configuration.
        E::Stream { error: mysql_async::Error::Server(error), .. } => mysql_server_fate(error),
        E::Stream { .. } => Fate::Retry,
        E::Ended { .. } | E::Silent { .. } => Fate::Retry,
        // Damage on the way heals by reading again; damage in the file does not, and recovery gives up on it.
        E::Checksum { .. } => Fate::Retry,
        E::TableMap { at, .. } | E::Rows { at, .. } => halt(look_at_binlog(at)),
        E::NoTableMap { .. } => halt(
            "the relay began inside a statement; begin at the start of a transaction, as SHOW BINLOG EVENTS names \
             it, with `binlog-relay checkpoint set --to …`",
        ),
        E::Columns { table, .. } => halt(format!(
            "SET GLOBAL binlog_row_metadata = 'FULL' (MySQL 8.0 and later), so that rows name their own columns; \
             {table} was altered after these rows were written"
        )),
        E::Xa { .. } => halt(
            "XA transactions on outbox tables are not in this version: write events in plain transactions",
        ),
    }
}

fn transaction_fate(error: &transaction::Error) -> Fate {
    use transaction::Error as E;
    match error {
        E::Statement { .. } => halt(
            "a session writes under binlog_format=STATEMENT or MIXED: take the right to change it from the writer, \
             and insert those rows again",
        ),
        E::PartialRollback { .. } => halt(
            "do not mix tables without transactions and outbox tables in one transaction with savepoints",
        ),
        E::Incident { .. } => {
            halt("look into the server's error log: events before that place may be missing")
        }
        E::OtherFile { .. } => halt(OTHER_HISTORY),
        E::UnknownEvent { .. } => halt("a newer relay may know the event"),
        E::StartBeyondEnd { .. } => halt(
            "begin at a place that is in the binlog, with `binlog-relay checkpoint set --to …`",
        ),
        E::Unfinished { at, .. } | E::DamagedPayload { at } | E::Damaged { at, .. } => {
            halt(look_at_binlog(at))
        }
    }
}

fn start_fate(error: &start::Error) -> Fate {
    use start::Error as E;
    match error {
        E::Server(error) => server_fate(error),
        E::Purged { .. } | E::PurgedGtids { .. } => halt(
            "what was written in between can only be read from the outbox table; keep binlogs longer \
             (binlog_expire_logs_seconds), and go on without it: `binlog-relay checkpoint set --to earliest`",
        ),
        E::NoSuchFile { .. }
        | E::BeyondEnd { .. }
        | E::InsideEvent { .. }
        | E::Diverged { .. }
        | E::ServerChanged { .. } => halt(OTHER_HISTORY),
        E::NoBinlog => halt("start mysqld with --log-bin"),
    }
}

/// The same for a start that is configured: nothing is stored yet, and another one can be.
fn start_from_fate(error: &start::Error) -> Fate {
    use start::Error as E;
    match error {
        E::Server(_) | E::NoBinlog => start_fate(error),
        E::PurgedGtids { .. } => halt(
            "what was written in between can only be read from the outbox table; set [mysql] start_from = \
             \"earliest\" to begin with the oldest binlog left",
        ),
        E::Diverged { .. } => halt(
            "set [mysql] start_from to GTIDs of this server (SELECT @@GLOBAL.gtid_executed), or point the relay at \
             the server that has them",
        ),
        _ => halt(
            "set [mysql] start_from = \"earliest\", \"latest\" or a place that the server has: SHOW BINARY LOGS \
             lists its files, SHOW BINLOG EVENTS where events begin",
        ),
    }
}

fn server_fate(error: &server::Error) -> Fate {
    match error {
        server::Error::MySql(error) => mysql_fate(error),
        server::Error::NoRight { account, right } => {
            halt(format!("GRANT {right} ON *.* TO {account}"))
        }
        server::Error::Timeout { .. } | server::Error::OtherServer { .. } => Fate::Retry,
        server::Error::Secret(error) => secret_fate(error),
        server::Error::Tls(error) => halt(error.hint()),
        server::Error::UnexpectedAnswer { .. } => {
            halt("the server may be of a kind that this version does not know")
        }
    }
}

fn mysql_cure(error: &server::Error) -> Option<&'static str> {
    match error {
        server::Error::MySql(mysql_async::Error::Server(_)) => {
            Some("the relay tries again until the server lets it")
        }
        server::Error::MySql(_) | server::Error::Timeout { .. } => {
            Some("start the server, or correct [mysql] hosts")
        }
        _ => None,
    }
}

fn mysql_fate(error: &mysql_async::Error) -> Fate {
    match error {
        mysql_async::Error::Server(error) => mysql_server_fate(error),
        mysql_async::Error::Driver(
            DriverError::UnknownAuthPlugin { .. }
            | DriverError::MysqlOldPasswordDisabled
            | DriverError::CleartextPluginDisabled,
        ) => halt("give the user mysql_native_password, sha256_password or caching_sha2_password"),
        _ => Fate::Retry,
    }
}

/// By the numbers of <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>.
fn mysql_server_fate(error: &mysql_async::ServerError) -> Fate {
    match error.code {
        1044 | 1142 => halt("grant the user SELECT on the outbox tables"),
        1045 | 1130 | 1698 | 1862 | 3118 => halt(
            "correct [mysql] user and password, or the account on the server; one that REQUIREs a certificate \
                 needs cert and key in [mysql.tls]",
        ),
        1227 => halt("grant the user REPLICATION SLAVE and REPLICATION CLIENT, ON *.*"),
        3159 => {
            halt("the server takes encrypted connections only: set [mysql.tls] mode = \"required\"")
        }
        1381 => halt("start mysqld with --log-bin"),
        1236 => dump_fate(&error.message),
        _ => Fate::Retry,
    }
}

/// Error 1236 is every reason for which the server ends a dump; its text tells which.
fn dump_fate(message: &str) -> Fate {
    let says = |text: &str| message.contains(text);
    if says("same server_uuid") || says("same server_id") {
        return Fate::MaybeTakenOver;
    }
    if says("Could not find first log file") || says("purged") {
        return halt(
            "the binlog that relaying should go on from is gone: keep binlogs longer (binlog_expire_logs_seconds), \
             and go on without it: `binlog-relay checkpoint set --to earliest`",
        );
    }
    halt("the server cannot send the binlog from that place; its error log says why")
}

fn preflight_fate(error: &preflight::mysql::Error) -> Fate {
    use preflight::mysql::Error as E;
    match error {
        E::Server(error) => server_fate(error),
        E::MariaDb { .. } | E::OldVersion { .. } => {
            halt("point [mysql] hosts at a MySQL server, 5.7 or later")
        }
        E::ServerIdOfServer { .. } | E::ServerIdTaken { .. } => {
            halt("set [mysql] server_id to one that no server and no other replica there has")
        }
        E::Variable { cure, .. } => halt(*cure),
        E::Filtered { .. } => {
            halt("start mysqld without that option, or give it the outbox's database")
        }
        E::NoTable { .. } => halt("create the table, or correct [[outbox]] table"),
        E::NoBaseTable { .. } => {
            halt("name the table itself in [[outbox]] table, not a view of it")
        }
        E::NoSelect { account, table } => halt(format!("GRANT SELECT ON {table} TO {account}")),
        E::Engine { table, .. } => halt(format!("ALTER TABLE {table} ENGINE = InnoDB")),
        E::MissingColumn(_) => {
            halt("give the table the columns of the preset, or [[outbox]] another preset")
        }
    }
}

fn kafka_fate(error: &kafka::Error) -> Fate {
    match error {
        kafka::Error::Secret(error) => secret_fate(error),
        kafka::Error::Property { .. } => halt("correct [kafka.properties]"),
        kafka::Error::Unreachable(failure) if failure.is_rejection() => halt(failure.hint()),
        kafka::Error::Unreachable(_) => Fate::Retry,
        kafka::Error::Kafka(error) => client_fate(error),
    }
}

fn client_fate(error: &KafkaError) -> Fate {
    match error {
        KafkaError::ClientCreation(_) => halt("correct [kafka] and [kafka.properties]"),
        error => code_of(error).map_or(Fate::Retry, code_fate),
    }
}

fn code_of(error: &KafkaError) -> Option<Code> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        error => error.rdkafka_error_code(),
    }
}

fn grant(operations: &str, resource: &str) -> Fate {
    halt(format!("grant the relay's principal {operations} on {resource}"))
}

fn code_fate(code: Code) -> Fate {
    match code {
        Code::TopicAuthorizationFailed => halt(
            "grant the relay's principal Describe, Create and Write on the topic, and Read on the \
             checkpoint topic",
        ),
        Code::ClusterAuthorizationFailed => {
            halt("grant the relay's principal Create on the cluster or the topics")
        }
        Code::TransactionalIdAuthorizationFailed => {
            halt("grant the relay's principal Write and Describe on its transactional ids")
        }
        Code::InvalidTransactionTimeout => halt(
            "lower [kafka] transaction_timeout, or raise transaction.max.timeout.ms of the brokers",
        ),
        Code::InvalidTopic => halt(
            "the name is illegal, or another topic's but for . and _: correct the writer, or delete that topic",
        ),
        Code::InvalidTimestamp => halt("correct the clock of the relay's machine"),
        Code::InvalidRecord => halt("the broker's log says what is wrong with the record"),
        Code::InvalidPartitions | Code::InvalidConfig | Code::PolicyViolation => halt(
            "correct [kafka] topic_partitions and topic_replication, or create the topic by hand",
        ),
        Code::UnsupportedVersion => halt("the brokers are too old: Kafka 2.4 or later is needed"),
        _ => Fate::Retry,
    }
}

fn topics_fate(error: &topics::Error) -> Fate {
    match error {
        topics::Error::LookUp { topic, source } => match code_of(source) {
            Some(Code::TopicAuthorizationFailed) => {
                grant("Describe, Create, Write and DescribeConfigs", &format!("the topic {topic}"))
            }
            _ => client_fate(source),
        },
        topics::Error::Create { topic, source } => match code_of(source) {
            Some(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed) => {
                halt(format!(
                    "grant the relay's principal Create on the topic {topic} or on the cluster, or create the \
                     topic by hand"
                ))
            }
            _ => client_fate(source),
        },
        // Waited for: the topic may come, and a broker that has just started is not counted for a moment.
        topics::Error::Missing { .. }
        | topics::Error::NotVisible { .. }
        | topics::Error::TooFewBrokers { .. } => Fate::Retry,
        topics::Error::NoRight { .. } => code_fate(Code::TopicAuthorizationFailed),
        topics::Error::TooFewReplicas { topic, .. } => halt(format!(
            "lower min.insync.replicas of the topic {topic}, or give it more replicas \
             (kafka-reassign-partitions.sh), then start the relay again"
        )),
    }
}

fn publish_fate(error: &publish::Error) -> Fate {
    match error {
        publish::Error::Client(error) => kafka_fate(error),
        publish::Error::Kafka { source, .. } => client_fate(source),
        publish::Error::Initialise { id, source } => match source.rdkafka_error_code() {
            Some(Code::TransactionalIdAuthorizationFailed) => {
                let name = id.rsplit_once('-').map_or(id.as_str(), |(name, _)| name);
                grant("Write", &format!("the transactional ids {name}-0 to {name}-3"))
            }
            _ => client_fate(source),
        },
        publish::Error::Denied { topic, .. } => grant("Write", &format!("the topic {topic}")),
        publish::Error::NotAcknowledged { .. } | publish::Error::NoCoordinator { .. } => {
            Fate::Retry
        }
        publish::Error::Fenced => Fate::MaybeTakenOver,
        publish::Error::Refused { topic, source, .. } => match source.rdkafka_error_code() {
            Some(Code::MessageSizeTooLarge) | None => halt(format!(
                "raise max.message.bytes of the topic {topic}, or grant the relay DescribeConfigs on it so that \
                 it can say which row is too large"
            )),
            Some(code) => code_fate(code),
        },
        publish::Error::ThreadEnded => Fate::Retry,
    }
}

fn checkpoint_fate(error: &checkpoint::Error) -> Fate {
    match error {
        checkpoint::Error::Kafka { topic, source: kafka::Error::Kafka(error) }
            if error.rdkafka_error_code() == Some(Code::TopicAuthorizationFailed) =>
        {
            grant("Read and Describe", &format!("the checkpoint topic {topic}"))
        }
        checkpoint::Error::Kafka { source, .. } => kafka_fate(source),
        checkpoint::Error::NoTopic { .. }
        | checkpoint::Error::Timeout { .. }
        | checkpoint::Error::HeldBack { .. } => Fate::Retry,
        checkpoint::Error::Unreadable { .. } => halt(
            "find out who wrote the record; `binlog-relay checkpoint set --to …` stores one that counts instead",
        ),
    }
}

fn row_fate(problem: &envelope::Problem) -> Fate {
    let mend = match problem {
        envelope::Problem::NotLogged => {
            "SET GLOBAL binlog_row_image = 'FULL', and reconnect the writers"
        }
        envelope::Problem::NoOutboxId => "set outbox_id in this table's [[outbox]]",
        _ => "correct the writer; the row itself stands in the binlog as it is",
    };
    halt(format!(
        "{mend}; everything before that transaction is in Kafka, and the checkpoint stands before it"
    ))
}

fn secret_fate(error: &secret::Error) -> Fate {
    halt(error.hint())
}

fn look_at_binlog(at: &Coordinates) -> String {
    format!("look at the event with mysqlbinlog --stop-position={} {}", at.offset, at.file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fate_of(code: u16, message: &str) -> Fate {
        let source = mysql_async::ServerError {
            code,
            message: message.to_owned(),
            state: "HY000".to_owned(),
        };
        let source = server::Error::MySql(mysql_async::Error::Server(source));
        Error::Binlog { server: "db:3306".to_owned(), source: source.into() }.fate()
    }

    #[test]
    fn a_server_that_is_busy_or_stops_is_waited_for() {
        for (code, message) in [
            (1040, "Too many connections"),
            (1053, "Server shutdown in progress"),
            (1205, "Lock wait timeout exceeded; try restarting transaction"),
            (3032, "The server is currently in offline mode"),
        ] {
            assert_eq!(fate_of(code, message), Fate::Retry, "{code}");
        }
    }

    #[test]
    fn what_a_person_must_change_halts_with_a_hint_that_names_it() {
        for (code, message, word) in [
            (1045, "Access denied for user 'relay'@'db' (using password: YES)", "password"),
            (1142, "SELECT command denied to user 'relay'@'db' for table 'events'", "SELECT"),
            (
                1227,
                "Access denied; you need (at least one of) the SUPER, REPLICATION CLIENT privilege(s)",
                "REPLICATION",
            ),
            (3159, "Connections using insecure transport are prohibited", "tls"),
            (1236, "Could not find first log file name in binary log index file", "--to earliest"),
            (
                1236,
                "Cannot replicate because the source purged required binary logs.",
                "binlog_expire_logs_seconds",
            ),
            (1236, "log event entry exceeded max_allowed_packet", "error log"),
        ] {
            match fate_of(code, message) {
                Fate::Halt { hint } => assert!(hint.contains(word), "{code}: {hint}"),
                other => panic!("{code}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_dump_that_another_replica_of_our_name_ended_may_be_a_takeover() {
        for message in [
            "A slave with the same server_uuid/server_id as this slave has connected to the master; the first \
             event 'binlog.000001' at 4",
            "A replica with the same server_uuid/server_id as this replica has connected to the source; the \
             first event '' at 4",
        ] {
            assert_eq!(fate_of(1236, message), Fate::MaybeTakenOver);
        }
    }
}
