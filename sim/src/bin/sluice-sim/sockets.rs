//! `card` and `ssd`: a model as a PCIe device on a socket, until interrupted.

use anyhow::Context;
use sluice_sim::options::{CardSocketOptions, SsdSocketOptions};
use sluice_sim::port;
use sluice_sim::scenario::server;
use sluice_sim::ssd::{Backing, NamespaceSpec, Ssd, SsdConfig};
use sluice_sim::vfio_user::card::CardFunction;
use sluice_sim::vfio_user::ssd::SsdFunction;
use sluice_sim::vfio_user::{Function, Server};

use super::{logger, set_up, until_interrupted};

pub fn card(options: &CardSocketOptions) -> anyhow::Result<bool> {
    let model = server::model(&set_up(&options.card))?;
    let port = options.listen.as_deref().map(port::open).transpose()?;
    let function = CardFunction::new(model, port).sharing()?;
    serve(options.socket.as_path(), function)
}

pub fn ssd(options: &SsdSocketOptions) -> anyhow::Result<bool> {
    let good = |c: char| c.is_ascii_alphanumeric();
    anyhow::ensure!(
        (1..=20).contains(&options.serial.len()) && options.serial.chars().all(good),
        "--serial: wanted 1 to 20 letters and digits, got `{}`",
        options.serial
    );
    let shift = if options.block == "4096" { 12 } else { 9 };
    let mut namespace = NamespaceSpec::memory(options.size.0, shift);
    if let Some(file) = &options.file {
        namespace.backing = Backing::File(file.clone());
    }
    let config = SsdConfig {
        name: "ssd".into(),
        serial: options.serial.clone(),
        namespaces: vec![namespace],
        ..SsdConfig::default()
    };
    let file = options
        .file
        .as_deref()
        .map_or("memory".into(), |f| f.display().to_string());
    let ssd = Ssd::new(config).with_context(|| format!("cannot keep the SSD's data in {file}"))?;
    serve(options.socket.as_path(), SsdFunction::new(ssd))
}

fn serve<F: Function>(socket: &std::path::Path, function: F) -> anyhow::Result<bool> {
    logger::start()?;
    let stop = until_interrupted()?;
    let name = function.profile().name.clone();
    let mut server = Server::listen(socket, function)?;
    println!(
        "{name} on {socket}; to give it to a QEMU 11 guest with shared memory:\n  \
         -device '{{\"driver\":\"vfio-user-pci\",\"x-msg-timeout\":600000,\
         \"socket\":{{\"type\":\"unix\",\"path\":\"{socket}\"}}}}'\nserving until interrupted",
        socket = socket.display()
    );
    server.run(&stop)?;
    Ok(true)
}
