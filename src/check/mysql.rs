//! The MySQL half of a check.

use std::collections::BTreeSet;

use super::report::Report;
use super::rows::Planned;
use crate::binlog::server::{BinlogFilters, Variables};
use crate::binlog::{Identity, Server};
use crate::config::Config;
use crate::connect;
use crate::delivery::Delivery;
use crate::envelope;
use crate::error::Error;
use crate::finding::Finding;
use crate::outbox::{self, OutboxOptions, Preset};
use crate::preflight::mysql::{self as preflight, ColumnRights, Found, OutboxTable};
use crate::telemetry::Causes;

/// Most of a table's last rows to read for the topics that they name …
pub(super) const SAMPLE_ROWS_MAX: usize = 2000;
/// … and most different topics, since nobody reads more lines.
const SAMPLE_TOPICS_MAX: usize = 100;

/// A server that answers, with what later requirements need.
pub(super) struct Fit {
    pub(super) server: Server,
    pub(super) identity: Identity,
    /// It has a binlog that the user may list and read.
    pub(super) has_binlog: bool,
    variables: Variables,
    filters: Option<BinlogFilters>,
    rights: ColumnRights,
    samples: Vec<Sample>,
}

/// Topics that the last rows of a table go to.
pub(super) struct Sample {
    pub(super) table: String,
    pub(super) topics: Vec<String>,
    /// What is wrong with those that name no topic.
    pub(super) misfits: Vec<String>,
}

impl Fit {
    /// `None` if the server does not answer.
    pub(super) async fn ask(config: &Config, report: &mut Report) -> Option<Fit> {
        let (server, identity) = match connect::connect_mysql(config).await {
            Ok(connected) => connected,
            Err(error) => {
                report.fail("mysql.connection", &error);
                return None;
            }
        };
        let (mysql, user) = (&config.mysql, &config.mysql.user);
        report.holds("mysql.connection", format!("{mysql} answers, and {user} is logged in"));
        let version = preflight::ensure_version(&identity).map_err(failed(config));
        if !report.take("mysql.version", version) {
            return None;
        }
        let mut fit = Fit {
            server,
            identity,
            has_binlog: true,
            variables: Variables::default(),
            filters: None,
            rights: ColumnRights::default(),
            samples: Vec::new(),
        };
        let encryption = preflight::weigh_encryption(&mut fit.server, mysql.tls.mode).await;
        report.take("mysql.tls", encryption.map_err(failed(config)));
        fit.ask_variables(config, report).await;
        fit.ask_rights(config, report).await;
        fit.ask_tables(config, report).await;
        Some(fit)
    }

    async fn ask_variables(&mut self, config: &Config, report: &mut Report) {
        let variables = match self.server.variables(&preflight::VARIABLES).await {
            Ok(variables) => variables,
            Err(error) => {
                report.fail("mysql.variables", &failed(config)(error.into()));
                return;
            }
        };
        self.rights = match ColumnRights::ask(&mut self.server, &variables).await {
            Ok(rights) => rights,
            Err(error) => {
                report.fail("mysql.variables", &failed(config)(error));
                return;
            }
        };
        let mut take = |name, found: Result<_, preflight::Error>| {
            report.take(name, found.map_err(failed(config)))
        };
        self.has_binlog &= take("mysql.log_bin", preflight::ensure_binlog(&variables));
        take("mysql.row_format", preflight::ensure_row_format(&variables));
        take("mysql.row_image", preflight::ensure_row_image(&variables));
        take("mysql.row_value_options", Ok(preflight::weigh_row_value_options(&variables)));
        take("mysql.row_metadata", Ok(preflight::weigh_row_metadata(&variables)));
        take("mysql.gtid_mode", Ok(preflight::weigh_gtids(&variables)));
        take("mysql.binlog_retention", Ok(preflight::weigh_retention(&variables)));
        self.variables = variables;
    }

    /// Tries the rights instead of reading grants, since they may come from a role or a global right.
    async fn ask_rights(&mut self, config: &Config, report: &mut Report) {
        if !self.has_binlog {
            return;
        }
        let client = preflight::ensure_replication_client(&mut self.server).await;
        let client = client.map(|filters| {
            self.filters = Some(filters);
            Finding::Holds("the user may list the binlogs".to_owned())
        });
        let may_ask = report.take("mysql.replication_client", client.map_err(failed(config)));
        self.has_binlog &= may_ask;
        if may_ask {
            let updates = preflight::ensure_updates_logged(&mut self.server, &self.variables).await;
            report.take("mysql.replica_updates", updates.map_err(failed(config)));
        }
        let slave = preflight::ensure_replication_slave(&mut self.server).await;
        self.has_binlog &= report.take("mysql.replication_slave", slave.map_err(failed(config)));
        if config.kafka.publish.delivery == Delivery::Idempotent {
            let lock = preflight::weigh_lock(&mut self.server).await;
            report.take("mysql.lock", lock.map_err(failed(config)));
        }
    }

    async fn ask_tables(&mut self, config: &Config, report: &mut Report) {
        let outboxes = outbox::as_on_server(&config.outbox, self.identity.folds_case);
        let found = match preflight::find_tables(&mut self.server, &outboxes).await {
            Ok(found) => found,
            Err(error) => {
                report.fail("mysql.table", &failed(config)(error));
                return;
            }
        };
        let databases: BTreeSet<_> = found
            .iter()
            .flat_map(|found| &found.tables)
            .map(|table| table.database.as_str())
            .collect();
        if let Some(filters) = &self.filters {
            for database in databases {
                let logged = preflight::ensure_logged(filters, database);
                report.take("mysql.binlog_filters", logged.map_err(failed(config)));
            }
        }
        for (outbox, Found { tables, ghosts }) in outboxes.iter().zip(found) {
            let table = preflight::ensure_table(&mut self.server, outbox, &tables).await;
            report.take("mysql.table", table.map_err(failed(config)));
            if let Some(ghosts) = preflight::weigh_ghosts(outbox, &ghosts) {
                report.take("mysql.ghost_tables", Ok(ghosts));
            }
            for table in &tables {
                self.ask_table(config, (&outboxes, outbox), table, report).await;
            }
        }
    }

    async fn ask_table(
        &mut self,
        config: &Config,
        (outboxes, outbox): (&[OutboxOptions], &OutboxOptions),
        table: &OutboxTable,
        report: &mut Report,
    ) {
        match outbox::find(outboxes, &table.database, &table.name) {
            // The other outbox reports the same.
            Err(ambiguous) if ambiguous.patterns[0] == outbox.table => {
                report.fail("mysql.table", &Error::Ambiguous(ambiguous));
            }
            _ => {}
        }
        let engine = preflight::ensure_transactional(table);
        report.take("mysql.engine", engine.map_err(failed(config)));
        let columns = self.rights.ensure_columns(&mut self.server, outbox, table).await;
        if report.take("mysql.columns", columns.map_err(failed(config))) {
            self.sample(config, outbox, table, report).await;
        }
    }

    /// A relay reads rows only from the binlog. It needs no right to SELECT them if another right shows it the columns.
    async fn sample(
        &mut self,
        config: &Config,
        outbox: &OutboxOptions,
        table: &OutboxTable,
        report: &mut Report,
    ) {
        let sample = match (&outbox.plan, envelope::topic_column(outbox.preset)) {
            (Some(plan), _) => {
                let planned = Planned {
                    outbox,
                    plan,
                    table,
                    name: &config.name,
                    has_gtids: self.identity.has_gtids,
                    has_names: preflight::names_columns(&self.variables),
                };
                planned.sample(&mut self.server, report).await
            }
            (None, Some(column)) => {
                let place = (table.database.as_str(), table.name.as_str(), column);
                let values = self.server.sample(place, SAMPLE_ROWS_MAX, SAMPLE_TOPICS_MAX).await;
                values.map(|values| Some(named_topics(outbox.preset, table, column, &values)))
            }
            (None, None) => return,
        };
        let finding = match sample {
            Ok(sample) => {
                self.samples.extend(sample);
                Finding::Holds(format!("the user may SELECT from {}", table.full_name()))
            }
            Err(error) => {
                let error = failed(config)(error.into());
                let cure = error.hint().unwrap_or_else(|| "check again later".to_owned());
                Finding::Doubtful { detail: Causes(&error).to_string(), cure }
            }
        };
        report.take("mysql.select", Ok(finding));
    }

    pub(super) async fn ask_server_id(
        &mut self,
        config: &Config,
        cluster_id: &str,
        report: &mut Report,
    ) {
        if self.has_binlog {
            let replica = connect::replica(config, cluster_id);
            let free = preflight::ensure_server_id(&mut self.server, &replica).await;
            report.take("mysql.server_id", free.map_err(failed(config)));
        }
    }

    pub(super) fn samples(&self) -> &[Sample] {
        &self.samples
    }
}

/// The topics of rows that have these values in the column that names the topic.
fn named_topics(preset: Preset, table: &OutboxTable, column: &str, values: &[String]) -> Sample {
    let mut sample = Sample { table: table.full_name(), topics: Vec::new(), misfits: Vec::new() };
    for value in values {
        match envelope::topic_of(preset, value) {
            Ok(topic) => sample.topics.push(topic),
            Err(problem) => sample.misfits.push(format!("column {column}: {problem}")),
        }
    }
    sample
}

fn failed(config: &Config) -> impl Fn(preflight::Error) -> Error + Copy {
    move |source| connect::preflight_error(config, source)
}
