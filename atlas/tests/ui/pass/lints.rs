//! The expansions raise no lint, whatever the program denies.

#![deny(warnings, missing_docs, unreachable_pub, unused, future_incompatible)]
#![deny(missing_debug_implementations, missing_copy_implementations, unused_qualifications)]
#![deny(rust_2018_idioms, nonstandard_style, private_interfaces, private_bounds)]
#![deny(unused_results, single_use_lifetimes, unnameable_types, non_local_definitions)]
#![forbid(unsafe_code)]

mod tree {
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    struct Node(Vec<Node>);

    #[atlas::spawn]
    fn count(node: Node) -> u64 {
        let mut total = 1;
        for child in node.0 {
            total += count(child);
        }
        total
    }

    #[atlas::spawn]
    #[deprecated = "counts twice"]
    #[must_use]
    pub(crate) fn twice() -> u64 {
        let (a, b) = atlas::join!(count(Node(vec![Node(vec![])])), count(Node(vec![])));
        a + b
    }
}

#[atlas::spawn]
fn nothing() {}

#[atlas::spawn]
#[allow(dead_code)]
fn never_called(x: u64) -> u64 {
    x
}

#[atlas::main]
fn main() {
    #[atlas::spawn]
    fn local(x: u64) -> u64 {
        x
    }
    #[allow(deprecated)]
    let twice = tree::twice();
    assert_eq!(twice, 3);
    let ((), one) = atlas::join!(nothing(), local(1));
    assert_eq!(one, 1);
    let _: ((), ()) = atlas::join!(nothing(), nothing());
}
