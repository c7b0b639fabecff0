//! The card's firmware replaced over the host driver's mailbox: under load, with packages that are no good, and with the power
//! failing at every program and erase. The functional card runs its own firmware whatever the packages hold, so they are small.

use std::cell::RefCell;
use std::rc::Rc;

use sluice_boot::image::{Version, boards};
use sluice_boot::layout::{FLASH_SIZE, Slot};
use sluice_boot::pack::{self, Contents, SigningKey};
use sluice_device::Device;
use sluice_driver::card::flash::Progress;
use sluice_driver::card::update::{Step, update};
use sluice_driver::card::{Card, CardError, CardOptions, Firmware};
use sluice_nor::{FuseBank, Nor, Timing};
use sluice_regs::MAP_VERSION;
use sluice_sim::card::functional::FunctionalCard;
use sluice_sim::initiator::{Transport, Workload};
use sluice_sim::link::LinkConfig;
use sluice_sim::scenario::server::Setup;
use sluice_sim::ssd::Latency;
use sluice_sim::world::{World, WorldHandle, card_device};
use sluice_wire::mgmt::{Opcode, Status, refusals};
use zerocopy::IntoBytes;

use crate::common::{Bench, On, mix, to_demo};

#[cfg(feature = "rtl")]
#[path = "flashing/verilated.rs"]
mod on_the_verilated_card;
#[path = "flashing/under_load.rs"]
mod under_load;

use under_load::UnderLoad;

crate::over_both_transports! {
    an_update_under_load_loses_no_acknowledged_write,
    a_new_start_lets_commands_end_at_the_ssds_first,
}

fn root() -> SigningKey {
    SigningKey::from_seed([3; 32])
}

fn contents(version: u16) -> Contents<'static> {
    /// Nothing but jumps to themselves, in case a core runs it.
    static IMAGE: [u8; 9000] = {
        let mut image = [0; 9000];
        let mut at = 0;
        while at < image.len() {
            image[at] = 0x6F;
            at += 4;
        }
        image
    };
    Contents {
        control: &IMAGE[..4000],
        data: &IMAGE,
        board: boards::SIMULATED,
        map_version: MAP_VERSION,
        version: Version {
            major: version,
            ..Version::default()
        },
        security_version: 0,
        label: "test",
    }
}

fn package(version: u16) -> Vec<u8> {
    pack::package(&contents(version), &root()).expect("within bounds")
}

/// A card's flash with version 1, and its fuses.
fn storage(timing: Timing, seed: u64) -> (Nor, FuseBank) {
    let whole = pack::whole_flash(&package(1), &[], None);
    let nor = Nor::new(FLASH_SIZE as usize, timing, seed).with_content(&whole);
    let fuses = FuseBank::new(boards::SIMULATED, MAP_VERSION, root().public());
    (nor, fuses)
}

fn setup() -> Setup {
    let mut setup = On::functional().cores(2).default_setup();
    setup.flash = Some(storage(Timing::TYPICAL, 1));
    for ssd in &mut setup.ssds {
        ssd.latency = Latency::NAND;
    }
    setup
}

fn an_update_under_load_loses_no_acknowledged_write(over: Transport) {
    let functional = UnderLoad {
        setup: setup(),
        new: package(2),
        least: 1000,
    };
    under_load::update(&functional, over);
}

fn a_new_start_lets_commands_end_at_the_ssds_first(over: Transport) {
    let mut setup = setup();
    for ssd in &mut setup.ssds {
        // Far longer than it takes to delete a queue.
        ssd.latency = Latency {
            read: 100_000,
            write: 100_000,
            other: 500,
            ..Latency::ZERO
        };
    }
    under_load::restart(&setup, over);
}

fn version(card: &mut Card<Box<dyn Device>>, slot: Slot) -> Result<u16, u32> {
    let state = card.flash_state().expect("the card answers");
    state.slot(slot).map(|slot| slot.version.0)
}

/// The status of a command that the card refuses.
fn refused(outcome: Result<(), CardError>) -> (Opcode, Status, u32) {
    match outcome {
        Err(CardError::Refused {
            opcode,
            status,
            result,
            ..
        }) => (opcode, status, result),
        other => panic!("refused by the card, not {other:?}"),
    }
}

/// Packages and requests that are refused while a host works: no command fails, and the card starts what it started before.
#[test]
fn what_is_refused_leaves_the_running_firmware_and_its_hosts_alone() {
    let mut bench = Bench::with("refused-packages", &setup(), &LinkConfig::default());
    let host = bench.host(1);
    let (controller, namespaces) = bench.connect_with(host, &to_demo(1));
    let load = mix(&controller, &namespaces[0], 4096, 2, u64::MAX);
    bench.at(host).attach(Workload::new(load));
    let good = package(2);
    bench.beside(|server| {
        let card = server.rig.card();
        let mut flash = |bytes: &[u8]| card.flash(bytes, &mut |_| ());
        // What the driver sees by itself.
        for (bytes, wanted) in [
            (good[..good.len() - 1].to_vec(), "was it copied whole?"),
            (good[..200].to_vec(), "this has 200 in all"),
            (vec![0x55; 4096], "not a firmware package"),
            (
                pack::package(
                    &Contents {
                        board: 77,
                        ..contents(2)
                    },
                    &root(),
                )
                .expect("bounds"),
                "it is for board 77, the card is 1",
            ),
            (
                pack::package(
                    &Contents {
                        map_version: 9,
                        ..contents(2)
                    },
                    &root(),
                )
                .expect("bounds"),
                "it is for register map 9",
            ),
        ] {
            let error = flash(&bytes).expect_err(wanted).to_string();
            assert!(error.contains(wanted), "{error}");
        }
        // What only the card sees.
        let stranger =
            pack::package(&contents(2), &SigningKey::from_seed([9; 32])).expect("bounds");
        let begin = Opcode::FlashBegin;
        let package_refused = Status::PackageRefused;
        assert_eq!(
            refused(flash(&stranger)),
            (begin, package_refused, refusals::UNKNOWN_KEY)
        );
        let mut changed = good.clone();
        changed[64] ^= 1;
        assert_eq!(
            refused(flash(&changed)),
            (begin, package_refused, refusals::SIGNATURE)
        );
        let mut changed = good.clone();
        changed[5000] ^= 1;
        let verify = Opcode::FlashVerify;
        assert_eq!(
            refused(flash(&changed)),
            (verify, package_refused, refusals::DIGEST)
        );
        let out_of_order = |opcode| (opcode, Status::OutOfOrder, 0);
        assert_eq!(
            refused(card.activate()),
            out_of_order(Opcode::FlashActivate)
        );
        let stray = pack::certificate(&SigningKey::from_seed([9; 32]), &[1; 32], 1, 1, 0);
        let outcome = card.rotate_key(stray.as_bytes());
        let signature = sluice_wire::mgmt::key_refusals::SIGNATURE;
        assert_eq!(
            refused(outcome),
            (Opcode::KeyRotate, Status::KeyRefused, signature)
        );
        assert_eq!(
            refused(card.rotate_key(&[0; 100])),
            (Opcode::KeyRotate, Status::BadLength, 128)
        );
        // There is nothing to go back to in slot B.
        let empty = (Opcode::FlashRollBack, package_refused, refusals::MAGIC);
        let rolled = refused(card.roll_back());
        assert!(
            rolled == empty || rolled.2 == refusals::DIGEST,
            "{rolled:?}"
        );
        assert_eq!(version(card, Slot::A), Ok(1));
    });
    bench.at(host).end_workload();
    let stats = bench.finish_loads(&[host]).remove(0);
    assert_eq!(stats.errors, [""; 0]);
    assert!(stats.ios() > 100);
    bench
        .on(host, |b| b.disconnect(&controller))
        .expect("disconnect");
    bench.check_capture();
    let bench = bench.restart_from_flash();
    let mut server = bench.server;
    let state = server.rig.card().flash_state().expect("the card answers");
    assert_eq!(
        (state.running(), state.is_on_trial()),
        (Some(Slot::A), false)
    );
}

/// A key is certified, signs, and is what the next download needs.
#[test]
fn a_new_signing_key_is_taken_and_used() {
    let mut bench = Bench::with("new-key", &setup(), &LinkConfig::default());
    let daily = SigningKey::from_seed([4; 32]);
    let signed = pack::package(&contents(2), &daily).expect("within bounds");
    let certificate = pack::certificate(&root(), &daily.public(), boards::SIMULATED, 1, 0);
    let card = bench.server.rig.card();
    let unknown = (
        Opcode::FlashBegin,
        Status::PackageRefused,
        refusals::UNKNOWN_KEY,
    );
    assert_eq!(refused(card.flash(&signed, &mut |_| ())), unknown);
    card.rotate_key(certificate.as_bytes()).expect("certified");
    let state = card.flash_state().expect("the card answers");
    assert_eq!(state.raw.keys.map(|key| key.generation.get()), [1, 0]);
    card.flash(&signed, &mut |_| ())
        .expect("signed by a known key");
    card.activate().expect("verified");
    bench.drop_capture("nobody connected");
    let mut server = bench.restart_from_flash().server;
    let card = server.rig.card();
    assert_eq!(version(card, Slot::B), Ok(2));
    // Not confirmed: back to version 1.
    card.roll_back().expect("version 1 is good");
}

/// A card alone on a bus.
fn alone(chip: Nor, fuses: FuseBank) -> WorldHandle {
    let card = FunctionalCard::new(1, 1).with_flash(chip, fuses);
    Rc::new(RefCell::new(World::new(Box::new(card))))
}

/// What the power leaves: chip and fuses, for the next card to be built around.
fn unplugged(world: &WorldHandle) -> (Nor, FuseBank) {
    let mut world = world.borrow_mut();
    let card = world.card().functional_mut().expect("a functional card");
    let fuses = *card.fuses();
    let mut chip = card.chip().clone();
    chip.cut_power();
    chip.power_on();
    (chip, fuses)
}

fn boot(world: &WorldHandle) -> Result<Card<Box<dyn Device>>, CardError> {
    Card::boot_from_flash(card_device(world), CardOptions::default())
}

/// Everything from the download to the confirmation, with the start in between.
fn whole_update(world: &WorldHandle) -> Result<(), CardError> {
    let mut card = boot(world)?;
    if card.flash_state()?.is_on_trial() {
        card.confirm()?;
    }
    card.flash(&package(2), &mut |_| ())?;
    card.activate()?;
    drop(card.halt()?);
    boot(world)?.confirm()
}

/// As large as the firmware is; the time is the chip's but for the little that the card and the mailbox add.
#[test]
fn a_download_erases_each_sector_and_programs_each_page_once() {
    let image: Vec<u8> = (0..160_000u32).map(|i| (i * 7 >> 3) as u8).collect();
    let large = Contents {
        control: &image[..106_000],
        data: &image,
        ..contents(2)
    };
    let new = pack::package(&large, &root()).expect("within bounds");
    let (chip, fuses) = storage(Timing::TYPICAL, 1);
    let world = alone(chip, fuses);
    let mut card = boot(&world).expect("version 1");
    let before = world.borrow().now();
    card.flash(&new, &mut |_| ()).expect("a good package");
    println!(
        "{} for {} bytes, written and verified",
        under_load::ms(world.borrow().now() - before),
        new.len()
    );
    assert_eq!(version(&mut card, Slot::B), Ok(2));
    let operations = {
        let mut world = world.borrow_mut();
        let card = world.card().functional_mut().expect("a functional card");
        assert_eq!(card.chip().lost_bits(), 0);
        card.chip().operations()
    };
    let all = new.len().div_ceil(sluice_nor::SECTOR) + new.len().div_ceil(sluice_nor::PAGE);
    assert_eq!(operations, all as u64);
}

#[test]
fn the_power_may_fail_at_every_program_and_erase_of_an_update() {
    let operations = |world: &WorldHandle| {
        let mut world = world.borrow_mut();
        let card = world.card().functional_mut().expect("a functional card");
        card.chip().operations()
    };
    let (chip, fuses) = storage(Timing::TYPICAL, 1);
    let world = alone(chip, fuses);
    whole_update(&world).expect("nothing fails");
    let total = operations(&world);
    assert!(total > 60, "{total} programs and erases");
    let mut versions = [0; 2];
    for cut in 0..total {
        let (mut chip, fuses) = storage(Timing::TYPICAL, cut);
        chip.cut_after(cut);
        let world = alone(chip, fuses);
        whole_update(&world).expect_err("the power fails");
        let (chip, fuses) = unplugged(&world);
        let world = alone(chip, fuses);
        let mut card = boot(&world).unwrap_or_else(|e| panic!("cut {cut}: {e}"));
        let running = card.flash_state().expect("the card answers").running();
        let running = running.expect("it was started from its flash");
        let version = version(&mut card, running).expect("a package");
        assert!(matches!(version, 1 | 2), "cut {cut}: version {version}");
        versions[usize::from(version) - 1] += 1;
        drop(card.halt().expect("it answers"));
        whole_update(&world).unwrap_or_else(|e| panic!("cut {cut}: again: {e}"));
    }
    println!(
        "{total} cuts: the old version {} times, the new one {}",
        versions[0], versions[1]
    );
    assert!(versions.iter().all(|n| *n > 0));
}

#[test]
fn a_card_with_nothing_good_in_its_flash_is_repaired_by_its_host() {
    let (_, fuses) = storage(Timing::TYPICAL, 1);
    let world = alone(Nor::new(FLASH_SIZE as usize, Timing::TYPICAL, 1), fuses);
    let error = boot(&world).map(|_| ()).expect_err("a blank chip");
    let text = error.to_string();
    assert!(text.contains("slot A: no firmware package there"), "{text}");
    let firmware = Firmware {
        control: &[1; 8],
        data: &[2; 4],
    };
    let mut card = Card::boot(card_device(&world), Some(firmware), CardOptions::default())
        .expect("loaded by the host");
    let state = card.flash_state().expect("the card answers");
    assert_eq!((state.running(), state.active()), (None, None));
    assert_eq!(refused(card.confirm()).1, Status::NotFromFlash);
    card.flash(&package(5), &mut |_| ())
        .expect("a good package");
    card.activate().expect("verified");
    drop(card.halt().expect("it answers"));
    let mut card = boot(&world).expect("version 5");
    assert_eq!(version(&mut card, Slot::A), Ok(5));
    card.confirm().expect("it is well");
    // Its images are in the cores.
    let mut world = world.borrow_mut();
    let loaded = world
        .card()
        .functional()
        .expect("functional")
        .loaded(0)
        .len();
    assert_eq!(loaded, 4000);
}

/// The one command: download, new start, health check, confirmation.
#[test]
fn a_card_that_serves_nobody_is_updated_in_one_go_and_a_blank_one_too() {
    let (chip, fuses) = storage(Timing::TYPICAL, 1);
    let blank = Nor::new(FLASH_SIZE as usize, Timing::TYPICAL, 1);
    let rescue = Firmware {
        control: &[1; 8],
        data: &[2; 4],
    };
    for (chip, slot, first) in [
        (chip, Slot::B, None),
        (blank, Slot::A, Some(Step::LoadedByHost)),
    ] {
        let world = alone(chip, fuses);
        let device = Rc::new(card_device(&world));
        let mut steps = Vec::new();
        let new = package(7);
        let options = CardOptions::default();
        let mut card = update(device, &new, Some(rescue), options, &mut |s| steps.push(s))
            .unwrap_or_else(|e| panic!("{e}"));
        let written = u32::try_from(new.len()).expect("short");
        let all = Step::Download(Progress::Written {
            done: written,
            of: written,
        });
        assert!(steps.contains(&all), "{steps:?}");
        let end = [Step::OnTrial(slot), Step::Confirmed(slot)];
        assert_eq!(steps[steps.len() - 2..], end);
        if let Some(first) = first {
            assert_eq!(steps[0], first);
        }
        let state = card.flash_state().expect("the card answers");
        assert_eq!((state.active(), state.running()), (Some(slot), Some(slot)));
    }
}
