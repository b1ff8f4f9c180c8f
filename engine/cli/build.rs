//! Link options that make the binary smaller and its start quicker, where the linker takes them.

use std::{env, fs, path::PathBuf, process::Command};

/// One copy of functions that are the same to the byte: generic code repeats itself, and the binary is several megabytes
/// smaller without.
const FOLD: &str = "-Wl,--icf=all";
/// A fixed address for the program. Otherwise a quarter of a million addresses are computed and written whenever it starts,
/// which takes longer than all else that a short command does, and their table is six megabytes long. The addresses of
/// stack, heap and libraries stay random.
const FIXED: &str = "-no-pie";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    let fixed = is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu");
    for flag in [Some(FOLD), fixed.then_some(FIXED)].into_iter().flatten() {
        if linker_takes(flag).unwrap_or(false) {
            println!("cargo:rustc-link-arg-bins={flag}");
        }
    }
}

/// Tried on a program that does nothing, which must run: linkers differ, and none says what it knows.
fn linker_takes(flag: &str) -> Option<bool> {
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
    compile.arg("-C").arg(format!("link-arg={flag}")).arg("--out-dir").arg(&folder).arg(&program);
    if !compile.output().ok()?.status.success() {
        return Some(false);
    }
    Command::new(folder.join("nothing")).status().ok().map(|status| status.success())
}
