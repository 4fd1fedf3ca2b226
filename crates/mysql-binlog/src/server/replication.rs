//! Where a server itself replicates from, and what may still come from there.

use mysql_async::Row;

use super::{Error, Server};
use crate::coordinates::GtidSet;

/// A channel by which a server replicates, as SHOW REPLICA STATUS has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicationSource {
    /// `host:port`.
    pub address: String,
    /// More transactions may be received: its receiver runs, or tries to connect.
    pub is_receiving: bool,
    /// What was received, as far as the server knows; applied or not.
    pub received: GtidSet,
}

impl Server {
    /// The channels by which the server is set up to replicate, running or not. Needs REPLICATION CLIENT.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn replication_sources(&mut self) -> Result<Vec<ReplicationSource>, Error> {
        // Renamed in 8.0.22, the old name removed in 8.4
        // (https://dev.mysql.com/doc/refman/8.4/en/show-replica-status.html).
        let question = if self.conn.server_version() >= (8, 0, 22) {
            "SHOW REPLICA STATUS"
        } else {
            "SHOW SLAVE STATUS"
        };
        let rows: Vec<Row> = self.rows(question).await?;
        Ok(rows.iter().map(source).collect())
    }

    /// Whether the server may still execute some of these transactions without a person's doing: it replicates, or
    /// has received them already.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn may_execute(&mut self, missing: &GtidSet) -> Result<bool, Error> {
        let sources = self.replication_sources().await?;
        let may_come = |source: &ReplicationSource| {
            source.is_receiving || source.received.difference(missing) != source.received
        };
        if sources.iter().any(may_come) {
            return Ok(true);
        }
        // The channel of a group is not listed.
        let group = self.variable("group_replication_group_name").await?;
        Ok(group.is_some_and(|name| !name.is_empty()))
    }
}

fn source(row: &Row) -> ReplicationSource {
    let text = |names: [&str; 2]| -> String {
        let found = names.iter().find_map(|name| row.get_opt::<String, _>(*name));
        found.and_then(Result::ok).unwrap_or_default()
    };
    let port = ["Source_Port", "Master_Port"].iter().find_map(|name| row.get_opt::<u16, _>(*name));
    let port = port.and_then(Result::ok).unwrap_or_default();
    ReplicationSource {
        address: format!("{}:{port}", text(["Source_Host", "Master_Host"])),
        is_receiving: text(["Replica_IO_Running", "Slave_IO_Running"]) != "No",
        received: text(["Retrieved_Gtid_Set"; 2]).parse().unwrap_or_default(),
    }
}
