//! Which plan makes the records of an outbox, in words.

use crate::binlog::table::SchemaColumn;
use crate::outbox::template::{RowFact, Template};
use crate::outbox::{
    KeyNull, OnError, OutboxOptions, Oversize, PlanOptions, Preset, ValueNull, ValueOptions,
};

/// A part of a plan: what it is of, where it comes from, and whether the preset or the configuration says so.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Origin {
    pub part: String,
    pub from: String,
    pub by: &'static str,
}

/// Where each part of the records comes from.
pub fn origins(outbox: &OutboxOptions) -> Vec<Origin> {
    match &outbox.plan {
        Some(plan) => of_plan(plan, PlanOptions::of(outbox.preset).as_ref()),
        None => of_writer(outbox),
    }
}

const PRESET: &str = "preset";
const CONFIGURED: &str = "configured";
const DEFAULT: &str = "default";

fn origin(part: &str, from: impl Into<String>, by: &'static str) -> Origin {
    Origin { part: part.to_owned(), from: from.into(), by }
}

fn of_writer(outbox: &OutboxOptions) -> Vec<Origin> {
    let (topic, key, value) = match outbox.preset {
        Preset::EventuateTram => (
            "destination",
            "the member PARTITION_ID of headers, or else id",
            "JSON of payload and headers",
        ),
        _ => (
            "entity_type, each $ as _DLR_",
            "entity_id",
            "JSON of event_id, entity_id, entity_type, event_data, event_type, the row's place and metadata",
        ),
    };
    let mut origins = vec![
        origin("topic", topic, PRESET),
        origin("key", key, PRESET),
        origin("value", value, PRESET),
        origin("left out", "rows whose published is not 0", PRESET),
    ];
    if let Some(id) = outbox.outbox_id {
        origins.push(origin("outbox_id", id.to_string(), CONFIGURED));
    }
    origins
}

fn of_plan(plan: &PlanOptions, base: Option<&PlanOptions>) -> Vec<Origin> {
    let by = |is_preset: bool| if is_preset { PRESET } else { CONFIGURED };
    let is_base = |same: &dyn Fn(&PlanOptions) -> bool| by(base.is_some_and(same));
    let text = |it: &Option<Template>| it.as_ref().map_or("NULL".to_owned(), ToString::to_string);
    let mut origins = vec![
        origin("topic", plan.topic.to_string(), is_base(&|base| base.topic == plan.topic)),
        origin("key", text(&plan.key), is_base(&|base| base.key == plan.key)),
    ];
    origins.push(match &plan.partition {
        Some(partition) => origin("partition", partition.to_string(), CONFIGURED),
        None if plan.key.is_none() => origin("partition", "the sequence number", DEFAULT),
        None => origin("partition", "murmur2 of the key", DEFAULT),
    });
    origins.push(match &plan.timestamp {
        Some(timestamp) => origin("timestamp", timestamp.to_string(), CONFIGURED),
        None => origin("timestamp", "the time of sending", DEFAULT),
    });
    for (name, header) in &plan.headers {
        let is_same = |base: &PlanOptions| base.headers.contains(&(name.clone(), header.clone()));
        origins.push(origin(&format!("header {name}"), header.to_string(), is_base(&is_same)));
    }
    origins.extend(of_value(&plan.value, is_base(&|base| base.value == plan.value)));
    for (name, column) in &plan.columns {
        origins.push(origin(&format!("column {name}"), column.clone(), CONFIGURED));
    }
    for condition in &plan.conditions {
        let values = condition.values.iter().map(|value| value.as_deref().unwrap_or("NULL"));
        let values = values.collect::<Vec<_>>().join(" or ");
        origins.push(origin(&format!("where {}", condition.column), values, CONFIGURED));
    }
    for (part, is_halt) in [("on_update", plan.guard.updates), ("on_delete", plan.guard.deletes)] {
        origins.extend(is_halt.then(|| origin(part, "halt", CONFIGURED)));
    }
    if let Some(fallback) = &plan.fallback {
        if fallback.on_error == OnError::DeadLetter {
            let from = format!("dead-letter, to {}", fallback.dead_letter_topic);
            origins.push(origin("on_error", from, CONFIGURED));
        }
        match fallback.oversize {
            Oversize::Halt => {}
            Oversize::DeadLetter => {
                let from = format!("dead-letter, to {}", fallback.dead_letter_topic);
                origins.push(origin("oversize", from, CONFIGURED));
            }
            Oversize::ClaimCheck => origins.push(origin("oversize", "claim-check", CONFIGURED)),
        }
    }
    let nulls = [
        (
            "key NULL",
            base.map_or(KeyNull::PartitionBySequence, |base| base.key_null) == plan.key_null,
            key_null(plan.key_null),
        ),
        ("value NULL", plan.value_null == ValueNull::Tombstone, value_null(plan.value_null)),
    ];
    let changed = nulls.into_iter().filter(|(_, is_usual, _)| !is_usual);
    origins.extend(changed.map(|(part, _, from)| origin(part, from, CONFIGURED)));
    origins
}

fn of_value(value: &ValueOptions, by: &'static str) -> Vec<Origin> {
    match value {
        ValueOptions::Template(template) => vec![origin("value", template.to_string(), by)],
        ValueOptions::Json { include, exclude, .. } => {
            let mut from = "JSON of the row".to_owned();
            if !include.is_empty() {
                from.push_str(&format!(", only {}", include.join(", ")));
            }
            if !exclude.is_empty() {
                from.push_str(&format!(", without {}", exclude.join(", ")));
            }
            vec![origin("value", from, by)]
        }
        ValueOptions::CloudEvent(event) => {
            let mode = event.mode.as_str();
            let mut origins = vec![origin("value", format!("a CloudEvent, mode {mode}"), by)];
            for (name, template) in &event.attributes {
                let part = format!("attribute {name}");
                origins.push(origin(&part, template.to_string(), by));
            }
            let data = event.data.as_ref().map_or("none".to_owned(), ToString::to_string);
            origins.push(origin("data", data, by));
            origins
        }
    }
}

const fn key_null(of: KeyNull) -> &'static str {
    match of {
        KeyNull::PartitionBySequence => "partition-by-sequence",
        KeyNull::Halt => "halt",
    }
}

const fn value_null(of: ValueNull) -> &'static str {
    match of {
        ValueNull::Tombstone => "tombstone",
        ValueNull::Empty => "empty",
        ValueNull::Halt => "halt",
    }
}

/// What the relay knows of the columns.
pub(super) fn layout(columns: &[SchemaColumn], has_names: bool) -> String {
    let columns: Vec<_> =
        columns.iter().map(|column| format!("{} {}", column.name, column.column_type)).collect();
    let by = if has_names {
        "as the binlog names them (binlog_row_metadata=FULL)"
    } else {
        "as information_schema names them (no names in the binlog)"
    };
    format!("columns, {by}: {}", columns.join(", "))
}

/// The facts that records of the outbox have in them and no row has, each with what stands for it.
pub(super) fn stand_ins(outbox: &OutboxOptions, known: &[(&str, &str)]) -> Option<String> {
    let mut used: Vec<&str> = match &outbox.plan {
        None if outbox.preset == Preset::EventuateLocal => vec!["file", "offset", "row"],
        None => Vec::new(),
        Some(plan) => {
            let mut facts: Vec<_> = plan
                .templates()
                .iter()
                .flat_map(|(_, template)| template.facts())
                .map(RowFact::name)
                .collect();
            if plan.has_row_partitions() && plan.partition.is_none() {
                facts.push(RowFact::Sequence.name());
            }
            facts
        }
    };
    used.sort_unstable();
    used.dedup();
    let stand_ins: Vec<_> = known
        .iter()
        .filter(|(name, _)| used.contains(name))
        .map(|(name, value)| format!("{{@{name}}} = {value}"))
        .collect();
    (!stand_ins.is_empty()).then(|| {
        format!("stand-ins for what only the binlog and the relay know: {}", stand_ins.join(", "))
    })
}
