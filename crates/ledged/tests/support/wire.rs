//! The initiator's end of the wire: whole frames out, whole frames in, nothing hidden.

use super::{LIMIT, SILENCE};
use anyhow::{Context, Result, bail, ensure};
use aoe::ata::COMMAND_ATA;
use aoe::config::COMMAND_CONFIG;
use aoe::size::SECTOR_BYTES;
use aoe::{
    ATA_FRAME_BYTES, AtaRegisters, CONFIG_FRAME_BYTES, ConfigArgument, ConfigCommand, ETHERTYPE,
    HEADER_BYTES, Header, MacAddress, Shelf, Slot, Tag,
};
use ata::opcode;
use port::RawSocket;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendFlags, send};
use std::time::{Duration, Instant};
use testbed::PairNetwork;
use testbed::network::CLIENT_INTERFACE;
use zerocopy::{FromBytes, IntoBytes};

/// A raw socket on the client's interface.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: RawSocket,
    tag: u32,
}

/// A received AoE frame, as it was on the wire.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Frame(pub(crate) Vec<u8>);

/// The argument of an ATA request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ata {
    pub(crate) opcode: u8,
    pub(crate) lba: u64,
    pub(crate) count: u8,
}

impl Wire {
    /// Opens the socket in the client's namespace.
    pub(crate) fn open(network: &PairNetwork) -> Result<Self> {
        Self::open_on(network, CLIENT_INTERFACE)
    }

    /// As [`Wire::open`], on another interface of the client.
    pub(crate) fn open_on(network: &PairNetwork, interface: &str) -> Result<Self> {
        let open = || Ok(RawSocket::open(interface, ETHERTYPE)?);
        Ok(Self {
            socket: network.client.enter(open)?,
            tag: 0x8000_0000,
        })
    }

    /// Our station address.
    pub(crate) fn mac(&self) -> MacAddress {
        self.socket.mac()
    }

    /// Puts a frame on the wire as it is, without padding. It must have an Ethernet header.
    pub(crate) fn send(&self, frame: &[u8]) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        loop {
            match send(&self.socket, frame, SendFlags::empty()) {
                Ok(sent) => {
                    ensure!(sent == frame.len(), "{sent} of {} bytes sent", frame.len());
                    return Ok(());
                }
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::NOBUFS)
                    if Instant::now() < deadline =>
                {
                    std::thread::yield_now();
                }
                Err(error) => {
                    let what = format!("cannot send {} bytes", frame.len());
                    return Err(error).context(what);
                }
            }
        }
    }

    /// The next response, if one comes within `timeout`. The shelf also asks, before it serves a LUN, who
    /// else has its address.
    pub(crate) fn receive(&mut self, timeout: Duration) -> Result<Option<Frame>> {
        self.receive_where(timeout, Frame::is_response)
    }

    /// The next frame of a kind, if one comes within `timeout`.
    pub(crate) fn receive_where(
        &mut self,
        timeout: Duration,
        is_wanted: impl Fn(&Frame) -> bool,
    ) -> Result<Option<Frame>> {
        let deadline = Instant::now() + timeout;
        let mut buffer = vec![0; 16 * 1024];
        loop {
            if let Some(length) = self.socket.receive(&mut buffer)? {
                let frame = Frame(buffer[..length].to_vec());
                if is_wanted(&frame) {
                    return Ok(Some(frame));
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let left = Timespec::try_from(left).context("time left")?;
            poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&left))?;
        }
    }

    /// Every frame until the wire has been silent for [`SILENCE`].
    pub(crate) fn drain(&mut self) -> Result<Vec<Frame>> {
        let mut frames = Vec::new();
        while let Some(frame) = self.receive(SILENCE)? {
            frames.push(frame);
        }
        Ok(frames)
    }

    /// A tag that was not used before.
    pub(crate) fn next_tag(&mut self) -> Tag {
        self.tag += 1;
        Tag(self.tag)
    }

    /// A request header from here, with a new tag.
    pub(crate) fn header(
        &mut self,
        to: MacAddress,
        (shelf, slot): (u16, u8),
        command: u8,
    ) -> Header {
        let tag = self.next_tag();
        Header::request(to, self.mac(), Shelf(shelf), Slot(slot), command, tag)
    }

    /// A Query Config request, unpadded.
    pub(crate) fn config_frame(
        &mut self,
        to: MacAddress,
        address: (u16, u8),
        command: ConfigCommand,
        string: &[u8],
    ) -> Vec<u8> {
        let mut frame = self.header(to, address, COMMAND_CONFIG).as_bytes().to_vec();
        let length = u16::try_from(string.len()).unwrap_or(u16::MAX);
        frame.extend_from_slice(&[0, 0, 0, 0, 0, 0x10 | command.nibble()]);
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(string);
        frame
    }

    /// An ATA request, unpadded.
    pub(crate) fn ata_frame(
        &mut self,
        to: MacAddress,
        address: (u16, u8),
        ata: Ata,
        payload: &[u8],
    ) -> Vec<u8> {
        let mut frame = self.header(to, address, COMMAND_ATA).as_bytes().to_vec();
        let write = !payload.is_empty();
        let registers = AtaRegisters::extended(ata.opcode, write, ata.lba, ata.count);
        frame.extend_from_slice(registers.as_bytes());
        frame.extend_from_slice(payload);
        frame
    }

    /// Sends a request and waits for the response with its tag. Other frames are dropped.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Result<Frame> {
        self.ask_within(request, LIMIT)?
            .with_context(|| format!("no answer to {}", Frame(request.to_vec()).describe()))
    }

    /// As [`Wire::ask`]; `None` after `timeout` without an answer.
    pub(crate) fn ask_within(
        &mut self,
        request: &[u8],
        timeout: Duration,
    ) -> Result<Option<Frame>> {
        let tag = Frame(request.to_vec()).header()?.tag;
        self.send(request)?;
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.receive(left)? {
                None => return Ok(None),
                Some(frame) if frame.header()?.is_response() && frame.header()?.tag == tag => {
                    return Ok(Some(frame));
                }
                Some(_) => {}
            }
        }
    }

    /// Finds the target `address` by a broadcast, and gives its station. Asks again when there is no
    /// answer, as initiators do: a flood may have pushed the question or the answer out of a ring.
    pub(crate) fn discover(&mut self, address: (u16, u8)) -> Result<MacAddress> {
        let to = MacAddress::BROADCAST;
        for _ in 0..20 {
            let request = self.config_frame(to, address, ConfigCommand::Read, &[]);
            if let Some(answer) = self.ask_within(&request, Duration::from_millis(500))? {
                return Ok(answer.header()?.source);
            }
        }
        bail!("e{}.{} is not found", address.0, address.1)
    }

    /// Reads sectors; the answer must be exact.
    pub(crate) fn read(
        &mut self,
        to: MacAddress,
        address: (u16, u8),
        lba: u64,
        count: u8,
    ) -> Result<Vec<u8>> {
        let ata = Ata {
            opcode: opcode::READ_EXT,
            lba,
            count,
        };
        let request = self.ata_frame(to, address, ata, &[]);
        let answer = self.ask(&request)?;
        answer.ata_success()?;
        let length = ATA_FRAME_BYTES + SECTOR_BYTES * usize::from(count);
        ensure!(
            answer.0.len() == length,
            "{} bytes for {count} sectors",
            answer.0.len()
        );
        Ok(answer.0[ATA_FRAME_BYTES..].to_vec())
    }

    /// Writes whole sectors; returns when they are acknowledged.
    pub(crate) fn write(
        &mut self,
        to: MacAddress,
        address: (u16, u8),
        lba: u64,
        data: &[u8],
    ) -> Result<()> {
        let count = u8::try_from(data.len() / SECTOR_BYTES).context("too many sectors")?;
        let ata = Ata {
            opcode: opcode::WRITE_EXT,
            lba,
            count,
        };
        let request = self.ata_frame(to, address, ata, data);
        let answer = self.ask(&request)?;
        answer.ata_success()?;
        answer.check_padding(ATA_FRAME_BYTES)
    }
}

impl Frame {
    /// The AoE header.
    /// Whether it is a response, as far as it is AoE at all.
    pub(crate) fn is_response(&self) -> bool {
        self.0.get(14).is_none_or(|flags| flags & 0x08 != 0)
    }

    /// Its header.
    pub(crate) fn header(&self) -> Result<Header> {
        let (header, _) = Header::read_from_prefix(&self.0)
            .map_err(|_| anyhow::anyhow!("a frame of {} bytes has no AoE header", self.0.len()))?;
        Ok(header)
    }

    /// For messages.
    pub(crate) fn describe(&self) -> String {
        let head: Vec<String> = self.0.iter().take(48).map(|b| format!("{b:02x}")).collect();
        format!("{} bytes: {}", self.0.len(), head.join(" "))
    }

    /// The fixed argument and the string of a Query Config response.
    pub(crate) fn config(&self) -> Result<(ConfigArgument, &[u8])> {
        let argument = self.0.get(HEADER_BYTES..).unwrap_or_default();
        let (fixed, rest) = ConfigArgument::read_from_prefix(argument)
            .map_err(|_| anyhow::anyhow!("no config argument in {}", self.describe()))?;
        let string = rest
            .get(..usize::from(fixed.string_bytes.get()))
            .with_context(|| format!("string runs past {}", self.describe()))?;
        Ok((fixed, string))
    }

    /// The config string of a response without an error.
    pub(crate) fn config_string(&self) -> Result<&[u8]> {
        ensure!(
            self.header()?.error_code().is_none(),
            "error in {}",
            self.describe()
        );
        Ok(self.config()?.1)
    }

    /// The registers of an ATA response.
    pub(crate) fn registers(&self) -> Result<AtaRegisters> {
        let argument = self.0.get(HEADER_BYTES..).unwrap_or_default();
        let (registers, _) = AtaRegisters::read_from_prefix(argument)
            .map_err(|_| anyhow::anyhow!("no registers in {}", self.describe()))?;
        Ok(registers)
    }

    /// The response says that the command was done.
    pub(crate) fn ata_success(&self) -> Result<()> {
        if let Some(code) = self.header()?.error_code() {
            bail!("AoE error {code}: {}", self.describe());
        }
        let registers = self.registers()?;
        let (status, error) = (registers.command_status, registers.feature_error);
        ensure!(
            status == 0x40 && error == 0,
            "status {status:#04x}, error {error:#04x}"
        );
        Ok(())
    }

    /// Whatever lies behind the first `used` bytes is padding: zeros up to 60 bytes (rows 19, 20).
    pub(crate) fn check_padding(&self, used: usize) -> Result<()> {
        ensure!(self.0.len() >= 60, "not padded: {}", self.describe());
        ensure!(
            self.0.len() == used.max(60),
            "too long: {}",
            self.describe()
        );
        ensure!(
            self.0[used..].iter().all(|byte| *byte == 0),
            "padding is not zero: {}",
            self.describe()
        );
        Ok(())
    }

    /// Checks everything that a Query Config response must be, and gives its string.
    pub(crate) fn check_config(
        &self,
        to: MacAddress,
        address: (u16, u8),
        command: ConfigCommand,
        sectors: u8,
    ) -> Result<&[u8]> {
        let header = self.header()?;
        let (fixed, string) = self.config()?;
        let told = (
            header.version_flags,
            header.error,
            header.shelf.get(),
            header.slot,
            header.command,
        );
        ensure!(
            told == (0x18, 0, address.0, address.1, COMMAND_CONFIG),
            "{}",
            self.describe()
        );
        ensure!(header.destination == to, "to {}: {}", to, self.describe());
        ensure!(!header.source.is_multicast(), "{}", self.describe());
        ensure!(
            fixed.version_command == 0x10 | command.nibble(),
            "{}",
            self.describe()
        );
        ensure!(
            fixed.sector_count == sectors && fixed.buffer_count.get() >= 2,
            "{}",
            self.describe()
        );
        self.check_padding(CONFIG_FRAME_BYTES + string.len())?;
        Ok(string)
    }
}
