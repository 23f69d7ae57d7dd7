//! Network ports: AF_XDP, AF_PACKET, in-memory
