//! The Ethernet console protocol: sans-I/O server and client sessions
