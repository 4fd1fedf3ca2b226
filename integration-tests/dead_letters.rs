//! Rows that cannot be records, and records that their topics do not take: dead letters and claim checks.

use std::time::Duration;

use harness::consumer::{Inbox, Isolation, Record};
use harness::kafka::{create_topic, set_topic_config, topic_config};
use harness::relay::{Outbox, Relay, RelaySequence, RelaySetup, SOON};
use harness::scene::{Delivery, Scene};
use harness::workload::incompressible_text;
use serde_json::{Value, json};

const DELIVERIES: [Delivery; 2] = [Delivery::ExactlyOnce, Delivery::Idempotent];

const TABLE: &str = "CREATE TABLE orders (
   id INT PRIMARY KEY, topic VARCHAR(300), who VARCHAR(20), shard VARCHAR(20),
   kind ENUM('a', '\u{1f600}'), body MEDIUMTEXT, extra VARBINARY(20)
 ) CHARACTER SET utf8mb4";

/// The outbox of these tests, with these lines more.
fn outbox(scene: &Scene, more: &[&str]) -> Outbox {
    let mut lines: Vec<String> = [
        "topic = \"{topic}\"",
        "key = \"{who}\"",
        "value = \"{body}\"",
        "headers = { kind = \"{kind}\" }",
        "partition = \"{shard}\"",
    ]
    .map(str::to_owned)
    .into();
    lines.extend(more.iter().map(|line| (*line).to_owned()));
    lines.push(format!("dead_letter_topic = \"{}\"", letters(scene)));
    Outbox { lines, ..scene.outbox("orders", "custom") }
}

fn letters(scene: &Scene) -> String {
    scene.topic("letters")
}

fn start(scene: &Scene, more: &[&str]) -> Relay {
    let mut setup = scene.relay_setup();
    setup.outboxes = vec![outbox(scene, more)];
    setup.start()
}

/// All records of the relay by number, once so many have come, and none after them.
fn records(scene: &Scene, relay: &mut Relay, count: usize) -> Vec<Record> {
    let prefix = scene.topic("");
    let mut inbox = Inbox::open(&scene.kafka, &prefix, scene.delivery.isolation());
    relay.wait_until_came(&mut inbox, count, SOON);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    let mut records = Inbox::read_all(&scene.kafka, &prefix, scene.delivery.isolation());
    records.sort_by_key(|record| RelaySequence::of(record).sequence);
    let numbers: Vec<_> = records.iter().map(|it| RelaySequence::of(it).sequence).collect();
    assert_eq!(numbers, (1..=count as u64).collect::<Vec<_>>(), "{}", relay.log_tail());
    records
}

fn text_of(record: &Record, header: &str) -> Option<String> {
    record.header(header).map(|value| String::from_utf8(value.to_vec()).expect("text"))
}

fn json_of(record: &Record) -> Value {
    serde_json::from_str(&record.value_text()).expect("JSON")
}

/// Inserts a row with these values, as SQL.
fn insert(scene: &Scene, rows: &[String]) {
    let mut sql = scene.sql();
    sql.run(format!("INSERT INTO orders VALUES {}", rows.join(", ")));
}

#[test]
fn a_row_that_cannot_be_a_record_is_a_dead_letter_that_takes_its_number() {
    for delivery in DELIVERIES {
        let scene = Scene::on_shared_servers("dead_letter").with(delivery);
        scene.sql().run(TABLE);
        let mut setup = scene.setup_with_http();
        setup.outboxes = vec![outbox(&scene, &["on_error = \"dead-letter\""])];
        let mut relay = setup.start();
        let topic = scene.topic("orders");
        let rows = [
            format!("(1, '{topic}', 'ann', '0', 'a', 'one', NULL)"),
            "(2, NULL, 'bob', '1', 'a', 'two', x'00ff')".to_owned(),
            "(3, 'no topic', NULL, '1', 'a', 'three', NULL)".to_owned(),
            format!("(4, '{topic}', 'cid', 'east', 'a', 'fo\\'u\"r', NULL)"),
            format!("(5, '{topic}', 'dan', '2', '\u{1f600}', 'five', NULL)"),
            format!("(6, '{topic}', 'ann', '0', 'a', 'six', NULL)"),
        ];
        insert(&scene, &rows);
        scene.sql().run("UPDATE orders SET topic = 'mended'");
        let http = relay.http();
        let records_before = scene.wait_for_records(&relay, 6);
        assert_eq!(records_before.len(), 6);
        let metrics = http.get("/metrics").body;
        for (reason, count) in
            [("null", 1), ("topic", 1), ("template", 1), ("not-text", 1), ("size", 0)]
        {
            let line = format!("binlog_relay_dead_letters_total{{reason=\"{reason}\"}} {count}");
            assert!(metrics.lines().any(|is| is == line), "{line}: {metrics}");
        }
        let status: Value = serde_json::from_str(&http.get("/status").body).expect("JSON");
        assert_eq!(status["records"]["relayed"], 6);
        assert_eq!(status["records"]["failed"], 4);
        let records = records(&scene, &mut relay, 6);
        let letters = letters(&scene);
        let topics: Vec<_> = records.iter().map(|it| &*it.topic).collect();
        let (topic, letters) = (&*topic, &*letters);
        assert_eq!(topics, [topic, letters, letters, letters, letters, topic]);
        for (record, reason, meant, key) in [
            (&records[1], "null", None, Some("bob")),
            (&records[2], "topic", None, None),
            (&records[3], "template", Some(topic), Some("cid")),
            (&records[4], "not-text", Some(topic), Some("dan")),
        ] {
            assert_eq!(text_of(record, "dead-letter-reason").as_deref(), Some(reason));
            assert_eq!(text_of(record, "dead-letter-topic").as_deref(), meant, "{reason}");
            assert_eq!(record.key.as_ref().map(|_| record.key_text()).as_deref(), key);
        }
        let two = json_of(&records[1]);
        assert_eq!(two["table"], format!("{}.orders", scene.name));
        assert_eq!(
            two["row"],
            json!({"id": 2, "topic": null, "who": "bob", "shard": "1", "kind": "a", "body": "two", "extra": "AP8="})
        );
        assert_eq!(two["error"], "column topic: it is NULL where a record needs a value");
        assert_eq!(two["sequence"], 2);
        assert_eq!(two["position"]["rowsToSkip"], 1);
        assert!(two["position"]["offset"].as_u64() > Some(0), "{two}");
        assert_eq!(json_of(&records[3])["row"]["body"], "fo'u\"r");
        assert_eq!(json_of(&records[4])["row"]["kind"], json!({"base64": "Ag=="}));
        assert_eq!(topic_config(&scene.kafka, letters, "retention.ms"), "-1");
    }
}

#[test]
fn what_cannot_be_a_record_may_become_a_dead_letter_after_it_has_halted_the_relay() {
    for delivery in DELIVERIES {
        let scene = Scene::on_shared_servers("letter_later").with(delivery);
        scene.sql().run(TABLE);
        let topic = scene.topic("orders");
        // A part of the transaction is in Kafka when the relay halts.
        let mut rows: Vec<_> =
            (1..=40).map(|id| format!("({id}, '{topic}', 'ann', '0', 'a', 'x', NULL)")).collect();
        rows[30] = "(31, NULL, 'bob', '1', 'a', 'two', NULL)".to_owned();
        insert(&scene, &rows);
        let mut setup = scene.relay_setup();
        setup.batch_lines = vec!["max_records = 10".to_owned()];
        let lines = outbox(&scene, &["on_error = \"dead-letter\""]);
        let halting = lines.lines.iter().filter(|line| !line.contains("dead")).cloned().collect();
        setup.outboxes = vec![Outbox { lines: halting, ..lines.clone() }];
        let mut relay = setup.start();
        assert!(relay.halts().contains("column topic"), "{}", relay.log_tail());
        setup.outboxes = vec![lines];
        let mut relay = setup.start();
        let records = records(&scene, &mut relay, 40);
        assert_eq!(text_of(&records[30], "dead-letter-reason").as_deref(), Some("null"));
    }
}

/// Three rows that their topic does not take, among others, in two transactions.
fn insert_large(scene: &Scene, topic: &str) {
    let row = |id: u32, body: &str| format!("({id}, '{topic}', 'ann', '0', 'a', '{body}', x'01')");
    let large = |id| row(id, &incompressible_text(150_000));
    insert(scene, &[row(1, "one"), large(2), row(3, "three"), large(4)]);
    insert(scene, &[large(5), row(6, "six")]);
}

#[test]
fn a_record_above_the_limit_of_its_topic_is_a_claim_check_in_its_place() {
    for delivery in DELIVERIES {
        let scene = Scene::on_shared_servers("claim_check").with(delivery);
        scene.sql().run(TABLE);
        let topic = scene.topic("orders");
        create_topic(&scene.kafka, &topic, 1, &[("max.message.bytes", "100000")]);
        let mut setup = scene.relay_setup();
        let mut lines = outbox(&scene, &["oversize = \"claim-check\""]);
        lines.lines.retain(|line| !line.contains("dead_letter_topic"));
        setup.outboxes = vec![lines];
        let mut relay = setup.start();
        insert_large(&scene, &topic);
        let records = records(&scene, &mut relay, 6);
        for (index, record) in records.iter().enumerate() {
            let is_large = [1, 3, 4].contains(&index);
            assert_eq!((&*record.topic, &*record.key_text()), (&*topic, "ann"));
            assert_eq!(text_of(record, "kind").as_deref(), Some("a"));
            assert_eq!(text_of(record, "claim-check"), is_large.then(|| "true".to_owned()));
            if is_large {
                let check = json_of(record);
                let check = &check["claimCheck"];
                assert_eq!(check["table"], format!("{}.orders", scene.name));
                assert_eq!(check["primaryKey"], json!({"id": index + 1}));
                assert_eq!(check["bytes"], 150_000);
                assert!(check["position"]["binlogFilename"].is_string(), "{check}");
            }
        }
        // Records of one key keep their order.
        assert!(records.windows(2).all(|pair| pair[0].offset < pair[1].offset));
    }
}

#[test]
fn a_record_above_the_limit_of_its_topic_is_a_dead_letter_unless_its_own_topic_refuses_it_too() {
    for delivery in DELIVERIES {
        let scene = Scene::on_shared_servers("large_letter").with(delivery);
        scene.sql().run(TABLE);
        let topic = scene.topic("orders");
        create_topic(&scene.kafka, &topic, 1, &[("max.message.bytes", "100000")]);
        let letters = letters(&scene);
        create_topic(&scene.kafka, &letters, 1, &[("max.message.bytes", "120000")]);
        insert_large(&scene, &topic);
        let mut relay = start(&scene, &["oversize = \"dead-letter\""]);
        relay.halts_saying(
            &format!(
                "row 1 of {}.orders in the event that ends at … makes a record of … bytes; the topic {letters} takes \
                 120000 (max.message.bytes)",
                scene.name
            ),
            &format!("raise max.message.bytes of the topic {letters}…"),
        );
        set_topic_config(&scene.kafka, &letters, "max.message.bytes", "1000000");
        let mut relay = start(&scene, &["oversize = \"dead-letter\""]);
        let records = records(&scene, &mut relay, 6);
        for (index, record) in records.iter().enumerate() {
            let is_large = [1, 3, 4].contains(&index);
            assert_eq!(record.topic, if is_large { letters.clone() } else { topic.clone() });
            if is_large {
                assert_eq!(text_of(record, "dead-letter-reason").as_deref(), Some("size"));
                assert_eq!(text_of(record, "dead-letter-topic").as_deref(), Some(&*topic));
                let body = json_of(record)["row"]["body"].as_str().map(str::len);
                assert_eq!(body, Some(150_000));
            }
        }
    }
}

#[test]
fn a_record_that_its_topic_does_not_take_for_another_reason_is_a_dead_letter_alone() {
    let scene = Scene::on_shared_servers("unfit_topic");
    scene.sql().run(TABLE);
    let topic = scene.topic("orders");
    // A compacted topic takes no record without a key.
    let compacted = scene.topic("compacted");
    create_topic(&scene.kafka, &compacted, 1, &[("cleanup.policy", "compact")]);
    let mut relay = start(&scene, &["on_error = \"dead-letter\""]);
    insert(
        &scene,
        &[
            format!("(1, '{topic}', 'ann', '0', 'a', 'one', NULL)"),
            format!("(2, '{compacted}', NULL, '0', 'a', 'two', NULL)"),
            format!("(3, '{topic}', 'ann', '0', 'a', 'three', NULL)"),
        ],
    );
    let records = records(&scene, &mut relay, 3);
    assert_eq!(text_of(&records[1], "dead-letter-reason").as_deref(), Some("topic"));
    assert_eq!(text_of(&records[1], "dead-letter-topic"), Some(compacted));
}

/// Row `id` of a storm: a record, or one of four that cannot be.
fn row_of_storm(id: usize, topic: &str) -> String {
    let large = incompressible_text(150_000);
    let (topic, shard, body) = match id % 11 {
        2 => ("NULL".to_owned(), "0", "x"),
        4 => (format!("'{topic}'"), "east", "x"),
        6 if id.is_multiple_of(3) => (format!("'{topic}'"), "0", &*large),
        8 => ("'no topic'".to_owned(), "0", "x"),
        _ => (format!("'{topic}-{}'", id % 2), "0", "x"),
    };
    format!("({id}, {topic}, 'ann', '{shard}', 'a', '{body}', NULL)")
}

#[test]
fn each_row_is_a_record_or_a_dead_letter_once_when_the_relay_is_killed_again_and_again() {
    const ROWS: usize = 240;
    for delivery in DELIVERIES {
        let scene = Scene::on_shared_servers("letter_storm").with(delivery);
        scene.sql().run(TABLE);
        let topic = scene.topic("orders");
        create_topic(&scene.kafka, &topic, 2, &[("max.message.bytes", "100000")]);
        let more = ["on_error = \"dead-letter\"", "oversize = \"dead-letter\""];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for first in (1..=ROWS).step_by(6) {
                    let rows = (first..first + 6).map(|id| row_of_storm(id, &topic));
                    insert(&scene, &rows.collect::<Vec<_>>());
                    std::thread::sleep(Duration::from_millis(60));
                }
            });
            for millis in [300, 700, 450, 900, 350, 600] {
                let mut relay = start(&scene, &more);
                std::thread::sleep(Duration::from_millis(millis));
                relay.kill();
            }
        });
        let mut relay = start(&scene, &more);
        let records = records(&scene, &mut relay, ROWS);
        let letters = letters(&scene);
        for (index, record) in records.iter().enumerate() {
            let id = index + 1;
            let reason = match id % 11 {
                2 => Some("null"),
                4 => Some("template"),
                6 if id.is_multiple_of(3) => Some("size"),
                8 => Some("topic"),
                _ => None,
            };
            assert_eq!(text_of(record, "dead-letter-reason").as_deref(), reason, "row {id}");
            match reason {
                Some(_) => {
                    assert_eq!(record.topic, letters);
                    assert_eq!(json_of(record)["row"]["id"], id);
                }
                None => assert_eq!(record.topic, format!("{topic}-{}", id % 2)),
            }
        }
    }
}

/// A relay's setup with dead letters of both kinds, and what `dead-letter` answers.
fn letters_command(setup: &RelaySetup, arguments: &[&str]) -> (Option<i32>, String, String) {
    let all: Vec<&str> = ["dead-letter"].iter().chain(arguments).copied().collect();
    let output = setup.answer(&all);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Three letters are listed, and the one of this number is shown.
fn assert_shown(scene: &Scene, setup: &RelaySetup, second: &str) {
    let (code, list, _) = letters_command(setup, &["list"]);
    let lines: Vec<_> = list.lines().collect();
    assert_eq!((code, lines.len()), (Some(0), 3), "{list}");
    assert_eq!(
        lines[0],
        format!(
            "{} null {}.orders: column topic: it is NULL where a record needs a value",
            second, scene.name
        )
    );
    assert!(lines[1].contains(" size ") && lines[2].contains(" template "), "{list}");
    let (code, shown, _) = letters_command(setup, &["show", second]);
    assert_eq!(code, Some(0));
    assert!(shown.contains("\"extra\": \"/wA=\""), "{shown}");
    let (code, _, error) = letters_command(setup, &["show", "none"]);
    assert_eq!(code, Some(1));
    assert!(error.starts_with("error: there is no dead letter none\nhint: "), "{error}");
}

#[test]
fn a_dead_letter_is_shown_and_published_again_once_when_it_is_mended() {
    for delivery in DELIVERIES {
        let scene = Scene::on_shared_servers("letter_replay").with(delivery);
        scene.sql().run(TABLE);
        let topic = scene.topic("orders");
        create_topic(&scene.kafka, &topic, 1, &[("max.message.bytes", "100000")]);
        let mut setup = scene.relay_setup();
        let more = ["on_error = \"dead-letter\"", "oversize = \"dead-letter\""];
        setup.outboxes = vec![outbox(&scene, &more)];
        assert_eq!(letters_command(&setup, &["list"]), (Some(0), String::new(), String::new()));
        let mut relay = setup.start();
        let large = incompressible_text(150_000);
        insert(
            &scene,
            &[
                format!("(1, '{topic}', 'ann', '0', 'a', 'one', NULL)"),
                "(2, NULL, 'ann', '0', 'a', 'two', x'ff00')".to_owned(),
                format!("(3, '{topic}', 'ann', '0', 'a', '{large}', NULL)"),
                format!("(4, '{topic}', 'ann', 'east', '\u{1f600}', 'four', NULL)"),
            ],
        );
        let before = records(&scene, &mut relay, 4);
        let sequence = |id: usize| text_of(&before[id - 1], "relay-sequence").expect("a number");

        assert_shown(&scene, &setup, &sequence(2));

        // Nothing is mended yet.
        let (code, said, _) = letters_command(&setup, &["replay", "--all"]);
        assert_eq!(code, Some(1));
        assert_eq!(said.matches("stays a dead letter: ").count(), 3, "{said}");
        // The plan and the topic are mended, but not the ENUM, which the table cannot tell.
        set_topic_config(&scene.kafka, &topic, "max.message.bytes", "1000000");
        let mended = [
            ("\"{topic}\"", format!("\"{{topic|default:{topic}}}\"")),
            ("\"{shard}\"", "\"0\"".to_owned()),
        ];
        for line in &mut setup.outboxes[0].lines {
            for (from, to) in &mended {
                *line = line.replace(from, to);
            }
        }
        let (code, said, _) = letters_command(&setup, &["replay", "--all"]);
        assert_eq!(code, Some(1), "{said}");
        assert_eq!(said.matches(&format!("published to {topic}")).count(), 2, "{said}");
        let (_, again, _) = letters_command(&setup, &["replay", &sequence(2), &sequence(3)]);
        assert_eq!(again.matches("was published again before").count(), 2, "{again}");

        let all = Inbox::read_all(&scene.kafka, &topic, Isolation::ReadCommitted);
        let values: Vec<_> = all.iter().map(|record| record.value_text().len()).collect();
        assert_eq!(values, ["one".len(), "two".len(), large.len()]);
        for (record, id) in [(&all[1], 2), (&all[2], 3)] {
            assert_eq!(text_of(record, "relay-sequence"), Some(sequence(id)));
            assert_eq!(text_of(record, "dead-letter-replayed").as_deref(), Some("true"));
            assert_eq!(text_of(record, "kind").as_deref(), Some("a"));
            assert_eq!(record.key_text(), "ann");
        }
        let (_, left, _) = letters_command(&setup, &["list", "--json"]);
        let left: Value = serde_json::from_str(&left).expect("JSON");
        assert_eq!(left.as_array().map(Vec::len), Some(1), "{left}");
        assert_eq!(left[0]["reason"], "template");
        assert_eq!(letters_command(&setup, &["list", "--all"]).1.lines().count(), 3);
    }
}

#[test]
fn a_check_weighs_how_long_dead_letters_are_kept() {
    let scene = Scene::on_shared_servers("letter_check");
    scene.sql().run(TABLE);
    let mut setup = scene.relay_setup();
    setup.outboxes = vec![outbox(&scene, &["on_error = \"dead-letter\""])];
    let letters = letters(&scene);
    let check = || String::from_utf8(setup.answer(&["check"]).stdout).expect("text");
    let report = check();
    assert!(report.contains(&format!("{letters} is not there, and will be created")), "{report}");
    create_topic(&scene.kafka, &letters, 1, &[("retention.ms", "604800000")]);
    let report = check();
    let words = format!("{letters} deletes dead letters after 604800000 ms (retention.ms)");
    assert!(report.contains(&words), "{report}");
    set_topic_config(&scene.kafka, &letters, "retention.ms", "-1");
    let report = check();
    assert!(report.contains(&format!("{letters} keeps dead letters (retention.ms)")), "{report}");
}

#[test]
fn letters_may_not_change_behind_rows_that_nobody_has_acknowledged_and_many_topics_still_halt() {
    let scene = Scene::on_shared_servers("letter_change").with(Delivery::Idempotent);
    scene.sql().run(TABLE);
    let mut setup = scene.relay_setup();
    let topic = scene.topic("orders");
    // One topic of records, beside that of the letters.
    setup.kafka_lines = vec!["topics_max = 1".to_owned()];
    setup.outboxes = vec![outbox(&scene, &["on_error = \"dead-letter\""])];
    let mut relay = setup.start();
    insert(
        &scene,
        &[
            format!("(1, '{topic}', 'ann', '0', 'a', 'one', NULL)"),
            "(2, NULL, 'ann', '0', 'a', 'two', NULL)".to_owned(),
        ],
    );
    scene.wait_for_records(&relay, 2);
    relay.kill();
    let changed = |line: &String| line.replace(".letters", ".others");
    let mut other = setup.clone();
    other.outboxes[0].lines = setup.outboxes[0].lines.iter().map(changed).collect();
    let mut relay = other.start();
    assert!(relay.halts().contains("another configuration of [[outbox]]"), "{}", relay.log_tail());
    let mut relay = setup.start();
    insert(&scene, &[format!("(3, '{topic}-more', 'ann', '0', 'a', 'three', NULL)")]);
    assert!(relay.halts().contains("topics_max"), "{}", relay.log_tail());
    assert_eq!(scene.records().len(), 2);
}
