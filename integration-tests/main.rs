//! The relay against real servers: each file beside this one is a group of claims about it.

mod absence;
mod checkpoint_topic;
mod columns;
mod commands;
mod compressed;
mod database_ids;
mod eventuate_takeover;
mod golden_records;
mod halts;
mod harness;
mod identity;
mod kafka_failures;
mod large;
mod mysql_failures;
mod refusals;
mod rotation;
mod rows;
mod shutdown;
mod start;
mod storm;
mod takeover;
mod text;
mod users;
mod worked_example;
