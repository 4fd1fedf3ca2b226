//! Templates of `[[outbox]]`: literal text, and placeholders for columns and for the row's place.
//!
//! `{column}` stands for a column's text, `{@sequence}` and its like for what the binlog says of the row, `{{` and `}}`
//! for braces. Filters follow a `|`: `{type|kebab|default:none}`.

mod json;

use std::fmt;
use std::str::FromStr;

use super::extract::{self, Unreadable};
use crate::nearest::nearest;

/// A template, with its columns by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template {
    pub pieces: Vec<Piece<String>>,
}

/// A piece of a template. `C` says which column: its name, or its index among the cells of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece<C> {
    Text(String),
    Value { source: Source<C>, filters: Vec<Filter> },
}

/// What a placeholder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<C> {
    Column(C),
    Row(RowFact),
}

/// What the binlog and the relay say of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowFact {
    Database,
    Table,
    /// Name of the relay.
    Name,
    Sequence,
    Generation,
    /// The binlog file.
    File,
    /// End of the rows event in the file.
    Offset,
    /// Index of the row in its event.
    Row,
    /// NULL where the server has no GTIDs.
    Gtid,
    /// RFC 3339 with microseconds, UTC.
    CommittedAt,
}

impl RowFact {
    const ALL: [(&str, RowFact); 10] = [
        ("database", RowFact::Database),
        ("table", RowFact::Table),
        ("name", RowFact::Name),
        ("sequence", RowFact::Sequence),
        ("generation", RowFact::Generation),
        ("file", RowFact::File),
        ("offset", RowFact::Offset),
        ("row", RowFact::Row),
        ("gtid", RowFact::Gtid),
        ("committed_at", RowFact::CommittedAt),
    ];
}

impl RowFact {
    /// As templates name it, behind the `@`.
    #[must_use]
    pub fn name(self) -> &'static str {
        let of = RowFact::ALL.iter().find(|(_, fact)| *fact == self);
        of.map_or("", |(name, _)| name)
    }
}

/// What is done to a value, in the order of the filters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    Lower,
    Upper,
    /// `OrderPlaced` becomes `order_placed`.
    Snake,
    /// `OrderPlaced` becomes `order-placed`.
    Kebab,
    /// Every byte that is illegal in the name of a topic becomes `_`.
    Topic,
    /// The property of this name, where the text is that of Java's `Properties`.
    Property(String),
    /// The member of this name, where the text is a JSON object.
    Member(String),
    /// A JSON string, or a number where the column is one, as Kafka Connect's JsonConverter writes it.
    Json,
    /// JSON without the spaces between its tokens. Other text stays as it is.
    Compact,
    /// A JSON object or array without such spaces. Other text becomes a JSON string.
    Nested,
    /// Stands for NULL.
    Default(String),
}

impl Filter {
    const NAMES: [&str; 11] = [
        "lower", "upper", "snake", "kebab", "topic", "property", "member", "json", "compact",
        "nested", "default",
    ];

    /// It reads a text that has a format of its own, which base64 of a binary column would hide.
    pub fn takes_text(&self) -> bool {
        matches!(self, Filter::Property(_) | Filter::Member(_))
    }

    /// Appends the text as this filter leaves it; `false` where it leaves NULL.
    ///
    /// # Errors
    /// The text is not what the filter takes.
    pub fn apply(&self, text: &str, out: &mut String) -> Result<bool, Unreadable> {
        match self {
            Filter::Property(name) => return extract::property(text, name, out),
            Filter::Member(name) => return extract::member(text, name, out),
            Filter::Lower => out.extend(text.chars().flat_map(char::to_lowercase)),
            Filter::Upper => out.extend(text.chars().flat_map(char::to_uppercase)),
            Filter::Snake => separate(text, '_', out),
            Filter::Kebab => separate(text, '-', out),
            Filter::Topic => out.extend(text.bytes().map(|byte| {
                let is_legal = byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
                if is_legal { char::from(byte) } else { '_' }
            })),
            Filter::Json => json::write_string(text, out),
            Filter::Compact if json::is_json(text) => json::write_compact(text, out),
            Filter::Nested if text.starts_with(['{', '[']) && json::is_json(text) => {
                json::write_compact(text, out);
            }
            Filter::Nested => json::write_string(text, out),
            Filter::Compact | Filter::Default(_) => out.push_str(text),
        }
        Ok(true)
    }
}

/// Writes the words of a name in lower case, with a separator between them. A word begins at an upper-case letter
/// behind a lower-case one or a digit, and at the last letter of a row of upper-case ones before a lower-case one:
/// `HTTPServerError` has three. Spaces, `_` and `-` separate words as well.
fn separate(text: &str, separator: char, out: &mut String) {
    let start = out.len();
    let mut before: Option<char> = None;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c == ' ' || c == '_' || c == '-' {
            if before.is_some_and(|before| before != separator) {
                out.push(separator);
            }
            before = before.map(|_| separator);
            continue;
        }
        let begins = c.is_uppercase()
            && before.is_some_and(|before| {
                before.is_lowercase()
                    || before.is_ascii_digit()
                    || before.is_uppercase() && rest.peek().is_some_and(|next| next.is_lowercase())
            });
        if begins {
            out.push(separator);
        }
        out.extend(c.to_lowercase());
        before = Some(c);
    }
    if out.len() > start && out.ends_with(separator) && before == Some(separator) {
        out.pop();
    }
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{{ at byte {at} has no }}; write {{{{ for a brace")]
    Open { at: usize },
    #[error("}} at byte {at} has no {{ before it; write }}}} for a brace")]
    Close { at: usize },
    #[error("{{}} at byte {at} names no column")]
    Empty { at: usize },
    #[error("there is no {{@{name}}}{}", meant(*nearest, "@"))]
    UnknownFact { name: String, nearest: Option<&'static str> },
    #[error("there is no filter {name:?}{}", meant(*nearest, ""))]
    UnknownFilter { name: String, nearest: Option<&'static str> },
    #[error("the filter {name} takes no argument")]
    Argument { name: String },
    #[error("the filter {name} needs a name: {{column|{name}:name}}")]
    NoArgument { name: String },
}

fn meant(nearest: Option<&str>, before: &str) -> String {
    nearest.map_or_else(String::new, |nearest| format!("; did you mean {before}{nearest}?"))
}

impl FromStr for Template {
    type Err = Error;

    fn from_str(text: &str) -> Result<Template, Error> {
        Template::read(text).map_err(|errors| errors.into_iter().next().expect("there is one"))
    }
}

impl Template {
    /// Reads the text of a template.
    ///
    /// # Errors
    /// All that is wrong with it, up to a brace without its other one.
    pub fn read(text: &str) -> Result<Template, Vec<Error>> {
        let mut pieces = Vec::new();
        let mut errors = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let position = text.len() - rest.len() + at;
            literal.push_str(&rest[..at]);
            let brace = &rest[at..];
            if let Some(doubled) = ["{{", "}}"].into_iter().find(|it| brace.starts_with(it)) {
                literal.push_str(&doubled[..1]);
                rest = &brace[2..];
            } else if let Some(behind) = brace.strip_prefix('{') {
                let Some(end) = behind.find('}') else {
                    errors.push(Error::Open { at: position });
                    return Err(errors);
                };
                if !literal.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut literal)));
                }
                pieces.extend(placeholder(&behind[..end], position, &mut errors));
                rest = &behind[end + 1..];
            } else {
                errors.push(Error::Close { at: position });
                return Err(errors);
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        if errors.is_empty() { Ok(Template { pieces }) } else { Err(errors) }
    }
}

fn placeholder(text: &str, at: usize, errors: &mut Vec<Error>) -> Option<Piece<String>> {
    let mut keep = |error| errors.push(error);
    let mut parts = text.split('|');
    let name = parts.next().unwrap_or_default().trim();
    let source = match name.strip_prefix('@') {
        Some(fact) => row_fact(fact).map(Source::Row),
        None if name.is_empty() => Err(Error::Empty { at }),
        None => Ok(Source::Column(name.to_owned())),
    };
    let source = source.map_err(&mut keep).ok();
    let filters: Vec<_> = parts.map(|text| filter(text).map_err(&mut keep).ok()).collect();
    let filters = filters.into_iter().collect::<Option<_>>();
    Some(Piece::Value { source: source?, filters: filters? })
}

fn row_fact(name: &str) -> Result<RowFact, Error> {
    let found = RowFact::ALL.iter().find(|(known, _)| *known == name);
    found.map(|(_, fact)| *fact).ok_or_else(|| Error::UnknownFact {
        name: name.to_owned(),
        nearest: nearest(name, RowFact::ALL.map(|(known, _)| known)),
    })
}

fn filter(text: &str) -> Result<Filter, Error> {
    let (name, argument) = match text.split_once(':') {
        Some((name, argument)) => (name.trim(), Some(argument)),
        None => (text.trim(), None),
    };
    let filter = match name {
        "lower" => Filter::Lower,
        "upper" => Filter::Upper,
        "snake" => Filter::Snake,
        "kebab" => Filter::Kebab,
        "topic" => Filter::Topic,
        "property" | "member" => {
            let Some(argument) = argument.map(str::trim).filter(|it| !it.is_empty()) else {
                return Err(Error::NoArgument { name: name.to_owned() });
            };
            let of = if name == "member" { Filter::Member } else { Filter::Property };
            return Ok(of(argument.to_owned()));
        }
        "json" => Filter::Json,
        "compact" => Filter::Compact,
        "nested" => Filter::Nested,
        "default" => return Ok(Filter::Default(argument.unwrap_or_default().to_owned())),
        _ => {
            let nearest = nearest(name, Filter::NAMES);
            return Err(Error::UnknownFilter { name: name.to_owned(), nearest });
        }
    };
    match argument {
        None => Ok(filter),
        Some(_) => Err(Error::Argument { name: name.to_owned() }),
    }
}

impl Template {
    /// The columns that it names, in its order.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Value { source: Source::Column(name), .. } => Some(name.as_str()),
            _ => None,
        })
    }

    /// What it says of the row's place.
    pub fn facts(&self) -> impl Iterator<Item = RowFact> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Value { source: Source::Row(fact), .. } => Some(*fact),
            _ => None,
        })
    }

    /// The column that it is, where it is one placeholder without filters and nothing else.
    pub fn lone_column(&self) -> Option<&str> {
        match &self.pieces[..] {
            [Piece::Value { source: Source::Column(name), filters }] if filters.is_empty() => {
                Some(name)
            }
            _ => None,
        }
    }

    /// Its pieces, with each column as `find` knows it.
    pub fn resolve<C>(&self, find: &mut impl FnMut(&str) -> C) -> Vec<Piece<C>> {
        let mut resolve = |piece: &Piece<String>| match piece {
            Piece::Text(text) => Piece::Text(text.clone()),
            Piece::Value { source, filters } => {
                let source = match source {
                    Source::Column(name) => Source::Column(find(name)),
                    Source::Row(fact) => Source::Row(*fact),
                };
                Piece::Value { source, filters: filters.clone() }
            }
        };
        self.pieces.iter().map(&mut resolve).collect()
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => {
                    f.write_str(&text.replace('{', "{{").replace('}', "}}"))?;
                }
                Piece::Value { source, filters } => {
                    match source {
                        Source::Column(name) => write!(f, "{{{name}")?,
                        Source::Row(fact) => write!(f, "{{@{}", fact.name())?,
                    }
                    filters.iter().try_for_each(|filter| write!(f, "|{filter}"))?;
                    f.write_str("}")?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Filter::Lower => f.write_str("lower"),
            Filter::Upper => f.write_str("upper"),
            Filter::Snake => f.write_str("snake"),
            Filter::Kebab => f.write_str("kebab"),
            Filter::Topic => f.write_str("topic"),
            Filter::Property(name) => write!(f, "property:{name}"),
            Filter::Member(name) => write!(f, "member:{name}"),
            Filter::Json => f.write_str("json"),
            Filter::Compact => f.write_str("compact"),
            Filter::Nested => f.write_str("nested"),
            Filter::Default(text) => write!(f, "default:{text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn template(text: &str) -> Template {
        text.parse().unwrap()
    }

    fn filtered(filter: Filter, text: &str) -> String {
        let mut out = String::new();
        assert_eq!(filter.apply(text, &mut out), Ok(true));
        out
    }

    #[test]
    fn literals_columns_facts_and_braces_are_told_apart() {
        let parsed = template("a{{{type|lower|default:x}}}.{@sequence}");
        let value = |source, filters| Piece::Value { source, filters };
        let filters = vec![Filter::Lower, Filter::Default("x".to_owned())];
        assert_eq!(
            parsed.pieces,
            [
                Piece::Text("a{".to_owned()),
                value(Source::Column("type".to_owned()), filters),
                Piece::Text("}.".to_owned()),
                value(Source::Row(RowFact::Sequence), Vec::new()),
            ]
        );
        assert_eq!(template("{id}").lone_column(), Some("id"));
        for text in ["x{id}", "{id|lower}", "{@row}", "", "id"] {
            assert_eq!(template(text).lone_column(), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_template_is_an_error_that_names_it() {
        for (text, error) in [
            ("a{b", "{ at byte 1 has no }; write {{ for a brace"),
            ("a}b", "} at byte 1 has no { before it; write }} for a brace"),
            ("é{}", "{} at byte 2 names no column"),
            ("{@seqence}", "there is no {@seqence}; did you mean @sequence?"),
            ("{a|lowr}", "there is no filter \"lowr\"; did you mean lower?"),
            ("{a|zzz}", "there is no filter \"zzz\""),
            ("{a|upper:x}", "the filter upper takes no argument"),
            ("{a|property}", "the filter property needs a name: {column|property:name}"),
            ("{a|member: }", "the filter member needs a name: {column|member:name}"),
        ] {
            assert_eq!(text.parse::<Template>().unwrap_err().to_string(), error, "{text}");
        }
    }

    #[test]
    fn names_are_separated_at_their_words() {
        for (text, words) in [
            ("OrderPlaced", "order_placed"),
            ("orderPlaced", "order_placed"),
            ("HTTPServerError", "http_server_error"),
            ("order2Paid", "order2_paid"),
            ("Order Placed-now", "order_placed_now"),
            ("already_snake", "already_snake"),
            ("A", "a"),
            ("ÄpfelUndÖl", "äpfel_und_öl"),
            ("_x_", "x"),
            ("", ""),
        ] {
            assert_eq!(filtered(Filter::Snake, text), words, "{text}");
            assert_eq!(filtered(Filter::Kebab, text), words.replace('_', "-"), "{text}");
        }
        assert_eq!(filtered(Filter::Topic, "a b/ü.c"), "a_b___.c");
        assert_eq!(filtered(Filter::Upper, "aß"), "ASS");
        assert_eq!(filtered(Filter::Lower, "ÀB"), "àb");
    }

    #[test]
    fn text_becomes_json_as_kafka_connect_writes_it() {
        for (text, json) in [
            ("a/ü€", "\"a/ü€\""),
            ("\"\\\n\u{8}\u{1f}\u{7f}", "\"\\\"\\\\\\n\\b\\u001F\u{7f}\""),
            ("😀", "\"\\uD83D\\uDE00\""),
            ("", "\"\""),
        ] {
            assert_eq!(filtered(Filter::Json, text), json);
        }
        for (text, compact, nested) in [
            (r#" {"a": [1, "b c"], "d": "\" {"} "#, r#"{"a":[1,"b c"],"d":"\" {"}"#, ""),
            ("[ 1 ]", "[1]", "[1]"),
            ("12 ", "12", "\"12 \""),
            ("{a b}", "{a b}", "\"{a b}\""),
            ("a  b", "a  b", "\"a  b\""),
        ] {
            assert_eq!(filtered(Filter::Compact, text), compact);
            if !nested.is_empty() {
                assert_eq!(filtered(Filter::Nested, text), nested);
            }
        }
    }

    proptest! {
        /// Spaces between tokens are all that is lost.
        #[test]
        fn compact_json_is_the_same_json(text in r#"([\[{]|"a":|[\]}]|,|1|"x \\\\\\" "|null| |\n){0,12}"#) {
            let compact = filtered(Filter::Compact, &text);
            match serde_json::from_str::<serde_json::Value>(&text) {
                Ok(json) => prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&compact).unwrap(), json),
                Err(_) => prop_assert_eq!(compact, text),
            }
        }

        #[test]
        fn a_json_string_says_the_text(text in "\\PC{0,9}|[\\x00-\\x30]{0,9}") {
            let json = filtered(Filter::Json, &text);
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }

        /// What a template is written as is read as that template. No text is a panic.
        #[test]
        fn a_template_is_read_as_it_is_written(text in "(\\{\\{|\\}\\}|\\{[a-z@|: ]{0,9}\\}|[a-z.]|\\PC){0,8}") {
            if let Ok(parsed) = text.parse::<Template>() {
                prop_assert_eq!(parsed.to_string().parse::<Template>(), Ok(parsed));
            }
        }
    }
}
