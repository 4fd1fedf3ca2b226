//! The second half of the line: full or whole batches go to the publisher with the checkpoint that they lead to, and
//! its answers come back.

use std::collections::HashMap;

use tokio::time::Instant;

use super::super::suspect::Reached;
use super::Line;
use crate::batch::Cut;
use crate::binlog::{Position, Progress};
use crate::checkpoint::Checkpoint;
use crate::coordinates::{Coordinates, Gtid};
use crate::error::Error;
use crate::relay::planted::{Bug, is_planted};
use crate::sink::{Answer, Destinations, Published, Sealed, SinkError};
use crate::telemetry::Reason;
use crate::telemetry::clock::CommitTime;

impl<D: Destinations> Line<D> {
    /// Another batch would leave at once.
    pub fn is_ready(&self) -> bool {
        self.publisher.is_ready()
    }

    /// It would leave at once, there is another batch to fill meanwhile, and those that are on their way with it have
    /// no more bytes than a full batch: so memory is bounded by two.
    pub fn may_seal(&self) -> bool {
        let fits = |bytes| bytes + self.filling.bytes() <= self.bytes_max;
        self.publisher.is_ready()
            && !self.spare.is_empty()
            && self.publisher.bytes_in_flight().is_none_or(fits)
    }

    /// No predecessor sends anything any more, and none has read further than this.
    pub fn note_predecessor_end(&mut self, until: Coordinates) {
        self.ledger.note_predecessor_end(until);
    }

    /// We may have been replaced since the claim. The next batch leaves when that is ruled out.
    pub fn doubt(&mut self) {
        self.publisher.doubt();
    }

    /// A predecessor may have sent rows that this session has not come to.
    pub fn has_window(&self) -> bool {
        self.ledger.window().is_some()
    }

    /// Nothing of the open transaction was cut off, and all rows that a predecessor may have sent are passed.
    pub fn is_at_boundary(&self, position: &Position) -> bool {
        self.ledger.is_at_boundary(&position.coordinates)
    }

    /// The publisher has nothing to answer any more: all is published, and the last checkpoint stored.
    pub fn is_settled(&self) -> bool {
        self.publisher.is_settled()
    }

    /// Something of this session is in Kafka.
    pub fn has_published(&self) -> bool {
        self.has_published
    }

    /// Relayed rows of the open transaction that are in Kafka already.
    pub fn rows_done(&self) -> u64 {
        self.ledger.rows_done()
    }

    /// How far this session came, which has read up to that boundary.
    pub fn reached(&self, read: Option<Coordinates>) -> Reached {
        let server_uuid = self.ledger.server_uuid().to_owned();
        Reached { server_uuid, read, stored: self.acknowledged.clone() }
    }

    pub fn stored_at(&self) -> Instant {
        self.stored_at
    }

    /// No broker answers, as far as is known.
    pub fn is_cut_off(&self) -> bool {
        self.publisher.is_cut_off()
    }

    /// Says where the line stands, and how far the source is.
    pub fn observe(&mut self, position: &Position, read: Option<Progress>) {
        self.publisher.note_turn();
        let is_cut_off = self.is_cut_off();
        self.observer.look(position, read, &self.filling, is_cut_off);
    }

    /// What was committed then is a part of a backlog, as far as is known.
    pub fn is_of_backlog(&self, committed_at: CommitTime) -> bool {
        !self.observer.is_recent(committed_at)
    }

    /// The stored checkpoint stands at another position, or a GTID set was left out of it for long.
    pub fn is_behind(&self, position: &Position) -> bool {
        self.stored.as_ref() != Some(&position.coordinates) || self.gtid_pace.is_due(position)
    }

    /// The stored checkpoint lacks a GTID set that another server would need.
    pub fn lacks_gtid_set(&self, position: &Position) -> bool {
        self.gtid_pace.lacks_set(position)
    }

    /// Hands over what is whole, if there is any and another batch to fill.
    pub fn publish_whole(&mut self, position: &Position, gtid: Option<&Gtid>) {
        if let Some(cut) = self.filling.cut_now()
            && self.may_seal()
        {
            self.seal(cut, position, gtid, false);
        }
    }

    /// Stores the position, with the records before it, if there are any.
    pub fn store_position(&mut self, position: &Position, gtid: Option<&Gtid>) {
        // The position is after all that is whole, so that must go with it.
        let cut = self.filling.cut_now().unwrap_or(Cut::Boundary(0));
        self.seal(cut, position, gtid, false);
    }

    /// Publishes what is whole, drops what is not, and stores the position.
    ///
    /// # Errors
    /// The way to Kafka failed.
    pub async fn finish(
        &mut self,
        position: &Position,
        gtid: Option<&Gtid>,
        is_clean: bool,
    ) -> Result<(), Error> {
        if !is_planted(Bug::DrainAhead) {
            self.filling.roll_back();
        }
        while !self.may_seal() {
            self.answer().await?;
        }
        self.gtid_pace.want();
        self.seal(Cut::Boundary(self.filling.len()), position, gtid, is_clean);
        self.settle().await
    }

    async fn settle(&mut self) -> Result<(), Error> {
        while !self.is_settled() {
            self.answer().await?;
        }
        Ok(())
    }

    /// Says that the relay halts as soon as what comes before is in Kafka, which may take long.
    pub fn begin_halt(&mut self, reason: Reason) {
        tracing::warn!(
            hint = reason.hint.as_deref().map(tracing::field::display),
            "halting when what comes before it is in Kafka: {}",
            reason.words
        );
        self.observer.note_halt(reason);
    }

    /// Takes the publisher's answers that are here. Also when all is published, it may have to tell of its end.
    ///
    /// # Errors
    /// A batch is not in Kafka, or nobody knows.
    pub fn try_answers(&mut self) -> Result<(), Error> {
        loop {
            match self.publisher.try_answer() {
                Ok(Some(answer)) => self.note(answer),
                Ok(None) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for the publisher's next answer. Dropping the future loses nothing.
    ///
    /// # Errors
    /// A batch is not in Kafka, or nobody knows.
    pub async fn answer(&mut self) -> Result<(), Error> {
        let answer = self.publisher.answer().await?;
        self.note(answer);
        Ok(())
    }

    /// Ends the publisher's thread.
    pub async fn stop(self) {
        self.publisher.stop().await;
    }

    fn note(&mut self, answer: Answer) {
        match answer {
            Answer::Ready => {}
            Answer::Published(published) => {
                self.observer.note_published(&published);
                let Published { mut batch, sequence, .. } = published;
                tracing::debug!(records = batch.len(), sequence, "published");
                batch.clear();
                self.spare.push(batch);
                self.has_published = true;
            }
            Answer::Stored(stored) => {
                let Checkpoint { offset, sequence, .. } = stored.checkpoint;
                tracing::debug!(offset, sequence, "stored a checkpoint");
                self.observer.note_stored(&stored);
                self.acknowledged = Some(stored.checkpoint);
            }
            Answer::Stalled(error) => self.note_stalled(error),
        }
    }

    fn note_stalled(&mut self, error: SinkError) {
        let error = Error::from(error);
        let reason = error.reason();
        tracing::warn!(
            hint = reason.hint.as_deref().map(tracing::field::display),
            "{}",
            reason.words
        );
        self.observer.note_stalled(error.kind(), reason);
    }

    /// Cuts the batch that is being filled, and hands it over with the checkpoint that it leads to.
    pub(super) fn seal(
        &mut self,
        cut: Cut,
        position: &Position,
        gtid: Option<&Gtid>,
        is_clean: bool,
    ) {
        let mut rest =
            self.spare.pop().expect("a batch is sealed only when there is another one to fill");
        self.filling.cut(cut, &mut rest);
        let batch = std::mem::replace(&mut self.filling, rest);
        let first_sequence = self.ledger.cut(cut, batch.len(), position);
        if self.ledger.window().is_none() && !self.sent.is_empty() {
            self.sent = HashMap::new();
        }
        let gtid_set = self.gtid_pace.gtid_set(position, Instant::now());
        let mut checkpoint = self.ledger.checkpoint(position, gtid_set, gtid, is_clean);
        self.destinations.stamp(&mut checkpoint, self.ledger.window());
        self.stored = Some(position.coordinates.clone());
        self.stored_at = Instant::now();
        self.observer.note_sealed(&batch);
        self.publisher.publish(Sealed::new(batch, first_sequence, checkpoint));
    }
}
