//! Asks the server for its list of binlogs and its clock, over a connection of its own, when somebody looks at what
//! follows from them. The list costs the server a look at every file, under a lock that commits may wait for: it is
//! asked for rarely, and not at all while nobody looks.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::Notify;

use crate::binlog::server::Error;
use crate::binlog::{Options, Server};
use crate::telemetry::{Causes, Telemetry};

/// An answer is good for so long, and so is a failure.
const INTERVAL: Duration = Duration::from_secs(5);

/// A list that took the server long is asked for less often: for a twentieth of the time at most …
const COST: u32 = 20;
/// … but so often.
const INTERVAL_MAX: Duration = Duration::from_secs(60);

/// Whoever looks waits so long for the answer, and is shown the last one then.
const PATIENCE: Duration = Duration::from_millis(500);

/// The connection is given up when nobody has looked for so long.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Those who look, and what they wait for.
#[derive(Debug, Default)]
pub struct Looks {
    wanted: Notify,
    answered: Notify,
    /// Before this, what is known is good enough.
    good_until: Mutex<Option<Instant>>,
}

impl Looks {
    /// Somebody looks: waits for a moment until [`Telemetry`] has what the server says now.
    pub async fn refresh(&self) {
        if self.good_until().is_some_and(|until| Instant::now() < until) {
            return;
        }
        // It hears of answers from here on.
        let answered = self.answered.notified();
        self.wanted.notify_one();
        // In vain, what was known before is shown.
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

/// Keeps [`Telemetry`] told while somebody looks. What fails is tried again at a later look: the relay itself says when
/// the server is gone.
pub async fn watch(telemetry: &Telemetry, options: &Options, looks: &Looks) -> Infallible {
    let mut server = None;
    loop {
        if tokio::time::timeout(IDLE_MAX, looks.wanted.notified()).await.is_err() {
            server = None;
            continue;
        }
        let begun = Instant::now();
        // The driver can panic on damaged bytes; HTTP is answered all the same.
        let asked = AssertUnwindSafe(ask(server.take(), options, telemetry)).catch_unwind().await;
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
    options: &Options,
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
