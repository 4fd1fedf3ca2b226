//! See the target of this name in `targets/relay.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: binlog_relay_fuzz::write_seeds("relay_sequence"),
    |data: &[u8]| binlog_relay_fuzz::run("relay_sequence", data)
);
