use super::*;
use proptest::prelude::*;
use zerocopy::IntoBytes;

fn command(descriptor: SglDescriptor) -> [u8; 64] {
    let mut sqe = Sqe::new(2, 7, 1);
    sqe.set_sgl(descriptor);
    *sqe.bytes()
}

fn keyed(va: u64, len: u32, rkey: u32, invalidate: bool) -> SglDescriptor {
    let keyed = Keyed {
        va,
        len,
        rkey,
        invalidate,
    };
    keyed.descriptor()
}

fn private(recfmt: u16, qid: u16, hrqsize: u16, hsqsize_z: u16) -> RequestData {
    RequestData {
        recfmt: recfmt.into(),
        qid: qid.into(),
        hrqsize: hrqsize.into(),
        hsqsize_z: hsqsize_z.into(),
        ..RequestData::default()
    }
}

#[test]
fn what_linux_asks_for_is_granted() {
    let limits = QueueLimits::DEFAULT;
    let admin = private_data(private(0, 0, 32, 31).as_bytes(), &limits).expect("granted");
    assert_eq!((admin.qid, admin.entries, admin.responses), (0, 32, 32));
    let io = private_data(private(0, 1, 128, 127).as_bytes(), &limits).expect("granted");
    assert_eq!((io.qid, io.entries, io.responses), (1, 128, 128));
}

#[test]
fn every_fault_of_the_private_data_has_its_status() {
    let limits = QueueLimits::DEFAULT;
    for (data, status) in [
        (private(1, 0, 32, 31), CmStatus::InvalidRecfmt),
        (private(0, 129, 32, 31), CmStatus::InvalidQid),
        (private(0, 0, 32, 32), CmStatus::InvalidHsqsize),
        (private(0, 1, 32, 128), CmStatus::InvalidHsqsize),
        (private(0, 1, 32, 0), CmStatus::InvalidHsqsize),
        (private(0, 1, 32, 0xffff), CmStatus::InvalidHsqsize),
        (private(0, 1, 0, 31), CmStatus::InvalidHrqsize),
    ] {
        assert_eq!(private_data(data.as_bytes(), &limits), Err(status));
    }
    let short = private_data(&[0; 31], &limits);
    assert_eq!(short, Err(CmStatus::InvalidLength));
}

#[test]
fn a_message_shorter_than_a_command_is_a_violation() {
    assert_eq!(capsule(63), Err(Violation::ShortCapsule(63)));
    assert_eq!(capsule(64), Ok(0));
    assert_eq!(capsule(4160), Ok(4096));
}

#[test]
fn data_are_found_by_their_descriptor() {
    let sgl = |id, address: u64, length: u32| {
        let mut descriptor = SglDescriptor::new(SglKind::Offset, address, length);
        descriptor.id = id;
        data(&command(descriptor), 4096)
    };
    let in_capsule = |offset, len| Ok(Data::InCapsule { offset, len });
    assert_eq!(sgl(0x01, 0, 4096), in_capsule(0, 4096));
    assert_eq!(sgl(0x01, 512, 3584), in_capsule(512, 3584));
    assert_eq!(sgl(0x01, 4096, 0), Ok(Data::None));
    for (address, length) in [
        (0, 4097),
        (1, 4096),
        (u64::MAX, 1),
        (u64::MAX, u32::MAX),
        (1 << 32, 1),
    ] {
        assert_eq!(
            sgl(0x01, address, length),
            Err(Status::SGL_OFFSET.no_retry())
        );
    }
    assert_eq!(
        sgl(0x31, 16, 32),
        Ok(Data::Descriptors {
            offset: 16,
            count: 2
        })
    );
    assert_eq!(sgl(0x31, 4081, 16), Err(Status::SGL_OFFSET.no_retry()));
    assert_eq!(sgl(0x31, 0, 17), Err(Status::SGL_SEGMENT.no_retry()));
    assert_eq!(sgl(0x31, 0, 80), Err(Status::SGL_COUNT.no_retry()));
    assert_eq!(sgl(0x31, 0, 0), Err(Status::SGL_COUNT.no_retry()));
    for id in [0x00, 0x5a, 0x30, 0x21, 0x41, 0xff] {
        assert_eq!(
            sgl(id, 0, 512),
            Err(Status::SGL_TYPE.no_retry()),
            "{id:02x}"
        );
    }
    assert_eq!(
        data(&command(keyed(0, 0, 0, false)), 0),
        Ok(Data::None),
        "as Linux says it"
    );
}

#[test]
fn the_key_comes_back_with_the_response_if_the_host_wants_it() {
    let plain = Transfer::of(&[keyed(0x1000, 512, 5, false)]).expect("keyed");
    assert_eq!(plain.response(), Work::Send);
    let both = Transfer::of(&[keyed(0x1000, 512, 5, true), keyed(0x9000, 512, 5, true)]);
    assert_eq!(both.expect("one key").response(), Work::SendInvalidate(5));
    let two = Transfer::of(&[keyed(0x1000, 512, 5, true), keyed(0x9000, 512, 6, true)]);
    assert_eq!(two, Err(Status::SGL_TYPE.no_retry()));
}

#[test]
fn descriptors_that_are_not_keyed_or_wrap_around_are_refused() {
    let offset = SglDescriptor::new(SglKind::Offset, 0, 512);
    let mixed = Transfer::of(&[keyed(0, 512, 1, false), offset]);
    assert_eq!(mixed, Err(Status::SGL_TYPE.no_retry()));
    let wraps = Transfer::of(&[keyed(u64::MAX - 1, 512, 1, false)]);
    assert_eq!(wraps, Err(Status::SGL_OFFSET.no_retry()));
    let five = [keyed(0, 512, 1, false); 5];
    assert_eq!(Transfer::of(&five), Err(Status::SGL_COUNT.no_retry()));
}

#[test]
fn shared_code_sees_a_transport_data_block() {
    let sqe = command(keyed(0x1000, 8192, 5, true));
    let transfer = Transfer::of(&[keyed(0x1000, 8192, 5, true)]).expect("keyed");
    let shared = transfer.shared_form(&sqe);
    let sgl = Sqe::view(&shared).sgl();
    assert_eq!(
        (sgl.kind(), sgl.length.get()),
        (Some(SglKind::Transport), 8192)
    );
    assert_eq!((&shared[..24], &shared[40..]), (&sqe[..24], &sqe[40..]));
}

#[test]
fn more_commands_than_the_host_said_are_a_violation_and_sqhd_wraps() {
    let mut queue = Queue::new(2);
    assert_eq!(queue.begin(), Ok(()));
    assert_eq!(queue.begin(), Ok(()));
    assert_eq!(queue.begin(), Err(Violation::QueueOverrun));
    assert_eq!((queue.finish(), queue.in_progress()), (0, 1));
    assert_eq!(queue.begin(), Ok(()));
    assert_eq!(queue.finish(), 1);
}

proptest! {
    #[test]
    fn pieces_cover_the_data_once_and_in_order(lens in proptest::collection::vec(0u32..10_000, 1..=4), most in 1u32..5000) {
        let descriptors: std::vec::Vec<_> = (0u32..).zip(&lens).map(|(i, len)| keyed(u64::from(i) << 32, *len, i, false)).collect();
        let transfer = Transfer::of(&descriptors).expect("keyed");
        let mut at = 0;
        let mut seen = [0; 4];
        while let Some(piece) = transfer.piece(at, most) {
            prop_assert!(piece.len >= 1 && piece.len <= most);
            let i = piece.rkey as usize;
            prop_assert_eq!(piece.va, (u64::from(piece.rkey) << 32) + u64::from(seen[i]));
            seen[i] += piece.len;
            at += piece.len;
        }
        prop_assert_eq!(at, transfer.len());
        prop_assert_eq!(&seen[..lens.len()], &lens[..]);
    }

    #[test]
    fn any_command_is_looked_at_without_panic(bytes: [u8; 64], capsule: u32) {
        if let Ok(Data::InCapsule { offset, len }) = data(&bytes, capsule) {
            prop_assert!(offset + len <= capsule);
        }
    }
}
