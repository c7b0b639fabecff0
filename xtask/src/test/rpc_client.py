"""Does the daemon at this socket speak JSON-RPC as SPDK's target does? What judges is a client of its own: sockets and `json`, nothing
of the project's. Its calls have the parameters that SPDK's `rpc.py` sends, those left at their defaults included, and it looks for
the members of the results that SPDK documents (doc/jsonrpc.md).

usage: rpc_client.py SOCKET

The daemon has at least one port with an IPv4 address, and an SSD with a namespace of at least 128 blocks that no subsystem uses yet. Everything
that is added is removed again.
"""

import base64
import json
import socket
import sys

NQN = "nqn.2026-11.org.example:independent"
HOST = "nqn.2026-11.org.example:some-host"
DISCOVERY = "nqn.2014-08.org.nvmexpress.discovery"
# Seconds; far more than an answer takes.
PATIENCE = 60


class Connection:
    """A stream of JSON texts, read the way SPDK's client does: as much as makes a whole value."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(path)
        self.text = ""
        self.id = 0

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode())

    def receive(self):
        """The next value, or None when the other side has closed."""
        while True:
            text = self.text.lstrip()
            if text:
                try:
                    value, end = json.JSONDecoder().raw_decode(text)
                    self.text = text[end:]
                    return value
                except ValueError:
                    pass
            data = self.sock.recv(4096)
            if not data:
                return None
            self.text += data.decode()

    def request(self, method, params=None):
        self.id += 1
        request = {"jsonrpc": "2.0", "method": method, "id": self.id}
        if params:
            request["params"] = params
        # As SPDK's client writes it.
        return json.dumps(request, indent=2)

    def ask(self, method, params=None):
        self.send(self.request(method, params))
        answer = self.receive()
        assert answer is not None, f"{method}: closed without an answer"
        assert answer.get("jsonrpc") == "2.0" and answer.get("id") == self.id, f"{method}: {answer}"
        assert ("result" in answer) != ("error" in answer), f"{method}: {answer}"
        return answer

    def call(self, method, params=None):
        answer = self.ask(method, params)
        assert "result" in answer, f"{method} {params}: {answer}"
        return answer["result"]

    def refused(self, method, params, code):
        answer = self.ask(method, params)
        assert "error" in answer, f"{method} {params}: taken, gave {answer}"
        error = answer["error"]
        assert error["code"] == code, f"{method} {params}: code {code} wanted: {error}"
        assert isinstance(error["message"], str) and error["message"], f"{method}: {error}"
        return error["message"]


def has(what, value, members):
    """Every member is there and of its type."""
    assert isinstance(value, dict), f"{what}: an object wanted: {value}"
    for name, kind in members.items():
        assert name in value, f"{what}: {name} wanted: {value}"
        got = value[name]
        good = isinstance(got, kind) and (kind is bool or not isinstance(got, bool))
        assert good, f"{what}.{name}: {kind.__name__} wanted: {got!r}"


def named(values, name, value):
    found = [v for v in values if v.get(name) == value]
    assert len(found) == 1, f"one with {name} {value} wanted: {values}"
    return found[0]


def application(c):
    methods = c.call("rpc_get_methods", {"current": False, "include_aliases": False})
    for name in ["nvmf_create_subsystem", "bdev_nvme_attach_controller", "log_set_level", "spdk_get_version"]:
        assert name in methods, f"{name} is not listed"
    version = c.call("spdk_get_version")
    has("version", version, {"version": str, "fields": dict})
    has("version.fields", version["fields"], {"major": int, "minor": int, "patch": int, "suffix": str})
    before = c.call("log_get_level")
    for level in ["DEBUG", before]:
        assert c.call("log_set_level", {"level": level}) is True
        assert c.call("log_get_level") == level
    c.refused("log_set_level", {"level": "LOUD"}, -32602)
    kinds = c.call("notify_get_types")
    assert "bdev_register" in kinds, kinds
    for event in c.call("notify_get_notifications", {"id": 0, "max": 10}):
        has("notification", event, {"type": str, "ctx": str, "id": int})


def devices(c):
    """Gives the name of a block device that is free."""
    bdevs = c.call("bdev_get_bdevs")
    assert bdevs, "there are no block devices"
    for bdev in bdevs:
        has(
            "bdev",
            bdev,
            {
                "name": str,
                "aliases": list,
                "product_name": str,
                "block_size": int,
                "num_blocks": int,
                "assigned_rate_limits": dict,
                "claimed": bool,
                "zoned": bool,
                "supported_io_types": dict,
                "driver_specific": dict,
            },
        )
        assert c.call("bdev_get_bdevs", {"name": bdev["name"]}) == [bdev]
        assert c.call("bdev_get_bdevs", {"name": bdev["name"], "timeout": 0}) == [bdev]
    c.refused("bdev_get_bdevs", {"name": "Nvme9n9"}, -19)
    controllers = c.call("bdev_nvme_get_controllers")
    for controller in controllers:
        has("controller", controller, {"name": str, "ctrlrs": list})
        has("controller.ctrlrs", controller["ctrlrs"][0], {"trid": dict})
        has("trid", controller["ctrlrs"][0]["trid"], {"trtype": str, "traddr": str})
        health = c.call("bdev_nvme_get_controller_health_info", {"name": controller["name"]})
        numbers = [
            "temperature_celsius",
            "available_spare_percentage",
            "available_spare_threshold_percentage",
            "percentage_used",
            "data_units_read",
            "data_units_written",
            "host_read_commands",
            "host_write_commands",
            "controller_busy_time",
            "power_cycles",
            "power_on_hours",
            "unsafe_shutdowns",
            "media_errors",
            "num_err_log_entries",
        ]
        texts = ["model_number", "serial_number", "firmware_revision", "traddr"]
        has("health", health, {**{n: int for n in numbers}, **{t: str for t in texts}})
    administration(c, controllers[0]["name"])
    # An SSD elsewhere, a name that is taken, and an SSD that is in use or unknown.
    switched_off = {"prchk_reftag": False, "prchk_guard": False, "hdgst": False, "ddgst": False}
    where = {"trtype": "tcp", "traddr": "192.0.2.9", "name": "far", **switched_off}
    c.refused("bdev_nvme_attach_controller", where, -32602)
    where = {"trtype": "PCIe", "traddr": "0000:ff:1f.7", "name": controllers[0]["name"], **switched_off}
    c.refused("bdev_nvme_attach_controller", where, -114)
    c.refused("bdev_nvme_detach_controller", {"name": "Nvme9"}, -19)
    free = [b["name"] for b in bdevs if not b["claimed"]]
    assert free, f"a block device that is free is wanted: {bdevs}"
    return free[0]


def administration(c, name):
    """Commands in SPDK's form: Identify Controller, and one that would break what the SSD is for."""

    def command(opcode, cdw10):
        sqe = bytearray(64)
        sqe[0] = opcode
        sqe[40:44] = cdw10.to_bytes(4, "little")
        return base64.urlsafe_b64encode(bytes(sqe)).decode()

    identify = {
        "name": name,
        "cmd_type": "admin",
        "data_direction": "c2h",
        "cmdbuf": command(0x06, 1),
        "data_len": 4096,
        "timeout_ms": 1000,
    }
    answer = c.call("bdev_nvme_send_cmd", identify)
    has("send_cmd", answer, {"cpl": str, "data": str})
    completion = base64.urlsafe_b64decode(answer["cpl"])
    assert len(completion) == 16 and completion[14:] in (b"\0\0", b"\1\0"), completion
    data = base64.urlsafe_b64decode(answer["data"])
    serial = c.call("bdev_nvme_get_controller_health_info", {"name": name})["serial_number"]
    assert data[4:24].decode().strip() == serial, f"{serial} wanted: {data[4:24]}"
    c.refused("bdev_nvme_send_cmd", {**identify, "cmd_type": "io"}, -32602)
    c.refused("bdev_nvme_send_cmd", {**identify, "cmdbuf": "AAAA"}, -32602)
    c.refused("bdev_nvme_send_cmd", {**identify, "cmdbuf": "no base64!"}, -32602)
    c.refused("bdev_nvme_send_cmd", {**identify, "name": "Nvme9"}, -19)
    c.refused("bdev_nvme_send_cmd", {**identify, "cmdbuf": command(0x04, 1), "data_len": 0}, -22)
    where = {"filename": "/nonexistent/firmware", "bdev_name": name + "n1"}
    c.refused("bdev_nvme_apply_firmware", where, -32602)
    assert c.call("bdev_nvme_reset_controller", {"name": name}) is True
    c.refused("bdev_nvme_reset_controller", {"name": "Nvme9"}, -19)


def transports(c):
    there = [t["trtype"] for t in c.call("nvmf_get_transports")]
    for name in ["TCP", "RDMA"]:
        params = {
            "trtype": name,
            "zcopy": False,
            "no_srq": False,
            "c2h_success": True,
            "dif_insert_or_strip": False,
            "no_wr_batching": False,
            "disable_mappable_bar0": False,
            "disable_adaptive_irq": False,
            "disable_shadow_doorbells": False,
            "disable_command_passthru": False,
        }
        if name not in there:
            assert c.call("nvmf_create_transport", params) is True
        # SPDK's code for one that exists.
        c.refused("nvmf_create_transport", params, -32603)
        (transport,) = c.call("nvmf_get_transports", {"trtype": name})
        numbers = ["max_queue_depth", "max_io_qpairs_per_ctrlr", "in_capsule_data_size", "max_io_size", "io_unit_size"]
        has("transport", transport, {"trtype": str, **{n: int for n in numbers}})
        assert transport["trtype"] == name, transport
    c.refused("nvmf_create_transport", {"trtype": "FC"}, -32602)


def subsystem(c, bdev, address):
    defaults = {"allow_any_host": False, "ana_reporting": False, "passthrough": False, "enable_nssr": False}
    new = {"nqn": NQN, "serial_number": "SPDK00000000000001", "model_number": "Independent", **defaults}
    assert c.call("nvmf_create_subsystem", new) is True
    c.refused("nvmf_create_subsystem", new, -32603)
    c.refused("nvmf_create_subsystem", {**new, "nqn": "no-nqn"}, -32602)
    c.refused("nvmf_create_subsystem", {"serial_number": "S"}, -32602)
    c.refused("nvmf_create_subsystem", {**new, "nqn": 7}, -32602)
    c.refused("nvmf_create_subsystem", {**new, "enable_nssr": True}, -32602)
    message = c.refused("nvmf_create_subsystem", {**new, "colour": "red"}, -32602)
    assert "colour" in message, message

    uuid = "6f1c1a4e-0b5e-4c39-8f3e-0d6a4f2b9c11"
    namespace = {"bdev_name": bdev, "nsid": 3, "uuid": uuid, "no_auto_visible": False, "hide_metadata": False}
    add = {"nqn": NQN, "namespace": namespace}
    assert c.call("nvmf_subsystem_add_ns", add) == 3
    c.refused("nvmf_subsystem_add_ns", add, -32602)
    c.refused("nvmf_subsystem_add_ns", {"nqn": NQN, "namespace": {"bdev_name": "Nvme9n9"}}, -32602)
    c.refused("nvmf_subsystem_add_ns", {"nqn": NQN, "namespace": {"bdev_name": bdev, "nsid": "3"}}, -32602)
    c.refused("nvmf_subsystem_add_ns", {"nqn": NQN, "namespace": []}, -32602)

    listen = {"nqn": NQN, "secure_channel": False, "listen_address": address}
    assert c.call("nvmf_subsystem_add_listener", listen) is True
    c.refused("nvmf_subsystem_add_listener", listen, -32602)
    elsewhere = {**address, "traddr": "203.0.113.77"}
    c.refused("nvmf_subsystem_add_listener", {**listen, "listen_address": elsewhere}, -32602)
    c.refused("nvmf_subsystem_add_listener", {**listen, "secure_channel": True}, -32602)

    assert c.call("nvmf_subsystem_add_host", {"nqn": NQN, "host": HOST}) is True
    assert c.call("nvmf_subsystem_allow_any_host", {"nqn": NQN, "allow_any_host": True}) is True

    seen = c.call("nvmf_get_subsystems")
    found = named(seen, "subtype", "Discovery")
    has("discovery", found, {"nqn": str, "listen_addresses": list, "allow_any_host": bool, "hosts": list})
    assert found["nqn"] == DISCOVERY, found
    found = named(seen, "nqn", NQN)
    has(
        "subsystem",
        found,
        {
            "subtype": str,
            "listen_addresses": list,
            "allow_any_host": bool,
            "hosts": list,
            "serial_number": str,
            "model_number": str,
            "min_cntlid": int,
            "max_cntlid": int,
            "namespaces": list,
        },
    )
    assert found["serial_number"] == new["serial_number"] and found["model_number"] == new["model_number"], found
    assert found["allow_any_host"] is True and found["hosts"] == [{"nqn": HOST}], found
    (space,) = found["namespaces"]
    assert space["nsid"] == 3 and space["bdev_name"] == bdev and space["uuid"] == uuid, space
    where = named(found["listen_addresses"], "traddr", address["traddr"])
    assert where["trtype"] == "TCP" and where["trsvcid"] == address["trsvcid"], where
    assert c.call("nvmf_get_subsystems", {"nqn": NQN}) == [found]
    for listener in c.call("nvmf_subsystem_get_listeners", {"nqn": NQN}):
        has("listener", listener, {"address": dict})
    claimed = c.call("bdev_get_bdevs", {"name": bdev})[0]["claimed"]
    assert claimed is True, f"{bdev} is in use now"

    stats = c.call("nvmf_get_stats")
    has("stats", stats, {"poll_groups": list})
    assert stats["poll_groups"], stats
    for group in stats["poll_groups"]:
        counters = ["admin_qpairs", "io_qpairs", "current_admin_qpairs", "current_io_qpairs", "pending_bdev_io", "completed_nvme_io"]
        has("stats.poll_groups", group, {"name": str, "transports": list, **{n: int for n in counters}})
        for transport in group["transports"]:
            has("stats.transports", transport, {"trtype": str})
    # Nobody is connected.
    assert c.call("nvmf_subsystem_get_controllers", {"nqn": NQN}) == []
    assert c.call("nvmf_subsystem_get_qpairs", {"nqn": NQN, "tgt_name": "nvmf_tgt"}) == []
    c.refused("nvmf_subsystem_get_controllers", {"nqn": NQN + "-other"}, -32602)
    c.refused("nvmf_subsystem_get_qpairs", {"nqn": NQN + "-other"}, -32602)

    assert c.call("nvmf_subsystem_allow_any_host", {"nqn": NQN, "allow_any_host": False}) is True
    assert c.call("nvmf_subsystem_remove_host", {"nqn": NQN, "host": HOST}) is True
    c.refused("nvmf_subsystem_remove_host", {"nqn": NQN, "host": HOST}, -32602)
    assert c.call("nvmf_subsystem_remove_listener", {"nqn": NQN, "listen_address": address}) is True
    c.refused("nvmf_subsystem_remove_listener", {"nqn": NQN, "listen_address": address}, -32602)
    assert c.call("nvmf_subsystem_remove_ns", {"nqn": NQN, "nsid": 3}) is True
    c.refused("nvmf_subsystem_remove_ns", {"nqn": NQN, "nsid": 3}, -32602)
    assert c.call("nvmf_delete_subsystem", {"nqn": NQN}) is True
    c.refused("nvmf_delete_subsystem", {"nqn": NQN}, -32602)
    assert all(s["nqn"] != NQN for s in c.call("nvmf_get_subsystems"))


def framing(path):
    """Texts back to back, in pieces, in batches."""
    c = Connection(path)
    both = c.request("spdk_get_version") + "\n" + c.request("log_get_level") + c.request("framework_wait_init")
    c.send(both)
    assert [c.receive()["id"] for _ in range(3)] == [1, 2, 3], "answers in the order of the requests"
    text = c.request("spdk_get_version").encode()
    for i in range(len(text)):
        c.send(text[i : i + 1])
    assert c.receive()["id"] == 4
    c.send('[{"method":"log_get_level","id":"a"},{"method":"log_get_level"},{"method":"nope","id":"b"},7]')
    batch = c.receive()
    assert isinstance(batch, list) and len(batch) == 3, f"one answer for each but the notification: {batch}"
    assert {a["id"] for a in batch} == {"a", "b", None}, batch
    c.send('{"jsonrpc":"2.0","method":"log_get_level"}')
    assert c.call("framework_wait_init") is True, "a notification has no answer"


def malformed(path):
    """What is wrong is answered with its code; what cannot be gone on with is closed; others are not disturbed."""
    other = Connection(path)
    for text, code in [
        ('{"method": "log_get_level" "id": 1}', -32700),
        ('{"method": "\\q", "id": 1}', -32700),
        (b'{"method": "\xff", "id": 1}', -32700),
        ("[" * 300 + "]" * 300, -32700),
        ("{}", -32600),
        ("[]", -32600),
        ('{"method": 5, "id": 1}', -32600),
        ('{"method": "log_get_level", "id": {}}', -32600),
        ('{"jsonrpc": "1.0", "method": "log_get_level", "id": 1}', -32600),
        ('{"method": "nvmf_make_coffee", "id": 1}', -32601),
        ('{"method": "nvmf_delete_subsystem", "id": 1, "params": ["nqn"]}', -32602),
        ('{"method": "nvmf_delete_subsystem", "id": 1, "params": {"nqn": null}}', -32602),
        ('{"method": "nvmf_delete_subsystem", "id": 1, "params": "nqn"}', -32602),
    ]:
        c = Connection(path)
        c.send(text)
        answer = c.receive()
        assert answer and answer.get("error", {}).get("code") == code, f"{text!r}: {code} wanted: {answer}"
        assert other.call("framework_wait_init") is True
    # Not even the beginning of a text: told so, and closed.
    c = Connection(path)
    c.send("GET / HTTP/1.1\r\n\r\n")
    answer = c.receive()
    assert answer and answer["error"]["code"] == -32700, answer
    assert c.receive() is None, "closed"
    # A text without an end is not kept for ever.
    c = Connection(path)
    closed, sent = False, 0
    try:
        while sent < 64 << 20:
            c.send('{"' + "x" * 65536)
            sent += 65536
        answer = c.receive()
    except (BrokenPipeError, ConnectionResetError):
        closed = True
    assert closed, f"closed long before {sent} bytes"
    assert other.call("framework_wait_init") is True
    # Half a request, and gone.
    c = Connection(path)
    c.send('{"method": "log_get_level", "id"')
    c.sock.close()
    assert other.call("framework_wait_init") is True


def main():
    (path,) = sys.argv[1:]
    c = Connection(path)
    application(c)
    bdev = devices(c)
    transports(c)
    ports = c.call("sluice_get_ports")
    port = next(p for p in ports if p.get("ipv4"))
    address = {
        "trtype": "tcp",
        "traddr": port["ipv4"].split("/")[0],
        "trsvcid": str(port.get("io_port", 4420)),
        "adrfam": "ipv4",
    }
    subsystem(c, bdev, address)
    framing(path)
    malformed(path)
    print("all holds")


if __name__ == "__main__":
    main()
