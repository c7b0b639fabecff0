//! The queue pair against plain memory: what it writes, when it rings, and what it believes.

mod memory_hal;

use memory_hal::MemoryHal;
use sluice_hal::{CoreId, DoorbellSlot, Hal, Micros, PmAddr, layout};
use sluice_ssd::{
    Completed, Pages, QueuePair, Refusal, Request, place,
    prp::{self, PmBus},
    queue,
};
use sluice_wire::mgmt::QueuePlace;
use sluice_wire::nvme::{NvmOpcode, Sqe, Status};

const BUS: u64 = 0x12_0000_0000;
const DEPTH: usize = 16;

struct Bench {
    hal: MemoryHal,
    place: QueuePlace,
    queue: QueuePair<DEPTH>,
    pages: Pages,
    /// What a model SSD would keep: where its next completion goes, and the phase.
    cq_tail: u32,
    phase: bool,
}

impl Bench {
    fn new(entries: u32) -> Self {
        let mut hal = MemoryHal::new();
        let place = place::queues(0, CoreId(1), 1, entries).expect("in range");
        let (bus, slots) = (PmBus::new(BUS).expect("aligned"), place::doorbells(0));
        prp::fill(&mut hal, bus);
        queue::prepare(&mut hal, &place);
        let mut queue = QueuePair::detached();
        queue.attach(&place, bus, slots, 1_000);
        let mut pages = Pages::new();
        pages.add(0, layout::PAGES);
        Self {
            hal,
            place,
            queue,
            pages,
            cq_tail: 0,
            phase: true,
        }
    }

    fn flush_command(&mut self, token: u32) -> Result<(), Refusal> {
        self.queue
            .submit(&mut self.hal, Micros(0), &Request::flush(1, token))
    }

    fn entry(&mut self, index: u32) -> Sqe {
        let mut bytes = [0; 64];
        self.hal
            .pm_read(PmAddr(self.place.sq.get() + 64 * index), &mut bytes);
        *Sqe::view(&bytes)
    }

    fn complete(&mut self, cid: u16, status: Status) {
        let at = PmAddr(self.place.cq.get() + 16 * self.cq_tail + 12);
        let word = u32::from(status.to_wire() | u16::from(self.phase)) << 16 | u32::from(cid);
        self.hal.pm_write32(at, word);
        self.cq_tail += 1;
        if self.cq_tail == u32::from(self.place.entries.get()) {
            (self.cq_tail, self.phase) = (0, !self.phase);
        }
    }
}

#[test]
fn an_entry_has_every_field_where_the_standard_wants_it() {
    let mut b = Bench::new(8);
    let run = b.pages.alloc(3).expect("plenty");
    let slba = 0x1_2345_6789;
    let read = NvmOpcode::Read as u8;
    let request = Request::blocks(read, 7, slba, 23, 0x4000, Some(run), 99);
    b.queue
        .submit(&mut b.hal, Micros(0), &request)
        .expect("room");
    let sqe = b.entry(0);
    assert_eq!((sqe.opcode, sqe.flags, sqe.nsid.get()), (read, 0, 7));
    assert_eq!((sqe.slba(), sqe.nlb_z(), sqe.control()), (slba, 23, 0x4000));
    assert_eq!(sqe.prp1(), BUS + u64::from(run.addr().0));
    let list = (sqe.prp2() - BUS) as u32;
    for i in 1..3 {
        let mut entry = [0; 8];
        b.hal.pm_read(PmAddr(list + 8 * (i - 1)), &mut entry);
        assert_eq!(u64::from_le_bytes(entry), sqe.prp1() + 4096 * u64::from(i));
    }
}

#[test]
fn an_entry_reused_holds_nothing_of_the_command_before() {
    let mut b = Bench::new(2);
    let run = b.pages.alloc(2).expect("plenty");
    for round in 0..2 {
        let request = Request::blocks(2, 7, u64::MAX, 15, 0xFFFF, Some(run), round);
        b.queue
            .submit(&mut b.hal, Micros(0), &request)
            .expect("room");
        let cid = b.entry(round).cid.get();
        b.complete(cid, Status::SUCCESS);
        assert!(b.queue.poll(&mut b.hal).is_some());
    }
    b.flush_command(3).expect("room");
    let sqe = b.entry(0);
    let clean = Sqe::new(0, sqe.cid.get(), 1);
    assert_eq!(sqe.bytes(), clean.bytes());
}

#[test]
fn doorbells_ring_once_per_flush_and_only_if_something_moved() {
    let mut b = Bench::new(8);
    b.queue.flush(&mut b.hal);
    assert_eq!(b.hal.rung, []);
    (0..3).for_each(|t| b.flush_command(t).expect("room"));
    b.queue.flush(&mut b.hal);
    b.queue.flush(&mut b.hal);
    assert_eq!(b.hal.rung, [(DoorbellSlot(0), 3)]);
    for i in 0..3 {
        let cid = b.entry(i).cid.get();
        b.complete(cid, Status::SUCCESS);
    }
    while b.queue.poll(&mut b.hal).is_some() {}
    b.queue.flush(&mut b.hal);
    assert_eq!(b.hal.rung[1..], [(DoorbellSlot(1), 3)]);
}

#[test]
fn completions_out_of_order_carry_their_own_tokens_and_statuses() {
    let mut b = Bench::new(8);
    (0..5).for_each(|t| b.flush_command(100 + t).expect("room"));
    for (i, status) in [
        (3, Status::READ_ERROR),
        (0, Status::SUCCESS),
        (4, Status::LBA_RANGE.no_retry()),
    ] {
        let cid = b.entry(i).cid.get();
        b.complete(cid, status);
        let got = b.queue.poll(&mut b.hal);
        assert_eq!(
            got,
            Some(Completed {
                token: 100 + i,
                status
            })
        );
    }
    assert_eq!((b.queue.poll(&mut b.hal), b.queue.in_flight()), (None, 2));
}

#[test]
fn many_rounds_wrap_both_queues() {
    let mut b = Bench::new(5);
    for round in 0..1000_u32 {
        b.flush_command(round).expect("room");
        let cid = b.entry(round % 5).cid.get();
        b.complete(cid, Status::SUCCESS);
        assert_eq!(b.queue.poll(&mut b.hal).map(|c| c.token), Some(round));
        assert_eq!(b.queue.poll(&mut b.hal), None);
    }
}

#[test]
fn a_full_queue_refuses_and_takes_again_after_a_completion() {
    let mut b = Bench::new(4);
    (0..3).for_each(|t| b.flush_command(t).expect("room"));
    assert!(!b.queue.has_room());
    assert_eq!(b.flush_command(3), Err(Refusal::Full));
    let cid = b.entry(1).cid.get();
    b.complete(cid, Status::SUCCESS);
    assert_eq!(b.queue.poll(&mut b.hal).map(|c| c.token), Some(1));
    assert_eq!((b.flush_command(4), b.queue.counts().full), (Ok(()), 1));
}

#[test]
fn no_more_than_the_slots_are_in_flight_in_a_deeper_queue() {
    let mut b = Bench::new(128);
    (0..DEPTH as u32).for_each(|t| b.flush_command(t).expect("room"));
    assert_eq!(b.flush_command(99), Err(Refusal::Full));
}

#[test]
fn phantom_completions_are_counted_and_believed_in_nothing() {
    let mut b = Bench::new(8);
    b.flush_command(7).expect("room");
    let cid = b.entry(0).cid.get();
    b.complete(0xFFFF, Status::SUCCESS);
    b.complete(cid + 1, Status::SUCCESS);
    b.complete(cid, Status::SUCCESS);
    b.complete(cid, Status::SUCCESS);
    assert_eq!(b.queue.poll(&mut b.hal).map(|c| c.token), Some(7));
    assert_eq!(b.queue.poll(&mut b.hal), None);
    assert_eq!((b.queue.counts().phantoms, b.queue.in_flight()), (3, 0));
}

#[test]
fn the_oldest_command_is_overdue_once_until_something_completes() {
    let mut b = Bench::new(8);
    let late = Micros(u64::from(u32::MAX) - 10);
    b.queue
        .submit(&mut b.hal, late, &Request::flush(1, 1))
        .expect("room");
    b.queue
        .submit(&mut b.hal, late.after(600), &Request::flush(1, 2))
        .expect("room");
    assert!(!b.queue.overdue(late.after(1_000)));
    assert!(b.queue.overdue(late.after(1_001)));
    assert!(!b.queue.overdue(late.after(1_500)));
    let cid = b.entry(0).cid.get();
    b.complete(cid, Status::SUCCESS);
    assert_eq!(b.queue.poll(&mut b.hal).map(|c| c.token), Some(1));
    assert!(!b.queue.overdue(late.after(1_600)));
    assert!(b.queue.overdue(late.after(1_601)));
    assert_eq!(b.queue.counts().overdue, 2);
}

#[test]
fn a_lost_ssd_hands_back_every_command_in_order_and_takes_none() {
    let mut b = Bench::new(8);
    (0..4).for_each(|t| b.flush_command(t).expect("room"));
    let cid = b.entry(2).cid.get();
    b.complete(cid, Status::SUCCESS);
    assert_eq!(b.queue.fail_next(), None, "still attached");
    assert_eq!(b.queue.poll(&mut b.hal).map(|c| c.token), Some(2));
    b.queue.detach();
    assert_eq!(b.flush_command(9), Err(Refusal::Detached));
    let failed: Vec<_> = std::iter::from_fn(|| b.queue.fail_next()).collect();
    assert_eq!(failed, [0, 1, 3]);
    assert_eq!(
        (b.queue.in_flight(), b.flush_command(9)),
        (0, Err(Refusal::Detached))
    );
    assert_eq!(b.queue.poll(&mut b.hal), None);
}

#[test]
fn a_completion_that_comes_twice_does_not_end_the_next_command() {
    let mut b = Bench::new(8);
    b.flush_command(1).expect("room");
    let cid = b.entry(0).cid.get();
    b.complete(cid, Status::SUCCESS);
    b.complete(cid, Status::SUCCESS);
    assert_eq!(b.queue.poll(&mut b.hal).map(|c| c.token), Some(1));
    b.flush_command(2).expect("room");
    assert_eq!(b.queue.poll(&mut b.hal), None);
    assert_eq!((b.queue.counts().phantoms, b.queue.in_flight()), (1, 1));
}
