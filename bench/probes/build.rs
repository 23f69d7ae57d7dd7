//! Compiles `bpf/losses.bpf.c` with clang into the object that the library carries.

use libbpf_cargo::SkeletonBuilder;
use std::env;
use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let source = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../bpf/losses.bpf.c");
    println!("cargo:rerun-if-changed={}", source.display());
    // Debian keeps <asm/types.h> in a directory per architecture, which clang does not search when
    // it compiles for the BPF machine.
    let multiarch = format!(
        "/usr/include/{}-linux-gnu",
        env::var("CARGO_CFG_TARGET_ARCH")?
    );
    SkeletonBuilder::new()
        .source(&source)
        .obj(PathBuf::from(env::var("OUT_DIR")?).join("losses.bpf.o"))
        .clang_args(["-Wall", "-Werror", "-I", &multiarch])
        .build()
        .map_err(|error| format!("compiling {}: {error:#}", source.display()))?;
    Ok(())
}
