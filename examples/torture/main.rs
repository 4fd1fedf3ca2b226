//! The torture: the SQL statements of a server's own regression tests run on a MySQL of its own, while a relay
//! follows an outbox there. It must not halt, and each row of the outbox must arrive once. Run by `make torture`,
//! which fetches the tests first.

mod filter;
mod scripts;
mod session;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use harness::consumer::Inbox;
use harness::relay::Relay;
use harness::scene::{EVENTUATE_LOCAL, Scene};
use harness::servers::{MySql, RELAY_USER, shared_kafka};
use harness::sql::Sql;
use harness::workload::PlainWriter;

use crate::filter::Reason;
use crate::session::{Outcome, Session};

/// Begins the name of the outbox's database; no statement that has this word is sent.
const OUTBOX: &str = "torture";
/// An account that repairs the others.
const KEEPER: &str = "keeper";
/// Statements between two rows of the outbox.
const STATEMENTS_A_ROW: usize = 20;
const ARRIVES_WITHIN: Duration = Duration::from_secs(120);
/// A session is tried for so often: the server may be gone, and the database as well.
const CONNECTS: usize = 4;
/// Files between two lines that say how far it is.
const FILES_A_LINE: usize = 25;
/// Comments that a migration tool may put before a statement. One statement of four gets one.
const COMMENTS: [&str; 8] = [
    "-- begin\n",
    "# commit\n",
    "/* rollback */ ",
    "/*!50000 */ ",
    "-- insert into torture.events\n",
    "# savepoint `\n",
    "-- xa start it's\n",
    "/* 99999 \" */",
];

#[derive(Parser)]
#[command(about = "Runs the statements of regression tests while a relay follows an outbox")]
struct Arguments {
    /// How many files are run, unless the minutes are over before
    #[arg(long, default_value_t = 200)]
    files: usize,
    /// Files before these in the same order are left out
    #[arg(long, default_value_t = 0)]
    skip: usize,
    /// For how many minutes at most files are begun
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Decides which files and comments
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// mysql-8.0, mysql-5.7 or mysql-9
    #[arg(long, default_value = "mysql-8.0")]
    version: String,
    /// Whether transactions have GTIDs, with which the server refuses some statements
    #[arg(long)]
    gtids: bool,
    /// How long a statement may take, in milliseconds
    #[arg(long, default_value_t = 2_000)]
    statement_ms: u64,
    /// How long a file may take, in seconds
    #[arg(long, default_value_t = 20)]
    file_seconds: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut torture = Torture::start(&arguments);
    let halted = torture.run_files(&arguments);
    torture.conclude(halted)
}

/// How many statements came to which end.
#[derive(Debug, Default)]
struct Tally {
    files: usize,
    done: usize,
    refused: usize,
    too_long: usize,
    lost: usize,
    crashes: usize,
    commands: usize,
    variables: usize,
    beyond_time: usize,
    left_out: BTreeMap<Reason, usize>,
}

struct Torture {
    scene: Scene,
    keeper: Sql,
    writer: PlainWriter,
    inbox: Inbox,
    relay: Relay,
    rows: usize,
    tally: Tally,
    random: ChaCha8Rng,
    /// How the sessions of a file log their changes.
    format: &'static str,
    begun: Instant,
}

impl Torture {
    fn start(arguments: &Arguments) -> Torture {
        println!("starting MySQL and Kafka …");
        let mut options = vec![
            "--log-bin-trust-function-creators=1",
            "--lock-wait-timeout=2",
            "--innodb-lock-wait-timeout=1",
            "--event-scheduler=OFF",
            "--max-binlog-size=16M",
        ];
        if !arguments.gtids {
            options.extend(["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"]);
        }
        let mysql = Arc::new(MySql::start(&arguments.version, &options));
        let mut keeper = mysql.connect();
        keeper.run(format!("CREATE USER '{KEEPER}'@'%' IDENTIFIED BY '{KEEPER}'"));
        keeper.run(format!("GRANT ALL ON *.* TO '{KEEPER}'@'%' WITH GRANT OPTION"));
        let scene = Scene::on(mysql, shared_kafka(), OUTBOX);
        let mut setup = scene.relay_setup();
        setup.outboxes = vec![scene.outbox("events", EVENTUATE_LOCAL)];
        let relay = setup.start();
        Torture {
            keeper,
            writer: PlainWriter::on(&scene),
            inbox: scene.inbox(),
            relay,
            rows: 0,
            tally: Tally::default(),
            random: ChaCha8Rng::seed_from_u64(arguments.seed),
            format: "ROW",
            begun: Instant::now(),
            scene,
        }
    }

    /// Runs files until there are enough, or the relay has ended. Answers whether it has.
    fn run_files(&mut self, arguments: &Arguments) -> bool {
        let folder = std::env::var_os("BINLOG_RELAY_SERVERS_DIR").map(PathBuf::from);
        let folder =
            folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".servers"));
        let files = scripts::shuffled(&folder.join("mariadb-test-data/tests"), arguments.seed);
        let minutes = Duration::from_secs(60 * arguments.minutes);
        println!("{} files are there; seed {}", files.len(), arguments.seed);
        for path in files.iter().skip(arguments.skip).take(arguments.files) {
            if self.begun.elapsed() > minutes {
                println!("the {} minutes are over", arguments.minutes);
                break;
            }
            self.run_file(path, arguments);
            if self.tally.files.is_multiple_of(FILES_A_LINE) {
                let (seconds, rows) = (self.begun.elapsed().as_secs(), self.rows);
                let Tally { files, done, .. } = &self.tally;
                println!(
                    "{seconds} s: {files} files, {done} statements, {rows} rows of the outbox"
                );
            }
            if !self.follows() {
                println!("the relay does not follow behind {}", path.display());
                println!("{}", self.relay.log_tail());
                return true;
            }
        }
        false
    }

    fn run_file(&mut self, path: &Path, arguments: &Arguments) {
        let bytes =
            std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let script = scripts::statements(&bytes);
        self.tally.files += 1;
        self.tally.commands += script.commands;
        self.tally.variables += script.variables;
        let deadline = Instant::now() + Duration::from_secs(arguments.file_seconds);
        let database = format!("file_{}", self.tally.files);
        self.format = if self.random.random_bool(0.5) { "STATEMENT" } else { "ROW" };
        self.keeper.run(format!("CREATE DATABASE {database}"));
        self.keeper.run("CREATE DATABASE IF NOT EXISTS test");
        let mut session = self.open_session(&database, b"");
        for (number, statement) in script.statements.iter().enumerate() {
            if number.is_multiple_of(STATEMENTS_A_ROW) {
                self.write_row();
            }
            if Instant::now() > deadline {
                self.tally.beyond_time += script.statements.len() - number;
                break;
            }
            if let Some(reason) = filter::reason(statement) {
                *self.tally.left_out.entry(reason).or_default() += 1;
                continue;
            }
            let statement = self.commented(statement);
            let outcome = session.run(&statement, Duration::from_millis(arguments.statement_ms));
            self.note(outcome);
            if matches!(outcome, Outcome::TooLong | Outcome::Lost) {
                session.kill(&mut self.keeper);
                session = self.open_session(&database, &statement);
            }
        }
        session.kill(&mut self.keeper);
        self.write_row();
        self.repair();
    }

    /// A session in the database; if the server is gone, it is started again. `after` is what was sent last.
    fn open_session(&mut self, database: &str, after: &[u8]) -> Session {
        let login = self.scene.mysql.login().clone();
        for _ in 0..CONNECTS {
            match Session::open(&login, database, self.format) {
                Ok(session) => return session,
                Err(mysql_async::Error::Server(_)) => {
                    // The statement dropped the database.
                    let _ =
                        self.keeper.try_run(&format!("CREATE DATABASE IF NOT EXISTS {database}"));
                }
                Err(_) => {
                    println!("the server crashed on: {}", String::from_utf8_lossy(after));
                    self.tally.crashes += 1;
                    self.scene.mysql.kill();
                    self.scene.mysql.start_again();
                    self.keeper = self.scene.mysql.connect();
                    self.writer.sql = self.scene.sql();
                }
            }
        }
        panic!("no session in {database} after {}", String::from_utf8_lossy(after));
    }

    fn commented(&mut self, statement: &[u8]) -> Vec<u8> {
        let comment = if self.random.random_ratio(1, 4) {
            COMMENTS[self.random.random_range(0..COMMENTS.len())]
        } else {
            ""
        };
        [comment.as_bytes(), statement].concat()
    }

    fn note(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Done => &mut self.tally.done,
            Outcome::Refused => &mut self.tally.refused,
            Outcome::TooLong => &mut self.tally.too_long,
            Outcome::Lost => &mut self.tally.lost,
        } += 1;
    }

    fn write_row(&mut self) {
        self.writer.write(1);
        self.rows += 1;
    }

    /// Takes away what the file left behind, and gives back what it took.
    fn repair(&mut self) {
        let prepared: Vec<(i64, i64, i64, String)> = self.keeper.query("XA RECOVER CONVERT XID");
        for (format_id, global_len, _, data) in prepared {
            let (global, branch) = data["0x".len()..].split_at(2 * global_len as usize);
            let _ =
                self.keeper.try_run(&format!("XA ROLLBACK X'{global}', X'{branch}', {format_id}"));
        }
        let databases: Vec<String> = self.keeper.query(format!(
            "SELECT schema_name FROM information_schema.schemata WHERE schema_name NOT IN \
             ('mysql', 'sys', 'information_schema', 'performance_schema', '{}')",
            self.scene.name
        ));
        for database in databases {
            let _ =
                self.keeper.try_run(&format!("DROP DATABASE `{}`", database.replace('`', "``")));
        }
        let users: Vec<(String, String)> = self.keeper.query(format!(
            "SELECT user, host FROM mysql.user WHERE user NOT IN ('root', '{KEEPER}', '{RELAY_USER}') \
             AND user NOT LIKE 'mysql.%'"
        ));
        for (user, host) in users {
            let _ =
                self.keeper.try_run(&format!("DROP USER '{}'@'{host}'", user.replace('\'', "''")));
        }
    }

    /// Waits for the rows that were written.
    fn follows(&mut self) -> bool {
        let deadline = Instant::now() + ARRIVES_WITHIN;
        while Instant::now() < deadline && !self.relay.has_ended() {
            if self.inbox.wait_for(self.rows, Duration::from_secs(1)).is_ok() {
                return true;
            }
        }
        false
    }

    fn conclude(mut self, halted: bool) -> ExitCode {
        let is_drained = !halted && self.relay.stop() == 0;
        println!("{:.1} min", self.begun.elapsed().as_secs_f64() / 60.0);
        self.tally.print();
        let mut arrived = BTreeMap::<String, usize>::new();
        for record in self.scene.records() {
            let value: serde_json::Value =
                serde_json::from_str(&record.value_text()).expect("a record is JSON");
            *arrived.entry(value["id"].to_string()).or_default() += 1;
        }
        let repeated = arrived.values().filter(|times| **times > 1).count();
        let (written, arrived) = (self.rows, arrived.len());
        let missing = written.saturating_sub(arrived);
        println!(
            "rows of the outbox: {written} written, {arrived} arrived, {repeated} repeated, {missing} lost"
        );
        if is_drained && repeated == 0 && missing == 0 {
            return ExitCode::SUCCESS;
        }
        println!("FAILED: the relay halted, fell behind, or did not relay each row once");
        ExitCode::FAILURE
    }
}

impl Tally {
    fn print(&self) {
        let Tally { files, done, refused, too_long, lost, crashes, .. } = self;
        let Tally { commands, variables, beyond_time, .. } = self;
        println!("files: {files} run; the server crashed {crashes} times");
        println!(
            "statements: {done} done, {refused} refused by the server, {too_long} stopped, {lost} lost a connection"
        );
        println!(
            "left out: {commands} commands of the runner, {variables} statements with variables, {beyond_time} \
             statements of files that took too long"
        );
        for (reason, count) in &self.left_out {
            println!("left out: {count} statements: {reason}");
        }
    }
}
