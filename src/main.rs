//! Parse, load, run, exit code.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use binlog_relay::checkpoint::Checkpoint;
use binlog_relay::cli::{Cli, Command, DeadLetterCommand, Request};
use binlog_relay::config::{self, Config};
use binlog_relay::coordinates::StartFrom;
use binlog_relay::error::Error;
use binlog_relay::fate::Fate;
use binlog_relay::http::{self, Http};
use binlog_relay::import::{self, Program};
use binlog_relay::outbox::Preset;
use binlog_relay::relay::orders::{Orders, Wanted};
use binlog_relay::reload::{self, ConfigFile, Reloader, Requests};
use binlog_relay::sink::none_without_store;
use binlog_relay::telemetry::{Telemetry, spans};
use binlog_relay::{check, dead_letter, decode, explain, relay, schema, telemetry};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// A person must act.
const EXIT_HALTED: u8 = 1;
/// Bad usage or configuration.
const EXIT_USAGE: u8 = 2;
/// Another instance of this relay has taken over.
const EXIT_TAKEN_OVER: u8 = 3;

/// The relay. It is public to examples/failpoints.rs, which is the same program.
pub fn main() -> ExitCode {
    let cli = Cli::read();
    telemetry::start(cli.log_format);
    let done = match cli.request {
        Request::Configured { command, config, overrides } => {
            answer_configured(command, &ConfigFile { path: config, overrides })
        }
        Request::Decode { asked, config, overrides } => {
            match config.map(|path| Config::load(&path, &overrides)).transpose() {
                Ok(config) => decode(&asked, config.as_ref()),
                Err(error) => Ok(refuse_all(&error)),
            }
        }
        Request::Schema { preset } => match preset.parse::<Preset>() {
            Ok(preset) => print(schema::sql(preset)),
            Err(error) => Ok(refuse(&error, error.hint())),
        },
        Request::Import { program, file } => import(program, &file),
    };
    done.unwrap_or_else(|error| {
        tell(&format!("{error:#}"), None);
        ExitCode::from(EXIT_HALTED)
    })
}

fn answer_configured(command: Command, file: &ConfigFile) -> anyhow::Result<ExitCode> {
    // Before anything else: from its first moment on, a SIGHUP does not end a relay.
    let hangups = Hangups::of(&command)?;
    let config = match file.load() {
        Ok(config) => config,
        Err(error) => return Ok(refuse_all(&error)),
    };
    // All lines of this thread, and of the threads that it starts, are inside this span.
    let _entered = spans::process(&config.name).entered();
    match command {
        Command::Run => run(file, config, hangups),
        Command::Check { json } => check(&config, json),
        Command::Explain { asked, json } => explain(&config, &asked, json),
        Command::CheckpointShow { json } => show_checkpoint(&config, json),
        Command::CheckpointSet { to, force } => set_checkpoint(&config, &to, force),
        Command::CheckpointReset { force } => reset_checkpoint(&config, force),
        Command::DeadLetter(asked) => answer_of_dead_letters(&config, &asked),
    }
}

/// Reports bad usage. Nothing was connected yet.
fn refuse(error: &(dyn std::error::Error + 'static), hint: Option<String>) -> ExitCode {
    tell(&telemetry::Causes(error).to_string(), hint.as_deref());
    ExitCode::from(EXIT_USAGE)
}

/// Reports all problems of the configuration.
fn refuse_all(error: &config::Error) -> ExitCode {
    for error in error.each() {
        refuse(error, error.hint());
    }
    ExitCode::from(EXIT_USAGE)
}

fn import(program: Program, file: &Path) -> anyhow::Result<ExitCode> {
    match import::import(program, file) {
        Ok(text) => print(&text),
        Err(error) => {
            tell(&telemetry::Causes(&error).to_string(), error.hint().as_deref());
            let exit = if error.is_understood() { EXIT_HALTED } else { EXIT_USAGE };
            Ok(ExitCode::from(exit))
        }
    }
}

/// Standard output gets the answer and nothing else.
fn print(text: &str) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    unless_closed(written).context("write to standard output")?;
    Ok(ExitCode::SUCCESS)
}

/// The reader may have seen enough, as `head` does.
fn unless_closed(written: std::io::Result<()>) -> std::io::Result<()> {
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

fn check(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let runtime = runtime()?;
    let report = runtime.block_on(check::check(config));
    // Do not wait for threads that still wait for Kafka.
    runtime.shutdown_background();
    print(&if json { report.to_json() + "\n" } else { report.to_text() })?;
    Ok(if report.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_HALTED) })
}

fn decode(asked: &decode::Asked, config: Option<&Config>) -> anyhow::Result<ExitCode> {
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let decoded = runtime()?.block_on(decode::decode(asked, config, &mut out));
    let flushed = unless_closed(out.flush());
    match decoded {
        Err(error) if !error.is_closed_pipe() => {
            tell(&telemetry::Causes(&error).to_string(), error.hint().as_deref());
            Ok(ExitCode::from(EXIT_HALTED))
        }
        _ => {
            // What is left in the buffer has no reader any more.
            let _ = out.into_parts();
            flushed.context("write to standard output")?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn explain(config: &Config, asked: &explain::Asked, json: bool) -> anyhow::Result<ExitCode> {
    let tables = match runtime()?.block_on(explain::explain(config, asked)) {
        Ok(tables) => tables,
        Err(explain::Error::Relay(error)) => return Ok(answer(Err(error))),
        Err(explain::Error::Usage { problem, hint }) => {
            tell(&problem, hint.as_deref());
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    let text = if json { explain::to_json(&tables) + "\n" } else { explain::to_text(&tables) };
    print(&text)?;
    let is_ok = tables.iter().all(explain::OfTable::is_ok);
    Ok(if is_ok { ExitCode::SUCCESS } else { ExitCode::from(EXIT_HALTED) })
}

fn run(file: &ConfigFile, config: Config, hangups: Hangups) -> anyhow::Result<ExitCode> {
    let config = Arc::new(config);
    let telemetry = Arc::new(Telemetry::new(&config.name, config.mysql.to_string()));
    let (orders, want, reports) = Orders::new(config.clone());
    let (requests, requested) = reload::requests();
    let want = Arc::new(want);
    let bound = match config.http.as_ref().map(http::bind).transpose() {
        Ok(bound) => bound,
        Err(error) => {
            tell(&telemetry::Causes(&error).to_string(), Some(error.hint()));
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    let reload = config.http.as_ref().filter(|http| http.reload).map(|_| requests.clone());
    let http =
        bound.map(|bound| answer_http(bound, &telemetry, want.clone(), reload)).transpose()?;
    let (span, signals) = (tracing::Span::current(), want.clone());
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || span.in_scope(|| await_signals(hangups, &signals, &requests)))
        .context("start the thread that waits for signals")?;
    let (file, reported) = (file.clone(), telemetry.clone());
    Reloader { file, current: config, want, reports, requested, telemetry: reported }
        .start()
        .context("start the thread that reads the configuration again")?;
    let runtime = runtime()?;
    let ended = runtime.block_on(relay::run(telemetry, orders));
    // Do not wait for threads that still wait for Kafka.
    runtime.shutdown_background();
    if let Some(http) = http {
        http.stop();
    }
    Ok(answer(ended))
}

fn answer_http(
    bound: http::Bound,
    telemetry: &Arc<Telemetry>,
    want: Arc<watch::Sender<Wanted>>,
    reload: Option<Requests>,
) -> anyhow::Result<Http> {
    let address = bound.address.clone();
    let mysql = move || want.borrow().config.mysql.clone();
    let http = Http::start(bound, telemetry.clone(), mysql, reload);
    let http = http.context("start the thread that answers HTTP")?;
    tracing::info!(%address, "answering HTTP");
    Ok(http)
}

fn show_checkpoint(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let runtime = runtime()?;
    let stored = none_without_store(runtime.block_on(config.kafka.stored()));
    let checkpoint = match stored {
        Ok(Some(checkpoint)) => checkpoint,
        Ok(None) => {
            let checkpoint = &config.kafka.checkpoint;
            tell(
                &format!(
                    "there is no checkpoint of key {:?} in {}",
                    checkpoint.key, checkpoint.topic
                ),
                None,
            );
            return Ok(ExitCode::from(EXIT_HALTED));
        }
        Err(error) => return Ok(answer(Err(error.into()))),
    };
    let text = if json { checkpoint.to_json() } else { describe(&checkpoint)?.into_bytes() };
    let mut out = std::io::stdout().lock();
    out.write_all(&text).and_then(|()| if json { out.write_all(b"\n") } else { Ok(()) })?;
    Ok(ExitCode::SUCCESS)
}

fn set_checkpoint(config: &Config, to: &StartFrom, force: bool) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout();
    let set = relay::set_checkpoint(config, to, force, &mut out);
    Ok(answer(runtime()?.block_on(set)))
}

fn reset_checkpoint(config: &Config, force: bool) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout();
    let reset = relay::reset_checkpoint(config, force, &mut out);
    Ok(answer(runtime()?.block_on(reset)))
}

fn answer_of_dead_letters(config: &Config, asked: &DeadLetterCommand) -> anyhow::Result<ExitCode> {
    let runtime = runtime()?;
    let mut out = std::io::stdout();
    let answered = runtime.block_on(dead_letter::answer(config, asked, &mut out));
    runtime.shutdown_background();
    match answered {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::from(EXIT_HALTED)),
        Err(dead_letter::Error::Relay(error)) => Ok(answer(Err(error))),
        Err(error) => {
            tell(&telemetry::Causes(&error).to_string(), error.hint());
            Ok(ExitCode::from(EXIT_HALTED))
        }
    }
}

/// One line per field, in the order of the record.
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

/// SIGHUPs of this process. While this lives, one that came before somebody listened is not lost.
struct Hangups {
    runtime: tokio::runtime::Runtime,
    signals: Option<Signal>,
}

impl Hangups {
    /// From now on, SIGHUP does not end a relay, also where it was ignored before: whoever started the relay with nohup
    /// wants it to outlive the terminal, and it does. Other commands end by it, as all programs do.
    fn of(command: &Command) -> anyhow::Result<Hangups> {
        let runtime = runtime()?;
        let signals = match command {
            Command::Run => {
                let _entered = runtime.enter();
                Some(signal(SignalKind::hangup()).context("listen for SIGHUP")?)
            }
            _ => None,
        };
        Ok(Hangups { runtime, signals })
    }

    async fn next(signals: &mut Option<Signal>) {
        match signals {
            Some(signals) => drop(signals.recv().await),
            None => std::future::pending().await,
        }
    }
}

/// Has the configuration read again at each SIGHUP. Orders a drain at the first SIGTERM or SIGINT; ends the process at
/// the second one, or when the drain takes too long. Runs on a thread of its own, so that no other work delays it.
fn await_signals(hangups: Hangups, want: &watch::Sender<Wanted>, requests: &Requests) {
    let Hangups { runtime, mut signals } = hangups;
    let heard = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
        loop {
            tokio::select! {
                biased; // to stop is more than to change
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                // The log says what becomes of it.
                () = Hangups::next(&mut signals) => drop(requests.ask("SIGHUP")),
            }
        }
        tracing::info!("draining");
        want.send_modify(|wanted| wanted.is_stop = true);
        let drain_max = want.borrow().config.shutdown_timeout;
        let why = tokio::select! {
            _ = terminate.recv() => "a second signal came",
            _ = interrupt.recv() => "a second signal came",
            () = tokio::time::sleep(drain_max) => "draining took longer than shutdown_timeout",
        };
        anyhow::Ok(why)
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
        // A command does not retry, and neither does a relay that was told to stop.
        Fate::Retry | Fate::MaybeTakenOver => {
            tell(&causes, error.hint().as_deref());
            ExitCode::from(EXIT_HALTED)
        }
    }
}

/// The last lines are plain text for people, in either format of the log. A thread that still waits for Kafka logs
/// nothing behind them: the lock on standard error is never given back.
fn tell(error: &str, hint: Option<&str>) {
    let lock = std::io::stderr().lock();
    eprintln!("error: {error}");
    if let Some(hint) = hint {
        eprintln!("hint: {hint}");
    }
    std::mem::forget(lock);
}
