//! The ledger: which rows of the stream are relayed, under which numbers, and which checkpoint a cut leads to.
//!
//! It is pure: rows and boundaries enter, decisions and checkpoints leave. Whatever is cut where, and resumed from the
//! checkpoint of that cut, every row is relayed once and its number is the same.

use std::collections::HashMap;

use crate::batch::Cut;
use crate::binlog::{AlreadyRelayed, LayoutId, Position};
use crate::checkpoint::Checkpoint;
use crate::coordinates::{Coordinates, Gtid};
use crate::error::Error;
use crate::relay::planted::{Bug, is_planted};
use crate::relay::resume_point::{RelayedPart, ResumePoint};
use crate::relay::stamp::Stamp;
use crate::resend::ResendWindow;

/// What is done with the rows of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// They stand before the start, and are of no interest.
    Ignore,
    /// They stand before the start. They are counted, as their transaction may go on behind it.
    Count,
    /// Each of them is relayed, unless it was before.
    Relay,
}

/// What is counted of the stream, and where it stands.
#[derive(Debug)]
pub struct Ledger {
    stamp: Stamp,
    /// Number of the last row that was cut off into a batch.
    sequence: u64,
    /// Rows of the open transaction that were relayed already.
    rows_done: u64,
    /// A transaction that was relayed in part, and has not come by yet.
    part: Option<RelayedPart>,
    /// Rows still to be skipped of the open transaction, which is that one.
    skip_left: u64,
    /// Rows that a predecessor may have sent; `None` once there can be none any more.
    window: Option<ResendWindow>,
    /// Rows of each layout seen in the open compressed transaction.
    payload_rows: HashMap<LayoutId, u64>,
    /// Why rows before the start could not be counted. It matters only when their transaction goes on.
    unreadable: Option<Error>,
    /// That holds for the open transaction.
    has_unreadable_prefix: bool,
    /// What ends here or before was relayed before this session; `None` where the session reads no such thing.
    start: Option<Coordinates>,
}

impl Ledger {
    pub fn new(resume_point: ResumePoint) -> Ledger {
        let ResumePoint { stamp, sequence, part, window, start } = resume_point;
        Ledger {
            stamp,
            sequence,
            rows_done: 0,
            part,
            skip_left: 0,
            window,
            payload_rows: HashMap::new(),
            unreadable: None,
            has_unreadable_prefix: false,
            start,
        }
    }

    /// Says what is done with the rows of an event.
    ///
    /// # Errors
    /// They follow rows of their transaction that could not be counted.
    pub fn admit(&mut self, passed: AlreadyRelayed) -> Result<Admission, Error> {
        match passed {
            AlreadyRelayed::InGtidSet => Ok(Admission::Ignore),
            AlreadyRelayed::BeforeStart => Ok(Admission::Count),
            AlreadyRelayed::No => match self.unreadable.take() {
                Some(error) => Err(error),
                None => Ok(Admission::Relay),
            },
        }
    }

    /// Rows before the start could not be counted.
    pub fn note_unreadable(&mut self, error: Error) {
        self.unreadable = Some(error);
        self.has_unreadable_prefix = true;
    }

    /// Rows of the open transaction, before the start, could not be counted: no checkpoint can say how many of its rows
    /// are done.
    pub fn has_unreadable_prefix(&self) -> bool {
        self.has_unreadable_prefix
    }

    /// Whether a row was relayed before this session. `is_relayed`: whether the relay publishes such a row at all; rows
    /// that it does not publish are not counted.
    ///
    /// # Errors
    /// Those of `is_relayed`.
    pub fn is_done(
        &mut self,
        admission: Admission,
        gtid: Option<&Gtid>,
        is_relayed: impl FnOnce() -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        if admission == Admission::Count {
            self.rows_done += u64::from(is_relayed()?);
            return Ok(true);
        }
        let is_of = |part: &mut RelayedPart| part.gtid.is_none() || part.gtid.as_ref() == gtid;
        if let Some(part) = self.part.take_if(is_of) {
            (self.rows_done, self.skip_left) = (part.rows, part.rows);
            if is_planted(Bug::SkipOffByOne) {
                self.skip_left -= 1;
            }
        }
        if self.skip_left == 0 {
            return Ok(false);
        }
        self.skip_left -= u64::from(is_relayed()?);
        Ok(true)
    }

    /// Number of the next row that is relayed, behind `filled` rows of the batch that is being filled.
    pub fn next_sequence(&self, filled: usize) -> u64 {
        self.sequence + filled as u64 + 1
    }

    /// Index of the first row of an event among those of its table in the open compressed transaction, as all events
    /// there end at one position. 0 in a transaction that is not compressed.
    pub fn first_index(&self, layout: LayoutId, in_payload: bool) -> u64 {
        if in_payload { self.payload_rows.get(&layout).copied().unwrap_or_default() } else { 0 }
    }

    /// The rows of an event in a compressed transaction were read. `next`: the index behind the last one.
    pub fn note_payload_rows(&mut self, layout: LayoutId, next: u64) {
        self.payload_rows.insert(layout, next);
    }

    /// The transaction is complete.
    ///
    /// # Errors
    /// It has fewer rows than the checkpoint says were relayed.
    pub fn commit(&mut self, at: &Coordinates) -> Result<(), Error> {
        if self.skip_left > 0 {
            return Err(Error::FewerRows { rows_done: self.rows_done, at: at.clone() });
        }
        if !is_planted(Bug::PartNotForgotten) {
            self.rows_done = 0;
        }
        self.unreadable = None;
        self.has_unreadable_prefix = false;
        self.payload_rows.clear();
        Ok(())
    }

    /// The server took the open transaction back. `at`: its end.
    ///
    /// Rows of it whose numbers were found in the sink say nothing: the rows behind it have the same numbers.
    ///
    /// # Errors
    /// A part of it was relayed already.
    pub fn roll_back(&mut self, at: &Coordinates) -> Result<(), Error> {
        // One that ends before the start was counted, and not relayed: it had been taken back by then.
        let is_before_start = self.start.as_ref().is_some_and(|start| at <= start);
        if self.rows_done > 0 && !is_before_start {
            return Err(Error::RolledBackPart { at: at.clone() });
        }
        self.commit(at)
    }

    /// Whether a batch may be cut like this.
    ///
    /// # Errors
    /// One checkpoint cannot name two transactions that are relayed in part.
    pub fn ensure_cut(&self, cut: Cut, at: &Coordinates) -> Result<(), Error> {
        match (cut, &self.part) {
            (Cut::Part(_), Some(part)) => {
                Err(Error::SplitBeforePart { at: at.clone(), gtid: part.gtid.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Cuts `records` rows off into a batch. Answers with the number of its first row.
    pub fn cut(&mut self, cut: Cut, records: usize, position: &Position) -> u64 {
        let records = records as u64;
        if let Cut::Part(_) = cut {
            self.rows_done += records + u64::from(is_planted(Bug::CheckpointAhead));
        }
        let first_sequence = self.sequence + 1;
        self.sequence += records;
        let next_sequence = self.sequence + 1;
        self.window.take_if(|window| {
            window.is_passed(&position.coordinates, next_sequence)
                || is_planted(Bug::WindowClosedEarly)
        });
        first_sequence
    }

    /// The checkpoint that the last cut leads to. `position`: the boundary before the open transaction, `gtid`: that
    /// transaction; `clean`: the last one of a drain.
    pub fn checkpoint(
        &self,
        position: &Position,
        gtid_set: Option<String>,
        gtid: Option<&Gtid>,
        clean: bool,
    ) -> Checkpoint {
        // Until the transaction that was relayed in part comes by, it must not be forgotten.
        let (rows_done, gtid) = match &self.part {
            Some(part) => (part.rows, part.gtid.as_ref()),
            None => (self.rows_done, gtid),
        };
        let checkpoint = Checkpoint {
            server_uuid: Some(self.stamp.server_uuid.clone()),
            generation: Some(self.stamp.generation),
            sequence: self.sequence,
            clean,
            gtid_set,
            ..Checkpoint::position_without_set(position, rows_done, gtid)
        };
        self.stamp.sign(checkpoint, self.window.as_ref())
    }

    /// The rows that a predecessor may have sent, and this session has not come to.
    pub fn window(&self) -> Option<&ResendWindow> {
        self.window.as_ref()
    }

    /// The next cut at this position leads to a checkpoint that counts no rows after it.
    pub fn is_at_boundary(&self, position: &Coordinates) -> bool {
        let is_passed = |window: &ResendWindow| window.is_passed(position, self.sequence + 1);
        is_planted(Bug::ReloadAnywhere)
            || self.rows_done == 0
                && self.part.is_none()
                && self.window.as_ref().is_none_or(is_passed)
    }

    /// No predecessor sends anything any more, and none has read further than this.
    pub fn note_predecessor_end(&mut self, until: Coordinates) {
        if let Some(window) = &mut self.window {
            window.until = Some(until);
        }
    }

    /// Rows of the open transaction that were relayed already.
    pub fn rows_done(&self) -> u64 {
        self.rows_done
    }

    /// Of the relay.
    pub fn name(&self) -> &str {
        &self.stamp.name
    }

    pub fn generation(&self) -> u64 {
        self.stamp.generation
    }

    pub fn server_uuid(&self) -> &str {
        &self.stamp.server_uuid
    }
}

#[cfg(test)]
mod tests;
