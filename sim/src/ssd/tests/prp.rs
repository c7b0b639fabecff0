//! Property tests of the data pointer walk: any buffer that a host can describe is found again, and no list that a
//! host can write makes the walk run wild.

use std::collections::HashMap;

use proptest::prelude::*;
use sluice_wire::nvme::{SglDescriptor, SglKind, Sqe, Status};
use zerocopy::IntoBytes;

use crate::ssd::pointers::{Extent, Step, Walk};

const PAGE: u64 = 4096;

/// Runs a walk over a memory of 8-byte words; what is not there reads as `otherwise`.
fn run(
    sqe: &Sqe,
    len: u32,
    memory: &HashMap<u64, u64>,
    otherwise: u64,
) -> (Result<Vec<Extent>, Status>, usize) {
    let (mut walk, mut step) = Walk::start(sqe, len, PAGE);
    let mut fetches = 0;
    loop {
        match step {
            Step::Done(extents) => return (Ok(extents), fetches),
            Step::Fail(status) => return (Err(status), fetches),
            Step::Fetch(Extent { addr, len }) => {
                fetches += 1;
                assert!(len > 0 && len <= 4096 && fetches < 20_000);
                let words = (0..u64::from(len) / 8).map(|i| memory.get(&(addr + 8 * i)).copied());
                let bytes: Vec<u8> = words
                    .flat_map(|w| w.unwrap_or(otherwise).to_le_bytes())
                    .collect();
                step = walk.feed(&bytes);
            }
        }
    }
}

fn total(extents: &[Extent]) -> u64 {
    extents.iter().map(|e| u64::from(e.len)).sum()
}

/// The address of every page-bounded piece, as a host would list them.
fn bytes_of(extents: &[Extent]) -> Vec<u64> {
    extents
        .iter()
        .flat_map(|e| (e.addr..e.addr + u64::from(e.len)).step_by(4))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn prp_lists_with_any_offset_and_chaining_give_back_the_buffer(
        offset in (0_u64..1024).prop_map(|o| o * 4),
        len in (1_u32..600_000).prop_map(|l| l * 4),
        frames in proptest::collection::vec(1_u64..1 << 40, 700),
        list_at in 0_u64..512,
    ) {
        let pages: Vec<u64> = frames.iter().map(|f| f * PAGE).collect();
        let needed = (offset + u64::from(len)).div_ceil(PAGE) as usize;
        let mut want = vec![];
        let mut left = u64::from(len);
        for (i, page) in pages.iter().take(needed).enumerate() {
            let from = if i == 0 { offset } else { 0 };
            let n = left.min(PAGE - from);
            want.extend((page + from..page + from + n).step_by(4));
            left -= n;
        }
        // Lists live above all data pages.
        let mut memory = HashMap::new();
        let mut list_page = 1_u64 << 60;
        let first_list = list_page + 8 * list_at;
        let (mut at, mut entries) = (first_list, &pages[1..needed]);
        while !entries.is_empty() {
            let room = ((list_page + PAGE - at) / 8) as usize;
            let fits = entries.len() <= room;
            let here = if fits { entries.len() } else { room - 1 };
            for page in &entries[..here] {
                memory.insert(at, *page);
                at += 8;
            }
            entries = &entries[here..];
            if !fits {
                list_page += 16 * PAGE;
                memory.insert(at, list_page);
                at = list_page;
            }
        }
        let mut sqe = Sqe::new(1, 0, 1);
        sqe.set_prp(pages[0] + offset, match needed { 1 => 0, 2 => pages[1], _ => first_list });
        let (found, _) = run(&sqe, len, &memory, 0xBAD);
        prop_assert_eq!(bytes_of(&found.expect("well formed")), want);
    }

    #[test]
    fn any_list_whatever_ends_and_never_covers_more_than_the_command(
        prp1: u64, prp2: u64, len in 1_u32..4 << 20, otherwise: u64, aligned: bool,
    ) {
        let mask = if aligned { !(PAGE - 1) } else { u64::MAX };
        let mut sqe = Sqe::new(2, 0, 1);
        sqe.set_prp(prp1 & mask, prp2 & mask);
        let (found, fetches) = run(&sqe, len, &HashMap::new(), otherwise & mask);
        prop_assert!(fetches as u64 <= u64::from(len) / PAGE + 2);
        if let Ok(extents) = found {
            prop_assert_eq!(total(&extents), u64::from(len));
        }
    }

    #[test]
    fn sgl_segments_give_back_the_buffer(
        lens in proptest::collection::vec(0_u32..5000, 1..40), split in 1_usize..8,
    ) {
        let blocks: Vec<SglDescriptor> = lens.iter().enumerate()
            .map(|(i, len)| SglDescriptor::new(SglKind::Address, 0x10_0000 * (i as u64 + 1), *len)).collect();
        let len: u32 = lens.iter().sum();
        prop_assume!(len > 0);
        let mut memory = HashMap::new();
        let segments: Vec<_> = blocks.chunks(split).collect();
        let place = |i: usize| 0x7000_0000 + 0x1000 * i as u64;
        let descriptor = |i: usize| {
            let last = i + 1 == segments.len();
            let count = segments[i].len() + usize::from(!last);
            let mut d = SglDescriptor::new(SglKind::Address, place(i), 16 * count as u32);
            d.id = if last { 0x30 } else { 0x20 };
            d
        };
        for (i, segment) in segments.iter().enumerate() {
            let mut all = segment.to_vec();
            if i + 1 < segments.len() {
                all.push(descriptor(i + 1));
            }
            let bytes: Vec<u8> = all.iter().flat_map(|d| d.as_bytes().to_vec()).collect();
            for (k, word) in bytes.chunks(8).enumerate() {
                memory.insert(place(i) + 8 * k as u64, u64::from_le_bytes(word.try_into().expect("8")));
            }
        }
        let mut sqe = Sqe::new(1, 0, 1);
        sqe.set_sgl(descriptor(0));
        let (found, fetches) = run(&sqe, len, &memory, 0);
        prop_assert_eq!(fetches, segments.len());
        let want: Vec<_> = blocks.iter().filter(|d| d.length.get() > 0)
            .map(|d| Extent { addr: d.address.get(), len: d.length.get() }).collect();
        prop_assert_eq!(found.expect("well formed"), want);
        // A buffer described as longer or shorter than the command's data is refused.
        for wrong in [len - 1, len + 1] {
            if wrong > 0 {
                let (found, _) = run(&sqe, wrong, &memory, 0);
                prop_assert_eq!(found, Err(Status::SGL_LENGTH.no_retry()));
            }
        }
    }

    #[test]
    fn any_sgl_whatever_ends(id: u8, address: u64, len: u32, otherwise: u64) {
        let mut sqe = Sqe::new(1, 0, 1);
        let mut d = SglDescriptor::new(SglKind::Address, address, len);
        d.id = id;
        sqe.set_sgl(d);
        let (found, _) = run(&sqe, 4096, &HashMap::new(), otherwise);
        if let Ok(extents) = found {
            prop_assert_eq!(total(&extents), 4096);
        }
    }
}

#[test]
fn a_segment_that_points_to_itself_is_given_up() {
    let mut d = SglDescriptor::new(SglKind::Address, 0x1000, 16);
    d.id = 0x20;
    let mut sqe = Sqe::new(1, 0, 1);
    sqe.set_sgl(d);
    let words = d
        .as_bytes()
        .chunks(8)
        .map(|w| u64::from_le_bytes(w.try_into().expect("8")));
    let memory = words
        .enumerate()
        .map(|(i, w)| (0x1000 + 8 * i as u64, w))
        .collect();
    let (found, fetches) = run(&sqe, 512, &memory, 0);
    assert_eq!(found, Err(Status::SGL_COUNT.no_retry()));
    assert!(fetches <= 64);
}

#[test]
fn a_single_block_in_the_command_needs_no_fetch() {
    let mut sqe = Sqe::new(1, 0, 1);
    sqe.set_sgl(SglDescriptor::new(SglKind::Address, 0x1234, 512));
    let want = Ok(vec![Extent {
        addr: 0x1234,
        len: 512,
    }]);
    assert_eq!(run(&sqe, 512, &HashMap::new(), 0), (want, 0));
}
