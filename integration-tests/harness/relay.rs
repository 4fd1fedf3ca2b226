//! The relay as an operator sees it: a configuration file, a process with signals and an exit code,
//! a log, and the `relay-sequence` header of its records.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::consumer::{Inbox, Record};
use super::http::Http;
use super::process::Process;
use super::scene::Delivery;
use super::{watchdog, words};

/// Long enough for a slow machine, short enough to notice a relay that hangs.
pub const SOON: Duration = Duration::from_secs(120);

/// What a relay says of a panic, and of damage that reading again did not mend.
const NEVER_SAID: [&str; 4] = [
    "panicked at",
    "a task of the relay ended",
    "a thread of the publisher panicked",
    "also when it is read again",
];

/// What goes into the configuration file. Lines that only one test needs go into `…_lines`.
#[derive(Debug, Clone)]
pub struct RelaySetup {
    pub name: String,
    pub shutdown_timeout: Option<String>,
    pub mysql_address: String,
    pub mysql_user: String,
    pub mysql_password: String,
    pub start_from: Option<String>,
    pub mysql_lines: Vec<String>,
    pub kafka_bootstrap: String,
    pub checkpoint_topic: String,
    pub transaction_timeout: Option<String>,
    pub delivery: Delivery,
    pub kafka_lines: Vec<String>,
    pub batch_lines: Vec<String>,
    pub outboxes: Vec<Outbox>,
    /// `host:port` of `[http] listen`.
    pub http: Option<String>,
    pub http_lines: Vec<String>,
    /// Environment variables of the process.
    pub environment: Vec<(String, String)>,
    /// Another program than the one under test.
    pub program: Option<PathBuf>,
}

#[derive(Debug, Clone)]
pub struct Outbox {
    pub table: String,
    pub preset: String,
    pub lines: Vec<String>,
}

/// A running relay; killed with -9 when dropped.
pub struct Relay {
    process: Process,
    config: PathBuf,
}

/// The parts of a `relay-sequence` header. Text order is stream order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RelaySequence {
    pub name: String,
    pub generation: u64,
    pub sequence: u64,
}

impl RelaySetup {
    pub fn to_toml(&self) -> String {
        let mut file = String::new();
        let mut line = |text: String| writeln!(file, "{text}").expect("writing to a string");
        line(format!("name = {}", toml_string(&self.name)));
        if let Some(timeout) = &self.shutdown_timeout {
            line(format!("shutdown_timeout = {}", toml_string(timeout)));
        }
        line("[mysql]".to_owned());
        line(format!("hosts = [{}]", toml_string(&self.mysql_address)));
        line(format!("user = {}", toml_string(&self.mysql_user)));
        line(format!("password = {}", toml_string(&self.mysql_password)));
        if let Some(start_from) = &self.start_from {
            line(format!("start_from = {}", toml_string(start_from)));
        }
        self.mysql_lines.iter().cloned().for_each(&mut line);
        line("[kafka]".to_owned());
        line(format!("bootstrap_servers = {}", toml_string(&self.kafka_bootstrap)));
        line(format!("checkpoint_topic = {}", toml_string(&self.checkpoint_topic)));
        if let Some(timeout) = &self.transaction_timeout {
            line(format!("transaction_timeout = {}", toml_string(timeout)));
        }
        if self.delivery != Delivery::ExactlyOnce {
            line(format!("delivery = {}", toml_string(self.delivery.name())));
        }
        self.kafka_lines.iter().cloned().for_each(&mut line);
        if !self.batch_lines.is_empty() {
            line("[batch]".to_owned());
            self.batch_lines.iter().cloned().for_each(&mut line);
        }
        if let Some(listen) = &self.http {
            line("[http]".to_owned());
            line(format!("listen = {}", toml_string(listen)));
            self.http_lines.iter().cloned().for_each(&mut line);
        }
        for outbox in &self.outboxes {
            line("[[outbox]]".to_owned());
            line(format!("table = {}", toml_string(&outbox.table)));
            line(format!("preset = {}", toml_string(&outbox.preset)));
            outbox.lines.iter().cloned().for_each(&mut line);
        }
        file
    }

    pub fn start(&self) -> Relay {
        let directory = watchdog::fresh_directory(&self.name);
        let config = self.write_file(&directory);
        let mut command = self.command();
        command.args(["run", "--config"]).arg(&config).envs(self.environment.iter().cloned());
        let process = Process::start("the relay", &mut command, directory.join("relay.log"));
        Relay { process, config }
    }

    /// Runs a command of the relay with this configuration to its end.
    pub fn answer(&self, arguments: &[&str]) -> Output {
        self.answer_into(arguments, Stdio::piped())
    }

    /// The same with its standard output elsewhere.
    pub fn answer_into(&self, arguments: &[&str], out: Stdio) -> Output {
        let directory = watchdog::fresh_directory(&self.name);
        let config = self.write_file(&directory);
        self.command()
            .args(arguments)
            .arg("--config")
            .arg(config)
            .envs(self.environment.iter().cloned())
            .stdout(out)
            .output()
            .expect("run the relay")
    }

    /// Runs `checkpoint set` and returns what it printed; fails unless it stored the place.
    pub fn set_checkpoint(&self, to: &str) -> String {
        let answer = said(&self.answer(&["checkpoint", "set", "--to", to]));
        assert_eq!(answer.code, 0, "{answer:?}");
        assert!(answer.out.ends_with("\nstored\n"), "{answer:?}");
        answer.out
    }

    fn command(&self) -> Command {
        self.program.as_deref().map_or_else(relay_command, command_of)
    }

    fn write_file(&self, directory: &Path) -> PathBuf {
        let path = directory.join("config.toml");
        fs::write(&path, self.to_toml()).expect("write the configuration file");
        path
    }
}

/// What a command printed, and its exit code.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub error: String,
}

pub fn said(output: &Output) -> Said {
    Said {
        code: output.status.code().expect("no signal ended it"),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        error: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Relay {
    pub fn kill(&mut self) {
        self.process.kill();
    }

    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Gives its configuration file another text.
    pub fn rewrite_config(&self, text: &str) {
        fs::write(&self.config, text).expect("write the configuration file");
    }

    /// Has it take over another configuration, and waits until that is in force.
    pub fn reload(&mut self, setup: &RelaySetup) {
        const IN_FORCE: &str = "the new configuration is in force";
        // Before the program runs, the signal is the system's to answer, and ends it.
        self.wait_for_log("starting");
        let count = |relay: &Relay| relay.log().matches(IN_FORCE).count();
        let before = count(self);
        self.rewrite_config(&setup.to_toml());
        self.signal("HUP");
        let deadline = Instant::now() + SOON;
        while count(self) == before {
            assert!(Instant::now() < deadline, "it is not in force\n{}", self.log_tail());
            assert!(!self.has_ended(), "it has ended\n{}", self.log_tail());
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn has_ended(&mut self) -> bool {
        self.process.has_ended()
    }

    /// Waits for the relay to end by itself.
    pub fn exit_code(&mut self) -> i32 {
        let code = self.process.wait_for_exit(SOON);
        code.unwrap_or_else(|| panic!("a signal ended the relay\n{}", self.process.log_tail()))
    }

    /// Waits for the relay's end, and answers with the signal that ended it, if one did.
    pub fn ended_by_signal(&mut self) -> Option<i32> {
        self.process.wait_for_exit(SOON);
        self.process.signal_of_end()
    }

    /// SIGTERM, then the exit code.
    pub fn stop(&mut self) -> i32 {
        self.process.signal("TERM");
        self.exit_code()
    }

    /// Waits for a halt and returns the log; fails unless it ends with `error:` and `hint:` lines.
    pub fn halts(&mut self) -> String {
        let code = self.exit_code();
        let log = self.log();
        assert_eq!(code, 1, "a halt exits 1\n{}", self.log_tail());
        assert!(log.contains("error:"), "a halt says why\n{}", self.log_tail());
        assert!(log.contains("hint:"), "a halt says what to do\n{}", self.log_tail());
        words::assert_in_runbook(&log);
        log
    }

    /// The arguments of the command that a halt prints as its way out.
    pub fn printed_way_out(&self) -> Vec<String> {
        let log = self.log();
        let hint = log.lines().rfind(|line| line.starts_with("hint: ")).expect("there is a hint");
        let (_, command) =
            hint.rsplit_once("; binlog-relay ").expect("the hint ends with a command");
        command.split(' ').map(str::to_owned).collect()
    }

    /// Waits for a halt with these last words.
    pub fn halts_saying(&mut self, error: &str, hint: &str) {
        let code = self.exit_code();
        if let Some(difference) = words::differ(Some(code), &self.log(), 1, error, hint) {
            panic!("{difference}\n{}", self.log_tail());
        }
    }

    /// Waits until the log has these words.
    pub fn wait_for_log(&mut self, words: &str) {
        let deadline = Instant::now() + SOON;
        while !self.log().contains(words) {
            assert!(Instant::now() < deadline, "{words:?} does not come\n{}", self.log_tail());
            assert!(!self.has_ended(), "it ended before {words:?}\n{}", self.log_tail());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until so many records have come; shows this relay's log when they do not.
    pub fn wait_until_came(&self, inbox: &mut Inbox, count: usize, within: Duration) {
        if let Err(error) = inbox.wait_for(count, within) {
            panic!("{error}\n{}", self.log_tail());
        }
    }

    /// Its HTTP, of a setup with `http`.
    pub fn http(&mut self) -> Http {
        const FIELD: &str = "answering HTTP address=";
        self.wait_for_log(FIELD);
        let log = self.log();
        let (_, rest) = log.split_once(FIELD).expect("the log has it");
        Http::at(rest.split_whitespace().next().expect("an address follows"))
    }

    /// The random id by which its checkpoints name this process.
    pub fn instance(&mut self) -> String {
        const FIELD: &str = "instance=\"";
        self.wait_for_log(FIELD);
        let log = self.log();
        let (_, rest) = log.split_once(FIELD).expect("the log has it");
        rest.split('"').next().expect("a split has a first part").to_owned()
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub fn assert_without_panics(&self) {
        let log = self.log();
        for words in NEVER_SAID {
            assert!(!log.contains(words), "a relay says {words:?}\n{}", self.log_tail());
        }
    }

    pub fn log(&self) -> String {
        self.process.log()
    }

    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }
}

impl RelaySequence {
    /// That of a record of the relay.
    pub fn of(record: &Record) -> RelaySequence {
        let header = record.header("relay-sequence").expect("every record has it");
        RelaySequence::parse(header).expect("it is well formed")
    }

    /// Parses `NAME:%016x-%016x`.
    pub fn parse(header: &[u8]) -> Option<RelaySequence> {
        let text = std::str::from_utf8(header).ok()?;
        let (name, numbers) = text.rsplit_once(':')?;
        let (generation, sequence) = numbers.split_once('-')?;
        Some(RelaySequence {
            name: name.to_owned(),
            generation: sixteen_lower_hex_digits(generation)?,
            sequence: sixteen_lower_hex_digits(sequence)?,
        })
    }
}

/// The program under test: the one that is named, or the one that cargo built with the running program.
pub fn relay_command() -> Command {
    let named = std::env::var_os("BINLOG_RELAY_TEST_BINARY").map(PathBuf::from);
    command_of(&named.unwrap_or_else(built_with_the_running_program))
}

fn command_of(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_remove("RUST_LOG");
    command
}

/// Cargo puts the demo beside the relay, and tests and examples into folders beside it.
fn built_with_the_running_program() -> PathBuf {
    let program = std::env::current_exe().expect("the running program has a path");
    let mut beside = program.ancestors().skip(1).take(2).map(|folder| folder.join("binlog-relay"));
    beside.find(|relay| relay.is_file()).expect("cargo built the relay as well")
}

fn sixteen_lower_hex_digits(text: &str) -> Option<u64> {
    let well_formed = text.len() == 16
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    well_formed.then(|| u64::from_str_radix(text, 16).ok())?
}

fn toml_string(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
