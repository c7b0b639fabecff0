//! Layouts against bytes from the standard and from a Linux 6.12 host.

use super::*;

/// `nvme read` of 512 bytes at LBA 0 by a Linux 6.12 host over TCP.
const READ: [u8; 64] = {
    let mut b = [0; 64];
    b[0] = 0x02;
    b[1] = 0x40;
    b[2] = 0x17;
    b[4] = 1;
    b[33] = 0x10;
    b[39] = 0x5a;
    b[40] = 0x08;
    b[48] = 0x07;
    b
};

#[test]
fn a_read_command_reads_back_field_by_field() {
    let sqe = Sqe::view(&READ);
    assert_eq!(NvmOpcode::from_code(sqe.opcode), Some(NvmOpcode::Read));
    assert_eq!((sqe.psdt(), sqe.fuse()), (psdt::SGL, Fuse::Normal));
    assert_eq!(
        (sqe.cid.get(), sqe.nsid.get(), sqe.slba(), sqe.nlb_z()),
        (0x17, 1, 8, 7)
    );
    assert_eq!(sqe.sgl().kind(), Some(SglKind::Transport));
    assert_eq!(sqe.sgl().length.get(), 4096);
}

#[test]
fn a_command_built_from_fields_has_the_same_bytes() {
    let mut sqe = Sqe::new(NvmOpcode::Read as u8, 0x17, 1);
    sqe.set_sgl(SglDescriptor::new(SglKind::Transport, 0, 4096));
    sqe.set_slba(8);
    sqe.set_nlb_control(7, 0);
    assert_eq!(sqe.bytes(), &READ);
    sqe.set_prp(0x1122_3344_5566_7788, 0x99aa_bbcc_ddee_ff00);
    assert_eq!(
        (sqe.prp1(), sqe.prp2()),
        (0x1122_3344_5566_7788, 0x99aa_bbcc_ddee_ff00)
    );
}

#[test]
fn status_keeps_its_parts_through_the_wire_form() {
    let status = Status::INVALID_FIELD.no_retry();
    assert_eq!(status.code(), 0x4002); // what Linux prints for a bad field
    assert_eq!(status.to_wire(), 0x8004);
    assert_eq!(Status::from_wire(0x8005), status);
    assert_eq!(
        (Status::CONNECT_HOST.sct(), Status::CONNECT_HOST.sc()),
        (1, 0x84)
    );
    assert!(status.dnr() && !status.is_ok() && Status::SUCCESS.is_ok());
    let mut cqe = Cqe::default();
    cqe.set_status(status, true);
    assert!(cqe.phase() && cqe.status() == status);
}

#[test]
fn capability_fields_lie_where_the_standard_says() {
    let mut cap = Cap(0);
    cap.set_mqes_z(1023);
    cap.set_cqr(true);
    cap.set_timeout(15);
    cap.set_css(1);
    cap.set_crms(1);
    assert_eq!(cap.0, 1023 | 1 << 16 | 15 << 24 | 1 << 37 | 1 << 59);
    let cc = Cc(0x0046_0061); // what Linux 6.12 writes to enable a fabrics controller
    assert_eq!(
        (cc.en(), cc.iosqes(), cc.iocqes(), cc.mps()),
        (true, 6, 4, 0)
    );
}

#[test]
fn events_encode_as_in_the_standard() {
    assert_eq!(EventKind::NamespaceChanged.event().encode(), 0x0004_0002);
    assert_eq!(EventKind::DiscoveryChange.event().encode(), 0x0070_f002);
    assert_eq!(
        AsyncEvent::decode(0x0070_f002),
        EventKind::DiscoveryChange.event()
    );
    let mut config = EventConfig(0);
    config.set_namespace_changed(true);
    config.set_discovery_change(true);
    assert_eq!(config.0, 0x8000_0100);
}
