//! Imports of files as people have them: what they print is a configuration that the relay takes, and it names all.

mod eventuate;

use serde_json::Value as Json;

use super::{Error, Program, convert};
use crate::config::Config;
use crate::outbox::{OutboxOptions, ValueOptions};

fn debezium(text: &str) -> String {
    convert(Program::Debezium, text, "connector").unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The configuration that was printed, as the relay reads it.
fn read(printed: &str) -> Config {
    // The offsets of Debezium are a start of its own.
    let environment = |name: &str| Some(format!("the-{}", name.to_lowercase().replace('_', "-")));
    Config::parse(printed, "printed.toml", &[], &environment)
        .unwrap_or_else(|error| panic!("{error}\n{printed}"))
}

fn value(outbox: &OutboxOptions) -> String {
    match &outbox.plan.as_ref().unwrap().value {
        ValueOptions::Template(template) => template.to_string(),
        other => panic!("{other:?}"),
    }
}

const ROUTER: &str = "io.debezium.transforms.outbox.EventRouter";

/// Settings as a flat JSON object.
fn connector(settings: &[(&str, &str)]) -> String {
    let base = [
        ("connector.class", "io.debezium.connector.mysql.MySqlConnector"),
        ("database.hostname", "mysql"),
        ("database.user", "debezium"),
        ("database.password", "dbz-secret"),
        ("table.include.list", "shop.outbox"),
        ("transforms", "outbox"),
        ("transforms.outbox.type", ROUTER),
        ("key.converter", "org.apache.kafka.connect.storage.StringConverter"),
        ("value.converter", "org.apache.kafka.connect.storage.StringConverter"),
    ];
    let object =
        base.iter().chain(settings).map(|(name, value)| ((*name).to_owned(), (*value).into()));
    Json::Object(object.collect()).to_string()
}

#[test]
fn every_captured_connector_becomes_a_configuration() {
    let cases: Vec<Json> =
        serde_json::from_str(include_str!("../../integration-tests/golden/debezium/cases.json"))
            .unwrap();
    for case in &cases {
        let printed = debezium(&case["connector"].to_string());
        let config = read(&printed);
        let table = format!("shop.{}", case["case"].as_str().unwrap());
        assert_eq!(config.outbox[0].table.to_string(), table);
        assert!(!printed.contains("dbz-secret"), "{printed}");
    }
}

#[test]
fn a_router_with_its_defaults_is_the_preset() {
    let printed = debezium(&connector(&[]));
    let config = read(&printed);
    assert_eq!((config.mysql.host.as_str(), config.mysql.port), ("mysql", 3306));
    assert_eq!(config.mysql.user, "debezium");
    let preset = crate::outbox::PlanOptions::of(crate::outbox::Preset::Outbox);
    assert_eq!(config.outbox[0].plan.as_deref(), preset.as_ref(), "{printed}");
    assert!(!printed.contains("dbz-secret") && printed.contains("${MYSQL_PASSWORD}"), "{printed}");
    let fatal = connector(&[("transforms.outbox.table.op.invalid.behavior", "fatal")]);
    assert!(debezium(&fatal).contains("on_update = \"halt\""));
}

#[test]
fn options_of_the_router_become_templates() {
    let printed = debezium(&connector(&[
        ("transforms.outbox.table.field.event.id", "event_id"),
        ("transforms.outbox.table.field.event.key", "id"),
        ("transforms.outbox.table.field.event.payload", "body"),
        ("transforms.outbox.table.field.event.timestamp", "made_at"),
        ("transforms.outbox.route.by.field", "kind"),
        ("transforms.outbox.route.topic.replacement", "shop.{x}.${routedByValue}.v1"),
        (
            "transforms.outbox.table.fields.additional.placement",
            "id:header,type:header:eventType, shard:partition",
        ),
        ("database.ssl.mode", "verify_identity"),
        ("database.port", "3307"),
        ("topic.creation.default.partitions", "6"),
        ("topic.creation.default.replication.factor", "-1"),
    ]));
    let config = read(&printed);
    let plan = config.outbox[0].plan.clone().unwrap();
    let text = |template: &Option<crate::outbox::template::Template>| {
        template.as_ref().unwrap().to_string()
    };
    assert_eq!(plan.topic.to_string(), "shop.{{x}}.{kind}.v1");
    assert_eq!((text(&plan.key), value(&config.outbox[0])), ("{id}".into(), "{body}".into()));
    assert_eq!(
        (text(&plan.timestamp), text(&plan.partition)),
        ("{made_at}".into(), "{shard}".into())
    );
    let headers: Vec<_> =
        plan.headers.iter().map(|(name, header)| format!("{name}={header}")).collect();
    assert_eq!(headers, ["eventType={type}", "id={event_id}"]);
    assert_eq!(config.mysql.port, 3307);
    assert_eq!(config.kafka.topics.partitions, Some(6));
    // The column id cannot be the header id too.
    assert!(printed.contains("id:header:id: there is a header of this name already"), "{printed}");
}

#[test]
fn converters_decide_about_key_and_value() {
    const JSON: &str = "org.apache.kafka.connect.json.JsonConverter";
    for (settings, expected) in [
        (
            &[("value.converter", JSON), ("value.converter.schemas.enable", "false")][..],
            "{payload|json|default:null}",
        ),
        (
            &[("value.converter", JSON)][..],
            "{{\"schema\":{{\"type\":\"string\",\"optional\":true}},\"payload\":{payload|json|default:null}}}",
        ),
        (
            &[
                ("value.converter", JSON),
                ("value.converter.schemas.enable", "false"),
                ("transforms.outbox.table.expand.json.payload", "true"),
            ][..],
            "{payload|nested|default:null}",
        ),
        (
            &[
                ("value.converter", JSON),
                ("value.converter.schemas.enable", "false"),
                (
                    "transforms.outbox.table.fields.additional.placement",
                    "type:envelope:eventType,n:envelope",
                ),
            ][..],
            "{{\"payload\":{payload|json|default:null},\"eventType\":{type|json|default:null},\"n\":{n|json|default:null}}}",
        ),
        (&[("value.converter", "io.debezium.converters.BinaryDataConverter")][..], "{payload}"),
    ] {
        let config = read(&debezium(&connector(settings)));
        assert_eq!(value(&config.outbox[0]), expected);
    }
    let printed =
        debezium(&connector(&[("value.converter", "io.confluent.connect.avro.AvroConverter")]));
    assert!(
        printed.contains("TODO: value.converter = io.confluent.connect.avro.AvroConverter: "),
        "{printed}"
    );
}

#[test]
fn every_option_is_named_and_no_secret_is_printed() {
    let settings = [
        ("predicates", "isOutbox"),
        ("transforms.outbox.predicate", "isOutbox"),
        (
            "predicates.isOutbox.type",
            "org.apache.kafka.connect.transforms.predicates.RecordIsTombstone",
        ),
        ("transforms", "outbox,route"),
        ("transforms.route.type", "org.apache.kafka.connect.transforms.RegexRouter"),
        ("transforms.route.regex", "(.*)"),
        ("column.exclude.list", "shop.outbox.secret_column"),
        ("schema.history.internal.consumer.sasl.jaas.config", "x password=\"hunter2\";"),
        ("database.ssl.keystore.password", "hunter2"),
        ("my.own.option", "abc"),
        ("my.own.token", "hunter2"),
        ("heartbeat.action.query", "INSERT INTO x VALUES ('hunter2@x')"),
        ("table.include.list", r"shop\.outbox_\d+,shop.orders"),
        ("transforms.outbox.tracing.operation.name", "op"),
        ("transforms.outbox.route.topic.regex", "(.*)x(.*)"),
    ];
    let printed = debezium(&connector(&settings));
    read(&printed);
    assert!(!printed.contains("hunter2"), "{printed}");
    for option in settings.map(|(name, _)| name) {
        let name = match option {
            "predicates" | "transforms.outbox.predicate" => "predicate isOutbox",
            "predicates.isOutbox.type" => "RecordIsTombstone",
            "transforms" | "transforms.route.type" | "transforms.route.regex" => {
                "transforms.route ("
            }
            "transforms.outbox.route.topic.regex" => "route.topic.regex = (.*)x(.*)",
            "table.include.list" => r"table.include.list: shop\.outbox_\d+",
            name => name,
        };
        assert!(printed.contains(name), "{name} is not in\n{printed}");
    }
}

#[test]
fn a_predicate_on_the_topic_chooses_the_tables() {
    let printed = debezium(&connector(&[
        ("topic.prefix", "p"),
        ("table.include.list", "shop.outbox,shop.customers"),
        ("transforms.outbox.predicate", "isOutbox"),
        ("predicates", "isOutbox"),
        (
            "predicates.isOutbox.type",
            "org.apache.kafka.connect.transforms.predicates.TopicNameMatches",
        ),
        ("predicates.isOutbox.pattern", r"p\.shop\.outbox"),
    ]));
    let tables: Vec<_> = read(&printed).outbox.iter().map(|it| it.table.to_string()).collect();
    assert_eq!(tables, ["shop.outbox"]);
    assert!(printed.contains("TODO: table shop.customers: "), "{printed}");
}

#[test]
fn several_tables_become_several_outboxes() {
    let printed = debezium(&connector(&[
        ("table.include.list", r"shop\.(outbox|events),inventory.out_.*"),
        ("transforms.outbox.table.field.event.payload", "body"),
    ]));
    let config = read(&printed);
    let tables: Vec<_> = config.outbox.iter().map(|it| (it.table.to_string(), value(it))).collect();
    let expected = ["shop.outbox", "shop.events", "inventory.out_*"];
    assert_eq!(tables, expected.map(|table| (table.to_owned(), "{body}".to_owned())));
}

#[test]
fn a_connector_is_read_in_each_of_its_forms() {
    let config: Json = serde_json::from_str(&connector(&[("database.port", "3306")])).unwrap();
    let properties: String = config
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| format!("{name}={}\n", value.as_str().unwrap()))
        .collect();
    let server: String = properties
        .lines()
        .map(|line| match line.strip_prefix("transforms") {
            Some(rest) => format!("debezium.transforms{rest}\n"),
            None => format!("debezium.source.{line}\n"),
        })
        .collect();
    let yaml: String = config
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| *name != "connector.class")
        .map(|(name, value)| format!("    {name}: {value}\n"))
        .collect();
    let strimzi = format!(
        "apiVersion: kafka.strimzi.io/v1\nkind: KafkaConnector\nmetadata:\n  name: orders\n  labels:\n    \
         strimzi.io/cluster: c\nspec:\n  class: io.debezium.connector.mysql.MySqlConnector\n  tasksMax: 1\n  config:\n{yaml}"
    );
    for (text, name) in [
        (serde_json::json!({"name": "orders", "config": config}).to_string(), "orders"),
        (
            serde_json::json!({"name": "orders", "config": config, "tasks": [], "type": "source"})
                .to_string(),
            "orders",
        ),
        (
            serde_json::json!({"orders": {"info": {"name": "orders", "config": config}}})
                .to_string(),
            "orders",
        ),
        (config.to_string(), "relay"),
        (format!("name=orders\n{properties}"), "orders"),
        (server, "relay"),
        (strimzi, "orders"),
    ] {
        let printed = debezium(&text);
        let config = read(&printed);
        assert_eq!(config.name, name, "{text}");
        assert_eq!(config.outbox[0].table.to_string(), "shop.outbox");
        assert_eq!(config.mysql.user, "debezium");
    }
}

#[test]
fn values_that_are_looked_up_elsewhere_come_from_the_environment() {
    let printed = debezium(&connector(&[
        ("database.hostname", "${env:DB_HOST}"),
        ("database.user", "${file:/opt/secrets.properties:user}"),
        ("database.password", "${file:/opt/secrets.properties:password}"),
    ]));
    let config = read(&printed);
    assert_eq!(
        (config.mysql.host.as_str(), config.mysql.user.as_str()),
        ("the-db-host", "the-mysql-user")
    );
}

#[test]
fn what_is_no_outbox_of_mysql_says_what_to_do() {
    for (text, understood, words) in [
        (
            connector(&[("connector.class", "io.debezium.connector.postgresql.PostgresConnector")]),
            true,
            "PostgresConnector",
        ),
        (
            connector(&[(
                "transforms.outbox.type",
                "io.debezium.transforms.ExtractNewRecordState",
            )]),
            true,
            "EventRouter",
        ),
        ("{\"a\": 1}".to_owned(), false, "neither"),
        ("{\"a\": ".to_owned(), false, "EOF"),
        ("kind: KafkaConnector\nspec:\n  config: |\n    x".to_owned(), false, "line 3"),
        ("a=b".to_owned(), false, "neither"),
        (String::new(), false, "neither"),
    ] {
        let error = convert(Program::Debezium, &text, "file").unwrap_err();
        assert_eq!(error.is_understood(), understood, "{error}");
        assert!(error.to_string().contains(words) && error.hint().is_some(), "{error}");
    }
    let error = super::import(Program::Debezium, std::path::Path::new("/nowhere")).unwrap_err();
    assert!(matches!(error, Error::Read { .. }) && !error.is_understood());
}

#[test]
fn the_configurations_and_templates_of_the_pages_are_valid() {
    let page = include_str!("../../docs/coming-from-maxwell.md");
    let (_, rest) = page.split_once("```toml\n").unwrap();
    let (outbox, _) = rest.split_once("```").unwrap();
    let head = "name = \"a\"\n[mysql]\nhosts = [\"m\"]\nuser = \"u\"\n[kafka]\nbootstrap_servers = \"k:1\"\n";
    assert_eq!(read(&format!("{head}{outbox}")).outbox.len(), 1);
    let page = include_str!("../../docs/coming-from-debezium.md");
    let (_, rest) = page.split_once("## Converters").unwrap();
    let (table, _) = rest.split_once("## What differs").unwrap();
    let mut count = 0;
    for line in table.lines().filter_map(|line| line.strip_prefix("| ")) {
        let cell = line.replace("\\|", "\u{0}");
        let Some(cell) = cell.split(" | ").nth(1) else { continue };
        let quoted = cell.split('`').nth(1).filter(|it| it.starts_with(['"', '\'']));
        let Some(quoted) = quoted else { continue };
        let value = quoted.replace('\u{0}', "|");
        let config =
            format!("{head}[[outbox]]\ntable = \"a.b\"\npreset = \"outbox\"\nvalue = {value}\n");
        assert_eq!(read(&config).outbox.len(), 1);
        count += 1;
    }
    assert_eq!(count, 7);
}
