//! Who is at the other end of the control socket, and what that user may do.
//!
//! The kernel says who it is when the connection is made. Root, the user that the daemon runs as, and the
//! members of one group administer; those of another may look. Nobody else gets an answer.

use console::host::{Caller, DoorKind, Role};
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use std::ffi::CString;
use std::os::unix::net::UnixStream;

/// The groups whose members may use the control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Groups {
    /// They administer.
    pub(crate) admin: String,
    /// They may look.
    pub(crate) reader: String,
}

impl Default for Groups {
    fn default() -> Self {
        Self {
            admin: "ledge".to_owned(),
            reader: "ledge-read".to_owned(),
        }
    }
}

/// The caller of a connection; the error says why there is none.
pub(crate) fn caller(stream: &UnixStream, groups: &Groups) -> Result<Caller, String> {
    let peer = rustix::net::sockopt::socket_peercred(stream)
        .map_err(|error| format!("the kernel does not say who you are: {error}"))?;
    let uid = peer.uid.as_raw();
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    let name = user
        .as_ref()
        .map_or_else(|| uid.to_string(), |user| user.name.clone());
    let is_own = uid == 0 || uid == rustix::process::geteuid().as_raw();
    let mut of = vec![Gid::from_raw(peer.gid.as_raw())];
    if let Some(user) = &user
        && let Ok(name) = CString::new(user.name.as_str())
    {
        of.extend(getgrouplist(&name, user.gid).unwrap_or_default());
    }
    let is_in = |group: &str| {
        let group = Group::from_name(group).ok().flatten();
        group.is_some_and(|group| of.contains(&group.gid))
    };
    let Some(role) = role(is_own, is_in(&groups.admin), is_in(&groups.reader)) else {
        return Err(format!(
            "user {name} may not use the console: neither root nor in group {} or {}",
            groups.admin, groups.reader
        ));
    };
    Ok(Caller {
        user: name,
        role,
        door: DoorKind::Socket,
        address: format!("pid {}", peer.pid.as_raw_nonzero()),
    })
}

fn role(is_own: bool, administers: bool, reads: bool) -> Option<Role> {
    if is_own || administers {
        Some(Role::Admin)
    } else {
        reads.then_some(Role::Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_who_runs_the_daemon_administers() {
        let (near, _far) = UnixStream::pair().unwrap();
        let caller = caller(&near, &Groups::default()).unwrap();
        assert_eq!(caller.role, Role::Admin);
        assert_eq!(caller.address, format!("pid {}", std::process::id()));
    }

    #[test]
    fn the_greater_right_counts() {
        assert_eq!(role(true, false, false), Some(Role::Admin));
        assert_eq!(role(false, true, true), Some(Role::Admin));
        assert_eq!(role(false, false, true), Some(Role::Reader));
        assert_eq!(role(false, false, false), None);
    }
}
