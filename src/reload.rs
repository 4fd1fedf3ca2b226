//! Reads the configuration file again while the relay runs, on a thread of its own.
//!
//! Requests enter: a SIGHUP, or `POST /reload`. A configuration that may be taken over is handed to the relay, which
//! drains at a transaction boundary and goes on with it. One that may not is refused with its words, and the relay never
//! hears of it. Before the relay drains, the new configuration logs in to MySQL and finds its tables and their columns
//! there, as at a start: so a mistake stops nothing.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::{self, Changes, Config};
use crate::connect::preflight_error;
use crate::error::Error;
use crate::fate::Fate;
use crate::outbox;
use crate::preflight::mysql::{self as preflight, Found};
use crate::primary::MySql;
use crate::relay::orders::{Report, Wanted};
use crate::tasks::{self, Panicked};
use crate::telemetry::metrics::Reloaded;
use crate::telemetry::{Causes, Telemetry};

/// While MySQL is away, ask it again this often whether it has the tables of a new configuration.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Where the configuration comes from, each time that it is read.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    pub path: PathBuf,
    /// `key=value` of the command line.
    pub overrides: Vec<String>,
}

impl ConfigFile {
    /// # Errors
    /// The first problem.
    pub fn load(&self) -> Result<Config, config::Error> {
        Config::load(&self.path, &self.overrides)
    }
}

/// Why a configuration is not taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The file has no valid configuration, or the server does not fit it.
    Invalid,
    /// It is valid, but changes what only a start can change.
    RestartOnly,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The relay runs with what has changed.
    Applied {
        changes: Vec<String>,
    },
    /// Nothing has changed.
    Unchanged,
    Refused {
        why: Refusal,
        error: String,
        hint: Option<String>,
    },
    /// A later request takes its place.
    Superseded,
}

/// Asks for the file to be read again.
#[derive(Debug, Clone)]
pub struct Requests(mpsc::UnboundedSender<Request>);

/// The other end of [`Requests`].
pub struct Requested(mpsc::UnboundedReceiver<Request>);

struct Request {
    by: &'static str,
    answer: oneshot::Sender<Answer>,
}

/// A way to ask, also before somebody answers.
#[must_use]
pub fn requests() -> (Requests, Requested) {
    let (ask, asked) = mpsc::unbounded_channel();
    (Requests(ask), Requested(asked))
}

impl Requests {
    /// Has the file read again. `by`: who asks, for the log. The receiver gets an error when the process ends first.
    #[must_use]
    pub fn ask(&self, by: &'static str) -> oneshot::Receiver<Answer> {
        let (answer, answered) = oneshot::channel();
        // The process may be ending.
        drop(self.0.send(Request { by, answer }));
        answered
    }
}

/// What the thread works with.
pub struct Reloader {
    pub file: ConfigFile,
    /// The configuration in force.
    pub current: Arc<Config>,
    pub want: Arc<watch::Sender<Wanted>>,
    pub reports: mpsc::UnboundedReceiver<Report>,
    pub requested: Requested,
    pub telemetry: Arc<Telemetry>,
}

/// A configuration on its way to the relay.
struct Next {
    config: Arc<Config>,
    changes: Vec<String>,
    answer: oneshot::Sender<Answer>,
}

/// A configuration that MySQL is asked about.
struct Examination {
    next: Next,
    examined: Pin<Box<dyn Future<Output = Result<(), Error>>>>,
}

impl Examination {
    fn of(next: Next) -> Examination {
        let config = next.config.clone();
        Examination { next, examined: Box::pin(async move { examine(&config).await }) }
    }
}

impl Reloader {
    /// Starts the thread, which ends with the process.
    ///
    /// # Errors
    /// The operating system has no thread for us.
    pub fn start(self) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        tasks::spawn_thread("reload", move || runtime.block_on(self.serve())).map(drop)
    }

    async fn serve(mut self) {
        let mut examination: Option<Examination> = None;
        let mut pending: Option<Next> = None;
        loop {
            tokio::select! {
                // What the relay has done first, so that requests are held against what is in force.
                biased;
                Some(report) = self.reports.recv() => self.take_report(report, &mut pending),
                examined = examined(&mut examination) => {
                    let Some(Examination { next, .. }) = examination.take() else { continue };
                    match examined {
                        Ok(()) => self.hand_over(next, &mut pending),
                        Err(error) => self.refuse_unfit(next, &error),
                    }
                }
                request = self.requested.0.recv() => {
                    let Some(request) = request else { return };
                    // The file that is examined may have changed. It is read anew.
                    supersede(examination.take().map(|examination| examination.next));
                    examination = self.read(request, &mut pending).map(Examination::of);
                }
            }
        }
    }

    /// Reads the file. What may be taken over is examined next.
    fn read(&self, request: Request, pending: &mut Option<Next>) -> Option<Next> {
        let Request { by, answer } = request;
        tracing::info!(by, file = %self.file.path.display(), "reading the configuration again");
        let config = match self.file.load() {
            Ok(config) => config,
            Err(error) => {
                let words = Causes(&error).to_string();
                self.refuse(answer, Refusal::Invalid, words, error.hint());
                return None;
            }
        };
        let Changes { reloadable: changes, restart_only } =
            Changes::between(&self.current, &config);
        if !restart_only.is_empty() {
            let (words, hint) = words_of_restart_only(&restart_only);
            self.refuse(answer, Refusal::RestartOnly, words, Some(hint));
            return None;
        }
        if changes.is_empty() {
            self.withdraw(pending);
            tracing::info!("the configuration has not changed");
            self.telemetry.note_reload(Reloaded::Unchanged);
            drop(answer.send(Answer::Unchanged));
            return None;
        }
        Some(Next { config: Arc::new(config), changes, answer })
    }

    /// The relay goes on, or goes back, to what is in force.
    fn withdraw(&self, pending: &mut Option<Next>) {
        supersede(pending.take());
        self.want.send_modify(|wanted| wanted.config = self.current.clone());
    }

    fn hand_over(&self, next: Next, pending: &mut Option<Next>) {
        tracing::info!(
            changes = next.changes.join(", "),
            "the new configuration fits: taking it over at the next transaction boundary"
        );
        self.want.send_modify(|wanted| wanted.config = next.config.clone());
        supersede(pending.replace(next));
    }

    fn take_report(&mut self, report: Report, pending: &mut Option<Next>) {
        match report {
            Report::InForce(config) => {
                self.current = config;
                tracing::info!("the new configuration is in force");
                self.telemetry.note_reload(Reloaded::Applied);
                let is_it = |next: &mut Next| Arc::ptr_eq(&next.config, &self.current);
                if let Some(Next { changes, answer, .. }) = pending.take_if(is_it) {
                    drop(answer.send(Answer::Applied { changes }));
                }
            }
            Report::Refused { config, error } => {
                self.want.send_if_modified(|wanted| {
                    let is_it = Arc::ptr_eq(&wanted.config, &config);
                    if is_it {
                        wanted.config = self.current.clone();
                    }
                    is_it
                });
                match pending.take_if(|next| Arc::ptr_eq(&next.config, &config)) {
                    Some(next) => self.refuse_unfit(next, &error),
                    None => tracing::warn!("a configuration was refused: {}", Causes(&error)),
                }
            }
        }
    }

    fn refuse_unfit(&self, next: Next, error: &Error) {
        self.refuse(next.answer, Refusal::Invalid, Causes(error).to_string(), error.hint());
    }

    fn refuse(
        &self,
        answer: oneshot::Sender<Answer>,
        why: Refusal,
        error: String,
        hint: Option<String>,
    ) {
        tracing::error!(
            hint = hint.as_deref().map(tracing::field::display),
            "the new configuration is refused, and the old one stays in force: {error}"
        );
        self.telemetry.note_refused_reload(&error);
        drop(answer.send(Answer::Refused { why, error, hint }));
    }
}

async fn examined(examination: &mut Option<Examination>) -> Result<(), Error> {
    match examination {
        Some(examination) => examination.examined.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Another configuration takes its place.
fn supersede(next: Option<Next>) {
    if let Some(Next { answer, .. }) = next {
        drop(answer.send(Answer::Superseded));
    }
}

/// Logs in to MySQL and holds the tables against the configuration, as a start does. While MySQL is away, it waits.
async fn examine(config: &Config) -> Result<(), Error> {
    let mut is_said = false;
    loop {
        // The driver may panic on damaged bytes. Later requests must be served all the same.
        let looked = AssertUnwindSafe(look(config)).catch_unwind().await;
        let looked = looked.unwrap_or_else(|panic| Err(Panicked(tasks::words(&*panic)).into()));
        let error = match looked {
            Ok(()) => return Ok(()),
            Err(error) if error.fate() == Fate::Retry => error,
            Err(error) => return Err(error),
        };
        if !std::mem::replace(&mut is_said, true) {
            tracing::warn!(
                "the new configuration waits until MySQL can be asked for its tables: {}",
                Causes(&error)
            );
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

async fn look(config: &Config) -> Result<(), Error> {
    let (mut server, identity) = MySql(config).look().await?;
    let outboxes = outbox::as_on_server(&config.outbox, identity.folds_case);
    let found = preflight::find_tables(&mut server, &outboxes).await;
    let found = found.map_err(|source| preflight_error(config, source))?;
    for table in found.iter().flat_map(|Found { tables, .. }| tables) {
        outbox::find(&outboxes, &table.database, &table.name)?;
    }
    Ok(())
}

fn words_of_restart_only(keys: &[String]) -> (String, String) {
    let (is, it) = match keys.len() {
        1 => ("is", "it"),
        _ => ("are", "them"),
    };
    let words = format!("{} {is} read at a start only, and the file changes {it}", keys.join(", "));
    let hint = format!("restart the relay to take all of the file over, or change {it} back");
    (words, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_restart_is_named_key_by_key() {
        let keys = ["name".to_owned(), "kafka.delivery".to_owned()];
        let (words, hint) = words_of_restart_only(&keys);
        assert_eq!(
            words,
            "name, kafka.delivery are read at a start only, and the file changes them"
        );
        assert!(hint.contains("change them back"), "{hint}");
        let (words, _) = words_of_restart_only(&keys[..1]);
        assert_eq!(words, "name is read at a start only, and the file changes it");
    }
}
