//! See the target of this name in `targets`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: binlog_relay_fuzz::write_seeds("rows"),
    |data: &[u8]| binlog_relay_fuzz::run("rows", data)
);
