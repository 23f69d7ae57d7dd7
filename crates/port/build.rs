//! Compiles `bpf/steer.bpf.c` into the object that `steer.rs` carries.

#[path = "compile.rs"]
mod compile;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    compile::compile("steer")
}
