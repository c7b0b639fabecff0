//! The firmware's queue pair and pages against the SSD model: queues and data in packet memory, doorbells over the bus.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use sluice_device::testing::Memory;
use sluice_driver::nvme::Ssd as Driver;
use sluice_hal::{
    BufId, Busy, CoreId, DoorbellSlot, Hal, HostQueue, Mail, Micros, MoveDone, MoveJob, Phase,
    PmAddr, Rx, TxJob, layout,
};
use sluice_ssd::{Completed, Pages, QueuePair, Request, place, prp, queue, status};
use sluice_wire::nvme::{DsmRange, NvmOpcode, Status, control, dsm};
use zerocopy::IntoBytes;

use super::bench::{Handle, PM_BUS, Sim, open, world};
use crate::ssd::{Fault, Gone, Latency, SsdConfig};

const TIMEOUT_US: u32 = 2_000;

/// A card that is packet memory and doorbells; time passes when it is told to.
struct Card {
    world: Handle,
    memory: Memory,
    slots: BTreeMap<u8, u64>,
}

struct Bench {
    card: Card,
    driver: Driver<Sim>,
    queue: QueuePair<128>,
    pages: Pages,
}

impl Bench {
    fn new(config: SsdConfig) -> Self {
        let world = world(config);
        let memory = world.borrow().card.clone();
        let mut card = Card {
            world: world.clone(),
            memory,
            slots: BTreeMap::new(),
        };
        let mut driver = open(&world, 1).expect("healthy");
        let bus = prp::PmBus::new(PM_BUS).expect("aligned");
        let place = place::queues(0, CoreId(1), 1, driver.info().max_entries).expect("in range");
        prp::fill(&mut card, bus);
        queue::prepare(&mut card, &place);
        let (sq, cq) = place::addresses(&place);
        driver
            .create_queue_pair(1, bus.address(sq), bus.address(cq), place.entries.get())
            .expect("valid");
        let (base, stride) = driver.doorbells().expect("BAR0");
        let slots = place::doorbells(0);
        let (tail, head) = place::doorbell_addresses(base, stride, 1);
        card.doorbell_map(slots.0, tail);
        card.doorbell_map(slots.1, head);
        let mut queue = QueuePair::detached();
        queue.attach(&place, bus, slots, TIMEOUT_US);
        let mut pages = Pages::new();
        pages.add(0, layout::PAGES);
        Self {
            card,
            driver,
            queue,
            pages,
        }
    }

    fn submit(&mut self, request: &Request) {
        let now = self.card.now();
        self.queue
            .submit(&mut self.card, now, request)
            .expect("room");
        self.queue.flush(&mut self.card);
    }

    fn next(&mut self) -> Option<Completed> {
        for _ in 0..2000 {
            if let Some(done) = self.queue.poll(&mut self.card) {
                self.queue.flush(&mut self.card);
                return Some(done);
            }
            self.card.world.borrow_mut().step();
        }
        None
    }

    fn run(&mut self, request: &Request) -> Status {
        self.submit(request);
        let done = self.next().expect("completes");
        assert_eq!(done.token, request.token);
        done.status
    }

    /// Writes or reads `data` at block `slba` through a run of pages.
    fn transfer(&mut self, opcode: NvmOpcode, slba: u64, control: u16, data: &mut [u8]) -> Status {
        let run = self.pages.alloc_bytes(data.len() as u32).expect("plenty");
        self.card.pm_write(run.addr(), data);
        let blocks_z = (data.len() / 4096 - 1) as u16;
        let request = Request::blocks(opcode as u8, 1, slba, blocks_z, control, Some(run), 0xABCD);
        let status = self.run(&request);
        self.card.pm_read(run.addr(), data);
        self.pages.free(run);
        status
    }
}

#[test]
fn every_length_from_one_page_to_the_longest_comes_back_as_written() {
    let mut b = Bench::new(SsdConfig::default());
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    // Fragment the pages, so that runs begin at all sorts of places.
    let held: Vec<_> = (0..40).filter_map(|i| b.pages.alloc(i % 7 + 1)).collect();
    held.iter().step_by(2).for_each(|r| b.pages.free(*r));
    for pages in 1..=32_u64 {
        let mut data = vec![0; pages as usize * 4096];
        rng.fill_bytes(&mut data);
        let mut back = vec![0; data.len()];
        assert_eq!(
            b.transfer(NvmOpcode::Write, pages * 100, 0, &mut data.clone()),
            Status::SUCCESS
        );
        assert_eq!(
            b.transfer(NvmOpcode::Read, pages * 100, 0, &mut back),
            Status::SUCCESS
        );
        assert!(back == data, "{pages} pages");
        assert_eq!(
            b.transfer(NvmOpcode::Compare, pages * 100, 0, &mut data),
            Status::SUCCESS
        );
    }
    assert_eq!(b.card.world.borrow().stray, 0);
}

#[test]
fn zeroes_deallocation_and_flush_do_what_they_say() {
    let mut b = Bench::new(SsdConfig::default());
    assert_eq!(
        b.transfer(NvmOpcode::Write, 0, control::FUA, &mut [7; 16384]),
        Status::SUCCESS
    );
    let zeroes = Request::blocks(
        NvmOpcode::WriteZeroes as u8,
        1,
        1,
        0,
        control::DEAC,
        None,
        1,
    );
    assert_eq!(b.run(&zeroes), Status::SUCCESS);
    let run = b.pages.alloc(1).expect("plenty");
    let range = DsmRange {
        attributes: 0.into(),
        blocks: 1.into(),
        slba: 3.into(),
    };
    b.card.pm_write(run.addr(), range.as_bytes());
    assert_eq!(
        b.run(&Request::dataset_management(1, 0, dsm::DEALLOCATE, run, 2)),
        Status::SUCCESS
    );
    assert_eq!(b.run(&Request::flush(1, 3)), Status::SUCCESS);
    let mut back = [1; 16384];
    assert_eq!(
        b.transfer(NvmOpcode::Read, 0, 0, &mut back),
        Status::SUCCESS
    );
    let blocks: Vec<u8> = back.chunks(4096).map(|c| c[4095]).collect();
    assert_eq!(blocks, [7, 0, 7, 0]);
    assert_eq!(
        b.transfer(NvmOpcode::Compare, 0, 0, &mut [7; 8192]),
        Status::COMPARE_FAILED
    );
}

#[test]
fn errors_come_back_with_their_status() {
    let mut b = Bench::new(SsdConfig::default());
    let end = 1 << 18;
    assert_eq!(
        b.transfer(NvmOpcode::Read, end - 1, 0, &mut [0; 8192]),
        Status::LBA_RANGE.no_retry()
    );
    assert_eq!(
        b.transfer(NvmOpcode::Read, u64::MAX, 0, &mut [0; 4096]),
        Status::LBA_RANGE.no_retry()
    );
    let flush = Request::flush(9, 4);
    assert_eq!(b.run(&flush), Status::INVALID_NAMESPACE.no_retry());
    let strange = Request {
        opcode: 0x7E,
        ..flush
    };
    assert_eq!(b.run(&strange), Status::INVALID_OPCODE.no_retry());
    let spoil = Request::blocks(NvmOpcode::WriteUncorrectable as u8, 1, 5, 0, 0, None, 5);
    assert_eq!(b.run(&spoil), Status::SUCCESS);
    let status = b.transfer(NvmOpcode::Read, 4, 0, &mut [0; 8192]);
    assert_eq!(status::for_host(status), Status::READ_ERROR);
    assert_eq!(
        b.transfer(NvmOpcode::Write, 5, 0, &mut [0; 4096]),
        Status::SUCCESS
    );
    assert_eq!(
        b.transfer(NvmOpcode::Read, 4, 0, &mut [0; 8192]),
        Status::SUCCESS
    );
}

#[test]
fn a_full_queue_of_random_io_keeps_every_block_right() {
    let seed = 0x5EED_0002;
    let latency = Latency {
        read: 2000,
        write: 500,
        jitter: 3000,
        ..Latency::ZERO
    };
    let mut b = Bench::new(SsdConfig {
        latency,
        parallelism: 32,
        seed,
        ..SsdConfig::default()
    });
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // What each block holds, and what is under way for it.
    let (mut holds, mut busy) = (vec![0_u8; 256], BTreeMap::new());
    let mut left = 3000;
    while left > 0 || !busy.is_empty() {
        while left > 0 && b.queue.has_room() && busy.len() < 100 {
            let block = (rng.next_u32() % 256) as usize;
            if busy.contains_key(&(block as u32)) {
                break;
            }
            let run = b.pages.alloc(1).expect("plenty");
            let write = rng.next_u32() & 1 == 0;
            let value = rng.next_u32() as u8;
            if write {
                b.card.pm_write(run.addr(), &[value; 4096]);
            }
            let opcode = if write {
                NvmOpcode::Write
            } else {
                NvmOpcode::Read
            } as u8;
            let request = Request::blocks(opcode, 1, block as u64, 0, 0, Some(run), block as u32);
            let now = b.card.now();
            b.queue
                .submit(&mut b.card, now, &request)
                .expect("has room");
            busy.insert(block as u32, (run, write.then_some(value)));
            left -= 1;
        }
        b.queue.flush(&mut b.card);
        let done = b.next().expect("completes");
        let (run, write) = busy.remove(&done.token).expect("was under way");
        assert_eq!(done.status, Status::SUCCESS, "seed {seed:#x}");
        if let Some(value) = write {
            holds[done.token as usize] = value;
        } else {
            let mut back = [0; 4096];
            b.card.pm_read(run.addr(), &mut back);
            assert_eq!(back, [holds[done.token as usize]; 4096], "seed {seed:#x}");
        }
        b.pages.free(run);
    }
    let stats = b.card.world.borrow().ssd.stats();
    assert_eq!(
        (
            stats.io,
            stats.completions - stats.admin,
            stats.bad_doorbells
        ),
        (3000, 3000, 0)
    );
    assert_eq!((b.pages.available(), stats.deepest), (layout::PAGES, 32));
}

#[test]
fn a_hanging_command_is_overdue_and_an_abort_ends_it() {
    let mut b = Bench::new(SsdConfig::default());
    b.card.world.borrow_mut().ssd.inject(Some(Box::new(|seen| {
        (seen.queue == 1).then_some(Fault::Hang)
    })));
    b.submit(&Request::flush(1, 42));
    assert_eq!(b.next(), None);
    assert!(!b.queue.overdue(b.card.now()));
    b.card
        .world
        .borrow_mut()
        .steps(u64::from(TIMEOUT_US) * 250 / 64);
    let now = b.card.now();
    assert!(b.queue.overdue(now));
    assert_eq!(b.driver.abort(1, 0), Ok(true));
    assert_eq!(
        b.next(),
        Some(Completed {
            token: 42,
            status: Status::ABORT_REQUESTED
        })
    );
    assert_eq!(b.driver.abort(1, 0), Ok(false), "nothing to abort any more");
}

#[test]
fn an_ssd_that_vanishes_leaves_its_commands_to_be_failed_and_writes_nothing_more() {
    let latency = Latency {
        read: 50_000,
        ..Latency::ZERO
    };
    let mut b = Bench::new(SsdConfig {
        latency,
        ..SsdConfig::default()
    });
    let run = b.pages.alloc(4).expect("plenty");
    b.card.pm_write(run.addr(), &[0xEE; 16384]);
    for token in 0..3 {
        b.submit(&Request::blocks(
            NvmOpcode::Read as u8,
            1,
            0,
            3,
            0,
            Some(run),
            token,
        ));
    }
    b.card.world.borrow_mut().steps(20);
    b.card.world.borrow_mut().ssd.vanish(Gone::BusError);
    assert_eq!(b.next(), None);
    assert!(b.driver.stop().is_err_and(|e| e.is_gone()));
    b.queue.detach();
    let failed: Vec<_> = std::iter::from_fn(|| b.queue.fail_next()).collect();
    assert_eq!(failed, [0, 1, 2]);
    let mut back = [0; 16384];
    b.card.pm_read(run.addr(), &mut back);
    assert_eq!(back, [0xEE; 16384]);
}

#[test]
fn phantom_and_duplicate_completions_are_counted_only() {
    for fault in [Fault::Phantom(3), Fault::Phantom(0xFFFF), Fault::Duplicate] {
        let mut b = Bench::new(SsdConfig::default());
        b.card
            .world
            .borrow_mut()
            .ssd
            .inject(Some(Box::new(move |s| (s.queue == 1).then_some(fault))));
        for token in 0..300 {
            assert_eq!(
                b.run(&Request::flush(1, token)),
                Status::SUCCESS,
                "{fault:?}"
            );
        }
        assert_eq!(b.next(), None);
        assert_eq!(b.queue.counts().phantoms, 300, "{fault:?}");
    }
}

#[test]
fn a_flushed_write_survives_a_power_cut_and_an_unflushed_one_may_not() {
    let mut b = Bench::new(SsdConfig::default());
    assert_eq!(
        b.transfer(NvmOpcode::Write, 0, 0, &mut [1; 4096]),
        Status::SUCCESS
    );
    assert_eq!(b.run(&Request::flush(1, 1)), Status::SUCCESS);
    assert_eq!(
        b.transfer(NvmOpcode::Write, 1, 0, &mut [2; 4096]),
        Status::SUCCESS
    );
    assert_eq!(
        b.transfer(NvmOpcode::Write, 2, control::FUA, &mut [3; 4096]),
        Status::SUCCESS
    );
    let mut world = b.card.world.borrow_mut();
    world.ssd.power_cycle(false);
    let mut back = [9; 12288];
    world
        .ssd
        .media(1)
        .expect("exists")
        .read(0, &mut back)
        .expect("memory");
    assert_eq!([back[0], back[4096], back[8192]], [1, 0, 3]);
}

impl Hal for Card {
    fn now(&self) -> Micros {
        Micros(self.world.borrow().now / 250)
    }
    fn pm_read(&mut self, at: PmAddr, into: &mut [u8]) {
        assert!(
            self.memory.read_bus(PM_BUS + u64::from(at.0), into),
            "outside packet memory"
        );
    }
    fn pm_write(&mut self, at: PmAddr, from: &[u8]) {
        assert!(
            self.memory.write_bus(PM_BUS + u64::from(at.0), from),
            "outside packet memory"
        );
    }
    fn pm_read32(&mut self, at: PmAddr) -> u32 {
        let mut word = [0; 4];
        self.pm_read(at, &mut word);
        u32::from_le_bytes(word)
    }
    fn pm_write32(&mut self, at: PmAddr, value: u32) {
        self.pm_write(at, &value.to_le_bytes());
    }
    fn doorbell(&mut self, slot: DoorbellSlot, value: u32) {
        let bus = self.slots[&slot.0];
        self.world.borrow_mut().write_ssd(bus, value);
    }
    fn doorbell_map(&mut self, slot: DoorbellSlot, bus: u64) {
        self.slots.insert(slot.0, bus);
    }

    fn core(&self) -> CoreId {
        CoreId(1)
    }
    fn cores(&self) -> u8 {
        2
    }
    fn random(&mut self) -> u32 {
        0
    }
    fn rx_next(&mut self) -> Option<Rx> {
        None
    }
    fn rx_free(&mut self, _: BufId) {}
    fn tx_post(&mut self, _: &TxJob) -> Result<(), Busy> {
        Err(Busy)
    }
    fn tx_done(&mut self) -> u32 {
        0
    }
    fn move_post(&mut self, _: &MoveJob) -> Result<(), Busy> {
        Err(Busy)
    }
    fn move_done(&mut self) -> Option<MoveDone> {
        None
    }
    fn mail_send(&mut self, _: CoreId, _: &Mail) -> Result<(), Busy> {
        Err(Busy)
    }
    fn mail_recv(&mut self) -> Option<Mail> {
        None
    }
    fn crc32c(&mut self, _: &[u8]) -> u32 {
        0
    }
    fn host_queue(&mut self) -> HostQueue {
        HostQueue::default()
    }
    fn irq(&mut self, _: u16) {}
    fn set_status(&mut self, _: u32) {}
    fn steer(&mut self, _: u8, _: CoreId) {}
    fn phase(&mut self, _: Phase) {}
    fn kick_watchdog(&mut self) {}
}
