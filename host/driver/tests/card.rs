//! Card bring-up and management commands against a card that remembers what it was told.

use std::time::Duration;

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
