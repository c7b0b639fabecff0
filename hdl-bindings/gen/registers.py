"""What the exporters want to know of a register map, apart from how they spell it."""

import re
import textwrap

from systemrdl.node import RegNode


def prose(node):
    """One line per sentence group: name or description, whitespace folded."""
    text = node.get_property("desc") or node.get_property("name") or node.inst_name
    return re.sub(r"\s+", " ", text).strip()


def titled(node):
    """Name and description in one."""
    name, desc = node.get_property("name"), node.get_property("desc")
    if not desc or name == node.inst_name:
        return prose(node)
    return f"{name}. " + re.sub(r"\s+", " ", desc).strip()


def doc(text, indent, mark="///"):
    """`text` as comment lines."""
    lines = textwrap.wrap(text, 116 - len(indent))
    return "".join(f"{indent}{mark} {line}\n" for line in lines)


def camel(name):
    """FOO_BAR to FooBar."""
    return "".join(part.capitalize() for part in name.split("_"))


def is_word(reg):
    """The register is one number, not a set of fields."""
    fields = reg.fields()
    return len(fields) == 1 and fields[0].width >= 32


def access(reg):
    """`RO`, `WO` or `RW`: the union over the fields."""
    readable = any(f.is_sw_readable for f in reg.fields())
    writable = any(f.is_sw_writable for f in reg.fields())
    return "RW" if readable and writable else "RO" if readable else "WO"


def children(node):
    """Registers and register files below `node`, in order of address."""
    return list(node.children(unroll=False))


def walk(node, prefix="", offset=0):
    """(path, register, offset of its first instance, [(count, stride)]) of every register, arrays not unrolled."""
    for child in children(node):
        name = f"{prefix}{child.inst_name}"
        at = offset + child.raw_address_offset
        dims = [(child.array_dimensions[0], child.array_stride)] if child.is_array else []
        if isinstance(child, RegNode):
            yield name, child, at, dims
        else:
            for path, reg, reg_at, inner in walk(child, f"{name}_", at):
                yield path, reg, reg_at, dims + inner
