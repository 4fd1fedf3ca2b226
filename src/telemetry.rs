//! Logs on standard error, as text for people or JSON for machines, and the state and the metrics that HTTP shows.

pub(crate) mod binlogs;
pub mod clock;
pub(crate) mod lag;
pub(crate) mod metrics;
pub mod spans;
mod state;
mod status;
mod words;

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

pub use self::state::State;
pub use self::status::{Reason, Status, Telemetry, seconds};
pub use self::words::{Causes, Excerpt};

/// The filter without `RUST_LOG`.
const FILTER: &str = "info";

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// Starts logging. Call once, before anything is logged.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(FILTER));
    let spans = spans::DIRECTIVE.parse().expect("it is a directive");
    let filter = filter.add_directive(spans);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.init(),
        // The list of spans has all of them. The current span would be there twice.
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).init(),
    }
}
