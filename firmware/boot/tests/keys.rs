//! Signing keys: certificates, the two slots, revocation, and the power failing in between.

mod support;

use sluice_boot::check::Refusal;
use sluice_boot::keys::{Certificate, CertificateError};
use sluice_boot::layout::{KEYS, Slot};
use sluice_boot::pack::{self, SigningKey};
use sluice_boot::update::{Request, RotateError, UpdateError};
use support::{BOARD, Card, package_with, root};

fn key(number: u8) -> SigningKey {
    SigningKey::from_seed([100 + number; 32])
}

/// Certificate of key `number`, which is its generation too.
fn certificate(number: u8, revokes_below: u32) -> Certificate {
    pack::certificate(
        &root(),
        &key(number).public(),
        BOARD,
        number.into(),
        revokes_below,
    )
}

fn rotate(card: &mut Card, certificate: &Certificate) -> Result<(), UpdateError> {
    let mut updater = card.updater()?;
    card.ask(&mut updater, &Request::Rotate(*certificate))
}

/// A card whose firmware, version 1, was signed by key 1.
fn card(seed: u64) -> Card {
    let package = package_with(1, 0, &key(1));
    Card::with(
        &pack::whole_flash(&package, &[certificate(1, 0)], None),
        seed,
    )
}

fn update(card: &mut Card, version: u16, by: u8) -> Result<(), UpdateError> {
    card.update(&package_with(version, 0, &key(by)))?;
    card.start();
    card.confirm()
}

#[test]
fn a_certified_key_may_sign_and_the_next_one_too_once_it_is_in_its_slot() {
    let mut card = card(1);
    assert_eq!(card.starts(), Some(1));
    let id = sluice_boot::keys::key_id(&key(2).public());
    let unknown = Err(UpdateError::Refused(Refusal::UnknownKey(id)));
    assert_eq!(update(&mut card, 2, 2), unknown);
    rotate(&mut card, &certificate(2, 0)).expect("a free slot");
    update(&mut card, 2, 2).expect("signed by a known key");
    update(&mut card, 3, 1).expect("the older key is still good");
    assert_eq!(card.starts(), Some(3));
}

#[test]
fn the_key_of_the_running_firmware_cannot_be_taken_away() {
    let mut card = card(1);
    rotate(&mut card, &certificate(2, 0)).expect("a free slot");
    let in_use = Err(UpdateError::Rotate(RotateError::KeyInUse(Slot::A)));
    assert_eq!(rotate(&mut card, &certificate(3, 0)), in_use);
    assert_eq!(rotate(&mut card, &certificate(3, 2)), in_use);
    update(&mut card, 2, 2).expect("signed by a known key");
    rotate(&mut card, &certificate(3, 0)).expect("key 1 is no longer needed");
    assert_eq!(card.starts(), Some(2));
}

#[test]
fn a_revoked_key_stays_revoked_even_if_its_certificate_comes_back() {
    let mut card = card(1);
    rotate(&mut card, &certificate(2, 0)).expect("a free slot");
    update(&mut card, 2, 2).expect("signed by a known key");
    rotate(&mut card, &certificate(3, 2)).expect("key 1 is no longer needed");
    assert_eq!(card.fuses.key_generation, 2);
    let (got, least) = (1, 2);
    let revoked = CertificateError::Revoked { got, least };
    assert_eq!(
        rotate(&mut card, &certificate(1, 0)),
        Err(UpdateError::Rotate(RotateError::Certificate(revoked)))
    );
    // Somebody with a programmer puts it back.
    let old: [u8; 128] = zerocopy::transmute!(certificate(1, 0));
    card.nor.cells_mut()[KEYS[0] as usize..][..128].copy_from_slice(&old);
    let refused = update(&mut card, 9, 1);
    assert_eq!(
        refused,
        Err(UpdateError::Refused(Refusal::Certificate(revoked)))
    );
}

#[test]
fn certificates_that_are_not_in_order_are_refused_with_their_reason() {
    let mut card = card(1);
    let changed = |change: fn(&mut Certificate)| {
        let mut bad = certificate(2, 0);
        change(&mut bad);
        bad.signature = root().sign(bad.signed());
        bad
    };
    let cases = [
        (
            changed(|c| c.magic = 1.into()),
            CertificateError::Magic { got: 1 },
        ),
        (
            changed(|c| c.format = 2.into()),
            CertificateError::Format { got: 2 },
        ),
        (changed(|c| c.reserved1[4] = 1), CertificateError::Reserved),
        (
            changed(|c| c.board = 1.into()),
            CertificateError::Board {
                want: BOARD,
                got: 1,
            },
        ),
        (
            changed(|c| c.generation = 0.into()),
            CertificateError::Generation { got: 0 },
        ),
        (
            changed(|c| c.revokes_below = 3.into()),
            CertificateError::Generation { got: 2 },
        ),
    ];
    for (bad, wanted) in cases {
        let refused = rotate(&mut card, &bad);
        assert_eq!(
            refused,
            Err(UpdateError::Rotate(RotateError::Certificate(wanted)))
        );
    }
    let good = certificate(2, 0);
    for bit in 0..128 * 8 {
        let mut bytes: [u8; 128] = zerocopy::transmute!(good);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let refused = rotate(&mut card, Certificate::of(&bytes));
        assert!(
            matches!(refused, Err(UpdateError::Rotate(_))),
            "bit {bit}: {refused:?}"
        );
    }
    let (have, got) = (1, 1);
    let other = pack::certificate(&root(), &key(5).public(), BOARD, 1, 0);
    let refused = rotate(&mut card, &other);
    assert_eq!(
        refused,
        Err(UpdateError::Rotate(RotateError::Generation { have, got }))
    );
    assert_eq!(card.nor.operations(), 0, "the flash was not touched");
}

#[test]
fn a_rotation_cut_anywhere_leaves_the_running_firmware_startable_and_can_be_done_again() {
    for seed in 0..40 {
        let mut fresh = card(seed);
        rotate(&mut fresh, &certificate(2, 0)).expect("a free slot");
        update(&mut fresh, 2, 2).expect("signed by a known key");
        for cut in 0..2 {
            let mut card = fresh.clone();
            card.nor.cut_after(cut);
            rotate(&mut card, &certificate(3, 2)).expect_err("the power fails");
            assert_eq!(card.starts(), Some(2), "seed {seed}, cut {cut}");
            rotate(&mut card, &certificate(3, 2))
                .unwrap_or_else(|e| panic!("seed {seed}, cut {cut}: {e:?}"));
            assert_eq!(card.fuses.key_generation, 2);
            update(&mut card, 3, 3).expect("signed by the new key");
            assert_eq!(card.starts(), Some(3), "seed {seed}, cut {cut}");
        }
    }
}

#[test]
fn a_rotation_whose_answer_was_lost_may_be_asked_for_again() {
    let mut card = card(1);
    rotate(&mut card, &certificate(2, 0)).expect("a free slot");
    let wear = card.nor.wear().to_vec();
    rotate(&mut card, &certificate(2, 0)).expect("it is there");
    assert_eq!(card.nor.wear(), wear);
}
