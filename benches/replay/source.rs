//! The source with no server: the bytes of events go into a feed, and come out as changes. All between is what reads from
//! a server as well: packets, checksums, transactions, tables.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use binlog_relay::binlog::feed::{Feed, FeedStream, feed};
use binlog_relay::binlog::{Change, FixedCatalog, Interest, Source, Start};

use super::recording::Recording;

/// A source, and what feeds it.
pub struct FedSource {
    feed: Feed,
    source: Source<FeedStream, FixedCatalog>,
}

impl FedSource {
    /// Hands out the rows of the recording's outbox table.
    pub fn new(recording: &Recording) -> FedSource {
        let start = Start::of_file("binlog.000001").expect("a legal name");
        let table = recording.outbox().table;
        let filter =
            Arc::new(
                move |database: &str, name: &str| {
                    if table.matches(database, name) { Interest::Outbox } else { Interest::None }
                },
            );
        let (feed, stream) = feed();
        let catalog = FixedCatalog::default();
        FedSource { feed, source: Source::over(stream, Duration::MAX, start, catalog, filter) }
    }

    /// Puts events in, as a server would send them.
    pub fn feed(&mut self, events: &[u8]) {
        self.feed.push_all(events).expect("whole events");
    }

    /// Reads all that was put in.
    pub fn read(&mut self, mut change: impl FnMut(Change<'_>)) {
        while self.source.try_read().expect("a recorded event can be read") {
            // A catalog that is here answers at once.
            let interpreted = pin!(self.source.interpret());
            match interpreted.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(interpreted) => change(interpreted.expect("it can be followed")),
                Poll::Pending => unreachable!("nothing is waited for"),
            }
        }
    }
}
