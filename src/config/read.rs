//! Typed access to the tree: a key's value with its default, its bounds and its error message.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::error::{Error, Place, Problems};
use super::keys::{Absent, join, known};
use super::tree::{Node, Table, Value, parse_default};
use crate::secret::{Environment, Secret, interpolate};

/// One section of the file, there or not.
#[derive(Clone)]
pub(super) struct Section<'a> {
    /// Its name in the table of keys.
    name: &'static str,
    /// The same with the index, for messages.
    shown: String,
    place: Place,
    table: Option<&'a Table>,
    environment: Environment<'a>,
    problems: &'a Problems,
}

impl<'a> Section<'a> {
    pub(super) fn root(
        table: &'a Table,
        file: &Arc<str>,
        environment: Environment<'a>,
        problems: &'a Problems,
    ) -> Self {
        let place = Place::File { file: Arc::clone(file) };
        Self { name: "", shown: String::new(), place, table: Some(table), environment, problems }
    }

    /// Takes the value, or keeps the problem and goes on: all of a file's problems are told at once.
    pub(super) fn keep<T>(&self, result: Result<T, Error>) -> Option<T> {
        self.problems.keep(result)
    }

    /// The value of a key, or of its default. `None`: it is wrong or missing, and the problem is kept.
    pub(super) fn read<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&Field<'a>) -> Result<T, Error>,
    ) -> Option<T> {
        self.keep(self.field(name).and_then(|field| read(&field)))
    }

    /// The value of a key that may be left out. `None`: it is wrong, and the problem is kept.
    pub(super) fn read_optional<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&Field<'a>) -> Result<T, Error>,
    ) -> Option<Option<T>> {
        self.keep(self.optional(name).map(|field| read(&field)).transpose())
    }

    /// A section of the file's, by its full name. Not there is as good as empty, and so is what is no section: that
    /// problem is kept.
    pub(super) fn section(&self, name: &'static str) -> Self {
        let empty = Self { name, shown: name.to_owned(), table: None, ..self.clone() };
        let mut section = self.clone();
        let mut end = 0;
        for step in name.split('.') {
            let Some(node) = section.table.and_then(|table| table.get(step)) else { return empty };
            end += step.len();
            let outer = Self { name: &name[..end], shown: name[..end].to_owned(), ..section };
            match self.keep(outer.inside(node)) {
                Some(inside) => section = inside,
                None => return empty,
            }
            end += 1;
        }
        section
    }

    /// The sections of a list; those that are none are left out, and the problem is kept.
    pub(super) fn sections(&self, name: &'static str) -> Vec<Self> {
        self.keep(self.items(name)).into_iter().flatten().collect()
    }

    fn items(&self, name: &'static str) -> Result<Vec<Self>, Error> {
        let list = self.field(name)?;
        let item = |(index, node): (usize, &'a Node)| {
            Self { name, shown: format!("{name}.{index}"), ..self.clone() }.inside(node)
        };
        match self.table.and_then(|table| table.get(name)).map(|node| &node.value) {
            Some(Value::List(items)) if !items.is_empty() => {
                Ok(items.iter().enumerate().filter_map(|it| self.keep(item(it))).collect())
            }
            _ => Err(list.unexpected(format!("one or more [[{name}]] sections"))),
        }
    }

    /// A section inside of this one. `name`: its name in the table of keys.
    pub(super) fn inner(&self, name: &'static str, step: &str) -> Self {
        let shown = join(&self.shown, step);
        let inner = Self { name, shown, table: None, ..self.clone() };
        let node = self.table.and_then(|table| table.get(step));
        node.and_then(|node| self.keep(inner.clone().inside(node))).unwrap_or(inner)
    }

    /// The key is needed here, and not written.
    pub(super) fn missing(&self, name: &'static str) -> Error {
        Error::Missing {
            place: self.place.clone(),
            key: join(&self.shown, name),
            example: match known(self.name, name).absent {
                Absent::Required(example) => example,
                _ => name,
            },
        }
    }

    fn inside(self, node: &'a Node) -> Result<Self, Error> {
        let Value::Table(table) = &node.value else {
            let expected = format!("a section, [{}]", self.name);
            return Err(
                Field::new(&self, self.shown.clone(), Cow::Borrowed(node)).unexpected(expected)
            );
        };
        Ok(Self { table: Some(table), place: node.place.clone(), ..self })
    }

    /// A key that has a value: one that is written, or else its default.
    ///
    /// # Errors
    /// [`Error::Missing`] if it has neither.
    pub(super) fn field(&self, name: &'static str) -> Result<Field<'a>, Error> {
        self.optional(name).ok_or_else(|| self.missing(name))
    }

    /// A key that may be left out.
    pub(super) fn optional(&self, name: &'static str) -> Option<Field<'a>> {
        let shown = join(&self.shown, name);
        if let Some(node) = self.table.and_then(|table| table.get(name)) {
            return Some(Field::new(self, shown, Cow::Borrowed(node)));
        }
        match known(self.name, name).absent {
            Absent::Default(toml) => {
                Some(Field::new(self, shown, Cow::Owned(parse_default(name, toml))))
            }
            _ => None,
        }
    }

    /// All keys of a section whose keys are not ours.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, Field<'a>)> {
        self.table.into_iter().flatten().map(|(name, node)| {
            let field = Field::new(self, join(&self.shown, name), Cow::Borrowed(node));
            (name.as_str(), field)
        })
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }
}

/// One key with its value.
pub(super) struct Field<'a> {
    key: String,
    node: Cow<'a, Node>,
    environment: Environment<'a>,
}

impl<'a> Field<'a> {
    fn new(section: &Section<'a>, key: String, node: Cow<'a, Node>) -> Self {
        Self { key, node, environment: section.environment }
    }

    pub(super) fn place(&self) -> &Place {
        &self.node.place
    }

    /// The value is of another type or out of bounds.
    pub(super) fn unexpected(&self, expected: impl Into<String>) -> Error {
        self.error_about(describe(&self.node.value), expected.into())
    }

    fn error_about(&self, found: String, expected: String) -> Error {
        Error::Value { place: self.node.place.clone(), key: self.key.clone(), found, expected }
    }

    /// The value breaks a rule that its type does not show.
    pub(super) fn rule(&self, problem: impl ToString, hint: impl Into<String>) -> Error {
        Error::Rule {
            place: self.node.place.clone(),
            key: self.key.clone(),
            problem: problem.to_string(),
            hint: hint.into(),
        }
    }

    pub(super) fn not_in_this_version(&self) -> Error {
        Error::NotInThisVersion {
            place: self.node.place.clone(),
            what: format!("{} = {}", self.key, describe(&self.node.value)),
        }
    }

    fn interpolation(&self, source: crate::secret::Error) -> Error {
        Error::Interpolation { place: self.node.place.clone(), key: self.key.clone(), source }
    }

    /// The text before anything in it is replaced. What came by `--set` is a text whatever it looks like.
    fn template(&self) -> Option<&str> {
        match (&self.node.value, &self.node.as_given) {
            (Value::Text(text), _) => Some(text),
            (Value::Table(_) | Value::List(_), _) => None,
            (_, as_given) => as_given.as_deref(),
        }
    }

    pub(super) fn text(&self) -> Result<String, Error> {
        let template = self.template().ok_or_else(|| self.unexpected("text in quotes"))?;
        interpolate(template, self.environment).map_err(|error| self.interpolation(error))
    }

    /// Text of which at least something must be there.
    pub(super) fn some_text(&self) -> Result<String, Error> {
        match self.text()? {
            text if text.trim().is_empty() => Err(self.unexpected("text that is not empty")),
            text => Ok(text),
        }
    }

    /// A text of 1 to `length_max` characters, each `[A-Za-z0-9._-]`.
    pub(super) fn identifier(&self, length_max: usize) -> Result<String, Error> {
        let text = self.text()?;
        let is_legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if !text.is_empty() && text.len() <= length_max && text.bytes().all(is_legal) {
            Ok(text)
        } else {
            Err(self.unexpected(format!(
                "1 to {length_max} characters, each a letter, a digit, a dot, _ or -"
            )))
        }
    }

    pub(super) fn secret(&self) -> Result<Secret, Error> {
        match self.template() {
            Some(text) => self.secret_of(text),
            None => {
                Err(self
                    .error_about(kind(&self.node.value).to_owned(), "text in quotes".to_owned()))
            }
        }
    }

    /// A secret that may be written as a number or as true or false too.
    pub(super) fn secret_or_scalar(&self) -> Result<Secret, Error> {
        match (&self.node.value, self.template()) {
            (_, Some(text)) => self.secret_of(text),
            (Value::Integer(text) | Value::Float(text), None) => self.secret_of(text),
            (Value::Boolean(value), None) => self.secret_of(&value.to_string()),
            (value, None) => Err(self.error_about(
                kind(value).to_owned(),
                "text in quotes, a number, true or false".to_owned(),
            )),
        }
    }

    fn secret_of(&self, text: &str) -> Result<Secret, Error> {
        Secret::parse(text, self.environment).map_err(|error| self.interpolation(error))
    }

    pub(super) fn path(&self) -> Result<PathBuf, Error> {
        self.some_text().map(PathBuf::from)
    }

    pub(super) fn boolean(&self) -> Result<bool, Error> {
        match self.node.value {
            Value::Boolean(value) => Ok(value),
            _ => Err(self.unexpected("true or false")),
        }
    }

    pub(super) fn number<T>(&self, bounds: RangeInclusive<T>) -> Result<T, Error>
    where
        T: TryFrom<i128> + PartialOrd + std::fmt::Display,
    {
        let number = match &self.node.value {
            Value::Integer(digits) => digits.parse().ok().and_then(|n: i128| T::try_from(n).ok()),
            _ => None,
        };
        number.filter(|number| bounds.contains(number)).ok_or_else(|| {
            self.unexpected(format!("a number from {} to {}", bounds.start(), bounds.end()))
        })
    }

    pub(super) fn duration(&self, bounds: RangeInclusive<Duration>) -> Result<Duration, Error> {
        let duration = match self.template() {
            Some(_) => parse_duration(&self.text()?),
            None => None,
        };
        duration.filter(|duration| bounds.contains(duration)).ok_or_else(|| {
            self.unexpected(format!(
                r#"a duration from {:?} to {:?}, such as "500ms", "5s" or "2m""#,
                bounds.start(),
                bounds.end()
            ))
        })
    }

    pub(super) fn size(&self, bounds: RangeInclusive<usize>) -> Result<usize, Error> {
        let size = match &self.node.value {
            Value::Integer(digits) => digits.parse().ok(),
            Value::Text(_) => parse_size(&self.text()?),
            _ => None,
        };
        size.filter(|size| bounds.contains(size)).ok_or_else(|| {
            self.unexpected(format!(
                r#"a size from {} to {} bytes, such as 65536, "64KiB" or "16MiB""#,
                bounds.start(),
                bounds.end()
            ))
        })
    }

    /// One of a few words.
    pub(super) fn one_of<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, Error> {
        let text = self.text()?;
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            self.unexpected(format!("one of {}", words.join(", ")))
        })
    }

    /// The items of a list that is not empty.
    pub(super) fn items(&self) -> Result<Vec<Field<'_>>, Error> {
        let item = |(index, node)| Field {
            key: format!("{}.{index}", self.key),
            node: Cow::Borrowed(node),
            environment: self.environment,
        };
        match &self.node.value {
            Value::List(items) if !items.is_empty() => {
                Ok(items.iter().enumerate().map(item).collect())
            }
            _ => Err(self.unexpected("a list, such as [\"127.0.0.1:3306\"]")),
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Text(_) => "text",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Date(_) => "a date",
        Value::List(_) => "a list",
        Value::Table(_) => "a section",
    }
}

/// The value as a message shows it. Texts are shown before anything in them is replaced.
fn describe(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("{text:?}"),
        Value::Integer(text) | Value::Float(text) | Value::Date(text) => text.clone(),
        Value::Boolean(value) => value.to_string(),
        Value::List(items) if items.is_empty() => "an empty list".to_owned(),
        Value::List(_) | Value::Table(_) => kind(value).to_owned(),
    }
}

/// A whole number and the unit behind it.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    Some((number.parse().ok()?, unit.trim_start()))
}

fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

fn parse_size(text: &str) -> Option<usize> {
    let (number, unit) = split_unit(text)?;
    let bytes = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    usize::try_from(number.checked_mul(bytes)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, millis) in
            [("500ms", 500), ("5s", 5_000), (" 2 m ", 120_000), ("1h", 3_600_000), ("0s", 0)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "-5s",
            "5 seconds",
            "1.5s",
            "5S",
            "5s5",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_powers_of_two() {
        for (text, bytes) in
            [("16MiB", 16 << 20), ("64 KiB", 64 << 10), ("1GiB", 1 << 30), ("7B", 7)]
        {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "16", "16MB", "16mib", "MiB", "-1B", "1.5MiB", "18446744073709551615GiB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_units_panic(text in "[0-9]{0,24}[ a-zA-Z\\PC]{0,6}") {
            let _ = parse_duration(&text);
            let _ = parse_size(&text);
        }
    }
}
