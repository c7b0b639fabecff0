//! Card bring-up and management commands against a card that remembers what it was told.

use std::time::Duration;

use sluice_device::Device;
use sluice_driver::card::trace::TraceOptions;
use sluice_driver::card::{Card, CardError, CardEvent, CardOptions, Firmware, ImageKind};
use sluice_driver::testing::{FakeCard, FakeDevice};
use sluice_regs::bar0_regs as bar0;
use sluice_wire::mgmt::{Event, Opcode, PortConfig, Status};
use zerocopy::FromZeros;

const PACKET_MEMORY: u64 = 0x12_0000_0000;

const FIRMWARE: Firmware<'_> = Firmware {
    control: &[1, 2, 3, 4, 5],
    data: &[6, 7, 8, 9],
};

fn boot(fake: &FakeCard, firmware: Option<Firmware<'_>>) -> Result<Card<FakeDevice>, CardError> {
    Card::boot(fake.device(PACKET_MEMORY), firmware, CardOptions::default())
}

fn refusal(fake: &FakeCard) -> CardError {
    boot(fake, None).err().expect("cannot boot")
}

#[test]
fn boot_loads_each_core_names_packet_memory_and_asks_what_the_firmware_can() {
    let fake = FakeCard::default();
    let card = boot(&fake, Some(FIRMWARE)).expect("boots");
    let [control, data, more_data] = fake.images();
    assert_eq!(control, [1, 2, 3, 4, 5, 0, 0, 0]);
    assert_eq!((data, more_data), (vec![6, 7, 8, 9], vec![6, 7, 8, 9]));
    assert_eq!(
        (card.info().firmware.as_str(), card.info().cores),
        ("fake", 3)
    );
    assert_eq!(
        (
            fake.get(bar0::PM_BUS_LO_OFFSET),
            fake.get(bar0::PM_BUS_HI_OFFSET)
        ),
        (0, 0x12)
    );
    assert_eq!(fake.get(bar0::CTRL_OFFSET), 1);
    drop(card.halt().expect("answers"));
    assert_eq!(
        (
            fake.get(bar0::CTRL_OFFSET),
            fake.get(bar0::QUEUE_ENABLE_OFFSET)
        ),
        (0, 0)
    );
}

#[test]
fn what_is_no_card_or_another_version_or_gone_is_said_to_be_so() {
    let fake = FakeCard::default();
    fake.set(bar0::MAGIC_OFFSET, 0x1234);
    assert!(matches!(
        refusal(&fake),
        CardError::NotACard { got: 0x1234, .. }
    ));
    fake.set(bar0::MAGIC_OFFSET, u32::MAX);
    assert!(matches!(refusal(&fake), CardError::Gone { .. }));
    let fake = FakeCard::default();
    fake.set(bar0::MAP_VERSION_OFFSET, 99);
    assert!(matches!(
        refusal(&fake),
        CardError::MapVersion { got: 99, .. }
    ));
}

#[test]
fn firmware_that_fails_or_never_gets_ready_is_reported_with_status_and_watchdogs() {
    let fake = FakeCard::default();
    fake.boots_to(7);
    fake.set(bar0::WATCHDOG_OFFSET, 2);
    assert!(matches!(
        refusal(&fake),
        CardError::Firmware {
            status: 7,
            watchdogs: 2,
            ..
        }
    ));
    fake.boots_to(0);
    let error = refusal(&fake);
    assert!(
        matches!(error, CardError::NotReady { status: 0, .. }),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("waited 5s for firmware status 1 (ready), but it is 0"),
        "{error}"
    );
}

#[test]
fn images_that_do_not_fit_are_refused_by_name_before_anything_is_loaded() {
    let fake = FakeCard::default();
    for len in [0, (512 << 10) + 1] {
        let image = vec![0; len];
        for wrong in [ImageKind::Control, ImageKind::Data] {
            let firmware = match wrong {
                ImageKind::Control => Firmware {
                    control: &image,
                    ..FIRMWARE
                },
                ImageKind::Data => Firmware {
                    data: &image,
                    ..FIRMWARE
                },
            };
            let error = boot(&fake, Some(firmware)).err().expect("does not fit");
            assert!(
                matches!(error, CardError::ImageSize { kind, got, max: 0x8_0000, .. } if (kind, got) == (wrong, len))
            );
            let text = error.to_string();
            let name = format!("the one for the {wrong} has {len};");
            assert!(text.contains(&name), "{text}");
        }
    }
    assert!(fake.images().iter().all(Vec::is_empty));
}

#[test]
fn a_card_that_stops_taking_an_image_is_reported_with_the_image_and_the_place() {
    let fake = FakeCard::default();
    // The control core's image is two words.
    for (words, stopped, place) in [(1, ImageKind::Control, 4), (2, ImageKind::Data, 0)] {
        fake.stops_loading_after(words);
        let error = boot(&fake, Some(FIRMWARE)).err().expect("cannot load");
        assert!(
            matches!(error, CardError::Load { kind, got, .. } if (kind, got) == (stopped, place)),
            "{error}"
        );
    }
}

#[test]
fn more_commands_than_entries_wrap_both_queues() {
    let fake = FakeCard::default();
    let mut card = boot(&fake, None).expect("boots");
    for i in 0..100 {
        card.add_listener(i, 3, 0).expect("taken");
    }
    let seen = fake.take();
    assert_eq!(seen[100], (Opcode::ListenerAdd, 99, 3, vec![]));
}

#[test]
fn a_port_is_told_to_the_rx_engine_too() {
    let fake = FakeCard::default();
    let mut card = boot(&fake, None).expect("boots");
    let mut port = PortConfig::new_zeroed();
    port.mac = [2, 0x53, 0x4C, 1, 2, 3];
    port.mtu.set(9000);
    card.set_port(0, &port).expect("taken");
    assert_eq!(
        (fake.get(bar0::MAC_HI_OFFSET), fake.get(bar0::MAC_LO_OFFSET)),
        (0x0253, 0x4C01_0203)
    );
    assert_eq!(fake.get(bar0::MTU_OFFSET), 9000);
}

#[test]
fn refusals_and_silence_name_the_command() {
    let fake = FakeCard::default();
    let mut card = boot(&fake, None).expect("boots");
    fake.refuse(Opcode::HostAdd, Status::Full);
    let error = card
        .add_host(3, "nqn.2026-01.org.example:h")
        .expect_err("refused");
    assert_eq!(
        error.to_string(),
        "fake card: HostAdd of 3 was refused: the card has no room for another"
    );
    fake.ignore(Opcode::SsdDetach);
    let error = card.detach_ssd(1).expect_err("ignored");
    assert!(
        matches!(
            error,
            CardError::Silent {
                opcode: Opcode::SsdDetach,
                status: 1,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_card_that_is_gone_is_not_waited_for() {
    let fake = FakeCard::default();
    let mut card = boot(&fake, None).expect("boots");
    fake.ignore(Opcode::SsdDetach);
    fake.set(bar0::FW_STATUS_OFFSET, u32::MAX);
    let before = card.device().clock().now();
    let error = card.detach_ssd(1).expect_err("gone");
    assert!(matches!(error, CardError::Gone { .. }), "{error}");
    let waited = card.device().clock().now() - before;
    assert!(
        waited < CardOptions::default().command_timeout / 10,
        "{waited:?}"
    );
}

#[test]
fn events_come_one_by_one_and_between_commands() {
    let fake = FakeCard::default();
    let mut card = boot(&fake, None).expect("boots");
    assert_eq!(card.next_event(Duration::ZERO), Ok(None));
    fake.raise(Event::HostConnected, 5);
    fake.raise(Event::SsdTimeout, 1);
    card.remove_subsystem(0).expect("taken");
    let now = Duration::ZERO;
    assert_eq!(
        card.next_event(now),
        Ok(Some(CardEvent::Known(Event::HostConnected, 5)))
    );
    assert_eq!(
        card.next_event(now),
        Ok(Some(CardEvent::Known(Event::SsdTimeout, 1)))
    );
    assert_eq!(card.next_event(Duration::from_millis(30)), Ok(None));
}

#[test]
fn a_trace_needs_hardware_for_it_and_options_that_can_be() {
    let fake = FakeCard::default();
    let mut card = boot(&fake, None).expect("boots");
    let standard = TraceOptions::default();
    let error = card.start_trace(standard).expect_err("no feature");
    assert!(matches!(error, CardError::NoTrace { .. }));
    let mut features = bar0::Features(0).0;
    features |= 1 << 6;
    fake.set(bar0::FEATURES_OFFSET, features);
    for (options, says) in [
        (
            TraceOptions {
                snap: 9217,
                ..standard
            },
            "at most 9216 bytes wanted, 9217 came",
        ),
        (
            TraceOptions {
                ring: 5000,
                ..standard
            },
            "a power of two from 4096 to 16777216 bytes wanted, 5000 came",
        ),
        (
            TraceOptions {
                ring: 1 << 25,
                ..standard
            },
            "33554432 came",
        ),
    ] {
        let error = card.start_trace(options).expect_err("cannot be");
        assert!(error.to_string().contains(says), "{error}");
    }
    let error = card.read_trace(1).expect_err("none runs");
    assert!(matches!(error, CardError::NoTraceRuns { .. }));
}

/// A small ring that the test writes as the card would.
const SMALL: TraceOptions = TraceOptions {
    receive: true,
    send: false,
    snap: 128,
    tcp_port: 4420,
    udp_port: 0,
    ring: 4096,
};

fn tracing(fake: &FakeCard) -> (Card<FakeDevice>, u64) {
    fake.set(bar0::FEATURES_OFFSET, 1 << 6);
    let mut card = boot(fake, None).expect("boots");
    // Status `tracing` without `active`: it has begun, and will have ended when it is to.
    fake.set(bar0::TRACE_STATUS_OFFSET, 2);
    card.start_trace(SMALL).expect("it starts");
    let control = bar0::TraceCtrl(fake.get(bar0::TRACE_CTRL_OFFSET));
    assert!(control.enable() && control.receive() && !control.send());
    assert_eq!((control.snap(), control.order()), (128, 0));
    assert_eq!(fake.get(bar0::TRACE_FILTER_OFFSET), 4420);
    let low = fake.get(bar0::TRACE_BASE_LO_OFFSET);
    let ring = u64::from(fake.get(bar0::TRACE_BASE_HI_OFFSET)) << 32 | u64::from(low);
    assert_eq!(ring % 4096, 0);
    (card, ring)
}

#[test]
fn records_are_taken_whole_across_the_ends_of_the_ring_and_the_tail_follows() {
    let fake = FakeCard::default();
    let (mut card, ring) = tracing(&fake);
    assert!(matches!(
        card.start_trace(SMALL),
        Err(CardError::TraceRuns { .. })
    ));
    assert!(card.read_trace(4096).expect("nothing yet").is_empty());
    let (mut head, mut taken) = (0_u32, 0_u32);
    for round in 0..40_u32 {
        // Three records of 20 bytes of frame, 48 bytes each.
        for n in 0..3_u8 {
            let mut record = vec![20, 0, 60, 0, 0, 0, 0, 0, n, round as u8, 0, 0, 0, 0, 0, 0];
            record.extend([round as u8 + n; 20]);
            record.resize(48, 0xEE);
            for (i, byte) in record.iter().enumerate() {
                let at = ring + u64::from((head + i as u32) % 4096);
                fake.write_memory(at, &[*byte]);
            }
            head += 48;
        }
        fake.write_memory(ring + 4096, &head.to_le_bytes());
        let two = card.read_trace(100).expect("records");
        assert_eq!(two.len(), 96, "what fits");
        let one = card.read_trace(1).expect("records");
        assert_eq!(one.len(), 48, "one at least");
        for (n, record) in two.chunks(48).chain([&one[..]]).enumerate() {
            assert_eq!(record[8..10], [n as u8, round as u8]);
            assert_eq!(record[16..36], [round as u8 + n as u8; 20]);
        }
        taken += 144;
        assert_eq!(fake.get(bar0::TRACE_TAIL_OFFSET), taken);
    }
    fake.set(bar0::TRACE_STATUS_OFFSET, 4);
    fake.set(bar0::TRACE_LOST_OFFSET, 9);
    let state = card.stop_trace().expect("it ends");
    assert_eq!((state.lost, state.bus_error), (9, true));
    assert_eq!(fake.get(bar0::TRACE_CTRL_OFFSET), 0);
    assert!(!card.is_tracing());
}

#[test]
fn a_ring_that_makes_no_sense_stops_the_trace_and_says_where() {
    for (head, first, says) in [
        (8192_u32, [0_u8; 4], "8192 bytes in a ring of 4096 bytes"),
        (24, [0; 4], "24 bytes in a ring"),
        (
            64,
            [100, 0, 100, 0],
            "a record of 100 bytes of a frame of 100, 64 bytes are written",
        ),
        (64, [9, 0, 8, 0], "a record of 9 bytes of a frame of 8"),
    ] {
        let fake = FakeCard::default();
        let (mut card, ring) = tracing(&fake);
        fake.write_memory(ring, &first);
        fake.write_memory(ring + 4096, &head.to_le_bytes());
        fake.set(bar0::TRACE_STATUS_OFFSET, 0);
        let error = card.read_trace(4096).expect_err("nonsense");
        assert!(error.to_string().contains(says), "{error}");
        assert!(!card.is_tracing());
    }
}

#[test]
fn a_card_that_cannot_reach_the_ring_or_neither_starts_nor_ends_says_so() {
    let fake = FakeCard::default();
    fake.set(bar0::FEATURES_OFFSET, 1 << 6);
    let mut card = boot(&fake, None).expect("boots");
    fake.set(bar0::TRACE_STATUS_OFFSET, 4);
    let error = card.start_trace(SMALL).expect_err("bus error");
    assert!(matches!(error, CardError::TraceBus { .. }));
    assert!(!card.is_tracing());
    // Active for ever: it is not even started.
    fake.set(bar0::TRACE_STATUS_OFFSET, 1);
    let error = card.start_trace(SMALL).expect_err("stuck");
    assert!(
        error.to_string().contains("for the trace to end"),
        "{error}"
    );
    let adopted = Card::adopt(fake.device(PACKET_MEMORY), CardOptions::default());
    assert!(matches!(adopted.err(), Some(CardError::TraceStuck { .. })));
}
