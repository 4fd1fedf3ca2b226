//! Parse, load, run, exit code.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use binlog_relay::checkpoint::Checkpoint;
use binlog_relay::cli::{Cli, Command};
use binlog_relay::config::Config;
use binlog_relay::error::{Error, Fate};
use binlog_relay::{relay, telemetry};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// A person must act.
const EXIT_HALTED: u8 = 1;
/// Bad usage or configuration.
const EXIT_USAGE: u8 = 2;
/// Another instance of this relay has taken over.
const EXIT_TAKEN_OVER: u8 = 3;

fn main() -> ExitCode {
    let cli = Cli::read();
    telemetry::start(cli.log_format);
    let config = match Config::load(&cli.config, &cli.overrides) {
        Ok(config) => config,
        Err(error) => {
            tell(&telemetry::Causes(&error).to_string(), error.hint().as_deref());
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let done = match cli.command {
        Command::Run => run(&config),
        Command::CheckpointShow { json } => show_checkpoint(&config, json),
    };
    done.unwrap_or_else(|error| {
        tell(&format!("{error:#}"), None);
        ExitCode::from(EXIT_HALTED)
    })
}

fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let (stop, stopped) = watch::channel(false);
    let deadline = config.shutdown_timeout;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || await_signals(&stop, deadline))
        .context("start the thread that waits for signals")?;
    let runtime = runtime()?;
    let ended = runtime.block_on(relay::run(config, stopped));
    // What still waits for Kafka on a thread of its own is of no use any more.
    runtime.shutdown_background();
    Ok(answer(ended))
}

fn show_checkpoint(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let runtime = runtime()?;
    let stored = runtime.block_on(relay::show_checkpoint(config));
    let checkpoint = match stored {
        Ok(Some(checkpoint)) => checkpoint,
        Ok(None) => {
            let checkpoint = &config.checkpoint;
            tell(
                &format!(
                    "there is no checkpoint of key {:?} in {}",
                    checkpoint.key, checkpoint.topic
                ),
                None,
            );
            return Ok(ExitCode::from(EXIT_HALTED));
        }
        Err(error) => return Ok(answer(Err(error))),
    };
    let text = if json { checkpoint.to_json() } else { describe(&checkpoint)?.into_bytes() };
    let mut out = std::io::stdout().lock();
    out.write_all(&text).and_then(|()| if json { out.write_all(b"\n") } else { Ok(()) })?;
    Ok(ExitCode::SUCCESS)
}

/// One line a field, in the order of the record.
fn describe(checkpoint: &Checkpoint) -> anyhow::Result<String> {
    let mut text = String::new();
    let value = serde_json::to_value(checkpoint).context("print the checkpoint")?;
    for name in Checkpoint::FIELDS {
        match value.get(name) {
            None => {}
            Some(serde_json::Value::String(value)) => text.push_str(&format!("{name}: {value}\n")),
            Some(value) => text.push_str(&format!("{name}: {value}\n")),
        }
    }
    Ok(text)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")
}

/// Asks for a drain at the first signal; ends the process at the second, or when the drain takes too long.
/// On a thread of its own, which hears signals whatever the others wait for.
fn await_signals(stop: &watch::Sender<bool>, drain_max: Duration) {
    let heard = runtime().and_then(|runtime| {
        runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
            let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("draining");
            stop.send_replace(true);
            let why = tokio::select! {
                _ = terminate.recv() => "a second signal came",
                _ = interrupt.recv() => "a second signal came",
                () = tokio::time::sleep(drain_max) => "draining took longer than shutdown_timeout",
            };
            anyhow::Ok(why)
        })
    });
    let why = heard.unwrap_or_else(|error| format!("{error:#}").leak());
    tell(
        &format!("stopped before the drain was done: {why}"),
        Some("nothing is lost: the next start goes on from the last checkpoint"),
    );
    std::process::exit(i32::from(EXIT_HALTED));
}

fn answer(ended: Result<(), Error>) -> ExitCode {
    let Err(error) = ended else { return ExitCode::SUCCESS };
    let causes = telemetry::Causes(&error).to_string();
    match error.fate() {
        Fate::Halt { hint } => {
            tell(&causes, Some(&hint));
            ExitCode::from(EXIT_HALTED)
        }
        Fate::TakenOver => {
            tell(&causes, None);
            ExitCode::from(EXIT_TAKEN_OVER)
        }
        Fate::Retry | Fate::MaybeTakenOver => {
            tell(&causes, None);
            ExitCode::from(EXIT_HALTED)
        }
    }
}

/// Errors end in words for people, whatever the format of the log.
fn tell(error: &str, hint: Option<&str>) {
    eprintln!("error: {error}");
    if let Some(hint) = hint {
        eprintln!("hint: {hint}");
    }
}
