//! The host driver's whole bring-up with SSD models and a card that remembers what it was told.

use std::time::Duration;

use sluice_device::{Device, Trouble};
use sluice_driver::bringup::{BringupError, ChangeError, Kind, Notice, Rig};
use sluice_driver::card::{Card, CardError, CardOptions};
use sluice_driver::config::{Config, Format, Source, raw};
use sluice_driver::nvme::SsdOptions;
use sluice_driver::testing::FakeCard;
use sluice_regs::bar0_regs as bar0;
use sluice_wire::mgmt::{Event, NamespaceConfig, Opcode, Status};
use zerocopy::FromBytes;

use super::bench::{Handle, PM_BUS, device, world};
use crate::ssd::{Gone, NamespaceSpec, SsdConfig};

const TEXT: &str = r#"
[[ports]]
mac = "02:53:4c:00:00:01"
ipv4 = "10.0.0.1/8"
[[ssds]]
[[ssds]]
[[subsystems]]
nqn = "nqn.2026-01.org.example:disks"
hosts = ["nqn.2026-01.org.example:host"]
namespaces = [{ nsid = 1, ssd = "ssd0" }, { nsid = 2, ssd = "ssd1", first_block = 10, blocks = 5 }]
"#;

pub struct Bench {
    fake: FakeCard,
    worlds: [Handle; 2],
    pub rig: Rig<Box<dyn Device>>,
}

fn ssds() -> [Handle; 2] {
    let small = SsdConfig {
        namespaces: vec![NamespaceSpec::memory(1 << 20, 9)],
        ..SsdConfig::default()
    };
    [world(SsdConfig::default()), world(small)]
}

fn start(
    fake: &FakeCard,
    worlds: &[Handle; 2],
    text: &str,
) -> Result<Rig<Box<dyn Device>>, BringupError> {
    let boxed: Box<dyn Device> = Box::new(fake.device(PM_BUS));
    let card = Card::boot(boxed, None, CardOptions::default()).expect("boots");
    let source = Source {
        file: "rig.toml".into(),
        format: Format::Toml,
        text: text.into(),
    };
    let config = Config::parse(source).expect("good");
    let admin_timeout = Duration::from_millis(50);
    let options = SsdOptions {
        admin_timeout,
        ..SsdOptions::default()
    };
    Rig::start(card, config, options, |spec| match spec.name.as_str() {
        "ssd0" => Ok(Box::new(device(&worlds[0])) as Box<dyn Device>),
        "ssd1" => Ok(Box::new(device(&worlds[1]))),
        other => Err(format!("nothing is called {other}")),
    })
}

impl Bench {
    pub fn new() -> Self {
        let (fake, worlds) = (FakeCard::default(), ssds());
        let rig = start(&fake, &worlds, TEXT).expect("starts");
        Self { fake, worlds, rig }
    }

    fn opcodes(&self) -> Vec<(Opcode, u32)> {
        self.fake
            .take()
            .into_iter()
            .map(|(opcode, index, ..)| (opcode, index))
            .collect()
    }
}

#[test]
fn everything_comes_up_in_order_and_goes_down_again() {
    use Opcode::{
        HostAdd, Identify, ListenerAdd, NamespaceAdd, PortSet, SsdAttach, SsdPrepare, SubsystemAdd,
    };
    let mut b = Bench::new();
    let seen = b.fake.take();
    let order: Vec<_> = seen
        .iter()
        .map(|(opcode, index, ..)| (*opcode, *index))
        .collect();
    let attach = |i| [(SsdPrepare, i), (SsdAttach, i)];
    let want = [(Identify, 0), (PortSet, 0)]
        .into_iter()
        .chain(attach(0))
        .chain(attach(1));
    let want = want.chain([
        (SubsystemAdd, 0),
        (HostAdd, 0),
        (NamespaceAdd, 0),
        (NamespaceAdd, 0),
        (ListenerAdd, 0),
    ]);
    assert_eq!(order, want.collect::<Vec<_>>());
    let attached = sluice_wire::mgmt::SsdAttach::read_from_bytes(&seen[3].3).expect("exact size");
    assert_eq!(
        (
            attached.doorbells.get(),
            attached.queues.get(),
            attached.vwc
        ),
        (0xD000_1000, 2, 7)
    );
    let second = NamespaceConfig::read_from_bytes(&seen[9].3).expect("exact size");
    assert_eq!(
        (
            second.nsid.get(),
            second.ssd.get(),
            second.first_block.get()
        ),
        (2, 1, 10)
    );
    assert_eq!(
        (second.blocks.get(), second.block_shift, second.flags),
        (5, 9, 0b1110)
    );
    assert_eq!(b.rig.ssd(1).expect("serves").queues(), [1, 2]);
    let (_, devices) = b.rig.stop().expect("answers");
    assert_eq!(devices.len(), 2);
    assert!(b.worlds[0].borrow().ssd.stats().resets >= 1);
}

#[test]
fn a_lost_ssd_takes_its_namespaces_with_it_and_comes_back_with_them() {
    use Opcode::{NamespaceAdd, NamespaceRemove, SsdAttach, SsdDetach, SsdPrepare};
    let mut b = Bench::new();
    let _ = b.opcodes();
    assert_eq!(b.rig.check().expect("card is well"), []);
    b.worlds[1].borrow_mut().ssd.vanish(Gone::BusError);
    let notices = b.rig.check().expect("card is well");
    assert!(
        matches!(&notices[..], [Notice::SsdLost { ssd: 1, reason }] if reason.contains("is gone"))
    );
    assert_eq!(b.opcodes(), [(SsdDetach, 1), (NamespaceRemove, 0)]);
    assert!(b.rig.ssd(1).is_none() && b.rig.ssd(0).is_some());
    b.worlds[1].borrow_mut().ssd.reappear();
    b.rig
        .ssd_back(1, Box::new(device(&b.worlds[1])))
        .expect("same SSD");
    assert_eq!(
        b.opcodes(),
        [(SsdPrepare, 1), (SsdAttach, 1), (NamespaceAdd, 0)]
    );
}

#[test]
fn another_ssd_in_its_place_is_not_taken() {
    let mut b = Bench::new();
    b.worlds[0].borrow_mut().ssd.vanish(Gone::BusError);
    assert_eq!(b.rig.check().expect("card is well").len(), 1);
    let error = b
        .rig
        .ssd_back(0, Box::new(device(&b.worlds[1])))
        .expect_err("another");
    assert!(
        matches!(error, BringupError::Changed { nsid: 1, .. }),
        "{error}"
    );
}

#[test]
fn an_ssd_that_times_out_is_reset_and_serves_again_or_is_given_up() {
    use Opcode::{NamespaceRemove, SsdAttach, SsdDetach, SsdPrepare};
    let mut b = Bench::new();
    let _ = b.opcodes();
    b.fake.raise(Event::SsdTimeout, 0);
    let notice = b.rig.poll(Duration::from_millis(20)).expect("card is well");
    assert_eq!(notice, Some(Notice::SsdReset { ssd: 0 }));
    assert_eq!(
        b.opcodes(),
        [(SsdDetach, 0), (SsdPrepare, 0), (SsdAttach, 0)]
    );
    b.worlds[0].borrow_mut().ssd.vanish(Gone::Silent);
    b.fake.raise(Event::SsdTimeout, 0);
    let notice = b.rig.poll(Duration::from_millis(20)).expect("card is well");
    assert!(matches!(notice, Some(Notice::SsdLost { ssd: 0, .. })));
    assert_eq!(b.opcodes(), [(SsdDetach, 0), (NamespaceRemove, 0)]);
}

#[test]
fn a_start_that_fails_leaves_the_card_halted_and_says_why() {
    let fails = |text: &str, refuse: Option<Opcode>| {
        let (fake, worlds) = (FakeCard::default(), ssds());
        if let Some(opcode) = refuse {
            fake.refuse(opcode, Status::Full);
        }
        let error = start(&fake, &worlds, text)
            .err()
            .expect("cannot start")
            .to_string();
        assert_eq!(fake.get(sluice_regs::bar0_regs::CTRL_OFFSET), 0, "halted");
        error
    };
    let text = fails(&TEXT.replace("blocks = 5", "blocks = 5000"), None);
    assert!(
        text.starts_with("rig.toml:10:") && text.contains("has blocks 0 to 2047"),
        "{text}"
    );
    let text = fails(
        &TEXT
            .replacen("[[ssds]]", "[[ssds]]\nname = \"x\"", 1)
            .replace("\"ssd0\"", "\"x\""),
        None,
    );
    assert_eq!(text, "SSD x: nothing is called x");
    let text = fails(TEXT, Some(Opcode::NamespaceAdd));
    assert_eq!(
        text,
        "fake card: NamespaceAdd of 0 was refused: the card has no room for another"
    );
}

fn new_subsystem() -> raw::Subsystem {
    raw::Subsystem {
        nqn: "nqn.2026-01.org.example:more".into(),
        hosts: Some(vec!["nqn.2026-01.org.example:host".into()]),
        namespaces: vec![raw::Namespace {
            nsid: 1,
            ssd: "ssd1".into(),
            first_block: Some(100),
            ..raw::Namespace::default()
        }],
        ..raw::Subsystem::default()
    }
}

#[test]
fn a_subsystem_that_the_card_refuses_in_part_is_taken_back_whole() {
    use Opcode::{HostAdd, NamespaceAdd, SubsystemAdd, SubsystemRemove};
    let mut b = Bench::new();
    let before = b.rig.config().to_json();
    b.opcodes();
    b.fake.refuse(NamespaceAdd, Status::Full);
    let error = b.rig.add_subsystem(new_subsystem()).expect_err("refused");
    let refused = matches!(
        error,
        ChangeError::Card(CardError::Refused {
            status: Status::Full,
            ..
        })
    );
    assert!(refused, "{error}");
    let want = [
        (SubsystemAdd, 1),
        (HostAdd, 1),
        (NamespaceAdd, 1),
        (SubsystemRemove, 1),
    ];
    assert_eq!(b.opcodes(), want);
    assert_eq!(b.rig.config().to_json(), before);
}

#[test]
fn numbers_on_the_card_stay_when_others_are_removed_and_are_used_again() {
    use Opcode::{NamespaceAdd, SubsystemRemove};
    let mut b = Bench::new();
    b.rig.add_subsystem(new_subsystem()).expect("room");
    b.rig
        .remove_subsystem("nqn.2026-01.org.example:disks")
        .expect("there");
    drop(
        b.rig
            .remove_ssd("ssd0")
            .expect("not in use")
            .expect("answers"),
    );
    b.opcodes();
    // What is number 0 in the configuration now is number 1 on the card.
    let space = raw::Namespace {
        ssd: "ssd1".into(),
        blocks: Some(10),
        ..raw::Namespace::default()
    };
    let nqn = "nqn.2026-01.org.example:more";
    assert_eq!(b.rig.add_namespace(nqn, space).expect("free"), 2);
    let seen = b.fake.take();
    let (opcode, index, _, data) = &seen[0];
    assert_eq!((*opcode, *index), (NamespaceAdd, 1));
    let config = NamespaceConfig::read_from_bytes(data).expect("exact size");
    assert_eq!(config.ssd.get(), 1);
    b.fake.raise(Event::SsdTimeout, 1);
    let notice = b.rig.poll(Duration::from_millis(20)).expect("card is well");
    assert_eq!(notice, Some(Notice::SsdReset { ssd: 0 }));
    b.opcodes();
    let again = raw::Subsystem {
        nqn: "nqn.2026-01.org.example:third".into(),
        namespaces: Vec::new(),
        ..new_subsystem()
    };
    b.rig.add_subsystem(again).expect("room");
    assert_eq!(b.opcodes()[0], (Opcode::SubsystemAdd, 0));
    b.rig.remove_subsystem(nqn).expect("there");
    assert_eq!(b.opcodes(), [(SubsystemRemove, 1)]);
}

#[test]
fn a_namespace_of_a_lost_ssd_can_be_removed_and_none_added() {
    let mut b = Bench::new();
    b.rig.ssd_lost(1, "pulled").expect("card is well");
    b.opcodes();
    let nqn = "nqn.2026-01.org.example:disks";
    let space = raw::Namespace {
        ssd: "ssd1".into(),
        blocks: Some(1),
        ..raw::Namespace::default()
    };
    let error = b.rig.add_namespace(nqn, space).expect_err("lost");
    assert!(
        matches!(&error, ChangeError::Lost { name } if name == "ssd1"),
        "{error}"
    );
    b.rig
        .remove_namespace(nqn, 2)
        .expect("in the configuration");
    assert!(b.rig.remove_ssd("ssd1").expect("not in use").is_none());
    assert_eq!(b.opcodes(), [], "the card knows of neither any more");
    assert_eq!(b.rig.config().ssds.len(), 1);
}

#[test]
fn a_port_gets_another_address_and_a_second_one_does_not_fit() {
    let mut b = Bench::new();
    b.opcodes();
    let mut port = b.rig.config().to_raw().ports.expect("given").remove(0);
    port.ipv4 = Some("10.0.0.9/8".into());
    b.rig.set_port(port.clone()).expect("good");
    assert_eq!(b.opcodes(), [(Opcode::PortSet, 0)]);
    assert_eq!(b.rig.config().ports[0].ipv4, Some(([10, 0, 0, 9], 8)));
    port.name = Some("second".into());
    port.mac = "02:53:4c:00:00:02".into();
    let error = b.rig.set_port(port).expect_err("no room");
    let full = matches!(
        error,
        ChangeError::Full {
            kind: Kind::Port,
            max: 1
        }
    );
    assert!(full, "{error}");
}

#[test]
fn a_card_that_is_gone_or_wanted_back_is_reported_at_the_next_look() {
    let mut b = Bench::new();
    b.fake.is_in(Some(Trouble::Wanted));
    let error = b.rig.check().expect_err("wanted back").to_string();
    assert!(error.contains("the system asks for it back"), "{error}");
    b.fake.is_in(None);
    assert_eq!(b.rig.check().expect("well"), []);
    for register in [bar0::MAGIC_OFFSET, bar0::WATCHDOG_OFFSET] {
        b.fake.set(register, u32::MAX);
    }
    let gone = |error| matches!(error, BringupError::Card(CardError::Gone { .. }));
    let polled = b.rig.poll(Duration::from_millis(20));
    assert!(gone(
        polled.expect_err("no expired watchdogs, but nothing there")
    ));
    assert!(gone(b.rig.check().expect_err("gone")));
}
