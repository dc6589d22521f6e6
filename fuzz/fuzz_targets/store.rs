//! The life of a store on a simulated disk, beside a model of it: the modules of tests/crash that it needs.
#![no_main]

#[path = "../../tests/crash/disk_state.rs"]
mod disk_state;
#[path = "../../tests/crash/model.rs"]
mod model;
#[path = "../../tests/crash/random.rs"]
mod random;
#[path = "../../tests/crash/sim_disk.rs"]
mod sim_disk;
#[path = "../../tests/crash/subject.rs"]
mod subject;
#[path = "../../tests/crash/workload.rs"]
mod workload;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| model::live(bytes, &mut model::Figures::default()));
