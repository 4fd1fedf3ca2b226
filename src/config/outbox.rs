//! `[[outbox]]`: which table it is, and the plan by which its rows become records.

use std::sync::Arc;

use super::error::Error;
use super::fallback::{OfRelay, build_fallback};
use super::keys::OUTBOX;
use super::read::{Field, Section};
use crate::binlog::Guard;
use crate::binlog::value::{BinaryFormat, DecimalFormat, JsonOptions};
use crate::nearest::nearest;
use crate::outbox::template::Template;
use crate::outbox::{
    self, CLOUD_EVENT_NEEDS, CloudEventMode, CloudEventOptions, Condition, KeyNull, OutboxOptions,
    PlanOptions, Preset, TablePattern, ValueNull, ValueOptions,
};
use crate::sink::kafka::dead_letters::REPLAYED_HEADER;
use crate::sink::kafka::sequence::SEQUENCE_HEADER;

/// Keys that only a preset with a plan has.
const OF_PLANS: [&str; 15] = [
    "columns",
    "topic",
    "key",
    "key_null",
    "value",
    "value_null",
    "headers",
    "partition",
    "timestamp",
    "where",
    "on_update",
    "on_delete",
    "on_error",
    "oversize",
    "dead_letter_topic",
];

/// Stands for NULL in the lists of `where`.
const NULL: &str = "NULL";

pub(super) fn build_outboxes(root: &Section<'_>, relay: OfRelay<'_>) -> Option<Vec<OutboxOptions>> {
    let sections = root.sections(OUTBOX);
    let tables: Vec<_> = sections.iter().map(|section| section.read("table", read_table)).collect();
    let named: Vec<_> = tables.iter().map(Option::as_ref).collect();
    for (first, second) in outbox::find_overlaps(&named) {
        if let (Some(one), Some(other)) = (named[first], named[second]) {
            let place = sections[first].place();
            sections[second].keep::<()>(sections[second].field("table").and_then(|field| {
                let problem = format!("{other} overlaps {one} at {place}");
                Err(field.rule(problem, "let each table belong to one [[outbox]]"))
            }));
        }
    }
    let build = |(section, table)| build_outbox(section, table, relay);
    let outboxes = sections.iter().zip(tables).map(build);
    outboxes.collect::<Vec<_>>().into_iter().collect()
}

fn read_table(field: &Field<'_>) -> Result<TablePattern, Error> {
    field.text()?.parse().map_err(|error| table_error(field, error))
}

fn read_preset(field: &Field<'_>) -> Result<Preset, Error> {
    field.text()?.parse().map_err(|error| preset_error(field, error))
}

fn build_outbox(
    section: &Section<'_>,
    table: Option<TablePattern>,
    relay: OfRelay<'_>,
) -> Option<OutboxOptions> {
    let preset = section.read("preset", read_preset);
    let has_writer = preset.is_some_and(Preset::has_writer);
    let (outbox_id, plan) = if has_writer {
        for name in OF_PLANS {
            ensure_unused(section, name, preset);
        }
        let outbox_id = section.read_optional("outbox_id", |id| id.number(0..=i64::MAX as u64));
        (outbox_id, Some(None))
    } else {
        ensure_unused(section, "outbox_id", preset);
        (Some(None), build_plan(section, preset, relay).map(|plan| Some(Arc::new(plan))))
    };
    Some(OutboxOptions { table: table?, preset: preset?, outbox_id: outbox_id?, plan: plan? })
}

/// Of a preset that is known: another one may have the key.
fn ensure_unused(section: &Section<'_>, name: &'static str, preset: Option<Preset>) {
    if let (Some(field), Some(preset)) = (section.optional(name), preset) {
        section.keep::<()>(Err(field.rule(
            format!("the preset {preset} has no such key"),
            "leave it out, or choose another preset",
        )));
    }
}

fn table_error(field: &Field<'_>, error: outbox::Error) -> Error {
    match error.hint() {
        Some(hint) => field.rule(&error, hint),
        None => field.unexpected(
            "\"database.table\"; a * matches within either name, and what is in `backticks` stands for itself",
        ),
    }
}

fn preset_error(field: &Field<'_>, error: outbox::Error) -> Error {
    match &error {
        outbox::Error::UnknownPreset { nearest: Some(nearest), .. } => {
            field.rule(&error, format!("did you mean {nearest}?"))
        }
        _ => field.unexpected(format!("one of {}", Preset::ALL.map(Preset::as_str).join(", "))),
    }
}

/// The plan of the preset, with what the section says otherwise. Where the preset is not known, only what is wrong for
/// all of them is.
fn build_plan(
    section: &Section<'_>,
    preset: Option<Preset>,
    relay: OfRelay<'_>,
) -> Option<PlanOptions> {
    let base = preset.and_then(PlanOptions::of);
    let base = base.as_ref();
    let needed = |name| {
        let is_missing = base.is_none() && preset.is_some() && section.optional(name).is_none();
        is_missing.then(|| section.keep::<()>(Err(section.missing(name))));
    };
    needed("topic");
    needed("value");
    let topic = template(section, "topic").map(|it| it.or(base.map(|plan| plan.topic.clone())));
    let key =
        template(section, "key").map(|it| it.or_else(|| base.and_then(|plan| plan.key.clone())));
    let value = build_value(section, base);
    let key_null = section.read_optional("key_null", |field| {
        field.one_of(&[
            ("partition-by-sequence", KeyNull::PartitionBySequence),
            ("halt", KeyNull::Halt),
        ])
    });
    let value_null = section.read_optional("value_null", |field| {
        field.one_of(&[
            ("tombstone", ValueNull::Tombstone),
            ("empty", ValueNull::Empty),
            ("halt", ValueNull::Halt),
        ])
    });
    let headers = match section.optional("headers") {
        Some(_) => build_headers(section),
        None => Some(base.map(|plan| plan.headers.clone()).unwrap_or_default()),
    };
    if let (Some(Some(value)), Some(headers)) = (&value, &headers) {
        ensure_headers_once(section, value, headers);
    }
    let columns = build_columns(section, preset);
    let (partition, timestamp) = (template(section, "partition"), template(section, "timestamp"));
    let conditions = build_conditions(section);
    let (updates, deletes) = (is_refused(section, "on_update"), is_refused(section, "on_delete"));
    let fallback = build_fallback(section, relay);
    Some(PlanOptions {
        columns: columns?,
        topic: topic??,
        key: key?,
        key_null: key_null?.unwrap_or(base.map_or(KeyNull::PartitionBySequence, |it| it.key_null)),
        value: value??,
        value_null: value_null?.unwrap_or(ValueNull::Tombstone),
        headers: headers?,
        partition: partition?,
        timestamp: timestamp?,
        conditions: conditions?,
        guard: Guard { updates: updates?, deletes: deletes? },
        fallback: fallback?,
    })
}

/// Changes of this kind halt. `None`: the key is wrong.
fn is_refused(section: &Section<'_>, name: &'static str) -> Option<bool> {
    let read = |field: &Field<'_>| field.one_of(&[("ignore", false), ("halt", true)]);
    section.read_optional(name, read).map(Option::unwrap_or_default)
}

/// The template of a key that may be left out. `None`: it is wrong.
fn template(section: &Section<'_>, name: &'static str) -> Option<Option<Template>> {
    match section.optional(name) {
        None => Some(None),
        Some(field) => template_of(section, &field).map(Some),
    }
}

/// Keeps each problem of the template.
fn template_of(section: &Section<'_>, field: &Field<'_>) -> Option<Template> {
    let text = section.keep(field.text())?;
    match Template::read(&text) {
        Ok(template) => Some(template),
        Err(errors) => {
            for error in errors {
                section.keep::<()>(Err(field.rule(
                    error,
                    "{column} stands for a column, {@sequence} and its like for the row's place; docs/records.md lists \
                     them",
                )));
            }
            None
        }
    }
}

/// The value that the section says, or else the preset's. `Some(None)`: neither has one.
fn build_value(section: &Section<'_>, base: Option<&PlanOptions>) -> Option<Option<ValueOptions>> {
    let word = section.read_optional("value", Field::text);
    let word = word.as_ref().map(|text| text.as_deref());
    // What is written in them is looked at in any case.
    let json = build_json(&section.inner("outbox.json", "json"));
    let cloud_event = build_cloud_event(
        &section.inner("outbox.cloudevents", "cloudevents"),
        base,
        word == Some(Some("cloudevents")),
    );
    match word? {
        Some("json") => json.map(Some),
        Some("cloudevents") => cloud_event.map(|it| Some(ValueOptions::CloudEvent(it))),
        Some(_) => template(section, "value").map(|value| value.map(ValueOptions::Template)),
        None => Some(base.map(|plan| plan.value.clone())),
    }
}

fn build_cloud_event(
    section: &Section<'_>,
    base: Option<&PlanOptions>,
    is_wanted: bool,
) -> Option<CloudEventOptions> {
    let mode = section.read("mode", |field| {
        field.one_of(&[
            ("binary", CloudEventMode::Binary),
            ("structured", CloudEventMode::Structured),
        ])
    });
    let mut attributes = Some(Vec::new());
    for name in ["id", "source", "type", "subject", "time", "datacontenttype", "dataschema"] {
        match template(section, name) {
            Some(Some(template)) => {
                attributes.iter_mut().for_each(|all| all.push((name, template.clone())));
            }
            Some(None) if is_wanted && CLOUD_EVENT_NEEDS.contains(&name) => {
                attributes = section.keep(Err(section.missing(name)));
            }
            Some(None) => {}
            None => attributes = None,
        }
    }
    let data = match (template(section, "data"), base.map(|plan| &plan.value)) {
        (Some(None), Some(ValueOptions::Template(value))) => Some(Some(value.clone())),
        (data, _) => data,
    };
    Some(CloudEventOptions { mode: mode?, attributes: attributes?, data: data? })
}

fn build_json(json: &Section<'_>) -> Option<ValueOptions> {
    let names = |name| {
        let names = json.read_optional(name, |field| {
            field.items()?.iter().map(Field::some_text).collect::<Result<Vec<_>, _>>()
        });
        names.map(Option::unwrap_or_default)
    };
    let decimal = json.read("decimal", |field| {
        field.one_of(&[("string", DecimalFormat::String), ("number", DecimalFormat::Number)])
    });
    let binary = json.read("binary", |field| {
        field.one_of(&[("base64", BinaryFormat::Base64), ("hex", BinaryFormat::Hex)])
    });
    let (include, exclude) = (names("include"), names("exclude"));
    let options = JsonOptions { decimal: decimal?, binary: binary? };
    Some(ValueOptions::Json { include: include?, exclude: exclude?, options })
}

fn build_headers(section: &Section<'_>) -> Option<Vec<(String, Template)>> {
    let build = |(name, field): (&str, Field<'_>)| {
        if [SEQUENCE_HEADER, REPLAYED_HEADER].contains(&name) {
            return section.keep(Err(
                field.rule(format!("{name} is the relay's own header"), "choose another name")
            ));
        }
        Some((name.to_owned(), template_of(section, &field)?))
    };
    let headers = section.inner("outbox.headers", "headers");
    headers.entries().map(build).collect::<Vec<_>>().into_iter().collect()
}

/// A CloudEvent has headers of its own.
fn ensure_headers_once(
    section: &Section<'_>,
    value: &ValueOptions,
    headers: &[(String, Template)],
) {
    let ValueOptions::CloudEvent(event) = value else { return };
    let own = event.headers();
    for (name, field) in section.inner("outbox.headers", "headers").entries() {
        if headers.iter().any(|(known, _)| known == name) && own.iter().any(|own| own == name) {
            section.keep::<()>(Err(field.rule(
                "the CloudEvent has a header of that name already",
                "choose another name, or set the attribute in [outbox.cloudevents]",
            )));
        }
    }
}

fn build_columns(section: &Section<'_>, preset: Option<Preset>) -> Option<Vec<(String, String)>> {
    let build = |(name, field): (&str, Field<'_>)| {
        section.keep(preset.map_or(Ok(()), |preset| ensure_column(preset, name, &field)))?;
        Some((name.to_owned(), section.keep(field.some_text())?))
    };
    let columns = section.inner("outbox.columns", "columns");
    columns.entries().map(build).collect::<Vec<_>>().into_iter().collect()
}

fn ensure_column(preset: Preset, name: &str, field: &Field<'_>) -> Result<(), Error> {
    let known = preset.plan_columns();
    if known.contains(&name) {
        return Ok(());
    }
    let problem = format!("the preset {preset} has no column {name}");
    let hint = match nearest(name, known.iter().copied()) {
        Some(nearest) => format!("did you mean {nearest}?"),
        None if known.is_empty() => "name the table's columns in the templates".to_owned(),
        None => format!("its columns are {}", known.join(", ")),
    };
    Err(field.rule(problem, hint))
}

fn build_conditions(section: &Section<'_>) -> Option<Vec<Condition>> {
    let build = |(column, field): (&str, Field<'_>)| {
        let text = |item: &Field<'_>| item.text().map(|text| (text != NULL).then_some(text));
        let values = field.items().and_then(|items| items.iter().map(text).collect());
        Some(Condition { column: column.to_owned(), values: section.keep(values)? })
    };
    let conditions = section.inner("outbox.where", "where");
    conditions.entries().map(build).collect::<Vec<_>>().into_iter().collect()
}
