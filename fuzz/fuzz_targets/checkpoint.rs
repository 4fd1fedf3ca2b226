//! See the target of this name in `targets/relay.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: binlog_relay_fuzz::write_seeds("checkpoint"),
    |data: &[u8]| binlog_relay_fuzz::run("checkpoint", data)
);
