//! The same boot program and firmware as RV32 code, over the RTL's flash controller and the chip's pins. The whole firmware is
//! started from the flash where that is the matter; elsewhere the packages hold images that do nothing, and what runs was loaded
//! by the host, since the boot program takes long for what it reads, hashes and verifies.

#[path = "cuts.rs"]
mod cuts;

use std::path::PathBuf;
use std::time::Instant;

use sluice_boot::Fuses as _;
use sluice_regs::bar0_regs::{self as bar0, BootStatus};
use sluice_sim::card::rtl::{RtlCard, SharedChip, board};
use sluice_sim::scenario::firmware;
use sluice_verilated::Board;

use super::under_load::ms;
use super::*;

/// Erases and programs as fast as the card's own work: what matters here is their order.
const FAST: Timing = Timing {
    program: 20_000,
    sector_erase: 100_000,
};

/// CTRL.RESET and CTRL.BOOT (docs/card.md, section 7): the second stays set for as long as the boot program is at work.
const RESET: u32 = 2;
const BOOT: u32 = 4;

fn folder() -> PathBuf {
    let folder = std::env::var_os("SLUICE_FIRMWARE");
    folder
        .expect("SLUICE_FIRMWARE names the folder with the firmware's ELF files")
        .into()
}

fn images() -> firmware::Images {
    firmware::Images::read(&folder()).expect("the firmware")
}

/// A package with what the cores really run.
fn real(version: u16) -> Vec<u8> {
    let images = images();
    let (control, data) = images.bytes();
    let contents = Contents {
        control,
        data,
        ..contents(version)
    };
    pack::package(&contents, &root()).expect("within bounds")
}

fn fuses() -> FuseBank {
    FuseBank::new(boards::SIMULATED, MAP_VERSION, root().public())
}

fn chip(package: &[u8], seed: u64) -> Nor {
    let whole = pack::whole_flash(package, &[], None);
    Nor::new(FLASH_SIZE as usize, FAST, seed).with_content(&whole)
}

/// A board with this chip.
fn board_with(chip: &SharedChip, fuses: &FuseBank) -> Board {
    let rom = firmware::rom(&folder()).expect("the boot program");
    board(chip, fuses, rom)
}

/// A card with one data core on this board, alone on a bus.
fn world_on(board: Board) -> WorldHandle {
    let card = RtlCard::on(board, 1, 1).expect("a card with one data core");
    Rc::new(RefCell::new(World::new(Box::new(card))))
}

/// Resets the card and sets its boot program to work.
fn begin_start(world: &WorldHandle) {
    let device = card_device(world);
    let bar = device.bar(0).expect("BAR0");
    for ctrl in [0, RESET, BOOT] {
        bar.write32(bar0::CTRL_OFFSET.into(), ctrl)
            .expect("a register");
    }
}

/// What the boot program reports when it is asked to start the card.
fn report(world: &WorldHandle) -> BootStatus {
    let device = card_device(world);
    let bar = device.bar(0).expect("BAR0");
    let began = world.borrow().now();
    begin_start(world);
    for _ in 0..10_000 {
        device.clock().sleep(std::time::Duration::from_micros(100));
        if bar.read32(bar0::CTRL_OFFSET.into()).expect("a register") & BOOT == 0 {
            println!("the boot program took {}", ms(world.borrow().now() - began));
            let status = bar.read32(bar0::BOOT_STATUS_OFFSET.into());
            return BootStatus(status.expect("a register"));
        }
    }
    panic!("the boot program does not end");
}

/// The whole firmware from slot A: it is there, well, and says so.
#[test]
fn it_starts_the_whole_firmware_from_its_flash() {
    let package = real(1);
    let shared = SharedChip::new(chip(&package, 1));
    let world = world_on(board_with(&shared, &fuses()));
    let began = Instant::now();
    let mut card = boot(&world).expect("slot A");
    println!(
        "a package of {} bytes: {} from power-on to firmware that answers, {:.0} s of simulation",
        package.len(),
        ms(world.borrow().now()),
        began.elapsed().as_secs_f64()
    );
    let reads = shared.get().quad_reads();
    assert!(reads >= package.len() as u64 / 256, "{reads} quad reads");
    let state = card.flash_state().expect("the card answers");
    assert_eq!(
        (state.running(), state.is_on_trial()),
        (Some(Slot::A), false)
    );
    assert_eq!(version(&mut card, Slot::A), Ok(1));
    assert!(card.health().expect("every core answers").is_good());
    assert_eq!(shared.get().nor.operations(), 0, "a start writes nothing");
}

/// Two hosts' load while a package with the whole firmware is written, verified and activated; then the card is started anew from
/// it. The SSDs are slow, so that the simulation's time goes into the flash.
#[test]
#[ignore = "minutes: run by `cargo xtask test --long`"]
fn an_update_under_load_loses_no_acknowledged_write() {
    let began = Instant::now();
    let mut setup = On::rtl().default_setup();
    setup.flash = Some((chip(&real(1), 1), fuses()));
    for ssd in &mut setup.ssds {
        ssd.latency = Latency {
            read: 100_000,
            write: 100_000,
            ..ssd.latency
        };
    }
    let verilated = UnderLoad {
        setup,
        new: real(2),
        least: 500,
    };
    under_load::update(&verilated, Transport::Tcp);
    println!("{:.0} s of simulation", began.elapsed().as_secs_f64());
}

/// Over the mailbox: what the driver sees by itself with what the card says of itself, and what only the card sees. The firmware
/// goes on.
#[test]
fn what_is_refused_leaves_the_running_firmware_alone() {
    let mut fuses = fuses();
    fuses.raise_security_version(3).expect("it was 0");
    let secure = |version: u16| Contents {
        security_version: 3,
        ..contents(version)
    };
    let sign = |contents: &Contents<'_>| pack::package(contents, &root()).expect("within bounds");
    let shared = SharedChip::new(chip(&sign(&secure(1)), 1));
    let world = world_on(board_with(&shared, &fuses));
    let images = images();
    let firmware = Some(images.as_firmware());
    let mut card =
        Card::boot(card_device(&world), firmware, CardOptions::default()).expect("it is loaded");
    let good = sign(&secure(2));
    let foreign = Contents {
        board: 77,
        ..secure(2)
    };
    for (bytes, wanted) in [
        (good[..good.len() - 1].to_vec(), "was it copied whole?"),
        (sign(&foreign), "it is for board 77, the card is 1"),
        (
            sign(&contents(2)),
            "its security version is 0, the card's fuses allow 3 and up",
        ),
    ] {
        let error = card.flash(&bytes, &mut |_| ()).expect_err(wanted);
        assert!(error.to_string().contains(wanted), "{error}");
    }
    let mut flipped = [good.clone(), good.clone()];
    flipped[0][64] ^= 1;
    flipped[1][5000] ^= 1;
    let stranger = pack::package(&secure(2), &SigningKey::from_seed([9; 32])).expect("bounds");
    for (bytes, at, why) in [
        (&stranger, Opcode::FlashBegin, refusals::UNKNOWN_KEY),
        (&flipped[0], Opcode::FlashBegin, refusals::SIGNATURE),
        (&flipped[1], Opcode::FlashVerify, refusals::DIGEST),
    ] {
        let outcome = card.flash(bytes, &mut |_| ());
        assert_eq!(refused(outcome), (at, Status::PackageRefused, why));
    }
    let early = refused(card.activate());
    assert_eq!(early, (Opcode::FlashActivate, Status::OutOfOrder, 0));
    assert!(card.health().expect("every core answers").is_good());
    assert_eq!(version(&mut card, Slot::A), Ok(1));
    let state = card.flash_state().expect("the card answers");
    assert_eq!((state.active(), state.trial()), (Some(Slot::A), None));
}

/// The boot program has nobody to trust but the fuses: packages that got into both slots past the firmware are not started.
#[test]
fn it_starts_nothing_that_its_boot_program_refuses() {
    let mut fuses = fuses();
    fuses.raise_security_version(3).expect("it was 0");
    let secure = Contents {
        security_version: 3,
        ..contents(1)
    };
    let signed = |contents: &Contents<'_>, seed: u8| {
        pack::package(contents, &SigningKey::from_seed([seed; 32])).expect("within bounds")
    };
    let good = signed(&secure, 3);
    let mut flipped = good.clone();
    flipped[64] ^= 1;
    let board = Contents {
        board: 77,
        ..secure
    };
    let map_version = Contents {
        map_version: MAP_VERSION + 1,
        ..secure
    };
    let cut_short = good[..good.len() / 2].to_vec();
    for (slots, codes) in [
        (
            [signed(&board, 3), signed(&map_version, 3)],
            [refusals::BOARD, refusals::MAP_VERSION],
        ),
        (
            [signed(&contents(1), 3), signed(&secure, 9)],
            [refusals::SECURITY_VERSION, refusals::UNKNOWN_KEY],
        ),
        (
            [flipped, cut_short],
            [refusals::SIGNATURE, refusals::DIGEST],
        ),
    ] {
        let mut nor = chip(&slots[0], 1);
        let base = Slot::B.base() as usize;
        nor.cells_mut()[base..base + slots[1].len()].copy_from_slice(&slots[1]);
        let status = report(&world_on(board_with(&SharedChip::new(nor), &fuses)));
        let refused = [status.refused_a(), status.refused_b()].map(u32::from);
        assert_eq!((status.source(), refused), (3, codes), "{status:?}");
    }
}
