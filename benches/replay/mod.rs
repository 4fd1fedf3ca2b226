//! What the benches stand on: binlog files recorded from a real server, and the line from an event's bytes
//! to the record that is handed to the producer, with no server at either end.
#![allow(dead_code, reason = "each bench needs a part of it")]

pub mod line;
pub mod recording;
pub mod rows;
pub mod source;
