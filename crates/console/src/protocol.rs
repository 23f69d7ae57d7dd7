//! The control socket: what `ledge` and the daemon say to one another.
//!
//! A Unix stream socket carries one JSON object per line in each direction. The server speaks first:
//!
//! ```text
//! server  {"protocol":3,"version":"0.1.0","prompt":{"kind":"command","text":"SR shelf 1> "}}
//! client  {"line":"remove 0"}
//! server  {"output":"Request to remove 1 LUN: 0\n","ok":true,"prompt":{"kind":"answer","text":"'n' to …"}}
//! client  {"answer":"y"}
//! server  {"output":"","ok":true,"prompt":{"kind":"command","text":"SR shelf 1> "}}
//! ```
//!
//! Every request gets one response. The answer to a prompt of kind `secret` must not be seen nor kept. After
//! one of kind `later` the command is not over: `after_ms` later the client asks `"go_on"`, or `"cancel"` at
//! any time; after one of kind `keys` the client also sends what is typed. After a prompt of kind `end` the
//! server closes. A client that closes while a question is open has answered no.
//!
//! Invariants: lines are bounded, in both directions; unknown fields are refused, so that a newer client is
//! never half understood by an older server. Whoever may not use the console is greeted with a prompt
//! of kind `end`, whose text says why.

use crate::complete::Completion;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, BufRead, Read, Write};

/// Version of this protocol.
pub const VERSION: u32 = 3;

/// Longest line from a client, without its line end. A command line that names every drive of the
/// largest shelf takes a tenth of it.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// Longest line from the server, without its line end. `list -j` of 255 LUNs with 36 members and the
/// longest config strings takes an eighth of it.
pub const RESPONSE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a client asks.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// A command line.
    Line(String),
    /// The answer to the open question.
    Answer(String),
    /// What may stand at the cursor of a line that is being typed? Like the next, it changes nothing.
    Complete {
        /// What is typed.
        line: String,
        /// Where the cursor is, in bytes.
        cursor: usize,
    },
    /// What may come after this? The answer is text.
    Help(String),
    /// There is a terminal. The answer says nothing.
    Terminal {
        /// Rows.
        rows: usize,
        /// Columns.
        columns: usize,
        /// It shows colours, and they are wanted.
        color: bool,
        /// There is a keyboard, too.
        keyboard: bool,
    },
    /// Nobody is there to answer: what would be asked only because it cannot be undone, though no data is
    /// lost by it, is done, such as `grow`. What destroys is asked all the same. The answer says nothing.
    Unattended,
    /// What has happened since this was asked last? The answer is text, a line for each event. Whoever asks
    /// is at a prompt, and shows it above the line that is being typed.
    Events,
    /// The command that is not over may go on.
    GoOn,
    /// What was typed at a command that fills the screen; nothing to have it shown anew.
    Keys(String),
    /// Drop the open question, or the command that is not over.
    Cancel,
}

/// The server's first message.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Greeting {
    /// [`VERSION`] of the server.
    pub protocol: u32,
    /// Version of the daemon.
    pub version: String,
    /// The first prompt.
    pub prompt: Prompt,
}

/// The server's answer to a request.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Response {
    /// Text to print; lines end in `\n`.
    pub output: String,
    /// Whether everything that was asked was done.
    pub ok: bool,
    /// What the server waits for.
    pub prompt: Prompt,
    /// The answer to [`Request::Complete`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion: Option<Completion>,
}

/// What the server waits for, and the text to show while it does.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    /// What it waits for.
    pub kind: PromptKind,
    /// The text, without line end.
    pub text: String,
    /// With [`PromptKind::Later`] and [`PromptKind::Keys`]: after how many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u64>,
}

/// What the server waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptKind {
    /// [`Request::Line`].
    Command,
    /// [`Request::Answer`].
    Answer,
    /// [`Request::Answer`], typed unseen.
    Secret,
    /// [`Request::GoOn`] after some time, or [`Request::Cancel`].
    Later,
    /// [`Request::Keys`] when something is typed, [`Request::GoOn`] after some time, or [`Request::Cancel`].
    Keys,
    /// Nothing: the session is over.
    End,
}

/// A message that travels as one line.
pub trait Message: Serialize + DeserializeOwned {
    /// Longest line, without its line end.
    const BYTES_MAX: usize;
}

impl Message for Request {
    const BYTES_MAX: usize = REQUEST_BYTES_MAX;
}

impl Message for Greeting {
    const BYTES_MAX: usize = RESPONSE_BYTES_MAX;
}

impl Message for Response {
    const BYTES_MAX: usize = RESPONSE_BYTES_MAX;
}

/// Why a message could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The stream failed.
    #[error("control connection failed: {0}")]
    Io(#[from] io::Error),
    /// The line is longer than the limit.
    #[error("message is longer than {0} bytes")]
    TooLong(usize),
    /// The stream ended within a line.
    #[error("control connection ended in the middle of a message")]
    Truncated,
    /// The line is not such a message.
    #[error("malformed message: {0}")]
    Malformed(#[from] serde_json::Error),
}

impl Prompt {
    /// A prompt without a time.
    #[must_use]
    pub fn new(kind: PromptKind, text: String) -> Self {
        Self {
            kind,
            text,
            after_ms: None,
        }
    }
}

impl Greeting {
    /// The greeting of a server of this version.
    #[must_use]
    pub fn new(version: &str, prompt: Prompt) -> Self {
        Self {
            protocol: VERSION,
            version: version.to_owned(),
            prompt,
        }
    }
}

/// Reads a message from one line, which may still have its line end.
///
/// # Errors
/// Too long, or not such a message.
pub fn decode<M: Message>(line: &[u8]) -> Result<M, ProtocolError> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    if line.len() > M::BYTES_MAX {
        return Err(ProtocolError::TooLong(M::BYTES_MAX));
    }
    Ok(serde_json::from_slice(line)?)
}

/// The line of a message, with its line end.
///
/// # Errors
/// Too long.
pub fn encode<M: Message>(message: &M) -> Result<Vec<u8>, ProtocolError> {
    let mut line = serde_json::to_vec(message)?;
    if line.len() > M::BYTES_MAX {
        return Err(ProtocolError::TooLong(M::BYTES_MAX));
    }
    line.push(b'\n');
    Ok(line)
}

/// Reads the next message from a blocking stream; `None` when the stream ended before it. Never
/// holds more than the limit.
///
/// # Errors
/// Any [`ProtocolError`]; the stream is of no use after one.
pub fn read<M: Message>(reader: &mut impl BufRead) -> Result<Option<M>, ProtocolError> {
    let mut line = Vec::new();
    let limit = u64::try_from(M::BYTES_MAX + 1).unwrap_or(u64::MAX);
    reader.by_ref().take(limit).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    match decode(&line) {
        Err(error @ ProtocolError::TooLong(_)) => Err(error),
        _ if line.last() != Some(&b'\n') => Err(ProtocolError::Truncated),
        decoded => decoded.map(Some),
    }
}

/// Writes a message and flushes.
///
/// # Errors
/// Too long, in which case nothing was written, or the stream failed.
pub fn write<M: Message>(writer: &mut impl Write, message: &M) -> Result<(), ProtocolError> {
    writer.write_all(&encode(message)?)?;
    Ok(writer.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(line: &str) -> Result<Option<Request>, ProtocolError> {
        read(&mut line.as_bytes())
    }

    #[test]
    fn requests_have_their_documented_form() {
        let line = Request::Line("show -l".to_owned());
        assert_eq!(encode(&line).unwrap(), b"{\"line\":\"show -l\"}\n");
        assert_eq!(
            request("{\"answer\":\"y\"}\n").unwrap(),
            Some(Request::Answer("y".to_owned()))
        );
        assert_eq!(request("\"go_on\"\n").unwrap(), Some(Request::GoOn));
        assert_eq!(request("\"cancel\"\n").unwrap(), Some(Request::Cancel));
        assert!(request("").unwrap().is_none());
    }

    #[test]
    fn responses_have_their_documented_form() {
        let prompt = Prompt::new(PromptKind::End, String::new());
        let response = Response {
            output: "1.0\n".to_owned(),
            ok: true,
            prompt,
            completion: None,
        };
        let line =
            "{\"output\":\"1.0\\n\",\"ok\":true,\"prompt\":{\"kind\":\"end\",\"text\":\"\"}}\n";
        assert_eq!(encode(&response).unwrap(), line.as_bytes());
        assert_eq!(decode::<Response>(line.as_bytes()).unwrap(), response);
    }

    #[test]
    fn unknown_fields_and_forms_are_refused() {
        for line in [
            "{}\n",
            "{\"line\":\"a\",\"json\":true}\n",
            "{\"line\":\"a\",\"answer\":\"b\"}\n",
            "{\"run\":\"a\"}\n",
            "{\"line\":1}\n",
            "\"line\"\n",
            "{\"line\":\"a\"} x\n",
            "\n",
        ] {
            assert!(
                matches!(request(line), Err(ProtocolError::Malformed(_))),
                "{line}"
            );
        }
        let greeting = "{\"protocol\":1,\"version\":\"1\",\"x\":0,\
                        \"prompt\":{\"kind\":\"command\",\"text\":\"\"}}";
        assert!(decode::<Greeting>(greeting.as_bytes()).is_err());
    }

    #[test]
    fn lines_are_bounded() {
        let overhead = "{\"line\":\"\"}".len();
        let longest = Request::Line("x".repeat(REQUEST_BYTES_MAX - overhead));
        let line = encode(&longest).unwrap();
        assert_eq!(read(&mut line.as_slice()).unwrap(), Some(longest));
        let longer = Request::Line("x".repeat(REQUEST_BYTES_MAX - overhead + 1));
        assert!(matches!(encode(&longer), Err(ProtocolError::TooLong(_))));
        let endless = io::repeat(b'x');
        let result = read::<Request>(&mut io::BufReader::new(endless));
        assert!(matches!(
            result,
            Err(ProtocolError::TooLong(REQUEST_BYTES_MAX))
        ));
    }

    #[test]
    fn a_message_without_its_end_is_not_taken() {
        assert!(matches!(
            request("{\"line\":\"a\"}"),
            Err(ProtocolError::Truncated)
        ));
    }

    proptest! {
        #[test]
        fn any_request_survives_the_line(line in "\\PC{0,40}|[\n\r\u{0}-\u{1f}]{0,8}") {
            let sent = Request::Line(line);
            let bytes = encode(&sent).unwrap();
            prop_assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
            prop_assert_eq!(read(&mut bytes.as_slice()).unwrap(), Some(sent));
        }

        #[test]
        fn any_bytes_are_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut reader = bytes.as_slice();
            // Either outcome is right; it must come, and reading must make progress.
            let before = reader.len();
            let result = read::<Request>(&mut reader);
            prop_assert_eq!(before == 0, matches!(result, Ok(None)));
        }
    }
}
