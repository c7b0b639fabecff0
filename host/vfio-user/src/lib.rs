//! vfio-user: PCIe devices of other processes over a UNIX socket.
//!
//! - [`wire`]: the messages, exactly as on the socket;
//! - [`version`]: what the two sides agree on first;
//! - [`frame`]: messages with their file descriptors, bounded before they are believed;
//! - [`memory`]: files that are mapped and shared with the other side; the only `unsafe` code;
//! - [`client`]: a device behind a socket, as the host driver sees it (`sluice-device`).
//!
//! The server is `sluice-pcie`. Source: the vfio-user protocol specification 0.0 as kept by libvfio-user and QEMU
//! (`docs/interop/vfio-user.rst`), and `linux/vfio.h` for the structures it borrows. Not here: twin sockets, migration,
//! dirty page logging, ioeventfds.

pub mod client;
pub mod frame;
pub mod memory;
pub mod version;
pub mod wire;
