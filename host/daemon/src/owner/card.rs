//! Methods of the card: what it is, its registers, its log, its ports; and the daemon's own state.

use serde_json::{Value, json};
use sluice_device::Device;
use sluice_driver::config::raw;
use sluice_regs::{Field, Register, bar0_regs};
use sluice_rpc::message::RpcError;
use sluice_rpc::method::Params;

use super::{Owner, card_error, device_name, owned, refused, signed};
use crate::backend::Backends;
use crate::{VERSION, nvmet};

/// Registers of a table beyond this are left out of a dump: the MSI-X table has its place in other tools.
const TABLE: u32 = 128;

impl<B: Backends> Owner<B> {
    pub(super) fn status(&mut self) -> Value {
        let config = self.rig.config();
        let mut ssds = Vec::new();
        for (index, ssd) in config.ssds.iter().enumerate() {
            let state = if self.rig.serves(index) {
                "serving"
            } else {
                "lost"
            };
            ssds.push(json!({ "name": ssd.name, "address": ssd.pci, "state": state }));
        }
        for ssd in &self.absent.ssds {
            ssds.push(json!({ "name": ssd.name, "address": ssd.pci, "state": "absent" }));
        }
        let namespaces: usize = config.subsystems.iter().map(|s| s.namespaces.len()).sum();
        let absent: Vec<_> = (self.absent.namespaces.iter())
            .map(|(nqn, ns)| json!({ "nqn": nqn, "nsid": ns.nsid, "ssd": ns.ssd }))
            .collect();
        json!({
            "version": VERSION,
            "pid": std::process::id(),
            "uptime_seconds": self.started.elapsed().as_secs(),
            "state_file": {
                "path": self.store.path().display().to_string(),
                "generation": self.store.generation(),
                "saved": !self.unsaved,
            },
            "card": {
                "name": device_name(&mut self.rig),
                "firmware": self.rig.card().info().firmware,
                "failed": self.failed,
            },
            "ssds": ssds,
            "ports": self.rig.config().ports.len(),
            "subsystems": self.rig.config().subsystems.len(),
            "namespaces": namespaces,
            "absent_namespaces": absent,
            "transports": self.transports,
        })
    }

    pub(super) fn card_info(&mut self) -> Value {
        let name = device_name(&mut self.rig);
        let info = self.rig.card().info();
        json!({
            "name": name,
            "firmware": info.firmware,
            "cores": info.cores,
            "max_ssds": info.max_ssds,
            "max_subsystems": info.max_subsystems,
            "max_namespaces": info.max_namespaces,
            "max_hosts": info.max_hosts,
            "max_ports": info.max_ports,
            "max_controllers": info.max_controllers,
            "max_connections_per_core": info.max_connections,
            "max_io_queues": info.max_io_queues,
            "max_queue_entries": info.max_queue_entries,
            "max_transfer": info.max_transfer,
        })
    }

    pub(super) fn registers(&mut self) -> Result<Value, RpcError> {
        let device = self.rig.card().device();
        let read = |at: u32| {
            let bar = device.bar(0).map_err(|e| card_error(e.into()))?;
            bar.read32(at.into()).map_err(|e| card_error(e.into()))
        };
        let mut all = Vec::new();
        for register in bar0_regs::REGISTERS.iter().filter(|r| r.readable) {
            for (index, at) in instances(register) {
                let low = u64::from(read(at)?);
                let high = if register.bytes == 8 {
                    u64::from(read(at + 4)?)
                } else {
                    0
                };
                all.push(shown(register, &index, at, high << 32 | low));
            }
        }
        Ok(Value::Array(all))
    }

    pub(super) fn read_log(&mut self, params: &Params) -> Value {
        self.log.take(self.rig.card());
        let from = params.number("from").unwrap_or(0);
        self.log.lines(from, params.number("max").unwrap_or(1000))
    }

    pub(super) fn ports(&mut self) -> Value {
        let file = self.rig.config().to_raw();
        json!(file.ports.unwrap_or_default())
    }

    pub(super) fn set_port(&mut self, params: &Params) -> Result<Value, RpcError> {
        let number = |name: &str| signed(params.number(name));
        let spec = raw::Port {
            name: owned(params.text("name")),
            mac: params.need("mac").into(),
            ipv4: owned(params.text("ipv4")),
            ipv4_gateway: owned(params.text("ipv4_gateway")),
            ipv6: owned(params.text("ipv6")),
            mtu: number("mtu"),
            vlan: number("vlan"),
            io_port: number("io_port"),
            discovery_port: number("discovery_port"),
            rdma_port: number("rdma_port"),
        };
        self.change(|owner| {
            owner
                .rig
                .set_port(spec)
                .map(|()| json!(true))
                .map_err(refused)
        })
    }

    pub(super) fn import_nvmet(&mut self, params: &Params) -> Result<Value, RpcError> {
        let config = params.value("config").cloned().unwrap_or_default();
        let devices = params
            .value("devices")
            .cloned()
            .unwrap_or_else(|| json!({}));
        let plan = nvmet::import(&config, &devices, self.rig.config())
            .map_err(|e| RpcError::params(e.to_string()))?;
        self.change(|owner| {
            for transport in &plan.transports {
                if !owner.transports.contains(transport) {
                    owner.transports.push(transport.clone());
                }
            }
            let mut added = Vec::new();
            for subsystem in plan.subsystems {
                let nqn = subsystem.nqn.clone();
                owner.rig.add_subsystem(subsystem).map_err(|e| {
                    let done = if added.is_empty() {
                        "nothing was added".into()
                    } else {
                        format!("added: {}", added.join(", "))
                    };
                    let error = refused(e);
                    RpcError::new(error.code, format!("{nqn}: {} ({done})", error.message))
                })?;
                added.push(nqn);
            }
            Ok(json!({ "added": added, "left_out": plan.left_out }))
        })
    }
}

/// Index text and byte offset of each instance.
fn instances(register: &Register) -> Vec<(String, u32)> {
    let mut all = vec![(String::new(), register.offset)];
    for (count, stride) in register.arrays {
        all = (all.iter())
            .flat_map(|(index, at)| {
                (0..(*count).min(TABLE)).map(move |i| (format!("{index}[{i}]"), at + i * stride))
            })
            .collect();
    }
    all
}

fn shown(register: &Register, index: &str, at: u32, value: u64) -> Value {
    let fields: Vec<_> = register.fields.iter().map(|f| field(f, value)).collect();
    json!({
        "name": format!("{}{index}", register.name),
        "offset": at,
        "bytes": register.bytes,
        "value": value,
        "about": register.about,
        "fields": fields,
    })
}

fn field(field: &Field, value: u64) -> Value {
    let width = u32::from(field.high - field.low) + 1;
    let mask = u64::MAX >> (64 - width);
    json!({ "name": field.name, "value": value >> field.low & mask, "high": field.high, "low": field.low, "about": field.about })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instance_of_a_table_of_tables_has_its_own_offset() {
        let register = Register {
            name: "X",
            about: "",
            offset: 0x100,
            bytes: 4,
            readable: true,
            arrays: &[(2, 0x40), (3, 8)],
            fields: &[],
        };
        let got = instances(&register);
        assert_eq!(got.len(), 6);
        assert_eq!(got[0], ("[0][0]".into(), 0x100));
        assert_eq!(got[5], ("[1][2]".into(), 0x150));
    }

    #[test]
    fn a_field_of_all_bits_and_one_in_the_middle_are_cut_out() {
        let whole = Field {
            name: "w",
            about: "",
            high: 63,
            low: 0,
        };
        let middle = Field {
            name: "m",
            about: "",
            high: 11,
            low: 8,
        };
        assert_eq!(field(&whole, u64::MAX)["value"], u64::MAX);
        assert_eq!(field(&middle, 0xABC)["value"], 0xA);
    }
}
