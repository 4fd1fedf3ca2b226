-- Run once, when the data directory is made: the outbox tables, and the user the relay logs in as.

CREATE DATABASE IF NOT EXISTS eventuate;
USE eventuate;

-- Preset eventuate-local.
CREATE TABLE events (
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

-- Preset eventuate-tram.
CREATE TABLE message (
  id VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin PRIMARY KEY,
  destination VARCHAR(255) NOT NULL,
  headers TEXT NOT NULL,
  payload LONGTEXT NOT NULL,
  published SMALLINT DEFAULT 0,
  message_partition SMALLINT,
  creation_time BIGINT
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4;

-- The binlog is read with the two REPLICATION rights; SELECT is for the columns of the tables.
CREATE USER relay@'%' IDENTIFIED BY 'relay';
GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO relay@'%';
GRANT SELECT ON eventuate.* TO relay@'%';
