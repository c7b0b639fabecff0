//! Administration of SSDs: commands passed through, firmware, reset, format, what they tell of themselves.

use std::sync::mpsc::SyncSender;

use serde_json::{Value, json};
use sluice_driver::bringup::Notice;
use sluice_driver::nvme::{Activation, AdminCommand, Commit, Erase, Ssd, SsdError, Transfer};
use sluice_rpc::message::{RpcError, code};
use sluice_rpc::method::{Params, encode};
use sluice_wire::nvme::Sqe;
use zerocopy::FromBytes;

use super::{Owner, refused};
use crate::backend::Backends;

/// Largest firmware image taken, bytes.
const MAX_IMAGE: u64 = 64 << 20;

/// Firmware on its way to an SSD; its caller waits.
pub(super) struct Update {
    ssd: String,
    image: Vec<u8>,
    done: usize,
    reply: SyncSender<Result<Value, RpcError>>,
}

impl<B: Backends> Owner<B> {
    pub(super) fn send_cmd(&mut self, params: &Params) -> Result<Value, RpcError> {
        if params.need("cmd_type") != "admin" {
            return Err(RpcError::params(format!(
                "cmd_type: \"admin\" wanted, since I/O commands are the card's, {:?} came",
                params.need("cmd_type")
            )));
        }
        let buffer = params.data("cmdbuf").unwrap_or_default();
        let sqe = Sqe::read_from_bytes(&buffer).map_err(|_| {
            let got = buffer.len();
            RpcError::params(format!("cmdbuf: 64 bytes wanted, {got} came"))
        })?;
        let sent = params.data("data").unwrap_or_default();
        let wanted = params.number("data_len").unwrap_or(0) as usize;
        let data = match params.need("data_direction") {
            "h2c" if sent.is_empty() => Transfer::None,
            "h2c" => Transfer::Send(&sent),
            "c2h" if wanted == 0 => Transfer::None,
            "c2h" => Transfer::Receive(wanted),
            other => {
                return Err(RpcError::params(format!(
                    "data_direction: \"c2h\" or \"h2c\" wanted, {other:?} came"
                )));
            }
        };
        let command = AdminCommand {
            opcode: sqe.opcode,
            nsid: sqe.nsid.get(),
            cdw: [
                sqe.cdw10, sqe.cdw11, sqe.cdw12, sqe.cdw13, sqe.cdw14, sqe.cdw15,
            ]
            .map(|word| word.get()),
            data,
        };
        let force = params.flag("force").unwrap_or(false);
        let ssd = self.serving(params.need("name"))?;
        let answer = ssd.passthrough(&command, force).map_err(ssd_error)?;
        // Queue head, queue and identifier are the driver's own affair.
        let mut completion = [0; 16];
        completion[..8].copy_from_slice(&answer.result.to_le_bytes());
        completion[14..].copy_from_slice(&answer.status.to_wire().to_le_bytes());
        let mut value = json!({ "cpl": encode(&completion) });
        if matches!(data, Transfer::Receive(_)) {
            value["data"] = json!(encode(&answer.data));
        }
        Ok(value)
    }

    /// Begins an update; its caller is answered when it is done.
    pub(super) fn apply_firmware(
        &mut self,
        params: &Params,
        reply: SyncSender<Result<Value, RpcError>>,
    ) {
        match self.begin_update(params) {
            // One that has gone does not get its answer.
            Err(error) => _ = reply.send(Err(error)),
            Ok((ssd, image)) => self.updates.push(Update {
                ssd,
                image,
                done: 0,
                reply,
            }),
        }
    }

    fn begin_update(&mut self, params: &Params) -> Result<(String, Vec<u8>), RpcError> {
        let (ssd, _) = self.bdev(params.need("bdev_name"))?;
        self.serving(&ssd)?;
        if self.updates.iter().any(|update| update.ssd == ssd) {
            let message = format!("SSD {ssd} is being given firmware already");
            return Err(RpcError::new(code::EBUSY, message));
        }
        let path = params.need("filename");
        let wrong = |why: String| RpcError::params(format!("filename: {path}: {why}"));
        let about = std::fs::metadata(path).map_err(|e| wrong(e.to_string()))?;
        if !about.is_file() || about.len() > MAX_IMAGE {
            return Err(wrong(format!("a file of at most {MAX_IMAGE} bytes wanted")));
        }
        let image = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
        Ok((ssd, image))
    }

    /// One step of each update that is under way.
    pub(super) fn update_step(&mut self) {
        for mut update in std::mem::take(&mut self.updates) {
            match self.advance(&mut update) {
                Ok(None) => self.updates.push(update),
                Ok(Some(done)) => _ = update.reply.send(Ok(done)),
                Err(error) => _ = update.reply.send(Err(error)),
            }
        }
    }

    fn advance(&mut self, update: &mut Update) -> Result<Option<Value>, RpcError> {
        let name = update.ssd.clone();
        let ssd = self.serving(&name)?;
        if update.done < update.image.len() || update.image.is_empty() {
            let done = ssd.download_piece(&update.image, update.done);
            update.done = done.map_err(ssd_error)?;
            return Ok(None);
        }
        let how = match ssd.firmware_slots().map_err(ssd_error)?.without_reset {
            true => Commit::ActivateNow,
            false => Commit::StoreForReset,
        };
        let came = ssd.commit_firmware(0, how).map_err(ssd_error)?;
        let text = match (how, came) {
            (Commit::ActivateNow, Activation::AsAsked) => {
                format!("the new firmware runs: {}", ssd.info().firmware)
            }
            (_, Activation::AsAsked | Activation::NeedsControllerReset) => {
                "it runs after a reset (bdev_nvme_reset_controller)".into()
            }
            (_, Activation::NeedsSubsystemReset) => "it runs after a power cycle".into(),
            (_, Activation::NeedsConventionalReset) => {
                "it runs after a reset of the PCIe slot, or a power cycle".into()
            }
        };
        log::info!("SSD {name}: new firmware: {text}");
        Ok(Some(json!(text)))
    }

    pub(super) fn reset_controller(&mut self, params: &Params) -> Result<Value, RpcError> {
        let name = params.need("name");
        self.serving(name)?;
        let index = self.controller(name)?;
        let notice = self.rig.reset_ssd(index).map_err(|error| {
            self.card_failed(&error.to_string());
            RpcError::internal(error.to_string())
        })?;
        let lost = match &notice {
            Some(Notice::SsdLost { reason, .. }) => Some(reason.clone()),
            _ => None,
        };
        notice.into_iter().for_each(|notice| self.notice(notice));
        match lost {
            Some(reason) => Err(RpcError::internal(format!("SSD {name} is lost: {reason}"))),
            None => Ok(json!(true)),
        }
    }

    pub(super) fn format_bdev(&mut self, params: &Params) -> Result<Value, RpcError> {
        let (name, nsid) = self.bdev(params.need("bdev_name"))?;
        let erase = match params.text("erase").unwrap_or("none") {
            "none" => Erase::None,
            "user" => Erase::UserData,
            "crypto" => Erase::Cryptographic,
            other => {
                return Err(RpcError::params(format!(
                    "erase: \"none\", \"user\" or \"crypto\" wanted, {other:?} came"
                )));
            }
        };
        let ssd = self.serving(&name)?;
        let known = ssd.info().namespaces.iter().find(|n| n.nsid == nsid);
        let shift = match (params.number("block_size"), known) {
            (Some(512), _) => 9,
            (Some(4096), _) => 12,
            (Some(other), _) => {
                let message = format!("block_size: 512 or 4096 wanted, {other} came");
                return Err(RpcError::params(message));
            }
            (None, Some(namespace)) => namespace.block_shift,
            (None, None) => {
                return Err(RpcError::params(
                    "block_size: 512 or 4096 wanted, since the namespace has no usable format yet",
                ));
            }
        };
        self.rig
            .format_namespace(&name, nsid, shift, erase)
            .map_err(refused)?;
        Ok(json!(true))
    }

    pub(super) fn get_ssd(&mut self, params: &Params) -> Result<Value, RpcError> {
        let ssd = self.serving(params.need("name"))?;
        let slots = ssd.firmware_slots().map_err(ssd_error)?;
        let errors: Vec<_> = (ssd.errors().map_err(ssd_error)?.iter())
            .map(|e| {
                json!({
                    "number": e.number,
                    "queue": e.queue,
                    "command": e.command,
                    "status": format!("{:#06x}", e.status.code()),
                    "nsid": e.nsid,
                    "block": e.block,
                })
            })
            .collect();
        let health = ssd.health().map_err(ssd_error)?;
        let info = ssd.info();
        Ok(json!({
            "model": info.model,
            "serial": info.serial,
            "firmware": info.firmware,
            "firmware_slots": slots,
            "errors": errors,
            "health": health,
        }))
    }

    /// An SSD that serves.
    pub(super) fn serving(&mut self, name: &str) -> Result<&mut Ssd<B::Device>, RpcError> {
        let index = self.controller(name)?;
        self.rig.ssd(index).ok_or_else(|| {
            RpcError::internal(format!(
                "SSD {name} is lost; sluice_reopen_ssd brings it back when it is in again"
            ))
        })
    }
}

/// An SSD's error as SPDK would number it.
fn ssd_error(error: SsdError) -> RpcError {
    match &error {
        SsdError::Argument { .. } | SsdError::DataLength { .. } => {
            RpcError::params(error.to_string())
        }
        SsdError::Forbidden { .. } | SsdError::Unsupported { .. } => {
            RpcError::new(code::EINVAL, error.to_string())
        }
        _ => RpcError::internal(error.to_string()),
    }
}
