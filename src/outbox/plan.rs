//! How the rows of an outbox become records: a plan that a preset or `[[outbox]]` writes down, compiled once for each
//! table layout.
//!
//! [`PlanOptions`] name columns. [`Plan`] has their cells, and no name is looked up for a row.

use serde_json::{Value as Json, json};

use super::template::{Filter, Piece, Source, Template};
use super::{FallbackOptions, Preset};
use crate::binlog::Guard;
use crate::binlog::table::{Column, Table};
use crate::binlog::value::{BinaryFormat, DecimalFormat, JsonOptions};

/// A plan as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanOptions {
    /// Names of the preset's columns, and what they are called in the table.
    pub columns: Vec<(String, String)>,
    pub topic: Template,
    /// `None`: the key is NULL.
    pub key: Option<Template>,
    pub key_null: KeyNull,
    pub value: ValueOptions,
    pub value_null: ValueNull,
    /// In the order of their names, where the configuration has them.
    pub headers: Vec<(String, Template)>,
    /// `None`: that of the key.
    pub partition: Option<Template>,
    /// `None`: the producer's.
    pub timestamp: Option<Template>,
    /// A row is relayed where all of them hold.
    pub conditions: Vec<Condition>,
    /// `None`: a row that cannot be a record is a halt.
    pub fallback: Option<FallbackOptions>,
    /// Changes of the table that halt. They decide about no record, so the fingerprint leaves them out: a relay that
    /// such a change has halted must go on when they are ignored.
    pub guard: Guard,
}

/// What becomes of a row whose key is NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyNull {
    /// Its partition is its sequence number modulo the number of partitions.
    PartitionBySequence,
    Halt,
}

/// What becomes of a row whose value is NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueNull {
    Tombstone,
    Empty,
    Halt,
}

/// Where the value of a record comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueOptions {
    Template(Template),
    /// The row as a JSON object.
    Json {
        include: Vec<String>,
        exclude: Vec<String>,
        options: JsonOptions,
    },
    CloudEvent(CloudEventOptions),
}

/// A CloudEvent, by version 1.0 of the specification and of its Kafka protocol binding
/// (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md>).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudEventOptions {
    pub mode: CloudEventMode,
    /// Context attributes beside `specversion`, in the order in which they are written.
    pub attributes: Vec<(&'static str, Template)>,
    /// `None`: the event has no data.
    pub data: Option<Template>,
}

impl CloudEventOptions {
    /// The names of its own headers.
    pub fn headers(&self) -> Vec<String> {
        match self.mode {
            CloudEventMode::Structured => vec![CONTENT_TYPE.to_owned()],
            CloudEventMode::Binary => {
                let attributes = self.attributes.iter().map(|(name, _)| attribute_header(name));
                std::iter::once(attribute_header("specversion")).chain(attributes).collect()
            }
        }
    }
}

/// The binding has one attribute under the name that Kafka knows.
fn attribute_header(attribute: &str) -> String {
    match attribute {
        "datacontenttype" => CONTENT_TYPE.to_owned(),
        name => format!("ce_{name}"),
    }
}

/// Where the attributes of a CloudEvent are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloudEventMode {
    /// In headers. The value is the data.
    Binary,
    /// In the value, which is JSON.
    Structured,
}

impl CloudEventMode {
    /// The name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            CloudEventMode::Binary => "binary",
            CloudEventMode::Structured => "structured",
        }
    }
}

/// A column has one of these texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    pub column: String,
    /// `None`: NULL.
    pub values: Vec<Option<String>>,
}

impl PlanOptions {
    /// The plan of a preset; `None` where the preset has a writer of its own, or no plan.
    pub fn of(preset: Preset) -> Option<PlanOptions> {
        let (topic, key, value, headers): (_, _, _, &[(&str, &str)]) = match preset {
            Preset::EventuateLocal | Preset::EventuateTram | Preset::Custom => return None,
            Preset::Outbox => {
                ("outbox.event.{aggregatetype}", "{aggregateid}", "{payload}", &[("id", "{id}")])
            }
            Preset::MessageEvents => (
                "{event_type}",
                "{id}",
                "{event_payload}",
                &[("id", "{id}"), ("createdAt", "{created_at}")],
            ),
            Preset::EventSourcing => (
                "{aggregate_type|topic}",
                "{aggregate_id}",
                "{event_data}",
                &[
                    ("id", "{event_id}"),
                    ("type", "{event_type}"),
                    ("version", "{event_version}"),
                    ("occurredAt", "{occurred_at}"),
                ],
            ),
        };
        let headers = headers.iter().map(|(name, text)| ((*name).to_owned(), written(text)));
        Some(PlanOptions {
            columns: Vec::new(),
            topic: written(topic),
            key: Some(written(key)),
            key_null: KeyNull::Halt,
            value: ValueOptions::Template(written(value)),
            value_null: ValueNull::Tombstone,
            headers: headers.collect(),
            partition: None,
            timestamp: None,
            conditions: Vec::new(),
            fallback: None,
            guard: Guard::default(),
        })
    }

    /// Its templates, each with the key of `[[outbox]]` that has it.
    pub fn templates(&self) -> Vec<(String, &Template)> {
        let mut templates = vec![("topic".to_owned(), &self.topic)];
        templates.extend(self.key.iter().map(|key| ("key".to_owned(), key)));
        match &self.value {
            ValueOptions::Template(value) => templates.push(("value".to_owned(), value)),
            ValueOptions::CloudEvent(event) => {
                let attributes = event.attributes.iter();
                templates.extend(attributes.map(|(name, it)| (format!("cloudevents.{name}"), it)));
                templates.extend(event.data.iter().map(|it| ("cloudevents.data".to_owned(), it)));
            }
            ValueOptions::Json { .. } => {}
        }
        templates.extend(self.headers.iter().map(|(name, it)| (format!("headers.{name}"), it)));
        templates.extend(self.partition.iter().map(|it| ("partition".to_owned(), it)));
        templates.extend(self.timestamp.iter().map(|it| ("timestamp".to_owned(), it)));
        templates
    }

    /// The columns that it names, as the table calls them, each with the key of `[[outbox]]` that names it.
    pub fn named_columns(&self) -> Vec<(String, String)> {
        let mut named: Vec<(String, String)> = Vec::new();
        for (key, template) in self.templates() {
            let in_table = |name| (key.clone(), self.in_table(name).to_owned());
            named.extend(template.columns().map(in_table));
        }
        if let ValueOptions::Json { include, exclude, .. } = &self.value {
            for (key, names) in [("json.include", include), ("json.exclude", exclude)] {
                let in_table = |name: &String| (key.to_owned(), self.in_table(name).to_owned());
                named.extend(names.iter().map(in_table));
            }
        }
        let conditions = self
            .conditions
            .iter()
            .map(|it| (format!("where.{}", it.column), self.in_table(&it.column).to_owned()));
        named.extend(conditions);
        named
    }

    /// A record may go to another partition than its key's.
    pub fn has_row_partitions(&self) -> bool {
        self.partition.is_some()
            || self.key_null == KeyNull::PartitionBySequence
            || self.fallback.as_ref().is_some_and(FallbackOptions::has_dead_letters)
    }

    /// What a column is called in the table.
    fn in_table<'a>(&'a self, name: &'a str) -> &'a str {
        let renamed = self.columns.iter().find(|(preset, _)| preset == name);
        renamed.map_or(name, |(_, table)| table)
    }

    /// All that decides about the records, for the fingerprint, but for the fallback.
    pub fn describe(&self) -> Json {
        let text = |template: &Option<Template>| template.as_ref().map(ToString::to_string);
        let value = match &self.value {
            ValueOptions::Template(value) => json!(value.to_string()),
            ValueOptions::Json { include, exclude, options } => {
                let is_number = options.decimal == DecimalFormat::Number;
                let is_hex = options.binary == BinaryFormat::Hex;
                json!(["json", include, exclude, is_number, is_hex])
            }
            ValueOptions::CloudEvent(CloudEventOptions { mode, attributes, data }) => {
                let attributes: Vec<_> =
                    attributes.iter().map(|(name, it)| (name, it.to_string())).collect();
                json!(["cloudevents", mode.as_str(), attributes, text(data)])
            }
        };
        let headers: Vec<_> =
            self.headers.iter().map(|(name, header)| (name, header.to_string())).collect();
        let conditions: Vec<_> =
            self.conditions.iter().map(|it| (&it.column, &it.values)).collect();
        let value_null = match self.value_null {
            ValueNull::Tombstone => "tombstone",
            ValueNull::Empty => "empty",
            ValueNull::Halt => "halt",
        };
        json!([
            self.columns,
            self.topic.to_string(),
            text(&self.key),
            self.key_null == KeyNull::PartitionBySequence,
            value,
            value_null,
            headers,
            text(&self.partition),
            text(&self.timestamp),
            conditions,
        ])
    }
}

/// Attributes that every CloudEvent has, beside `specversion`.
pub const CLOUD_EVENT_NEEDS: [&str; 3] = ["id", "source", "type"];

/// The version of the specification that CloudEvents follow.
pub const SPEC_VERSION: &str = "1.0";

const CONTENT_TYPE: &str = "content-type";
const STRUCTURED: &str = "application/cloudevents+json; charset=UTF-8";

/// A header that is the same for all rows.
fn fixed(name: &str, text: &str) -> Header {
    let pieces = vec![Piece::Text(text.to_owned())];
    Header { name: name.to_owned(), pieces, is_time: false, is_needed: false }
}

/// A template of a preset.
fn written(text: &str) -> Template {
    text.parse().expect("a preset's template is one")
}

/// A plan for one table layout: its columns are cells of a decoded row.
#[derive(Debug)]
pub struct Plan {
    /// By cell.
    pub columns: Vec<Column>,
    pub topic: Vec<Piece<usize>>,
    pub key: Option<Vec<Piece<usize>>>,
    pub key_null: KeyNull,
    pub value: Value,
    pub value_null: ValueNull,
    pub headers: Vec<Header>,
    pub partition: Option<Vec<Piece<usize>>>,
    pub timestamp: Option<Vec<Piece<usize>>>,
    /// The cell, and what its text may be; `None` stands for NULL.
    pub conditions: Vec<(usize, Vec<Option<String>>)>,
}

/// A header, or an attribute of a CloudEvent.
#[derive(Debug)]
pub struct Header {
    pub name: String,
    pub pieces: Vec<Piece<usize>>,
    /// A time as MySQL writes it becomes RFC 3339.
    pub is_time: bool,
    /// A row without it cannot be a record. Any other that is NULL is left out.
    pub is_needed: bool,
}

/// Where a value comes from.
#[derive(Debug)]
pub enum Value {
    /// There is none.
    Null,
    /// The bytes of a column as they are.
    Cell(usize),
    Text(Vec<Piece<usize>>),
    /// Members in the order of the table. Each name is written as JSON, with its colon.
    Json {
        members: Vec<(String, usize)>,
        options: JsonOptions,
    },
    /// A CloudEvent in structured mode: its attributes, and its data.
    CloudEvent {
        attributes: Vec<Header>,
        data: Box<Value>,
    },
}

impl Plan {
    /// Finds the columns of a table that has all that are named. Answers with the indices of the decoded columns as well.
    pub fn compile(options: &PlanOptions, table: &Table) -> (Plan, Vec<usize>) {
        let mut cells = Cells { options, table, indices: Vec::new() };
        let plan = Plan {
            topic: cells.pieces(&options.topic),
            key: options.key.as_ref().map(|key| cells.pieces(key)),
            key_null: options.key_null,
            value: cells.value(&options.value),
            value_null: options.value_null,
            headers: cells.headers(options),
            partition: options.partition.as_ref().map(|it| cells.pieces(it)),
            timestamp: options.timestamp.as_ref().map(|it| cells.pieces(it)),
            conditions: options
                .conditions
                .iter()
                .map(|it| (cells.named(&it.column), it.values.clone()))
                .collect(),
            columns: Vec::new(),
        };
        let indices = cells.indices;
        let columns = indices.iter().map(|index| table.columns[*index].clone()).collect();
        (Plan { columns, ..plan }, indices)
    }
}

/// The columns that are decoded, as they come to be needed.
struct Cells<'a> {
    options: &'a PlanOptions,
    table: &'a Table,
    indices: Vec<usize>,
}

impl Cells<'_> {
    /// The cell of a column that the table has.
    fn named(&mut self, name: &str) -> usize {
        let index = self.table.position(self.options.in_table(name));
        self.of(index.expect("the columns were found before"))
    }

    fn of(&mut self, index: usize) -> usize {
        let known = self.indices.iter().position(|known| *known == index);
        known.unwrap_or_else(|| {
            self.indices.push(index);
            self.indices.len() - 1
        })
    }

    fn pieces(&mut self, template: &Template) -> Vec<Piece<usize>> {
        let mut pieces = template.resolve(&mut |name| self.named(name));
        for piece in &mut pieces {
            // A number is JSON as it is.
            if let Piece::Value { source: Source::Column(cell), filters } = piece
                && filters.first() == Some(&Filter::Json)
                && self.table.columns[self.indices[*cell]].kind.is_integer()
            {
                filters.remove(0);
            }
        }
        pieces
    }

    fn headers(&mut self, options: &PlanOptions) -> Vec<Header> {
        let mut headers = Vec::new();
        match &options.value {
            ValueOptions::CloudEvent(event) if event.mode == CloudEventMode::Binary => {
                headers.push(fixed(&attribute_header("specversion"), SPEC_VERSION));
                headers.extend(self.attributes(event).into_iter().map(|attribute| Header {
                    name: attribute_header(&attribute.name),
                    ..attribute
                }));
            }
            ValueOptions::CloudEvent(_) => headers.push(fixed(CONTENT_TYPE, STRUCTURED)),
            ValueOptions::Template(_) | ValueOptions::Json { .. } => {}
        }
        headers.extend(options.headers.iter().map(|(name, header)| Header {
            name: name.clone(),
            pieces: self.pieces(header),
            is_time: false,
            is_needed: false,
        }));
        headers
    }

    fn attributes(&mut self, event: &CloudEventOptions) -> Vec<Header> {
        let attribute = |(name, template): &(&str, Template)| Header {
            name: (*name).to_owned(),
            pieces: self.pieces(template),
            is_time: *name == "time",
            is_needed: CLOUD_EVENT_NEEDS.contains(name),
        };
        event.attributes.iter().map(attribute).collect()
    }

    fn template(&mut self, template: &Template) -> Value {
        match template.lone_column() {
            Some(name) => Value::Cell(self.named(name)),
            None => Value::Text(self.pieces(template)),
        }
    }

    fn value(&mut self, options: &ValueOptions) -> Value {
        match options {
            ValueOptions::Template(template) => self.template(template),
            ValueOptions::CloudEvent(event) => {
                let data = event.data.as_ref().map_or(Value::Null, |data| self.template(data));
                match event.mode {
                    CloudEventMode::Binary => data,
                    CloudEventMode::Structured => {
                        let attributes = self.attributes(event);
                        Value::CloudEvent { attributes, data: Box::new(data) }
                    }
                }
            }
            ValueOptions::Json { include, exclude, options } => {
                let plan = self.options;
                let is_named = |names: &[String], column: &Column| {
                    names.iter().any(|name| plan.in_table(name).eq_ignore_ascii_case(&column.name))
                };
                let mut members = Vec::new();
                for (index, column) in self.table.columns.iter().enumerate() {
                    let is_wanted = include.is_empty() || is_named(include, column);
                    if is_wanted && !is_named(exclude, column) {
                        members.push((format!("{}:", json!(column.name)), self.of(index)));
                    }
                }
                Value::Json { members, options: *options }
            }
        }
    }
}
