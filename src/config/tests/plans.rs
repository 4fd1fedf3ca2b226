//! `[[outbox]]` of presets with a plan.

use super::{Error, message, parse};
use crate::binlog::Guard;
use crate::config::Config;
use crate::outbox::{KeyNull, ValueNull, ValueOptions, fingerprint};

const BEFORE: &str = r#"name = "orders"
[mysql]
hosts = ["db:3306"]
user = "relay"
[kafka]
bootstrap_servers = "kafka:9092"
[[outbox]]
table = "shop.outbox"
"#;

fn with(lines: &str) -> Result<Config, Error> {
    parse(&format!("{BEFORE}{lines}\n"), &[])
}

#[test]
fn presets_have_the_records_of_the_contract() {
    for (preset, topic, key, value, headers) in [
        ("outbox", "outbox.event.{aggregatetype}", "{aggregateid}", "{payload}", "id={id}"),
        (
            "message-events",
            "{event_type}",
            "{id}",
            "{event_payload}",
            "id={id} createdAt={created_at}",
        ),
        (
            "event-sourcing",
            "{aggregate_type|topic}",
            "{aggregate_id}",
            "{event_data}",
            "id={event_id} type={event_type} version={event_version} occurredAt={occurred_at}",
        ),
    ] {
        let config = with(&format!("preset = \"{preset}\"")).unwrap();
        let plan = config.outbox[0].plan.as_ref().unwrap();
        assert_eq!(plan.topic.to_string(), topic);
        assert_eq!(plan.key.as_ref().unwrap().to_string(), key);
        let ValueOptions::Template(template) = &plan.value else { panic!("{:?}", plan.value) };
        assert_eq!(template.to_string(), value);
        let written: Vec<_> =
            plan.headers.iter().map(|(name, header)| format!("{name}={header}")).collect();
        assert_eq!(written.join(" "), headers);
        assert_eq!((plan.key_null, plan.value_null), (KeyNull::Halt, ValueNull::Tombstone));
    }
}

#[test]
fn what_is_written_replaces_what_the_preset_has() {
    let config = with(
        "preset = \"outbox\"\ncolumns = { payload = \"body\" }\nkey = \"{type}-{aggregateid}\"\n\
         headers = {}\nwhere = { state = [\"new\", \"NULL\", \"\"] }\nvalue_null = \"empty\"",
    );
    let config = config.unwrap();
    let plan = config.outbox[0].plan.as_ref().unwrap();
    assert!(plan.headers.is_empty());
    assert_eq!(plan.value_null, ValueNull::Empty);
    let values = [Some("new".to_owned()), None, Some(String::new())];
    assert_eq!(plan.conditions[0].values, values);
    let named = plan.named_columns();
    let names: Vec<_> = named.iter().map(|(key, column)| format!("{key}:{column}")).collect();
    assert_eq!(
        names,
        ["topic:aggregatetype", "key:type", "key:aggregateid", "value:body", "where.state:state"]
    );
    // A lone custom needs both.
    let custom = with("preset = \"custom\"\ntopic = \"t\"\nvalue = \"json\"").unwrap();
    let plan = custom.outbox[0].plan.as_ref().unwrap();
    assert_eq!((plan.key.is_none(), plan.key_null), (true, KeyNull::PartitionBySequence));
}

#[test]
fn a_change_that_is_refused_is_no_other_outbox() {
    let plan = |lines: &str| with(&format!("preset = \"outbox\"\n{lines}")).unwrap().outbox;
    let guard = |lines: &str| plan(lines)[0].plan.as_ref().unwrap().guard;
    let halting = "on_update = \"halt\"\non_delete = \"halt\"";
    assert_eq!(guard(""), Guard::default());
    assert_eq!(guard("on_update = \"ignore\"\non_delete = \"ignore\""), Guard::default());
    assert_eq!(guard("on_update = \"halt\""), Guard { updates: true, deletes: false });
    assert_eq!(guard(halting), Guard { updates: true, deletes: true });
    // Or a relay that it has halted inside a transaction could not go on without it.
    assert_eq!(fingerprint(&plan(halting)), fingerprint(&plan("")));
}

#[test]
fn what_a_plan_cannot_be_names_its_line_and_the_nearest_word() {
    for (lines, expected) in [
        ("preset = \"custom\"\nvalue = \"{a}\"", "relay.toml:7: outbox.0.topic is missing"),
        ("preset = \"custom\"\ntopic = \"a\"", "relay.toml:7: outbox.0.value is missing"),
        (
            "preset = \"outbox\"\ntopic = \"{a\"",
            "relay.toml:10: outbox.0.topic: { at byte 0 has no }; write {{ for a brace / {column} stands for a column, \
             {@sequence} and its like for the row's place; docs/records.md lists them",
        ),
        (
            "preset = \"outbox\"\nkey = \"{a|lowr}\"",
            "relay.toml:10: outbox.0.key: there is no filter \"lowr\"; did you mean lower? /",
        ),
        (
            "preset = \"outbox\"\ncolumns = { paylod = \"x\" }",
            "relay.toml:10: outbox.0.columns.paylod: the preset outbox has no column paylod / did you mean payload?",
        ),
        (
            "preset = \"custom\"\ntopic = \"t\"\nvalue = \"json\"\ncolumns = { a = \"x\" }",
            "relay.toml:12: outbox.0.columns.a: the preset custom has no column a / name the table's columns in the",
        ),
        (
            "preset = \"outbox\"\nheaders = { relay-sequence = \"x\" }",
            "relay.toml:10: outbox.0.headers.relay-sequence: relay-sequence is the relay's own header /",
        ),
        (
            "preset = \"outbox\"\nwhere = { a = \"x\" }",
            "relay.toml:10: outbox.0.where.a is \"x\"; expected a list",
        ),
        (
            "preset = \"outbox\"\nvalue = \"cloudevents\"",
            "relay.toml:7: outbox.0.cloudevents.id is missing",
        ),
        (
            "preset = \"outbox\"\nvalue = \"cloudevents\"\n[outbox.cloudevents]\nid = \"{id}\"\ntype = \"t\"",
            "relay.toml:11: outbox.0.cloudevents.source is missing",
        ),
        (
            "preset = \"outbox\"\non_error = \"skip\"",
            "relay.toml:10: outbox.0.on_error is \"skip\"; expected one of halt, dead-letter",
        ),
        (
            "preset = \"outbox\"\non_error = \"dead-letter\"\ndead_letter_topic = \"offset.storage.topic\"",
            "relay.toml:11: outbox.0.dead_letter_topic: it is the checkpoint_topic, where a later record of a key replaces",
        ),
        (
            "preset = \"outbox\"\non_update = \"relay\"",
            "relay.toml:10: outbox.0.on_update is \"relay\"; expected one of ignore, halt",
        ),
        (
            "preset = \"eventuate-tram\"\non_delete = \"halt\"",
            "relay.toml:10: outbox.0.on_delete: the preset eventuate-tram has no such key / leave it out, or choose",
        ),
        (
            "preset = \"outbox\"\noutbox_id = 1",
            "relay.toml:10: outbox.0.outbox_id: the preset outbox has no such key /",
        ),
        (
            "preset = \"eventuate-local\"\ntopic = \"x\"",
            "relay.toml:10: outbox.0.topic: the preset eventuate-local has no such key / leave it out, or choose",
        ),
        (
            "preset = \"outbox\"\n[outbox.jsn]\nx = 1",
            "relay.toml:10: the key outbox.0.jsn is not known / config.example.toml has every key",
        ),
    ] {
        let message = message(with(lines));
        assert!(message.starts_with(expected), "{message}\n{expected}");
    }
}
