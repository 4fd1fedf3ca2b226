//! The file as a tree of values that know where they were written, and `--set` on top of it.
//!
//! The errors of this file show no line of the text: it may hold a password.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::error::{Error, Place};
use super::keys::{PROPERTIES, is_list, join};

pub(super) type Table = BTreeMap<String, Node>;

/// A value of the file or of a `--set`.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub place: Place,
    pub value: Value,
    /// What stands behind the `=` of a `--set`: a password may look like a number.
    pub as_given: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    /// Decimal digits.
    Integer(String),
    Float(String),
    Boolean(bool),
    Date(String),
    List(Vec<Node>),
    Table(Table),
}

impl PartialEq for Node {
    /// Equal values, wherever they were written.
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

/// Reads the text of a file as far as it can be read, and says what of it is not TOML.
pub(super) fn parse(text: &str, file: &Arc<str>) -> (Table, Vec<Error>) {
    let place = |span: Range<usize>| {
        let line = 1 + text.bytes().take(span.start).filter(|&byte| byte == b'\n').count();
        Place::Line { file: Arc::clone(file), line }
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut syntax: Vec<Error> = Vec::new();
    let mut last = None;
    for error in errors {
        let at = error.span().map_or_else(|| Place::File { file: Arc::clone(file) }, place);
        // One slip can be an error in several ways.
        if last.as_ref() != Some(&at) {
            let message = described(error.message().trim(), error.span(), text);
            syntax.push(Error::Syntax { place: at.clone(), message });
        }
        last = Some(at);
    }
    let mut root = convert_table(table.get_ref(), &place);
    syntax.extend(flatten_properties(&mut root).err());
    (root, syntax)
}

/// The message, with the key where it is about one. Values may be secrets.
fn described(message: &str, span: Option<Range<usize>>, text: &str) -> String {
    match span.and_then(|span| text.get(span)) {
        Some(key) if message == "duplicate key" => format!("the key {key} is written twice"),
        _ => message.to_owned(),
    }
}

/// The default of a key, written as TOML.
pub(super) fn parse_default(key: &'static str, toml: &'static str) -> Node {
    let value = DeValue::parse(toml).expect("the defaults are valid TOML");
    convert(value.get_ref(), Place::Default { key }, &|_| Place::Default { key })
}

fn convert_table(table: &DeTable<'_>, place: &dyn Fn(Range<usize>) -> Place) -> Table {
    let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let key: &toml::Spanned<std::borrow::Cow<'_, str>> = key;
        (key.get_ref().to_string(), convert(value.get_ref(), place(key.span()), place))
    };
    table.iter().map(entry).collect()
}

fn convert(value: &DeValue<'_>, at: Place, place: &dyn Fn(Range<usize>) -> Place) -> Node {
    let value = match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => Value::Integer(
            i128::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| number.as_str().to_owned(), |number| number.to_string()),
        ),
        DeValue::Float(number) => Value::Float(number.as_str().to_owned()),
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Array(items) => Value::List(
            items.iter().map(|item| convert(item.get_ref(), place(item.span()), place)).collect(),
        ),
        DeValue::Table(table) => Value::Table(convert_table(table, place)),
    };
    Node { place: at, value, as_given: None }
}

/// Writes `key=value` over what the file says.
///
/// # Errors
/// [`Error::Override`] if there is no place for it.
pub(super) fn apply_override(root: &mut Table, given: &str) -> Result<(), Error> {
    let failed =
        |given: &str, problem: String| Error::Override { given: given.to_owned(), problem };
    let Some((key, text)) = given.split_once('=') else {
        // What follows the key may be a secret.
        let is_of_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let key = given.split(|c| !is_of_key(c)).next().unwrap_or_default();
        return Err(failed(key, "there is no = behind the key".to_owned()));
    };
    let key = key.trim();
    let steps = split_key(key).ok_or_else(|| failed(key, "that is no key".to_owned()))?;
    let place = Place::Override { key: key.to_owned() };
    let value = parse_given(text, &place);
    set(root, &steps, value, &place).map_err(|problem| failed(key, problem))?;
    flatten_properties(root)
}

/// The steps of a key as TOML reads it, quotes included. What follows `kafka.properties` is one name.
fn split_key(key: &str) -> Option<Vec<String>> {
    let text = format!("{key} = 0");
    let document = DeTable::parse(&text).ok()?;
    let (mut steps, mut table) = (Vec::new(), document.get_ref());
    loop {
        let mut entries = table.iter();
        let (step, value) = entries.next()?;
        if entries.next().is_some() {
            return None;
        }
        steps.push(step.get_ref().to_string());
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    if steps.len() > 3 && steps[0] == "kafka" && steps[1] == PROPERTIES {
        let name = steps.split_off(2).join(".");
        steps.push(name);
    }
    Some(steps)
}

/// The value as TOML reads it, where TOML reads all of it; else the text as it stands.
fn parse_given(text: &str, place: &Place) -> Node {
    let value = match DeValue::parse(text) {
        Ok(value) if value.span() == (0..text.len()) => {
            convert(value.get_ref(), place.clone(), &|_| place.clone()).value
        }
        _ => Value::Text(text.to_owned()),
    };
    Node { place: place.clone(), value, as_given: Some(text.to_owned()) }
}

/// Puts a value where the steps lead, making the sections on the way.
fn set(root: &mut Table, steps: &[String], value: Node, place: &Place) -> Result<(), String> {
    let (last, way) = steps.split_last().ok_or("that is no key")?;
    let mut table = root;
    let mut path = String::new();
    let mut way = way.iter();
    while let Some(step) = way.next() {
        path = join(&path, step);
        let node = table.entry(step.clone()).or_insert_with(|| empty(is_list(&path), place));
        table = match &mut node.value {
            Value::Table(table) => table,
            Value::List(items) => match way.next() {
                Some(index) => match &mut item(items, &path, index, place)?.value {
                    Value::Table(table) => table,
                    _ => return Err(format!("{path}.{index} is no section")),
                },
                None => return item(items, &path, last, place).map(|item| *item = value),
            },
            _ => return Err(format!("{path} is no section")),
        };
    }
    table.insert(last.clone(), value);
    Ok(())
}

fn empty(is_list: bool, place: &Place) -> Node {
    let value = if is_list { Value::List(Vec::new()) } else { Value::Table(Table::new()) };
    Node { place: place.clone(), value, as_given: None }
}

/// The item at an index; the index after the last one makes a new one.
fn item<'a>(
    items: &'a mut Vec<Node>,
    path: &str,
    index: &str,
    place: &Place,
) -> Result<&'a mut Node, String> {
    let length = items.len();
    match index.parse::<usize>() {
        Ok(index) if index <= length => {
            if index == length {
                items.push(empty(false, place));
            }
            Ok(&mut items[index])
        }
        _ => Err(format!("{path} is a list of {length}; the index is 0 to {length}")),
    }
}

/// Dotted keys without quotes are tables in tables to TOML; to librdkafka they are one name.
fn flatten_properties(root: &mut Table) -> Result<(), Error> {
    let Some(Value::Table(kafka)) = root.get_mut("kafka").map(|node| &mut node.value) else {
        return Ok(());
    };
    if let Some(Value::Table(properties)) = kafka.get_mut(PROPERTIES).map(|node| &mut node.value) {
        let mut flat = Table::new();
        flatten("", std::mem::take(properties), &mut flat)?;
        *properties = flat;
    }
    Ok(())
}

fn flatten(prefix: &str, table: Table, flat: &mut Table) -> Result<(), Error> {
    for (name, node) in table {
        let name = join(prefix, &name);
        match node.value {
            Value::Table(table) => flatten(&name, table, flat)?,
            _ if flat.contains_key(&name) => {
                return Err(Error::Rule {
                    place: node.place,
                    key: format!("kafka.{PROPERTIES}.{name}"),
                    problem: "it is written twice, with quotes and without".to_owned(),
                    hint: "keep one of the two".to_owned(),
                });
            }
            _ => drop(flat.insert(name, node)),
        }
    }
    Ok(())
}
