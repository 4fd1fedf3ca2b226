//! A service of Eventuate CDC, as a configuration of the relay.
//!
//! A service may have several readers, each with pipelines of its own. One reader is one relay, so the first that reads
//! the binlog of MySQL is printed, and the others are named.

mod left;

use std::collections::BTreeSet;

use self::left::leave_rest;
use super::Error;
use super::draft::{Draft, quoted_raw, relay_name};
use super::properties::{Settings, properties, yaml};

/// Reads a service's environment in any of its forms.
///
/// # Errors
/// It is none, or it reads no binlog of MySQL.
pub fn convert(text: &str, file: &str) -> Result<String, Error> {
    let unreadable =
        |what: String| Error::Unreadable { file: file.to_owned(), program: "Eventuate CDC", what };
    let mut settings = read(text).map_err(unreadable)?;
    if !settings.names().any(|name| name.starts_with("EVENTUATE")) {
        return Err(unreadable("it has no setting EVENTUATE…".to_owned()));
    }
    ensure_mysql_and_kafka(&mut settings)?;
    let readers = names_of(&settings, "EVENTUATE_CDC_READER_");
    let mut draft = Draft::default();
    let reader = choose(&mut settings, &readers, &mut draft)?;
    write_reader(&mut settings, reader.as_deref(), &mut draft);
    write_outboxes(&mut settings, reader.as_deref(), &mut draft)?;
    write_http(&mut settings, &mut draft);
    leave_rest(&settings, &mut draft);
    let title = match &reader {
        Some(reader) => format!(
            "From Eventuate CDC's reader {reader}. Each comment names the setting that a key comes from."
        ),
        None => {
            "From Eventuate CDC. Each comment names the setting that a key comes from.".to_owned()
        }
    };
    Ok(draft.finish(&title))
}

/// All settings under the names that they have in an environment.
fn read(text: &str) -> Result<Settings, String> {
    let is_yaml =
        text.lines().any(|line| line.trim_end() == "services:" || line.trim() == "environment:");
    let settings = if is_yaml { of_compose(text)? } else { properties(text) };
    Ok(settings.renamed(|name| Some(as_variable(name))))
}

/// Spring reads `eventuatelocal.cdc.reader.name` and `EVENTUATELOCAL_CDC_READER_NAME` alike.
fn as_variable(name: &str) -> String {
    name.replace('-', "").replace('.', "_").to_uppercase()
}

/// The environment of the service that has settings of Eventuate CDC.
fn of_compose(text: &str) -> Result<Settings, String> {
    // What import does not read is of other services, or of no interest, such as commands in brackets.
    let lines = text.lines().map(|line| {
        if line.contains(['{', '|', '>', '&', '*']) && !line.contains("${") { "" } else { line }
    });
    let pairs = yaml(&lines.collect::<Vec<_>>().join("\n"));
    let pairs = pairs.map_err(|line| format!("line {line} is YAML that import does not read"))?;
    let mut services: Vec<(Vec<String>, Settings)> = Vec::new();
    for (path, value) in pairs {
        let Some(at) = path.iter().position(|name| name == "environment") else { continue };
        let service = path[..at].to_vec();
        if services.last().is_none_or(|(known, _)| *known != service) {
            services.push((service, Settings::default()));
        }
        let Some((_, settings)) = services.last_mut() else { continue };
        match path.get(at + 1..) {
            Some([number]) if number.chars().all(|c| c.is_ascii_digit()) => {
                let (name, value) = value.split_once('=').unwrap_or((&value, ""));
                settings.insert(name.trim(), value);
            }
            Some([name]) => settings.insert(name.as_str(), value),
            _ => {}
        }
    }
    let is_cdc = |settings: &Settings| {
        settings.names().any(|name| {
            name.starts_with("EVENTUATE_CDC_READER_")
                || name == "EVENTUATELOCAL_CDC_READER_NAME"
                || name == "EVENTUATELOCAL_CDC_DB_USER_NAME"
        })
    };
    let mut cdc = services.into_iter().map(|(_, settings)| settings).filter(is_cdc);
    match (cdc.next(), cdc.next()) {
        (Some(settings), None) => Ok(settings),
        (Some(_), Some(_)) => {
            Err("it has several services of Eventuate CDC: import them one by one".to_owned())
        }
        (None, _) => Err("it has no service with settings of Eventuate CDC".to_owned()),
    }
}

fn ensure_mysql_and_kafka(settings: &mut Settings) -> Result<(), Error> {
    let profiles = settings.take("SPRING_PROFILES_ACTIVE").unwrap_or_default();
    for profile in profiles.split(',').map(str::trim) {
        let (what, hint) = match profile {
            "PostgresWal" => ("reads PostgreSQL", "the relay reads MySQL only"),
            "ActiveMQ" | "RabbitMQ" | "Redis" => {
                ("publishes to another broker", "the relay publishes to Kafka only")
            }
            "EventuatePolling" => (
                "polls the tables",
                "the relay reads the binlog: see \"From polling\" in docs/coming-from-eventuate.md, remove the profile, \
                 and import again",
            ),
            _ => continue,
        };
        return Err(Error::NoOutbox {
            what: format!("the service {what} (profile {profile})"),
            hint: hint.to_owned(),
        });
    }
    Ok(())
}

/// The `<NAME>`s of settings.
fn names_of(settings: &Settings, prefix: &str) -> BTreeSet<String> {
    let names = settings.names().filter_map(|name| name.strip_prefix(prefix)?.split_once('_'));
    names.map(|(name, _)| name.to_owned()).filter(|name| !name.is_empty()).collect()
}

/// The first reader of the binlog of MySQL; `None` where the service has no names of readers.
fn choose(
    settings: &mut Settings,
    readers: &BTreeSet<String>,
    draft: &mut Draft,
) -> Result<Option<String>, Error> {
    let mut chosen = None;
    let mut others = Vec::new();
    for reader in readers {
        let kind =
            settings.peek(&format!("EVENTUATE_CDC_READER_{reader}_TYPE")).unwrap_or("mysql-binlog");
        let is_binlog = kind == "mysql-binlog";
        let what = match kind {
            "mysql-binlog" => "a relay of its own: import it from a file without the other readers",
            "polling" => {
                "the relay reads the binlog: see \"From polling\" in docs/coming-from-eventuate.md"
            }
            _ => "the relay reads MySQL only",
        };
        if is_binlog && chosen.is_none() {
            chosen = Some(reader.clone());
        } else {
            others.push((format!("reader {reader} ({kind})"), what, reader.clone()));
        }
    }
    if chosen.is_none() && !readers.is_empty() {
        let kinds: Vec<_> = others.iter().map(|(name, ..)| name.clone()).collect();
        return Err(Error::NoOutbox {
            what: format!("the service has no reader of the type mysql-binlog: {}", kinds.join(", ")),
            hint: "the relay reads the binlog of MySQL; from polling, see docs/coming-from-eventuate.md".to_owned(),
        });
    }
    for (name, what, reader) in others {
        draft.leave_todo(&name, what);
        let prefix = format!("EVENTUATE_CDC_READER_{reader}_");
        let names: Vec<_> =
            settings.names().filter(|it| it.starts_with(&prefix)).map(str::to_owned).collect();
        for name in names {
            settings.take(&name);
        }
    }
    Ok(chosen)
}

/// A setting of the reader, else of the service.
struct Reader<'a> {
    settings: &'a mut Settings,
    prefix: Option<String>,
}

impl Reader<'_> {
    fn take(&mut self, of_reader: &[&str], of_service: &[&str]) -> Option<(String, String)> {
        let mut names = Vec::new();
        if let Some(prefix) = &self.prefix {
            names.extend(of_reader.iter().map(|name| format!("{prefix}{name}")));
        }
        names.extend(of_service.iter().map(|name| (*name).to_owned()));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.settings.take_any(&names).filter(|(_, value)| !value.is_empty())
    }
}

fn reader_of<'a>(settings: &'a mut Settings, reader: Option<&str>) -> Reader<'a> {
    Reader { settings, prefix: reader.map(|reader| format!("EVENTUATE_CDC_READER_{reader}_")) }
}

/// A value that Docker would replace is for the environment, as is a secret.
fn printed(value: &str) -> String {
    match value.strip_prefix("${").and_then(|it| it.split(['}', ':']).next()) {
        Some(name)
            if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.is_empty() =>
        {
            format!("${{{name}}}")
        }
        _ => value.replace("${", "$${"),
    }
}

fn write_reader(settings: &mut Settings, reader: Option<&str>, draft: &mut Draft) {
    let mut reader_settings = reader_of(settings, reader);
    reader_settings.take(&["TYPE"], &[]);
    let named = reader_settings.take(&["READERNAME"], &["EVENTUATELOCAL_CDC_READER_NAME"]);
    // A reader without a name is called as its settings are, in lower case.
    let (from, name) = match (named, reader) {
        (Some(named), _) => named,
        (None, Some(reader)) => ("the reader's name".to_owned(), reader.to_lowercase()),
        (None, None) => {
            draft.leave_todo(
                "EVENTUATELOCAL_CDC_READER_NAME",
                "is missing: write the reader's name as name",
            );
            ("EVENTUATELOCAL_CDC_READER_NAME".to_owned(), "eventuate".to_owned())
        }
    };
    let key = reader_settings.take(&["OFFSETSTOREKEY"], &["EVENTUATELOCAL_CDC_OFFSET_STORE_KEY"]);
    draft.section("# The relay's name; its records name it in relay-sequence.");
    draft.text(&from, "name", &relay_name(&name));
    draft.section("[mysql]");
    let url = reader_settings.take(&["DATASOURCEURL"], &["SPRING_DATASOURCE_URL"]);
    match url.as_ref().and_then(|(_, url)| address(url)) {
        Some(address) => {
            let (from, _) = url.clone().unwrap_or_default();
            draft.key(&from, "hosts", &format!("[{}]", quoted_raw(&printed(&address))));
        }
        None => {
            draft.todo("write the server; SPRING_DATASOURCE_URL is missing, or no jdbc:mysql://host:port/database");
            draft.key("SPRING_DATASOURCE_URL", "hosts", "[\"127.0.0.1:3306\"]");
        }
    }
    write_user(&mut reader_settings, draft);
    draft.comment("the stored position of the reader is the start. Leave start_from out, so that a wrong key halts");
    draft.idle("for a start without a stored position", "start_from", "\"earliest\"");
    if let Some((from, id)) = reader_settings
        .take(&["MYSQLBINLOGCLIENTUNIQUEID"], &["EVENTUATELOCAL_CDC_MYSQL_BINLOG_CLIENT_UNIQUE_ID"])
    {
        draft.idle(
            &format!("{from}: the relay derives an id of its own; use this one only once Eventuate CDC is stopped for good"),
            "server_id",
            &id,
        );
    }
    write_kafka(&mut reader_settings, &name, key, draft);
}

fn write_user(reader: &mut Reader<'_>, draft: &mut Draft) {
    let user = reader.take(&["CDCDBUSERNAME"], &["EVENTUATELOCAL_CDC_DB_USER_NAME"]);
    let other = reader.take(&["DATASOURCEUSERNAME"], &["SPRING_DATASOURCE_USERNAME"]);
    let (from, user) = user
        .or(other)
        .unwrap_or_else(|| ("a user with REPLICATION SLAVE".to_owned(), "relay".to_owned()));
    draft.comment(&format!(
        "{from}; it needs REPLICATION SLAVE, REPLICATION CLIENT, and SELECT on the outbox tables"
    ));
    draft.key("binlog-relay schema prints the GRANTs", "user", &quoted_raw(&printed(&user)));
    reader.take(
        &["CDCDBPASSWORD", "DATASOURCEPASSWORD"],
        &["EVENTUATELOCAL_CDC_DB_PASSWORD", "SPRING_DATASOURCE_PASSWORD"],
    );
    draft.key("the user's password; set MYSQL_PASSWORD", "password", "\"${MYSQL_PASSWORD}\"");
}

fn write_kafka(
    reader: &mut Reader<'_>,
    name: &str,
    key: Option<(String, String)>,
    draft: &mut Draft,
) {
    draft.section("[kafka]");
    match reader.take(&[], &["EVENTUATELOCAL_KAFKA_BOOTSTRAP_SERVERS"]) {
        Some((from, servers)) => {
            draft.key(&from, "bootstrap_servers", &quoted_raw(&printed(&servers)));
        }
        None => {
            draft.todo("EVENTUATELOCAL_KAFKA_BOOTSTRAP_SERVERS is missing: write the brokers");
            draft.text(
                "EVENTUATELOCAL_KAFKA_BOOTSTRAP_SERVERS",
                "bootstrap_servers",
                "127.0.0.1:9092",
            );
        }
    }
    draft.text(
        "for clients as they are: they read uncommitted. With exactly-once set isolation.level=read_committed in them",
        "delivery",
        "idempotent",
    );
    let topic =
        reader.take(&["OFFSETSTORAGETOPICNAME"], &["EVENTUATELOCAL_CDC_OFFSET_STORAGE_TOPIC_NAME"]);
    let (from, topic) = topic.unwrap_or_else(|| {
        ("the topic of the reader's position".to_owned(), "offset.storage.topic".to_owned())
    });
    draft.text(&from, "checkpoint_topic", &topic);
    let (from, key) =
        key.unwrap_or_else(|| ("the key of the reader's position".to_owned(), name.to_owned()));
    draft.text(&from, "checkpoint_key", &key);
}

/// `host:port` of a JDBC URL.
fn address(url: &str) -> Option<String> {
    let rest = url.strip_prefix("jdbc:")?.split_once("://")?.1;
    let host = rest.split(['/', '?']).next()?.rsplit('@').next()?;
    let host = host.split(',').next().filter(|host| !host.is_empty())?;
    // The port of a host that is looked up is a part of it: ${HOST}:3306.
    let has_port =
        host.rsplit_once(':').is_some_and(|(_, port)| port.chars().all(|c| c.is_ascii_digit()));
    Some(if has_port { host.to_owned() } else { format!("{host}:3306") })
}

fn database(url: &str) -> Option<String> {
    let path = url.split_once("://")?.1.split_once('/')?.1;
    path.split('?').next().filter(|name| !name.is_empty()).map(str::to_owned)
}

fn write_outboxes(
    settings: &mut Settings,
    reader: Option<&str>,
    draft: &mut Draft,
) -> Result<(), Error> {
    let url = reader
        .and_then(|reader| settings.peek(&format!("EVENTUATE_CDC_READER_{reader}_DATASOURCEURL")));
    let of_url = url.or_else(|| settings.peek("SPRING_DATASOURCE_URL")).and_then(database);
    ensure_mysql_url(settings, reader)?;
    let outbox_id = reader_of(settings, reader).take(&["OUTBOXID"], &["EVENTUATE_OUTBOX_ID"]);
    let pipelines = names_of(settings, "EVENTUATE_CDC_PIPELINE_");
    let mut written = 0;
    if pipelines.is_empty() {
        let (from, kind) = settings.take_any(&["EVENTUATE_CDC_TYPE"]).unwrap_or_else(|| {
            ("EVENTUATE_CDC_TYPE, without which it is".to_owned(), "EventuateLocal".to_owned())
        });
        let schema = settings.take("EVENTUATE_DATABASE_SCHEMA");
        let table = settings.take("EVENTUATELOCAL_CDC_SOURCE_TABLE_NAME");
        let outbox = Outbox { from, kind, schema, table };
        written += usize::from(outbox.write(of_url.as_deref(), outbox_id.as_ref(), draft));
    }
    for pipeline in &pipelines {
        let mut take =
            |name: &str| settings.take(&format!("EVENTUATE_CDC_PIPELINE_{pipeline}_{name}"));
        let kind = take("TYPE").unwrap_or_default();
        let of_reader = take("READER").unwrap_or_default();
        let (schema, table) = (take("EVENTUATEDATABASESCHEMA"), take("SOURCETABLENAME"));
        take("NAME");
        let is_ours =
            reader.is_none_or(|reader| as_variable(&of_reader).eq_ignore_ascii_case(reader));
        if is_ours {
            let from = format!("EVENTUATE_CDC_PIPELINE_{pipeline}_TYPE");
            let outbox = Outbox { from, kind, schema, table };
            written += usize::from(outbox.write(of_url.as_deref(), outbox_id.as_ref(), draft));
        } else {
            draft.leave(
                &format!("pipeline {pipeline}"),
                &format!("belongs to the reader {of_reader}"),
            );
        }
    }
    if written == 0 {
        return Err(Error::NoOutbox {
            what: "no pipeline of the reader is of the type eventuate-local or eventuate-tram"
                .to_owned(),
            hint: "the relay has presets for these two; write [[outbox]] by hand for other tables"
                .to_owned(),
        });
    }
    Ok(())
}

fn ensure_mysql_url(settings: &Settings, reader: Option<&str>) -> Result<(), Error> {
    let of_reader = reader
        .and_then(|reader| settings.peek(&format!("EVENTUATE_CDC_READER_{reader}_DATASOURCEURL")));
    let Some(url) = of_reader.or_else(|| settings.peek("SPRING_DATASOURCE_URL")) else {
        return Ok(());
    };
    let kind = url.split("://").next().unwrap_or_default();
    if !kind.starts_with("jdbc:") || kind.contains("mysql") || kind.contains("mariadb") {
        return Ok(());
    }
    Err(Error::NoOutbox {
        what: format!("the service reads {kind}"),
        hint: "the relay reads MySQL only: keep Eventuate CDC for other databases".to_owned(),
    })
}

struct Outbox {
    from: String,
    kind: String,
    schema: Option<String>,
    table: Option<String>,
}

impl Outbox {
    /// Answers `false` where there is no preset for it.
    fn write(
        &self,
        of_url: Option<&str>,
        outbox_id: Option<&(String, String)>,
        draft: &mut Draft,
    ) -> bool {
        let (preset, table) = match as_variable(&self.kind).as_str() {
            kind if kind.starts_with("${") => {
                draft.leave_todo(
                    &format!("{} = {}", self.from, self.kind),
                    "is set elsewhere: eventuate-local is assumed; the other preset is eventuate-tram",
                );
                ("eventuate-local", "events")
            }
            "EVENTUATELOCAL" => ("eventuate-local", "events"),
            "EVENTUATETRAM" => ("eventuate-tram", "message"),
            _ => {
                draft.leave_todo(
                    &format!("{} = {}", self.from, self.kind),
                    "there is no such preset",
                );
                return false;
            }
        };
        draft.section("[[outbox]]");
        let schema = match self.schema.as_deref().filter(|it| !it.is_empty()) {
            Some("none" | "NONE") => of_url.unwrap_or("eventuate"),
            Some(schema) => schema,
            None => "eventuate",
        };
        let table = self.table.as_deref().filter(|it| !it.is_empty()).unwrap_or(table);
        let name = |name: &str| match printed(name) {
            name if name.starts_with("${") => name,
            name if name.chars().all(|c| c.is_alphanumeric() || "_-$".contains(c)) => name,
            name => format!("`{name}`"),
        };
        let table = format!("{}.{}", name(schema), name(table));
        draft.key("its database schema and source table", "table", &quoted_raw(&table));
        draft.text(&self.from, "preset", preset);
        if let Some((from, id)) = outbox_id.filter(|(_, id)| id.chars().all(|c| c.is_ascii_digit()))
        {
            draft.key(
                &format!("{from}; used where the database generates the ids"),
                "outbox_id",
                id,
            );
        }
        true
    }
}

fn write_http(settings: &mut Settings, draft: &mut Draft) {
    let port = settings.take("SERVER_PORT").unwrap_or_else(|| "8080".to_owned());
    draft.section("[http]");
    draft.idle(
        "SERVER_PORT: without listen there is no HTTP",
        "listen",
        &format!("\"0.0.0.0:{port}\""),
    );
}
