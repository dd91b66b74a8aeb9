//! Tells the benchmark how it was compiled, so that each report can say so: a
//! `RUSTFLAGS` in the environment silently replaces the flags that align code.

use std::env;
use std::process::Command;

fn main() {
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let alignment = if flags.contains("align-all-functions") {
        "aligned"
    } else {
        "NOT ALIGNED"
    };
    println!("cargo::rustc-env=BENCH_ALIGNMENT={alignment}");

    let compiler = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(compiler)
        .arg("--version")
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default();
    println!("cargo::rustc-env=BENCH_RUSTC={version}");
}
