//! Against a tree of files that looks like sysfs, with a thread that does what the kernel does when it is written to.

use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use super::*;

struct Tree(TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(TempDir::new().expect("a folder"));
        for folder in [
            "sys/bus/pci/devices",
            "sys/kernel/iommu_groups",
            "dev/vfio/devices",
        ] {
            fs::create_dir_all(tree.path(folder)).expect("a folder");
        }
        fs::write(tree.path("sys/bus/pci/drivers_probe"), "").expect("a file");
        for driver in ["vfio-pci", "nvme", "pcieport"] {
            let folder = tree.path(&format!("sys/bus/pci/drivers/{driver}"));
            fs::create_dir_all(&folder).expect("a folder");
            fs::write(folder.join("unbind"), "").expect("a file");
        }
        tree
    }

    fn path(&self, rest: &str) -> PathBuf {
        self.0.path().join(rest)
    }

    fn system(&self) -> System {
        System {
            sys: self.path("sys"),
            dev: self.path("dev"),
        }
    }

    fn add(&self, address: &str, ids: (u16, u16, u32), driver: Option<&str>, group: Option<u32>) {
        let folder = self.path(&format!("sys/bus/pci/devices/{address}"));
        fs::create_dir_all(&folder).expect("a folder");
        let (vendor, device, class) = ids;
        for (name, text) in [
            ("vendor", format!("0x{vendor:04x}\n")),
            ("device", format!("0x{device:04x}\n")),
            ("class", format!("0x{class:06x}\n")),
            ("driver_override", "(null)\n".into()),
        ] {
            fs::write(folder.join(name), text).expect("a file");
        }
        if let Some(driver) = driver {
            let to = format!("../../drivers/{driver}");
            symlink(to, folder.join("driver")).expect("a link");
        }
        if let Some(group) = group {
            let members = self.path(&format!("sys/kernel/iommu_groups/{group}/devices"));
            fs::create_dir_all(&members).expect("a folder");
            symlink(&folder, members.join(address)).expect("a link");
            let to = format!("../../../../kernel/iommu_groups/{group}");
            symlink(to, folder.join("iommu_group")).expect("a link");
        }
    }

    /// Lets drivers go of what is written to `unbind`, and gives what is written to `drivers_probe` to the driver of the
    /// override, or to `usual`.
    fn kernel(&self, address: &'static str, usual: Option<&'static str>) -> Kernel {
        let (sys, end) = (self.path("sys"), Arc::new(AtomicBool::new(false)));
        let ended = end.clone();
        let thread = std::thread::spawn(move || {
            let folder = sys.join("bus/pci/devices").join(address);
            let probe = sys.join("bus/pci/drivers_probe");
            while !ended.load(Ordering::Relaxed) {
                let driver = folder.join("driver");
                let unbind = driver.join("unbind");
                if fs::read_to_string(&unbind).is_ok_and(|text| text == address) {
                    fs::write(&unbind, "").expect("a file");
                    fs::remove_file(&driver).expect("a link");
                }
                if fs::read_to_string(&probe).is_ok_and(|text| text == address) {
                    fs::write(&probe, "").expect("a file");
                    let over = fs::read_to_string(folder.join("driver_override")).expect("a file");
                    let over = over.replace("(null)\n", "");
                    let wanted = Some(over.trim())
                        .filter(|o| o.starts_with("vfio"))
                        .or(usual);
                    if let Some(wanted) = wanted {
                        symlink(format!("../../drivers/{wanted}"), &driver).expect("a link");
                    }
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Kernel(end, Some(thread))
    }
}

struct Kernel(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Drop for Kernel {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().map(std::thread::JoinHandle::join);
    }
}

const CARD: (u16, u16, u32) = (pci::VENDOR, pci::DEVICE, pci::CLASS);
const SSD: (u16, u16, u32) = (0x1B36, 0x0010, 0x01_08_02);
const PORT: (u16, u16, u32) = (0x1B36, 0x000C, 0x06_04_00);

fn at(text: &str) -> PciAddress {
    text.parse().expect("an address")
}

#[test]
fn cards_and_ssds_are_found_by_number_and_class_and_nothing_else() {
    let tree = Tree::new();
    tree.add("0000:02:00.0", SSD, Some("nvme"), Some(3));
    tree.add("0000:01:00.0", CARD, None, None);
    tree.add("0000:00:01.0", PORT, Some("pcieport"), Some(1));
    let found = tree.system().candidates().expect("readable");
    let seen: Vec<_> = found
        .iter()
        .map(|f| {
            (
                f.address.to_string(),
                f.kind(),
                f.driver.as_deref(),
                f.group,
            )
        })
        .collect();
    let want = [
        ("0000:01:00.0".into(), Some(Kind::Card), None, None),
        (
            "0000:02:00.0".into(),
            Some(Kind::Ssd),
            Some("nvme"),
            Some(3),
        ),
    ];
    assert_eq!(seen, want);
}

#[test]
fn what_stands_in_the_way_is_named_with_what_to_do() {
    let tree = Tree::new();
    tree.add("0000:01:00.0", CARD, Some("vfio-pci"), None);
    tree.add("0000:02:00.0", SSD, Some("nvme"), Some(3));
    tree.add("0000:03:00.0", SSD, None, Some(4));
    tree.add("0000:04:00.0", SSD, Some("vfio-pci"), Some(5));
    tree.add("0000:04:00.1", SSD, Some("nvme"), Some(5));
    tree.add("0000:00:01.0", PORT, Some("pcieport"), Some(5));
    for (address, want) in [
        ("0000:09:00.0", "no such PCI device"),
        ("0000:01:00.0", "intel_iommu=on"),
        (
            "0000:02:00.0",
            "echo 0000:02:00.0 > /sys/bus/pci/devices/0000:02:00.0/driver/unbind",
        ),
        (
            "0000:03:00.0",
            "echo vfio-pci > /sys/bus/pci/devices/0000:03:00.0/driver_override",
        ),
        (
            "0000:04:00.0",
            "with other drivers: 0000:04:00.1 (nvme). Bind",
        ),
    ] {
        let error = tree
            .system()
            .check(at(address))
            .expect_err("in the way")
            .to_string();
        assert!(error.contains(want), "{error}");
    }
    tree.add("0000:05:00.0", SSD, Some("vfio-pci"), Some(6));
    tree.add("0000:00:02.0", PORT, Some("pcieport"), Some(6));
    assert_eq!(
        tree.system().check(at("0000:05:00.0")).expect("good").group,
        Some(6)
    );
}

#[test]
fn a_device_goes_to_vfio_and_back_to_its_driver() {
    const ADDRESS: &str = "0000:02:00.0";
    let tree = Tree::new();
    tree.add(ADDRESS, SSD, Some("nvme"), Some(3));
    let _kernel = tree.kernel(ADDRESS, Some("nvme"));
    let (system, address) = (tree.system(), at(ADDRESS));
    let driver = || system.look(address).expect("there").driver;
    system.bind(address).expect("binds");
    assert_eq!(driver().as_deref(), Some("vfio-pci"));
    system.bind(address).expect("has it already");
    system.check(address).expect("nothing is in the way");
    // The tree's files keep what is longer; the kernel's do not.
    fs::write(
        tree.path("sys/bus/pci/devices/0000:02:00.0/driver_override"),
        "",
    )
    .expect("a file");
    system.unbind(address).expect("unbinds");
    // It comes by itself, and some drivers take their time.
    let give_up = Instant::now() + PATIENCE;
    while driver().as_deref() != Some("nvme") {
        assert!(Instant::now() < give_up, "{:?}", driver());
    }
    system.unbind(address).expect("is not vfio's");
}

#[test]
fn binding_without_iommu_or_without_the_driver_changes_nothing() {
    let tree = Tree::new();
    tree.add("0000:02:00.0", SSD, Some("nvme"), None);
    tree.add("0000:03:00.0", SSD, Some("nvme"), Some(1));
    fs::remove_dir_all(tree.path("sys/bus/pci/drivers/vfio-pci")).expect("there");
    for (address, want) in [
        ("0000:02:00.0", "no IOMMU group"),
        ("0000:03:00.0", "modprobe vfio-pci"),
    ] {
        let error = tree
            .system()
            .bind(at(address))
            .expect_err("cannot")
            .to_string();
        assert!(error.contains(want), "{error}");
        let over = format!("sys/bus/pci/devices/{address}/driver_override");
        assert_eq!(
            fs::read_to_string(tree.path(&over)).expect("there"),
            "(null)\n"
        );
    }
}

#[test]
fn the_character_device_of_a_function_is_found_if_there_is_one() {
    let tree = Tree::new();
    tree.add("0000:02:00.0", SSD, Some("vfio-pci"), Some(3));
    let error = tree
        .system()
        .character_device(at("0000:02:00.0"))
        .expect_err("none");
    assert!(error.to_string().contains("modprobe vfio-pci"), "{error}");
    fs::create_dir_all(tree.path("sys/bus/pci/devices/0000:02:00.0/vfio-dev/vfio4"))
        .expect("a folder");
    let path = tree
        .system()
        .character_device(at("0000:02:00.0"))
        .expect("there");
    assert_eq!(path, tree.path("dev/vfio/devices/vfio4"));
}
