"""SystemVerilog package with the byte offset of every register, for hand-written decoders and test benches."""

from registers import camel, walk


def export(top):
    """The package's text after its first line."""
    package = f"{top.inst_name}_offsets_pkg"
    text = f"package {package};\n"
    for path, reg, at, _ in walk(top):
        text += f"  localparam logic [15:0] {camel(path)}Offset = 16'h{at:04x};  // {reg.get_property('name')}\n"
    return text + f"endpackage : {package}\n"
