//! Debezium's outbox event router, and the converters of its records, as keys of `[[outbox]]`.
//!
//! Templates name the table's columns themselves: a name of the preset that was renamed to another one of the preset
//! would be read twice.

use super::draft::{Draft, quoted, relay_name, shown};
use super::properties::Settings;

/// Debezium's defaults, which are those of the preset.
const DEFAULT_REGEX: &str = "(?<routedByValue>.*)";
const DEFAULT_REPLACEMENT: &str = "outbox.event.${routedByValue}";

/// What a converter writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The text, or the bytes.
    Plain,
    Json,
    /// With its schema around it.
    JsonWithSchema,
}

/// The converters of key, value and headers.
#[derive(Debug, Clone, Copy)]
pub struct Converters {
    pub key: Written,
    pub value: Written,
    pub headers: Written,
}

impl Converters {
    pub fn take(settings: &mut Settings, draft: &mut Draft) -> Converters {
        Converters {
            key: converter(settings, draft, "key.converter"),
            value: converter(settings, draft, "value.converter"),
            headers: converter(settings, draft, "header.converter"),
        }
    }
}

fn converter(settings: &mut Settings, draft: &mut Draft, option: &str) -> Written {
    let schemas = settings.take(&format!("{option}.schemas.enable"));
    let Some(class) = settings.take(option) else {
        if option != "header.converter" {
            draft.leave_todo(
                option,
                "is not in this file, so the worker's holds: look it up, add it, and import again; StringConverter is assumed",
            );
        }
        return Written::Plain;
    };
    let name = class.rsplit('.').next().unwrap_or_default();
    match name {
        "StringConverter"
        | "SimpleHeaderConverter"
        | "ByteArrayConverter"
        | "BinaryDataConverter"
        | "ByteBufferConverter" => Written::Plain,
        "JsonConverter"
            if schemas.as_deref().is_some_and(|it| it.eq_ignore_ascii_case("false")) =>
        {
            Written::Json
        }
        "JsonConverter" => Written::JsonWithSchema,
        "CloudEventsConverter" => {
            draft.leave_todo(
                &format!("{option} = {class}"),
                "set value = \"cloudevents\" with [outbox.cloudevents], and compare a record",
            );
            Written::Plain
        }
        _ => {
            draft.leave_todo(
                &format!("{option} = {class}"),
                "the relay has no such converter: let the application write the framed bytes into a BLOB column, or \
                 change the consumers to JSON",
            );
            Written::Plain
        }
    }
}

/// A template for a column, as the converter writes it. `is_optional`: the column may be NULL.
fn template(column: &str, written: Written, is_optional: bool) -> String {
    let null = if is_optional { "|default:null" } else { "" };
    match written {
        Written::Plain => format!("{{{column}}}"),
        Written::Json => format!("{{{column}|json{null}}}"),
        Written::JsonWithSchema => format!(
            "{{{{\"schema\":{{{{\"type\":\"string\",\"optional\":{is_optional}}}}},\"payload\":{{{column}|json{null}}}}}}}"
        ),
    }
}

/// Where an additional column goes.
struct Placement {
    column: String,
    alias: String,
}

#[derive(Default)]
struct Placements {
    headers: Vec<Placement>,
    envelope: Vec<Placement>,
    partition: Option<String>,
}

fn placements(text: &str, draft: &mut Draft) -> Placements {
    let mut placements = Placements::default();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let parts: Vec<&str> = item.split(':').map(str::trim).collect();
        let (column, alias) = (parts[0].to_owned(), parts.get(2).unwrap_or(&parts[0]).to_string());
        match parts.get(1).map(|place| place.to_ascii_lowercase()).as_deref() {
            Some("header") => placements.headers.push(Placement { column, alias }),
            Some("envelope") => placements.envelope.push(Placement { column, alias }),
            Some("partition") => placements.partition = Some(column),
            _ => draft.leave_todo(
                &format!("table.fields.additional.placement: {item}"),
                "is no column:place or column:place:alias",
            ),
        }
    }
    placements
}

/// The options of one router, under the prefix `transforms.NAME.`.
pub struct Router<'a> {
    settings: &'a mut Settings,
    prefix: String,
    converters: Converters,
}

impl<'a> Router<'a> {
    pub fn new(settings: &'a mut Settings, alias: &str, converters: Converters) -> Router<'a> {
        let prefix = format!("transforms.{alias}.");
        settings.take(&format!("{prefix}type"));
        Router { settings, prefix, converters }
    }

    fn take(&mut self, option: &str) -> Option<String> {
        self.settings.take(&format!("{}{option}", self.prefix)).filter(|value| !value.is_empty())
    }

    fn column(&mut self, option: &str, default: &str) -> String {
        self.take(option).unwrap_or_else(|| default.to_owned())
    }

    fn is_true(&mut self, option: &str) -> bool {
        self.take(option).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// Writes the keys of an `[[outbox]]`, but for its table. What differs from the preset stands there.
    pub fn write(mut self, draft: &mut Draft) {
        draft.text("the outbox event router's records", "preset", "outbox");
        self.topic(draft);
        let key = self.column("table.field.event.key", "aggregateid");
        if key != "aggregateid" || self.converters.key != Written::Plain {
            let template =
                template(&key, self.converters.key, self.converters.key == Written::Json);
            draft.text("table.field.event.key, key.converter", "key", &template);
        }
        draft.idle(
            "a NULL key halts; Debezium sends it to any partition",
            "key_null",
            "\"partition-by-sequence\"",
        );
        let placed = self.take("table.fields.additional.placement").unwrap_or_default();
        let placements = placements(&placed, draft);
        self.value(&placements, draft);
        self.headers(&placements, draft);
        if let Some(column) = &placements.partition {
            let from =
                "table.fields.additional.placement: partition; modulo the number of partitions";
            draft.text(from, "partition", &format!("{{{column}}}"));
        }
        if let Some(column) = self.take("table.field.event.timestamp") {
            draft.text("table.field.event.timestamp", "timestamp", &format!("{{{column}}}"));
        }
        self.leave_rest(draft);
    }

    fn topic(&mut self, draft: &mut Draft) {
        let column = self.column("route.by.field", "aggregatetype");
        let regex = self.column("route.topic.regex", DEFAULT_REGEX);
        let replacement = self.column("route.topic.replacement", DEFAULT_REPLACEMENT);
        let group = match regex.as_str() {
            DEFAULT_REGEX => Some("${routedByValue}"),
            "(.*)" | "(.+)" => Some("$1"),
            _ => None,
        };
        let topic = group.and_then(|group| topic_template(&replacement, group, &column));
        match topic {
            Some(topic) if topic == "outbox.event.{aggregatetype}" => {}
            Some(topic) => draft.text("route.by.field, route.topic.replacement", "topic", &topic),
            None => {
                draft.todo(&format!(
                    "route.topic.regex = {regex}, route.topic.replacement = {replacement}: a template cannot take a \
                     text apart. Write the topic that your rows get, for instance with a generated column"
                ));
                draft.text("route.by.field", "topic", &format!("{{{column}}}"));
            }
        }
    }

    fn value(&mut self, placements: &Placements, draft: &mut Draft) {
        let payload = self.column("table.field.event.payload", "payload");
        let expands = self.is_true("table.expand.json.payload");
        let makes_tombstones = self.is_true("route.tombstone.on.empty.payload");
        if !placements.envelope.is_empty() {
            return self.envelope(&payload, &placements.envelope, draft);
        }
        let written = self.converters.value;
        if expands && written == Written::Plain {
            draft.todo(
                "table.expand.json.payload without a JsonConverter: Debezium writes Struct{…}. The payload is written as it is",
            );
        }
        let template = match (expands, written) {
            (true, Written::JsonWithSchema) => {
                draft.todo(
                    "table.expand.json.payload with schemas: the schema of each payload cannot be made. The value is the \
                     expanded payload alone",
                );
                format!("{{{payload}|nested}}")
            }
            (true, Written::Json) => format!("{{{payload}|nested}}"),
            (_, Written::Plain) => template(&payload, Written::Plain, true),
            (false, _) if makes_tombstones => {
                draft.todo(
                    "route.tombstone.on.empty.payload with a JsonConverter: a template cannot be NULL. A row with a NULL \
                     payload becomes null as text, not a tombstone",
                );
                template(&payload, written, true)
            }
            (false, _) => template(&payload, written, true),
        };
        let is_plain = written == Written::Plain;
        if template != "{payload}" {
            let template = if expands && !is_plain {
                template.replace("|nested}", "|nested|default:null}")
            } else {
                template
            };
            draft.text(
                "table.field.event.payload, value.converter, table.expand.json.payload",
                "value",
                &template,
            );
        }
        if is_plain {
            let compact = format!("{{{payload}|compact}}");
            draft.idle(
                "for a payload of type JSON: without the spaces that MySQL writes, as Debezium does",
                "value",
                &quoted(&compact),
            );
        }
        if makes_tombstones {
            draft.comment(
                "route.tombstone.on.empty.payload: a NULL payload is a tombstone here; an empty text is an empty value",
            );
        }
    }

    fn envelope(&self, payload: &str, placed: &[Placement], draft: &mut Draft) {
        let braces = |text: &str| text.replace('{', "{{").replace('}', "}}");
        if self.converters.value == Written::Plain {
            draft.todo(
                "columns in the envelope, with a converter that writes no JSON: Debezium writes Struct{…} without what is \
                 NULL; here a NULL halts. JSON is the better value",
            );
            let members =
                placed.iter().map(|it| format!(",{}={{{}}}", braces(&it.alias), it.column));
            let value =
                format!("Struct{{{{payload={{{payload}}}{}}}}}", members.collect::<String>());
            return draft.text("table.fields.additional.placement: envelope", "value", &value);
        }
        if self.converters.value == Written::JsonWithSchema {
            draft.todo(
                "columns in the envelope, with schemas: the schema depends on the columns. The payload of the JSON is \
                 written without it; take the schema from a record, and write it around",
            );
        }
        let mut members = vec![format!("\"payload\":{{{payload}|json|default:null}}")];
        members.extend(placed.iter().map(|Placement { column, alias }| {
            format!("{}:{{{column}|json|default:null}}", serde_json::Value::from(braces(alias)))
        }));
        let value = format!("{{{{{}}}}}", members.join(","));
        draft.text("table.fields.additional.placement: envelope", "value", &value);
        draft.comment(
            "text and whole numbers are as in Debezium; dates and times are MySQL's text, where Debezium writes numbers",
        );
    }

    fn headers(&mut self, placements: &Placements, draft: &mut Draft) {
        let id = self.column("table.field.event.id", "id");
        let written = self.converters.headers;
        if id == "id" && placements.headers.is_empty() && written == Written::Plain {
            return;
        }
        // Without schemas, NULL is written as null. A schema says whether it may be.
        let is_optional = written == Written::Json;
        let mut headers = vec![("id".to_owned(), template(&id, written, is_optional))];
        for Placement { column, alias } in &placements.headers {
            if alias == crate::sink::kafka::sequence::SEQUENCE_HEADER
                || headers.iter().any(|(name, _)| name == alias)
            {
                draft.leave_todo(
                    &format!("table.fields.additional.placement: {column}:header:{alias}"),
                    "there is a header of this name already",
                );
            } else {
                headers.push((alias.clone(), template(column, written, is_optional)));
            }
        }
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, template)| format!("{} = {}", header_name(name), quoted(template)))
            .collect();
        draft.key(
            "table.field.event.id, table.fields.additional.placement: header; a NULL column leaves its header out",
            "headers",
            &format!("{{ {} }}", headers.join(", ")),
        );
    }

    /// Options of the router that change no record here.
    fn leave_rest(&mut self, draft: &mut Draft) {
        if let Some(behavior) = self.take("table.op.invalid.behavior") {
            match behavior.to_ascii_lowercase().as_str() {
                "fatal" => draft.text(
                    "table.op.invalid.behavior = fatal: an update halts the relay",
                    "on_update",
                    "halt",
                ),
                _ => draft.text(
                    "table.op.invalid.behavior: an update is ignored, without a line in the log",
                    "on_update",
                    "ignore",
                ),
            }
        }
        for (option, what) in [
            ("table.field.event.type", "the router itself does not use it"),
            (
                "table.field.event.schema.version",
                "it is the version of a Connect schema, which these records do not have",
            ),
            (
                "table.json.payload.null.behavior",
                "members that are null stay in an expanded payload",
            ),
            ("table.json.payload.empty.array.behavior", "empty arrays stay in an expanded payload"),
            (
                "table.field.additional.missing",
                "a column that the table lacks halts the relay at its start",
            ),
            (
                "debezium.op.invalid.behavior",
                "the old name of table.op.invalid.behavior: an update is ignored",
            ),
            ("negate", "see the predicate"),
        ] {
            if let Some(value) = self.take(option) {
                draft.leave(&format!("{}{option}{}", self.prefix, shown(option, &value)), what);
            }
        }
        for option in [
            "tracing.span.context.field",
            "tracing.operation.name",
            "tracing.with.context.field.only",
        ] {
            if let Some(value) = self.take(option) {
                draft.leave_todo(
                    &format!("{}{option} = {value}", self.prefix),
                    "the relay makes no spans. It can pass the writer's on, with {tracingspancontext|property:traceparent} \
                     as a header: docs/recipes.md",
                );
            }
        }
    }
}

/// A replacement in which the group stands for the whole value.
fn topic_template(replacement: &str, group: &str, column: &str) -> Option<String> {
    let mut topic = String::new();
    let mut rest = replacement;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(group) {
            topic.push_str(&format!("{{{column}}}"));
            rest = after;
        } else {
            let c = rest.chars().next()?;
            if c == '$' || c == '\\' {
                return None;
            }
            if c == '{' || c == '}' {
                topic.push(c);
            }
            topic.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    Some(topic)
}

fn header_name(name: &str) -> String {
    if relay_name(name) == name && !name.contains('.') { name.to_owned() } else { quoted(name) }
}
