//! What the error numbers of a MySQL server mean to the relay: they pass, they last until a person acts, or they are a
//! halt. The list is complete for a client that connects, logs in and asks.
//!
//! Numbers and texts are those of
//! <https://dev.mysql.com/doc/mysql-errors/9.7/en/server-error-reference.html>. A number that is not here is
//! retried: a server may send any, and most pass.

/// The consequence of an error of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It passes by itself. The hint is for the case that it does not.
    Passes(&'static str),
    /// Waiting does not heal it, but the server may be changing its state, or a proxy may lead to the wrong one. So it
    /// is retried, with this hint.
    Lasts(&'static str),
    /// The server refuses this account until a person has changed something.
    Refuses(&'static str),
    /// A person must act.
    Halts(&'static str),
    /// Unknown.
    Unknown,
}

const OTHER_PLUGIN: &str = "let the account on the server be IDENTIFIED WITH caching_sha2_password (before 8.0: \
     mysql_native_password), or correct [mysql] user";
const NEW_PASSWORD: &str = "give the account a new password (ALTER USER … IDENTIFIED BY '…' PASSWORD EXPIRE NEVER), and \
     write it to [mysql] password";
const UNLOCK: &str = "ALTER USER … ACCOUNT UNLOCK for the account on the server; if failed logins locked it, correct \
     [mysql] password first";
const MEMORY: &str =
    "the server lacks memory or threads: free some on its machine, or lower max_connections";
const SESSIONS: &str = "end sessions of the account, or raise its MAX_USER_CONNECTIONS (or max_user_connections): the \
     relay holds 2 connections, with [http] 3, and for a moment as many again when it reconnects";
const NETWORK: &str =
    "nothing, unless it comes again and again: then look at the network, and at proxies on the way";
const NOT_ITSELF: &str = "name the MySQL server itself in [mysql] hosts: what answers there does not know what every \
     server from 5.7 on knows, as a proxy does";

/// The meaning of an error of the server.
pub(super) fn meaning(code: u16, message: &str) -> Meaning {
    let refused = refusal(code).map(Meaning::Refuses);
    let meaning = refused
        .or_else(|| halt(code).map(Meaning::Halts))
        .or_else(|| last(code, message).map(Meaning::Lasts))
        .or_else(|| pass(code, message).map(Meaning::Passes));
    meaning.unwrap_or(Meaning::Unknown)
}

/// What a person does about an account that the server refuses.
pub(super) fn refusal(code: u16) -> Option<&'static str> {
    Some(match code {
        1045 | 1698 => {
            "correct [mysql] user and password, or the account on the server; one that REQUIREs a certificate \
             needs cert and key in [mysql.tls]"
        }
        1129 => {
            "TRUNCATE TABLE performance_schema.host_cache on the server (or mysqladmin flush-hosts), and find out \
             what interrupts connections from this machine: max_connect_errors says how many are forgiven"
        }
        1130 => {
            "let an account on the server be for this machine (CREATE USER …@'%' …), or correct [mysql] user"
        }
        1251 | 1275 | 1524 | 4055 => OTHER_PLUGIN,
        1820 | 1862 => NEW_PASSWORD,
        // 4151 is MariaDB's.
        3118 | 3955 | 4151 => UNLOCK,
        3159 => "the server takes encrypted connections only: set [mysql.tls] mode = \"required\"",
        _ => return None,
    })
}

fn halt(code: u16) -> Option<&'static str> {
    Some(match code {
        1044 | 1142 | 1143 | 3879 => "grant the user SELECT on the outbox tables",
        1227 => "grant the user REPLICATION SLAVE and REPLICATION CLIENT, ON *.*",
        1381 => "start mysqld with --log-bin",
        _ => return None,
    })
}

fn last(code: u16, message: &str) -> Option<&'static str> {
    Some(match code {
        1152 | 1184 if message.contains("init_connect") => {
            "mend init_connect on the server: a statement of it fails for the relay's account"
        }
        1042 => {
            "the server cannot resolve this machine's address: mend its name service, or start it with \
             --skip-name-resolve"
        }
        1043 => {
            "something between the relay and the server does not speak MySQL's protocol or its TLS: check the port \
             in [mysql] hosts, and [mysql.tls]"
        }
        1290 => "start the server without the option that it names",
        1047 if message.contains("WSREP") => return None,
        1047 | 1064 | 1193 | 1235 => NOT_ITSELF,
        _ => return None,
    })
}

fn pass(code: u16, message: &str) -> Option<&'static str> {
    Some(match code {
        1040 => "end idle sessions on the server, or raise its max_connections",
        1203 => SESSIONS,
        1226 if message.contains("max_user_connections") => SESSIONS,
        1226 => {
            "it ends with the hour; raise the limit that it names (ALTER USER … WITH MAX_CONNECTIONS_PER_HOUR 0 \
             MAX_QUERIES_PER_HOUR 0 MAX_UPDATES_PER_HOUR 0)"
        }
        1053 | 1077..=1079 | 3168 => "nothing, unless it lasts: then start the server",
        3032 => "nothing, until the server is to serve again: SET GLOBAL offline_mode = OFF there",
        1080 | 1317 | 1927 | 3169 => {
            "nothing, unless it comes again and again: then find out who ends the relay's sessions (KILL)"
        }
        4031 => "nothing: the relay connects again",
        1205 | 1213 | 1689 | 3024 => "nothing, unless it lasts: then look at SHOW PROCESSLIST",
        1021 | 1114 | 3675 => "free space on the server's disk",
        1037 | 1038 | 1041 | 1135 | 3015 | 3044 | 3170 | 3950 | 3985 | 4081 | 4082 => MEMORY,
        1152..=1161 | 1184 => NETWORK,
        // A Galera node answers this until it has the data of its cluster.
        1047 => "nothing, unless it lasts: then see why the node does not join its cluster",
        1836 | 1874 => "nothing, unless it lasts: then see why the server is in read-only mode",
        _ => return None,
    })
}
