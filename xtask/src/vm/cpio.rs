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

    /// Name, mode and data of every member, as the kernel's reader would walk them.
    fn members(mut archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut found = Vec::new();
        while !archive.is_empty() {
            assert_eq!(&archive[..6], b"070701");
            let field = |n: usize| {
                let digits = std::str::from_utf8(&archive[6 + 8 * n..14 + 8 * n]).expect("digits");
                u32::from_str_radix(digits, 16).expect("hexadecimal")
            };
            let (mode, size, name_len) = (field(1), field(6) as usize, field(11) as usize);
            let data_at = (110 + name_len).next_multiple_of(4);
            let name =
                String::from_utf8(archive[110..110 + name_len - 1].to_vec()).expect("a name");
            found.push((name, mode, archive[data_at..data_at + size].to_vec()));
            archive = &archive[(data_at + size).next_multiple_of(4)..];
        }
        found
    }

    #[test]
    fn an_archive_reads_back_as_it_was_put_in_with_folders_before_their_content() {
        let mut tree = Tree::new();
        tree.file("usr/bin/five", 0o755, b"hello".to_vec());
        tree.link("bin", "usr/bin");
        let found = members(&write(&tree));
        let names: Vec<&str> = found.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "bin",
                "dev",
                "dev/console",
                "dev/null",
                "usr",
                "usr/bin",
                "usr/bin/five",
                "TRAILER!!!"
            ]
        );
        assert_eq!(
            (found[0].1, found[0].2.as_slice()),
            (0o120_777, &b"usr/bin"[..])
        );
        assert_eq!((found[1].1, found[2].1), (0o040_755, 0o020_600));
        assert_eq!(
            (found[6].1, found[6].2.as_slice()),
            (0o100_755, &b"hello"[..])
        );
    }
}
