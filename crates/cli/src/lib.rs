//! ledge (control) and cec (Ethernet console client)
