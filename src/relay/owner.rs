//! A checkpoint that is of a relay of another name: that one may be running, and must be fenced before this one
//! goes on from its place.
//!
//! The own transactional ids keep it from nothing. Its ids are initialised, the checkpoint is read again, and once
//! it is claimed, a moment's dump as the other's replica ends the other's own: it then looks who has the place.

use super::Relay;
use super::recovery::ensure_not_replaced;
use crate::checkpoint::{Checkpoint, Seen};
use crate::config::Config;
use crate::ends::{self, blocking, open_checkpoint_topic, read_checkpoint_of};
use crate::error::Error;
use crate::publish::transactional::Transactional;

/// So often is an owner fenced that writes the checkpoint again and again.
const FENCES_MAX: usize = 5;

/// Fences the relay of another name that the checkpoint is of, if it is of one: it may be running, and the own
/// transactional ids are not its. Answers with what is stored when it can write no more, and with its name.
///
/// # Errors
/// Its ids are refused, or the checkpoint cannot be read.
pub(super) async fn fence_owner(
    relay: &Relay<'_>,
    stored: Option<Checkpoint>,
    mut seen: Seen,
) -> Result<(Option<Checkpoint>, Seen, Option<String>), Error> {
    let config = relay.config;
    let read = async || {
        let (again, seen_again) =
            read_checkpoint_of(config, open_checkpoint_topic(config)?).await?;
        ensure_not_replaced(relay, again.as_ref())?;
        seen = seen_again;
        Ok(again)
    };
    let owner_of = |stored: &Option<Checkpoint>| ends::other_owner(config, stored.as_ref());
    let fenced = until_unchanged(config, stored, owner_of, fence_other, read).await?;
    let (stored, last) = fenced;
    Ok((stored, seen, last))
}

/// Answers with what is stored when its owner can write no more, and with that one's name, if it is another relay.
///
/// A process of the owner that was started after its ids were initialised has the newer ones.
pub(super) async fn until_unchanged<S: PartialEq>(
    config: &Config,
    mut stored: S,
    owner_of: impl Fn(&S) -> Option<String>,
    mut fence: impl AsyncFnMut(&Config, &str) -> Result<(), Error>,
    mut read: impl AsyncFnMut() -> Result<S, Error>,
) -> Result<(S, Option<String>), Error> {
    let mut last = None;
    // Fence again until the checkpoint did not change between the read before the fence and the one after it.
    for _ in 0..FENCES_MAX {
        let Some(owner) = owner_of(&stored) else { return Ok((stored, last)) };
        fence(config, &owner).await?;
        let again = read().await?;
        let is_unchanged = again == stored;
        (stored, last) = (again, Some(owner));
        if is_unchanged {
            return Ok((stored, last));
        }
    }
    match owner_of(&stored) {
        None => Ok((stored, last)),
        Some(owner) => {
            let (key, topic) = (config.checkpoint.key.clone(), config.checkpoint.topic.clone());
            Err(Error::OwnerWrites { key, topic, owner })
        }
    }
}

/// Initialises all transactional ids of a relay of another name.
pub(super) async fn fence_other(config: &Config, owner: &str) -> Result<(), Error> {
    tracing::info!(owner, "the checkpoint is of a relay of another name, which is fenced");
    let (opening, name) = (ends::opening(config), owner.to_owned());
    let fence = move || Transactional::fence(&opening, &name);
    blocking(fence).await?.map_err(|source| Error::OwnerNotFenced {
        brokers: config.kafka.to_string(),
        key: config.checkpoint.key.clone(),
        topic: config.checkpoint.topic.clone(),
        owner: owner.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Reads one after another; answers with what was found, and who was fenced.
    async fn fence_all(
        records: &[(&str, u64)],
    ) -> (Result<((String, u64), Option<String>), Error>, Vec<String>) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.toml");
        let config = Config::load(&path, &["mysql.password=x".to_owned()]).unwrap();
        let record = |index: usize| {
            let (name, sequence) = records[index.min(records.len() - 1)];
            (name.to_owned(), sequence)
        };
        let fenced = RefCell::new(Vec::new());
        let fence = async |_: &Config, owner: &str| {
            fenced.borrow_mut().push(owner.to_owned());
            Ok(())
        };
        let mut reads = 0;
        let read = async || {
            reads += 1;
            Ok(record(reads))
        };
        let owner_of = |(name, _): &(String, u64)| (name != "own").then(|| name.clone());
        let found = until_unchanged(&config, record(0), owner_of, fence, read).await;
        (found, fenced.into_inner())
    }

    #[tokio::test]
    async fn an_owner_is_fenced_until_its_checkpoint_stays_as_it_is() {
        for (records, fences) in [
            (&[("own", 1)][..], ""),
            (&[("a", 1)], "a"),
            // A process of it had newer ids than those that were fenced first.
            (&[("a", 1), ("a", 2)], "a a"),
            (&[("a", 1), ("a", 2), ("b", 2)], "a a b"),
            (&[("a", 1), ("own", 1)], "a"),
        ] {
            let (found, fenced) = fence_all(records).await;
            let (last, _) = records[records.len() - 1];
            let (stored, owner) = found.unwrap();
            assert_eq!((stored.0.as_str(), fenced.join(" ").as_str()), (last, fences));
            assert_eq!(owner, fenced.last().cloned());
        }
    }

    #[tokio::test]
    async fn an_owner_that_writes_again_each_time_is_tried_later() {
        let records: Vec<_> = (0..9).map(|sequence| ("a", sequence)).collect();
        let (found, fenced) = fence_all(&records).await;
        let error = found.unwrap_err();
        assert!(matches!(error, Error::OwnerWrites { .. }), "{error}");
        assert_eq!((error.fate(), fenced.len()), (crate::error::Fate::Retry, FENCES_MAX));
        assert!(error.hint().is_some());
    }
}
