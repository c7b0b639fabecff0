#!/usr/bin/env python3
"""Generates everything that follows from the register map in hdl-bindings/rdl/.

    target/tools/venv/bin/python hdl-bindings/gen/generate.py           writes the committed files
    target/tools/venv/bin/python hdl-bindings/gen/generate.py --check   fails if a committed file is stale
    target/tools/venv/bin/python hdl-bindings/gen/generate.py --html DIR  also writes HTML documentation there

Generated files carry a header and are never edited by hand.
"""

import argparse
import pathlib
import shutil
import sys
import tempfile

from peakrdl_regblock import RegblockExporter
from peakrdl_regblock.cpuif.passthrough import PassthroughCpuif
from peakrdl_regblock.udps import ALL_UDPS
from systemrdl import RDLCompiler, RDLCompileError

import cheader
import rust
import svconst

HDL = pathlib.Path(__file__).resolve().parent.parent
ROOT = HDL.parent
COMMAND = "hdl-bindings/gen/generate.py"
# Folders that hold nothing but generated files, relative to the repository.
GENERATED = ["hdl-bindings/rtl/generated", "hdl-bindings/regs/src/generated", "hdl-bindings/regs/include"]


def compile_rdl(name):
    """The elaborated address map of hdl-bindings/rdl/<name>.rdl."""
    compiler = RDLCompiler()
    for udp in ALL_UDPS:
        compiler.register_udp(udp)
    compiler.compile_file(str(HDL / "rdl" / f"{name}.rdl"))
    return compiler.elaborate().top


def header(source, comment="//"):
    """First lines of a generated file."""
    return f"{comment} Generated from hdl-bindings/rdl/{source}.rdl by {COMMAND}; do not edit.\n"


def generate(out):
    """Writes all generated files below `out`, which mirrors the repository."""
    folders = {name: out / name for name in GENERATED}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    rtl, regs, include = folders.values()
    for name in ("core", "bar0"):
        top = compile_rdl(name)
        (regs / f"{name}_regs.rs").write_text(rust.inner_docs(top, header(name)) + rust.export(top))
        (include / f"sluice_{name}.h").write_text(header(name) + cheader.export(top))
        (rtl / f"sluice_{name}_offsets_pkg.sv").write_text(header(name) + svconst.export(top))
    modules = "".join(f"pub mod {name}_regs;\n" for name in ("bar0", "core"))
    (regs / "mod.rs").write_text("//! Register blocks generated from `hdl-bindings/rdl/`.\n\n" + modules)
    regblock(rtl)


def regblock(rtl):
    """The RTL of BAR0's plain registers. The core's registers are hand-written: they are heads of queues."""
    exporter = RegblockExporter()
    with tempfile.TemporaryDirectory() as tmp:
        exporter.export(compile_rdl("bar0"), tmp, cpuif_cls=PassthroughCpuif, default_reset_activelow=True,
                        default_reset_async=True, reuse_hwif_typedefs=False)
        for file in sorted(pathlib.Path(tmp).iterdir()):
            text = file.read_text().rstrip("\n") + "\n"
            (rtl / file.name).write_text(header("bar0") + text)


def stale(fresh):
    """Names of committed files that differ from those in `fresh`, missing and superfluous ones included."""
    names = set()
    for base in (fresh, ROOT):
        for folder in GENERATED:
            names |= {p.relative_to(base) for p in (base / folder).rglob("*") if p.is_file()}

    def text(base, name):
        path = base / name
        return path.read_bytes() if path.exists() else None

    return sorted(str(n) for n in names if text(fresh, n) != text(ROOT, n))


def html(out):
    """HTML documentation of both maps."""
    from peakrdl_html import HTMLExporter

    shutil.rmtree(out, ignore_errors=True)
    HTMLExporter().export([compile_rdl("core"), compile_rdl("bar0")], str(out), title="Sluice registers")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the committed files instead of writing them")
    parser.add_argument("--html", type=pathlib.Path, metavar="DIR", help="also write HTML documentation to DIR")
    args = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as tmp:
            fresh = pathlib.Path(tmp)
            generate(fresh)
            old = stale(fresh)
            if args.check and old:
                print("stale generated files, run " + COMMAND + ":\n  " + "\n  ".join(old), file=sys.stderr)
                return 1
            for name in old:
                target = ROOT / name
                if (fresh / name).exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(fresh / name, target)
                    print(f"wrote {name}")
                else:
                    target.unlink()
                    print(f"removed {name}")
        if args.html:
            html(args.html)
            print(f"wrote {args.html}")
    except RDLCompileError:
        return 1
    if not old:
        print("generated files are fresh")
    return 0


if __name__ == "__main__":
    sys.exit(main())
