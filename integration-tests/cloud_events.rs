//! What the CloudEvents SDK for Java, which is not ours, reads in the records of `value = "cloudevents"`.

use harness::eventuate::{StockClient, has_programs};
use harness::kafka::create_topic;
use harness::relay::{Outbox, Relay, RelaySetup, SOON};
use harness::say;
use harness::scene::Scene;
use serde_json::{Value as Json, json};

/// A table of its own for each mode and type of the data.
const TABLES: [(&str, &str, &str); 5] = [
    ("binary_json", "binary", "JSON"),
    ("binary_raw", "binary", "BLOB"),
    ("structured_json", "structured", "JSON"),
    ("structured_text", "structured", "TEXT"),
    ("structured_raw", "structured", "BLOB"),
];

/// Attributes of the first row, and of the second one, of which the optional ones are NULL.
const ATTRIBUTES: [&str; 2] = [
    "('1', 'OrderPlaced', 'orders/ü', '2026-01-31 12:00:00.250', 'application/json', 'https://example.com/s.json', '00-a-b-01', {data})",
    "('2', 'OrderGone', NULL, NULL, NULL, NULL, NULL, {data})",
];

#[test]
fn the_cloud_events_sdk_reads_each_attribute_and_the_data_in_either_mode() {
    if !has_programs(&["cloudevents"]) {
        say("JDK or Maven is missing on this machine: the CloudEvents SDK was NOT RUN");
        return;
    }
    let scene = Scene::on_shared_servers("cloud_events");
    let topics: Vec<String> = TABLES.iter().map(|(table, ..)| scene.topic(table)).collect();
    topics.iter().for_each(|topic| create_topic(&scene.kafka, topic, 1, &[]));
    let mut reader = StockClient::cloud_events(&scene, &topics);
    let mut relay = start(&scene);
    let due = write_rows(&scene);
    let received = reader.wait_for(due.len(), SOON);
    let of = |event: &Json| {
        let topic = event["topic"].as_str().unwrap_or_default();
        (topic.rsplit_once('.').map(|(_, table)| table.to_owned()), event["id"].to_string())
    };
    let mut received: Vec<Json> = received.into_iter().map(without_nulls).collect();
    received.sort_by_key(of);
    let mut due: Vec<Json> = due.into_iter().map(without_nulls).collect();
    due.sort_by_key(of);
    for (is, due) in received.iter().zip(&due) {
        assert_eq!(is, due, "{}", reader.log_tail());
    }
    assert_eq!(received.len(), due.len(), "{}\n{}", reader.log_tail(), relay.log_tail());
    assert_eq!(relay.stop(), 0, "{}", relay.log_tail());
}

fn start(scene: &Scene) -> Relay {
    let mut sql = scene.sql();
    let mut outboxes = Vec::new();
    for (table, mode, kind) in TABLES {
        sql.run(format!(
            "CREATE TABLE {table} (
               id CHAR(36) PRIMARY KEY, type VARCHAR(255), subject VARCHAR(255), at TIMESTAMP(3) NULL,
               content_type VARCHAR(99), data_schema VARCHAR(99), traceparent VARCHAR(55), data {kind}
             ) CHARACTER SET utf8mb4"
        ));
        let lines = [
            &format!("topic = \"{}\"", scene.topic(table)),
            "key = \"{id}\"",
            "value = \"cloudevents\"",
            "headers = { ce_traceparent = \"{traceparent}\", own = \"{id}\" }",
            "[outbox.cloudevents]",
            &format!("mode = \"{mode}\""),
            "id = \"{id}\"",
            "source = \"/shop/{@table}\"",
            "type = \"com.example.{type|kebab}\"",
            "subject = \"{subject}\"",
            "time = \"{at}\"",
            "datacontenttype = \"{content_type}\"",
            "dataschema = \"{data_schema}\"",
            "data = \"{data}\"",
        ];
        let lines = lines.map(str::to_owned).to_vec();
        outboxes.push(Outbox { lines, ..scene.outbox(table, "custom") });
    }
    RelaySetup { outboxes, ..scene.relay_setup() }.start()
}

/// Writes rows with and without each attribute, and with data of each kind. Returns what the SDK has to read.
fn write_rows(scene: &Scene) -> Vec<Json> {
    let mut sql = scene.sql();
    sql.run("SET time_zone = '+00:00'");
    let mut due = Vec::new();
    for (table, mode, kind) in TABLES {
        // Data in SQL, and as the SDK hands it out: its bytes, and whether they are JSON by the event format.
        let is_structured = mode == "structured";
        let (sql_data, data) = match kind {
            "JSON" => ("'{\"b\": [1, \"ü\"]}'", Some(r#"{"b": [1, "ü"]}"#)),
            "TEXT" => ("'{\"n\": 1.50}'", Some(r#"{"n": 1.50}"#)),
            _ => ("x'00ff7b80'", None),
        };
        let bytes = data.map_or(vec![0, 0xff, b'{', 0x80], |data| data.as_bytes().to_vec());
        sql.run(format!(
            "INSERT INTO {table} VALUES {}",
            ATTRIBUTES[0].replace("{data}", sql_data)
        ));
        sql.run(format!("INSERT INTO {table} VALUES {}", ATTRIBUTES[1].replace("{data}", "NULL")));
        let is_json = is_structured && data.is_some();
        due.push(json!({
            "topic": scene.topic(table), "key": "1", "specversion": "1.0", "id": "1",
            "source": format!("/shop/{table}"), "type": "com.example.order-placed",
            "subject": "orders/ü", "time": "2026-01-31T12:00:00.250Z",
            "datacontenttype": "application/json", "dataschema": "https://example.com/s.json",
            "extension traceparent": (!is_structured).then_some("00-a-b-01"),
            "data": text_of(&bytes, is_json), "isJson": is_json,
        }));
        due.push(json!({
            "topic": scene.topic(table), "key": "2", "specversion": "1.0", "id": "2",
            "source": format!("/shop/{table}"), "type": "com.example.order-gone",
            "data": null, "isJson": false,
        }));
    }
    sql.run(
        "INSERT INTO structured_text VALUES
         ('3', 'Said', NULL, NULL, 'text/plain; charset=utf-8', NULL, NULL, '{\"n\": 1} and ü'),
         ('4', 'Said', NULL, NULL, 'text/plain', NULL, NULL, '{\"n\": 1}'),
         ('5', 'Said', NULL, NULL, 'text/plain', NULL, NULL, '')",
    );
    for (id, kind, data) in [
        ("3", "text/plain; charset=utf-8", "{\"n\": 1} and ü"),
        ("4", "text/plain", "{\"n\": 1}"),
        ("5", "text/plain", ""),
    ] {
        due.push(json!({
            "topic": scene.topic("structured_text"), "key": id, "specversion": "1.0", "id": id,
            "source": "/shop/structured_text", "type": "com.example.said", "datacontenttype": kind,
            "data": text_of(data.as_bytes(), false), "isJson": false,
        }));
    }
    due
}

/// The data as hexadecimal digits. JSON data is parsed by the SDK, and written compactly.
fn text_of(bytes: &[u8], is_json: bool) -> String {
    let compact = is_json.then(|| {
        let json: Json = serde_json::from_slice(bytes).expect("JSON");
        json.to_string().replace("1.50", "1.5").into_bytes()
    });
    let bytes = compact.as_deref().unwrap_or(bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The SDK names only what is there in one version, and all in another.
fn without_nulls(event: Json) -> Json {
    let Json::Object(members) = event else { panic!("{event}") };
    members.into_iter().filter(|(_, value)| !value.is_null()).collect()
}
