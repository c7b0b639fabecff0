//! Configuration space, registers, MSI-X, resets, and clients that come and go.

use rustix::event::{EventfdFlags, eventfd};
use sluice_vfio_user::frame::take;
use sluice_vfio_user::memory::SharedFile;
use sluice_vfio_user::wire::{RegionInfo, SmallWrite};
use sluice_wire::nvme::register;
use zerocopy::FromZeros;
use zerocopy::little_endian::U64;

use super::*;
use crate::card::functional::FunctionalCard;
use crate::vfio_user::card::CardFunction;

const TABLE: u64 = crate::ssd::MSIX_TABLE;

#[test]
fn a_client_finds_an_nvme_controller_with_its_registers() {
    let mut pair = Pair::new();
    assert_eq!(pair.read(region::CONFIG, 0, 4), [0xF4, 0x1A, 0xF6, 0x10]);
    assert_eq!(pair.read(region::CONFIG, 9, 3), [0x02, 0x08, 0x01]);
    assert_eq!(pair.read32(register::VS.into()), 0x0001_0400);
    let whole = pair.read(0, 0, 0x1_0000);
    let words: Vec<u8> = (0..64)
        .step_by(4)
        .flat_map(|at| pair.read32(at).to_le_bytes())
        .collect();
    assert_eq!(whole[..64], words);
}

#[test]
fn a_function_that_was_pulled_reads_as_ones_and_takes_nothing() {
    let mut pair = Pair::new();
    assert_eq!(pair.read32(register::VS.into()), 0x0001_0400);
    pair.server.engine().pull();
    pair.write32(register::AQA.into(), 0x001F_001F);
    assert_eq!(pair.read(0, 0, 64), [0xFF; 64]);
    assert_eq!(pair.read32(TABLE + 12), u32::MAX);
    pair.quiet();
}

#[test]
fn small_writes_at_once_and_writes_without_answer_arrive_in_order() {
    let mut pair = Pair::new();
    let aqa = |value: u32| SmallWrite {
        offset: u64::from(register::AQA).into(),
        region: 0.into(),
        count: 4.into(),
        data: u64::from(value).to_le_bytes(),
    };
    let (first, second) = (aqa(0x0001_0001), aqa(0x001F_001F));
    let parts = [&2u64.to_le_bytes()[..], first.as_bytes(), second.as_bytes()];
    let reply = pair.call(Command::RegionWriteMulti, &parts, Vec::new());
    assert_eq!(reply.payload, 2u64.to_le_bytes());
    assert_eq!(pair.read32(register::AQA.into()), 0x001F_001F);
    let head = access(0, register::AQA.into(), 4);
    pair.post(
        Command::RegionWrite as u16,
        flags::NO_REPLY,
        &[head.as_bytes(), &[3, 0, 4, 0]],
        Vec::new(),
    );
    assert_eq!(pair.read32(register::AQA.into()), 0x0004_0003);
    pair.quiet();
}

#[test]
fn the_msix_table_is_the_clients_and_arming_is_by_event_descriptors() {
    let mut pair = Pair::new();
    assert_eq!(pair.read32(TABLE + 12), 1, "masked");
    pair.write32(TABLE + 16, 0xFEE0_1234);
    pair.write32(TABLE + 24, 0x77);
    // Across the end of the table: 5 vectors.
    let around = pair.read(0, TABLE + 16, 4 * 16 + 16);
    assert_eq!(
        around[..12],
        [0x34, 0x12, 0xE0, 0xFE, 0, 0, 0, 0, 0x77, 0, 0, 0]
    );
    assert_eq!(around[64..], [0; 16]);
    let event = eventfd(0, EventfdFlags::NONBLOCK).expect("an eventfd");
    let other = event.try_clone().expect("a descriptor");
    pair.call(
        Command::SetIrqs,
        &[irqs(ARM, 2, 1, 1).as_bytes()],
        vec![other],
    );
    let trigger = irqs(irq::DATA_NONE | irq::ACTION_TRIGGER, 2, 1, 1);
    pair.call(Command::SetIrqs, &[trigger.as_bytes()], Vec::new());
    let mut count = [0; 8];
    rustix::io::read(&event, &mut count).expect("it fired");
    // Disarmed, it does not.
    pair.call(
        Command::SetIrqs,
        &[irqs(irq::DATA_NONE | irq::ACTION_TRIGGER, 2, 0, 0).as_bytes()],
        Vec::new(),
    );
    pair.call(Command::SetIrqs, &[trigger.as_bytes()], Vec::new());
    assert!(rustix::io::read(&event, &mut count).is_err());
}

#[test]
fn both_kinds_of_reset_bring_registers_and_configuration_back() {
    for by_message in [true, false] {
        let mut pair = Pair::new();
        pair.master(true);
        pair.write32(register::AQA.into(), 0x001F_001F);
        if by_message {
            pair.call(Command::Reset, &[], Vec::new());
        } else {
            pair.write(region::CONFIG, 0x69, &[0xA8]);
        }
        assert_eq!(pair.read32(register::AQA.into()), 0);
        assert_eq!(pair.read(region::CONFIG, 4, 2), [0, 0]);
        assert_eq!(pair.server.engine().resets, 1);
    }
}

#[test]
fn the_next_client_finds_the_device_as_it_was_but_cut_off_from_memory() {
    let mut pair = Pair::new();
    pair.master(true);
    pair.write32(register::AQA.into(), 0x001F_001F);
    pair.call(
        Command::DmaMap,
        &[map(0x1000, 0x1000, 0).as_bytes()],
        Vec::new(),
    );
    pair.next_client();
    assert_eq!(pair.read32(register::AQA.into()), 0x001F_001F);
    assert_eq!(
        pair.read(region::CONFIG, 4, 2),
        [2, 0],
        "bus mastering is off"
    );
    pair.call(
        Command::DmaMap,
        &[map(0x1000, 0x1000, 0).as_bytes()],
        Vec::new(),
    );
}

#[test]
fn a_second_client_waits_for_the_first_to_leave_and_a_second_server_is_refused() {
    let mut pair = Pair::new();
    let mut second = Client::new(&pair.path);
    let said = version::payload(MINOR, &Capabilities::OURS);
    second.send(
        wire::message(1, Command::Version as u16, 0, &[&said]),
        Vec::new(),
    );
    pair.read32(0);
    assert!(second.poll().expect("it waits").is_none());
    std::mem::swap(&mut pair.client, &mut second);
    drop(second);
    assert_eq!(error(&pair.next().expect("an answer")), None);
    let ssd = Ssd::new(SsdConfig::default()).expect("in memory");
    let other = Server::listen(&pair.path, SsdFunction::new(ssd));
    assert!(matches!(
        other,
        Err(crate::vfio_user::ServerError::Taken(_))
    ));
}

#[test]
fn packet_memory_can_be_mapped_but_for_the_queues_once_the_client_has_room_for_the_answer() {
    let function = CardFunction::new(Box::new(FunctionalCard::new(1, 1)), None);
    let mut pair = Pair::of(function.sharing().expect("a memfd"));
    pair.hello();
    let mut ask = |index: u32, room: u32| {
        let mut ask = RegionInfo::new_zeroed();
        (ask.argsz, ask.index) = (room.into(), index.into());
        let reply = pair.call(Command::GetRegionInfo, &[ask.as_bytes()], Vec::new());
        let (info, rest) = take::<RegionInfo>(&reply.payload).expect("an answer");
        (info, rest.to_vec(), reply.fds)
    };
    let (info, rest, fds) = ask(2, 32);
    let full = info.argsz.get();
    assert!(full > 32 && info.flags.get() & (region::CAPS | region::MMAP) == 0);
    assert!(rest.is_empty() && fds.is_empty() && info.cap_offset.get() == 0);
    let (info, rest, fds) = ask(2, full);
    assert_eq!((info.size.get(), info.cap_offset.get()), (16 << 20, 32));
    assert!(info.flags.get() & region::CAPS != 0 && info.flags.get() & region::MMAP != 0);
    let words: Vec<u64> = rest[16..]
        .chunks(8)
        .map(|b| U64::read_from_bytes(b).expect("8 bytes").get())
        .collect();
    assert_eq!(rest[..12], [1, 0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0]);
    assert_eq!(words, [0, 0x5C_0000, 0x60_0000, (16 << 20) - 0x60_0000]);
    let file = SharedFile::adopt(fds.into_iter().next().expect("a descriptor")).expect("a memfd");
    let (info, _, fds) = ask(0, full);
    assert!(info.flags.get() & region::MMAP == 0 && fds.is_empty());
    // The same bytes both ways.
    pair.write(2, 0x1000, &[1, 2, 3, 4]);
    pair.write(region::CONFIG, 4, &[6, 0]);
    let mut seen = [0; 4];
    file.read(0x1000, &mut seen).expect("it is mapped");
    assert_eq!(seen, [1, 2, 3, 4]);
    file.write(0x2000, &[5; 8]).expect("it is mapped");
    assert_eq!(pair.read(2, 0x2000, 8), [5; 8]);
}
