//! The checks of a sink that another instance takes over, at any moment of a publisher that is busy.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use binlog_relay::sink::{Guarantee, Sink};

use super::Subject;
use super::rows::Row;
use super::session::{NAME, claim, ensure_order, ensure_rows, fence, seen, start, stored};

/// How often a predecessor is fenced while it is busy.
const ROUNDS: u64 = 8;

/// Most rows of a batch.
const ROWS_MAX: u64 = 20;

/// When the predecessor is fenced.
fn moment(subject: &impl Subject, rng: &mut ChaCha8Rng) -> Duration {
    Duration::from_micros(rng.random_range(0..subject.moment_max().as_micros() as u64))
}

fn sizes(rng: &mut ChaCha8Rng) -> impl FnMut() -> u64 + use<> {
    let mut rng = ChaCha8Rng::seed_from_u64(rng.random());
    move || rng.random_range(0..=ROWS_MAX)
}

/// The numbers of all rows that are visible, without their repeats.
async fn visible(subject: &impl Subject) -> BTreeSet<u64> {
    seen(subject).await.into_keys().collect()
}

pub async fn a_fenced_predecessor_adds_nothing_that_its_successor_does_not_see(
    subject: impl Subject,
) {
    let mut rng = ChaCha8Rng::seed_from_u64(13);
    let mut session = start(&subject, NAME).await;
    for _ in 0..ROUNDS {
        let (moment, sizes) = (moment(&subject, &mut rng), sizes(&mut rng));
        let take_over = async {
            tokio::time::sleep(moment).await;
            let fenced = fence(&subject, NAME).await;
            let sequence = fenced.stored.as_ref().map_or(0, |stored| stored.sequence);
            let there = visible(&subject).await;
            if subject.guarantee() == Guarantee::Atomic {
                assert_eq!(there, (1..=sequence).collect::<BTreeSet<_>>(), "right after the fence");
            }
            (fenced, sequence, there)
        };
        let publish = session.publish_until_error(sizes);
        let (error, (fenced, sequence, there)) = tokio::join!(publish, take_over);
        assert!(error.is_fenced(), "{error:?}");
        assert!(session.stored <= sequence, "{} was stored, and not read", session.stored);
        let (ordered, published) = (session.ordered, session.published);
        session.stop().await;
        let later = visible(&subject).await;
        assert!((1..=published).all(|sequence| later.contains(&sequence)), "{published}");
        if subject.guarantee() == Guarantee::Atomic {
            assert_eq!(there, later, "a fenced producer has added records");
        }
        // Nobody has stored a checkpoint either.
        session = claim(&subject, NAME, fenced).await.unwrap();
        assert_eq!(session.ordered, sequence);
        session.look_up(&subject).await;
        if subject.guarantee() == Guarantee::Deduplicated {
            for sequence in sequence + 1..=ordered {
                let is_there = later.contains(&sequence);
                assert_eq!(session.is_found(sequence, &Row::of(sequence)), is_there, "{sequence}");
            }
        }
        ensure_order(&subject).await;
        if sequence < ordered {
            // The successor relays the same rows under the same numbers, and its window ends with them.
            session.publish(ordered - sequence).await.unwrap();
        }
        session.settle().await;
        session.window = None;
        ensure_rows(&subject, session.ordered).await;
    }
    session.stop().await;
}

pub async fn a_fenced_publisher_says_so_and_sends_nothing_more(subject: impl Subject) {
    let mut session = start(&subject, NAME).await;
    session.publish(20).await.unwrap();
    session.settle().await;
    let fenced = fence(&subject, NAME).await;
    let next = claim(&subject, NAME, fenced).await.unwrap();
    assert_eq!(next.ordered, 20);
    let error = session.publish_until_error(|| 10).await;
    assert!(error.is_fenced(), "{error:?}");
    let there = visible(&subject).await;
    if subject.guarantee() == Guarantee::Atomic {
        assert_eq!(there.last(), Some(&20));
    }
    // Whatever is ordered now is not sent, and its checkpoint is not stored.
    let batch = session.fill(30);
    session.order_late(batch);
    session.stop().await;
    assert_eq!(visible(&subject).await, there);
    assert_eq!(stored(&subject).await.unwrap().sequence, 20);
    next.stop().await;
}

pub async fn a_relay_of_another_name_is_fenced_by_that_name(subject: impl Subject) {
    let mut session = start(&subject, "before").await;
    let publish = session.publish_until_error(|| 15);
    let take_over = async {
        tokio::time::sleep(subject.moment_max() / 2).await;
        let mut fenced = fence(&subject, NAME).await;
        fenced.sink.fence(&subject.relay("before")).await.unwrap();
        // Fence first, then read.
        fenced.stored = fenced.sink.stored().await.unwrap();
        fenced
    };
    let (error, fenced) = tokio::join!(publish, take_over);
    assert!(error.is_fenced(), "{error:?}");
    let ordered = session.ordered;
    session.stop().await;
    let later = visible(&subject).await;
    let mut next = claim(&subject, NAME, fenced).await.unwrap();
    next.look_up(&subject).await;
    for sequence in next.ordered + 1..=ordered {
        let is_there = later.contains(&sequence);
        let is_found = next.is_found(sequence, &Row::of(sequence));
        match subject.guarantee() {
            Guarantee::Atomic => assert!(!is_there, "{sequence}"),
            Guarantee::Deduplicated => assert_eq!(is_found, is_there, "{sequence}"),
            Guarantee::AtLeastOnce => assert!(!is_found),
        }
    }
    if next.ordered < ordered {
        next.publish(ordered - next.ordered).await.unwrap();
    }
    next.settle().await;
    next.stop().await;
    ensure_rows(&subject, ordered).await;
}

/// Of a sink with transactions.
pub async fn visible_records_are_those_up_to_the_visible_checkpoint(subject: impl Subject) {
    let mut rng = ChaCha8Rng::seed_from_u64(17);
    let mut session = start(&subject, NAME).await;
    for _ in 0..ROUNDS / 2 {
        let moment = moment(&subject, &mut rng);
        let watch = async {
            for _ in 0..4 {
                tokio::time::sleep(moment / 4).await;
                ensure_atomic(&subject).await;
            }
            let fenced = fence(&subject, NAME).await;
            ensure_atomic(&subject).await;
            claim(&subject, NAME, fenced).await.unwrap()
        };
        let publish = session.publish_until_error(sizes(&mut rng));
        let (error, next) = tokio::join!(publish, watch);
        assert!(error.is_fenced(), "{error:?}");
        session.stop().await;
        ensure_atomic(&subject).await;
        session = next;
        session.look_up(&subject).await;
    }
    ensure_rows(&subject, session.ordered).await;
    session.stop().await;
}

/// All records up to the checkpoint are there, and none after a checkpoint that is read after them.
async fn ensure_atomic(subject: &impl Subject) {
    let sequence = async || stored(subject).await.map_or(0, |stored| stored.sequence);
    let before = sequence().await;
    let there = visible(subject).await;
    let after = sequence().await;
    // Destinations are read one after the other, so that only what is stored before and after is a bound.
    let missing: Vec<u64> = (1..=before).filter(|sequence| !there.contains(sequence)).collect();
    assert!(missing.is_empty(), "{missing:?} are missing, up to {before}");
    let last = there.last().copied().unwrap_or_default();
    assert!(last <= after, "{last} is visible, and the checkpoint is {after}");
    if before == after {
        assert_eq!(last, before);
    }
}
