//! The lease: a named lock of the MySQL server
//! (<https://dev.mysql.com/doc/refman/8.4/en/locking-functions.html#function_get-lock>), held by a connection of its own.
//!
//! A background task pings that connection. When the connection is lost, the task connects and takes the lock again.
//! When another session holds the lock by then, the holder is told: it may have been replaced, and must stop. While
//! another session holds the lock, the task keeps asking for it.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::Instrument;

use crate::binlog::server::{Error, Server, within};
use crate::binlog::{Conn, MysqlOptions, mysql_async};
use crate::telemetry::Causes;

/// One statement may take this long, beyond the time that it waits for the lock.
const QUERY_TIMEOUT: Duration = Duration::from_secs(30);

/// Use a connection that was made in advance up to this age. Servers and balancers close idle ones.
const LOGIN_LASTS: Duration = Duration::from_secs(5);

/// Time between two pings, which keep balancers from closing the connection and notice that it is lost.
const PING_INTERVAL: Duration = Duration::from_secs(2);

/// A holder that [`end_holder`] cut off has noticed after this time.
pub const NOTICED_AFTER: Duration = Duration::from_secs(3);

/// A balancer may drop packets silently, so a ping that is not answered within this time counts as a lost connection.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// The server closes a connection that is silent for this long, and gives the lock to others.
const WAIT_TIMEOUT_SECONDS: u64 = 60;

/// Pause between two attempts to take the lock again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

// Numbers of <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>: the server is ending
// the statement or the connection, or lacks memory or threads. Any other error means that it refuses named locks.
const PASSING: [u16; 15] =
    [1037, 1038, 1041, 1053, 1135, 1152, 1158, 1159, 1203, 1226, 1317, 3032, 3169, 3950, 4031];

/// The answer to [`take`].
#[derive(Debug)]
pub enum Taken<L = Lease> {
    Held(L),
    /// Another session held the lock for the whole patience. The lease keeps asking for it.
    ByOther(L),
    /// The server gives out no named locks.
    Refused(Error),
}

/// A named lock that is held, or asked for, until this is dropped.
#[derive(Debug)]
pub struct Lease {
    lost: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl Lease {
    /// Waits until another session holds the lock that was held here. Never returns while it is held, or before it was.
    pub async fn lost(&mut self) {
        if self.lost.wait_for(|lost| *lost).await.is_err() {
            // Only a panic ends the task without an answer. Nothing is known of the lock then.
            tracing::warn!("the lock of this relay is not watched any more");
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Takes the lock `name` of the server that `server` is connected to, and waits for it up to `patience`. Uses the
/// connection of `login` if that is fresh.
///
/// # Errors
/// The server cannot be reached, or is another one by now.
pub async fn take(
    server: &Server,
    options: &MysqlOptions,
    name: String,
    patience: Duration,
    login: Option<LeaseLogin>,
) -> Result<Taken, Error> {
    let server_uuid = server.server_uuid().unwrap_or_default().to_owned();
    let lock = NamedLock { options: options.clone(), server_uuid, name };
    let mut conn = match login.filter(|login| login.at.elapsed() < LOGIN_LASTS) {
        Some(login) => login.conn,
        None => lock.connect().await?,
    };
    let is_held = match ask(&mut conn, &lock.name, patience).await {
        Err(error) if is_refusal(&error) => return Ok(Taken::Refused(error)),
        answer => answer?,
    };
    let (tell, lost) = watch::channel(false);
    let task = tokio::spawn(keep(lock, conn, is_held, tell).in_current_span());
    let lease = Lease { lost, task };
    Ok(if is_held { Taken::Held(lease) } else { Taken::ByOther(lease) })
}

/// Ends the session that holds the lock `name`, if it has the same account as ours. The next session in the queue gets
/// the lock then. Returns `false` when nobody holds it or the session could not be ended.
///
/// # Errors
/// The server cannot be asked.
pub async fn end_holder(server: &mut Server, name: &str) -> Result<bool, Error> {
    let rows: Vec<(Option<u32>,)> = server.query(&holder_sql(name)).await?;
    let Some(holder) = rows.first().and_then(|(holder,)| *holder) else { return Ok(false) };
    let ended = server.query::<mysql_async::Row>(&format!("KILL {holder}")).await;
    Ok(ended.is_ok())
}

/// Why the server gives out no named locks; `None` when it does. Takes the lock `name` over the connection of `server`,
/// and releases it.
///
/// # Errors
/// The server cannot be asked.
pub async fn refusal(server: &mut Server, name: &str) -> Result<Option<Error>, Error> {
    let answer = server.query(&lock_sql(name, Duration::ZERO)).await;
    match answer.and_then(is_taken) {
        Err(error) if is_refusal(&error) => return Ok(Some(error)),
        answer => answer?,
    };
    server.query::<mysql_async::Row>(&format!("DO RELEASE_LOCK('{name}')")).await?;
    Ok(None)
}

/// A connection made in advance, to take a lock over it later.
pub struct LeaseLogin {
    conn: Conn,
    at: Instant,
}

impl LeaseLogin {
    /// Logs in to the server with this UUID.
    ///
    /// # Errors
    /// The server cannot be reached, or is another one.
    pub async fn new(options: &MysqlOptions, server_uuid: &str) -> Result<LeaseLogin, Error> {
        let conn = log_in(options, server_uuid).await?;
        Ok(LeaseLogin { conn, at: Instant::now() })
    }
}

async fn log_in(options: &MysqlOptions, server_uuid: &str) -> Result<Conn, Error> {
    let wait_timeout = format!("SET SESSION wait_timeout = {WAIT_TIMEOUT_SECONDS}");
    Conn::connect_to(options, Some(server_uuid), &wait_timeout, QUERY_TIMEOUT).await
}

/// A lock of one server.
struct NamedLock {
    options: MysqlOptions,
    server_uuid: String,
    name: String,
}

impl NamedLock {
    async fn connect(&self) -> Result<Conn, Error> {
        log_in(&self.options, &self.server_uuid).await
    }

    /// Takes the lock after the connection with the id `lost` was lost. If the server still counts that one as the
    /// holder, ends it first.
    async fn retake(&self, lost: u32) -> Result<(Conn, bool), Error> {
        let mut conn = self.connect().await?;
        if ask(&mut conn, &self.name, Duration::ZERO).await? {
            return Ok((conn, true));
        }
        match self.holder(&mut conn).await? {
            Some(holder) if holder != lost => return Ok((conn, false)),
            // A session may end others of its account. It may be gone by now, so the answer does not matter.
            Some(_) => {
                let _ = within(QUERY_TIMEOUT, conn.query_drop(format!("KILL {lost}"))).await;
            }
            None => {}
        }
        if ask(&mut conn, &self.name, RETRY_PAUSE).await? {
            return Ok((conn, true));
        }
        match self.holder(&mut conn).await? {
            Some(holder) if holder != lost => Ok((conn, false)),
            // A slow server is still ending that session.
            _ => Err(Error::Timeout { timeout: RETRY_PAUSE }),
        }
    }

    async fn holder(&self, conn: &mut Conn) -> Result<Option<u32>, Error> {
        let holder: Option<Option<u32>> =
            within(QUERY_TIMEOUT, conn.query_first(holder_sql(&self.name))).await?;
        Ok(holder.flatten())
    }
}

fn holder_sql(name: &str) -> String {
    format!("SELECT IS_USED_LOCK('{name}')")
}

fn lock_sql(name: &str, patience: Duration) -> String {
    format!("SELECT GET_LOCK('{name}', {})", patience.as_secs())
}

/// Asks for the lock, and waits for it up to `patience`. Returns whether it is held now.
async fn ask(conn: &mut Conn, name: &str, patience: Duration) -> Result<bool, Error> {
    is_taken(within(QUERY_TIMEOUT, conn.query(lock_sql(name, patience))).await?)
}

/// Reads the answer to [`lock_sql`].
fn is_taken(rows: Vec<(Option<u8>,)>) -> Result<bool, Error> {
    match rows.first().and_then(|(answer,)| *answer) {
        Some(answer) => Ok(answer == 1),
        None => Err(Error::UnexpectedAnswer { question: "GET_LOCK", answer: "NULL".to_owned() }),
    }
}

fn is_refusal(error: &Error) -> bool {
    match error {
        Error::MySql(mysql_async::Error::Server(error)) => !PASSING.contains(&error.code),
        Error::NoRight { .. } | Error::UnexpectedAnswer { .. } => true,
        _ => false,
    }
}

async fn keep(lock: NamedLock, mut conn: Conn, mut is_held: bool, lost: watch::Sender<bool>) {
    loop {
        match ping_or_wait(&lock, &mut conn, is_held).await {
            Ok(held) => {
                is_held = held;
                continue;
            }
            Err(error) => tracing::debug!("the lock's connection: {}", Causes(&error)),
        }
        (conn, is_held) = loop {
            match lock.retake(conn.id()).await {
                Ok((_, false)) if is_held => {
                    lost.send_replace(true);
                    return;
                }
                Ok((conn, true)) => {
                    tracing::warn!(
                        "the connection that holds the relay's lock was cut; took the lock again"
                    );
                    break (conn, true);
                }
                Ok(asking) => break asking,
                // The dump says that the server is away.
                Err(error) => tracing::debug!("take the lock again: {}", Causes(&error)),
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        };
    }
}

/// Lets a moment pass, then sees whether the connection is there; where the lock is not held, waits for it meanwhile.
async fn ping_or_wait(lock: &NamedLock, conn: &mut Conn, is_held: bool) -> Result<bool, Error> {
    if !is_held {
        return ask(conn, &lock.name, PING_INTERVAL).await;
    }
    tokio::time::sleep(PING_INTERVAL).await;
    within(PING_TIMEOUT, conn.ping()).await.map(|()| true)
}
