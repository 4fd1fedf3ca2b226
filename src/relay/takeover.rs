//! Taking over: whoever wrote the checkpoint is fenced, and the checkpoint is read behind the fence.
//!
//! The checkpoint may be of a relay of another name, which may be running, and which the fence of this one's name does
//! not stop. That relay is fenced, too, and the checkpoint is read again. Once it is claimed, a moment's dump as the
//! other's replica ends the other's own: it then looks who has the checkpoint.

use super::connecting::{Ends, EndsOf};
use super::planted::{Bug, is_planted};
use super::recovery::ensure_not_replaced;
use super::{Relay, World};
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::connect;
use crate::error::Error;
use crate::primary::Primary;
use crate::sink::Sink;

/// An owner that writes the checkpoint again and again is fenced this often.
const FENCES_MAX: usize = 5;

/// What is stored, and who owned it.
pub(super) struct TakenOver {
    pub stored: Option<Checkpoint>,
    /// The relay of another name that it was of.
    pub owner: Option<String>,
}

/// Fences all predecessors, then reads the checkpoint. The primary is asked for its binlogs meanwhile, and answers
/// when they are looked at.
///
/// # Errors
/// The fence is refused, the checkpoint cannot be read, or somebody has taken over from this instance.
pub(super) async fn take_over<W: World>(
    relay: &Relay<'_, W>,
    ends: &mut EndsOf<W>,
) -> Result<TakenOver, Error> {
    let Ends { primary, sink } = ends;
    let config = relay.config;
    if is_planted(Bug::ReadBeforeFence) {
        let stored = sink.stored().await?;
        sink.fence(&config.name).await?;
        return Ok(TakenOver { stored, owner: None });
    }
    sink.fence(&config.name).await?;
    tracing::debug!("fenced all predecessors");
    // Nobody stores a later checkpoint any more, so what MySQL says now is as new as the one that is read.
    let (stored, is_asked) = tokio::join!(sink.stored(), primary.ask_ahead());
    let stored = stored?;
    tracing::debug!(is_there = stored.is_some(), "read the checkpoint");
    ensure_not_replaced(relay, stored.as_ref())?;
    let owner_of = |stored: &Option<Checkpoint>| connect::other_owner(config, stored.as_ref());
    let fence_and_read = async |owner: &str| {
        sink.fence(owner).await?;
        let again = sink.stored().await?;
        ensure_not_replaced(relay, again.as_ref())?;
        Ok(again)
    };
    let (stored, owner) = until_unchanged(config, stored, owner_of, fence_and_read).await?;
    // Until it was fenced, the other relay may have gone on.
    if owner.is_some() || !is_asked {
        primary.forget_ahead();
    }
    Ok(TakenOver { stored, owner })
}

/// Answers with what is stored when its owner can write no more, and with that one's name, if it is another relay.
///
/// A process of the owner that was started after its ids were initialised has the newer ones.
pub(super) async fn until_unchanged<S: PartialEq>(
    config: &Config,
    mut stored: S,
    owner_of: impl Fn(&S) -> Option<String>,
    mut fence_and_read: impl AsyncFnMut(&str) -> Result<S, Error>,
) -> Result<(S, Option<String>), Error> {
    let mut last = None;
    // Fence again until the checkpoint did not change between the read before the fence and the one after it.
    for _ in 0..FENCES_MAX {
        let Some(owner) = owner_of(&stored) else { return Ok((stored, last)) };
        let again = fence_and_read(&owner).await?;
        let is_unchanged = again == stored;
        (stored, last) = (again, Some(owner));
        if is_unchanged {
            return Ok((stored, last));
        }
    }
    match owner_of(&stored) {
        None => Ok((stored, last)),
        Some(owner) => {
            let (key, topic) =
                (config.kafka.checkpoint.key.clone(), config.kafka.checkpoint.topic.clone());
            Err(Error::OwnerWrites { key, topic, owner })
        }
    }
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
        let mut reads = 0;
        let fence_and_read = async |owner: &str| {
            fenced.borrow_mut().push(owner.to_owned());
            reads += 1;
            Ok(record(reads))
        };
        let owner_of = |(name, _): &(String, u64)| (name != "own").then(|| name.clone());
        let found = until_unchanged(&config, record(0), owner_of, fence_and_read).await;
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
        assert_eq!((error.fate(), fenced.len()), (crate::fate::Fate::Retry, FENCES_MAX));
        assert!(error.hint().is_some());
    }
}
