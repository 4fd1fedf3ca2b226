//! The spans that every line of the log stands in: they say which relay, which session and which server it is of.
//!
//! The process is entered once on the main thread, a session once for each wake-up of its loop. No span is made or
//! entered for an event or a row. Threads and tasks take the current span along: see `tasks`.

use std::fmt::Display;

use tracing::Span;

/// Target of the spans. It is their own, so that they are there whatever `RUST_LOG` asks for.
const TARGET: &str = "binlog_relay::span";

/// What lets them through a filter that leaves this program out.
pub(super) const DIRECTIVE: &str = "binlog_relay::span=error";

/// The span of this process, which is an instance of the relay `name`. Its id is added by [`note_instance`].
pub fn process(name: &str) -> Span {
    let instance = tracing::field::Empty;
    tracing::error_span!(target: TARGET, "process", relay = %name, instance)
}

/// Adds the random id of this process to the current span, which is that of [`process`].
pub fn note_instance(instance: &str) {
    Span::current().record("instance", tracing::field::display(instance));
}

/// The span of one session: from connecting to the pause after it failed. `number` counts those of this process,
/// from 1; `server` is the MySQL server that it reads from, as `host:port`.
pub fn session(number: u64, server: &impl Display) -> Span {
    tracing::error_span!(target: TARGET, "session", number, %server)
}
