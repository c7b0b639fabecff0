//! A real Linux as the remote host: QEMU with the image that `cargo xtask setup --vm` makes, its network card joined to
//! an Ethernet port of ours ([`crate::port::SocketPort`]), commands run over a virtio-serial port.
//!
//! The VM runs in wall time, so nothing here is deterministic; what it checks is that an unmodified host is content.

mod control;
mod monitor;
pub mod scenario;
pub mod selftest;
pub mod steps;

use std::fs::File;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::Control;

use crate::report::Meter;

/// Arguments of every guest kernel. `clocksource=hpet`: under emulation the TSC of two processors drifts apart.
const KERNEL_ARGS: &str = "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off nokaslr audit=0 random.trust_cpu=on \
     cryptomgr.notests clocksource=hpet tsc=unstable no_timer_check nowatchdog rcupdate.rcu_expedited=1 apparmor=0 \
     selinux=0 raid=noautodetect rodata=off rdinit=/init net.ifnames=0";

/// First root file system of the image.
const INITRD: &str = "initrd.cpio";

/// The network card of a VM.
#[derive(Clone, Debug)]
pub struct Nic {
    /// UNIX socket on which QEMU listens for the other end of the wire.
    pub socket: PathBuf,
    /// Its own address.
    pub mac: [u8; 6],
    /// IP address with prefix length, such as `10.0.0.1/24`.
    pub address: String,
    /// Bytes of an IP packet, 1,500 or up to 9,000.
    pub mtu: u16,
}

/// How to start a VM.
#[derive(Clone, Debug)]
pub struct VmConfig {
    /// Names the VM in messages and its files.
    pub name: String,
    /// Folder with `vmlinux` and `initrd.cpio`.
    pub image: PathBuf,
    /// Folder for sockets, console and QEMU's messages. UNIX sockets allow about 100 characters.
    pub run_dir: PathBuf,
    /// The emulator: a name on `PATH` or a path.
    pub qemu: PathBuf,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Virtual processors; with one, Linux 6.12 stalls for a second on large TCP writes.
    pub cpus: u32,
    /// Network card.
    pub nic: Option<Nic>,
    /// Further PCIe devices as QEMU's `-device` takes them in JSON, each behind a root port of its own. With any, the guest's
    /// memory is shared, so that other processes can reach it.
    pub devices: Vec<serde_json::Value>,
    /// Files that QEMU's own NVMe SSDs keep their data in, each SSD behind a root port of its own, after `devices`. In the
    /// monitor they are `ssd0` and so on, their root ports `rp1` and so on, `devices` included.
    pub disks: Vec<PathBuf>,
    /// An Intel IOMMU with interrupt remapping, which the guest's kernel uses.
    pub iommu: bool,
    /// A further cpio archive that is unpacked over the image.
    pub files: Option<PathBuf>,
    /// The first process is systemd, which `files` must bring.
    pub systemd: bool,
    /// How long booting may take; about 5 CPU-seconds are normal.
    pub boot_timeout: Duration,
    /// [`Meter::stop`] on it ends all waiting: the other end of the wire is gone.
    pub meter: Arc<Meter>,
}

impl VmConfig {
    /// Two processors, 1 GiB, no network.
    pub fn new(name: &str, image: &Path, run_dir: &Path) -> Self {
        Self {
            name: name.to_string(),
            image: image.to_path_buf(),
            run_dir: run_dir.to_path_buf(),
            qemu: PathBuf::from("qemu-system-x86_64"),
            memory_mib: 1024,
            cpus: 2,
            nic: None,
            devices: Vec::new(),
            disks: Vec::new(),
            iommu: false,
            files: None,
            systemd: false,
            boot_timeout: Duration::from_secs(240),
            meter: Arc::default(),
        }
    }
}

/// The device behind a vfio-user socket, on which its server listens already; for [`VmConfig::devices`]. QEMU 11 or later.
#[must_use]
pub fn vfio_user_device(socket: &Path) -> serde_json::Value {
    serde_json::json!({
        "driver": "vfio-user-pci",
        // A server that is slow for once is not given up: QEMU would never come back to it.
        "x-msg-timeout": 600_000,
        "socket": { "type": "unix", "path": socket.display().to_string() },
    })
}

/// What can go wrong with a VM, by what a person does about it.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// The emulator is not installed.
    #[error(
        "wanted to start {qemu}, and there is no such program; install qemu-system-x86 or run `cargo xtask setup`"
    )]
    NoQemu {
        /// What was to be started.
        qemu: PathBuf,
    },
    /// The image is not there.
    #[error("wanted the VM image file {path}, and it is not there; run `cargo xtask setup --vm`")]
    NoImage {
        /// The missing file.
        path: PathBuf,
    },
    /// A file, socket or process could not be made.
    #[error("{what}: {error}")]
    Io {
        /// What was attempted.
        what: String,
        /// The system's answer.
        error: std::io::Error,
    },
    /// QEMU or the guest ended by itself.
    #[error("VM {name} ended by itself ({status}); its last words:\n{tail}")]
    Ended {
        /// The VM.
        name: String,
        /// How the process ended.
        status: String,
        /// Tail of console and QEMU's messages.
        tail: String,
    },
    /// Nothing came in time.
    #[error("VM {name}: {what} took longer than {seconds} s; the console's last lines:\n{tail}")]
    Timeout {
        /// The VM.
        name: String,
        /// Booting, or the script.
        what: String,
        /// What was allowed.
        seconds: u64,
        /// Tail of the console.
        tail: String,
    },
    /// The simulation at the other end of the wire has ended.
    #[error("the card's simulation ended while the VM waited for it")]
    Stopped,
    /// A script ended with another exit code than 0.
    #[error("VM {name}: exit code {code} from\n{script}\n{output}")]
    Script {
        /// The VM.
        name: String,
        /// Its exit code.
        code: i32,
        /// What was run.
        script: String,
        /// What it printed.
        output: String,
    },
    /// A script ended well but printed something else than was wanted.
    #[error("wanted {want}, the VM said: {got}")]
    Unexpected {
        /// What was wanted.
        want: String,
        /// What came.
        got: String,
    },
}

impl VmError {
    fn io(what: impl Into<String>, error: std::io::Error) -> Self {
        Self::Io {
            what: what.into(),
            error,
        }
    }
}

/// A running VM. Dropping it ends QEMU.
pub struct Vm {
    config: VmConfig,
    child: Child,
    control: Control,
    /// Wall time from start to the guest's readiness.
    pub boot_time: Duration,
}

impl Vm {
    /// Starts QEMU and waits until the guest takes commands. With a network card QEMU listens on its socket from early
    /// on, but the guest's interface only carries frames once the other end is connected.
    pub fn boot(config: &VmConfig) -> Result<Self, VmError> {
        let start = Instant::now();
        for file in ["vmlinux", INITRD] {
            let path = config.image.join(file);
            if !path.is_file() {
                return Err(VmError::NoImage { path });
            }
        }
        std::fs::create_dir_all(&config.run_dir)
            .map_err(|e| VmError::io(config.run_dir.display().to_string(), e))?;
        make_initrd(config)?;
        let path = control_socket(config);
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path)
            .map_err(|e| VmError::io(format!("listen on {}", path.display()), e))?;
        let child = Running(Some(spawn(config)?));
        let (child, control) = connect(config, child, listener, start + config.boot_timeout)?;
        Ok(Self {
            config: config.clone(),
            child,
            control,
            boot_time: start.elapsed(),
        })
    }

    /// Runs a script with bash; its output if it ends with 0.
    pub fn sh(&mut self, script: &str, timeout: Duration) -> Result<String, VmError> {
        let (code, output) = self.run(script, timeout)?;
        if code != 0 {
            let (name, script) = (self.config.name.clone(), script.to_string());
            return Err(VmError::Script {
                name,
                code,
                script,
                output,
            });
        }
        Ok(output)
    }

    /// Runs a script with bash; exit code and output (standard output and error mixed). After a timeout the VM is
    /// still busy with the script: end it.
    pub fn run(&mut self, script: &str, timeout: Duration) -> Result<(i32, String), VmError> {
        match self.control.run(script, timeout) {
            Ok(answer) => Ok(answer),
            Err(error) if control::is_timeout(&error) => Err(VmError::Timeout {
                name: self.config.name.clone(),
                what: format!("`{}`", script.trim()),
                seconds: timeout.as_secs(),
                tail: console_tail(&self.config),
            }),
            Err(_) if self.config.meter.stopped() => Err(VmError::Stopped),
            Err(_) => Err(ended(&self.config, &mut self.child)),
        }
    }

    /// Has QEMU's monitor do something; what it answered.
    pub fn monitor(
        &mut self,
        command: &str,
        arguments: serde_json::Value,
    ) -> Result<serde_json::Value, VmError> {
        let what = format!("{command} {arguments} in QEMU's monitor");
        monitor::execute(&monitor_socket(&self.config), command, arguments)
            .map_err(|error| VmError::io(what, error))
    }

    /// The guest's kernel log.
    pub fn kernel_log(&mut self) -> Result<String, VmError> {
        self.sh("dmesg", Duration::from_secs(60))
    }

    /// Where the console is written.
    pub fn console(&self) -> PathBuf {
        file(&self.config, "console")
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ends QEMU if booting fails half-way.
struct Running(Option<Child>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn connect(
    config: &VmConfig,
    mut running: Running,
    listener: UnixListener,
    deadline: Instant,
) -> Result<(Child, Control), VmError> {
    listener
        .set_nonblocking(true)
        .map_err(|e| VmError::io("control socket", e))?;
    let late = || VmError::Timeout {
        name: config.name.clone(),
        what: "booting".into(),
        seconds: config.boot_timeout.as_secs(),
        tail: console_tail(config),
    };
    let stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => {
                return Err(VmError::io("control socket", error));
            }
            Err(_) => {}
        }
        let child = running.0.as_mut().expect("taken at the end only");
        if !matches!(child.try_wait(), Ok(None)) {
            return Err(ended(config, child));
        }
        if config.meter.stopped() {
            return Err(VmError::Stopped);
        }
        if Instant::now() > deadline {
            return Err(late());
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut control =
        Control::new(stream, config.meter.clone()).map_err(|e| VmError::io("control socket", e))?;
    match control.wait_ready(deadline.saturating_duration_since(Instant::now())) {
        Ok(()) => Ok((running.0.take().expect("taken here only"), control)),
        Err(error) if control::is_timeout(&error) => Err(late()),
        Err(_) => Err(ended(config, running.0.as_mut().expect("taken above only"))),
    }
}

fn spawn(config: &VmConfig) -> Result<Child, VmError> {
    let messages = file(config, "qemu");
    let log =
        File::create(&messages).map_err(|e| VmError::io(messages.display().to_string(), e))?;
    let log_too = log
        .try_clone()
        .map_err(|e| VmError::io(messages.display().to_string(), e))?;
    let mut command = Command::new(&config.qemu);
    command
        .args(arguments(config))
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(log_too);
    command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => VmError::NoQemu {
            qemu: config.qemu.clone(),
        },
        _ => VmError::io(format!("start {}", config.qemu.display()), error),
    })
}

fn arguments(config: &VmConfig) -> Vec<String> {
    let mut kernel = format!("{KERNEL_ARGS} vm.name={}", config.name);
    if let Some(nic) = &config.nic {
        kernel += &format!(" vm.ip0={} vm.mtu0={}", nic.address, nic.mtu);
    }
    if config.iommu {
        kernel += " intel_iommu=on";
    }
    if config.systemd {
        kernel += " vm.init=systemd";
    }
    let (memory, cpus) = (config.memory_mib.to_string(), config.cpus.to_string());
    let mut machine = String::from("q35");
    if !config.devices.is_empty() {
        machine += ",memory-backend=ram";
    }
    if config.iommu {
        // What interrupt remapping needs where there is KVM.
        machine += ",kernel-irqchip=split";
    }
    let mut args: Vec<String> = [
        "-name",
        &config.name,
        "-machine",
        &machine,
        "-accel",
        "tcg,thread=multi,tb-size=256",
    ]
    .into_iter()
    .chain([
        "-m",
        &memory,
        "-smp",
        &cpus,
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-no-reboot",
    ])
    .map(str::to_string)
    .collect();
    let mut pair = |option: &str, value: String| args.extend([option.to_string(), value]);
    if !config.devices.is_empty() {
        let size = format!("size={memory}M,share=on");
        pair("-object", format!("memory-backend-memfd,id=ram,{size}"));
    }
    if config.iommu {
        // Before all devices, which it is to stand behind.
        pair("-device", "intel-iommu,intremap=on,caching-mode=on".into());
    }
    let mut devices = config.devices.clone();
    for (number, disk) in config.disks.iter().enumerate() {
        let file = serde_json::json!({
            "driver": "file", "node-name": format!("disk{number}"), "discard": "unmap",
            "filename": disk.display().to_string(),
        });
        pair("-blockdev", file.to_string());
        devices.push(serde_json::json!({
            "driver": "nvme", "id": format!("ssd{number}"), "serial": format!("QEMU{number:04}"),
            "drive": format!("disk{number}"),
        }));
    }
    for (number, mut device) in (1..).zip(devices) {
        pair(
            "-device",
            format!("pcie-root-port,id=rp{number},chassis={number},slot={number}"),
        );
        device["bus"] = format!("rp{number}").into();
        pair("-device", device.to_string());
    }
    pair(
        "-kernel",
        config.image.join("vmlinux").display().to_string(),
    );
    pair("-initrd", initrd(config).display().to_string());
    pair("-append", kernel);
    pair(
        "-chardev",
        format!("file,id=con,path={}", file(config, "console").display()),
    );
    pair("-serial", "chardev:con".into());
    pair(
        "-qmp",
        format!(
            "unix:{},server=on,wait=off",
            monitor_socket(config).display()
        ),
    );
    pair("-device", "virtio-rng-pci".into());
    pair("-device", "virtio-serial-pci".into());
    pair(
        "-chardev",
        format!(
            "socket,id=ctl0,path={},server=off",
            control_socket(config).display()
        ),
    );
    pair("-device", "virtserialport,chardev=ctl0,name=ctl0".into());
    if let Some(nic) = &config.nic {
        let mac = nic.mac.map(|byte| format!("{byte:02x}")).join(":");
        pair(
            "-netdev",
            format!(
                "stream,id=n0,server=on,addr.type=unix,addr.path={}",
                nic.socket.display()
            ),
        );
        pair(
            "-device",
            format!("virtio-net-pci,netdev=n0,mac={mac},host_mtu={}", nic.mtu),
        );
    }
    args
}

/// The image's archive, or one made of it and of [`VmConfig::files`]: the kernel unpacks one after the other.
fn initrd(config: &VmConfig) -> PathBuf {
    match config.files {
        Some(_) => file(config, "initrd"),
        None => config.image.join(INITRD),
    }
}

fn make_initrd(config: &VmConfig) -> Result<(), VmError> {
    let Some(files) = &config.files else {
        return Ok(());
    };
    let path = initrd(config);
    let mut both = File::create(&path).map_err(|e| VmError::io(path.display().to_string(), e))?;
    for part in [&config.image.join(INITRD), files] {
        let copied = File::open(part).and_then(|mut part| std::io::copy(&mut part, &mut both));
        copied.map_err(|e| VmError::io(part.display().to_string(), e))?;
    }
    Ok(())
}

fn file(config: &VmConfig, extension: &str) -> PathBuf {
    config.run_dir.join(format!("{}.{extension}", config.name))
}

fn control_socket(config: &VmConfig) -> PathBuf {
    file(config, "ctl")
}

fn monitor_socket(config: &VmConfig) -> PathBuf {
    file(config, "qmp")
}

fn console_tail(config: &VmConfig) -> String {
    let read = |extension| std::fs::read(file(config, extension)).unwrap_or_default();
    let text = [read("qemu"), read("console")].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

fn ended(config: &VmConfig, child: &mut Child) -> VmError {
    // The control port closes a moment before the process is gone.
    let mut status = child.try_wait();
    for _ in 0..50 {
        if !matches!(status, Ok(None)) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
        status = child.try_wait();
    }
    let status = match status {
        Ok(Some(status)) => status.to_string(),
        Ok(None) => "control port closed".into(),
        Err(error) => error.to_string(),
    };
    VmError::Ended {
        name: config.name.clone(),
        status,
        tail: console_tail(config),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("sluice-vm-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("temporary folder");
        dir
    }

    #[test]
    fn an_absent_image_is_named_with_what_to_do() {
        let dir = image("absent");
        let error = Vm::boot(&VmConfig::new("x", &dir, &dir))
            .err()
            .expect("no image");
        let said = error.to_string();
        assert!(
            said.contains("vmlinux") && said.contains("cargo xtask setup --vm"),
            "{said}"
        );
    }

    #[test]
    fn an_absent_emulator_is_named_with_what_to_do() {
        let dir = image("noqemu");
        for file in ["vmlinux", "initrd.cpio"] {
            std::fs::write(dir.join(file), "").expect("written");
        }
        let mut config = VmConfig::new("x", &dir, &dir);
        config.qemu = dir.join("no-such-qemu");
        let said = Vm::boot(&config).err().expect("no emulator").to_string();
        assert!(
            said.contains("no-such-qemu") && said.contains("qemu-system-x86"),
            "{said}"
        );
    }

    #[test]
    fn an_emulator_that_ends_at_once_is_reported_with_its_last_words() {
        let dir = image("ends");
        for file in ["vmlinux", "initrd.cpio"] {
            std::fs::write(dir.join(file), "").expect("written");
        }
        let mut config = VmConfig::new("x", &dir, &dir);
        config.qemu = "ls".into();
        let said = Vm::boot(&config)
            .err()
            .expect("ls is no emulator")
            .to_string();
        assert!(
            said.contains("ended by itself") && said.contains("ls:"),
            "{said}"
        );
    }
}
