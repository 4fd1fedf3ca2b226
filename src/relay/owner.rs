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

/// Fences the relay of another name that the checkpoint is of, if it is of one: it may be running, and the own
/// transactional ids are not its. Answers with what is stored when it can write no more, and with its name.
///
/// # Errors
/// Its ids are refused, or the checkpoint cannot be read.
pub(super) async fn fence_owner(
    relay: &Relay<'_>,
    mut stored: Option<Checkpoint>,
    mut seen: Seen,
) -> Result<(Option<Checkpoint>, Seen, Option<String>), Error> {
    let (config, mut last) = (relay.config, None);
    // Once again only where yet another relay has claimed the checkpoint meanwhile.
    while let Some(owner) = ends::other_owner(config, stored.as_ref())
        && Some(&owner) != last.as_ref()
    {
        fence_other(config, &owner).await?;
        last = Some(owner);
        (stored, seen) = read_checkpoint_of(config, open_checkpoint_topic(config)?).await?;
        ensure_not_replaced(relay, stored.as_ref())?;
    }
    Ok((stored, seen, last))
}

/// Initialises all transactional ids of a relay of another name.
pub(super) async fn fence_other(config: &Config, owner: &str) -> Result<(), Error> {
    tracing::info!(owner, "the checkpoint is of a relay of another name, which is fenced");
    let (kafka, options) = (config.kafka.clone(), config.publish.clone());
    let (checkpoint, limits) = (config.checkpoint.clone(), config.batch);
    let name = owner.to_owned();
    let fence = move || Transactional::fence(&kafka, &options, &name, &checkpoint, limits);
    blocking(fence).await?.map_err(|source| Error::OwnerNotFenced {
        brokers: config.kafka.to_string(),
        key: config.checkpoint.key.clone(),
        topic: config.checkpoint.topic.clone(),
        owner: owner.to_owned(),
        source,
    })
}
