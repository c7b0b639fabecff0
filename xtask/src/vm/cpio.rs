//! The `newc` cpio format that Linux unpacks as its first root file system.
//! Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.

use super::tree::{Node, Tree};

const S_IFCHR: u32 = 0o020_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;

/// The archive of `tree`, uncompressed.
pub fn write(tree: &Tree) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, (path, node)) in tree.iter().enumerate() {
        let inode = index as u32 + 1;
        match node {
            Node::Dir => entry(&mut out, inode, path, S_IFDIR | 0o755, &[], (0, 0)),
            Node::Link(to) => entry(
                &mut out,
                inode,
                path,
                S_IFLNK | 0o777,
                to.as_bytes(),
                (0, 0),
            ),
            Node::File(mode, bytes) => entry(&mut out, inode, path, S_IFREG | mode, bytes, (0, 0)),
            Node::Device(mode, major, minor) => {
                entry(&mut out, inode, path, S_IFCHR | mode, &[], (*major, *minor));
            }
        }
    }
    entry(&mut out, 0, "TRAILER!!!", 0, &[], (0, 0));
    out
}

/// One member: 13 fields of 8 hexadecimal digits, the name with its NUL, the data, both padded to 4 bytes.
fn entry(out: &mut Vec<u8>, inode: u32, name: &str, mode: u32, data: &[u8], device: (u32, u32)) {
    let size = u32::try_from(data.len()).expect("no file of 4 GiB in the image");
    let fields = [
        inode,
        mode,
        0,
        0,
        1,
        0,
        size,
        0,
        0,
        device.0,
        device.1,
        name.len() as u32 + 1,
        0,
    ];
    out.extend_from_slice(b"070701");
    for field in fields {
        out.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    pad(out);
    out.extend_from_slice(data);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_what_the_kernel_documentation_describes() {
        let mut tree = Tree::new();
        tree.file("a", 0o644, b"hello".to_vec());
        let archive = write(&tree);
        assert_eq!(&archive[..6], b"070701");
        assert_eq!(archive.len() % 4, 0);
        let text = String::from_utf8_lossy(&archive);
        let member = text
            .find("\0a\0")
            .or(text.find("a\0\0\0hello"))
            .expect("the file is there");
        assert!(text.find("dev/console").expect("device") > member || member > 0);
        assert!(text.contains("hello\0\0\0"), "data is padded to four bytes");
        assert!(text.trim_end_matches('\0').ends_with("TRAILER!!!"));
    }
}
