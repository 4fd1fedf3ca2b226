//! `[[outbox]]`: which table it is, and the plan by which its rows become records.

use std::sync::Arc;

use super::error::Error;
use super::keys::OUTBOX;
use super::read::{Field, Section};
use crate::binlog::Guard;
use crate::binlog::value::{BinaryFormat, DecimalFormat, JsonOptions};
use crate::nearest::nearest;
use crate::outbox::template::Template;
use crate::outbox::{
    self, CLOUD_EVENT_NEEDS, CloudEventMode, CloudEventOptions, Condition, KeyNull, OutboxOptions,
    PlanOptions, Preset, ValueNull, ValueOptions,
};
use crate::sink::kafka::sequence::SEQUENCE_HEADER;

/// Keys that only a preset with a plan has.
const OF_PLANS: [&str; 12] = [
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
];

/// Keys that have one value in this version.
const FIXED: [(&str, &str); 2] = [("on_error", "halt"), ("oversize", "halt")];

/// Stands for NULL in the lists of `where`.
const NULL: &str = "NULL";

pub(super) fn build_outboxes(root: &Section<'_>) -> Result<Vec<OutboxOptions>, Error> {
    let sections = root.sections(OUTBOX)?;
    let outboxes = sections.iter().map(build_outbox).collect::<Result<Vec<_>, _>>()?;
    if let Some((first, second)) = outbox::find_overlap(&outboxes) {
        return Err(sections[second].field("table")?.rule(
            format!(
                "{} overlaps {} at {}",
                outboxes[second].table,
                outboxes[first].table,
                sections[first].place(),
            ),
            "let each table belong to one [[outbox]]",
        ));
    }
    Ok(outboxes)
}

fn build_outbox(section: &Section<'_>) -> Result<OutboxOptions, Error> {
    let (table, preset_field) = (section.field("table")?, section.field("preset")?);
    let table = table.text()?.parse().map_err(|error| table_error(&table, error))?;
    let preset: Preset =
        preset_field.text()?.parse().map_err(|error| preset_error(&preset_field, error))?;
    let outbox_id = section.optional("outbox_id");
    let plan = if preset.has_writer() {
        let names = OF_PLANS.into_iter().chain(FIXED.map(|(name, _)| name));
        let unused = names.into_iter().find_map(|name| section.optional(name));
        ensure_unused(unused.as_ref(), preset)?;
        None
    } else {
        ensure_unused(outbox_id.as_ref(), preset)?;
        Some(Arc::new(build_plan(section, preset)?))
    };
    let outbox_id = outbox_id.map(|id| id.number(0..=i64::MAX as u64)).transpose()?;
    Ok(OutboxOptions { table, preset, outbox_id, plan })
}

fn ensure_unused(field: Option<&Field<'_>>, preset: Preset) -> Result<(), Error> {
    match field {
        None => Ok(()),
        Some(field) => Err(field.rule(
            format!("the preset {preset} has no such key"),
            "leave it out, or choose another preset",
        )),
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

fn ensure_fixed(section: &Section<'_>) -> Result<(), Error> {
    for (name, value) in FIXED {
        if let Some(field) = section.optional(name)
            && field.text()? != value
        {
            return Err(field.not_in_this_version());
        }
    }
    Ok(())
}

/// The plan of the preset, with what the section says otherwise.
fn build_plan(section: &Section<'_>, preset: Preset) -> Result<PlanOptions, Error> {
    ensure_fixed(section)?;
    let template = |name| section.optional(name).map(|field| template(&field)).transpose();
    let base = PlanOptions::of(preset);
    let base = base.as_ref();
    let topic = match (template("topic")?, base) {
        (Some(topic), _) => topic,
        (None, Some(plan)) => plan.topic.clone(),
        (None, None) => return Err(section.missing("topic")),
    };
    let key = template("key")?.or_else(|| base.and_then(|plan| plan.key.clone()));
    let value = match (section.optional("value"), base) {
        (Some(field), _) => build_value(section, &field, base)?,
        (None, Some(plan)) => plan.value.clone(),
        (None, None) => return Err(section.missing("value")),
    };
    let key_nulls =
        [("partition-by-sequence", KeyNull::PartitionBySequence), ("halt", KeyNull::Halt)];
    let key_null =
        section.optional("key_null").map(|field| field.one_of(&key_nulls)).transpose()?;
    let value_nulls = [
        ("tombstone", ValueNull::Tombstone),
        ("empty", ValueNull::Empty),
        ("halt", ValueNull::Halt),
    ];
    let value_null =
        section.optional("value_null").map(|field| field.one_of(&value_nulls)).transpose()?;
    let headers = match section.optional("headers") {
        Some(_) => build_headers(section)?,
        None => base.map(|plan| plan.headers.clone()).unwrap_or_default(),
    };
    Ok(PlanOptions {
        columns: build_columns(section, preset)?,
        topic,
        key,
        key_null: key_null.unwrap_or(base.map_or(KeyNull::PartitionBySequence, |it| it.key_null)),
        value,
        value_null: value_null.unwrap_or(ValueNull::Tombstone),
        headers,
        partition: template("partition")?,
        timestamp: template("timestamp")?,
        conditions: build_conditions(section)?,
        guard: Guard {
            updates: is_refused(section, "on_update")?,
            deletes: is_refused(section, "on_delete")?,
        },
    })
}

fn is_refused(section: &Section<'_>, name: &'static str) -> Result<bool, Error> {
    let Some(field) = section.optional(name) else { return Ok(false) };
    field.one_of(&[("ignore", false), ("halt", true)])
}

fn template(field: &Field<'_>) -> Result<Template, Error> {
    field.text()?.parse().map_err(|error: outbox::template::Error| {
        field.rule(
            error,
            "{column} stands for a column, {@sequence} and its like for the row's place; docs/records.md lists them",
        )
    })
}

fn build_value(
    section: &Section<'_>,
    field: &Field<'_>,
    base: Option<&PlanOptions>,
) -> Result<ValueOptions, Error> {
    match field.text()?.as_str() {
        "json" => build_json(&section.inner("outbox.json", "json")?),
        "cloudevents" => {
            build_cloud_event(&section.inner("outbox.cloudevents", "cloudevents")?, base)
        }
        _ => Ok(ValueOptions::Template(template(field)?)),
    }
}

fn build_cloud_event(
    section: &Section<'_>,
    base: Option<&PlanOptions>,
) -> Result<ValueOptions, Error> {
    let mode = section.field("mode")?.one_of(&[
        ("binary", CloudEventMode::Binary),
        ("structured", CloudEventMode::Structured),
    ])?;
    let mut attributes = Vec::new();
    for name in ["id", "source", "type", "subject", "time", "datacontenttype", "dataschema"] {
        match section.optional(name) {
            Some(field) => attributes.push((name, template(&field)?)),
            None if CLOUD_EVENT_NEEDS.contains(&name) => return Err(section.missing(name)),
            None => {}
        }
    }
    let data = match (section.optional("data"), base.map(|plan| &plan.value)) {
        (Some(field), _) => Some(template(&field)?),
        (None, Some(ValueOptions::Template(value))) => Some(value.clone()),
        (None, _) => None,
    };
    Ok(ValueOptions::CloudEvent(CloudEventOptions { mode, attributes, data }))
}

fn build_json(json: &Section<'_>) -> Result<ValueOptions, Error> {
    let names = |name| -> Result<Vec<String>, Error> {
        let Some(field) = json.optional(name) else { return Ok(Vec::new()) };
        field.items()?.iter().map(Field::some_text).collect()
    };
    let decimal = json
        .field("decimal")?
        .one_of(&[("string", DecimalFormat::String), ("number", DecimalFormat::Number)])?;
    let binary = json
        .field("binary")?
        .one_of(&[("base64", BinaryFormat::Base64), ("hex", BinaryFormat::Hex)])?;
    let options = JsonOptions { decimal, binary };
    Ok(ValueOptions::Json { include: names("include")?, exclude: names("exclude")?, options })
}

fn build_headers(section: &Section<'_>) -> Result<Vec<(String, Template)>, Error> {
    let mut headers = Vec::new();
    for (name, field) in section.inner("outbox.headers", "headers")?.entries() {
        if name == SEQUENCE_HEADER {
            return Err(field.rule(
                format!("{SEQUENCE_HEADER} is the relay's own header"),
                "choose another name",
            ));
        }
        headers.push((name.to_owned(), template(&field)?));
    }
    Ok(headers)
}

fn build_columns(section: &Section<'_>, preset: Preset) -> Result<Vec<(String, String)>, Error> {
    let mut columns = Vec::new();
    for (name, field) in section.inner("outbox.columns", "columns")?.entries() {
        let known = preset.plan_columns();
        if !known.contains(&name) {
            let problem = format!("the preset {preset} has no column {name}");
            let hint = match nearest(name, known.iter().copied()) {
                Some(nearest) => format!("did you mean {nearest}?"),
                None if known.is_empty() => "name the table's columns in the templates".to_owned(),
                None => format!("its columns are {}", known.join(", ")),
            };
            return Err(field.rule(problem, hint));
        }
        columns.push((name.to_owned(), field.some_text()?));
    }
    Ok(columns)
}

fn build_conditions(section: &Section<'_>) -> Result<Vec<Condition>, Error> {
    let mut conditions = Vec::new();
    for (column, field) in section.inner("outbox.where", "where")?.entries() {
        let text = |item: &Field<'_>| item.text().map(|text| (text != NULL).then_some(text));
        let values = field.items()?.iter().map(text).collect::<Result<_, _>>()?;
        conditions.push(Condition { column: column.to_owned(), values });
    }
    Ok(conditions)
}
