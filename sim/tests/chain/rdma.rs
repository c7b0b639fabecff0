//! NVMe/RDMA: every way in which commands and data travel, with verified data, beside NVMe/TCP.

use sluice_sim::initiator::{ConnectConfig, Transport};

use crate::common::{Bench, On, mix, to_demo};

crate::on_both_cards! { a_host_reads_and_writes_over_rdma }

/// To the demo subsystem over RDMA.
fn over_rdma(n: u8) -> ConnectConfig {
    to_demo(n).over(Transport::Rdma)
}

fn a_host_reads_and_writes_over_rdma(on: &On) {
    let mut bench = Bench::new("rdma", on);
    let host = bench.host(1);
    for queues in [1, 4] {
        let config = ConnectConfig {
            io_queues: queues,
            ..over_rdma(1)
        };
        let (controller, namespaces) = bench.connect_with(host, &config);
        for (ns, bytes) in namespaces.iter().zip([4096, 65_536]) {
            bench.verified(host, mix(&controller, ns, bytes, 8, on.ios(200)));
        }
        bench
            .on(host, |b| b.disconnect(&controller))
            .expect("disconnect");
        bench.run(30_000);
    }
    bench.check_capture();
    bench.assert_all_given_back();
}
