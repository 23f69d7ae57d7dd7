//! How build scripts compile the programs in `bpf/`: of this package, and of `bench/probes`.

use libbpf_cargo::SkeletonBuilder;
use std::env;
use std::error::Error;
use std::path::PathBuf;

/// Compiles `NAME.bpf.c` with clang into `NAME.bpf.o` of the directory for what a build script makes.
pub(crate) fn compile(name: &str) -> Result<(), Box<dyn Error>> {
    let directory = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../bpf");
    let source = directory.join(format!("{name}.bpf.c"));
    println!("cargo:rerun-if-changed={}", source.display());
    // Debian keeps <asm/types.h> in a directory per architecture, which clang does not search when
    // it compiles for the BPF machine.
    let multiarch = format!(
        "/usr/include/{}-linux-gnu",
        env::var("CARGO_CFG_TARGET_ARCH")?
    );
    SkeletonBuilder::new()
        .source(&source)
        .obj(PathBuf::from(env::var("OUT_DIR")?).join(format!("{name}.bpf.o")))
        .clang_args(["-Wall", "-Werror", "-I", &multiarch])
        .build()
        .map_err(|error| format!("compiling {}: {error:#}", source.display()))?;
    Ok(())
}
