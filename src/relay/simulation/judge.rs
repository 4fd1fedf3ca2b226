//! What the judge holds against what a story has left behind.

use std::collections::{HashMap, HashSet};

use super::Relay;
use super::broker::{Record, lane_of};
use super::database::OutboxRow;
use crate::error::Error;
use crate::relay::orders::Report;
use crate::sink::Guarantee;

/// A row is there once, or where repeats are allowed at least once, as it was written.
pub(super) fn ensure_row(
    guarantee: Guarantee,
    row: &OutboxRow,
    sequence: u64,
    records: &[&Record],
) -> Result<(), String> {
    let OutboxRow { number, topic, key, .. } = row;
    let (topic, key) = (format!("topic{topic}"), format!("key{key}"));
    match records.len() {
        0 => return Err(format!("row {number} is lost")),
        1 => {}
        _ if guarantee == Guarantee::AtLeastOnce => {}
        times => return Err(format!("row {number} came {times} times")),
    }
    for record in records {
        let is_altered = !record.topic.ends_with(&topic)
            || record.key.as_deref() != Some(key.as_bytes())
            || record.partition != lane_of(record.key.as_deref());
        if is_altered {
            return Err(format!("row {number} was altered: {record:?}"));
        }
        if record.sequence != sequence {
            let is = record.sequence;
            return Err(format!("row {number} has the number {is} instead of {sequence}"));
        }
    }
    Ok(())
}

/// In each partition, rows come first in the order in which they were committed.
pub(super) fn ensure_order(expected: &[OutboxRow], records: &[Record]) -> Result<(), String> {
    let position: HashMap<u64, usize> =
        expected.iter().enumerate().map(|(index, row)| (row.number, index)).collect();
    let mut last: HashMap<(&str, u32), (usize, HashSet<u64>)> = HashMap::new();
    for record in records {
        let number = number_of(record)?;
        let (last, seen) = last.entry((&record.topic, record.partition)).or_default();
        if !seen.insert(number) {
            continue;
        }
        let position = position[&number];
        if position < *last {
            return Err(format!("row {number} is out of order"));
        }
        *last = position;
    }
    Ok(())
}

pub(super) fn number_of(record: &Record) -> Result<u64, String> {
    let text = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default());
    let digits = text.split("\"id\":\"e").nth(1).and_then(|rest| rest.split('"').next());
    let number = digits.and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| format!("no row is in {text}"))
}

/// At the boundaries that a relay chooses, it can take over any configuration.
pub(super) fn ensure_none_refused(relay: &mut Relay) -> Result<(), String> {
    while let Ok(report) = relay.reports.try_recv() {
        if let Report::Refused { error, .. } = report {
            return Err(format!("a configuration was refused: {error}"));
        }
    }
    Ok(())
}

pub(super) fn ensure_taken_over(
    ended: Result<Result<(), Error>, tokio::task::JoinError>,
) -> Result<(), String> {
    match ended {
        Ok(Err(Error::TakenOver { .. })) => Ok(()),
        ended => Err(format!("it ended: {ended:?}")),
    }
}
