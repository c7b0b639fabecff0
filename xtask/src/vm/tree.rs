//! The image's files in memory, in the order in which the archive will hold them.

use std::collections::BTreeMap;

/// What stands at a path.
pub enum Node {
    /// Folder, mode 755.
    Dir,
    /// Symbolic link and where it points.
    Link(String),
    /// File with its permissions.
    File(u32, Vec<u8>),
    /// Character device: permissions, major, minor.
    Device(u32, u32, u32),
}

/// Paths relative to the root, sorted: a folder comes before what it holds.
pub struct Tree {
    nodes: BTreeMap<String, Node>,
}

impl Tree {
    /// A tree with the two device nodes that exist before `devtmpfs` is mounted.
    pub fn new() -> Self {
        let mut tree = Self {
            nodes: BTreeMap::new(),
        };
        tree.dir("dev");
        tree.nodes
            .insert("dev/console".into(), Node::Device(0o600, 5, 1));
        tree.nodes
            .insert("dev/null".into(), Node::Device(0o666, 1, 3));
        tree
    }

    /// Whether something stands at `path`.
    pub fn has(&self, path: &str) -> bool {
        self.nodes.contains_key(path)
    }

    /// A folder, with those above it.
    pub fn dir(&mut self, path: &str) {
        if let Some((above, _)) = path.rsplit_once('/') {
            self.dir(above);
        }
        self.nodes.entry(path.to_string()).or_insert(Node::Dir);
    }

    /// A symbolic link.
    pub fn link(&mut self, path: &str, to: &str) {
        self.put(path, Node::Link(to.to_string()));
    }

    /// A file.
    pub fn file(&mut self, path: &str, mode: u32, bytes: Vec<u8>) {
        self.put(path, Node::File(mode, bytes));
    }

    /// All nodes.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    fn put(&mut self, path: &str, node: Node) {
        if let Some((above, _)) = path.rsplit_once('/') {
            self.dir(above);
        }
        self.nodes.insert(path.to_string(), node);
    }
}
