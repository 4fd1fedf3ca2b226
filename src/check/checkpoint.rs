//! Where a relay would resume: compares the checkpoint with the server's binlogs.

use super::mysql::Fit;
use super::report::Report;
use crate::binlog::server::BinlogFile;
use crate::checkpoint::Checkpoint;
use crate::config::{Config, FirstStart};
use crate::coordinates::Coordinates;
use crate::debezium_offsets;
use crate::error::Error;
use crate::finding::Finding;
use crate::sink::{Connector, none_without_store};
use crate::telemetry::binlogs::Binlogs;
use crate::{connect, outbox};

/// A checkpoint within this part of the oldest kept binlogs may soon be purged.
const PASSED_PERCENT_MIN: u64 = 20;

/// `None`: only Kafka can be asked.
pub(super) async fn ask(config: &Config, fit: Option<&mut Fit>, report: &mut Report) {
    let stored = match none_without_store(config.kafka.look().await) {
        Ok(stored) => stored,
        Err(error) => {
            report.fail("checkpoint.stored", &error.into());
            return;
        }
    };
    if !report.take("checkpoint.stored", describe(config, stored.as_ref())) {
        return;
    }
    if let Some(owner) = connect::other_owner(config, stored.as_ref()) {
        report.take("checkpoint.owner", Ok(weigh_owner(config, &owner)));
    }
    if let Some(checkpoint) = &stored {
        let fingerprint = outbox::fingerprint(&config.outbox);
        let continuable = connect::ensure_continuable(checkpoint, &fingerprint).map(|()| {
            Finding::Holds("the configuration of [[outbox]] can go on from it".to_owned())
        });
        report.take("checkpoint.outbox", continuable);
    }
    let Some(fit) = fit.filter(|fit| fit.has_binlog) else { return };
    let (server, identity) = (&mut fit.server, &fit.identity);
    let position = match (&stored, &config.start_from) {
        (None, Some(FirstStart::Debezium(of))) => {
            debezium_offsets::look(config, of, server, identity).await
        }
        (stored, _) => connect::find_start(config, server, identity, stored.as_ref())
            .await
            .map(|start| start.position().coordinates),
    };
    let position = match position {
        Ok(position) => position,
        Err(error) => {
            report.fail("checkpoint.place", &error);
            return;
        }
    };
    report.holds("checkpoint.place", format!("relaying would go on from {position}"));
    match fit.server.binlog_files().await {
        Ok(files) => drop(report.take("checkpoint.lag", Ok(weigh_lag(&position, &files)))),
        Err(error) => report.fail("checkpoint.lag", &connect::binlog_error(config, error.into())),
    }
}

fn describe(config: &Config, stored: Option<&Checkpoint>) -> Result<Finding, Error> {
    let topic = &config.kafka.checkpoint.topic;
    match (stored, &config.start_from) {
        (Some(stored), _) => {
            let Checkpoint { binlog_filename: file, offset, sequence, .. } = stored;
            let recorded_at = match &stored.recorded_at {
                Some(recorded_at) => format!(", of {recorded_at}"),
                None => String::new(),
            };
            Ok(Finding::Holds(format!("{file}:{offset}, {sequence} rows relayed{recorded_at}")))
        }
        (None, Some(_)) => {
            Ok(Finding::Holds(format!("there is none in {topic}: start_from is used")))
        }
        (None, None) => Err(connect::no_start(config)),
    }
}

/// The owner may be this relay under an earlier name, or another one that is running.
fn weigh_owner(config: &Config, owner: &str) -> Finding {
    Finding::Doubtful {
        detail: format!(
            "the checkpoint is of the relay {owner}: {name} would take over from it, and fence it",
            name = config.name
        ),
        cure: format!(
            "if {owner} is to go on, give {name} a checkpoint_key of its own; where brokers have ACLs, grant Write on \
             the transactional ids {owner}-0 to {owner}-3",
            name = config.name
        ),
    }
}

/// MySQL purges the oldest binlogs first, and never the newest.
fn weigh_lag(position: &Coordinates, files: &[BinlogFile]) -> Finding {
    let binlogs: Binlogs = files.iter().map(|file| (file.name.as_str(), file.size_bytes)).collect();
    let (passed, behind) = (binlogs.bytes_before(position), binlogs.bytes_after(position));
    let kept = passed + behind;
    let is_newest = files.last().is_some_and(|file| file.name == position.file());
    if !is_newest && passed.saturating_mul(100) < kept.saturating_mul(PASSED_PERCENT_MIN) {
        Finding::Doubtful {
            detail: format!(
                "{behind} bytes behind the end of the binlog, and only {passed} bytes of older binlogs are kept: \
                 the next purge may take what was not relayed"
            ),
            cure: "let the relay run, and keep binlogs longer (binlog_expire_logs_seconds)"
                .to_owned(),
        }
    } else {
        Finding::Holds(format!("{behind} bytes behind the end of the binlog"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_among_the_oldest_binlogs_is_near_to_be_purged() {
        let files: Vec<_> = (1..=10)
            .map(|n| BinlogFile { name: format!("binlog.{n:06}"), size_bytes: 100 })
            .collect();
        for (position, is_near, behind) in [
            ("binlog.000001:4", true, 996),
            ("binlog.000002:99", true, 801),
            ("binlog.000003:4", false, 796),
            ("binlog.000010:100", false, 0),
        ] {
            let finding = weigh_lag(&position.parse().unwrap(), &files);
            let (Finding::Holds(detail) | Finding::Doubtful { detail, .. }) = &finding;
            assert!(detail.starts_with(&format!("{behind} bytes")), "{detail}");
            assert_eq!(matches!(finding, Finding::Doubtful { .. }), is_near, "{position}");
        }
        // The newest file is never purged, even if little of it was read.
        let finding = weigh_lag(&"binlog.000001:4".parse().unwrap(), &files[..1]);
        assert!(matches!(finding, Finding::Holds(_)));
    }
}
