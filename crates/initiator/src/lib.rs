//! AoE client library: discovery, window, retransmission, verification
