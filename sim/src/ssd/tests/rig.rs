//! The host driver's whole bring-up with SSD models and a card that remembers what it was told.

use std::time::Duration;

use sluice_device::Device;
use sluice_driver::bringup::{BringupError, Notice, Rig};
use sluice_driver::card::{Card, CardOptions};
use sluice_driver::config::{Config, Format, Source};
use sluice_driver::nvme::SsdOptions;
use sluice_driver::testing::FakeCard;
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

struct Bench {
    fake: FakeCard,
    worlds: [Handle; 2],
    rig: Rig<Box<dyn Device>>,
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
    fn new() -> Self {
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
