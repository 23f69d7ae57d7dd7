//! Compiles `bpf/losses.bpf.c` into the object that the library carries.

#[path = "../../crates/port/compile.rs"]
mod compile;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    compile::compile("losses")
}
