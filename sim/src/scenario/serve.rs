//! `serve`: the card stays up for whoever is at the other end of a live port.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sluice_driver::bringup::{BringupError, Notice};

use super::live::Live;
use super::server::{Server, ServerError, Setup};
use crate::port::{self, OpenError, PortStats};
use crate::report::Meter;

/// How often the host driver looks for events.
const HOUSEKEEPING: Duration = Duration::from_millis(250);
/// Card time it waits for one.
const EVENT_WAIT: Duration = Duration::from_micros(5);

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The port.
    #[error(transparent)]
    Port(#[from] OpenError),
    /// The card did not come up.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The port failed later.
    #[error("the port failed: {0}")]
    Io(#[from] std::io::Error),
    /// The card failed later.
    #[error(transparent)]
    Card(#[from] BringupError),
}

/// Brings the server up on `listen` and runs it until `stop` is set or `limit` has passed. What passed through the port.
///
/// # Errors
/// [`ServeError`].
pub fn run(
    setup: &Setup,
    listen: &str,
    limit: Option<Duration>,
    stop: &Arc<AtomicBool>,
) -> Result<PortStats, ServeError> {
    let mut port = port::open(listen)?;
    let mut server = Server::start(setup)?;
    println!("{}", instructions(setup, listen));
    let meter = Meter::default();
    let start = Instant::now();
    let world = server.world.clone();
    let ssds = server.ssds.clone();
    let busy = move || ssds.iter().any(|ssd| ssd.borrow().next_event().is_some());
    let mut live = Live::new(&mut world.borrow_mut(), port.as_mut(), None, busy);
    while !stop.load(Ordering::Relaxed) && limit.is_none_or(|limit| start.elapsed() < limit) {
        let turn = Instant::now();
        let over = || turn.elapsed() > HOUSEKEEPING || stop.load(Ordering::Relaxed);
        live.run(&mut world.borrow_mut(), &meter, over)?;
        while let Some(notice) = server.notice(EVENT_WAIT)? {
            println!("{}", describe(&notice));
        }
    }
    drop(live);
    let passed = port.stats();
    println!(
        "served for {} s: {} frames in, {} out, {} dropped; {} million clocks",
        start.elapsed().as_secs(),
        passed.received,
        passed.sent,
        passed.dropped,
        meter.clocks() / 1_000_000
    );
    Ok(passed)
}

/// What a person needs to connect.
fn instructions(setup: &Setup, listen: &str) -> String {
    let mut text = format!(
        "{} card with {} data cores on {listen}\n",
        setup.card.name(),
        setup.cores
    );
    for port in &setup.config.ports {
        let [a, b, c, d, e, f] = port.mac;
        text += &format!(
            "  port {}: MAC {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}",
            port.name
        );
        if let Some((ip, prefix)) = port.ipv4 {
            let ip = Ipv4Addr::from(ip);
            text += &format!(", {ip}/{prefix}\n\n  on the host:\n");
            if let Some(name) = listen.strip_prefix("tap:") {
                let octets = ip.octets();
                let last = if octets[3] == 1 { 254 } else { 1 };
                text += &format!(
                    "    ip addr add {}.{}.{}.{last}/{prefix} dev {name} && ip link set {name} up\n",
                    octets[0], octets[1], octets[2]
                );
            }
            text += &format!(
                "    modprobe nvme-tcp\n    nvme discover -t tcp -a {ip} -s {}\n",
                port.discovery_port
            );
            for subsystem in &setup.config.subsystems {
                text += &format!(
                    "    nvme connect -t tcp -a {ip} -s {} -n {}\n",
                    port.io_port, subsystem.nqn
                );
            }
            if port.rdma_port != 0 {
                text += &rdma_instructions(setup, port.rdma_port, ip, listen);
            }
            if port.rdma_port != 0 {
                text += &format!(
                    "  or, with an RDMA device on that interface: nvme-rdma, -t rdma and -s {}\n",
                    port.rdma_port
                );
            }
        }
    }
    text + "\nserving until interrupted"
}

/// The same over RDMA, for a host whose network card has none.
fn rdma_instructions(setup: &Setup, port: u16, ip: Ipv4Addr, listen: &str) -> String {
    let device = listen.strip_prefix("tap:").unwrap_or("DEVICE");
    let mut text = format!(
        "\n  or over RDMA:\n    modprobe rdma_rxe && rdma link add rxe0 type rxe netdev {device}\n    \
         modprobe nvme-rdma\n    nvme discover -t rdma -a {ip} -s {port}\n"
    );
    for subsystem in &setup.config.subsystems {
        text += &format!(
            "    nvme connect -t rdma -a {ip} -s {port} -n {}\n",
            subsystem.nqn
        );
    }
    text
}

fn describe(notice: &Notice) -> String {
    match notice {
        Notice::Card(event) => format!("card: {event:?}"),
        Notice::SsdReset { ssd } => {
            format!("SSD {ssd} did not answer in time and was reset; it serves again")
        }
        Notice::SsdLost { ssd, reason } => format!("SSD {ssd} is lost: {reason}"),
        Notice::Watchdog { cores } => format!("cores {cores:#b} of the card stopped running"),
    }
}
