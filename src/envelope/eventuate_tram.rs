//! Eventuate Tram: a row of `message` becomes `{"payload":…,"headers":{…}}`.
//!
//! The headers are written again compactly, in the order of the column. A member that stands twice keeps
//! the place of the first and the value of the last, as in the map that Eventuate reads them into.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::json::write_string;
use super::{Buffers, Error, Id, Problem, Row, ensure_legal_topic};
use crate::outbox::Preset;
use crate::outbox::extract::{Text, describe};

// Indices into `Preset::EventuateTram.columns()`.
const ID: usize = 0;
pub const DESTINATION: usize = 1;
const HEADERS: usize = 2;
const PAYLOAD: usize = 3;
pub const PUBLISHED: usize = 4;
const NUMBER: usize = 5;

/// Headers of a message that take no memory of their own: Tram's events have 7, its commands about 11. More than
/// these are looked up by a hash of their names.
const HEADERS_USUAL: usize = 16;

/// Key: the header PARTITION_ID, else the id. Topic: the destination.
pub fn write(
    row: &Row<'_>,
    buffers: &mut Buffers,
    out: &mut Vec<u8>,
) -> Result<Option<usize>, Error> {
    if row.is_published(PUBLISHED)? {
        return Ok(None);
    }
    let id = row.id(ID, NUMBER)?;
    let destination = row.needed_text(DESTINATION)?;
    buffers
        .name_topic(Preset::EventuateTram, &destination, write_topic)
        .map_err(|problem| row.error(DESTINATION, problem))?;
    let payload = row.needed_text(PAYLOAD)?;
    let text = row.needed_text(HEADERS)?;
    let headers = Headers::read(&text).map_err(|problem| row.error(HEADERS, problem))?;
    let key = match headers.find("PARTITION_ID") {
        Some(Value::Text(key)) => key,
        Some(Value::Other(_)) => return Err(row.error(HEADERS, Problem::PartitionIdNotAString)),
        Some(Value::Null) | None => id.as_str(),
    };
    let is_id_added = match (headers.find("ID"), &id) {
        (Some(Value::Text(_)), _) => false,
        // Where the database makes the ids, the writer could not know it.
        (None, Id::Generated(_)) => true,
        _ => return Err(row.error(HEADERS, Problem::NoId)),
    };

    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"{\"payload\":");
    write_string(&payload, out);
    out.extend_from_slice(b",\"headers\":{");
    for (index, (name, value)) in headers.members.iter().enumerate() {
        write_member(index, name, value, out);
    }
    if is_id_added {
        write_member(headers.members.len(), "ID", &Value::Text(id.as_str().into()), out);
    }
    out.extend_from_slice(b"}}");
    Ok(Some(key.len()))
}

/// The destination as it is.
pub fn write_topic(destination: &str, topic: &mut String) -> Result<(), Problem> {
    topic.clear();
    topic.push_str(destination);
    ensure_legal_topic(topic)
}

fn write_member(index: usize, name: &str, value: &Value<'_>, out: &mut Vec<u8>) {
    if index > 0 {
        out.push(b',');
    }
    write_string(name, out);
    out.push(b':');
    match value {
        Value::Text(text) => write_string(text, out),
        Value::Other(text) => out.extend_from_slice(text.as_bytes()),
        Value::Null => out.extend_from_slice(b"null"),
    }
}

#[derive(Debug, PartialEq)]
enum Value<'a> {
    Text(Cow<'a, str>),
    /// A number or a boolean, as it is written.
    Other(&'a str),
    Null,
}

impl<'a> Value<'a> {
    /// A value from its JSON text; `None` for an object or an array.
    fn read(json: &'a str) -> Result<Option<Value<'a>>, serde_json::Error> {
        Ok(match json.as_bytes().first() {
            Some(b'{' | b'[') => None,
            Some(b'"') => {
                let mut json = serde_json::Deserializer::from_str(json);
                Some(Value::Text(Text.deserialize(&mut json)?))
            }
            _ if json == "null" => Some(Value::Null),
            _ => Some(Value::Other(json)),
        })
    }
}

#[derive(Debug, Default)]
struct Headers<'a> {
    members: SmallVec<[(Cow<'a, str>, Value<'a>); HEADERS_USUAL]>,
    /// Where the member of a name stands, once there are more than [`HEADERS_USUAL`].
    places: Option<HashMap<Cow<'a, str>, usize>>,
}

impl<'a> Headers<'a> {
    fn read(text: &'a str) -> Result<Headers<'a>, Problem> {
        let not_an_object = |error: serde_json::Error| Problem::NotAnObject(describe(&error));
        let mut headers = Headers::default();
        let mut nested = None;
        let mut json = serde_json::Deserializer::from_str(text);
        json.deserialize_map(ObjectVisitor { headers: &mut headers, nested: &mut nested })
            .map_err(not_an_object)?;
        json.end().map_err(not_an_object)?;
        match nested {
            Some(name) => Err(Problem::Nested(name)),
            None => Ok(headers),
        }
    }

    fn find(&self, name: &str) -> Option<&Value<'a>> {
        self.place(name).map(|place| &self.members[place].1)
    }

    fn place(&self, name: &str) -> Option<usize> {
        match &self.places {
            None => self.members.iter().position(|(member, _)| member == name),
            Some(places) => places.get(name).copied(),
        }
    }

    fn set(&mut self, name: Cow<'a, str>, value: Value<'a>) {
        if let Some(place) = self.place(&name) {
            self.members[place].1 = value;
            return;
        }
        let place = self.members.len();
        if place == HEADERS_USUAL {
            let members = self.members.iter().enumerate();
            self.places = Some(members.map(|(place, (name, _))| (name.clone(), place)).collect());
        }
        if let Some(places) = &mut self.places {
            places.insert(name.clone(), place);
        }
        self.members.push((name, value));
    }
}

struct ObjectVisitor<'h, 'a> {
    headers: &'h mut Headers<'a>,
    nested: &'h mut Option<String>,
}

impl<'a> Visitor<'a> for ObjectVisitor<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(Text)? {
            let value: &'a RawValue = map.next_value()?;
            match Value::read(value.get()).map_err(serde::de::Error::custom)? {
                Some(value) => self.headers.set(name, value),
                None => *self.nested = Some(name.into_owned()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str) -> Result<String, Problem> {
        let headers = Headers::read(text)?;
        let mut out = Vec::new();
        for (index, (name, value)) in headers.members.iter().enumerate() {
            write_member(index, name, value, &mut out);
        }
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn headers_are_compact_in_their_own_order() {
        let text = " { \"z\" : \"1\", \"ID\":\"X\\u0031\" , \"a\":\"\\/\\u00e9\" } ";
        assert_eq!(rewritten(text).unwrap(), r#""z":"1","ID":"X1","a":"/é""#);
    }

    #[test]
    fn a_member_that_stands_twice_keeps_the_first_place_and_the_last_value() {
        assert_eq!(rewritten(r#"{"a":"1","b":"2","a":"3"}"#).unwrap(), r#""a":"3","b":"2""#);
    }

    #[test]
    fn very_many_headers_are_read_in_one_pass_with_the_same_result() {
        // To look through all of them for each would take many minutes.
        const MEMBERS: usize = 300_000;
        let member = |index: usize| format!("\"h{}\":\"{index}\"", index % (MEMBERS - 2));
        let members: Vec<_> = (0..MEMBERS).map(member).collect();
        let text = format!("{{{}}}", members.join(","));
        // The last two stand for the first two, at the places of these.
        let mut expected = members[..MEMBERS - 2].to_vec();
        expected[..2].clone_from_slice(&members[MEMBERS - 2..]);
        assert!(rewritten(&text).unwrap() == expected.join(","));
        let headers = Headers::read(&text).unwrap();
        assert_eq!(headers.find("h77"), Some(&Value::Text("77".into())));
        assert_eq!(headers.find("ID"), None);
    }

    #[test]
    fn around_the_usual_number_of_headers_the_result_is_that_of_a_map() {
        for count in HEADERS_USUAL - 2..HEADERS_USUAL + 3 {
            let names = (0..count).chain([0, count - 1]);
            let members: Vec<_> = names
                .enumerate()
                .map(|(value, name)| format!("\"\\u0068{name}\":{value}"))
                .collect();
            let mut expected: Vec<_> =
                (0..count).map(|name| format!("\"h{name}\":{name}")).collect();
            expected[0] = format!("\"h0\":{count}");
            expected[count - 1] = format!("\"h{}\":{}", count - 1, count + 1);
            let text = format!("{{{}}}", members.join(","));
            assert_eq!(rewritten(&text).unwrap(), expected.join(","), "{count}");
        }
    }

    #[test]
    fn scalars_are_kept_as_they_are() {
        assert_eq!(
            rewritten(r#"{"a":1,"b":true,"c":null,"d":12345678901234567890123.50}"#).unwrap(),
            r#""a":1,"b":true,"c":null,"d":12345678901234567890123.50"#
        );
    }

    #[test]
    fn what_is_no_flat_object_is_refused_without_its_text() {
        for text in ["", "[]", "\"{}\"", "{\"secret\"", "{} x", "nullx"] {
            let problem = rewritten(text).unwrap_err();
            assert!(matches!(problem, Problem::NotAnObject(_)), "{text}: {problem}");
            assert!(!problem.to_string().contains("secret"));
        }
        assert!(matches!(rewritten(r#"{"a":{"b":1}}"#), Err(Problem::Nested(name)) if name == "a"));
        assert!(matches!(rewritten(r#"{"a":[1]}"#), Err(Problem::Nested(_))));
    }
}
