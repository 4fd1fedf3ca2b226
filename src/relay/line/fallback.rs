//! The rows that cannot be records, or whose records their topics do not take: each outbox says what becomes of them.
//!
//! A dead letter and a claim check take the number of their row, and leave in its batch. So the sequence stays whole, and
//! what is exactly once for records is so for them.

use super::{DecodedRow, HAS_ROUTE, Line};
use crate::batch::{DestinationId, Parts};
use crate::binlog::row::Cell;
use crate::envelope;
use crate::envelope::fallback::{DeadLetter, WholeRow, letter_for};
use crate::error::Error;
use crate::outbox::{Fallback, OnError, Oversize};
use crate::relay::refusal::{Refusal, Verdict};
use crate::sink::{About, Destinational, Destinations, Refused, SinkError, SizeLimit};
use crate::telemetry::Causes;
use crate::telemetry::metrics::DeadLetterReason as Reason;

/// A letter is made once more where its own topic refuses it: then the relay halts.
const TRIES_MAX: usize = 2;

impl<D: Destinations> Line<D> {
    /// Drafts the dead letter of a row that cannot be a record.
    ///
    /// # Errors
    /// The outbox has none for it.
    #[cold]
    pub(super) fn draft_letter_of(
        &mut self,
        row: &DecodedRow<'_>,
        source: envelope::Error,
    ) -> Result<Parts, Error> {
        match letter_for(self.route(row.rows.layout), &source) {
            Some(reason) => self.draft_letter(row, reason, &source.to_string()),
            None => Err(row.error(source)),
        }
    }

    /// The topic of the record in draft, which is not known yet. Where there can be no such topic, the draft becomes a
    /// dead letter.
    pub(super) async fn learn_topic_or_fall_back(
        &mut self,
        row: &DecodedRow<'_>,
        parts: &mut Parts,
    ) -> Result<DestinationId, Error> {
        let error = match self.learn_topic().await {
            Ok(topic) => return Ok(topic),
            Err(error) => error,
        };
        let is_unfit = matches!(
            &error,
            Error::Sink(SinkError { about: About::Destination(Destinational::Unfit), .. })
        );
        if !is_unfit || self.is_letter_topic(row) || !self.has_letters_for_errors(row) {
            return Err(error);
        }
        *parts = self.draft_letter(row, Reason::Topic, &told(&error))?;
        self.letter_topic().await
    }

    /// What takes the place of a record that was refused in an earlier session.
    ///
    /// # Errors
    /// Nothing does: the relay halts, once all before that row has left.
    pub(super) async fn replace_refused(
        &mut self,
        row: &DecodedRow<'_>,
        mut topic: DestinationId,
        parts: &mut Parts,
    ) -> Result<DestinationId, Error> {
        for _ in 0..TRIES_MAX {
            if self.is_in_kafka(row, topic, *parts) {
                break;
            }
            let Some(error) = self.refused(row, topic, *parts) else { break };
            let fallback = self.fallback(row);
            let (oversize, on_error) = fallback.map_or((Oversize::Halt, OnError::Halt), |it| {
                (it.options.oversize, it.options.on_error)
            });
            let reason = match error {
                Error::RecordTooLarge { .. } => Some(Reason::Size),
                Error::RecordRefused { limit: SizeLimit::None, .. } => Some(Reason::Topic),
                Error::RecordRefused { .. } => Some(Reason::Size),
                _ => None,
            };
            match (reason, oversize, on_error) {
                _ if self.is_letter_topic(row) => return Err(error),
                (Some(Reason::Size), Oversize::ClaimCheck, _) => {
                    *parts = self.draft_claim_check(row, *parts)?;
                    if self.is_too_large(topic, *parts) {
                        return Err(error);
                    }
                    break;
                }
                (Some(reason @ Reason::Size), Oversize::DeadLetter, _)
                | (Some(reason @ Reason::Topic), _, OnError::DeadLetter) => {
                    *parts = self.draft_letter(row, reason, &told(&error))?;
                    topic = self.letter_topic().await?;
                }
                _ => return Err(error),
            }
        }
        Ok(topic)
    }

    /// The row may be in the topic of dead letters: that later records are in its own partition then says nothing.
    pub(super) fn may_be_elsewhere(&self, row: &DecodedRow<'_>) -> bool {
        self.fallback(row).is_some_and(|it| it.options.has_dead_letters())
    }

    /// The error of a row whose record was refused; `None` where it was not, or is to be sent again.
    fn refused(&self, row: &DecodedRow<'_>, topic: DestinationId, parts: Parts) -> Option<Error> {
        let name = &self.destinations.get(topic).name;
        // On another server, another row may have this number.
        let refusal = self.options.refusals.of(self.next_sequence(), name)?;
        self.name_refused(refusal, row, topic, parts)
    }

    fn name_refused(
        &self,
        refusal: &Refusal,
        row: &DecodedRow<'_>,
        topic: DestinationId,
        parts: Parts,
    ) -> Option<Error> {
        let destination = self.destinations.get(topic);
        let bytes = self.draft_record_bytes(parts);
        let may_divert = self.has_letters_for_errors(row);
        let (table, at, row) = (row.rows.table.full_name(), row.at(), row.index);
        let topic = destination.name.to_string();
        let sent_below = self.destinations.batch_bytes_max();
        match refusal.verdict(bytes, destination.record_bytes_max, sent_below, may_divert) {
            Verdict::SendAgain => None,
            Verdict::OneByOne => {
                Some(Error::OneByOne { topic, sequence: refusal.refused.sequence })
            }
            Verdict::TooLarge { bytes_max } => {
                Some(Error::RecordTooLarge { table, at, row, topic, bytes, bytes_max })
            }
            Verdict::Refused => {
                let Refused { fate, cause: source, limit, .. } = refusal.refused.clone();
                Some(Error::RecordRefused { table, at, row, topic, bytes, limit, fate, source })
            }
        }
    }

    /// The record in draft cannot be taken, as far as is known.
    fn is_too_large(&self, topic: DestinationId, parts: Parts) -> bool {
        let bytes_max = self.destinations.get(topic).record_bytes_max;
        bytes_max.is_some_and(|bytes_max| self.draft_record_bytes(parts) > bytes_max)
    }

    fn draft_record_bytes(&self, parts: Parts) -> usize {
        let length = Option::unwrap_or_default;
        let headers = self.filling.draft_headers(parts);
        self.destinations.record_bytes(length(parts.key_len), length(parts.value_len), headers)
    }

    fn draft_letter(
        &mut self,
        row: &DecodedRow<'_>,
        reason: Reason,
        error: &str,
    ) -> Result<Parts, Error> {
        let route = self.routes[row.rows.layout.index].as_ref().expect(HAS_ROUTE);
        let fallback = route.fallback.as_ref().expect("a letter is drafted where there is one");
        let cells = whole_cells(fallback, row)?;
        let facts = row.facts(&self.ledger, self.filling.len());
        let (topic, key) = envelope::address(route, row.cells, &facts, &mut self.buffers);
        let whole = WholeRow { fallback, cells: &cells, facts: &facts };
        let (topic, key) = (topic.as_deref(), key.as_deref());
        let letter = DeadLetter { reason, error, topic, key };
        self.filling.drop_draft();
        let parts = whole.write_dead_letter(&letter, self.filling.draft());
        self.buffers.set_topic(&fallback.options.dead_letter_topic);
        let sequence = self.next_sequence();
        if self.observer.note_letter(sequence, reason) {
            let (table, at) = (row.rows.table.full_name(), row.at());
            tracing::warn!(
                table, %at, row = row.index + 1, sequence, topic = self.buffers.topic(), "a row becomes a dead letter: {error}"
            );
        }
        Ok(parts)
    }

    fn draft_claim_check(&mut self, row: &DecodedRow<'_>, planned: Parts) -> Result<Parts, Error> {
        let route = self.routes[row.rows.layout.index].as_ref().expect(HAS_ROUTE);
        let fallback = route.fallback.as_ref().expect("a claim check is made where there is one");
        let cells = whole_cells(fallback, row)?;
        let (key, headers) = self.filling.draft_key_and_headers(planned);
        let (key, headers) = (key.to_vec(), headers.to_vec());
        self.filling.drop_draft();
        let facts = row.facts(&self.ledger, self.filling.len());
        let whole = WholeRow { fallback, cells: &cells, facts: &facts };
        Ok(whole.write_claim_check(planned, &key, &headers, self.filling.draft()))
    }

    async fn letter_topic(&mut self) -> Result<DestinationId, Error> {
        match self.known_topic() {
            Some(topic) => Ok(topic),
            None => self.learn_topic().await,
        }
    }

    /// The record in draft is a dead letter.
    fn is_letter_topic(&self, row: &DecodedRow<'_>) -> bool {
        let of = |fallback: &Fallback| fallback.options.dead_letter_topic == self.buffers.topic();
        self.fallback(row).is_some_and(of)
    }

    fn has_letters_for_errors(&self, row: &DecodedRow<'_>) -> bool {
        self.fallback(row).is_some_and(|it| it.options.on_error == OnError::DeadLetter)
    }

    fn fallback(&self, row: &DecodedRow<'_>) -> Option<&Fallback> {
        self.route(row.rows.layout).fallback.as_deref()
    }
}

fn whole_cells<'a>(fallback: &Fallback, row: &DecodedRow<'a>) -> Result<Vec<Cell<'a>>, Error> {
    fallback.decode(row.bytes, row.rows.event.present()).map_err(|source| Error::Decode {
        table: row.rows.table.full_name(),
        at: row.at(),
        row: row.index,
        source,
    })
}

/// An error with its causes, as a letter tells it.
fn told(error: &Error) -> String {
    Causes(error).to_string()
}
