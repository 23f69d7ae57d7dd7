//! Block devices: files, disks and memory; io_uring executor; discovery
