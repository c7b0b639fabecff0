//! Whether all is well, and a self-test that disturbs nobody.

use serde_json::{Value, json};
use sluice_device::Device;
use sluice_device::pcie::{Link, gigatransfers};
use sluice_regs::{MAGIC, MAP_VERSION, bar0_regs as bar0};

use super::bdev::smart;
use super::{Owner, collect};
use crate::backend::Backends;

/// `FW_STATUS` of firmware that is up.
const READY: u32 = 1;
/// Bits of the critical warning (NVMe Base 2.1, figure 207).
const WARNINGS: &[&str] = &[
    "spare blocks run low",
    "too hot or too cold",
    "reliability is degraded",
    "read-only",
    "its backup has failed",
];

impl<B: Backends> Owner<B> {
    pub(super) fn health(&mut self) -> Value {
        let mut problems: Vec<String> = self.failed.iter().map(|f| format!("card: {f}")).collect();
        if self.unsaved {
            problems.push("the last change is not in the state file".into());
        }
        let device = self.rig.card().device();
        let status = device
            .bar(0)
            .and_then(|b| b.read32(bar0::FW_STATUS_OFFSET.into()));
        match status {
            Ok(READY) => {}
            Ok(other) => problems.push(format!(
                "card: firmware status {READY} (ready) wanted, it is {other}"
            )),
            Err(error) => problems.push(format!("card: {error}")),
        }
        let mut links = vec![shown("card", self.rig.card().device().link())];
        let mut ssds = Vec::new();
        for index in 0..self.rig.config().ssds.len() {
            let (name, address) = (
                self.rig.config().ssds[index].name.clone(),
                self.rig.config().ssds[index].pci.clone(),
            );
            let log = match self.rig.ssd(index) {
                None => Err("lost".to_string()),
                Some(ssd) => {
                    links.push(shown(&name, ssd.device().link()));
                    let info = ssd.info().clone();
                    ssd.smart()
                        .map(|log| (info, log))
                        .map_err(|e| e.to_string())
                }
            };
            ssds.push(match log {
                Ok((info, log)) => {
                    let bits = WARNINGS
                        .iter()
                        .enumerate()
                        .filter(|(i, _)| log.warning >> i & 1 == 1);
                    problems.extend(bits.map(|(_, text)| format!("SSD {name}: {text}")));
                    json!({ "name": name, "smart": smart(&info, address.as_deref(), &log) })
                }
                Err(reason) => {
                    problems.push(format!("SSD {name}: {reason}"));
                    json!({ "name": name, "smart": null })
                }
            });
        }
        for ssd in &self.absent.ssds {
            let name = ssd.name.as_deref().unwrap_or_default();
            problems.push(format!("SSD {name}: absent, it cannot be opened"));
            ssds.push(json!({ "name": name, "smart": null }));
        }
        // A card without flash has no slots.
        let flash = self.flash_state().ok();
        let flash = flash.map(|all| {
            json!({
                "running": all["running"],
                "active": all["active"],
                "on_trial": all["on_trial"],
                "slots": all["slots"],
            })
        });
        links.retain(|link| !link.is_null());
        json!({
            "healthy": problems.is_empty(),
            "problems": problems,
            "ssds": ssds,
            "links": links,
            "flash": flash,
        })
    }

    pub(super) fn self_test(&mut self) -> Value {
        let mut checks = Checks(Vec::new());
        let read = |device: &B::Device, at: u32| {
            device
                .bar(0)
                .and_then(|b| b.read32(at.into()))
                .map_err(|e| e.to_string())
        };
        let device = self.rig.card().device();
        checks.equal("card: magic", read(device, bar0::MAGIC_OFFSET), MAGIC);
        checks.equal(
            "card: register map",
            read(device, bar0::MAP_VERSION_OFFSET),
            MAP_VERSION,
        );
        checks.equal(
            "card: firmware ready",
            read(device, bar0::FW_STATUS_OFFSET),
            READY,
        );
        checks.equal("card: watchdogs", read(device, bar0::WATCHDOG_OFFSET), 0);
        let size = read(device, bar0::PM_SIZE_OFFSET);
        let bar = device
            .bar(2)
            .map(|b| b.len() as u32)
            .map_err(|e| e.to_string());
        checks.add(
            "card: packet memory",
            match (size, bar) {
                (Ok(size), Ok(bar)) if size == bar => Ok(format!("{} MiB", size >> 20)),
                (Ok(size), Ok(bar)) => Err(format!("BAR2 of {size} bytes wanted, it has {bar}")),
                (Err(e), _) | (_, Err(e)) => Err(e),
            },
        );
        let answer = self.rig.card().identify();
        checks.add(
            "card: control core answers",
            match answer {
                Ok(info) => Ok(format!("firmware {}", info.firmware)),
                Err(e) => Err(e.to_string()),
            },
        );
        for core in 0..u32::from(self.rig.card().info().cores) {
            let state = collect::core_value(self.rig.card(), core, collect::STATE);
            let counted = if core == 0 {
                Ok(())
            } else {
                self.rig.card().counters(core).map(drop)
            };
            checks.add(
                &format!("card: core {core}"),
                match (state, counted) {
                    (Ok(state), Ok(())) if state & 2 == 0 => Ok(if state & 1 == 0 {
                        "running"
                    } else {
                        "sleeping"
                    }
                    .into()),
                    (Ok(_), Ok(())) => Err("stopped by a fault".into()),
                    (Err(e), _) | (_, Err(e)) => Err(e.to_string()),
                },
            );
        }
        for index in 0..self.rig.config().ssds.len() {
            let name = format!("SSD {}", self.rig.config().ssds[index].name);
            checks.add(
                &name,
                match self.rig.ssd(index) {
                    None => Err("lost".into()),
                    Some(ssd) => match ssd.check().and_then(|()| ssd.smart()) {
                        Ok(log) if log.warning == 0 => {
                            Ok(format!("{} °C", i32::from(log.temperature.get()) - 273))
                        }
                        Ok(log) => Err(format!("critical warning {:#04x}", log.warning)),
                        Err(e) => Err(e.to_string()),
                    },
                },
            );
        }
        for ssd in &self.absent.ssds {
            checks.add(
                &format!("SSD {}", ssd.name.as_deref().unwrap_or_default()),
                Err("absent".into()),
            );
        }
        let room = self.store.prepare(&self.state());
        checks.add(
            "state file",
            room.map(|()| "can be written".into())
                .map_err(|e| e.to_string()),
        );
        let passed = checks.0.iter().all(|c| c["passed"] == true);
        json!({ "passed": passed, "checks": checks.0 })
    }
}

struct Checks(Vec<Value>);

impl Checks {
    fn add(&mut self, name: &str, outcome: Result<String, String>) {
        let (passed, detail) = match outcome {
            Ok(detail) => (true, detail),
            Err(detail) => (false, detail),
        };
        self.0
            .push(json!({ "name": name, "passed": passed, "detail": detail }));
    }

    fn equal(&mut self, name: &str, got: Result<u32, String>, want: u32) {
        self.add(
            name,
            match got {
                Ok(got) if got == want => Ok(format!("{got:#x}")),
                Ok(got) => Err(format!("{want:#x} wanted, {got:#x} read")),
                Err(e) => Err(e),
            },
        );
    }
}

/// A device's PCIe link; null if nothing is known of it.
fn shown(device: &str, link: Option<Link>) -> Value {
    link.map_or(Value::Null, |link| {
        json!({
            "device": device,
            "gigatransfers": gigatransfers(link.speed),
            "lanes": link.width,
            "gigatransfers_possible": gigatransfers(link.max_speed),
            "lanes_possible": link.max_width,
            "degraded": link.is_degraded(),
        })
    })
}
