//! The Verilated card starts from its flash: the boot program in its ROM, the signed package with both firmware images, the controller
//! and the chip at its pins. Hosts then do I/O as with firmware that the host loaded.

use std::path::PathBuf;

use sluice_boot::image::{Version, boards};
use sluice_boot::layout::{FLASH_SIZE, Slot};
use sluice_boot::pack::{self, Contents, SigningKey};
use sluice_driver::card::CardError;
use sluice_nor::{FuseBank, Nor, Timing};
use sluice_device::Device;
use sluice_regs::MAP_VERSION;
use sluice_regs::bar0_regs::{BOOT_STATUS_OFFSET, BootStatus};
use sluice_sim::link::LinkConfig;
use sluice_sim::scenario::firmware::Images;
use sluice_sim::scenario::server::{Server, ServerError, Setup};

use crate::common::{Bench, On, mix, to_demo};

fn root() -> SigningKey {
    SigningKey::from_seed([3; 32])
}

/// The firmware that was built, as a package.
fn package(setup: &Setup, version: u16, signer: &SigningKey) -> Vec<u8> {
    let folder: PathBuf = setup.firmware.clone().expect("built for the Verilated card");
    let images = Images::read(&folder).expect("firmware");
    let firmware = images.as_firmware();
    let contents = Contents {
        control: firmware.control,
        data: firmware.data,
        board: boards::SIMULATED,
        map_version: MAP_VERSION,
        version: Version {
            major: version,
            ..Version::default()
        },
        security_version: 0,
        label: "test",
    };
    pack::package(&contents, signer).expect("within bounds")
}

/// A setup with this in its flash. Times of the chip are a hundredth of real ones: nothing here is about them.
fn setup(whole: impl FnOnce(&Setup) -> Vec<u8>) -> Setup {
    let mut setup = On::rtl().default_setup();
    let timing = Timing {
        program: Timing::TYPICAL.program / 100,
        sector_erase: Timing::TYPICAL.sector_erase / 100,
    };
    let content = whole(&setup);
    let nor = Nor::new(FLASH_SIZE as usize, timing, 1).with_content(&content);
    let fuses = FuseBank::new(boards::SIMULATED, MAP_VERSION, root().public());
    setup.flash = Some((nor, fuses));
    setup
}

#[test]
fn the_card_starts_the_firmware_in_its_flash_and_serves_hosts() {
    let setup = setup(|setup| pack::whole_flash(&package(setup, 1, &root()), &[], None));
    let mut bench = Bench::with("boot-from-flash", &setup, &LinkConfig::default());
    println!("booted at clock {}", bench.lab.now());
    let host = bench.host(1);
    let (controller, namespaces) = bench.connect_with(host, &to_demo(1));
    bench.verified(host, mix(&controller, &namespaces[0], 4096, 4, 40));
    bench
        .on(host, |b| b.disconnect(&controller))
        .expect("disconnect");
    bench.check_capture();
}

#[test]
fn a_package_with_a_flipped_bit_is_refused_and_the_other_slot_is_started() {
    let setup = setup(|setup| {
        let mut whole = pack::whole_flash(&package(setup, 1, &root()), &[], None);
        let newer = package(setup, 2, &root());
        let b = Slot::B.base() as usize;
        whole.resize(whole.len().max(b + newer.len()), 0xFF);
        whole[b..b + newer.len()].copy_from_slice(&newer);
        whole[Slot::A.base() as usize + newer.len() / 2] ^= 1;
        whole
    });
    let mut server = Server::start(&setup).expect("slot B is good");
    let bar = server.rig.card().device().bar(0).expect("BAR0");
    let status = bar
        .read32(BOOT_STATUS_OFFSET.into())
        .expect("read");
    let status = BootStatus(status);
    assert_eq!((status.source(), status.trial()), (2, false), "{status:?}");
    assert_eq!(status.refused_a(), 12, "its digest");
}

#[test]
fn nothing_is_started_that_a_stranger_signed() {
    let stranger = SigningKey::from_seed([4; 32]);
    let setup = setup(|setup| pack::whole_flash(&package(setup, 1, &stranger), &[], None));
    let error = Server::start(&setup).err().expect("refused");
    let ServerError::Card(CardError::NothingToStart { refused, .. }) = &error else {
        panic!("{error}");
    };
    // Unknown key; nothing there.
    assert_eq!(*refused, [7, 1], "{error}");
}
