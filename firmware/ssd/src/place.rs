//! Where SSD queues lie in packet memory, and which doorbell slots ring them. All cores and the host driver's commands
//! go by these rules, so nobody has to be told.
//!
//! Data core `c` (1 and up) of `n` drives one queue pair on each SSD `s`. The pair's number is `s * n + (c - 1)`; it has
//! its share of [`layout::SSD_QUEUES_BASE`], and doorbell slots `2 * number` (submission tail) and `2 * number + 1`
//! (completion head). On the SSD it is queue `c`.

use sluice_hal::{CoreId, DOORBELL_SLOTS, DoorbellSlot, PmAddr, layout};
use sluice_wire::mgmt::QueuePlace;

/// Most SSDs a card takes, however few data cores it has.
pub const MAX_SSDS: u32 = 8;
/// Most entries of a queue, whatever room there is: the most commands a core has in flight on one SSD, plus one.
pub const MAX_ENTRIES: u32 = 256;
/// Fewest entries a queue pair can have (NVMe Base 2.1, section 3.3.3.1: at least 2).
pub const MIN_ENTRIES: u32 = 2;

/// SSDs that a card with `data_cores` data cores takes: as many as its doorbell slots allow.
#[must_use]
pub const fn max_ssds(data_cores: u32) -> u32 {
    let pairs = DOORBELL_SLOTS as u32 / 2;
    let cores = if data_cores == 0 { 1 } else { data_cores };
    let fit = pairs / cores;
    if fit < MAX_SSDS { fit } else { MAX_SSDS }
}

/// Number of the queue pair of SSD `ssd` and data core `core`; `None` if there is no such SSD or core.
#[must_use]
pub const fn pair(ssd: u32, core: CoreId, data_cores: u32) -> Option<u32> {
    let core = core.0 as u32;
    if core == 0 || core > data_cores || ssd >= max_ssds(data_cores) {
        return None;
    }
    Some(ssd * data_cores + core - 1)
}

/// Doorbell slots of a pair: submission queue tail, completion queue head.
#[must_use]
pub const fn doorbells(pair: u32) -> (DoorbellSlot, DoorbellSlot) {
    let slot = (2 * pair) as u8;
    (DoorbellSlot(slot), DoorbellSlot(slot + 1))
}

/// Bus addresses of the doorbells of queue `qid` (NVMe over PCIe 1.1, section 3.1.2), for `Hal::doorbell_map`.
#[must_use]
pub const fn doorbell_addresses(base: u64, stride: u32, qid: u16) -> (u64, u64) {
    let tail = base + 2 * qid as u64 * stride as u64;
    (tail, tail + stride as u64)
}

/// Where the pair of SSD `ssd` and data core `core` lies, with at most `deepest` entries (what the SSD takes).
#[must_use]
pub fn queues(ssd: u32, core: CoreId, data_cores: u32, deepest: u32) -> Option<QueuePlace> {
    let number = pair(ssd, core, data_cores)?;
    let share = share_of(data_cores);
    // Both start at a page (PRP1 of Create I/O Queue has offset 0); entries is a power of two, at most 3/4 of the
    // share's 64-byte slots, so the completion queue's 16 bytes per entry fit behind.
    let room = (share / 128).min(MAX_ENTRIES);
    let entries = room.min(deepest);
    if entries < MIN_ENTRIES {
        return None;
    }
    let sq = layout::SSD_QUEUES_BASE + number * share;
    let cq = sq + (entries * 64).next_multiple_of(layout::PAGE_SIZE);
    Some(QueuePlace {
        sq: sq.into(),
        cq: cq.into(),
        entries: (entries as u16).into(),
        core: u16::from(core.0).into(),
    })
}

/// Address of a place's submission and completion queue.
#[must_use]
pub fn addresses(place: &QueuePlace) -> (PmAddr, PmAddr) {
    (PmAddr(place.sq.get()), PmAddr(place.cq.get()))
}

/// Bytes per pair: the area divided evenly, rounded down to a power of two.
const fn share_of(data_cores: u32) -> u32 {
    let pairs = data_cores * max_ssds(data_cores);
    let even = layout::SSD_QUEUES_SIZE / if pairs == 0 { 1 } else { pairs };
    1 << even.ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_page_aligned_disjoint_and_inside_the_area() {
        for cores in [1, 2, 4, 8, 16] {
            let mut end = layout::SSD_QUEUES_BASE;
            for ssd in 0..max_ssds(cores) {
                for core in 1..=cores {
                    let p = queues(ssd, CoreId(core as u8), cores, 1024).expect("in range");
                    let (sq, cq, n) = (p.sq.get(), p.cq.get(), u32::from(p.entries.get()));
                    assert!(
                        sq >= end && sq % 4096 == 0 && cq % 4096 == 0 && cq >= sq + 64 * n,
                        "{p:?}"
                    );
                    assert!(n >= 64, "{cores} cores: {n} entries");
                    end = cq + 16 * n;
                }
            }
            assert!(end <= layout::SSD_QUEUES_BASE + layout::SSD_QUEUES_SIZE);
        }
    }

    #[test]
    fn doorbell_slots_never_run_out() {
        for cores in 1..=16 {
            let last = pair(max_ssds(cores) - 1, CoreId(cores as u8), cores).expect("in range");
            assert!(usize::from(doorbells(last).1.0) < DOORBELL_SLOTS);
            assert_eq!(pair(max_ssds(cores), CoreId(1), cores), None);
            assert_eq!(pair(0, CoreId(0), cores), None);
            assert_eq!(pair(0, CoreId(cores as u8 + 1), cores), None);
        }
    }

    #[test]
    fn a_shallow_ssd_gets_shallow_queues() {
        let p = queues(0, CoreId(1), 1, 16).expect("in range");
        assert_eq!(p.entries.get(), 16);
        assert!(queues(0, CoreId(1), 1, 1).is_none());
    }

    #[test]
    fn doorbells_follow_the_stride() {
        assert_eq!(doorbell_addresses(0x1000, 4, 1), (0x1008, 0x100C));
        assert_eq!(doorbell_addresses(0x1000, 64, 3), (0x1180, 0x11C0));
    }
}
