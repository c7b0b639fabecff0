"""Rust register blocks: `volatile-register` cells, `bitfield` contents, byte offsets for those who reach the map through a BAR."""

from systemrdl.node import RegNode

from registers import access, camel, children, doc, is_word, prose, titled, walk

PREAMBLE = """use bitfield::bitfield;
use core::mem::offset_of;
use volatile_register::CELLS;

"""


def inner_docs(top, header):
    """The `//!` lines of the module."""
    title = top.get_property("name")
    return header.replace("// ", "//! ", 1) + f"//!\n//! {title}. {prose(top)}\n\n"


def export(top):
    """The module's text without its inner documentation."""
    used = sorted({access(reg) for _, reg, _, _ in walk(top)})
    text = PREAMBLE.replace("CELLS", "{" + ", ".join(used) + "}")
    for path, reg, at, dims in walk(top):
        text += constants(path, reg, at, dims)
    text += "\n"
    for path, reg, _, _ in walk(top):
        if not is_word(reg):
            text += fields(camel(path), reg)
    return text + block("Block", top, "") + table(top)


def table(top):
    """Every register as data, for those who show them to people."""
    text = "/// Every register, in the order of its address.\n#[rustfmt::skip]\npub const REGISTERS: &[crate::Register] = &[\n"
    for path, reg, at, dims in walk(top):
        text += "    crate::Register {\n"
        text += f"        name: {quoted(path)},\n        about: {quoted(titled(reg))},\n        offset: {at:#x},\n"
        text += f"        bytes: {reg.get_property('regwidth') // 8},\n        readable: {str(reg.has_sw_readable).lower()},\n"
        text += f"        arrays: &[{', '.join(f'({count}, {stride:#x})' for count, stride in dims)}],\n        fields: &[\n"
        for f in reg.fields():
            text += f"            crate::Field {{ name: {quoted(f.inst_name)}, about: {quoted(prose(f))}, high: {f.high}, low: {f.low} }},\n"
        text += "        ],\n    },\n"
    return text + "];\n"


def quoted(text):
    """A Rust string literal."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def constants(path, reg, at, dims):
    """Offset, and count and stride per array dimension."""
    what = f"Byte offset of `{path}`: {reg.get_property('name').lower()}."
    text = doc(what, "") + f"pub const {path}_OFFSET: u32 = {at:#x};\n"
    for i, (count, stride) in enumerate(dims):
        suffix = "" if i == 0 else f"_{i}"
        text += f"/// Instances of `{path}`.\npub const {path}_COUNT{suffix}: u32 = {count};\n"
        text += f"/// Bytes from one `{path}` to the next.\npub const {path}_STRIDE{suffix}: u32 = {stride:#x};\n"
    return text


def fields(name, reg):
    """The `bitfield!` of a register's contents."""
    text = "bitfield! {\n" + doc(titled(reg), "    ")
    text += "    #[derive(Clone, Copy, Default, PartialEq, Eq)]\n"
    text += f"    pub struct {name}(u32);\n    impl Debug;\n"
    for f in reg.fields():
        text += doc(prose(f), "    ")
        setter = f"set_{f.inst_name}" if f.is_sw_writable else "_"
        if f.width == 1:
            text += f"    pub bool, {f.inst_name}, {setter}: {f.low};\n"
        else:
            kind = "u8" if f.width <= 8 else "u16" if f.width <= 16 else "u32"
            text += f"    pub {kind}, {f.inst_name}, {setter}: {f.high}, {f.low};\n"
    return text + "}\n\n"


def block(name, node, prefix):
    """The `#[repr(C)]` struct of a block and, before it, those of the blocks inside it."""
    inner, body, checks, at, gaps = "", "", "", 0, 0
    for child in children(node):
        if child.raw_address_offset > at:
            body += f"    _gap{gaps}: [u32; {(child.raw_address_offset - at) // 4}],\n"
            gaps += 1
        kind = cell(child, prefix)
        if not isinstance(child, RegNode):
            inner += block(camel(prefix + child.inst_name), child, f"{prefix}{child.inst_name}_")
        if child.is_array:
            kind = f"[{kind}; {child.array_dimensions[0]}]"
        field = child.inst_name.lower()
        body += doc(titled(child), "    ") + f"    pub {field}: {kind},\n"
        checks += f"const _: () = assert!(offset_of!({name}, {field}) == {child.raw_address_offset:#x});\n"
        at = child.raw_address_offset + child.total_size
    return (inner + doc(titled(node), "") + "#[repr(C)]\n"
            + f"pub struct {name} {{\n{body}}}\n{checks}\n")


def cell(child, prefix):
    """Type of one instance of `child`."""
    if not isinstance(child, RegNode):
        return camel(prefix + child.inst_name)
    if is_word(child):
        word = f"{access(child)}<u32>"
        return word if child.get_property("regwidth") == 32 else f"[{word}; 2]"
    return f"{access(child)}<{camel(prefix + child.inst_name)}>"
