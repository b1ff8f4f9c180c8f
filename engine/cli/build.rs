//! Lets the linker keep one copy of functions that are the same to the byte, where it can: generic code repeats itself, and
//! the binary is several megabytes smaller without.

use std::{env, fs, path::PathBuf, process::Command};

const FOLD: &str = "-Wl,--icf=all";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if linker_can_fold().unwrap_or(false) {
        println!("cargo:rustc-link-arg-bins={FOLD}");
    }
}

/// Tried on a program that does nothing: linkers differ, and none says what it knows.
fn linker_can_fold() -> Option<bool> {
    let (target, host) = (env::var_os("TARGET")?, env::var_os("HOST")?);
    if target != host {
        return Some(false);
    }
    let folder = PathBuf::from(env::var_os("OUT_DIR")?);
    let program = folder.join("nothing.rs");
    fs::write(&program, "fn main() {}").ok()?;
    let mut compile = Command::new(env::var_os("RUSTC")?);
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        compile.arg("-C").arg(format!("linker={}", linker.to_string_lossy()));
    }
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    compile.args(flags.split('\x1f').filter(|flag| !flag.is_empty()));
    compile.arg("-C").arg(format!("link-arg={FOLD}")).arg("--out-dir").arg(&folder).arg(&program);
    compile.output().ok().map(|output| output.status.success())
}
