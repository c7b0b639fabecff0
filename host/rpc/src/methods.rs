//! Every method there is. The daemon dispatches by this table, and `sluicectl` makes its subcommands from it.

mod application;
mod bdev;
mod nvmf;
mod own;
mod params;
#[cfg(test)]
mod tests;

use crate::method::{Method, Param, Spdk};

const SAME: Spdk = Spdk::Same;
const OWN: Spdk = Spdk::Own;

const fn method(
    name: &'static str,
    spdk: Spdk,
    about: &'static str,
    gives: &'static str,
    params: &'static [Param],
) -> Method {
    Method {
        name,
        about,
        params,
        gives,
        spdk,
    }
}

/// Largest firmware package that the daemon takes, bytes: more than a slot of the flash holds.
pub const MAX_PACKAGE: usize = 2 << 20;
/// Largest piece of one in a call, bytes.
pub const MAX_PIECE: usize = 128 << 10;

/// The table, in the order of the documentation.
pub const METHODS: &[Method] = &{
    let parts = [
        application::METHODS,
        nvmf::METHODS,
        bdev::METHODS,
        own::METHODS,
    ];
    let mut all = [application::METHODS[0]; COUNT];
    let (mut part, mut next) = (0, 0);
    while part < parts.len() {
        let mut index = 0;
        while index < parts[part].len() {
            all[next] = parts[part][index];
            index += 1;
            next += 1;
        }
        part += 1;
    }
    all
};

const COUNT: usize =
    application::METHODS.len() + nvmf::METHODS.len() + bdev::METHODS.len() + own::METHODS.len();

/// The method of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|m| m.name == name)
}
