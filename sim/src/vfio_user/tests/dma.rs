//! What the SSD does with the client's memory: shared memory, messages, and what is neither.

use rustix::event::{EventfdFlags, eventfd};
use sluice_vfio_user::memory::SharedFile;
use sluice_vfio_user::wire::errno;
use sluice_wire::nvme::register;

use super::*;

/// Admin queues of 32 entries.
const SQ: u64 = 0x10_0000;
const CQ: u64 = 0x20_0000;
/// Where data go.
const DATA: u64 = 0x30_0000;

impl Pair {
    /// The controller enabled with its admin queues.
    fn enable(&mut self) {
        self.master(true);
        self.write32(register::AQA.into(), 0x001F_001F);
        self.write(0, register::ASQ.into(), &SQ.to_le_bytes());
        self.write(0, register::ACQ.into(), &CQ.to_le_bytes());
        self.write32(register::CC.into(), 0x0046_0001);
        for _ in 0..1000 {
            if self.read32(register::CSTS.into()) & 1 != 0 {
                return;
            }
        }
        panic!("not ready");
    }

    fn ring(&mut self, tail: u32) {
        self.write32(register::DOORBELLS.into(), tail);
    }

    fn share(&mut self, address: u64, size: u64) -> SharedFile {
        let file = SharedFile::create("guest", size).expect("a memfd");
        let fd = file.fd().try_clone_to_owned().expect("a descriptor");
        self.call(
            Command::DmaMap,
            &[map(address, size, 0).as_bytes()],
            vec![fd],
        );
        file
    }

    fn arm(&mut self) -> OwnedFd {
        let event = eventfd(0, EventfdFlags::NONBLOCK).expect("an eventfd");
        let other = event.try_clone().expect("a descriptor");
        self.call(
            Command::SetIrqs,
            &[irqs(ARM, 2, 0, 1).as_bytes()],
            vec![other],
        );
        event
    }
}

fn fired(event: &OwnedFd) -> bool {
    rustix::io::read(event, &mut [0; 8]).is_ok()
}

/// Identify Controller into [`DATA`].
fn identify() -> [u8; 64] {
    let mut entry = [0; 64];
    entry[0] = 6;
    entry[2] = 7;
    entry[24..32].copy_from_slice(&DATA.to_le_bytes());
    entry[40] = 1;
    entry
}

#[test]
fn with_shared_memory_everything_happens_without_a_message() {
    let mut pair = Pair::new();
    let (sq, cq, data) = (
        pair.share(SQ, 4096),
        pair.share(CQ, 4096),
        pair.share(DATA, 4096),
    );
    pair.enable();
    let event = pair.arm();
    sq.write(0, &identify()).expect("inside");
    pair.ring(1);
    pair.quiet();
    assert!(fired(&event));
    let (mut entry, mut model) = ([0; 16], [0; 20]);
    cq.read(0, &mut entry).expect("inside");
    data.read(24, &mut model).expect("inside");
    assert_eq!(
        (entry[12], entry[14]),
        (7, 1),
        "command 7, phase 1, success"
    );
    assert_eq!(&model, b"Sluice simulated SSD");
    assert_eq!(pair.server.engine().faults, 0);
}

#[test]
fn without_shared_memory_the_client_is_asked_and_the_interrupt_waits_for_its_answers() {
    let mut pair = Pair::new();
    pair.call(Command::DmaMap, &[map(SQ, 4096, 0).as_bytes()], Vec::new());
    pair.enable();
    let event = pair.arm();
    pair.ring(1);
    let (request, access, _) = pair.dma();
    assert_eq!(request.header.command.get(), Command::DmaRead as u16);
    assert_eq!((access.address.get(), access.count.get()), (SQ, 64));
    pair.answer(&request, &[access.as_bytes(), &identify()]);
    // 4 KiB in packets of 256 bytes are one message, and the completion another.
    let (data, access, bytes) = pair.dma();
    assert_eq!(data.header.command.get(), Command::DmaWrite as u16);
    assert_eq!(
        (access.address.get(), access.count.get(), bytes.len()),
        (DATA, 4096, 4096)
    );
    assert_eq!(&bytes[24..44], b"Sluice simulated SSD");
    let (entry, access, bytes) = pair.dma();
    assert_eq!((access.address.get(), bytes[12], bytes[14]), (CQ, 7, 1));
    pair.quiet();
    assert!(!fired(&event), "the completion has not been written");
    pair.answer(&data, &[]);
    assert!(!fired(&event));
    pair.answer(&entry, &[]);
    assert!(fired(&event));
}

#[test]
fn shared_memory_is_written_after_what_the_client_had_to_write_before() {
    let mut pair = Pair::new();
    let (sq, cq) = (pair.share(SQ, 4096), pair.share(CQ, 4096));
    pair.enable();
    sq.write(0, &identify()).expect("inside");
    pair.ring(1);
    let (data, ..) = pair.dma();
    pair.quiet();
    let mut entry = [0; 16];
    cq.read(0, &mut entry).expect("inside");
    assert_eq!(entry, [0; 16], "the completion would come before its data");
    pair.answer(&data, &[]);
    cq.read(0, &mut entry).expect("inside");
    assert_eq!(entry[12], 7);
}

#[test]
fn what_the_client_refuses_is_a_failed_access_and_the_device_lives_on() {
    let mut pair = Pair::new();
    pair.enable();
    pair.ring(1);
    let (request, ..) = pair.dma();
    pair.refuse(&request);
    assert_eq!(pair.server.engine().faults, 1);
    pair.call(Command::Reset, &[], Vec::new());
    let (sq, _cq, _data) = (
        pair.share(SQ, 4096),
        pair.share(CQ, 4096),
        pair.share(DATA, 4096),
    );
    pair.enable();
    sq.write(0, &identify()).expect("inside");
    pair.ring(1);
    pair.quiet();
    assert_eq!(pair.server.engine().faults, 1);
}

#[test]
fn answers_of_the_wrong_length_or_to_nothing_do_no_harm() {
    let mut pair = Pair::new();
    pair.enable();
    for wrong in [0, 63, 65] {
        pair.ring(1);
        let (request, access, _) = pair.dma();
        pair.answer(&request, &[access.as_bytes(), &vec![0; wrong]]);
        // The same answer again belongs to nobody.
        pair.answer(&request, &[access.as_bytes(), &[0; 64]]);
        pair.call(Command::Reset, &[], Vec::new());
        pair.enable();
    }
    assert_eq!(pair.server.engine().faults, 3);
}

#[test]
fn memory_mapped_for_one_direction_is_not_touched_in_the_other() {
    let mut pair = Pair::new();
    let sq = pair.share(SQ, 4096);
    let file = SharedFile::create("read-only", 4096).expect("a memfd");
    let fd = file.fd().try_clone_to_owned().expect("a descriptor");
    let read_only = DmaMap {
        flags: 1.into(),
        ..map(DATA, 4096, 0)
    };
    pair.call(Command::DmaMap, &[read_only.as_bytes()], vec![fd]);
    pair.share(CQ, 4096);
    pair.enable();
    sq.write(0, &identify()).expect("inside");
    pair.ring(1);
    pair.quiet();
    let mut bytes = [0; 64];
    file.read(0, &mut bytes).expect("inside");
    assert_eq!(bytes, [0; 64]);
    assert_eq!(pair.server.engine().faults, 16, "packets of 256 bytes");
}

#[test]
fn without_bus_mastering_nothing_is_touched_and_nothing_fires() {
    let mut pair = Pair::new();
    let (sq, cq) = (pair.share(SQ, 4096), pair.share(CQ, 4096));
    pair.enable();
    let event = pair.arm();
    sq.write(0, &identify()).expect("inside");
    pair.master(false);
    pair.ring(1);
    pair.quiet();
    let mut entry = [0; 16];
    cq.read(0, &mut entry).expect("inside");
    assert_eq!((entry, fired(&event)), ([0; 16], false));
    assert!(pair.server.engine().faults > 0);
}

#[test]
fn an_unmap_during_io_is_answered_after_what_was_under_way() {
    let mut pair = Pair::new();
    pair.call(Command::DmaMap, &[map(SQ, 4096, 0).as_bytes()], Vec::new());
    pair.enable();
    pair.ring(1);
    let (request, access, _) = pair.dma();
    let ask = unmap(SQ, 4096);
    let id = pair.post(Command::DmaUnmap as u16, 0, &[ask.as_bytes()], Vec::new());
    pair.quiet();
    // Other messages are not held up.
    pair.read32(0);
    pair.answer(&request, &[access.as_bytes(), &[0; 64]]);
    let reply = pair.next().expect("the unmap's reply");
    assert_eq!((reply.header.id.get(), error(&reply)), (id, None));
}

#[test]
fn an_unmap_does_not_wait_for_ever_for_a_client_that_waits_for_it() {
    let mut pair = Pair::new();
    pair.call(Command::DmaMap, &[map(SQ, 4096, 0).as_bytes()], Vec::new());
    pair.enable();
    pair.ring(1);
    let (request, access, _) = pair.dma();
    let id = pair.post(
        Command::DmaUnmap as u16,
        0,
        &[unmap(SQ, 4096).as_bytes()],
        Vec::new(),
    );
    let reply = loop {
        pair.turn(1);
        std::thread::sleep(std::time::Duration::from_millis(1));
        if let Some(reply) = pair.client.poll().expect("it stays connected") {
            break reply;
        }
    };
    assert_eq!((reply.header.id.get(), error(&reply)), (id, None));
    assert_eq!(pair.server.engine().faults, 1);
    pair.answer(&request, &[access.as_bytes(), &identify()]);
    pair.quiet();
}

#[test]
fn a_reset_answers_the_unmap_that_waited_for_what_it_ends() {
    let mut pair = Pair::new();
    pair.call(Command::DmaMap, &[map(SQ, 4096, 0).as_bytes()], Vec::new());
    pair.enable();
    pair.ring(1);
    let _ = pair.dma();
    let ask = unmap(SQ, 4096);
    let unmap = pair.post(Command::DmaUnmap as u16, 0, &[ask.as_bytes()], Vec::new());
    let reset = pair.post(Command::Reset as u16, 0, &[], Vec::new());
    let answered = [(); 2].map(|()| {
        let reply = pair.next().expect("it stays connected");
        assert_eq!(error(&reply), None);
        reply.header.id.get()
    });
    assert!(answered.contains(&unmap) && answered.contains(&reset));
}

#[test]
fn a_reset_during_io_ends_it_and_late_answers_belong_to_nobody() {
    for by_message in [true, false] {
        let mut pair = Pair::new();
        pair.enable();
        let event = pair.arm();
        pair.ring(1);
        let (request, access, _) = pair.dma();
        if by_message {
            pair.call(Command::Reset, &[], Vec::new());
        } else {
            pair.write(region::CONFIG, 0x68, &[0x10, 0xA8]);
        }
        pair.answer(&request, &[access.as_bytes(), &identify()]);
        pair.quiet();
        assert_eq!(pair.read32(register::CSTS.into()), 0);
        // Interrupts stay armed, so that the driver finds them as it left them.
        let (sq, _cq, _data) = (
            pair.share(SQ, 4096),
            pair.share(CQ, 4096),
            pair.share(DATA, 4096),
        );
        pair.enable();
        sq.write(0, &identify()).expect("inside");
        pair.ring(1);
        pair.quiet();
        assert!(fired(&event));
    }
}

#[test]
fn a_client_that_dies_during_io_leaves_a_device_for_the_next() {
    let mut pair = Pair::new();
    pair.enable();
    pair.ring(1);
    let _ = pair.dma();
    pair.next_client();
    pair.call(Command::Reset, &[], Vec::new());
    let (sq, cq, _data) = (
        pair.share(SQ, 4096),
        pair.share(CQ, 4096),
        pair.share(DATA, 4096),
    );
    pair.enable();
    sq.write(0, &identify()).expect("inside");
    pair.ring(1);
    pair.quiet();
    let mut entry = [0; 16];
    cq.read(0, &mut entry).expect("inside");
    assert_eq!(entry[12], 7);
}

#[test]
fn shared_memory_that_its_owner_cuts_off_is_a_failed_access() {
    let mut pair = Pair::new();
    let fd = rustix::fs::memfd_create("loose", rustix::fs::MemfdFlags::CLOEXEC).expect("a memfd");
    rustix::fs::ftruncate(&fd, 4096).expect("grows");
    let other = fd.try_clone().expect("a descriptor");
    pair.call(Command::DmaMap, &[map(SQ, 4096, 0).as_bytes()], vec![other]);
    pair.enable();
    rustix::fs::ftruncate(&fd, 0).expect("shrinks");
    pair.ring(1);
    pair.quiet();
    assert_eq!(pair.server.engine().faults, 1);
    assert_eq!(
        pair.refused(Command::DmaMap, &[map(SQ, 4096, 0).as_bytes()], Vec::new()),
        errno::EEXIST
    );
}
