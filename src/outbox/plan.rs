//! How the rows of an outbox become records: a plan that a preset or `[[outbox]]` writes down, compiled once for each
//! table layout.
//!
//! [`PlanOptions`] name columns. [`Plan`] has their cells, and no name is looked up for a row.

use serde_json::{Value as Json, json};

use super::Preset;
use super::template::{Piece, Template};
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
    /// In the order of the file.
    pub headers: Vec<(String, Template)>,
    /// `None`: that of the key.
    pub partition: Option<Template>,
    /// `None`: the producer's.
    pub timestamp: Option<Template>,
    /// A row is relayed where all of them hold.
    pub conditions: Vec<Condition>,
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
        })
    }

    /// The columns that it names, as the table calls them, each with the key of `[[outbox]]` that names it.
    pub fn named_columns(&self) -> Vec<(String, String)> {
        let mut named: Vec<(String, String)> = Vec::new();
        let mut of = |key: &str, template: &'_ Template| {
            let in_table = |name| (key.to_owned(), self.in_table(name).to_owned());
            named.extend(template.columns().map(in_table));
        };
        of("topic", &self.topic);
        self.key.iter().for_each(|key| of("key", key));
        if let ValueOptions::Template(value) = &self.value {
            of("value", value);
        }
        self.headers.iter().for_each(|(name, header)| of(&format!("headers.{name}"), header));
        self.partition.iter().for_each(|partition| of("partition", partition));
        self.timestamp.iter().for_each(|timestamp| of("timestamp", timestamp));
        if let ValueOptions::Json { include, exclude, .. } = &self.value {
            named.extend(
                include
                    .iter()
                    .map(|name| ("json.include".to_owned(), self.in_table(name).to_owned())),
            );
            named.extend(
                exclude
                    .iter()
                    .map(|name| ("json.exclude".to_owned(), self.in_table(name).to_owned())),
            );
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
        self.partition.is_some() || self.key_null == KeyNull::PartitionBySequence
    }

    /// What a column is called in the table.
    fn in_table<'a>(&'a self, name: &'a str) -> &'a str {
        let renamed = self.columns.iter().find(|(preset, _)| preset == name);
        renamed.map_or(name, |(_, table)| table)
    }

    /// All that decides about the records, for the fingerprint.
    pub fn describe(&self) -> Json {
        let text = |template: &Option<Template>| template.as_ref().map(ToString::to_string);
        let value = match &self.value {
            ValueOptions::Template(value) => json!(value.to_string()),
            ValueOptions::Json { include, exclude, options } => {
                let is_number = options.decimal == DecimalFormat::Number;
                let is_hex = options.binary == BinaryFormat::Hex;
                json!(["json", include, exclude, is_number, is_hex])
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
    pub headers: Vec<(String, Vec<Piece<usize>>)>,
    pub partition: Option<Vec<Piece<usize>>>,
    pub timestamp: Option<Vec<Piece<usize>>>,
    /// The cell, and what its text may be; `None` stands for NULL.
    pub conditions: Vec<(usize, Vec<Option<String>>)>,
}

/// Where a value comes from.
#[derive(Debug)]
pub enum Value {
    /// The bytes of a column as they are.
    Cell(usize),
    Text(Vec<Piece<usize>>),
    /// Members in the order of the table. Each name is written as JSON, with its colon.
    Json {
        members: Vec<(String, usize)>,
        options: JsonOptions,
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
            headers: options
                .headers
                .iter()
                .map(|(name, header)| (name.clone(), cells.pieces(header)))
                .collect(),
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
        template.resolve(&mut |name| self.named(name))
    }

    fn value(&mut self, options: &ValueOptions) -> Value {
        match options {
            ValueOptions::Template(template) => match template.lone_column() {
                Some(name) => Value::Cell(self.named(name)),
                None => Value::Text(self.pieces(template)),
            },
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
