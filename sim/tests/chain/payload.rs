//! No core touches payload: pages are moved by engines only, frame buffers are read for their headers only.

use sluice_sim::initiator::WorkloadConfig;

use crate::common::{Bench, On, mix, to_demo};

crate::on_both_cards! { cores_see_commands_never_payload }

/// Counters of the core window (docs/card.md, sections 3 and 6).
const PAGE_ACCESSES: u32 = 8;
const FRAME_LOADS: u32 = 9;
/// A CapsuleCmd is 18 words, H2CData 6, each with a digest one more; a data digest is one. Headers cut by the end of a frame
/// cost a little more.
const WORDS: u64 = 18 + 1 + 6 + 1 + 1 + 5;

fn cores_see_commands_never_payload(on: &On) {
    let mut bench = Bench::new("payload", on);
    let host = bench.host(1);
    for (digests, bytes, depth) in [
        (false, 4096, 8),
        (true, 4096, 8),
        (true, 65_536, 4),
        (false, 131_072, 2),
    ] {
        let (controller, namespaces) =
            bench.connect_with(host, &to_demo(1).with_digests(digests, digests));
        for (ns, read_percent) in [(&namespaces[0], 50), (&namespaces[1], 10)] {
            let ios = on.ios(200);
            let before = bench.core_counters(1, [PAGE_ACCESSES, FRAME_LOADS]);
            bench.verified(
                host,
                WorkloadConfig {
                    read_percent,
                    ..mix(&controller, ns, bytes, depth, ios)
                },
            );
            let after = bench.core_counters(1, [PAGE_ACCESSES, FRAME_LOADS]);
            assert_eq!(
                after[0], before[0],
                "a core touched a data page: {bytes} bytes, digests {digests}"
            );
            let loads = u64::from(after[1] - before[1]);
            // Writes on request come in pieces of up to MAXH2CDATA, one header each.
            assert!(
                loads <= WORDS * ios,
                "{} loads per command, {bytes} bytes, digests {digests}",
                loads / ios
            );
        }
        bench
            .on(host, |b| b.disconnect(&controller))
            .expect("disconnect");
    }
    bench.check_capture();
}
