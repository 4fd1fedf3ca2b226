//! The checks of a sink that nobody takes away from its relay.

use std::collections::BTreeSet;

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

use binlog_relay::batch::{DestinationId, Parts};
use binlog_relay::checkpoint::Checkpoint;
use binlog_relay::resend::ResendWindow;
use binlog_relay::sink::{About, Answer, Destinations, Guarantee, Sink};
use binlog_relay::telemetry::clock::CommitTime;

use super::Subject;
use super::rows::Row;
use super::session::{
    GENERATION, NAME, claim, destinations, ensure_order, ensure_rows, fence, look, seen, start,
    stored,
};

/// The checkpoint as it was written: what a sink fills in by itself is not compared.
fn as_written(checkpoint: Option<Checkpoint>) -> Option<Checkpoint> {
    checkpoint.map(|it| Checkpoint { unacknowledged_since: None, recorded_at: None, ..it })
}

pub async fn nothing_is_stored_before_the_first_claim(subject: impl Subject) {
    let fenced = fence(&subject, NAME).await;
    assert_eq!(fenced.stored, None);
    assert!(!fenced.sink.cluster_id().is_empty());
    assert_eq!(stored(&subject).await, None);
    assert_eq!(look(&subject).await, None);
}

pub async fn a_claim_is_stored_and_read_back(subject: impl Subject) {
    let mut session = start(&subject, NAME).await;
    let claim = as_written(Some(session.claim.clone()));
    assert_eq!(as_written(stored(&subject).await), claim);
    assert_eq!(as_written(look(&subject).await), claim);
    session.publish(3).await.unwrap();
    session.settle().await;
    session.stop().await;
    // The next one goes on behind what was stored since.
    let next = start(&subject, NAME).await;
    assert_eq!(next.claim.sequence, 3);
    let claim = as_written(Some(next.claim.clone()));
    assert_eq!(as_written(stored(&subject).await), claim);
    next.stop().await;
}

pub async fn a_claim_fails_where_another_checkpoint_was_stored_since_it_was_read(
    subject: impl Subject,
) {
    let late = fence(&subject, NAME).await;
    assert_eq!(late.stored, None);
    // A relay of another name fences nobody of ours.
    let mut other = start(&subject, "other").await;
    other.publish(4).await.unwrap();
    other.settle().await;
    let Err(error) = claim(&subject, NAME, late).await else { panic!("it claims over another") };
    assert!(!error.is_fenced(), "{error}");
    let checkpoint = stored(&subject).await.unwrap();
    assert_eq!(
        (checkpoint.name.as_deref(), checkpoint.sequence),
        (Some(&*subject.relay("other")), 4)
    );
    // The other one is not harmed.
    other.publish(4).await.unwrap();
    other.settle().await;
    other.stop().await;
    ensure_rows(&subject, 8).await;
}

pub async fn a_claim_fails_where_the_sink_was_fenced(subject: impl Subject) {
    let late = fence(&subject, NAME).await;
    let next = fence(&subject, NAME).await;
    let Err(error) = claim(&subject, NAME, late).await else { panic!("it claims when fenced") };
    assert!(error.is_fenced(), "{error}");
    assert_eq!(stored(&subject).await, None);
    claim(&subject, NAME, next).await.unwrap().stop().await;
}

pub async fn a_batch_is_published_only_when_all_records_up_to_it_are_durable(
    subject: impl Subject,
) {
    let mut session = start(&subject, NAME).await;
    for rows in [1, 7, 30, 2, 11, 64, 3, 5] {
        session.publish(rows).await.unwrap();
        let published = session.published;
        let seen = seen(&subject).await;
        let is_there = |sequence| seen.contains_key(&sequence);
        assert!((1..=published).all(is_there), "{published} is published, and not all is there");
    }
    while session.published < session.ordered {
        if let Answer::Published(published) = session.answer().await.unwrap() {
            let seen = seen(&subject).await;
            assert!((1..=published.sequence).all(|sequence| seen.contains_key(&sequence)));
        }
    }
    session.settle().await;
    session.stop().await;
    ensure_rows(&subject, 123).await;
}

pub async fn a_checkpoint_is_stored_only_behind_its_records(subject: impl Subject) {
    let mut session = start(&subject, NAME).await;
    for _ in 0..12 {
        session.publish(10).await.unwrap();
        let last = stored(&subject).await.unwrap().sequence;
        let seen = seen(&subject).await;
        assert!((1..=last).all(|sequence| seen.contains_key(&sequence)), "{last}");
        assert!(last >= session.stored, "{last} after {} was answered", session.stored);
    }
    session.settle().await;
    assert_eq!(stored(&subject).await.unwrap().sequence, 120);
    session.stop().await;
}

pub async fn a_key_keeps_its_order_with_several_batches_in_flight(subject: impl Subject) {
    let mut session = start(&subject, NAME).await;
    let mut rows = 0;
    for batch in 0..40 {
        let size = 1 + batch * 7 % 50;
        session.publish(size).await.unwrap();
        rows += size;
    }
    session.settle().await;
    session.stop().await;
    ensure_rows(&subject, rows).await;
}

pub async fn keys_values_and_headers_arrive_as_they_were_also_empty_and_null(
    subject: impl Subject,
) {
    let mut session = start(&subject, NAME).await;
    // All kinds of keys, values and headers with each other, in one batch and alone.
    session.publish(9 * 11 * 5).await.unwrap();
    for _ in 0..11 {
        session.publish(1).await.unwrap();
    }
    session.settle().await;
    session.stop().await;
    let rows = 9 * 11 * 5 + 11;
    ensure_rows(&subject, rows).await;
    let seen = seen(&subject).await;
    let has = |is_it: &dyn Fn(&Row) -> bool| {
        seen.keys().filter(|sequence| is_it(&Row::of(**sequence))).count() > 0
    };
    assert!(has(&|row| row.key.is_none() && row.value.is_none() && !row.headers.is_empty()));
    assert!(has(&|row| row.key.as_deref() == Some(b"") && row.value.as_deref() == Some(b"")));
}

pub async fn rows_that_were_found_count_and_are_not_sent(subject: impl Subject) {
    let mut session = start(&subject, NAME).await;
    let is_found = |sequence: u64| sequence.is_multiple_of(3) || (20..=40).contains(&sequence);
    for rows in [10, 9, 21, 15] {
        let mut batch = session.empty();
        for sequence in session.ordered + 1..=session.ordered + rows {
            let row = Row::of(sequence);
            row.push(&mut batch, session.id(row.destination), is_found(sequence));
        }
        batch.mark_boundary();
        session.publish_batch(batch).await.unwrap();
    }
    session.settle().await;
    session.stop().await;
    assert_eq!(stored(&subject).await.unwrap().sequence, 55);
    let seen: Vec<u64> = seen(&subject).await.into_keys().collect();
    assert_eq!(seen, (1..=55).filter(|sequence| !is_found(*sequence)).collect::<Vec<_>>());
}

pub async fn an_empty_batch_stores_its_checkpoint(subject: impl Subject) {
    let mut session = start(&subject, NAME).await;
    for batches in 0..3 {
        let empty = session.empty();
        session.publish_batch(empty).await.unwrap();
        session.settle().await;
        let checkpoint = stored(&subject).await.unwrap();
        let offset = 1_000 + batches * 5 + batches * 2;
        assert_eq!((checkpoint.sequence, checkpoint.offset), (batches * 5, offset));
        session.publish(5).await.unwrap();
    }
    session.settle().await;
    session.stop().await;
    ensure_rows(&subject, 15).await;
}

pub async fn stop_finishes_what_is_in_flight(subject: impl Subject) {
    let mut session = start(&subject, NAME).await;
    for _ in 0..9 {
        session.publish(20).await.unwrap();
    }
    session.stop().await;
    ensure_rows(&subject, 180).await;
    assert_eq!(stored(&subject).await.unwrap().sequence, 180);
}

pub async fn nothing_comes_behind_a_record_that_is_refused(subject: impl Subject) {
    let mut session = start(&subject, NAME).await;
    session.publish(10).await.unwrap();
    session.settle().await;
    let destination = session.destinations.get(session.id(0));
    let bytes_max = destination.record_bytes_max.expect("a subject's sink has a limit");
    // Two of its key are before it; no sink can make it smaller.
    let refused = 13;
    let mut batch = session.empty();
    for sequence in 11..=40 {
        let row = Row::of(sequence);
        if sequence == refused {
            batch.draft().extend_from_slice(b"refused");
            let mut noise = vec![0; bytes_max];
            ChaCha8Rng::seed_from_u64(refused).fill_bytes(&mut noise);
            batch.draft().extend_from_slice(&noise);
            let parts = Parts::of(7, noise.len());
            batch.push_parts(session.id(0), parts, CommitTime::from_seconds(0));
        } else {
            let key_len = b"refused".len();
            batch.draft().extend_from_slice(b"refused");
            batch.draft().extend_from_slice(row.value.as_deref().unwrap_or_default());
            batch.push(session.id(0), key_len, CommitTime::from_seconds(0));
        }
    }
    batch.mark_boundary();
    session.publish_batch(batch).await.unwrap();
    let error = session.publish_until_error(|| 10).await;
    let About::Record(of) = &error.about else { panic!("{error}: {:?}", error.about) };
    assert_eq!((of.sequence, &*of.destination), (refused, &*destinations(&subject)[0]), "{error}");
    // What is ordered now is not sent any more.
    let batch = session.fill(10);
    session.order_late(batch);
    let (published, ordered) = (session.published, session.ordered);
    session.stop().await;
    assert_eq!((published, stored(&subject).await.unwrap().sequence), (10, 10));
    let seen = seen(&subject).await;
    assert!(seen.keys().all(|sequence| *sequence <= ordered));
    let of_batch = |sequence: &&u64| (11..=40).contains(*sequence);
    let there: Vec<u64> = seen.keys().filter(of_batch).copied().collect();
    // Of the key nothing is there behind the gap. In a transaction nothing is there at all.
    let least = if subject.guarantee() == Guarantee::Atomic { Vec::new() } else { vec![11, 12] };
    assert!(there == least[..there.len().min(least.len())], "{there:?}");
}

pub async fn a_destination_that_is_not_there_is_created_or_refused(subject: impl Subject) {
    let mut session = start(&subject, NAME).await;
    let name = subject.destination("unheard-of");
    assert_eq!(session.destinations.find(&name), None);
    match session.destinations.look_up(&name).await {
        Ok(id) => {
            assert_eq!(session.destinations.find(&name), Some(id));
            assert_eq!(&*session.destinations.get(id).name, name);
            let mut batch = session.empty();
            Row::of(2).push(&mut batch, id, false);
            batch.mark_boundary();
            session.publish_batch(batch).await.unwrap();
            session.settle().await;
            let records = subject.records(&name).await;
            assert!(records.len() == 1 && Row::of(2).is_seen_as(&records[0]), "{records:?}");
        }
        Err(error) => {
            assert!(matches!(error.about, About::Destination(_)), "{error}: {:?}", error.about);
            assert_eq!(session.destinations.find(&name), None);
            assert!(subject.records(&name).await.is_empty());
            // The others go on.
            session.publish(10).await.unwrap();
            session.settle().await;
        }
    }
    session.stop().await;
}

pub async fn a_destination_has_one_id(subject: impl Subject) {
    let mut session = start(&subject, NAME).await;
    let names = destinations(&subject);
    let ids: Vec<DestinationId> = (0..names.len()).map(|index| session.id(index)).collect();
    assert_eq!(BTreeSet::from_iter(ids.iter().map(|id| id.0)).len(), names.len());
    for (name, id) in names.iter().zip(ids) {
        assert_eq!(session.destinations.find(name), Some(id));
        assert_eq!(session.destinations.look_up(name).await.unwrap(), id);
        assert_eq!(&*session.destinations.get(id).name, *name);
    }
    // The publisher knows them by the same ids.
    session.publish(30).await.unwrap();
    session.settle().await;
    session.stop().await;
    ensure_rows(&subject, 30).await;
}

/// Of a sink that finds them.
pub async fn all_rows_behind_the_checkpoint_that_are_there_are_found_and_no_others(
    subject: impl Subject,
) {
    // Rows of the same numbers, of a relay that has nothing to do with ours.
    let mut stranger = start(&subject, "stranger").await;
    stranger.publish(60).await.unwrap();
    stranger.settle().await;
    stranger.stop().await;
    let mut session = start(&subject, NAME).await;
    assert_eq!(session.ordered, 60);
    for rows in [20, 5, 40] {
        session.publish(rows).await.unwrap();
    }
    session.settle().await;
    session.stop().await;
    // The checkpoint may be of any time since.
    for (after, names) in [
        (60, &[NAME][..]),
        (80, &[NAME]),
        (97, &[NAME]),
        (125, &[NAME]),
        (0, &[NAME]),
        (30, &["stranger"]),
        (0, &[NAME, "stranger"]),
    ] {
        let mut next = start(&subject, NAME).await;
        let senders: Vec<String> = names.iter().map(|name| subject.relay(name)).collect();
        let window = ResendWindow {
            generation: GENERATION,
            after,
            since_millis: 0,
            senders,
            has_row_timestamps: false,
            has_row_partitions: false,
            until: None,
        };
        next.look_up_again(&window).await;
        for sequence in 1..=140 {
            let row = Row::of(sequence);
            let sender = if sequence <= 60 { "stranger" } else { NAME };
            let is_there = sequence > after && sequence <= 125 && names.contains(&sender);
            assert_eq!(next.is_found(sequence, &row), is_there, "{sequence} after {after}");
        }
        let window = ResendWindow { generation: GENERATION + 1, ..window };
        next.look_up_again(&window).await;
        let is_found = |sequence| next.is_found(sequence, &Row::of(sequence));
        assert!(!(1..=140).any(is_found), "of another generation");
        next.stop().await;
    }
    ensure_order(&subject).await;
}

/// Of a sink that cannot find anything.
pub async fn what_was_sent_cannot_be_found(subject: impl Subject) {
    let mut session = start(&subject, NAME).await;
    session.publish(20).await.unwrap();
    session.settle().await;
    session.stop().await;
    let mut next = start(&subject, NAME).await;
    let window = next.window.clone().expect("rows may be there");
    assert!(next.destinations.sent(next.id(0), &window).await.unwrap().is_none());
    next.stop().await;
}
