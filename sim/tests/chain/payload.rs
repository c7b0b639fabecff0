//! No core touches payload: pages are moved by engines only, frame buffers are read for their headers only.

use sluice_sim::initiator::{ConnectConfig, WorkloadConfig};

use crate::common::{Bench, On, mix, over_rdma, to_demo};

crate::on_both_cards! {
    cores_see_commands_never_payload,
    cores_see_commands_never_payload_over_rdma,
}

/// Counters of the core window (docs/card.md, sections 3 and 6).
const PAGE_ACCESSES: u32 = 8;
const FRAME_LOADS: u32 = 9;

fn cores_see_commands_never_payload(on: &On) {
    let digests = |both| to_demo(1).with_digests(both, both);
    // A CapsuleCmd is 18 words, H2CData 6, each with a digest one more; a data digest is one. Headers cut by the end of a frame
    // cost a little more.
    let words = 18 + 1 + 6 + 1 + 1 + 5;
    check(
        "payload",
        on,
        words,
        &[
            (digests(false), 4096, 8),
            (digests(true), 4096, 8),
            (digests(true), 65_536, 4),
            (digests(false), 131_072, 2),
        ],
    );
}

fn cores_see_commands_never_payload_over_rdma(on: &On) {
    // A capsule's 16 words; what comes in descriptors of rx is not loaded from a frame buffer. Writes of 4,096 bytes lie in the
    // capsule, others are read from the host.
    let mut on_request = over_rdma(1);
    on_request.queue.in_capsule = 0;
    check(
        "payload-rdma",
        on,
        16 + 1,
        &[
            (over_rdma(1), 4096, 8),
            (on_request, 4096, 8),
            (over_rdma(1), 131_072, 2),
        ],
    );
}

/// Connects in each of these ways and does commands of so many bytes, so many at once.
fn check(name: &str, on: &On, words: u64, ways: &[(ConnectConfig, usize, usize)]) {
    let mut bench = Bench::new(name, on);
    let host = bench.host(1);
    for (way, bytes, depth) in ways {
        let (controller, namespaces) = bench.connect_with(host, way);
        for (ns, read_percent) in [(&namespaces[0], 50), (&namespaces[1], 10)] {
            let ios = on.ios(200);
            let before = bench.core_counters(1, [PAGE_ACCESSES, FRAME_LOADS]);
            bench.verified(
                host,
                WorkloadConfig {
                    read_percent,
                    ..mix(&controller, ns, *bytes, *depth, ios)
                },
            );
            let after = bench.core_counters(1, [PAGE_ACCESSES, FRAME_LOADS]);
            assert_eq!(
                after[0], before[0],
                "a core touched a data page: {bytes} bytes, {way:?}"
            );
            let loads = u64::from(after[1] - before[1]);
            // Writes on request come in pieces of up to MAXH2CDATA over TCP, one header each.
            assert!(
                loads >= ios && loads <= words * ios,
                "{} loads per command, {bytes} bytes, {way:?}",
                loads / ios
            );
        }
        bench
            .on(host, |b| b.disconnect(&controller))
            .expect("disconnect");
    }
    bench.check_capture();
}
