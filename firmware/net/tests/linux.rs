//! The stack against the kernel's TCP, through a TAP device in a network namespace of its own. Needs root and
//! `/dev/net/tun`; without them the tests say so and pass.

mod support;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Uid, gettid};
use sluice_hal::{Micros, RxFlags};
use sluice_net::{CloseReason, Host, HostConfig};
use smoltcp::phy::{Device, Medium, RxToken, TunTapInterface, TxToken};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use support::*;

fn ip(args: &str) {
    let done = Command::new("ip")
        .args(args.split(' '))
        .output()
        .expect("iproute2 is there");
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "ip {args}: {errors}");
}

/// A TAP device whose other end is in the peer thread's own network namespace.
struct Tap {
    device: TunTapInterface,
    host: Host<8>,
    card: Endpoint,
    to_card: Wire,
    to_linux: Wire,
    start: Instant,
    peer: JoinHandle<()>,
    /// Set when the peer has nothing more to say.
    done: Arc<AtomicBool>,
    /// Its namespace, and with it the device, lives until this is dropped.
    stay: Sender<()>,
}

/// Starts `peer` in a new network namespace with the addresses of [`PEER_IP`] and [`PEER_IP6`].
fn with_linux(name: &str, faults: Faults, peer: impl FnOnce() + Send + 'static) -> Option<Tap> {
    if !Uid::effective().is_root() || !std::path::Path::new("/dev/net/tun").exists() {
        println!("skipped: needs root and /dev/net/tun");
        return None;
    }
    let name = format!("{name}{}", std::process::id() % 100_000);
    let (say, hear) = channel();
    let (go, wait): (_, Receiver<()>) = channel();
    let (stay, until): (_, Receiver<()>) = channel();
    let done = Arc::new(AtomicBool::new(false));
    let tell = Arc::clone(&done);
    let device_name = name.clone();
    let peer = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("root may unshare");
        say.send(gettid()).expect("the test waits");
        wait.recv().expect("the test moves the device");
        let device = device_name.as_str();
        ip("link set lo up");
        let (v4, v6): (IpAddr, IpAddr) = (PEER_IP.into(), PEER_IP6.into());
        ip(&format!("addr add {v4}/24 dev {device}"));
        ip(&format!("addr add {v6}/64 dev {device} nodad"));
        ip(&format!("link set {device} up"));
        peer();
        tell.store(true, Ordering::Relaxed);
        let _ = until.recv();
    });
    let thread = hear.recv().expect("the thread is there");
    ip(&format!("tuntap add dev {name} mode tap"));
    let device = TunTapInterface::new(&name, Medium::Ethernet).expect("TAP opens");
    ip(&format!("link set {name} netns {thread}"));
    go.send(()).expect("the thread waits");
    let mut host = Host::new();
    let cfg = config(CARD_MAC, CARD_IP, CARD_IP6);
    host.configure(&HostConfig {
        mac: CARD_MAC,
        ipv4: CARD_IP,
        ipv4_prefix: 24,
        ipv6: CARD_IP6,
        ..HostConfig::default()
    });
    let mut card = Endpoint::new(&cfg, 1);
    card.tcp.listen(4420).expect("first listener");
    let (to_card, to_linux) = (Wire::new(faults, 2), Wire::new(faults, 3));
    Some(Tap {
        device,
        host,
        card,
        to_card,
        to_linux,
        start: Instant::now(),
        peer,
        done,
        stay,
    })
}

impl Tap {
    fn now(&self) -> Micros {
        Micros(self.start.elapsed().as_micros() as u64 + 1)
    }

    fn step(&mut self) {
        let now = self.now();
        let clock = smoltcp::time::Instant::from_micros(now.0 as i64);
        while let Some((rx, _)) = self.device.receive(clock) {
            let frame = rx.consume(<[u8]>::to_vec);
            self.to_card.put(frame, now);
        }
        while let Some(frame) = self.to_card.take(now) {
            let Some(desc) = self.card.card.receive(&frame, now) else {
                continue;
            };
            if desc.flags.has(RxFlags::TCP) {
                self.card.tcp.input(now, &desc, &mut self.card.card);
            } else {
                let _ = self.host.input(now, &desc, &mut self.card.card);
            }
        }
        if self.host.deadline().is_some_and(|at| at <= now) {
            self.host.handle_timeouts(now, &mut self.card.card);
        }
        self.card.run(now);
        for frame in self.card.card.sent.drain(..) {
            self.to_linux.put(frame, now);
        }
        while let Some(frame) = self.to_linux.take(now) {
            let Some(tx) = self.device.transmit(clock) else {
                break;
            };
            tx.consume(frame.len(), |bytes| bytes.copy_from_slice(&frame));
        }
    }

    /// Runs until the peer is done and every connection is closed, or the time is over.
    fn run(mut self, seconds: u64) -> Self {
        let open = |tap: &Self| tap.card.flows.values().any(|f| f.closed.is_none());
        let busy = |tap: &Self| !tap.done.load(Ordering::Relaxed) && !tap.peer.is_finished();
        while busy(&self) || open(&self) {
            let stats = self.card.tcp.stats();
            assert!(
                self.start.elapsed() < Duration::from_secs(seconds),
                "stuck: {stats:?}"
            );
            self.step();
            std::thread::sleep(Duration::from_micros(20));
        }
        self
    }

    fn join(self) {
        let Self { peer, stay, .. } = self;
        drop(stay);
        peer.join().expect("the Linux side is content");
    }
}

/// Retries while the device comes up and neighbours are found.
fn connect(to: IpAddr) -> TcpStream {
    for _ in 0..50 {
        if let Ok(stream) = TcpStream::connect_timeout(&(to, 4420).into(), Duration::from_secs(5)) {
            return stream;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("no connection to {to}");
}

/// Sends `bytes` of the pattern, closes, and checks that as many come back.
fn exchange(stream: TcpStream, bytes: u64) {
    let mut writer = stream.try_clone().expect("clones");
    let sender = std::thread::spawn(move || {
        let data: Vec<u8> = (0..bytes).map(pattern).collect();
        writer.write_all(&data).expect("card takes it");
        writer.shutdown(Shutdown::Write).expect("half-close");
    });
    let mut stream = stream;
    let mut back = Vec::new();
    stream.read_to_end(&mut back).expect("card answers");
    sender.join().expect("sender is done");
    assert_eq!(back.len() as u64, bytes);
    assert!(
        back.iter()
            .enumerate()
            .all(|(i, b)| *b == pattern(i as u64))
    );
}

fn echo_server() -> Flow {
    Flow {
        echo: true,
        ..Flow::default()
    }
}

fn check_closed(tap: &Tap, connections: usize) {
    assert_eq!(tap.card.flows.len(), connections);
    assert!(
        tap.card
            .flows
            .values()
            .all(|f| f.closed == Some(CloseReason::Done))
    );
    assert!(tap.card.flows.values().all(|f| f.chunks.is_empty()));
    assert!(tap.card.card.held.is_empty());
}

#[test]
fn a_linux_client_exchanges_bulk_data() {
    let peer = || {
        exchange(connect(CARD_IP.into()), 8_000_000);
        exchange(connect(CARD_IP6.into()), 2_000_000);
    };
    let Some(mut tap) = with_linux("sla", CLEAN, peer) else {
        return;
    };
    tap.card.on_accept = echo_server;
    let tap = tap.run(60);
    check_closed(&tap, 2);
    let stats = tap.card.tcp.stats();
    assert!(
        stats.fast * 2 > stats.segments_in,
        "Linux is served on the fast path: {stats:?}"
    );
    tap.join();
}

#[test]
fn a_linux_client_gets_through_a_rough_link() {
    let peer = || exchange(connect(CARD_IP.into()), 300_000);
    let Some(mut tap) = with_linux("slb", ROUGH, peer) else {
        return;
    };
    tap.card.on_accept = echo_server;
    let tap = tap.run(120);
    tap.join();
}

#[test]
fn a_linux_server_is_reached_from_the_card() {
    let (say, hear) = channel();
    let peer = move || {
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 9000)).expect("binds");
        say.send(()).expect("the test waits");
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().expect("card connects");
            let mut data = Vec::new();
            stream.read_to_end(&mut data).expect("card sends");
            assert!(
                data.iter()
                    .enumerate()
                    .all(|(i, b)| *b == pattern(i as u64))
            );
            stream.write_all(&data).expect("card takes it");
        }
    };
    let Some(mut tap) = with_linux("slc", CLEAN, peer) else {
        return;
    };
    for (i, to) in [IpAddr::from(PEER_IP), IpAddr::from(PEER_IP6)]
        .into_iter()
        .enumerate()
    {
        if i == 0 {
            hear.recv().expect("the server is up");
        }
        let mac = loop {
            let now = tap.now();
            if let Some(mac) = tap.host.resolve(now, to, &mut tap.card.card) {
                break mac;
            }
            tap.step();
            assert!(
                tap.start.elapsed() < Duration::from_secs(20),
                "no neighbour {to}"
            );
        };
        let now = tap.now();
        let Tap { card, .. } = &mut tap;
        let id = card
            .tcp
            .connect(now, (to, 9000), 40_000, mac, &mut card.card)
            .expect("room");
        let flow = Flow {
            to_send: 1_000_000,
            close_after: true,
            ..Flow::default()
        };
        card.flows.insert(id, flow);
    }
    let tap = tap.run(60);
    check_closed(&tap, 2);
    assert!(tap.card.flows.values().all(|f| f.received == 1_000_000));
    tap.join();
}

#[test]
fn a_linux_client_is_refused_at_a_closed_port() {
    let peer = || {
        for _ in 0..50 {
            let refused = TcpStream::connect((IpAddr::from(CARD_IP), 4421));
            let kind = refused.expect_err("nobody listens there").kind();
            if kind == std::io::ErrorKind::ConnectionRefused {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("not refused");
    };
    let Some(tap) = with_linux("sld", CLEAN, peer) else {
        return;
    };
    let tap = tap.run(30);
    assert!(tap.host.stats().answered > 0);
    tap.join();
}

#[test]
fn a_linux_peer_that_aborts_resets_the_connection() {
    let peer = || {
        let stream = connect(CARD_IP.into());
        // Closing with unread data makes the kernel send RST.
        std::thread::sleep(Duration::from_millis(200));
        drop(stream);
    };
    let Some(mut tap) = with_linux("sle", CLEAN, peer) else {
        return;
    };
    tap.card.on_accept = || Flow {
        to_send: 3_000_000,
        ..Flow::default()
    };
    let tap = tap.run(30);
    assert!(
        tap.card
            .flows
            .values()
            .all(|f| f.closed == Some(CloseReason::Reset))
    );
    assert!(tap.card.flows.values().all(|f| f.chunks.is_empty()));
    tap.join();
}
