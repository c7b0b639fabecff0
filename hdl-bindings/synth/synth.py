#!/usr/bin/env python3
"""Estimates FPGA resources (Xilinx UltraScale+, yosys) block by block, out of context.

    target/tools/venv/bin/python hdl-bindings/synth/synth.py [--report FILE.json] [--block NAME ...] [--jobs N] [--dir DIR]

Prints a table of LUTs (LUTs used as memory included), flip-flops, block RAMs (36 Kb), UltraRAMs and DSPs. Blocks are those
of a card with one data core unless the column "built with" says otherwise; memories named there are smaller than on the card,
because the estimate of everything else does not depend on their depth. Exit code 1 if a block fails to synthesize.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import sysconfig
import time
from concurrent.futures import ThreadPoolExecutor

HERE = pathlib.Path(__file__).resolve().parent
RTL = HERE.parent / "rtl"

# name: (top module, file list, parameters, remark)
BLOCKS = {
    "tile": ("sluice_tile", "tile.f", {}, "TCM 512 KiB"),
    "rx": ("sluice_rx", "uncore.f", {}, ""),
    "tx": ("sluice_tx", "uncore.f", {}, ""),
    "mover": ("sluice_mover", "uncore.f", {}, ""),
    "trace": ("sluice_trace", "uncore.f", {}, ""),
    "packet memory": ("sluice_pm", "uncore.f", {"Bytes": 1 << 20}, "1 MiB instead of 16 MiB"),
    "core buses": ("sluice_core_mux", "uncore.f", {}, ""),
    "job collector": ("sluice_job_collect", "uncore.f", {}, "one of two"),
    "mail router": ("sluice_mail_router", "uncore.f", {}, ""),
    "deliveries": ("sluice_deliver", "uncore.f", {}, ""),
    "timers": ("sluice_watch", "uncore.f", {}, ""),
    "card registers": ("sluice_card_regs", "uncore.f", {}, "with MSI-X"),
    "pcie in": ("sluice_pcie_in", "uncore.f", {}, ""),
    "pcie out": ("sluice_pcie_out", "uncore.f", {}, ""),
}

# LUTs that one memory or shift-register primitive occupies.
LUT_MEMORY = {"RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8, "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4,
              "RAM32X1S": 1, "RAM64X1S": 1, "RAM128X1S": 2, "RAM256X1S": 4, "RAM256X1D": 8, "RAM32X16DR8": 8, "RAM64X8SW": 8,
              "RAM512X1S": 8, "SRL16E": 1, "SRLC16E": 1, "SRLC32E": 1}


def file_list(name, env):
    """(slang arguments, sources) of an .f file, includes followed, Verilator's own files left out."""
    options, sources = [], []
    for line in (RTL / name).read_text().splitlines():
        line = re.sub(r"\$\{(\w+)\}", lambda m: env[m.group(1)], line.split("//")[0].strip())
        if line.startswith("-f "):
            more = file_list(pathlib.Path(line[3:].strip()).name, env)
            options += more[0]
            sources += more[1]
        elif line.startswith("+incdir+"):
            options += ["-I", line[len("+incdir+"):]]
        elif line.startswith("-y "):
            options += ["-y", line[3:].strip()]
        elif line and not line.endswith(".vlt"):
            sources.append(line)
    return options, sources


def patched(sources, out):
    """slang rejects one implicit net of Ibex's that other tools take: the file is patched in a copy, as the build goes."""
    result = []
    for source in sources:
        if source.endswith("/ibex_top.sv"):
            text = pathlib.Path(source).read_text().replace("logic unused_scramble_inputs =", "wire unused_scramble_inputs =")
            source = str(out / "ibex_top.sv")
            pathlib.Path(source).write_text(text)
        result.append(source)
    return result


def script(top, files, parameters, out):
    """The yosys commands for one block."""
    options, sources = files
    generics = [f"-G {key}={value}" for key, value in parameters.items()]
    read = ["read_slang", "--top", top, "-D", "SYNTHESIS", "-D", "YOSYS", "--ignore-assertions",
            *generics, *options, *patched(sources, out)]
    return [" ".join(read), f"synth_xilinx -family xcup -top {top} -flatten -run begin:check",
            f"tee -q -o {out}/stat.json stat -json"]


def worker(commands):
    """Runs yosys commands in this process."""
    import pyosys.libyosys as ys

    design = ys.Design()
    for command in commands:
        ys.run_pass(command, design)


def totals(path):
    """Resources of the flattened top from yosys' statistics."""
    cells = json.loads(path.read_text())["design"]["num_cells_by_type"]

    def count(pattern):
        return sum(n for name, n in cells.items() if re.fullmatch(pattern, name))

    return {
        "lut": count(r"LUT[1-6]|INV") + sum(cells.get(name, 0) * luts for name, luts in LUT_MEMORY.items()),
        "ff": count(r"FD[CPRS]E"),
        "bram": count(r"RAMB36E2") + count(r"RAMB18E2") / 2,
        "uram": count(r"URAM288.*"),
        "dsp": count(r"DSP48E2"),
    }


def build(name, out, env):
    """Synthesizes one block in a process of its own; its row of the table."""
    top, files, parameters, remark = BLOCKS[name]
    folder = out / name.replace(" ", "_")
    folder.mkdir(parents=True, exist_ok=True)
    commands = script(top, file_list(files, env), parameters, folder)
    (folder / "commands.json").write_text(json.dumps(commands))
    begun = time.monotonic()
    with (folder / "log.txt").open("w") as log:
        failed = subprocess.run([sys.executable, __file__, "--worker", folder / "commands.json"], stdout=log,
                                stderr=subprocess.STDOUT).returncode
    row = {"block": name, "top": top, "built_with": remark, "ok": not failed, "seconds": round(time.monotonic() - begun, 1)}
    if failed:
        print(f"{name}: yosys failed, see {folder / 'log.txt'}", file=sys.stderr)
    else:
        row.update(totals(folder / "stat.json"))
    return row


def line(row):
    """One line of the table."""
    if not row["ok"]:
        return f"{row['block']:<16} failed"
    return (f"{row['block']:<16}{row['lut']:>8}{row['ff']:>8}{row['bram']:>8g}{row['uram']:>6}{row['dsp']:>5}"
            f"{row['seconds']:>8.0f}  {row['built_with']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", type=pathlib.Path, help="write the table as JSON")
    parser.add_argument("--block", action="append", choices=list(BLOCKS), help="only this block; may be repeated")
    parser.add_argument("--dir", type=pathlib.Path, default=HERE.parent.parent / "target" / "synth", help="where to work")
    parser.add_argument("--jobs", type=int, default=2, help="blocks at a time (default 2)")
    parser.add_argument("--worker", type=pathlib.Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(json.loads(args.worker.read_text()))
        return 0
    packages = pathlib.Path(sysconfig.get_paths()["purelib"])
    env = dict(os.environ, SLUICE_RTL=str(RTL), IBEX_DIR=str(packages / "pythondata_cpu_ibex" / "system_verilog"))
    print(f"{'block':<16}{'LUT':>8}{'FF':>8}{'BRAM36':>8}{'URAM':>6}{'DSP':>5}{'seconds':>8}  built with")
    rows = []
    with ThreadPoolExecutor(args.jobs) as pool:
        for row in pool.map(lambda name: build(name, args.dir.resolve(), env), args.block or BLOCKS):
            rows.append(row)
            print(line(row), flush=True)
    ok = all(row["ok"] for row in rows)
    if args.report:
        args.report.write_text(json.dumps({"ok": ok, "family": "xcup", "rows": rows}, indent=2) + "\n")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
