-- Preset eventuate-local: the tables of Eventuate Local, and the user the relay logs in as.
-- Made for the database that is chosen, MySQL 5.7 or later: mysql eventuate < this file

-- The outbox: each row that is inserted here becomes a record in the topic of its entity_type.
CREATE TABLE IF NOT EXISTS events (
  event_id VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin PRIMARY KEY,
  event_type VARCHAR(1000) NOT NULL,
  event_data LONGTEXT NOT NULL,
  entity_type VARCHAR(255) NOT NULL,
  entity_id VARCHAR(255) NOT NULL,
  triggering_event VARCHAR(1000),
  metadata VARCHAR(1000),
  published TINYINT DEFAULT 0,
  KEY events_of_entity (entity_type, entity_id, event_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4;

-- The version of each entity, by which writers lock it; not relayed.
CREATE TABLE IF NOT EXISTS entities (
  entity_type VARCHAR(255) NOT NULL,
  entity_id VARCHAR(255) NOT NULL,
  entity_version VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  PRIMARY KEY (entity_type, entity_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4;

-- States of entities, so that not all their events need be read; not relayed.
CREATE TABLE IF NOT EXISTS snapshots (
  entity_type VARCHAR(255) NOT NULL,
  entity_id VARCHAR(255) NOT NULL,
  entity_version VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  snapshot_type VARCHAR(1000) NOT NULL,
  snapshot_json LONGTEXT NOT NULL,
  triggering_events LONGTEXT,
  PRIMARY KEY (entity_type, entity_id, entity_version)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4;

-- The relay's user. Choose a password before you run this.
CREATE USER IF NOT EXISTS 'relay'@'%' IDENTIFIED BY 'change-me';

-- REPLICATION SLAVE reads the binlog, REPLICATION CLIENT lists its files.
GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'relay'@'%';

-- SELECT shows the relay the columns of the table; it never writes. The name without a database stands for
-- the database that is chosen.
GRANT SELECT ON events TO 'relay'@'%';

-- The server must log whole rows: log_bin=ON, binlog_format=ROW, binlog_row_image=FULL, and best with
-- binlog_row_metadata=FULL (MySQL 8.0) and gtid_mode=ON. binlog-relay check says what is missing.

-- In Kafka, where the brokers have an authorizer, the relay needs these rights. NAME is the name in its
-- configuration, PRINCIPAL who it is to the brokers, and PREFIX what its destination topics begin with
-- ('*' with --resource-pattern-type literal for all). Create is needed only while create_topics is true,
-- DescribeConfigs only to say which row is too large for a topic, and Read on the destination topics only in
-- idempotent delivery (which needs IdempotentWrite on the cluster as well, for brokers before 2.8). The command
-- dead-letter needs Read on its topics, and start_from = "debezium:…" on the offset topic.
--
--   kafka-acls.sh --bootstrap-server BROKER --add --allow-principal User:PRINCIPAL \
--     --operation Write --operation Describe \
--     --transactional-id NAME- --resource-pattern-type prefixed
--
--   kafka-acls.sh --bootstrap-server BROKER --add --allow-principal User:PRINCIPAL \
--     --operation Read --operation Write --operation Describe --operation DescribeConfigs --operation Create \
--     --topic offset.storage.topic
--
--   kafka-acls.sh --bootstrap-server BROKER --add --allow-principal User:PRINCIPAL \
--     --operation Read --operation Write --operation Describe --operation DescribeConfigs --operation Create \
--     --topic PREFIX --resource-pattern-type prefixed
