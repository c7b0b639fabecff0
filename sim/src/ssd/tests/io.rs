//! The controller's manners at register and queue level: what hostile or careless hosts may do to it.

use sluice_wire::nvme::{AdminOpcode, Cc, Cqe, Csts, Sqe, Status, register};
use zerocopy::{FromBytes, IntoBytes};

use super::bench::{Handle, PM_BUS, SSD_BUS, device, world};
use crate::ssd::{Fault, SsdConfig};
use sluice_device::Device;

const ASQ: u64 = PM_BUS;
const ACQ: u64 = PM_BUS + 0x1000;
/// Entries of both admin queues: few, so that they fill.
const ENTRIES: u32 = 4;

/// A host that writes registers and entries by hand.
struct Raw {
    world: Handle,
    tail: u32,
}

impl Raw {
    fn enabled() -> Self {
        let raw = Self {
            world: world(SsdConfig::default()),
            tail: 0,
        };
        raw.write(register::AQA, (ENTRIES - 1) | (ENTRIES - 1) << 16);
        raw.write(register::ASQ, ASQ as u32);
        raw.write(register::ASQ + 4, (ASQ >> 32) as u32);
        raw.write(register::ACQ, ACQ as u32);
        raw.write(register::ACQ + 4, (ACQ >> 32) as u32);
        raw.write(register::CC, enable().0);
        raw.world.borrow_mut().steps(50);
        assert!(raw.csts().rdy());
        raw
    }

    fn write(&self, offset: u32, value: u32) {
        self.world
            .borrow_mut()
            .write_ssd(SSD_BUS + u64::from(offset), value);
    }

    fn csts(&self) -> Csts {
        let d = device(&self.world);
        Csts(
            d.bar(0)
                .expect("BAR0")
                .read32(register::CSTS.into())
                .expect("inside"),
        )
    }

    fn submit(&mut self, sqe: &Sqe) {
        let at = ASQ + 64 * u64::from(self.tail);
        assert!(self.world.borrow().card.write_bus(at, sqe.bytes()));
        self.tail = (self.tail + 1) % ENTRIES;
        self.write(register::DOORBELLS, self.tail);
    }

    fn completion(&self, index: u64) -> Cqe {
        let mut bytes = [0; 16];
        assert!(
            self.world
                .borrow()
                .card
                .read_bus(ACQ + 16 * index, &mut bytes)
        );
        Cqe::read_from_bytes(&bytes).expect("16 bytes")
    }

    fn steps(&self, n: u64) {
        self.world.borrow_mut().steps(n);
    }
}

fn enable() -> Cc {
    let mut cc = Cc(0);
    cc.set_en(true);
    cc.set_iosqes(6);
    cc.set_iocqes(4);
    cc
}

fn features(cid: u16) -> Sqe {
    let mut sqe = Sqe::new(AdminOpcode::GetFeatures as u8, cid, 0);
    sqe.cdw10.set(7);
    sqe
}

#[test]
fn a_full_completion_queue_holds_completions_back_until_the_head_moves() {
    let mut raw = Raw::enabled();
    for cid in 0..3 {
        raw.submit(&features(cid));
        raw.steps(20);
    }
    raw.submit(&features(3));
    raw.steps(20);
    assert_eq!(raw.world.borrow().ssd.stats().completions, 3);
    assert_eq!(raw.world.borrow().ssd.stats().queue_full, 1);
    raw.write(register::DOORBELLS + 4, 2);
    raw.steps(20);
    let last = raw.completion(3);
    assert_eq!(
        (last.cid.get(), last.phase(), last.status()),
        (3, true, Status::SUCCESS)
    );
}

#[test]
fn doorbells_that_do_not_exist_or_make_no_sense_are_counted_and_reported() {
    let mut raw = Raw::enabled();
    raw.submit(&Sqe::new(AdminOpcode::AsyncEvent as u8, 77, 0));
    raw.steps(20);
    for (offset, value) in [(0, ENTRIES), (4, 2), (8, 1), (12, 1), (0x6000, 0)] {
        raw.write(register::DOORBELLS + offset, value);
    }
    raw.steps(20);
    assert_eq!(raw.world.borrow().ssd.stats().bad_doorbells, 5);
    let event = raw.completion(0);
    // Error status, invalid doorbell value, error log page.
    assert_eq!((event.cid.get(), event.result.get()), (77, 0x0001_0100));
    assert!(!raw.csts().cfs());
}

#[test]
fn a_queue_that_cannot_be_read_is_fatal_and_a_reset_heals() {
    let raw = Raw::enabled();
    raw.write(register::CC, 0);
    raw.steps(5);
    raw.write(register::ASQ + 4, 0x7777);
    raw.write(register::CC, enable().0);
    raw.steps(50);
    raw.write(register::DOORBELLS, 1);
    raw.steps(20);
    assert!(raw.csts().cfs());
    raw.write(register::CC, 0);
    raw.steps(5);
    assert_eq!(raw.csts().0, 0);
}

#[test]
fn data_that_cannot_be_read_fails_the_command_only() {
    let mut raw = Raw::enabled();
    let mut identify = Sqe::new(AdminOpcode::Identify as u8, 1, 0);
    identify.cdw10.set(1);
    identify.set_prp(PM_BUS + 0x2008, 0xDEAD_0000_0000_1000);
    raw.submit(&identify);
    raw.steps(30);
    // Written, since posted writes into nothing are not noticed by anybody.
    assert_eq!(raw.completion(0).status(), Status::SUCCESS);
    assert!(raw.world.borrow().stray > 0);
    identify.set_prp(PM_BUS + 0x2000, 0);
    identify.cid.set(2);
    raw.submit(&identify);
    raw.steps(30);
    assert_eq!(raw.completion(1).status(), Status::SUCCESS);
    let mut vid = [0; 2];
    assert!(raw.world.borrow().card.read_bus(PM_BUS + 0x2000, &mut vid));
    assert_eq!(vid, [0xF4, 0x1A]);
}

#[test]
fn misaligned_prps_are_refused() {
    let mut raw = Raw::enabled();
    for (i, (prp1, prp2)) in [(0x2002, 0), (0x2010, 0x3008)].into_iter().enumerate() {
        let mut identify = Sqe::new(AdminOpcode::Identify as u8, i as u16, 0);
        identify.cdw10.set(1);
        identify.set_prp(PM_BUS + prp1, PM_BUS + prp2);
        raw.submit(&identify);
        raw.steps(30);
        assert_eq!(
            raw.completion(i as u64).status(),
            Status::PRP_OFFSET.no_retry()
        );
    }
}

#[test]
fn settings_that_make_no_sense_are_fatal() {
    for (aqa, cc) in [
        (0, enable()),
        (0x001F_001F, Cc(enable().0 | 1 << 7)),
        (0x001F_001F, Cc(enable().0 | 7 << 4)),
    ] {
        let raw = Raw {
            world: world(SsdConfig::default()),
            tail: 0,
        };
        raw.write(register::AQA, aqa);
        raw.write(register::CC, cc.0);
        raw.steps(50);
        assert!(raw.csts().cfs() && !raw.csts().rdy());
    }
}

#[test]
fn a_reset_in_the_middle_of_commands_leaves_nothing_behind() {
    let mut raw = Raw::enabled();
    raw.world
        .borrow_mut()
        .ssd
        .inject(Some(Box::new(|_| Some(Fault::Delay(2_000)))));
    for cid in 0..3 {
        raw.submit(&features(cid));
    }
    raw.steps(10);
    raw.write(register::CC, 0);
    raw.steps(100);
    let mut written = [[0xFF; 16]; 4];
    for (i, entry) in written.iter_mut().enumerate() {
        *entry = raw
            .completion(i as u64)
            .as_bytes()
            .try_into()
            .expect("16 bytes");
    }
    assert_eq!(written, [[0; 16]; 4]);
}
