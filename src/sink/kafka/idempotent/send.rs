//! Sends batches, up to the allowed distance ahead of the checkpoint, and only while nobody can have replaced us.

use std::time::{Instant, SystemTime};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::reported::Reported;
use super::settle::Settled;
use super::{BATCHES_MAX, FenceProbe, InFlight, Sending, refusal_while};
use crate::batch::RecordRef;
use crate::failpoint::failpoint;
use crate::resend::ROWS_AHEAD_MAX;
use crate::sink::Sealed;
use crate::sink::kafka::PublishError;
use crate::sink::kafka::client::Record;
use crate::sink::kafka::orders::Answers;
use crate::sink::kafka::reports::Refused;
use crate::sink::kafka::sequence::SequenceHeader;

impl Sending {
    /// Sends the batches that are not too far ahead of the checkpoint, unless a successor may be sending them.
    pub(super) fn send_waiting(&mut self, answers: &Answers) -> Result<(), PublishError> {
        if self.in_flight.back().is_some_and(|batch| batch.is_paused) {
            self.note_suspension();
            self.resume(answers)?;
        }
        let is_paused = |batch: &InFlight| batch.is_paused;
        while self.may_send()
            && self.in_flight.len() < BATCHES_MAX
            && !self.in_flight.back().is_some_and(is_paused)
        {
            // The suspension may have come since the thread looked last.
            self.note_suspension();
            let may_send = self.waiting.front().is_some_and(|sealed| {
                let ahead = sealed.checkpoint.sequence.saturating_sub(self.stored_sequence);
                sealed.batch.is_empty() || ahead <= ROWS_AHEAD_MAX && self.fence_probe.is_none()
            });
            if !may_send {
                break;
            }
            let sealed = self.waiting.pop_front().expect("it was looked at");
            self.send(sealed, answers)?;
        }
        Ok(())
    }

    fn may_send(&self) -> bool {
        self.failed.is_none() && !self.reported.has_refused()
    }

    fn send(&mut self, sealed: Sealed, answers: &Answers) -> Result<(), PublishError> {
        let slot = self.next_slot;
        self.next_slot = (slot + 1) % BATCHES_MAX;
        if self.in_flight.is_empty() {
            self.progress.at = Instant::now();
        }
        let (sent_at, unsent) = (SystemTime::now(), sealed.batch.unsent());
        self.reported.expect(slot, unsent);
        let (left, is_paused, is_whole) = (unsent, false, false);
        self.send_rest(InFlight { sealed, slot, sent_at, left, is_paused, is_whole }, answers)
    }

    /// Sends the rest of the last batch after a suspension, once the fence probe has succeeded.
    fn resume(&mut self, answers: &Answers) -> Result<(), PublishError> {
        let has_refused = self.reported.has_refused();
        if !has_refused && (self.failed.is_some() || self.fence_probe.is_some()) {
            return Ok(());
        }
        let mut batch = self.in_flight.pop_back().expect("it was looked at");
        batch.is_paused = false;
        if has_refused {
            self.reported.note_unsent(batch.slot, std::mem::take(&mut batch.left));
            self.in_flight.push_back(batch);
            return Ok(());
        }
        self.send_rest(batch, answers)
    }

    fn send_rest(&mut self, mut batch: InFlight, answers: &Answers) -> Result<(), PublishError> {
        let (slot, sealed) = (batch.slot, &batch.sealed);
        let generation = sealed.checkpoint.generation.unwrap_or_default();
        let mut header = SequenceHeader::new(&self.options.name, generation);
        let (records, first) = (&sealed.batch, sealed.first_sequence);
        let (mut left, mut unsent, mut is_paused) = (batch.left, 0, false);
        for (index, record) in records.unsent_records().skip(records.unsent() - left) {
            let destination = self.producers.destination(record.topic);
            let RecordRef { key, value, headers, timestamp, .. } = record;
            let sequence = Some(header.spell(first + index as u64));
            let (partition, tag) = (None, Reported::tag(index, slot));
            let to_send = Record { key, value, partition, sequence, headers, timestamp, tag };
            let sent = destination.send(to_send, record.partition);
            match sent {
                Ok(()) => left -= 1,
                // The producer has ended. The report on a failed record tells why.
                Err(error) if is_fatal(&error) => {
                    unsent = left;
                    break;
                }
                Err(error) => {
                    let topic = destination.name().to_string();
                    let refused = Refused { index, slot, topic, error };
                    let error = refusal_while("send a record", refused);
                    return Err(error.of_rows(first, records.len()));
                }
            }
            if destination.surely_takes(record.bytes()) {
                continue;
            }
            match self.settle(destination.name(), left, answers) {
                Settled::All => {}
                Settled::Suspended => {
                    is_paused = true;
                    break;
                }
                Settled::GivenUp => break,
            }
        }
        if left > 0 && self.reported.has_refused() {
            unsent = left;
        }
        if unsent > 0 {
            self.reported.note_unsent(slot, unsent);
        }
        failpoint!("records-sent");
        (batch.is_whole, batch.left) = (left == 0, left - unsent);
        batch.is_paused = is_paused && batch.left > 0;
        if is_paused {
            self.fence_probe = Some(FenceProbe::Wanted);
        }
        self.in_flight.push_back(batch);
        Ok(())
    }
}

fn is_fatal(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal)
}
