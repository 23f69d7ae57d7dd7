//! `aoeload` across veth pairs: loads, and where frames are lost on the way.
//!
//! Needs root and vblade: `apt-get install vblade iproute2 procps util-linux`, and clang, which compiles the
//! programs that drop frames. Each test makes two network namespaces of its own and takes them away again, so
//! nothing outside is touched.

mod bench;
mod losses;
mod several;
mod shelf;
mod standing;
mod vblade;
