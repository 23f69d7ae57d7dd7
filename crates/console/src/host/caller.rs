//! On whose behalf a command is run.

use std::fmt;

/// What somebody may do. Ordered: an administrator may do what a reader may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// Looks, and changes nothing.
    Reader,
    /// Does everything.
    Admin,
}

impl Role {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reader => "read-only",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Through which door somebody came in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DoorKind {
    /// The control socket, by `ledge`.
    Socket,
    /// The Ethernet console.
    Ethernet,
}

impl DoorKind {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Ethernet => "cec",
        }
    }
}

/// Whoever types.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// Name of the user.
    pub user: String,
    /// What that user may do.
    pub role: Role,
    /// The door.
    pub door: DoorKind,
    /// Where the caller is, as the door knows it: a MAC address and a port, or a process.
    pub address: String,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.user, self.door.name())?;
        if self.address.is_empty() {
            Ok(())
        } else {
            write!(f, " from {}", self.address)
        }
    }
}
