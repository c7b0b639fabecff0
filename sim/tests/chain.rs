//! The whole chain on the functional card: host, link, card, SSD and back.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use sluice_driver::{card::*, nvme};
use sluice_sim::{
    card::functional::FunctionalCard,
    initiator::{Config, Initiator},
    link::LinkConfig,
    report::{Meter, Runner},
    scenario::{lab::Lab, model},
    ssd::{MSIX_TABLE, Ssd, SsdConfig},
    world::*,
};
use sluice_wire::mgmt::*;
use zerocopy::FromZeros;

#[test]
fn a_host_does_verified_io_through_the_functional_card() {
    let world: WorldHandle = Rc::new(RefCell::new(World::new(Box::new(FunctionalCard::new(1, 1)))));
    let ssd = Rc::new(RefCell::new(Ssd::new(SsdConfig::default()).unwrap()));
    world.borrow_mut().add_ssd(Box::new(ssd.clone()));
    let mut card = Card::boot(card_device(&world), None, CardOptions::default()).unwrap();
    let mut p = PortConfig::new_zeroed();
    p.mac = [2, 0, 0, 0, 0, 1];
    p.mtu = 1500.into();
    p.ipv4 = [10, 0, 0, 2];
    p.ipv4_prefix = 24;
    p.io_port = 4420.into();
    p.discovery_port = 8009.into();
    card.set_port(0, &p).unwrap();
    let mut s = nvme::Ssd::open(ssd_device(&world, 0, MSIX_TABLE, 33), nvme::SsdOptions { queues: 1, ..Default::default() }).unwrap();
    let places = card.prepare_ssd(0, 1024).unwrap();
    let pm = card.packet_memory_bus().unwrap();
    for q in &places {
        s.create_queue_pair(q.core.get(), pm + u64::from(q.sq.get()), pm + u64::from(q.cq.get()), q.entries.get()).unwrap();
    }
    let (db, stride) = s.doorbells().unwrap();
    let mut a = SsdAttach::new_zeroed();
    a.doorbells = db.into();
    a.doorbell_stride = stride.into();
    a.queues = 1.into();
    a.timeout_ms = 5000.into();
    card.attach_ssd(0, &a).unwrap();
    let nqn = "nqn.2026-11.io.sluice:a";
    let mut sub = SubsystemConfig::new_zeroed();
    sub.nqn[..nqn.len()].copy_from_slice(nqn.as_bytes());
    sub.allow_any_host = 1;
    card.add_subsystem(0, &sub).unwrap();
    let mut ns = NamespaceConfig::new_zeroed();
    ns.nsid = 1.into();
    ns.ssd_nsid = 1.into();
    ns.blocks = 262_144.into();
    ns.block_shift = 12;
    ns.ana_group = 1.into();
    ns.flags = 0b1110;
    card.add_namespace(0, &ns).unwrap();
    card.add_listener(0, 0).unwrap();

    let mut lab = Lab::new(&world, &LinkConfig::default(), 1);
    lab.capture(std::path::Path::new("/tmp/chain.pcap")).unwrap();
    let mut host = Initiator::new(&Config::numbered(1));
    let meter = Arc::new(Meter::default());
    let mut runner = Runner::new("functional", "model", "tcp", 1, 1, meter.clone());
    let target = model::Target { address: "10.0.0.2:4420".parse().unwrap(), nqn: nqn.into() };
    model::run(&mut lab, &mut host, &target, model::Plan { ios: 500, seed: 1 }, &meter, &mut runner);
    lab.end_capture().unwrap();
    let report = runner.finish();
    println!("{}", report.table());
    for core in 1..2 {
        println!("{:?}", card.counters(core));
    }
    assert!(report.ok);
}
