//! The way out of a halt over one transaction: the command that the hint prints gives up just that one.

use std::sync::Arc;
use std::time::Duration;

use binlog_relay::binlog::{self, Catalog, Password, Server, TlsMode, TlsOptions};

use harness::kafka::create_topic;
use harness::relay::{Relay, RelaySetup, relay_command, said};
use harness::scene::Scene;
use harness::servers::{MySql, permit_for_own_servers, shared_kafka};
use harness::sql::{Coordinates, single_threaded_runtime};
use harness::workload::{PlainWriter, incompressible_text, insert_event};

/// Rows before and after the transaction that is given up, each in one of its own.
const BEFORE: usize = 3;
const AFTER: usize = 2;

#[test]
fn a_row_without_its_key_is_given_up_with_its_transaction() {
    let scene = Scene::on_shared_servers("give_up");
    gives_up(&scene, &scene.relay_setup(), |scene, writer| {
        writer.sql.run("BEGIN");
        writer.insert(2);
        insert_without_key(scene, writer);
        writer.insert(1);
        writer.sql.run("COMMIT");
    });
}

#[test]
fn a_compressed_transaction_is_given_up() {
    let scene = Scene::on_shared_servers("give_up_compressed");
    gives_up(&scene, &scene.relay_setup(), |scene, writer| {
        writer.sql.run("SET SESSION binlog_transaction_compression = ON");
        writer.sql.run("BEGIN");
        writer.insert(1);
        insert_without_key(scene, writer);
        writer.insert(40);
        writer.sql.run("COMMIT");
        writer.sql.run("SET SESSION binlog_transaction_compression = OFF");
    });
    let events = scene.sql().binlog_events_since(&scene.start);
    assert!(events.iter().any(|(_, line)| line.kind == "Transaction_payload"));
}

#[test]
fn a_transaction_of_many_events_is_given_up() {
    let scene = Scene::on_shared_servers("give_up_large");
    let topic = scene.topic("account");
    create_topic(&scene.kafka, &topic, scene.partitions, &[("max.message.bytes", "100000")]);
    let log = gives_up(&scene, &scene.relay_setup(), |scene, writer| {
        let topic = scene.topic("account");
        writer.sql.run("BEGIN");
        writer.insert(1);
        let data = format!("'{}'", incompressible_text(300_000));
        writer.sql.run(insert_event("1-1", &data, &topic));
        for _ in 0..50 {
            writer.insert(20);
        }
        writer.sql.run("COMMIT");
    });
    assert!(log.contains("max.message.bytes"), "{log}");
}

#[test]
fn an_illegal_topic_a_statement_and_an_xa_group_are_given_up() {
    let scene = Scene::on_shared_servers("give_up_topic");
    gives_up(&scene, &scene.relay_setup(), |scene, writer| {
        writer.sql.run(insert_event("1-1", "'{}'", &scene.topic(" not/a topic")));
    });
    let scene = Scene::on_shared_servers("give_up_statement");
    gives_up(&scene, &scene.relay_setup(), |scene, writer| {
        writer.sql.run("SET SESSION binlog_format = STATEMENT");
        writer.sql.run(insert_event("1-1", "'{}'", &scene.topic("account")));
        writer.sql.run("SET SESSION binlog_format = ROW");
    });
    let scene = Scene::on_shared_servers("give_up_xa");
    gives_up(&scene, &scene.relay_setup(), |scene, writer| {
        let xid = format!("'{}'", scene.name);
        writer.sql.run(format!("XA START {xid}"));
        writer.sql.run(insert_event("1-1", "'{}'", &scene.topic("account")));
        for step in ["END", "PREPARE", "COMMIT"] {
            writer.sql.run(format!("XA {step} {xid}"));
        }
    });
}

#[test]
fn what_was_relayed_of_a_split_transaction_is_said() {
    let scene = Scene::on_shared_servers("give_up_split");
    let mut setup = scene.relay_setup();
    setup.batch_lines = vec!["max_records = 2".to_owned()];
    let mut writer = PlainWriter::on(&scene);
    let mut relay = setup.start();
    writer.sql.run("BEGIN");
    let relayed = writer.insert(5);
    insert_without_key(&scene, &mut writer);
    writer.sql.run("COMMIT");
    writer.ledger.note_committed(relayed);
    writer.write(AFTER);
    let log = relay.halts();
    assert!(log.contains("its first 4 rows are in Kafka, no other is relayed then"), "{log}");
    assert_eq!(scene.records().len(), 4, "{log}");
    takes_way_out(&relay);
    let relay = setup.start();
    let binlog: Vec<_> =
        scene.binlog().into_iter().filter(|row| !row.text(0).starts_with("1-")).collect();
    let expected = writer.ledger.expected(&binlog, 0);
    scene.judge_newest_generation(4, &expected[5..], &relay);
}

#[test]
fn rows_of_columns_that_nobody_knows_any_more_are_given_up() {
    let scene = Scene::on_shared_servers("give_up_columns");
    let (setup, mut writer) = (scene.relay_setup(), PlainWriter::on(&scene));
    let mut relay = setup.start();
    writer.write(BEFORE);
    scene.wait_for_records(&relay, BEFORE);
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
    writer.sql.run(insert_event("1-1", "'{}'", &scene.topic("account")));
    writer.sql.run("ALTER TABLE events DROP COLUMN triggering_event");
    writer.write(AFTER);
    let mut relay = setup.start();
    let log = relay.halts();
    assert!(log.contains("binlog_row_metadata"), "{log}");
    takes_way_out(&relay);
    let relay = setup.start();
    let binlog = scene.binlog().into_iter().filter(|row| row.text(0) != "1-1");
    let expected = writer.ledger.expected(&binlog.collect::<Vec<_>>(), 0);
    scene.judge_newest_generation(BEFORE, &expected[BEFORE..], &relay);
}

#[test]
fn a_server_without_gtids_has_a_way_out_too() {
    let _permit = permit_for_own_servers();
    for (version, arguments) in [
        ("mysql-5.7", &["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"][..]),
        ("mysql-8.0", &["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"]),
    ] {
        let mysql = Arc::new(MySql::start(version, arguments));
        let scene = Scene::on(mysql, shared_kafka(), "give_up_old");
        gives_up(&scene, &scene.relay_setup(), |scene, writer| {
            writer.sql.run("BEGIN");
            writer.insert(1);
            insert_without_key(scene, writer);
            writer.insert(1);
            writer.sql.run("COMMIT");
        });
    }
}

#[test]
fn the_servers_own_list_tells_where_a_transaction_ends() {
    let _permit = permit_for_own_servers();
    for version in ["mysql-5.7", "mysql-8.0"] {
        let scene = Scene::on(Arc::new(MySql::start(version, &[])), shared_kafka(), "listed");
        let mut writer = PlainWriter::on(&scene);
        let mut ends = vec![writer.sql.end_of_binlog()];
        let mut wrote = |writer: &mut PlainWriter| ends.push(writer.sql.end_of_binlog());
        writer.write(1);
        wrote(&mut writer);
        // More events than are asked for at once.
        writer.transaction(|writer| (0..700).flat_map(|_| writer.insert(1)).collect());
        wrote(&mut writer);
        writer.sql.run("CREATE TABLE other (id INT PRIMARY KEY)");
        wrote(&mut writer);
        writer.sql.run("XA START 'a'");
        writer.sql.run("INSERT INTO other VALUES (1)");
        writer.sql.run("XA END 'a'");
        writer.sql.run("XA PREPARE 'a'");
        wrote(&mut writer);
        writer.sql.run("XA ROLLBACK 'a'");
        wrote(&mut writer);
        if writer.sql.has_compressed_transactions() {
            writer.sql.run("SET SESSION binlog_transaction_compression = ON");
            writer.write_together(3);
            wrote(&mut writer);
        }
        for pair in ends.windows(2) {
            assert_eq!(listed_end(&scene, &pair[0]), Some(pair[1].to_string()), "{version}");
        }
        let last = ends.last().expect("there is one");
        assert_eq!(listed_end(&scene, last), None, "{version}: nothing was written behind it");
    }
}

/// What the relay asks for where its stream cannot go on.
fn listed_end(scene: &Scene, begin: &Coordinates) -> Option<String> {
    let login = scene.mysql.login();
    let options = binlog::MysqlOptions {
        host: login.host.clone(),
        port: login.port,
        user: login.user.clone(),
        password: Password::fixed(&*login.password),
        server_id: None,
        heartbeat: Duration::from_secs(1),
        tls: TlsOptions { mode: TlsMode::Disabled, ca: None, cert: None, key: None },
    };
    let begin = begin.to_string().parse().expect("coordinates");
    let end = single_threaded_runtime().block_on(async {
        let mut server = Server::connect(&options).await.expect("connect");
        server.end_of_transaction(begin).await.expect("ask the server")
    });
    end.map(|end| end.to_string())
}

/// The relay halts over what is written, and after the printed command goes on with the rows after it and
/// nothing else.
fn gives_up(
    scene: &Scene,
    setup: &RelaySetup,
    write_what_cannot: impl FnOnce(&Scene, &mut PlainWriter),
) -> String {
    let mut writer = PlainWriter::on(scene);
    let mut relay = setup.start();
    writer.write(BEFORE);
    let before = writer.sql.end_of_binlog();
    write_what_cannot(scene, &mut writer);
    let after = writer.sql.end_of_binlog();
    writer.write(AFTER);
    let log = relay.halts();
    assert!(log.contains("or give that transaction up: none of its rows is relayed then"), "{log}");
    assert_eq!(scene.records().len(), BEFORE, "{log}");
    takes_way_out(&relay);
    let stored = scene.checkpoint().expect("a checkpoint");
    assert_eq!((&stored["sequence"], &stored["rowsDone"]), (&0.into(), &0.into()), "{stored}");
    let relay = setup.start();
    let binlog = scene.binlog().into_iter().filter(|row| row.place <= before || row.place > after);
    let expected = writer.ledger.expected(&binlog.collect::<Vec<_>>(), 0);
    assert_eq!(expected.len(), BEFORE + AFTER);
    scene.judge_newest_generation(BEFORE, &expected[BEFORE..], &relay);
    log
}

fn takes_way_out(relay: &Relay) {
    let output = relay_command().args(relay.printed_way_out()).output().expect("run the relay");
    let said = said(&output);
    assert_eq!(said.code, 0, "{said:?}\n{}", relay.log_tail());
    assert!(
        said.out.contains(" bytes of binlog are left out: rows in them are not relayed"),
        "{said:?}"
    );
}

fn insert_without_key(scene: &Scene, writer: &mut PlainWriter) {
    let topic = scene.topic("account");
    writer.sql.run(format!(
        "INSERT INTO events (event_id, event_type, event_data, entity_type, entity_id)
         VALUES ('1-0', 't', '{{}}', '{topic}', NULL)"
    ));
}
