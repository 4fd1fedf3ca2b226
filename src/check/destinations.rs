//! The destinations that the last rows of the outbox tables name.

use std::collections::BTreeSet;

use super::mysql::{SAMPLE_ROWS_MAX, Sample};
use super::report::Report;
use super::rows::ROWS_MAX;
use crate::finding::Finding;
use crate::sink::kafka::check::Cluster;

/// Asks about the topics of the samples. Other topics are unknown until their rows come.
/// `letters`: topics of dead letters.
pub(super) async fn ask(
    cluster: &Cluster,
    samples: &[Sample],
    letters: &[String],
    report: &mut Report,
) {
    let mut topics = BTreeSet::new();
    for Sample { table, topics: named, misfits } in samples {
        topics.extend(named);
        for misfit in misfits {
            let finding = Finding::Doubtful {
                detail: format!("a row of {table} cannot be a record: {misfit}"),
                cure:
                    "correct the writer; such a row halts the relay, unless it was passed long ago"
                        .to_owned(),
            };
            report.take("kafka.topic", Ok(finding));
        }
    }
    for topic in letters {
        report.take_all(cluster.ask_dead_letters(topic).await);
    }
    let count = topics.len();
    for topic in topics {
        report.take_all(cluster.ask_destination(topic).await);
    }
    let (are, topics) = if count == 1 { ("is", "topic") } else { ("are", "topics") };
    report.holds(
        "kafka.topics",
        format!(
            "{count} {topics} {are} named by the last {SAMPLE_ROWS_MAX} rows of each table ({ROWS_MAX} of one with a \
             plan); others are looked up when their rows come"
        ),
    );
}
