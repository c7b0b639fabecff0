//! The controller's side of an NVMe/TCP connection, fed with any stream.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sluice_nvme_tcp::fuzz::fuzz_one(data));
