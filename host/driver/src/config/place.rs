//! Namespaces on the SSDs that are there: do the blocks exist, does nothing overlap, is there room on the card.

use super::error::{ConfigError, Problem};
use super::locate::Key;
use super::{Config, Namespace};
use crate::card::Info;
use crate::nvme::SsdInfo;

/// Where a namespace lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placed {
    /// Index of the subsystem.
    pub subsystem: usize,
    /// Index of the namespace in it.
    pub namespace: usize,
    /// Blocks.
    pub blocks: u64,
    /// log2 of the block size.
    pub block_shift: u8,
    /// Writes are refused, by configuration or by the SSD.
    pub read_only: bool,
}

impl Config {
    /// Checks the configuration against what the card's firmware has room for.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn fit(&self, card: &Info) -> Result<(), ConfigError> {
        let root = Key::default();
        let subsystems = root.name("subsystems");
        let namespaces = self.subsystems.iter().map(|s| s.namespaces.len()).sum();
        for (key, what, max, got) in [
            (
                root.name("ports"),
                "ports",
                card.max_ports,
                self.ports.len(),
            ),
            (root.name("ssds"), "SSDs", card.max_ssds, self.ssds.len()),
            (
                subsystems.clone(),
                "subsystems",
                card.max_subsystems,
                self.subsystems.len(),
            ),
            (
                subsystems.clone(),
                "namespaces",
                card.max_namespaces,
                namespaces,
            ),
        ] {
            self.at_most(&key, what, max.into(), got)?;
        }
        for (i, subsystem) in self.subsystems.iter().enumerate() {
            let key = subsystems.index(i).name("hosts");
            self.at_most(&key, "hosts", card.max_hosts.into(), subsystem.hosts.len())?;
        }
        Ok(())
    }

    fn at_most(
        &self,
        key: &Key,
        what: &'static str,
        max: usize,
        got: usize,
    ) -> Result<(), ConfigError> {
        if got <= max {
            return Ok(());
        }
        Err(self.source.error(key, Problem::TooMany { what, max, got }))
    }

    /// Finds every namespace's blocks on its SSD. `ssds` are in the order of the configuration.
    ///
    /// # Errors
    /// [`ConfigError`] if blocks do not exist or are used twice.
    pub fn place(&self, ssds: &[&SsdInfo]) -> Result<Vec<Placed>, ConfigError> {
        let mut placed: Vec<Placed> = Vec::new();
        for (s, subsystem) in self.subsystems.iter().enumerate() {
            for (n, namespace) in subsystem.namespaces.iter().enumerate() {
                let key = key(s, n);
                let here = self
                    .place_one(s, n, namespace, ssds)
                    .map_err(|(field, problem)| self.source.error(&key.name(field), problem))?;
                if let Some(other) = placed.iter().find(|other| self.overlap(other, &here)) {
                    let with = self::key(other.subsystem, other.namespace).to_string();
                    let ssd = self.ssds[namespace.ssd].name.clone();
                    return Err(self.source.error(&key, Problem::Overlap { ssd, with }));
                }
                placed.push(here);
            }
        }
        Ok(placed)
    }

    /// The configured namespace that was placed.
    #[must_use]
    pub fn namespace(&self, placed: &Placed) -> &Namespace {
        &self.subsystems[placed.subsystem].namespaces[placed.namespace]
    }

    fn place_one(
        &self,
        subsystem: usize,
        namespace: usize,
        spec: &Namespace,
        ssds: &[&SsdInfo],
    ) -> Result<Placed, (&'static str, Problem)> {
        let name = &self.ssds[spec.ssd].name;
        let there = ssds.get(spec.ssd).map_or(&[][..], |s| &s.namespaces);
        let Some(ns) = there.iter().find(|n| n.nsid == spec.ssd_nsid) else {
            let have: Vec<String> = there.iter().map(|n| n.nsid.to_string()).collect();
            let want = format!("a usable namespace of SSD {name} ({})", have.join(", "));
            return Err(("ssd_nsid", Problem::value(want, spec.ssd_nsid)));
        };
        let first = spec.first_block;
        let blocks = spec.blocks.unwrap_or(ns.blocks.saturating_sub(first));
        let last = first.saturating_add(blocks.max(1)) - 1;
        if blocks == 0 || last >= ns.blocks {
            let field = if spec.blocks.is_some() && first < ns.blocks {
                "blocks"
            } else {
                "first_block"
            };
            let (ssd, nsid, max) = (name.clone(), ns.nsid, ns.blocks.saturating_sub(1));
            return Err((
                field,
                Problem::BeyondEnd {
                    first,
                    last,
                    ssd,
                    nsid,
                    max,
                },
            ));
        }
        let read_only = spec.read_only || ns.write_protected;
        Ok(Placed {
            subsystem,
            namespace,
            blocks,
            block_shift: ns.block_shift,
            read_only,
        })
    }

    /// Both use the same blocks and at least one of them writes.
    fn overlap(&self, a: &Placed, b: &Placed) -> bool {
        let (x, y) = (self.namespace(a), self.namespace(b));
        let same = x.ssd == y.ssd && x.ssd_nsid == y.ssd_nsid;
        let apart =
            x.first_block + a.blocks <= y.first_block || y.first_block + b.blocks <= x.first_block;
        same && !apart && !(a.read_only && b.read_only)
    }
}

fn key(subsystem: usize, namespace: usize) -> Key {
    Key::default()
        .name("subsystems")
        .index(subsystem)
        .name("namespaces")
        .index(namespace)
}
