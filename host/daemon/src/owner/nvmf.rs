//! Methods of the target: transports, subsystems, namespaces, listeners, hosts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};
use sluice_driver::config::{Config, Listener, Namespace, Port, Subsystem, raw};
use sluice_rpc::message::{RpcError, code};
use sluice_rpc::method::Params;
use sluice_wire::mgmt::transports;

use super::{Owner, all_transports, bare_subsystem, card_error, owned, refused, signed};
use crate::backend::Backends;

pub(super) const DISCOVERY: &str = "nqn.2014-08.org.nvmexpress.discovery";
/// CNTLIDs that SPDK's tools ask for unless told otherwise.
const CNTLIDS: (u64, u64) = (1, 0xffef);

impl<B: Backends> Owner<B> {
    pub(super) fn create_transport(&mut self, params: &Params) -> Result<Value, RpcError> {
        let name = transport(params.need("trtype"))?.0;
        if self.transports.iter().any(|t| t == name) {
            return Err(RpcError::internal(format!(
                "Transport type '{name}' already exists"
            )));
        }
        self.change(|owner| {
            owner.transports.push(name.into());
            Ok(json!(true))
        })
    }

    pub(super) fn get_transports(&mut self, params: &Params) -> Result<Value, RpcError> {
        let info = self.rig.card().info().clone();
        let one = params
            .text("trtype")
            .map(transport)
            .transpose()?
            .map(|(name, _)| name);
        if let Some(name) = one.filter(|n| self.transports.iter().all(|t| t != n)) {
            let message =
                format!("there is no transport {name} yet; nvmf_create_transport makes it");
            return Err(RpcError::new(code::ENODEV, message));
        }
        let wanted = self
            .transports
            .iter()
            .filter(|t| one.is_none_or(|one| one == *t));
        Ok(wanted
            .map(|name| {
                json!({
                    "trtype": name,
                    "max_queue_depth": info.max_queue_entries,
                    "max_io_qpairs_per_ctrlr": info.max_io_queues,
                    "in_capsule_data_size": if name == "RDMA" { 16_384 } else { 8192 },
                    "max_io_size": info.max_transfer,
                    "io_unit_size": 4096,
                    "max_aq_depth": 32,
                })
            })
            .collect())
    }

    pub(super) fn create_subsystem(&mut self, params: &Params) -> Result<Value, RpcError> {
        let range = (
            params.number("min_cntlid").unwrap_or(CNTLIDS.0),
            params.number("max_cntlid").unwrap_or(CNTLIDS.1),
        );
        if range != CNTLIDS {
            let message = format!(
                "min_cntlid, max_cntlid: {} and {} wanted, since the card numbers controllers itself; {} and {} came; leave them out",
                CNTLIDS.0, CNTLIDS.1, range.0, range.1
            );
            return Err(RpcError::params(message));
        }
        let spec = raw::Subsystem {
            serial: owned(params.text("serial_number")),
            model: owned(params.text("model_number")),
            allow_any_host: params.flag("allow_any_host"),
            ..bare_subsystem(params.need("nqn"))
        };
        self.change(|owner| {
            owner
                .rig
                .add_subsystem(spec)
                .map(|()| json!(true))
                .map_err(refused)
        })
    }

    pub(super) fn delete_subsystem(&mut self, params: &Params) -> Result<Value, RpcError> {
        let nqn = params.need("nqn");
        self.change(|owner| {
            owner.rig.remove_subsystem(nqn).map_err(refused)?;
            owner.absent.namespaces.retain(|(of, _)| of != nqn);
            Ok(json!(true))
        })
    }

    pub(super) fn add_ns(&mut self, params: &Params) -> Result<Value, RpcError> {
        let (nqn, ns) = (params.need("nqn"), params.object("namespace"));
        let (ssd, ssd_nsid) = self.bdev(ns.need("bdev_name"))?;
        let nsid = signed(ns.number("nsid")).unwrap_or(0);
        let spec = raw::Namespace {
            nsid: if nsid == 0 { self.free_nsid(nqn) } else { nsid },
            ssd,
            ssd_nsid: Some(ssd_nsid.into()),
            first_block: signed(ns.number("first_block")),
            blocks: signed(ns.number("num_blocks")),
            uuid: owned(ns.text("uuid")),
            nguid: owned(ns.text("nguid")),
            eui64: owned(ns.text("eui64")),
            read_only: ns.flag("read_only"),
            ana_group: signed(ns.number("anagrpid")).filter(|g| *g != 0),
        };
        if self
            .absent
            .namespaces
            .iter()
            .any(|(of, ns)| of == nqn && ns.nsid == spec.nsid)
        {
            let message = format!(
                "nsid: {} belongs to a namespace whose SSD is absent; remove that first",
                spec.nsid
            );
            return Err(RpcError::params(message));
        }
        self.change(|owner| {
            owner
                .rig
                .add_namespace(nqn, spec)
                .map(|nsid| json!(nsid))
                .map_err(refused)
        })
    }

    pub(super) fn remove_ns(&mut self, params: &Params) -> Result<Value, RpcError> {
        let (nqn, nsid) = (params.need("nqn"), params.number("nsid").unwrap_or(0));
        self.change(|owner| {
            let before = owner.absent.namespaces.len();
            owner
                .absent
                .namespaces
                .retain(|(of, ns)| of != nqn || ns.nsid as u64 != nsid);
            if owner.absent.namespaces.len() == before {
                owner
                    .rig
                    .remove_namespace(nqn, nsid as u32)
                    .map_err(refused)?;
            }
            Ok(json!(true))
        })
    }

    pub(super) fn add_listener(&mut self, params: &Params) -> Result<Value, RpcError> {
        let (nqn, (port, name, mask)) = (params.need("nqn"), self.listen_address(params)?);
        self.subsystem(nqn)?;
        if self.transports.iter().all(|t| t != name) {
            return Err(RpcError::params(format!(
                "there is no transport {name} yet; call nvmf_create_transport first"
            )));
        }
        self.change(|owner| {
            owner
                .rig
                .add_listener(nqn, &port, mask)
                .map(|()| json!(true))
                .map_err(refused)
        })
    }

    pub(super) fn remove_listener(&mut self, params: &Params) -> Result<Value, RpcError> {
        let (nqn, (port, _, mask)) = (params.need("nqn"), self.listen_address(params)?);
        self.change(|owner| {
            owner
                .rig
                .remove_listener(nqn, &port, mask)
                .map(|()| json!(true))
                .map_err(refused)
        })
    }

    pub(super) fn get_listeners(&mut self, params: &Params) -> Result<Value, RpcError> {
        let subsystem = self.subsystem(params.need("nqn"))?;
        let addresses = addresses(self.rig.config(), subsystem);
        Ok(addresses
            .into_iter()
            .map(|a| json!({ "address": a }))
            .collect())
    }

    pub(super) fn add_host(&mut self, params: &Params) -> Result<Value, RpcError> {
        let (nqn, host) = (params.need("nqn"), params.need("host"));
        self.change(|owner| {
            owner
                .rig
                .add_host(nqn, host)
                .map(|()| json!(true))
                .map_err(refused)
        })
    }

    pub(super) fn remove_host(&mut self, params: &Params) -> Result<Value, RpcError> {
        let (nqn, host) = (params.need("nqn"), params.need("host"));
        self.change(|owner| {
            owner
                .rig
                .remove_host(nqn, host)
                .map(|()| json!(true))
                .map_err(refused)
        })
    }

    pub(super) fn allow_any_host(&mut self, params: &Params) -> Result<Value, RpcError> {
        let (nqn, allow) = (
            params.need("nqn"),
            params.flag("allow_any_host").unwrap_or(false),
        );
        self.change(|owner| {
            owner
                .rig
                .allow_any_host(nqn, allow)
                .map(|()| json!(true))
                .map_err(refused)
        })
    }

    pub(super) fn get_subsystems(&mut self, params: &Params) -> Result<Value, RpcError> {
        let config = self.rig.config();
        let discovery = json!({
            "nqn": DISCOVERY,
            "subtype": "Discovery",
            "listen_addresses": [],
            "allow_any_host": true,
            "hosts": [],
        });
        match params.text("nqn") {
            Some(DISCOVERY) => Ok(json!([discovery])),
            Some(nqn) => Ok(json!([self.dump(self.subsystem(nqn)?)])),
            None => Ok(std::iter::once(discovery)
                .chain(config.subsystems.iter().map(|s| self.dump(s)))
                .collect()),
        }
    }

    pub(super) fn get_stats(&mut self) -> Result<Value, RpcError> {
        let cores = u32::from(self.rig.card().info().cores);
        self.tallies.update(&mut self.rig).map_err(card_error)?;
        let mut groups = Vec::new();
        for core in 1..cores {
            let open = self.tallies.connections().filter(|(at, _)| *at == core);
            let queues: Vec<u16> = open
                .filter_map(|(_, c)| c.who.as_ref().map(|w| w.queue))
                .collect();
            let admin = queues.iter().filter(|queue| **queue == 0).count();
            let c = self.rig.card().counters(core).map_err(card_error)?;
            let done = c.reads.get() + c.writes.get() + c.other_io.get();
            let transport = |name: &String| match name.as_str() {
                "RDMA" => json!({
                    "trtype": name,
                    "pending_data_buffer": c.rdma_not_ready.get(),
                    "devices": [{
                        "name": "sluice",
                        "requests": c.rdma_messages.get(),
                        "resent": c.rdma_resent.get(),
                        "timeouts": c.rdma_timeouts.get(),
                        "failed": c.rdma_failed.get(),
                    }],
                }),
                _ => json!({ "trtype": name }),
            };
            let transports: Vec<_> = self.transports.iter().map(transport).collect();
            groups.push(json!({
                "name": format!("sluice_core_{core:03}"),
                // A core does not tell admin queues from others.
                "admin_qpairs": 0,
                "io_qpairs": c.accepted.get(),
                "current_admin_qpairs": admin,
                "current_io_qpairs": queues.len() - admin,
                "pending_bdev_io": c.waits.get(),
                "completed_nvme_io": done,
                "transports": transports,
            }));
        }
        Ok(json!({ "tick_rate": 1_000_000, "poll_groups": groups }))
    }

    /// The calls that lead here from nothing.
    pub(super) fn get_config(&mut self, params: &Params) -> Result<Value, RpcError> {
        let name = params.need("name");
        let state = self.state().config;
        let call = |method: &str, params: Value| json!({ "method": method, "params": without_null(params) });
        let mut calls = Vec::new();
        match name {
            "bdev" => calls.extend(state.ssds.unwrap_or_default().iter().map(|ssd| {
                let (kind, address) = super::bdev::spdk_address(ssd.pci.as_deref());
                call("bdev_nvme_attach_controller",
                    json!({ "name": ssd.name, "trtype": kind, "traddr": address, "timeout_ms": ssd.timeout_ms }))
            })),
            "nvmf" => {
                calls.extend(state.ports.iter().flatten().map(|p| call("sluice_set_port", json!(p))));
                calls.extend(self.transports.iter().map(|t| call("nvmf_create_transport", json!({ "trtype": t }))));
                for s in &state.subsystems {
                    calls.push(call("nvmf_create_subsystem", json!({
                        "nqn": s.nqn, "serial_number": s.serial, "model_number": s.model, "allow_any_host": s.allow_any_host,
                    })));
                    calls.extend(s.hosts.iter().flatten().map(|host| {
                        call("nvmf_subsystem_add_host", json!({ "nqn": s.nqn, "host": host }))
                    }));
                    calls.extend(s.namespaces.iter().map(|ns| call("nvmf_subsystem_add_ns", json!({
                        "nqn": s.nqn,
                        "namespace": {
                            "nsid": ns.nsid, "bdev_name": format!("{}n{}", ns.ssd, ns.ssd_nsid.unwrap_or(1)),
                            "nguid": ns.nguid, "eui64": ns.eui64, "uuid": ns.uuid, "anagrpid": ns.ana_group,
                            "first_block": ns.first_block.filter(|b| *b != 0), "num_blocks": ns.blocks,
                            "read_only": ns.read_only.filter(|r| *r),
                        },
                    }))));
                    if let Ok(subsystem) = self.subsystem(&s.nqn) {
                        calls.extend(listens(self.rig.config(), subsystem).into_iter().map(|address| {
                            call("nvmf_subsystem_add_listener", json!({ "nqn": s.nqn, "listen_address": address }))
                        }));
                    }
                }
            }
            other => {
                return Err(RpcError::params(format!("name: \"bdev\" or \"nvmf\" wanted, {other:?} came")));
            }
        }
        Ok(Value::Array(calls))
    }

    pub(super) fn subsystem(&self, nqn: &str) -> Result<&Subsystem, RpcError> {
        let all = &self.rig.config().subsystems;
        let found = all.iter().find(|s| s.nqn == nqn);
        found.ok_or_else(|| {
            let have: Vec<_> = all.iter().map(|s| s.nqn.as_str()).collect();
            let have = if have.is_empty() {
                "none".into()
            } else {
                have.join(", ")
            };
            RpcError::params(format!(
                "Subsystem with NQN '{nqn}' not found; there are: {have}"
            ))
        })
    }

    /// The lowest NSID that neither a namespace nor an absent one has.
    fn free_nsid(&self, nqn: &str) -> i64 {
        let config = self.rig.config();
        let there = config
            .subsystems
            .iter()
            .filter(|s| s.nqn == nqn)
            .flat_map(|s| &s.namespaces);
        let there: Vec<i64> = there.map(|n| n.nsid.into()).collect();
        let absent = |nsid: i64| {
            self.absent
                .namespaces
                .iter()
                .any(|(of, n)| of == nqn && n.nsid == nsid)
        };
        (1..)
            .find(|nsid| !there.contains(nsid) && !absent(*nsid))
            .expect("they are few")
    }

    /// Port, transport and mask that a call's listen address names.
    fn listen_address(&self, params: &Params) -> Result<(String, &'static str, u32), RpcError> {
        let address = params.object("listen_address");
        let (name, mask) = transport(address.need("trtype"))?;
        let text = address.need("traddr");
        let ip: IpAddr = text.parse().map_err(|_| {
            RpcError::params(format!(
                "listen_address.traddr: an IP address wanted, {text:?} came"
            ))
        })?;
        let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
        if let Some(other) = address
            .text("adrfam")
            .filter(|f| !f.eq_ignore_ascii_case(family))
        {
            let message =
                format!("listen_address.adrfam: {family:?} wanted for {ip}, {other:?} came");
            return Err(RpcError::params(message));
        }
        let ports = &self.rig.config().ports;
        let has = |p: &&Port| {
            p.ipv4.is_some_and(|(a, _)| ip == Ipv4Addr::from(a))
                || p.ipv6.is_some_and(|(a, _)| ip == Ipv6Addr::from(a))
        };
        let port = ports.iter().find(has).ok_or_else(|| {
            let have: Vec<_> = ports.iter().flat_map(ips).map(|(_, ip)| ip).collect();
            let have = if have.is_empty() {
                "none yet (sluice_set_port)".into()
            } else {
                have.join(", ")
            };
            RpcError::params(format!(
                "listen_address.traddr: an address of a port of the card wanted ({have}), {ip} came"
            ))
        })?;
        let want = service(port, mask);
        if want == 0 {
            return Err(RpcError::params(format!(
                "port {} has no NVMe/RDMA (its rdma_port is 0)",
                port.name
            )));
        }
        if let Some(other) = address.text("trsvcid").filter(|t| *t != want.to_string()) {
            let message = format!(
                "listen_address.trsvcid: \"{want}\" wanted, the {name} port number of {}, {other:?} came; sluice_set_port can change it",
                port.name
            );
            return Err(RpcError::params(message));
        }
        Ok((port.name.clone(), name, mask))
    }

    fn dump(&self, s: &Subsystem) -> Value {
        let config = self.rig.config();
        let hosts: Vec<_> = s.hosts.iter().map(|h| json!({ "nqn": h })).collect();
        let namespaces: Vec<_> = s.namespaces.iter().map(|n| namespace(config, n)).collect();
        json!({
            "nqn": s.nqn,
            "subtype": "NVMe",
            "listen_addresses": addresses(config, s),
            "allow_any_host": s.allow_any_host,
            "hosts": hosts,
            "serial_number": s.serial,
            "model_number": s.model,
            "min_cntlid": CNTLIDS.0,
            "max_cntlid": CNTLIDS.1,
            "namespaces": namespaces,
        })
    }
}

/// Name and mask of a transport, whatever the case.
fn transport(text: &str) -> Result<(&'static str, u32), RpcError> {
    match text.to_ascii_uppercase().as_str() {
        "TCP" => Ok(("TCP", transports::TCP)),
        "RDMA" => Ok(("RDMA", transports::RDMA)),
        _ => Err(RpcError::params(format!(
            "Invalid transport type '{text}': {} wanted",
            all_transports().join(" or ")
        ))),
    }
}

fn namespace(config: &Config, n: &Namespace) -> Value {
    let name = format!("{}n{}", config.ssds[n.ssd].name, n.ssd_nsid);
    let mut value = json!({
        "nsid": n.nsid,
        "bdev_name": name,
        "name": name,
        "nguid": hex(&n.nguid).to_uppercase(),
        "uuid": uuid(&n.uuid),
        "anagrpid": n.ana_group,
    });
    if n.eui64 != [0; 8] {
        value["eui64"] = json!(hex(&n.eui64).to_uppercase());
    }
    if n.first_block != 0 || n.blocks.is_some() {
        value["first_block"] = json!(n.first_block);
        value["num_blocks"] = json!(n.blocks);
    }
    if n.read_only {
        value["read_only"] = json!(true);
    }
    value
}

/// Where a subsystem is reachable, in the form of SPDK.
pub(super) fn addresses(config: &Config, subsystem: &Subsystem) -> Vec<Value> {
    let mut all = Vec::new();
    for (port, name, mask) in per_transport(config, subsystem) {
        for (family, ip) in ips(port) {
            all.push(address(name, family, &ip, service(port, mask)));
        }
    }
    all
}

/// The same with one address for each listener: adding it adds the port's other one.
fn listens(config: &Config, subsystem: &Subsystem) -> Vec<Value> {
    let each = per_transport(config, subsystem).into_iter();
    each.filter_map(|(port, name, mask)| {
        let (family, ip) = ips(port).into_iter().next()?;
        Some(address(name, family, &ip, service(port, mask)))
    })
    .collect()
}

fn per_transport<'a>(
    config: &'a Config,
    subsystem: &Subsystem,
) -> Vec<(&'a Port, &'static str, u32)> {
    let mut all = Vec::new();
    for listener @ Listener { port, .. } in &subsystem.listeners {
        let port = &config.ports[*port];
        for (name, mask) in [("TCP", transports::TCP), ("RDMA", transports::RDMA)] {
            if listener.mask() & mask != 0 && service(port, mask) != 0 {
                all.push((port, name, mask));
            }
        }
    }
    all
}

pub(super) fn address(name: &str, family: &str, ip: &str, service: u16) -> Value {
    json!({ "trtype": name, "adrfam": family, "traddr": ip, "trsvcid": service.to_string() })
}

pub(super) fn ips(port: &Port) -> Vec<(&'static str, String)> {
    let v4 = port
        .ipv4
        .map(|(a, _)| ("IPv4", Ipv4Addr::from(a).to_string()));
    let v6 = port
        .ipv6
        .map(|(a, _)| ("IPv6", Ipv6Addr::from(a).to_string()));
    v4.into_iter().chain(v6).collect()
}

/// The port number of a transport.
pub(super) fn service(port: &Port, mask: u32) -> u16 {
    if mask == transports::RDMA {
        port.rdma_port
    } else {
        port.io_port
    }
}

/// What is null is left out.
fn without_null(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let kept = object.into_iter().filter(|(_, v)| !v.is_null());
            kept.map(|(k, v)| (k, without_null(v))).collect()
        }
        other => other,
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// 8-4-4-4-12.
pub(super) fn uuid(id: &[u8; 16]) -> String {
    [&id[..4], &id[4..6], &id[6..8], &id[8..10], &id[10..]]
        .map(hex)
        .join("-")
}
