//! The demo with the in-process host: what the VM scenario does, without a VM and exact to the clock.

use std::net::SocketAddr;
use std::sync::Arc;

use sluice_wire::nvme::DiscoveryEntry;

use super::lab::Lab;
use crate::fabric::Clock;
use crate::initiator::{
    Blocking, Command, ConnectConfig, Controller, HostError, Initiator, Namespace, Workload,
    WorkloadConfig,
};
use crate::report::{Checked, Meter, Runner};

/// Clocks of card time in which every answer must come: 100 ms.
const PATIENCE: Clock = 25_000_000;

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Commands of each random load.
    pub ios: u64,
    /// Seed of the loads.
    pub seed: u64,
}

/// Where the target is.
#[derive(Clone, Debug)]
pub struct Target {
    /// Of the subsystem and of discovery.
    pub address: SocketAddr,
    /// Its NQN.
    pub nqn: String,
}

/// One connection's way.
struct How {
    name: &'static str,
    queues: u16,
    digests: bool,
    flow_control: bool,
}

const WAYS: [How; 4] = [
    How {
        name: "1 I/O queue, no digests",
        queues: 1,
        digests: false,
        flow_control: false,
    },
    How {
        name: "1 I/O queue, both digests",
        queues: 1,
        digests: true,
        flow_control: true,
    },
    How {
        name: "4 I/O queues, both digests",
        queues: 4,
        digests: true,
        flow_control: false,
    },
    How {
        name: "4 I/O queues, no digests",
        queues: 4,
        digests: false,
        flow_control: true,
    },
];

/// Runs all steps; the outcome is in `runner`.
pub fn run(
    lab: &mut Lab,
    host: &mut Initiator,
    target: &Target,
    plan: Plan,
    meter: &Arc<Meter>,
    runner: &mut Runner,
) {
    let mut advance = |host: &mut Initiator| {
        lab.advance(host);
        meter.set_clocks(lab.now());
    };
    let mut b = host.blocking(&mut advance);
    b.patience = PATIENCE;
    let base = ConnectConfig::new(target.address, &target.nqn, 1);
    runner.step("discover", || discover(&mut b, &base, &target.nqn));
    for (round, how) in WAYS.iter().enumerate() {
        let config = ConnectConfig {
            io_queues: how.queues,
            flow_control: how.flow_control,
            ..base.clone()
        };
        let config = config.with_digests(how.digests, how.digests);
        let connected = runner.step_value(&format!("connect ({})", how.name), || {
            let controller = b.connect(&config)?;
            Ok::<_, HostError>((
                controller.clone(),
                Checked::note(format!("CNTLID {}", controller.cntlid)),
            ))
        });
        let Some(controller) = connected else { return };
        let Some(namespaces) = runner.step_value("identify", || identify(&mut b, &controller))
        else {
            return;
        };
        let generation = round as u64 + 1;
        runner.step("every command once", || {
            each_command(&mut b, &controller, &namespaces[0], generation)
        });
        runner.step("random reads and writes, verified", || {
            load(
                &mut b,
                &controller,
                &namespaces[round % namespaces.len()],
                plan,
                generation,
                meter,
            )
        });
        runner.step("disconnect", || {
            b.disconnect(&controller).map(|()| Checked::default())
        });
    }
    runner.step("reconnect: the data are still there", || {
        still_there(&mut b, &base, WAYS.len() as u64)
    });
}

fn discover(b: &mut Blocking<'_>, config: &ConnectConfig, nqn: &str) -> Result<Checked, HostError> {
    let (generation, entries) = b.discover(config)?;
    let found = entries
        .iter()
        .any(|e: &DiscoveryEntry| e.subnqn.starts_with(nqn.as_bytes()));
    if !found {
        return Err(wrong(
            "discovery log",
            format!("{} entries, none of {nqn}", entries.len()),
        ));
    }
    Ok(Checked::note(format!(
        "{} entries, generation {generation}",
        entries.len()
    )))
}

fn identify(
    b: &mut Blocking<'_>,
    controller: &Controller,
) -> Result<(Vec<Namespace>, Checked), HostError> {
    let mut namespaces = Vec::new();
    for nsid in b.active_namespaces(controller.admin)? {
        namespaces.push(b.namespace(controller.admin, nsid)?);
    }
    if namespaces.is_empty() {
        return Err(wrong("active namespaces", "none".into()));
    }
    let note = format!(
        "{} namespaces, {} KiB per command",
        namespaces.len(),
        controller.max_transfer >> 10
    );
    Ok((namespaces, Checked::note(note)))
}

/// Blocks at the end of the namespace, which no load touches.
fn tail(ns: &Namespace) -> u64 {
    ns.blocks - (1 << 20) / ns.block_size as u64
}

fn each_command(
    b: &mut Blocking<'_>,
    controller: &Controller,
    ns: &Namespace,
    generation: u64,
) -> Result<Checked, HostError> {
    let (queue, lba) = (controller.io[0], tail(ns));
    let mut verified = 0;
    for bytes in [ns.block_size, 4096, 8192, 12_288, 65_536, 131_072] {
        let blocks = (bytes.max(ns.block_size) / ns.block_size) as u32;
        b.write_pattern(queue, ns, lba, blocks, generation)?;
        b.verify_pattern(queue, ns, lba, blocks, generation)?;
        verified += u64::from(blocks) * ns.block_size as u64;
    }
    b.must("Flush", queue, Command::flush(ns.nsid))?;
    let same = crate::initiator::pattern::make(lba, 2, ns.block_size, generation);
    b.must(
        "Compare, equal",
        queue,
        Command::compare(ns.nsid, lba, same.clone(), ns.block_size),
    )?;
    let mut other = same;
    other[100] ^= 1;
    let differs = b.exec(
        "Compare, different",
        queue,
        Command::compare(ns.nsid, lba, other, ns.block_size),
    )?;
    if differs.is_ok() {
        return Err(wrong("Compare of different data", "success".into()));
    }
    // The first eight blocks to zeros, the next eight deallocated: both read as zeros on this SSD.
    b.must(
        "Write Zeroes",
        queue,
        Command::write_zeroes(ns.nsid, lba, 8),
    )?;
    b.must(
        "Dataset Management",
        queue,
        Command::deallocate(ns.nsid, &[(lba + 8, 8)]),
    )?;
    let zeros = b.read(queue, ns, lba, 16)?;
    if zeros.iter().any(|byte| *byte != 0) {
        return Err(wrong(
            "zeroed and deallocated blocks",
            "bytes that are not zero".into(),
        ));
    }
    // What the reconnect looks for.
    b.write_pattern(queue, ns, lba, 16, generation)?;
    Ok(Checked::bytes(verified + zeros.len() as u64))
}

fn load(
    b: &mut Blocking<'_>,
    controller: &Controller,
    ns: &Namespace,
    plan: Plan,
    round: u64,
    meter: &Meter,
) -> Result<Checked, HostError> {
    let config = WorkloadConfig {
        depth: 8,
        read_percent: 50,
        ios: plan.ios,
        seed: plan.seed ^ round << 32,
        ..WorkloadConfig::random_4k(controller.io.clone(), ns.nsid, ns.block_size)
    };
    b.initiator.attach(Workload::new(config));
    b.wait("the load", |host| {
        host.workload().is_none_or(Workload::is_done)
            || host.workload().is_some_and(|w| w.stats().failed > 0)
    })?;
    let stats = b
        .initiator
        .detach()
        .map(Workload::into_stats)
        .unwrap_or_default();
    meter.add_ios(stats.ios());
    if let Some(error) = stats.errors.first() {
        return Err(wrong("the load", error.clone()));
    }
    let note = format!("{} reads, {} writes", stats.reads, stats.writes);
    Ok(Checked {
        verified_bytes: stats.verified_bytes,
        note,
    })
}

fn still_there(
    b: &mut Blocking<'_>,
    config: &ConnectConfig,
    generation: u64,
) -> Result<Checked, HostError> {
    let controller = b.connect(config)?;
    let ns = b.namespace(controller.admin, 1)?;
    b.verify_pattern(controller.io[0], &ns, tail(&ns), 16, generation)?;
    b.disconnect(&controller)?;
    Ok(Checked::bytes(16 * ns.block_size as u64))
}

fn wrong(what: &str, problem: String) -> HostError {
    HostError::Answer {
        what: what.into(),
        problem,
    }
}
