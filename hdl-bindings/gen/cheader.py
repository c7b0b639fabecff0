"""C header: offsets, shifts and masks. For tools outside this repository."""

from registers import is_word, prose, titled, walk


def export(top):
    """The header's text after its first line."""
    guard = f"{top.inst_name.upper()}_H"
    base = top.inst_name.upper()
    text = f"#ifndef {guard}\n#define {guard}\n\n"
    for path, reg, at, dims in walk(top):
        text += f"/* {titled(reg)} */\n#define {base}_{path} {at:#x}u\n"
        for i, (count, stride) in enumerate(dims):
            suffix = "" if i == 0 else f"_{i}"
            text += f"#define {base}_{path}_COUNT{suffix} {count}u\n#define {base}_{path}_STRIDE{suffix} {stride:#x}u\n"
        if not is_word(reg):
            for f in reg.fields():
                name = f"{base}_{path}_{f.inst_name.upper()}"
                mask = ((1 << f.width) - 1) << f.low
                text += f"/* {prose(f)} */\n#define {name}_SHIFT {f.low}\n#define {name}_MASK {mask:#x}u\n"
    return text + f"\n#endif /* {guard} */\n"
