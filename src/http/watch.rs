//! Asks MySQL for its list of binlogs and its clock, over a connection of its own, when somebody reads the metrics that
//! need them. For the list MySQL looks at every file, under a lock that commits may wait for. So it is asked rarely,
//! and never without a reader.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::Notify;

use crate::binlog::server::Error;
use crate::binlog::{MysqlOptions, Server};
use crate::telemetry::{Causes, Telemetry};

/// An answer, or a failure, is reused for this long.
const INTERVAL: Duration = Duration::from_secs(5);

/// If the list takes the server long, it is asked less often: for at most a twentieth of the time …
const COST: u32 = 20;
/// … but at least this often.
const INTERVAL_MAX: Duration = Duration::from_secs(60);

/// Longest wait of a reader, who then gets the last answer.
const PATIENCE: Duration = Duration::from_millis(500);

/// Close the connection after this long without a reader.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// The readers, and what they wait for.
#[derive(Debug, Default)]
pub struct Looks {
    wanted: Notify,
    answered: Notify,
    /// Until then the last answer is good enough.
    good_until: Mutex<Option<Instant>>,
}

impl Looks {
    /// A reader has come: waits up to [`PATIENCE`] until [`Telemetry`] has a new answer.
    pub async fn refresh(&self) {
        if self.good_until().is_some_and(|until| Instant::now() < until) {
            return;
        }
        // Register before asking, so that no answer is missed.
        let answered = self.answered.notified();
        self.wanted.notify_one();
        // After a timeout, the last answer is shown.
        let _ = tokio::time::timeout(PATIENCE, answered).await;
    }

    fn note_answer(&self, interval: Duration) {
        *self.good_until() = Some(Instant::now() + interval);
        self.answered.notify_waiters();
    }

    fn good_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.good_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Updates [`Telemetry`] while there are readers. After a failure, the next reader causes another attempt. The relay
/// itself reports when the server is gone.
pub async fn watch(
    telemetry: &Telemetry,
    options: &(impl Fn() -> MysqlOptions + ?Sized),
    looks: &Looks,
) -> Infallible {
    let mut server = None;
    loop {
        if tokio::time::timeout(IDLE_MAX, looks.wanted.notified()).await.is_err() {
            server = None;
            continue;
        }
        let begun = Instant::now();
        // The driver may panic on damaged bytes. HTTP must be answered all the same.
        let options = options();
        let asked = AssertUnwindSafe(ask(server.take(), &options, telemetry)).catch_unwind().await;
        server = match asked {
            Ok(Ok(server)) => Some(server),
            Ok(Err(error)) => {
                tracing::debug!("ask the server for its binlogs: {}", Causes(&error));
                None
            }
            Err(_) => None,
        };
        looks.note_answer((begun.elapsed() * COST).clamp(INTERVAL, INTERVAL_MAX));
    }
}

async fn ask(
    server: Option<Server>,
    options: &MysqlOptions,
    telemetry: &Telemetry,
) -> Result<Server, Error> {
    let mut server = match server {
        Some(server) => server,
        None => Server::connect(options).await?,
    };
    let files = server.binlog_files().await?;
    telemetry.note_binlogs(files.into_iter().map(|file| (file.name, file.size_bytes)).collect());
    telemetry.set_clock(server.exact_clock().await?);
    Ok(server)
}
