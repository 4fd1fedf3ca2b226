//! Eventuate Local: a row of `events` becomes the JSON that its clients read as a published event.

use super::json::write_string;
use super::{Buffers, Error, Problem, Row, RowPosition, ensure_legal_topic};
use crate::outbox::Preset;

// Indices into `Preset::EventuateLocal.columns()`.
const EVENT_ID: usize = 0;
const EVENT_TYPE: usize = 1;
const EVENT_DATA: usize = 2;
pub const ENTITY_TYPE: usize = 3;
const ENTITY_ID: usize = 4;
const METADATA: usize = 5;
pub const PUBLISHED: usize = 6;
const NUMBER: usize = 7;

/// Appends key and value. Answers with the length of the key; `None`: the row was published already. Key: the entity id. Topic: the entity type, with `$` written `_DLR_`.
pub fn write(
    row: &Row<'_>,
    position: RowPosition<'_>,
    buffers: &mut Buffers,
    out: &mut Vec<u8>,
) -> Result<Option<usize>, Error> {
    if row.is_published(PUBLISHED)? {
        return Ok(None);
    }
    let id = row.id(EVENT_ID, NUMBER)?;
    let entity_id = row.needed_text(ENTITY_ID)?;
    let entity_type = row.needed_text(ENTITY_TYPE)?;
    buffers
        .name_topic(Preset::EventuateLocal, &entity_type, write_topic)
        .map_err(|problem| row.error(ENTITY_TYPE, problem))?;

    out.extend_from_slice(entity_id.as_bytes());
    out.extend_from_slice(b"{\"id\":");
    write_string(id.as_str(), out);
    out.extend_from_slice(b",\"entityId\":");
    write_string(&entity_id, out);
    out.extend_from_slice(b",\"entityType\":");
    write_string(&entity_type, out);
    if let Some(event_data) = row.text(EVENT_DATA)? {
        out.extend_from_slice(b",\"eventData\":");
        write_string(&event_data, out);
    }
    if let Some(event_type) = row.text(EVENT_TYPE)? {
        out.extend_from_slice(b",\"eventType\":");
        write_string(&event_type, out);
    }
    write_file_offset(position, out);
    if let Some(metadata) = row.text(METADATA)? {
        out.extend_from_slice(b",\"metadata\":");
        write_string(&metadata, out);
    }
    out.push(b'}');
    Ok(Some(entity_id.len()))
}

/// The entity type, with `$` written `_DLR_`.
pub fn write_topic(entity_type: &str, topic: &mut String) -> Result<(), Problem> {
    topic.clear();
    for (index, part) in entity_type.split('$').enumerate() {
        if index > 0 {
            topic.push_str("_DLR_");
        }
        topic.push_str(part);
    }
    ensure_legal_topic(topic)
}

fn write_file_offset(position: RowPosition<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"binlogFileOffset\":{\"binlogFilename\":");
    write_string(position.file, out);
    out.extend_from_slice(b",\"offset\":");
    out.extend_from_slice(itoa::Buffer::new().format(position.end).as_bytes());
    out.extend_from_slice(b",\"rowsToSkip\":");
    out.extend_from_slice(itoa::Buffer::new().format(position.index).as_bytes());
    out.push(b'}');
}
