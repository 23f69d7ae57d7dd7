//! The daemon: config, workers, control socket
