//! Keep alive, by the target's clock.

use super::*;

#[test]
fn a_silent_host_is_lost_and_everything_of_it_ends_before_its_slot_is_free() {
    let mut rig = Rig::new();
    let (admin, cntlid) = rig.controller();
    rig.pass(1);
    let io = rig.io_queue(cntlid, 1);
    rig.pass(5_000_001);
    assert!(
        rig.told_to_close().is_empty(),
        "commands came in this interval"
    );
    rig.pass(4_999_000);
    assert!(rig.told_to_close().is_empty());
    rig.pass(2_000);
    let dead = |a: &Action| matches!(a, Action::ControllerLive { enabled: false, .. });
    assert!(rig.out.0.iter().any(dead));
    let mut closed = rig.told_to_close();
    closed.sort_by_key(|k| k.0);
    assert_eq!(closed, [admin, io]);
    rig.close(admin);
    assert_eq!(
        rig.target.controllers_in_use(),
        1,
        "an SSD command may be in flight on the other queue"
    );
    assert!(
        !rig.events().contains(&(Event::HostLost, cntlid.into())),
        "a host is declared lost when nothing of it can reach an SSD any more"
    );
    rig.close(io);
    assert_eq!(rig.target.controllers_in_use(), 0);
    assert!(rig.events().contains(&(Event::HostLost, cntlid.into())));
}

#[test]
fn any_command_keeps_a_host_alive() {
    let mut rig = Rig::new();
    let (admin, cntlid) = rig.controller();
    let io = rig.io_queue(cntlid, 1);
    let slot = rig.ready().association;
    for _ in 0..20 {
        // Only the data core hears of it.
        rig.target.host_active(slot, rig.now.after(1_000_000));
        rig.pass(4_000_000);
    }
    assert!(rig.told_to_close().is_empty());
    assert!(rig.csts(admin).rdy());
    rig.close(io);
}

#[test]
fn the_deadline_says_when_to_poll() {
    let mut rig = Rig::new();
    assert_eq!(rig.target.deadline(), None);
    let (_, _) = rig.controller();
    let mut polls = 0;
    while rig.told_to_close().is_empty() {
        rig.now = rig
            .target
            .deadline()
            .expect("keep alive is running")
            .max(rig.now);
        rig.pass(0);
        polls += 1;
        assert!(polls < 100);
    }
    assert!(rig.now.0 <= 1_000_000 + 35_000_000, "{:?}", rig.now);
}

#[test]
fn the_timeout_is_rounded_up_and_can_be_changed_and_switched_off() {
    let mut rig = Rig::new();
    let (admin, _) = rig.controller_of(|c, _| c.kato.set(1));
    assert_eq!(rig.get_feature(admin, 0x0f, 0).ok().result, 1000);
    rig.set_feature(admin, 0x0f, u32::MAX).ok();
    assert_eq!(rig.get_feature(admin, 0x0f, 0).ok().result, 4_294_967_000);
    rig.set_feature(admin, 0x0f, 0).ok();
    rig.pass(u64::from(u32::MAX));
    assert!(rig.told_to_close().is_empty());
    rig.set_feature(admin, 0x0f, 2500).ok();
    assert_eq!(rig.get_feature(admin, 0x0f, 0).ok().result, 3000);
    rig.pass(3_000_001);
    rig.pass(3_000_001);
    assert_eq!(rig.told_to_close(), [admin]);
}

#[test]
fn the_death_of_one_host_leaves_the_others_alone() {
    let mut rig = Rig::new();
    let (silent, _) = rig.controller();
    let (alive, id) = rig.controller_of(|_, d| (d.hostnqn, d.hostid) = (name(HOST_B), ID_B));
    for _ in 0..6 {
        rig.pass(2_000_000);
        rig.csts(alive);
    }
    assert_eq!(rig.told_to_close(), [silent]);
    assert!(rig.csts(alive).rdy());
    let key = rig.open();
    rig.connect(key, 1, id, |_, d| {
        (d.hostnqn, d.hostid) = (name(HOST_B), ID_B)
    })
    .ok();
}

#[test]
fn an_idle_discovery_controller_without_keep_alive_goes_after_two_minutes() {
    let mut rig = Rig::new();
    let discovery = b"nqn.2014-08.org.nvmexpress.discovery";
    let (key, _) = rig.controller_of(|c, d| (c.kato, d.subnqn) = (0.into(), name(discovery)));
    rig.pass(119_000_000);
    assert!(rig.told_to_close().is_empty());
    rig.pass(2_000_000);
    rig.pass(121_000_000);
    assert_eq!(rig.told_to_close(), [key]);
}
