-- Run once, when the data directory is made: what binlog-relay schema prints for both presets, in a database
-- of their own and with the demo's password.

CREATE DATABASE IF NOT EXISTS eventuate;
USE eventuate;

-- Preset eventuate-local.
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

-- Preset eventuate-tram.
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

-- The binlog is read with the two REPLICATION rights; SELECT is for the columns of the outbox tables.
CREATE USER IF NOT EXISTS 'relay'@'%' IDENTIFIED BY 'relay';
GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'relay'@'%';
GRANT SELECT ON events TO 'relay'@'%';
GRANT SELECT ON message TO 'relay'@'%';
