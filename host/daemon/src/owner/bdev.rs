//! Methods of SSDs and their namespaces, which SPDK calls controllers and block devices. A namespace `N` of SSD `x` is the
//! block device `xnN`.

use serde_json::{Value, json};
use sluice_driver::config::raw;
use sluice_driver::nvme::{SsdInfo, SsdNamespace};
use sluice_rpc::message::{RpcError, code};
use sluice_rpc::method::Params;
use sluice_wire::nvme::SmartLog;

use super::nvmf::{hex, uuid};
use super::{Owner, refused, signed};
use crate::backend::{Address, Backends, VFIO_USER};

/// Bits of ONCS (NVMe Base 2.1, figure 312).
mod oncs {
    pub const COMPARE: u16 = 1 << 0;
    pub const DATASET_MANAGEMENT: u16 = 1 << 2;
    pub const WRITE_ZEROES: u16 = 1 << 3;
}

impl<B: Backends> Owner<B> {
    pub(super) fn attach_controller(&mut self, params: &Params) -> Result<Value, RpcError> {
        let (name, address) = (params.need("name"), params.need("traddr"));
        let pci = match params.need("trtype").to_ascii_uppercase().as_str() {
            "PCIE" => address.to_string(),
            "VFIOUSER" => format!("{VFIO_USER}{address}"),
            other => {
                return Err(RpcError::params(format!(
                    "trtype: PCIe or VFIOUSER wanted, since the card serves local SSDs, {other:?} came"
                )));
            }
        };
        let there = self.rig.config().ssds.iter().any(|s| s.name == name);
        if there
            || self
                .absent
                .ssds
                .iter()
                .any(|s| s.name.as_deref() == Some(name))
        {
            let message = format!(
                "A controller named {name} already exists; detach it first, or choose another name"
            );
            return Err(RpcError::new(code::EALREADY, message));
        }
        let spec = raw::Ssd {
            name: Some(name.into()),
            pci: Some(pci),
            timeout_ms: signed(params.number("timeout_ms")),
        };
        self.change(|owner| {
            // Checked before anything is opened: opening resets the device.
            owner.check_ssd(&spec)?;
            let address = spec.pci.as_deref().map(Address::parse);
            let device = owner.backends.open(name, address.as_ref());
            let device = device.map_err(|e| RpcError::new(code::ENODEV, e))?;
            owner.rig.add_ssd(spec, device).map_err(refused)?;
            owner.register(name);
            Ok(owner.bdevs_of(name).map(|(bdev, _)| bdev).collect())
        })
    }

    pub(super) fn detach_controller(&mut self, params: &Params) -> Result<Value, RpcError> {
        let name = params.need("name");
        if let Some(at) = self
            .absent
            .ssds
            .iter()
            .position(|s| s.name.as_deref() == Some(name))
        {
            if let Some((nqn, ns)) = self.absent.namespaces.iter().find(|(_, ns)| ns.ssd == name) {
                let message = format!(
                    "SSD {name} is in use by namespace {} of {nqn}; remove that first",
                    ns.nsid
                );
                return Err(RpcError::new(code::EBUSY, message));
            }
            return self.change(|owner| {
                owner.absent.ssds.remove(at);
                Ok(json!(true))
            });
        }
        self.controller(name)?;
        self.change(|owner| {
            owner.unregister(name);
            // The device is closed with it.
            owner
                .rig
                .remove_ssd(name)
                .map(|_| json!(true))
                .map_err(|e| {
                    owner.register(name);
                    refused(e)
                })
        })
    }

    pub(super) fn reopen_ssd(&mut self, params: &Params) -> Result<Value, RpcError> {
        let name = params.need("name");
        if self
            .absent
            .ssds
            .iter()
            .any(|s| s.name.as_deref() == Some(name))
        {
            self.retry_absent();
            let absent = self
                .absent
                .ssds
                .iter()
                .any(|s| s.name.as_deref() == Some(name));
            return if absent {
                Err(RpcError::new(
                    code::ENODEV,
                    format!("SSD {name} still cannot be opened; the log says why"),
                ))
            } else {
                Ok(json!(true))
            };
        }
        let index = self.controller(name)?;
        if self.rig.serves(index) {
            return Err(RpcError::new(
                code::EEXIST,
                format!("SSD {name} serves; there is nothing to bring back"),
            ));
        }
        let address = self.rig.config().ssds[index]
            .pci
            .as_deref()
            .map(Address::parse);
        let device = self.backends.open(name, address.as_ref());
        let device = device.map_err(|e| RpcError::new(code::ENODEV, e))?;
        self.rig
            .ssd_back(index, device)
            .map_err(|e| RpcError::internal(e.to_string()))?;
        self.register(name);
        self.events.add("sluice_ssd_back", name);
        Ok(json!(true))
    }

    pub(super) fn get_controllers(&mut self, params: &Params) -> Result<Value, RpcError> {
        if let Some(name) = params.text("name") {
            self.known(name)
                .map_err(|e| RpcError::new(code::EINVAL, e.message))?;
        }
        let one = |name: &str| params.text("name").is_none_or(|n| n == name);
        let mut all = Vec::new();
        let config = self.rig.config();
        for (index, ssd) in config.ssds.iter().enumerate().filter(|(_, s)| one(&s.name)) {
            let state = if self.rig.serves(index) {
                "enabled"
            } else {
                "failed"
            };
            all.push(controller(&ssd.name, ssd.pci.as_deref(), state));
        }
        for ssd in &self.absent.ssds {
            let name = ssd.name.as_deref().unwrap_or_default();
            if one(name) {
                all.push(controller(name, ssd.pci.as_deref(), "absent"));
            }
        }
        Ok(Value::Array(all))
    }

    pub(super) fn controller_health(&mut self, params: &Params) -> Result<Value, RpcError> {
        let name = params.need("name");
        let index = self.controller(name)?;
        let address = self.rig.config().ssds[index].pci.clone();
        let Some(ssd) = self.rig.ssd(index) else {
            return Err(RpcError::internal(format!(
                "SSD {name} is lost; sluice_reopen_ssd brings it back when it is in again"
            )));
        };
        let info = ssd.info().clone();
        let log = ssd.smart().map_err(|e| RpcError::internal(e.to_string()))?;
        Ok(smart(&info, address.as_deref(), &log))
    }

    pub(super) fn get_bdevs(&mut self, params: &Params) -> Result<Value, RpcError> {
        if params.number("timeout").is_some_and(|t| t != 0) {
            return Err(RpcError::params(
                "timeout: 0 wanted, since SSDs come only when they are attached; leave it out",
            ));
        }
        let infos = self.infos();
        let mut all = Vec::new();
        for (index, ssd) in self.rig.config().ssds.iter().enumerate() {
            let Some(info) = &infos[index] else { continue };
            for ns in &info.namespaces {
                let name = format!("{}n{}", ssd.name, ns.nsid);
                if params.text("name").is_none_or(|n| n == name) {
                    let claimed = (self
                        .rig
                        .config()
                        .subsystems
                        .iter()
                        .flat_map(|s| &s.namespaces))
                    .any(|n| n.ssd == index && n.ssd_nsid == ns.nsid);
                    all.push(bdev(&name, ssd.pci.as_deref(), info, ns, claimed));
                }
            }
        }
        match params.text("name") {
            Some(name) if all.is_empty() => Err(RpcError::new(
                code::ENODEV,
                format!("there is no block device {name:?}; bdev_get_bdevs lists them"),
            )),
            _ => Ok(Value::Array(all)),
        }
    }

    /// SSD and NSID that a block device's name stands for.
    pub(super) fn bdev(&self, name: &str) -> Result<(String, u32), RpcError> {
        let parsed = name
            .rsplit_once('n')
            .and_then(|(ssd, nsid)| Some((ssd, nsid.parse::<u32>().ok()?)));
        let known = parsed.filter(|(ssd, _)| self.rig.config().ssds.iter().any(|s| s.name == *ssd));
        let (ssd, nsid) = known.ok_or_else(|| {
            let have: Vec<_> = self
                .rig
                .config()
                .ssds
                .iter()
                .map(|s| format!("{}nN", s.name))
                .collect();
            let have = if have.is_empty() {
                "none yet (bdev_nvme_attach_controller)".into()
            } else {
                have.join(", ")
            };
            RpcError::params(format!(
                "bdev_name: namespace N of an SSD wanted ({have}), {name:?} came"
            ))
        })?;
        Ok((ssd.into(), nsid))
    }

    /// What every SSD says it is, in the order of the configuration; `None` for one that is lost.
    pub(super) fn infos(&mut self) -> Vec<Option<SsdInfo>> {
        let count = self.rig.config().ssds.len();
        (0..count)
            .map(|i| self.rig.ssd(i).map(|s| s.info().clone()))
            .collect()
    }

    /// Tells that an SSD's block devices are there.
    pub(super) fn register(&mut self, name: &str) {
        for (bdev, _) in self.bdevs_of(name).collect::<Vec<_>>() {
            self.events.add("bdev_register", bdev);
        }
    }

    /// Tells that they are gone.
    pub(super) fn unregister(&mut self, name: &str) {
        for (bdev, _) in self.bdevs_of(name).collect::<Vec<_>>() {
            self.events.add("bdev_unregister", bdev);
        }
    }

    fn bdevs_of(&mut self, name: &str) -> impl Iterator<Item = (String, u32)> + use<B> {
        let index = self.rig.config().ssds.iter().position(|s| s.name == name);
        let info = index
            .and_then(|i| self.rig.ssd(i))
            .map(|s| s.info().clone());
        let name = name.to_string();
        let namespaces = info.map(|i| i.namespaces).unwrap_or_default().into_iter();
        namespaces.map(move |n| (format!("{name}n{}", n.nsid), n.nsid))
    }

    /// The specification fits the rest.
    fn check_ssd(&self, spec: &raw::Ssd) -> Result<(), RpcError> {
        let checked = self.rig.config().edited(|file| {
            file.ssds.get_or_insert_default().push(spec.clone());
        });
        checked.map(drop).map_err(|e| refused(e.into()))
    }

    /// Index of an SSD.
    pub(super) fn controller(&self, name: &str) -> Result<usize, RpcError> {
        self.known(name)?;
        self.rig.ssd_index(name).map_err(|_| {
            RpcError::new(
                code::ENODEV,
                format!("SSD {name} is absent; sluice_reopen_ssd tries it again"),
            )
        })
    }

    fn known(&self, name: &str) -> Result<(), RpcError> {
        let there = self.rig.config().ssds.iter().map(|s| s.name.as_str());
        let absent = self.absent.ssds.iter().filter_map(|s| s.name.as_deref());
        let have: Vec<_> = there.chain(absent).collect();
        if have.contains(&name) {
            return Ok(());
        }
        let have = if have.is_empty() {
            "none".into()
        } else {
            have.join(", ")
        };
        Err(RpcError::new(
            code::ENODEV,
            format!("Controller {name} does not exist; there are: {have}"),
        ))
    }
}

/// `trtype` and `traddr`.
pub(super) fn spdk_address(pci: Option<&str>) -> (&'static str, String) {
    match pci.map(Address::parse) {
        Some(Address::VfioUser(path)) => ("VFIOUSER", path.display().to_string()),
        Some(Address::Pci(address)) => ("PCIe", address),
        None => ("PCIe", String::new()),
    }
}

fn controller(name: &str, pci: Option<&str>, state: &str) -> Value {
    let (kind, address) = spdk_address(pci);
    json!({
        "name": name,
        "ctrlrs": [{
            "state": state,
            "trid": { "trtype": kind, "traddr": address },
            "cntlid": 0,
            "host": { "nqn": "", "addr": "", "svcid": "" },
        }],
    })
}

fn bdev(name: &str, pci: Option<&str>, info: &SsdInfo, ns: &SsdNamespace, claimed: bool) -> Value {
    let (kind, address) = spdk_address(pci);
    let has = |bit: u16| info.oncs & bit != 0;
    let mut value = json!({
        "name": name,
        "aliases": [],
        "product_name": "NVMe disk",
        "block_size": 1_u32 << ns.block_shift,
        "num_blocks": ns.blocks,
        "assigned_rate_limits": {
            "rw_ios_per_sec": 0, "rw_mbytes_per_sec": 0, "r_mbytes_per_sec": 0, "w_mbytes_per_sec": 0,
        },
        "claimed": claimed,
        "zoned": false,
        "supported_io_types": {
            "read": true,
            "write": !ns.write_protected,
            "unmap": has(oncs::DATASET_MANAGEMENT),
            "flush": true,
            "reset": true,
            "nvme_admin": false,
            "nvme_io": false,
            "write_zeroes": has(oncs::WRITE_ZEROES),
            "compare": has(oncs::COMPARE),
        },
        "driver_specific": {
            "nvme": [{
                "pci_address": address,
                "trid": { "trtype": kind, "traddr": address },
                "ctrlr_data": {
                    "model_number": info.model,
                    "serial_number": info.serial,
                    "firmware_revision": info.firmware,
                },
                "ns_data": { "id": ns.nsid },
            }],
        },
    });
    if ns.uuid != [0; 16] {
        value["uuid"] = json!(uuid(&ns.uuid));
    }
    if ns.nguid != [0; 16] {
        value["nguid"] = json!(hex(&ns.nguid));
    }
    value
}

/// The health log in SPDK's form. What has 128 bits is cut to 64, as large as JSON's readers take.
pub(super) fn smart(info: &SsdInfo, pci: Option<&str>, log: &SmartLog) -> Value {
    let low = |n: [zerocopy::little_endian::U64; 2]| {
        if n[1].get() == 0 {
            n[0].get()
        } else {
            u64::MAX
        }
    };
    json!({
        "model_number": info.model,
        "serial_number": info.serial,
        "firmware_revision": info.firmware,
        "traddr": spdk_address(pci).1,
        "critical_warning": log.warning,
        "temperature_celsius": i32::from(log.temperature.get()) - 273,
        "available_spare_percentage": log.spare,
        "available_spare_threshold_percentage": log.spare_threshold,
        "percentage_used": log.used,
        "data_units_read": low(log.units_read),
        "data_units_written": low(log.units_written),
        "host_read_commands": low(log.reads),
        "host_write_commands": low(log.writes),
        "controller_busy_time": low(log.busy_minutes),
        "power_cycles": low(log.power_cycles),
        "power_on_hours": low(log.power_on_hours),
        "unsafe_shutdowns": low(log.unsafe_shutdowns),
        "media_errors": low(log.media_errors),
        "num_err_log_entries": low(log.error_entries),
        "warning_temperature_time_minutes": log.warning_minutes.get(),
        "critical_composite_temperature_time_minutes": log.critical_minutes.get(),
    })
}
