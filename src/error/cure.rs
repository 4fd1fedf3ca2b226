//! The hint of an error: what a person does about a halt, or what ends the wait before a retry.
//!
//! The hint follows the cause: another `bootstrap_servers` does not help a topic without a leader. The log of `run`,
//! `/readyz`, `/status` and `check` all take it from here.

use super::Error;
use super::primary::{WAIT_FOR_REPLICA, binlog_cure, server_cure};
use crate::binlog::start;
use crate::fate::Fate;
use crate::preflight;
use crate::tasks::PANICKED_HINT;
use crate::telemetry::{Causes, Reason};

impl Error {
    /// The reason why the relay does not relay, and the hint.
    pub fn reason(&self) -> Reason {
        Reason { words: Causes(self).to_string(), hint: self.hint() }
    }

    /// What a person can do about a halt or a retried error.
    pub fn hint(&self) -> Option<String> {
        match self.fate() {
            Fate::Halt { hint } => Some(hint),
            Fate::Retry => self.cure(),
            Fate::MaybeTakenOver => Some(
                "nothing: the relay finds out whether another one has taken over; if this comes again and again, two \
                 relays of one name run"
                    .to_owned(),
            ),
            Fate::TakenOver => None,
        }
    }

    /// What ends the wait before a retry; `None` if a person can do nothing.
    fn cure(&self) -> Option<String> {
        let spoken = |cure: Option<&'static str>| cure.map(str::to_owned);
        match self {
            Error::Binlog { source, .. } => binlog_cure(source),
            Error::Preflight { source: preflight::mysql::Error::Server(source), .. } => {
                server_cure(source)
            }
            Error::Start { source: start::Error::NotApplied { .. }, .. } => {
                spoken(Some(WAIT_FOR_REPLICA))
            }
            Error::Sink(error) => error.hint.clone(),
            Error::SmallerBatches { .. } | Error::OneByOne { .. } => {
                Some("nothing: the relay goes on at once".to_owned())
            }
            Error::OwnerWrites { .. } => {
                spoken(Some("stop one of the two relays: they have one checkpoint_key"))
            }
            Error::Task(_) => spoken(Some(PANICKED_HINT)),
            Error::OfOneTransaction { source, .. } => source.cure(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::{self, server};

    fn refused_by_mysql(code: u16, message: &str) -> Error {
        let (message, state) = (message.to_owned(), "HY000".to_owned());
        let source = mysql_async::ServerError { code, message, state };
        let source = server::Error::MySql(mysql_async::Error::Server(source));
        Error::Binlog { server: "db:3306".to_owned(), source: source.into() }
    }

    #[test]
    fn no_error_of_a_mysql_server_is_without_a_hint() {
        for code in 1000..5000 {
            let error = refused_by_mysql(code, "");
            if let Fate::Retry | Fate::Halt { .. } = error.fate() {
                assert!(error.hint().is_some(), "{code}");
            }
        }
    }

    #[test]
    fn mysql_numbers_that_do_not_heal_say_so_and_others_are_waited_for_with_their_own_hint() {
        for (code, message, words) in [
            (1040, "Too many connections", "max_connections"),
            (1203, "User relay already has more than …", "MAX_USER_CONNECTIONS"),
            (1226, "User 'relay' has exceeded the 'max_user_connections' resource", "MAX_USER"),
            (1226, "User 'relay' has exceeded the 'max_queries_per_hour' resource", "hour"),
            (1047, "WSREP has not yet prepared node for application use", "cluster"),
            (1184, "Aborted connection 8 to db (init_connect command failed)", "does not heal"),
            (1047, "Unknown command", "does not heal"),
            (1193, "Unknown system variable", "does not heal"),
            (1290, "The MySQL server is running with the --read-only option", "does not heal"),
            (1042, "Can't get hostname for your address", "does not heal"),
            (1043, "Bad handshake", "does not heal"),
            (1041, "Out of memory", "memory"),
            (1053, "Server shutdown in progress", "start the server"),
            (3032, "The server is currently in offline mode", "offline_mode"),
            (4999, "Something new", "error 4999"),
        ] {
            let error = refused_by_mysql(code, message);
            assert_eq!(error.fate(), Fate::Retry, "{code}");
            let hint = error.hint().unwrap();
            assert!(hint.contains(words), "{code}: {hint}");
        }
        for (code, words) in [
            (1129, "host_cache"),
            (1130, "for this machine"),
            (1251, "caching_sha2_password"),
            (1524, "caching_sha2_password"),
            (1820, "new password"),
            (1862, "new password"),
            (3118, "ACCOUNT UNLOCK"),
            (3955, "ACCOUNT UNLOCK"),
        ] {
            match refused_by_mysql(code, "").fate() {
                Fate::Halt { hint } => assert!(hint.contains(words), "{code}: {hint}"),
                fate => panic!("{code}: {fate:?}"),
            }
        }
    }

    #[test]
    fn a_lost_connection_has_the_hint_of_how_it_was_lost() {
        let lost = |kind, words: &str| {
            let error = std::io::Error::new(kind, words.to_owned());
            let error = mysql_async::Error::Io(mysql_async::IoError::Io(error));
            let after = "b.000001:4".parse().unwrap();
            let source = binlog::Error::Stream { after, error };
            Error::Binlog { server: "db:3306".to_owned(), source }.hint().unwrap()
        };
        use std::io::ErrorKind as K;
        assert!(lost(K::ConnectionRefused, "Connection refused").starts_with("start the server"));
        assert!(lost(K::ConnectionReset, "reset by peer").contains("while the server restarts"));
        assert!(lost(K::HostUnreachable, "No route to host").contains("network"));
        let unknown = lost(K::Other, "failed to lookup address information: Name not known");
        assert!(unknown.contains("name service"), "{unknown}");
    }
}
