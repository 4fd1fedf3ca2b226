//! Reads the files of other programs into names and values: Java properties, environment files, JSON, and as much of
//! YAML as their examples use.
//!
//! Each value knows whether it was used, so that an import can name every option that it did not.

use serde_json::Value as Json;

/// Deepest nesting of YAML that is followed.
const DEPTH_MAX: usize = 32;

/// Names and values in the order of the file.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    name: String,
    value: String,
    is_used: bool,
}

impl Settings {
    /// The last value of a name wins, as in all of these formats.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let (name, value) = (name.into(), value.into());
        self.entries.retain(|entry| entry.name != name);
        self.entries.push(Entry { name, value, is_used: false });
    }

    /// A value, which counts as used from now on.
    pub fn take(&mut self, name: &str) -> Option<String> {
        let entry = self.entries.iter_mut().find(|entry| entry.name == name)?;
        entry.is_used = true;
        Some(entry.value.trim().to_owned())
    }

    /// As [`Settings::take`], of the first of several names that is there. All of them count as used.
    pub fn take_any(&mut self, names: &[&str]) -> Option<(String, String)> {
        let mut found = None;
        for name in names {
            if let Some(value) = self.take(name) {
                found = found.or(Some(((*name).to_owned(), value)));
            }
        }
        found
    }

    /// A value that does not count as used.
    pub fn peek(&self, name: &str) -> Option<&str> {
        self.entries.iter().find(|entry| entry.name == name).map(|entry| entry.value.trim())
    }

    /// Names and values that were not used.
    pub fn unused(&self) -> impl Iterator<Item = (&str, &str)> {
        let unused = self.entries.iter().filter(|entry| !entry.is_used);
        unused.map(|entry| (entry.name.as_str(), entry.value.as_str()))
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// The same values, under other names; `None` leaves one out.
    #[must_use]
    pub fn renamed(&self, rename: impl Fn(&str) -> Option<String>) -> Settings {
        let mut renamed = Settings::default();
        for entry in &self.entries {
            if let Some(name) = rename(&entry.name) {
                renamed.insert(name, entry.value.as_str());
            }
        }
        renamed
    }
}

/// Java properties, and environment files: `name=value`, `name: value`, `name value`; `#` and `!` begin a comment, a
/// backslash at the end of a line goes on with the next one
/// (<https://docs.oracle.com/javase/8/docs/api/java/util/Properties.html#load-java.io.Reader->).
pub fn properties(text: &str) -> Settings {
    let mut settings = Settings::default();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut line = line.trim_start().to_owned();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        while ends_with_escape(&line) {
            line.pop();
            line.push_str(lines.next().unwrap_or_default().trim_start());
        }
        let line = line.strip_prefix("export ").unwrap_or(&line);
        let (name, value) = split_property(line);
        let value = unquoted(&unescaped(value));
        settings.insert(unescaped(name), value);
    }
    settings
}

fn ends_with_escape(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

fn split_property(line: &str) -> (&str, &str) {
    let mut is_escaped = false;
    for (at, c) in line.char_indices() {
        if !is_escaped && (c == '=' || c == ':' || c.is_whitespace()) {
            let rest = line[at..].trim_start();
            let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
            return (&line[..at], rest.trim_start());
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    (line, "")
}

fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                out.push(code.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

/// Without the quotes that a shell or Docker would take off.
fn unquoted(text: &str) -> String {
    let text = text.trim_end();
    for quote in ['"', '\''] {
        let inner = text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote));
        if let Some(inner) = inner.filter(|inner| !inner.contains(quote)) {
            return inner.to_owned();
        }
    }
    text.to_owned()
}

/// The members of a JSON object whose values are texts, numbers or booleans.
pub fn json_object(object: &serde_json::Map<String, Json>) -> Settings {
    let mut settings = Settings::default();
    for (name, value) in object {
        match value {
            Json::String(text) => settings.insert(name, text),
            Json::Null => {}
            other => settings.insert(name, other.to_string()),
        }
    }
    settings
}

/// Block mappings and sequences of scalars, as paths with their values: `spec.config.name` and `services.cdc.0`. Dots in
/// a name stay as they are. Documents follow one another.
///
/// # Errors
/// The number of a line that this cannot read.
pub fn yaml(text: &str) -> Result<Vec<(Vec<String>, String)>, usize> {
    let mut pairs = Vec::new();
    // Indentation and name of the mappings around the line.
    let mut around: Vec<(usize, String)> = Vec::new();
    let mut items = 0usize;
    for (number, line) in text.lines().enumerate() {
        let content = without_comment(line);
        let indent = content.len() - content.trim_start().len();
        let content = content.trim();
        if content.is_empty() || content == "---" || content == "..." {
            continue;
        }
        let refused = || number + 1;
        if line.trim_start_matches(' ').starts_with('\t') || around.len() > DEPTH_MAX {
            return Err(refused());
        }
        let (indent, content, is_item) = match content.strip_prefix("- ") {
            Some(item) => (indent + 1, item.trim(), true),
            None => (indent, content, false),
        };
        while around.last().is_some_and(|(outer, _)| *outer >= indent) {
            around.pop();
        }
        let path = |name: &str| {
            let around = around.iter().map(|(_, name)| name.clone());
            around.chain([name.to_owned()]).collect::<Vec<_>>()
        };
        match split_mapping(content) {
            Some((name, "")) => around.push((indent, name)),
            Some((_, value)) if value.starts_with(['|', '>', '&', '*', '{']) => {
                return Err(refused());
            }
            Some((name, value)) => pairs.push((path(&name), scalar(value))),
            None if is_item => {
                pairs.push((path(&items.to_string()), scalar(content)));
                items += 1;
            }
            None => return Err(refused()),
        }
    }
    Ok(pairs)
}

/// `name: value`; the value may be missing. A name may be quoted.
fn split_mapping(content: &str) -> Option<(String, &str)> {
    if let Some(quote) = content.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let end = content[1..].find(quote)? + 1;
        let rest = content[end + 1..].trim_start().strip_prefix(':')?;
        return Some((content[1..end].to_owned(), rest.trim()));
    }
    if let Some(name) = content.strip_suffix(':') {
        return Some((name.trim().to_owned(), ""));
    }
    let (name, value) = content.split_once(": ")?;
    Some((name.trim().to_owned(), value.trim()))
}

fn scalar(text: &str) -> String {
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(inner) => unescaped(inner),
        None => match text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
            Some(inner) => inner.replace("''", "'"),
            None => text.to_owned(),
        },
    }
}

fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') if before.is_whitespace() => return &line[..at],
            (None, '"' | '\'') if before.is_whitespace() || before == ':' => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
        before = c;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(settings: &Settings) -> Vec<(&str, &str)> {
        settings.unused().collect()
    }

    #[test]
    fn properties_are_read_as_java_reads_them() {
        let text = "# one\n! two\n\na=1\n b : two words \nc 3\nd=x\\\n   y\ne\\:f=\\u00e9\\\\.\\=\ng=\nh='q'\n\
                    export I=\"7 8\"\na=9\n";
        let settings = properties(text);
        let expected = [
            ("b", "two words"),
            ("c", "3"),
            ("d", "xy"),
            ("e:f", "é\\.="),
            ("g", ""),
            ("h", "q"),
            ("I", "7 8"),
            ("a", "9"),
        ];
        assert_eq!(pairs(&settings), expected);
    }

    #[test]
    fn a_value_that_was_taken_is_not_named_again() {
        let mut settings = properties("a=1\nb=2\nc=3");
        assert_eq!(settings.take("a").as_deref(), Some("1"));
        assert_eq!(settings.take_any(&["x", "b"]), Some(("b".to_owned(), "2".to_owned())));
        assert_eq!(settings.peek("c"), Some("3"));
        assert_eq!(pairs(&settings), [("c", "3")]);
        assert_eq!(settings.take("z"), None);
    }

    #[test]
    fn yaml_of_strimzi_and_compose_is_read_and_what_is_not_understood_names_its_line() {
        let text = "kind: KafkaConnector\nmetadata:\n  name: my-source # the name\nspec:\n  config:\n    \
                    tasks.max: 1\n    \"a.b\": 'it''s'\n    url: \"x#y\\n\"\n    env:\n      - A=1\n      - B: 2\n";
        let pairs = yaml(text).unwrap();
        let pairs: Vec<_> = pairs.iter().map(|(path, it)| (path.join("/"), it.as_str())).collect();
        let pairs: Vec<_> = pairs.iter().map(|(path, it)| (path.as_str(), *it)).collect();
        let expected = [
            ("kind", "KafkaConnector"),
            ("metadata/name", "my-source"),
            ("spec/config/tasks.max", "1"),
            ("spec/config/a.b", "it's"),
            ("spec/config/url", "x#y\n"),
            ("spec/config/env/0", "A=1"),
            ("spec/config/env/B", "2"),
        ];
        assert_eq!(pairs, expected);
        assert_eq!(yaml("a: 1\nb: |\n  x"), Err(2));
        assert_eq!(yaml("a: 1\nnothing"), Err(2));
    }
}
