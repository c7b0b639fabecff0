//! temporary debugging aid
use sluice_device::{Bar, Device};
use sluice_regs::bar0_regs as regs;
use sluice_sim::{
    initiator::*,
    link::LinkConfig,
    options::CardKind,
    scenario::{
        lab::Lab,
        server::{Server, Setup},
    },
    world::card_device,
};
fn main() {
    let a: Vec<_> = std::env::args().collect();
    let bytes: usize = a[1].parse().unwrap();
    let kind = if a.len() > 2 {
        CardKind::Functional
    } else {
        CardKind::Rtl
    };
    let mut setup = Setup::new(kind, 1, 1);
    if std::env::var_os("QUICK").is_some() {
        use sluice_sim::ssd::*;
        setup.ssds = vec![SsdConfig {
            namespaces: vec![NamespaceSpec::memory(256 << 20, 12)],
            latency: Latency::ZERO,
            seed: 1,
            ..SsdConfig::default()
        }];
    }
    setup.firmware = std::env::var_os("SLUICE_FIRMWARE").map(Into::into);
    let server = Server::start(&setup).unwrap();
    let dev = card_device(&server.world);
    let mut lab = Lab::new(&server.world, &LinkConfig::default(), 1);
    lab.capture(std::path::Path::new("/tmp/probe.pcap"))
        .unwrap();
    let mut host = Initiator::new(&Config::numbered(1));
    let nqn = setup.config.subsystems[0].nqn.clone();
    let r = {
        let mut adv = |h: &mut Initiator| lab.advance(h);
        let mut b = host.blocking(&mut adv);
        b.patience = 3_000_000;
        let cfg = ConnectConfig::new("10.0.0.2:4420".parse().unwrap(), &nqn, 1);
        (|| -> Result<(), HostError> {
            let c = b.connect(&cfg)?;
            let n = b.active_namespaces(c.admin)?;
            let ns = b.namespace(c.admin, n[0])?;
            for by in [512, 4096, bytes] {
                b.write_pattern(c.io[0], &ns, 4096, (by / 512) as u32, 1)?;
                println!("wrote {by}");
                b.verify_pattern(c.io[0], &ns, 4096, (by / 512) as u32, 1)?;
                println!("read {by}");
            }
            Ok(())
        })()
    };
    println!("{r:?} at {}", lab.now());
    lab.end_capture().unwrap();
    let bar = dev.bar(0).unwrap();
    println!(
        "status {}",
        bar.read32(regs::FW_STATUS_OFFSET as u64).unwrap()
    );
    for (n, o) in [
        ("rx_frames", regs::RX_FRAMES_OFFSET),
        ("tx_frames", regs::TX_FRAMES_OFFSET),
        ("moves", regs::MOVES_OFFSET),
        ("watchdog", regs::WATCHDOG_OFFSET),
    ] {
        print!("{n} {} ", bar.read32(o as u64).unwrap());
    }
    print!("drops");
    for i in 0..12 {
        print!(
            " {}",
            bar.read32((regs::DROP_LENGTH_OFFSET + 4 * i) as u64)
                .unwrap()
        );
    }
    println!();
    for core in 0..2u32 {
        print!("core {core}:");
        for c in 0..12u32 {
            bar.write32(regs::CORE_SELECT_OFFSET as u64, core | c << 8)
                .unwrap();
            print!(" {}", bar.read32(regs::CORE_VALUE_OFFSET as u64).unwrap());
        }
        println!();
    }
    let b2 = dev.bar(2).unwrap();
    for core in 0..2u64 {
        let mut v = vec![0u8; 128];
        b2.read(0x54_0000 + core * 0x1000, &mut v).unwrap();
        println!("log {v:02x?}");
        std::fs::write(
            format!("/tmp/log{core}.bin"),
            &v[8..8 + u32::from_le_bytes(v[..4].try_into().unwrap()).min(120) as usize],
        )
        .unwrap();
    }
}
