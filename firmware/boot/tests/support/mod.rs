//! A card as far as its flash goes: chip, fuses, and the two programs that use them.
#![allow(dead_code, reason = "each test program uses some of it")]

use sluice_boot::check::Sink;
use sluice_boot::image::{HEADER_SIZE, Header, ImageKind, Version};
use sluice_boot::layout::{FLASH_SIZE, Slot};
use sluice_boot::pack::{self, Contents, SigningKey};
use sluice_boot::start::{self, Report};
use sluice_boot::update::{MAX_PIECE, NoSource, Request, UpdateError, Updater};
use sluice_nor::{FuseBank, Nor, Timing};

/// This card's board.
pub const BOARD: u32 = 0x534C_0001;
/// And its register map.
pub const MAP: u32 = 1;

/// The root key.
pub fn root() -> SigningKey {
    SigningKey::from_seed([7; 32])
}

/// Contents whose images say which version they are.
pub fn images(version: u16) -> (Vec<u8>, Vec<u8>) {
    let byte = |i: usize| ((i as u32).wrapping_mul(2_654_435_761) >> 24) as u8 ^ version as u8;
    ((0..3000).map(byte).collect(), (0..5001).map(byte).collect())
}

/// A package of version `version`.0.0, signed by the root key.
pub fn package(version: u16) -> Vec<u8> {
    package_with(version, 0, &root())
}

/// With a security version and a signer.
pub fn package_with(version: u16, security_version: u32, key: &SigningKey) -> Vec<u8> {
    let (control, data) = images(version);
    let contents = Contents {
        control: &control,
        data: &data,
        board: BOARD,
        map_version: MAP,
        version: Version {
            major: version,
            ..Version::default()
        },
        security_version,
        label: "test",
    };
    pack::package(&contents, key).expect("within bounds")
}

/// Keeps what a start loads.
#[derive(Default)]
pub struct Memory {
    pub images: [Vec<u8>; 2],
}

impl Sink for Memory {
    fn put(&mut self, image: ImageKind, at: u32, bytes: &[u8]) {
        let image = &mut self.images[image as usize];
        let end = at as usize + bytes.len();
        image.resize(end.max(image.len()), 0);
        image[at as usize..end].copy_from_slice(bytes);
    }
}

/// A card.
#[derive(Clone)]
pub struct Card {
    pub nor: Nor,
    pub fuses: FuseBank,
    /// Where the running firmware comes from.
    pub running: Option<Slot>,
}

impl Card {
    /// Version 1 in slot A, confirmed and running; slot B is blank.
    pub fn new(seed: u64) -> Self {
        Self::with(&pack::whole_flash(&package(1), &[], None), seed)
    }

    /// With this content.
    pub fn with(content: &[u8], seed: u64) -> Self {
        let nor = Nor::new(FLASH_SIZE as usize, Timing::INSTANT, seed).with_content(content);
        let mut card = Self {
            nor,
            fuses: FuseBank::new(BOARD, MAP, root().public()),
            running: None,
        };
        card.start();
        card
    }

    /// Power on, or a reset if it is on: the boot ROM chooses. A power cut that is still to come may hit it.
    pub fn start(&mut self) -> Report {
        self.start_into(&mut Memory::default())
    }

    /// The same, keeping what is loaded.
    pub fn start_into(&mut self, memory: &mut Memory) -> Report {
        if !self.nor.is_powered() {
            self.nor.power_on();
        }
        let report = start::start(&mut self.nor, &mut self.fuses, memory);
        self.running = report.started.map(|started| started.slot);
        report
    }

    /// Major version of what a start starts if the power stays on.
    pub fn starts(&mut self) -> Option<u16> {
        self.nor.power_on();
        self.start()
            .started
            .map(|started| started.package.version.major)
    }

    /// The running firmware's view.
    pub fn updater(&mut self) -> Result<Updater, UpdateError> {
        Ok(Updater::open(&mut self.nor, self.running)?)
    }

    /// One request, as the running firmware does it.
    pub fn ask(&mut self, updater: &mut Updater, request: &Request) -> Result<(), UpdateError> {
        updater.run(request, &mut self.nor, &mut self.fuses, &mut NoSource)
    }

    /// Begin, write and verify.
    pub fn download(&mut self, updater: &mut Updater, package: &[u8]) -> Result<(), UpdateError> {
        let head: &[u8; HEADER_SIZE] = package.first_chunk().expect("a header");
        self.ask(updater, &Request::Begin(*Header::of(head)))?;
        let mut offset = HEADER_SIZE;
        while offset < package.len() {
            // The header's page is in the first sector: the first piece is shorter, the others are whole sectors.
            let room = MAX_PIECE as usize - offset % MAX_PIECE as usize;
            let mut piece = &package[offset..package.len().min(offset + room)];
            let len = piece.len() as u32;
            let request = Request::Write {
                offset: offset as u32,
                len,
            };
            updater.run(&request, &mut self.nor, &mut self.fuses, &mut piece)?;
            offset += len as usize;
        }
        self.ask(updater, &Request::Verify)
    }

    /// All of an update but the start and the confirmation.
    pub fn update(&mut self, package: &[u8]) -> Result<(), UpdateError> {
        let mut updater = self.updater()?;
        self.download(&mut updater, package)?;
        self.ask(&mut updater, &Request::Activate)
    }

    /// What the running firmware does when it finds itself well.
    pub fn confirm(&mut self) -> Result<(), UpdateError> {
        let mut updater = self.updater()?;
        self.ask(&mut updater, &Request::Confirm)
    }

    /// Back to what ran before.
    pub fn roll_back(&mut self) -> Result<(), UpdateError> {
        let mut updater = self.updater()?;
        self.ask(&mut updater, &Request::RollBack)
    }
}
