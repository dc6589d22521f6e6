#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flywheeldb::fuzzing::framing(bytes));
