//! What the line tells telemetry. A row only increments plain numbers. Everything else happens once per batch or wait.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;
use tokio::time::Instant;

use crate::batch::Batch;
use crate::binlog::{Position, Progress};
use crate::coordinates::Coordinates;
use crate::sink::{Published, Stored};
use crate::telemetry::clock::{CommitTime, ServerClock, micros_since_1970};
use crate::telemetry::lag::Lag;
use crate::telemetry::metrics::{DeadLetterReason, ErrorKind, Peer, Skipped};
use crate::telemetry::{Reason, State, Telemetry, seconds};

/// A transaction committed within this time counts as the end of the binlog. Servers whose timestamps are whole seconds
/// get one second more.
const RECENT: Duration = Duration::from_secs(1);

/// A session after a failed one has recovered when it has published something, has read the whole binlog, or has run
/// for this long. The failure may come again when the line reaches the same position. The time is for an idle server
/// with rare heartbeats.
const SETTLED_AFTER: Duration = Duration::from_secs(10);

/// The log tells of so many dead letters of a session; the metric counts all.
const LETTERS_TOLD: u64 = 10;

/// Tells telemetry about one session.
pub struct Observer {
    telemetry: Arc<Telemetry>,
    clock: ServerClock,
    /// When both ends were connected, at the first look.
    began: Option<Instant>,
    is_settled: bool,
    /// Telemetry was told that no broker answers.
    is_cut_off: bool,
    /// No record in flight was acknowledged for long.
    is_stalled: bool,
    /// Why the relay will halt, once everything before is in Kafka.
    halt: Option<Reason>,
    /// Counts of the stream that telemetry already has.
    told: Progress,
    /// Records published, by the topic's id.
    published: Vec<IntCounter>,
    skipped_published: u64,
    skipped_relayed: u64,
    skipped_ghosts: u64,
    skipped_left_out: u64,
    /// Oldest commit time and bytes of each batch in flight, in stream order.
    in_flight: VecDeque<(Option<CommitTime>, usize)>,
    /// Dead letters that are not in Kafka yet, by the numbers of their rows.
    letters: VecDeque<(u64, DeadLetterReason)>,
    /// Dead letters of this session so far.
    letters_seen: u64,
}

impl Observer {
    /// For a session that begins now. `is_settled`: no session has failed before it.
    pub fn new(telemetry: Arc<Telemetry>, is_settled: bool) -> Observer {
        Observer {
            clock: telemetry.clock(),
            telemetry,
            began: None,
            is_settled,
            is_cut_off: false,
            is_stalled: false,
            halt: None,
            told: Progress::default(),
            published: Vec::new(),
            skipped_published: 0,
            skipped_relayed: 0,
            skipped_ghosts: 0,
            skipped_left_out: 0,
            in_flight: VecDeque::new(),
            letters: VecDeque::new(),
            letters_seen: 0,
        }
    }

    /// The next topic, in the order of the topics' ids.
    pub fn learn_topic(&mut self, name: &str) {
        self.published.push(self.telemetry.metrics.records_published(name));
    }

    pub fn note_skipped(&mut self, reason: Skipped) {
        match reason {
            Skipped::Published => self.skipped_published += 1,
            Skipped::Relayed => self.skipped_relayed += 1,
            Skipped::Ghost => self.skipped_ghosts += 1,
            Skipped::LeftOut => self.skipped_left_out += 1,
        }
    }

    pub fn note_ghosts(&mut self, rows: u64) {
        self.skipped_ghosts += rows;
    }

    /// The row of this number becomes a dead letter. Answers whether the log tells of it.
    pub fn note_letter(&mut self, sequence: u64, reason: DeadLetterReason) -> bool {
        self.letters.push_back((sequence, reason));
        self.letters_seen += 1;
        self.letters_seen <= LETTERS_TOLD
    }

    /// Rows from this number on come again, or were in Kafka already.
    pub fn forget_letters_from(&mut self, sequence: u64) {
        while self.letters.back().is_some_and(|(of, _)| *of >= sequence) {
            self.letters.pop_back();
        }
    }

    fn count_letters(&mut self, until: u64) {
        let published = self.letters.iter().take_while(|(of, _)| *of <= until).count();
        for (_, reason) in self.letters.drain(..published) {
            self.telemetry.note_letter(reason);
        }
    }

    /// A batch is handed to the publisher.
    pub fn note_sealed(&mut self, batch: &Batch) {
        self.in_flight.push_back((batch.oldest(), batch.bytes()));
    }

    /// The checkpoint is in Kafka.
    pub fn note_stored(&mut self, stored: &Stored) {
        let Stored { checkpoint, value, .. } = stored;
        let position = Coordinates::new(checkpoint.binlog_filename.as_str(), checkpoint.offset);
        if let Ok(position) = position {
            self.telemetry.note_checkpoint(position, value);
        }
        self.note_connected();
    }

    /// No record in flight was acknowledged for long.
    pub fn note_stalled(&mut self, kind: ErrorKind, reason: Reason) {
        (self.is_stalled, self.is_settled) = (true, false);
        self.telemetry.note_error(kind, &reason.words);
        let (state, reason) = match &self.halt {
            Some(halt) => {
                let words = format!("{}; what comes before it waits: {}", halt.words, reason.words);
                (State::Draining, Reason { words, hint: halt.hint.clone() })
            }
            None => (State::Reconnecting, reason),
        };
        self.telemetry.enter(state, Some(reason));
    }

    /// The relay will halt, once everything before is in Kafka.
    pub fn note_halt(&mut self, reason: Reason) {
        self.telemetry.enter(State::Draining, Some(reason.clone()));
        self.halt = Some(reason);
    }

    fn note_connected(&mut self) {
        if std::mem::take(&mut self.is_cut_off) {
            self.telemetry.connect(Peer::Kafka);
            self.telemetry.metrics.reconnects(Peer::Kafka).inc();
        }
    }

    /// The batch is in Kafka.
    pub fn note_published(&mut self, published: &Published) {
        self.in_flight.pop_front();
        let Published { batch, took, committed_at, sequence } = published;
        self.count_letters(*sequence);
        if batch.unsent() == 0 {
            return;
        }
        self.is_stalled = false;
        self.note_connected();
        let metrics = &self.telemetry.metrics;
        metrics.batches.inc();
        metrics.batch_records.observe(batch.unsent() as f64);
        metrics.publish_duration_seconds.observe(took.as_secs_f64());
        metrics.transactions.inc_by(batch.transactions().len() as u64);
        self.count_records(batch);
        self.telemetry.note_published(batch.unsent() as u64);
        let now = micros_since_1970(*committed_at).saturating_add_signed(self.clock.ahead_micros());
        if let Some(last) = batch.transactions().last() {
            metrics.last_commit_timestamp_seconds.set(seconds(last.micros()));
        }
        if batch.transactions().iter().any(|committed| committed.is_exact()) {
            let histogram = metrics.end_to_end_duration_seconds().local();
            for committed in batch.transactions().iter().filter(|committed| committed.is_exact()) {
                histogram.observe(seconds(now.saturating_sub(committed.micros())));
            }
            histogram.flush();
        }
        self.is_settled = true;
    }

    /// Neighbouring records mostly share their topic, so a run of one topic is counted at once.
    fn count_records(&self, batch: &Batch) {
        let mut run: Option<(usize, u64)> = None;
        for topic in batch.unsent_records().map(|(_, record)| record.topic.0 as usize) {
            match &mut run {
                Some((of, records)) if *of == topic => *records += 1,
                _ => {
                    if let Some((of, records)) = run.replace((topic, 1)) {
                        self.published[of].inc_by(records);
                    }
                }
            }
        }
        if let Some((of, records)) = run {
            self.published[of].inc_by(records);
        }
    }

    /// Shows the state of the line. Called before each wait, and every 1,024 events while there is nothing
    /// to wait for. `read`: how far the source has read; `None` before it has reached its start.
    pub fn look(
        &mut self,
        position: &Position,
        read: Option<Progress>,
        filling: &Batch,
        is_cut_off: bool,
    ) {
        self.clock = self.telemetry.clock();
        self.telemetry.heartbeat();
        self.telemetry
            .note_skipped(Skipped::Published, std::mem::take(&mut self.skipped_published));
        self.telemetry.note_skipped(Skipped::Relayed, std::mem::take(&mut self.skipped_relayed));
        self.telemetry.note_skipped(Skipped::Ghost, std::mem::take(&mut self.skipped_ghosts));
        self.telemetry.note_skipped(Skipped::LeftOut, std::mem::take(&mut self.skipped_left_out));
        let metrics = &self.telemetry.metrics;
        let in_flight: usize = self.in_flight.iter().map(|(_, bytes)| bytes).sum();
        let buffered = in_flight + filling.bytes();
        metrics.buffered_bytes.set(i64::try_from(buffered).unwrap_or(i64::MAX));
        if is_cut_off && !std::mem::replace(&mut self.is_cut_off, true) {
            self.telemetry.disconnect(Peer::Kafka);
        }
        let Some(read) = read else { return };
        metrics.binlog_events.inc_by(read.events - self.told.events);
        metrics.binlog_bytes.inc_by(read.bytes - self.told.bytes);
        self.told = read;
        let oldest = self.in_flight.iter().find_map(|(oldest, _)| *oldest);
        let pending = oldest.or(filling.oldest()).map(CommitTime::micros);
        let newest = read.newest.map(CommitTime::micros);
        let is_at_end = read.is_at_end || read.newest.is_some_and(|newest| self.is_recent(newest));
        let update_lag = |lag: &mut Lag| {
            if is_at_end { lag.at_end(pending) } else { lag.reading(pending, newest) }
        };
        self.telemetry.note_position(&position.coordinates, position.gtid_set.as_ref(), update_lag);
        self.settle(is_at_end && pending.is_none());
    }

    fn settle(&mut self, is_caught_up: bool) {
        let began = *self.began.get_or_insert_with(Instant::now);
        self.is_settled |= is_caught_up || began.elapsed() > SETTLED_AFTER;
        let may_begin = matches!(self.telemetry.state(), State::Starting | State::Reconnecting);
        if self.is_settled && may_begin && !self.is_stalled {
            self.telemetry.enter(State::Relaying, None);
        }
    }

    /// It was committed a moment ago.
    pub fn is_recent(&self, committed: CommitTime) -> bool {
        let recent = if committed.is_exact() { RECENT } else { 2 * RECENT };
        self.clock.since(committed.micros()) < recent
    }
}
