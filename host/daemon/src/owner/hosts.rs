//! Who is connected.

use serde_json::{Value, json};
use sluice_rpc::message::RpcError;
use sluice_rpc::method::Params;
use sluice_wire::mgmt::{ControllerState, transports};

use super::nvmf::{address, ips, service, uuid};
use super::{Owner, refused};
use crate::backend::Backends;

impl<B: Backends> Owner<B> {
    /// Who a controller number stands for, for messages.
    pub(super) fn host_context(&mut self, cntlid: u32) -> String {
        format!("cntlid {cntlid}")
    }

    pub(super) fn subsystem_controllers(&mut self, params: &Params) -> Result<Value, RpcError> {
        let states = self.controllers(params)?;
        let all = states.iter().map(|state| {
            json!({
                "cntlid": state.cntlid.get(),
                "cntrltype": "io",
                "hostnqn": host_nqn(state),
                "hostid": uuid(&state.host_id),
                // Bit 0 is the admin queue.
                "num_io_qpairs": (state.queues.get() & !1).count_ones(),
                "transport": transport(state).0,
                "keep_alive_ms": state.keep_alive_ms.get(),
            })
        });
        Ok(all.collect())
    }

    pub(super) fn subsystem_qpairs(&mut self, params: &Params) -> Result<Value, RpcError> {
        let states = self.controllers(params)?;
        let ports = &self.rig.config().ports;
        let mut all = Vec::new();
        for state in &states {
            let (name, mask) = transport(state);
            let port = ports.get(usize::from(state.port));
            let at = port.and_then(|port| {
                let (family, ip) = ips(port).into_iter().next()?;
                Some(address(name, family, &ip, service(port, mask)))
            });
            for qid in (0..u64::BITS).filter(|qid| state.queues.get() >> qid & 1 == 1) {
                all.push(json!({
                    "cntlid": state.cntlid.get(),
                    "qid": qid,
                    "state": "enabled",
                    "hostnqn": host_nqn(state),
                    "listen_address": at,
                }));
            }
        }
        Ok(Value::Array(all))
    }

    fn controllers(&mut self, params: &Params) -> Result<Vec<ControllerState>, RpcError> {
        let nqn = params.need("nqn");
        self.subsystem(nqn)?;
        self.rig.controllers(nqn).map_err(refused)
    }
}

fn transport(state: &ControllerState) -> (&'static str, u32) {
    match u32::from(state.transport) {
        transports::RDMA => ("RDMA", transports::RDMA),
        _ => ("TCP", transports::TCP),
    }
}

fn host_nqn(state: &ControllerState) -> String {
    let nqn = &state.host_nqn;
    let end = nqn.iter().position(|b| *b == 0).unwrap_or(nqn.len());
    String::from_utf8_lossy(&nqn[..end]).into_owned()
}
