//! Interfaces of this network namespace and of others, by the numbers that the kernel has for them.

use rustix::net::{AddressFamily, SocketType, netdevice, socket};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

/// The file that stands for the namespace of the caller.
const OWN: &str = "/proc/thread-self/ns/net";

/// An interface of this machine, whatever its namespace.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct InterfaceId {
    /// Inode of its network namespace.
    pub namespace: u32,
    /// Its index there.
    pub index: u32,
}

/// A network namespace that can be gone into, by the file that stands for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamespacePath(Option<PathBuf>);

impl NamespacePath {
    /// The namespace of the caller.
    #[must_use]
    pub const fn own() -> Self {
        Self(None)
    }

    /// A namespace by its name, as `ip netns` has it, or by the path of its file.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self(Some(if name.contains('/') {
            PathBuf::from(name)
        } else {
            Path::new("/run/netns").join(name)
        }))
    }

    /// Does something in this namespace, if need be on a thread of its own: the caller stays where it is.
    ///
    /// # Errors
    /// Those of `work`, and when there is no such namespace, or no right to go into it.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        let Some(path) = &self.0 else {
            return work();
        };
        let file = File::open(path)?;
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
                work()
            });
            inside.join().map_err(|_| io::ErrorKind::Other)?
        })
    }

    /// The numbers of an interface of this namespace.
    ///
    /// # Errors
    /// When there is no such namespace or no such interface.
    pub fn interface(&self, name: &str) -> io::Result<InterfaceId> {
        let path = self.0.as_deref().unwrap_or_else(|| Path::new(OWN));
        let inode = File::open(path)?.metadata()?.ino();
        let index = self.within(|| {
            let any = socket(AddressFamily::UNIX, SocketType::DGRAM, None)?;
            Ok(netdevice::name_to_index(any, name)?)
        })?;
        // Inodes of namespaces are numbers of 32 bits.
        let namespace = u32::try_from(inode).map_err(|_| io::ErrorKind::InvalidData)?;
        Ok(InterfaceId { namespace, index })
    }
}
