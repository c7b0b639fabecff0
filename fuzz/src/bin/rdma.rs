//! Queue pairs and the connection manager of NVMe/RDMA, under any history of packets, work and time.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sluice_rdma::fuzz::fuzz_one(data));
