//! Any tree is the same after encoding and decoding; bytes that are none of a tree that can be placed are refused.

use atlas_fs::tree::{DecodeTreeError, TreeEntry, TreeFile, TreePath};
use atlas_fs::{BlobName, FileTree};
use proptest::collection::vec;
use proptest::prelude::*;

fn entry() -> impl Strategy<Value = TreeEntry> {
    let file =
        (any::<u32>(), any::<bool>(), any::<[u8; 32]>()).prop_map(|(bytes, executable, blob)| {
            TreeEntry::File(TreeFile {
                bytes: bytes.into(),
                executable,
                blob: BlobName(blob),
            })
        });
    prop_oneof![Just(TreeEntry::Folder), file]
}

/// Of few letters, so that paths meet.
fn path() -> impl Strategy<Value = String> {
    vec("[ab.\\-é]{0,3}", 1..4).prop_map(|names| names.join("/"))
}

/// What `to_bytes` makes of entries that need not be a tree.
fn manifest(entries: &[(&str, TreeEntry)]) -> Vec<u8> {
    let mut bytes = vec![1];
    bytes.extend(postcard::to_stdvec(entries).unwrap());
    bytes
}

/// What a path would be on a disk.
fn leads_out(path: &str) -> bool {
    use std::path::{Component, Path};
    let is_plain = |component: Component<'_>| matches!(component, Component::Normal(_));
    path.is_empty() || !Path::new(path).components().all(is_plain)
}

proptest! {
    #[test]
    fn trees_survive_their_bytes(entries in vec((path(), entry()), 0..30)) {
        let mut tree = FileTree::new();
        for (path, entry) in entries {
            if let Ok(path) = TreePath::new(path) {
                // Whatever does not fit in is left out.
                let _ = tree.insert(path, entry);
            }
        }
        let bytes = tree.to_bytes();
        let decoded = FileTree::from_bytes(&bytes).unwrap();
        prop_assert_eq!(decoded.bytes(), tree.bytes());
        prop_assert_eq!(decoded.to_bytes(), bytes);
        prop_assert_eq!(decoded, tree);
    }

    #[test]
    fn no_decoded_path_leads_out(paths in vec(path(), 0..8)) {
        let entries: Vec<_> = paths.iter().map(|path| (&path[..], TreeEntry::Folder)).collect();
        if let Ok(tree) = FileTree::from_bytes(&manifest(&entries)) {
            prop_assert_eq!(tree.len(), paths.len());
            prop_assert!(!paths.iter().any(|path| leads_out(path)));
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(mut bytes in vec(any::<u8>(), 0..300)) {
        let _ = FileTree::from_bytes(&bytes);
        bytes.insert(0, 1);
        let _ = FileTree::from_bytes(&bytes);
    }

    #[test]
    fn changed_bytes_are_decoded_or_refused(at in 0usize..200, to: u8) {
        let mut tree = FileTree::new();
        for index in 0..10 {
            let path = TreePath::new(format!("folder {index}/file")).unwrap();
            tree.insert(path, TreeEntry::Folder).unwrap();
        }
        let mut bytes = tree.to_bytes();
        let at = at % bytes.len();
        bytes[at] = to;
        if let Ok(tree) = FileTree::from_bytes(&bytes) {
            prop_assert!(!tree.iter().any(|(path, _)| leads_out(path.as_str())));
        }
    }
}

#[test]
fn the_bytes_of_a_tree_stay_as_they_are() {
    let mut tree = FileTree::new();
    let file = TreeFile {
        bytes: 300,
        executable: true,
        blob: BlobName([7; 32]),
    };
    tree.insert(TreePath::new("b/c").unwrap(), TreeEntry::File(file))
        .unwrap();
    tree.insert(TreePath::new("a").unwrap(), TreeEntry::Folder)
        .unwrap();
    let mut golden = vec![1, 2, 1, b'a', 0, 3, b'b', b'/', b'c', 1, 0xac, 2, 1];
    golden.extend([7; 32]);
    assert_eq!(tree.to_bytes(), golden);
}

#[test]
fn hostile_manifests_are_refused() {
    let folder = TreeEntry::Folder;
    let file = TreeEntry::File(TreeFile {
        bytes: u64::MAX,
        executable: false,
        blob: BlobName([0; 32]),
    });
    for entries in [
        &[("/etc", folder)][..],
        &[("..", folder)],
        &[("a/../../b", folder)],
        &[("a\0", folder)],
        &[("", folder)],
        &[("a", folder), ("a", folder)],
        &[("b", folder), ("a", folder)],
        &[("a", file), ("a/b", folder)],
        &[("a", file), ("b", file)],
    ] {
        assert!(
            FileTree::from_bytes(&manifest(entries)).is_err(),
            "{entries:?}"
        );
    }
    let mut extra = manifest(&[("a", folder)]);
    extra.push(0);
    assert_eq!(FileTree::from_bytes(&extra), Err(DecodeTreeError::Garbled));
    assert_eq!(
        FileTree::from_bytes(&[2, 0]),
        Err(DecodeTreeError::Version(2))
    );
    assert_eq!(FileTree::from_bytes(&[]), Err(DecodeTreeError::Garbled));
    let many = [1, 0xff, 0xff, 0xff, 0xff, 0x0f];
    assert_eq!(FileTree::from_bytes(&many), Err(DecodeTreeError::TooLarge));
    let long = vec![1; (16 << 20) + 1];
    assert_eq!(FileTree::from_bytes(&long), Err(DecodeTreeError::TooLarge));
}
