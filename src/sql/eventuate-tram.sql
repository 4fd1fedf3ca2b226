-- Preset eventuate-tram: the tables of Eventuate Tram, and the user the relay logs in as.
-- Made for the database that is chosen, MySQL 5.7 or later: mysql eventuate < this file

-- The outbox: each row that is inserted here becomes a record in the topic of its destination.
CREATE TABLE IF NOT EXISTS message (
  id VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin PRIMARY KEY,
  destination VARCHAR(255) NOT NULL,
  headers TEXT NOT NULL,
  payload LONGTEXT NOT NULL,
  published SMALLINT DEFAULT 0,
  message_partition SMALLINT,
  creation_time BIGINT
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4;

-- By which consumers know what they have handled already; not relayed.
CREATE TABLE IF NOT EXISTS received_messages (
  consumer_id VARCHAR(255) NOT NULL,
  message_id VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  creation_time BIGINT,
  published SMALLINT DEFAULT 0,
  PRIMARY KEY (consumer_id, message_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4;

-- The relay's user. Choose a password before you run this.
CREATE USER IF NOT EXISTS 'relay'@'%' IDENTIFIED BY 'change-me';

-- REPLICATION SLAVE reads the binlog, REPLICATION CLIENT lists its files.
GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'relay'@'%';

-- SELECT shows the relay the columns of the table; it never writes. The name without a database stands for
-- the database that is chosen.
GRANT SELECT ON message TO 'relay'@'%';

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
