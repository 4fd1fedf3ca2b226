//! Compares the operations that the brokers allow on a topic with the needed ones.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::{Description, Error};
use crate::sink::kafka::connection::{Authorized, Operation};

/// An existing topic, and the operations that are allowed on it.
pub struct Looked {
    pub(super) description: Description,
    pub(super) authorized: Result<Option<Authorized>, KafkaError>,
}

impl Looked {
    /// # Errors
    /// As [`super::Topics::ensure_authorized`].
    pub(super) fn accept(self, name: &str, needed: &[Operation]) -> Result<Description, Error> {
        self.description.warn_of_no_config(name);
        allows(name, self.authorized, needed)?;
        Ok(self.description)
    }
}

/// # Errors
/// The first operation that is not allowed; Kafka cannot be asked.
pub(super) fn allows(
    name: &str,
    authorized: Result<Option<Authorized>, KafkaError>,
    needed: &[Operation],
) -> Result<Option<Authorized>, Error> {
    let authorized = match authorized {
        Ok(authorized) => authorized,
        Err(error) if is_no_answer(&error) => None,
        Err(source) => return Err(Error::LookUp { topic: name.to_owned(), source }),
    };
    let is_missing =
        |operation: &&Operation| authorized.as_ref().is_some_and(|set| !set.allows(**operation));
    match needed.iter().find(is_missing) {
        Some(&operation) => Err(Error::NoRight { topic: name.to_owned(), operation }),
        None => Ok(authorized),
    }
}

/// The brokers are too old to tell rights, or the asked one does not know the new topic yet.
fn is_no_answer(error: &KafkaError) -> bool {
    matches!(
        error,
        KafkaError::AdminOp(
            RDKafkaErrorCode::UnsupportedFeature
                | RDKafkaErrorCode::UnsupportedVersion
                | RDKafkaErrorCode::UnknownTopicOrPartition
        )
    )
}
