//! Test hosts: everything an integration test needs to put a target and an initiator on one wire.
//!
//! The rig needs root and uses only what it made itself: network namespaces, veth pairs and taps
//! whose names carry the test's process id. It never touches an interface of the host.
//!
//! ```text
//!  namespace "target"                     namespace "client"
//!  ┌──────────────────┐   veth pair      ┌────────────────────────────────────────────────┐
//!  │ ledged or vblade │  (MTU 1500/9000) │                 br0                            │
//!  │            eth1 ─┼──────────────────┼─ uplink ──────┘  └── tap0 ── QEMU (eth0 inside) │
//!  └──────────────────┘                  └────────────────────────────────────────────────┘
//! ```
//!
//! - [`netns`]: namespaces, veth pairs, bridges and taps; [`network`]: the topologies, with a virtual
//!   machine ([`network::VmNetwork`]) and without one ([`network::PairNetwork`]); [`relay`]: a wire in
//!   the bridge's place that loses, repeats and delays frames.
//! - [`guest`]: a Debian kernel and an initramfs with Debian's own AoE and ext4 tools, cached.
//! - [`vm`]: a software-emulated machine that runs one shell command at a time and reports its
//!   output and exit status; [`client`]: what an AoE client does, said in one call each; [`load`]: fio
//!   on its device, verified; [`driver`]: what its kernel says of the wire; [`monitor`]: pulls devices out of
//!   a running machine, and puts them in; [`enclosure`]: bays of SES around its disks.
//! - [`appliance`]: the image that `make image` makes, in a machine with firmware and disks of three kinds.
//! - [`boot_image`]: a disk image with that guest on it, for machines that start from a LUN.
//! - [`linux_md`]: a machine without a network that has our members as disks and Linux md to judge
//!   them.
//! - [`daemon`]: a program that is started, waited for, terminated or killed; [`ledge`]: our shelf
//!   with its configuration and disks; [`vblade`]: Debian's target, the yardstick; [`pty`]: a program on a
//!   terminal.
//!
//! - [`faulty`]: disks that are slow, hang, fail or vanish on command; [`scheduling`]: how long a program
//!   was kept from running.
//!
//! **Invariants**
//! - Every wait has a time limit, and its error quotes the last lines of whatever was waited for.
//! - Dropping a value takes back what it made: processes, namespaces, directories.
//! - Something missing is an error that names the cure; nothing is skipped.

#![forbid(unsafe_code)]

pub mod appliance;
pub mod boot_image;
pub mod client;
pub mod daemon;
pub mod driver;
pub mod enclosure;
pub mod faulty;
mod fetch;
pub mod guest;
mod initramfs;
mod iscsi;
pub mod ledge;
pub mod linux_md;
pub mod load;
pub mod monitor;
pub mod netns;
pub mod network;
pub mod paths;
pub mod process;
pub mod pty;
pub mod relay;
pub mod requirements;
pub mod scheduling;
pub mod transcript;
pub mod vblade;
pub mod vm;
mod writers;

pub use client::Client;
pub use daemon::Daemon;
pub use enclosure::Enclosure;
pub use faulty::{Behaviour, FaultyDisks};
pub use ledge::{Ledge, LedgeOptions};
pub use linux_md::LinuxMd;
pub use load::{Load, LoadReport};
pub use monitor::Monitor;
pub use netns::Namespace;
pub use network::{PairNetwork, VmNetwork};
pub use paths::lock_vm;
pub use process::CommandOutput;
pub use relay::{Direction, Faults, Relay};
pub use vm::{Hardware, Vm, VmOptions};
