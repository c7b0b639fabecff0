//! The demo with the in-process host: what the VM scenario does, without a VM and exact to the clock.

use std::net::SocketAddr;
use std::sync::Arc;

use sluice_wire::nvme::DiscoveryEntry;

use super::lab::Lab;
use crate::fabric::Clock;
use crate::initiator::{
    Blocking, Command, ConnectConfig, Controller, HostError, Initiator, Namespace, Transport,
    Workload, WorkloadConfig,
};
use crate::report::{Checked, Meter, Runner};

/// Clocks of card time in which every answer must come: 100 ms.
const PATIENCE: Clock = 25_000_000;
/// The same when frames get lost: two minutes. smoltcp's retransmission timeouts grow to a minute each.
const LOSSY_PATIENCE: Clock = 30_000_000_000;

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// One after the other; with two, each also reads what was written over the other.
    pub transports: &'static [Transport],
    /// Commands of each random load.
    pub ios: u64,
    /// Seed of the loads.
    pub seed: u64,
    /// The link loses frames.
    pub lossy: bool,
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
#[derive(Clone, Copy)]
struct How {
    queues: u16,
    digests: bool,
    flow_control: bool,
}

const fn how(queues: u16, digests: bool, flow_control: bool) -> How {
    How {
        queues,
        digests,
        flow_control,
    }
}

impl How {
    fn name(self, over: Transport) -> String {
        let plural = if self.queues == 1 { "" } else { "s" };
        let digests = match (over, self.digests) {
            (Transport::Rdma, _) => "",
            (Transport::Tcp, true) => ", both digests",
            (Transport::Tcp, false) => ", no digests",
        };
        format!("{over}, {} I/O queue{plural}{digests}", self.queues)
    }

    fn config(self, base: &ConnectConfig) -> ConnectConfig {
        ConnectConfig {
            io_queues: self.queues,
            flow_control: self.flow_control,
            ..base.clone()
        }
        .with_digests(self.digests, self.digests)
    }
}

const TCP_WAYS: [How; 4] = [
    how(1, false, false),
    how(1, true, true),
    how(4, true, false),
    how(4, false, true),
];

/// Submission queue flow control is always on over RDMA.
const RDMA_WAYS: [How; 2] = [how(1, false, true), how(4, false, true)];

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
    b.patience = if plan.lossy { LOSSY_PATIENCE } else { PATIENCE };
    let base = |over| ConnectConfig::new(target.address, &target.nqn, 1).over(over);
    for over in plan.transports {
        runner.step(&format!("discover over {over}"), || {
            discover(&mut b, &base(*over), &target.nqn, plan.transports)
        });
    }
    // Numbers what is written, so that nothing old is taken for it.
    let mut generation = 0;
    for over in plan.transports {
        let ways = match over {
            Transport::Tcp => &TCP_WAYS[..],
            Transport::Rdma => &RDMA_WAYS,
        };
        for way in ways {
            generation += 1;
            let way = (*way, &base(*over));
            if connected(&mut b, way, plan, generation, meter, runner).is_none() {
                return;
            }
        }
        for other in plan.transports {
            let name = if other == over {
                format!("reconnect over {over}: the data are still there")
            } else {
                format!("what was written over {over} is there over {other}")
            };
            runner.step(&name, || still_there(&mut b, &base(*other), generation));
        }
    }
    if let [one, .., other] = plan.transports {
        runner.step(
            &format!("{one} and {other} at once, each reads what the other writes"),
            || cross(&mut b, &base(*one), &base(*other), generation),
        );
    }
}

/// All that is done on one connection; none if something went wrong.
fn connected(
    b: &mut Blocking<'_>,
    (way, base): (How, &ConnectConfig),
    plan: Plan,
    generation: u64,
    meter: &Meter,
    runner: &mut Runner,
) -> Option<()> {
    let name = way.name(base.queue.transport);
    let controller = runner.step_value(&format!("connect: {name}"), || {
        let controller = b.connect(&way.config(base))?;
        let note = format!("CNTLID {}", controller.cntlid);
        Ok::<_, HostError>((controller, Checked::note(note)))
    })?;
    let namespaces = runner.step_value("identify", || identify(b, &controller))?;
    runner.step("every command once", || {
        each_command(b, &controller, &namespaces[0], generation)
    });
    let ns = &namespaces[(generation - 1) as usize % namespaces.len()];
    runner.step("random reads and writes, verified", || {
        load(b, &controller, ns, plan, generation, meter)
    });
    runner.step("disconnect", || {
        b.disconnect(&controller).map(|()| Checked::default())
    });
    runner.ok().then_some(())
}

/// The log must have the subsystem once for every transport in use, whichever it is asked over.
fn discover(
    b: &mut Blocking<'_>,
    config: &ConnectConfig,
    nqn: &str,
    transports: &[Transport],
) -> Result<Checked, HostError> {
    let (generation, entries) = b.discover(config)?;
    let is_it = |e: &&DiscoveryEntry| e.subnqn.starts_with(nqn.as_bytes());
    for wanted in transports {
        let mut found = entries.iter().filter(is_it);
        if !found.any(|e| e.trtype == wanted.trtype()) {
            return Err(wrong(
                "discovery log",
                format!("{} entries, none of {nqn} over {wanted}", entries.len()),
            ));
        }
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

/// Two controllers at once: what is written over one is read over the other.
fn cross(
    b: &mut Blocking<'_>,
    one: &ConnectConfig,
    other: &ConnectConfig,
    generation: u64,
) -> Result<Checked, HostError> {
    let controllers = [b.connect(one)?, b.connect(other)?];
    let ns = b.namespace(controllers[0].admin, 1)?;
    let [one, other] = [controllers[0].io[0], controllers[1].io[0]];
    let mut verified = 0;
    for (turn, (write, read)) in (1..).zip([(one, other), (other, one)]) {
        for bytes in [4096, 65_536, 131_072] {
            let blocks = (bytes / ns.block_size) as u32;
            b.write_pattern(write, &ns, tail(&ns), blocks, generation + turn)?;
            b.verify_pattern(read, &ns, tail(&ns), blocks, generation + turn)?;
            verified += bytes as u64;
        }
    }
    for controller in &controllers {
        b.disconnect(controller)?;
    }
    Ok(Checked::bytes(verified))
}

fn wrong(what: &str, problem: String) -> HostError {
    HostError::Answer {
        what: what.into(),
        problem,
    }
}
