//! ledge (control) and cec (Ethernet console client)
#![forbid(unsafe_code)]
