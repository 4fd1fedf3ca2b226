//! A connector of Debezium for MySQL with its outbox event router, as a configuration of the relay.

mod left;

use serde_json::Value as Json;

use self::left::leave_rest;
use super::Error;
use super::draft::{Draft, quoted_raw, relay_name};
use super::properties::{Settings, json_object, properties, yaml};
use super::router::{Converters, Router};
use super::tables::{matches, patterns};

const ROUTER: &str = "io.debezium.transforms.outbox.EventRouter";
const MYSQL: &str = "io.debezium.connector.mysql.MySqlConnector";
/// The worker's topic for offsets, as Kafka's own example file calls it.
const OFFSETS_TOPIC: &str = "connect-offsets";

/// Reads a connector in any of its forms.
///
/// # Errors
/// It is none, or it is no outbox of MySQL.
pub fn convert(text: &str, file: &str) -> Result<String, Error> {
    let unreadable =
        |what: String| Error::Unreadable { file: file.to_owned(), program: "Debezium", what };
    let (name, mut settings) = read(text).map_err(unreadable)?;
    if !settings.names().any(|name| name == "connector.class" || name.starts_with("transforms")) {
        return Err(unreadable("it has neither connector.class nor transforms".to_owned()));
    }
    ensure_mysql(&mut settings)?;
    let alias = find_router(&settings)?;
    let name = name.or_else(|| settings.take("name")).unwrap_or_default();
    settings.take("name");
    let mut draft = Draft::default();
    draft.section("# The relay's name; its records name it in relay-sequence.");
    draft.text("name of the connector", "name", &relay_name(&name));
    let converters = Converters::take(&mut settings, &mut draft);
    let tables = tables(&mut settings, &alias, &mut draft);
    mysql(&mut settings, &name, &mut draft);
    kafka(&mut settings, &mut draft);
    outboxes(&mut settings, &alias, converters, &tables, &mut draft);
    transforms(&mut settings, &alias, &mut draft);
    leave_rest(&mut settings, &mut draft);
    let title = format!(
        "From Debezium's connector {name:?}. Each comment names the option that a key comes from."
    );
    Ok(draft.finish(&title))
}

/// The connector's name, where the file has it outside of the settings.
fn read(text: &str) -> Result<(Option<String>, Settings), String> {
    let start = text.trim_start_matches('\u{feff}').trim_start();
    if start.starts_with(['{', '[']) {
        let json: Json = serde_json::from_str(start).map_err(|error| error.to_string())?;
        return of_json(&json);
    }
    if text.lines().any(|line| line.trim_start().starts_with("kind:") || line.trim() == "spec:") {
        return of_strimzi(text);
    }
    Ok((None, of_debezium_server(properties(text))))
}

fn of_json(json: &Json) -> Result<(Option<String>, Settings), String> {
    let json = match json.as_array().map(Vec::as_slice) {
        Some([one]) => one,
        Some(_) => return Err("it has several connectors: import them one by one".to_owned()),
        None => json,
    };
    let object = json.as_object().ok_or("it is no JSON object")?;
    if let Some(config) = object.get("config").and_then(Json::as_object) {
        let name = object.get("name").and_then(Json::as_str).map(str::to_owned);
        return Ok((name, json_object(config)));
    }
    // GET /connectors?expand=info: connectors by name.
    let expanded: Vec<_> = object.values().filter_map(|it| it.get("info")).collect();
    match expanded[..] {
        [] => Ok((None, json_object(object))),
        [info] => of_json(info),
        _ => Err("it has several connectors: import them one by one".to_owned()),
    }
}

fn of_strimzi(text: &str) -> Result<(Option<String>, Settings), String> {
    let pairs =
        yaml(text).map_err(|line| format!("line {line} is YAML that import does not read"))?;
    let (mut name, mut settings) = (None, Settings::default());
    for (path, value) in pairs {
        match path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["metadata", "name"] => name = Some(value),
            ["spec", "class"] => settings.insert("connector.class", value),
            ["spec", "tasksMax"] => settings.insert("tasks.max", value),
            ["spec", "config", ..] => settings.insert(path[2..].join("."), value),
            _ => {}
        }
    }
    Ok((name, settings))
}

/// Debezium Server has the same options behind prefixes.
fn of_debezium_server(settings: Settings) -> Settings {
    if !settings.names().any(|name| name.starts_with("debezium.source.")) {
        return settings;
    }
    settings.renamed(|name| {
        let of_source = name.strip_prefix("debezium.source.");
        Some(of_source.or_else(|| name.strip_prefix("debezium.")).unwrap_or(name).to_owned())
    })
}

fn ensure_mysql(settings: &mut Settings) -> Result<(), Error> {
    match settings.take("connector.class") {
        Some(class) if class != MYSQL && class != "MySqlConnector" && class != "MySql" => {
            Err(Error::NoOutbox {
                what: format!("the connector is a {class}"),
                hint: "the relay reads MySQL only: keep Debezium for other databases".to_owned(),
            })
        }
        _ => Ok(()),
    }
}

fn aliases(settings: &Settings) -> Vec<String> {
    let list = settings.peek("transforms").unwrap_or_default();
    list.split(',').map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect()
}

fn find_router(settings: &Settings) -> Result<String, Error> {
    let is_router =
        |alias: &String| settings.peek(&format!("transforms.{alias}.type")) == Some(ROUTER);
    aliases(settings).into_iter().find(is_router).ok_or_else(|| Error::NoOutbox {
        what: format!("the connector has no transformation {ROUTER}, so it publishes changes, and no outbox"),
        hint: "the relay publishes inserted rows only: preset = \"custom\" with value = \"json\" relays those of any \
               table (docs/coming-from-debezium.md); keep Debezium for updates and deletes"
            .to_owned(),
    })
}

/// A value that Kafka Connect would look up elsewhere is for the environment.
fn looked_up(value: &str, variable: &str) -> String {
    let inner = value.strip_prefix("${").and_then(|it| it.strip_suffix('}'));
    match inner {
        None if !value.contains("${") => value.replace("${", "$${"),
        Some(inner) if inner.starts_with("env:") => format!("${{{}}}", &inner[4..]),
        Some(inner) if is_variable(inner) => value.to_owned(),
        _ => format!("${{{variable}}}"),
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn mysql(settings: &mut Settings, name: &str, draft: &mut Draft) {
    draft.section("[mysql]");
    let host = settings.take("database.hostname").filter(|host| !host.is_empty());
    let port = settings.take("database.port").unwrap_or_else(|| "3306".to_owned());
    let port = if port.chars().all(|c| c.is_ascii_digit()) {
        port
    } else {
        looked_up(&port, "MYSQL_PORT")
    };
    let host = match host {
        Some(host) => looked_up(&host, "MYSQL_HOST"),
        None => {
            draft.todo("database.hostname is missing");
            "127.0.0.1".to_owned()
        }
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    draft.key(
        "database.hostname, database.port",
        "hosts",
        &format!("[{}]", quoted_raw(&format!("{host}:{port}"))),
    );
    let user = settings.take("database.user").unwrap_or_else(|| "relay".to_owned());
    draft.comment("database.user; it needs REPLICATION SLAVE, REPLICATION CLIENT, and SELECT on the outbox tables");
    draft.key(
        "binlog-relay schema prints the GRANTs",
        "user",
        &quoted_raw(&looked_up(&user, "MYSQL_USER")),
    );
    settings.take("database.password");
    draft.key("database.password; set MYSQL_PASSWORD", "password", "\"${MYSQL_PASSWORD}\"");
    start(settings, name, draft);
    if let Some(id) = settings.take("database.server.id") {
        draft.comment("database.server.id: the relay derives an id of its own. Two replicas with one id cut each other off");
        draft.idle("so use this one only once Debezium is stopped for good", "server_id", &id);
    }
    tls(settings, draft);
}

fn start(settings: &mut Settings, name: &str, draft: &mut Draft) {
    let topic = settings.take("offsets.storage.topic");
    let topic = topic.or_else(|| settings.take("offset.storage.topic"));
    if topic.is_none() {
        draft.todo(&format!(
            "put the worker's offset.storage.topic here, if it is not {OFFSETS_TOPIC}. A standalone worker and Debezium \
             Server with a file of offsets have no such topic: use binlog.000012:4711 with their file and pos"
        ));
    }
    let topic = topic.unwrap_or_else(|| OFFSETS_TOPIC.to_owned());
    draft.text(
        "the relay goes on at the connector's offsets; stop the connector first",
        "start_from",
        &if name.is_empty() {
            format!("debezium:{topic}")
        } else {
            format!("debezium:{topic}/{name}")
        },
    );
    let mode = settings.take("snapshot.mode").unwrap_or_else(|| "initial".to_owned());
    let (value, what) = match mode.as_str() {
        "never" => ("earliest", "reads the binlog from its oldest event"),
        "no_data" | "schema_only" | "schema_only_recovery" | "recovery" => {
            ("latest", "publishes what is inserted from now on")
        }
        _ => (
            "earliest",
            "publishes the rows that are in the table too. The relay has the rows of the binlog that is left",
        ),
    };
    draft.idle(
        &format!("snapshot.mode = {mode} {what}; for a start without the connector's offsets"),
        "start_from",
        &format!("\"{value}\""),
    );
}

fn tls(settings: &mut Settings, draft: &mut Draft) {
    let Some(mode) = settings.take("database.ssl.mode") else { return };
    let mode = mode.to_ascii_lowercase().replace('-', "_");
    let mode = match mode.as_str() {
        "disabled" | "preferred" | "required" | "verify_ca" | "verify_identity" => mode,
        _ => {
            draft.leave_todo(&format!("database.ssl.mode = {mode}"), "there is no such mode");
            return;
        }
    };
    draft.section("[mysql.tls]");
    draft.text("database.ssl.mode", "mode", &mode);
    if mode.starts_with("verify") {
        draft.todo("database.ssl.truststore is a Java keystore: export its certificate as PEM (keytool -exportcert -rfc)");
        draft.text("database.ssl.truststore", "ca", "/etc/binlog-relay/ca.pem");
    }
    for option in ["database.ssl.truststore", "database.ssl.truststore.password"] {
        settings.take(option);
    }
    for option in ["database.ssl.keystore", "database.ssl.keystore.password"] {
        if settings.take(option).is_some() {
            draft.leave_todo(
                option,
                "export certificate and key as PEM files, and set cert and key in [mysql.tls]",
            );
        }
    }
}

fn kafka(settings: &mut Settings, draft: &mut Draft) {
    draft.section("[kafka]");
    let found = settings.take_any(&[
        "schema.history.internal.kafka.bootstrap.servers",
        "database.history.kafka.bootstrap.servers",
        "sink.kafka.producer.bootstrap.servers",
        "bootstrap.servers",
    ]);
    match found {
        Some((option, servers)) => {
            let servers = quoted_raw(&looked_up(&servers, "KAFKA_BOOTSTRAP_SERVERS"));
            draft.key(&option, "bootstrap_servers", &servers);
        }
        None => {
            draft.todo("the brokers are those of the worker (bootstrap.servers), which this file does not name");
            draft.text("bootstrap.servers of the worker", "bootstrap_servers", "127.0.0.1:9092");
        }
    }
    draft.text(
        "records become visible with the commit of their transaction: set isolation.level=read_committed in the \
         consumers, or choose idempotent",
        "delivery",
        "exactly-once",
    );
    draft.text("where the relay keeps its position", "checkpoint_topic", "offset.storage.topic");
    for (option, key) in [
        ("topic.creation.default.partitions", "topic_partitions"),
        ("topic.creation.default.replication.factor", "topic_replication"),
    ] {
        match settings.take(option) {
            Some(number) if number.parse::<u16>().is_ok_and(|number| number > 0) => {
                draft.key(option, key, &number)
            }
            Some(_) | None => {}
        }
    }
    if let Some(partitions) = settings.peek("topic.creation.enable") {
        let shown = format!("topic.creation.enable = {partitions}");
        draft.leave(&shown, "create_topics says whether the relay creates topics");
        settings.take("topic.creation.enable");
    }
}

/// The patterns of the outbox tables; empty where they must be written by hand.
fn tables(settings: &mut Settings, alias: &str, draft: &mut Draft) -> Vec<String> {
    let list = settings.take_any(&["table.include.list", "table.whitelist"]);
    let database = settings.take_any(&["database.include.list", "database.whitelist"]);
    let prefix = settings.take_any(&["topic.prefix", "database.server.name"]);
    let prefix = prefix.map(|(_, prefix)| prefix).unwrap_or_default();
    let mut tables = Vec::new();
    match (&list, &database) {
        (Some((_, list)), _) => {
            for expression in split_list(list) {
                match patterns(&expression) {
                    Some(patterns) => {
                        if patterns.iter().any(|it| it.contains(char::is_uppercase)) {
                            draft.leave_todo(
                                &format!("table.include.list: {expression}"),
                                "Debezium ignores letter case, and table does not: write the name as SHOW TABLES does",
                            );
                        }
                        tables.extend(patterns);
                    }
                    None => draft.leave_todo(
                        &format!("table.include.list: {expression}"),
                        "no pattern says the same: write the outbox tables that it matches, one [[outbox]] each",
                    ),
                }
            }
        }
        (None, Some((option, databases))) => draft.leave_todo(
            &format!("{option} = {databases}"),
            "without table.include.list the connector reads all of their tables: write the outbox table",
        ),
        (None, None) => {}
    }
    select(settings, alias, &prefix, tables, draft)
}

/// The commas of a list, but for those inside of brackets.
fn split_list(list: &str) -> Vec<String> {
    let (mut items, mut depth) = (vec![String::new()], 0i32);
    for c in list.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if c == ',' && depth <= 0 {
            items.push(String::new());
        } else if let Some(item) = items.last_mut() {
            item.push(c);
        }
    }
    items.into_iter().map(|it| it.trim().to_owned()).filter(|it| !it.is_empty()).collect()
}

/// Leaves out the tables that the router's predicate leaves out, where that can be told.
fn select(
    settings: &mut Settings,
    alias: &str,
    prefix: &str,
    tables: Vec<String>,
    draft: &mut Draft,
) -> Vec<String> {
    let negated = settings.take(&format!("transforms.{alias}.negate"));
    let Some(predicate) = settings.take(&format!("transforms.{alias}.predicate")) else {
        return tables;
    };
    let class = settings.take(&format!("predicates.{predicate}.type")).unwrap_or_default();
    let pattern = settings.take(&format!("predicates.{predicate}.pattern")).unwrap_or_default();
    let is_negated = negated.is_some_and(|it| it.eq_ignore_ascii_case("true"));
    let is_chosen = |table: &String| {
        let topic = format!("{prefix}.{}", table.replace('`', ""));
        matches(&pattern, &topic).map(|matches| matches != is_negated)
    };
    let chosen: Option<Vec<bool>> = tables.iter().map(is_chosen).collect();
    match chosen {
        Some(chosen)
            if class.ends_with(".TopicNameMatches")
                && !tables.iter().any(|it| it.contains('*')) =>
        {
            let (mut kept, mut left) = (Vec::new(), Vec::new());
            for (table, is_chosen) in tables.into_iter().zip(chosen) {
                if is_chosen { kept.push(table) } else { left.push(table) }
            }
            draft.leave(
                &format!("predicate {predicate} (TopicNameMatches {pattern})"),
                "its tables are those of [[outbox]]",
            );
            for table in left {
                draft.leave_todo(
                    &format!("table {table}"),
                    "the predicate keeps it from the router, so it is no outbox: keep a connector for it",
                );
            }
            kept
        }
        _ => {
            draft.leave_todo(
                &format!("predicate {predicate} ({class} {pattern})"),
                "the relay has no predicates: remove each [[outbox]] whose table it leaves out, or choose rows with where",
            );
            tables
        }
    }
}

fn outboxes(
    settings: &mut Settings,
    alias: &str,
    converters: Converters,
    tables: &[String],
    draft: &mut Draft,
) {
    let snapshot = settings.clone();
    let placeholder = ["shop.outbox".to_owned()];
    let is_known = !tables.is_empty();
    let tables = if is_known { tables } else { &placeholder };
    for (index, table) in tables.iter().enumerate() {
        draft.section("[[outbox]]");
        if !is_known {
            draft.todo("write the outbox table here");
        }
        draft.text("table.include.list", "table", table);
        if index == 0 {
            Router::new(settings, alias, converters).write(draft);
        } else {
            // The same keys again, but what is left was named already.
            let mut again = Draft::default();
            Router::new(&mut snapshot.clone(), alias, converters).write(&mut again);
            draft.append_keys(again);
        }
    }
}

/// The other transformations.
fn transforms(settings: &mut Settings, router: &str, draft: &mut Draft) {
    for alias in aliases(settings).iter().filter(|alias| *alias != router) {
        let prefix = format!("transforms.{alias}.");
        let class = settings.take(&format!("{prefix}type")).unwrap_or_default();
        let options: Vec<String> =
            settings.names().filter(|name| name.starts_with(&prefix)).map(str::to_owned).collect();
        for option in &options {
            settings.take(option);
        }
        let short = class
            .trim_end_matches("$Value")
            .trim_end_matches("$Key")
            .rsplit('.')
            .next()
            .unwrap_or_default();
        let what = match short {
            "RegexRouter" | "ByLogicalTableRouter" => {
                "it renames topics: write the topic that comes out of it as topic"
            }
            "Filter" => "it leaves records out: choose the rows with where",
            "InsertHeader" => "add the header to headers",
            "InsertField" | "ReplaceField" | "MaskField" | "ValueToKey" | "ExtractField"
            | "HoistField" | "SetSchemaMetadata" => {
                "it changes key or value: write what comes out of it as key and value"
            }
            "EventRouter" => "a second router: import it from a file of its own",
            _ => {
                "the relay has no transformations: write what comes out of it as topic, key, value or headers"
            }
        };
        draft.leave_todo(&format!("transforms.{alias} ({class})"), what);
    }
    settings.take("transforms");
}
