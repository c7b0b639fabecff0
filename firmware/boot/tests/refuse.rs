//! Packages that are not taken, each for its own reason, and with the running firmware left alone.

mod support;

use ed25519_dalek::Verifier;
use proptest::prelude::*;
use sluice_boot::check::{self, Refusal};
use sluice_boot::image::{HEADER_SIZE, Header, HeaderError, ImageKind, SIGNED};
use sluice_boot::layout::Slot;
use sluice_boot::pack::{self, SigningKey};
use sluice_boot::update::UpdateError;
use support::{BOARD, Card, package, package_with, root};

/// Tries `package` and makes sure that nothing but the other slot has changed.
fn refused(package: &[u8]) -> UpdateError {
    let mut card = Card::new(1);
    let before = card.nor.cells().to_vec();
    let error = card.update(package).expect_err("refused");
    let other = Slot::B.base() as usize;
    assert!(
        card.nor.cells()[..other] == before[..other],
        "only slot B may change"
    );
    assert_eq!(card.starts(), Some(1));
    // And a good package is taken afterwards.
    card.update(&support::package(3)).expect("a good package");
    assert_eq!(card.starts(), Some(3));
    error
}

/// A package whose header was changed by somebody who can sign.
fn resigned(change: impl FnOnce(&mut Header)) -> Vec<u8> {
    let mut package = package(2);
    let mut header = *Header::of(package.first_chunk().expect("a header"));
    change(&mut header);
    pack::sign(&mut header, &root());
    let bytes: [u8; HEADER_SIZE] = zerocopy::transmute!(header);
    package[..HEADER_SIZE].copy_from_slice(&bytes);
    package
}

#[test]
fn a_signature_by_a_stranger_is_refused() {
    let stranger = SigningKey::from_seed([1; 32]);
    let id = sluice_boot::keys::key_id(&stranger.public());
    let error = refused(&package_with(2, 0, &stranger));
    assert_eq!(error, UpdateError::Refused(Refusal::UnknownKey(id)));
}

#[test]
fn a_strangers_signature_under_a_known_keys_name_is_refused() {
    let mut package = package_with(2, 0, &SigningKey::from_seed([1; 32]));
    let id = sluice_boot::keys::key_id(&root().public());
    let at = core::mem::offset_of!(Header, key_id);
    package[at..at + 8].copy_from_slice(&id);
    assert_eq!(refused(&package), UpdateError::Refused(Refusal::Signature));
}

#[test]
fn firmware_for_another_board_or_map_is_refused() {
    let (want, got) = (BOARD, BOARD + 1);
    let error = refused(&resigned(|header| header.board = got.into()));
    assert_eq!(error, UpdateError::Refused(Refusal::Board { want, got }));
    let error = refused(&resigned(|header| header.map_version = 9.into()));
    let refusal = Refusal::MapVersion { want: 1, got: 9 };
    assert_eq!(error, UpdateError::Refused(refusal));
}

#[test]
fn a_header_with_any_bit_flipped_is_refused_before_the_flash_is_touched() {
    let good = package(2);
    let mut card = Card::new(1);
    let before = card.nor.cells().to_vec();
    for bit in 0..HEADER_SIZE * 8 {
        let mut package = good.clone();
        package[bit / 8] ^= 1 << (bit % 8);
        let refused = card.update(&package);
        assert!(
            matches!(refused, Err(UpdateError::Refused(_))),
            "bit {bit}: {refused:?}"
        );
    }
    assert!(card.nor.cells() == before && card.nor.operations() == 0);
    assert_eq!(card.starts(), Some(1));
}

#[test]
fn each_field_of_the_header_has_its_own_reason() {
    let header = |change: fn(&mut Header)| match refused(&resigned(change)) {
        UpdateError::Refused(Refusal::Header(error)) => error,
        other => panic!("{other:?}"),
    };
    let (control, data) = (ImageKind::Control, ImageKind::Data);
    assert_eq!(
        header(|h| h.magic = 0.into()),
        HeaderError::Magic { got: 0 }
    );
    assert_eq!(
        header(|h| h.format = 2.into()),
        HeaderError::Format { got: 2 }
    );
    assert_eq!(
        header(|h| h.header_len = 64.into()),
        HeaderError::HeaderLength { got: 64 }
    );
    assert_eq!(
        header(|h| h.reserved1[3] = 1),
        HeaderError::Reserved { at: 139 }
    );
    assert_eq!(
        header(|h| h.reserved0 = 1.into()),
        HeaderError::Reserved { at: 22 }
    );
    assert_eq!(
        header(|h| h.images[1].reserved = 1.into()),
        HeaderError::Reserved { at: 60 }
    );
    assert_eq!(header(|h| h.label = [7; 32]), HeaderError::Label);
    assert_eq!(
        header(|h| h.images[0].offset = 0.into()),
        HeaderError::ImageOffset {
            image: control,
            want: 256,
            got: 0
        }
    );
    assert_eq!(
        header(|h| h.images[1].offset = 0xFFFF_FFF0.into()),
        HeaderError::ImageOffset {
            image: data,
            want: 3264,
            got: 0xFFFF_FFF0
        }
    );
    for got in [0, 3, (512 << 10) + 4, u32::MAX] {
        let error = refused(&resigned(|h| h.images[0].len = got.into()));
        let wanted = HeaderError::ImageLength {
            image: control,
            got,
        };
        assert_eq!(error, UpdateError::Refused(Refusal::Header(wanted)));
    }
    for got in [2, 512 << 10, u32::MAX - 3] {
        let error = refused(&resigned(|h| h.images[1].load = got.into()));
        let wanted = HeaderError::ImageLoad { image: data, got };
        assert_eq!(error, UpdateError::Refused(Refusal::Header(wanted)));
    }
    assert_eq!(
        header(|h| h.package_len = 0.into()),
        HeaderError::PackageLength { want: 8268, got: 0 }
    );
}

#[test]
fn a_body_with_a_bit_flipped_anywhere_is_refused() {
    let good = package(2);
    for byte in (HEADER_SIZE..good.len())
        .step_by(97)
        .chain([good.len() - 1])
    {
        let mut package = good.clone();
        package[byte] ^= 1 << (byte % 8);
        let error = refused(&package);
        assert_eq!(error, UpdateError::Refused(Refusal::Digest), "byte {byte}");
    }
}

#[test]
fn a_package_that_ends_early_is_not_verified() {
    let good = package(2);
    for len in [HEADER_SIZE, HEADER_SIZE + 256, 4096, 8192] {
        let error = refused(&good[..len]);
        assert_eq!(error, UpdateError::OutOfOrder, "{len} bytes");
    }
}

#[test]
fn tools_say_how_a_file_is_bad() {
    let good = package(2);
    let key = root().public();
    assert!(check::bytes(&good, &key).is_ok());
    let (want, got) = (good.len() as u32, 5000);
    let short = check::bytes(&good[..5000], &key);
    assert_eq!(short, Err(Refusal::Truncated { want, got }));
    let short = check::bytes(&good[..100], &key);
    assert_eq!(
        short,
        Err(Refusal::Truncated {
            want: 256,
            got: 100
        })
    );
    let long = [&good[..], &[0]].concat();
    assert_eq!(check::bytes(&long, &key), Err(Refusal::Digest));
    let other = SigningKey::from_seed([9; 32]).public();
    assert!(matches!(
        check::bytes(&good, &other),
        Err(Refusal::UnknownKey(_))
    ));
}

#[test]
fn another_implementation_of_ed25519_agrees_in_both_directions() {
    let package = package(2);
    let header = Header::of(package.first_chunk().expect("a header"));
    let key = ed25519_dalek::VerifyingKey::from_bytes(&root().public()).expect("a key");
    let signature = ed25519_dalek::Signature::from_bytes(&header.signature);
    key.verify(&package[..SIGNED], &signature).expect("signed");
    let theirs = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    use ed25519_dalek::Signer;
    let signature = theirs.sign(header.signed());
    assert!(sluice_boot::keys::signed_by(
        &root().public(),
        header.signed(),
        &signature.to_bytes()
    ));
}

proptest! {
    /// Whatever a header says, what comes of it stays within the slot and within core memory.
    #[test]
    fn bounded_headers_stay_within_bounds(
        lens in proptest::array::uniform2(0u32..24),
        loads in proptest::array::uniform2(0u32..24),
        wrong in proptest::option::weighted(0.2, any::<u32>()),
    ) {
        let package = package(2);
        let mut header = *Header::of(package.first_chunk().expect("a header"));
        // Near the bounds, where mistakes are.
        let room = [416 << 10, 512 << 10];
        let lens = [0, 1].map(|i| room[i] - 16 + lens[i]);
        let behind = (HEADER_SIZE as u32 + lens[0]).next_multiple_of(16);
        for (i, section) in header.images.iter_mut().enumerate() {
            section.offset = [HEADER_SIZE as u32, wrong.unwrap_or(behind)][i].into();
            section.len = lens[i].into();
            section.load = loads[i].into();
        }
        header.package_len = (header.images[1].offset.get().wrapping_add(lens[1])).into();
        let fits = (0..2).all(|i| {
            lens[i] + loads[i] <= room[i] && lens[i] % 4 == 0 && loads[i] % 4 == 0
        });
        let sound = fits && wrong.is_none_or(|wrong| wrong == behind);
        prop_assert_eq!(header.bounded().is_ok(), sound);
        if let Ok(package) = header.bounded() {
            prop_assert!(package.len <= sluice_boot::image::MAX_PACKAGE);
            for image in package.images {
                prop_assert!(image.load + image.len <= 512 << 10);
                prop_assert!(image.offset + image.len <= package.len);
            }
        }
    }
}
