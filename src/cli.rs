//! The command line: what can be asked of the program, and how it is spelled.
//!
//! Arguments and the environment enter; a [`Cli`] leaves, with the configuration file named where one is
//! needed. Nothing is opened here. Wrong usage ends the process with exit code 2 and a hint, as clap does it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::coordinates::{self, GtidSet, StartFrom};
use crate::import::Program;
use crate::telemetry::LogFormat;
use crate::{decode, explain};

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cli {
    pub request: Request,
    pub log_format: LogFormat,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// About the relay that a file configures.
    Configured {
        command: Command,
        config: PathBuf,
        /// `key=value`, in the order given: the last one of a key holds.
        overrides: Vec<String>,
    },
    /// About binlog files, and where one is given, about the relay that a file configures.
    Decode { asked: decode::Asked, config: Option<PathBuf>, overrides: Vec<String> },
    /// About a preset, as it was spelled.
    Schema { preset: String },
    /// About another program's configuration.
    Import { program: Program, file: PathBuf },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Run,
    Check {
        json: bool,
    },
    Explain {
        asked: explain::Asked,
        json: bool,
    },
    CheckpointShow {
        json: bool,
    },
    CheckpointSet {
        to: StartFrom,
        /// Although a relay of the name may be running.
        force: bool,
    },
    CheckpointReset {
        /// Although a relay of the name may be running.
        force: bool,
    },
    DeadLetter(DeadLetterCommand),
}

/// About the rows that could not be records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadLetterCommand {
    List {
        /// Also those that were published again.
        all: bool,
        json: bool,
    },
    Show {
        number: String,
        json: bool,
    },
    Replay {
        /// Empty: all that were not published again.
        numbers: Vec<String>,
    },
}

impl Cli {
    /// Reads the arguments of this process. Wrong usage, `--help` and `--version` end it.
    #[must_use]
    pub fn read() -> Self {
        Self::read_from(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// The same from given arguments, the first of which is the program's name.
    ///
    /// # Errors
    /// Wrong usage; and `--help` and `--version`, whose answer is the error's text.
    pub fn read_from(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let Arguments { asked, global, overrides: before } = Arguments::try_parse_from(arguments)?;
        let log_format = global.log_format;
        let (command, after) = match asked {
            Asked::Run { overrides } => (Command::Run, overrides),
            Asked::Check { json, overrides } => (Command::Check { json }, overrides),
            Asked::Explain { table, last, row, json, overrides } => {
                let rows = match row {
                    Some(row) => explain::Rows::Given(row),
                    None => explain::Rows::Last(usize::from(last)),
                };
                (Command::Explain { asked: explain::Asked { table, rows }, json }, overrides)
            }
            Asked::Decode { files, table, from, json, overrides } => {
                let asked = decode::Asked { files, table, from, json };
                let overrides = [before.given, overrides.given].concat();
                let request = Request::Decode { asked, config: global.config, overrides };
                return Ok(Self { request, log_format });
            }
            Asked::Schema { preset } => {
                return Ok(Self { request: Request::Schema { preset }, log_format });
            }
            Asked::DeadLetter { asked } => {
                let (command, overrides) = asked.split();
                (Command::DeadLetter(command), overrides)
            }
            Asked::Import { program, file } => {
                return Ok(Self { request: Request::Import { program, file }, log_format });
            }
            Asked::Checkpoint { asked } => match asked {
                AskedOfCheckpoint::Show { json, overrides } => {
                    (Command::CheckpointShow { json }, overrides)
                }
                AskedOfCheckpoint::Set { to, force, overrides } => {
                    (Command::CheckpointSet { to, force }, overrides)
                }
                AskedOfCheckpoint::Reset { force, overrides } => {
                    (Command::CheckpointReset { force }, overrides)
                }
            },
        };
        // clap cannot require an argument that may stand before and after the command.
        let Some(config) = global.config else {
            let problem = "no configuration file is given\n\n  \
                tip: name it with --config FILE or in BINLOG_RELAY_CONFIG";
            return Err(Arguments::command().error(ErrorKind::MissingRequiredArgument, problem));
        };
        let overrides = [before.given, after.given].concat();
        Ok(Self { request: Request::Configured { command, config, overrides }, log_format })
    }
}

/// Relay the rows of an outbox table from MySQL to Kafka
///
/// Reads the MySQL binlog as a replica does, publishes each row that is inserted into an outbox table
/// to Kafka, and keeps its position in a Kafka topic: every committed row, once, in order.
#[derive(Debug, Parser)]
#[command(name = "binlog-relay", version, verbatim_doc_comment)]
#[command(
    after_help = "The logs go to standard error; RUST_LOG chooses what is logged (info by default)."
)]
struct Arguments {
    #[command(subcommand)]
    asked: Asked,
    #[command(flatten)]
    global: Global,
    #[command(flatten)]
    overrides: Overrides,
}

#[derive(Debug, Args)]
struct Global {
    /// The configuration file (TOML)
    #[arg(short, long, value_name = "FILE", env = "BINLOG_RELAY_CONFIG", global = true)]
    config: Option<PathBuf>,

    /// How to write the log
    #[arg(
        long,
        value_name = "FORMAT",
        env = "BINLOG_RELAY_LOG_FORMAT",
        default_value = "text",
        global = true
    )]
    log_format: LogFormat,
}

// Stands in each command, not among the globals: of a repeated global, clap drops what stands before
// the command when it is given after it too. No doc comment: clap would print it as the command's own.
#[derive(Debug, Args)]
struct Overrides {
    /// Override one key of the file, as in mysql.user=relay or outbox.0.table=shop.events; repeatable
    #[arg(long = "set", value_name = "KEY=VALUE")]
    given: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Asked {
    /// Relay until SIGTERM or SIGINT, then finish what is begun and stop
    ///
    /// Reads the inserts into the outbox tables from the MySQL binlog and publishes each row to Kafka.
    /// Begins at the stored checkpoint, or at mysql.start_from where there is none. A second signal, or
    /// a stop that takes longer than shutdown_timeout, ends the relay at once; nothing is lost by it.
    /// SIGHUP reads the configuration again: the relay takes it over, or refuses it and goes on as before.
    ///
    /// Exit codes: 0 stopped cleanly, 1 halted and a person must act, 2 bad usage or configuration,
    /// 3 another instance of this relay has taken over.
    #[command(verbatim_doc_comment)]
    Run {
        #[command(flatten)]
        overrides: Overrides,
    },

    /// Say whether the relay could run, requirement by requirement
    ///
    /// Connects to both ends and prints one line a requirement: ok, warn, or FAIL with what to do. Can be
    /// asked while the relay runs, and does not disturb it: no binlog dump is opened, no record is written,
    /// no topic is created, and the only transactional id used is the relay's name with -check.
    ///
    /// Exit codes: 0 no line is FAIL, 1 a line is FAIL, 2 bad usage or configuration.
    #[command(verbatim_doc_comment)]
    Check {
        /// Print one JSON document: {"ok":…,"requirements":[{"name","status","detail","hint"}]}
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        overrides: Overrides,
    },

    /// Show what record each row would become
    ///
    /// Takes the last rows of each outbox table, or a row that you give, and prints topic, key, partition,
    /// timestamp, headers and value of its record, and which plan makes it. Connects to MySQL only, and needs
    /// SELECT. Can be asked while the relay runs.
    ///
    /// Exit codes: 0 each row is a record or left out, 1 a row or a table cannot be one, or MySQL cannot be
    /// asked, 2 bad usage or configuration.
    #[command(verbatim_doc_comment)]
    Explain {
        /// One table only: table, or database.table
        #[arg(long, value_name = "TABLE")]
        table: Option<String>,
        /// The last N rows of each table, by primary key
        #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
        last: u16,
        /// A row that need not be in the table: a JSON object with its columns, bytes in base64
        #[arg(long, value_name = "JSON", conflicts_with = "last")]
        row: Option<String>,
        /// Print one JSON array with an object for each row
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        overrides: Overrides,
    },

    /// Show what is in binlog files, and with --config what the relay would publish from them
    ///
    /// Needs no server. Takes binlogs and relay logs, one after the other: transactions, GTIDs, tables and rows
    /// with the values of their columns. With a configuration it prints the records of the outbox tables instead;
    /// their columns must be named in the file (binlog_row_metadata=FULL). A file that is still being written is
    /// shown as far as it goes.
    ///
    /// Exit codes: 0 shown, 1 a file cannot be read, or a row cannot be a record, 2 bad usage or configuration.
    #[command(verbatim_doc_comment)]
    Decode {
        /// Files of the server's log_bin directory, in order
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// Only the rows of this table, or of database.table, in which * matches
        #[arg(long, value_name = "PATTERN")]
        table: Option<decode::Tables>,
        /// Begin there: at an offset of the first file, or at binlog.000012:4711
        #[arg(long, value_name = "POS")]
        from: Option<decode::From>,
        /// Print a line of JSON for each event or row
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        overrides: Overrides,
    },

    /// Print the SQL that makes a preset's tables and the relay's user
    ///
    /// One file that mysql takes, into the current database: tables, user, GRANTs, and as comments the Kafka
    /// ACLs of the relay. Needs no configuration. Exit codes: 0 printed, 2 bad usage or no such preset.
    #[command(verbatim_doc_comment)]
    Schema {
        /// eventuate-local, eventuate-tram, outbox, message-events, event-sourcing or custom
        #[arg(long, value_name = "NAME")]
        preset: String,
    },

    /// Print a configuration that does what Debezium's outbox router or Eventuate CDC does
    ///
    /// Reads the configuration of a connector or of a service. Each key has a comment that names the option that it
    /// comes from. Each option that is not taken over has a comment that says what to do. Passwords are not printed.
    /// docs/coming-from-debezium.md and docs/coming-from-eventuate.md go on from there.
    ///
    /// Exit codes: 0 printed, 1 it describes no outbox, 2 bad usage, or the file cannot be read.
    #[command(verbatim_doc_comment)]
    Import {
        /// Whose configuration it is
        program: Program,
        /// Its file
        file: PathBuf,
    },

    /// Show the stored position in the binlog, or change it
    Checkpoint {
        #[command(subcommand)]
        asked: AskedOfCheckpoint,
    },

    /// Show the rows that could not be records, or publish them again
    DeadLetter {
        #[command(subcommand)]
        asked: AskedOfDeadLetters,
    },
}

#[derive(Debug, Subcommand)]
enum AskedOfCheckpoint {
    /// Print the stored checkpoint
    ///
    /// May run while the relay runs; it changes nothing.
    ///
    /// Exit codes: 0 printed, 1 there is none, or Kafka cannot be read, 2 bad usage or configuration.
    #[command(verbatim_doc_comment)]
    Show {
        /// Print the record as it is stored, one line of JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        overrides: Overrides,
    },

    /// Store another position, from which the next start reads on
    ///
    /// Says first what follows from it: what is relayed again, or left out. The rows that are relayed
    /// next begin a new generation of relay-sequence. Refuses while a relay of this name is running.
    ///
    /// Exit codes: 0 stored, 1 refused, or MySQL or Kafka cannot be asked, 2 bad usage or configuration.
    #[command(verbatim_doc_comment)]
    Set {
        /// earliest, latest, binlog.000012:4711, or the GTID set that counts as relayed
        #[arg(long, value_name = "POSITION", value_parser = position)]
        to: StartFrom,
        /// Fence a relay that is running, which then exits 3
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        overrides: Overrides,
    },

    /// Forget the stored position: the next start begins at mysql.start_from
    ///
    /// Refuses while a relay of this name is running.
    ///
    /// Exit codes: 0 forgotten, 1 refused, or there is none, or MySQL or Kafka cannot be asked,
    /// 2 bad usage or configuration.
    #[command(verbatim_doc_comment)]
    Reset {
        /// Fence a relay that is running, which then halts
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        overrides: Overrides,
    },
}

#[derive(Debug, Subcommand)]
enum AskedOfDeadLetters {
    /// Print a line for each dead letter that was not published again
    ///
    /// Reads the topics that [[outbox]] dead_letter_topic names, or {name}.dead-letter. Changes nothing.
    ///
    /// Exit codes: 0 printed, 1 Kafka cannot be read, 2 bad usage or configuration.
    #[command(verbatim_doc_comment)]
    List {
        /// Also those that were published again
        #[arg(long)]
        all: bool,
        /// Print a JSON array
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        overrides: Overrides,
    },

    /// Print all of a dead letter: its row, why it is one, and where it is
    ///
    /// Exit codes: 0 printed, 1 there is none of this number, or Kafka cannot be read, 2 bad usage or configuration.
    #[command(verbatim_doc_comment)]
    Show {
        /// Its relay-sequence, or the end of it
        #[arg(value_name = "NUMBER")]
        number: String,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        overrides: Overrides,
    },

    /// Publish the rows of dead letters again, once, by the current configuration
    ///
    /// Each row becomes a record of the current plan, with the relay-sequence that it had and the header
    /// dead-letter-replayed. A row that still cannot be a record stays a dead letter. May run while the relay runs.
    ///
    /// Exit codes: 0 all are published, 1 some stay, or MySQL or Kafka cannot be asked, 2 bad usage or configuration.
    #[command(verbatim_doc_comment)]
    Replay {
        /// The relay-sequence of each, or the end of it
        #[arg(value_name = "NUMBER", required_unless_present = "all", conflicts_with = "all")]
        numbers: Vec<String>,
        /// All that were not published again
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        overrides: Overrides,
    },
}

impl AskedOfDeadLetters {
    fn split(self) -> (DeadLetterCommand, Overrides) {
        match self {
            Self::List { all, json, overrides } => {
                (DeadLetterCommand::List { all, json }, overrides)
            }
            Self::Show { number, json, overrides } => {
                (DeadLetterCommand::Show { number, json }, overrides)
            }
            Self::Replay { numbers, overrides, .. } => {
                (DeadLetterCommand::Replay { numbers }, overrides)
            }
        }
    }
}

/// A GTID set may stand without the prefix that a configuration file needs.
fn position(text: &str) -> Result<StartFrom, coordinates::Error> {
    let as_configured = text.parse::<StartFrom>();
    match text.parse::<GtidSet>() {
        Ok(set) if as_configured.is_err() && !set.is_empty() => Ok(StartFrom::Gtid(set)),
        _ => as_configured,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Cli, clap::Error> {
        Cli::read_from(
            ["binlog-relay"].into_iter().chain(line.split_whitespace()).map(OsString::from),
        )
    }

    fn command(line: &str) -> Command {
        match read(line).unwrap().request {
            Request::Configured { command, .. } => command,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn globals_may_stand_before_and_after_the_command() {
        let expected = Cli {
            request: Request::Configured {
                command: Command::Run,
                config: "a.toml".into(),
                overrides: vec!["mysql.user=x=y".to_owned(), "name=b".to_owned()],
            },
            log_format: LogFormat::Json,
        };
        for line in [
            "run --config a.toml --log-format json --set mysql.user=x=y --set name=b",
            "-c a.toml --log-format json --set mysql.user=x=y --set name=b run",
            "-c a.toml --set=mysql.user=x=y run --log-format=json --set name=b",
        ] {
            assert_eq!(read(line).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn the_checkpoint_is_shown_for_people_or_as_json() {
        for (line, json) in [("checkpoint show -c a", false), ("-c a checkpoint show --json", true)]
        {
            assert_eq!(command(line), Command::CheckpointShow { json });
        }
        assert_eq!(read("run -c a").unwrap().log_format, LogFormat::Text);
    }

    #[test]
    fn a_checkpoint_is_set_to_a_place_or_a_gtid_set_and_reset() {
        const SET: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5";
        let gtid = StartFrom::Gtid(SET.parse().unwrap());
        let place = StartFrom::Coordinates("binlog.000012:4711".parse().unwrap());
        for (position, to) in [
            ("earliest", StartFrom::Earliest),
            ("latest", StartFrom::Latest),
            ("binlog.000012:4711", place),
            (SET, gtid.clone()),
            (&format!("gtid:{SET}"), gtid),
        ] {
            let line = format!("checkpoint set -c a --to {position}");
            let expected = Command::CheckpointSet { to, force: false };
            assert_eq!(command(&line), expected, "{line}");
        }
        let force = "-c a checkpoint set --force --to latest --set name=b";
        let expected = Command::CheckpointSet { to: StartFrom::Latest, force: true };
        assert_eq!(command(force), expected);
        for (line, force) in
            [("checkpoint reset -c a", false), ("checkpoint reset -c a --force", true)]
        {
            assert_eq!(command(line), Command::CheckpointReset { force });
        }
    }

    #[test]
    fn a_check_answers_people_or_programs() {
        for (line, json) in [("check -c a", false), ("-c a check --json --set name=b", true)] {
            assert_eq!(command(line), Command::Check { json });
        }
    }

    #[test]
    fn files_are_decoded_with_a_configuration_or_without() {
        let request = read("decode b.000001 b.000002 --table t --from b.000002:4 --json").unwrap();
        let asked = decode::Asked {
            files: vec!["b.000001".into(), "b.000002".into()],
            table: Some(decode::Tables::Named("t".to_owned())),
            from: Some(decode::From { file: Some("b.000002".to_owned()), offset: 4 }),
            json: true,
        };
        let expected = Request::Decode { asked, config: None, overrides: Vec::new() };
        assert_eq!(request.request, expected);
        let request = read("-c a decode b.000001 --from 157 --set name=x").unwrap().request;
        let Request::Decode { asked, config, overrides } = request else { panic!("{request:?}") };
        assert_eq!(asked.from, Some(decode::From { file: None, offset: 157 }));
        assert_eq!((config, overrides), (Some("a".into()), vec!["name=x".to_owned()]));
    }

    #[test]
    fn rows_of_a_table_or_a_given_one_are_explained() {
        use explain::{Asked, Rows};
        for (line, table, rows, json) in [
            ("explain -c a", None, Rows::Last(5), false),
            ("explain -c a --table t --last 9 --json", Some("t"), Rows::Last(9), true),
            ("explain -c a --row {}", None, Rows::Given("{}".to_owned()), false),
        ] {
            let asked = Asked { table: table.map(str::to_owned), rows };
            assert_eq!(command(line), Command::Explain { asked, json }, "{line}");
        }
    }

    #[test]
    fn a_schema_needs_no_configuration() {
        let request = read("schema --preset eventuate-tram").unwrap().request;
        assert_eq!(request, Request::Schema { preset: "eventuate-tram".to_owned() });
    }

    #[test]
    fn an_import_needs_no_configuration() {
        for (name, program) in [("debezium", Program::Debezium), ("eventuate", Program::Eventuate)]
        {
            let request = read(&format!("import {name} a.json")).unwrap().request;
            assert_eq!(request, Request::Import { program, file: "a.json".into() });
        }
    }

    #[test]
    fn wrong_usage_exits_with_2() {
        for line in [
            "",
            "run",
            "checkpoint -c a",
            "checkpoint show",
            "-c a",
            "run -c a extra",
            "run -c a --set",
            "run -c a --log-format xml",
            "start -c a",
            "check",
            "check extra -c a",
            "explain",
            "explain -c a --last 0",
            "decode",
            "decode b.000001 --from yesterday",
            "decode b.000001 --table a.b.c",
            "explain -c a --last 1 --row {}",
            "schema",
            "schema --preset",
            "import",
            "import debezium",
            "import maxwell a.properties",
            "checkpoint forget -c a",
            "checkpoint set -c a",
            "checkpoint set --to earliest",
            "checkpoint set -c a --to yesterday",
            "checkpoint set -c a --to snapshot",
            "checkpoint set -c a --to gtid:",
            "checkpoint set -c a --to binlog.000012:3",
            "checkpoint set -c a --to binlog.000012",
            "checkpoint set -c a --to binlog.000012:-5",
            "checkpoint set -c a --to 3e11fa47-71ca-11e1-9e33-c80aa9429562:0",
            "checkpoint set -c a --to earliest --json",
            "checkpoint reset -c a --to earliest",
            "run -c a -c b",
        ] {
            assert_eq!(read(line).unwrap_err().exit_code(), 2, "{line}");
        }
        let message = read("run").unwrap_err().to_string();
        assert!(message.contains("BINLOG_RELAY_CONFIG"), "{message}");
    }

    #[test]
    fn help_and_version_need_no_configuration() {
        for line in [
            "--help",
            "-h",
            "--version",
            "run --help",
            "check --help",
            "explain --help",
            "decode --help",
            "schema --help",
            "import --help",
            "checkpoint --help",
            "checkpoint show --help",
            "checkpoint set --help",
            "checkpoint reset --help",
        ] {
            assert_eq!(read(line).unwrap_err().exit_code(), 0, "{line}");
        }
        let version = read("--version").unwrap_err().to_string();
        assert_eq!(version.trim(), concat!("binlog-relay ", env!("CARGO_PKG_VERSION")));
        let help = read("run --help").unwrap_err().to_string();
        for word in ["--config", "--set", "--log-format", "Exit codes", "BINLOG_RELAY_CONFIG"] {
            assert!(help.contains(word), "{word} is not in: {help}");
        }
    }

    #[test]
    fn the_environment_stands_in_for_two_arguments() {
        let command = Arguments::command();
        let variable = |id: &str| {
            let argument = command.get_arguments().find(|argument| argument.get_id() == id);
            argument.unwrap().get_env().map(|name| name.to_str().unwrap())
        };
        assert_eq!(variable("config"), Some("BINLOG_RELAY_CONFIG"));
        assert_eq!(variable("log_format"), Some("BINLOG_RELAY_LOG_FORMAT"));
        assert_eq!(variable("given"), None);
    }
}
