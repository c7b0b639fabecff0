//! What a Linux 6.12 host with nvme-cli sends, byte by byte, from connect to disconnect. The commands are those of a
//! recorded NVMe/TCP session against the Linux target; answers are compared where the standard leaves no choice.

use super::*;

fn connect_data(cntlid: u16, subnqn: &[u8]) -> ConnectData {
    let mut data = ConnectData::new_zeroed();
    data.hostid = ID_A;
    data.cntlid.set(cntlid);
    data.subnqn = name(subnqn);
    data.hostnqn = name(HOST_A);
    data
}

/// Sends a recorded command.
fn say(rig: &mut Rig, key: QueueKey, text: &str) -> Answer {
    rig.send(key, &sqe_from(text), &[]).ok()
}

const GET_CAP: &str = "7f400100 04000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 0000005a 01000000 00000000 00000000 00000000 00000000 00000000";
const SET_CSS: &str = "7f400010 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 0000005a 00000000 14000000 60004600 00000000 00000000 00000000";
const SET_EN: &str = "7f400020 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 0000005a 00000000 14000000 61004600 00000000 00000000 00000000";
const GET_CSTS: &str = "7f400120 04000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 0000005a 00000000 1c000000 00000000 00000000 00000000 00000000";
const GET_VS: &str = "7f400030 04000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 0000005a 00000000 08000000 00000000 00000000 00000000 00000000";
const SHUT_DOWN: &str = "7f400130 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 0000005a 00000000 14000000 61404600 00000000 00000000 00000000";
const CONNECT: &str = "7f400000 01000000 00000000 00000000 00000000 00000000 00000000 00000000 00040000 00000001 00000000 1f000000 88130000 00000000 00000000 00000000";
const CONNECT_DISCOVERY: &str = "7f400000 01000000 00000000 00000000 00000000 00000000 00000000 00000000 00040000 00000001 00000000 1f000000 00000000 00000000 00000000 00000000";
const CONNECT_IO: &str = "7f400000 01000000 00000000 00000000 00000000 00000000 00000000 00000000 00040000 00000001 00000100 7f000000 00000000 00000000 00000000 00000000";
const ID_CTRL: &str = "06400a00 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00100000 0000005a 01000000 00000000 00000000 00000000 00000000 00000000";
const EFFECTS: &str = "02400b00 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00100000 0000005a 0500ff03 00000000 00000000 00000000 00000000 00000000";
const SMART: &str = "02400d00 ffffffff 00000000 00000000 00000000 00000000 00000000 00000000 00020000 0000005a 02007f00 00000000 00000000 00000000 00000000 00000000";
const QUEUES: &str = "09400a10 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 0000005a 07000000 00000000 00000000 00000000 00000000 00000000";
const EVENTS: &str = "09401200 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 0000005a 0b000000 00010000 00000000 00000000 00000000 00000000";
const AER: &str = "0c401f00 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 0000005a 00000000 00000000 00000000 00000000 00000000 00000000";
const CS_CTRL: &str = "06401300 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00100000 0000005a 06000000 00000000 00000000 00000000 00000000 00000000";
const NS_LIST: &str = "06401400 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00100000 0000005a 02000000 00000000 00000000 00000000 00000000 00000000";
const NS_DESC: &str = "06401500 01000000 00000000 00000000 00000000 00000000 00000000 00000000 00100000 0000005a 03000000 00000000 00000000 00000000 00000000 00000000";
const ID_NS: &str = "06401210 01000000 00000000 00000000 00000000 00000000 00000000 00000000 00100000 0000005a 00000000 00000000 00000000 00000000 00000000 00000000";
const KEEP_ALIVE: &str = "18400130 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 0000005a 00000000 00000000 00000000 00000000 00000000 00000000";

/// Property sequence of `nvme_enable_ctrl`, the same on every controller.
fn enable(rig: &mut Rig, key: QueueKey) {
    let cap = say(rig, key, GET_CAP).result;
    assert_eq!(cap & 0xffff, 1023, "1,024 entries");
    assert_eq!(
        cap >> 37 & 0xff,
        0x41,
        "the NVM command set, and command set selection"
    );
    say(rig, key, SET_CSS);
    say(rig, key, GET_CAP);
    say(rig, key, SET_EN);
    assert_eq!(say(rig, key, GET_CSTS).result, 1);
    assert_eq!(say(rig, key, GET_VS).result, 0x0002_0100);
}

#[test]
fn nvme_discover_and_connect_and_disconnect_go_through() {
    let mut rig = Rig::new();
    let key = rig.open();
    let data = connect_data(0xffff, b"nqn.2014-08.org.nvmexpress.discovery");
    rig.send(key, &sqe_from(CONNECT_DISCOVERY), data.as_bytes())
        .ok();
    enable(&mut rig, key);
    let id = say(&mut rig, key, ID_CTRL).data;
    assert_eq!(
        (id[111], &id[768..804]),
        (2, &b"nqn.2014-08.org.nvmexpress.discovery"[..])
    );
    rig.set_feature(key, 0x0b, 0x8000_0000).ok();
    assert!(rig.try_send(key, &sqe_from(AER), &[]).is_none());
    let log = rig.log(key, 0x70, 0, 20, true).ok().data;
    assert_eq!(log[8..16], 2u64.to_le_bytes());
    assert_eq!(rig.log(key, 0x70, 1024, 2048, true).ok().data.len(), 2048);
    say(&mut rig, key, SHUT_DOWN);
    assert_eq!(Csts(say(&mut rig, key, GET_CSTS).result as u32).shst(), 2);
    rig.close(key);
    assert_eq!(rig.target.controllers_in_use(), 0);

    let admin = rig.open();
    let cntlid = rig
        .send(
            admin,
            &sqe_from(CONNECT),
            connect_data(0xffff, SUB1).as_bytes(),
        )
        .ok()
        .result as u16;
    assert_eq!(rig.ready().kato_ms, 5000);
    enable(&mut rig, admin);
    check_controller(&say(&mut rig, admin, ID_CTRL).data, cntlid);
    check_effects(&say(&mut rig, admin, EFFECTS).data);
    let ana = rig
        .log(admin, 0x0c, 0, 16 + 16 * 32 + 64 * 4, false)
        .ok()
        .data;
    assert_eq!(ana[8..10], [1, 0], "one ANA group");
    assert_eq!(
        ana[16..24],
        [1, 0, 0, 0, 1, 0, 0, 0],
        "group 1 with one namespace"
    );
    assert_eq!(
        (ana[32], &ana[48..52]),
        (1, &[1, 0, 0, 0][..]),
        "optimized; namespace 1"
    );
    assert_eq!(say(&mut rig, admin, SMART).data.len(), 512);
    assert_eq!(
        say(&mut rig, admin, QUEUES).result,
        0,
        "one queue of each kind, as asked"
    );

    let io = rig.open();
    rig.send(
        io,
        &sqe_from(CONNECT_IO),
        connect_data(cntlid, SUB1).as_bytes(),
    )
    .ok();
    assert_eq!((rig.ready().qid, rig.ready().entries), (1, 128));
    say(&mut rig, admin, EVENTS);
    assert!(rig.try_send(admin, &sqe_from(AER), &[]).is_none());
    assert_eq!(say(&mut rig, admin, CS_CTRL).data, [0; 4096]);
    let list = say(&mut rig, admin, NS_LIST).data;
    assert_eq!(list[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
    let descriptors = say(&mut rig, admin, NS_DESC).data;
    assert_eq!(
        descriptors[20..44],
        hex("0310000060ec8ad0936b4da3ad9dbeb0780d0c2d04010000"),
        "as in the recording"
    );
    let ns = say(&mut rig, admin, ID_NS).data;
    assert_eq!(ns[..8], 0x10_0000u64.to_le_bytes());
    assert_eq!(ns[128..132], [0, 0, 9, 0]);
    say(&mut rig, admin, KEEP_ALIVE);

    rig.close(io);
    say(&mut rig, admin, SHUT_DOWN);
    assert_eq!(Csts(say(&mut rig, admin, GET_CSTS).result as u32).shst(), 2);
    rig.close(admin);
    assert_eq!(rig.target.controllers_in_use(), 0);
    assert!(
        rig.events()
            .contains(&(Event::HostDisconnected, cntlid.into()))
    );
}

fn check_controller(id: &[u8], cntlid: u16) {
    let word = |at: usize| u32::from_le_bytes(id[at..at + 4].try_into().expect("4 bytes"));
    assert_eq!(&id[4..12], b"SN0001  ");
    assert_eq!(id[77], 5, "MDTS: 128 KiB");
    assert_eq!(id[78..80], cntlid.to_le_bytes());
    assert_eq!(id[111], 1, "I/O controller");
    assert_eq!(word(516), 64, "NN");
    assert_eq!(
        id[520..522],
        0x1du16.to_le_bytes(),
        "Compare, DSM, Write Zeroes, save and select"
    );
    assert_eq!(id[525], 5, "write cache, no broadcast flush");
    assert_eq!(word(536), 0x0030_0001, "SGLS");
    assert_eq!(&id[768..768 + SUB1.len()], SUB1);
    assert_eq!(
        (word(1792), word(1796)),
        ((64 + 8192) / 16, 1),
        "capsule sizes"
    );
    assert_eq!(word(92), 0x100, "namespace notices");
}

fn check_effects(log: &[u8]) {
    let entry =
        |at: usize| u32::from_le_bytes(log[4 * at..4 * at + 4].try_into().expect("4 bytes"));
    for admin in [0x02, 0x06, 0x08, 0x09, 0x0a, 0x0c, 0x18] {
        assert_eq!(entry(admin), 1, "admin {admin:02x}");
    }
    for (io, want) in [
        (0x00, 1),
        (0x01, 3),
        (0x02, 1),
        (0x05, 1),
        (0x08, 3),
        (0x09, 3),
        (0x04, 0),
        (0x19, 0),
        (0x0d, 0),
    ] {
        assert_eq!(entry(256 + io), want, "I/O {io:02x}");
    }
}

#[test]
fn what_a_linux_host_got_wrong_on_purpose_is_refused_as_the_standard_says() {
    let mut rig = Rig::new();
    let (admin, _) = rig.controller();
    // From the recording of errors provoked with nvme-cli: vendor opcode, absent NSID, unknown log, unknown feature.
    let vendor = "c1401910 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 0000005a 00000000 00000000 00000000 00000000 00000000 00000000";
    assert_eq!(
        rig.send(admin, &sqe_from(vendor), &[]).status,
        Status::INVALID_OPCODE.no_retry()
    );
    let absent = "06400510 4d000000 00000000 00000000 00000000 00000000 00000000 00000000 00100000 0000005a 00000000 00000000 00000000 00000000 00000000 00000000";
    assert_eq!(
        rig.send(admin, &sqe_from(absent), &[]).status,
        Status::INVALID_NAMESPACE.no_retry(),
        "above NN"
    );
    let log = "02400220 ffffffff 00000000 00000000 00000000 00000000 00000000 00000000 00020000 0000005a 99007f00 00000000 00000000 00000000 00000000 00000000";
    assert_eq!(
        rig.send(admin, &sqe_from(log), &[]).status,
        Status::INVALID_LOG_PAGE.no_retry()
    );
    let feature = "0a400320 ffffffff 00000000 00000000 00000000 00000000 00000000 00000000 00000000 0000005a 55000000 00000000 00000000 00000000 00000000 00000000";
    assert_eq!(
        rig.send(admin, &sqe_from(feature), &[]).status,
        Status::INVALID_FIELD.no_retry()
    );
    let errors = rig.log(admin, 0x01, 0, 256, false).ok().data;
    assert_eq!(errors[..8], 4u64.to_le_bytes(), "the newest error first");
    assert_eq!(
        errors[12..14],
        Status::INVALID_FIELD.no_retry().to_wire().to_le_bytes()
    );
    assert_eq!(errors[192..200], 1u64.to_le_bytes());
}
