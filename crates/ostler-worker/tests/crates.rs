//! What a worker in Rust has to compile.

use std::{collections::BTreeSet, process::Command};

/// Crates, this one included, that a worker compiles.
const CRATES_MAX: usize = 25;

#[test]
fn a_worker_compiles_few_crates_and_no_runtime() {
    #[expect(clippy::disallowed_methods, reason = "cargo knows what it would compile")]
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--edges", "normal,build", "--prefix", "none", "--format", "{lib} {p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    let crates: BTreeSet<_> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(crates.contains("ostler_protocol"), "{crates:?}");
    assert!(crates.len() <= CRATES_MAX, "{} crates: {crates:?}", crates.len());
    for runtime in ["tokio", "ractor"] {
        assert!(!crates.contains(runtime), "it compiles {runtime}");
    }
}
