//! A server with the functional card, the daemon that owns it, callers over the daemon's socket, hosts on the cable.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use sluice_daemon::backend::{Address, Backends};
use sluice_daemon::owner::{LogReader, Owner, StartError};
use sluice_daemon::server::{Group, Limits, Server, Socket};
use sluice_daemon::service::{self, Handle};
use sluice_daemon::state::Store;
use sluice_device::Device;
use sluice_driver::card::{Card, CardError, CardOptions};
use sluice_rpc::client::{Client, ClientError};
use sluice_rpc::message::RpcError;
use sluice_sim::card::functional::FunctionalCard;
use sluice_sim::initiator::{Blocking, Config, Initiator};
use sluice_sim::link::LinkConfig;
use sluice_sim::scenario::lab::Lab;
use sluice_sim::scenario::server::demo_ssds;
use sluice_sim::ssd::{Latency, MSIX_TABLE, Ssd};
use sluice_sim::world::{World, WorldHandle, card_device, ssd_device};

/// The subsystem of these tests.
pub const NQN: &str = "nqn.2026-01.org.example:daemon";
/// Simulated clocks per millisecond.
pub const MS: u64 = 250_000;

/// SSD `n` is at `0000:0N:00.0`, from 1.
pub struct SimBackends {
    world: WorldHandle,
    ssds: Vec<Rc<RefCell<Ssd>>>,
    /// SSDs that cannot be opened, one bit each.
    pub shut: Rc<Cell<u32>>,
}

impl Backends for SimBackends {
    type Device = Box<dyn Device>;

    fn open(&mut self, name: &str, address: Option<&Address>) -> Result<Box<dyn Device>, String> {
        let Some(Address::Pci(text)) = address else {
            return Err(format!("{name} has no PCI address"));
        };
        let number: usize = text[5..7]
            .parse()
            .map_err(|_| format!("nothing is at {text}"))?;
        let ssd = number.checked_sub(1).and_then(|i| self.ssds.get(i));
        let ssd = ssd.ok_or_else(|| format!("nothing is at {text}"))?;
        if self.shut.get() >> number & 1 == 1 {
            return Err(format!("{text} is bound to another driver"));
        }
        Ok(ssd_device(
            &self.world,
            number - 1,
            MSIX_TABLE,
            ssd.borrow().config().vectors,
        ))
    }
}

/// All of it.
pub struct Bench {
    pub world: WorldHandle,
    pub ssds: Vec<Rc<RefCell<Ssd>>>,
    pub owner: Owner<SimBackends>,
    pub handle: Handle,
    pub lab: Lab,
    pub shut: Rc<Cell<u32>>,
    _server: Server,
    pub socket: PathBuf,
}

/// A folder of the test's own, empty.
pub fn folder(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("daemon-{name}-{}-{number}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

impl Bench {
    /// A new machine with two SSDs, and the daemon with what the state file in `folder` says.
    pub fn start(folder: &Path, cores: u8) -> Self {
        Self::try_start(folder, cores, 0).unwrap_or_else(|e| panic!("{e}"))
    }

    /// The same, with some SSDs that cannot be opened.
    pub fn try_start(folder: &Path, cores: u8, shut: u32) -> Result<Self, StartError> {
        Self::with_card(folder, FunctionalCard::new(cores, 1), shut, |device| {
            Card::boot(device, None, CardOptions::default())
        })
    }

    /// The same with this card, started so.
    pub fn with_card(
        folder: &Path,
        card: FunctionalCard,
        shut: u32,
        boot: impl FnOnce(Box<dyn Device>) -> Result<Card<Box<dyn Device>>, CardError>,
    ) -> Result<Self, StartError> {
        let world: WorldHandle = Rc::new(RefCell::new(World::new(Box::new(card))));
        let mut ssds = Vec::new();
        for mut config in demo_ssds(1) {
            config.latency = Latency {
                read: 2_000,
                write: 1_000,
                other: 500,
                ..Latency::ZERO
            };
            let ssd = Rc::new(RefCell::new(Ssd::new(config).expect("memory")));
            world.borrow_mut().add_ssd(Box::new(ssd.clone()));
            ssds.push(ssd);
        }
        let card = boot(card_device(&world)).expect("the card starts");
        let store = Store::open(&folder.join("state.json"))?;
        let (handle, jobs) = service::queue(Duration::from_secs(60));
        let shut = Rc::new(Cell::new(shut));
        let backends = SimBackends {
            world: world.clone(),
            ssds: ssds.clone(),
            shut: shut.clone(),
        };
        let owner = Owner::start(
            card,
            backends,
            store,
            None,
            (&handle, jobs),
            LogReader::new(None),
        )?;
        let socket = folder.join("s");
        let bound = Socket::bind(&socket, &Group::Own).unwrap_or_else(|e| panic!("{e}"));
        let server = Server::start(bound, handle.clone(), Limits::default());
        let lab = Lab::new(&world, &LinkConfig::default(), 1);
        Ok(Self {
            world,
            ssds,
            owner,
            handle,
            lab,
            shut,
            _server: server,
            socket,
        })
    }

    /// Something done on another thread while the daemon serves.
    pub fn serving<T: Send + 'static>(&mut self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let thread = thread::spawn(work);
        while !thread.is_finished() {
            self.owner.turn(Duration::from_millis(1));
        }
        thread
            .join()
            .unwrap_or_else(|e| std::panic::resume_unwind(e))
    }

    /// A call over the socket.
    pub fn try_call(&mut self, method: &str, params: Value) -> Result<Value, RpcError> {
        let (socket, method) = (self.socket.clone(), method.to_string());
        self.serving(move || {
            let mut client =
                Client::connect(&socket, Duration::from_secs(60)).unwrap_or_else(|e| panic!("{e}"));
            match client.call(&method, params) {
                Ok(value) => Ok(value),
                Err(ClientError::Refused(error)) => Err(error),
                Err(other) => panic!("{other}"),
            }
        })
    }

    /// One that must work.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.try_call(method, params)
            .unwrap_or_else(|e| panic!("{method}: {e}"))
    }

    /// One that must not; the code and the message.
    pub fn refused(&mut self, method: &str, params: Value) -> (i64, String) {
        match self.try_call(method, params) {
            Err(error) => (error.code, error.message),
            Ok(value) => panic!("{method}: {value}"),
        }
    }

    /// From nothing to a subsystem that serves both SSDs.
    pub fn configure(&mut self) {
        self.call(
            "sluice_set_port",
            json!({ "name": "eth0", "mac": "02:53:4c:55:43:01", "ipv4": "10.0.0.2/24" }),
        );
        for n in 1..=2 {
            let name = format!("ssd{n}");
            let params =
                json!({ "name": name, "trtype": "PCIe", "traddr": format!("0000:0{n}:00.0") });
            assert_eq!(
                self.call("bdev_nvme_attach_controller", params),
                json!([format!("{name}n1")])
            );
        }
        self.call(
            "nvmf_create_subsystem",
            json!({ "nqn": NQN, "serial_number": "SN1", "allow_any_host": true }),
        );
        for n in 1..=2 {
            let params = json!({ "nqn": NQN, "namespace": { "bdev_name": format!("ssd{n}n1") } });
            assert_eq!(self.call("nvmf_subsystem_add_ns", params), n);
        }
        for transport in ["TCP", "RDMA"] {
            self.call("nvmf_create_transport", json!({ "trtype": transport }));
            self.call("nvmf_subsystem_add_listener", listener(transport));
        }
    }

    /// A host's work, command by command.
    pub fn on<R>(&mut self, host: &mut Initiator, work: impl FnOnce(&mut Blocking<'_>) -> R) -> R {
        let lab = &mut self.lab;
        let mut advance = |host: &mut Initiator| lab.advance(host);
        let mut blocking = host.blocking(&mut advance);
        blocking.patience = 600_000 * MS;
        work(&mut blocking)
    }

    /// Lets the card go on, and the daemon look at it.
    pub fn run(&mut self, clocks: u64) {
        let until = self.lab.now() + clocks;
        while self.lab.now() < until {
            self.lab.advance_others();
        }
        self.owner.turn(Duration::ZERO);
    }

    /// Contexts of the notifications of a kind.
    pub fn notified(&mut self, kind: &str) -> Vec<String> {
        let all = self.call("notify_get_notifications", json!({}));
        let all = all.as_array().cloned().unwrap_or_default();
        let wanted = all.iter().filter(|n| n["type"] == kind);
        wanted
            .filter_map(|n| Some(n["ctx"].as_str()?.to_string()))
            .collect()
    }
}

/// Host `n` of 10.0.0.0/24.
pub fn host(n: u8) -> Initiator {
    Initiator::new(&Config::numbered(n))
}

/// Parameters of the listener at the card's port.
pub fn listener(transport: &str) -> Value {
    json!({
        "nqn": NQN,
        "listen_address": { "trtype": transport, "adrfam": "IPv4", "traddr": "10.0.0.2", "trsvcid": "4420" },
    })
}
