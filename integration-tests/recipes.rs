//! The recipes of docs/recipes.md make the records that the page shows. Tables, configuration, statements and records are
//! read from the page itself.

use std::collections::BTreeMap;

use harness::consumer::{Inbox, Record};
use harness::relay::{RelaySetup, SOON};
use harness::scene::Scene;
use harness::sql::Sql;

const PAGE: &str = include_str!("../docs/recipes.md");

/// What the page calls the database. Topics have it in their names as well.
const DATABASE: &str = "shop";

/// Recipes that the page must have, by their headings.
const RECIPES: [&str; 12] = [
    "Debezium",
    "Eventuate",
    "Rails",
    "Laravel",
    "Spring Modulith",
    "Axon",
    "MassTransit",
    "gruelbox transaction-outbox",
    "namastack outbox",
    "NServiceBus",
    "Tracing",
    "Framed values",
];

/// The fenced blocks of one section, in the order of the page.
#[derive(Debug, Default)]
struct Recipe {
    tables: Vec<String>,
    config: String,
    statements: Vec<String>,
    records: Vec<String>,
}

/// All recipes by their headings. `name` stands for the page's database.
fn recipes(name: &str) -> BTreeMap<&'static str, Recipe> {
    let mut recipes: BTreeMap<&str, Recipe> = BTreeMap::new();
    let mut heading = "";
    let mut lines = PAGE.lines();
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix("## ") {
            heading = title;
        }
        let Some(language) = line.strip_prefix("```") else { continue };
        let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
        let block = block.join("\n").replace(DATABASE, name);
        let recipe = recipes.entry(heading).or_default();
        match language {
            "sql" if block.starts_with("CREATE") => recipe.tables.push(block),
            "sql" => recipe.statements.push(block),
            "toml" => recipe.config.push_str(&format!("{block}\n")),
            "text" => recipe.records.push(block),
            _ => {}
        }
    }
    recipes
}

fn run_all(sql: &mut Sql, block: &str) {
    block.trim_end_matches(';').split(";\n").for_each(|statement| sql.run(statement));
}

/// A record as the page writes it.
fn shown(record: &Record) -> String {
    let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) if !bytes.contains(&0) => text.to_owned(),
        _ => format!("x'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    };
    let mut lines = vec![format!("topic {}", record.topic)];
    lines.extend(record.key.as_deref().map(|key| format!("key {}", text(key))));
    let (own, headers) = record.headers.split_first().expect("a header");
    assert_eq!(own.0, "relay-sequence");
    lines.extend(headers.iter().map(|(name, value)| format!("header {name}: {}", text(value))));
    lines.extend(record.value.as_deref().map(|value| format!("value {}", text(value))));
    lines.join("\n")
}

/// Holds a record against the page: `…` stands for any text, and a line `timestamp` is the record's own.
fn assert_shown(record: &Record, due: &str) {
    let is_timestamp = |line: &&str| line.starts_with("timestamp ");
    if let Some(line) = due.lines().find(is_timestamp) {
        let is = record.made_at.map(|millis| format!("timestamp {millis}"));
        assert_eq!(is.as_deref(), Some(line), "{due}");
    }
    let due: Vec<_> = due.lines().filter(|line| !is_timestamp(line)).collect();
    let due = due.join("\n");
    let is = shown(record);
    match due.split_once('…') {
        Some((before, behind)) => {
            assert!(is.starts_with(before) && is.ends_with(behind), "{is}\nnot\n{due}");
        }
        None => assert_eq!(is, due),
    }
}

#[test]
fn every_recipe_makes_the_records_that_its_page_shows() {
    let scene = Scene::on_shared_servers("recipes");
    let recipes = recipes(&scene.name);
    let mut sql = scene.sql();
    sql.run("SET time_zone = '+00:00'");
    sql.run("DROP TABLE events, message");
    sql.run(format!("CREATE DATABASE {}_old", scene.name));
    sql.run(format!("GRANT SELECT ON {}_old.* TO relay@'%'", scene.name));
    let mut config = RelaySetup { outboxes: Vec::new(), ..scene.relay_setup() };
    let mut due = Vec::new();
    for name in RECIPES {
        let recipe = recipes.get(name).unwrap_or_else(|| panic!("there is no recipe {name}"));
        assert!(!recipe.records.is_empty() && !recipe.statements.is_empty(), "{name}");
        recipe.tables.iter().for_each(|block| run_all(&mut sql, block));
        config.batch_lines.extend(recipe.config.lines().map(str::to_owned));
        due.extend(recipe.records.iter().cloned());
    }
    config.batch_lines.insert(0, "max_records = 1000".to_owned());
    let mut relay = config.start();
    for recipe in RECIPES.map(|name| &recipes[name]) {
        recipe.statements.iter().for_each(|block| run_all(&mut sql, block));
    }
    for due in &due {
        let topic = due.lines().next().and_then(|line| line.strip_prefix("topic "));
        let topic = topic.expect("a record begins with its topic");
        let mut inbox = Inbox::open(&scene.kafka, topic, scene.delivery.isolation());
        relay.wait_until_came(&mut inbox, 1, SOON);
        let records = inbox.take_what_came();
        assert_eq!(records.len(), 1, "{topic}: {records:?}");
        assert_shown(&records[0], due);
    }
    every_byte_passes(&scene, &mut sql, &relay);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    let stored = scene.checkpoint().expect("a checkpoint");
    assert_eq!(stored["sequence"], due.len() as u64 + 4, "nothing else was relayed: {stored}");
}

/// Framed values of every byte, of none and of a megabyte come as they are, and NULL is a tombstone.
fn every_byte_passes(scene: &Scene, sql: &mut Sql, relay: &harness::relay::Relay) {
    let every: Vec<u8> = [0, 0, 0, 0, 7].into_iter().chain(0..=255).collect();
    let large: Vec<u8> = every.iter().copied().cycle().take(900_000).collect();
    let values = [Some(every), Some(Vec::new()), Some(large), None];
    let topic = scene.topic("bytes");
    for value in &values {
        sql.run_with(
            "INSERT INTO framed (topic, record_key, value) VALUES (?, '7', ?)",
            (&topic, value),
        );
    }
    let mut inbox = Inbox::open(&scene.kafka, &topic, scene.delivery.isolation());
    relay.wait_until_came(&mut inbox, values.len(), SOON);
    let mut records = inbox.take_what_came().to_vec();
    records.sort_by_key(|record| record.headers[0].1.clone());
    for (record, value) in records.iter().zip(&values) {
        assert!(record.value == *value, "a value of {:?} bytes", value.as_ref().map(Vec::len));
        assert_eq!(record.header("content-type"), Some(&b"application/vnd.confluent.avro"[..]));
    }
}
