//! Firmware packages and certificates as somebody might send them: to the header's parser as they are, and, with their
//! signature made good, through download, verification and start on a card's flash. What is looked for is a panic, a place
//! outside the slot or core memory, and a card that does not start afterwards.
#![no_main]

use std::sync::LazyLock;

use sluice_boot::check::{self, Sink};
use sluice_boot::image::{HEADER_SIZE, Header, ImageKind, Version, boards};
use sluice_boot::keys::{CERTIFICATE_SIZE, Certificate};
use sluice_boot::layout::{CORE_MEMORY, FLASH_SIZE, Slot};
use sluice_boot::pack::{self, Contents, SigningKey};
use sluice_boot::start;
use sluice_boot::update::{Request, Updater};
use sluice_nor::{FuseBank, Nor, Timing};

static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_seed([7; 32]));
static CARD: LazyLock<(Nor, FuseBank)> = LazyLock::new(|| {
    let contents = Contents {
        control: &[1; 64],
        data: &[2; 64],
        board: boards::SIMULATED,
        map_version: 1,
        version: Version::default(),
        security_version: 0,
        label: "",
    };
    let package = pack::package(&contents, &KEY).expect("within bounds");
    let flash = pack::whole_flash(&package, &[], None);
    let nor = Nor::new(FLASH_SIZE as usize, Timing::INSTANT, 1).with_content(&flash);
    (nor, FuseBank::new(boards::SIMULATED, 1, KEY.public()))
});

struct Memory;

impl Sink for Memory {
    fn put(&mut self, _: ImageKind, at: u32, bytes: &[u8]) {
        assert!(at as usize + bytes.len() <= CORE_MEMORY as usize);
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = check::bytes(data, &KEY.public());
    if let Some(bytes) = data.first_chunk::<CERTIFICATE_SIZE>() {
        let _ = Certificate::of(bytes).check(&CARD.1);
    }
    let Some(head) = data.first_chunk::<HEADER_SIZE>() else {
        return;
    };
    let Ok(package) = Header::of(head).bounded() else {
        return;
    };
    for image in package.images {
        assert!(image.offset + image.len <= package.len && image.load + image.len <= CORE_MEMORY);
    }
    // Long ones take long and are no different.
    if package.len < 16 << 10 {
        download(head, &data[HEADER_SIZE..], package.len);
    }
});

/// The header signed by the right key, and what follows as it came, cut or filled to its length.
fn download(head: &[u8; HEADER_SIZE], body: &[u8], len: u32) {
    let (mut nor, mut fuses) = CARD.clone();
    let mut header = *Header::of(head);
    pack::sign(&mut header, &KEY);
    let mut updater = Updater::open(&mut nor, Some(Slot::A)).expect("readable");
    let mut body = body.to_vec();
    body.resize(len as usize - HEADER_SIZE, 0);
    let mut source = &body[..];
    let begun = updater.run(&Request::Begin(header), &mut nor, &mut fuses, &mut source);
    let mut offset = HEADER_SIZE;
    while begun.is_ok() && offset < len as usize {
        let mut piece = &body[offset - HEADER_SIZE..];
        piece = &piece[..piece.len().min(256)];
        let request = Request::Write {
            offset: offset as u32,
            len: piece.len() as u32,
        };
        let written = updater.run(&request, &mut nor, &mut fuses, &mut piece);
        written.expect("pieces in order");
        offset += 256;
    }
    for request in [Request::Verify, Request::Activate] {
        let _ = updater.run(&request, &mut nor, &mut fuses, &mut source);
    }
    let report = start::start(&mut nor, &mut fuses, &mut Memory);
    assert!(report.started.is_some(), "{report:?}");
}
