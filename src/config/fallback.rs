//! `on_error`, `oversize` and `dead_letter_topic` of an `[[outbox]]`.

use super::TOPIC_LENGTH_MAX;
use super::error::Error;
use super::read::{Field, Section};
use crate::outbox::{FallbackOptions, OnError, Oversize};

/// What the outboxes have to know of their relay. `None`: it is wrong, which is a problem of its own.
#[derive(Clone, Copy)]
pub(super) struct OfRelay<'a> {
    pub name: Option<&'a str>,
    pub checkpoint_topic: Option<&'a str>,
}

/// What becomes of rows that cannot be records.
pub(super) fn build_fallback(
    section: &Section<'_>,
    relay: OfRelay<'_>,
) -> Option<Option<FallbackOptions>> {
    let on_error = section.read_optional("on_error", |field| {
        field.one_of(&[("halt", OnError::Halt), ("dead-letter", OnError::DeadLetter)])
    });
    let oversize = section.read_optional("oversize", |field| {
        field.one_of(&[
            ("halt", Oversize::Halt),
            ("dead-letter", Oversize::DeadLetter),
            ("claim-check", Oversize::ClaimCheck),
        ])
    });
    let topic = section.read_optional("dead_letter_topic", |field| read_topic(field, relay));
    let (on_error, oversize) =
        (on_error?.unwrap_or(OnError::Halt), oversize?.unwrap_or(Oversize::Halt));
    let dead_letter_topic = topic?.or_else(|| Some(format!("{}.dead-letter", relay.name?)))?;
    let options = FallbackOptions { on_error, oversize, dead_letter_topic };
    let is_halt = options.on_error == OnError::Halt && options.oversize == Oversize::Halt;
    Some((!is_halt).then_some(options))
}

fn read_topic(field: &Field<'_>, relay: OfRelay<'_>) -> Result<String, Error> {
    let topic = field.identifier(TOPIC_LENGTH_MAX)?;
    if Some(&*topic) == relay.checkpoint_topic {
        return Err(field.rule(
            "it is the checkpoint_topic, where a later record of a key replaces the one before",
            "choose another name",
        ));
    }
    Ok(topic)
}
