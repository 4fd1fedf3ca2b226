//! `[mysql] start_from`: a place on the server, or the offsets that Debezium has stored.

use std::fmt;
use std::str::FromStr;

use crate::coordinates::{self, StartFrom};

/// Before the topic and the connector.
const DEBEZIUM: &str = "debezium:";

/// Longest name of a Kafka topic.
const TOPIC_LENGTH_MAX: usize = 249;

/// Where a relay without a checkpoint begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstStart {
    /// On the server.
    At(StartFrom),
    /// Where a connector of Debezium stopped.
    Debezium(OffsetsOf),
}

/// Offsets that Kafka Connect stored for a connector of Debezium.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetsOf {
    /// `offset.storage.topic` of the worker.
    pub topic: String,
    /// `None`: the only one of MySQL in the topic.
    pub connector: Option<String>,
}

/// Why a text says no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    At(#[from] coordinates::Error),
    #[error("{0:?} names no topic; expected debezium:<offset topic>/<connector>")]
    Topic(String),
}

impl FromStr for FirstStart {
    type Err = Error;

    fn from_str(text: &str) -> Result<FirstStart, Error> {
        let text = text.trim();
        let Some(offsets) = text.strip_prefix(DEBEZIUM) else {
            return Ok(FirstStart::At(text.parse()?));
        };
        // No topic has a slash in its name, but a connector may.
        let (topic, connector) = match offsets.split_once('/') {
            Some((topic, connector)) => (topic, Some(connector.to_owned())),
            None => (offsets, None),
        };
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_topic = (1..=TOPIC_LENGTH_MAX).contains(&topic.len()) && topic.bytes().all(is_legal);
        if !is_topic || connector.as_ref().is_some_and(String::is_empty) {
            return Err(Error::Topic(text.to_owned()));
        }
        Ok(FirstStart::Debezium(OffsetsOf { topic: topic.to_owned(), connector }))
    }
}

impl fmt::Display for FirstStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FirstStart::At(from) => from.fmt(f),
            FirstStart::Debezium(OffsetsOf { topic, connector: None }) => {
                write!(f, "{DEBEZIUM}{topic}")
            }
            FirstStart::Debezium(OffsetsOf { topic, connector: Some(connector) }) => {
                write!(f, "{DEBEZIUM}{topic}/{connector}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_start_is_a_place_or_the_offsets_of_a_connector() {
        let debezium = |topic: &str, connector: Option<&str>| {
            let (topic, connector) = (topic.to_owned(), connector.map(str::to_owned));
            FirstStart::Debezium(OffsetsOf { topic, connector })
        };
        for (text, expected) in [
            ("earliest", FirstStart::At(StartFrom::Earliest)),
            ("debezium:connect-offsets", debezium("connect-offsets", None)),
            ("debezium:connect-offsets/orders", debezium("connect-offsets", Some("orders"))),
            ("debezium:o/a/b c", debezium("o", Some("a/b c"))),
        ] {
            let parsed: FirstStart = text.parse().unwrap();
            assert_eq!((&parsed, parsed.to_string()), (&expected, text.to_owned()));
        }
        for text in ["debezium:", "debezium:/x", "debezium:o/", "debezium:a b", "debezium"] {
            assert!(text.parse::<FirstStart>().is_err(), "{text}");
        }
    }
}
