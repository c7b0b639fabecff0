//! The NVMe-oF target: controllers, queues, discovery, under any history of hosts and commands.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sluice_nvmf::fuzz::fuzz_one(data));
