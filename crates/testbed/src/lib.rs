//! Test hosts: namespaces, veth pairs, daemons and virtual machines for the integration tests
