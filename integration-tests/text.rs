//! Text arrives as it was written, whatever character set its column has.

use harness::ledger::{Content, OutboxRow};
use harness::relay::SOON;
use harness::scene::{EVENTUATE_LOCAL, Scene, events_table};
use harness::workload::PlainWriter;

const ANY: &str = "Zoë – 日本語 😀 \u{2028}\u{7f}/\"\\ \u{0}\u{1}\u{8}\u{c}\r\n\t\u{1f}";
/// Every character above ASCII that MySQL's latin1, which is Windows-1252, has.
const WINDOWS_1252: &str = "€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ ¡¢£¤¥¦§¨©ª«¬®¯°±²³´µ¶·¸¹º»¼½¾¿\
    ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ";

#[test]
fn utf8mb4_text_arrives_unchanged() {
    text_arrives_unchanged("utf8mb4", "kulcs-é😀", ANY);
}

#[test]
fn latin1_text_arrives_as_utf8() {
    text_arrives_unchanged("latin1", "clé-€-ÿ", WINDOWS_1252);
}

#[test]
fn gbk_text_arrives_as_utf8() {
    text_arrives_unchanged("gbk", "訂單-汉字-1", "汉字、漢字。《丂》 Ωж№ 〇 a\"\\\n\u{1}~");
}

#[test]
fn json_columns_arrive_as_the_server_casts_them_to_text() {
    let scene = Scene::on_shared_servers("json_text");
    let mut writer = PlainWriter::on(&scene);
    writer.sql.run("ALTER TABLE events MODIFY event_data JSON NOT NULL");
    let relay = scene.start_relay();
    for document in [
        r#"'{"longer key": 1, "b": [true, false, null], "a": {"": {}}}'"#,
        r#"'["é😀\\u0001\\"\\\\/\\n", 0, -1, 1.0, 1e300, 0.1, 18446744073709551615, -9223372036854775808]'"#,
        "JSON_OBJECT('decimal', CAST(-1.10 AS DECIMAL(5, 2)), 'float', CAST(0.1 AS FLOAT))",
        "JSON_ARRAY(CAST('2026-01-31 12:00:00.5' AS DATETIME(6)), CAST('2026-01-31' AS DATE),
                    CAST('-12:00:00.25' AS TIME(6)), CAST(X'00ff' AS BINARY))",
        "CAST('null' AS JSON)",
        r#"'"only a text"'"#,
        "JSON_ARRAY(REPEAT('0123456789', 10000), REPEAT('x', 200))",
    ] {
        let mut row = writer.unnoted_row();
        let Content::Event { entity_type, entity_id, event_data, .. } = &mut row.content else {
            panic!("the writer writes events");
        };
        let id = &row.id;
        writer.sql.run(format!(
            "INSERT INTO events (event_id, event_type, event_data, entity_type, entity_id)
             VALUES ('{id}', 'bank.Deposited', {document}, '{entity_type}', '{entity_id}')"
        ));
        let cast = format!("SELECT CAST(event_data AS CHAR) FROM events WHERE event_id = '{id}'");
        *event_data = writer.sql.value(cast);
        writer.ledger.note_committed([row.id.clone()]);
        writer.ledger.note_written(row);
    }
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

#[test]
fn columns_of_one_table_may_differ_in_their_character_set() {
    let scene = Scene::on_shared_servers("mixed_text");
    let mut writer = PlainWriter::on(&scene);
    writer.sql.run(
        "ALTER TABLE events
           MODIFY entity_id VARCHAR(255) CHARACTER SET latin1,
           MODIFY metadata VARCHAR(200) CHARACTER SET latin1,
           MODIFY event_type VARCHAR(60) CHARACTER SET ascii",
    );
    let relay = scene.start_relay();
    let row = row_of(&scene, "events", "clé-€", ANY, Some(WINDOWS_1252));
    writer.write_row(row);
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

fn text_arrives_unchanged(charset: &str, key: &str, text: &str) {
    let scene = Scene::on_shared_servers(charset);
    let mut writer = PlainWriter::on(&scene);
    writer.sql.run(events_table("typed", charset));
    let mut setup = scene.relay_setup();
    setup.outboxes = vec![scene.outbox("typed", EVENTUATE_LOCAL)];
    let relay = setup.start();
    writer.write_row(row_of(&scene, "typed", key, text, Some(text)));
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

fn row_of(
    scene: &Scene,
    table: &str,
    entity_id: &str,
    text: &str,
    metadata: Option<&str>,
) -> OutboxRow {
    OutboxRow {
        id: format!("{:016x}-{:016x}", 1, 1),
        table: table.to_owned(),
        content: Content::Event {
            entity_type: scene.topic("text"),
            entity_id: entity_id.to_owned(),
            event_type: "text.Written".to_owned(),
            event_data: text.to_owned(),
            metadata: metadata.map(str::to_owned),
        },
        published: Some(0),
        counter: 1,
    }
}
