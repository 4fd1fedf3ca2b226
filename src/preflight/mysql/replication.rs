//! Whether a replica logs what it applies, and whether the server gives out named locks.

use super::Error;
use crate::binlog::server::{Server, Variables};
use crate::finding::Finding;
use crate::lease;

/// The consequence of a server without named locks.
pub const WITHOUT_LOCK: &str =
    "records that a relay has in flight may come twice when another one replaces it";

/// A replica writes what it applies into its own binlog only if it is configured to, which is not the default in 5.7.
/// A replica that is stopped is refused as well: its next START REPLICA would silently leave rows out.
///
/// # Errors
/// The server is a replica, and does not log what it applies.
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

/// Whether a successor can wait until this relay has ended. Percona XtraDB Cluster gives out no named locks in its
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
