//! The host's TCP/IP: smoltcp over two queues of frames, in simulated time.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
};

use smoltcp::{
    iface::{Config as IfaceConfig, Interface, SocketHandle, SocketSet},
    phy::{self, Device, DeviceCapabilities, Medium},
    socket::tcp,
    time::{Duration, Instant},
    wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr},
};

use super::Config;
use crate::fabric::Clock;

/// Card clocks per microsecond.
pub(crate) const CLOCKS_PER_MICRO: u64 = 250;

/// smoltcp's time at `now`.
pub(crate) fn instant(now: Clock) -> Instant {
    Instant::from_micros((now / CLOCKS_PER_MICRO) as i64)
}

/// The network interface card.
pub(crate) struct Wire {
    pub(crate) rx: VecDeque<Vec<u8>>,
    pub(crate) tx: Vec<Vec<u8>>,
    mtu: usize,
}

impl Wire {
    pub(crate) fn new(mtu: u16) -> Self {
        Self {
            rx: VecDeque::new(),
            tx: vec![],
            mtu: usize::from(mtu),
        }
    }
}

impl Device for Wire {
    type RxToken<'a> = RxToken;
    type TxToken<'a> = TxToken<'a>;

    fn capabilities(&self) -> DeviceCapabilities {
        let mut caps = DeviceCapabilities::default();
        caps.medium = Medium::Ethernet;
        caps.max_transmission_unit = self.mtu + 14;
        caps
    }

    fn receive(&mut self, _: Instant) -> Option<(RxToken, TxToken<'_>)> {
        Some((RxToken(self.rx.pop_front()?), TxToken(&mut self.tx)))
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken<'_>> {
        Some(TxToken(&mut self.tx))
    }
}

pub(crate) struct RxToken(Vec<u8>);

impl phy::RxToken for RxToken {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

pub(crate) struct TxToken<'a>(&'a mut Vec<Vec<u8>>);

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.push(frame);
        result
    }
}

/// The stack: one interface and its TCP connections.
pub(crate) struct Net {
    iface: Interface,
    sockets: SocketSet<'static>,
    pub(crate) wire: Wire,
    buffer: usize,
    ack_delay: Option<Duration>,
    next_port: u16,
}

impl Net {
    pub(crate) fn new(config: &Config) -> Self {
        let mut wire = Wire::new(config.mtu);
        let mut iface_config =
            IfaceConfig::new(HardwareAddress::Ethernet(EthernetAddress(config.mac)));
        iface_config.random_seed = config.seed;
        let mut iface = Interface::new(iface_config, &mut wire, Instant::ZERO);
        iface.update_ip_addrs(|addresses| {
            let cidr = IpCidr::new(IpAddress::from(config.ip), config.prefix);
            addresses.push(cidr).expect("room for one address");
        });
        if let Some(gateway) = config.gateway {
            iface
                .routes_mut()
                .add_default_ipv4_route(gateway)
                .expect("room for one route");
        }
        Self {
            iface,
            sockets: SocketSet::new(vec![]),
            wire,
            buffer: config.tcp_buffer,
            ack_delay: config.ack_delay_us.map(Duration::from_micros),
            next_port: 49152 + (config.seed % 8192) as u16,
        }
    }

    pub(crate) fn poll(&mut self, now: Clock) {
        self.iface
            .poll(instant(now), &mut self.wire, &mut self.sockets);
    }

    /// When the stack wants to be polled next.
    pub(crate) fn next_poll(&mut self, now: Clock) -> Option<Clock> {
        let at = self.iface.poll_at(instant(now), &self.sockets)?;
        Some((at.total_micros().max(0) as u64 * CLOCKS_PER_MICRO).max(now))
    }

    pub(crate) fn connect(&mut self, target: SocketAddr) -> Result<SocketHandle, String> {
        let buffer = || tcp::SocketBuffer::new(vec![0; self.buffer]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(self.ack_delay);
        let address: IpAddr = target.ip();
        let port = self.next_port;
        self.next_port = if port == u16::MAX { 49152 } else { port + 1 };
        socket
            .connect(
                self.iface.context(),
                (IpAddress::from(address), target.port()),
                port,
            )
            .map_err(|error| error.to_string())?;
        Ok(self.sockets.add(socket))
    }

    pub(crate) fn socket(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }
}

/// A byte stream over one connection: what is still to be sent, and whether the peer is there.
pub(crate) struct Stream {
    handle: SocketHandle,
    outgoing: VecDeque<u8>,
    /// The connection was established once.
    pub(crate) opened: bool,
    finishing: bool,
}

impl Stream {
    pub(crate) fn new(handle: SocketHandle) -> Self {
        Self {
            handle,
            outgoing: VecDeque::new(),
            opened: false,
            finishing: false,
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.outgoing.extend(bytes);
    }

    /// FIN after everything queued.
    pub(crate) fn finish(&mut self) {
        self.finishing = true;
    }

    /// RST now.
    pub(crate) fn abort(&mut self, net: &mut Net) {
        self.outgoing.clear();
        net.socket(self.handle).abort();
    }

    /// Moves bytes both ways; received ones are appended to `incoming`. True if anything moved.
    pub(crate) fn advance(&mut self, net: &mut Net, incoming: &mut Vec<u8>) -> bool {
        let socket = net.socket(self.handle);
        self.opened |= socket.may_send();
        let mut moved = false;
        while socket.can_recv() {
            let got = socket.recv(|bytes| {
                incoming.extend_from_slice(bytes);
                (bytes.len(), bytes.len())
            });
            moved |= got.is_ok_and(|n| n > 0);
        }
        while socket.can_send() && !self.outgoing.is_empty() {
            let (front, _) = self.outgoing.as_slices();
            let Ok(sent) = socket.send_slice(front) else {
                break;
            };
            self.outgoing.drain(..sent);
            moved |= sent > 0;
        }
        if self.finishing && self.outgoing.is_empty() {
            socket.close();
            self.finishing = false;
            moved = true;
        }
        moved
    }

    /// The peer will send nothing more, or the connection is gone.
    pub(crate) fn ended(&self, net: &mut Net) -> Option<&'static str> {
        let socket = net.socket(self.handle);
        match (socket.state(), self.opened) {
            (tcp::State::Closed, false) => Some("the target refused the connection"),
            (tcp::State::Closed | tcp::State::TimeWait, true) => Some("the connection is closed"),
            (tcp::State::CloseWait, true) if !socket.can_recv() => {
                Some("the target closed the connection")
            }
            _ => None,
        }
    }

    /// All bytes were handed to TCP and acknowledged.
    pub(crate) fn drained(&self, net: &mut Net) -> bool {
        self.outgoing.is_empty() && net.socket(self.handle).send_queue() == 0
    }
}
