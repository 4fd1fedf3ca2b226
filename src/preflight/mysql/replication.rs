//! What a replica keeps out of its own binlog, and the named lock by which one relay follows another.

use super::Error;
use crate::binlog::server::{Server, Variables};
use crate::finding::Finding;
use crate::lease;

/// The price of a server without named locks.
pub const WITHOUT_LOCK: &str =
    "what a relay has on its way when another one replaces it may come twice";

/// What a replica applies is in its own binlog only where it is told so: not by default in 5.7. A server that is set up
/// as a replica, and stopped, is refused as well: its next START REPLICA would leave rows out in silence.
///
/// # Errors
/// It is a replica, and does not log what it applies.
pub async fn ensure_updates_logged(
    server: &mut Server,
    variables: &Variables,
) -> Result<Finding, Error> {
    // Renamed in 8.0.26 (https://dev.mysql.com/doc/refman/8.4/en/replication-options-binary-log.html).
    let is_there = |name: &&&str| variables.contains_key(**name);
    let Some(&variable) = ["log_replica_updates", "log_slave_updates"].iter().find(is_there) else {
        return Ok(Finding::Holds("this version logs what it replicates".to_owned()));
    };
    if variables[variable] != "OFF" {
        return Ok(Finding::Holds(format!("{variable}=ON")));
    }
    let sources = server.replication_sources().await?;
    let addresses: Vec<_> = sources.into_iter().map(|source| source.address).collect();
    if addresses.is_empty() {
        Ok(Finding::Holds(format!("{variable}=OFF, and the server is no replica")))
    } else {
        Err(Error::UpdatesNotLogged { sources: addresses.join(" and "), variable })
    }
}

/// Whether a relay that replaces this one can wait for its end. Percona XtraDB Cluster gives out no named locks in its
/// default mode.
///
/// # Errors
/// The server cannot be asked.
pub async fn weigh_lock(server: &mut Server) -> Result<Finding, Error> {
    Ok(match lease::refusal(server, "binlog-relay-check").await? {
        None => Finding::Holds("the server gives out named locks".to_owned()),
        Some(refused) => Finding::doubtful(
            format!("the server gives out no named lock: {refused}; {WITHOUT_LOCK}"),
            "allow GET_LOCK (pxc_strict_mode = PERMISSIVE), or take exactly-once delivery",
        ),
    })
}
