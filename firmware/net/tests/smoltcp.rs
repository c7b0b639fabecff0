//! The stack against smoltcp, an independent implementation, over the models of the engines and a rough link.

mod support;

use sluice_hal::{Micros, RxFlags};
use sluice_net::{CloseReason, Host, HostConfig};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};
use std::collections::VecDeque;
use support::*;

/// smoltcp's side of the wire.
struct Phy {
    received: VecDeque<Vec<u8>>,
    sent: VecDeque<Vec<u8>>,
    mtu: usize,
}

struct Rx(Vec<u8>);
struct Tx<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        frame.resize(len.max(60), 0);
        self.0.push_back(frame);
        result
    }
}

impl Device for Phy {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Rx, Tx<'_>)> {
        Some((Rx(self.received.pop_front()?), Tx(&mut self.sent)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        Some(Tx(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu + 14;
        capabilities.checksum.tcp = Checksum::Both;
        capabilities
    }
}

struct Net {
    now: Micros,
    card: Endpoint,
    host: Host<4>,
    to_card: Wire,
    to_peer: Wire,
    phy: Phy,
    iface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    /// smoltcp's stream: bytes sent and received so far.
    sent: u64,
    received: u64,
}

impl Net {
    fn new(faults: Faults, seed: u64, v6: bool, timestamps: bool, mtu: u16) -> Self {
        // smoltcp leaves the timestamp option out of its reckoning (RFC 6691), and drops what then is too long.
        let slack = if timestamps { 12 } else { 0 };
        let mtu_there = usize::from(mtu) + slack;
        let mut phy = Phy {
            received: VecDeque::new(),
            sent: VecDeque::new(),
            mtu: mtu_there,
        };
        let mut cfg = Config::new(EthernetAddress(PEER_MAC).into());
        cfg.random_seed = seed;
        let mut iface = Interface::new(cfg, &mut phy, Instant::from_micros(0));
        iface.update_ip_addrs(|all| {
            let ip: IpAddress = if v6 {
                IpAddress::Ipv6(PEER_IP6.into())
            } else {
                IpAddress::Ipv4(PEER_IP.into())
            };
            all.push(IpCidr::new(ip, if v6 { 64 } else { 24 }))
                .expect("room");
        });
        let buffer = || SocketBuffer::new(vec![0; 100_000]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_congestion_control(CongestionControl::Cubic);
        socket.set_nagle_enabled(seed.is_multiple_of(2));
        if timestamps {
            socket.set_tsval_generator(Some(|| 77));
        }
        let mut sockets = SocketSet::new(vec![]);
        let handle = sockets.add(socket);
        let mut cfg = config(CARD_MAC, CARD_IP, CARD_IP6);
        cfg.mtu = mtu;
        let mut card = Endpoint::new(&cfg, seed);
        card.tcp.listen(4420).expect("first listener");
        let mut host = Host::new();
        host.configure(&HostConfig {
            mac: CARD_MAC,
            ipv4: CARD_IP,
            ipv4_prefix: 24,
            ipv6: CARD_IP6,
            ..HostConfig::default()
        });
        let (to_card, to_peer) = (Wire::new(faults, seed + 1), Wire::new(faults, seed + 2));
        let now = Micros(1_000);
        Self {
            now,
            card,
            host,
            to_card,
            to_peer,
            phy,
            iface,
            sockets,
            handle,
            sent: 0,
            received: 0,
        }
    }

    fn step(&mut self) {
        while let Some(frame) = self.to_card.take(self.now) {
            let Some(desc) = self.card.card.receive(&frame, self.now) else {
                continue;
            };
            if desc.flags.has(RxFlags::TCP) {
                self.card.tcp.input(self.now, &desc, &mut self.card.card);
            } else {
                let _ = self.host.input(self.now, &desc, &mut self.card.card);
            }
        }
        self.card.run(self.now);
        for frame in self.card.card.sent.drain(..) {
            self.to_peer.put(frame, self.now);
        }
        while let Some(frame) = self.to_peer.take(self.now) {
            self.phy.received.push_back(frame);
        }
        let clock = Instant::from_micros(self.now.0 as i64);
        self.iface.poll(clock, &mut self.phy, &mut self.sockets);
        for frame in self.phy.sent.drain(..) {
            self.to_card.put(frame, self.now);
        }
        self.now = self.now.after(100);
    }

    /// smoltcp sends up to `until` bytes of the pattern and checks what it receives.
    fn exchange(&mut self, until: u64) {
        let (sent, received) = (&mut self.sent, &mut self.received);
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        if socket.can_send() && *sent < until {
            let chunk: Vec<u8> = (*sent..until.min(*sent + 20_000)).map(pattern).collect();
            *sent += socket.send_slice(&chunk).expect("can send") as u64;
        }
        while socket.can_recv() {
            socket
                .recv(|bytes| {
                    for (i, byte) in bytes.iter().enumerate() {
                        assert_eq!(*byte, pattern(*received + i as u64));
                    }
                    *received += bytes.len() as u64;
                    (bytes.len(), ())
                })
                .expect("can receive");
        }
    }

    fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    fn connect(&mut self, v6: bool) {
        let to: IpAddress = if v6 {
            IpAddress::Ipv6(CARD_IP6.into())
        } else {
            IpAddress::Ipv4(CARD_IP.into())
        };
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        socket
            .connect(self.iface.context(), (to, 4420), 50_000)
            .expect("connects");
    }
}

/// smoltcp connects, sends `bytes`, and gets them back.
fn echo(faults: Faults, seed: u64, bytes: u64, v6: bool, timestamps: bool, mtu: u16) {
    let mut net = Net::new(faults, seed, v6, timestamps, mtu);
    net.card.on_accept = || Flow {
        echo: true,
        ..Flow::default()
    };
    net.connect(v6);
    while net.received < bytes {
        net.exchange(bytes);
        net.step();
        let state = net.socket().state();
        assert!(
            net.now.0 < 300_000_000,
            "seed {seed}: stuck at {} in {state}: {:?}",
            net.received,
            net.card.tcp.stats()
        );
    }
    net.socket().close();
    let open = |net: &Net| net.card.flows.values().any(|f| f.closed.is_none());
    while open(&net) {
        net.step();
        assert!(
            net.now.0 < 400_000_000,
            "seed {seed}: not closed: {:?}",
            net.card.tcp.stats()
        );
    }
    assert!(
        net.card
            .flows
            .values()
            .all(|f| f.closed == Some(CloseReason::Done)),
        "seed {seed}"
    );
    net.now = net.now.after(30_000_000);
    net.card.assert_clean(net.now);
}

#[test]
fn smoltcp_exchanges_bulk_data_on_a_clean_link() {
    for v6 in [false, true] {
        for timestamps in [false, true] {
            echo(CLEAN, 2, 1_000_000, v6, timestamps, 1500);
        }
    }
    echo(CLEAN, 3, 1_000_000, false, true, 9000);
}

#[test]
fn smoltcp_gets_through_a_rough_link() {
    for seed in 0..24 {
        echo(ROUGH, seed * 7, 80_000, seed % 2 == 0, seed % 3 == 0, 1500);
    }
}

#[test]
fn smoltcp_is_connected_to_from_the_card() {
    for seed in 50..60 {
        let mut net = Net::new(
            if seed == 50 { CLEAN } else { ROUGH },
            seed,
            false,
            false,
            1500,
        );
        net.socket().listen(9000).expect("listens");
        let peer = (PEER_IP.into(), 9000);
        let (now, endpoint) = (net.now, &mut net.card);
        let id = endpoint
            .tcp
            .connect(now, peer, 700, PEER_MAC, &mut endpoint.card)
            .expect("room");
        let flow = Flow {
            to_send: 100_000,
            close_after: true,
            ..Flow::default()
        };
        net.card.flows.insert(id, flow);
        while net.card.flows[&id].closed.is_none() {
            net.exchange(100_000);
            if net.sent == 100_000 && net.received == 100_000 {
                net.socket().close();
            }
            net.step();
            assert!(
                net.now.0 < 300_000_000,
                "seed {seed}: {:?}",
                net.card.tcp.stats()
            );
        }
        let flow = &net.card.flows[&id];
        assert_eq!(
            (flow.closed, flow.received),
            (Some(CloseReason::Done), 100_000),
            "seed {seed}"
        );
    }
}

#[test]
fn requests_and_answers_with_smoltcp_on_a_rough_link() {
    for seed in 70..76 {
        let mut net = Net::new(ROUGH, seed, false, true, 1500);
        net.card.on_accept = || Flow {
            echo: true,
            ..Flow::default()
        };
        net.connect(false);
        let mut asked = 0;
        while net.received < 20_000 {
            if net.received == asked {
                asked += 700;
            }
            net.exchange(asked);
            net.step();
            assert!(
                net.now.0 < 600_000_000,
                "seed {seed}: {:?}",
                net.card.tcp.stats()
            );
        }
        net.socket().abort();
        while net.card.flows.values().any(|f| f.closed.is_none()) {
            net.step();
            assert!(
                net.now.0 < 700_000_000,
                "seed {seed}: a lost RST is found out by keep-alive"
            );
        }
    }
}
