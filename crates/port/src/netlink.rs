//! Questions to the kernel over netlink: one message there, one back.
//!
//! Only what [`super::link`] needs. Numbers are in the byte order of the machine, as the kernel wants them.

use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};
use std::io;
use std::os::fd::OwnedFd;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `NLM_F_REQUEST`.
const FLAG_REQUEST: u16 = 1;
/// `NLMSG_ERROR`.
const TYPE_ERROR: u16 = 2;
/// `NLA_F_NESTED`.
const NESTED: u16 = 1 << 15;
/// Everything begins at a multiple of this.
const ALIGN: usize = 4;
/// Longer than any answer to what is asked here.
const ANSWER_BYTES_MAX: usize = 32 * 1024;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct MessageHeader {
    bytes: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    sender: u32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct AttributeHeader {
    bytes: u16,
    kind: u16,
}

/// Attributes of a request, one behind the other.
#[derive(Default, Debug)]
pub(crate) struct Attributes(Vec<u8>);

impl Attributes {
    /// Adds an attribute.
    pub(crate) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let header_bytes = size_of::<AttributeHeader>();
        let bytes = u16::try_from(header_bytes + value.len()).unwrap_or(u16::MAX);
        let header = AttributeHeader { bytes, kind };
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(ALIGN), 0);
        self
    }

    /// Adds a name, which ends with a zero.
    pub(crate) fn with_name(self, kind: u16, name: &str) -> Self {
        let mut bytes = name.as_bytes().to_vec();
        bytes.push(0);
        self.with(kind, &bytes)
    }

    /// Adds attributes within an attribute.
    pub(crate) fn with_nested(self, kind: u16, inner: &Self) -> Self {
        self.with(kind | NESTED, &inner.0)
    }
}

/// What an attribute of an answer holds; `None` when there is none of this kind.
pub(crate) fn attribute(mut bytes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let (header, _) = AttributeHeader::read_from_prefix(bytes).ok()?;
        let end = usize::from(header.bytes);
        let value = bytes.get(size_of::<AttributeHeader>()..end)?;
        if header.kind & !NESTED == kind {
            return Some(value);
        }
        bytes = bytes.get(end.next_multiple_of(ALIGN)..)?;
    }
}

/// An attribute that is a number, or several.
pub(crate) fn number<T: FromBytes>(bytes: &[u8], kind: u16) -> Option<T> {
    let (number, _) = T::read_from_prefix(attribute(bytes, kind)?).ok()?;
    Some(number)
}

/// A socket to one of the kernel's families.
#[derive(Debug)]
pub(crate) struct Netlink(OwnedFd);

impl Netlink {
    /// Of a family; `None` for that of links and routes.
    pub(crate) fn open(family: Option<Protocol>) -> io::Result<Self> {
        let kind = SocketType::RAW;
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::NETLINK, kind, flags, family)?;
        Ok(Self(socket))
    }

    /// Asks, and gives what is behind the fixed header of the answer. `fixed` is that of the question, which
    /// is as long.
    pub(crate) fn ask(
        &self,
        kind: u16,
        fixed: &[u8],
        attributes: &Attributes,
    ) -> io::Result<Vec<u8>> {
        let header_bytes = size_of::<MessageHeader>();
        let bytes = header_bytes + fixed.len() + attributes.0.len();
        let header = MessageHeader {
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            kind,
            flags: FLAG_REQUEST,
            sequence: 1,
            sender: 0,
        };
        let message = [header.as_bytes(), fixed, &attributes.0].concat();
        send(&self.0, &message, SendFlags::empty())?;
        let mut answer = vec![0; ANSWER_BYTES_MAX];
        let (taken, length) = recv(&self.0, answer.as_mut_slice(), RecvFlags::TRUNC)?;
        let cut = || io::Error::from(io::ErrorKind::InvalidData);
        if length > taken {
            return Err(cut());
        }
        let (header, rest) = MessageHeader::read_from_prefix(&answer).map_err(|_| cut())?;
        if header.kind == TYPE_ERROR {
            let (code, _) = i32::read_from_prefix(rest).map_err(|_| cut())?;
            return Err(io::Error::from_raw_os_error(-code));
        }
        let end = usize::try_from(header.bytes).unwrap_or(usize::MAX);
        let body = answer.get(header_bytes + fixed.len()..end);
        Ok(body.ok_or_else(cut)?.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_again_and_nothing_is_read_beyond_the_end() {
        let inner = Attributes::default().with_name(2, "veth0").with(3, &[7; 4]);
        let all = Attributes::default().with(9, &[1]).with_nested(1, &inner).0;
        assert_eq!(attribute(&all, 9), Some(&[1][..]));
        let nested = attribute(&all, 1).unwrap();
        assert_eq!(attribute(nested, 2), Some(&b"veth0\0"[..]));
        assert_eq!(number::<[u8; 4]>(nested, 3), Some([7; 4]));
        assert_eq!(number::<u64>(nested, 3), None);
        assert_eq!(attribute(&all, 4), None);
        for end in 0..all.len() {
            attribute(&all[..end], 3);
        }
        // A length shorter than the header itself does not go round for ever.
        assert_eq!(attribute(&[0; 64], 3), None);
    }
}
