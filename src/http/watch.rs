//! Asks the server for its list of binlogs and its clock, over a connection of its own, while HTTP is on.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;

use crate::binlog::server::Error;
use crate::binlog::{Options, Server};
use crate::telemetry::{Causes, Telemetry};

/// How often the server is asked. The list costs it a look at every binlog's size.
const INTERVAL: Duration = Duration::from_secs(2);

/// How often a server is tried that does not answer.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Keeps [`Telemetry`] told. What fails is tried again: the relay itself says when the server is gone.
pub async fn watch(telemetry: &Telemetry, options: &Options) -> Infallible {
    loop {
        let error = match Server::connect(options).await {
            // The driver can panic on damaged bytes; HTTP is answered all the same.
            Ok(server) => {
                let asked = AssertUnwindSafe(ask(server, telemetry)).catch_unwind().await;
                asked.unwrap_or(Ok(())).err()
            }
            Err(error) => Some(error),
        };
        if let Some(error) = error {
            tracing::debug!("ask the server for its binlogs: {}", Causes(&error));
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

async fn ask(mut server: Server, telemetry: &Telemetry) -> Result<(), Error> {
    loop {
        let files = server.binlog_files().await?;
        telemetry
            .note_binlogs(files.into_iter().map(|file| (file.name, file.size_bytes)).collect());
        telemetry.set_clock(server.clock().await?);
        tokio::time::sleep(INTERVAL).await;
    }
}
