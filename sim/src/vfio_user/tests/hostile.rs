//! Clients that do everything wrong: each gets an error or is hung up on, and the next one is served.

use std::os::fd::AsFd;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use rustix::event::{EventfdFlags, eventfd};
use sluice_vfio_user::memory::SharedFile;
use sluice_vfio_user::wire::{DeviceInfo, IrqInfo, RegionInfo, SmallWrite, errno};
use zerocopy::FromZeros;

use super::*;

/// One good message of each command that a client sends, but VERSION.
fn good_messages() -> Vec<(Command, Vec<u8>)> {
    let mut info = DeviceInfo::new_zeroed();
    info.argsz.set(16);
    let mut region_info = RegionInfo::new_zeroed();
    region_info.argsz.set(32);
    let mut irq_info = IrqInfo::new_zeroed();
    irq_info.argsz.set(16);
    irq_info.index.set(2);
    let small = SmallWrite {
        offset: 0x24.into(),
        region: 0.into(),
        count: 4.into(),
        data: [0; 8],
    };
    let write = [access(0, 0x24, 4).as_bytes(), &[0; 4]].concat();
    let multi = [&1u64.to_le_bytes()[..], small.as_bytes()].concat();
    vec![
        (
            Command::DmaMap,
            map(0x10_0000, 0x1000, 0).as_bytes().to_vec(),
        ),
        (
            Command::DmaUnmap,
            unmap(0x10_0000, 0x1000).as_bytes().to_vec(),
        ),
        (Command::GetInfo, info.as_bytes().to_vec()),
        (Command::GetRegionInfo, region_info.as_bytes().to_vec()),
        (Command::GetIrqInfo, irq_info.as_bytes().to_vec()),
        (
            Command::SetIrqs,
            irqs(irq::DATA_NONE | irq::ACTION_TRIGGER, 2, 0, 0)
                .as_bytes()
                .to_vec(),
        ),
        (Command::RegionRead, access(0, 0, 8).as_bytes().to_vec()),
        (Command::RegionWrite, write),
        (Command::Reset, Vec::new()),
        (Command::RegionWriteMulti, multi),
    ]
}

#[test]
fn every_command_works_whole_and_is_refused_when_cut_anywhere() {
    let mut pair = Pair::new();
    for (command, payload) in good_messages() {
        for cut in 0..payload.len() {
            assert_eq!(
                pair.refused(command, &[&payload[..cut]], Vec::new()),
                errno::EINVAL,
                "{command:?} cut at {cut}"
            );
        }
        pair.call(command, &[&payload], Vec::new());
    }
    pair.read32(0);
}

#[test]
fn a_version_cut_anywhere_is_taken_without_text_or_refused_and_the_next_client_is_served() {
    let whole = version::payload(MINOR, &Capabilities::OURS);
    let mut pair = Pair::new();
    for cut in 0..whole.len() - 1 {
        pair.client = Client::new(&pair.path);
        pair.turn(4);
        let reply = pair.ask(Command::Version, &[&whole[..cut]], Vec::new());
        let wanted = (cut != 4).then_some(errno::EINVAL);
        assert_eq!(error(&reply), wanted, "cut at {cut}");
        if wanted.is_some() {
            assert!(
                matches!(pair.next(), Err(FrameError::Closed)),
                "cut at {cut}"
            );
        }
    }
    pair.next_client();
    pair.read32(0);
}

#[test]
fn a_first_message_that_is_no_version_and_a_version_of_another_protocol_end_the_connection() {
    for (command, payload) in good_messages() {
        let mut pair = Pair::silent();
        pair.post(command as u16, 0, &[&payload], Vec::new());
        assert!(
            matches!(pair.next(), Err(FrameError::Closed)),
            "{command:?}"
        );
        pair.next_client();
    }
    for said in [
        &[1, 0, 0, 0][..],
        b"\0\0\0\0[1]\0",
        b"\0\0\0\0{\"capabilities\":{\"max_msg_fds\":\"x\"}}\0",
    ] {
        let mut pair = Pair::silent();
        assert_eq!(
            pair.refused(Command::Version, &[said], Vec::new()),
            errno::EINVAL
        );
        assert!(matches!(pair.next(), Err(FrameError::Closed)));
        pair.next_client();
    }
}

#[test]
fn a_version_without_json_is_a_client_with_the_defaults() {
    let mut pair = Pair::silent();
    pair.call(Command::Version, &[&[0, 0, 0, 0]], Vec::new());
    assert_eq!(
        pair.refused(Command::Version, &[&[0, 0, 0, 0]], Vec::new()),
        errno::EINVAL,
        "twice"
    );
    pair.read32(0);
}

#[test]
fn sizes_in_headers_that_no_message_has_end_the_connection() {
    let mut pair = Pair::new();
    for size in [0u32, 15, 1 << 21, u32::MAX] {
        let mut bytes = wire::message(1, 9, 0, &[&[0; 16]]);
        bytes[4..8].copy_from_slice(&size.to_le_bytes());
        pair.client.send(bytes, Vec::new());
        assert!(matches!(
            pair.next(),
            Err(FrameError::Closed | FrameError::Io(_))
        ));
        pair.next_client();
    }
}

#[test]
fn absurd_counts_offsets_and_regions_are_refused() {
    let mut pair = Pair::new();
    let reads = [
        access(0, 0, 0),
        access(0, u64::MAX, 4),
        access(0, u64::MAX - 3, 4),
        access(0, 0xFFFD, 4),
        access(1, 0, 4),
        access(6, 0, 4),
        access(8, 0, 4),
        access(9, 0, 4),
        access(u32::MAX, 0, 4),
        access(region::CONFIG, 4093, 4),
        RegionAccess {
            offset: 0.into(),
            region: 0.into(),
            count: u32::MAX.into(),
        },
    ];
    for read in reads {
        assert_eq!(
            pair.refused(Command::RegionRead, &[read.as_bytes()], Vec::new()),
            errno::EINVAL,
            "{read:?}"
        );
        assert_eq!(
            pair.refused(
                Command::RegionWrite,
                &[read.as_bytes(), &[0; 4]],
                Vec::new()
            ),
            errno::EINVAL
        );
    }
    for count in [2u64, 1 << 32, u64::MAX] {
        let small = SmallWrite::new_zeroed();
        let parts = [&count.to_le_bytes()[..], small.as_bytes()];
        assert_eq!(
            pair.refused(Command::RegionWriteMulti, &parts, Vec::new()),
            errno::EINVAL
        );
    }
    let long = SmallWrite {
        count: 9.into(),
        ..SmallWrite::new_zeroed()
    };
    let parts = [&1u64.to_le_bytes()[..], long.as_bytes()];
    assert_eq!(
        pair.refused(Command::RegionWriteMulti, &parts, Vec::new()),
        errno::EINVAL
    );
    for (flags, index, start, count) in [
        (ARM, 2, 0, 6),
        (ARM, 2, u32::MAX, 2),
        (ARM, 2, 5, u32::MAX),
        (ARM, 0, 0, 1),
        (ARM, 99, 0, 1),
        (0, 2, 0, 1),
        (u32::MAX, 2, 0, 1),
        (irq::DATA_BOOL | irq::ACTION_TRIGGER, 2, 0, 5),
    ] {
        let set = irqs(flags, index, start, count);
        assert_eq!(
            pair.refused(Command::SetIrqs, &[set.as_bytes()], Vec::new()),
            errno::EINVAL,
            "{set:?}"
        );
    }
    for command in [
        Command::GetRegionIoFds,
        Command::Feature,
        Command::DmaRead,
        Command::DmaWrite,
    ] {
        assert_eq!(
            pair.refused(command, &[&[0; 64]], Vec::new()),
            errno::ENOTSUP
        );
    }
    let id = pair.post(999, 0, &[], Vec::new());
    let reply = pair.next().expect("a reply");
    assert_eq!(
        (reply.header.id.get(), error(&reply)),
        (id, Some(errno::ENOTSUP))
    );
}

#[test]
fn descriptors_of_the_wrong_kind_or_number_are_refused_and_closed() {
    let mut pair = Pair::new();
    let pipe = || std::io::pipe().expect("a pipe").1.into();
    let event = || eventfd(0, EventfdFlags::NONBLOCK).expect("an eventfd");
    let set = irqs(ARM, 2, 0, 2);
    for fds in [
        vec![event()],
        vec![event(), event(), event()],
        vec![event(), pipe()],
    ] {
        assert_eq!(
            pair.refused(Command::SetIrqs, &[set.as_bytes()], fds),
            errno::EINVAL
        );
    }
    let small = SharedFile::create("small", 4096).expect("a memfd");
    let memory = || small.fd().try_clone_to_owned().expect("a descriptor");
    let ask = map(0x10_0000, 0x2000, 0);
    assert_eq!(
        pair.refused(Command::DmaMap, &[ask.as_bytes()], vec![memory()]),
        errno::EINVAL,
        "too small"
    );
    assert_eq!(
        pair.refused(Command::DmaMap, &[ask.as_bytes()], vec![memory(), memory()]),
        errno::EINVAL
    );
    // Those with messages that take none are closed.
    let (ours, theirs) = std::io::pipe().expect("a pipe");
    pair.call(Command::Reset, &[], vec![theirs.into()]);
    assert_eq!(
        rustix::io::read(ours.as_fd(), &mut [0; 1]),
        Ok(0),
        "the writing end is closed"
    );
    // Memory that cannot be touched without waiting goes by messages.
    pair.call(Command::DmaMap, &[ask.as_bytes()], vec![pipe()]);
}

#[test]
fn more_mappings_than_there_may_be_are_refused() {
    let mut pair = Pair::new();
    for i in 0..sluice_vfio_user::version::MAX_MAPS as u64 {
        pair.server
            .engine()
            .dma
            .map(i << 12, 4096, 3, 0, None)
            .expect("room");
    }
    let last = map(u64::MAX - 4095, 4096, 0);
    assert_eq!(
        pair.refused(Command::DmaMap, &[last.as_bytes()], Vec::new()),
        errno::ENOMEM
    );
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    let mut pair = Pair::new();
    for _ in 0..40 {
        pair.post(
            Command::RegionRead as u16,
            0,
            &[access(0, 0, 0x1_0000).as_bytes()],
            Vec::new(),
        );
        for _ in 0..12 {
            pair.post(
                Command::RegionRead as u16,
                0,
                &[access(0, 0, 0x1_0000).as_bytes()],
                Vec::new(),
            );
        }
        pair.turn(2000);
    }
    pair.next_client();
    pair.read32(0);
}

#[test]
fn noise_neither_stops_nor_breaks_the_server() {
    for seed in 0..60 {
        println!("seed {seed}");
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut pair = if seed % 3 == 0 {
            Pair::silent()
        } else {
            Pair::new()
        };
        for _ in 0..40 {
            let mut payload = vec![0; rng.next_u32() as usize % 80];
            rng.fill_bytes(&mut payload);
            // Small numbers get further than any.
            payload
                .iter_mut()
                .filter(|_| rng.next_u32() % 4 != 0)
                .for_each(|byte| *byte &= 1);
            let (command, flags) = (
                rng.next_u32() % 18,
                rng.next_u32() % 2 * 16 + rng.next_u32() % 16 / 15,
            );
            let message = wire::message(rng.next_u32() as u16, command as u16, flags, &[&payload]);
            let message = if rng.next_u32() % 30 == 0 {
                payload
            } else {
                message
            };
            if message.len() >= 16 {
                pair.client.send(message, Vec::new());
            }
            pair.turn(3);
            while let Ok(Some(_)) = pair.client.poll() {}
        }
        pair.next_client();
        pair.read32(0);
    }
}
