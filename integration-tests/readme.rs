//! What README.md says to do works as it is written: its SQL, its configuration and its consumer in Java, with this
//! test's addresses and names in the place of the example's.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use harness::eventuate::servers_directory;
use harness::process::Process;
use harness::relay::{SOON, relay_command};
use harness::scene::Scene;
use harness::{say, watchdog};

const README: &str = include_str!("../README.md");
const PASSWORD: &str = "of the readme";

#[test]
fn the_steps_of_the_readme_relay_a_row_to_its_consumer_in_java() {
    let jars = servers_directory().join("kafka/lib");
    if !jars.is_dir() {
        say("Kafka's jars are not on this machine: the README's consumer was NOT RUN");
        return;
    }
    let scene = Scene::on_shared_servers("readme");
    let directory = watchdog::fresh_directory("readme");
    make_user(&scene);
    let config = directory.join("config.toml");
    fs::write(&config, configuration(&scene)).expect("write the configuration");
    let command = |name: &str| {
        let mut command = relay_command();
        command.arg(name).arg("--config").arg(&config).env("MYSQL_PASSWORD", PASSWORD);
        command
    };
    let check = command("check").output().expect("run the relay");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
    let relay = Process::start("the relay", &mut command("run"), directory.join("relay.log"));

    let topic = scene.create_topic("Account");
    scene.sql().run(format!(
        "INSERT INTO events (event_id, event_type, event_data, entity_type, entity_id) \
         VALUES ('event-1', 'Opened', '{{}}', '{topic}', 'acc-1')"
    ));
    let consumer = start_consumer(&scene, &jars, &directory);
    let due =
        format!(" acc-1 {{\"id\":\"event-1\",\"entityId\":\"acc-1\",\"entityType\":\"{topic}\"");
    let line = wait_for_line(&consumer, &due).unwrap_or_else(|| {
        panic!("the consumer printed no {due}\n{}\n{}", consumer.log_tail(), relay.log_tail())
    });
    let sequence = format!("{}:", scene.name);
    assert!(line.starts_with(&sequence) && line.contains("-0000000000000001 "), "{line}");
    scene.sql().run(format!("DROP USER {}@'%'", scene.name));
}

/// Step 2.
fn make_user(scene: &Scene) {
    let statements = with(
        &block("sql"),
        &[("relay@'%'", &format!("{}@'%'", scene.name)), ("'…'", &format!("'{PASSWORD}'"))],
    );
    let statements = with(&statements, &[("eventuate.*", &format!("{}.*", scene.name))]);
    let mut sql = scene.sql();
    statements.split_terminator(";\n").for_each(|statement| sql.run(statement));
}

/// Step 3; the shared servers have more in their binlogs than one row.
fn configuration(scene: &Scene) -> String {
    let login = scene.mysql.login();
    let place = scene.start.to_string();
    let kafka =
        format!("{}\"\ncheckpoint_topic = \"{}", scene.kafka.bootstrap(), scene.checkpoint_topic());
    with(
        &block("toml"),
        &[
            ("orders", &scene.name),
            ("db.example.org:3306", &format!("{}:{}", login.host, login.port)),
            ("\"relay\"", &format!("\"{}\"", scene.name)),
            ("earliest", &place),
            ("kafka-1.example.org:9092", &kafka),
            ("eventuate.events", &format!("{}.events", scene.name)),
        ],
    )
}

fn start_consumer(scene: &Scene, jars: &Path, directory: &Path) -> Process {
    let source = with(
        &block("java"),
        &[
            ("kafka-1.example.org:9092", scene.kafka.bootstrap()),
            ("\"Account\"", &format!("\"{}\"", scene.topic("Account"))),
            ("\"accounts\"", &format!("\"{}\"", scene.name)),
        ],
    );
    let file = directory.join("Accounts.java");
    fs::write(&file, source).expect("write the consumer");
    let mut java = Command::new("java");
    java.arg("-cp").arg(jars.join("*")).arg(&file);
    Process::start("the README's consumer", &mut java, directory.join("consumer.log"))
}

fn wait_for_line(consumer: &Process, words: &str) -> Option<String> {
    let deadline = Instant::now() + SOON;
    while Instant::now() < deadline {
        let log = consumer.log();
        if let Some(line) = log.lines().find(|line| line.contains(words)) {
            return Some(line.to_owned());
        }
        thread::sleep(Duration::from_millis(50));
    }
    None
}

/// The one block of code of this language.
fn block(language: &str) -> String {
    let fence = format!("```{language}\n");
    let mut blocks = README.split(&fence).skip(1);
    let block = blocks.next().unwrap_or_else(|| panic!("the README has no {language}"));
    assert!(blocks.next().is_none(), "the README has more than one block of {language}");
    block.split_once("```").expect("a block ends").0.to_owned()
}

/// With other texts in the place of the example's, all of which must be there.
fn with(text: &str, others: &[(&str, &str)]) -> String {
    others.iter().fold(text.to_owned(), |text, (old, new)| {
        assert!(text.contains(old), "no {old} in {text}");
        text.replace(old, new)
    })
}
