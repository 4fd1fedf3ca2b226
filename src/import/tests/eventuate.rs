//! Imports of services of Eventuate CDC, with the settings of its own Docker files.

use super::read;
use crate::import::{Program, convert};

fn eventuate(text: &str) -> String {
    convert(Program::Eventuate, text, "service").unwrap_or_else(|error| panic!("{error}: {text}"))
}

const BINLOG: [(&str, &str); 10] = [
    ("SPRING_DATASOURCE_URL", "jdbc:mysql://mysql:3307/eventuate?useSSL=false"),
    ("SPRING_DATASOURCE_USERNAME", "mysqluser"),
    ("SPRING_DATASOURCE_PASSWORD", "mysqlpw"),
    ("SPRING_DATASOURCE_DRIVER_CLASS_NAME", "com.mysql.cj.jdbc.Driver"),
    ("EVENTUATELOCAL_KAFKA_BOOTSTRAP_SERVERS", "kafka:29092"),
    ("EVENTUATELOCAL_ZOOKEEPER_CONNECTION_STRING", "zookeeper:2181"),
    ("EVENTUATELOCAL_CDC_DB_USER_NAME", "root"),
    ("EVENTUATELOCAL_CDC_DB_PASSWORD", "rootpassword"),
    ("EVENTUATELOCAL_CDC_READER_NAME", "MySqlReader"),
    ("EVENTUATELOCAL_CDC_MYSQL_BINLOG_CLIENT_UNIQUE_ID", "1234567890"),
];

fn environment() -> String {
    BINLOG.iter().map(|(name, value)| format!("{name}={value}\n")).collect()
}

#[test]
fn a_service_is_read_in_each_of_its_forms() {
    let properties: String = BINLOG
        .iter()
        .map(|(name, value)| format!("{}={value}\n", name.to_lowercase().replace('_', ".")))
        .collect();
    let list: String =
        BINLOG.iter().map(|(name, value)| format!("      - {name}={value}\n")).collect();
    let map: String =
        BINLOG.iter().map(|(name, value)| format!("      {name}: {value}\n")).collect();
    let head = "version: '3'\nservices:\n  mysql:\n    image: mysql:8\n    command: [\"a\", \"b\"]\n    environment:\n      \
                MYSQL_ROOT_PASSWORD: x\n  cdc-service:\n    image: eventuateio/eventuate-cdc-service\n    depends_on:\n      \
                - mysql\n    environment:\n";
    for text in [
        environment(),
        properties,
        format!("{head}{list}"),
        format!("{head}{map}    ports:\n      - \"8099:8080\"\n"),
    ] {
        let printed = eventuate(&text);
        let config = read(&printed);
        assert_eq!((config.mysql.host.as_str(), config.mysql.port), ("mysql", 3307), "{text}");
        assert_eq!((config.mysql.user.as_str(), config.name.as_str()), ("root", "MySqlReader"));
        assert_eq!(config.kafka.checkpoint.key, "MySqlReader");
        assert_eq!(config.start_from, None);
        let outbox = &config.outbox[0];
        assert_eq!(
            (outbox.table.to_string(), outbox.preset.as_str()),
            ("eventuate.events".into(), "eventuate-local")
        );
        assert!(
            !printed.contains("password\"")
                && !printed.contains("mysqlpw")
                && !printed.contains("rootpassword")
        );
        for name in ["ZOOKEEPER_CONNECTION_STRING", "DRIVER_CLASS_NAME", "#server_id = 1234567890"]
        {
            assert!(printed.contains(name), "{name} is not in\n{printed}");
        }
    }
}

#[test]
fn several_readers_and_pipelines_become_the_relay_of_the_first_reader_of_a_binlog() {
    let text = "EVENTUATE_CDC_READER_MYSQLREADER_TYPE=mysql-binlog
EVENTUATE_CDC_READER_MYSQLREADER_DATASOURCEURL=jdbc:mysql://mysqlbinlogpipeline:3306/shop
EVENTUATE_CDC_READER_MYSQLREADER_DATASOURCEUSERNAME=mysqluser
EVENTUATE_CDC_READER_MYSQLREADER_CDCDBUSERNAME=root
EVENTUATE_CDC_READER_MYSQLREADER_CDCDBPASSWORD=rootpassword
EVENTUATE_CDC_READER_MYSQLREADER_OFFSETSTOREKEY=MySqlBinlog
EVENTUATE_CDC_READER_MYSQLREADER_OUTBOXID=1
EVENTUATE_CDC_READER_MYSQLREADER_READOLDDEBEZIUMDBOFFSETSTORAGETOPIC=false
EVENTUATE_CDC_READER_WAL_TYPE=postgres-wal
EVENTUATE_CDC_READER_WAL_DATASOURCEPASSWORD=pgpw
EVENTUATE_CDC_READER_OTHER_TYPE=mysql-binlog
EVENTUATE_CDC_PIPELINE_P1_TYPE=eventuate-local
EVENTUATE_CDC_PIPELINE_P1_READER=MySqlReader
EVENTUATE_CDC_PIPELINE_P4_TYPE=eventuate-tram
EVENTUATE_CDC_PIPELINE_P4_READER=MYSQLREADER
EVENTUATE_CDC_PIPELINE_P4_EVENTUATEDATABASESCHEMA=none
EVENTUATE_CDC_PIPELINE_P4_SOURCETABLENAME=message2
EVENTUATE_CDC_PIPELINE_P3_TYPE=eventuate-local
EVENTUATE_CDC_PIPELINE_P3_READER=WAL
EVENTUATE_CDC_CLEANER_C1_PIPELINE=P4
EVENTUATE_SOMETHING_NEW=secret1
EVENTUATELOCAL_KAFKA_BOOTSTRAP_SERVERS=${KAFKA_SERVERS}
";
    let printed = eventuate(text);
    let config = read(&printed);
    assert_eq!(
        (config.name.as_str(), config.kafka.checkpoint.key.as_str()),
        ("mysqlreader", "MySqlBinlog")
    );
    let outboxes: Vec<_> = config
        .outbox
        .iter()
        .map(|it| (it.table.to_string(), it.preset.as_str(), it.outbox_id))
        .collect();
    assert_eq!(
        outboxes,
        [
            ("eventuate.events".to_owned(), "eventuate-local", Some(1)),
            ("shop.message2".to_owned(), "eventuate-tram", Some(1)),
        ]
    );
    for words in [
        "TODO: reader WAL (postgres-wal): ",
        "TODO: reader OTHER (mysql-binlog): ",
        "pipeline P3: belongs to the reader WAL",
        "TODO: EVENTUATE_CDC_CLEANER_C1_PIPELINE",
        "TODO: EVENTUATE_SOMETHING_NEW",
        "bootstrap_servers = \"${KAFKA_SERVERS}\"",
    ] {
        assert!(printed.contains(words), "{words} is not in\n{printed}");
    }
    assert!(!printed.contains("rootpassword") && !printed.contains("pgpw"), "{printed}");
}

#[test]
fn a_type_and_a_schema_of_the_service_decide_about_its_table() {
    for (settings, table, preset) in [
        ("EVENTUATE_CDC_TYPE=${EVENTUATE_CDC_TYPE}\n", "eventuate.events", "eventuate-local"),
        ("EVENTUATE_CDC_TYPE=EventuateTram\n", "eventuate.message", "eventuate-tram"),
        (
            "EVENTUATE_CDC_TYPE=EventuateTram\nEVENTUATE_DATABASE_SCHEMA=shop\n",
            "shop.message",
            "eventuate-tram",
        ),
        (
            "EVENTUATELOCAL_CDC_SOURCE_TABLE_NAME=my.events\n",
            "eventuate.`my.events`",
            "eventuate-local",
        ),
    ] {
        let config = read(&eventuate(&(environment() + settings)));
        assert_eq!(
            (config.outbox[0].table.to_string().as_str(), config.outbox[0].preset.as_str()),
            (table, preset)
        );
    }
}

#[test]
fn what_reads_no_binlog_of_mysql_says_what_to_do() {
    for (settings, understood, words) in [
        ("SPRING_PROFILES_ACTIVE=PostgresWal", true, "PostgreSQL"),
        ("SPRING_PROFILES_ACTIVE=EventuatePolling", true, "polls"),
        ("SPRING_PROFILES_ACTIVE=Redis", true, "another broker"),
        ("EVENTUATE_CDC_READER_A_TYPE=polling", true, "no reader of the type mysql-binlog"),
        ("SPRING_DATASOURCE_URL=jdbc:sqlserver://mssql;databaseName=x", true, "jdbc:sqlserver"),
        ("EVENTUATE_CDC_TYPE=Other", true, "no pipeline"),
    ] {
        let error = convert(Program::Eventuate, &(environment() + settings), "file").unwrap_err();
        assert_eq!(error.is_understood(), understood, "{error}");
        assert!(error.to_string().contains(words) && error.hint().is_some(), "{error}");
    }
    for text in ["A=b", "services:\n  a:\n    environment:\n      A: b\n", ""] {
        let error = convert(Program::Eventuate, text, "file").unwrap_err();
        assert!(!error.is_understood() && error.hint().is_some(), "{error}");
    }
}
