-- Preset event-sourcing: the events of aggregates, and the user the relay logs in as.
-- Made for the database that is chosen, MySQL 5.7 or later: mysql shop < this file

-- Each row that is inserted here becomes a record in the topic of its aggregate_type.
CREATE TABLE IF NOT EXISTS events (
  event_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  aggregate_id VARCHAR(255) NOT NULL,
  aggregate_type VARCHAR(249) NOT NULL,
  event_type VARCHAR(255) NOT NULL,
  event_version BIGINT UNSIGNED NOT NULL,
  event_data JSON NOT NULL,
  occurred_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  UNIQUE KEY version_of_aggregate (aggregate_type, aggregate_id, event_version)
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
