//! What a server says of its binlogs: files and their ends, GTIDs, events, who reads them, and what is left out.

use super::{Error, PACKET_BYTES_MAX, Server, WRONG_OFFSET, unexpected};
use crate::coordinates::{Coordinates, GtidSet};

pub(super) const FILES_SQL: &str = "SHOW BINARY LOGS";
pub(super) const FIRST_EVENT_SQL: &str = "SHOW BINLOG EVENTS LIMIT 1";

pub(super) fn gtid_set_sql(variable: &str) -> String {
    format!("SELECT @@GLOBAL.{variable}")
}

/// One file of SHOW BINARY LOGS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinlogFile {
    /// Such as `binlog.000012`.
    pub name: String,
    /// The offset behind its last event.
    pub size_bytes: u64,
}

/// One line of SHOW BINLOG EVENTS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedEvent {
    /// Offset of the event's first byte.
    pub begin: u64,
    /// The name that the server has for it, such as `Write_rows`.
    pub event_type: String,
    /// Offset behind the event, of which the list has the lower 32 bits only.
    pub end: u64,
    /// What the server prints of the event.
    pub info: String,
}

/// What SHOW BINLOG EVENTS has at an offset.
enum Listed {
    Event(ListedEvent),
    /// An event that is larger than the server reads for a list (its `max_allowed_packet`).
    TooLarge,
    /// Nothing: the file ends there or before.
    End,
    /// The offset is inside of an event.
    Inside,
}

/// A replica that the server sends its binlog to, as it has registered itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredReplica {
    /// The number that the replica registered with.
    pub server_id: u32,
    /// Empty where it did not say.
    pub host: String,
    /// Empty where it named none.
    pub uuid: String,
}

/// Databases that the binlog is restricted to (all, when there are none), and databases left out of it
/// (<https://dev.mysql.com/doc/refman/8.4/en/replication-options-binary-log.html>).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinlogFilters {
    /// The only databases that are logged, if there are any here (`binlog-do-db`).
    pub do_db: Vec<String>,
    /// Databases that are not logged (`binlog-ignore-db`).
    pub ignore_db: Vec<String>,
}

impl Server {
    /// A variable that holds a GTID set.
    ///
    /// # Errors
    /// As every question to the server; an answer that is no GTID set.
    pub async fn gtid_set(&mut self, variable: &'static str) -> Result<GtidSet, Error> {
        let text: String = self.one(&gtid_set_sql(variable)).await?;
        text.parse().map_err(|_| Error::UnexpectedAnswer { question: variable, answer: text })
    }

    /// The binlog files, oldest first. Needs REPLICATION CLIENT.
    ///
    /// # Errors
    /// As every question to the server; error 1381 where `log_bin` is off.
    pub async fn binlog_files(&mut self) -> Result<Vec<BinlogFile>, Error> {
        let rows: Vec<mysql_async::Row> = self.rows(FILES_SQL).await?;
        rows.into_iter()
            .map(|row| match (row.get_opt(0), row.get_opt(1)) {
                (Some(Ok(name)), Some(Ok(size_bytes))) => Ok(BinlogFile { name, size_bytes }),
                _ => Err(unexpected("SHOW BINARY LOGS", &row)),
            })
            .collect()
    }

    /// The end of the binlog. Needs REPLICATION CLIENT.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn binlog_end(&mut self) -> Result<Coordinates, Error> {
        let (question, row) = self.binlog_status().await?;
        match (row.get_opt::<String, _>(0), row.get_opt(1)) {
            (Some(Ok(file)), Some(Ok(offset))) => {
                Coordinates::new(file, offset).map_err(|_| unexpected(question, &row))
            }
            _ => Err(unexpected(question, &row)),
        }
    }

    /// Which databases the binlog has. Needs REPLICATION CLIENT.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn binlog_filters(&mut self) -> Result<BinlogFilters, Error> {
        let (question, row) = self.binlog_status().await?;
        let list = |column: &str| -> Option<Vec<String>> {
            let text: Option<String> = row.get_opt(column)?.ok()?;
            let names = text.unwrap_or_default();
            Some(names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect())
        };
        match (list("Binlog_Do_DB"), list("Binlog_Ignore_DB")) {
            (Some(do_db), Some(ignore_db)) => Ok(BinlogFilters { do_db, ignore_db }),
            _ => Err(unexpected(question, &row)),
        }
    }

    /// Renamed in 8.2, the old name removed in 8.4
    /// (<https://dev.mysql.com/doc/refman/8.4/en/show-binary-log-status.html>).
    pub(super) fn binlog_status_sql(&self) -> &'static str {
        if self.conn.server_version() >= (8, 2, 0) {
            "SHOW BINARY LOG STATUS"
        } else {
            "SHOW MASTER STATUS"
        }
    }

    async fn binlog_status(&mut self) -> Result<(&'static str, mysql_async::Row), Error> {
        let question = self.binlog_status_sql();
        let row = self.rows(question).await?.pop();
        Ok((question, row.ok_or(Error::UnexpectedAnswer { question, answer: String::new() })?))
    }

    /// The GTIDs before a binlog file, from the event at its head. Needs REPLICATION SLAVE.
    ///
    /// # Errors
    /// As every question to the server; a file without that event.
    pub async fn previous_gtids(&mut self, file: &str) -> Result<GtidSet, Error> {
        let question = "SHOW BINLOG EVENTS";
        let sql = format!("SHOW BINLOG EVENTS IN '{}' LIMIT 3", file.replace(['\'', '\\'], ""));
        let rows: Vec<mysql_async::Row> = self.rows(&sql).await?;
        let info =
            rows.iter().find_map(|row| match (row.get_opt::<String, _>(2), row.get_opt(5)) {
                (Some(Ok(event_type)), Some(Ok(info))) if event_type == "Previous_gtids" => {
                    Some(info)
                }
                _ => None,
            });
        let info: String =
            info.ok_or(Error::UnexpectedAnswer { question, answer: file.to_owned() })?;
        info.parse().map_err(|_| Error::UnexpectedAnswer { question, answer: info })
    }

    /// A part of the list of events, from the beginning of one on. Needs REPLICATION SLAVE.
    ///
    /// # Errors
    /// As every question to the server; error 1220 where no event begins there.
    pub async fn binlog_events(
        &mut self,
        from: &Coordinates,
        events_max: usize,
    ) -> Result<Vec<ListedEvent>, Error> {
        let question = "SHOW BINLOG EVENTS";
        let file = from.file().replace(['\'', '\\'], "");
        let sql = format!("{question} IN '{file}' FROM {} LIMIT {events_max}", from.offset);
        let rows: Vec<mysql_async::Row> = self.rows(&sql).await?;
        rows.into_iter()
            .map(|row| {
                let event = || {
                    let (begin, event_type) = (row.get_opt(1)?.ok()?, row.get_opt(2)?.ok()?);
                    let (end, info) = (row.get_opt(4)?.ok()?, row.get_opt(5)?.ok()?);
                    Some(ListedEvent { begin, event_type, end, info })
                };
                event().ok_or_else(|| unexpected(question, &row))
            })
            .collect()
    }

    /// Whether an event begins, or the file ends, at these coordinates. The server takes any bytes for an event
    /// that look like the header of one; the end that these name is then no place where another begins. Needs
    /// REPLICATION SLAVE.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn is_event_boundary(&mut self, coordinates: &Coordinates) -> Result<bool, Error> {
        let event = match self.listed_at(coordinates).await? {
            Listed::End => return Ok(true),
            Listed::Event(event) => event,
            Listed::TooLarge | Listed::Inside => return Ok(false),
        };
        // The list prints 32 bits of an end that can be longer.
        if coordinates.offset > u64::from(u32::MAX) - PACKET_BYTES_MAX as u64 {
            return Ok(true);
        }
        if event.end <= coordinates.offset {
            return Ok(false);
        }
        match self.listed_at(&coordinates.at(event.end)).await? {
            Listed::Event(_) | Listed::TooLarge => Ok(true),
            Listed::Inside => Ok(false),
            // The server lists nothing behind the end, either.
            Listed::End => {
                let files = self.binlog_files().await?;
                let is_within = |file: &BinlogFile| {
                    file.name == coordinates.file() && event.end <= file.size_bytes
                };
                Ok(files.iter().any(is_within))
            }
        }
    }

    async fn listed_at(&mut self, coordinates: &Coordinates) -> Result<Listed, Error> {
        match self.binlog_events(coordinates, 1).await {
            Ok(mut events) => Ok(match events.pop() {
                None => Listed::End,
                Some(event) if event.begin == coordinates.offset => Listed::Event(event),
                // From before the first transaction, the server lists the event that comes next.
                Some(_) => Listed::Inside,
            }),
            Err(Error::MySql(mysql_async::Error::Server(error))) if error.code == WRONG_OFFSET => {
                if error.message.contains("Event too big") {
                    Ok(Listed::TooLarge)
                } else {
                    Ok(Listed::Inside)
                }
            }
            Err(error) => Err(error),
        }
    }

    /// The replicas that the server believes to read its binlog: one that ended without a word is believed in
    /// until two heartbeats to it have failed. Needs REPLICATION SLAVE.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn replicas(&mut self) -> Result<Vec<RegisteredReplica>, Error> {
        let question = self.replicas_sql();
        let rows: Vec<mysql_async::Row> = self.rows(question).await?;
        let replica = |row: &mysql_async::Row| {
            // The first columns are id and host, the last one the UUID; more may stand between.
            let (server_id, host) = (row.get_opt(0)?.ok()?, row.get_opt(1)?.ok()?);
            let uuid = row.get_opt(row.len() - 1)?.ok()?;
            Some(RegisteredReplica { server_id, host, uuid })
        };
        rows.iter().map(|row| replica(row).ok_or_else(|| unexpected(question, row))).collect()
    }

    /// Renamed in 8.0.22, the old name removed in 8.4
    /// (<https://dev.mysql.com/doc/refman/8.4/en/show-replicas.html>).
    pub(super) fn replicas_sql(&self) -> &'static str {
        if self.conn.server_version() >= (8, 0, 22) { "SHOW REPLICAS" } else { "SHOW SLAVE HOSTS" }
    }

    /// Reads the first event of the oldest binlog, as only a replica may. Needs REPLICATION SLAVE.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn read_first_event(&mut self) -> Result<(), Error> {
        let _: Vec<mysql_async::Row> = self.rows(FIRST_EVENT_SQL).await?;
        Ok(())
    }
}
