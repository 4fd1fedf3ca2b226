//! A named lock of the server that is held by a connection of its own, as long as that is kept: across its loss, and
//! also where somebody else holds it at first.
//!
//! Who loses the lock to another session is told: it may have been replaced.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{
    Conn, Error, LOGIN_LASTS, QUERY_TIMEOUT, SERVER_UUID_SQL, Server, ensure_same, uuid_of, within,
};
use crate::Options;
use crate::words::Causes;

/// The lock's connection pings this often, so that balancers keep it open and a cut is noticed.
const PING_INTERVAL: Duration = Duration::from_secs(2);

/// A session that is ended by [`Server::end_holder`] has noticed by then.
pub const NOTICED_AFTER: Duration = Duration::from_secs(3);

/// A balancer may also drop what is sent, without a word.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that is silent for so long has lost its peer: the server gives the lock to others.
const WAIT_TIMEOUT_SECONDS: u64 = 60;

/// How long after a loss the lock is asked for again, where the server cannot be reached.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

// Numbers of <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>: the server is about to end
// the statement or the connection, or lacks memory or threads for it. Any other error is its answer.
const PASSING: [u16; 15] =
    [1037, 1038, 1041, 1053, 1135, 1152, 1158, 1159, 1203, 1226, 1317, 3032, 3169, 3950, 4031];

/// What came of asking for a lock.
#[derive(Debug)]
pub enum Taken {
    Held(HeldLock),
    /// Somebody else held it for as long as was waited. It is asked for on.
    ByOther(HeldLock),
    /// The server gives out no such locks.
    Refused(Error),
}

/// A lock that is held, or asked for, until this is dropped.
#[derive(Debug)]
pub struct HeldLock {
    lost: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl HeldLock {
    /// Waits until another session has the lock that was held here.
    ///
    /// # Errors
    /// Always: that it has.
    pub async fn ensure_held(&mut self) -> Error {
        if self.lost.wait_for(|lost| *lost).await.is_err() {
            // The task has ended otherwise, which only a panic makes it do: nothing is known of the lock.
            tracing::warn!("the lock of this relay is not watched any more");
            std::future::pending::<()>().await;
        }
        Error::LockTaken
    }
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Takes a named lock
    /// (<https://dev.mysql.com/doc/refman/8.4/en/locking-functions.html#function_get-lock>) over another connection to
    /// the same server: that of `login`, if it is fresh.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn lock(
        &self,
        name: String,
        patience: Duration,
        login: Option<LockLogin>,
    ) -> Result<Taken, Error> {
        let server_uuid = self.server_uuid().unwrap_or_default().to_owned();
        let place = Place { options: self.options.clone(), server_uuid, name };
        let mut conn = match login.filter(|login| login.at.elapsed() < LOGIN_LASTS) {
            Some(login) => login.conn,
            None => place.connect().await?,
        };
        let is_held = match ask(&mut conn, &place.name, patience).await {
            Err(error) if is_refusal(&error) => return Ok(Taken::Refused(error)),
            answer => answer?,
        };
        let (tell, lost) = watch::channel(false);
        let task = tokio::spawn(keep(place, conn, is_held, tell));
        let lock = HeldLock { lost, task };
        Ok(if is_held { Taken::Held(lock) } else { Taken::ByOther(lock) })
    }

    /// Ends the session that holds a lock of this name, where its account is ours: who waits for it has it then. `false`
    /// where that was not possible.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn end_holder(&mut self, name: &str) -> Result<bool, Error> {
        let holder: Option<u32> = self.one(&holder_sql(name)).await?;
        let Some(holder) = holder else { return Ok(false) };
        let ended = within(QUERY_TIMEOUT, self.conn.query_drop(format!("KILL {holder}"))).await;
        Ok(ended.is_ok())
    }

    /// Takes a lock of this name over this connection and gives it back; `None` where that works.
    ///
    /// # Errors
    /// As every question to the server.
    pub async fn lock_refusal(&mut self, name: &str) -> Result<Option<Error>, Error> {
        self.reconnect_if_lost().await?;
        match ask(&mut self.conn, name, Duration::ZERO).await {
            Err(error) if is_refusal(&error) => return Ok(Some(error)),
            answer => answer?,
        };
        let release = format!("DO RELEASE_LOCK('{name}')");
        within(QUERY_TIMEOUT, self.conn.query_drop(release)).await?;
        Ok(None)
    }
}

/// A connection that a lock can be taken over.
pub struct LockLogin {
    conn: Conn,
    at: Instant,
}

impl LockLogin {
    /// Logs in to a server that must have this UUID, before a lock is taken.
    ///
    /// # Errors
    /// The server cannot be reached, or is another one.
    pub async fn new(options: &Options, server_uuid: &str) -> Result<LockLogin, Error> {
        let conn = log_in(options, server_uuid).await?;
        Ok(LockLogin { conn, at: Instant::now() })
    }
}

async fn log_in(options: &Options, server_uuid: &str) -> Result<Conn, Error> {
    let mut conn = Conn::connect(options).await?;
    let patience = format!("SET SESSION wait_timeout = {WAIT_TIMEOUT_SECONDS}");
    let answers = within(QUERY_TIMEOUT, conn.ask(&[SERVER_UUID_SQL, &patience])).await?;
    ensure_same(server_uuid, uuid_of(answers)?)?;
    Ok(conn)
}

/// Which lock of which server.
struct Place {
    options: Options,
    server_uuid: String,
    name: String,
}

impl Place {
    async fn connect(&self) -> Result<Conn, Error> {
        log_in(&self.options, &self.server_uuid).await
    }

    /// Takes the lock after the connection with the id `lost` was lost. The server may still count that one as the
    /// holder; then it is killed.
    async fn retake(&self, lost: u32) -> Result<(Conn, bool), Error> {
        let mut conn = self.connect().await?;
        if ask(&mut conn, &self.name, Duration::ZERO).await? {
            return Ok((conn, true));
        }
        match self.holder(&mut conn).await? {
            Some(holder) if holder != lost => return Ok((conn, false)),
            // A session may end others of its account. One that has gone by now need not be ended.
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

/// Whether the lock is held now, after so long.
async fn ask(conn: &mut Conn, name: &str, patience: Duration) -> Result<bool, Error> {
    let question = "GET_LOCK";
    let sql = format!("SELECT {question}('{name}', {})", patience.as_secs());
    let answer: Option<Option<u8>> = within(QUERY_TIMEOUT, conn.query_first(sql)).await?;
    match answer.flatten() {
        Some(answer) => Ok(answer == 1),
        None => Err(Error::UnexpectedAnswer { question, answer: "NULL".to_owned() }),
    }
}

fn is_refusal(error: &Error) -> bool {
    match error {
        Error::MySql(mysql_async::Error::Server(error)) => !PASSING.contains(&error.code),
        Error::UnexpectedAnswer { .. } => true,
        _ => false,
    }
}

async fn keep(place: Place, mut conn: Conn, mut is_held: bool, lost: watch::Sender<bool>) {
    loop {
        match ping_or_wait(&place, &mut conn, is_held).await {
            Ok(held) => {
                is_held = held;
                continue;
            }
            Err(error) => tracing::debug!("the lock's connection: {}", Causes(&error)),
        }
        (conn, is_held) = loop {
            match place.retake(conn.id()).await {
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
async fn ping_or_wait(place: &Place, conn: &mut Conn, is_held: bool) -> Result<bool, Error> {
    if !is_held {
        return ask(conn, &place.name, PING_INTERVAL).await;
    }
    tokio::time::sleep(PING_INTERVAL).await;
    within(PING_TIMEOUT, conn.ping()).await.map(|()| true)
}
