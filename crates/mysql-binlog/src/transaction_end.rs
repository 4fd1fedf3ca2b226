//! The transaction boundary before the start, and the end of a transaction that cannot be read.
//!
//! The source reads on for both, without a look at rows. Where the stream breaks off, the server's own list of events may
//! have the end.

use std::time::Duration;

use tokio::io::AsyncRead;

use super::server::{ListedEvent, Server};
use super::{Error, Position, Source, server};
use crate::catalog::Catalog;
use crate::coordinates::Coordinates;

/// Look for the end of a transaction for at most 30 s in the stream, and then for as long in the list …
const END_WITHIN: Duration = Duration::from_secs(30);

/// … and within 4 GiB of the stream.
const END_BYTES_MAX: u64 = 4 << 30;

/// Events asked of the list at once.
const EVENTS_A_PAGE: usize = 1_000;

impl<S: AsyncRead + Unpin, C: Catalog> Source<S, C> {
    /// Reads up to the offset from which rows count, and returns the last boundary.
    ///
    /// # Errors
    /// As [`Source::read`] and [`Source::interpret`].
    pub async fn reach_start(&mut self) -> Result<&Position, Error> {
        while self.is_before_start() {
            self.read().await?;
            self.interpret().await?;
        }
        Ok(self.position())
    }

    /// Returns the next boundary after the event that was read last: the end of a transaction that cannot be read. `None`
    /// when neither the stream nor the server's list of events has it within 30 s each.
    pub async fn end_of_transaction(&mut self) -> Option<Coordinates> {
        match tokio::time::timeout(END_WITHIN, self.read_to_boundary()).await {
            Ok(Ok(Some(end))) => return Some(end),
            Ok(Ok(None)) | Err(_) => tracing::debug!("the end of the transaction is far away"),
            Ok(Err(error)) => tracing::debug!(%error, "read on to the end of the transaction"),
        }
        let begin = self.position().coordinates.clone();
        let listed =
            tokio::time::timeout(END_WITHIN, self.tables.catalog.end_of_transaction(begin));
        match listed.await {
            Ok(Ok(end)) => end,
            Ok(Err(error)) => {
                tracing::debug!(%error, "ask the server for the end of the transaction");
                None
            }
            Err(_) => None,
        }
    }

    async fn read_to_boundary(&mut self) -> Result<Option<Coordinates>, Error> {
        let mut bytes = 0;
        while self.tracker.is_inside_transaction() {
            self.read().await?;
            let event = self.dump.event();
            bytes += u64::from(event.size);
            if bytes > END_BYTES_MAX {
                return Ok(None);
            }
            // No table is wanted: nothing in a transaction that is skipped may fail.
            self.tracker.accept(event, &|_, _| false)?;
        }
        Ok(Some(self.read_end().clone()))
    }
}

/// The end of the transaction that begins at a boundary, from SHOW BINLOG EVENTS; `None` when it is in the
/// list no more or not yet.
///
/// # Errors
/// As every question to the server.
pub async fn listed_end(
    server: &mut Server,
    begin: Coordinates,
) -> Result<Option<Coordinates>, server::Error> {
    let mut from = begin;
    let mut group = Group::default();
    loop {
        let events = server.binlog_events(&from, EVENTS_A_PAGE).await?;
        for event in &events {
            // The list prints 32 bits of what can be longer.
            if event.end <= from.offset {
                return Ok(None);
            }
            from.offset = event.end;
            if group.ends_with(event) {
                return Ok(Some(from));
            }
        }
        if events.len() < EVENTS_A_PAGE {
            return Ok(None);
        }
    }
}

/// Events of one transaction, as far as the list went.
#[derive(Debug, Default)]
struct Group {
    /// BEGIN was there: a statement does not end it.
    has_begun: bool,
}

impl Group {
    fn ends_with(&mut self, event: &ListedEvent) -> bool {
        let is = |text: &str| event.info.eq_ignore_ascii_case(text);
        let begins = |text: &str| {
            event.info.get(..text.len()).is_some_and(|head| head.eq_ignore_ascii_case(text))
        };
        match event.event_type.as_str() {
            "Xid" | "XA_prepare" | "Transaction_payload" => true,
            "Query" if is("BEGIN") || begins("XA START") => {
                self.has_begun = true;
                false
            }
            "Query" => !self.has_begun || is("COMMIT") || is("ROLLBACK"),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The index of the event that ends the first transaction of a list.
    fn end(events: &[(&str, &str)]) -> Option<usize> {
        let mut group = Group::default();
        events.iter().position(|(event_type, info)| {
            group.ends_with(&ListedEvent {
                begin: 0,
                event_type: (*event_type).to_owned(),
                end: 0,
                info: (*info).to_owned(),
            })
        })
    }

    #[test]
    fn a_listed_transaction_ends_with_its_commit() {
        let gtid = ("Gtid", "SET @@SESSION.GTID_NEXT= '3e11fa47-71ca-11e1-9e33-c80aa9429562:7'");
        let begin = ("Query", "BEGIN");
        let rows = ("Write_rows", "table_id: 9 flags: STMT_END_F");
        let xid = ("Xid", "COMMIT /* xid=4 */");
        let statement = ("Query", "use `shop`; INSERT INTO events VALUES (1)");
        assert_eq!(end(&[gtid, begin, rows, rows, xid, gtid]), Some(4));
        assert_eq!(end(&[gtid, begin, statement, rows, ("Query", "COMMIT")]), Some(4));
        assert_eq!(end(&[gtid, begin, statement, ("Query", "ROLLBACK")]), Some(3));
        assert_eq!(end(&[gtid, ("Transaction_payload", "compression='ZSTD'"), gtid]), Some(1));
        let xa = ("Query", "XA START X'61',X'',1");
        let prepare = ("XA_prepare", "XA PREPARE X'61',X'',1");
        assert_eq!(end(&[gtid, xa, rows, ("Query", "XA END X'61',X'',1"), prepare]), Some(4));
        assert_eq!(end(&[("Query", "XA COMMIT X'61',X'',1")]), Some(0));
        assert_eq!(end(&[gtid, ("Query", "use `shop`; CREATE TABLE a (id INT)")]), Some(1));
        assert_eq!(end(&[gtid, begin, rows]), None);
    }
}
