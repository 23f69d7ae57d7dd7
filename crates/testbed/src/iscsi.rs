//! An iSCSI target with one logical unit: by it a device that is a program of the test's becomes a device of
//! an emulated machine, since the emulator is an initiator (RFC 7143).
//!
//! **Invariants**
//! - One connection at a time, without authentication and digests, and no more of the protocol than a session
//!   of such an initiator needs: what else comes ends the connection, and is noted.
//! - Commands are done one after the other, in the order in which they come.
//! - All data of a command comes with it ([`IMMEDIATE_BYTES_MAX`]), and all of an answer goes in one piece.
//! - Dropping the target ends its thread.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::netns::Namespace;
use crate::transcript;

/// The name of the target.
const NAME: &str = "iqn.2026-01.test.ledge:unit";

/// Most data that a command brings along, and that an answer has, in bytes.
const IMMEDIATE_BYTES_MAX: usize = 8192;

/// The longest pause between looks whether the target is to end.
const POLL: Duration = Duration::from_millis(50);

/// Bytes of the header of each message.
const HEADER_BYTES: usize = 48;

/// Commands that an initiator may send before it has the answer to the first.
const WINDOW: u32 = 32;

/// Names of messages (RFC 7143, 11.2.1.2).
mod opcode {
    pub(super) const NOP_OUT: u8 = 0x00;
    pub(super) const COMMAND: u8 = 0x01;
    pub(super) const TASK: u8 = 0x02;
    pub(super) const LOGIN: u8 = 0x03;
    pub(super) const LOGOUT: u8 = 0x06;
    /// What is answered has the name of the question and this bit.
    pub(super) const ANSWER: u8 = 0x20;
    pub(super) const DATA_IN: u8 = 0x25;
}

/// What a logical unit answers to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is done, with this data, if any.
    Good(Vec<u8>),
    /// It is not done: sense key, additional sense code and its qualifier (SPC-4, 4.5).
    Refused(u8, u8, u8),
}

/// A device of SCSI.
pub(crate) trait Unit: Send + 'static {
    /// Does a command, which brings this data.
    fn run(&mut self, command: &[u8; 16], data: &[u8]) -> Answer;
}

/// A target, which listens on the loopback of a namespace.
#[derive(Debug)]
pub(crate) struct Target {
    address: SocketAddr,
    has_to_end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Target {
    /// Starts one.
    ///
    /// # Errors
    /// The namespace has no loopback.
    pub(crate) fn start(namespace: &Namespace, unit: impl Unit) -> Result<Self> {
        let listen = || TcpListener::bind("127.0.0.1:0").context("a port for iSCSI");
        let listener = namespace.enter(listen)?;
        listener.set_nonblocking(true).context("iSCSI")?;
        let address = listener.local_addr().context("iSCSI")?;
        let has_to_end = Arc::new(AtomicBool::new(false));
        let its = Arc::clone(&has_to_end);
        let thread = thread::Builder::new()
            .name("iscsi".to_owned())
            .spawn(move || serve(&listener, unit, &its))
            .context("a thread for iSCSI")?;
        Ok(Self {
            address,
            has_to_end,
            thread: Some(thread),
        })
    }

    /// The unit as the emulator names what is behind a device.
    pub(crate) fn block_device(&self, name: &str) -> String {
        format!(
            "driver=iscsi,node-name={name},transport=tcp,portal={},target={NAME},lun=0,\
             initiator-name=iqn.2026-01.test.ledge:machine",
            self.address
        )
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.has_to_end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has told of a panic on its own.
            drop(thread.join());
        }
    }
}

fn serve(listener: &TcpListener, mut unit: impl Unit, has_to_end: &AtomicBool) {
    while !has_to_end.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                let served = Session::new(stream, has_to_end)
                    .and_then(|mut session| session.serve(&mut unit));
                if let Err(error) = served {
                    transcript::note(&format!("iSCSI: {error:#}"));
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(POLL),
            Err(error) => {
                transcript::note(&format!("iSCSI: no connection: {error}"));
                thread::sleep(POLL);
            }
        }
    }
}

/// A message: its header, and the data behind it.
struct Message {
    header: [u8; HEADER_BYTES],
    data: Vec<u8>,
}

impl Message {
    fn word(&self, at: usize) -> u32 {
        u32::from_be_bytes([
            self.header[at],
            self.header[at + 1],
            self.header[at + 2],
            self.header[at + 3],
        ])
    }

    fn opcode(&self) -> u8 {
        self.header[0] & 0x3f
    }

    /// It has no number in the order of commands.
    fn is_immediate(&self) -> bool {
        self.header[0] & 0x40 != 0
    }

    /// The beginning of an answer, with the tag of the question.
    fn answer(&self, opcode: u8) -> Self {
        let mut header = [0; HEADER_BYTES];
        (header[0], header[1]) = (opcode, 0x80);
        header[16..20].copy_from_slice(&self.header[16..20]);
        let data = Vec::new();
        Self { header, data }
    }
}

/// A connection.
struct Session<'a> {
    stream: TcpStream,
    has_to_end: &'a AtomicBool,
    /// Number of the next answer, and of the next command.
    status_number: u32,
    command_number: u32,
}

impl<'a> Session<'a> {
    fn new(stream: TcpStream, has_to_end: &'a AtomicBool) -> Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(POLL))?;
        Ok(Self {
            stream,
            has_to_end,
            status_number: 1,
            command_number: 0,
        })
    }

    /// Serves until the initiator leaves, or the target has to end.
    fn serve(&mut self, unit: &mut impl Unit) -> Result<()> {
        while let Some(message) = self.receive()? {
            let opcode = message.opcode();
            self.count(&message);
            let mut answer = message.answer(opcode | opcode::ANSWER);
            match opcode {
                opcode::LOGIN => log_in(&message, &mut answer),
                opcode::COMMAND => answer = do_command(&message, unit)?,
                // An answer to a question of ours, of which there are none, has no tag.
                opcode::NOP_OUT if message.word(16) == u32::MAX => continue,
                opcode::NOP_OUT => {
                    answer.header[20..24].fill(0xff);
                    answer.data.clone_from(&message.data);
                }
                // All that was to be ended has ended: commands are done as they come.
                opcode::TASK | opcode::LOGOUT => {}
                _ => bail!("a message {opcode:#04x} is not served"),
            }
            self.send(answer)?;
            if opcode == opcode::LOGOUT {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Follows the numbers of commands.
    fn count(&mut self, message: &Message) {
        let number = message.word(24);
        self.command_number = number.wrapping_add(u32::from(!message.is_immediate()));
    }

    fn receive(&mut self) -> Result<Option<Message>> {
        let mut header = [0; HEADER_BYTES];
        if !self.fill(&mut header)? {
            return Ok(None);
        }
        ensure!(header[4] == 0, "a further header is not served");
        let length = u32::from_be_bytes([0, header[5], header[6], header[7]]);
        let length = usize::try_from(length)?;
        ensure!(length <= IMMEDIATE_BYTES_MAX, "{length} bytes of data");
        let mut data = vec![0; length.next_multiple_of(4)];
        ensure!(self.fill(&mut data)?, "cut off");
        data.truncate(length);
        Ok(Some(Message { header, data }))
    }

    /// Whether anything came; the end of a connection is that of the emulator.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<bool> {
        let mut count = 0;
        while count < bytes.len() {
            if self.has_to_end.load(Ordering::Relaxed) {
                return Ok(false);
            }
            match self.stream.read(&mut bytes[count..]) {
                Ok(0) => return Ok(false),
                Ok(more) => count += more,
                Err(error) if crate::vm::is_timeout(error.kind()) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(false),
                Err(error) => return Err(error).context("connection"),
            }
        }
        Ok(true)
    }

    fn send(&mut self, mut message: Message) -> Result<()> {
        let header = &mut message.header;
        let length = u32::try_from(message.data.len())?;
        header[5..8].copy_from_slice(&length.to_be_bytes()[1..]);
        header[24..28].copy_from_slice(&self.status_number.to_be_bytes());
        header[28..32].copy_from_slice(&self.command_number.to_be_bytes());
        let most = self.command_number.wrapping_add(WINDOW);
        header[32..36].copy_from_slice(&most.to_be_bytes());
        self.status_number = self.status_number.wrapping_add(1);
        let mut bytes = header.to_vec();
        bytes.extend_from_slice(&message.data);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        self.stream.write_all(&bytes).context("connection")
    }
}

/// Agrees to whatever stage the initiator wants next, without authentication and digests.
fn log_in(message: &Message, answer: &mut Message) {
    answer.header[1] = message.header[1] & 0x8f;
    // Its name of the session, and ours.
    answer.header[8..14].copy_from_slice(&message.header[8..14]);
    answer.header[15] = 1;
    let text = String::from_utf8_lossy(&message.data);
    let offered = text
        .split('\0')
        .filter_map(|pair| Some(pair.split_once('=')?.0));
    let pairs = offered.filter_map(|key| {
        let most = IMMEDIATE_BYTES_MAX.to_string();
        let value = match key {
            "AuthMethod" | "HeaderDigest" | "DataDigest" => "None",
            "InitialR2T" | "ImmediateData" | "DataPDUInOrder" | "DataSequenceInOrder" => "Yes",
            "MaxBurstLength" | "FirstBurstLength" | "MaxRecvDataSegmentLength" => &most,
            "MaxConnections" | "MaxOutstandingR2T" => "1",
            "DefaultTime2Wait" | "DefaultTime2Retain" | "ErrorRecoveryLevel" => "0",
            // Names, which are only told.
            "InitiatorName" | "InitiatorAlias" | "TargetName" | "SessionType" => return None,
            _ => "NotUnderstood",
        };
        Some(format!("{key}={value}\0"))
    });
    answer.data = pairs.collect::<String>().into_bytes();
}

/// Does a command of SCSI.
fn do_command(message: &Message, unit: &mut impl Unit) -> Result<Message> {
    let mut command = [0; 16];
    command.copy_from_slice(&message.header[32..48]);
    let expected = usize::try_from(message.word(20))?;
    let (reads, writes) = (message.header[1] & 0x40 != 0, message.header[1] & 0x20 != 0);
    ensure!(
        !writes || message.data.len() == expected,
        "{} of {expected} bytes came with the command {:#04x}",
        message.data.len(),
        command[0]
    );
    match unit.run(&command, &message.data) {
        Answer::Good(mut data) if reads => {
            let mut answer = message.answer(opcode::DATA_IN);
            answer.header[20..24].fill(0xff);
            // It is the last data, and has the status.
            answer.header[1] |= 0x01;
            answer.header[1] |= residual(&mut answer.header, data.len(), expected)?;
            data.truncate(expected);
            ensure!(data.len() <= IMMEDIATE_BYTES_MAX, "{} bytes", data.len());
            answer.data = data;
            Ok(answer)
        }
        Answer::Good(_) => Ok(message.answer(opcode::COMMAND | opcode::ANSWER)),
        Answer::Refused(key, code, qualifier) => {
            let mut answer = message.answer(opcode::COMMAND | opcode::ANSWER);
            // CHECK CONDITION, and sense data of the fixed format behind its length.
            answer.header[3] = 0x02;
            let mut sense = [0; 20];
            (sense[1], sense[2], sense[4], sense[9]) = (18, 0x70, key, 10);
            (sense[14], sense[15]) = (code, qualifier);
            answer.data = sense.to_vec();
            Ok(answer)
        }
    }
}

/// Tells how much less or more data there is than was expected; gives the flag for it.
fn residual(header: &mut [u8; HEADER_BYTES], had: usize, expected: usize) -> Result<u8> {
    let count = u32::try_from(had.abs_diff(expected))?;
    header[44..48].copy_from_slice(&count.to_be_bytes());
    Ok(match had.cmp(&expected) {
        std::cmp::Ordering::Less => 0x02,
        std::cmp::Ordering::Equal => 0,
        std::cmp::Ordering::Greater => 0x04,
    })
}
