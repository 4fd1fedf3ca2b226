//! Text arrives as it was written, whatever character set its column has.

use crate::harness::ledger::{Content, OutboxRow};
use crate::harness::relay::SOON;
use crate::harness::scene::{EVENTUATE_LOCAL, Scene, events_table};
use crate::harness::workload::{PlainWriter, insert_rows};

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
    write_one(&mut writer, row);
    scene.judge_clean(&writer.ledger, &relay, SOON);
}

fn text_arrives_unchanged(charset: &str, key: &str, text: &str) {
    let scene = Scene::on_shared_servers(charset);
    let mut writer = PlainWriter::on(&scene);
    writer.sql.run(events_table("typed", charset));
    let mut setup = scene.relay_setup();
    setup.outboxes = vec![scene.outbox("typed", EVENTUATE_LOCAL)];
    let relay = setup.start();
    write_one(&mut writer, row_of(&scene, "typed", key, text, Some(text)));
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

fn write_one(writer: &mut PlainWriter, row: OutboxRow) {
    writer.ledger.note_written(row.clone());
    insert_rows(&mut writer.sql, &row.table, std::slice::from_ref(&row));
    writer.ledger.note_committed([row.id]);
}
