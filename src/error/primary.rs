//! The fate of each error at the MySQL end: the server, the stream, the position in it, and the requirements.

use mysql_async::{DriverError, IoError};

use super::mysql_codes::{Meaning, meaning, refusal};
use super::{Error, OTHER_HISTORY, look_at_binlog, secret_fate};
use crate::binlog::{self, RowChange, server, start, table, transaction};
use crate::coordinates::Coordinates;
use crate::fate::{Fate, halt};
use crate::preflight;

/// The number of every error with which the server ends a dump.
const DUMP_REFUSED: u16 = 1236;

const CONNECTION_ENDED: &str = "nothing while the server restarts; if it lasts, start it, look into its error log, or see \
     whether a proxy or a firewall ends connections";

const DUMP_LOOKED_AT: &str =
    "nothing: the relay looks which binlogs the server has; where the same comes again, it halts";

/// The hint while a replica still applies.
pub(super) const WAIT_FOR_REPLICA: &str = "let the server apply what it has received (SHOW REPLICA STATUS); where that \
     cannot come, point the relay at a server that has it";

pub(super) fn binlog_fate(error: &binlog::Error) -> Fate {
    use binlog::Error as E;
    match error {
        E::Server(error) => server_fate(error),
        E::Start(error) => start_fate(error),
        E::Transaction(error) => transaction_fate(error),
        // An error of TLS or the protocol in mid-stream is about the connection, not about the configuration.
        E::Stream { error: mysql_async::Error::Server(error), .. } => mysql_server_fate(error),
        E::Stream { .. } => Fate::Retry,
        E::Ended { .. } | E::Silent { .. } => Fate::Retry,
        // Damage in transit heals when the event is read again. Damage in the file does not, and the second time is a
        // halt.
        E::Checksum { .. } => Fate::Retry,
        E::TableMap { source: table::Error::UnknownType { .. }, .. } => halt(
            "a newer relay may know the type; until then, keep such columns out of outbox tables",
        ),
        E::TableMap { at, .. } | E::Rows { at, .. } => halt(look_at_binlog(at)),
        E::ColumnRights { table, account, .. } => {
            halt(format!("GRANT SELECT ON {table} TO {account}"))
        }
        E::NoTableMap { .. } => halt(
            "the relay began inside a statement; begin at the start of a transaction, as SHOW BINLOG EVENTS names \
             it, with `binlog-relay checkpoint set --to …`",
        ),
        E::Columns { table, .. } => halt(format!(
            "SET GLOBAL binlog_row_metadata = 'FULL' (MySQL 8.0 and later), so that rows name their own columns; \
             {table} was altered after these rows were written"
        )),
        E::Refused { change, .. } => halt(format!(
            "only inserted rows are relayed: find out who changes the table, and relay what has changed by inserting it; \
             or set {} = \"ignore\" in this table's [[outbox]]; everything before that transaction is in Kafka",
            match change {
                RowChange::Update => "on_update",
                RowChange::Delete => "on_delete",
            }
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
        E::UnclearStatement { at, .. } => halt(format!(
            "look at it with SHOW BINLOG EVENTS or mysqlbinlog ({at} is its end): if it added rows to the table, insert \
             them again; the relay can only be sure of what it can read"
        )),
        E::PartialRollback { .. } => halt(
            "do not mix tables without transactions and outbox tables in one transaction with savepoints",
        ),
        E::Incident { .. } => halt(
            "look into the server's error log: events before that position may be missing; compare topics and \
                 table, then go on behind it with `binlog-relay checkpoint set --to` the next file",
        ),
        E::OtherFile { .. } => halt(OTHER_HISTORY),
        E::UnknownEvent { .. } => halt("a newer relay may know the event"),
        E::StartBeyondEnd { .. } => halt(
            "begin at a position that is in the binlog, with `binlog-relay checkpoint set --to …`",
        ),
        E::Unfinished { at, .. } | E::DamagedPayload { at } | E::Damaged { at, .. } => {
            halt(look_at_binlog(at))
        }
    }
}

pub(super) fn start_fate(error: &start::Error) -> Fate {
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
        E::NoGtidSet { .. } => halt(
            "point the relay at that server, if it is still there: a long GTID set is left out of most checkpoints; \
             else begin on this one with `binlog-relay checkpoint set --to` the GTID set of an earlier record of the \
             checkpoint topic (gtidSet): what came after that one is relayed again",
        ),
        E::NotApplied { .. } => Fate::Retry,
        E::NoBinlog => halt("start mysqld with --log-bin"),
    }
}

/// The same for a configured start: nothing is stored yet, so another one can be configured.
pub(super) fn start_from_fate(error: &start::Error) -> Fate {
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
            "set [mysql] start_from = \"earliest\", \"latest\" or a position that the server has: SHOW BINARY LOGS \
             lists its files, SHOW BINLOG EVENTS where events begin",
        ),
    }
}

/// The same for a position on the command line.
pub(super) fn to_fate(error: &start::Error) -> Fate {
    use start::Error as E;
    match error {
        E::Server(_) | E::NoBinlog => start_fate(error),
        E::PurgedGtids { .. } | E::Diverged { .. } => halt(
            "nothing was changed: name GTIDs that this server has executed and still has in its binlogs (SELECT \
             @@GLOBAL.gtid_executed, @@GLOBAL.gtid_purged), or earliest, latest or a position",
        ),
        _ => halt(
            "nothing was changed: name earliest, latest or a position that the server has: SHOW BINARY LOGS lists its \
             files, SHOW BINLOG EVENTS where events begin",
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
        // It is always one of ours.
        server::Error::Password(error) => error.downcast_ref().map_or(Fate::Retry, secret_fate),
        server::Error::Tls(error) if error.is_transient() => Fate::Retry,
        server::Error::Tls(error) => halt(error.hint()),
        server::Error::UnexpectedAnswer { .. } => {
            halt("the server may be of a kind that this version does not know")
        }
    }
}

/// The hint while the server is away.
pub(super) fn server_cure(error: &server::Error) -> Option<String> {
    match error {
        server::Error::MySql(error) => mysql_cure(error),
        server::Error::Timeout { .. } => Some(
            "see what keeps the server (SHOW PROCESSLIST), and whether a firewall drops what goes there; or correct \
             [mysql] hosts"
                .to_owned(),
        ),
        server::Error::OtherServer { .. } => Some(
            "nothing after a failover; if it comes again and again, name one server in [mysql] hosts instead of a \
             balancer"
                .to_owned(),
        ),
        _ => None,
    }
}

fn mysql_cure(error: &mysql_async::Error) -> Option<String> {
    match error {
        mysql_async::Error::Server(error) => server_code_cure(error),
        mysql_async::Error::Io(IoError::Io(error)) => Some(connection_cure(error).to_owned()),
        _ => Some(CONNECTION_ENDED.to_owned()),
    }
}

fn server_code_cure(error: &mysql_async::ServerError) -> Option<String> {
    match meaning(error.code, &error.message) {
        Meaning::Passes(hint) => Some(hint.to_owned()),
        Meaning::Lasts(hint) => Some(format!("this does not heal by waiting: {hint}")),
        Meaning::Unknown => Some(format!(
            "the relay tries again until the server lets it; look up error {} in MySQL's reference if it lasts",
            error.code
        )),
        Meaning::Refuses(_) | Meaning::Halts(_) => None,
    }
}

/// By the error of the operating system about a connection.
fn connection_cure(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind as K;
    match error.kind() {
        K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe | K::UnexpectedEof => {
            CONNECTION_ENDED
        }
        K::HostUnreachable | K::NetworkUnreachable | K::NetworkDown => {
            "mend the network between the relay and the server, or correct [mysql] hosts"
        }
        K::TimedOut => "start the server, or see whether a firewall drops what goes there",
        _ if error.to_string().contains("lookup address") => {
            "correct the name in [mysql] hosts, or mend the name service"
        }
        _ => "start the server, or correct [mysql] hosts",
    }
}

/// The hint after an error of the stream.
pub(super) fn binlog_cure(error: &binlog::Error) -> Option<String> {
    use binlog::Error as E;
    match error {
        E::Server(error) | E::Start(start::Error::Server(error)) => server_cure(error),
        E::Stream { error: mysql_async::Error::Server(error), .. } if error.code == DUMP_REFUSED => {
            Some(DUMP_LOOKED_AT.to_owned())
        }
        E::Stream { error, .. } => mysql_cure(error),
        E::Ended { .. } => Some(CONNECTION_ENDED.to_owned()),
        E::Silent { .. } => Some(
            "nothing, unless it comes again and again: then a firewall or a balancer drops the connection, or the \
             server hangs"
                .to_owned(),
        ),
        E::Checksum { .. } => Some(
            "nothing: the event is read again; if it is damaged again, the relay halts".to_owned(),
        ),
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
        ) => halt(
            "correct [mysql] user, or let its account on the server be IDENTIFIED WITH caching_sha2_password",
        ),
        _ => Fate::Retry,
    }
}

fn mysql_server_fate(error: &mysql_async::ServerError) -> Fate {
    if error.code == DUMP_REFUSED {
        return dump_fate(&error.message);
    }
    match meaning(error.code, &error.message) {
        Meaning::Refuses(hint) | Meaning::Halts(hint) => halt(hint),
        Meaning::Passes(_) | Meaning::Lasts(_) | Meaning::Unknown => Fate::Retry,
    }
}

/// The server ends every dump with error 1236. The text tells the reason, always in English. Each may come from the
/// moment in which a file was rotated, purged or cut off by a crash, so the next session looks again. If the error
/// comes again there, [`hint_of_refusal`] decides.
fn dump_fate(message: &str) -> Fate {
    let says = |text: &str| message.contains(text);
    if says("same server_uuid") || says("same server_id") {
        Fate::MaybeTakenOver
    } else {
        Fate::Retry
    }
}

/// The server cannot read on at a position of its binlog.
pub(super) fn refused_dump(error: &Error) -> Option<(&Coordinates, &str)> {
    match error {
        Error::Binlog {
            source: binlog::Error::Stream { after, error: mysql_async::Error::Server(error) },
            ..
        } if error.code == DUMP_REFUSED && dump_fate(&error.message) == Fate::Retry => {
            Some((after, &error.message))
        }
        _ => None,
    }
}

impl Error {
    /// The position at which the server cannot read on, for instance at the end of a binlog that a crash has cut off.
    pub fn cut_at(&self) -> Option<Coordinates> {
        refused_dump(self).map(|(after, _)| after.clone())
    }

    /// The server is temporarily short of a resource.
    pub fn is_shortage(&self) -> bool {
        refused_dump(self).is_some_and(|(_, message)| message.contains("memory allocation failed"))
    }

    /// The server answers, and refuses the login.
    pub(super) fn is_rejected_login(&self) -> bool {
        let (Error::Binlog { source: binlog::Error::Server(source), .. }
        | Error::Preflight { source: preflight::mysql::Error::Server(source), .. }) = self
        else {
            return false;
        };
        match source {
            server::Error::MySql(mysql_async::Error::Server(error)) => {
                refusal(error.code).is_some()
            }
            server::Error::MySql(error) => mysql_fate(error) != Fate::Retry,
            server::Error::Tls(_) => true,
            _ => false,
        }
    }
}

/// The hint for a dump that the server refuses twice at the same position.
fn hint_of_refusal(message: &str) -> String {
    let says = |text: &str| message.contains(text);
    if says("Could not find first log file") || says("purged") {
        return "the binlog that relaying should go on from is gone: keep binlogs longer (binlog_expire_logs_seconds), \
                and go on without it: `binlog-relay checkpoint set --to earliest`"
            .to_owned();
    }
    "the server cannot send the binlog from that position; its error log says why. Where the rest of that file is lost, go \
     on behind it with `binlog-relay checkpoint set --to` the next file"
        .to_owned()
}

pub(super) fn preflight_fate(error: &preflight::mysql::Error) -> Fate {
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
        E::UpdatesNotLogged { sources, variable } => {
            let replica = if *variable == "log_slave_updates" { "SLAVE" } else { "REPLICA" };
            halt(format!(
                "point [mysql] hosts at {sources}, or start mysqld with --{}=ON; a server that is the primary now \
                 forgets its source by STOP {replica} and RESET {replica} ALL",
                variable.replace('_', "-")
            ))
        }
        E::Filtered { .. } => {
            halt("start mysqld without that option, or give it the outbox's database")
        }
        E::NoTable { .. } => halt("create the table, or correct [[outbox]] table"),
        E::NoBaseTable { .. } => {
            halt("name the table itself in [[outbox]] table, not a view of it")
        }
        E::NoSelect { account, table } | E::NoSelectOnAll { account, table } => {
            halt(format!("GRANT SELECT ON {table} TO {account}"))
        }
        E::Engine { table, .. } => halt(format!("ALTER TABLE {table} ENGINE = InnoDB")),
        E::MissingColumn(_) => {
            halt("give the table the columns of the preset, or [[outbox]] another preset")
        }
    }
}

pub(super) fn hint_of_damage(error: &Error) -> String {
    match error {
        Error::Binlog { source: binlog::Error::Checksum { after }, .. } => format!(
            "the binlog file itself is damaged: look at it with mysqlbinlog --verify-binlog-checksum \
             --start-position={} {}, and go on behind it with `binlog-relay checkpoint set --to` the next file, which \
             leaves out what is between",
            after.offset,
            after.file()
        ),
        error if refused_dump(error).is_some() => {
            refused_dump(error).map(|(_, message)| hint_of_refusal(message)).unwrap_or_default()
        }
        _ => "look at the event with mysqlbinlog, and report what the relay says of it".to_owned(),
    }
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
        ] {
            match fate_of(code, message) {
                Fate::Halt { hint } => assert!(hint.contains(word), "{code}: {hint}"),
                other => panic!("{code}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_dump_that_is_refused_is_tried_again_and_the_second_time_halts_with_a_hint() {
        for (message, word) in [
            ("Could not find first log file name in binary log index file", "--to earliest"),
            (
                "Cannot replicate because the source purged required binary logs.",
                "binlog_expire_logs_seconds",
            ),
            (
                "log event entry exceeded max_allowed_packet; Increase max_allowed_packet",
                "error log",
            ),
            ("binlog truncated in the middle of event; consider out of disk space", "next file"),
            ("Client requested source to start replication from position > file size", "error log"),
            ("could not find next log", "error log"),
            ("a text of a version to come", "error log"),
        ] {
            let error = || {
                let error = mysql_async::Error::Server(mysql_async::ServerError {
                    code: 1236,
                    message: message.to_owned(),
                    state: "HY000".to_owned(),
                });
                let after = "binlog.000007:4711".parse().unwrap();
                let source = binlog::Error::Stream { after, error };
                Error::Binlog { server: "db:3306".to_owned(), source }
            };
            assert_eq!(error().fate(), Fate::Retry, "{message}");
            assert_eq!(error().cut_at().unwrap().to_string(), "binlog.000007:4711");
            match Error::DamagedAgain(Box::new(error())).fate() {
                Fate::Halt { hint } => assert!(hint.contains(word), "{message}: {hint}"),
                other => panic!("{message}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_column_of_a_type_that_is_not_known_is_named_and_a_newer_relay_proposed() {
        let source = table::Error::UnknownType { column: 2, type_code: 243 };
        let at = "binlog.000001:4".parse().unwrap();
        let source = binlog::Error::TableMap { table: "shop.events".to_owned(), at, source };
        let error = Error::Binlog { server: "db:3306".to_owned(), source };
        assert_eq!(
            crate::telemetry::Causes(&error).to_string(),
            "MySQL db:3306: the table map of shop.events that ends at binlog.000001:4 cannot be read: column 3 of \
             the table has the type 243, which this version does not know"
        );
        match error.fate() {
            Fate::Halt { hint } => assert!(hint.contains("newer relay"), "{hint}"),
            other => panic!("{other:?}"),
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
