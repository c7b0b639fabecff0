"""SPDK's own command line client (spdk-rpc, of SPDK's Python package) drives the daemon.

Run as: spdk_rpc.py SOCKET ADDRESS, the IPv4 address of a port of the card. What an operator types, and what orchestration made for SPDK runs: nothing here knows the daemon but
through the client.
"""

import json
import subprocess
import sys

NQN = "nqn.2026-11.io.github.sluice:spdk"
HOST = "nqn.2014-08.org.nvmexpress:uuid:5f6e3a51-6e4b-4f5c-9f5e-0f6b8d0c2a11"
UUID = "6f1c1a4e-0b5e-4c39-8f3e-0d6a4f2b9c12"

socket, card = sys.argv[1:]


def client(*arguments, text=""):
    command = [sys.executable, "-m", "spdk.spdk_rpc", "-s", socket, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, input=text, timeout=120)


def rpc(*arguments, text=""):
    """What it prints: JSON, or words."""
    done = client(*arguments, text=text)
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    try:
        return json.loads(done.stdout)
    except ValueError:
        return done.stdout.strip()


def refused(*arguments, code):
    done = client(*arguments)
    assert done.returncode == 1, f"{arguments}: taken: {done.stdout}"
    said = done.stdout + done.stderr
    assert str(code) in said and "Traceback" not in said, f"{arguments}: {code} wanted: {said}"


def named(values, key, value):
    found = [v for v in values if v[key] == value]
    assert len(found) == 1, f"one with {key} {value} wanted: {values}"
    return found[0]


def application():
    assert "version" in rpc("spdk_get_version")
    assert "nvmf_create_subsystem" in rpc("rpc_get_methods")
    level = rpc("log_get_level")
    for new in ["DEBUG", level]:
        rpc("log_set_level", new)
        assert rpc("log_get_level") == new
    rpc("framework_wait_init")
    assert "bdev_register" in rpc("notify_get_types")
    rpc("notify_get_notifications", "-i", 0, "-n", 10)


def devices():
    bdevs = rpc("bdev_get_bdevs")
    (same,) = rpc("bdev_get_bdevs", "-b", bdevs[0]["name"])
    assert same == bdevs[0]
    refused("bdev_get_bdevs", "-b", "Nvme9n9", code=-19)
    controller = rpc("bdev_nvme_get_controllers")[0]["name"]
    assert rpc("bdev_nvme_get_controllers", "-n", controller)[0]["name"] == controller
    health = rpc("bdev_nvme_get_controller_health_info", "-c", controller)
    assert 200 < health["temperature_celsius"] + 273 < 400, health
    rpc("bdev_nvme_reset_controller", controller)
    # Identify Controller, as rpc.py sends it.
    identify = "BgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="
    rpc("bdev_nvme_send_cmd", "-n", controller, "-t", "admin", "-r", "c2h", "-c", identify, "-D", 4096)
    refused("bdev_nvme_attach_controller", "-b", controller, "-t", "PCIe", "-a", "0000:ff:1f.7", code=-114)
    refused("bdev_nvme_detach_controller", "Nvme9", code=-19)
    stats = rpc("bdev_get_iostat", "--names", bdevs[0]["name"])
    assert stats["bdevs"][0]["name"] == bdevs[0]["name"], stats
    rpc("bdev_get_iostat", "--reset-mode", "none")
    refused("bdev_get_iostat", "--names", "Nvme9n9", code=-19)
    refused("bdev_get_iostat", "--reset-mode", "all", code=-32602)
    return next(b["name"] for b in bdevs if not b["claimed"])


def subsystem(bdev, address):
    there = [t["trtype"] for t in rpc("nvmf_get_transports")]
    for transport in ["TCP", "RDMA"]:
        if transport not in there:
            rpc("nvmf_create_transport", "-t", transport)
        refused("nvmf_create_transport", "-t", transport, code=-32603)
        assert rpc("nvmf_get_transports", "--trtype", transport)[0]["trtype"] == transport
    rpc("nvmf_create_subsystem", NQN, "-s", "SPDK00000000000002", "-d", "SPDK bdev Controller")
    refused("nvmf_create_subsystem", NQN, code=-32603)
    rpc("nvmf_subsystem_add_ns", NQN, bdev, "-n", 5, "-u", UUID)
    refused("nvmf_subsystem_add_ns", NQN, "Nvme9n9", code=-32602)
    where = ["-t", "tcp", "-f", "ipv4", "-a", address["traddr"], "-s", address["trsvcid"]]
    rpc("nvmf_subsystem_add_listener", NQN, *where)
    refused("nvmf_subsystem_add_listener", NQN, "-t", "tcp", "-f", "ipv4", "-a", "203.0.113.77", "-s", 4420, code=-32602)
    rpc("nvmf_subsystem_add_host", NQN, HOST)
    rpc("nvmf_subsystem_allow_any_host", NQN, "--allow-any-host")
    found = named(rpc("nvmf_get_subsystems"), "nqn", NQN)
    assert rpc("nvmf_get_subsystems", NQN) == [found]
    assert found["hosts"] == [{"nqn": HOST}] and found["allow_any_host"] is True, found
    assert [(n["nsid"], n["bdev_name"], n["uuid"]) for n in found["namespaces"]] == [(5, bdev, UUID)], found
    assert [(a["traddr"], a["trsvcid"]) for a in found["listen_addresses"]] == [(address["traddr"], address["trsvcid"])], found
    assert rpc("nvmf_subsystem_get_listeners", NQN)[0]["address"]["traddr"] == address["traddr"]
    assert rpc("nvmf_subsystem_get_controllers", NQN) == []
    assert rpc("nvmf_subsystem_get_qpairs", NQN) == []
    assert rpc("nvmf_get_stats")["poll_groups"]


def saved():
    """What it saves sets the same up again, with nothing but its own load."""
    before = rpc("nvmf_get_subsystems", NQN)
    config = rpc("save_config")
    text = json.dumps(config)
    rpc("nvmf_delete_subsystem", NQN)
    refused("nvmf_get_subsystems", NQN, code=-32602)
    only = {"subsystems": [{"subsystem": "nvmf", "config": []}]}
    for part in config["subsystems"]:
        for call in part["config"] or []:
            if NQN in json.dumps(call):
                only["subsystems"][0]["config"].append(call)
    assert len(only["subsystems"][0]["config"]) >= 4, text
    rpc("load_config", text=json.dumps(only))
    assert rpc("nvmf_get_subsystems", NQN) == before


def removal(address):
    where = ["-t", "tcp", "-f", "ipv4", "-a", address["traddr"], "-s", address["trsvcid"]]
    rpc("nvmf_subsystem_allow_any_host", NQN, "--no-allow-any-host")
    rpc("nvmf_subsystem_remove_host", NQN, HOST)
    refused("nvmf_subsystem_remove_host", NQN, HOST, code=-32602)
    rpc("nvmf_subsystem_remove_listener", NQN, *where)
    rpc("nvmf_subsystem_remove_ns", NQN, 5)
    refused("nvmf_subsystem_remove_ns", NQN, 5, code=-32602)
    rpc("nvmf_delete_subsystem", NQN)
    refused("nvmf_delete_subsystem", NQN, code=-32602)


def batch():
    lines = "spdk_get_version\nlog_get_level\nnvmf_get_transports\n"
    done = client(text=lines)
    assert done.returncode == 0 and "TCP" in done.stdout, done
    done = client("-b", text=lines)
    assert done.returncode == 0 and "TCP" in done.stdout, done


application()
batch()
address = {"traddr": card, "trsvcid": "4420"}
subsystem(devices(), address)
saved()
removal(address)
print("all holds")
