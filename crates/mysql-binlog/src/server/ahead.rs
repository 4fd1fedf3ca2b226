//! Questions that are asked together before anybody needs their answers: over a link, the round trips of a start
//! are most of its time.
//!
//! Whoever asks one of these questions next gets the answer that is here, once. The statement's text tells questions
//! apart, so an answer is never taken for that of another one. Answers grow old: whoever asked ahead says when they
//! are forgotten.

use super::tables::{listing_sql, rights_on_columns_sql};
use super::{
    CLOCK_SQL, Error, IDENTITY_VARIABLES, SERVER_UUID_SQL, Server, VERSION_SQL, variables_sql,
};
use crate::connection::Answer;

/// Answers by their statements.
#[derive(Default)]
pub(super) struct Ahead(Vec<(String, Answer)>);

impl Ahead {
    /// Gives an answer away.
    pub fn take(&mut self, sql: &str) -> Option<Answer> {
        let index = self.0.iter().position(|(asked, _)| asked == sql)?;
        Some(self.0.swap_remove(index).1)
    }
}

/// Database and table of a name or pattern, each in its pieces.
pub type Pieces<'a> = (&'a [String], &'a [String]);

impl Server {
    /// Asks all that a server is asked at the beginning, whoever it turns out to be. `variables`: those that are
    /// looked at together, as [`Server::variables`] takes them.
    ///
    /// # Errors
    /// The connection broke. What the server refuses is told to who asks for it.
    pub async fn ask_first_questions_ahead(&mut self, variables: &[&[&str]]) -> Result<(), Error> {
        let mut statements = vec![
            // First, so that its round trip has little more in it than the settings of the session.
            CLOCK_SQL.to_owned(),
            VERSION_SQL.to_owned(),
            SERVER_UUID_SQL.to_owned(),
            variables_sql(&IDENTITY_VARIABLES),
        ];
        statements.extend(variables.iter().map(|names| variables_sql(names)));
        statements.push(self.binlog_status_sql().to_owned());
        statements.push(super::binlogs::FIRST_EVENT_SQL.to_owned());
        statements.push(rights_on_columns_sql(self.conn.server_version()));
        statements.push(self.replicas_sql().to_owned());
        self.ask_ahead(statements).await
    }

    /// Asks for the tables of such names, as [`Server::tables`] does.
    ///
    /// # Errors
    /// As [`Server::ask_first_questions_ahead`].
    pub async fn ask_tables_ahead(&mut self, names: &[Pieces<'_>]) -> Result<(), Error> {
        let mut statements = Vec::new();
        for names in names {
            statements.extend(listing_sql(*names)?);
        }
        self.ask_ahead(statements).await
    }

    /// Asks for the binlogs, their end, and, where `has_gtids`, the GTIDs that were executed.
    ///
    /// # Errors
    /// As [`Server::ask_first_questions_ahead`].
    pub async fn ask_binlogs_ahead(&mut self, has_gtids: bool) -> Result<(), Error> {
        let mut statements = vec![super::binlogs::FILES_SQL.to_owned()];
        if has_gtids {
            statements.push(super::binlogs::gtid_set_sql("gtid_executed"));
        }
        statements.push(self.binlog_status_sql().to_owned());
        self.ask_ahead(statements).await
    }

    /// From here on, every question goes to the server.
    pub fn forget_ahead(&mut self) {
        self.ahead = Ahead::default();
    }

    async fn ask_ahead(&mut self, statements: Vec<String>) -> Result<(), Error> {
        let asked: Vec<&str> = statements.iter().map(String::as_str).collect();
        let answers = self.ask(&asked).await?;
        self.ahead.0.extend(statements.into_iter().zip(answers));
        Ok(())
    }
}
